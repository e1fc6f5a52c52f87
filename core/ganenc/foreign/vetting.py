"""Looks through the pickle of a tensor file before torch opens it.

``weights_only=True`` keeps torch from running code, but not from filling the memory or exhausting the stack: a small
file may ask for a tensor of terabytes, decode one text a million times, or nest a key so deep that hashing it ends the
process. So the pickle is walked first by the reader that builds nothing and knows the names weights need. Not in paper.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ganenc.foreign.inert_pickle import Name, PickleRefused, PickleSource, Record, read_pickle
from ganenc.foreign.plain_makers import SLACK, Budget, never_called

_MOST_AXES = 32


def check_view(count: int, offset: Any, size: Any, stride: Any) -> int:
    """How many elements a tensor has that views a storage of ``count`` numbers from ``offset`` on; `PickleRefused` if
    this is not of the right kind, or reaches beyond the storage."""
    sound = (
        isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride) <= _MOST_AXES
        and all(isinstance(number, int) and 0 <= number < 1 << 62 for number in (offset, *size, *stride))
    )
    if not sound:
        raise PickleRefused("it describes a tensor that is malformed")
    elements: int = math.prod(size)
    if not elements and math.prod(max(length, 1) for length in size) >= 1 << 62:
        raise PickleRefused("it describes a tensor that is malformed")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride))
    if elements and last >= count:
        raise PickleRefused("it describes a tensor larger than the numbers it holds")
    return elements


@dataclass(eq=False, slots=True)
class _Storage:
    """The numbers of a tensor, which lie elsewhere in the file."""

    nbytes: int
    width: int


def _opaque(*_: Any) -> Record:
    """A tensor, a device or a set of options: something whose content does not matter here."""
    return Record("opaque")


class Vetting:
    """Walks the pickles of one tensor file.

    Args:
        limit: the bytes of the file; what it describes may take that much, and a little more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit + SLACK
        self._storages: dict[str, int] = {}
        self._described = 0
        self._makers = self._table(Budget(limit))

    def walk(self, source: PickleSource) -> Any:
        """Read one pickle, as inert data, and leave ``source`` behind it; `PickleRefused` if it names something that
        weights do not need, describes more than the file can hold, or is damaged."""
        return read_pickle(source, self._makers, persistent=self._storage)

    def _table(self, budget: Budget) -> dict[str, Callable[..., Any]]:
        opaque = (
            "argparse.Namespace", "torch.device", "torch.nn.parameter.Parameter", "torch._utils._rebuild_parameter",
            "torch._utils._rebuild_parameter_with_state",
        )  # fmt: skip
        return {
            **dict.fromkeys(opaque, _opaque),
            **dict.fromkeys((*_storage_widths(), *_dtype_widths()), never_called),
            **dict.fromkeys(("builtins.complex", "__builtin__.complex"), lambda *_: 0),
            **budget.makers(),
            "collections.Counter": budget.mapping,
            "torch.Size": budget.entries,
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor_of_dtype,
        }

    def _storage(self, identity: Any) -> _Storage:
        """Return what stands for the storage that an id names: (kind, type, key, place, numbers), and maybe a view."""
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] not in ("storage", b"storage"):
            raise PickleRefused("it refers to something that is not the numbers of a tensor")
        _, kind, key, _, count, *view = identity
        width = _storage_widths().get(kind.text) if isinstance(kind, Name) else None
        if width is None or not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise PickleRefused("it describes the numbers of a tensor in a way that is malformed")
        known = self._storages.get(key, 0)
        self._storages[key] = max(known, count * width)
        self._described += self._storages[key] - known
        if self._described > self._limit:
            raise PickleRefused("it describes tensors larger than the file itself")
        if view and view[0] is not None:
            return self._part(view[0], count, width)
        return _Storage(count * width, width)

    def _part(self, view: Any, count: int, width: int) -> _Storage:
        """A storage that is a part of another: (key, first, numbers), as the older format has it."""
        sound = isinstance(view, tuple) and len(view) == 3 and all(isinstance(n, int) and n >= 0 for n in view[1:])
        if not sound or view[1] + view[2] > count:
            raise PickleRefused("it describes the numbers of a tensor in a way that is malformed")
        return _Storage(view[2] * width, width)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any, width: int | None = None) -> Record:
        if not isinstance(storage, _Storage):
            raise PickleRefused("it describes a tensor that is malformed")
        width = width or storage.width
        if check_view(storage.nbytes // width, offset, size, stride) * width > self._limit:
            raise PickleRefused("it describes tensors larger than the file itself")
        return _opaque()

    def _tensor_of_dtype(
        self, storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any, *_: Any
    ) -> Record:
        width = _dtype_widths().get(dtype.text) if isinstance(dtype, Name) else None
        if width is None:
            raise PickleRefused("it describes a tensor that is malformed")
        return self._tensor(storage, offset, size, stride, width=width)


@functools.cache
def _storage_widths() -> dict[str, int]:
    """The bytes of a number, by the name of the class of its storage."""
    widths = {"torch.storage.UntypedStorage": 1}
    for kind in torch._storage_classes:
        dtype = getattr(kind, "_dtype", None)
        if isinstance(dtype, torch.dtype):
            widths[f"{kind.__module__}.{kind.__name__}"] = dtype.itemsize
    return widths


@functools.cache
def _dtype_widths() -> dict[str, int]:
    """The bytes of a number, by the name of its dtype."""
    dtypes = {name: getattr(torch, name) for name in dir(torch)}
    return {f"torch.{name}": dtype.itemsize for name, dtype in dtypes.items() if isinstance(dtype, torch.dtype)}
