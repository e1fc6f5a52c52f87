"""As many steps as there is time for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, get_args

import torch
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Choice

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.defaults import Purpose, default_method
from ganenc.inversion.entry import Method, build_inverter, invert
from ganenc.inversion.newton import moving
from ganenc.objectives import Objective

FEW = 2
"""Steps of a method at least, which all methods with steps take."""
SEEN = 1.5
"""By so much more steps have to take longer than `FEW`, for what goes on around them not to hide what they cost."""
SHORT = 100
"""Steps below which tuning is so far behind latents alone that edits do not make up for it."""


def step_cost(spent: Callable[[int], float], seconds: float) -> tuple[float, float, bool]:
    """What a step costs and what goes on around them, of what takes ``spent(steps)`` seconds; and whether that was
    seen, or only that ``seconds`` are over before it could be."""
    spent(FEW)  # What is loaded on first use does not count.
    few, count = spent(FEW), 3 * FEW
    while (many := spent(count)) < SEEN * few and many < seconds:
        count *= 4
    step = (many - few) / (count - FEW) if many > few else many / count
    return step, max(0.0, few - FEW * step), many >= SEEN * few


def plan(
    generator: Generator,
    encoder: Encoder | None = None,
    method: Method | None = None,
    *,
    purpose: Purpose = "both",
    seconds: float | None = None,
    objective: Objective | None = None,
) -> Choice:
    """The method for a purpose, or one that is given, with as many steps as fill ``seconds`` a photo on this machine,
    by the time that a few of them take on a generated image.

    Where fewer steps fit than ``finetune+refine`` or ``tune`` needs to pay, it is ``newton`` towards the objective, or
    where that cannot be ``optimize``. SpecError if the method takes no steps, or there is no such purpose
    or time.
    """
    if purpose not in get_args(Purpose):
        raise SpecError(f"An inversion is for one of {', '.join(get_args(Purpose))}, not {purpose!r}.")
    if seconds is not None and not 0 < seconds < math.inf:
        raise SpecError(f"A photo takes a number of seconds above 0, not {seconds!r}.")
    choice = Choice.of(
        method if method is not None else default_method(encoder is not None, purpose, generator.spec.layout)
    )
    if seconds is None:
        return choice
    filled = _filled(choice, seconds, generator, encoder, objective)
    usual = type(build_inverter(choice, generator).options).model_fields["steps"].default
    needed = {"finetune+refine": usual, "tune": SHORT}.get(choice.name, 0)
    if method is None and purpose != "edit" and filled.options["steps"] < needed:
        sooner: Method = {"name": "newton", "options": {"objective": True}}
        sooner = sooner if encoder is not None and moving(generator) else "optimize"
        return _filled(Choice.of(sooner), seconds, generator, encoder, objective)
    return filled


def _filled(
    choice: Choice, seconds: float, generator: Generator, encoder: Encoder | None, objective: Objective | None
) -> Choice:
    if "steps" not in type(build_inverter(choice, generator).options).model_fields:
        raise SpecError(f"{choice.name!r} takes no steps that could fill {seconds:g} seconds; leave the seconds out.")
    latents = generator.sample(1, seed=0)
    with torch.no_grad():
        image = generator.synthesize(latents)
    labels = generator.draw_labels(1, seed=0)

    def spent(steps: int) -> float:
        given: dict[str, Any] = {"name": choice.name, "options": {**choice.options, "steps": steps}}
        started = time.perf_counter()
        invert(image, generator, encoder, given, labels=labels, objective=objective)
        return time.perf_counter() - started

    step, around, _ = step_cost(spent, seconds)
    steps = max(FEW, int((seconds - around) / max(step, 1e-9)))
    return choice.model_copy(update={"options": {**choice.options, "steps": steps}})
