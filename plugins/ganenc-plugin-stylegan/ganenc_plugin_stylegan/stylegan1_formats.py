"""Reads StyleGAN1 out of foreign checkpoints.

Formats: NVIDIA's TensorFlow pickles, genforce's files, this paper's folders (`stylegan1_names`). Not in paper.
"""

from __future__ import annotations

from typing import Any

from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc_plugin_stylegan.reader import Reader, find_format, open_format
from ganenc_plugin_stylegan.settings import (
    Settings,
    filter_options,
    tensorflow_arguments,
    tensorflow_settings,
    unsupported,
)
from ganenc_plugin_stylegan.specs import StyleGAN1Options, stylegan1_spec
from ganenc_plugin_stylegan.stylegan1_names import FORMATS, NvidiaTensorFlow, StyleGAN1Format

__all__ = ["convert", "recognises"]

_DEFAULT_TAPS = (1.0, 2.0, 1.0)
_SWITCHES = {"use_styles": True, "const_input_layer": True, "use_wscale": True}
_SWITCHES |= {"use_pixel_norm": False, "use_instance_norm": True}


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as one of the known formats names a StyleGAN1."""
    return find_format(checkpoint, FORMATS) is not None


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """Return the spec of the StyleGAN1 that a checkpoint holds, and its weights by our names, in float32.

    Among several copies of the network the averaged one is taken; ``family`` is built empty, for the shapes. A mean
    style that is missing comes back as NaN, on which the generator computes it; noise maps that were never stored are
    drawn from a fixed seed.

    Raises:
        CheckpointError: it is no StyleGAN1, lacks a tensor, has one of the wrong shape or with NaN in it, has not grown
            to full size, or uses something that this family does not support.
    """
    remedy = "give a file in NVIDIA's or genforce's format, or a folder with Gs_dict.pth and Gm_dict.pth"
    return _Reader(open_format(checkpoint, FORMATS, "StyleGAN1", remedy)).read(family)


class _Reader(Reader[StyleGAN1Format]):
    """One pass over a checkpoint in a known format."""

    def __init__(self, source: StyleGAN1Format) -> None:
        super().__init__(source, _settings(source))

    def spec(self) -> GeneratorSpec:
        """Return the spec of the network in the file."""
        layout = self.layout()
        options = {**self.mapping(), **_filters(self.format), **self.format.options}
        return stylegan1_spec(**layout, options=StyleGAN1Options(**options))

    def layers_at(self, level: int) -> tuple[int, ...]:
        """Two layers at each level."""
        return 2 * level, 2 * level + 1

    def locate(self, target: str) -> str:
        """Return the name by which formats know one of our tensors.

        ``first`` is layer 0, ``convs.0`` is layer 1, and our only image layer is the file's last.
        """
        head, _, rest = target.partition(".")
        if head == "first":
            return f"convs.0.{rest}"
        if head == "convs":
            index, _, leaf = rest.partition(".")
            return f"convs.{int(index) + 1}.{leaf.removeprefix('epilogue.')}"
        return f"to_rgb.{self.levels - 1}.{rest}" if head == "to_rgb" else target


def _settings(source: StyleGAN1Format) -> Settings:
    """Return what the file declares.

    Raises:
        CheckpointError: it declares something that this family does not support.
    """
    if not isinstance(source, NvidiaTensorFlow):
        return Settings()
    try:
        declared = tensorflow_arguments(source)
        for name, wanted in _SWITCHES.items():
            if declared.get(name, wanted) is not wanted:
                unsupported(source, f"setting {name} = {declared[name]}")
        return tensorflow_settings(source)
    except (AttributeError, TypeError, ValueError):
        source.checkpoint.fail("what it declares of its StyleGAN1 is malformed")


def _filters(source: StyleGAN1Format) -> dict[str, Any]:
    """Return what the spec says of the low-pass filters, whose taps are an odd number."""
    declares = isinstance(source, NvidiaTensorFlow) and "blur_filter" in tensorflow_arguments(source)
    declared = tensorflow_arguments(source)["blur_filter"] or (1.0,) if declares else _DEFAULT_TAPS
    return filter_options(source, "blur", declared, parity=1)
