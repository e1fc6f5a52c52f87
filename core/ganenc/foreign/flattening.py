"""Turns what a weights file holds into flat named tensors and a tree of plain data. Not in paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ganenc.foreign.arrays import Array, NumpyArray
from ganenc.foreign.inert_pickle import Name, PickleRefused, Record
from ganenc.foreign.makers import Module, Network

_DEPTH = 100
_FEW_NODES, _MANY_NODES = 100_000, 5_000_000
_NETWORKS = ("G", "D", "Gs")
_NETWORK_FIELDS = ("version", "name", "static_kwargs", "build_func_name")
_MOST_BITS = 1000  # an integer of this size is still a float
_NOTHING = object()


class Tensors(Mapping[str, torch.Tensor]):
    """Tensors by name; those that are still in a mapped file are read when they are asked for.

    Attributes:
        read: the names of those that were asked for.
    """

    def __init__(self, found: Mapping[str, torch.Tensor | Array]) -> None:
        self._found = found
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> torch.Tensor:
        value = self._found[name]
        self.read.add(name)
        return value.tensor if isinstance(value, Array) else value

    def shape(self, name: str) -> tuple[int, ...]:
        """Of what shape it is, without reading it."""
        return tuple(self._found[name].shape)  # type: ignore[arg-type]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def flatten(tree: Any, *, limit: int, name: str = "") -> tuple[dict[str, torch.Tensor | Array], dict[str, Any]]:
    """The tensors of a tree that a reader returned, by dotted name, and the rest as nested plain data.

    Dictionaries, lists and modules join their keys with dots. The variables of a TensorFlow network keep their own
    names, which use slashes, after ``network.``. A tuple of three networks is named G, D, Gs, the order of such files;
    networks of another number have the names that they state. Records stand for their state. ``limit`` is the bytes of
    the file; a bare tensor takes the ``name`` of the whole. `PickleRefused` if the tree refers to itself, is nested or
    repeated without bound, or names two tensors alike.
    """
    walk = _Walk(limit)
    if isinstance(tree, (tuple, list)) and all(isinstance(item, Network) for item in tree):
        names = _NETWORKS if len(tree) == len(_NETWORKS) else [_own_name(item) for item in tree]
        tree = dict(zip(names, tree)) if len(set(names)) == len(tree) else tree
    elif isinstance(tree, (Module, Network)) and not name:
        tree = {_own_name(tree): tree}
    rest = walk.visit(tree, name, 0)
    if rest is _NOTHING:
        return walk.tensors, {}
    return walk.tensors, rest if isinstance(rest, dict) else {name or "value": rest}


def _own_name(tree: Record) -> str:
    state = tree.state if isinstance(tree.state, dict) else {}
    return str(state.get("name") or "G_ema") if isinstance(tree, Network) else "G_ema"


class _Walk:
    """One pass over a tree; ``tensors`` collects what it finds."""

    def __init__(self, limit: int) -> None:
        self.tensors: dict[str, torch.Tensor | Array] = {}
        self._nodes_left = min(_FEW_NODES + 2 * limit, _MANY_NODES)  # every value takes a byte of the file at least
        self._open: set[int] = set()

    def visit(self, node: Any, path: str, depth: int) -> Any:
        """Return the plain data at ``node``, or ``_NOTHING`` if tensors were all there was."""
        self._nodes_left -= 1
        if depth > _DEPTH or self._nodes_left < 0:
            raise PickleRefused("its content is nested or repeated without bound")
        if isinstance(node, Array):
            scalar = node.shape == () and isinstance(node, NumpyArray)
            return node.tensor.item() if scalar else self._keep(node, path)
        if node is None or isinstance(node, (bool, float, str)):
            return node
        if isinstance(node, int):
            return _sound_number(node)
        if isinstance(node, (Name, Record)) and (isinstance(node, Name) or node.state is node.items is None):
            return node.text[:200] if isinstance(node, Name) else node.name[:200]
        if not isinstance(node, (Mapping, list, tuple, set, frozenset, Record)):
            return _NOTHING  # bytes and numbers without a shape
        if id(node) in self._open:
            raise PickleRefused("its content refers to itself")
        self._open.add(id(node))
        try:
            return self._container(node, path, depth + 1)
        finally:
            self._open.discard(id(node))

    def _container(self, node: Any, path: str, depth: int) -> Any:
        if isinstance(node, Module) or (isinstance(node, Record) and _is_module(node.state)):
            return self._module(node, path, depth)
        if isinstance(node, Network):
            return self._network(node, path, f"{path}.", depth)
        if isinstance(node, Mapping):
            return self._mapping(node, path, depth)
        if isinstance(node, Record):
            return self.visit(node.state if node.items is None else node.items, path, depth)
        items = [self.visit(item, _join(path, index), depth) for index, item in enumerate(node)]
        kept = [item for item in items if item is not _NOTHING]
        return kept if kept or not items else _NOTHING

    def _mapping(self, node: Mapping[Any, Any], path: str, depth: int) -> Any:
        out = {str(_sound_number(key)): self.visit(value, _join(path, key), depth) for key, value in node.items()}
        kept = {key: value for key, value in out.items() if value is not _NOTHING}
        return kept if kept or not out else _NOTHING

    def _module(self, node: Record, path: str, depth: int) -> dict[str, Any]:
        """A torch module: parameters and buffers, then modules, then its own attributes; hooks say nothing."""
        out: dict[str, Any] = {"class_name": node.name}
        state = node.state
        for group in ("_parameters", "_buffers", "_modules"):
            children = state.get(group, {})
            if not isinstance(children, dict):
                raise PickleRefused(f"its {node.name!r} is malformed")
            inner = self._mapping({key: child for key, child in children.items() if child is not None}, path, depth)
            out.update(inner if inner is not _NOTHING else {})
        own = {key: value for key, value in state.items() if isinstance(key, str) and not key.startswith("_")}
        own |= {key[1:]: state[key] for key in ("_init_args", "_init_kwargs") if key in state}
        inner = self._mapping(own, path, depth)
        return out | (inner if inner is not _NOTHING else {})

    def _network(self, node: Network, path: str, prefix: str, depth: int) -> dict[str, Any]:
        """A TensorFlow network: its variables under ``prefix``, those of its components one slash further."""
        state = node.state
        variables = state.get("variables") if isinstance(state, dict) else None
        components = state.get("components", {}) if isinstance(state, dict) else None
        if not isinstance(variables, (list, dict)) or not isinstance(components, dict):
            raise PickleRefused("it holds a network without variables")
        out: dict[str, Any] = {"class_name": node.name}
        for key in _NETWORK_FIELDS:
            out[key] = self.visit(state.get(key), _join(path, key), depth)
        for pair in variables.items() if isinstance(variables, dict) else variables:
            self._variable(pair, prefix)
        for key, component in components.items():
            if not isinstance(component, Network) or depth > _DEPTH or id(component) in self._open:
                raise PickleRefused("it holds a network that is malformed")
            self._open.add(id(component))
            out[str(key)] = self._network(component, _join(path, key), f"{prefix}{key}/", depth + 1)
            self._open.discard(id(component))
        return out

    def _variable(self, pair: Any, prefix: str) -> None:
        self._nodes_left -= 1
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise PickleRefused("it holds a network whose variables are malformed")
        value = pair[1]
        if isinstance(value, (bool, int, float)):
            value = torch.tensor(float(_sound_number(value)))
        if not isinstance(value, (torch.Tensor, Array)) or self._nodes_left < 0:
            raise PickleRefused(f"its variable {prefix + pair[0]!r} is no array of numbers")
        self.tensors.pop(prefix + pair[0], None)  # a name given twice: the last value is the one that was in force
        self._keep(value, prefix + pair[0])

    def _keep(self, tensor: torch.Tensor | Array, path: str) -> Any:
        path = path or "tensor"
        if path in self.tensors:
            raise PickleRefused(f"it names two tensors {path!r}")
        if tensor.shape is None:
            raise PickleRefused(f"it holds an array {path!r} without its numbers")
        self.tensors[path] = tensor
        return _NOTHING


def _is_module(state: Any) -> bool:
    """Whether a record's state is that of a torch module."""
    return isinstance(state, dict) and isinstance(state.get("_parameters"), dict) and "_modules" in state


def _join(path: str, key: object) -> str:
    return f"{path}.{_sound_number(key)}" if path else str(_sound_number(key))


def _sound_number(value: Any) -> Any:
    """Return a value, unless it is an integer so long that Python would refuse to write it out."""
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise PickleRefused("it holds a number of more digits than any such file needs")
    return value
