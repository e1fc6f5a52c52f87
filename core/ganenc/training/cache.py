"""Synthesized images kept on disk with their latents, so that an expensive generator makes each of them once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from ganenc_registry.errors import TrainingError
from ganenc_registry.opening import fixed_path
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ganenc.encoders import averaged
from ganenc.files import Processes, check_ours, drop_leftovers, save_tensors, take_lock
from ganenc.generators import Generator
from ganenc.images import to_uint8
from ganenc.latents import Latents
from ganenc.models import model_hash
from ganenc.objectives import Batch
from ganenc.training.data import WHOLE, Part, Synthesized, mine, places_of

SHARD = 64
"""Images in a file."""
FORM = "ganenc-synthesized"


class Cached(Synthesized):
    """As `Synthesized` with ``samples``, whose images are made once: 8 bits at the size that an encoder sees, in files
    of 64 in ``folder``. Those that are missing are made at first, the work shared by the processes; a TrainingError if
    the folder holds those of another model, seed, truncation, size or range, or they are damaged."""

    def __init__(
        self, generator: Generator, size: tuple[int, int], folder: str | Path, batch: int, *, samples: int,
        seed: int = 0, truncation: float = 1.0, processes: Processes | None = None,
    ) -> None:  # fmt: skip
        super().__init__(generator, batch, seed=seed, samples=samples, truncation=truncation)
        self.folder, self.encoder_size = Path(folder), size
        self.facts = {
            "model": model_hash(generator), "seed": str(seed), "truncation": str(truncation),
            "size": "x".join(map(str, size)), "range": str(generator.spec.value_range),
        }  # fmt: skip
        self.kept = {name: (one.dtype, one.shape[1:]) for name, one in self._known(*self._draw(1, 0)).items()}
        self.kept["images"] = torch.uint8, torch.Size((generator.spec.channels, *size))
        processes, lock = processes or Processes(generator.device.type), FileLock(self.folder / ".lock")
        if processes.first:
            if not take_lock(lock):
                warnings.warn(f"Another run fills {folder}, and this one waits for it.", stacklevel=2)
                take_lock(lock, wait=True)
            drop_leftovers(self.folder)
        try:
            processes.wait()
            for shard in range(processes.index, -(-samples // SHARD), processes.count):
                self._fill(shard)
            processes.wait()
        finally:
            lock.release()

    @torch.no_grad()
    def batch(self, step: int, part: Part = WHOLE) -> Batch:
        """The batch of a step; its images have the encoder's size."""
        taken = places_of(self.samples, self.size, step, self.seed)[mine(self.size, part)].tolist()
        rows = [self._row(place) for place in taken]
        found = {name: torch.cat([row[name] for row in rows]).to(self.generator.device) for name in rows[0]}
        low, high = self.generator.spec.value_range
        images = found.pop("images").to(self.generator.dtype) * ((high - low) / 255) + low
        labels = found.pop("labels", None)
        latents = {name.removeprefix("latents."): tensor for name, tensor in found.items()}
        return Batch(images, labels, Latents(self.generator.spec.layout, latents), self.size)

    def _path(self, shard: int) -> Path:
        return self.folder / f"{shard * SHARD:08d}.safetensors"

    def _fill(self, shard: int) -> None:
        """Make a file's images, unless it is there and has as many."""
        path, first = self._path(shard), shard * SHARD
        wanted = min(SHARD, self.samples - first)
        if path.exists() and self._held(path) >= wanted:
            return
        check_ours(path)
        starts = range(first, first + wanted, self.size)
        made = [self._make(start, min(self.size, first + wanted - start)) for start in starts]
        whole = {name: torch.cat([one[name] for one in made]) for name in made[0]}
        save_tensors(path, whole, {"format": FORM, **self.facts}, replace=True)

    def _make(self, first: int, count: int) -> dict[str, Tensor]:
        """What is kept of some samples."""
        latents, labels = self._draw(count, first)
        images = averaged(self.generator.synthesize(latents), self.encoder_size)
        return {"images": to_uint8(images, self.generator.spec.value_range).cpu(), **self._known(latents, labels)}

    @staticmethod
    def _known(latents: Latents, labels: Tensor | None) -> dict[str, Tensor]:
        """What is kept beside the images."""
        known = {f"latents.{name}": tensor.cpu() for name, tensor in latents.tensors.items()}
        return known if labels is None else {**known, "labels": labels.cpu()}

    def _held(self, path: Path) -> int:
        """How many images a file holds, which has to be of this run."""
        with _opened(path) as file:
            known = file.metadata() or {}
            for name, value in self.facts.items():
                if known.get(name) != value:
                    raise TrainingError(
                        f"data.cache: {path} is of another {name} ({known.get(name)!s:.16}, here {value:.16}); name"
                        " another folder."
                    )
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if {name: (one.dtype, one.shape[1:]) for name, one in found.items()} != self.kept:
                raise ValueError("its tensors are not those of such images")
            if not all(one.isfinite().all() for name, one in found.items() if name != "images"):
                raise ValueError("it holds NaN or infinity")
            (count,) = {len(one) for one in found.values()}  # A ValueError where they differ.
            return count

    def _row(self, place: int) -> dict[str, Tensor]:
        """What is kept of one sample."""
        path, at = self._path(place // SHARD), place % SHARD
        with _opened(path) as file:
            return {name: file.get_slice(name)[at : at + 1] for name in file.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of the cache; a TrainingError for whatever is wrong with it."""
    try:
        with fixed_path(path) as fixed, safe_open(fixed, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise TrainingError(f"data.cache: {path} is damaged ({error}); delete it, and it is made anew.") from None
