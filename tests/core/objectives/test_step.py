"""One step of training: what gives the encoder a gradient, what takes none, and Equations 2, 3, 5 and 6 by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.objectives import Batch, EncoderStep, LatentTerm, Objective
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import LatentLoss
from torch import Tensor
from toys import ToyConditional, make_objective

LOSSES = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
MU = {"image": 1.0, "at1": 0.375, "at2": 0.625}
LATENT = {"weight": 0.01, "mse": 5.0, "cos": 3.0, "parts": {"w": 1.0, "const": 0.5}}


@pytest.fixture
def objective(tiny_backbone: Any) -> Objective:
    attention = {"name": "center", "options": {"weights": [MU["at1"], MU["at2"]]}}
    return make_objective(LOSSES, attention, backbone=tiny_backbone, latent=LATENT)


def synthesized(toy: Any) -> Batch:
    latents = toy.sample(2, seed=3)
    return Batch(toy.synthesize(latents), None, latents)


def photos() -> Batch:
    return Batch(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1)


def gradient(value: Tensor, encoder: Encoder, *, keep: bool = True) -> Tensor:
    """The gradient of a value on every weight of the encoder, as one vector."""
    found = torch.autograd.grad(value, list(encoder.parameters()), retain_graph=keep, allow_unused=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(encoder.parameters(), found)])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("view", MU)
def test_every_image_term_reaches_the_encoder(
    toy: Any, toy_encoder: Encoder, objective: Objective, view: str, loss: str
) -> None:
    outcome = EncoderStep(toy, toy_encoder, objective)(photos())
    found = gradient(outcome.result.terms[f"{view}/{loss}"].sum(), toy_encoder)
    assert found.isfinite().all()
    assert found.abs().sum() > 0


@pytest.mark.parametrize("batch", [synthesized, lambda toy: photos()], ids=["synthesized", "photos"])
@pytest.mark.parametrize("term", ["latent/w/mse", "latent/w/cos", "latent/const/mse", "latent/const/cos"])
def test_every_latent_term_reaches_the_encoder(
    toy: Any, toy_encoder: Encoder, objective: Objective, term: str, batch: Any
) -> None:
    # Where the constant starts at the generator's own, its cosine is at its minimum and has no slope.
    for head in toy_encoder.heads:
        head.offset.add_(0.3 * torch.linspace(-1, 1, head.offset.numel()).reshape(head.offset.shape))
    outcome = EncoderStep(toy, toy_encoder, objective)(batch(toy))
    found = gradient(outcome.result.terms[term].sum(), toy_encoder)
    assert found.isfinite().all()
    assert found.abs().sum() > 0


def test_frozen_networks_take_no_gradient(
    toy: Any, toy_encoder: Encoder, objective: Objective, tiny_backbone: Any
) -> None:
    toy.requires_grad_(True).train()
    EncoderStep(toy, toy_encoder, objective)(photos()).result.total.backward()
    for frozen in (toy, tiny_backbone, objective):
        assert not any(p.requires_grad or p.grad is not None for p in frozen.parameters())
    assert not toy.training
    assert not tiny_backbone.training
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in toy_encoder.parameters())


def test_the_total_is_that_of_equations_2_3_5_and_6(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    for batch in (synthesized(toy), photos()):
        outcome = EncoderStep(toy, toy_encoder, objective)(batch)
        terms = outcome.result.terms
        image = sum(mu * weight * terms[f"{view}/{loss}"] for view, mu in MU.items() for loss, weight in LOSSES.items())
        w = 5 * terms["latent/w/mse"] + 3 * terms["latent/w/cos"]
        const = 5 * terms["latent/const/mse"] + 3 * terms["latent/const/cos"]
        expected = image + 0.01 * (w + 0.5 * const)
        assert torch.allclose(outcome.result.per_sample, expected, rtol=1e-5, atol=1e-7)
        assert torch.allclose(outcome.result.image, torch.as_tensor(image), rtol=1e-5, atol=1e-7)
        assert torch.allclose(outcome.result.total, expected.mean(), rtol=1e-5)
        assert torch.equal(terms["total"], outcome.result.per_sample)
        assert len(terms) == 12 + 4 + 1


def test_synthesized_images_are_compared_with_their_true_latents(
    toy: Any, toy_encoder: Encoder, objective: Objective
) -> None:
    batch = synthesized(toy)
    outcome = EncoderStep(toy, toy_encoder, objective)(batch)
    assert batch.latents is not None
    for name, truth in (("w", batch.latents["w"]), ("const", toy.const.expand(2, -1, -1, -1))):
        difference = (outcome.latents[name] - truth).square().flatten(1).mean(1)
        assert torch.allclose(outcome.result.terms[f"latent/{name}/mse"], difference)
    assert outcome.reconstruction is not None
    assert torch.equal(outcome.reconstruction, toy.synthesize(outcome.latents))


def test_on_photos_the_latent_loss_has_a_gradient_on_both_sides(
    toy: Any, toy_encoder: Encoder, objective: Objective
) -> None:
    batch = photos()
    terms = EncoderStep(toy, toy_encoder, objective)(batch).result.terms
    both = gradient(terms["latent/w/mse"].sum(), toy_encoder)
    latents = toy_encoder(batch.images)
    again = toy_encoder(toy.synthesize(latents))
    one = gradient((latents["w"] - again["w"].detach()).square().flatten(1).mean(1).sum(), toy_encoder)
    other = gradient((latents["w"].detach() - again["w"]).square().flatten(1).mean(1).sum(), toy_encoder)
    assert one.abs().sum() > 0
    assert other.abs().sum() > 0
    assert torch.allclose(both, one + other, rtol=1e-4, atol=1e-6)


def test_the_second_pass_on_photos_can_be_switched_off(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    passes = []
    toy_encoder.register_forward_hook(lambda *args: passes.append(1))
    with_it = EncoderStep(toy, toy_encoder, objective)(photos()).result
    assert len(passes) == 2
    without = EncoderStep(toy, toy_encoder, objective, latent_on_photos=False)(photos()).result
    assert len(passes) == 3
    assert not any(name.startswith("latent/") for name in without.terms)
    assert torch.equal(without.per_sample, with_it.image)


def test_without_image_gradient_the_latent_loss_alone_trains(
    toy: Any, toy_encoder: Encoder, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = synthesized(toy)
    full = EncoderStep(toy, toy_encoder, objective)(batch)
    latent = full.result.per_sample - full.result.image
    expected = gradient(latent.mean(), toy_encoder)
    calls = []
    synthesize = toy.synthesize
    monkeypatch.setattr(toy, "synthesize", lambda *args, **kwargs: calls.append(1) or synthesize(*args, **kwargs))
    quiet = EncoderStep(toy, toy_encoder, objective, image_gradient=False)(batch)
    assert not calls
    assert quiet.reconstruction is None
    assert set(quiet.result.terms) == {*[name for name in full.result.terms if name.startswith("latent/")], "total"}
    assert torch.allclose(quiet.result.per_sample, latent, rtol=1e-3, atol=1e-6)
    assert torch.allclose(gradient(quiet.result.total, toy_encoder), expected, rtol=1e-3, atol=1e-7)
    logged = EncoderStep(toy, toy_encoder, objective, image_gradient=False, log_images=True)(batch)
    assert len(calls) == 1
    assert torch.equal(gradient(logged.result.total, toy_encoder), gradient(quiet.result.total, toy_encoder))
    assert set(logged.result.terms) == set(full.result.terms)
    assert not logged.result.terms["image/mse"].requires_grad
    assert torch.allclose(logged.result.terms["at2/lpips"], full.result.terms["at2/lpips"], atol=1e-6)
    assert torch.equal(logged.result.terms["total"], quiet.result.per_sample)


def test_without_image_gradient_there_must_be_something_to_learn_from(
    toy: Any, toy_encoder: Encoder, objective: Objective
) -> None:
    with pytest.raises(LatentsError, match="train it on synthesized images"):
        EncoderStep(toy, toy_encoder, objective, image_gradient=False)(photos())
    objective.latent = None
    with pytest.raises(LatentsError, match="with a latent loss"):
        EncoderStep(toy, toy_encoder, objective, image_gradient=False)(synthesized(toy))


def test_a_reference_at_hand_is_not_computed_again(
    toy: Any, toy_encoder: Encoder, objective: Objective, tiny_backbone: Any
) -> None:
    batch, step = photos(), EncoderStep(toy, toy_encoder, objective)
    reference = objective.prepare(batch.images)
    before = tiny_backbone.passes
    given = step(batch, reference)
    assert tiny_backbone.passes - before == 1
    assert torch.equal(given.result.per_sample, step(batch).result.per_sample)


@pytest.mark.parametrize("image_gradient", [True, False])
def test_an_image_is_rebuilt_under_its_own_setting(image_gradient: bool, objective: Objective) -> None:
    generator = ToyConditional().freeze()
    labels = torch.tensor([0, 2])
    latents = generator.sample(2, seed=3, labels=labels).replace(truncation=torch.tensor([0.9, 0.2]))
    encoder = build_encoder(generator).eval()
    objective.latent = LatentTerm(LatentLoss(**{**LATENT, "parts": None}))
    step = EncoderStep(generator, encoder, objective, image_gradient=image_gradient, log_images=True)
    outcome = step(Batch(generator.synthesize(latents), labels, latents))
    assert "truncation" not in outcome.latents
    whole = outcome.latents.replace(c=generator.embed(labels))
    for setting, alike in ((latents["truncation"], True), (torch.full((2,), 0.5), False)):
        rebuilt = generator.synthesize(whole.replace(truncation=setting))
        assert torch.allclose(outcome.reconstruction, rebuilt, atol=1e-6) is alike
