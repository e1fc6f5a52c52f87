"""Small images at a part of the cost, for who waits for them. Not in paper."""

from __future__ import annotations

import torch
from einops import rearrange
from ganenc_registry.errors import SpecError
from torch import Tensor
from torch.nn import functional as F

from ganenc.generators.generator import Generator
from ganenc.generators.watching import reach
from ganenc.latents import Latents

RIDGE = 1e-3
"""Of the mean square of a feature, so that features which tell the same share what they tell."""


class Preview:
    """Small images of latents near some that are known, at a part of the cost: the network is left at a stage, whose
    map is read as colours by the linear map that is best for the known images (least squares)."""

    images: Tensor
    """The known images (N, C, H, W), whole."""

    @torch.no_grad()
    def __init__(self, generator: Generator, latents: Latents, longest: int = 128) -> None:
        """Learn it from latents of N samples. The stage is the finest whose longer side has at most ``longest``
        pixels; `SpecError` if none is so small."""
        stages = generator.stages()
        fair = [name for name, (_, *size) in stages.items() if max(size) <= longest]
        if not fair:
            raise SpecError(f"{generator.spec.family} has no stage of at most {longest} pixels to preview images by.")
        self._generator, self.stage = generator, fair[-1]
        with generator.watch([self.stage]) as maps:
            made = [(generator.synthesize(one), maps[self.stage]) for one in latents]
        self.images, found = (torch.cat(some) for some in zip(*made))
        self.size: tuple[int, int] = (found.shape[2], found.shape[3])
        small = F.interpolate(self.images.float(), self.size, mode="area")
        known, wanted = (rearrange(one, "n c h w -> (n h w) c").double().cpu() for one in (found, small))
        middle, colour = known.mean(0), wanted.mean(0)
        gram = (known - middle).T @ (known - middle)
        gram.diagonal().add_(RIDGE * gram.diagonal().mean().clamp(min=1e-12))
        weight = torch.linalg.solve(gram, (known - middle).T @ (wanted - colour)).T
        self._weight = weight[..., None, None].to(self.images)
        self._bias = (colour - weight @ middle).to(self.images)

    @torch.no_grad()
    def __call__(self, latents: Latents) -> Tensor:
        """Images (N, C, h, w) of latents, of the stage's ``size``, in the generator's range, never clamped."""
        maps = (reach(self._generator, self.stage, one) for one in latents)
        return torch.cat([F.conv2d(one, self._weight, self._bias) for one in maps])
