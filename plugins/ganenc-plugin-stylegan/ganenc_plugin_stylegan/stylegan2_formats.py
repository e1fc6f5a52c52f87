"""Reads StyleGAN2 out of foreign checkpoints.

Formats: NVIDIA's PyTorch and TensorFlow pickles, rosinality's and genforce's files (`stylegan2_names`). Not in paper.
"""

from __future__ import annotations

from typing import Literal

from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc_plugin_stylegan.reader import Reader, find_format, open_format
from ganenc_plugin_stylegan.specs import StyleGAN2Options, stylegan2_spec
from ganenc_plugin_stylegan.stylegan2_names import FORMATS, StyleGAN2Format
from ganenc_plugin_stylegan.stylegan2_settings import filters, settings

__all__ = ["convert", "recognises"]


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as one of the known formats names a StyleGAN2."""
    return find_format(checkpoint, FORMATS) is not None


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """Return the spec of the StyleGAN2 that a checkpoint holds, and its weights by our names, in float32.

    Among several copies of the network the averaged one is taken; ``family`` is built empty, for the shapes. A mean
    style that is missing comes back as NaN, on which the generator computes it; noise maps that were never stored are
    drawn from a fixed seed.

    Raises:
        CheckpointError: it is no StyleGAN2, lacks a tensor, has one of the wrong shape or with NaN in it, or uses
            something that this family does not support.
    """
    remedy = "give a file in NVIDIA's, rosinality's or genforce's format"
    return _Reader(open_format(checkpoint, FORMATS, "StyleGAN2", remedy)).read(family)


class _Reader(Reader[StyleGAN2Format]):
    """One pass over a checkpoint in a known format: layer 2l - 1 enlarges to level l, and 2l follows it."""

    def __init__(self, source: StyleGAN2Format) -> None:
        super().__init__(source, settings(source))
        self._architecture = self._find_architecture()

    def spec(self) -> GeneratorSpec:
        """Return the spec of the network in the file."""
        layout = self.layout()
        options = StyleGAN2Options(
            **self.mapping(), **filters(self.format), architecture=self._architecture, clamp=self.declared.clamp
        )
        return stylegan2_spec(**layout, options=options)

    def layers_at(self, level: int) -> tuple[int, ...]:
        """One layer at the constant, then two at each level."""
        return (2 * level - 1, 2 * level) if level else (0,)

    def locate(self, target: str) -> str:
        """Return the name by which formats know one of our tensors: our only image layer is the file's last."""
        only = target.startswith("to_rgb.0.") and self._architecture != "skip"
        return target.replace(".0.", f".{self.levels - 1}.", 1) if only else target

    def _find_architecture(self) -> Literal["skip", "resnet", "orig"]:
        """Tell by which layers there are: bypasses, images at every level, or an image at the end alone."""
        if any(self.format.holds(f"skips.{level}.weight") for level in range(self.levels - 1)):
            return "resnet"
        leaves = ("weight", "bias", "affine.weight", "affine.bias")
        last = {self.format.source(f"to_rgb.{self.levels - 1}.{leaf}").name for leaf in leaves}
        lower = {
            self.format.source(f"to_rgb.{level}.{leaf}").name for level in range(self.levels - 1) for leaf in leaves
        }
        return "skip" if self.levels == 1 or any(name in self.checkpoint.tensors for name in lower - last) else "orig"
