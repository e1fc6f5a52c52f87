"""The generator's own weights by gradient, around a pivot: pivotal tuning (Roich et al., 2021). Not in the paper."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from ganenc_registry.components import Context, build
from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs import Choice, PositiveInt, Spec
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator, model_validator
from torch import Tensor
from typing_extensions import Self

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.descent import descend
from ganenc.inversion.graphs import Taken
from ganenc.inversion.inverter import Inversion, Inverter, OnStep, Task, as_names, by_size, need_encoder
from ganenc.inversion.moves import Moves
from ganenc.inversion.newton import moving
from ganenc.inversion.seeing import SeenObjective
from ganenc.latents import Latents
from ganenc.objectives import Reference

AT_ONCE = 1 << 16
"""So many pixels a step makes at once: of small images two cost little more than one, as most goes into the weights."""
WITHOUT_ENCODER = {"name": "optimize", "options": {"steps": 150}}
NEAR = {"name": "newton", "options": {"steps": 8, "near": 3.0}}
"""From where fewer steps do, and edits take as they do from the encoder's latents (benchmarks/results/editing.md)."""


class Tune(Inverter):
    """Finds a pivot by another method, and has a copy of the generator learn to make the photo of it; what its weights
    gained is the inversion's `tuning`.

    Beside a gradient step of the generator it takes memory for the tuned weights, their gradient and Adam's averages.
    """

    class Options(Spec):
        steps: PositiveInt = Field(200, description="steps on the weights, after those of the pivot")
        rate: PositiveFloat = Field(
            1.5e-3,
            description="learning rate at its height; it rises over the first twentieth, and falls along a cosine",
        )
        pivot: Choice | None = Field(
            None,
            description="the inverter that finds the latents; by default newton, held near the encoder's, or encode"
            " where images are large, or without an encoder 150 steps of optimize",
            json_schema_extra={"kind": "inverter"},
        )
        weights: tuple[str, ...] | None = Field(
            None, description="those that are tuned: names of parameters or of modules, or patterns (*); by default all"
        )
        edits: NonNegativeFloat = Field(
            0.35,
            description="how strongly images of moved latents are held to what the untuned generator makes of them,"
            " with what the photo has beyond the pivot's image where moving changes nothing (not in the paper of PTI)",
        )
        locality: NonNegativeFloat = Field(
            0.0, description="how strongly images of other latents are held to what the untuned generator makes"
        )
        samples: PositiveInt = Field(1, description="how many such images a step makes")
        alpha: PositiveFloat = Field(
            30.0, description="how far their latents are from the pivot, on the way to a draw and no further"
        )
        together: bool = Field(False, description="one tuning for all photos, instead of one each")
        half: bool = Field(False, description="round the tuning to half precision, which halves its file")

        _one_name = field_validator("weights", mode="before")(as_names)

        @model_validator(mode="after")
        def _used(self) -> Self:
            for name in ("samples", "alpha"):
                if not self.locality and getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is of no use without locality; leave it out")
            return self

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`. The generator that is given stays as it is."""
        done, generator, objective = self._pivot(task), task.generator, task.objective
        assert objective is not None
        reference = objective.prepare(task.images, labels=task.labels)
        through = objective if isinstance(objective, SeenObjective) else None
        kept = None if through is None else through.logs_of(task.images)
        with torch.no_grad():
            before = objective(done.reconstructions, reference).total
        moved, rows = self._moved(task, done.latents, reference, before=len(done.history[0]))
        done = replace(done, history=[first + then for first, then in zip(done.history, rows, strict=True)])
        with torch.no_grad(), generator.tuned(moved):
            made = generator.synthesize(done.latents)
            better = objective(made, reference).total < before
        if not moved or not better:
            if through is not None and kept is not None:
                through.settle(task.images, kept)
            told = f"{self.options.steps} steps of tuning brought the image no nearer to the photo; the pivot is kept."
            warnings.warn(f"{told} Take more steps, or a lower rate.", stacklevel=2)
            return done
        return replace(done, reconstructions=made, tuning=[moved] * len(made))

    def _moved(
        self, task: Task, pivots: Latents, reference: Reference, *, before: int
    ) -> tuple[dict[str, Tensor], list[list[dict[str, float]]]]:
        """By how much the weights of a copy move, empty where they end in NaN or infinity, and the history."""
        options, objective, own = self.options, task.objective, dict(task.generator.named_parameters())
        assert objective is not None
        tuned = copy.deepcopy(task.generator)
        tuned = tuned.to(torch.promote_types(tuned.dtype, torch.float32))  # Half would lose Adam's steps.
        names = self._names(tuned)
        weights = {name: one.requires_grad_() for name, one in tuned.named_parameters() if name in names}
        steps = itertools.count()
        holds: dict[str, Callable[[int], tuple[Latents, Reference]]] = {}
        if options.locality:
            holds["locality"] = partial(self._around, task, pivots)
        if options.edits:
            holds["edits"] = Moves(task, pivots)

        def draw() -> tuple[dict[str, tuple[Latents, Reference]]]:
            step = next(steps)
            return ({name: hold(step) for name, hold in holds.items()},)

        def take(held: dict[str, tuple[Latents, Reference]]) -> Taken:
            latents = [*(one for one, _ in held.values()), pivots]
            counts = [len(one) for one in latents]
            at_once = sum(counts) <= by_size(tuned, AT_ONCE)  # Else one graph at a time takes memory.
            made = iter(
                tuned.synthesize(Latents.cat(latents)).split(counts) if at_once else map(tuned.synthesize, latents)
            )
            terms, losses = {}, []
            for name, (_, known) in held.items():
                losses.append(getattr(options, name) * objective(next(made), known).total)
                terms[name] = losses[-1].detach().expand(len(pivots))
                if not at_once:
                    losses.pop().backward()
            result = objective(next(made), reference)
            return pivots, replace(result, terms={**result.terms, **terms}), sum(losses, result.total)

        _, history = descend(
            task, weights.values(), take, steps=options.steps, rate=options.rate, before=before, draw=draw, fixed=True,
            **self.going_down(),
        )  # fmt: skip
        rows = [[{**row, "step": row["step"] + before} for row in one] for one in history.per_sample()]
        found = {name: one.detach() - own[name] for name, one in weights.items()}
        found = {name: one.half() if options.half else one for name, one in found.items() if one.any()}
        return (found if all(one.isfinite().all() for one in found.values()) else {}), rows

    def going_down(self) -> dict[str, Any]:
        """What `descend` is told besides."""
        return {}

    @property
    def shares(self) -> bool:
        return bool(self.options.together)

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        """See :meth:`Inverter.settled`; a SpecError if the pivot lacks its encoder, or no weights are called so."""
        self._names(generator)
        usual: Any = "encode" if math.prod(generator.spec.size) > AT_ONCE or not moving(generator) else NEAR
        choice = self.options.pivot or Choice.of(WITHOUT_ENCODER if encoder is None else usual)
        pivot = _built(choice, self.context)
        if isinstance(pivot, Tune):
            raise SpecError(f"tune: {choice.name!r} tunes weights itself; take another pivot.")
        if pivot.needs_encoder:
            need_encoder(encoder, choice.name)
        found = pivot.settled(generator, encoder).options.to_mapping()
        options = self.options.model_copy(update={"pivot": choice.model_copy(update={"options": found})})
        return type(self)(options, self.context)

    def _pivot(self, task: Task) -> Inversion:
        """Where the tuning begins."""
        told: OnStep | None = task.on_step and (
            lambda photo, step, steps, terms: task.on_step(task.first + photo, step, steps + self.options.steps, terms)
        )
        done = _built(self.options.pivot, self.context).invert(
            task.images, task.generator, task.encoder, labels=task.labels, objective=task.objective, seed=task.seed,
            on_step=told,
        )  # fmt: skip
        if any(done.tuning):
            raise SpecError(f"tune: {self.options.pivot.name!r} tunes weights itself; take another pivot.")
        return done

    def _names(self, generator: Generator) -> set[str]:
        """The parameters that are tuned, by name; a SpecError if there are none of a name."""
        known = [name for name, _ in generator.named_parameters()]
        if not known:
            raise SpecError(f"{generator.spec.family} has no parameters to tune, but buffers at most; use 'optimize'.")
        chosen = set()
        for wanted in ("*",) if self.options.weights is None else self.options.weights:
            found = {name for name in known if fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}.*")}
            if not found:
                raise SpecError(f"tune: {generator.spec.family} has no weights {wanted!r}{nearest(wanted, known)}.")
            chosen |= found
        return chosen

    @torch.no_grad()
    def _around(self, task: Task, pivots: Latents, step: int) -> tuple[Latents, Reference]:
        """The regulariser of section 3.3: latents around a pivot (each in turn), and their untuned images to compare
        with."""
        options, generator, objective = self.options, task.generator, task.objective
        assert objective is not None
        at, count = step % len(pivots), options.samples
        labels = None if task.labels is None else task.labels[[at] * count]
        z = generator.draw(count, seed=task.seed, first=step * count)
        around = between(pivots[at].expand(count), generator.map(z, labels=labels), options.alpha)
        return around, objective.prepare(generator.synthesize(around), labels=labels)


@torch.no_grad()
def between(start: Latents, drawn: Latents, alpha: float) -> Latents:
    """Latents (N) that are ``alpha`` away from the start, each vector (of styles, in the quadratic mean), on the way to
    a draw and no further than it: w_p + alpha (w_z - w_p) / |w_z - w_p| (Roich et al., 2021, section 3.3)."""
    moved = {}
    for name, end in drawn.tensors.items():
        way = end - start[name]
        length = way.square().sum(-1).reshape(len(way), -1).mean(1).sqrt()
        moved[name] = start[name] + way * (alpha / length).clamp(max=1).reshape(-1, *[1] * (way.ndim - 1))
    return start.replace(**moved)


def _built(choice: Choice, context: Context) -> Inverter:
    return build("inverter", choice, Inverter, context, at="method.options.pivot")
