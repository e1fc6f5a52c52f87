"""An inverter that writes down what it sees and fails where it is told to, and photos for it; ``import painting``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ganenc.inversion import Inversion, Inverter, Task
from ganenc.latents import Latents
from ganenc_registry.specs import Spec
from PIL import Image
from pydantic import Field

__all__ = ["Paints", "calls", "faults", "grey", "grey_photos", "rows", "seen"]

BATCH = 4
calls: list[list[int]] = []
"""The mean grey value of every photo, in every batch that the method saw."""
faults: dict[int, Callable[[int], BaseException]] = {}
"""What is raised where a photo of that grey value is in a batch, from the number of photos in it."""


class Paints(Inverter):
    """Gives the mean latents; takes some photos at once."""

    class Options(Spec):
        batch: int = Field(BATCH, json_schema_extra={"speed": True})
        fails: bool = False

    def at_once(self, generator: Any, encoder: Any) -> int:
        batch: int = self.options.batch
        return batch

    def work(self, task: Task) -> Inversion:
        images, generator = task.images, task.generator
        values = [round(float(value) * 127.5 + 127.5) for value in images.mean((1, 2, 3))]
        calls.append(values)
        for value in values:
            if value in faults:
                raise faults[value](len(values))
        task.tell(1, 1, {"total": 1.0})
        latents = generator.complete(generator.center().expand(len(images)))
        latents = Latents(latents.layout, {name: one.clone() for name, one in latents.tensors.items()})
        return Inversion(latents, images * 0.5)


def grey_photos(folder: Path, count: int) -> list[Path]:
    """Photos of one grey value each: 0, 10, 20, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{place}.png" for place in range(count)]
    for place, path in enumerate(paths):
        grey(path, 10 * place % 250)
    return paths


def grey(path: Path, value: int, size: int = 8) -> None:
    """One photo of a grey value."""
    Image.fromarray(np.full((size, size, 3), value, dtype=np.uint8)).save(path)


def rows(out: Path) -> dict[str, dict[str, Any]]:
    """The lines of an index by the name of their photo, each of which is there once."""
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["photo"] for row in lines}) == len(lines), "each photo once"
    return {Path(row["photo"]).name: row for row in lines}


def seen() -> list[int]:
    """The grey values of all photos that the method saw."""
    return [value for batch in calls for value in batch]
