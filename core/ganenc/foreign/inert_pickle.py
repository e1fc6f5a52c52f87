"""Reads a pickle as data: a small stack machine that knows a handful of names and calls only functions of ours.

The standard unpickler imports what a file names and calls it, so opening a pickle can run any code. This reader
imports nothing and calls nothing that a file names. It walks the opcodes, keeps objects as `Record`s, and refuses
every global name outside the table that its caller passes. Not in paper.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeVar, cast

from ganenc_registry.errors import CheckpointError

_FEW = 64  # how many characters of a strange name an error quotes
_MOST_STEPS = 1_000_000  # an empty set takes 200 bytes of memory and one byte of a file
_MOST_BITS = 1000
_KEYS = (str, int, float, bool, bytes, type(None))
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
_TEXTS = {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
_LITERALS = _NUMBERS | _TEXTS | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}


class PickleRefused(CheckpointError):
    """A pickle names something outside the table, or is no sound pickle; nothing of it was executed."""


class PickleDamaged(PickleRefused):
    """A file was cut short or changed on its way."""


@dataclass(eq=False, slots=True)
class Name:
    """A global name found in a pickle, ``module.attribute``; never resolved to the thing it names."""

    text: str


class Buildable:
    """Something made by a pickle whose state arrives in a later opcode."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Take the state that the file gives."""
        raise PickleRefused("it sets the state of something that has none")


@dataclass(eq=False, slots=True)
class Record(Buildable):
    """An object of a foreign class, kept as inert data: the name of its class, its state, and what it contains."""

    name: str
    state: Any = None
    items: Any = None

    def build(self, state: Any) -> None:
        """Keep the state as it is."""
        self.state = state


Makers = Mapping[str, Callable[..., Any]]


class PickleSource(Protocol):
    """What a pickle is read from: a binary file, or something like one whose ``read`` may return views."""

    def read(self, size: int, /) -> Any:
        """Return the next bytes."""

    def readline(self) -> bytes:
        """Return the bytes up to the next line's end."""

    def tell(self) -> int:
        """Return the place in the file."""


def read_pickle(source: PickleSource, makers: Makers, *, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The tree of plain values and records that a pickle of any protocol describes; ``source`` is left where it ends.

    ``makers`` holds, for each global name that the format may call, ``"module.attribute"``, the function of ours that
    is called in its place with the arguments found in the file; objects of other classes become records. ``persistent``
    returns what stands for an object that lies outside the pickle, from the id that the pickle gives; None where the
    format has none. `PickleRefused` if the pickle calls anything else, is truncated, malformed, or has more than a
    million steps.
    """
    machine = _Machine(makers, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged text of the oldest protocol makes Python's own decoder warn
            for steps, (opcode, argument, _) in enumerate(pickletools.genops(cast("IO[bytes]", source))):
                if steps > _MOST_STEPS:
                    raise PickleRefused("its content is nested or repeated without bound")
                machine.step(opcode.name, argument)
        return machine.result()
    except PickleRefused:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise PickleDamaged("it is truncated or is no sound pickle") from error


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    f"TUPLE{size}": lambda machine, _, size=size: machine._short_tuple(size)  # type: ignore[misc]
    for size in (1, 2, 3)
}
"""What the machine does, by the name of the opcode."""
_Action = TypeVar("_Action", bound=Callable[..., None])


def _on(*opcodes: str) -> Callable[[_Action], _Action]:
    """Say which opcodes a method carries out."""

    def keep(action: _Action) -> _Action:
        _ACTIONS.update(dict.fromkeys(opcodes, action))
        return action

    return keep


class _Machine:
    """The stack machine of the pickle format, with plain values and records only."""

    def __init__(self, makers: Makers, persistent: Callable[[Any], Any] | None) -> None:
        self._makers = makers
        self._persistent = persistent
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Return what STOP left."""
        if len(self._stack) != 1 or self._marked:
            raise PickleDamaged("it is truncated or is no sound pickle")
        return self._stack[0]

    def step(self, opcode: str, argument: Any) -> None:
        """Carry out one opcode."""
        if opcode in _LITERALS:
            if type(argument) is int and argument.bit_length() > _MOST_BITS:
                raise PickleRefused("it holds a number of more digits than any such file needs")
            self._stack.append(argument)
        elif opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode]())
        else:
            action = _ACTIONS.get(opcode)
            if action is None:
                raise PickleRefused(f"it uses the pickle opcode {opcode}, which reaches outside the file")
            action(self, argument)

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marked.pop()
        return items

    @_on("MARK")
    def _mark(self, _: Any) -> None:
        self._marked.append(self._stack)
        self._stack = []

    @_on("PROTO", "FRAME", "STOP")
    def _skip(self, _: Any) -> None:
        """Framing says nothing about the content."""

    @_on("POP")
    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    @_on("POP_MARK")
    def _discard_mark(self, _: Any) -> None:
        self._pop_mark()

    @_on("DUP")
    def _duplicate(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    @_on("GET", "BINGET", "LONG_BINGET")
    def _get(self, index: Any) -> None:
        self._stack.append(self._memo[index])

    @_on("PUT", "BINPUT", "LONG_BINPUT")
    def _put(self, index: Any) -> None:
        self._memo[index] = self._stack[-1]

    @_on("MEMOIZE")
    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    @_on("TUPLE")
    def _tuple(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _short_tuple(self, size: int) -> None:
        items = self._stack[-size:]
        if len(items) != size:
            raise IndexError(size)
        self._stack[-size:] = [tuple(items)]

    @_on("LIST")
    def _list(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(items)

    @_on("FROZENSET")
    def _frozenset(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(frozenset(_key(item) for item in items))

    @_on("DICT")
    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(dict(_pairs(items)))

    @_on("APPEND")
    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        _contents(self._stack[-1], list).append(item)

    @_on("APPENDS")
    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        _contents(self._stack[-1], list).extend(items)

    @_on("ADDITEMS")
    def _add(self, _: Any) -> None:
        items = self._pop_mark()
        _contents(self._stack[-1], set).update(_key(item) for item in items)

    @_on("SETITEM")
    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _contents(self._stack[-1], dict)[_key(key)] = value

    @_on("SETITEMS")
    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        _contents(self._stack[-1], dict).update(_pairs(items))

    @_on("GLOBAL")
    def _global(self, argument: Any) -> None:
        self._stack.append(self._name(".".join(argument.split(" ", 1))))

    @_on("STACK_GLOBAL")
    def _stack_global(self, _: Any) -> None:
        attribute, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise TypeError("a global name is text")
        self._stack.append(self._name(f"{module}.{attribute}"))

    def _name(self, text: str) -> Name:
        if text not in self._makers and (".__" in text or text.startswith(("builtins.", "__builtin__."))):
            raise PickleRefused(f"it names {_short(text)}, which no file of weights needs")
        return Name(text)

    def _make(self, name: Any, arguments: Any, keywords: Any = None, *, creates: bool = False) -> None:
        if not isinstance(name, Name) or not isinstance(arguments, tuple):
            raise PickleRefused("it calls something that is not a name this format uses")
        if creates and name.text not in self._makers:
            self._stack.append(Record(name.text))
            return
        if name.text not in self._makers or keywords:
            raise PickleRefused(f"it calls {_short(name.text)}, which no file of weights needs")
        self._stack.append(self._makers[name.text](*arguments))

    @_on("REDUCE")
    def _reduce(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        self._make(name, arguments)

    @_on("NEWOBJ")
    def _new_object(self, _: Any) -> None:
        arguments, name = self._stack.pop(), self._stack.pop()
        self._make(name, arguments, creates=True)

    @_on("NEWOBJ_EX")
    def _new_object_with_keywords(self, _: Any) -> None:
        keywords, arguments, name = self._stack.pop(), self._stack.pop(), self._stack.pop()
        self._make(name, arguments, keywords, creates=True)

    @_on("INST")
    def _old_instance(self, argument: Any) -> None:
        items = self._pop_mark()
        self._make(self._name(".".join(argument.split(" ", 1))), tuple(items))

    @_on("OBJ")
    def _old_object(self, _: Any) -> None:
        items = self._pop_mark()
        self._make(items[0], tuple(items[1:]))

    @_on("BINPERSID")
    def _persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise PickleRefused("it uses the pickle opcode BINPERSID, which reaches outside the file")
        self._stack.append(self._persistent(self._stack.pop()))

    @_on("BUILD")
    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Buildable):
            target.build(state)
        elif type(target) is not dict:  # attributes of a dictionary, as saved beside state dictionaries, say nothing
            raise PickleRefused("it sets the state of something that has none")


def _contents(value: Any, kind: type) -> Any:
    """Return the container that items are put into: itself, or what a record contains."""
    if isinstance(value, Record):
        value.items = value = kind() if value.items is None else value.items
    if type(value) is not kind:
        raise TypeError(f"expected a {kind.__name__}")
    return value


def _short(name: str) -> str:
    return repr(name if len(name) <= _FEW else f"{name[:_FEW]}...")


def _key(value: Any) -> Any:
    """Return a dictionary key; nested ones are refused, since hashing them can exhaust the stack."""
    flat = value if type(value) is tuple else (value,)
    if not all(type(part) in _KEYS for part in flat):
        raise TypeError("a key is a plain value")
    return value


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(items) % 2:
        raise ValueError("keys and values come in pairs")
    return zip(map(_key, items[::2]), items[1::2])
