"""Latents by gradient (Abdal et al., 2019): the inversion without an encoder, also from an encoder's start."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from ganenc_registry.errors import LatentsError, SpecError, nearest
from ganenc_registry.specs import Condition, Map, ObjectiveSpec, Styles, Vector
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.inverter import Best, History, Inversion, Inverter, OnStep, by_size
from ganenc.latents import Latents
from ganenc.objectives import Objective, build_objective, make_adam

__all__ = ["Optimize", "cosine_rate", "optimise_latents"]

REPORT_EVERY = 10
AT_ONCE = 1 << 18
"""Pixels."""
_PRIOR = "z of the prior"
"""Names what a mapping network turns into latents, where it is optimised itself."""


class Optimize(Inverter):
    """Adam on the latents themselves.

    Args:
        steps: steps in all, for all photos together.
        rate: learning rate at its height; it rises over the first twentieth and falls along a cosine.
        space: ``z``, ``w`` (one style for all layers) or ``w+``; by default ``w+`` where there are styles.
        free: maps, such as the constant, and conditions that are optimised as well: by default all maps, with ``()``
            none. A condition that is not freed stays the embedded label.
        start: ``encoder``, ``center`` (the mean latents, of a photo's class where it is given) or ``draws`` (the best
            of some draws of z). By default the encoder where there is one; without one, z starts at the best draw and w
            at the centre. The space z of a generator with styles, which no encoder gives, always starts at the best
            draw.
        batch: how many photos go through at once; by default 16 of up to 128x128 pixels, and fewer larger ones.
        draws: how many draws that is.
    """

    def __init__(
        self,
        steps: int = 500,
        rate: float = 0.1,
        *,
        space: Literal["z", "w", "w+"] | None = None,
        free: Sequence[str] | None = None,
        start: Literal["encoder", "center", "draws"] | None = None,
        batch: int | None = None,
        draws: int = 100,
    ) -> None:
        if steps < 1 or rate <= 0 or (batch is not None and batch < 1) or draws < 1:
            raise SpecError("optimize: steps, rate, batch and draws are above 0.")
        if space not in (None, "z", "w", "w+"):
            raise SpecError(f"optimize: the space is 'z', 'w' or 'w+', not {space!r}.")
        if start not in (None, "encoder", "center", "draws"):
            raise SpecError(f"optimize: the start is 'encoder', 'center' or 'draws', not {start!r}.")
        self.steps, self.rate, self.space = steps, rate, space
        self.free = None if free is None else (free,) if isinstance(free, str) else tuple(free)
        self.start, self.batch, self.draws = start, batch, draws

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
        """See :meth:`Inverter.invert`."""
        generator.freeze()
        objective = objective or build_objective(ObjectiveSpec(), generator)
        found, made, history, seconds = [], [], [], []
        size = self.at_once(generator, encoder)
        for first in range(0, len(images), size):
            started = time.perf_counter()
            some = images[first : first + size]
            given = None if labels is None else labels[first : first + size]
            variables = self._variables(some, generator, encoder, given, seed)
            outcome = optimise_latents(
                some,
                generator,
                variables,
                objective,
                steps=self.steps,
                rate=self.rate,
                first_photo=first,
                on_step=on_step,
            )
            found.append(outcome.latents)
            made.append(outcome.reconstructions)
            history += outcome.history
            seconds += [(time.perf_counter() - started) / len(some)] * len(some)
        settings = {"method": "optimize", "steps": self.steps, "rate": self.rate, "free": list(self._free(generator))}
        settings |= {"space": self._space(generator), "start": self._starts_at(generator, encoder)}
        return Inversion(Latents.cat(found), torch.cat(made), history, settings, seconds)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`."""
        return self.batch or by_size(generator, AT_ONCE)

    def _space(self, generator: Generator) -> str:
        styled = _styled(generator)
        if self.space in ("w", "w+") and not styled:
            raise LatentsError(f"{generator.spec.family} has no styles, so there is no space {self.space!r}; use 'z'.")
        return self.space or ("w+" if styled else "z")

    def _free(self, generator: Generator) -> tuple[str, ...]:
        """The maps and conditions that are optimised."""
        maps = tuple(part.name for part in generator.spec.layout if isinstance(part, Map))
        known = [*maps, *(part.name for part in generator.spec.layout if isinstance(part, Condition))]
        for name in self.free or ():
            if name not in known:
                raise LatentsError(
                    f"There is no map or condition {name!r} to free{nearest(name, known)}; there are {known}."
                )
        return maps if self.free is None else self.free

    def _variables(
        self, images: Tensor, generator: Generator, encoder: Encoder | None, labels: Tensor | None, seed: int
    ) -> Variables:
        space, place = self._space(generator), self._starts_at(generator, encoder)
        free = self._free(generator)
        start = self._start(images, generator, encoder if place == "encoder" else None, labels, place == "center")
        if place == "draws":
            z = self._best_draw(images, generator, labels, seed)
            with torch.no_grad():
                drawn = generator.map(z, labels=labels)
            if space == "z" and _styled(generator):
                tensors = {name: start[name] for name in free}
                return Variables(generator, start, _tied_space(drawn), {**tensors, _PRIOR: z}, labels)
            start = start.replace(**drawn.tensors)
        tensors = {name: start[name] for name in free}
        for part in generator.spec.layout:
            if isinstance(part, Styles):
                tensors[part.name] = start[part.name].mean(1, keepdim=True) if space == "w" else start[part.name]
            elif isinstance(part, Vector):
                tensors[part.name] = start[part.name]
        return Variables(generator, start, space, tensors, labels)

    def _starts_at(self, generator: Generator, encoder: Encoder | None) -> str:
        if self.start == "encoder" and encoder is None:
            raise SpecError("optimize: start 'encoder' needs an encoder; give one, or start at 'center'.")
        if self._space(generator) == "z" and _styled(generator):
            return "draws"
        return self.start or ("encoder" if encoder else "center" if _styled(generator) else "draws")

    @torch.no_grad()
    def _start(
        self, images: Tensor, generator: Generator, encoder: Encoder | None, labels: Tensor | None, by_class: bool
    ) -> Latents:
        if encoder is not None:
            start, free = encoder.eval()(images, labels=labels), self._free(generator)
            fixed = [part.name for part in generator.spec.layout if isinstance(part, Map) and part.name not in free]
            center = generator.center().expand(len(images)) if fixed else start
            start = start.replace(**{name: center[name] for name in fixed})
        elif by_class and labels is not None:
            start = generator.center(labels=labels)
        else:
            start = generator.center().expand(len(images))
        return generator.complete(start, labels=labels)

    @torch.no_grad()
    def _best_draw(self, images: Tensor, generator: Generator, labels: Tensor | None, seed: int) -> Tensor:
        """For each photo the one of some draws of z whose image is nearest in mean square: (N, dim)."""
        draws, size = generator.draw(self.draws, seed=seed), self.at_once(generator, None)
        errors = images.new_empty(len(images), self.draws)
        alike: dict[str, list[int]] = {}  # Photos of one label are compared with the same images.
        for i in range(len(images)):
            alike.setdefault("" if labels is None else str(labels[i].tolist()), []).append(i)
        for photos in alike.values():
            for first in range(0, self.draws, size):
                some = draws[first : first + size]
                given = None if labels is None else labels[photos[:1]].expand(len(some), *labels.shape[1:])
                made = generator.synthesize(generator.map(some, labels=given))
                for i in photos:
                    errors[i, first : first + len(some)] = (made - images[i]).square().flatten(1).mean(1)
        return draws[errors.argmin(1)]


@dataclass
class Variables:
    """What is optimised, and how it becomes latents."""

    generator: Generator
    start: Latents
    space: str
    """Of the latents; ``w`` for a z that a mapping network turns into one style for all layers."""
    tensors: dict[str, Tensor]
    labels: Tensor | None = None

    def latents(self) -> Latents:
        """The latents that the variables stand for, complete."""
        tensors = dict(self.tensors)
        if _PRIOR in tensors:
            tensors |= self.generator.map(tensors.pop(_PRIOR), labels=self.labels).tensors | tensors
            latents = self.generator.complete(self.start.replace(**tensors))
        else:
            expanded = {name: tensor.expand_as(self.start[name]) for name, tensor in tensors.items()}
            latents = self.start.replace(**expanded)
        return Latents(latents.layout, latents.tensors, space=self.space)


def optimise_latents(
    images: Tensor,
    generator: Generator,
    variables: Variables,
    objective: Objective,
    *,
    steps: int,
    rate: float,
    first_photo: int = 0,
    on_step: OnStep | None = None,
) -> Inversion:
    """Adam on the variables; each sample ends at the step where its own loss was lowest.

    The samples do not touch one another: Adam works element by element, and the loss is their sum.
    """
    reference = objective.prepare(images, labels=variables.labels)
    for name, tensor in variables.tensors.items():  # In half precision, Adam's steps would be lost.
        dtype = torch.promote_types(tensor.dtype, torch.float32)
        variables.tensors[name] = tensor.detach().to(dtype, copy=True).requires_grad_()
    adam = make_adam(variables.tensors.values(), rate, (0.9, 0.99))
    best, history = Best(), History()
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = rate * cosine_rate(step, steps)
        latents = variables.latents()
        result = objective(generator.synthesize(latents), reference)
        best.offer(latents, result.per_sample)
        history.add(result)
        adam.zero_grad(set_to_none=True)
        result.per_sample.sum().backward()
        adam.step()
        if on_step and ((step + 1) % REPORT_EVERY == 0 or step + 1 == steps):
            on_step(first_photo, step + 1, steps, history.latest())
    with torch.no_grad():
        latents = variables.latents()
        best.offer(latents, objective(generator.synthesize(latents), reference).per_sample)
        found = best.found
        return Inversion(found, generator.synthesize(found), history.per_sample())


def _styled(generator: Generator) -> bool:
    return any(isinstance(part, Styles) for part in generator.spec.layout)


def _tied_space(drawn: Latents) -> str:
    """The space of latents that a mapping network gives: ``w`` where all layers share one style."""
    styles = [drawn[part.name] for part in drawn.layout if isinstance(part, Styles)]
    return "w" if all(torch.equal(one, one[:, :1].expand_as(one)) for one in styles) else "w+"


def cosine_rate(step: int, steps: int, warmup: float = 0.05) -> float:
    """The share of the full rate at a step: it rises over the first ``warmup`` of all steps, then falls to 0."""
    rise = max(1.0, warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))
