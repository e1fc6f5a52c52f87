"""The page of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.report.chart import curves_of, panels
from ganenc.report.pages import render
from ganenc.report.texts import duration

NO_TERMS = ("step", "rate", "rate_factor", "returned_to_good_state")
"""What rows hold besides the terms of the objective."""


def run_report(
    *,
    title: str,
    run: RunSpec,
    history: Sequence[Mapping[str, float]],
    grids: Mapping[int, Tensor] | None = None,
    attention: Tensor | None = None,
    seconds: float | None = None,
    stopped: str = "",
    generator_hash: str = "",
) -> str:
    """One self-contained HTML page about one run (its resolved spec); a pure function of its data.

    ``history`` has the rows of metrics: ``step``, every term by name, and what else was logged. ``grids`` are sample
    grids, uint8 (C, H, W), by step, of which the first and the last are shown; ``attention``, uint8 (C, H, W), is where
    it looks; ``stopped`` why the run ended early, if it did; ``generator_hash`` that of the generator's weights.
    """
    last = next((row for row in reversed(history) if "total" in row), {})
    numbers = {"steps": f"{int(last.get('step', 0)):,} of {run.steps:,}"}
    if last:
        numbers["loss at the end"] = f"{last['total']:.4g}"
    if seconds is not None:
        numbers["time"] = duration(seconds)
    settings = {"model": run.model, "task": run.task, "device": run.device, "seed": run.seed}
    said = {"hash of the generator's weights": generator_hash, "ended early": stopped}
    return render(
        "run.html",
        title=title,
        numbers=numbers,
        run=run,
        grids={step: grids[step] for step in (min(grids), max(grids))} if grids else {},
        attention=attention,
        panels=panels(curves_of(history, ignore=NO_TERMS)),
        settings={**settings, **{name: text for name, text in said.items() if text}},
    )
