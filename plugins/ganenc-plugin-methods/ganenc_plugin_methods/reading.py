"""What the readers of published encoder files share. Such files are read as data, by ganenc's own reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint
from ganenc.generators import fill, undrawn
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec
from torch import Tensor

__all__ = ["Rule", "build", "count", "prefixes", "renamed", "shape_of"]


Rule: TypeAlias = tuple[str, str | Callable[[re.Match[str]], str]]
"""A regular expression at the beginning of a name, and what `re.sub` puts in its place."""


def prefixes(checkpoint: Checkpoint, name: str) -> list[str]:
    """What stands before ``name``, a regular expression, in the names of tensors that end so."""
    pattern = re.compile(rf"((?:.*\.)?){name}")
    return [found[1] for found in map(pattern.fullmatch, checkpoint.tensors) if found]


def count(checkpoint: Checkpoint, before: str, step: int = 1) -> int:
    """How many numbers, from 0 by a step, stand after a text in the names of tensors, by the largest, below 1,000."""
    pattern = re.compile(rf"{re.escape(before)}(\d{{1,3}})\.")
    return max((int(found[1]) // step + 1 for found in map(pattern.match, checkpoint.tensors) if found), default=0)


def shape_of(checkpoint: Checkpoint, name: str, axes: int) -> tuple[int, ...]:
    """The shape of a tensor, which is not read; `CheckpointError` if it is missing, has other axes or is empty."""
    if name not in checkpoint.tensors:
        checkpoint.tensor(name)
    shape = checkpoint.shape(name)
    if len(shape) != axes or not all(shape):
        checkpoint.tensor(name, (None,) * axes)
    return shape


def renamed(name: str, rules: Iterable[Rule]) -> str:
    """A name, after every rule that applies."""
    for pattern, text in rules:
        name = re.sub(rf"^{pattern}", text, name)
    return name


def build(
    checkpoint: Checkpoint,
    fields: Mapping[str, Any],
    theirs: Callable[[str], str | Tensor],
    *,
    offset: Tensor | None = None,
) -> Encoder:
    """The encoder of a spec's fields, of one part, with the weights of a file. ``theirs`` gives for the name of one of
    the network's tensors that in the file, or the tensor; ``offset``, (1, dim) or (layers, dim), is the mean.
    `CheckpointError` if something is missing, or does not fit together."""
    own = {"blocks": (), "noise": "none", "head_gain": 1.0, "start": "center" if offset is not None else "zero"}
    try:
        spec = EncoderSpec.from_mapping({**own, **fields})
        with torch.device("meta"):
            shapes = Encoder(spec).state_dict()
    except SpecError as error:
        checkpoint.fail(f"its parts do not fit together ({str(error).rstrip('.')})")
    state: dict[str, Tensor] = {}
    for name, like in shapes.items():
        inner = name.removeprefix("network.")
        if inner.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=like.dtype)
        elif inner == name:
            state[name] = torch.zeros(like.shape) if offset is None else offset.expand(like.shape).clone()
        else:
            found = theirs(inner)
            found = checkpoint.tensor(found, tuple(like.shape)) if isinstance(found, str) else found
            state[name] = found.expand(like.shape) if found.ndim < like.ndim else found
    encoder = undrawn(lambda: Encoder(spec), state)
    fill(encoder, state)
    return encoder.eval()
