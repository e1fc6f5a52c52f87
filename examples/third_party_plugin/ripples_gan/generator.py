"""The GAN as ganenc takes it: the same network, with a spec that says what goes in and what comes out."""

from __future__ import annotations

import ganenc
from ganenc_registry.specs import GeneratorSpec, Map, Prior, Vector
from torch import Tensor

from ripples_gan.networks import Painter

__all__ = ["Ripples", "make_spec"]


def make_spec(
    dim: int = 16, widths: tuple[int, ...] = (32, 24, 16, 8), start: tuple[int, int] = (6, 5)
) -> GeneratorSpec:
    """The spec of such a GAN: by default grey images of 48x40 pixels from 0 to 1.

    Args:
        dim: the length of z, which is drawn from a truncated normal distribution.
        widths: the channels of the learned map, and after each enlargement.
        start: the height and width of the map.
    """
    height, width = (side << (len(widths) - 1) for side in start)
    return GeneratorSpec(
        family="ripples",
        size=(height, width),
        channels=1,
        value_range=(0.0, 1.0),
        prior=Prior(kind="truncated-normal", dim=dim),
        layout=(Vector(name="z", dim=dim), Map(name="start", channels=widths[0], height=start[0], width=start[1])),
        truncation="prior",
        resolution_channels={min(start) << level: channels for level, channels in enumerate(widths)},
        licence="MIT",
    )


class Ripples(ganenc.Generator):
    """A vector z and a learned map => grey images. An encoder gives both back.

    Args:
        spec: by default that of :func:`make_spec`.
    """

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or make_spec())
        start = self.spec.part("start")
        assert isinstance(start, Map)
        widths = tuple(channels for _, channels in sorted((self.spec.resolution_channels or {}).items()))
        self.painter = Painter(self.spec.prior.dim, widths, (start.height, start.width))

    def default(self, name: str) -> Tensor | None:
        """The learned map (1, channels, height, width), where latents leave it out."""
        return self.painter.start if name == "start" else super().default(name)

    def synthesize(self, latents: ganenc.Latents, *, noise: object = "const") -> Tensor:
        """Latents of N samples => images (N, 1, H, W) from 0 to 1. There is no noise in this network."""
        latents = self.complete(latents)
        images: Tensor = self.painter(latents["z"], latents["start"])
        return images
