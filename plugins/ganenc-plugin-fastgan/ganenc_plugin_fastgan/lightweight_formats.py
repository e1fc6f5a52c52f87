"""Reads lightweight-gan's ``model_N.pt``, or the state dictionary of its generator: versions 0.20 to 1.2.

All of it is told by names and shapes. The versions differ in how sizes double: up to 0.20 by repeating pixels, without
noise, in 0.21 smoothly, from 0.22 on by repeating them, with kernels of four, from 1.0 on by a convolution.
"""

from __future__ import annotations

import re
from typing import Literal

from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc_plugin_fastgan.reading import MOST_LEVELS, Network
from ganenc_plugin_fastgan.reading import convert as _convert
from ganenc_plugin_fastgan.specs import BASE, LightweightGANOptions, lightweight_gan_spec

__all__ = ["convert", "prefixes"]

_NETWORK = re.compile(r"(.*?)initial_conv\.[01]\..*")
_ATTENTION = {
    "gain": "norm.g",
    "shift": "norm.b",
    "far_query.weight": "fn.to_lin_q.weight",
    "far_place.weight": "fn.to_lin_kv.net.0.weight",
    "far_both.weight": "fn.to_lin_kv.net.1.weight",
    "near_query.weight": "fn.to_q.weight",
    "near_both.weight": "fn.to_kv.weight",
    "out.weight": "fn.to_out.weight",
    "out.bias": "fn.to_out.bias",
}


def prefixes(checkpoint: Checkpoint) -> list[str]:
    """The prefixes of all networks of this format in a checkpoint."""
    found = {match.group(1) for match in map(_NETWORK.fullmatch, checkpoint.tensors) if match}
    return sorted(
        prefix for prefix in found if any(name.startswith(f"{prefix}layers.0.0.2.") for name in checkpoint.tensors)
    )


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec of the lightweight-gan that a checkpoint holds, the averaged copy, and its weights by our names.

    Raises:
        CheckpointError: it lacks a tensor, has one of the wrong shape or with NaN in it, or is of a version before.
    """
    reader = _Reader(checkpoint, checkpoint.averaged(prefixes(checkpoint)))
    checkpoint.spare(r"(?:.*\.)?D(?:_aug)?\..*")
    return _convert(checkpoint, family, reader.spec, reader.find)


class _Reader(Network):
    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        super().__init__(checkpoint, prefix)
        self.noise = self.holds("layers.0.0.4.")
        self.conv = "2.1" if self.holds("layers.0.0.2.1.") else "2"

    def spec(self) -> GeneratorSpec:
        """What the names and shapes say."""
        if self.holds("layers.0.0.1.weight"):
            self.checkpoint.fail(
                "its lightweight-gan is of a version before 0.20, which is not read", "train it with a newer version"
            )
        found = self.levels(r"layers\.(\d{1,3})\.0\.2\.")
        if found != list(range(len(found))) or len(found) > MOST_LEVELS:
            self.checkpoint.fail(f"it has the levels {found}, where 1 to {MOST_LEVELS} in a row are needed")
        attention = [level for level in found if self.holds(f"layers.{level}.2.")]
        for level in attention:
            if not self.holds(f"layers.{level}.2.fn.to_lin_q."):
                self.checkpoint.fail(
                    "its attention is that of a version before 0.21.2, which is not read",
                    "train it, or load and save it, with a newer version of lightweight-gan",
                )
        z_dim, first = self.shape("initial_conv.0")[:2]
        channels = {BASE: first // 2}
        upsample: Literal["shuffle", "nearest", "bilinear"] = "nearest"
        if self.holds("layers.0.0.0.net.0."):
            upsample = "shuffle"
        elif self.noise and self.conv == "2":
            upsample = "bilinear"
        middles = []
        for level in found:
            outputs, inputs = self.shape(f"layers.{level}.0.{self.conv}")[:2]
            channels[2 * BASE << level] = outputs // 2
            middles.append(inputs)
        options = LightweightGANOptions(
            upsample=upsample,
            widen="convolution" if middles == [*channels.values()][:-1] else "shuffle",
            blur=self.holds("layers.0.0.1.f"),
            kernel=3 if self.shape(f"layers.0.0.{self.conv}")[2] == 3 else 4,
            noise=self.noise,
            excitation="frequency" if any(self.holds(f"layers.{level}.1.dct") for level in found) else "context",
            attention=tuple(BASE << level for level in attention),
        )
        image_channels = self.shape("out_conv")[0]
        return lightweight_gan_spec(
            BASE << len(found), channels, z_dim=z_dim, image_channels=image_channels, options=options
        )

    def find(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor that goes by one of our names."""
        module, _, leaf = name.rpartition(".")
        theirs = self._theirs(module, leaf)
        return self.variance(theirs, shape) if leaf == "running_var" else self.tensor(theirs, shape)

    def _theirs(self, module: str, leaf: str) -> str:
        if not module.startswith("levels."):
            return f"{module.replace('first', 'initial_conv').replace('to_image', 'out_conv')}.{leaf}"
        _, level, part, *rest = module.split(".")
        start = f"layers.{level}"
        if part == "attention":
            return f"{start}.2.{_ATTENTION['.'.join([*rest, leaf])]}"
        if part == "excite":
            inner = {"place": "to_k"}.get(".".join(rest), ".".join(rest))
            return f"{start}.1.{f'{inner}.{leaf}' if inner else 'dct_weights'}"
        place = {"enlarge": "0.net.0", "blur": "1", "conv": self.conv, "noise": "3", "norm": "4" if self.noise else "3"}
        return f"{start}.0.{place[part]}.{'f' if part == 'blur' else leaf}"
