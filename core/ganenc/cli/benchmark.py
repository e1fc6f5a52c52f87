"""``ganenc benchmark``: methods of inversion compared on one model, at equal time and on their own schedules."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import BenchmarkSpec

from ganenc.cli import options
from ganenc.cli.console import Bar, emit, say, show, show_table
from ganenc.cli.edit import DIRECTION
from ganenc.cli.evaluate import Failures, Folds, Metrics, read_spec
from ganenc.cli.exits import INTERRUPTED
from ganenc.jobs import benchmark as carry_out
from ganenc.report import Compared, metric_name, metric_text

METHODS = typer.Option(
    "--method",
    metavar="NAME[=ENCODER]",
    help="A method to compare, with an encoder of its own: a folder or file, or one of `ganenc list encoder` or"
    " `ganenc list recipe`, which is trained; may be given again.",
)


def benchmark(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path],
    config: options.Config = None,
    method: Annotated[list[str] | None, METHODS] = None,
    encoder: options.Encoder = None,
    seconds: Annotated[
        str | None, typer.Option("--seconds", metavar="N[,N...]", help="Times a photo to fill; by default 5,20,60.")
    ] = None,
    own: Annotated[
        bool | None, typer.Option("--own/--no-own", help="Also take each method on its own schedule (default).")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Also so many synthesized images.")] = None,
    direction: Annotated[str | None, DIRECTION] = None,
    towards: Annotated[
        int | None, typer.Option("--towards", help="The class of the backbone's that the direction leads to.")
    ] = None,
    metric: Metrics = None,
    folds: Folds = None,
    train: Annotated[
        float | None, typer.Option("--train", metavar="SECONDS", help="How long encoders that are missing are trained.")
    ] = None,
    labels: options.PhotoLabels = None,
    candidates: options.Candidates = None,
    backbone: options.Backbone = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads that torch may use.")] = None,
    seed: options.Seed[int | None] = None,
    settings: options.Set = None,
    device: options.Device[str | None] = None,
    as_json: options.Json = False,
) -> None:
    """Compare methods of inversion: how near photos and synthesized images come, and how well they are edited then.

    Each method goes on its own schedule, and with as many steps as fill --seconds a photo. Without a --direction one
    is found: towards the class --towards, or the first principal component. Every inversion is kept in OUT as it is
    done, and the same command goes on there; methods and times may be added. OUT/index.html is the page, with tables,
    rebuilding against editing, and strips; OUT/benchmark.json has all numbers. --set reaches every field by its path,
    as in --set methods.optimize.options.rate=0.05 or --set methods.finetune.objective.attention=none.
    """
    given: dict[str, Any] = {
        "model": model, "encoder": encoder, "photos": photos, "samples": samples, "folds": folds, "labels": labels,
        "candidates": options.integers(candidates, option="--candidates"), "seed": seed, "backbone": backbone,
        "device": device, "metrics": {name: name for name in metric or []}, "direction": direction, "towards": towards,
        "methods": _methods(method or []), "seconds": _seconds(seconds), "own": own, "train": train, "threads": threads,
    }  # fmt: skip
    spec, failures = read_spec(BenchmarkSpec, config, given, settings), Failures()
    try:
        with Bar("comparing", 100) as bar:
            found = carry_out(
                spec, out, on_note=bar.note, on_step=lambda done, total: bar.update(100 * done // total),
                on_error=failures.add,
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"Interrupted; what was done is kept, and the same command goes on from there: {out}.")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        emit(found.facts)
    else:
        for name in found.rows[0].sets:
            _show(name, found.rows)
        show(f"Page: {found.page}")
    failures.end()


def _methods(words: list[str]) -> dict[str, Any]:
    """``NAME[=ENCODER]`` words => methods by the names to report them under."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, encoder = word.partition("=")
        label = f"{name}-{Path(encoder).name}" if sign else name
        if label in found:
            raise SpecError(f"--method {word}: it is named twice; name others with --set methods.NAME.")
        found[label] = {"name": name, "encoder": encoder or None}
    return found


def _seconds(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(word) for word in text.split(",") if word.strip()]
    except ValueError:
        raise SpecError(f"--seconds takes numbers, such as 5,20; got {text!r}.") from None


def _show(name: str, rows: list[Compared]) -> None:
    metrics = rows[0].sets[name].metrics
    edited = [{} if one is None else one.table() for one in (row.sets[name].editing for row in rows)]
    numbers = [one for one in ("effect", "consistency") if any(one in row for row in edited)]
    table = [
        [
            row.method, row.schedule, f"{row.seconds:.2f}",
            *(metric_text(mean, metrics[metric]) for metric, (mean, _) in row.sets[name].table().items()),
            *(f"{editing[one][0]:.3f}" for one in numbers),
        ]
        for row, editing in zip(rows, edited, strict=True)
    ]  # fmt: skip
    header = [name, "schedule", "seconds", *map(metric_name, metrics), *numbers]
    show_table(header, table, numeric=range(2, len(header)))
