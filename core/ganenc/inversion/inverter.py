"""The contract of an inverter, and what the iterative ones share."""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch
from ganenc_registry.components import Component
from ganenc_registry.errors import SpecError
from torch import Tensor, nn
from typing_extensions import Self

from ganenc.encoders import Encoder
from ganenc.generators import Generator, Tuning, tuning_hash
from ganenc.inversion.seeing import Seen
from ganenc.latents import Latents
from ganenc.objectives import Objective

H = TypeVar("H")


class OnStep(Protocol):
    """What is called while an inverter works, after each step where it goes down a gradient (see `StepTerms`)."""

    def __call__(self, photo: int, step: int, steps: int, terms: Mapping[str, float]) -> bool | None:
        """``photo`` counts from 0, ``step`` from 1; ``terms`` are the terms of the objective, by name. As long as it
        gives True, what goes down a gradient takes no further step, and the best so far is the result."""


class StepTerms(Mapping[str, float]):
    """The terms of a step by name, averaged over the samples, brought to the host when they are looked at."""

    def __init__(self, names: Sequence[str], values: Tensor, images: Tensor | None) -> None:
        self._names, self._values = names, values
        self.images = images
        """What the step made of the photos, (N, C, H, W) in the generator's range."""

    @cached_property
    def _numbers(self) -> dict[str, float]:
        return dict(zip(self._names, self._values.mean(1).tolist()))

    def __getitem__(self, name: str) -> float:
        return self._numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return repr(self._numbers)


@dataclass(frozen=True)
class Inversion:
    """The result of an inversion."""

    latents: Latents
    """Of every photo, complete: they give the same pixels again, to rounding, of the weights as they were tuned."""
    reconstructions: Tensor = field(repr=False)
    """(N, C, H, W) in the generator's value range, not clamped."""
    history: list[list[dict[str, float]]] = field(default_factory=list, repr=False)
    """For each photo, for each step: ``step`` and every term of the objective by name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What replays it, as plain data: of an inverter its options as they came out; of `ganenc.invert` its arguments."""
    seconds: list[float] = field(default_factory=list)
    """The time that each photo took."""
    labels: Tensor | None = None
    """The classes that the photos were taken to be of: int64 (N,) or rows (N, classes); None where there are none."""
    labels_from: str | None = None
    """How these came: ``given``, ``predicted`` or ``searched``."""
    tuning: list[Tuning] = field(default_factory=list, repr=False)
    """For each photo, what `Generator.tuned` takes while its latents are used; empty where the weights stayed."""
    seen: Seen | None = field(default=None, repr=False)
    """What was seen of the photos, where that went through an operator, with what was found of it."""

    def sample(self, place: int) -> tuple[Latents, Tuning]:
        """The latents of one photo, which know the tuning that they go with, and that tuning."""
        tuning = self.tuning[place] if self.tuning else {}
        return _marked(self.latents[place], [tuning]), tuning


@dataclass(frozen=True)
class Task:
    """Photos to invert at once, and all that there is to do it by."""

    images: Tensor = field(repr=False)
    """(N, C, H, W) in ``generator.spec.value_range``, on the generator's device."""
    generator: Generator = field(repr=False)
    """Frozen."""
    encoder: Encoder | None = field(default=None, repr=False)
    """In eval mode; it has to stay as it is."""
    labels: Tensor | None = None
    """int64 (N,) or rows (N, classes), where they matter."""
    objective: Objective | None = field(default=None, repr=False)
    """What "close" means."""
    seed: int = 0
    """Of whatever is drawn."""
    on_step: OnStep | None = None
    first: int = 0
    """The place of the first photo, from 0."""

    def tell(self, step: int, steps: int, terms: Mapping[str, float]) -> bool:
        """Say how far it is: ``step`` counts from 1. Whether it is to stop there."""
        return self.on_step is not None and bool(self.on_step(self.first, step, steps, terms))

    def encoded(self) -> Latents:
        """One pass of the encoder: latents, complete; a SpecError if there is none."""
        encoder = need_encoder(self.encoder)
        return self.generator.complete(encoder(self.images, labels=self.labels), labels=self.labels)


class Inverter(Component, ABC):
    """A way from images to latents. A subclass says how some photos are inverted at once, in `work`."""

    needs_encoder: ClassVar[bool] = False
    """Whether it cannot do without one; it is told before it is called."""
    needs_objective: ClassVar[bool] = True
    """Whether it compares images; then it is always given an objective."""
    one_pass: ClassVar[bool] = False
    """Whether it is one pass of the encoder, and no more."""

    @abstractmethod
    def work(self, task: Task) -> Inversion:
        """Photos => latents, complete, their images, and the history if there is one."""

    @property
    def shares(self) -> bool:
        """Whether the photos of a call share what is trained, so that the result of one depends on the others."""
        return False

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """How many photos it works on at once where as many are given; more in a call gain nothing."""
        return 1

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        """The same, with every default as it comes out for this generator and encoder."""
        return self

    @torch.inference_mode(False)
    def invert(
        self,
        images: Tensor,
        generator: Generator,
        encoder: Encoder | None,
        *,
        labels: Tensor | None = None,
        objective: Objective | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """Images (N, C, H, W) => latents that rebuild them, as many at once as `at_once` says (see `Task`), by the
        frozen generator and the encoder in eval mode. Gradients are switched on, whatever the caller did."""
        images, labels, objective = able(images), able(labels), able(objective)
        generator, encoder = able(generator).freeze(), able(encoder)
        if encoder is not None:
            encoder.eval()
        chosen = self.settled(generator, encoder)
        size = len(images) if self.shares else self.at_once(generator, encoder)
        parts, seconds = [], []
        for first in range(0, len(images), size):
            started = time.perf_counter()
            some, given = images[first : first + size], None if labels is None else labels[first : first + size]
            part = chosen.work(Task(some, generator, encoder, given, objective, seed, on_step, first))
            parts.append(part)
            seconds += [(time.perf_counter() - started) / len(some)] * len(some)
        tuning = [one for part in parts for one in part.tuning or [{}] * len(part.latents)]
        return Inversion(
            _marked(Latents.cat([part.latents for part in parts]), tuning),
            torch.cat([part.reconstructions for part in parts]),
            [rows for part in parts for rows in part.history or [[] for _ in part.latents]],
            chosen.options.to_mapping(),
            seconds,
            tuning=tuning,
        )


def _marked(latents: Latents, tuning: Sequence[Tuning]) -> Latents:
    """The latents, with a note of the tuning that they go with; of several, of none that there is."""
    hashes = {tuning_hash(one) for one in {id(one): one for one in tuning}.values()}
    latents.info["tuning"] = hashes.pop() if len(hashes) == 1 else "several"
    if not latents.info["tuning"]:
        del latents.info["tuning"]
    return latents


def able(held: H) -> H:
    """What can take part in gradients: a tensor without its graph; of what was made in inference mode, a copy."""
    if isinstance(held, Tensor):
        return cast("H", held.detach().clone() if held.is_inference() else held.detach())
    inner = (*held.parameters(), *held.buffers()) if isinstance(held, nn.Module) else ()
    return copy.deepcopy(held) if any(tensor.is_inference() for tensor in inner) else held


def as_names(given: Any) -> Any:
    """One name as several, for an option that takes some."""
    return (given,) if isinstance(given, str) else given


def by_size(generator: Generator, pixels: int) -> int:
    """How many images make up so many pixels: 16 at the most, and one at least."""
    height, width = generator.spec.size
    return max(1, min(16, pixels // (height * width)))


def need_encoder(encoder: Encoder | None, method: str = "") -> Encoder:
    """The encoder, or a SpecError about where to get one."""
    if encoder is None:
        name = f"The method {method!r}" if method else "This method"
        raise SpecError(
            f"{name} needs an encoder; train one with `ganenc pretrain`, solve for one with `ganenc start`, or use"
            " 'optimize'."
        )
    return encoder
