"""Atomic writes: the old file or the new one, and no leftovers."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ganenc.files import (
    MARK,
    atomic_path,
    drop_leftovers,
    is_ours,
    marked_archive,
    write_bytes,
    write_json,
    write_text,
)
from ganenc_registry.errors import GanencError

MARKED = {"written_by": "ganenc"}


def test_text_bytes_and_json_come_back(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "er" / "a.txt", "Größe\r\n")
    write_bytes(tmp_path / "b.bin", b"\x00\xff")
    write_json(tmp_path / "c.json", {"x": [1, 2.5, None], "name": "Größe"})
    assert (tmp_path / "deep" / "er" / "a.txt").read_bytes() == "Größe\r\n".encode()
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\xff"
    assert json.loads((tmp_path / "c.json").read_text("utf-8")) == MARKED | {
        "written_by": "ganenc",
        "x": [1, 2.5, None],
        "name": "Größe",
    }


def test_json_without_numbers_that_json_lacks(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"psnr": math.inf, "rows": [{"loss": math.nan}, 1.0]})

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (tmp_path / "a.json").read_text()
    assert json.loads(text, parse_constant=refuse) == MARKED | {
        "written_by": "ganenc",
        "psnr": None,
        "rows": [{"loss": None}, 1.0],
    }


def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"old, {MARK}")

    def fail_halfway() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            assert path.read_text() == f"old, {MARK}"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_halfway()
    assert path.read_text() == f"old, {MARK}"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_new_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GanencError, match=r"file.a\.txt cannot be written"):
        write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(GanencError, match="folder cannot be written"):
        write_text(tmp_path / "folder", "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("name", ["a.npz", "run", ".hidden", "b" * 200 + ".json", "step-0000003.safetensors"])
def test_what_a_killed_write_left_is_known_by_its_name(name: str, tmp_path: Path) -> None:
    others = ["notes.txt", ".notes-0123456789abcdef.txt", "a-" + "0" * 32 + ".npz", f".{name}-{'0' * 32}"]
    for other in others:
        (tmp_path / other).write_text("kept")
    writing = atomic_path(tmp_path / name)
    temporary = writing.__enter__()
    temporary.write_text("half")
    assert drop_leftovers(tmp_path) == [temporary]
    with pytest.raises(GanencError, match="cannot be written"):
        writing.__exit__(None, None, None)
    assert sorted(os.listdir(tmp_path)) == sorted(others)
    assert drop_leftovers(tmp_path / "missing") == []


def test_what_others_wrote_is_left_as_it_is(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    (tmp_path / "page.html").write_text("<html>mine</html>")
    (tmp_path / "data.json").write_text('{"made by": "ganenc"}')
    (tmp_path / "kept.json").write_text("7")
    (tmp_path / "link.json").symlink_to(tmp_path / "kept.json")
    (tmp_path / "dangling.json").symlink_to(tmp_path / "gone.json")
    make_pipe(tmp_path / "pipe.json")
    for path in sorted(tmp_path.iterdir()):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(GanencError, match=r"is there already, and ganenc did not write it"):
            write_json(path, {})
        assert not path.is_file() or path.read_bytes() == before
    (tmp_path / "empty.json").touch()
    for _ in range(2):
        write_json(tmp_path / "empty.json", {"long": "x" * 200_000})
    write_bytes(tmp_path / "late.bin", b"x" * 200_000 + MARK.encode())
    assert is_ours(tmp_path / "late.bin")
    (tmp_path / "others.css").write_bytes(b".button { }" + b" " * 100_000 + MARK.encode() + b" " * 100_000)
    assert not is_ours(tmp_path / "others.css")
    write_json(tmp_path / "kept.json", {"a": 1}, replace=True)
    assert json.loads((tmp_path / "link.json").read_text())["a"] == 1


@pytest.mark.parametrize("name", ["net", "net.pt", ".net", "net.tar.gz"])
def test_what_torch_saves_is_written_under_any_name_and_again(name: str, tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        torch.save({"a": torch.tensor(value)}, content := io.BytesIO())
        write_bytes(tmp_path / name, marked_archive(content))
        assert torch.load(tmp_path / name, weights_only=True, mmap=True) == {"a": torch.tensor(value)}
    (tmp_path / name).write_bytes(b"another's")
    with pytest.raises(GanencError, match="did not write it"):
        write_bytes(tmp_path / name, b"ours")
