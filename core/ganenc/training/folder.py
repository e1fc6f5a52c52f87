"""The folder of a run: everything it leaves, written so that a reader never sees half a file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ganenc_registry.errors import CheckpointError, TrainingError
from ganenc_registry.specs import RunSpec
from safetensors import SafetensorError
from torch import Tensor

from ganenc import images
from ganenc.encoders import Encoder
from ganenc.files import Processes, drop_leftovers, load_state, save_state, write_text
from ganenc.models import save_pretrained
from ganenc.objectives import Look, looks_sheet
from ganenc.training.trackers import start_trackers

__all__ = ["RunFolder"]

SPEC = "run.yaml"
LOCK = ".lock"
"""Held by the process that writes; it stays in the folder, and means nothing once that process is gone."""
PARTS = ("", "checkpoints", "best", "grids", "encoder")
"""The folders of a run."""


class RunFolder:
    """A run's files: ``run.yaml``, ``metrics.jsonl``, ``grids/``, ``checkpoints/``, ``best/``, at the end ``encoder/``.

    Args:
        path: the folder; made if it is not there.
        run: the resolved spec. A folder that holds another run is refused.
        writes: whether this process is the one that writes; the others only read.

    What cannot be written while a run goes on, as the disk is full or the folder has vanished, is a warning: the run
    goes on, and tries again when it writes next.

    Raises:
        TrainingError: if the folder holds a run of another spec.
    """

    def __init__(self, path: str | Path, run: RunSpec, *, writes: bool = True) -> None:
        self.path, self.run, self.writes = Path(path), run, writes
        spec = self.path / SPEC
        if spec.is_file() and (old := RunSpec.from_file(spec)) != run:
            differing = ", ".join(_differences(old.to_mapping(), run.to_mapping()))
            raise TrainingError(
                f"{self.path} holds a run of another spec (it differs in {differing}); resume it with its own"
                f" {spec.name}, or name another folder."
            )
        if writes and not spec.is_file():
            write_text(spec, run.to_yaml())
        self._trackers: list[Any] | None = None
        self._lock = FileLock(self.path / LOCK)

    def claim(self) -> None:
        """Keep other runs out of the folder until `close`, and drop what writes that were killed left in it.

        Raises:
            TrainingError: if another process trains there.
        """
        if not self.writes:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except Timeout:
            raise TrainingError(
                f"Another process trains in {self.path}, perhaps one that an interrupted launch left behind; wait for"
                " it or end it, or name another folder."
            ) from None
        except (OSError, NotImplementedError):  # A file system without locks, or a full one: it goes without.
            pass
        for part in PARTS:
            drop_leftovers(self.path / part)

    def save(self, step: int, state: Any) -> None:
        """Write the checkpoint of a step, then drop the oldest ones."""
        with self._writing(f"the checkpoint of step {step}") as may:
            if may:
                if not (self.path / SPEC).is_file():
                    write_text(self.path / SPEC, self.run.to_yaml())
                save_state(self._checkpoint(step), {"step": step, "metrics": self._metrics_size(), **state})
                self._prune(step)

    def keep_best(self, step: int, loss: float, encoder: Encoder) -> None:
        """Write the best encoder so far, as a model folder."""
        with self._writing(f"the best encoder, of step {step}") as may:
            if may:
                save_pretrained(encoder, self.path / "best", info={"step": step, "loss": loss})

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def newest(self, processes: Processes | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, and what was wrong with those newer than it.

        Rows of metrics that are newer are dropped: the resumed run writes them again.

        Args:
            processes: those that all take the same checkpoint, that which the first one finds.
        """
        complaints: list[str] = []
        state: dict[str, Any] | None = None
        for path in reversed(self.checkpoints()) if self.writes else ():
            try:
                state = load_state(path)
                break
            except CheckpointError as error:
                complaints.append(str(error))
        if self.writes:
            self._cut_metrics(0 if state is None else int(state["metrics"]))
            if state is not None:
                self._prune(state["step"])
        if processes is not None and processes.count > 1:
            step = processes.told(None if state is None else state["step"])
            if step is not None and state is None:
                state = load_state(self._checkpoint(step))
        return state, complaints

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row of metrics, and the same to the trackers."""
        row = json.dumps({"step": step, **{name: _number(value) for name, value in values.items()}})
        with self._writing(f"the metrics of step {step}") as may:
            if may:
                self.path.mkdir(parents=True, exist_ok=True)
                with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
                    file.write(row + "\n")
                if self._trackers is None:
                    self._trackers = start_trackers(self.run.saving.trackers, self.path, step, self.run.to_mapping())
                for tracker in self._trackers:
                    tracker.log(dict(values), step=step)

    def metrics(self) -> list[dict[str, float]]:
        """Every row of metrics so far."""
        path = self.path / "metrics.jsonl"
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:  # The last line of a run that was killed while it wrote.
                continue
        return rows

    def grid(self, step: int, targets: Tensor, reconstructions: Tensor, value_range: tuple[float, float]) -> None:
        """Write a grid: targets in the upper row, their reconstructions (N, C, H, W) in the lower."""
        both = images.grid(
            images.convert_range(_cat(targets, reconstructions), value_range, (-1.0, 1.0)).clamp(-1, 1),
            len(targets),
            (-1.0, 1.0),
        )
        with self._writing(f"the grid of step {step}") as may:
            if may:
                images.write_png(self.path / "grids" / f"step-{step:07d}.png", both)

    def attention(self, step: int, found: Sequence[Look], value_range: tuple[float, float]) -> None:
        """Write where the attention looks as ``attention.png``, in place of an earlier one; not the image alone."""
        if len(found) < 2:
            return
        with self._writing(f"the attention of step {step}") as may:
            if may:
                images.write_png(self.path / "attention.png", looks_sheet(found, value_range))

    def close(self) -> None:
        """Write out what the trackers hold back, and let others into the folder."""
        for tracker in self._trackers or ():
            tracker.finish()
        self._trackers = None
        self._lock.release()

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[bool]:
        """Whether this process writes; turns what goes wrong into a warning."""
        try:
            yield self.writes
        except (OSError, SafetensorError, CheckpointError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            warnings.warn(
                f"{self.path}: {what} could not be written ({reason}); the run goes on and tries again when it writes"
                " next.",
                stacklevel=3,
            )

    def _checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:07d}.safetensors"

    def _prune(self, step: int) -> None:
        """Drop the oldest checkpoints up to a step; later ones are damaged, and do not count."""
        newest = self._checkpoint(step).name
        for old in [path for path in self.checkpoints() if path.name <= newest][: -self.run.saving.keep]:
            old.unlink(missing_ok=True)

    def _metrics_size(self) -> int:
        path = self.path / "metrics.jsonl"
        return path.stat().st_size if path.is_file() else 0

    def _cut_metrics(self, size: int) -> None:
        """Drop the rows that were written after the checkpoint."""
        path = self.path / "metrics.jsonl"
        if path.is_file() and path.stat().st_size > size:
            os.truncate(path, size)


def _number(value: float) -> float | None:
    """Six digits; None for what JSON has no number for."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _cat(a: Tensor, b: Tensor) -> Tensor:
    import torch

    return torch.cat([a.detach().float().cpu(), b.detach().float().cpu()])


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], above: str = "") -> list[str]:
    names = []
    for key in a.keys() | b.keys():
        mine, other = a.get(key), b.get(key)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            names += _differences(mine, other, f"{above}{key}.")
        elif mine != other:
            names.append(f"{above}{key}")
    return sorted(names)
