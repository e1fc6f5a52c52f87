"""What foreign pickles build of plain containers, within a number of bytes. Not in paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganenc.foreign.inert_pickle import PickleRefused

SLACK = 1 << 20
"""How many bytes more than it holds a small file may take in memory."""

_ENTRY = 100  # what an entry of a container may take, in bytes


class Budget:
    """Bytes that decoding may still produce, so that a small file cannot fill the memory.

    Args:
        size: the bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._left = 4 * size + SLACK

    def spend(self, count: int) -> None:
        """Take ``count`` bytes; raises `PickleRefused` when they exceed what is left."""
        self._left -= count
        if self._left < 0:
            raise PickleRefused("it unpacks to far more data than the file holds")

    def makers(self) -> dict[str, Callable[..., Any]]:
        """The functions for containers that both kinds of files use, by the names that the files give them."""
        table: dict[str, Callable[..., Any]] = {"collections.OrderedDict": self.mapping, "_codecs.encode": self.encode}
        for package in ("builtins", "__builtin__"):
            table[f"{package}.set"] = lambda items=(): set(self.entries(items))
        return table

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


def never_called(*_: Any) -> Any:
    """Stands for what a file may mention and never call."""
    raise PickleRefused("it calls something that such files only mention")
