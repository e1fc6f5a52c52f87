"""How each published format names and stores the tensors of a PGGAN.

The layers are those of `ganenc_plugin_pggan.pggan.PGGAN`: ``first``; ``convs.i``, of which 0 is at the first level,
2l - 1 enlarges to level l and 2l follows it there; and ``to_rgb.l``, here counted by levels.
The formats are those of tkarras/progressive_growing_of_gans and of genforce/genforce; not in paper.
"""

from __future__ import annotations

import itertools
import re
from abc import ABC, abstractmethod
from functools import cached_property
from typing import ClassVar

from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Checkpoint, Form
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field, NonNegativeInt, PositiveInt

__all__ = ["FORMATS", "Declared", "Format"]

# A fused convolution is stored as the transposed one that it is run as: mirrored, its inputs and outputs swapped.
FUSED = Form(lambda shape: (shape[1], shape[0], *shape[2:]), lambda x: x.transpose(0, 1).flip(2, 3))
# The dense layer as a convolution of a single pixel, padded all around, by a 4x4 kernel: a mirrored one.
DENSE = Form(lambda shape: (shape[0] // 16, shape[1], 4, 4), lambda x: x.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2))
FUSED_TF = Form(lambda shape: (shape[2], shape[3], shape[0], shape[1]), lambda x: x.permute(2, 3, 0, 1).flip(2, 3))


class Declared(Spec, extra="ignore"):
    """What a file says of its network besides its tensors; the defaults are those of the published code."""

    resolution: PositiveInt | None = None
    latent_size: PositiveInt | None = None
    label_size: NonNegativeInt = 0
    normalize_latents: bool = True
    use_wscale: bool = True
    use_pixelnorm: bool = True
    pixelnorm_epsilon: float = Field(1e-8, gt=0)
    use_leakyrelu: bool = True


class Format(ABC):
    """A published format: its names below one prefix of a checkpoint.

    Attributes:
        marks: what a network of the format has, each; the group is the prefix that all its names share.
        foreign: what it has not, but networks of other families with such names have.
        idle: the layers that make an image, of which those at lower levels are left over from growing.
        separator: what stands between a layer and its ``weight`` or ``bias``.
    """

    marks: ClassVar[tuple[re.Pattern[str], ...]]
    foreign: ClassVar[re.Pattern[str]]
    idle: ClassVar[str]
    separator: ClassVar[str]

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        checkpoint.spare(f"{re.escape(prefix)}{self.idle}(?:weight|bias)")

    @classmethod
    def prefixes(cls, checkpoint: Checkpoint) -> list[str]:
        """The prefixes of the networks in a checkpoint that have this format."""
        *marked, foreign = (
            {match.group(1) for match in map(pattern.match, checkpoint.tensors) if match}
            for pattern in (*cls.marks, cls.foreign)
        )
        return sorted(set.intersection(*marked) - foreign)

    def name(self, layer: str, index: int, leaf: str) -> str:
        """The name of one of our tensors, ``weight`` or ``bias`` of a layer, in the file."""
        return f"{self.prefix}{self.layer(layer, index)}{self.separator}{leaf}"

    @cached_property
    @abstractmethod
    def levels(self) -> int:
        """How many levels there are, by the last one that has any tensor."""

    @abstractmethod
    def layer(self, layer: str, index: int) -> str:
        """The name of a layer of ours, without the prefix."""

    @abstractmethod
    def form(self, layer: str, index: int) -> Form:
        """The form of a layer's weight."""

    @abstractmethod
    def inputs(self, wanted: int | None) -> int:
        """How many numbers go into the first layer; where a file declares it, ``wanted`` is what it must be."""

    def declared(self) -> Declared:
        """What the file says of its network besides its tensors.

        Raises:
            CheckpointError: what it says is malformed.
        """
        return Declared()

    def numbers(self, pattern: str) -> set[int]:
        """The numbers that ``pattern`` finds in the names of the network."""
        found = re.compile(re.escape(self.prefix) + pattern)
        return {int(match.group(1)) for match in map(found.match, self.checkpoint.tensors) if match}


class NvidiaTensorFlow(Format):
    """NVIDIA's networks: ``8x8/Conv0_up/weight``; inputs before outputs."""

    marks = (
        re.compile(r"((?:[^/]*\.)?)4x4/Dense/(?:weight|bias)$"),
        re.compile(r"((?:[^/]*\.)?)ToRGB_lod\d+/(?:weight|bias)$"),
    )
    foreign = re.compile(r"((?:[^/]*\.)?)\d+x\d+/(?:\w+/StyleMod/|Const/|\w+/mod_)")
    idle = r"ToRGB_lod\d+/"
    separator = "/"

    @cached_property
    def levels(self) -> int:
        """Told by the resolutions; the image layers count down from the first level's."""
        sides = self.numbers(r"(\d{1,4})x\d+/")
        lods = self.numbers(r"ToRGB_lod(\d{1,2})/")
        return max({side.bit_length() - 2 for side in sides} | {lod + 1 for lod in lods})

    def layer(self, layer: str, index: int) -> str:
        """``4x4/Dense``, ``4x4/Conv``, then ``Conv0`` and ``Conv1`` of each level."""
        if layer == "to_rgb":
            return f"ToRGB_lod{self.levels - 1 - index}"
        level = (index + 1) // 2
        if level == 0:
            return "4x4/Dense" if layer == "first" else "4x4/Conv"
        first = "Conv0_up" if self._is_fused(level) else "Conv0"
        return f"{self._side(level)}/{first if index % 2 else 'Conv1'}"

    def form(self, layer: str, index: int) -> Form:
        """Fused or not is told by the name."""
        if layer == "first":
            return DENSE_TF
        return FUSED_TF if layer == "convs" and index % 2 and self._is_fused((index + 1) // 2) else CONV_TF

    def inputs(self, wanted: int | None) -> int:
        """The first axis."""
        return self.checkpoint.tensor(self.name("first", 0, "weight"), (wanted, None)).shape[0]

    def declared(self) -> Declared:
        """The arguments of the function that built the network."""
        try:
            return Declared.from_mapping(self.checkpoint.meta(f"{self.prefix}static_kwargs") or {})
        except SpecError as error:
            self.checkpoint.fail(f"what it declares of its PGGAN is malformed ({str(error).rstrip('.')})")

    def _is_fused(self, level: int) -> bool:
        layer = f"{self.prefix}{self._side(level)}/Conv0_up/"
        return any(layer + leaf in self.checkpoint.tensors for leaf in ("weight", "bias"))

    @staticmethod
    def _side(level: int) -> str:
        return f"{4 << level}x{4 << level}"


class Genforce(Format):
    """genforce's networks: ``layer3.weight``; torch's order of axes."""

    marks = (
        re.compile(r"(|.*\.)layer\d+\.(?:weight|bias)$"),
        re.compile(r"(|.*\.)output\d+\.(?:weight|bias)$"),
    )
    foreign = re.compile(r"(|.*\.)(?:(?:layer|output)\d+\.(?!(?:weight|bias)$)|input\d+\.)")
    idle = r"output\d+\."
    separator = "."

    @classmethod
    def prefixes(cls, checkpoint: Checkpoint) -> list[str]:
        """Names as plain as these also need weights of convolutions."""

        def convolves(prefix: str) -> bool:
            layers = (name for name in checkpoint.tensors if name.startswith(f"{prefix}layer"))
            return any(checkpoint.tensors[name].ndim == 4 for name in layers)

        return [prefix for prefix in super().prefixes(checkpoint) if convolves(prefix)]

    @cached_property
    def levels(self) -> int:
        """Two layers and an image layer each."""
        layers = {number // 2 for number in self.numbers(r"layer(\d{1,2})\.")}
        return max(layers | self.numbers(r"output(\d{1,2})\.")) + 1

    def layer(self, layer: str, index: int) -> str:
        """``layer0``, of which the second is our first convolution; ``output0``."""
        if layer == "to_rgb":
            return f"output{index}"
        return "layer0" if layer == "first" else f"layer{index + 1}"

    def form(self, layer: str, index: int) -> Form:
        """Fused or not is told by the shapes."""
        if layer == "first":
            return DENSE
        return FUSED if layer == "convs" and index % 2 and self._fused else PLAIN

    def inputs(self, wanted: int | None) -> int:
        """The second axis."""
        return self.checkpoint.tensor(self.name("first", 0, "weight"), (None, wanted, 4, 4)).shape[1]

    @cached_property
    def _fused(self) -> bool:
        """Whether a convolution whose widths differ has its inputs first; taken as not where no widths differ."""
        biases = [
            self.checkpoint.tensor(self.name("convs", 2 * level, "bias"), (None,)) for level in range(self.levels)
        ]
        for level, (before, after) in enumerate(itertools.pairwise(map(len, biases)), start=1):
            weight = self.checkpoint.tensors.get(self.name("convs", 2 * level - 1, "weight"))
            if before != after and weight is not None and weight.shape[:2] == (before, after):
                return True
        return False


FORMATS: tuple[type[Format], ...] = (NvidiaTensorFlow, Genforce)
