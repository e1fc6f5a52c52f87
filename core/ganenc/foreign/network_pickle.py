"""NVIDIA network pickles, PyTorch and TensorFlow, read as data.

The PyTorch files are a dictionary of networks (keys such as G, D and G_ema) whose objects carry the source text of
their classes; the TensorFlow files are a tuple (G, D, Gs) of networks whose state holds keyword arguments, named
variables and components. Both need a handful of names only; the source text is never looked at. Not in paper.
"""

from __future__ import annotations

import functools
import math
import mmap
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import torch
from typing_extensions import Self

from ganenc.foreign.inert_pickle import Buildable, Name, PickleRefused, Record, read_pickle
from ganenc.foreign.plain_makers import Budget, never_called
from ganenc.foreign.torch_files import check_tensor, load_tensor_file, tensor_from_storage

_NUMBERS = re.compile(r"[?bBhHiIlLqQefd]|b1|[iu][1248]|f[248]")
_LARGE = 1 << 12
_RAW_BYTES = b"B\x8e\x96"  # the opcodes whose argument may stay what it is; texts are decoded
_MOST_AXES, _MOST_ELEMENTS = 32, 1 << 40
_BYTES = (bytes, bytearray, memoryview)
_UNSIGNED = {np.dtype("uint16"), np.dtype("uint32"), np.dtype("uint64")}


class Module(Record):
    """A torch module that was saved with its source text: ``name`` is its class, ``state`` its attributes."""

    __slots__ = ()


class Network(Record):
    """A TensorFlow network: ``state`` has static_kwargs, variables and components."""

    __slots__ = ()


class _Dtype(Buildable):
    """The description of a numpy dtype; numbers alone are accepted."""

    __slots__ = ("_code", "_order")

    def __init__(self, code: Any = None, *_: Any) -> None:
        text = code.decode("latin1") if isinstance(code, bytes) else code
        self._order = "="
        if isinstance(text, str) and text[:1] in "<>|=":
            self._order, text = text[:1], text[1:]
        if not isinstance(text, str) or not _NUMBERS.fullmatch(text):
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


class NumpyArray(Buildable):
    """An array of numbers, which stay in the file until ``tensor`` is asked for; its ``shape`` may not be known yet."""

    __slots__ = ("_budget", "_fortran", "_kind", "_raw", "_tensor", "shape")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._tensor: torch.Tensor | None = None
        self.shape: tuple[int, ...] | None = None

    def build(self, state: Any) -> None:
        """Take numpy's own state: (version), shape, dtype, Fortran order, raw bytes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise PickleRefused("it holds an array that is malformed")
        shape, dtype, fortran, raw = state[-4:]
        self.fill(shape, dtype, bool(fortran), raw)

    def fill(self, shape: Any, dtype: Any, fortran: bool, raw: Any) -> Self:
        """Itself, with the raw bytes of its numbers; raises `PickleRefused` when shape, dtype and bytes disagree."""
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, _BYTES) or not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
            raise PickleRefused("it holds an array of objects where numbers belong")
        sound = len(shape) <= _MOST_AXES and all(isinstance(length, int) and length >= 0 for length in shape)
        if not sound or math.prod(max(length, 1) for length in shape) > _MOST_ELEMENTS:
            raise PickleRefused("it holds an array whose shape is malformed")
        self._kind = dtype.resolve()
        if math.prod(shape) * self._kind.itemsize != len(raw):
            raise PickleRefused("it holds an array whose shape does not fit its numbers")
        self._budget.spend(len(raw))
        self._fortran, self._raw, self._tensor = fortran, raw, None
        self.shape = tuple(map(int, shape))
        return self

    @property
    def nbytes(self) -> int:
        """The bytes of its numbers in the file."""
        return len(self._raw)

    @property
    def tensor(self) -> torch.Tensor:
        """The numbers, copied out of the file on first use."""
        if self._tensor is None:
            assert self.shape is not None
            array = np.frombuffer(self._raw, self._kind).reshape(self.shape, order="F" if self._fortran else "C")
            native = self._kind.newbyteorder("=")
            self._tensor = torch.from_numpy(array.astype(np.int64 if native in _UNSIGNED else native, order="C"))
            self._raw = self._raw[:0]
        return self._tensor


class _Views:
    """A pickle in memory, or mapped into it, as a file whose large pieces are views: nothing of them is copied."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data = data
        self._view = memoryview(data)
        self._at = 0
        self._before = (0, 0)  # where the last two pieces began: of a large piece, its opcode and its length

    def read(self, size: int, /) -> bytes | memoryview:
        piece = self._view[self._at : self._at + size]
        opcode = self._view[self._before[0]] if len(piece) >= _LARGE else 0
        self._before = (self._before[1], self._at)
        self._at += len(piece)
        return piece if opcode in _RAW_BYTES else bytes(piece)

    def readline(self) -> bytes:
        found = self._data.find(b"\n", self._at)
        end = len(self._view) if found < 0 else found + 1
        line = bytes(self._view[self._at : end])
        self._at = end
        return line

    def tell(self) -> int:
        return self._at


def read_network_pickle(data: bytes | mmap.mmap) -> Any:
    """The tree of a network pickle, given whole: plain values, tensors, `Module`, `Network` and `NumpyArray`.

    The numbers of an array are left where they are until they are asked for, so that networks which nobody wants cost
    nothing; what is returned keeps ``data`` open. `PickleRefused` if it names anything that such files do not need, at
    any depth, or is damaged.
    """
    return read_pickle(_Views(data), _makers(Budget(len(data))))


def _makers(budget: Budget) -> dict[str, Callable[..., Any]]:
    makers: dict[str, Callable[..., Any]] = {
        **budget.makers(),
        **dict.fromkeys(("dnnlib.util.EasyDict", "dnnlib.EasyDict"), budget.mapping),
        **dict.fromkeys(("dnnlib.tflib.network.Network", "tfutil.Network"), lambda: Network("Network")),
        "torch_utils.persistence._reconstruct_persistent_obj": _module,
        "torch._utils._rebuild_parameter": lambda data, *_: _is_tensor(data),
        "torch._utils._rebuild_parameter_with_state": lambda data, *_: _is_tensor(data),
        "torch._utils._rebuild_tensor": tensor_from_storage,
        "torch._utils._rebuild_tensor_v2": lambda storage, offset, size, stride, *_: tensor_from_storage(
            storage, offset, size, stride
        ),
        "torch.storage._load_from_bytes": functools.partial(_storage, budget),
        "numpy.dtype": _Dtype,
        "numpy.ndarray": never_called,
    }
    for package in ("numpy.core", "numpy._core"):
        makers[f"{package}.multiarray._reconstruct"] = lambda *_: NumpyArray(budget)
        makers[f"{package}.multiarray.scalar"] = lambda dtype, raw: NumpyArray(budget).fill((), dtype, False, raw)
        makers[f"{package}.numeric._frombuffer"] = lambda raw, dtype, shape, order="C": NumpyArray(budget).fill(
            shape, dtype, order == "F", raw
        )
    for package in ("builtins", "__builtin__"):
        makers[f"{package}.frozenset"] = lambda items=(): frozenset(budget.entries(items))
        makers[f"{package}.bytes"] = _no_bytes
        makers[f"{package}.object"] = never_called
    return makers | dict.fromkeys(("copyreg._reconstructor", "copy_reg._reconstructor"), _reconstructor)


def _module(meta: Any) -> Module:
    """Return a module from what its saving hook wrote; its source text is dropped."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise PickleRefused("it holds a network that is malformed")
    if not isinstance(meta.get("state"), dict):
        raise PickleRefused(f"it holds a {meta['class_name'][:40]!r} without any state")
    return Module(meta["class_name"], meta["state"])


def _is_tensor(data: Any) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise PickleRefused("it holds a parameter that is no tensor")
    return data


def _storage(budget: Budget, raw: Any) -> Any:
    """Return the numbers of one tensor from the tensor file that is nested in the pickle."""
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, _BYTES):
        raise PickleRefused("it holds a tensor without its bytes")
    budget.spend(len(raw))
    storage: Any = load_tensor_file(BytesIO(raw))
    if type(storage) is not torch.storage.TypedStorage:
        raise PickleRefused("it nests something that is not the numbers of a tensor")
    check_tensor(torch.empty(0, dtype=torch.uint8).set_(storage._untyped_storage), len(raw))
    return storage


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise PickleRefused("it builds bytes in a way that such files do not need")
    return b""


def _reconstructor(name: Any, *_: Any) -> Network:
    if not isinstance(name, Name) or not name.text.endswith(".Network"):
        raise PickleRefused("it builds an object that such files do not need")
    return Network("Network")
