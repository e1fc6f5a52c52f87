"""Where a run reports to, and what it goes on from: memory here, a folder in ``folder.py``."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ganenc_registry.errors import TrainingError
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.files import Processes


class Sink(ABC):
    """What a loop reports to. It goes through ``begin``, the rest in any order, ``finish`` and ``close``."""

    run: RunSpec | None = None
    """The run, once it has begun."""
    info: Mapping[str, Any] = {}
    """What is told of the trained encoder, once the run is done."""

    @property
    def begun(self) -> RunSpec | None:
        """The run (its resolved spec) that it holds already, if any; a GanencError if that cannot be read."""
        return self.run

    @abstractmethod
    def begin(self, run: RunSpec, *, writes: bool = True) -> None:
        """Take a run (its resolved spec) up, and keep others out until `close`; of several processes one ``writes``. A
        TrainingError if it holds another run, or another process trains there."""

    @abstractmethod
    def newest(self, processes: Processes | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest readable state, the first process's for all, and what was wrong with newer ones; later rows go."""

    @abstractmethod
    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keep the state of a step: all that a resumed run needs."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row of metrics."""

    @abstractmethod
    def picture(self, name: str, step: int, image: Tensor) -> None:
        """Keep an image, uint8 (C, H, W): a sample ``grid`` of each step, or the newest ``attention``."""

    @abstractmethod
    def keep_best(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        """Keep the best encoder so far."""

    @abstractmethod
    def finish(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        """Keep the trained encoder, at the end."""

    @abstractmethod
    def metrics(self) -> list[dict[str, Any]]:
        """Every row of metrics so far: the step and the values by name."""

    @abstractmethod
    def close(self) -> None:
        """Let others in."""


class Memory(Sink):
    """A run that leaves nothing on disk; the same one again goes on where it stopped. By step it has sample ``grids``,
    uint8 (C, H, W), and as many of the newest ``states`` as the run keeps; ``attention``, uint8 (C, H, W), is where it
    looks; ``best`` is a copy of the best encoder, and ``encoder`` the trained one, once the run is done."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self.grids: dict[int, Tensor] = {}
        self.attention: Tensor | None = None
        self.states: dict[int, dict[str, Any]] = {}
        self.best: Encoder | None = None
        self.encoder: Encoder | None = None

    def __str__(self) -> str:
        return "memory"

    def begin(self, run: RunSpec, *, writes: bool = True) -> None:
        if self.run not in (None, run):
            raise TrainingError("This memory holds a run of another spec; give each run one of its own.")
        self.run = run

    def newest(self, processes: Processes | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        state = self.states[max(self.states)] if self.states else None
        del self._rows[0 if state is None else state["rows"] :]
        return state, []

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        self.states[step] = {**state, "step": step, "rows": len(self._rows)}
        keep = 1 if self.run is None else self.run.saving.keep
        for old in sorted(self.states)[:-keep]:
            del self.states[old]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._rows.append({"step": step, **values})

    def picture(self, name: str, step: int, image: Tensor) -> None:
        if name == "attention":
            self.attention = image
        else:
            self.grids[step] = image

    def keep_best(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        self.best = copy.deepcopy(encoder)

    def finish(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        self.encoder, self.info = encoder, dict(info)

    def metrics(self) -> list[dict[str, Any]]:
        return self._rows

    def close(self) -> None:
        """Nothing is held."""
