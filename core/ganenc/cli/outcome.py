"""What inverting photos tells, as a bar, notes and a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from ganenc_registry.specs import InvertSpec

from ganenc.cli.console import Bar, complain, emit, say, show, show_table
from ganenc.cli.exits import FAILED, INTERRUPTED
from ganenc.files import first_process
from ganenc.jobs import BatchBegun, Event, JobResult, PhotoFailed, Started, Stepped, invert_folder
from ganenc.model import Model
from ganenc.report import metric_text, seconds_text

EACH = 100
"""Steps of the bar for each photo."""


def carry_out(model: Model | str, photos: Sequence[str | Path], out: Path, spec: InvertSpec, **job: Any) -> JobResult:
    """Invert photos with a bar; exits with 1 if it was interrupted."""
    try:
        with Bar("inverting", EACH, shown=first_process()) as bar:
            return invert_folder(model, photos, out, spec, on_event=lambda event: _draw(event, bar), **job)
    except KeyboardInterrupt:
        say(f"Interrupted; what was done is saved, and the same command goes on from there: {out}.")
        raise typer.Exit(INTERRUPTED) from None


def _draw(event: Event, bar: Bar) -> None:
    if isinstance(event, Started):
        bar.restart(0, EACH * event.todo)
    elif isinstance(event, BatchBegun):
        last = f" to {event.before + len(event.photos)}" if len(event.photos) > 1 else ""
        what = f"{event.photos[0].name} ({event.before + 1}{last} of {event.todo})"
        bar.update(EACH * event.before, what=what)
    elif isinstance(event, Stepped):
        loss = f"loss {event.terms['total']:.4g}" if "total" in event.terms else ""
        bar.update(int(EACH * event.done), loss)
    elif isinstance(event, PhotoFailed):
        bar.note(f"Skipped: {event.error}")


def show_result(
    result: JobResult, *, as_json: bool = False, quiet: bool = False, report: bool = True, again: str = ""
) -> None:
    """Print the result as JSON, as a table or not at all, and say what failed and what to do ``again``; exits with 1 if
    a photo failed. ``report`` says whether there is a page of all photos. Of several processes the first alone prints.
    """
    if first_process():
        if as_json:
            emit(result.to_mapping())
        elif not quiet:
            _show(result, report)
        _complain(result, again)
    if result.failed:
        raise typer.Exit(FAILED)


def _show(result: JobResult, report: bool) -> None:
    for warning in result.warnings:
        say(f"Note: {warning}")
    if result.far > len(result.warnings):
        more = result.far - len(result.warnings)
        say(f"Note: {more} more are unlike what the generator makes; their lines in the index hold `warning`.")
    if result.rows:
        _show_rows(result)
        show(f"Report: {result.folder.summary}" if report else f"Results: {result.folder.path}")
    if result.skipped:
        say(f"{result.skipped} of {result.photos} photos were done before; --overwrite does them anew.")


def _complain(result: JobResult, again: str) -> None:
    if result.left:
        say(f"{result.left} photos were not begun, as there was no time left for them.")
    if result.failed:
        more = result.failed - len(result.failures)
        ending = f" and {more} more, see {result.folder.index.path}" if more else ""
        lost = ", ".join(str(path) for path, _ in result.failures)
        complain(f"{result.failed} of {result.failed + result.done} photos failed: {lost}{ending}.{again}")


def _show_rows(result: JobResult) -> None:
    rows = result.rows
    labelled = bool(rows[0].get("labels_from"))
    blank = [""] * labelled
    cells = [
        [Path(row["photo"]).name, *([f"{row.get('label')} ({row.get('labels_from')})"] * labelled),
         *_texts(row["metrics"], result), seconds_text(row["seconds"])]
        for row in rows
    ]  # fmt: skip
    cells.append(["(mean image)", *blank, *_texts(result.metrics_of_the_mean_image, result), ""])
    last = ["mean", *blank, *_texts(result.metrics, result), seconds_text(result.seconds)]
    head = ["photo", *(["class"] * labelled), *result.metrics, "seconds"]
    if result.done > len(rows):
        show(f"Of {result.done} photos, the {len(rows)} of lowest PSNR; the means are of all:")
    show_table(head, cells, numeric=range(1 + len(blank), len(head)), last=last)


def _texts(metrics: Mapping[str, float], result: JobResult) -> list[str]:
    taken = result.taken
    return [metric_text(metrics[name], taken.get(name)) if name in metrics else "" for name in result.metrics]
