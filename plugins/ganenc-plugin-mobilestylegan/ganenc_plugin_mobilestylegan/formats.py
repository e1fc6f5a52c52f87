"""MobileStyleGAN in OpenVINO's files: ``MappingNetwork`` and ``SynthesisNetwork``, each ``.xml`` and ``.bin``.

The fused weight and the noise of a layer have no names of their own there: they stand before its bias. The exported
graph has folded two things away. Demodulation, which in training depends on the style, is part of the
pointwise weights. Noise is the fixed maps times their strengths, added for every image; here they are taken apart
again, into maps of unit root mean square and what they are multiplied by.
"""

from __future__ import annotations

import itertools
import math

import torch
from ganenc.foreign import Checkpoint
from ganenc_plugin_stylegan.specs import MappingOptions
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc_plugin_mobilestylegan.specs import mobilestylegan_spec

__all__ = ["convert", "recognises"]

MAPPING, SYNTHESIS = "MappingNetwork", "SynthesisNetwork.m."
MOST_BLOCKS = 16
LR_MULTIPLIER = MappingOptions().mapping_lr_multiplier


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the folder holds both networks."""
    return f"{SYNTHESIS}layers.0.up.modulation.weight" in checkpoint.tensors and any(
        name.startswith(f"{MAPPING}.") for name in checkpoint.tensors
    )


def convert(checkpoint: Checkpoint) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec and the state dictionary of the generator.

    Raises:
        CheckpointError: if a tensor is missing, or has a shape that fits no such network.
    """
    blocks = 0
    while f"{SYNTHESIS}layers.{blocks}.up.modulation.weight" in checkpoint.tensors:
        blocks += 1
    if blocks > MOST_BLOCKS:
        checkpoint.fail(f"its synthesis network has {blocks} blocks, where {MOST_BLOCKS} are far more than any has")
    const = checkpoint.tensor(f"{SYNTHESIS}input.input", (1, None, None, None))
    image = checkpoint.tensor(f"{SYNTHESIS}layers.{blocks - 1}.to_img.conv.weight", (None, None, 1, 1))
    mapping = _mapping(checkpoint)
    w_dim = mapping[-1][0].shape[0]
    base = (const.shape[2], const.shape[3])
    widths = [const.shape[1]]
    for i in range(blocks):
        widths.append(checkpoint.tensor(f"{SYNTHESIS}layers.{i}.conv2.bias", (1, None, 1, 1)).shape[1])
    spec = mobilestylegan_spec(
        (base[0] << (blocks + 1), base[1] << (blocks + 1)),
        {min(base) << level: width for level, width in enumerate(widths)},
        z_dim=mapping[0][0].shape[1],
        w_dim=w_dim,
        base=base,
        image_channels=image.shape[0] // 4,
        options=MappingOptions(mapping_layers=len(mapping), mapping_dim=mapping[0][0].shape[0]),
    )
    state = {"const": const[0], "w_avg": torch.full((w_dim,), math.nan)}
    for i, (weight, bias) in enumerate(mapping):
        # Stored ready to use, as the product with the learning rate's multiplier and 1 / sqrt(inputs).
        state[f"mapping.layers.{i}.weight"] = weight * (math.sqrt(weight.shape[1]) / LR_MULTIPLIER)
        state[f"mapping.layers.{i}.bias"] = bias / LR_MULTIPLIER
    state |= _conv(checkpoint, "conv1", "conv", (widths[0], widths[0]), base, w_dim, side=3)
    for i, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        size = (base[0] << (i + 1), base[1] << (i + 1))
        there, here = f"layers.{i}.", f"blocks.{i}."
        state |= _modulation(checkpoint, f"{there}up.modulation", f"{here}up", inputs, w_dim)
        for j, width in enumerate((inputs // 4, outputs)):
            state |= _conv(checkpoint, f"{there}conv{j + 1}", f"{here}convs.{j}", (width, outputs), size, w_dim)
    last = f"layers.{blocks - 1}.to_img."
    state |= _modulation(checkpoint, f"{last}conv.modulation", "to_image", widths[-1], w_dim)
    state["weight"] = checkpoint.tensor(f"{SYNTHESIS}{last}conv.weight", (4 * spec.channels, widths[-1], 1, 1))
    state["bias"] = checkpoint.tensor(f"{SYNTHESIS}{last}bias", (1, 4 * spec.channels, 1, 1)).flatten()
    checkpoint.spare(rf"{SYNTHESIS[:-2]}[^.]+")  # what has no name of its own: wavelets, slopes and factors
    return spec, state


def _mapping(checkpoint: Checkpoint) -> list[tuple[Tensor, Tensor]]:
    """Weight (out, in) and bias (out,) of each layer. Their names say nothing: they are the graph's matrices and its
    vectors, in its order."""
    names = [name for name in checkpoint.tensors if name.startswith(MAPPING)]
    found = [checkpoint.tensor(name) for name in names if checkpoint.tensors[name].is_floating_point()]
    weights = [one for one in found if one.ndim == 2 and one.numel() > 1]
    biases = [one for one in found if one.ndim == 1 and one.numel() > 1]
    fit = [weight.shape[0] for weight in weights] == [len(bias) for bias in biases]
    chained = all(b.shape[1] == a.shape[0] for a, b in itertools.pairwise(weights))
    operations = checkpoint.meta(f"{MAPPING}.operations", {})
    counts = {operations.get(kind) for kind in ("MatMul", "PReLU")}
    if not weights or not fit or not chained or counts != {len(weights)}:
        checkpoint.fail("its mapping network is no chain of fully connected layers with leaky ReLUs")
    return list(zip(weights, biases))


def _modulation(checkpoint: Checkpoint, there: str, here: str, channels: int, w_dim: int) -> dict[str, Tensor]:
    bias = checkpoint.tensor(f"{SYNTHESIS}{there}.bias", (1, channels))
    weight = checkpoint.tensor(f"{SYNTHESIS}{there}.weight", (channels, w_dim))
    return {f"{here}.affine.weight": weight, f"{here}.affine.bias": bias[0]}


def _conv(
    checkpoint: Checkpoint,
    there: str,
    here: str,
    channels: tuple[int, int],
    size: tuple[int, int],
    w_dim: int,
    *,
    side: int = 1,
) -> dict[str, Tensor]:
    """A layer of the synthesis network, its noise taken apart; ``side`` is that of the fused weight."""
    inputs, outputs = channels
    name = f"{SYNTHESIS}{there}.bias"
    bias = checkpoint.tensor(name, (1, outputs, 1, 1)).flatten()
    names = [one for one in checkpoint.tensors if one.startswith(SYNTHESIS[:-2])]
    before = names[max(names.index(name) - 2, 0) : names.index(name)]
    if len(before) < 2:
        checkpoint.fail(f"no weight and noise stand before {name!r}")
    weight, noise = before
    drawn = checkpoint.tensor(noise, (1, 1, *size))[0, 0]
    strength = drawn.square().mean().sqrt()
    state = {
        **_modulation(checkpoint, f"{there}.conv.modulation", f"{here}.modulation", inputs, w_dim),
        f"{here}.weight": checkpoint.tensor(weight, (outputs, inputs, side, side)),
        f"{here}.bias": bias,
        f"{here}.noise_strength": strength,
        f"{here}.noise_const": drawn / strength if strength else drawn,
    }
    if side == 1:
        state[f"{here}.depthwise"] = checkpoint.tensor(
            f"{SYNTHESIS}{there}.conv.weight_dw", (inputs, 1, 1, 3, 3)
        ).flatten(1, 2)
    return state
