"""``ganenc pretrain`` and ``ganenc finetune``: encoders trained as a run's spec says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from ganenc_registry.errors import SpecError, UnknownNameError, nearest
from ganenc_registry.specs import PRESETS, RunSpec, merge, read_mapping

from ganenc.cli.app import FAILED
from ganenc.cli.console import Bar, say, show
from ganenc.cli.options import Out, Set, TrainingLabels, read_settings
from ganenc.models import resolve

__all__ = ["finetune", "pretrain"]

Task = Literal["pretrain", "finetune"]
Generator = Annotated[
    str | None, typer.Option("--generator", "--model", "-m", help="An installed model, a model folder or a checkpoint.")
]
Start = Annotated[str | None, typer.Option("--encoder", "-e", help="The encoder to start from.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps in all.")]
Place = Annotated[str | None, typer.Option("--device", "-d", help="cpu, cuda, cuda:N or mps.")]


def pretrain(
    run: Annotated[str, typer.Argument(help="A run's YAML or JSON file, or a preset.")] = "pretrain",
    *,
    out: Out,
    generator: Generator = None,
    encoder: Start = None,
    steps: Steps = None,
    device: Place = None,
    settings: Set = None,
) -> None:
    """Train an encoder on images that the generator makes. The same command resumes a run that was interrupted."""
    fields = _given(generator, encoder, steps, device)
    _carry_out(_resolve(run, "pretrain", merge(fields, read_settings(settings))), out)


def finetune(
    run: Annotated[str, typer.Argument(help="A run's YAML or JSON file, or a preset.")] = "finetune",
    *,
    out: Out,
    photos: Annotated[
        list[str] | None, typer.Option("--photos", "-p", help="Files, folders or patterns; may be given again.")
    ] = None,
    generator: Generator = None,
    encoder: Start = None,
    labels: TrainingLabels = None,
    steps: Steps = None,
    device: Place = None,
    settings: Set = None,
) -> None:
    """Fine-tune an encoder on photos. The same command resumes a run that was interrupted."""
    fields = _given(generator, encoder, steps, device)
    fields["data"] = {"photos": list(photos)} if photos else {}
    if labels is not None:
        fields["data"]["labels"] = _classes(labels, merge(fields, read_settings(settings)), run)
    spec = _with_start(_resolve(run, "finetune", merge(fields, read_settings(settings))))
    if not spec.data.photos:
        raise SpecError("The run names no photos; give --photos, a folder, files or a pattern.")
    broken = _carry_out(spec, out)
    if broken:
        say(f"Error: {len(broken)} photos could not be read and were left out: {', '.join(map(str, broken))}.")
        raise typer.Exit(FAILED)


def _classes(labels: str, fields: Mapping[str, Any], run: str) -> list[int]:
    """The classes of the run's photos, in their order.

    Raises:
        SpecError: if they are to be found instead of given.
    """
    from ganenc import images
    from ganenc.inversion import written_labels

    photos = _resolve(run, "finetune", fields).data.photos
    return written_labels(labels, images.find(photos) if photos else [])


def _given(generator: str | None, encoder: str | None, steps: int | None, device: str | None) -> dict[str, Any]:
    """The fields of the spec that options give."""
    fields = {"generator": generator, "steps": steps, "device": device}
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    if encoder is not None:
        given["encoder"] = {"weights": encoder}
    return given


def _resolve(run: str, task: Task, over: Mapping[str, Any]) -> RunSpec:
    """A file or preset, with what options say => the run's spec.

    Raises:
        UnknownNameError: if it is neither.
        SpecError: if a field is wrong, or the run is of the other task.
    """
    if Path(run).is_file():
        base: Mapping[str, Any] = read_mapping(run)
        where = run
    elif run in PRESETS:
        base, where = PRESETS[run], f"the preset {run}"
    else:
        raise UnknownNameError(
            f"There is no file or preset {run!r}{nearest(run, PRESETS)}; presets are {', '.join(PRESETS)}."
        )
    fields = merge(base, over)
    if fields.get("task", task) != task:
        raise SpecError(f"{where} is a run of the task {fields['task']!r}; use `ganenc {fields['task']}`.")
    fields["task"] = task
    spec = RunSpec.from_mapping(_with_backbone(fields), where=where)
    if not spec.generator:
        raise SpecError(
            "The run names no generator; give --generator, an installed model, a model folder or a checkpoint."
        )
    return spec


def _with_backbone(fields: dict[str, Any]) -> dict[str, Any]:
    """The backbone that the model's config names, where the run names none."""
    objective = fields.get("objective", {})
    if not fields.get("generator") or not isinstance(objective, Mapping) or "backbone" in objective:
        return fields
    own = resolve(str(fields["generator"])).info.get("backbone")
    return merge(fields, {"objective": {"backbone": own}}) if own else fields


def _with_start(spec: RunSpec) -> RunSpec:
    """The encoder to fine-tune, where the run names none: the model's, best before it saw photos.

    Raises:
        SpecError: if the model has none.
    """
    if spec.encoder.weights:
        return spec
    found = resolve(spec.generator)
    own = found.inside("encoder-pretrained") or found.encoder
    if own is None:
        raise SpecError(
            f"{spec.generator} has no encoder to fine-tune; train one with `ganenc pretrain`, give --encoder."
        )
    return spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"weights": str(own)})})


def _carry_out(spec: RunSpec, out: Path) -> list[Path]:
    """Run with a progress bar; the photos that could not be read are named and returned."""
    from ganenc.files import first_process
    from ganenc.jobs import execute

    first: list[int] = []
    broken: list[Path] = []

    def on_step(step: int, steps: int, terms: Mapping[str, float]) -> None:
        if not first:
            first.append(step)
            bar.restart(max(step - spec.saving.log_every, 0), steps)
        loss = f", loss {terms['total']:.4g}" if "total" in terms else ""
        bar.update(step, f"step {step} of {steps}{loss}")

    def on_start(sentences: Sequence[str]) -> None:
        for sentence in sentences:
            bar.note(sentence)

    def skip(path: Path, error: Exception) -> None:
        broken.append(path)
        if first_process():
            say(f"Skipped: {error}")

    try:
        with Bar(spec.task, spec.steps) as bar:
            execute(spec, out, on_step=on_step, on_start=on_start, on_error=skip)
    except KeyboardInterrupt:
        if first_process():
            say(f"Interrupted; what was done is saved, and the same command goes on from there: {out}.")
        raise typer.Exit(FAILED) from None
    if first_process():
        show(f"Encoder: {out / 'encoder'}\nReport: {out / 'report.html'}")
    return broken
