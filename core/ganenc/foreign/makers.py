"""What foreign pickles build, by the names that they give it: all of it plain data, within a number of bytes.

NVIDIA's PyTorch networks carry the source text of their classes, which is never looked at; its TensorFlow networks hold
keyword arguments, named variables and components. Objects of other classes become records. Not in paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganenc.foreign.arrays import Dtype, NumpyArray, TorchArray, dtype_named
from ganenc.foreign.inert_pickle import Name, PickleRefused, Record

SLACK = 1 << 20
"""How many bytes more than it holds a small file may take in memory."""

_ENTRY = 100  # what an entry of a container may take, in bytes
_TYPES = ("bool", "complex", "dict", "float", "int", "list", "object", "range", "slice", "str", "tuple")
_INERT = (
    *(f"pathlib.{kind}Path" for kind in ("", "Posix", "Windows", "Pure")),
    *(f"pathlib.Pure{kind}Path" for kind in ("Posix", "Windows")),
    *(f"pathlib._local.{kind}Path" for kind in ("Posix", "Windows")),
    *(f"datetime.{kind}" for kind in ("date", "datetime", "timedelta", "timezone")),
    *(f"{package}.{kind}" for package in ("builtins", "__builtin__") for kind in _TYPES),
    "collections.deque",
    "decimal.Decimal",
    "torch.device",
    "torch.serialization._get_layout",
    *(f"torch._utils._rebuild_{kind}tensor" for kind in ("sparse_", "sparse_csr_", "q", "nested_")),
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._tensor._rebuild_from_type_v2",
)
"""What lies beside weights and is made by a call: it is kept as a name alone."""


class Module(Record):
    """A torch module that was saved with its source text: ``name`` is its class, ``state`` its attributes."""

    __slots__ = ()


class Network(Record):
    """A TensorFlow network: ``state`` has static_kwargs, variables and components."""

    __slots__ = ()


class Budget:
    """Bytes that decoding may still produce, so that a small file cannot fill the memory.

    Args:
        size: the bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._largest = size + SLACK
        self._left = 4 * size + SLACK

    def spend(self, count: int) -> None:
        """Take ``count`` bytes; raises `PickleRefused` when they exceed what is left."""
        self._left -= count
        if self._left < 0:
            raise PickleRefused("it unpacks to far more data than the file holds")

    def makers(self) -> dict[str, Callable[..., Any]]:
        """What is called in place of the functions and classes that files name."""
        table: dict[str, Callable[..., Any]] = {
            **{name: lambda *_, name=name: Record(name) for name in _INERT},
            **dict.fromkeys(("collections.OrderedDict", "collections.Counter"), self.mapping),
            **dict.fromkeys(("dnnlib.util.EasyDict", "dnnlib.EasyDict"), self.mapping),
            **dict.fromkeys(("dnnlib.tflib.network.Network", "tfutil.Network"), lambda: Network("Network")),
            **dict.fromkeys(("copyreg._reconstructor", "copy_reg._reconstructor"), _reconstructor),
            "collections.defaultdict": lambda *_: {},
            "_codecs.encode": self.encode,
            "torch_utils.persistence._reconstruct_persistent_obj": _module,
            "torch.Size": self.entries,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
            "torch.nn.parameter.Parameter": lambda data, *_: data,
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": lambda *given: self.tensor(*given[:4], dtype=given[6]),
            "numpy.dtype": Dtype,
        }
        for package in ("numpy.core", "numpy._core"):
            table[f"{package}.multiarray._reconstruct"] = lambda *_: NumpyArray(self.spend)
            table[f"{package}.multiarray.scalar"] = lambda dtype, raw: self.array(raw, dtype, ())
            table[f"{package}.numeric._frombuffer"] = self.array
        for package in ("builtins", "__builtin__"):
            table[f"{package}.set"] = lambda items=(): set(self.entries(items))
            table[f"{package}.frozenset"] = lambda items=(): frozenset(self.entries(items))
            table[f"{package}.bytes"] = _no_bytes
        return table

    def array(self, raw: Any, dtype: Any, shape: Any, order: Any = "C") -> NumpyArray:
        """An array of numpy's, from its bytes."""
        return NumpyArray(self.spend).fill(shape, dtype, order == "F", raw)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any, dtype: Any = None) -> TorchArray:
        """A tensor of torch's; a storage without a kind of number takes that of the tensor."""
        kind = dtype_named(dtype.text) if isinstance(dtype, Name) else None
        if dtype is not None and kind is None:
            raise PickleRefused("it describes a tensor that is malformed")
        made = TorchArray(storage, offset, size, stride, kind)
        if made.nbytes > self._largest:
            raise PickleRefused("it describes a tensor larger than the file itself")
        self.spend(made.nbytes)
        return made

    def mapping(self, items: Any = ()) -> dict[Any, Any]:
        """The dictionary that an ordered or attribute-style dictionary stands for."""
        if not isinstance(items, (dict, list, tuple)):
            raise PickleRefused("it holds a dictionary that is malformed")
        self.spend(_ENTRY * len(items))
        if not isinstance(items, dict) and any(
            not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str) for pair in items
        ):
            raise PickleRefused("it holds a dictionary that is malformed")
        return dict(items)

    def entries(self, items: Any = ()) -> tuple[Any, ...]:
        """The entries of a set or a shape: texts and numbers."""
        if not isinstance(items, (list, tuple)) or any(type(item) not in (str, int, float, bool) for item in items):
            raise PickleRefused("it holds a set or a shape that is malformed")
        self.spend(_ENTRY * len(items))
        return tuple(items)

    def encode(self, text: Any, encoding: Any = "") -> bytes:
        """The bytes that are kept as text."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise PickleRefused("it holds bytes in an encoding that such files do not use")
        self.spend(len(text))
        return text.encode("latin1")


def _module(meta: Any) -> Module:
    """Return a module from what its saving hook wrote; its source text is dropped."""
    if not isinstance(meta, dict) or not isinstance(meta.get("class_name"), str):
        raise PickleRefused("it holds a network that is malformed")
    if not isinstance(meta.get("state"), dict):
        raise PickleRefused(f"it holds a {meta['class_name'][:40]!r} without any state")
    return Module(meta["class_name"], meta["state"])


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise PickleRefused("it builds bytes in a way that such files do not need")
    return b""


def _reconstructor(name: Any, *_: Any) -> Record:
    if not isinstance(name, Name):
        raise PickleRefused("it builds an object of something that is no class")
    return (Network if name.text.endswith(".Network") else Record)(name.text.rpartition(".")[2])
