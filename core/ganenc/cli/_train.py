"""``ganenc pretrain`` and ``ganenc finetune``: encoders trained as a run's spec says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from ganenc_registry.errors import SpecError, UnknownNameError, nearest
from ganenc_registry.specs import PRESETS, RunSpec, merge, read_mapping

from ganenc.cli._app import FAILED
from ganenc.cli._console import Bar, say, show
from ganenc.cli._options import Labels, Out, Set, integers, nested

if TYPE_CHECKING:
    from ganenc.encoder import Encoder

    OnRow = Callable[[int, int, Mapping[str, float]], None]

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
    spec = _resolve(run, "pretrain", merge(fields, nested(settings)))

    def work(on_step: OnRow) -> Encoder:
        from ganenc.training import execute

        return execute(spec, out, on_step=on_step)

    _carry_out(spec, out, work)


def finetune(
    run: Annotated[str, typer.Argument(help="A run's YAML or JSON file, or a preset.")] = "finetune",
    *,
    out: Out,
    photos: Annotated[
        list[str] | None, typer.Option("--photos", "-p", help="Files, folders or patterns; may be given again.")
    ] = None,
    generator: Generator = None,
    encoder: Start = None,
    labels: Labels = None,
    steps: Steps = None,
    device: Place = None,
    settings: Set = None,
) -> None:
    """Fine-tune an encoder on photos. The same command resumes a run that was interrupted."""
    fields = _given(generator, encoder, steps, device)
    data = {"photos": list(photos) if photos else None, "labels": integers(labels)}
    fields["data"] = {key: value for key, value in data.items() if value is not None}
    spec = _with_start(_resolve(run, "finetune", merge(fields, nested(settings))))
    broken: list[Path] = []

    def work(on_step: OnRow) -> Encoder:
        return _finetune(spec, out, broken, on_step)

    _carry_out(spec, out, work)
    if broken:
        say(f"Error: {len(broken)} photos could not be read and were left out: {', '.join(map(str, broken))}.")
        raise typer.Exit(FAILED)


def _given(generator: str | None, encoder: str | None, steps: int | None, device: str | None) -> dict[str, Any]:
    """The fields of the spec that options give."""
    fields = {"generator": generator, "steps": steps, "device": device}
    given: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    if encoder is not None:
        from ganenc.cli._session import encoder_folder

        given["encoder"] = {"weights": encoder_folder("", encoder)}
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
    from ganenc.cli._session import model_info

    objective = fields.get("objective", {})
    if not fields.get("generator") or not isinstance(objective, Mapping) or "backbone" in objective:
        return fields
    own = model_info(str(fields["generator"])).get("backbone")
    return merge(fields, {"objective": {"backbone": own}}) if own else fields


def _with_start(spec: RunSpec) -> RunSpec:
    """The encoder to fine-tune, where the run names none: the model's, best before it saw photos.

    Raises:
        SpecError: if the model has none.
    """
    from ganenc.cli._session import encoder_folder
    from ganenc.models import model_folder

    if spec.encoder.weights:
        return spec
    folder = model_folder(spec.generator)
    pretrained = None if folder is None else folder / "encoder-pretrained"
    own = str(pretrained) if pretrained and (pretrained / "config.json").is_file() else encoder_folder(spec.generator)
    if own is None:
        raise SpecError(
            f"{spec.generator} has no encoder to fine-tune; train one with `ganenc pretrain`, give --encoder."
        )
    return spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"weights": own})})


def _finetune(spec: RunSpec, out: Path, broken: list[Path], on_step: OnRow) -> Encoder:
    """As `ganenc.training.execute` does it, with every broken photo named."""
    import torch
    from ganenc_registry.errors import TrainingError

    from ganenc import images, training
    from ganenc.devices import check_device
    from ganenc.models import load_generator

    if not spec.data.photos:
        raise SpecError("The run names no photos; give --photos, a folder, files or a pattern.")
    generator = load_generator(spec.generator, device=check_device(spec.device))

    def skip(path: Path, error: Exception) -> None:
        broken.append(path)
        say(f"Skipped: {error}")

    found = images.read_many(
        images.find(spec.data.photos), size=generator.spec.size, channels=generator.spec.channels,
        value_range=generator.spec.value_range, fit=spec.data.fit, on_error=skip,
    )  # fmt: skip
    if not found.paths:
        raise TrainingError(f"None of the photos in {', '.join(spec.data.photos)} could be read.")
    labels = None if spec.data.labels is None else torch.tensor(spec.data.labels)
    return training.finetune(generator, found.batch, spec, out, labels=labels, on_step=on_step)


def _carry_out(spec: RunSpec, out: Path, work: Callable[[OnRow], Encoder]) -> None:
    """Run with a progress bar, and write the report at the end, or at an interruption."""
    started = time.monotonic()
    first: list[int] = []

    def on_step(step: int, steps: int, terms: Mapping[str, float]) -> None:
        if not first:
            first.append(step)
            bar.restart(max(step - spec.saving.log_every, 0), steps)
        loss = f", loss {terms['total']:.4g}" if "total" in terms else ""
        bar.update(step, f"step {step} of {steps}{loss}")

    try:
        with Bar(spec.task, spec.steps) as bar:
            work(on_step)
    except KeyboardInterrupt:
        say(f"Interrupted; the same command goes on from the last checkpoint in {out}.")
        raise typer.Exit(FAILED) from None
    from ganenc.report import write_run_report

    fresh = not first or first[0] <= spec.saving.log_every
    report = write_run_report(out, seconds=time.monotonic() - started if fresh else None)
    show(f"Encoder: {out / 'encoder'}\nReport: {report}")
