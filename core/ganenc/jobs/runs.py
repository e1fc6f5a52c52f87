"""A run carried out whole: what its spec names is loaded, trained, and told of on a page."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from ganenc_registry.errors import SpecError, TrainingError, WriteError
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc import images
from ganenc.encoders import Encoder
from ganenc.files import Processes, check_device, write_text
from ganenc.generators import Generator
from ganenc.models import load_generator, resolve
from ganenc.report import run_report
from ganenc.training import OnRow, OnStart, RunFolder, each_label, finetune, pretrain


def execute(
    run: RunSpec,
    folder: str | Path,
    *,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
    on_error: Callable[[Path, Exception], None] | None = None,
) -> Encoder:
    """Carry out a run whole: load what its spec names, train, and leave everything in the folder.

    Called again with the same spec and folder it resumes where it was interrupted, and gives the same numbers (on a
    CPU) as an uninterrupted run. Started by ``accelerate launch``, its processes train together. Where the spec names
    no backbone the model's own is taken, and where a fine-tuning names no encoder the model's, best before it saw
    photos. ``on_step`` and ``on_start`` are as in `ganenc.training.pretrain`; ``on_error`` is called with each photo
    that cannot be read, which is left out (by default, a warning). A GanencError if what it names is missing or unfit.
    """
    if not run.model:
        raise SpecError("model: this run names none; give a shipped model, a model folder or a checkpoint.")
    processes = Processes(run.device)
    generator = load_generator(run.model, device=check_device(processes.device))
    own = resolve(run.model).info.get("backbone")
    sink, started = RunFolder(folder), time.monotonic()
    resumed = bool(sink.checkpoints())
    if run.task == "pretrain":
        trained = pretrain(generator, run, sink, own_backbone=own, on_step=on_step, on_start=on_start)
    else:
        run = _with_encoder(run)
        photos, labels = _photos(run, generator, on_error or _warn)
        trained = finetune(
            generator, photos, run, sink, labels=labels, own_backbone=own, on_step=on_step, on_start=on_start
        )
    if processes.first:
        seconds = None if resumed else time.monotonic() - started
        page = run_report(sink, title=f"{run.task} {sink.path.resolve().name}", seconds=seconds)
        try:
            write_text(sink.path / "report.html", page)
        except WriteError as error:
            warnings.warn(f"{error} The encoder is there.", stacklevel=2)
    return trained


def _with_encoder(run: RunSpec) -> RunSpec:
    if run.encoder.weights:
        return run
    found = resolve(run.model)
    own = found.inside("encoder-pretrained") or found.encoder
    if own is None:
        raise SpecError(
            f"encoder.weights: {run.model} has no encoder to fine-tune; train one with `ganenc pretrain`, or name one."
        )
    return run.model_copy(update={"encoder": run.encoder.model_copy(update={"weights": str(own)})})


def _photos(
    run: RunSpec, generator: Generator, on_error: Callable[[Path, Exception], None]
) -> tuple[Tensor, Tensor | None]:
    """The photos that can be read (M, C, H, W), and their labels (M,) or (1,)."""
    if not run.data.photos:
        raise SpecError("data.photos: a 'finetune' run needs photos; name folders, files or patterns.")
    spec, paths = generator.spec, images.find(run.data.photos)
    found = images.read_many(
        paths,
        size=spec.size,
        channels=spec.channels,
        value_range=spec.value_range,
        fit=run.data.fit,
        one_hot=spec.shows == "tiles",
        on_error=on_error,
    )
    if not len(found.batch):
        raise TrainingError(f"None of the photos in {', '.join(run.data.photos)} could be read.")
    labels = None if run.data.labels is None else torch.tensor(run.data.labels)
    if labels is not None and len(labels) != 1:
        read = set(found.paths)
        labels = each_label(len(paths), labels)[torch.tensor([path in read for path in paths])]
    return found.batch, labels


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(f"{error} It is left out.", stacklevel=3)
