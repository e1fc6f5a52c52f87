"""The folder of a run: everything it leaves, written so that a reader never sees half a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError, TrainingError
from ganenc_registry.specs import RunSpec
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from ganenc import images
from ganenc.atomic import write_text
from ganenc.state import load_state, save_state

__all__ = ["RunFolder"]


class RunFolder:
    """``run.yaml``, ``metrics.jsonl``, TensorBoard events, ``grids/``, ``checkpoints/`` and, at the end, ``encoder/``.

    Args:
        path: the folder; made if it is not there.
        run: the resolved spec. A folder that holds another run is refused.

    Raises:
        TrainingError: if the folder holds a run of another spec.
    """

    def __init__(self, path: str | Path, run: RunSpec) -> None:
        self.path, self.run = Path(path), run
        spec = self.path / "run.yaml"
        if spec.is_file() and (old := RunSpec.from_file(spec)) != run:
            differing = ", ".join(_differences(old.to_mapping(), run.to_mapping()))
            raise TrainingError(
                f"{self.path} holds a run of another spec (it differs in {differing}); resume it with its own"
                f" {spec.name}, or name another folder."
            )
        if not spec.is_file():
            write_text(spec, run.to_yaml())
        self._writer: SummaryWriter | None = None

    def save(self, step: int, state: Any) -> None:
        """Write the checkpoint of a step and drop the oldest ones."""
        save_state(self._checkpoint(step), {"step": step, "metrics": self._metrics_size(), **state})
        for old in self.checkpoints()[: -self.run.saving.keep]:
            old.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """The checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("step-*.safetensors"))

    def newest(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest checkpoint that can be read, and what was wrong with those newer than it.

        Rows of metrics that are newer are dropped: the resumed run writes them again.
        """
        complaints: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                state: dict[str, Any] = load_state(path)
            except CheckpointError as error:
                complaints.append(str(error))
                continue
            self._cut_metrics(int(state["metrics"]))
            return state, complaints
        self._cut_metrics(0)
        return None, complaints

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a row of metrics, and the same to TensorBoard."""
        row = json.dumps({"step": step, **{name: _number(value) for name, value in values.items()}})
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(row + "\n")
        if self._writer is None:
            self._writer = SummaryWriter(str(self.path), purge_step=step)  # What an interrupted run logged beyond.
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

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
        images.write_png(self.path / "grids" / f"step-{step:07d}.png", both)

    def close(self) -> None:
        """Write out what TensorBoard holds back."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _checkpoint(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step-{step:07d}.safetensors"

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
