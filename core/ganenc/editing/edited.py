"""What comes of an edit: latents, their images in a strip, and the way there as an animation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganenc.editing.directions.direction import Direction
from ganenc.editing.mixing import interpolate, mix, render, there_and_back, write_animation
from ganenc.files import write_json
from ganenc.generators import Generator, Tuning, save_tuning
from ganenc.images import depict, grid, png_bytes, to_image, write_png
from ganenc.inversion import PhotoFolder
from ganenc.latents import Latents
from ganenc.models import model_hash

STRENGTHS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
"""How far a direction is followed by default, in deviations of the model's own latents."""
FRAMES = 24
"""Frames of an animation on its way to the end; it goes back by them too."""


@dataclass(frozen=True)
class Edited:
    """An edit."""

    generator: Generator = field(repr=False)
    latents: Latents
    """Of every step."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was done, as plain data."""
    frames: Latents | None = field(default=None, repr=False)
    """The same way in finer steps, for an animation."""
    before: Latents | None = field(default=None, repr=False)
    """What the strip shows first."""
    target: Tensor | None = field(default=None, repr=False)
    """The photo (1, C, H, W), which the strip begins with, where there is one."""
    tuning: Tuning = field(default_factory=dict, repr=False)
    """Of the weights that all these latents go with; empty where they are the generator's own."""

    @cached_property
    def images(self) -> Tensor:
        """The images (N, C, H, W) of the latents, in the generator's range, on the CPU."""
        return self._render(self.latents)

    @property
    def strip(self) -> Tensor:
        """All images in a row: uint8 (C, H, width)."""
        row = self.images if self.before is None else torch.cat([self._render(self.before), self.images])
        row = row if self.target is None else torch.cat([self.target.to(row), row])
        return grid(depict(row, self.generator.spec), len(row))

    @property
    def image(self) -> Image.Image:
        """The strip as a picture."""
        return to_image(self.strip)

    def animate(self, path: str | Path, *, seconds: float = 3.0) -> None:
        """Write the way there and back as an animated ``.gif`` or ``.webp`` (else an ImageError)."""
        frames = there_and_back(self.images if self.frames is None else self._render(self.frames))
        write_animation(path, depict(frames, self.generator.spec), seconds=seconds)

    def save(self, folder: str | Path, *, animations: Sequence[str] = ()) -> dict[str, Path]:
        """Write ``strip.png``, ``latents.safetensors``, ``edit.json``, ``animations`` (``gif``, ``webp``) and the
        tuning if there is one, and give the files by kind."""
        folder, model = Path(folder), model_hash(self.generator)
        written = {"strip": folder / "strip.png", "latents": folder / PhotoFolder.LATENTS}
        write_png(written["strip"], self.strip, sheet=True)
        if self.tuning:
            written["tuning"] = folder / PhotoFolder.TUNING
            save_tuning(written["tuning"], self.tuning, model=model)
        self.latents.save(written["latents"], model=model)
        for kind in animations:
            written[kind] = folder / f"edit.{kind}"
            self.animate(written[kind])
        write_json(folder / "edit.json", self.facts)
        return written

    def _render(self, latents: Latents) -> Tensor:
        with self.generator.tuned(self.tuning):
            return render(self.generator, latents)

    def _repr_png_(self) -> bytes:
        return png_bytes(self.strip)


def direction_sheet(
    generator: Generator, way: Direction, samples: Latents, strengths: Sequence[float] = STRENGTHS
) -> Tensor:
    """What a direction does to samples, each a row from weak to strong: uint8 (C, height, width); a LatentsError if
    they do not fit."""
    rows = [render(generator, way.apply(sample.expand(len(strengths)), strengths)) for sample in samples]
    return grid(depict(torch.cat(rows), generator.spec), len(strengths))


def edit_along(
    generator: Generator,
    latents: Latents,
    way: Direction,
    strengths: Sequence[float],
    *,
    layers: Sequence[int] | None = None,
    target: Tensor | None = None,
) -> Edited:
    """One sample moved along a direction, step by step; see `Direction.apply`. A LatentsError if they do not fit."""
    fine = torch.linspace(min(strengths), max(strengths), FRAMES)
    edited, frames = (way.apply(latents.expand(len(s)), s, layers=layers) for s in (strengths, fine))
    facts = {
        "direction": way.name,
        "space": way.space,
        "strengths": [round(float(one), 4) for one in strengths],
        "layers": list(layers or way.layers or []) or None,
        "position": float(way.position(latents)),
    }
    return Edited(generator, edited, facts, frames=frames, target=target)


def edit_by_mixing(generator: Generator, a: Latents, b: Latents, layers: Sequence[int]) -> Edited:
    """The first sample with the styles of the second on some layers; see `mix`."""
    a, b = _filled(generator, a, b), _filled(generator, b, a)
    return Edited(generator, mix(a, b, layers), {"layers": list(layers)}, before=Latents.cat([a, b]))


def edit_between(generator: Generator, a: Latents, b: Latents, steps: int) -> Edited:
    """The way from one sample to another; see `interpolate`."""
    a, b = _filled(generator, a, b), _filled(generator, b, a)
    return Edited(generator, interpolate(a, b, steps), {}, frames=interpolate(a, b, max(steps, FRAMES)))


def _filled(generator: Generator, one: Latents, other: Latents) -> Latents:
    """Latents with the generator's own value of what they leave out and others hold, such as noise."""
    own = {name: generator.default(name) for name in other.tensors if name not in one}
    kept = {name: value.expand(len(one), *value.shape[1:]) for name, value in own.items() if value is not None}
    return one.replace(**kept)
