"""Latents by quasi-Newton steps (Nocedal, 1980) from the encoder's. Not in the paper."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import PositiveInt, Spec, Styles, Vector
from pydantic import Field, NonNegativeFloat
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.inverter import Inversion, Inverter, StepTerms, Task, by_size
from ganenc.inversion.optimize import best_draws
from ganenc.inversion.seeing import SeenObjective
from ganenc.latents import Latents

AT_ONCE = 1 << 18
"""Pixels."""
DRAWS, PROBES = 8, 64
"""Draws that it is learnt from how images answer to latents, and gradients on small images, all told."""
PROBED = 1 << 18
"""Pixels that such gradients are taken of, where images are large."""
RANK, DAMPED = 32, 1 / 48
"""Directions that are told apart, and what they are damped by, as a part of the strongest's curvature."""
KEPT = 20
"""Steps that the curvature is learnt from."""
SURE = 4
"""What is unknown of an operator moves after such a part of the steps: of images that are far off it goes astray."""
PACE = 0.1
"""Of logarithms of what is unknown of an operator, over which it is learnt how what is seen answers to them."""


class Newton(Inverter):
    """Moves the encoder's latents, or without one the best draw's, by L-BFGS, by default on the squared error of pixels
    (of those that were seen, where there is an operator), which begins with the curvature that images of the
    generator's draws have on average: each step costs one gradient, of the generator alone, and the best is kept.
    Styles and vectors move, and what is unknown of an operator; all else stays as it was."""

    needs_encoder, needs_objective = True, False

    class Options(Spec):
        steps: PositiveInt = Field(5, description="steps; a gradient is taken in each, and one before")
        near: NonNegativeFloat = Field(
            0.0,
            description="how strongly latents are held to where they begin: times the mean square of how far they went,"
            " in the deviation of the generator's own, it adds to the mean squared error",
        )
        objective: bool = Field(False, description="compare as the objective does, not by the squared error of pixels")
        start: Literal["encoder", "draws"] = Field(
            "encoder", description="draws: the best of some, which takes no encoder"
        )
        draws: PositiveInt = Field(300, description="how many draws the best is of")
        space: Literal["w", "w+"] | None = Field(
            None, description="w is one style for all layers; by default w+ where there are styles"
        )
        batch: PositiveInt | None = Field(
            None,
            description="photos at a time; by default 16 of up to 128x128 pixels, and fewer larger ones",
            json_schema_extra={"speed": True},
        )

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        vars(self).update(needs_objective=self.options.objective, needs_encoder=self.options.start == "encoder")

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return self.options.batch or by_size(generator, AT_ONCE)

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        """See :meth:`Inverter.settled`; a LatentsError if nothing could move, or the generator has no such space."""
        if not moving(generator):
            raise LatentsError(f"{generator.spec.family} has neither styles nor vectors to move; use 'optimize'.")
        if self.options.space and not any(isinstance(part, Styles) for part in generator.spec.layout):
            raise LatentsError(f"{generator.spec.family} has no styles, so there is no space; leave it out.")
        return self

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`; the seed is of the draws."""
        generator, options, tied = task.generator, self.options, self.options.space == "w"
        with torch.no_grad():
            start = task.encoded() if options.start == "encoder" else _drawn(task, options.draws)
            start = start.tie() if tied else start
        answer = _answer(generator, tied)
        begin = answer.sought.flat(start).to(answer.axes)
        count = begin.shape[1]
        low, high = generator.spec.value_range
        near = options.near * task.images[0].numel() / count * (high - low) ** 2 / 4
        objective = task.objective if options.objective else None
        reference = objective and objective.prepare(task.images, labels=task.labels)
        weights = torch.ones_like(begin[:, 0])
        through = task.objective if isinstance(task.objective, SeenObjective) else None
        wanted = task.images if through is None else through.seen_of(task.images)
        share = task.images[0].numel() / wanted[0].numel()
        logs = begin[:, :0] if through is None else through.logs_of(task.images).to(begin)
        curved = _Curvature(replace(answer, axes=F.pad(answer.axes, (0, logs.shape[1]))), near)
        units = torch.ones_like(logs)
        if through is not None and logs.shape[1]:
            with torch.no_grad():
                first = generator.synthesize(answer.sought.placed(start, begin))
                units = (1 + share * _bends(through, task.images, first, logs) / curved.damped).rsqrt()
        held = F.pad(begin.new_full((count,), near), (0, logs.shape[1]))

        def look(moved: Tensor, *, weigh: bool = False) -> _Point:
            moved = moved.detach().requires_grad_()
            made = generator.synthesize(answer.sought.placed(start, begin + moved[:, :count]))
            there = through and through.at(task.images, logs + units * moved[:, count:])
            squares = ((there.through(made, task.images) if there else made) - wanted).square().flatten(1)
            loss, terms = share * squares.sum(1), dict.fromkeys(("image/mse", "total"), squares.detach().mean(1))
            if objective is not None and reference is not None:
                result = (there or objective)(made, reference)
                lengths = [torch.autograd.grad(one.sum(), moved, retain_graph=True)[0].norm(dim=1)
                           for one in (loss, result.per_sample) if weigh]  # fmt: skip
                if weigh:  # So that it is about as steep as the squares are, whose curvature is known.
                    weights.copy_(lengths[0] / lengths[1].clamp(min=1e-12))
                loss, terms = weights * result.per_sample, dict(result.terms)
            (loss / 2).sum().backward()
            slope = moved.grad
            assert slope is not None
            moved = moved.detach()
            loss = loss.detach() + (held * moved.square()).sum(1)
            names.extend(terms if weigh else ())
            return _Point(moved, loss, slope + held * moved, made.detach(), torch.stack([*terms.values()], 1).detach())

        names: list[str] = []
        best, found = look(F.pad(torch.zeros_like(begin), (0, logs.shape[1])), weigh=True), []
        scale = torch.ones_like(best.loss)
        for step in range(1, options.steps + 1):
            free = F.pad(torch.ones_like(begin), (0, logs.shape[1]), value=float(step > options.steps // SURE))
            tried = look(best.moved - scale[:, None] * free * curved.solve(free * best.slope).nan_to_num(0, 0, 0))
            curved.learn(tried.moved - best.moved, tried.slope - best.slope)
            better = tried.loss < best.loss  # Not where it is NaN.
            best = tried.where(better, best)
            scale = torch.where(better, 1.0, scale / 2)
            found.append(best.terms)
            if task.tell(step, options.steps, StepTerms(names, best.terms.T, best.made)):
                break
        history = [
            [{"step": float(step), **dict(zip(names, row))} for step, row in enumerate(one, 1)]
            for one in torch.stack(found, 1).tolist()
        ]
        if through is not None:
            through.settle(task.images, logs + units * best.moved[:, count:])
        return Inversion(answer.sought.placed(start, begin + best.moved[:, :count]), best.made, history)


@dataclass(frozen=True)
class _Point:
    """Where the search has been, photo by photo."""

    moved: Tensor
    """(N, D + P), of latents, in units of the generator's own deviations, and of what is unknown of operators."""
    loss: Tensor
    slope: Tensor
    """Half the loss's gradient."""
    made: Tensor
    terms: Tensor
    """(N, terms), of what is compared."""

    def where(self, here: Tensor, other: _Point) -> _Point:
        """This, where it is true of a photo, or the other."""
        pairs = ((mine, getattr(other, name)) for name, mine in vars(self).items())
        return _Point(*(torch.where(here.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs))


@dataclass(frozen=True)
class _Sought:
    """What moves of latents, as rows."""

    units: dict[str, float]
    """By name, how far the generator's own latents deviate."""
    tied: bool
    """Whether styles are one for all layers, of which the first moves the others."""

    def flat(self, latents: Latents) -> Tensor:
        """(N, D), in units of its deviations; in float32 at least."""
        flat = torch.cat([one.detach().flatten(1) / self.units[name] for name, one in self._few(latents).items()], 1)
        return flat.to(torch.promote_types(flat.dtype, torch.float32))

    def placed(self, latents: Latents, flat: Tensor) -> Latents:
        """Latents with what moves at (N, D)."""
        few = self._few(latents)
        parts = flat.split([one[0].numel() for one in few.values()], 1)
        return latents.replace(
            **{
                name: (part * self.units[name]).reshape(one.shape).to(one).expand_as(latents[name])
                for (name, one), part in zip(few.items(), parts, strict=True)
            }
        )

    def _few(self, latents: Latents) -> dict[str, Tensor]:
        styles = {part.name for part in latents.layout if self.tied and isinstance(part, Styles)}
        return {name: latents[name][:, :1] if name in styles else latents[name] for name in self.units}


@dataclass(frozen=True)
class _Answer:
    """How images answer to latents."""

    sought: _Sought
    axes: Tensor
    """(K, D), the directions in which images change the most."""
    curvature: Tensor
    """(K,), the squared change of all values of the image."""


@dataclass
class _Curvature:
    """The inverse of the loss's curvature, as L-BFGS has it: by the steps that were taken, around what is known of all
    images."""

    answer: _Answer
    near: float
    steps: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @cached_property
    def damped(self) -> float:
        """The curvature along what nothing is known of."""
        return max(self.near, float(self.answer.curvature[0]) * DAMPED)

    def learn(self, step: Tensor, bent: Tensor) -> None:
        """A step (N, D) changed the slope by so much. What bends the wrong way, or not at all, is no use."""
        product = (step * bent).sum(1, keepdim=True)
        share = torch.where(product > 1e-12, 1 / product, 0.0)
        bent = torch.where(share > 0, bent, 0.0)  # It may be NaN.
        self.steps = [*self.steps, (step, bent, share)][-KEPT:]

    def solve(self, slope: Tensor) -> Tensor:
        """The inverse, times slopes (N, D): the two loops of Nocedal and Wright (2006), Algorithm 7.4."""
        shares = []
        for step, bent, share in reversed(self.steps):
            shares.append(share * (step * slope).sum(1, keepdim=True))
            slope = slope - shares[-1] * bent
        along = self.damped / (self.answer.curvature + self.damped) - 1
        slope = (slope + (slope @ self.answer.axes.T * along) @ self.answer.axes) / self.damped
        for (step, bent, share), first in zip(self.steps, reversed(shares), strict=True):
            slope = slope + step * (first - share * (bent * slope).sum(1, keepdim=True))
        return slope


_answers: WeakKeyDictionary[Generator, dict[bool, _Answer]] = WeakKeyDictionary()


def _answer(generator: Generator, tied: bool) -> _Answer:
    """Learnt once of a generator: J^T J of its draws, by gradients of images along noise, whose covariance it is."""
    known, dtype = _answers.setdefault(generator, {}), torch.promote_types(generator.dtype, torch.float32)
    found = known.get(tied)
    if found is None or (found.axes.device, found.axes.dtype) != (generator.device, dtype):
        labels = generator.draw_labels(DRAWS, seed=0)
        latents = generator.complete(generator.sample(DRAWS, seed=0, labels=labels), labels=labels)
        sought = _Sought({name: float(latents[name].std()) or 1.0 for name in moving(generator)}, tied)
        count = max(1, min(PROBES, PROBED // math.prod(generator.spec.size)) // DRAWS)
        slopes = []
        for one in latents if count == 1 else [latents]:
            still = sought.flat(one).requires_grad_()
            made = generator.synthesize(sought.placed(one, still))
            noise = torch.Generator().manual_seed(0)
            for turn in range(count):
                along = torch.randn(made.shape, generator=noise).to(made)
                (slope,) = torch.autograd.grad((made * along).sum(), still, retain_graph=turn + 1 < count)
                slopes.append(slope)
        every = torch.cat(slopes)
        _, strengths, axes = torch.linalg.svd(every.float() / math.sqrt(len(every)), full_matrices=False)
        found = _Answer(sought, axes[:RANK].to(dtype), strengths[:RANK].square().to(dtype))
        known[tied] = found
    return found


def _bends(through: SeenObjective, guesses: Tensor, made: Tensor, logs: Tensor) -> Tensor:
    """(N, P), the squared change of all values that are seen of images, by differences along each logarithm."""
    still, bends = through.at(guesses, logs).through(made, guesses), []
    for aside in PACE * torch.eye(logs.shape[1]).to(logs):
        change = (through.at(guesses, logs + aside).through(made, guesses) - still) / PACE
        bends.append(change.square().flatten(1).sum(1))
    return torch.stack(bends, 1)


def moving(generator: Generator) -> list[str]:
    """The parts of its latents that move, by name."""
    return [part.name for part in generator.spec.layout if isinstance(part, Styles | Vector)]


@torch.no_grad()
def _drawn(task: Task, draws: int) -> Latents:
    """For each photo the best of some draws, complete."""
    z = best_draws(task, draws, 1)[:, 0]
    drawn = task.generator.complete(task.generator.map(z, labels=task.labels), labels=task.labels)
    return Latents(drawn.layout, drawn.tensors)
