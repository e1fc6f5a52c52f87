"""The index of many files: whatever cuts a line off, what was written before it stands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ganenc.jobs import PhotoIndex
from ganenc_registry.errors import GanencError


def keys(index: PhotoIndex) -> list[str]:
    return [row["photo"] for row in index.rows()]


def test_rows_come_back_and_a_later_one_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    index = PhotoIndex(tmp_path / "new")
    assert keys(index) == []
    index.add({"photo": "é", "size": 1}, {"photo": "b", "value": math.inf})
    index.add({"photo": "é", "size": 2})
    assert list(PhotoIndex(tmp_path / "new").rows()) == [{"photo": "b", "value": None}, {"photo": "é", "size": 2}]
    for line in (tmp_path / "new" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_cut_off_anywhere_is_dropped_and_rows_can_be_added_after_it(tmp_path: Path, cut: int) -> None:
    index = PhotoIndex(tmp_path)
    index.add({"photo": "a"})
    index.add({"photo": "b", "value": 12})
    whole = index.path.read_bytes()
    index.path.write_bytes(whole[:-cut])
    assert keys(index) == ["a"]
    index.gather()
    index.add({"photo": "c"})
    assert keys(index) == ["a", "c"]


def test_a_first_line_cut_off_does_not_spoil_the_next_row(tmp_path: Path) -> None:
    index = PhotoIndex(tmp_path)
    index.path.write_bytes(b'{"photo": "a')
    index.gather()
    index.add({"photo": "b"})
    assert keys(index) == ["b"]


def test_the_files_of_several_processes_are_put_together_in_the_order_asked_for(tmp_path: Path) -> None:
    PhotoIndex(tmp_path).add({"photo": "a", "of": "before"}, {"photo": "z"})
    for process, names in enumerate(("db", "ca")):
        PhotoIndex(tmp_path, part=(process, 2)).add(*({"photo": name, "of": process} for name in names))
    (tmp_path / "index-of-mine.txt").write_text("no row")
    index = PhotoIndex(tmp_path)
    assert keys(index) == ["z", "d", "b", "c", "a"], "before they are put together"
    index.gather(list("abcd"))
    assert [(row["photo"], row.get("of")) for row in index.rows()] == [
        ("z", None), ("a", 1), ("b", 0), ("c", 1), ("d", 0)
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index-of-mine.txt", "index.jsonl"]


def test_a_kill_while_files_are_put_together_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for process in (0, 1):
        PhotoIndex(tmp_path, part=(process, 2)).add({"photo": str(process)})
    with monkeypatch.context() as patched:

        def killed(self: Path, missing_ok: bool = False) -> None:
            raise KeyboardInterrupt

        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            PhotoIndex(tmp_path).gather()
    PhotoIndex(tmp_path).gather()
    assert sorted(keys(PhotoIndex(tmp_path))) == ["0", "1"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GanencError, match="cannot be written"):
        PhotoIndex(tmp_path / "file").add({"photo": "a"})
