"""The guide to a plugin of one's own, word for word, in an environment with nothing of ours but the core's wheel."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import ROOT, make_environment

GUIDE = ROOT / "docs" / "how-to" / "own-plugin.md"
STEP = re.compile(r"(?:`(?P<name>[\w.]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, str]]:
    """What the guide has its reader do, in order: ``("sh", commands)``, or a file's name and what it holds."""
    found = [match.groupdict() for match in STEP.finditer(GUIDE.read_text(encoding="utf-8"))]
    return [(one["name"] or one["language"], one["text"]) for one in found if one["name"] or one["language"] == "sh"]


def test_the_guide_is_read_as_it_is_meant() -> None:
    done = [name for name, _ in steps()]
    assert done == ["sh", "sh", "sh", "weights.py", "sh", "run.yaml", "sh", "sh"]
    commands = "".join(text for name, text in steps() if name == "sh")
    for wanted in ("new-plugin", "pip install", "ganenc plugins", "ganenc check", "ganenc pretrain", "ganenc invert"):
        assert wanted in commands


def test_the_test_that_the_guide_shows_is_the_one_that_is_written(tmp_path: Path) -> None:
    from ganenc.scaffold import write_plugin

    folder = write_plugin("stripes-gan", "generator", folder=tmp_path / "new")
    written = (folder / "tests" / "test_generator.py").read_text(encoding="utf-8")
    shown = next(m["text"] for m in STEP.finditer(GUIDE.read_text(encoding="utf-8")) if "parametrize" in m["text"])
    for line in filter(None, shown.splitlines()):
        assert line in written or "def " in line


@pytest.mark.slow
def test_every_step_of_the_guide_does_what_it_says(
    built: Callable[[str], tuple[Path, Path]], dist: Path, tmp_path: Path
) -> None:
    built("ganenc")
    clean, place = make_environment(tmp_path / "clean", dist, "ganenc"), tmp_path / "place"
    place.mkdir()
    said = ""
    for name, text in steps():
        if name == "sh":
            said += clean.run("sh", "-e", "-c", text, folder=place)
        else:
            (place / name).write_text(text, encoding="utf-8")
    assert "generator stripes-gan" in said
    assert re.search(r"\b[1-9]\d* passed", said)
    assert not re.search(r"\b[1-9]\d* failed", said)
    assert (place / "runs" / "stripes" / "encoder" / "model.safetensors").is_file()
    assert list((place / "inverted").rglob("*.safetensors"))
    assert [path.name for path in (place / "dist").iterdir()] == ["stripes_gan-0.1.0-py3-none-any.whl"]
