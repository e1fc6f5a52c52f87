"""In which forms foreign files store weights: for families that read them. Not in paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """How a tensor is stored: the shape that one of ours has in the file, and the way back."""

    stored: Callable[[Shape], Shape]
    ours: Callable[[Tensor], Tensor]


PLAIN = Form(lambda shape: shape, lambda x: x)
"""As torch has it."""
DENSE_TF = Form(lambda shape: (shape[1], shape[0]), lambda x: x.t())
"""The weight of a dense layer in TensorFlow: inputs before outputs."""
CONV_TF = Form(lambda shape: (shape[2], shape[3], shape[1], shape[0]), lambda x: x.permute(3, 2, 0, 1))
"""The weight of a convolution in TensorFlow: height, width, inputs, outputs."""
