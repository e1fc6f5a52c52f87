"""Reads the encoder files that the paper's authors publish, with and without a blur.

Such a file is a state dictionary. Its convolutions and fully connected layers are stored as they are used, scaled
already by the factor of the equalised learning rate; ours are stored unscaled, so they are divided by it here.
"""

from __future__ import annotations

import re
from typing import Literal

import torch
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import BlockShape, EncoderSpec, Map, Styles
from torch import nn

from ganenc.encoders import AdaptiveBlock, Conv, Encoder, FixedNoise, Linear
from ganenc.foreign.checkpoint import Checkpoint

_PATTERN = re.compile(r"(?:FromRGB\.from_rgb|decode_block\.\d+\.inver_mod[12])\.")
STRIDED_BLOCKS = 4
"""How many of the first blocks of a file with a blur halve by stride, whatever the size of its images."""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether a file is named as the paper's authors name their encoders."""
    return any(_PATTERN.match(name) for name in checkpoint.tensors)


def from_checkpoint(checkpoint: Checkpoint) -> Encoder:
    """Build the encoder that a file of the paper's authors holds, with its weights, in eval mode.

    Its outputs are the styles ``w`` (N, 2 x blocks, dim) and the map ``const`` (N, C, 4, 4), with no offset. The
    published encoder draws its noise anew each time; here it is fixed. `CheckpointError` if it does not hold such an
    encoder.
    """
    encoder = Encoder(_spec(checkpoint))
    with torch.no_grad():
        _fill(encoder.from_image, checkpoint, "FromRGB.from_rgb")
        for index, block in enumerate(encoder.blocks):
            assert isinstance(block, AdaptiveBlock)
            _fill_block(block, checkpoint, f"decode_block.{index}")
    last = f"decode_block.{len(encoder.blocks) - 1}"
    checkpoint.spare(rf"{last}\.(?:noise_weight|bias)_2|decode_block\.\d+\.blur\.weight")
    checkpoint.check_all_read()
    return encoder.eval()


def _spec(checkpoint: Checkpoint) -> EncoderSpec:
    """The spec of the encoder in a file, from the names and shapes in it."""
    count = _count_blocks(checkpoint)
    blurred = "decode_block.0.blur.weight" in checkpoint.tensors
    size = 4 * 2 ** (count - 1)
    blocks = [_block_shape(checkpoint, index, count, blurred) for index in range(count)]
    styles = _shape(checkpoint, "decode_block.0.inver_mod1.weight", 2)[0]
    fields = {
        "size": (size, size),
        "channels": _shape(checkpoint, "FromRGB.from_rgb.weight", 4)[1],
        "layout": (
            Styles(name="w", layers=2 * count, dim=styles),
            Map(name="const", channels=blocks[-1].out_channels, height=4, width=4),
        ),
        "blocks": blocks,
        "blur": blurred,
        "noise": "fixed",
        "residual": 0.111,
        "start": "zero",
        "head_gain": 1.0,
        "map_gain": 1.0,
    }
    try:
        return EncoderSpec.from_mapping(fields)
    except SpecError as error:
        checkpoint.fail(f"its blocks do not fit together ({str(error).rstrip('.')})")


def _count_blocks(checkpoint: Checkpoint) -> int:
    count = 0
    while f"decode_block.{count}.conv_1.weight" in checkpoint.tensors:
        count += 1
    if not recognises(checkpoint):
        checkpoint.fail(
            "it is no encoder file of the paper's authors", "give one with FromRGB and decode_block weights"
        )
    if not count:
        checkpoint.tensor("decode_block.0.conv_1.weight")
    if f"decode_block.{count - 1}.conv_2.weight" in checkpoint.tensors:
        checkpoint.fail(f"its blocks after decode_block.{count - 1} are missing")
    if f"decode_block.{count - 1}.conv_3.weight" in checkpoint.tensors:
        checkpoint.fail("its last block changes the channels, so it can never have run")
    return count


def _block_shape(checkpoint: Checkpoint, index: int, count: int, blurred: bool) -> BlockShape:
    last = index == count - 1
    side = 4 * 2 ** (count - 1 - index)
    channels = _shape(checkpoint, f"decode_block.{index}.conv_1.weight", 4)[1]
    halving: Literal["average", "stride"] = "stride" if blurred and index < STRIDED_BLOCKS else "average"
    return BlockShape(
        size=(side, side),
        in_channels=channels,
        out_channels=channels if last else _shape(checkpoint, f"decode_block.{index}.conv_2.weight", 4)[0],
        convolutions=1 if last else 2,
        downscale="none" if last else halving,
    )


def _fill_block(block: AdaptiveBlock, checkpoint: Checkpoint, name: str) -> None:
    _fill(block.conv_1, checkpoint, f"{name}.conv_1", bias=f"{name}.bias_1")
    _fill_noise(block.noise_1, checkpoint, f"{name}.noise_weight_1")
    if block.spec.convolutions == 2:
        _fill(block.conv_2, checkpoint, f"{name}.conv_2", bias=f"{name}.bias_2")
        _fill_noise(block.noise_2, checkpoint, f"{name}.noise_weight_2")
    for head, key in ((block.head_1, "inver_mod1"), (block.head_2, "inver_mod2")):
        assert head is not None
        _fill(head, checkpoint, f"{name}.{key}")
    if block.spec.in_channels != block.spec.out_channels:
        _fill(block.bypass, checkpoint, f"{name}.conv_3")


def _fill(layer: Conv | Linear, checkpoint: Checkpoint, name: str, *, bias: str = "") -> None:
    """Copy a weight, undoing its scale, and a bias, which the file holds as (1, C, 1, 1) where it stands on its own."""
    weight = checkpoint.tensor(f"{name}.weight", tuple(layer.weight.shape))
    layer.weight.copy_(weight / layer.scale)
    shape = (1, len(layer.bias), 1, 1) if bias else (len(layer.bias),)
    layer.bias.copy_(checkpoint.tensor(bias or f"{name}.bias", shape).flatten())


def _fill_noise(noise: nn.Module, checkpoint: Checkpoint, name: str) -> None:
    assert isinstance(noise, FixedNoise)
    noise.strength.copy_(checkpoint.tensor(name, tuple(noise.strength.shape)))


def _shape(checkpoint: Checkpoint, name: str, axes: int) -> tuple[int, ...]:
    return tuple(checkpoint.tensor(name, (None,) * axes).shape)
