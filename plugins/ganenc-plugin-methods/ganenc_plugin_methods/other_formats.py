"""Reads the encoders in files of In-domain GAN inversion, ALAE, and encoders made of a DCGAN's discriminator."""

from __future__ import annotations

import math
import re

from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint
from ganenc_registry.specs import Styles, Vector
from torch import Tensor

from ganenc_plugin_methods.reading import Rule, build, count, prefixes, renamed, shape_of

__all__ = ["ALAE_MARK", "INDOMAIN_MARK", "folded", "is_d2e", "read_alae", "read_d2e", "read_indomain"]

INDOMAIN_MARK, ALAE_MARK = r"block0\.bn\.bn\.weight", r"encode_block\.0\.style_1\.weight"
_NORMALISED = re.compile(r"(.+)_orig|(.+)\.original")
_D2E_MARK = r"net\.\d{1,3}\.weight_orig"


def read_indomain(checkpoint: Checkpoint) -> Encoder:
    """The encoder of In-domain GAN inversion; `CheckpointError` if it is damaged or has other options."""
    prefix = checkpoint.averaged(prefixes(checkpoint, INDOMAIN_MARK))
    blocks = max(0, count(checkpoint, f"{prefix}block") - 2)
    width, channels = shape_of(checkpoint, f"{prefix}block0.conv.weight", 4)[:2]
    inner = (shape_of(checkpoint, f"{prefix}block{block}.conv2.weight", 4)[0] for block in range(1, blocks + 1))
    chosen = [width, *inner]
    outputs, inputs = shape_of(checkpoint, f"{prefix}block{blocks + 1}.fc.weight", 2)
    area, odd = divmod(inputs, chosen[-1])
    side = math.isqrt(area) << min(blocks, 20)
    layers = 2 * max(1, side.bit_length() - 2)
    if odd or math.isqrt(area) ** 2 != area or outputs % layers or not 4 <= side <= 1 << 14:
        checkpoint.fail(
            f"its last layer takes {inputs} values and gives {outputs}, which fit no styles of square images"
        )
    rules: list[Rule] = [
        (r"first\.0", "block0.conv"),
        (r"first\.1", "block0.bn.bn"),
        (r"last", f"block{blocks + 1}.fc"),
        (r"norm", f"block{blocks + 1}.bn.bn"),
        (r"blocks\.(\d+)\.", lambda found: f"block{int(found[1]) + 1}."),
        (r"(block\d+\.)bypass\.0", r"\1conv"),
        (r"(block\d+\.)bypass\.1", r"\1bn.bn"),
        (r"(block\d+\.)branch\.0\.bias", r"\1wscale1.bias"),
        (r"(block\d+\.)branch\.3\.bias", r"\1wscale2.bias"),
        (r"(block\d+\.)branch\.0", r"\1conv1"),
        (r"(block\d+\.)branch\.3", r"\1conv2"),
        (r"(block\d+\.)branch\.1", r"\1bn1.bn"),
        (r"(block\d+\.)branch\.4", r"\1bn2.bn"),
    ]
    fields = {
        "size": (side, side),
        "channels": channels,
        "layout": (Styles(name="w", layers=layers, dim=outputs // layers),),
        "network": {"name": "in-domain", "options": {"widths": chosen}},
    }
    return build(checkpoint, fields, lambda ours: prefix + renamed(ours, rules))


def read_alae(checkpoint: Checkpoint) -> Encoder:
    """ALAE's encoder, which its files call the discriminator, of the averaged copy; `CheckpointError` if it is damaged
    or of another kind."""
    prefix = checkpoint.averaged(prefixes(checkpoint, ALAE_MARK))
    checkpoint.spare(rf"(?!{re.escape(prefix)}).*")
    blocks = count(checkpoint, f"{prefix}encode_block.")
    channels = shape_of(checkpoint, f"{prefix}from_rgb.0.from_rgb.weight", 4)[1]
    inputs = [shape_of(checkpoint, f"{prefix}encode_block.{block}.conv_1.weight", 4)[0] for block in range(blocks)]
    last = shape_of(checkpoint, f"{prefix}encode_block.{blocks - 1}.conv_2.weight", 4)[0]
    dim = shape_of(checkpoint, f"{prefix}encode_block.0.style_1.weight", 2)[0]
    side = 2 << min(blocks, 20)
    checkpoint.spare(rf"{re.escape(prefix)}(?:from_rgb\.[1-9]\d*\..*|encode_block\.\d+\.blur\.weight)")
    fields = {
        "size": (side, side),
        "channels": channels,
        "layout": (Styles(name="w", layers=2 * blocks, dim=dim),),
        "network": {"name": "alae", "options": {"widths": [*inputs, last]}},
    }
    rules: list[Rule] = [
        ("first", "from_rgb.0.from_rgb"),
        (r"blocks\.", "encode_block."),
        (r"(encode_block\.\d+\.)head_", r"\1style_"),
    ]

    def theirs(ours: str) -> str | Tensor:
        name = prefix + renamed(ours, rules)
        bias = re.sub(r"conv_(\d)\.bias$", r"bias_\1", name)
        return name if bias == name else checkpoint.tensor(bias, (1, None, 1, 1)).flatten()

    return build(checkpoint, fields, theirs)


def is_d2e(checkpoint: Checkpoint) -> bool:
    """Whether a file holds nothing but a chain of convolutions with spectral norm that gives more than a score."""
    found = set(prefixes(checkpoint, _D2E_MARK))
    if len(found) != 1:
        return False
    prefix = found.pop()
    if not all(
        re.fullmatch(rf"{re.escape(prefix)}net\.\d{{1,3}}\.(?:weight\w*|bias)", one) for one in checkpoint.tensors
    ):
        return False
    last = f"{prefix}net.{2 * _length(checkpoint, prefix)}.weight"
    return last not in checkpoint.tensors or checkpoint.shape(last)[:1] != (1,) or len(checkpoint.shape(last)) != 4


def read_d2e(checkpoint: Checkpoint) -> Encoder:
    """The encoder that was a DCGAN's discriminator; `CheckpointError` if it is damaged. Spectral norm is folded in."""
    prefix = checkpoint.averaged(sorted(set(prefixes(checkpoint, _D2E_MARK))))
    length = _length(checkpoint, prefix)
    widths = [shape_of(checkpoint, f"{prefix}net.{2 * place}.weight_orig", 4)[0] for place in range(length)]
    channels = shape_of(checkpoint, f"{prefix}net.0.weight_orig", 4)[1]
    dim, _, *kernel = shape_of(checkpoint, f"{prefix}net.{2 * length}.weight", 4)
    height, width = (side << min(length, 20) for side in kernel)
    fields = {
        "size": (height, width),
        "channels": channels,
        "layout": (Vector(name="z", dim=dim),),
        "network": {"name": "d2e", "options": {"widths": widths}},
    }

    def theirs(ours: str) -> str | Tensor:
        name = prefix + renamed(ours, [("trunk", "net"), ("last", f"net.{2 * length}")])
        return name if ours.startswith("last") else folded(checkpoint, f"{name}_orig")

    return build(checkpoint, fields, theirs)


def _length(checkpoint: Checkpoint, prefix: str) -> int:
    """How many convolutions come before the last."""
    return count(checkpoint, f"{prefix}net.", step=2) - 1


def folded(checkpoint: Checkpoint, name: str) -> Tensor:
    """A kernel; where spectral norm was taken, divided by it, as its stored vectors give it."""
    weight = checkpoint.tensor(name, (None, None, None, None))
    normalised = _NORMALISED.fullmatch(name)
    if normalised is None:
        return weight
    before = f"{normalised[1]}_" if normalised[1] else f"{normalised[2]}.0._"
    matrix = weight.flatten(1)
    left, right = (checkpoint.tensor(f"{before}{which}", (size,)) for which, size in zip("uv", matrix.shape))
    norm = left @ (matrix @ right)
    if not norm:
        checkpoint.fail(f"the spectral norm of {name!r} is 0")
    return weight / norm
