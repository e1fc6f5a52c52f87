"""An evaluation carried out whole: what its spec names is loaded, rebuilt and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import GanencError, ImageError, SpecError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import EvaluateSpec
from torch import Tensor

from ganenc import images
from ganenc.inversion import Photo, folder_labels, read_labels
from ganenc.measures import Evaluation
from ganenc.model import Model, load


def evaluate_photos(
    spec: EvaluateSpec,
    model: Model | None = None,
    *,
    on_step: Callable[[int, int], None] | None = None,
    on_error: Callable[[Path, ImageError], None] | None = None,
) -> Evaluation:
    """Measure how well photos, or images that the generator makes, are rebuilt: `Model.evaluate` from its spec.

    Where the spec says nothing of labels, photos' are read from the names of their folders, if they all lie in such.
    ``model`` replaces the spec's; ``on_step`` is called with the images rebuilt, and all; ``on_error`` with each photo
    left out as unreadable. A GanencError if what the spec names is missing or unfit, or no photo can be read.
    """
    check_choices(spec)
    if bool(spec.photos) == bool(spec.samples):
        raise SpecError("Name photos, or samples for synthesized images; one of the two.")
    model = model or load(spec.model, device=spec.device, encoder=spec.encoder, backbone=spec.backbone)
    choices: Any = spec.metrics or None
    return model.evaluate(
        **read_targets(spec, model, on_error), method=spec.method, metrics=choices, folds=spec.folds,
        candidates=spec.candidates, objective=spec.objective, truncation=spec.truncation, direction=spec.direction,
        towards=spec.towards, strengths=spec.strengths, seed=spec.seed, on_step=on_step,
    )  # fmt: skip


def read_targets(
    spec: EvaluateSpec, model: Model, on_error: Callable[[Path, ImageError], None] | None = None
) -> dict[str, Any]:
    """What `Model.evaluate` takes of the photos or samples of a spec: these, their labels, and how others are found."""
    files = images.find(spec.photos) if spec.photos else [Path(str(place)) for place in range(spec.samples or 0)]
    classes = model.generator.spec.classes
    said = None if spec.labels is None else read_labels(spec.labels, files, classes=classes)
    find, labels = (said, None) if isinstance(said, str) else (None, said)
    photos: Tensor | None = None
    if spec.photos:
        if labels is None and classes:
            labels = folder_labels(files, classes)
        options: dict[str, Any] = {"fit": spec.fit, "align": spec.align, "attention": spec.objective.attention}
        photos, kept = read_photos(files, partial(model.read, **options), spec.photos, on_error)
        labels = None if labels is None else [labels[place] for place in kept]
    return {"photos": photos, "samples": spec.samples, "labels": labels, "find": find}


def read_photos(
    files: list[Path],
    read: Callable[[Path], Photo],
    named: Sequence[str],
    on_error: Callable[[Path, ImageError], None] | None,
    *,
    error: type[GanencError] = ImageError,
) -> tuple[Tensor, list[int]]:
    """The photos that can be read (N, C, H, W), and their places; the ``error`` if of those ``named`` none can."""
    targets, kept = [], []
    for place, file in enumerate(files):
        try:
            targets.append(read(file).target)
            kept.append(place)
        except ImageError as broken:
            if on_error is not None:
                on_error(file, broken)
    if not targets:
        raise error(f"None of the photos in {', '.join(named)} could be read.")
    return torch.stack(targets), kept
