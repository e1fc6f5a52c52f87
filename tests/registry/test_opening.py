"""What is no regular file is refused at once, wherever a file is opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from ganenc_registry.errors import SpecError
from ganenc_registry.opening import fixed_path, open_file, read_text
from ganenc_registry.specs import InvertSpec


@pytest.fixture(params=["pipe", "device", "socket", "folder", "nul", "dangling"])
def odd(request: pytest.FixtureRequest, tmp_path: Path, make_pipe: Callable[[Path], None]) -> Path:
    """A path that no regular file lies at."""
    path = tmp_path / f"{request.param}.yaml"
    if request.param == "pipe":
        make_pipe(path)
    elif request.param == "device":
        return Path("/dev/zero")
    elif request.param == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "nul":
        return tmp_path / "a\0b"
    else:
        path.symlink_to(tmp_path / "gone")
    return path


def test_what_is_no_regular_file_is_not_opened(odd: Path) -> None:
    with pytest.raises(OSError, match=":"):
        open_file(odd)
    with pytest.raises(OSError, match=":"), fixed_path(odd):
        pass
    with pytest.raises(SpecError, match="cannot be read"):
        InvertSpec.from_file(odd)


def test_a_file_is_written_to_but_not_through_a_link_or_into_a_pipe(
    tmp_path: Path, make_pipe: Callable[[Path], None]
) -> None:
    with open_file(tmp_path / "a", "ab") as file:
        file.write(b"kept")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    make_pipe(tmp_path / "c")
    for name in "bc":
        with pytest.raises(OSError, match=":"):
            open_file(tmp_path / name, "ab")
    assert read_text(tmp_path / "b") == "kept"
    assert (tmp_path / "a").stat().st_mode & 0o777 == (0o666 & ~_umask())
    with pytest.raises(ValueError, match="far too large"):
        read_text(tmp_path / "a", 3)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="needs a system that names open files")
def test_a_file_that_is_held_stays_the_same(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with fixed_path(path) as fixed:
        path.unlink()
        make_pipe(path)
        assert Path(fixed).read_text() == "old"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
