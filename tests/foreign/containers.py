"""The containers that foreign files come in: NVIDIA's pickles of either kind, and what they nest."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Calls",
    "Network",
    "dumps",
    "module",
    "nested",
    "storage_bytes",
    "tensorflow_network",
    "torch_dump",
    "torch_network",
]

_PACKAGES = ("torch_utils", "dnnlib", "tfutil")


class Calls:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.arguments


class Network:
    """Stands for the class of TensorFlow networks when pickles of that kind are written here."""


def _reconstruct_persistent_obj(meta: Any) -> None:
    """Stands for the function that rebuilds torch networks when pickles of that kind are written here."""


@contextlib.contextmanager
def _published_names(tensorflow: str) -> Iterator[None]:
    """Let the two names above be pickled as NVIDIA's files name them."""
    places = ((Network, tensorflow), (_reconstruct_persistent_obj, "torch_utils.persistence"))
    before = {name: sys.modules[name] for name in list(sys.modules) if name.split(".")[0] in _PACKAGES}
    modules = [stand_in.__module__ for stand_in, _ in places]
    try:
        for stand_in, place in places:
            parts = place.split(".")
            for i in range(len(parts)):
                sys.modules[".".join(parts[: i + 1])] = types.ModuleType(".".join(parts[: i + 1]))
            setattr(sys.modules[place], stand_in.__name__, stand_in)
            stand_in.__module__ = place
        yield
    finally:
        for (stand_in, _), module in zip(places, modules):
            stand_in.__module__ = module
        for name in [name for name in sys.modules if name.split(".")[0] in _PACKAGES]:
            del sys.modules[name]
        sys.modules.update(before)


def torch_dump(tree: Any) -> bytes:
    """A tree as ``torch.save`` writes it, networks of NVIDIA's among it."""
    buffer = io.BytesIO()
    with _published_names("dnnlib.tflib.network"):
        torch.save(tree, buffer)
    return buffer.getvalue()


def dumps(tree: Any, *, protocol: int = 4, tensorflow: str = "dnnlib.tflib.network") -> bytes:
    """Pickle a tree; networks are named as NVIDIA's programs name them."""
    with _published_names(tensorflow):
        return pickle.dumps(tree, protocol=protocol)


def storage_bytes(payload: Any) -> bytes:
    """What a network pickle nests for each tensor: a file in the older tensor format."""
    buffer = io.BytesIO()
    torch.save(payload, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def nested(tensor: Tensor, raw: bytes | None = None) -> Calls:
    """A tensor as network pickles hold it; ``raw`` in place of its bytes."""
    raw = storage_bytes(tensor.contiguous()._typed_storage()) if raw is None else raw
    storage = Calls(torch.storage._load_from_bytes, raw)
    size, stride = tuple(tensor.shape), tensor.contiguous().stride()
    return Calls(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, OrderedDict())


def module(source: str = "", *, name: str = "Layer", **state: Any) -> Calls:
    """A torch module as NVIDIA's PyTorch networks are saved, with the source text of its class."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": name, "state": state}
    return Calls(_reconstruct_persistent_obj, meta)


def torch_network(tensors: Mapping[str, Any], attributes: Mapping[str, Any] | None = None) -> Calls:
    """NVIDIA's PyTorch network of tensors by dotted names, with attributes of its modules as nested mappings."""
    attributes = attributes or {}
    inner = sorted({name.partition(".")[0] for name in tensors if "." in name})
    modules = {
        key: torch_network(
            {name[len(key) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{key}.")},
            attributes.get(key, {}),
        )
        for key in inner
    }
    own = {name: nested(t) if isinstance(t, Tensor) else t for name, t in tensors.items() if "." not in name}
    plain = {key: value for key, value in attributes.items() if key not in inner and key != "class_name"}
    name = attributes.get("class_name", "Layer")
    return module(name=name, _parameters=own, _buffers={}, _modules=modules, **plain)


def tensorflow_network(name: str, variables: Mapping[str, Tensor], declared: Mapping[str, Any] | None = None) -> Any:
    """NVIDIA's TensorFlow network: variables by name with slashes, those of mapping and synthesis in components."""
    declared = declared or {}
    parts = [part for part in ("mapping", "synthesis") if any(key.startswith(f"{part}/") for key in variables)]
    components = {
        part: tensorflow_network(
            f"G_{part}",
            {key[len(part) + 1 :]: value for key, value in variables.items() if key.startswith(f"{part}/")},
            declared.get(part),
        )
        for part in parts
    }
    own = [(key, value.numpy()) for key, value in variables.items() if key.partition("/")[0] not in parts]
    network = Network()
    network.__dict__.update(
        version=4,
        name=name,
        static_kwargs=dict(declared.get("static_kwargs", {})),
        build_module_src="",
        build_func_name="G_main",
        variables=own,
        components=components,
    )
    return network
