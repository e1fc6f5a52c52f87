"""The page of a run, from the files that the run left."""

from __future__ import annotations

import json
from pathlib import Path

from ganenc_registry.errors import GanencError
from ganenc_registry.specs import RunSpec

from ganenc.files import write_text
from ganenc.models import read_config
from ganenc.report.summary import run_report

__all__ = ["write_run_report"]


def write_run_report(folder: str | Path, *, seconds: float | None = None) -> Path:
    """Read what a run left in its folder and write ``report.html`` beside it, atomically.

    Args:
        folder: the run's folder, with ``run.yaml``, ``metrics.jsonl``, ``grids`` and, if any, ``attention.png``.
        seconds: how long the run has taken, where that is known.

    Returns:
        the page's path.

    Raises:
        SpecError: if the folder holds no run.
        GanencError: if the page cannot be written.
    """
    folder = Path(folder)
    run = RunSpec.from_file(folder / "run.yaml")
    history = _rows(folder / "metrics.jsonl")
    pictures = sorted((folder / "grids").glob("*.png"))
    chosen = [pictures[0], pictures[-1]] if len(pictures) > 1 else pictures
    seen = folder / "attention.png"
    try:
        info = read_config(folder / "encoder").get("info", {})
    except GanencError:
        info = {}
    html = run_report(
        title=f"{run.task} {folder.resolve().name}",
        run=run,
        history=history,
        grids=[(_caption(path), path.read_bytes()) for path in chosen],
        attention=seen.read_bytes() if seen.is_file() else None,
        seconds=seconds,
        stopped=str(info.get("stopped", "")),
        generator_hash=str(info.get("generator", "")),
    )
    write_text(folder / "report.html", html)
    return folder / "report.html"


def _caption(path: Path) -> str:
    """``step-0000500.png`` => ``step 500``."""
    word, _, number = path.stem.partition("-")
    return f"{word} {int(number)}: targets above, reconstructions below" if number.isdecimal() else path.stem


def _rows(path: Path) -> list[dict[str, float]]:
    """The rows of ``metrics.jsonl``, without what an interruption left half written."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
