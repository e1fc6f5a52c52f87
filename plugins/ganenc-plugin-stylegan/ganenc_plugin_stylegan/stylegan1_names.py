"""How each published format names and stores the tensors of a StyleGAN1.

Layer 0 is the constant, layer 2l doubles the size on the way to level l, and 2l + 1 follows it there; the layers go by
``convs.0`` and so on. From 128 pixels on the published networks double the size within a transposed convolution ("fused
scale"), which lays the weight down rotated.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Checkpoint, Form

from ganenc_plugin_stylegan.names import FIRST, LABELS, MAP, Format, Source, mapping_layer
from ganenc_plugin_stylegan.settings import tensorflow_arguments

__all__ = ["FORMATS", "NvidiaTensorFlow", "StyleGAN1Format"]

FUSED_FROM = 128
LR_MULTIPLIER = 0.01
HALF = math.sqrt(0.5)

MAPPING_BIAS = Form(PLAIN.stored, lambda x: x * HALF)  # added after the gain of the leaky ReLU, where ours is before
_REMEDY = "give the folder that holds Gs_dict.pth, Gm_dict.pth and center_tensor.pt"


class StyleGAN1Format(Format):
    """A format of StyleGAN1."""

    @property
    def joint_labels(self) -> bool:
        """The only way that it knows."""
        return True

    def fused(self, side: int) -> bool:
        """Whether the layer that enlarges to ``side`` pixels is a transposed convolution."""
        return side >= FUSED_FROM

    def flips(self, index: int) -> bool:
        """Where a transposed convolution enlarges."""
        return index > 0 and index % 2 == 0 and self.fused(4 << index // 2)


class NvidiaTensorFlow(StyleGAN1Format):
    """NVIDIA's TensorFlow networks: ``synthesis/8x8/Conv0_up/StyleMod/weight``; inputs before outputs."""

    pattern = re.compile(r"(.*?)synthesis/\d+x\d+/(?:Const|Dense|Conv\w*)/(?:StyleMod/(?:weight|bias)|Noise/weight)")
    conv_leaves: ClassVar = {
        "weight": ("/weight", CONV_TF),
        "bias": ("/bias", PLAIN),
        "affine.weight": ("/StyleMod/weight", DENSE_TF),
        "affine.bias": ("/StyleMod/bias", PLAIN),
        "noise_strength": ("/Noise/weight", PLAIN),
    }
    image_leaves: ClassVar = conv_leaves

    def fused(self, side: int) -> bool:
        """From 128 pixels on, unless it is declared."""
        declared = tensorflow_arguments(self).get("fused_scale", "auto")
        return super().fused(side) if declared == "auto" else bool(declared)

    def conv(self, index: int) -> str:
        """``Const`` and ``Conv`` at 4x4, then ``Conv0_up`` and ``Conv1``."""
        side = 4 << index // 2
        pair = ("Const", "Conv") if index < 2 else ("Conv0_up", "Conv1")
        return f"synthesis/{side}x{side}/{pair[index % 2]}"

    def image(self, level: int) -> str:
        """``ToRGB_lod0``: the image at full size."""
        return "synthesis/ToRGB_lod0"

    def noise(self, index: int) -> Source:
        """``noise0`` and so on."""
        return Source(f"synthesis/noise{index}", MAP)

    def special(self, target: str) -> Source:
        """``Dense0`` and so on."""
        if target.startswith("mapping.layers."):
            index, leaf = mapping_layer(target)
            return Source(f"mapping/Dense{index}/{leaf}", DENSE_TF if leaf == "weight" else MAPPING_BIAS)
        return {
            "mapping.embed.weight": Source("mapping/LabelConcat/weight", LABELS),
            "mapping.embed.bias": Source("mapping/LabelConcat/bias"),
            "const": Source("synthesis/4x4/Const/const", FIRST),
            "w_avg": Source("dlatent_avg"),
        }[target]


class Genforce(StyleGAN1Format):
    """genforce's networks: ``synthesis.layer2.apply_noise.weight``; TensorFlow's numbers in torch's order of axes."""

    pattern = re.compile(r"(.*?)synthesis\.layer\d+\.apply_noise\.(?:weight|noise)")
    filters = re.compile(r"synthesis\.layer\d+\.blur\.kernel")
    lod: ClassVar = "synthesis.lod"
    idle: ClassVar = r"synthesis\.output\d+\.(?:weight|bias)"
    conv_leaves: ClassVar = {
        "weight": (".weight", PLAIN),
        "bias": (".bias", PLAIN),
        "affine.weight": (".style.weight", PLAIN),
        "affine.bias": (".style.bias", PLAIN),
        "noise_strength": (".apply_noise.weight", PLAIN),
    }
    image_leaves: ClassVar = conv_leaves

    def conv(self, index: int) -> str:
        """``synthesis.layer0`` and so on."""
        return f"synthesis.layer{index}"

    def image(self, level: int) -> str:
        """``synthesis.output0`` and so on."""
        return f"synthesis.output{level}"

    def noise(self, index: int) -> Source:
        """``apply_noise.noise`` of the layer."""
        return Source(f"{self.conv(index)}.apply_noise.noise", MAP)

    def special(self, target: str) -> Source:
        """``mapping.dense0`` and so on."""
        if target.startswith("mapping.layers."):
            index, leaf = mapping_layer(target)
            return Source(f"mapping.dense{index}.{leaf}", PLAIN if leaf == "weight" else MAPPING_BIAS)
        return {
            "const": Source("synthesis.layer0.const", FIRST),
            "w_avg": Source("truncation.w_avg"),
            "mapping.embed.weight": Source("mapping.label_weight", LABELS),
        }.get(target, Source(target))


def _unscaled(gain: float) -> Form:
    """A weight stored with the factor gain / sqrt(inputs) of the equalised learning rate in it."""
    return Form(PLAIN.stored, lambda x: x * (math.sqrt(x[0].numel()) / gain))


DENSE_SCALED, CONV_SCALED = _unscaled(1.0), _unscaled(math.sqrt(2))
CHANNELS = Form(lambda shape: (1, *shape, 1, 1), lambda x: x[0, :, 0, 0])
TRANSPOSED_SCALED = Form(lambda s: (s[1], s[0], *s[2:]), lambda x: CONV_SCALED.ours(x.transpose(0, 1).flip(2, 3)))
MAPPING_SCALED = {
    "weight": _unscaled(LR_MULTIPLIER / HALF),
    "bias": Form(PLAIN.stored, lambda x: x * (HALF / LR_MULTIPLIER)),
}


class GsGm(StyleGAN1Format):
    """This paper's files: ``Gs_dict.pth`` (synthesis), ``Gm_dict.pth`` (mapping) and ``center_tensor.pt`` in a folder.

    The networks are podgorskiy's, whose own files hold both, as ``generator`` and ``mapping``. Weights are stored with
    the factors of the equalised learning rate in them; noise maps are not stored.
    """

    pattern = re.compile(r"(.*?)decode_block\.\d+\.style_[12]\.(?:weight|bias)")
    filters = re.compile(r"decode_block\.\d+\.blur\.weight")
    idle: ClassVar = r"to_rgb\.\d+\.to_rgb\.(?:weight|bias)"
    conv_leaves: ClassVar = {
        "weight": (".conv_{}.weight", CONV_SCALED),
        "bias": (".bias_{}", CHANNELS),
        "affine.weight": (".style_{}.weight", DENSE_SCALED),
        "affine.bias": (".style_{}.bias", PLAIN),
        "noise_strength": (".noise_weight_{}", CHANNELS),
    }
    image_leaves: ClassVar = {"weight": (".weight", DENSE_SCALED), "bias": (".bias", PLAIN)}
    flipped: ClassVar = {CONV_SCALED: TRANSPOSED_SCALED}
    _mapping: ClassVar = re.compile(r"(.*?)block_\d+\.fc\.(?:weight|bias)")

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        super().__init__(checkpoint, prefix)
        if not self.has("decode_block."):
            checkpoint.fail("it holds a mapping network without its synthesis network, Gs_dict.pth", _REMEDY)
        self._mapping_prefix = self._find_mapping()

    @classmethod
    def prefixes(cls, checkpoint: Checkpoint) -> list[str]:
        """Those of the synthesis networks; ``Gs_dict.`` where a folder has the mapping network alone."""
        alone = any(name.startswith("Gm_dict.block_") for name in checkpoint.tensors)
        return super().prefixes(checkpoint) or ["Gs_dict."] * alone

    @property
    def mean_style(self) -> tuple[str, ...]:
        """``center_tensor``, which the published code puts in place of the buffer of the mapping network."""
        own = self._mapping_prefix
        return "center_tensor", f"{own}buffer1", re.sub(r"mapping(?:_s)?\.$", "dlatent_avg.buff", own)

    def source(self, target: str) -> Source:
        """Return where a tensor of ours lies; the mapping network has a prefix of its own."""
        if not target.startswith("mapping."):
            return super().source(target)
        if not target.startswith("mapping.layers."):
            return Source(self._mapping_prefix + target)
        index, leaf = mapping_layer(target)
        return Source(f"{self._mapping_prefix}block_{index + 1}.fc.{leaf}", MAPPING_SCALED[leaf])

    def layer(self, index: int, leaf: str) -> Source:
        """Return one leaf of a layer; the two of a block are told by a number at the leaf."""
        found = super().layer(index, leaf)
        return Source(found.name.format(index % 2 + 1), found.form)

    def conv(self, index: int) -> str:
        """``decode_block.0`` and so on, for two layers each."""
        return f"decode_block.{index // 2}"

    def image(self, level: int) -> str:
        """``to_rgb.0.to_rgb`` and so on."""
        return f"to_rgb.{level}.to_rgb"

    def noise(self, index: int) -> Source:
        """There is none: the format draws its noise anew each time."""
        return Source(f"{self.conv(index)}.noise_{{}}")

    def special(self, target: str) -> Source:
        """``const``."""
        return Source(target, FIRST)

    def _find_mapping(self) -> str:
        """Return the prefix of the mapping network that belongs to the synthesis network."""
        matches = [self._mapping.fullmatch(name) for name in self.checkpoint.tensors]
        found = sorted({match.group(1) for match in matches if match})
        wanted = self.prefix.replace("Gs_dict", "Gm_dict").replace("generator", "mapping")
        if wanted in found:
            self.checkpoint.spare(f"(?:{'|'.join(re.escape(one) for one in found if one != wanted)}).*")
            return wanted
        if len(found) != 1:
            self.checkpoint.fail("it holds a synthesis network without its mapping network, Gm_dict.pth", _REMEDY)
        return found[0]


FORMATS: tuple[type[StyleGAN1Format], ...] = (NvidiaTensorFlow, Genforce, GsGm)
