"""Turns at the model: one piece of work at a time, in the order of asking."""

from __future__ import annotations

import threading
from collections import deque

from typing_extensions import Self

__all__ = ["Turns"]


class Turns:
    """A lock that is given in the order in which it was asked for, and passed on in the middle of long work."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._asked: deque[threading.Event] = deque()
        """Who asked, in order; the first has its turn."""

    def __enter__(self) -> Self:
        mine = threading.Event()
        with self._guard:
            self._asked.append(mine)
            self._asked[0].set()
        mine.wait()
        return self

    def __exit__(self, *_: object) -> None:
        with self._guard:
            self._asked.popleft()
            if self._asked:
                self._asked[0].set()

    def pass_on(self) -> None:
        """Between two steps: let all who wait have their turn, and go on after them."""
        if len(self._asked) > 1:
            self.__exit__()
            self.__enter__()
