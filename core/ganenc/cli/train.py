"""``ganenc pretrain`` and ``ganenc finetune``: encoders trained as a run's spec says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import PRESETS, RunSpec, preset, read_mapping

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, complain, say, show
from ganenc.cli.exits import FAILED, INTERRUPTED
from ganenc.files import first_process
from ganenc.inversion import written_labels
from ganenc.jobs import execute, read_runner, train_on

Run = Annotated[str, typer.Option("--run", "-r", help=f"A run's YAML or JSON file, or a preset: {', '.join(PRESETS)}.")]
Start = Annotated[str | None, typer.Option("--encoder", "-e", help="The encoder to start from.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps in all.")]


def pretrain(
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path],
    run: Run = "pretrain",
    encoder: Start = None,
    steps: Steps = None,
    device: options.Device[str | None] = None,
    on: options.On = None,
    settings: options.Set = None,
) -> None:
    """Train an encoder on images that the generator makes. The same command resumes a run that was interrupted.

    --set reaches every field of the run by its path, as in --set optimiser.rate=0.01 or --set
    objective.attention.name=center; `ganenc spec PRESET` shows them.
    """
    given = {"model": model, "encoder": {"weights": encoder}, "steps": steps, "device": device}
    _carry_out(_spec("pretrain", run, given, settings), out, on)


def finetune(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path],
    run: Run = "finetune",
    encoder: Start = None,
    labels: options.TrainingLabels = None,
    steps: Steps = None,
    device: options.Device[str | None] = None,
    on: options.On = None,
    settings: options.Set = None,
) -> None:
    """Fine-tune an encoder on photos. The same command resumes a run that was interrupted.

    It starts from the model's own encoder, best before it saw photos. --set reaches every field of the run by its
    path, as `ganenc pretrain` does.
    """
    given: dict[str, Any] = {"model": model, "encoder": {"weights": encoder}, "steps": steps, "device": device}
    given["data"] = {"photos": photos}
    spec = _spec("finetune", run, given, settings)
    if labels is not None:
        classes = written_labels(labels, images.find(spec.data.photos) if spec.data.photos else [])
        spec = changed(spec, {"data.labels": classes}, where="--labels")
    _carry_out(spec, out, on)


def _spec(task: str, run: str, given: Mapping[str, Any], settings: list[str] | None) -> RunSpec:
    """A file or preset and options => the run's spec; `SpecError` if it is neither, of the other task, or wrong."""
    file = os.path.isfile(run)
    spec = RunSpec.from_mapping({"task": task, **read_mapping(run)}, where=run) if file else preset(run)
    if spec.task != task:
        raise SpecError(f"--run {run} is a run of the task {spec.task!r}; use `ganenc {spec.task}`.")
    return changed(changed(spec, options.given_fields(given), where="--"), options.read_settings(settings))


def _carry_out(spec: RunSpec, out: Path, on: str | None) -> None:
    """Run with a progress bar, or by an engine; photos that cannot be read are named."""
    broken: list[Path] = []
    begun = False

    def on_step(step: int, steps: int, terms: Mapping[str, float]) -> None:
        nonlocal begun
        if not begun:
            bar.restart(max(step - spec.saving.log_every, 0), steps)
        begun = True
        bar.update(step, f"step {step} of {steps}, loss {terms['total']:.4g}")

    def on_start(sentences: Sequence[str]) -> None:
        for sentence in sentences:
            bar.note(sentence)

    def skip(path: Path, error: Exception) -> None:
        broken.append(path)
        if first_process():
            say(f"Skipped: {error}")

    try:
        with Bar(spec.task, spec.steps) as bar:
            if on is not None:
                train_on(read_runner(on), spec, out)
            else:
                execute(spec, out, on_step=on_step, on_start=on_start, on_error=skip)
    except KeyboardInterrupt:
        if first_process():
            say(f"Interrupted; what was done is saved, and the same command goes on from there: {out}.")
        raise typer.Exit(INTERRUPTED) from None
    if first_process():
        show(f"Encoder: {out / 'encoder'}\nReport: {out / 'report.html'}")
    if broken:
        complain(f"{len(broken)} photos could not be read and were left out: {', '.join(map(str, broken))}.")
        raise typer.Exit(FAILED)
