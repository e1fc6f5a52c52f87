"""How each published format names and stores the tensors of a StyleGAN2.

The targets are the names of `ganenc_plugin_stylegan.stylegan2.StyleGAN2`: convolution 0 is at the resolution of the
constant, 2l - 1 enlarges to level l, and 2l follows it there.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import ClassVar

from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Form

from ganenc_plugin_stylegan.names import FIRST, LABELS, MAP, SCALAR, Format, Source, mapping_layer

__all__ = ["FORMATS", "NvidiaTensorFlow", "NvidiaTorch", "StyleGAN2Format"]

PLUS_ONE = Form(PLAIN.stored, lambda x: x + 1)  # the file keeps the style's offset of 1 apart
QUARTER = Form(PLAIN.stored, lambda x: x / 4)  # a filter stored with the gain that enlarging needs
IMAGE_BIAS = Form(lambda shape: (1, *shape, 1, 1), lambda x: x[0, :, 0, 0])


class StyleGAN2Format(Format):
    """A format of StyleGAN2; bypasses are found, too."""

    def source(self, target: str) -> Source:
        """Return where a tensor of ours lies, by its name in our state dictionary."""
        head, _, rest = target.partition(".")
        if head == "skips":
            return self._named(self.skip(int(rest.partition(".")[0]) + 1))
        return super().source(target)

    @abstractmethod
    def skip(self, level: int) -> Source:
        """Return the bypass around the block of a level."""


class NvidiaTorch(StyleGAN2Format):
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
            return Source("mapping.fc{}.{}".format(*mapping_layer(target)))
        return Source({"const": "synthesis.b4.const", "w_avg": "mapping.w_avg"}.get(target, target))


class NvidiaTensorFlow(StyleGAN2Format):
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

    def flips(self, index: int) -> bool:
        """Where it enlarges, the format stores a true convolution and ours is a transposed one."""
        return index % 2 == 1

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
            index, leaf = mapping_layer(target)
            return Source(f"mapping/Dense{index}/{leaf}", DENSE_TF if leaf == "weight" else PLAIN)
        if target == "mapping.embed.weight":
            joint = self.joint_labels
            return Source(f"mapping/Label{'Concat' if joint else 'Embed'}/weight", LABELS if joint else DENSE_TF)
        return {
            "mapping.embed.bias": Source("mapping/LabelEmbed/bias"),
            "const": Source("synthesis/4x4/Const/const", FIRST),
            "w_avg": Source("dlatent_avg"),
        }[target]


class Rosinality(StyleGAN2Format):
    """rosinality's networks: ``convs.0.conv.modulation.weight``; weights of five axes."""

    pattern = re.compile(r"(.*?)(?:convs\.\d+|to_rgb1|to_rgbs\.\d+)\.conv\.modulation\.(?:weight|bias)")
    filters = re.compile(r"(?:convs|to_rgbs)\.\d+\.(?:conv\.blur|upsample)\.kernel")
    conv_leaves: ClassVar = {
        "weight": (".conv.weight", FIRST),
        "bias": (".activate.bias", PLAIN),
        "affine.weight": (".conv.modulation.weight", PLAIN),
        "affine.bias": (".conv.modulation.bias", PLAIN),
        "noise_strength": (".noise.weight", SCALAR),
    }
    image_leaves: ClassVar = {**conv_leaves, "bias": (".bias", IMAGE_BIAS)}

    def z_dim(self, w_dim: int, label_dim: int) -> int:
        """That of w."""
        return w_dim

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
            index, leaf = mapping_layer(target)
            return Source(f"style.{index + 1}.{leaf}")
        return {"const": Source("input.input", FIRST)}.get(target, Source(target))


class Mmgeneration(Rosinality):
    """mmgeneration's networks, which mmagic keeps: rosinality's, with ``convs.0.conv.style_modulation.bias``."""

    pattern = re.compile(
        r"(.*?)(?:convs\.\d+|conv1|to_rgb1|to_rgbs\.\d+)\.conv\.style_modulation\.(?:linear\.weight_orig|bias)"
    )
    filter_sum: ClassVar = 4.0
    conv_leaves: ClassVar = {
        "weight": (".conv.weight_orig", FIRST),
        "bias": (".activate.bias", PLAIN),
        "affine.weight": (".conv.style_modulation.linear.weight_orig", PLAIN),
        "affine.bias": (".conv.style_modulation.bias", PLAIN),
        "noise_strength": (".noise_injector.weight", SCALAR),
        "kernel": (".conv.blur.kernel", QUARTER),
    }
    image_leaves: ClassVar = {**conv_leaves, "bias": (".bias", IMAGE_BIAS), "kernel": (".upsample.kernel", QUARTER)}

    def noise(self, index: int) -> Source:
        """``injected_noise_0`` and so on."""
        return Source(f"injected_noise_{index}", MAP)

    def special(self, target: str) -> Source:
        """``style_mapping.1`` and so on, since ``style_mapping.0`` normalises."""
        if target.startswith("mapping.layers."):
            index, leaf = mapping_layer(target)
            return Source(f"style_mapping.{index + 1}.{'linear.weight_orig' if leaf == 'weight' else 'bias'}")
        return Source({"const": "constant_input.input"}.get(target, target), FIRST if target == "const" else PLAIN)


class Genforce(StyleGAN2Format):
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
        """As in the first release, unless its label has a layer of its own."""
        return not self.has("mapping.LabelEmbed.")

    def z_dim(self, w_dim: int, label_dim: int) -> int | None:
        """That of an embedded label."""
        return label_dim or None

    def flips(self, index: int) -> bool:
        """Where it enlarges, the format stores a true convolution and ours is a transposed one."""
        return index % 2 == 1

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
            return Source("mapping.dense{}.{}".format(*mapping_layer(target)))
        if target.startswith("mapping.embed.") and not self.joint_labels:
            return Source(target.replace("embed", "LabelEmbed"))
        return {
            "const": Source("synthesis.early_layer.const", FIRST),
            "w_avg": Source("truncation.w_avg"),
            "mapping.embed.weight": Source("mapping.label_weight", LABELS),
        }.get(target, Source(target))


FORMATS: tuple[type[StyleGAN2Format], ...] = (NvidiaTorch, NvidiaTensorFlow, Rosinality, Mmgeneration, Genforce)
