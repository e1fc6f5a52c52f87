"""Arrays of foreign files, whose numbers stay in the file until they are asked for. Not in paper."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from typing_extensions import Self

from ganenc.foreign.inert_pickle import Buildable, PickleDamaged, PickleRefused

Raw: TypeAlias = "bytes | bytearray | memoryview"
_NUMBERS = "?bBhHiIlLqQefd", ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_MOST_AXES, _MOST_ELEMENTS = 32, 1 << 40
_UNSIGNED = {np.dtype("uint16"), np.dtype("uint32"), np.dtype("uint64")}


class Array(Buildable):
    """An array of numbers: its ``shape``, None where it has none yet, and its ``tensor``, made on first use."""

    __slots__ = ("_tensor", "shape")

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        self.shape = shape
        self._tensor: torch.Tensor | None = None

    @property
    def tensor(self) -> torch.Tensor:
        """The numbers, copied out of the file."""
        if self._tensor is None:
            self._tensor = self._read()
        return self._tensor

    def _read(self) -> torch.Tensor:
        raise NotImplementedError


class Storage:
    """The numbers of torch's tensors: ``raw`` bytes, which may be found after the tensors; None stands for those."""

    __slots__ = ("_numbers", "nbytes", "raw", "swapped")

    def __init__(self, nbytes: int, raw: Raw | None = None, *, swapped: bool = False) -> None:
        self.nbytes, self.raw, self.swapped = nbytes, raw, swapped
        self._numbers: bytearray | None = None

    def numbers(self, dtype: torch.dtype) -> torch.Tensor:
        """All of them as one row, which every tensor of this storage shares."""
        if self._numbers is None:
            if self.raw is None:
                raise PickleDamaged("the numbers of a tensor are missing, so it is truncated or damaged")
            self._numbers, self.raw = bytearray(self.raw), None
            if self.swapped:
                torch.frombuffer(self._numbers, dtype=dtype).untyped_storage().byteswap(dtype)
        return torch.frombuffer(self._numbers, dtype=dtype, count=self.nbytes // dtype.itemsize)


class TorchArray(Array):
    """A tensor as torch pickles it: a view of a storage from ``offset`` on, in steps of ``stride``.

    Raises:
        PickleRefused: this is not of the right kind, or reaches beyond the storage.
    """

    __slots__ = ("_dtype", "_offset", "_storage", "_stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any, dtype: torch.dtype | None = None) -> None:
        known = isinstance(storage, tuple) and len(storage) == 2 and isinstance(storage[0], Storage)
        sound = (
            known
            and isinstance(size, tuple)
            and isinstance(stride, tuple)
            and len(size) == len(stride) <= _MOST_AXES
            and all(isinstance(number, int) and 0 <= number < 1 << 62 for number in (offset, *size, *stride))
        )
        if not sound or (0 in size and math.prod(max(length, 1) for length in size) >= 1 << 62):
            raise PickleRefused("it describes a tensor that is malformed")
        self._storage, self._dtype = storage[0], dtype or storage[1]
        count = self._storage.nbytes // self._dtype.itemsize
        last = offset + sum((length - 1) * step for length, step in zip(size, stride))
        if 0 not in size and last >= count:
            raise PickleRefused("it describes a tensor larger than the file or the numbers it holds")
        self._offset, self._stride = offset, stride
        super().__init__(size)

    @property
    def nbytes(self) -> int:
        """What its numbers take."""
        assert self.shape is not None
        return math.prod(self.shape) * self._dtype.itemsize

    def _read(self) -> torch.Tensor:
        assert self.shape is not None
        if 0 in self.shape:
            return torch.empty(self.shape, dtype=self._dtype)
        row: torch.Tensor = self._storage.numbers(self._dtype)
        return row.as_strided(self.shape, self._stride, self._offset)


@functools.lru_cache(maxsize=256)
def dtype_named(text: str) -> torch.dtype | None:
    """The dtype that the name of one, or of a class of storages, stands for: ``torch.half``, ``torch.HalfStorage``."""
    kinds = {f"{kind.__module__}.{kind.__name__}": getattr(kind, "_dtype", None) for kind in torch._storage_classes}
    found = kinds.get(text) or getattr(torch, text.removeprefix("torch."), None)
    return torch.uint8 if text == "torch.storage.UntypedStorage" else found if isinstance(found, torch.dtype) else None


class Dtype(Buildable):
    """The description of a numpy dtype; numbers alone are accepted."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any = None, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        self._order = "="
        if isinstance(text, str) and text[:1] in "<>|=":
            self._order, text = text[:1], text[1:]
        if not isinstance(text, str) or not text or (text not in _NUMBERS[0] and text not in _NUMBERS[1]):
            raise PickleRefused(f"it holds an array of {str(text)[:20]!r} objects where numbers belong")
        self._code = text

    def build(self, state: Any) -> None:
        """Take the byte order; anything structured is refused."""
        if not isinstance(state, tuple) or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise PickleRefused("it describes a structured array where numbers belong")
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise PickleRefused("it describes numbers in an unknown byte order")
        self._order = order

    def resolve(self) -> np.dtype[Any]:
        """Return the numpy dtype."""
        return np.dtype(self._order + self._code)


class NumpyArray(Array):
    """An array as numpy pickles it; ``spend`` is told of the bytes that it will take."""

    __slots__ = ("_fortran", "_kind", "_raw", "_spend")

    def __init__(self, spend: Callable[[int], None]) -> None:
        super().__init__()
        self._spend = spend

    def build(self, state: Any) -> None:
        """Take numpy's own state: (version), shape, dtype, Fortran order, raw bytes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleRefused("it holds an array that is malformed")
        shape, dtype, fortran, raw = state[-4:]
        self.fill(shape, dtype, bool(fortran), raw)

    def fill(self, shape: Any, dtype: Any, fortran: bool, raw: Any) -> Self:
        """Itself, with the raw bytes of its numbers; raises `PickleRefused` when shape, dtype and bytes disagree."""
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, (bytes, bytearray, memoryview)) or not isinstance(dtype, Dtype):
            raise PickleRefused("it holds an array of objects where numbers belong")
        sound = isinstance(shape, Sequence) and len(shape) <= _MOST_AXES
        sound = sound and all(isinstance(length, int) and length >= 0 for length in shape)
        if not sound or math.prod(max(length, 1) for length in shape) > _MOST_ELEMENTS:
            raise PickleRefused("it holds an array whose shape is malformed")
        self._kind = dtype.resolve()
        if math.prod(shape) * self._kind.itemsize != len(raw):
            raise PickleRefused("it holds an array whose shape does not fit its numbers")
        self._spend(len(raw))
        self._fortran, self._raw, self._tensor = fortran, raw, None
        self.shape = tuple(map(int, shape))
        return self

    def _read(self) -> torch.Tensor:
        assert self.shape is not None
        array = np.frombuffer(self._raw, self._kind).reshape(self.shape, order="F" if self._fortran else "C")
        native = self._kind.newbyteorder("=")
        self._raw = self._raw[:0]
        return torch.from_numpy(array.astype(np.int64 if native in _UNSIGNED else native, order="C"))
