"""Small runs for the tests of training. Tests import them as ``runs``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.objectives import Batch, build_objective
from ganenc.training import EncoderRecipe, RecipeContext, RunFolder, Synthesized, Trainer
from ganenc_registry.specs import RunSpec, merge
from torch import Tensor

__all__ = ["Watched", "fresh", "recipe", "run_spec", "same", "trainer", "weights"]


def run_spec(**fields: Any) -> RunSpec:
    """A run of eight steps on synthesized images, without a backbone."""
    base = {
        "task": "pretrain",
        "objective": {"losses": {"mse": 5.0, "cos": 3.0}},
        "data": {"batch": 2},
        "steps": 8,
        "saving": {"checkpoint_every": 3, "log_every": 2, "grid_every": 4, "grid": 3},
    }
    return RunSpec.from_mapping(merge(base, fields))


def weights(encoder: Encoder) -> Tensor:
    """Every weight of an encoder, as one vector."""
    return torch.cat([p.detach().flatten().clone() for p in encoder.parameters()])


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal, to the bit, the type and the order of keys."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def fresh(encoder: Encoder, *, other: bool = False) -> Encoder:
    """A copy, or one with other weights, which a resumed run must not see."""
    made = copy.deepcopy(encoder)
    if other:
        for weight in made.parameters():
            weight.data.normal_()
    return made


class Watched:
    """A source that keeps what the encoder was when it was asked, and spoils some batches."""

    def __init__(self, source: Any, encoder: Encoder, spoil: Callable[[int], bool] = lambda step: False) -> None:
        self.source, self.encoder, self.spoil = source, encoder, spoil
        self.before: dict[int, Tensor] = {}

    def batch(self, step: int) -> Batch:
        """The batch of a step; its images are no numbers where it is spoiled. Only the first look at a step counts."""
        batch: Batch = self.source.batch(step)
        if step not in self.before:
            self.before[step] = weights(self.encoder)
        if self.spoil(step):
            return Batch(batch.images * torch.nan, batch.labels, batch.latents)
        return batch


def recipe(run: RunSpec, generator: Generator, encoder: Encoder) -> EncoderRecipe:
    """The recipe of a run."""
    objective = build_objective(run.objective, generator)
    context = RecipeContext(generator.spec, network=generator, encoder=encoder, objective=objective, run=run)
    return EncoderRecipe(None, context)


def trainer(
    run: RunSpec,
    folder: Path,
    generator: Generator,
    encoder: Encoder,
    spoil: Callable[[int], bool] = lambda step: False,
) -> tuple[Trainer, Watched]:
    """A trainer of a copy of the encoder, and its source."""
    encoder = copy.deepcopy(encoder)
    source = Watched(Synthesized(generator, run.batch_at(8), seed=run.seed, samples=run.data.samples), encoder, spoil)
    return Trainer(run, RunFolder(folder), recipe(run, generator, encoder), source), source
