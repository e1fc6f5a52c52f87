"""Reads a StyleGAN out of a foreign checkpoint: the format, the averaged copy, and the architecture by its shapes.

What differs between StyleGAN1 and StyleGAN2 is in `stylegan1_formats` and `stylegan2_formats`. Not in paper.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor

from ganenc_plugin_stylegan.names import SCALAR, Format
from ganenc_plugin_stylegan.settings import Settings

__all__ = ["Reader", "find_format", "open_format"]

F = TypeVar("F", bound=Format)

_MOST_LEVELS = 12
_MOST_LAYERS = 64
_NOISE_SEED = 0x6E6F6973


def find_format(checkpoint: Checkpoint, formats: Sequence[type[F]]) -> type[F] | None:
    """Return the format whose names the tensors have, or None."""
    return next((kind for kind in formats if kind.prefixes(checkpoint)), None)


def open_format(checkpoint: Checkpoint, formats: Sequence[type[F]], family: str, remedy: str) -> F:
    """Choose the format and the network: the averaged copy where there are several.

    Raises:
        CheckpointError: the checkpoint is in none of the formats, or holds several networks and none is averaged.
    """
    kind = find_format(checkpoint, formats)
    if kind is None:
        checkpoint.fail(f"it holds no {family} in any known format", remedy)
    return kind(checkpoint, checkpoint.averaged(kind.prefixes(checkpoint)))


class Reader(ABC, Generic[F]):
    """One pass over a checkpoint in a known format.

    Args:
        source: the format and the network.
        declared: what the file declares of itself.
    """

    def __init__(self, source: F, declared: Settings) -> None:
        self.format = source
        self.checkpoint = source.checkpoint
        self.declared = declared
        self.levels = self._count_levels()
        self._check_grown()

    def read(self, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
        """Find the architecture, build the empty network of that family, and fetch every tensor that it has."""
        try:
            spec = self.spec()
            with torch.device("meta"):
                empty = family(spec).state_dict()
        except (SpecError, ValidationError) as error:
            self.checkpoint.fail(f"its {family.__name__} cannot be built ({' '.join(str(error).split())})")
        return spec, {name: self._fetch(name, tuple(tensor.shape)) for name, tensor in empty.items()}

    @abstractmethod
    def spec(self) -> GeneratorSpec:
        """Return the spec of the network in the file."""

    @abstractmethod
    def layers_at(self, level: int) -> tuple[int, ...]:
        """Return the layers at a level, by their numbers among all layers."""

    def locate(self, target: str) -> str:
        """Return the name by which formats know one of our tensors."""
        return target

    def layout(self) -> dict[str, Any]:
        """Return what both kinds of spec are made from, found by the shapes; options apart."""
        const = self.shape("const", 3)
        base = (const[1], const[2])
        size = (base[0] << (self.levels - 1), base[1] << (self.levels - 1))
        if self.declared.resolution not in (None, max(size), 4 << (self.levels - 1)):  # the latter as if from 4x4
            found = f"holds layers for {size[0]}x{size[1]}"
            self.checkpoint.fail(f"it declares images of {self.declared.resolution} pixels but {found}")
        widths = [self.shape(f"convs.{self.layers_at(level)[-1]}.weight", 4)[0] for level in range(self.levels)]
        z_dim, classes = self._prior()
        return {
            "size": size,
            "channels": {min(base) << level: width for level, width in enumerate(widths)},
            "z_dim": z_dim,
            "w_dim": self.shape("convs.0.affine.weight", 2)[1],
            "base": base,
            "image_channels": self.shape(f"to_rgb.{self.levels - 1}.weight", 4)[0],
            "classes": classes,
        }

    def mapping(self) -> dict[str, Any]:
        """Return the options of the mapping network."""
        layers = self._count_mapping_layers()
        label_dim, _ = self._labels()
        return {
            "mapping_layers": layers,
            "mapping_dim": self.shape("mapping.layers.0.weight", 2)[0] if layers > 1 else None,
            "mapping_lr_multiplier": self.declared.lr_multiplier,
            "label_dim": label_dim or None,
            "label_norm": "joint" if self.format.joint_labels else "own",
        }

    def shape(self, target: str, axes: int) -> tuple[int, ...]:
        """Return the shape that the file gives a tensor that formats know as ``target``, after checking its axes."""
        source = self.format.source(target)
        stored = self.checkpoint.tensor(source.name, [None] * len(source.form.stored((1,) * axes)))
        return tuple(source.form.ours(torch.empty(stored.shape, device="meta")).shape)

    def _prior(self) -> tuple[int, int]:
        """Return the length of z and the number of classes."""
        label_dim, classes = self._labels()
        inputs = self.shape("mapping.layers.0.weight", 2)[1]
        if self.declared.classes not in (None, classes):
            self.checkpoint.fail(f"it declares labels of length {self.declared.classes} but embeds {classes}")
        if self.declared.z_dim not in (None, inputs - label_dim):
            found = f"maps {inputs - label_dim} numbers"
            self.checkpoint.fail(f"it declares z of length {self.declared.z_dim} but {found}")
        if inputs <= label_dim:
            self.checkpoint.fail("its mapping network takes no z", "use a network that is driven by random draws")
        fixed = self.format.z_dim(self.shape("convs.0.affine.weight", 2)[1], label_dim)
        if fixed not in (None, inputs - label_dim):
            found = f"its mapping network takes {inputs} numbers where this layout has {fixed + label_dim}"
            self.checkpoint.fail(found, "it is a GAN of another kind, which needs a plugin of its own")
        return inputs - label_dim, classes

    def _labels(self) -> tuple[int, int]:
        """Return the length of the embedded label and the number of classes, 0 where there are none."""
        if not self._has_layer("mapping.embed"):
            return 0, 0
        label_dim, classes = self.shape("mapping.embed.weight", 2)
        return label_dim, classes

    def _check_grown(self) -> None:
        """Refuse a network that was saved while it grew: its image comes from layers below the last."""
        name = f"{self.format.prefix}{self.format.lod}"
        lod = self.checkpoint.tensor(name) if name in self.checkpoint.tensors else torch.zeros(1)
        if bool((lod != 0).any()):
            self.checkpoint.fail(
                f"its StyleGAN was saved before it had grown to full size ({name!r} is {float(lod.max()):g}, not 0)",
                "use a copy saved after that",
            )

    def _count_mapping_layers(self) -> int:
        present = [index for index in range(_MOST_LAYERS) if self._has_layer(f"mapping.layers.{index}")]
        count = max(present, default=-1) + 1
        if self.declared.mapping_layers not in (None, count):
            self.checkpoint.fail(f"it declares {self.declared.mapping_layers} mapping layers but holds {count}")
        return max(count, 1)

    def _count_levels(self) -> int:
        """Return how many resolutions there are, by the last one that has any tensor of a layer."""
        leaves = self.format.conv_leaves
        present = [
            level
            for level in range(1, _MOST_LEVELS)
            if any(self.format.holds(f"convs.{layer}.{leaf}") for layer in self.layers_at(level) for leaf in leaves)
        ]
        return max(present, default=0) + 1

    def _has_layer(self, target: str) -> bool:
        return self.format.holds(f"{target}.weight") or self.format.holds(f"{target}.bias")

    def _fetch(self, target: str, shape: tuple[int, ...]) -> Tensor:
        """Return one of our tensors, which must have ``shape``, from the file."""
        if target == "w_avg":
            return self._mean_style(shape)
        target = self.locate(target)
        source = self.format.source(target)
        if source.name not in self.checkpoint.tensors:
            default = self._default(target, shape)
            if default is not None:
                return default
        if source.form is SCALAR:
            stored = self.checkpoint.tensor(source.name)
            if stored.shape not in ((), (1,)):
                self.checkpoint.tensor(source.name, (1,))
        else:
            stored = self.checkpoint.tensor(source.name, source.form.stored(shape))
        return source.form.ours(stored).expand(shape).contiguous().clone()

    def _default(self, target: str, shape: tuple[int, ...]) -> Tensor | None:
        """Return what stands for a tensor that its format may leave out, or None."""
        if (target == "mapping.embed.bias" and self.format.joint_labels) or target in self.format.lacking:
            return torch.zeros(shape)
        head, _, leaf = target.rpartition(".")
        if not head.startswith("convs.") or leaf not in ("noise_const", "noise_strength"):
            return None
        layers = [layer for level in range(self.levels) for layer in self.layers_at(level)]
        if any(self.format.holds(f"convs.{layer}.{leaf}") for layer in layers):
            return None
        if leaf == "noise_strength" or not any(self.format.holds(f"convs.{layer}.noise_strength") for layer in layers):
            return torch.zeros(shape)  # a network without noise
        rng = torch.Generator().manual_seed(_NOISE_SEED + int(head.partition(".")[2]))
        return torch.randn(shape, generator=rng)  # files of before the maps were stored with the weights

    def _mean_style(self, shape: tuple[int, ...]) -> Tensor:
        """Return the mean style, (dim,) or (layers, dim), stored as either of them; NaN where the file has none."""
        self.checkpoint.spare("|".join(map(re.escape, self.format.mean_style)))
        name = next((name for name in self.format.mean_style if name in self.checkpoint.tensors), None)
        if name is None:
            return torch.full(shape, math.nan)
        stored = self.checkpoint.tensor(name)
        if not stored.numel() or stored.shape[-1:] != shape[-1:]:
            self.checkpoint.tensor(name, shape[-1:])
        rows = stored.reshape(-1, shape[-1])
        if len(shape) == 1:
            return rows.mean(dim=0)
        if len(rows) not in (1, shape[0]):
            self.checkpoint.tensor(name, shape)
        return rows.expand(shape).clone()
