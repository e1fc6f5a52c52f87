"""Tensors that a generator keeps outside its state, found and made part of it. Not in paper.

Converted weights often lie in a dictionary, a list or an object that is no module. Each tensor found there becomes a
buffer (a parameter, where it takes a gradient) and each module a part, so that all are hashed, saved, loaded and moved.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from ganenc_registry.errors import SpecError
from torch import Tensor, nn

Change: TypeAlias = Callable[[str, Any], Any]
"""What is found at a path of names => what takes its place there."""
_OTHERS = {*sys.stdlib_module_names, "torch", "numpy", "ganenc", "ganenc_registry"} - {"types", "__main__"}
"""Packages whose objects hold no weights of a user's."""
_PARTS = (Tensor, np.ndarray, nn.Module, FunctionType, functools.partial)


def adopt(generator: nn.Module, base: type[nn.Module]) -> list[tuple[nn.Module, str]]:
    """Register what a generator, of a subclass of ``base``, holds outside its state; the modules and names of the
    buffers that lie in containers. `SpecError` if its methods, or functions that it keeps, reach tensors or networks
    by a name or a class: a copy of it would share them, and no file hold them."""
    held: list[tuple[nn.Module, str]] = []
    for owner, attribute, value in _attributes(generator):
        take = functools.partial(_take, generator, owner, held)
        if not isinstance(value, Tensor):
            _swapped(value, take, attribute, {})
        elif id(value) not in _known(generator):
            delattr(owner, attribute)
            take(attribute, value)
            held[:] = [one for one in held if one != (owner, attribute)]
    for family in type(generator).__mro__[: type(generator).__mro__.index(base)]:
        for name, value in vars(family).items():
            if isinstance(value, FunctionType) and not name.startswith("__"):
                _refuse_reached(generator, name, inspect.unwrap(value))
            elif not isinstance(value, FunctionType | torch.dtype):
                _swapped(value, functools.partial(_refuse, generator, "its class"), name, {})
    return held


def exchange(generator: nn.Module, new: Callable[[Tensor], Tensor]) -> None:
    """Put others in the place of the tensors that lie in a generator's containers."""
    for _, attribute, value in _attributes(generator):
        if not isinstance(value, Tensor):
            _swapped(value, lambda _, one: new(one) if isinstance(one, Tensor) else one, attribute, {})


def _attributes(generator: nn.Module) -> Iterator[tuple[nn.Module, str, Any]]:
    """What the modules, torch's own aside, keep that torch does not know of; those that are added on the way, too."""
    usual, seen = set(vars(nn.Module())) | set(getattr(generator, "NO_WEIGHTS", ())), set[nn.Module]()
    while new := [module for module in generator.modules() if module not in seen]:
        seen.update(new)
        for module in new:
            if type(module).__module__.partition(".")[0] != "torch":  # Which derive what they keep from their weights.
                yield from ((module, name, one) for name, one in [*vars(module).items()] if name not in usual)


def _swapped(value: Any, change: Change, path: str, seen: dict[int, Any]) -> Any:
    """The same value, with what its containers and objects hold changed in place; another one if it is a tuple."""
    if isinstance(value, _PARTS):
        return change(path, value)
    if id(value) in seen or isinstance(value, type | ModuleType):
        return value
    seen[id(value)] = value
    within = functools.partial(_swapped, change=change, seen=seen)
    if isinstance(value, dict | list | deque):
        for key, one in [*(value.items() if isinstance(value, dict) else enumerate(value))]:
            new = within(one, path=f"{path}/{key}")
            if new is not one:
                value[key] = new
    elif isinstance(value, tuple | set | frozenset):
        made = [within(one, path=f"{path}/{key}") for key, one in enumerate(value)]
        if any(new is not one for new, one in zip(made, value)):
            return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    elif isinstance(value, MethodType):
        within(value.__self__, path=path)
    elif type(value).__module__.partition(".")[0] not in _OTHERS and not isinstance(value, str | int | float):
        slots = [name for one in type(value).__mro__ for name in np.atleast_1d(getattr(one, "__slots__", ()))]
        for name in [*getattr(value, "__dict__", ()), *slots]:
            one = getattr(value, name, None)
            new = within(one, path=f"{path}/{name}")
            if new is not one:
                object.__setattr__(value, name, new)
    return value


def _known(generator: nn.Module) -> set[int]:
    return {*map(id, generator.modules()), *map(id, generator.parameters()), *map(id, generator.buffers())}


def _take(generator: nn.Module, owner: nn.Module, held: list[tuple[nn.Module, str]], path: str, value: Any) -> Any:
    """Register what was found as ``owner``'s, unless it is known."""
    if isinstance(value, FunctionType | functools.partial):
        _refuse_reached(generator, path, value)
        return value
    name = path.replace(".", "/")
    if isinstance(value, np.ndarray):
        name += "_array"
        if name in dict(owner.named_buffers(recurse=False)) or value.dtype.kind not in "fiub":
            return value
        value = value if value.flags.writeable and min(value.strides, default=0) >= 0 else value.copy()
        owner.register_buffer(name, torch.from_numpy(value))  # Which shares its memory.
        return value
    if id(value) in _known(generator):
        return value
    while hasattr(owner, name):
        name += "_"
    if isinstance(value, nn.Module):
        owner.add_module(name, value)
        return value
    if value.requires_grad:
        value = value if isinstance(value, nn.Parameter) else nn.Parameter(value.detach())
        owner.register_parameter(name, value)
        return value
    owner.register_buffer(name, value)
    held.append((owner, name))
    return value


def _refuse_reached(generator: nn.Module, name: str, function: Any) -> None:
    """Refuse a function that reaches tensors by the names it uses, or by arguments that it has been given."""
    if isinstance(function, functools.partial):
        _swapped([function.args, function.keywords], functools.partial(_refuse, generator, name), name, {})
        function = function.func
    if isinstance(function, FunctionType):
        cells = zip(function.__code__.co_freevars, function.__closure__ or ())
        reached = {variable: cell.cell_contents for variable, cell in cells if variable != "__class__"}
        reached |= {one: function.__globals__[one] for one in _globals(function.__code__) & {*function.__globals__}}
        reached["its default"] = [function.__defaults__, function.__kwdefaults__]
        for variable, value in reached.items():
            if not isinstance(value, FunctionType):
                _swapped(value, functools.partial(_refuse, generator, name), variable, {})


def _globals(code: CodeType) -> set[str]:
    """The global names that some code reads."""
    inner = (_globals(one) for one in code.co_consts if isinstance(one, CodeType))
    return {one.argval for one in dis.get_instructions(code) if one.opname == "LOAD_GLOBAL"}.union(*inner)


def _refuse(generator: nn.Module, where: str, path: str, value: Any) -> Any:
    if isinstance(value, nn.Module):
        size = sum(one.numel() for one in [*value.parameters(), *value.buffers()])
    else:
        size = value.numel() if isinstance(value, Tensor) else getattr(value, "size", 0)
    if size > 1 and id(value) not in _known(generator):
        raise SpecError(
            f"{type(generator).__name__} computes with {path.partition('/')[0]!r}, which {where!r} reaches outside it,"
            " so it would be neither saved, moved nor told apart: keep it as an attribute, set in __init__."
        )
    return value
