"""How each published format names and stores the tensors of a StyleGAN2.

The targets are the names of `ganenc_plugin_stylegan.stylegan2.StyleGAN2`: convolution 0 is at the resolution of the
constant, 2l - 1 enlarges to level l, and 2l follows it there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ganenc.checkpoint import Checkpoint
from torch import Tensor

__all__ = ["FORMATS", "SCALAR", "Form", "Format", "NvidiaTensorFlow", "NvidiaTorch", "Source"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """How a tensor is stored: the shape that one of ours has in the file, and the way back."""

    stored: Callable[[Shape], Shape]
    ours: Callable[[Tensor], Tensor]


PLAIN = Form(lambda shape: shape, lambda x: x)
PLUS_ONE = Form(lambda shape: shape, lambda x: x + 1)  # the file keeps the style's offset of 1 apart
SCALAR = Form(lambda shape: shape, lambda x: x.reshape(()))  # stored as () or (1,)
FIRST = Form(lambda shape: (1, *shape), lambda x: x[0])
MAP = Form(lambda shape: (1, 1, *shape), lambda x: x[0, 0])
IMAGE_BIAS = Form(lambda shape: (1, *shape, 1, 1), lambda x: x[0, :, 0, 0])
FLIPPED = Form(lambda shape: shape, lambda x: x.flip(2, 3))  # a true convolution, where ours is a transposed one
DENSE_TF = Form(lambda shape: (shape[1], shape[0]), lambda x: x.t())
CONV_TF = Form(lambda shape: (shape[2], shape[3], shape[1], shape[0]), lambda x: x.permute(3, 2, 0, 1))
CONV_TF_FLIPPED = Form(CONV_TF.stored, lambda x: x.flip(0, 1).permute(3, 2, 0, 1))
LABELS = Form(DENSE_TF.stored, lambda x: x.t() * math.sqrt(x.shape[0]))  # a plain product, where ours divides


@dataclass(frozen=True)
class Source:
    """Where one of our tensors lies in the file, and in which form."""

    name: str
    form: Form = PLAIN


class Format:
    """A published format: its names below one prefix of a checkpoint.

    Attributes:
        pattern: what marks the format; its group is the prefix that all names of one network share.
        filters: what marks the low-pass filters that it stores.
        conv_leaves: the leaves of a convolution, each with its suffix and form.
        image_leaves: those of a layer that makes an image.
    """

    pattern: ClassVar[re.Pattern[str]]
    filters: ClassVar[re.Pattern[str]] = re.compile(r"$^")
    conv_leaves: ClassVar[dict[str, tuple[str, Form]]]
    image_leaves: ClassVar[dict[str, tuple[str, Form]]]

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix

    def source(self, target: str) -> Source:
        """Return where a tensor of ours lies, by its name in our state dictionary."""
        head, _, rest = target.partition(".")
        if head == "convs":
            index, _, leaf = rest.partition(".")
            return self._named(self._conv(int(index), leaf))
        if head == "to_rgb":
            level, _, leaf = rest.partition(".")
            suffix, form = self.image_leaves[leaf]
            return self._named(Source(self.image(int(level)) + suffix, form))
        if head == "skips":
            return self._named(self.skip(int(rest.partition(".")[0]) + 1))
        return self._named(self.special(target))

    @property
    def joint_labels(self) -> bool:
        """Whether the embedded label is normalised together with z, as in the first release of the network."""
        return False

    @property
    def mean_style(self) -> tuple[str, ...]:
        """The names that the mean style may have."""
        return (self.source("w_avg").name,)

    def has(self, base: str) -> bool:
        """Whether any tensor of the file lies below ``base``, a layer's name without the prefix."""
        return any(name.startswith(self.prefix + base) for name in self.checkpoint.tensors)

    def _named(self, source: Source) -> Source:
        return Source(self.prefix + source.name, source.form)

    def _conv(self, index: int, leaf: str) -> Source:
        if leaf == "noise_const":
            return self.noise(index)
        suffix, form = self.conv_leaves[leaf]
        if leaf == "weight" and index % 2:
            form = {CONV_TF: CONV_TF_FLIPPED}.get(form, self.up_form(form))
        return Source(self.conv(index) + suffix, form)

    def up_form(self, form: Form) -> Form:
        """Return the form of the weight of a convolution that enlarges."""
        return form

    def conv(self, index: int) -> str:
        """Return the base name of a convolution."""
        raise NotImplementedError

    def image(self, level: int) -> str:
        """Return the base name of the layer that makes an image at a level."""
        raise NotImplementedError

    def skip(self, level: int) -> Source:
        """Return the bypass around the block of a level."""
        raise NotImplementedError

    def noise(self, index: int) -> Source:
        """Return the noise map of a convolution."""
        raise NotImplementedError

    def special(self, target: str) -> Source:
        """Return the constant, the mean style, and what belongs to the mapping network."""
        raise NotImplementedError


def _mapping_layer(target: str) -> tuple[int, str]:
    _, _, index, leaf = target.split(".")
    return int(index), leaf


class NvidiaTorch(Format):
    """NVIDIA's PyTorch networks: ``synthesis.b8.conv0.affine.weight``; the layout of ours."""

    pattern = re.compile(r"(.*?)synthesis\.b\d+\.(?:conv[01]|torgb)\.affine\.(?:weight|bias)")
    filters = re.compile(r"synthesis\.b\d+\.(?:.*\.)?resample_filter")
    conv_leaves: ClassVar = {
        leaf: (f".{leaf}", SCALAR if leaf == "noise_strength" else PLAIN)
        for leaf in ("weight", "bias", "affine.weight", "affine.bias", "noise_strength")
    }
    image_leaves: ClassVar = conv_leaves

    def conv(self, index: int) -> str:
        """``synthesis.b<resolution>.conv0`` enlarges, ``conv1`` does not."""
        return f"synthesis.b{4 << ((index + 1) // 2)}.conv{1 - index % 2}"

    def image(self, level: int) -> str:
        """``synthesis.b<resolution>.torgb``."""
        return f"synthesis.b{4 << level}.torgb"

    def skip(self, level: int) -> Source:
        """``synthesis.b<resolution>.skip``."""
        return Source(f"synthesis.b{4 << level}.skip.weight")

    def noise(self, index: int) -> Source:
        """``noise_const`` of the convolution."""
        return Source(f"{self.conv(index)}.noise_const")

    def special(self, target: str) -> Source:
        """``mapping.fc0`` and so on."""
        if target.startswith("mapping.layers."):
            return Source("mapping.fc{}.{}".format(*_mapping_layer(target)))
        return Source({"const": "synthesis.b4.const", "w_avg": "mapping.w_avg"}.get(target, target))


class NvidiaTensorFlow(Format):
    """NVIDIA's TensorFlow networks: ``synthesis/8x8/Conv0_up/mod_weight``; inputs before outputs."""

    pattern = re.compile(r"(.*?)synthesis/(?:\d+x\d+/)?(?:Conv\w*|ToRGB\w*)/mod_(?:weight|bias)")
    conv_leaves: ClassVar = {
        "weight": ("/weight", CONV_TF),
        "bias": ("/bias", PLAIN),
        "affine.weight": ("/mod_weight", DENSE_TF),
        "affine.bias": ("/mod_bias", PLUS_ONE),
        "noise_strength": ("/noise_strength", SCALAR),
    }
    image_leaves: ClassVar = conv_leaves

    @property
    def joint_labels(self) -> bool:
        """Told by the name of the layer that embeds the label."""
        return self.has("mapping/LabelConcat/")

    def conv(self, index: int) -> str:
        """``Conv`` at 4x4, then ``Conv0_up`` and ``Conv1``."""
        side = 4 << ((index + 1) // 2)
        name = "Conv" if index == 0 else ("Conv1", "Conv0_up")[index % 2]
        return f"synthesis/{side}x{side}/{name}"

    def image(self, level: int) -> str:
        """``ToRGB`` at each resolution; a network that grew uses its last image layer alone, ``ToRGB_lod0``."""
        grown = "synthesis/ToRGB_lod0"
        return grown if self.has(grown + "/") else f"synthesis/{4 << level}x{4 << level}/ToRGB"

    def skip(self, level: int) -> Source:
        """``Skip``."""
        side = 4 << level
        return Source(f"synthesis/{side}x{side}/Skip/weight", CONV_TF)

    def noise(self, index: int) -> Source:
        """``noise0`` and so on."""
        return Source(f"synthesis/noise{index}", MAP)

    def special(self, target: str) -> Source:
        """``Dense0`` and so on."""
        if target.startswith("mapping.layers."):
            index, leaf = _mapping_layer(target)
            return Source(f"mapping/Dense{index}/{leaf}", DENSE_TF if leaf == "weight" else PLAIN)
        if target == "mapping.embed.weight":
            joint = self.joint_labels
            return Source(f"mapping/Label{'Concat' if joint else 'Embed'}/weight", LABELS if joint else DENSE_TF)
        return {
            "mapping.embed.bias": Source("mapping/LabelEmbed/bias"),
            "const": Source("synthesis/4x4/Const/const", FIRST),
            "w_avg": Source("dlatent_avg"),
        }[target]


class Rosinality(Format):
    """rosinality's networks: ``convs.0.conv.modulation.weight``; weights of five axes."""

    pattern = re.compile(r"(.*?)(?:conv1|convs\.\d+|to_rgb1|to_rgbs\.\d+)\.conv\.modulation\.(?:weight|bias)")
    filters = re.compile(r"(?:convs|to_rgbs)\.\d+\.(?:conv\.blur|upsample)\.kernel")
    conv_leaves: ClassVar = {
        "weight": (".conv.weight", FIRST),
        "bias": (".activate.bias", PLAIN),
        "affine.weight": (".conv.modulation.weight", PLAIN),
        "affine.bias": (".conv.modulation.bias", PLAIN),
        "noise_strength": (".noise.weight", SCALAR),
    }
    image_leaves: ClassVar = {**conv_leaves, "bias": (".bias", IMAGE_BIAS)}

    @property
    def mean_style(self) -> tuple[str, ...]:
        """``latent_avg``, which lies beside the networks."""
        above = re.sub(r"[^.]+\.$", "", self.prefix)
        return f"{self.prefix}latent_avg", f"{above}latent_avg", "latent_avg"

    def conv(self, index: int) -> str:
        """``conv1``, then ``convs.0`` and so on."""
        return f"convs.{index - 1}" if index else "conv1"

    def image(self, level: int) -> str:
        """``to_rgb1``, then ``to_rgbs.0`` and so on."""
        return f"to_rgbs.{level - 1}" if level else "to_rgb1"

    def skip(self, level: int) -> Source:
        """There is none: the format knows one architecture."""
        return Source(f"skips.{level - 1}.weight")

    def noise(self, index: int) -> Source:
        """``noises.noise_0`` and so on."""
        return Source(f"noises.noise_{index}", MAP)

    def special(self, target: str) -> Source:
        """``style.1`` and so on, since ``style.0`` normalises."""
        if target.startswith("mapping.layers."):
            index, leaf = _mapping_layer(target)
            return Source(f"style.{index + 1}.{leaf}")
        return {"const": Source("input.input", FIRST)}.get(target, Source(target))


class Genforce(Format):
    """genforce's networks: ``synthesis.layer1.style.weight``; TensorFlow's numbers in torch's order of axes."""

    pattern = re.compile(r"(.*?)synthesis\.(?:layer\d+\.noise_strength|output\d+\.style\.(?:weight|bias))")
    filters = re.compile(r"synthesis\.(?:layer\d+\.filter|upsample)\.kernel")
    conv_leaves: ClassVar = {
        "weight": (".weight", PLAIN),
        "bias": (".bias", PLAIN),
        "affine.weight": (".style.weight", PLAIN),
        "affine.bias": (".style.bias", PLUS_ONE),
        "noise_strength": (".noise_strength", SCALAR),
    }
    image_leaves: ClassVar = conv_leaves

    @property
    def joint_labels(self) -> bool:
        """As in the first release."""
        return True

    def up_form(self, form: Form) -> Form:
        """The format stores a true convolution."""
        return FLIPPED

    def conv(self, index: int) -> str:
        """``synthesis.layer0`` and so on."""
        return f"synthesis.layer{index}"

    def image(self, level: int) -> str:
        """``synthesis.output0`` and so on."""
        return f"synthesis.output{level}"

    def skip(self, level: int) -> Source:
        """``synthesis.skip_layer0`` and so on."""
        return Source(f"synthesis.skip_layer{level - 1}.weight")

    def noise(self, index: int) -> Source:
        """``noise`` of the convolution."""
        return Source(f"{self.conv(index)}.noise", MAP)

    def special(self, target: str) -> Source:
        """``mapping.dense0`` and so on."""
        if target.startswith("mapping.layers."):
            return Source("mapping.dense{}.{}".format(*_mapping_layer(target)))
        return {
            "const": Source("synthesis.early_layer.const", FIRST),
            "w_avg": Source("truncation.w_avg"),
            "mapping.embed.weight": Source("mapping.label_weight", LABELS),
        }.get(target, Source(target))


FORMATS: tuple[type[Format], ...] = (NvidiaTorch, NvidiaTensorFlow, Rosinality, Genforce)
