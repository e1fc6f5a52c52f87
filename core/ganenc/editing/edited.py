"""What comes of an edit: latents, their images in a strip, and the way there as an animation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ganenc.editing.mixing import render, there_and_back, write_animation
from ganenc.files import write_json
from ganenc.generators import Generator
from ganenc.images import grid, png_bytes, to_image, write_png
from ganenc.latents import Latents

__all__ = ["FRAMES", "Edited"]

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
    model: str = field(default="", repr=False)
    """The hash of the generator's weights."""
    frames: Latents | None = field(default=None, repr=False)
    """The same way in finer steps, for an animation."""
    before: Latents | None = field(default=None, repr=False)
    """What the strip shows first."""
    target: Tensor | None = field(default=None, repr=False)
    """The photo (1, C, H, W), which the strip begins with, where there is one."""

    @cached_property
    def images(self) -> Tensor:
        """The images (N, C, H, W) of the latents, in the generator's range, on the CPU."""
        return render(self.generator, self.latents)

    @property
    def strip(self) -> Tensor:
        """All images in a row: uint8 (C, H, width)."""
        row = self.images if self.before is None else torch.cat([render(self.generator, self.before), self.images])
        row = row if self.target is None else torch.cat([self.target.to(row), row])
        return grid(row, len(row), self.generator.spec.value_range)

    @property
    def image(self) -> Image.Image:
        """The strip as a picture."""
        return to_image(self.strip)

    def animate(self, path: str | Path, *, seconds: float = 3.0) -> None:
        """Write the way there and back as an animated ``.gif`` or ``.webp``.

        Raises:
            ImageError: if the name ends otherwise.
        """
        frames = self.images if self.frames is None else render(self.generator, self.frames)
        write_animation(path, there_and_back(frames), seconds=seconds, value_range=self.generator.spec.value_range)

    def save(self, folder: str | Path, *, animations: tuple[str, ...] = ()) -> dict[str, Path]:
        """Write ``strip.png``, ``latents.safetensors``, ``edit.json`` and animations, and give them by kind.

        Args:
            folder: where to.
            animations: ``gif``, ``webp`` or both.
        """
        folder = Path(folder)
        written = {"strip": folder / "strip.png", "latents": folder / "latents.safetensors"}
        write_png(written["strip"], self.strip)
        self.latents.save(written["latents"], model=self.model)
        for kind in animations:
            written[kind] = folder / f"edit.{kind}"
            self.animate(written[kind])
        write_json(folder / "edit.json", self.facts)
        return written

    def _repr_png_(self) -> bytes:
        return png_bytes(self.strip)
