"""``ganenc doctor``: what it says against what the system says."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.cli import findings
from ganenc.files import processor
from toys import ToyGenerator


def test_what_it_finds_is_what_there_is(
    known: Any, tiny_backbone: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    known.add_value("backbone", "here", type(tiny_backbone))
    known.add_value(
        "backbone", "absent", type("Absent", (type(tiny_backbone),), {"available": classmethod(lambda _: False)})
    )
    known.add_value("model", "made", ToyGenerator)
    code, told, _ = run("doctor", "--json")
    found = json.loads(told)
    assert code == 0
    assert found["threads"] == torch.get_num_threads()
    assert found["processors"] == os.cpu_count()
    assert found["cache"] == str(tmp_path / "home")
    assert f"torch {torch.__version__}" in found["versions"]
    assert found["devices"][0] == "cpu"
    assert len(found["devices"]) >= 1 + torch.cuda.device_count()
    assert "here" in found["backbones"]
    assert any(one.startswith("absent: on first use, or put its file into ") for one in found["backbones_to_fetch"])
    assert "made" in found["models"]
    assert "plugins that fail" in run("doctor")[1]


def test_extras_that_lack_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = ["torch", "never-made; extra == 'odd'", "torch; extra == 'odd'", "other-thing; extra == 'dev'"]
    metadata = importlib.metadata.metadata("ganenc")
    for extra in ("odd", "dev"):
        metadata["Provides-Extra"] = extra
    monkeypatch.setattr("importlib.metadata.requires", lambda _: needs)
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: metadata)
    assert findings()["extras_missing"] == ["never-made: pip install 'ganenc[odd]'"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model name\t: Fast  9\nflags\t: fpu avx2 sse fma\n", "Fast 9 (avx2 fma)"),
        ("Features\t: fp asimd\n", "(asimd)"),
        ("model name : Old\nflags : fpu\n", "Old (no vector flags)"),
    ],
)
def test_the_processor(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert processor(tmp_path / "cpuinfo").endswith(told)
    assert processor(tmp_path / "none")
