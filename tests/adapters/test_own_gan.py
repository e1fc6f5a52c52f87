"""The page on wrapping a GAN of one's own: its code and its commands run, one after the other."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc.cli import main
from ganenc_registry import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-gan.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry(), "_entries", dict(registry()._entries))
    text = PAGE.read_text(encoding="utf-8")
    script, *rest = FENCE.findall(text)
    Path("my_gan.py").write_text(script[1], encoding="utf-8")
    said: dict[str, Any] = {}
    try:
        for language, block in rest:
            if language == "python":
                exec(compile(block, str(PAGE), "exec"), said)
                said |= vars(sys.modules["my_gan"])
                continue
            for line in block.splitlines():
                with pytest.raises(SystemExit) as ended:
                    main(shlex.split(line)[1:])
                assert not ended.value.code, line
    finally:
        sys.modules.pop("my_gan", None)
    shown = " ".join(part.strip() for part in re.findall(r"^>(.*)$", text, re.MULTILINE))
    assert shown in capsys.readouterr().out
    assert_left(said)


def assert_left(said: dict[str, Any]) -> None:
    """What the page says that is left behind is there, and right."""
    generator, again = said["generator"], said["again"]
    assert type(again).__name__ == "MyGan"
    latents = ganenc.Latents.load("latents.safetensors", model=ganenc.model_hash(again))
    with torch.no_grad():
        rebuilt = again.synthesize(latents)
    torch.testing.assert_close(rebuilt, generator.synthesize(latents), atol=1e-5, rtol=0)
    torch.testing.assert_close(rebuilt, said["inversion"].reconstructions, atol=1e-5, rtol=0)
    assert ganenc.images.read("inverted/0000/reconstruction.png").shape == (3, 16, 16)
