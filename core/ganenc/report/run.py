"""The page of a run."""

from __future__ import annotations

from typing import Any

from ganenc.report.chart import curves_of, panels
from ganenc.report.pages import render
from ganenc.report.texts import duration
from ganenc.training import Memory, RunFolder

NO_TERMS = ("step", "rate", "rate_factor", "returned_to_good_state")
"""What rows hold besides the terms of the objective."""


def run_report(sink: RunFolder | Memory, *, title: str, seconds: float | None = None) -> str:
    """One self-contained HTML page about the run that a sink holds, with the first of its sample grids and the last."""
    run, history, grids = sink.run, sink.metrics(), sink.grids
    assert run is not None, "a run that has begun"
    last: dict[str, Any] = next((row for row in reversed(history) if row.get("total") is not None), {})
    numbers = {"steps": f"{int(last.get('step', 0)):,} of {run.steps:,}"}
    if last:
        numbers["loss at the end"] = f"{last['total']:.4g}"
    if seconds is not None:
        numbers["time"] = duration(seconds)
    settings = {"model": run.model, "task": run.task, "device": run.device, "seed": run.seed}
    said = {"hash of the generator's weights": sink.info.get("generator"), "ended early": sink.info.get("stopped")}
    return render(
        "run.html",
        title=title,
        numbers=numbers,
        run=run,
        grids={step: grids[step] for step in (min(grids), max(grids))} if grids else {},
        attention=sink.attention,
        panels=panels(curves_of(history, ignore=NO_TERMS)),
        settings={**settings, **{name: text for name, text in said.items() if text}},
    )
