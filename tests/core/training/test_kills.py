"""Runs killed at random moments end as undisturbed ones do: the benchmark of it, which fails where one does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ganenc_plugin_hands.models import STYLEGAN2_HANDS64

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "kills.py"


@pytest.mark.slow
def test_runs_that_are_killed_a_hundred_times_end_the_same(tmp_path: Path) -> None:
    if not (STYLEGAN2_HANDS64 / "config.json").is_file():
        pytest.skip("needs the shipped model stylegan2-hands64, which `python -m ganenc_plugin_hands.train` makes")
    out = tmp_path / "kills.md"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, str(SCRIPT), "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = " ".join(out.read_text(encoding="utf-8").split())
    assert "| kills | 100 |" in text
    assert text.count("| files that differ or are missing | none |") == 2
    for phase in ("a checkpoint", "the best encoder", "a grid"):
        assert f"| while {phase} is written |" in text
