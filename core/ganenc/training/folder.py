"""The folder of a run: everything it leaves, written so that a reader never sees half a file."""

from __future__ import annotations

import contextlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from ganenc_registry.errors import CheckpointError, TrainingError, WriteError, told
from ganenc_registry.opening import open_file
from ganenc_registry.plain_data import parse_json
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc import images
from ganenc.encoders import Encoder
from ganenc.files import Processes, check_ours, drop_leftovers, load_state, save_state, take_lock, write_text
from ganenc.models import ENCODER, RUN, save_pretrained
from ganenc.training.sinks import Sink
from ganenc.training.trackers import start_trackers

LOCK = ".lock"
"""Held by the process that writes; it stays in the folder, and means nothing once that process is gone."""
REPORT, ATTENTION = "report.html", "attention.png"
PARTS = ("", "checkpoints", "best", "grids", ENCODER)
"""The folders of a run."""


class RunFolder(Sink):
    """A run's files: ``run.yaml``, ``metrics.jsonl``, ``grids/``, ``checkpoints/``, ``best/``, at the end ``encoder/``.

    The folder is made once a run begins. If a row, a picture or what trackers are told cannot be written meanwhile, as
    the disk is full, that is a warning, and the run goes on. A checkpoint or best encoder that cannot be written ends
    it by a TrainingError; the same run goes on from the checkpoint before.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.writes = Path(path), True
        self._trackers: list[Any] | None = None
        self._lock = FileLock(self.path / LOCK)
        self._metrics = self.path / "metrics.jsonl"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def begun(self) -> RunSpec | None:
        spec = self.path / RUN
        return RunSpec.from_file(spec) if spec.is_file() else None

    @told(TrainingError)
    def begin(self, run: RunSpec, *, writes: bool = True) -> None:
        """Take a run up; what writes that were killed left in the folder goes."""
        self.run, self.writes = run, writes
        spec = self.path / RUN
        if (old := self.begun) is not None and old != run:
            differing = ", ".join(_differences(old.to_mapping(), run.to_mapping()))
            raise TrainingError(
                f"{self.path} holds a run of another spec (it differs in {differing}); resume it with its own"
                f" {spec.name}, or name another folder."
            )
        named = ("metrics.jsonl", *(f"{part}/[!.]*" for part in PARTS[1:]))
        others = [path for name in named for path in self.path.glob(name)]
        if others and not spec.is_file():
            raise TrainingError(f"{others[0]} is there, and no {RUN} says of which run; name another folder.")
        check_ours(self.path / REPORT, self.path / ATTENTION)
        if not writes:
            return
        self._write_spec()
        if not take_lock(self._lock):
            raise TrainingError(
                f"Another process trains in {self.path}, perhaps one that an interrupted launch left behind; wait for"
                " it or end it, or name another folder."
            )
        for part in PARTS:
            drop_leftovers(self.path / part)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        with self._writing(f"the checkpoint of step {step}", needed=True) as may:
            if may:
                self._write_spec()
                save_state(self._checkpoint(step), {"step": step, "metrics": self._size(), **state}, replace=True)
                self._prune(step)

    def keep_best(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        with self._writing(f"the best encoder, of step {info['step']}", needed=True) as may:
            if may:
                save_pretrained(encoder, self.path / "best", info=dict(info))

    def finish(self, encoder: Encoder, info: Mapping[str, Any]) -> None:
        """Write the trained encoder, as a model folder; a TrainingError if it cannot be written."""
        self.info = dict(info)
        try:
            if self.writes:
                save_pretrained(encoder, self.path / ENCODER, info=dict(info))
        except WriteError as error:
            raise TrainingError(
                f"The run is done, but {self.path} cannot be written: {error.reason}. Make room and give the same"
                " command again; it only writes what is missing."
            ) from None

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return self._steps("checkpoints", ".safetensors")

    @told(TrainingError)
    def newest(self, processes: Processes | None = None) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, and what was wrong with those newer than it."""
        complaints: list[str] = []
        state: dict[str, Any] | None = None
        for path in reversed(self.checkpoints()) if self.writes else ():
            try:
                state = self._load(path)
                break
            except CheckpointError as error:
                complaints.append(str(error))
        if self.writes:
            self._cut(0 if state is None else state["metrics"])
            if state is not None:
                self._prune(state["step"])
        if processes is not None and processes.count > 1:
            step = processes.told(None if state is None else state["step"])
            if step is not None and state is None:
                state = self._load(self._checkpoint(step))
        return state, complaints

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row to ``metrics.jsonl``, and the same to the trackers."""
        row = json.dumps({"step": step, **{name: _number(value) for name, value in values.items()}})
        if self.run is None or not self.writes:
            return
        size = self._size()
        with self._writing(f"the metrics of step {step}"):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                with open_file(self._metrics, "a", encoding="utf-8") as file:
                    file.write(row + "\n")
            except OSError:
                self._cut(size)
                raise
        with self._writing(f"what trackers are told of step {step}"):
            if self._trackers is None:
                self._trackers = start_trackers(self.run.saving.trackers, self.path, step, self.run.to_mapping())
            try:
                for tracker in self._trackers:
                    tracker.log(dict(values), step=step)
            except OSError:
                self._trackers = None  # They write no more; the next row starts others.
                raise

    def metrics(self) -> list[dict[str, Any]]:
        """Every row of metrics so far, but for one that a run was killed in."""
        rows: list[dict[str, Any]] = []
        if self._metrics.is_file():
            with open_file(self._metrics) as file:
                for line in file:
                    with contextlib.suppress(ValueError):
                        row = parse_json(line.decode())
                        rows += [row] if _is_row(row) else []
        return rows

    def picture(self, name: str, step: int, image: Tensor) -> None:
        """Write a grid as ``grids/step-0000500.png``, and the attention as ``attention.png``."""
        with self._writing(f"the {name} of step {step}") as may:
            if may:
                images.write_png(self.path / (ATTENTION if name == "attention" else _grid(step)), image, sheet=True)

    @property
    def grids(self) -> dict[int, Tensor]:
        """The first sample grid and the last one, uint8 (C, H, W), by step."""
        found = self._steps("grids", ".png")
        ends = (*found[:1], *found[1:][-1:])
        return {int(path.stem.removeprefix("step-")): images.to_uint8(images.read(path)) for path in ends}

    @property
    def attention(self) -> Tensor | None:
        """Where the attention looks, uint8 (C, H, W)."""
        path = self.path / ATTENTION
        return images.to_uint8(images.read(path)) if path.is_file() else None

    def close(self) -> None:
        """Write out what the trackers hold back, and let others into the folder."""
        for tracker in self._trackers or ():
            with self._writing("what trackers were told last"):
                tracker.finish()
        self._trackers = None
        self._lock.release()

    @contextlib.contextmanager
    def _writing(self, what: str, *, needed: bool = False) -> Iterator[bool]:
        """Whether this process writes; turns what cannot be written into a warning, or the end where it is needed."""
        try:
            yield self.writes
        except (OSError, WriteError) as error:
            reason = error.reason if isinstance(error, WriteError) else error.strerror or error
            told = f"{self.path}: {what} could not be written ({reason})"
            if needed:
                raise TrainingError(
                    f"{told}, so the run stops; make room and give the same command again, which goes on from the"
                    " checkpoint before."
                ) from None
            warnings.warn(f"{told}; the run goes on without.", stacklevel=3)

    def _size(self) -> int:
        """Bytes of the metrics so far."""
        return self._metrics.stat().st_size if self._metrics.is_file() else 0

    def _cut(self, size: int) -> None:
        """Drop what the metrics have beyond a size."""
        if self._size() > size:
            with open_file(self._metrics, "r+b") as file:
                file.truncate(size)

    def _write_spec(self) -> None:
        if self.run is not None and not (self.path / RUN).is_file():
            write_text(self.path / RUN, self.run.to_yaml())

    def _steps(self, part: str, suffix: str) -> list[Path]:
        """The files of steps in a folder, in their order."""
        found = (self.path / part).glob(f"step-*{suffix}")
        return sorted(path for path in found if path.stem.removeprefix("step-").isdecimal())

    def _load(self, path: Path) -> dict[str, Any]:
        state = load_state(path)
        counts = [state.get(name) for name in ("step", "metrics")] if isinstance(state, dict) else [None]
        if not all(type(count) is int and count >= 0 for count in counts) or path != self._checkpoint(state["step"]):
            raise CheckpointError(f"The training state {path} is damaged, or of another step.")
        return dict(state)

    def _checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:07d}.safetensors"

    def _prune(self, step: int) -> None:
        """Drop the oldest checkpoints up to a step; later ones are damaged, and do not count."""
        newest = self._checkpoint(step).name
        keep = 1 if self.run is None else self.run.saving.keep
        for old in [path for path in self.checkpoints() if path.name <= newest][:-keep]:
            old.unlink(missing_ok=True)


def _grid(step: int) -> str:
    return f"grids/step-{step:07d}.png"


def _is_row(row: Any) -> bool:
    """Whether a line of metrics holds a step and numbers, or None where JSON has no number."""
    values: list[Any] = list(row.values()) if isinstance(row, dict) and type(row.get("step")) is int else [""]
    return all(value is None or (type(value) in (int, float) and abs(value) < 1e300) for value in values)


def _number(value: float) -> float | None:
    """Six digits; None for what JSON has no number for."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], above: str = "") -> list[str]:
    names = []
    for key in a.keys() | b.keys():
        mine, other = a.get(key), b.get(key)
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            names += _differences(mine, other, f"{above}{key}.")
        elif mine != other:
            names.append(f"{above}{key}")
    return sorted(names)
