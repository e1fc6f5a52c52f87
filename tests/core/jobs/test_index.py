"""The index of many files: whatever cuts a line off, what was written before it stands."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from ganenc.jobs import Index
from ganenc_registry.errors import GanencError


def keys(index: Index) -> list[str]:
    return [row["name"] for row in index.rows()]


def test_rows_come_back_and_a_later_one_takes_the_place_of_an_earlier(tmp_path: Path) -> None:
    index = Index(tmp_path / "new", key="name")
    assert keys(index) == []
    index.add([{"name": "é", "size": 1}, {"name": "b", "value": math.inf}])
    index.add([{"name": "é", "size": 2}])
    assert list(Index(tmp_path / "new", key="name").rows()) == [{"name": "b", "value": None}, {"name": "é", "size": 2}]
    for line in (tmp_path / "new" / "index.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_line_cut_off_anywhere_is_dropped_and_rows_can_be_added_after_it(tmp_path: Path, cut: int) -> None:
    index = Index(tmp_path, key="name")
    index.add([{"name": "a"}])
    index.add([{"name": "b", "value": 12}])
    whole = index.path.read_bytes()
    index.path.write_bytes(whole[:-cut])
    assert keys(index) == ["a"]
    index.gather()
    index.add([{"name": "c"}])
    assert keys(index) == ["a", "c"]


def test_a_first_line_cut_off_does_not_spoil_the_next_row(tmp_path: Path) -> None:
    index = Index(tmp_path, key="name")
    index.path.write_bytes(b'{"name": "a')
    index.gather()
    index.add([{"name": "b"}])
    assert keys(index) == ["b"]


def test_the_files_of_several_processes_are_put_together_in_the_order_asked_for(tmp_path: Path) -> None:
    Index(tmp_path, key="name").add([{"name": "a", "of": "before"}, {"name": "z"}])
    for process, names in enumerate(("db", "ca")):
        Index(tmp_path, key="name", part=(process, 2)).add([{"name": name, "of": process} for name in names])
    (tmp_path / "index-of-mine.txt").write_text("no row")
    index = Index(tmp_path, key="name")
    assert keys(index) == ["a", "z"], "before they are put together"
    index.gather(list("abcd"))
    assert [(row["name"], row.get("of")) for row in index.rows()] == [
        ("z", None), ("a", 1), ("b", 0), ("c", 1), ("d", 0)
    ]  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index-of-mine.txt", "index.jsonl"]


def test_a_kill_while_files_are_put_together_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for process in (0, 1):
        Index(tmp_path, key="name", part=(process, 2)).add([{"name": str(process)}])
    with monkeypatch.context() as patched:

        def killed(self: Path, missing_ok: bool = False) -> None:
            raise KeyboardInterrupt

        patched.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            Index(tmp_path, key="name").gather()
    Index(tmp_path, key="name").gather()
    assert sorted(keys(Index(tmp_path, key="name"))) == ["0", "1"]


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GanencError, match="cannot be written"):
        Index(tmp_path / "file", key="name").add([{"name": "a"}])
