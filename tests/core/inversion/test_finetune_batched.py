"""Fine-tuning many photos at once: each ends where it would by itself."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ganenc.encoders import AdaptiveBlock, Encoder, build_encoder
from ganenc.inversion import Encode, Finetune, FinetuneRefine, Inversion, Optimize, StackedEncoder
from ganenc.models import model_hash
from ganenc.objectives import Loss, Objective
from ganenc_registry.errors import LatentsError, SpecError
from torch import Tensor
from toys import ToyConditional, make_objective, small_encoder


@pytest.fixture
def objective(tiny_backbone: Any) -> Objective:
    losses = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
    return make_objective(losses, "center", backbone=tiny_backbone, latent={"weight": 0.01})


def photos(n: int) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1


def check_alike(found: Inversion, wanted: Inversion, atol: float = 1e-4) -> None:
    """The two are the same to rounding: latents, pixels, and every term of every step."""
    assert set(found.latents.tensors) == set(wanted.latents.tensors)
    for name, tensor in wanted.latents.tensors.items():
        assert torch.allclose(found.latents[name], tensor, rtol=1e-4, atol=atol), name
    assert torch.allclose(found.reconstructions, wanted.reconstructions, rtol=1e-4, atol=atol)
    assert len(found.history) == len(wanted.history)
    for ours, theirs in zip(found.history, wanted.history):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs):
            assert one == pytest.approx(other, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"latent_loss": True},
        {"layers": "heads"},
        {"refine": 3},
        {"schedule": "constant", "betas": (0.0, 0.99)},
    ],
)
def test_at_once_each_photo_ends_where_it_would_by_itself(
    toy: Any, toy_encoder: Encoder, objective: Objective, options: dict[str, Any]
) -> None:
    """Five photos by two: the last one is left alone."""
    images, before = photos(5), model_hash(toy_encoder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = Finetune.of(steps=5, batch=2, **options).invert(images, toy, toy_encoder, objective=objective)
    wanted = Finetune.of(steps=5, batch=1, **options).invert(images, toy, toy_encoder, objective=objective)
    check_alike(found, wanted)
    assert not torch.allclose(wanted.latents["w"], Encode().invert(images, toy, toy_encoder).latents["w"], atol=1e-3)
    assert model_hash(toy_encoder) == before
    assert found.settings["batch"] == 2
    assert len(found.seconds) == 5
    assert found.seconds[0] == found.seconds[1] > 0


@pytest.mark.parametrize("spec", [{"noise": "none"}, {"residual": "sum", "blur": True}, {"equalized": False}])
def test_encoders_of_other_kinds_are_batched_too(toy: Any, objective: Objective, spec: dict[str, Any]) -> None:
    torch.manual_seed(5)
    encoder = build_encoder(toy, **spec)
    one, both = (
        Finetune.of(steps=4, batch=batch).invert(photos(2), toy, encoder, objective=objective) for batch in (1, 2)
    )
    check_alike(both, one)


@pytest.mark.parametrize("rows", [False, True])
def test_a_conditional_encoder_takes_each_photos_own_label(
    objective: Objective, monkeypatch: pytest.MonkeyPatch, rows: bool
) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    generator = ToyConditional().freeze()
    encoder, images, labels = small_encoder(generator), photos(3), torch.tensor([2, 0, 1])
    for block in encoder.blocks:
        block.norm_1.running_mean.normal_(generator=torch.Generator().manual_seed(3))
        block.norm_1.running_var.fill_(2.0)
    given = torch.eye(3)[labels] if rows else labels
    for options in ({}, {"latent_loss": True, "refine": 2}):
        one, three = (
            Finetune.of(steps=4, batch=batch, **options).invert(
                images, generator, encoder, labels=given, objective=objective
            )
            for batch in (1, 3)
        )
        check_alike(three, one)
    assert torch.equal(three.latents["c"], generator.embed(labels))
    with pytest.raises(LatentsError, match="give labels"):
        Finetune.of(steps=1, batch=3).invert(images, generator, encoder, objective=objective)
    with pytest.raises(LatentsError, match="Labels run from 0 to 2"):
        Finetune.of(steps=1, batch=3).invert(images, generator, encoder, labels=labels + 1, objective=objective)


def test_a_stack_encodes_as_its_copies_do_and_a_copys_gradient_is_its_own(toy: Any, toy_encoder: Encoder) -> None:
    images = photos(3)
    stack = StackedEncoder(toy_encoder.eval(), 3, toy.label_rows)
    assert {tuple(one.shape[1:]) for one in stack.parameters()} == {tuple(p.shape) for p in toy_encoder.parameters()}
    assert all(len(one) == 3 for one in stack.parameters())
    assert torch.allclose(stack(images)["w"], toy_encoder(images)["w"], atol=1e-5)
    stack(images)["w"][1].square().sum().backward()
    toy_encoder(images[1:2])["w"].square().sum().backward()
    for stacked, weight in zip(stack.parameters(), toy_encoder.parameters()):
        assert not stacked.grad[0].any()
        assert not stacked.grad[2].any()
        if weight.grad is not None:
            assert torch.allclose(stacked.grad[1], weight.grad, rtol=1e-3, atol=1e-5)


class Spoiling(Loss):
    """Mean square, but not a number from the second call on for images whose first pixel was marked."""

    def prepare(self, target_view: Tensor) -> Tensor:
        self.calls = 0
        return target_view

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        self.calls += 1
        error = (view - reference).square().flatten(1).mean(1)
        return torch.where((reference[:, 0, 0, 0] > 1) & (self.calls > 1), error * torch.nan, error)


def test_a_photo_that_breaks_off_harms_no_other_of_its_batch(toy: Any, toy_encoder: Encoder) -> None:
    objective = make_objective({"mse": 1.0}, "none")
    objective.losses["mse"] = Spoiling()
    images = photos(3)
    images[1, 0, 0, 0] = 2
    found = Finetune.of(steps=4, batch=3).invert(images, toy, toy_encoder, objective=objective)
    assert torch.allclose(found.reconstructions[1:2], toy.synthesize(toy_encoder(images[1:2])), atol=1e-5)
    whole = [0, 2]
    alone = Finetune.of(steps=4, batch=1).invert(images[whole], toy, toy_encoder, objective=objective)
    assert torch.allclose(found.latents["w"][whole], alone.latents["w"], atol=1e-4)
    assert torch.allclose(found.reconstructions[whole], alone.reconstructions, atol=1e-4)


def test_steps_are_reported_once_a_batch(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    calls: list[tuple[int, int, int]] = []
    terms: list[float] = []

    def on_step(photo: int, step: int, steps: int, values: Any) -> None:
        calls.append((photo, step, steps))
        terms.append(values["total"])

    method = FinetuneRefine.of(steps=14, share=0.2, batch=2)
    found = method.invert(photos(3), toy, toy_encoder, objective=objective, on_step=on_step)
    assert calls == [(first, step, 14) for first in (0, 2) for step in range(1, 15)]
    assert terms[9] == pytest.approx((found.history[0][9]["total"] + found.history[1][9]["total"]) / 2)
    assert [len(rows) for rows in found.history] == [14] * 3


def test_by_default_many_go_at_once_where_that_pays(
    toy: Any, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Finetune().at_once(toy, toy_encoder) == FinetuneRefine().at_once(toy, toy_encoder) == 8
    assert Finetune.of(batch=3).at_once(toy, toy_encoder) == FinetuneRefine.of(batch=3).at_once(toy, toy_encoder) == 3
    assert Finetune.of(together=True).at_once(toy, toy_encoder) == Finetune().at_once(toy, None) == 1
    assert Finetune().at_once(toy, toy_encoder.to("meta")) == 1
    assert (Optimize.of(batch=5).at_once(toy, None), Encode.of(batch=70).at_once(toy, None)) == (5, 70)

    weights = sum(p.numel() for p in toy_encoder.parameters())
    monkeypatch.setattr("ganenc.inversion.stacked.MOST_WEIGHTS", weights - 1)
    toy_encoder.to_empty(device="cpu")
    assert Finetune().at_once(toy, toy_encoder) == 1
    assert Finetune.of(layers="heads").at_once(toy, toy_encoder) == 8
    monkeypatch.setattr("ganenc.inversion.stacked.MOST_PIXELS", 63)
    assert Finetune.of(layers="heads").at_once(toy, toy_encoder) == 1


@pytest.mark.parametrize(
    ("size", "encoded", "optimised"),
    [((64, 64), 16, 16), ((256, 256), 16, 4), ((512, 256), 8, 2), ((1024, 1024), 1, 1), ((2048, 1024), 1, 1)],
)
def test_fewer_large_photos_go_at_once(size: tuple[int, int], encoded: int, optimised: int) -> None:
    toy: Any = SimpleNamespace(spec=SimpleNamespace(size=size))
    assert (Encode().at_once(toy, None), Optimize().at_once(toy, None)) == (encoded, optimised)


class Counted(torch.autograd.Function):
    """An operator that knows nothing of vmap."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class OwnBlock(AdaptiveBlock):
    """A block that cannot be batched over its weights."""

    def forward(self, x: Tensor, condition: Tensor | None) -> Any:
        return super().forward(Counted.apply(x), condition)


def test_blocks_that_cannot_be_batched_go_one_by_one_unless_asked(toy: Any, objective: Objective, known: Any) -> None:
    known.add_value("block", "own", OwnBlock)
    encoder = build_encoder(toy, block="own")
    found = Finetune.of(steps=2).invert(photos(2), toy, encoder, objective=objective)
    assert found.reconstructions.isfinite().all()
    with pytest.raises(SpecError, match=r"blocks \('own'\) cannot be batched over their weights; take batch=1"):
        Finetune.of(steps=2, batch=2).invert(photos(2), toy, encoder, objective=objective)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch: input should be greater than 0"),
        ({"batch": 2, "together": True}, "batch is 1 for photos that share an encoder"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Finetune.of(**options)
