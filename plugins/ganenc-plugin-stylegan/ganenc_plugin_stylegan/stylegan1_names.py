"""How each published format names and stores the tensors of a StyleGAN1.

Layer 0 is the constant, layer 2l doubles the size on the way to level l, and 2l + 1 follows it there; the layers go by
``convs.0`` and so on. From 128 pixels on the published networks double the size within a transposed convolution ("fused
scale"), which lays the weight down rotated.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import torch
from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Checkpoint, Form

from ganenc_plugin_stylegan.names import FIRST, LABELS, MAP, ROOT2, SCALAR, Format, Source, mapping_layer
from ganenc_plugin_stylegan.settings import tensorflow_arguments

__all__ = ["FORMATS", "NvidiaTensorFlow", "StyleGAN1Format"]

FUSED_FROM = 128
LR_MULTIPLIER = 0.01
HALF = math.sqrt(0.5)

UNSCALED = Form(PLAIN.stored, lambda x: x * HALF)  # without the gain of the leaky ReLU
MAPPING_BIAS = Form(PLAIN.stored, lambda x: x * HALF)  # added after the gain of the leaky ReLU, where ours is before
LESS_ONE = Form(PLAIN.stored, lambda x: x - (torch.arange(len(x)) < len(x) // 2).to(x))  # ours adds 1 to the scales
_REMEDY = "give the folder that holds Gs_dict.pth, Gm_dict.pth and center_tensor.pt"


class StyleGAN1Format(Format):
    """A format of StyleGAN1."""

    @property
    def options(self) -> dict[str, Any]:
        """What the network has otherwise than NVIDIA's, as options of its spec."""
        return {}

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
        "kernel": (".blur.weight", Form(lambda shape: (shape[0], 1, *shape[1:]), lambda x: x[:, 0])),
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


class Mmgeneration(StyleGAN1Format):
    """mmgeneration's networks, which mmagic keeps: ``convs.1.adain1.affine.weight_orig``.

    They enlarge, convolve and add a bias before they blur, with the blur's filter in each layer; the published code
    also activates in between, unless the convolution comes second there.
    """

    pattern = re.compile(r"(.*?)convs\.\d+\.adain[12]\.affine\.(?:weight_orig|bias)")
    filters = re.compile(r"convs\.\d+\.conv1\.\d\.kernel")
    idle: ClassVar = r"to_rgbs\.\d+\.conv\.(?:weight_orig|bias)"
    lacking: ClassVar = ("convs.0.bias",)
    conv_leaves: ClassVar = {
        "weight": (".conv{1}.conv.weight_orig", PLAIN),
        "bias": (".conv{1}.conv.bias", PLAIN),
        "affine.weight": (".adain{0}.affine.weight_orig", ROOT2),
        "affine.bias": (".adain{0}.affine.bias", LESS_ONE),
        "noise_strength": (".noise_injector{0}.weight", SCALAR),
        "kernel": (".conv1.{2}.kernel", Form(lambda shape: shape[1:], lambda x: x.flip(0, 1))),
    }
    image_leaves: ClassVar = {"weight": (".conv.weight_orig", ROOT2), "bias": (".conv.bias", PLAIN)}

    @property
    def options(self) -> dict[str, Any]:
        """The order of an enlarging layer, and torch's epsilon of instance norms."""
        return {"before_blur": "bias" if self._place else "activation", "epsilon": 1e-5}

    def fused(self, side: int) -> bool:
        """Never: it enlarges and convolves."""
        return False

    def layer(self, index: int, leaf: str) -> Source:
        """Return one leaf of a layer; two lie in a block, the first of which is a sequence where it enlarges."""
        found, number = super().layer(index, leaf), index % 2 + 1
        first = f"1.{self._place}"
        return Source(found.name.format(number, "2" if number == 2 else first, self._place + 1), found.form)

    def conv(self, index: int) -> str:
        """``convs.0`` and so on, for two layers each."""
        return f"convs.{index // 2}"

    def image(self, level: int) -> str:
        """``to_rgbs.0`` and so on."""
        return f"to_rgbs.{level}"

    def noise(self, index: int) -> Source:
        """``injected_noise_0`` and so on."""
        return Source(f"injected_noise_{index}", MAP)

    def special(self, target: str) -> Source:
        """``style_mapping.1`` and so on, since ``style_mapping.0`` normalises."""
        if target.startswith("mapping.layers."):
            index, leaf = mapping_layer(target)
            name = f"style_mapping.{index + 1}.{'linear.weight_orig' if leaf == 'weight' else 'bias'}"
            return Source(name, UNSCALED)
        return Source("convs.0.conv1.input", FIRST) if target == "const" else Source(target)

    @property
    def _place(self) -> int:
        """Where in its sequence the convolution of an enlarging layer stands."""
        return int(self.has("convs.1.conv1.1.conv."))


class GanZoo(StyleGAN1Format):
    """pytorch_GAN_zoo's networks: ``scaleLayers.0.1.styleModulator.module.weight``, with the settings of the training.

    Weights and biases are multiplied by He's constant together; nothing is blurred; noise maps are not stored.
    """

    pattern = re.compile(r"(.*?)(?:scaleLayers\.\d+\.\d|adain0[01])\.styleModulator\.module\.(?:weight|bias)")
    idle: ClassVar = r"toRGBLayers\.\d+\.module\.(?:weight|bias)"
    lacking: ClassVar = ("convs.0.bias",)
    conv_leaves: ClassVar = {
        "weight": ("{0}.module.weight", PLAIN),
        "bias": ("{0}.module.bias", PLAIN),
        "affine.weight": ("{1}.styleModulator.module.weight", ROOT2),
        "affine.bias": ("{1}.styleModulator.module.bias", LESS_ONE),
        "noise_strength": ("{2}.module.weight", Form(lambda shape: (1, 1, 1, 1), lambda x: x.reshape(()))),
    }
    image_leaves: ClassVar = {"weight": (".module.weight", ROOT2), "bias": (".module.bias", PLAIN)}

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        super().__init__(checkpoint, prefix)
        if checkpoint.meta("config.alpha", 0) != 0:
            remedy = "use a copy saved after that"
            checkpoint.fail("its StyleGAN was saved before it had grown to full size (config.alpha is not 0)", remedy)

    @property
    def options(self) -> dict[str, Any]:
        """The settings of the training, of which the loss tells what ends the generator."""
        told = self.checkpoint.meta
        tanh = told("config.lossCriterion") in ("MSE", "DCGAN")
        return {"blur": (1.0,), "slope": told("config.leakyReluLeak", 0.2), "tanh": tanh}

    def source(self, target: str) -> Source:
        """Return where a tensor of ours lies; a bias has the scale of its weight."""
        found = super().source(target)
        weight = self.checkpoint.tensors.get(f"{found.name.removesuffix('bias')}weight")
        if not found.name.endswith(".module.bias") or weight is None or weight.ndim < 2 or not weight[0].numel():
            return found
        scale = math.sqrt(2 / weight[0].numel())
        return Source(found.name, Form(found.form.stored, lambda x: found.form.ours(x * scale)))

    def fused(self, side: int) -> bool:
        """Never: it enlarges and convolves."""
        return False

    def layer(self, index: int, leaf: str) -> Source:
        """Return one leaf of a layer, whose convolution, style and noise lie apart."""
        block, second = index // 2 - 1, index % 2
        places = ("conv0" if second else "baseScale0", f"adain0{second}", f"noiseMod0{second}")
        if block >= 0:
            group = f"scaleLayers.{block}"
            places = (f"{group}.{2 * second}", f"{group}.{2 * second + 1}", f"noiseModulators.{block}.{second}")
        found = super().layer(index, leaf)
        return Source(found.name.format(*places), found.form)

    def conv(self, index: int) -> str:
        """Nothing that all leaves share."""
        return ""

    def image(self, level: int) -> str:
        """``toRGBLayers.0`` at the second level."""
        return f"toRGBLayers.{level - 1}"

    def noise(self, index: int) -> Source:
        """There is none: the format draws its noise anew each time."""
        return Source(f"noise_{index}")

    def special(self, target: str) -> Source:
        """``mapping.FC.0`` and so on."""
        if target.startswith("mapping.layers."):
            index, leaf = mapping_layer(target)
            return Source(f"mapping.FC.{index}.module.{leaf}", PLAIN if leaf == "weight" else MAPPING_BIAS)
        return {"const": Source("baseScale0", FIRST), "w_avg": Source("mean_w")}.get(target, Source(target))


FORMATS: tuple[type[StyleGAN1Format], ...] = (NvidiaTensorFlow, Genforce, GsGm, Mmgeneration, GanZoo)
