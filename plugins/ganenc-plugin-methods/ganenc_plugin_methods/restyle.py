"""ReStyle (Alaluf et al., 2021): an encoder that sees an image beside its reconstruction, and adds to its latents."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from ganenc.encoders import Encoder, EncoderNetwork
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor

from ganenc_plugin_methods.psp import StyleNetwork
from ganenc_plugin_methods.trunks import TrunkOptions

__all__ = ["ReStyle", "RefiningNetwork", "plus", "start_image"]


def plus(latents: Latents, added: Mapping[str, Tensor]) -> Latents:
    """Latents, and what is added to some of their parts."""
    return latents.replace(**{name: latents[name] + value for name, value in added.items()})


def start_image(encoder: Encoder, generator: Generator) -> Tensor:
    """The generator's image of the latents that an encoder starts at, as its network sees it: (1, C, H, W)."""
    with torch.no_grad():
        return encoder.seen(generator.synthesize(generator.complete(encoder.start.to(generator.device))))


class RefiningNetwork(EncoderNetwork, ABC):
    """A network that sees images beside their reconstructions, and says what to add to the latents of these."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """In how many passes it was made to be used."""

    @property
    def bounded(self) -> bool:
        """Whether more passes than these cannot be had."""
        return False

    @abstractmethod
    def first(self, images: Tensor, start: Tensor) -> dict[str, Tensor]:
        """The first pass: images, and the image of the latents that it starts at (1, C, H, W), both from -1 to 1 at
        the encoder's size => what is added to these, by part."""

    @abstractmethod
    def again(self, images: Tensor, reconstructions: Tensor, index: int) -> dict[str, Tensor]:
        """Pass ``index``, from 1: images and what was rebuilt of them => what is added to the latents, by part."""


class ReStyle(StyleNetwork, RefiningNetwork):
    """ReStyle: the photo beside its reconstruction, all rows read from the coarsest map. One pass sees it beside the
    image of the mean latents, which it takes from the generator that it is centred on."""

    inputs: ClassVar[int] = 2
    published: ClassVar[str] = "restyle"
    start: Tensor

    class Options(TrunkOptions):
        """What it stands on, and what the rows are."""

        offsets: bool = Field(False, description="one w for all layers and an offset for each, as e4e has it")
        passes: int = Field(5, ge=1, le=1000, description="passes that it was trained for")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        shape = (1, self.spec.channels, *self.spec.size)
        self.register_buffer("start", torch.full(shape, math.nan))  # NaN where it is not known.

    @property
    def shares(self) -> bool:
        offsets: bool = self.options.offsets
        return offsets

    @property
    def passes(self) -> int:
        passes: int = self.options.passes
        return passes

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if self.start[0, 0, 0, 0].isnan():
            raise SpecError(
                "This encoder sees a photo beside its reconstruction, and the image that it starts with is not known:"
                " take the method 'restyle', or call encoder.network.meet(generator, encoder) first."
            )
        return self.first(images, self.start)

    def first(self, images: Tensor, start: Tensor) -> dict[str, Tensor]:
        return self.again(images, start.expand_as(images), 0)

    def again(self, images: Tensor, reconstructions: Tensor, index: int) -> dict[str, Tensor]:
        return self.predict(torch.cat([images, reconstructions], 1))

    def meet(self, generator: Generator, encoder: Encoder) -> None:
        self.start = start_image(encoder, generator)
