"""The page on signals and tiles: its code and its commands run, one after the other."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
from ganenc.cli import main
from ganenc_registry import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "signals-and-tiles.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(registry(), "_entries", dict(registry()._entries))
    (_, script), (_, shell), (_, python) = FENCE.findall(PAGE.read_text(encoding="utf-8"))
    Path("my_gans.py").write_text(script, encoding="utf-8")
    said: dict[str, Any] = {}
    try:
        for line in shell.splitlines():
            with pytest.raises(SystemExit) as ended:
                main(shlex.split(line)[1:])
            assert not ended.value.code, line
        heard = capsys.readouterr()
        exec(compile(python, str(PAGE), "exec"), said)
    finally:
        sys.modules.pop("my_gans", None)
    assert "1x3" in heard.out
    assert "waves makes signals, so what is made for pictures is left out: ssim, lpips" in heard.err
    assert (np.load("made/0000.npy") == np.load("inverted/0000/target.npy")).all()
    generated = ganenc.Latents.load("drawn/latents.safetensors")
    level = said["model"].generator.synthesize(generated[0])[0].detach()
    assert (np.load("drawn/0000.npy").argmax(2) == level.argmax(0).numpy()).all()
    read = [said["model"].read(name).target for name in ("level-0.npy", "level-2.npy")]
    assert all((one.argmax(0).numpy() == kinds).all() for one, kinds in zip(read, said["kinds"][::2], strict=True))
    assert said["found"].shape == (3, 16, 16)
