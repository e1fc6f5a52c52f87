"""What predicts latents in place of blocks: encoders of other methods. Not in paper."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ganenc_registry.components import Component, Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, Spec
from torch import Tensor, nn

from ganenc.generators import Generator

if TYPE_CHECKING:
    from ganenc.encoders.encoder import Encoder


class EncoderNetwork(Component, nn.Module, ABC):
    """The whole network of an encoder: images => the values of its parts, around what they start at.

    ``self.spec`` is the encoder's, with the size of the images and the ``parts`` to predict; ``self.options`` are its
    own. A SpecError if the context names no encoder. A network that others publish in files adds two class methods,
    as families of generators do: ``recognises(checkpoint)`` and ``from_checkpoint(checkpoint) -> Encoder``.
    """

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        if self.context.encoder_spec is None:
            raise SpecError(f"{type(self).__name__} is built for an encoder: Context(encoder_spec=spec).")
        self.spec: EncoderSpec = self.context.encoder_spec

    @abstractmethod
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (N, spec.channels, *spec.size), from -1 to 1 => by name, for each of ``spec.parts``, (N, *its shape):
        what is added to the encoder's offsets."""

    def head_parameters(self) -> Iterator[nn.Parameter]:
        """The weights of the layers that end in latents, for fine-tuning those alone."""
        return iter(())

    def meet(self, generator: Generator, encoder: Encoder) -> None:
        """Take what it needs of the generator, when its encoder, of which it is the network, is centred on one."""
