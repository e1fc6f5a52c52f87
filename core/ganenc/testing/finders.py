"""The checks of a finder: directions of this generator that move its latents, the same again, all else left alone."""

from __future__ import annotations

from functools import cached_property

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError, WeightsMissingError

from ganenc.editing import Direction, Finder, Search
from ganenc.models import model_hash
from ganenc.objectives import context_for
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import expect_close, expect_unchanged, seeded, state_of, told
from ganenc.testing.examples import ExampleBackbone, ExampleGenerator, styled_spec
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "FinderCase"]

STEPS, DRAWS = 4, 160


class FinderCase:
    """A finder to check, on a small generator with styles, and a small classifier.

    Args:
        subject: its class, or a finder.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.generator = ExampleGenerator(styled_spec()).freeze()

    @cached_property
    def finder(self) -> Finder:
        """The finder, with few steps where steps are an option of its."""
        value = self.subject.resolve()
        finder = built(value, Finder, self.context)
        if value is finder or "steps" not in finder.Options.model_fields:
            return finder
        return type(finder).of(self.context, steps=STEPS)

    @property
    def context(self) -> Context:
        """What it is built for."""
        return context_for(ExampleBackbone().freeze(), self.generator.spec)

    @cached_property
    def found(self) -> list[Direction]:
        """What it finds, once for all checks."""
        return self.find()

    def find(self) -> list[Direction]:
        """What it finds.

        Raises:
            CheckSkipped: if it asks for what the example lacks.
        """
        try:
            return self.finder.find(Search(self.generator, n=DRAWS, seed=1))
        except (SpecError, WeightsMissingError) as error:
            skip(f"it asks for more than the example has: {error}")


def finds_directions(case: FinderCase) -> None:
    """It builds with its default options, and finds directions, each by a name of its own."""
    found = case.found
    fits = isinstance(found, list) and found and all(isinstance(one, Direction) for one in found)
    expect(fits, f"It gives {found!r:.80}, where a list of ganenc.Direction is expected, one at least.")
    names = [one.name for one in found]
    expect(len(set(names)) == len(names), f"Two of its directions are called alike, of {names}; number them.")


def directions_know_their_model(case: FinderCase) -> None:
    """They carry the hash of the generator, so that latents of another are refused."""
    wrong = [one.name for one in case.found if one.model != model_hash(case.generator)]
    expect(not wrong, f"The direction {wrong[:1]} is not of the generator; give it model=ganenc.model_hash(generator).")


def directions_move_its_images(case: FinderCase) -> None:
    """A step of one deviation along each changes what the generator makes of its own latents."""
    latents = case.generator.complete(case.generator.sample(2, seed=5))
    for one in case.found:
        try:
            moved = one.apply(latents, 1.0)
        except Exception as error:
            fail(f"{one.name} cannot move the generator's own latents: {told(error)}; find it in their space.")
        with torch.no_grad():
            change = (case.generator.synthesize(moved) - case.generator.synthesize(latents)).abs().max()
        expect(bool(change > 0), f"{one.name} changes no pixel; find ways that the generator reads.")


def same_seed_finds_the_same(case: FinderCase) -> None:
    """Directions depend on the seed of the search alone, not on torch's."""
    with seeded(9):
        again = {one.name: one for one in case.find()}
    for one in case.found:
        for part, way in one.tensors.items():
            same = again[one.name].tensors.get(part) if one.name in again else None
            expect(same is not None, f"{one.name} is not found again; name directions by what they are.")
            assert same is not None
            expect_close(same, way, f"{one.name} differs by {{by}} when found again; draw from search.seed")


def generator_stays_as_it_is(case: FinderCase) -> None:
    """Weights, modes and gradients of the generator stay as they are."""
    fresh = FinderCase(case.subject)
    before = state_of(fresh.generator)
    fresh.find()
    expect_unchanged(fresh.generator, before, "Finding")


CHECKS = (
    *declare("finder", finds_directions, gate=True),
    *declare(
        "finder",
        directions_know_their_model,
        directions_move_its_images,
        same_seed_finds_the_same,
        generator_stays_as_it_is,
    ),
)
