"""Reads BigGAN-deep as pytorch-pretrained-BigGAN keeps it: ``pytorch_model.bin`` and ``config.json``. Not in paper.

The file holds weights before spectral normalisation, and the vectors u and v that belong to them. As power iteration
does not run in eval mode, each weight is divided by u W v once, on reading.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, NoReturn

import torch
from ganenc.foreign import Checkpoint
from ganenc_registry.errors import CheckpointError, SpecError
from ganenc_registry.specs import GeneratorSpec, Spec
from pydantic import Field
from torch import Tensor

from ganenc_plugin_biggan.specs import biggan_spec

__all__ = ["read_spec", "read_tensors", "recognises"]

BASE = 4
CHANNELS = 3
_PATTERN = re.compile(r"(.*?)generator\.layers\.\d+\.bn_\d\.(?:running_(?:means|vars)|(?:scale|offset)\.weight_orig)")
TOGETHER = "keep weights and config.json of one network together, both complete"
_ATTENTION = {"query": "theta", "key": "phi", "value": "g", "out": "o_conv"}
_PARTS = {"gain": "scale", "shift": "offset"}


# Bounds far above any network, so that damaged numbers are named before anything is built of them.
_Size = Annotated[int, Field(ge=1, le=1 << 16)]
_Multiple = Annotated[int, Field(ge=1, le=1 << 10)]


class _Config(Spec, extra="ignore"):
    """The fields of ``config.json``; the published code writes all of them."""

    output_dim: _Size
    z_dim: _Size
    class_embed_dim: _Size
    channel_width: Annotated[int, Field(ge=CHANNELS, le=1 << 16)]
    num_classes: _Size
    layers: tuple[tuple[bool, _Multiple, _Multiple], ...] = Field(max_length=64)
    attention_layer_position: int
    eps: float
    n_stats: Annotated[int, Field(ge=2, le=1 << 16)]


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the tensors are named as pytorch-pretrained-BigGAN names them."""
    return any(_PATTERN.fullmatch(name) for name in checkpoint.tensors)


def read_spec(checkpoint: Checkpoint) -> GeneratorSpec:
    """The spec of the network that ``config.json`` describes.

    Raises:
        CheckpointError: there is no such file, it lacks a field, or its fields do not fit together.
    """
    path, data = checkpoint.beside(*_config_names(checkpoint))
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: it holds no fields; give the config.json that came with the weights.")
    try:
        config = _Config.from_mapping(data)
    except SpecError as error:
        _refuse(path, str(error))
    size = BASE << sum(up for up, _, _ in config.layers)
    if config.output_dim != size:
        _refuse(path, f"output_dim is {config.output_dim}, but its layers make images of {size} pixels")
    try:
        return _spec_of(config)
    except SpecError as error:
        _refuse(path, f"its fields do not fit together ({str(error).rstrip('.')})")


def _spec_of(config: _Config) -> GeneratorSpec:
    attended = 0 <= config.attention_layer_position < len(config.layers)
    return biggan_spec(
        config.output_dim,
        channel_width=config.channel_width,
        blocks=config.layers,
        attention=(config.attention_layer_position,) if attended else (),
        z_dim=config.z_dim,
        c_dim=config.class_embed_dim,
        classes=config.num_classes,
        n_stats=config.n_stats,
        eps=config.eps,
        image_channels=CHANNELS,
    )


def read_tensors(checkpoint: Checkpoint, spec: GeneratorSpec, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights by our names, in float32, with spectral normalisation folded in.

    Args:
        checkpoint: the file or folder.
        spec: what :func:`read_spec` found.
        wanted: the state of a generator of that spec; its shapes are what the tensors must have.

    Raises:
        CheckpointError: a tensor is missing, superfluous, of another shape, or holds NaN.
    """
    return _Reader(checkpoint, spec).read(wanted)


class _Reader:
    """One pass over a checkpoint."""

    def __init__(self, checkpoint: Checkpoint, spec: GeneratorSpec) -> None:
        self.checkpoint = checkpoint
        self.attention: int | None = next(iter(spec.options["attention"]), None)
        self.width: int = spec.options["channel_width"]
        self.prefix = _prefix(checkpoint)
        self.used: set[str] = set()

    def read(self, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Every tensor of ``wanted``."""
        tensors = {name: self._find(name, tuple(like.shape)) for name, like in wanted.items()}
        layers = f"{self.prefix}generator.layers."
        unknown = sorted(name for name in self.checkpoint.tensors if name.startswith(layers) and name not in self.used)
        if unknown:
            self.checkpoint.fail(f"the tensor {unknown[0]!r} belongs to no layer of its config.json", TOGETHER)
        return tensors

    def _find(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor that goes by one of our names."""
        module, _, kind = name.rpartition(".")
        if name == "embedding.weight":
            return self._plain("embeddings.weight", shape)
        if module == "to_image":  # As many outputs as features; the first are the image.
            kept = shape[0]
            return self._layer("generator.conv_to_rgb", kind, (self.width, *shape[1:]))[:kept].clone()
        if module == "first":
            return self._layer("generator.gen_z", kind, shape)
        if name == "attention.gamma":
            return self._plain(f"generator.layers.{self.attention}.gamma", (1,))[0]
        steps = module.split(".")
        if steps[0] == "attention":
            return self._layer(f"generator.layers.{self.attention}.snconv1x1_{_ATTENTION[steps[1]]}", kind, shape)
        if steps[0] == "norm":
            return self._statistic(f"generator.bn.{kind}", shape)
        layer = f"generator.layers.{self._layer_number(int(steps[1]))}"
        if steps[2] == "convs":
            return self._layer(f"{layer}.conv_{steps[3]}", kind, shape)
        if len(steps) > 4:
            return self._layer(f"{layer}.bn_{steps[3]}.{_PARTS[steps[4]]}", kind, shape)
        return self._statistic(f"{layer}.bn_{steps[3]}.{kind}", shape)

    def _layer_number(self, block: int) -> int:
        """Attention counts as a layer there."""
        return block + (self.attention is not None and block >= self.attention)

    def _plain(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """One tensor as it is stored."""
        name = self.prefix + name
        self.used.add(name)
        tensor = self.checkpoint.tensor(name)
        if tensor.shape != shape:
            found = f"has shape {tuple(tensor.shape)}, but its config.json asks for {shape}"
            self.checkpoint.fail(f"the tensor {name!r} {found}", TOGETHER)
        return tensor

    def _statistic(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._plain(name, shape)
        if name.endswith("running_vars") and bool((tensor < 0).any()):
            self.checkpoint.fail(f"the tensor {self.prefix + name!r} holds variances below zero")
        return tensor

    def _layer(self, name: str, kind: str, shape: tuple[int, ...]) -> Tensor:
        """The bias of a layer, or its weight over its largest singular value."""
        if kind == "bias":
            return self._plain(f"{name}.bias", shape)
        weight = self._plain(f"{name}.weight_orig", shape)
        matrix = weight.flatten(1)
        u = self._plain(f"{name}.weight_u", (matrix.shape[0],))
        v = self._plain(f"{name}.weight_v", (matrix.shape[1],))
        sigma = torch.dot(u, torch.mv(matrix, v))
        if not bool(sigma):
            self.checkpoint.fail(f"the tensor {f'{self.prefix}{name}.weight_orig'!r} has a spectral norm of zero")
        return weight / sigma


def _config_names(checkpoint: Checkpoint) -> tuple[str, ...]:
    """What the config beside the weights may be called: ``config.json``, or as the download of the weights is."""
    stem = _prefix(checkpoint).rstrip(".") if checkpoint.container == "folder" else checkpoint.path.stem
    named = f"{stem.replace('pytorch_model', 'config')}.json"
    return ("config.json",) if named == "config.json" or "pytorch_model" not in stem else (named, "config.json")


def _prefix(checkpoint: Checkpoint) -> str:
    """What stands before all names: in a folder, the stem of the file."""
    matches = [_PATTERN.fullmatch(name) for name in checkpoint.tensors]
    prefixes = sorted({match.group(1) for match in matches if match})
    if len(prefixes) > 1:
        names = ", ".join(repr(prefix) for prefix in prefixes)
        checkpoint.fail(
            f"it holds several networks ({names})", "keep each in a folder of its own, with its config.json"
        )
    return prefixes[0]


def _refuse(path: Path, problem: str) -> NoReturn:
    sentence = problem.rstrip(".")
    raise CheckpointError(f"{path}: {sentence}; put the config.json that came with the weights there.") from None
