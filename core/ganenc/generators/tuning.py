"""A generator's tuning: differences of its weights, by name, that an image was rebuilt with. Not in paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from ganenc_registry.errors import CheckpointError, nearest
from torch import Tensor

from ganenc.files import hash_tensors, load_tensors, save_tensors

Tuning: TypeAlias = Mapping[str, Tensor]
"""What is added to weights, by the names of parameters; empty where none are tuned."""
FORM = "ganenc-tuning"


def tuning_hash(tuning: Tuning) -> str:
    """By what latents know the tuning that they go with (``info["tuning"]``); empty where there is none."""
    return hash_tensors(tuning) if tuning else ""


def check_tuning(tuning: Tuning, weights: Mapping[str, Tensor], family: str) -> None:
    """Raise `CheckpointError` if differences are not of these weights, or not finite."""
    for name, difference in tuning.items():
        if name not in weights:
            raise CheckpointError(f"{family} has no weights {name!r} to tune{nearest(name, weights)}.")
        if difference.shape != weights[name].shape or not difference.is_floating_point():
            found, wanted = (f"{tuple(one.shape)} of {one.dtype}" for one in (difference, weights[name]))
            raise CheckpointError(f"The tuning of {name!r} is {found}, and the weights of {family} are {wanted}.")
        if not bool(difference.isfinite().all()):
            raise CheckpointError(f"The tuning of {name!r} holds NaN or infinity; invert anew, at a lower rate.")


def save_tuning(path: str | Path, tuning: Tuning, *, model: str) -> None:
    """Write a tuning of the weights of the hash ``model`` as a safetensors file, atomically."""
    save_tensors(path, tuning, {"format": FORM, "model": model})


def load_tuning(path: str | Path, *, model: str, known: str) -> dict[str, Tensor]:
    """What `save_tuning` wrote; `CheckpointError` if it is not there, is damaged, belongs to another model than the
    hash ``model``, or is not the tuning of the hash ``known``."""
    metadata, tuning = load_tensors(path, "tuning", form=FORM, remedy="invert the photo anew")
    if metadata.get("model") != model:
        raise CheckpointError(f"The tuning {path} is of the model {metadata.get('model', '')[:12]}, not {model[:12]}.")
    if tuning_hash(tuning) != known:
        raise CheckpointError(f"The tuning {path} is not the one of the latents beside it; invert the photo anew.")
    return tuning
