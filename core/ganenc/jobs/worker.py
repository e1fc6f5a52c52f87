"""One batch of photos inverted; what fails in it is told apart from the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import Choice, InvertSpec

from ganenc.files import is_out_of_memory
from ganenc.inversion import Photo, default_method, must_find
from ganenc.jobs.record import State, Todo
from ganenc.model import Model
from ganenc.models import model_hash
from ganenc.report import Inverted

__all__ = ["Failed", "Note", "Read", "Result", "Worker"]

Note: TypeAlias = Callable[[float, Mapping[str, float]], None]
"""Told how many photos of a batch are done, as a number with a fraction, and the terms of the objective."""
ROW = (
    "metrics", "metrics_of_the_mean_image", "seconds", "labels_from", "transform", "one_pass", "far", "hint", "warning",
    "verdict",
)  # fmt: skip
"""The facts of a photo that the index holds, where there are any."""


@dataclass(frozen=True)
class Read:
    """A photo that was read."""

    todo: Todo
    state: State
    """That the file had before."""
    photo: Photo = field(repr=False)


@dataclass(frozen=True)
class Failed:
    """A photo that could not be read or inverted, and why."""

    todo: Todo
    state: State
    error: str


@dataclass(frozen=True)
class Result:
    """A photo, inverted."""

    todo: Todo
    state: State
    inverted: Inverted
    pages: bool

    def facts(self) -> dict[str, Any]:
        """What the index says of it."""
        facts = self.inverted.facts()
        labels = facts["labels"]
        return {
            **({} if labels is None else {"label": labels[0]}),
            **{name: facts[name] for name in ROW if facts.get(name) is not None},
        }

    def write(self, out: Path) -> None:
        """Write what the photo leaves."""
        self.inverted.save(out / self.todo.name, pages=self.pages)


class Worker:
    """Inverts batches of photos; what does not depend on the photo is made once.

    Args:
        model: what they are inverted with.
        spec: how.
        labels: their classes, or the way to find them.
        pages: whether each photo gets a page, and a picture of what the attention saw.
    """

    def __init__(self, model: Model, spec: InvertSpec, *, labels: Sequence[int] | str | None, pages: bool) -> None:
        self.model, self.spec, self.pages = model, spec, pages
        self.labels = labels if labels is None or isinstance(labels, str) else "given"
        self.way = None if self.labels == "given" else self.labels
        self.method = spec.method or Choice(name=default_method(model.encoder is not None))
        if self.method.options.get("together"):
            raise SpecError(
                "method.options.together: in a job each photo has an encoder of its own; for one that photos share,"
                " fine-tune it with `ganenc finetune`, and invert with the method encode and that encoder."
            )
        inverter = model.inverter(self.method)  # A wrong option is told before any work.
        self.together = self.size = inverter.at_once(model.generator, model.encoder)
        finds = self.labels != "given" and must_find(model.generator, model.encoder, self.way, spec.candidates)
        self.objective = model.objective(spec.objective) if finds or inverter.needs_objective else None
        model.aligner(spec.align, spec.objective.attention)

    def settings(self) -> dict[str, Any]:
        """All that a photo's result depends on besides the photo and its label, as data."""
        model, spec = self.model, self.spec
        decides = spec.model_dump(mode="json", include={"objective", "candidates", "seed", "fit", "align"})
        method = self.method.to_mapping()
        method["options"].pop("batch", None)
        return {
            "model": model.hash,
            "encoder": None if model.encoder is None else model_hash(model.encoder),
            "method": method,
            "backbone": model.backbone,
            "labels": self.labels,
            **decides,
        }

    def facts(self) -> dict[str, Any]:
        """What is true of all photos."""
        model, align = self.model, self.spec.align
        return {
            "model": model.source,
            "model_hash": model.hash,
            "method": self.method.name,
            "align": "none" if align is None else align.name,
            "metric_settings": {name: one.words(model.mean_image) for name, one in model.metrics().items()},
        }

    def read(self, todo: Todo) -> Read | Failed:
        """A photo as the generator takes it, or what is wrong with it."""
        state, spec = todo.state(), self.spec
        labels = None if todo.label is None else torch.tensor([todo.label], device=self.model.generator.device)
        try:
            photo = self.model.read(
                todo.photo, fit=spec.fit, align=spec.align, labels=labels, attention=spec.objective.attention
            )
        except ImageError as error:
            return Failed(todo, state, str(error))
        return Read(todo, state, replace(photo, picture=None) if self.size > 1 else photo)

    def invert(self, batch: Sequence[Read], note: Note) -> list[Result | Failed]:
        """Invert a batch. Where that fails, for a photo in it or for want of memory, its halves are tried."""
        try:
            return [*self._inverted(batch, note)]
        except ImageError as error:
            if len(batch) == 1:
                return [Failed(batch[0].todo, batch[0].state, str(error))]
        except Exception as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
            self.size = len(batch) // 2
        half = len(batch) // 2
        return [*self.invert(batch[:half], note), *self.invert(batch[half:], note)]

    def _inverted(self, batch: Sequence[Read], note: Note) -> list[Result]:
        def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            note(photo + min(self.together, len(batch) - photo) * step / max(steps, 1), terms)

        spec = self.spec
        given = [one.todo.label for one in batch if one.todo.label is not None]
        done = self.model.invert(
            [one.photo for one in batch], self.method, labels=given if self.labels == "given" else self.way,
            candidates=spec.candidates, objective=self.objective, align=spec.align, fit=spec.fit, seed=spec.seed,
            on_step=on_step,
        )  # fmt: skip
        done = replace(done, others=self.pages)
        _ = done.scores, done.mean_scores  # Of all photos at once.
        results = [Result(one.todo, one.state, each, self.pages) for one, each in zip(batch, done, strict=True)]
        for one in results:
            _ = (
                one.inverted.check,
                one.inverted.looks if self.pages else (),
            )  # Here, as writing has no turn at the device.
        return results
