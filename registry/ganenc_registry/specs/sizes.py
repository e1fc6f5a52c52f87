"""Sizes in specs. What a file says is believed, and room is made for it, before its weights are looked at, so each kind
of size has a bound that no real network comes near."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, TypeAlias

from pydantic import Field

from ganenc_registry.plain_data import MOST

__all__ = ["MANY", "MOST", "Count", "NonNegativeInt", "PositiveInt", "Seed", "Width", "check_values"]

MANY = 2**31 - 1
"""The largest whole number of a spec."""
_VALUES = 1 << 27

PositiveInt: TypeAlias = Annotated[int, Field(gt=0, le=MANY)]
NonNegativeInt: TypeAlias = Annotated[int, Field(ge=0, le=MANY)]
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
Count: TypeAlias = Annotated[int, Field(gt=0, le=MOST)]
"""How many layers, blocks or other parts of a network."""
Width: TypeAlias = Annotated[int, Field(gt=0, le=1 << 20)]
"""Channels, the length of a vector, or a side of images or maps."""


def check_values(what: str, shapes: Iterable[Iterable[int]]) -> None:
    """Raise ``ValueError`` if tensors of these shapes hold more values, for one sample, than any network has there."""
    held = sum(math.prod(shape) for shape in shapes)
    if held > _VALUES:
        raise ValueError(f"{what} would hold {held:,} numbers; at most {_VALUES:,} are supported")
