"""Backbones that read texts: images and texts in one space, as CLIP (Radford et al., 2021) puts them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from ganenc.foreign import read_checkpoint
from ganenc.objectives import Backbone, BackboneOutput, checkpoint_path
from ganenc_registry.components import Context
from ganenc_registry.errors import CheckpointError, SpecError, WeightsMissingError
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

__all__ = ["OpenCLIP", "TextImage"]


class TextImage(Backbone):
    """A backbone that embeds images and texts alike, so that their cosine tells how well they fit.

    A subclass implements `embed_images` and `embed_texts`. Its one feature is the embedding of the image, so that
    `identity` and `frechet` can be taken on it.
    """

    last_convolution = None

    @abstractmethod
    def embed_images(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) from -1 to 1, as `fit` gives them, => (N, D)."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Texts => (len(texts), D), on the device of the weights."""

    def forward(self, images: Tensor) -> BackboneOutput:
        """The embedding, as a map of one pixel."""
        return BackboneOutput([self.embed_images(images)[:, :, None, None]])


class OpenCLIP(TextImage):
    """A model of open_clip, whose weights are read from a file as data; nothing is fetched."""

    name, smallest = "open-clip", 1

    class Options(Spec):
        """What users can choose."""

        model: str = Field("ViT-B-32", description="the architecture, of open_clip.list_models()")
        weights: str | None = Field(
            None, description="the file of its weights; by default of the model's name, in torch's cache"
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        if importlib.util.find_spec("open_clip") is None:
            raise WeightsMissingError(
                "The backbone 'open-clip' takes the package open_clip_torch; install ganenc-plugin-methods[clip]."
            )
        chosen = self.options
        file = _weights(chosen.model) if chosen.weights is None else Path(chosen.weights)
        if file is None or not file.is_file():
            there = file or checkpoint_path(f"{chosen.model}.safetensors")
            raise WeightsMissingError(
                f"The weights of the backbone 'open-clip' are not on disk. Put those of {chosen.model} to {there}, or"
                " give the file by its option `weights`."
            )
        made: Any = importlib.import_module("open_clip")
        if chosen.model not in made.list_models():
            raise SpecError(f"open_clip has no model {chosen.model!r}; see open_clip.list_models().")
        with _quiet():
            self.network = made.create_model(chosen.model, pretrained=None)
        found = read_checkpoint(file)
        try:
            self.network.load_state_dict({name.removeprefix("module."): one for name, one in found.tensors.items()})
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"{file} does not fit open_clip's {chosen.model}: {reason}.") from None
        self.tokenise = made.get_tokenizer(chosen.model)
        self.side = int(self.network.visual.image_size[0])
        self.register_buffer("mean", torch.tensor(self.network.visual.image_mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(self.network.visual.image_std).view(1, 3, 1, 1))

    @classmethod
    def available(cls) -> bool:
        """Whether the package is installed, and the default weights are in torch's cache."""
        return importlib.util.find_spec("open_clip") is not None and _weights(cls.Options().model) is not None

    def embed_images(self, images: Tensor) -> Tensor:
        """At the side that the network takes, cut from the middle."""
        size = [max(self.side, round(self.side * side / min(images.shape[-2:]))) for side in images.shape[-2:]]
        images = F.interpolate(images, size, mode="bicubic", align_corners=False, antialias=True)
        top, left = ((have - self.side) // 2 for have in size)
        images = images[..., top : top + self.side, left : left + self.side]
        made: Tensor = self.network.encode_image(((images + 1) / 2 - self.mean) / self.deviation)
        return made

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """By its tokeniser."""
        made: Tensor = self.network.encode_text(self.tokenise(list(texts)).to(self.mean.device))
        return made


@contextmanager
def _quiet() -> Iterator[None]:
    """While it lasts, nothing is logged of a network that has no weights yet."""
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(before)


def _weights(model: str) -> Path | None:
    """The file of a model's weights in torch's cache, if there is one."""
    places = (checkpoint_path(f"{model}{suffix}") for suffix in (".safetensors", ".bin", ".pt"))
    return next((place for place in places if place.is_file()), None)
