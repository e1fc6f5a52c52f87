"""How each published format names and stores the tensors of a PGGAN.

The layers are those of `ganenc_plugin_pggan.pggan.PGGAN`: ``first``; ``convs.i``, of which 0 is at the first level,
2l - 1 enlarges to level l and 2l follows it there; and ``to_rgb.l``, here counted by levels.
The formats are those of tkarras/progressive_growing_of_gans, genforce/genforce, open-mmlab/mmgeneration and
facebookresearch/pytorch_GAN_zoo; not in paper.
"""

from __future__ import annotations

import itertools
import math
import re
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar, Literal

from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Checkpoint, Form
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field, NonNegativeInt, PositiveInt

__all__ = ["FORMATS", "Declared", "Format"]

# A fused convolution is stored as the transposed one that it is run as: mirrored, its inputs and outputs swapped.
FUSED = Form(lambda shape: (shape[1], shape[0], *shape[2:]), lambda x: x.transpose(0, 1).flip(2, 3))
# The dense layer as a convolution of a single pixel, padded all around, by a 4x4 kernel: a mirrored one.
DENSE = Form(lambda shape: (shape[0] // 16, shape[1], 4, 4), lambda x: x.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2))
# The same as FUSED, but stored with the scale that the number of outputs gives, where ours has that of the inputs.
FUSED_SCALED = Form(FUSED.stored, lambda x: FUSED.ours(x) * math.sqrt(x.shape[0] / x.shape[1]))
CHANNELS = Form(lambda shape: (1, *shape, 1, 1), lambda x: x.flatten())
FUSED_TF = Form(lambda shape: (shape[2], shape[3], shape[0], shape[1]), lambda x: x.permute(2, 3, 0, 1).flip(2, 3))


def _times(gain: float) -> Form:
    return Form(PLAIN.stored, lambda x: x * gain)


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
    slope: float = 0.2
    tanh: bool = False
    epsilon_z: float | None = None
    epsilon_to: Literal["square", "root"] = "square"
    bias_per_place: bool = False


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
        checkpoint.spare(rf"{re.escape(prefix)}{self.idle}(?:weight|bias)\w*")

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

    def bias_form(self, layer: str, index: int) -> Form:
        """The form of a layer's bias."""
        return PLAIN

    @cached_property
    def lod(self) -> float:
        """How far growing had got when the file was saved: 0 at the end, and where the file does not say."""
        name = f"{self.prefix}lod"
        if name not in self.checkpoint.tensors:
            return 0.0
        stored = self.checkpoint.tensor(name)
        if stored.numel() != 1:
            self.checkpoint.tensor(name, ())
        return float(stored)

    def are_fused(self) -> bool | None:
        """Whether convolutions that enlarge have their inputs first; None where no widths differ, which would tell."""
        biases = [
            self.checkpoint.tensor(self.name("convs", 2 * level, "bias"), (None,)) for level in range(self.levels)
        ]
        for level, (before, after) in enumerate(itertools.pairwise(map(len, biases)), start=1):
            weight = self.checkpoint.tensors.get(self.name("convs", 2 * level - 1, "weight"))
            if before != after and weight is not None and weight.shape[:2] in ((before, after), (after, before)):
                return bool(weight.shape[:2] == (before, after))
        return None

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
        """Told by the shapes; taken as not where they cannot tell."""
        return bool(self.are_fused())


class Mmgeneration(Format):
    """mmgeneration's networks, which mmagic keeps: ``conv_blocks.3.conv.weight_orig``; torch's order of axes."""

    marks = (
        re.compile(r"(|.*\.)noise2feat\.(?:linear\.weight_orig|bias)$"),
        re.compile(r"(|.*\.)torgb_layers\.\d+\.conv\.(?:weight_orig|bias)$"),
    )
    foreign = re.compile(r"(?!)()")
    idle = r"torgb_layers\.\d+\.conv\."
    separator = "."

    @cached_property
    def levels(self) -> int:
        """An image layer each, and two convolutions but for the first."""
        convs = {(number + 1) // 2 for number in self.numbers(r"conv_blocks\.(\d{1,2})\.")}
        return max(convs | self.numbers(r"torgb_layers\.(\d{1,2})\.")) + 1

    def name(self, layer: str, index: int, leaf: str) -> str:
        """The weight of the first layer lies in its part ``linear``."""
        inner = ".linear" if (layer, leaf) == ("first", "weight") else ""
        return f"{self.prefix}{self.layer(layer, index)}{inner}.{'weight_orig' if leaf == 'weight' else leaf}"

    def layer(self, layer: str, index: int) -> str:
        """``noise2feat``, ``conv_blocks.0.conv``, ``torgb_layers.0.conv``."""
        if layer == "first":
            return "noise2feat"
        return f"{'torgb_layers' if layer == 'to_rgb' else 'conv_blocks'}.{index}.conv"

    def form(self, layer: str, index: int) -> Form:
        """Fused or not is told by the shapes, and taken as fused where they cannot tell."""
        return FUSED_SCALED if layer == "convs" and index % 2 and self._fused else PLAIN

    def bias_form(self, layer: str, index: int) -> Form:
        """That of the first layer is a map."""
        return CHANNELS if layer == "first" else PLAIN

    def inputs(self, wanted: int | None) -> int:
        """The second axis."""
        return self.checkpoint.tensor(self.name("first", 0, "weight"), (None, wanted)).shape[1]

    def declared(self) -> Declared:
        """The epsilons of the published code: that of its norm for z, and that by which mmcv builds norms."""
        return Declared(pixelnorm_epsilon=1e-5, epsilon_z=1e-6, epsilon_to="root")

    @cached_property
    def lod(self) -> float:
        """Told by the size that the training had reached, which lies beside the networks."""
        name = re.sub(r"[^.]+\.$", "_curr_scale_int", self.prefix)
        if name not in self.checkpoint.tensors:
            return super().lod
        side, scale = 4 << (self.levels - 1), self.checkpoint.tensor(name)
        if scale.numel() != 1 or not (4 <= int(scale) <= side and int(scale).bit_count() == 1):
            self.checkpoint.fail(f"the tensor {name!r} holds no size that images of {side} pixels grow through")
        return math.log2(side / int(scale))

    @cached_property
    def _fused(self) -> bool:
        return self.are_fused() is not False


class GanZoo(Format):
    """pytorch_GAN_zoo's networks: ``scaleLayers.0.1.module.weight``, with the settings of the training beside them.

    Weights and biases are multiplied by He's constant together.
    """

    marks = (
        re.compile(r"(|.*\.)formatLayer\.module\.(?:weight|bias)$"),
        re.compile(r"(|.*\.)toRGBLayers\.\d+\.module\.(?:weight|bias)$"),
    )
    foreign = re.compile(r"(?!)()")
    idle = r"toRGBLayers\.\d+\.module\."
    separator = ".module."

    @cached_property
    def levels(self) -> int:
        """An image layer each, and two convolutions but for the first."""
        layers = {number + 1 for number in self.numbers(r"scaleLayers\.(\d{1,2})\.")}
        return max(layers | self.numbers(r"toRGBLayers\.(\d{1,2})\.")) + 1

    def layer(self, layer: str, index: int) -> str:
        """``formatLayer``, ``groupScale0.0``, ``scaleLayers.0.0``, ``toRGBLayers.0``."""
        if layer == "convs" and index:
            return f"scaleLayers.{(index - 1) // 2}.{(index - 1) % 2}"
        return {"first": "formatLayer", "convs": "groupScale0.0"}.get(layer, f"toRGBLayers.{index}")

    def form(self, layer: str, index: int) -> Form:
        """The same gain in all layers, where ours have others in the first and in those that make an image."""
        gain = {"first": 4.0, "to_rgb": math.sqrt(2)}.get(layer, 1.0)
        return _times(gain if self.declared().use_wscale else 1.0)

    def bias_form(self, layer: str, index: int) -> Form:
        """Multiplied as the weight is."""
        weight = self.checkpoint.tensors.get(self.name(layer, index, "weight"))
        scaled = weight is not None and weight.ndim > 1 and weight[0].numel() and self.declared().use_wscale
        return _times(math.sqrt(2 / weight[0].numel()) if scaled else 1.0)

    def inputs(self, wanted: int | None) -> int:
        """The second axis."""
        return self.checkpoint.tensor(self.name("first", 0, "weight"), (None, wanted)).shape[1]

    def declared(self) -> Declared:
        """The settings of the training, of which the loss tells what ends the generator."""
        settings = {
            "use_wscale": self._told("equalizedlR", True),
            "use_pixelnorm": self._told("perChannelNormalization", True),
            "normalize_latents": self._told("perChannelNormalization", True),
            "slope": self._told("leakyReluLeak", 0.2),
            "label_size": self._told("categoryVectorDim", 0),
            "tanh": self._told("lossCriterion", None) in ("MSE", "DCGAN"),
            "bias_per_place": True,
        }
        try:
            return Declared.from_mapping(settings)
        except SpecError as error:
            self.checkpoint.fail(f"its settings are malformed ({str(error).rstrip('.')})")

    @cached_property
    def lod(self) -> float:
        """The share that the level below has in the image."""
        alpha = self._told("alpha", 0)
        if not isinstance(alpha, float | int) or not 0 <= alpha <= 1:
            self.checkpoint.fail(f"its setting alpha is no share of an image, but {str(alpha)[:20]!r}")
        return float(alpha)

    def _told(self, setting: str, default: Any) -> Any:
        """A setting of the training."""
        return self.checkpoint.meta(f"config.{setting}", default)


FORMATS: tuple[type[Format], ...] = (NvidiaTensorFlow, Genforce, Mmgeneration, GanZoo)
