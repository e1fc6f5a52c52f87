"""Reads FastGAN's ``N.pth`` and ``all_N.pth``, and ``network-snapshot.pkl`` of Projected GANs, or a state dictionary.

Names and shapes tell the architecture, and which of the two programs it is of: FastGAN has a second, smaller image,
Projected GANs a bias in the last convolution. Spectral normalisation is folded into the weights.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NoReturn

from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.specs import GeneratorSpec, Spec, Width
from torch import Tensor

from ganenc_plugin_fastgan.reading import MOST_LEVELS, Network
from ganenc_plugin_fastgan.reading import convert as _convert
from ganenc_plugin_fastgan.specs import BASE, FastGANOptions, fastgan_spec

__all__ = ["convert", "prefixes"]

_NETWORK = re.compile(r"(.*?)init\.init\.[01]\..*")
_BUFFERS = re.compile(r".*(?:running_mean|running_var|num_batches_tracked|weight_[uv]|\._[uv])")
_LAST_FIXED = 256
"""Levels up to this are in every published network; images of 128 pixels leave the last one out."""


def prefixes(checkpoint: Checkpoint) -> list[str]:
    """The prefixes of all networks of this format in a checkpoint."""
    found = {match.group(1) for match in map(_NETWORK.fullmatch, checkpoint.tensors) if match}
    return sorted(prefix for prefix in found if any(name.startswith(f"{prefix}feat_8.") for name in checkpoint.tensors))


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec of the FastGAN that a checkpoint holds, the averaged copy, and its weights by our names.

    Raises:
        CheckpointError: it lacks a tensor, has one of the wrong shape or with NaN in it, or does not tell something.
    """
    reader = _Reader(checkpoint, checkpoint.averaged(prefixes(checkpoint)))
    checkpoint.spare(r"opt_[gd]\..*")
    return _convert(checkpoint, family, reader.spec, reader.find)


class _Settings(Spec):
    """What the YAML beside a file may say."""

    family: Literal["fastgan"] = "fastgan"
    size: Width | None = None
    normalise_z: bool | None = None


class _Reader(Network):
    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        super().__init__(checkpoint, prefix)
        path, fields = checkpoint.settings
        self.settings = _Settings.from_mapping(fields, where=f"{path}")
        root = re.sub(r"(?:^|(?<=\.))g\.(?:module\.)?$", "", prefix)
        if root != prefix and any(name.startswith(f"{root}g_ema.") for name in checkpoint.tensors):
            self._take_averages(f"{root}g_ema.")
        self.sides = self.levels(r"feat_(\d{1,5})\.")
        self.spare(r"to_128\..*")

    def _take_averages(self, start: str) -> None:
        """The averaged parameters lie beside the network in a list, in their order."""
        names = [name[len(self.prefix) :] for name in self.checkpoint.tensors if name.startswith(self.prefix)]
        names = [name for name in names if not _BUFFERS.fullmatch(name)]
        self.replaced = {name: f"{start}{index}" for index, name in enumerate(names)}
        self.checkpoint.spare("|".join(re.escape(self.prefix + name) for name in names))
        self.checkpoint.spare(re.escape(start) + r"\d+")

    def spec(self) -> GeneratorSpec:
        """What names, shapes and settings say."""
        wanted = [2 * BASE << level for level in range(len(self.sides))]
        if self.sides != wanted or len(wanted) > MOST_LEVELS:
            self.checkpoint.fail(f"it has levels of {self.sides} pixels, where {wanted[:MOST_LEVELS]} are needed")
        z_dim, first = self.shape("init.init.0")[:2]
        channels = {BASE: first // 2}
        for side in self.sides:
            channels[side] = self.shape(self.layer(side, "convs", 0))[0] // 2
        size = self.size(channels)
        self.spare("|".join(rf"(?:feat|se)_{side}\..*" for side in self.sides if side > size) or "_")
        excited = tuple(side for side in self.sides if side <= size and self.holds(f"se_{side}."))
        projected = self.projected()
        classes, c_dim = self.shape("embed", 2) if self.holds("embed.") else (0, 0)
        told = self.declared("c_dim")
        if isinstance(told, int) and 0 < told < classes:
            classes = told  # The published program makes a table of 1000, whatever it learns.
        return fastgan_spec(
            size,
            {side: width for side, width in channels.items() if side <= size},
            z_dim=z_dim,
            image_channels=self.shape("to_big")[0],
            classes=classes,
            c_dim=c_dim,
            options=FastGANOptions(
                single=tuple(s for s in self.sides if s <= size and not self.holds(f"{self.layer(s, 'convs', 1)}.")),
                excited=excited,
                normalise_z=projected,
                bias=self.holds("to_big.bias"),
                tanh=not projected and size >= 1024,
            ),
        )

    def size(self, channels: dict[int, int]) -> int:
        """The side of the images: that of the level whose channels the last convolution takes."""
        taken, last = self.shape("to_big")[1], self.sides[-1]
        told = self.settings.size or self.declared("img_resolution")
        possible = [last, last // 2] if last == _LAST_FIXED else [last]
        fitting = [side for side in possible if channels[side] == taken and told in (None, side)]
        if not fitting:
            said = f" that is {told} pixels large" if told else ""
            self.checkpoint.fail(f"its last convolution takes {taken} channels, which no last level gives{said}")
        if len(fitting) > 1:
            self.ask(f"its images may be of {fitting[0]} or {fitting[1]} pixels", f"size: {fitting[0]}")
        return fitting[0]

    def projected(self) -> bool:
        """Whether z is normalised, and no image bounded, as by Projected GANs; else it is FastGAN's own program."""
        marks = self.holds("to_big.bias") or "synthesis." in self.prefix, self.holds("to_128.")
        if self.settings.normalise_z is not None:
            return self.settings.normalise_z
        if marks[0] == marks[1]:
            self.ask("z may be normalised, as by Projected GANs, or not, as by FastGAN", "normalise_z: true")
        return marks[0]

    def ask(self, open_question: str, line: str) -> NoReturn:
        """Ask for what its tensors do not tell."""
        name = self.checkpoint.path.with_suffix(".yaml").name
        self.checkpoint.fail(
            f"{open_question}, which its tensors do not tell",
            f"put a file {name} beside it with the lines 'family: fastgan' and '{line}', or what it is",
        )

    def declared(self, setting: str) -> Any:
        """What a network that was saved whole says of itself."""
        return self.checkpoint.meta(f"{self.prefix.removesuffix('.').removesuffix('synthesis')}{setting}")

    def layer(self, side: int, kind: str, index: int) -> str:
        """The name of a convolution, noise or norm: all in a row, or named where labels matter."""
        start = f"feat_{side}"
        if self.holds(f"{start}.conv"):
            both = self.holds(f"{start}.conv1.")
            return f"{start}.{'conv' if kind == 'convs' else 'bn'}{index + 1 if both or index else ''}"
        noisy = self.holds(f"{start}.5.")
        return f"{start}.{ {'convs': 1, 'noises': 2, 'norms': 2 + noisy}[kind] + 4 * index }"

    def find(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor that goes by one of our names."""
        steps = name.split(".")
        *_, leaf = steps
        if steps[0] == "embedding":
            return self.tensor("embed.weight", (None, shape[1]))[: shape[0]]
        if steps[0] == "first":
            return self._leaf(f"init.init.{steps[1]}", leaf, shape, axis=1)
        if steps[0] == "to_image":
            return self._leaf("to_big", leaf, shape)
        side = self.sides[int(steps[1])]
        if steps[2] == "excitation":
            return self._leaf(f"se_{side}.main.{steps[3]}", leaf, shape)
        if steps[2] == "noises" and self.holds(f"feat_{side}.conv"):
            return self.tensor(f"feat_{side}.noise.weight", shape)  # Both of a level have one strength.
        layer = self.layer(side, steps[2], int(steps[3]))
        if len(steps) == 6:  # What a norm makes of a label.
            return self._leaf(f"{layer}.{'bias' if steps[4] == 'shift' else 'gain'}", leaf, shape)
        if leaf.startswith("running_") and self.holds(f"{layer}.stored_"):
            leaf = leaf.replace("running", "stored")
        return self._leaf(layer, leaf, shape)

    def _leaf(self, layer: str, leaf: str, shape: tuple[int, ...], axis: int = 0) -> Tensor:
        if leaf == "weight" and len(shape) > 1:
            return self.weight(layer, shape, axis)
        name = f"{layer}.{leaf}"
        return self.variance(name, shape) if leaf.endswith("_var") else self.tensor(name, shape)
