"""Noise that is drawn for each image, or kept: what both families share."""

from __future__ import annotations

import math

import torch
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from torch import Tensor, nn

from ganenc_plugin_fastgan.specs import sides

__all__ = ["Noise", "Noisy"]

GLU_GAIN = 1.85
"""1 over the root of E[x^2 sigmoid(y)^2], of x and y standard normal: what a gate leaves of a unit scale."""


class Noise(nn.Module):
    """Adds one map to all channels, times a strength. The published programs draw the map for each image; one is kept
    here, so that the same latents give the same image."""

    const: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("const", torch.randn(1, side, side))

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """(N, C, H, W), (N or 1, 1, H, W) => (N, C, H, W)."""
        return x if noise is None else x + self.weight * noise


class Noisy(Generator):
    """A generator with `Noise` in the order of its layout, which ends in the convolution ``to_image``."""

    to_image: nn.Conv2d

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw random weights under which features keep their scale and images their range, in eval mode too."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                inputs = module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
                nn.init.normal_(module.weight, std=GLU_GAIN / math.sqrt(inputs))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        low, high = self.spec.value_range
        self.to_image.weight *= (high - low) / 8 / GLU_GAIN
        if self.to_image.bias is not None:
            nn.init.constant_(self.to_image.bias, (low + high) / 2)

    def default(self, name: str) -> Tensor | None:
        """The map that is kept, for ``noise.0`` and so on."""
        if name.startswith("noise."):
            return self._noises()[int(name.removeprefix("noise."))].const[None]
        return super().default(name)

    def stages(self) -> dict[str, tuple[int, int, int]]:
        """What each resolution gives, before it is scaled channel by channel where a level does not do so itself."""
        known, levels = self.spec.resolution_channels or {}, sides(self.spec.size[0])
        names = ["first", *(f"levels.{index}" for index in range(len(levels) - 1))]
        return {name: (known[side], side, side) for name, side in zip(names, levels)}

    def _noises(self) -> list[Noise]:
        return [module for module in self.modules() if isinstance(module, Noise)]

    def _maps(self, latents: Latents, noise: NoiseChoice) -> list[Tensor | None]:
        """One map (N or 1, 1, H, W) for each `Noise`, or None."""
        own = [module.const[None] for module in self._noises()]
        given = latents.noise()
        if given is None and not isinstance(noise, str | int):
            given = list(noise)
        if given is not None:
            return [one.to(self.dtype) for one in given]
        if noise in ("const", "none"):
            return [one if noise == "const" else None for one in own]
        if isinstance(noise, int):
            rng = torch.Generator().manual_seed(noise)
            return [torch.randn(len(latents), *one.shape[1:], generator=rng).to(one) for one in own]
        return [torch.randn(len(latents), *one.shape[1:]).to(one) for one in own]
