"""Reads BigGAN and BigGAN-deep as ajbrock/BigGAN-PyTorch keeps them: ``G_ema.pth``, a state dictionary alone.

Architecture comes from the shapes. Where weights are spectrally normalised, each has a vector u beside it, from which
the published code takes one step of power iteration in use; so each weight is divided, on reading, by what that gives.
Conditions have the class first there, where ours have z first. Not in paper.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

from einops import rearrange
from ganenc.files import read_json
from ganenc.foreign import Checkpoint
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor
from torch.nn import functional as F

from ganenc_plugin_biggan.specs import PUBLISHED_WIDTHS, biggan_spec, published_blocks

__all__ = ["read_spec", "read_tensors", "recognises"]

_PATTERN = re.compile(r"(.*?)blocks\.\d+\.\d+\.bn[12]\.(?:(?:gain|bias)\.weight|(?:bn\.)?stored_(?:mean|var))")
_IDLE = r".*\.(?:sv\d+|u[1-9]\d*|accumulation_counter)"
_ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o"}
_PARTS = {"gain": "gain", "shift": "bias"}
_STATISTICS = {"running_means": "mean", "running_vars": "var"}
_WIDTHS = {32: (4, 4, 4, 4), 64: (16, 16, 8, 4, 2), **PUBLISHED_WIDTHS}
"""The published code's, which follow no rule."""
BATCH_NORM_EPSILON = 1e-5
"""Of the published code, unless its settings say otherwise."""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as BigGAN-PyTorch names them."""
    return any(_PATTERN.fullmatch(name) for name in checkpoint.tensors)


def read_spec(checkpoint: Checkpoint) -> GeneratorSpec:
    """The spec of the network in the file.

    Raises:
        CheckpointError: a tensor is missing or of a shape that does not fit, or the size cannot be told.
    """
    file = _File(checkpoint)
    try:
        return file.spec()
    except SpecError as error:
        checkpoint.fail(f"its BigGAN cannot be built ({str(error).rstrip('.')})")


def read_tensors(checkpoint: Checkpoint, spec: GeneratorSpec, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by our names, in float32, with spectral normalisation folded in; ``wanted`` is the state of a
    generator of that spec.

    Raises:
        CheckpointError: a tensor is missing, of another shape, or holds NaN.
    """
    file = _File(checkpoint)
    return {name: file.find(name, tuple(like.shape), spec).contiguous() for name, like in wanted.items()}


class _File:
    """The averaged network in a checkpoint."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        matches = [_PATTERN.fullmatch(name) for name in checkpoint.tensors]
        self.prefix = checkpoint.averaged(sorted({match.group(1) for match in matches if match}))
        checkpoint.spare(re.escape(self.prefix) + _IDLE)
        self.normalised = any(name.startswith(self.prefix) and name.endswith(".u0") for name in checkpoint.tensors)

    def spec(self) -> GeneratorSpec:
        """What the shapes say."""
        found = re.compile(rf"{re.escape(self.prefix)}blocks\.(\d{{1,2}})\.")
        matches = map(found.match, self.checkpoint.tensors)
        count = 1 + max((int(match.group(1)) for match in matches if match), default=0)
        deep = self.holds("blocks.0.0.conv3.")
        last = "conv4" if deep else "conv2"
        widths = [self.shape("blocks.0.0.conv1.weight")[1]]
        widths += [self.shape(f"blocks.{block}.0.{last}.weight")[0] for block in range(count)]
        attention = tuple(block + 1 for block in range(count) if self.holds(f"blocks.{block}.1."))
        if deep:
            depth = self.depth(widths, attention)
            ups = [block % depth == depth - 1 for block in range(count)]
        else:
            ups = [self.holds(f"blocks.{block}.0.conv_sc.") for block in range(count)]
        cells, inputs = self.shape("linear.weight")
        base = math.isqrt(cells // widths[0])
        if base * base * widths[0] != cells:
            self.checkpoint.fail(
                f"'{self.prefix}linear.weight' gives {cells} numbers, no square of {widths[0]} channels"
            )
        classes, seen = self.shape("blocks.0.0.bn1.gain.weight")
        c_dim, extra = seen, 0
        if shared := self.holds("shared.weight"):
            seen = self.shape("blocks.0.0.bn1.gain.weight")[1]
            classes, c_dim = self.shape("shared.weight")
            extra = seen - c_dim
        if extra < 0 or (extra and inputs != (seen if deep else extra)):
            self.checkpoint.fail(f"its first layer takes {inputs} numbers, its norms {seen}, and its classes {c_dim}")
        unit = math.gcd(*widths)
        side = base << sum(ups)
        return biggan_spec(
            side,
            channel_width=unit,
            blocks=[(up, a // unit, b // unit) for up, (a, b) in zip(ups, itertools.pairwise(widths))],
            attention=attention,
            style="deep" if deep else "plain",
            conditioning="class" if not extra else "whole" if deep else "chunks",
            embedding=shared,
            prior="normal",
            z_dim=inputs if not extra else extra if deep else inputs * (count + 1),
            c_dim=c_dim,
            classes=classes,
            reduction=widths[0] // self.shape("blocks.0.0.conv1.weight")[0] if deep else 1,
            n_stats=1,
            eps=self.epsilon(),
            image_channels=self.shape("output_layer.2.weight")[0],
        )

    def depth(self, widths: list[int], attention: tuple[int, ...]) -> int:
        """How many blocks of a BigGAN-deep share a resolution: the last of them alone changes channels and is followed
        by attention. What is left is decided by the published widths, or by the settings beside the file."""
        count = len(widths) - 1
        ends = {block + 1 for block in range(count) if widths[block] != widths[block + 1]} | set(attention)
        fitting = [depth for depth in range(1, count + 1) if not any(end % depth for end in (count, *ends))]
        told = self.told("G_depth")
        if told in fitting:
            return int(told)
        known = [depth for depth in fitting if _published(widths[::depth])]
        if len(known or fitting) != 1:
            sides = " or ".join(str(4 << count // depth) for depth in fitting)
            self.checkpoint.fail(
                f"its images may be of {sides} pixels, which its blocks alone do not tell",
                'put a config.json with {"G_depth": the blocks at each resolution} beside it, or give the folder that'
                " holds its state_dict.pth",
            )
        return (known or fitting)[0]

    def epsilon(self) -> float:
        """What is added to variances."""
        told = self.told("BN_eps")
        return float(told) if isinstance(told, float) and 0 < told < 1 else BATCH_NORM_EPSILON

    def told(self, setting: str) -> Any:
        """A setting of the training that lies beside the weights: in its ``state_dict.pth`` or a ``config.json``."""
        beside = self.checkpoint.path.parent / "config.json"
        if self.checkpoint.container != "folder" and beside.is_file():
            settings = read_json(beside, "correct it or remove it")
            return settings.get(setting) if isinstance(settings, dict) else None
        return self.checkpoint.meta(f"config.{setting}", self.checkpoint.meta(f"state_dict.config.{setting}"))

    def holds(self, start: str) -> bool:
        """Whether a tensor's name starts so."""
        return any(name.startswith(self.prefix + start) for name in self.checkpoint.tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a weight."""
        axes = 4 if re.search(r"\.conv\d|output_layer", name) else 2
        return tuple(self.checkpoint.tensor(self.prefix + name, (None,) * axes).shape)

    def find(self, name: str, shape: tuple[int, ...], spec: GeneratorSpec) -> Tensor:
        """The tensor that goes by one of our names."""
        c_dim = spec.part("c").dim
        module, _, kind = name.rpartition(".")
        steps = module.split(".")
        if name == "embedding.weight":
            return self.tensor("shared.weight", shape[::-1]).t()
        if module == "first":
            found = self.layer("linear", kind, shape)
            if kind == "weight" and spec.options["conditioning"] == "whole":
                found = found.roll(-c_dim, 1)
            side = spec.size[0] >> sum(up for up, _, _ in spec.options["blocks"])
            return rearrange(found, "(c h w) ... -> (h w c) ...", h=side, w=side)
        if module == "to_image":
            return self.layer("output_layer.2", kind, shape)
        if steps[0].startswith("attention"):
            block = spec.options["attention"][int(steps[0].partition("_")[2] or 0)] - 1
            if name.endswith("gamma"):
                return self.tensor(f"blocks.{block}.1.gamma", shape)
            return self.layer(f"blocks.{block}.1.{_ATTENTION[steps[1]]}", kind, shape)
        if steps[0] == "norm":
            base = "output_layer.0"
            if kind in ("weight", "bias"):
                return self.tensor(f"{base}.{'gain' if kind == 'weight' else 'bias'}", shape)
            return self.statistic(base, kind, shape)
        block_name = f"blocks.{steps[1]}.0"
        if steps[2] == "bypass":
            return self.layer(f"{block_name}.conv_sc", kind, shape)
        if steps[2] == "convs":
            return self.layer(f"{block_name}.conv{int(steps[3]) + 1}", kind, shape)
        norm = f"{block_name}.bn{int(steps[3]) + 1}"
        if len(steps) == 4:
            return self.statistic(norm, kind, shape)
        if not spec.options["embedding"]:
            return self.tensor(f"{norm}.{_PARTS[steps[4]]}.weight", shape[::-1]).t()
        return self.layer(f"{norm}.{_PARTS[steps[4]]}", kind, shape).roll(-c_dim, 1)

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One tensor as it is stored."""
        return self.checkpoint.tensor(self.prefix + name, shape)

    def statistic(self, norm: str, kind: str, shape: tuple[int, ...]) -> Tensor:
        """The mean or variance of a norm; norms of other kinds keep theirs one level further down."""
        kind = _STATISTICS[kind]
        names = [f"{norm}.{rest}_{kind}" for rest in ("stored", "bn.stored", "bn.running")]
        name = next((name for name in names if self.prefix + name in self.checkpoint.tensors), names[0])
        found = self.tensor(name, shape[1:])
        if kind == "var" and bool((found < 0).any()):
            self.checkpoint.fail(f"the tensor {self.prefix + name!r} holds variances below zero")
        return found[None]

    def layer(self, name: str, kind: str, shape: tuple[int, ...]) -> Tensor:
        """The bias of a layer, or its weight, over its largest singular value in a network that normalises."""
        found = self.tensor(f"{name}.{kind}", shape)
        if kind == "bias" or not self.normalised:
            return found
        matrix = found.flatten(1)
        along = F.normalize(self.tensor(f"{name}.u0", (1, len(matrix))) @ matrix, dim=1)
        sigma = (matrix @ along[0]).norm()
        if not bool(sigma):
            self.checkpoint.fail(f"the tensor {f'{self.prefix}{name}.weight'!r} has a spectral norm of zero")
        return found / sigma


def _published(widths: list[int]) -> bool:
    """Whether the widths of the resolutions are those of a published network, in any unit."""
    size = 4 << len(widths) - 1
    blocks = published_blocks(size, "plain") if size > 4 else ()
    published = _WIDTHS.get(size) or (blocks[0][1], *(outputs for _, _, outputs in blocks))
    return len(widths) > 3 and all(a * published[0] == b * widths[0] for a, b in zip(widths, published))
