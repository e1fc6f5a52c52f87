"""Reads StyleGAN2 out of foreign checkpoints: finds the format, the averaged copy, and the architecture by its shapes.

Formats: NVIDIA's PyTorch and TensorFlow pickles, rosinality's and genforce's files (`stylegan2_names`). Not in paper.
"""

from __future__ import annotations

import math
import re
from typing import Literal

import torch
from ganenc.checkpoint import Checkpoint
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor

from ganenc_plugin_stylegan.specs import StyleGAN2Options, stylegan2_spec
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from ganenc_plugin_stylegan.stylegan2_names import FORMATS, SCALAR, Format, Source
from ganenc_plugin_stylegan.stylegan2_settings import filter_taps, settings

__all__ = ["convert", "recognises"]

_AVERAGED = re.compile(r"(?:^|[._])(?:ema|smooth|Gs|averaged)(?=$|[._])")
_MOST_LEVELS = 12
_MOST_LAYERS = 64
_NOISE_SEED = 0x6E6F6973


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as one of the known formats names a StyleGAN2."""
    return _kind(checkpoint) is not None


def convert(checkpoint: Checkpoint) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """Return the spec of the StyleGAN2 that a checkpoint holds, and its weights by our names, in float32.

    Among several copies of the network the averaged one is taken. A mean style that is missing comes back as NaN, on
    which the generator computes it; noise maps that were never stored are drawn from a fixed seed.

    Raises:
        CheckpointError: it is no StyleGAN2, lacks a tensor, has one of the wrong shape or with NaN in it, or uses
            something that this family does not support.
    """
    return _Reader(_open(checkpoint)).read()


def _kind(checkpoint: Checkpoint) -> type[Format] | None:
    for kind in FORMATS:
        if any(kind.pattern.fullmatch(name) for name in checkpoint.tensors):
            return kind
    return None


def _open(checkpoint: Checkpoint) -> Format:
    """Choose the format and the network: the averaged copy where there are several."""
    kind = _kind(checkpoint)
    if kind is None:
        remedy = "give a file in NVIDIA's, rosinality's or genforce's format"
        checkpoint.fail("it holds no StyleGAN2 in any known format", remedy)
    matches = [kind.pattern.fullmatch(name) for name in checkpoint.tensors]
    prefixes = sorted({match.group(1) for match in matches if match})
    chosen = [prefix for prefix in prefixes if _AVERAGED.search(prefix)] or prefixes
    if len(chosen) > 1:
        names = ", ".join(repr(prefix) for prefix in chosen)
        checkpoint.fail(f"it holds several networks ({names})", "save the averaged one to a file of its own")
    return kind(checkpoint, chosen[0])


class _Reader:
    """One pass over a checkpoint in a known format."""

    def __init__(self, source: Format) -> None:
        self._format = source
        self._checkpoint = source.checkpoint
        self._declared = settings(source)
        self._levels = self._count_levels()
        self._architecture = self._find_architecture()

    def read(self) -> tuple[GeneratorSpec, dict[str, Tensor]]:
        """Find the architecture, build the empty network, and fetch every tensor that it has."""
        try:
            spec = self._spec()
            with torch.device("meta"):
                empty = StyleGAN2(spec).state_dict()
        except (SpecError, ValidationError) as error:
            self._checkpoint.fail(f"its StyleGAN2 cannot be built ({' '.join(str(error).split())})")
        return spec, {name: self._fetch(name, tuple(tensor.shape)) for name, tensor in empty.items()}

    def _spec(self) -> GeneratorSpec:
        levels = self._levels
        const = self._shape("const", 3)
        base = (const[1], const[2])
        size = (base[0] << (levels - 1), base[1] << (levels - 1))
        if self._declared.resolution not in (None, max(size)):
            found = f"holds layers for {size[0]}x{size[1]}"
            self._checkpoint.fail(f"it declares images of {self._declared.resolution} pixels but {found}")
        widths = [self._shape(f"convs.{2 * level}.weight", 4)[0] for level in range(levels)]
        options, z_dim, classes = self._mapping()
        return stylegan2_spec(
            size,
            {min(base) << level: width for level, width in enumerate(widths)},
            z_dim=z_dim,
            w_dim=self._shape("convs.0.affine.weight", 2)[1],
            base=base,
            image_channels=self._shape("to_rgb.0.weight", 4)[0],
            classes=classes,
            options=options,
        )

    def _mapping(self) -> tuple[StyleGAN2Options, int, int]:
        """Return the options, the length of z and the number of classes."""
        layers = self._count_mapping_layers()
        hidden, inputs = self._shape("mapping.layers.0.weight", 2)
        labelled = self._has_layer("mapping.embed")
        label_dim, classes = self._shape("mapping.embed.weight", 2) if labelled else (0, 0)
        if self._declared.classes not in (None, classes):
            self._checkpoint.fail(f"it declares labels of length {self._declared.classes} but embeds {classes}")
        if self._declared.z_dim not in (None, inputs - label_dim):
            self._checkpoint.fail(
                f"it declares z of length {self._declared.z_dim} but maps {inputs - label_dim} numbers"
            )
        if inputs <= label_dim:
            self._checkpoint.fail("its mapping network takes no z", "use a network that is driven by random draws")
        options = StyleGAN2Options(
            mapping_layers=layers,
            mapping_dim=hidden if layers > 1 else None,
            mapping_lr_multiplier=self._declared.lr_multiplier,
            fir=filter_taps(self._format),
            architecture=self._architecture,
            clamp=self._declared.clamp,
            label_dim=label_dim or None,
            label_norm="joint" if labelled and self._format.joint_labels else "own",
        )
        return options, inputs - label_dim, classes

    def _count_mapping_layers(self) -> int:
        present = [index for index in range(_MOST_LAYERS) if self._has_layer(f"mapping.layers.{index}")]
        count = max(present, default=-1) + 1
        if self._declared.mapping_layers not in (None, count):
            self._checkpoint.fail(f"it declares {self._declared.mapping_layers} mapping layers but holds {count}")
        return max(count, 1)

    def _count_levels(self) -> int:
        """Return how many resolutions there are, by the last one that has any tensor of a convolution."""
        leaves = self._format.conv_leaves
        present = [
            level
            for level in range(1, _MOST_LEVELS)
            if any(self._has(f"convs.{2 * level - step}.{leaf}") for step in (0, 1) for leaf in leaves)
        ]
        return max(present, default=0) + 1

    def _find_architecture(self) -> Literal["skip", "resnet", "orig"]:
        """Tell by which layers there are: bypasses, images at every level, or an image at the end alone."""
        if any(self._has(f"skips.{level}.weight") for level in range(self._levels - 1)):
            return "resnet"
        leaves = ("weight", "bias", "affine.weight", "affine.bias")
        last = {self._format.source(f"to_rgb.{self._levels - 1}.{leaf}").name for leaf in leaves}
        lower = {
            self._format.source(f"to_rgb.{level}.{leaf}").name for level in range(self._levels - 1) for leaf in leaves
        }
        return "skip" if self._levels == 1 or any(name in self._checkpoint.tensors for name in lower - last) else "orig"

    def _source(self, target: str) -> Source:
        if self._architecture != "skip" and target.startswith("to_rgb.0."):
            target = target.replace(".0.", f".{self._levels - 1}.", 1)  # our only image layer is the file's last
        return self._format.source(target)

    def _has(self, target: str) -> bool:
        return self._format.source(target).name in self._checkpoint.tensors

    def _has_layer(self, target: str) -> bool:
        return self._has(f"{target}.weight") or self._has(f"{target}.bias")

    def _shape(self, target: str, axes: int) -> tuple[int, ...]:
        """Return the shape that the file gives one of our tensors, after checking its number of axes."""
        source = self._source(target)
        stored = self._checkpoint.tensor(source.name, [None] * len(source.form.stored((1,) * axes)))
        return tuple(source.form.ours(torch.empty(stored.shape, device="meta")).shape)

    def _fetch(self, target: str, shape: tuple[int, ...]) -> Tensor:
        """Return one of our tensors, which must have ``shape``, from the file."""
        if target == "w_avg":
            return self._mean_style(shape[0])
        source = self._source(target)
        if source.name not in self._checkpoint.tensors:
            default = self._default(target, shape)
            if default is not None:
                return default
        if source.form is SCALAR:
            stored = self._checkpoint.tensor(source.name)
            if stored.shape not in ((), (1,)):
                self._checkpoint.tensor(source.name, (1,))
        else:
            stored = self._checkpoint.tensor(source.name, source.form.stored(shape))
        return source.form.ours(stored).contiguous().clone()

    def _default(self, target: str, shape: tuple[int, ...]) -> Tensor | None:
        """Return what stands for a tensor that its format may leave out, or None."""
        if target == "mapping.embed.bias" and self._format.joint_labels:
            return torch.zeros(shape)
        head, _, leaf = target.rpartition(".")
        if not head.startswith("convs.") or leaf not in ("noise_const", "noise_strength"):
            return None
        count = 2 * self._levels - 1
        if any(self._has(f"convs.{index}.{leaf}") for index in range(count)):
            return None
        if leaf == "noise_strength" or not any(self._has(f"convs.{index}.noise_strength") for index in range(count)):
            return torch.zeros(shape)  # a network without noise
        rng = torch.Generator().manual_seed(_NOISE_SEED + int(head.partition(".")[2]))
        return torch.randn(shape, generator=rng)  # files of before the maps were stored with the weights

    def _mean_style(self, dim: int) -> Tensor:
        """Return the mean style (dim,): stored as such, or once for each layer; NaN where the file has none."""
        name = next((name for name in self._format.mean_style if name in self._checkpoint.tensors), None)
        if name is None:
            return torch.full((dim,), math.nan)
        stored = self._checkpoint.tensor(name)
        if not stored.numel() or stored.shape[-1:] != (dim,):
            self._checkpoint.tensor(name, (dim,))
        return stored.reshape(-1, dim).mean(dim=0)
