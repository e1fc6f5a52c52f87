"""Labels: the one place that checks them. Everything else takes what comes from here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from ganenc_registry.errors import LatentsError
from torch import Tensor

from ganenc.files import as_tensor

LabelsGiven: TypeAlias = Tensor | Sequence[int] | int
"""Classes int64 (N,) or rows (N, classes), one for each sample or one for all."""


def need_classes(classes: int, of: str) -> None:
    """Refuse labels where there are no classes, by a `LatentsError`."""
    if not classes:
        raise LatentsError(f"{of} has no classes, so labels are of no use; leave them out.")


def check_labels(
    given: LabelsGiven,
    classes: int,
    count: int | None = None,
    *,
    shared: bool = True,
    of: str = "the model",
    what: str = "Labels",
) -> Tensor:
    """Labels, one for each of ``count`` samples or, if ``shared``, one for all, as int64 (N,), or as rows (N, classes)
    if they were given so. ``of`` and ``what`` name in errors whose classes they are and what they are called.

    Which classes there are is looked at on the CPU alone: elsewhere that would wait for the device. `LatentsError` if
    there are no classes, their number or their shape is another, or one is no class.
    """
    need_classes(classes, of)
    found = as_tensor(given, what.lower(), LatentsError)
    found = found.reshape(1) if found.ndim == 0 and count is not None else found
    whole = not (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool)
    rows = found.ndim == 2 and found.shape[1] == classes
    if not rows and not (found.ndim == 1 and whole):
        shape = f"{tuple(found.shape)} of {found.dtype}"
        raise LatentsError(f"{what} are whole numbers (N,) or rows (N, {classes}); these are {shape}.")
    if count is not None and found.shape[0] != count and not (shared and len(found) == 1):
        remedy = "give one for each, or one for all" if shared else "give one for each"
        raise LatentsError(f"{len(found)} {what.lower()} are given for {count} samples; {remedy}.")
    if not rows:
        found = found.long()
        outside = sorted({label for label in found.tolist() if not 0 <= label < classes}) if found.is_cpu else []
        if outside:
            raise LatentsError(f"{what} run from 0 to {classes - 1}; {outside} are no classes of {of}.")
    return found if count is None else found.expand(count, *found.shape[1:])
