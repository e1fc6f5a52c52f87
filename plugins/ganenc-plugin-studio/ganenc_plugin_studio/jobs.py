"""Long work in the background: what it has come to, its time left, and its end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from ganenc_plugin_studio.turns import Turns

__all__ = ["Ended", "Job", "Told"]

T = TypeVar("T")
EVERY = 0.25
"""Seconds between two pictures."""


@dataclass(frozen=True)
class Told(Generic[T]):
    """How far a job is."""

    step: int
    steps: int
    left: float
    """Seconds that the steps left will take."""
    shown: T
    """What the step came to."""


class Ended(Exception):
    """Work was ended before it came to anything."""


class Job(Generic[T]):
    """Work of many steps, in a thread of its own. Between steps others have their turn at the model; stopped, it keeps
    the best so far; dropped, nobody wants what it comes to."""

    def __init__(self, turns: Turns) -> None:
        self.stopped = self.dropped = False
        self._turns, self._told, self._new = turns, None, threading.Event()
        self._began = self._shown_at = time.monotonic()
        self.taken = self._first = 0
        self.done = False
        self._error: BaseException | None = None

    def stop(self) -> None:
        """End after this step."""
        self.stopped = True

    def drop(self) -> None:
        """End after this step, for nobody."""
        self.dropped = self.stopped = True

    def step(self, step: int, steps: int, show: Callable[[], T]) -> bool:
        """To be called after each step, by who has the turn; ``show`` makes what is shown of it, now and then. Whether
        it is to end."""
        now, self.taken = time.monotonic(), step
        if not self._first:
            self._began, self._first = now, step
        elif now - self._shown_at >= EVERY and not self._new.is_set():
            left = (now - self._began) / max(step - self._first, 1) * (steps - step)
            self._told, self._shown_at = Told(step, steps, left, show()), now
            self._new.set()
        self._turns.pass_on()
        return self.stopped

    def go_on(self, step: int, steps: int) -> None:
        """As `step`, for work that comes to nothing if it is ended, and is ended by `Ended`."""
        if self.step(step, steps, lambda: None):  # type: ignore[arg-type, return-value]
            raise Ended

    def run(self, work: Callable[[], object]) -> Iterator[Told[T]]:
        """Do the work, a turn long, and tell how far it is; an error of its own is raised here. Who closes the iterator
        drops the job."""

        def working() -> None:
            try:
                with self._turns:
                    if not self.stopped:
                        work()
            except Ended:
                pass
            except BaseException as error:  # It belongs to who waits.
                self._error = error
            self.done = True
            self._new.set()

        thread = threading.Thread(target=working, daemon=True)
        thread.start()
        try:
            while not self.done:
                self._new.wait()
                told, self._told = self._told, None
                self._new.clear()
                if told is not None and not self.done:
                    yield told
        except GeneratorExit:
            self.drop()
            raise
        thread.join()
        if self._error is not None:
            raise self._error
