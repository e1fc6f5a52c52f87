"""A recipe of a stranger's, with two networks and an optimiser for each: what the loop shares holds for it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import load_state
from ganenc.objectives import Batch
from ganenc.training import EncoderRecipe, Memory, pretrain
from ganenc_registry.errors import SpecError, TrainingError, UnknownNameError
from ganenc_registry.specs import Spec
from pydantic import Field
from runs import fresh, run_spec, same, weights
from torch import Tensor, nn
from torch.nn import functional as F


class Adversarial(EncoderRecipe):
    """The paper's step, and a critic that tells images from what is rebuilt of them."""

    class Options(Spec):
        weight: float = Field(0.1, ge=0, description="of what the critic says")
        every: int = Field(1, ge=1, description="steps between two of the critic's")

    averaged = ("encoder", "critic")

    def __init__(self, options: Any = None, context: Any = None) -> None:
        super().__init__(options, context)
        torch.manual_seed(0)
        kind = next(self.encoder.parameters()).dtype
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1)).to(kind)
        self.own("critic", self.critic, torch.optim.SGD(self.critic.parameters(), lr=0.05))
        self.turns = torch.zeros(())

    def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
        self.critic.requires_grad_(False)
        terms = update("encoder", self._fooling, batch)
        self.critic.requires_grad_(True)
        self.turns = self.turns + 1
        if self.turns % self.options.every:
            return terms
        judged = update("critic", self._telling, batch)
        return {**terms, "critic": judged["total"]}

    def _fooling(self, part: Batch) -> dict[str, Tensor]:
        self.encoder.train()
        outcome = self.encoder_step(part)
        assert outcome.reconstruction is not None
        fooled = F.softplus(-self.critic(outcome.reconstruction)).flatten()
        total = outcome.result.per_sample + self.options.weight * fooled
        return {**outcome.result.terms, "fooled": fooled, "total": total}

    def _telling(self, part: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            made = self.rebuild(part)
        return {"total": (F.softplus(-self.critic(part.images)) + F.softplus(self.critic(made))).flatten()}

    def state(self) -> dict[str, Any]:
        return {"turns": self.turns}

    def restore(self, state: Any) -> None:
        self.turns = state["turns"]


@pytest.fixture(autouse=True)
def registered(known: Any) -> None:
    known.add_value("recipe", "adversarial", Adversarial)


OPTIONS = {"recipe": {"name": "adversarial", "options": {"every": 2}}}


def test_both_networks_train_and_both_are_kept(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(**OPTIONS, optimiser={"average": 0.5}, saving={"log_every": 1})
    pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    first, last = (load_state(path) for path in sorted((tmp_path / "checkpoints").iterdir()))
    assert (first["recipe"]["turns"], last["recipe"]["turns"]) == (6.0, 8.0)
    for name in ("encoder", "critic"):
        assert not same(first["modules"][name], last["modules"][name])
        assert not same(last["averages"][name], {key: last["modules"][name][key] for key in last["averages"][name]})
        assert name in last["optimisers"]


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_a_run_with_two_optimisers_is_resumed_to_the_bit(toy: Any, toy_encoder: Encoder, stop: int) -> None:
    run = run_spec(**OPTIONS, optimiser={"average": 0.9, "schedule": "cosine", "warmup": 2}, saving={"log_every": 1})
    whole, parts = Memory(), Memory()
    pretrain(toy, run, whole, encoder=fresh(toy_encoder))

    def stopping(step: int, *_: Any) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(toy, run, parts, encoder=fresh(toy_encoder), on_step=stopping)
    pretrain(toy, run, parts, encoder=fresh(toy_encoder, other=stop > 3))
    assert same(parts.states[8], whole.states[8])
    assert parts.metrics() == whole.metrics()


def test_its_batches_go_in_parts_too(toy: Any, toy_encoder: Encoder) -> None:
    toy, toy_encoder = toy.double(), toy_encoder.double()
    ends = [
        pretrain(toy, run_spec(**OPTIONS, data={"batch": 4}, speed=speed), encoder=fresh(toy_encoder))
        for speed in ({}, {"micro_batch": 1})
    ]
    torch.testing.assert_close(weights(ends[1]), weights(ends[0]), rtol=1e-9, atol=1e-9)


def test_what_it_will_take_is_told_and_changes_nothing(toy: Any, toy_encoder: Encoder) -> None:
    told: list[str] = []
    memories = [Memory(), Memory()]
    for memory, on_start in zip(memories, (None, told.extend)):
        pretrain(toy, run_spec(**OPTIONS), memory, encoder=fresh(toy_encoder), on_start=on_start)
    assert "weights to train" in told[0]
    assert same(memories[0].states[8], memories[1].states[8])


def test_options_are_checked_and_another_recipe_is_told(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"recipe\.options\.evry: there is no such field \(did you mean 'every'"):
        pretrain(toy, run_spec(recipe={"name": "adversarial", "options": {"evry": 2}}), encoder=fresh(toy_encoder))
    with pytest.raises(UnknownNameError, match="did you mean 'adversarial'"):
        pretrain(toy, run_spec(recipe="adversarail"), encoder=fresh(toy_encoder))
    pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
    with pytest.raises(TrainingError, match="it differs in recipe"):
        pretrain(toy, run_spec(**OPTIONS), tmp_path, encoder=fresh(toy_encoder))
