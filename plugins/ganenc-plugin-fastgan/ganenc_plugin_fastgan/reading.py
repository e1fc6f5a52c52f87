"""What both readers do: names of ours to names in a file, noise that no file holds, weights that were normalised."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, draw_normal
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor

__all__ = ["MOST_LEVELS", "Network", "convert"]

MOST_LEVELS = 10
"""Of resolutions; those of 2048 pixels have 10."""
_LEAVES = ("weight", "weight_orig", "parametrizations.weight.original")


class Network:
    """One network in a checkpoint: tensors below a prefix.

    Attributes:
        replaced: names, without the prefix, whose values are elsewhere in the file, and where.
    """

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix
        self.replaced: dict[str, str] = {}

    def holds(self, start: str) -> bool:
        """Whether a tensor's name starts so."""
        return any(name.startswith(self.prefix + start) for name in self.checkpoint.tensors)

    def spare(self, pattern: str) -> None:
        """Say that tensors below the prefix, whose names match, have no part in the images."""
        self.checkpoint.spare(re.escape(self.prefix) + pattern)

    def tensor(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        """A tensor in float32; `CheckpointError` if it is missing or does not fit."""
        return self.checkpoint.tensor(self.replaced.get(name, self.prefix + name), shape)

    def shape(self, layer: str, axes: int = 4) -> tuple[int, ...]:
        """The shape of a layer's weight, however it is stored."""
        return tuple(self.tensor(self._stored(layer), (None,) * axes).shape)

    def levels(self, pattern: str) -> list[int]:
        """The numbers, in order, that a pattern finds in names."""
        found = map(re.compile(re.escape(self.prefix) + pattern).match, self.checkpoint.tensors)
        return sorted({int(match.group(1)) for match in found if match})

    def weight(self, layer: str, shape: tuple[int, ...], axis: int = 0) -> Tensor:
        """The weight of a layer, divided by its largest singular value where it is spectrally normalised, as the
        vectors beside it tell that; ``axis`` counts what goes out."""
        stored = self._stored(layer)
        found = self.tensor(stored, shape)
        if stored.endswith(".weight"):
            return found
        self.spare(rf"{re.escape(layer)}\.weight")  # What was last used in training.
        start = f"{layer}.parametrizations.weight.0._" if "parametrizations" in stored else f"{layer}.weight_"
        matrix = found.movedim(axis, 0).flatten(1)
        u, v = self.tensor(f"{start}u", (len(matrix),)), self.tensor(f"{start}v", (matrix.shape[1],))
        sigma = u @ matrix @ v
        if not bool(sigma) or not bool((found / sigma).isfinite().all()):
            self.checkpoint.fail(f"the tensor {self.prefix + stored!r} has a spectral norm of zero")
        return found / sigma

    def variance(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The running variance of a norm."""
        found = self.tensor(name, shape)
        if bool((found < 0).any()):
            self.checkpoint.fail(f"the tensor {self.prefix + name!r} holds variances below zero")
        return found

    def _stored(self, layer: str) -> str:
        names = [f"{layer}.{leaf}" for leaf in _LEAVES]
        found = (name for name in names[::-1] if self.prefix + name in self.checkpoint.tensors)
        return next(found, names[self.holds(f"{layer}.weight_")])


def convert(
    checkpoint: Checkpoint,
    family: type[Generator],
    spec_of: Callable[[], GeneratorSpec],
    find: Callable[[str, tuple[int, ...]], Tensor],
) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec of a network, and its weights by our names, from what tells the one and ``find`` gives the others; noise
    that is kept is drawn here, always the same. `CheckpointError` if they do not fit together."""
    try:
        spec = spec_of()
        with torch.device("meta"):
            wanted: Mapping[str, Tensor] = family(spec).state_dict()
    except (SpecError, ValidationError) as error:
        checkpoint.fail(f"its {family.__name__} cannot be built ({' '.join(str(error).split()).rstrip('.')})")
    tensors, drawn = {}, 0
    for name, like in wanted.items():
        if name.endswith(".const"):
            tensors[name] = draw_normal(1, like.numel(), seed=0, first=drawn).view(like.shape)
            drawn += 1
        elif name.endswith(".num_batches_tracked"):
            tensors[name] = torch.zeros((), dtype=like.dtype)
        else:
            tensors[name] = find(name, tuple(like.shape)).contiguous()
    return spec, tensors
