"""README's first snippet does what it says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from ganenc.inversion import PhotoFolder, Tune
from ganenc_plugin_hands.models import PHOTOS
from pydantic import create_model

README = Path(__file__).resolve().parents[3] / "README.md"


def test_a_photo_is_inverted_saved_and_edited_in_six_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0]
    lines = [line for line in block.splitlines() if line]
    assert len(lines) <= 6
    assert "=" not in block.replace(" = ", ""), "no option is named"
    fewer = create_model("Options", __base__=Tune.Options, steps=(int, 8))  # The same, in a second.
    monkeypatch.setattr(Tune, "Options", fewer)
    monkeypatch.chdir(tmp_path)
    shutil.copy(sorted(PHOTOS.glob("3-*.jpg"))[0], "photo.jpg")
    exec(compile(block, "README.md", "exec"), {})
    folder = PhotoFolder(Path("inverted"))
    assert folder.facts()["metrics"]["psnr"] > 15
    assert folder.has_page
    assert Path("edited", "strip.png").is_file()
