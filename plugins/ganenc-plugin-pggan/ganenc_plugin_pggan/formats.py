"""Reads PGGAN out of foreign checkpoints: finds the format, the averaged copy, and the architecture by its shapes.

Formats: those of `ganenc_plugin_pggan.names`. Not in paper.
"""

from __future__ import annotations

import re

import torch
from ganenc.encoders import Conv
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor

from ganenc_plugin_pggan.layers import FirstLevel
from ganenc_plugin_pggan.names import FORMATS, Format
from ganenc_plugin_pggan.specs import PGGANOptions, pggan_spec

__all__ = ["convert", "recognises"]


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as one of the known formats names a PGGAN."""
    return any(kind.prefixes(checkpoint) for kind in FORMATS)


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """Return the spec of the PGGAN that a checkpoint holds, and its weights by our names, in float32.

    Among several copies of the network the averaged one is taken; ``family`` is built empty, for the shapes.

    Raises:
        CheckpointError: it is no PGGAN, lacks a tensor, has one of the wrong shape or with NaN in it, or what it
            declares of itself does not fit its tensors.
    """
    return _Reader(_open(checkpoint)).read(family)


def _open(checkpoint: Checkpoint) -> Format:
    """Choose the format and the network: the averaged copy where there are several."""
    found = [(kind, prefixes) for kind in FORMATS if (prefixes := kind.prefixes(checkpoint))]
    if not found:
        remedy = "give a file in NVIDIA's, genforce's, mmgeneration's or pytorch_GAN_zoo's format"
        checkpoint.fail("it holds no PGGAN in any known format", remedy)
    kind, prefixes = found[0]
    return kind(checkpoint, checkpoint.averaged(prefixes))


class _Reader:
    """One pass over a checkpoint in a known format."""

    def __init__(self, source: Format) -> None:
        self._format = source
        self._checkpoint = source.checkpoint
        self._declared = source.declared()
        self._lod = source.lod

    def read(self, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
        """Find the architecture, build the empty network, and fetch every tensor that it has."""
        try:
            spec = self._spec()
            with torch.device("meta"):
                empty = family(spec)
        except (SpecError, ValidationError) as error:
            self._checkpoint.fail(f"its PGGAN cannot be built ({' '.join(str(error).split()).rstrip('.')})")
        tensors: dict[str, Tensor] = {}
        for name, module in empty.named_modules():
            if isinstance(module, FirstLevel | Conv):
                tensors |= self._fetch(name, module, drawn=len(empty.get_submodule("to_rgb")))
        for index in range(len(empty.get_submodule("convs")), 2 * self._format.levels - 1):  # not reached while growing
            for leaf in ("weight", "bias"):
                self._checkpoint.spare(re.escape(self._format.name("convs", index, leaf)))
        return spec, tensors

    def _spec(self) -> GeneratorSpec:
        levels, declared = self._format.levels, self._declared
        size = 4 << (levels - 1)
        if declared.resolution not in (None, size):
            self._checkpoint.fail(
                f"it declares images of {declared.resolution} pixels but holds layers for {size}x{size}"
            )
        classes, z_dim = declared.label_size, declared.latent_size
        inputs = self._format.inputs(None if z_dim is None else z_dim + classes)
        if inputs <= classes:
            self._checkpoint.fail(f"it declares labels of length {classes}, but its first layer takes {inputs} numbers")
        options = {
            "slope": declared.slope if declared.use_leakyrelu else 0.0,
            "pixel_norm": declared.use_pixelnorm,
            "normalise_z": declared.normalize_latents,
            "epsilon": declared.pixelnorm_epsilon,
            "epsilon_z": declared.epsilon_z,
            "epsilon_to": declared.epsilon_to,
            "lod": self._lod,
            "tanh": declared.tanh,
            "bias_per_place": declared.bias_per_place,
        }
        return pggan_spec(
            (size, size),
            {4 << level: self._width("convs", 2 * level) for level in range(levels)},
            z_dim=inputs - classes,
            image_channels=self._width("to_rgb", levels - 1),
            classes=classes,
            options=PGGANOptions.from_mapping(options),
        )

    def _width(self, layer: str, index: int) -> int:
        """How many channels a layer gives out."""
        return self._checkpoint.tensor(self._format.name(layer, index, "bias"), (None,)).shape[0]

    def _fetch(self, name: str, module: FirstLevel | Conv, *, drawn: int) -> dict[str, Tensor]:
        """The weight and bias of one of our layers from the file."""
        layer, _, number = name.partition(".")
        index = int(number or 0)
        if layer == "to_rgb":  # ours are the last levels that are drawn, and no others
            index += self._format.levels - int(self._lod) - drawn
        form = self._format.form(layer, index)
        stored = form.stored(tuple(module.weight.shape))
        weight = form.ours(self._checkpoint.tensor(self._format.name(layer, index, "weight"), stored))
        bias_form = self._format.bias_form(layer, index)
        stored = bias_form.stored(tuple(module.bias.shape))
        bias = bias_form.ours(self._checkpoint.tensor(self._format.name(layer, index, "bias"), stored))
        scale = 1.0 if self._declared.use_wscale else module.scale
        return {f"{name}.weight": (weight / scale).contiguous(), f"{name}.bias": bias.clone()}
