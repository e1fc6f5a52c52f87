"""Copies of an encoder, one for each photo, that go through their layers together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import repeat

import torch
from ganenc_registry.errors import SpecError
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ganenc.encoders import AdaptiveBlock, Encoder
from ganenc.latents import Latents

AT_ONCE = 8
"""Photos at once where that pays."""
MOST_PIXELS = 64 * 64
"""Of an image; above, little is gained or something lost (benchmarks/results/batching.md)."""
MOST_WEIGHTS = 2_000_000
"""That are trained, above which it hardly does, and takes much memory."""


class StackedEncoder(nn.Module):
    """As many copies of an encoder as photos: each photo goes through its own, all in one pass (``torch.func.vmap``).

    Parameters are those weights of the encoder (in eval mode, left as it is) that require a gradient, stacked: (copies,
    \\*shape) each, with the gradient of their own photo and of no other; other weights and buffers are shared.
    ``label_rows``: labels (N,) or (N, classes) => rows (N, classes), where the encoder wants labels.
    """

    def __init__(self, encoder: Encoder, copies: int, label_rows: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        shared = copy.deepcopy(encoder)
        self._shared = (shared,)  # No module of this one: of its weights, those that are stacked are never used.
        self._label_rows = label_rows
        self._names = [name for name, parameter in shared.named_parameters() if parameter.requires_grad]
        given = dict(shared.named_parameters())
        stacked = (given[name].detach().expand(copies, *given[name].shape) for name in self._names)
        self.stacked = nn.ParameterList(one.clone(memory_format=torch.contiguous_format) for one in stacked)
        self.eval()

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Latents:
        """Images (N, C, H, W), one for each copy, and labels, as in `Encoder.forward`, => latents; a LatentsError if
        labels are missing or do not fit, a SpecError if the encoder's blocks do what cannot be batched."""
        (shared,) = self._shared
        rows = None if labels is None or shared.embedding is None else self._label_rows(labels)
        if torch.is_grad_enabled():
            tensors = self._at_once(images, rows)
        else:  # What saves time and memory then writes in place, which vmap does not take.
            each = zip(zip(*self.stacked, strict=True), images, rows if rows is not None else repeat(None))
            found = [self._encode(*one) for one in each]
            tensors = {name: torch.cat([one[name] for one in found]) for name in found[0]}
        return Latents(shared.spec.layout, tensors)

    def _at_once(self, images: Tensor, rows: Tensor | None) -> dict[str, Tensor]:
        try:
            found = vmap(self._encode, in_dims=(0, 0, None if rows is None else 0))([*self.stacked], images, rows)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            blocks = f"This encoder's blocks ({self._shared[0].spec.block.name!r}) cannot be batched over their weights"
            raise SpecError(f"{blocks}; take batch=1. Torch says: {str(error).splitlines()[0]}") from error
        return {name: tensor.flatten(0, 1) for name, tensor in found.items()}

    def _encode(self, weights: Sequence[Tensor], image: Tensor, row: Tensor | None) -> dict[str, Tensor]:
        """One image (C, H, W), and its label's row, through a copy => the latents of one sample."""
        named = dict(zip(self._names, weights, strict=True))
        label = None if row is None else row[None]
        latents: Latents = functional_call(self._shared[0], named, (image[None],), {"labels": label})
        return latents.tensors


def pays_at_once(encoder: Encoder, trained: Sequence[Tensor]) -> int:
    """How many photos' encoders, of which these weights move, are best fine-tuned at once, by what was measured."""
    small = encoder.spec.size[0] * encoder.spec.size[1] <= MOST_PIXELS
    light = sum(weight.numel() for weight in trained) <= MOST_WEIGHTS
    ours = len(encoder.blocks) > 0 and all(type(block) is AdaptiveBlock for block in encoder.blocks)
    here = all(weight.device.type == "cpu" for weight in trained)
    return AT_ONCE if ours and here and small and light else 1
