"""The gallery: its pictures, the page that shows them, and the script that makes them belong together."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = re.findall(r"!\[[^\]]+\]\(gallery/([^)\s]+)\)", (DOCS / "gallery.md").read_text(encoding="utf-8"))
LARGEST = 1_750_000
"""Bytes of all pictures together."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_script_makes_and_the_folder_holds(script: ModuleType) -> None:
    assert sorted(SHOWN) == sorted(script.PICTURES)
    assert sorted(path.name for path in script.FOLDER.iterdir()) == sorted(SHOWN)


def test_pictures_open_and_are_small_together(script: ModuleType) -> None:
    paths = [script.FOLDER / name for name in SHOWN]
    assert paths
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == path.suffix[1:].upper()
            assert getattr(picture, "is_animated", False) == (path.name == "interpolated.webp")
    assert sum(path.stat().st_size for path in paths) < LARGEST


def test_one_picture_is_made_again_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gallery.py", "--only", "attention.png", "--out", str(tmp_path)])
    script.main()
    assert [path.name for path in tmp_path.iterdir()] == ["attention.png"]
    with Image.open(tmp_path / "attention.png") as made, Image.open(script.FOLDER / "attention.png") as kept:
        assert made.size == kept.size
    assert capsys.readouterr().out.strip() == str(tmp_path / "attention.png")


def test_a_picture_that_is_not_there_is_refused(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["gallery.py", "--only", "nothing.png"])
    with pytest.raises(SystemExit):
        script.main()
    assert "samples.png" in capsys.readouterr().err
