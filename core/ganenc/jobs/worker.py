"""One batch of photos inverted; what fails in it is told apart from the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias, TypeVar

import torch
from ganenc_registry.components import speed_options
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import InvertSpec

from ganenc.files import is_out_of_memory
from ganenc.inversion import Photo, Readable, purpose_of
from ganenc.jobs.record import Todo
from ganenc.model import Model
from ganenc.models import model_hash
from ganenc.report import Inverted

Note: TypeAlias = Callable[[float, Mapping[str, float]], None]
"""Told how many photos of a batch are done, as a number with a fraction, and the terms of the objective."""
Read: TypeAlias = tuple[Todo, Photo | ImageError]
"""A photo as it was read, or why it could not be."""


class Labelled(Protocol):
    """What is to be inverted."""

    @property
    def label(self) -> int | None:
        """The class that it is said to have."""


L = TypeVar("L", bound=Labelled)
ROW = (
    "metrics", "metrics_of_the_mean_image", "seconds", "labels_from", "transform", "tuning", "one_pass", "far", "hint",
    "warning", "verdict", "found",
)  # fmt: skip
"""The facts of a photo that the index holds, where there are any."""


class Worker:
    """Inverts batches of photos, of these classes or found ones; what does not depend on the photo is made once.
    ``pages``: whether each gets a page and a picture of the attention. A SpecError if photos would share weights."""

    def __init__(self, model: Model, spec: InvertSpec, *, labels: Sequence[int] | str | None, pages: bool) -> None:
        self.model, self.spec, self.labels, self.pages = model, spec, labels, pages
        self.given = labels is not None and not isinstance(labels, str)
        self.objective = model.objective(spec.objective) if spec.seconds else None
        purpose = purpose_of(spec.operator) if spec.operator and spec.purpose == "both" else spec.purpose
        self.operator = [*spec.operator] or None
        self.method = model.plan(purpose, seconds=spec.seconds, method=spec.method, objective=self.objective)
        inverter = model.inverter(self.method)
        if inverter.shares:
            raise SpecError(
                "method: in a job no photo depends on the others, and here they would share what is trained: give them"
                " to `Model.invert` in Python together, or have `ganenc finetune` train an encoder for them."
            )
        self.inverter, self.speeds = inverter, speed_options(type(inverter.options))
        self.decides = set(self.method.options) - self.speeds
        self.together = self.size = inverter.at_once(model.generator, model.encoder)
        compares = model.needs_objective(self.method, labels, spec.candidates)
        self.objective = model.objective(spec.objective) if compares else None

    def settings(self) -> dict[str, Any]:
        """All that a photo's result depends on besides the photo and its label, as data."""
        model, method = self.model, self.method.to_mapping()
        options = {name: value for name, value in method["options"].items() if name in self.decides}
        if self.spec.seconds:  # As many steps as they are found to be; each photo's settings have them.
            options["steps"] = f"{self.spec.seconds:g} seconds"
        return {
            "model": model.hash,
            "encoder": None if model.encoder is None else model_hash(model.encoder),
            "method": {**method, "options": options},
            "backbone": model.backbone,
            "labels": "given" if self.given else self.labels,
            **self.spec.model_dump(mode="json", include={"objective", "candidates", "seed", "fit", "align"}),
            **({"operator": [one.to_mapping() for one in self.operator]} if self.operator else {}),
        }

    def ways(self) -> dict[str, Any]:
        """What the method leaves to the machine, as it comes out on this one: options that change how fast it goes, and
        results by rounding."""
        settled = self.inverter.settled(self.model.generator, self.model.encoder).options.to_mapping()
        before = self.inverter.options.to_mapping()
        return {name: settled[name] for name in sorted(self.speeds) if settled[name] != before[name]}

    def take(self, ways: Mapping[str, Any]) -> None:
        """Have the method go these ways, in what it leaves to the machine."""
        free, fields = self.inverter.options.to_mapping(), type(self.inverter.options).model_fields
        kept = {name: way for name, way in ways.items() if name in self.speeds and free[name] == fields[name].default}
        self.method = self.method.model_copy(update={"options": {**self.method.options, **kept}})

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

    def read(self, todo: Todo) -> Read:
        """A photo as the generator takes it, or what is wrong with it."""
        todo = todo.as_it_is()
        try:
            photo = self.photo(todo.photo, todo.label)
        except ImageError as error:
            return todo, error
        return todo, replace(photo, picture=None) if self.size > 1 else photo

    def photo(self, source: Readable, label: int | None) -> Photo:
        """A photo as the generator takes it; an ImageError if it cannot be read."""
        known = label is not None and self.spec.align is not None  # Aligners alone look at it.
        labels = torch.tensor([label], device=self.model.generator.device) if known else None
        return self.model.read(
            source, fit=self.spec.fit, align=self.spec.align, labels=labels, attention=self.spec.objective.attention,
            operator=self.operator,
        )  # fmt: skip

    def invert(self, batch: Sequence[tuple[L, Photo | ImageError]], note: Note) -> list[tuple[L, Any]]:
        """Invert a batch: each with what `each` gives, or why it could not be read or inverted. Where that fails, for a
        photo in it or for want of memory, its halves are tried."""
        done: list[tuple[L, Any]] = [(todo, photo) for todo, photo in batch if isinstance(photo, ImageError)]
        good = [(todo, photo) for todo, photo in batch if isinstance(photo, Photo)]
        if not good:
            return done
        try:
            return [*done, *self._inverted(good, note)]
        except ImageError as error:
            if len(good) == 1:
                return [*done, (good[0][0], error)]
        except Exception as error:
            if len(good) == 1 or not is_out_of_memory(error):
                raise
            self.size = len(good) // 2
        half = len(good) // 2
        return [*done, *self.invert(good[:half], note), *self.invert(good[half:], note)]

    def each(self, inverted: Inverted) -> Sequence[Any]:
        """What is kept of each photo of a batch: all that came of it."""
        _ = inverted.scores, inverted.mean_scores  # Of all photos at once.
        results = list(inverted)
        for one in results:  # Here, as writing has no turn at the device.
            _ = one.check, one.looks if self.pages else ()
        return results

    def _inverted(self, batch: Sequence[tuple[L, Photo]], note: Note) -> list[tuple[L, Any]]:
        def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            note(photo + min(self.together, len(batch) - photo) * step / max(steps, 1), terms)

        spec, (todo, photos) = self.spec, zip(*batch, strict=True)
        labels = [one.label for one in todo] if self.given else self.labels
        inverted = self.model.invert(
            photos, self.method, labels=labels, candidates=spec.candidates, objective=self.objective, align=spec.align,
            fit=spec.fit, operator=self.operator, seed=spec.seed, on_step=on_step,
        )  # fmt: skip
        return list(zip(todo, self.each(replace(inverted, others=self.pages)), strict=True))


def row_facts(inverted: Inverted) -> dict[str, Any]:
    """What the index says of a photo."""
    facts = inverted.facts()
    found = {name: facts[name] for name in ROW if facts.get(name) is not None}
    return found if facts["labels"] is None else {"label": facts["labels"][0], **found}
