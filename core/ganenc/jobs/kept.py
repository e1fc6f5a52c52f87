"""An inverter whose results are kept in a folder, so that what was done is not done again."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import CheckpointError

from ganenc.files import hash_tensors
from ganenc.inversion import Inversion, Inverter, Photo, PhotoFolder, Task

DIGITS = 20
"""Of the hash of a photo that names its folder."""


class Kept(Inverter):
    """Another inverter, one photo at a time: each leaves a `PhotoFolder` named by its content and label in ``folder``,
    and where that is there the result is taken from it. Seconds are the processor's where torch has one thread of it.
    ``model`` is the hash of the generator."""

    def __init__(self, inner: Inverter, folder: Path, model: str) -> None:
        super().__init__(inner.options, inner.context)
        self.inner, self.folder, self.model = inner, folder, model
        self.facts: list[dict[str, Any]] = []
        """Of each photo, the ``seconds`` that it took and the ``megabytes`` of the peak of memory."""
        vars(self).update({name: getattr(inner, name) for name in ("needs_encoder", "needs_objective", "one_pass")})

    @property
    def megabytes(self) -> float | None:
        """The peak of memory of all that was done; None where the system does not say."""
        return max((one["megabytes"] for one in self.facts if one["megabytes"] is not None), default=None)

    def invert(self, *given: Any, **named: Any) -> Inversion:
        """See `Inverter.invert`."""
        before = len(self.facts)
        done = super().invert(*given, **named)
        return replace(done, seconds=[float(one["seconds"]) for one in self.facts[before:]])

    def work(self, task: Task) -> Inversion:
        """See `Inverter.work`; a CheckpointError or LatentsError if what lies there is damaged."""
        generator, device = task.generator, task.generator.device
        seen = {"images": task.images, **({} if task.labels is None else {"labels": task.labels})}
        place = PhotoFolder(self.folder / hash_tensors(seen)[:DIGITS])
        if not place.is_done:
            _forget_peak(device)
            began = _now(device)
            done = self.inner.invert(
                task.images, generator, task.encoder, labels=task.labels, objective=task.objective, seed=task.seed,
            )  # fmt: skip
            facts = {"seconds": _now(device) - began, "megabytes": _peak(device)}
            latents, tuning = done.sample(0)
            made = done.reconstructions[0].detach().cpu()
            place.write(
                Photo(task.images[0].cpu()), made, latents, facts, model=self.model, spec=generator.spec, tuning=tuning
            )
        latents = place.latents(model=self.model).to(device)
        tuning = place.tuning(latents, model=self.model)
        latents.info.pop("tuning", None)  # Which goes along by itself.
        facts = place.facts()
        if not isinstance(facts.get("seconds"), int | float) or not isinstance(facts.get("megabytes"), float | None):
            raise CheckpointError(f"{place.path / place.FACTS} is damaged; delete {place.path}.")
        self.facts.append(facts)
        with torch.no_grad(), generator.tuned(tuning):
            return Inversion(latents, generator.synthesize(latents), tuning=[tuning])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time() if alone else time.perf_counter()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> float | None:
    """Megabytes that were taken at most: on a GPU of tensors, elsewhere of the process, as far as Linux tells."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / (1 << 20)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return None
