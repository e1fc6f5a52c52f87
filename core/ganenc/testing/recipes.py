"""The checks of a recipe: a step moves what the recipe owns and nothing else, and a run of it is resumed to the bit."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from ganenc_registry.specs import RunSpec
from torch import Tensor, nn

from ganenc.encoders import build_encoder
from ganenc.objectives import MSE, Batch, LatentTerm, NoAttention, Objective, context_for
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import expect_unchanged, seeded, state_of
from ganenc.testing.examples import ExampleGenerator, styled_spec
from ganenc.testing.networks import small_network
from ganenc.testing.subjects import Subject, built
from ganenc.training import Losses, Memory, Recipe, RecipeContext, Synthesized, Trainer

__all__ = ["CHECKS", "RecipeCase"]

STEPS = 4
TOLERANCE = 1e-6


class RecipeCase:
    """A recipe to check, on a small generator in double precision.

    Args:
        subject: its class.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def recipe(self, **speed: Any) -> Recipe:
        """The recipe, with a new encoder; the same each time."""
        saving = {"checkpoint_every": STEPS // 2, "log_every": 1, "grid": 2, "trackers": ()}
        run = RunSpec(
            task="pretrain", steps=STEPS, data={"batch": 3}, speed=speed, saving=saving, optimiser={"average": 0.5}
        )
        subject = self.subject.resolve()
        fields = dict(getattr(subject, "encoder_fields", {}))
        with seeded():
            network = ExampleGenerator(styled_spec((8, 8))).double().freeze()
            if "network" in fields:
                fields["network"] = small_network(fields["network"])
            encoder = build_encoder(network, **fields).double()
            images = MSE(context=context_for(generator=network.spec))
            objective = Objective(NoAttention(), {"mse": (1.0, images)}, LatentTerm(run.objective.latent)).double()
            context = RecipeContext(
                generator=network.spec, network=network, encoder=encoder, objective=objective, run=run
            )
            return built(subject, Recipe, context)

    @cached_property
    def batch(self) -> Batch:
        """Images of the generator's, with their latents."""
        return Synthesized(self.recipe().context.network, 3, seed=1).batch(0)

    def train(self, memory: Memory, *, stop: int = 0, **speed: Any) -> nn.Module:
        """Carry out a run of a few steps, or go on with one, up to ``stop`` if that is given."""
        recipe = self.recipe(**speed)

        def on_step(step: int, *_: Any) -> None:
            if step == stop:
                raise KeyboardInterrupt

        with seeded():
            trainer = Trainer(recipe.context.run, memory, recipe, Synthesized(recipe.context.network, 3, seed=1))
            try:
                return trainer.train(on_step)
            except KeyboardInterrupt:
                return recipe.encoder


def apply(recipe: Recipe, batch: Batch) -> dict[str, Tensor]:
    """One step, as the loop does it."""

    def update(name: str, losses: Losses, part: Batch) -> dict[str, Tensor]:
        optimiser = recipe.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        terms = losses(part)
        wrong = [term for term, values in terms.items() if values.shape != (len(part),)]
        expect(not wrong, f"The term {wrong[:1]} of a loss has another shape than ({len(part)},); give one a sample.")
        expect("total" in terms, "The losses of an update have no term 'total', which is what is minimised; add it.")
        terms["total"].mean().backward()
        optimiser.step()
        return {term: values.detach().mean() for term, values in terms.items()}

    with seeded():
        return recipe.step(batch, update)


def builds_for_a_run(case: RecipeCase) -> None:
    """It is built for a run, and owns an optimiser for each module that it trains."""
    recipe = case.recipe()
    expect(recipe.optimisers, "It owns no optimiser, so nothing would be trained; call self.own() in __init__.")
    lost = [name for name in recipe.averaged if name not in recipe.modules]
    expect(not lost, f"An averaged copy of {lost[:1]} is asked for, and no such module is owned; call self.own().")


def terms_are_finite_and_named(case: RecipeCase) -> None:
    """A step gives finite scalars by name, ``total`` among them."""
    terms = apply(case.recipe(), case.batch)
    expect("total" in terms, f"A step tells {', '.join(terms) or 'nothing'}, and no 'total'; guards go by that.")
    wrong = [name for name, value in terms.items() if value.ndim or not bool(value.isfinite())]
    expect(not wrong, f"The term {wrong[:1]} is no finite scalar; tell what update() gives.")


def step_changes_only_what_it_owns(case: RecipeCase) -> None:
    """A step moves the weights of its modules, and neither the generator nor the objective."""
    recipe = case.recipe()
    frozen = {"the generator": recipe.context.network, "the objective": recipe.context.objective}
    before = {what: state_of(module) for what, module in frozen.items()}
    weights = {name: _weights(module) for name, module in recipe.modules.items()}
    for _ in range(2):
        apply(recipe, case.batch)
    for what, module in frozen.items():
        expect_unchanged(module, before[what], f"A step with {what}")
    still = [name for name, module in recipe.modules.items() if torch.equal(weights[name], _weights(module))]
    expect(not still, f"Two steps leave the weights of {still[:1]} as they are; hand its losses to update().")


def nothing_moves_without_updates(case: RecipeCase) -> None:
    """What moves weights is ``update`` alone: it may be a step that is tried, or one in parts."""
    recipe = case.recipe()

    def tried(name: str, losses: Losses, part: Batch) -> dict[str, Tensor]:
        return {term: values.detach().mean() for term, values in losses(part).items()}

    before = {name: _weights(module) for name, module in recipe.modules.items()}
    recipe.step(case.batch, tried)
    moved = [name for name, module in recipe.modules.items() if not torch.equal(before[name], _weights(module))]
    expect(not moved, f"A step moves {moved[:1]} by itself; leave backward and optimisers to update().")


def state_round_trips_to_the_bit(case: RecipeCase) -> None:
    """A run that was stopped goes on to the same weights, averages and state, bit for bit."""
    whole, parts = Memory(), Memory()
    case.train(whole)
    case.train(parts, stop=STEPS // 2 + 1)
    case.train(parts)
    differing = [name for name, state in whole.states[STEPS].items() if not _same(state, parts.states[STEPS][name])]
    if differing:
        fail(f"A run that was resumed ends with other {differing[0]}; own() all modules, and tell the rest by state().")


def batches_go_in_parts(case: RecipeCase) -> None:
    """Images one at a time train the same weights, to rounding."""
    if case.recipe().encoder.gathers:
        skip("Its encoder has norms that take the statistics of a batch.")
    whole, parts = case.train(Memory()), case.train(Memory(), micro_batch=1)
    by = float((_weights(whole) - _weights(parts)).abs().max())
    expect(by <= TOLERANCE, f"Images one at a time end {by:.3g} away; let the losses of a sample know no other sample.")


def rebuilds_images(case: RecipeCase) -> None:
    """It gives images of the size of its targets, for the grids of a run."""
    recipe = case.recipe()
    with torch.no_grad():
        made = recipe.rebuild(case.batch)
    wanted = tuple(case.batch.images.shape)
    expect(tuple(made.shape) == wanted, f"Rebuilt images have shape {tuple(made.shape)}, where {wanted} is expected.")


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().double() for parameter in module.parameters()])


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


CHECKS = (
    *declare("recipe", builds_for_a_run, gate=True),
    *declare(
        "recipe",
        terms_are_finite_and_named,
        step_changes_only_what_it_owns,
        nothing_moves_without_updates,
        state_round_trips_to_the_bit,
        batches_go_in_parts,
        rebuilds_images,
    ),
)
