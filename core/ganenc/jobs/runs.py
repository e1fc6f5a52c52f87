"""A run carried out whole: what its spec names is loaded, trained, and told of on a page."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import ImageError, SpecError, TrainingError, WriteError
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc import images
from ganenc.encoders import Encoder
from ganenc.files import Processes, write_text
from ganenc.generators import Generator
from ganenc.inversion import read_photo
from ganenc.jobs.evaluating import read_photos
from ganenc.models import load_generator, resolve
from ganenc.report import run_report
from ganenc.training import OnRow, OnStart, RunFolder, each_label, finetune, pretrain


def execute(
    run: RunSpec,
    folder: str | Path,
    *,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
    on_error: Callable[[Path, ImageError], None] | None = None,
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
    generator = load_generator(run.model, device=processes.device)
    own = resolve(run.model).info.get("backbone")
    sink, started = RunFolder(folder), time.monotonic()
    resumed = bool(sink.checkpoints())
    options: dict[str, Any] = {"own_backbone": own, "on_step": on_step, "on_start": on_start}
    if run.task == "pretrain":
        trained = pretrain(generator, run, sink, **options)
    else:
        run = _with_encoder(run)
        photos, labels = _photos(run, generator, on_error or _warn)
        trained = finetune(generator, photos, run, sink, labels=labels, **options)
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
    run: RunSpec, generator: Generator, on_error: Callable[[Path, ImageError], None]
) -> tuple[Tensor, Tensor | None]:
    """The photos that can be read (M, C, H, W), and their labels (M,) or (1,)."""
    if not run.data.photos:
        raise SpecError("data.photos: a 'finetune' run needs photos; name folders, files or patterns.")
    files = images.find(run.data.photos)
    read = partial(read_photo, spec=generator.spec, fit=run.data.fit)
    photos, kept = read_photos(files, read, run.data.photos, on_error, error=TrainingError)
    labels = None if run.data.labels is None else torch.tensor(run.data.labels)
    return photos, labels if labels is None or len(labels) == 1 else each_label(len(files), labels)[kept]


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(f"{error} It is left out.", stacklevel=3)
