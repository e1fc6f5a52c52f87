"""Inverters: encoding, fine-tuning and the one call over them."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.inversion import (
    Best,
    Encode,
    Finetune,
    FinetuneRefine,
    Inversion,
    Inverter,
    Optimize,
    StepTerms,
    Task,
    Tune,
    invert,
)
from ganenc.latents import Latents
from ganenc.models import model_hash
from ganenc.objectives import Loss, Objective, build_objective
from ganenc_registry.errors import ImageError, LatentsError, PluginError, SpecError, UnknownNameError
from ganenc_registry.specs import ObjectiveSpec, Spec, Vector
from pydantic import create_model
from rounding import close
from torch import Tensor
from toys import ToyConditional, make_objective, small_encoder, toy_conditional_spec

LATENT = {"weight": 0.01}


@pytest.fixture
def objective(tiny_backbone: Any) -> Objective:
    losses = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
    return make_objective(losses, "center", backbone=tiny_backbone, latent=LATENT)


def photos(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1


def targets(toy: Any) -> Tensor:
    """Images within the generator's reach, away from its mean."""
    latents, center = toy.complete(toy.sample(2, seed=9)), toy.center().expand(2)
    images: Tensor = toy.synthesize(center.lerp(latents, 4.0))
    return images


def same_image(found: Tensor, wanted: Tensor) -> None:
    """The toy's images are the same to rounding: ten layers with those of the styles, of 4 x 3 x 3 terms."""
    close(found, wanted, terms=36, depth=10)


def check_whole(toy: Any, inversion: Inversion, steps: int) -> None:
    """What holds for every inversion: complete latents that give the reconstructions again, and a history."""
    count = len(inversion.reconstructions)
    for i, latents in enumerate(inversion.latents):
        same_image(toy.synthesize(latents)[0], inversion.reconstructions[i])
    assert "const" in inversion.latents
    assert not inversion.latents["w"].requires_grad
    assert not inversion.reconstructions.requires_grad
    assert len(inversion.history) == len(inversion.seconds) == count
    assert all([row["step"] for row in rows] == list(range(1, steps + 1)) for rows in inversion.history)
    assert all(math.isfinite(value) for rows in inversion.history for row in rows for value in row.values())
    assert all(spent > 0 for spent in inversion.seconds)


def test_encode_is_one_pass(toy: Any, toy_encoder: Encoder) -> None:
    images, before = photos(5), model_hash(toy_encoder)
    found = Encode.of(batch=2).invert(images, toy, toy_encoder)
    check_whole(toy, found, steps=0)
    close(found.latents["w"], toy_encoder(images)["w"].detach(), terms=36, depth=10)
    assert model_hash(toy_encoder) == before
    assert torch.equal(invert(images, toy, toy_encoder, method="encode").latents["w"][:2], found.latents["w"][:2])


METHODS = (
    {"name": "encode"},
    {"name": "optimize", "options": {"steps": 3, "rate": 0.05}},
    {"name": "finetune", "options": {"steps": 3, "batch": 2}},
    {"name": "finetune+refine", "options": {"steps": 4, "share": 0.5}},
    {"name": "tune", "options": {"steps": 2, "rate": 0.01}},
)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_dtypes_meet_in_every_method_as_in_float32(
    dtype: torch.dtype, method: Any, toy: Any, toy_encoder: Encoder, tiny_backbone: Any
) -> None:
    images, last = targets(toy), {}
    for generator, encoder, backbone in (
        (torch.float32, torch.float32, torch.float32),
        (dtype, torch.float32, torch.float32),
        (torch.float32, dtype, torch.float32),
        (dtype, dtype, torch.float64),
    ):
        parts = copy.deepcopy(toy).to(generator), copy.deepcopy(toy_encoder).to(encoder)
        losses = make_objective(
            {"mse": 5.0, "lpips": 2.0, "ssim": 1.0}, "center", backbone=copy.deepcopy(tiny_backbone).to(backbone)
        )
        found = invert(images.to(generator), *parts, method, objective=losses)
        assert found.reconstructions.dtype == generator
        rows = [one[-1]["total"] for one in found.history if one]
        last[generator, encoder, backbone] = rows or found.reconstructions.double().flatten().tolist()
    wanted = last.pop((torch.float32,) * 3)
    for found in last.values():
        # Rounding of weights and images, and what Adam makes of small gradients that it turns round.
        assert found == pytest.approx(wanted, abs=4 * torch.finfo(dtype).eps + 1e-3)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_every_method_works_where_gradients_are_off(context: Any, method: Any, tiny_backbone: Any) -> None:
    """All that goes in may have been made there, too."""
    spec = {"attention": "center", "losses": {"mse": 1.0, "lpips": 1.0}}

    def run() -> Inversion:
        generator = ToyConditional()
        images, rows = generator.synthesize(generator.sample(2, seed=1)), torch.eye(3)[:2]
        objective = build_objective(ObjectiveSpec.from_mapping(spec), generator, own_backbone=tiny_backbone)
        return invert(images, generator, small_encoder(generator), method, labels=rows, objective=objective)

    wanted = run()
    with context():
        found = run()
        assert not torch.is_grad_enabled()
    assert torch.equal(found.reconstructions, wanted.reconstructions)
    assert not found.latents["z"].is_inference()


def test_images_of_another_range_are_refused_and_arrays_taken(toy: Any, toy_encoder: Encoder) -> None:
    images = photos()
    for wrong in (127.5 + 127.5 * images, images * 1e3, images.numpy() * 255):
        with pytest.raises(ImageError, match=r"Images of toy are from -1 to 1; these hold .* Bring"):
            invert(wrong, toy, toy_encoder, "encode")
    with pytest.raises(ImageError, match="A tensor is wanted as images, where a str"):
        invert("photo.png", toy, toy_encoder, "encode")
    with pytest.raises(SpecError, match=r"seed is a whole number; not 1\.5"):
        invert(images, toy, toy_encoder, "encode", seed=1.5)
    found = invert(images.numpy(), toy, toy_encoder, "encode")
    assert torch.equal(found.reconstructions, invert(images, toy, toy_encoder, "encode").reconstructions)
    assert len(repr(found)) < 400


def test_finetune_lowers_the_loss_and_leaves_the_encoder_alone(
    toy: Any, toy_encoder: Encoder, objective: Objective
) -> None:
    images, before = targets(toy), model_hash(toy_encoder)
    frozen = [p.requires_grad_(False) for p in toy_encoder.parameters()]
    calls: list[tuple[int, int, int]] = []
    found = Finetune.of(steps=12, rate=0.02, latent_loss=True, batch=1).invert(
        images, toy, toy_encoder, objective=objective, on_step=lambda *args: calls.append(args[:3])
    )
    check_whole(toy, found, steps=12)
    for i, rows in enumerate(found.history):
        same_image(toy.synthesize(found.latents[i]), found.reconstructions[i : i + 1])
        best = objective(found.reconstructions[i : i + 1], objective.prepare(images[i : i + 1])).image.item()
        assert best < 0.95 * rows[0]["total"]
    assert model_hash(toy_encoder) == before
    assert not any(p.requires_grad or p.grad is not None for p in frozen)
    assert calls == [(photo, step, 12) for photo in (0, 1) for step in range(1, 13)]
    assert {"image/mse", "at1/lpips", "at2/ssim", "latent/w/cos", "total"} < set(found.history[0][0])
    assert found.settings | {"steps": 12, "rate": 0.02, "together": False} == found.settings


def test_the_same_twice_is_the_same(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    for method in (Finetune.of(steps=3, refine=2), Finetune.of(steps=3, together=True)):
        one, other = (method.invert(photos(), toy, toy_encoder, objective=objective, seed=4) for _ in range(2))
        assert torch.equal(one.latents["w"], other.latents["w"])
        assert torch.equal(one.reconstructions, other.reconstructions)
        assert one.history == other.history


def test_one_by_one_is_each_photo_alone(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images, method = photos(), Finetune.of(steps=4, batch=1)
    both = method.invert(images, toy, toy_encoder, objective=objective)
    for i in range(2):
        alone = method.invert(images[i : i + 1], toy, toy_encoder, objective=objective)
        assert torch.equal(alone.latents["w"], both.latents["w"][i : i + 1])
        assert torch.equal(alone.reconstructions, both.reconstructions[i : i + 1])
        assert alone.history[0] == both.history[i]


def test_together_one_encoder_serves_all(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images = photos(3)
    found = Finetune.of(steps=6, rate=0.02, together=True).invert(images, toy, toy_encoder, objective=objective)
    same_image(toy.synthesize(found.latents), found.reconstructions)
    assert [len(rows) for rows in found.history] == [6, 6, 6]
    first = sum(rows[0]["total"] for rows in found.history)
    assert sum(rows[-1]["total"] for rows in found.history) < first
    alone = Finetune.of(steps=6, rate=0.02).invert(images, toy, toy_encoder, objective=objective)
    assert not torch.allclose(alone.latents["w"], found.latents["w"])


def test_each_sample_ends_where_its_own_image_loss_was_lowest(toy: Any, toy_encoder: Encoder) -> None:
    objective = make_objective({"mse": 1.0}, "none")
    # A rate so high that the loss goes up and down.
    found = Finetune.of(steps=15, rate=0.6, schedule="constant", together=True).invert(
        photos(4), toy, toy_encoder, objective=objective
    )
    errors = (found.reconstructions - photos(4)).square().flatten(1).mean(1)
    lowest = torch.tensor([min(row["image/mse"] for row in rows) for rows in found.history])
    last = torch.tensor([rows[-1]["image/mse"] for rows in found.history])
    assert (errors <= lowest + 1e-6).all()
    assert (last > lowest + 1e-4).any()
    places = {min(rows, key=lambda row: row["image/mse"])["step"] for rows in found.history}
    assert len(places) > 1


def test_the_steps_are_those_of_adam_on_the_objective(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images, rate = photos(1), 0.01
    found = Finetune.of(steps=4, rate=rate, betas=(0.0, 0.99), schedule="constant").invert(
        images, toy, toy_encoder, objective=objective
    )
    adam = torch.optim.Adam(toy_encoder.requires_grad_(True).parameters(), lr=rate, betas=(0.0, 0.99))
    for row in found.history[0]:
        latents = toy_encoder(images)
        made = toy.synthesize(latents)
        result = objective(made, objective.prepare(images), latents=latents, latents_reference=toy_encoder(made))
        assert row["total"] == pytest.approx(result.total.item(), rel=1e-4)
        adam.zero_grad()
        result.total.backward()
        adam.step()


def test_refining_goes_on_from_the_encoder(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images = photos()
    calls: list[tuple[int, int, int]] = []
    plain = Finetune.of(steps=5, batch=1).invert(images, toy, toy_encoder, objective=objective)
    found = Finetune.of(steps=5, refine=7, batch=1).invert(
        images, toy, toy_encoder, objective=objective, on_step=lambda *args: calls.append(args[:3])
    )
    check_whole(toy, found, steps=12)
    assert found.history[0][:5] == plain.history[0]
    assert "latent/w/mse" not in found.history[0][5]
    assert calls == [(photo, step, 12) for photo in (0, 1) for step in range(1, 13)]
    for i in range(2):
        reference = objective.prepare(images[i : i + 1])
        before, after = (objective(one.reconstructions[i : i + 1], reference).image.item() for one in (plain, found))
        assert found.history[i][5]["total"] == pytest.approx(before, rel=1e-5)
        assert after < before


def test_the_second_pass_can_be_switched_off(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    found = Finetune.of(steps=1, latent_loss=False).invert(photos(), toy, toy_encoder, objective=objective)
    assert not any(name.startswith("latent/") for name in found.history[0][0])


def test_a_conditional_encoder_needs_and_uses_labels(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    generator = ToyConditional().freeze()
    encoder = small_encoder(generator)
    images = photos(2)
    for method in (Encode(), Finetune.of(steps=2)):
        with pytest.raises(LatentsError, match="give labels"):
            method.invert(images, generator, encoder, objective=objective)
        one, other = (
            method.invert(images, generator, encoder, labels=torch.tensor([0, label]), objective=objective)
            for label in (1, 2)
        )
        assert torch.equal(one.latents["z"][0], other.latents["z"][0])
        assert not torch.allclose(one.latents["z"][1], other.latents["z"][1])
        assert torch.equal(one.latents["truncation"], torch.full((2,), 0.5))
        assert torch.equal(one.latents["c"], generator.embed(torch.tensor([0, 1])))
        assert torch.allclose(one.reconstructions, generator.synthesize(one.latents), atol=1e-6)
    refined = Finetune.of(steps=2, refine=2).invert(
        images, generator, encoder, labels=torch.tensor([0, 1]), objective=objective
    )
    assert torch.equal(refined.latents["c"], generator.embed(torch.tensor([0, 1])))
    rows = torch.eye(3)[[0, 1]]
    found = Finetune.of(steps=1).invert(images, generator, encoder, labels=rows, objective=objective)
    assert found.reconstructions.shape == images.shape


class Spoiling(Loss):
    """Mean square, but not a number from the second call on for images whose first pixel was marked."""

    def prepare(self, target_view: Tensor) -> Tensor:
        self.calls = 0
        return target_view

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:
        self.calls += 1
        error = (view - reference).square().flatten(1).mean(1)
        spoiled = (reference[:, 0, 0, 0] > 1) & (self.calls > 1)
        return torch.where(spoiled, error * torch.nan, error)


def test_a_loss_that_breaks_off_leaves_the_best_before_it(toy: Any, toy_encoder: Encoder) -> None:
    objective = make_objective({"mse": 1.0}, "none")
    objective.losses["mse"] = Spoiling()
    images = photos()
    images[0, 0, 0, 0] = 2
    found = Finetune.of(steps=4, batch=1).invert(images, toy, toy_encoder, objective=objective)
    expected = toy.synthesize(toy_encoder(images[:1]))
    same_image(found.reconstructions[:1], expected.detach())
    assert found.reconstructions[1].isfinite().all()
    alone = Finetune.of(steps=4).invert(images[1:], toy, toy_encoder, objective=objective)
    assert torch.equal(alone.reconstructions[0], found.reconstructions[1])


def test_best_takes_no_loss_that_is_not_finite(toy: Any) -> None:
    best = Best(Task(photos(), toy))
    layout = (Vector(dim=1),)
    for value, loss in (
        (0.0, [math.nan, math.inf]),
        (1.0, [3.0, -math.inf]),
        (2.0, [math.inf, 2.0]),
        (3.0, [4.0, 2.5]),
    ):
        best.offer(Latents(layout, {"z": torch.full((2, 1), value)}), torch.tensor(loss))
    assert best.take()["z"].flatten().tolist() == [1.0, 2.0]
    hopeless = Best(Task(photos(), toy))
    hopeless.offer(Latents(layout, {"z": torch.zeros(2, 1)}), torch.tensor([1.0, math.inf]))
    with pytest.raises(ImageError, match="never had a finite loss"):
        hopeless.take()


def test_one_call_checks_what_it_is_given(toy: Any, toy_encoder: Encoder, known: Any) -> None:
    images = photos()
    with pytest.raises(ImageError, match=r"makes images \(N, 3, 8, 8\); these are \(2, 3, 8, 4\)"):
        invert(images[..., :4], toy, toy_encoder)
    for wrong in (images[0], images[:0]):
        with pytest.raises(ImageError, match=r"makes images \(N, 3, 8, 8\)"):
            invert(wrong, toy, toy_encoder)
    with pytest.raises(ImageError, match=r"floats from -1 to 1; these are torch\.uint8"):
        invert(images.to(torch.uint8), toy, toy_encoder)
    images[1, 0, 0, 0] = torch.nan
    with pytest.raises(ImageError, match=r"images \[1\] .* not finite"):
        invert(images, toy, toy_encoder)
    with pytest.raises(LatentsError, match="toy has no classes, so labels are of no use; leave them out"):
        invert(photos(), toy, toy_encoder, labels=torch.tensor([0, 0]))
    with pytest.raises(SpecError, match=r"layout: 'z'|no part 'z'"):
        invert(photos(), toy, build_encoder(toy_conditional_spec()))
    known.add_value("inverter", "none", Best)
    with pytest.raises(PluginError, match="has to be a subclass of Inverter"):
        invert(photos(), toy, toy_encoder, method="none")


@pytest.mark.parametrize("method", ["encode", "finetune"])
def test_without_an_encoder_it_says_where_to_get_one(toy: Any, objective: Objective, method: str) -> None:
    with pytest.raises(SpecError, match=f"method '{method}' needs an encoder; train one with `ganenc pretrain`"):
        invert(photos(), toy, None, method=method, objective=objective)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("finetune", {"step": 3}, r"method\.options\.step: .* \(did you mean 'steps'\?\)"),
        ("optimize", {"spaces": "w"}, r"method\.options\.spaces: .* \(did you mean 'space'\?\)"),
        ("encode", {"steps": 3}, r"method\.options\.steps: there is no such field; the fields here are batch"),
        ("finetune", {"steps": 0}, r"method\.options\.steps: input should be greater than 0 \(got 0\)"),
        ("finetune", {"schedule": "linear"}, r"'linear' is not allowed .*; it takes 'cosine' or 'constant'"),
        ("finetune", {"together": True, "batch": 2}, "batch is 1 for photos that share an encoder"),
        ("finetune+refine", {"share": 1.0}, r"method\.options\.share: input should be less than 1"),
        ("optimize", {"space": "w++"}, r"it takes 'z', 'w' or 'w\+'"),
        ("optimize", {"start": "mean"}, "'mean' is not allowed"),
        ("optimize", {"rate": 0.0}, r"method\.options\.rate: input should be greater than 0"),
    ],
)
def test_wrong_options_are_named(
    toy: Any, toy_encoder: Encoder, objective: Objective, method: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        invert(photos(), toy, toy_encoder, {"name": method, "options": options}, objective=objective)


def test_unknown_methods_are_named_and_own_ones_work(toy: Any, toy_encoder: Encoder, known: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"no inverter 'finetun' \(did you mean 'finetune'\?\)"):
        invert(photos(), toy, toy_encoder, method="finetun")

    class Own(Inverter):
        class Options(Spec):
            depth: int = 1

        def work(self, task: Task) -> Inversion:
            given.append((self.options.depth, task.seed, task.objective))
            return Inversion(task.generator.center().expand(len(task.images)), task.images)

    given: list[Any] = []
    known.add_value("inverter", "own", Own)
    objective = make_objective({"mse": 1.0}, "none")
    method = {"name": "own", "options": {"depth": 2}}
    found = invert(photos().double(), toy, method=method, objective=objective, seed=3)
    assert found.reconstructions.dtype == torch.float32
    assert given == 2 * [(2, 3, objective)], "photo by photo, as it does not say how many it takes at once"
    assert len(found.seconds) == len(found.history) == 2
    assert found.settings["method"] == method
    assert found.settings["seed"] == 3


@pytest.mark.parametrize(
    "method",
    [
        "encode",
        {"name": "finetune", "options": {"steps": 3, "latent_loss": True, "refine": 2}},
        {"name": "finetune+refine", "options": {"steps": 6, "share": 0.5}},
        {"name": "optimize", "options": {"steps": 3, "space": "z", "draws": 4}},
        {"name": "optimize", "options": {"steps": 3, "space": "w", "free": []}},
        None,
    ],
    ids=str,
)
@pytest.mark.parametrize("with_encoder", [True, False])
def test_the_settings_replay_an_inversion(
    toy: Any, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, method: Any, with_encoder: bool
) -> None:
    name = method if isinstance(method, str) else method["name"] if method else ""
    if not with_encoder and name not in ("optimize", ""):
        pytest.skip("needs an encoder")
    for kind in (FinetuneRefine, Optimize):  # The defaults, with fewer steps.
        fewer = create_model("Options", __base__=kind.Options, steps=(int, 4))
        monkeypatch.setattr(kind, "Options", fewer)
    encoder = toy_encoder if with_encoder else None
    spec = ObjectiveSpec(losses={"mse": 5.0, "ssim": 1.0}, attention="none")
    first = invert(photos(), toy, encoder, method, objective=spec, seed=6)
    settings = json.loads(json.dumps(first.settings))
    again = invert(photos(), toy, encoder, **settings)
    for part, tensor in first.latents.tensors.items():
        assert torch.equal(again.latents[part], tensor)
    assert again.settings == first.settings


def test_with_layers_heads_only_the_layers_that_end_in_latents_move(
    toy: Any, toy_encoder: Encoder, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[set[str]] = []
    one = Finetune._tuned

    def watched(self: Finetune, task: Task, encoder: Encoder) -> Inversion:
        done = one(self, task, encoder)
        state = toy_encoder.state_dict()
        moved.append({name for name, value in encoder.named_parameters() if not torch.equal(value, state[name])})
        return done

    monkeypatch.setattr(Finetune, "_tuned", watched)
    invert(targets(toy)[:1], toy, toy_encoder, objective=objective, method=Finetune.of(steps=3, layers="heads"))
    invert(targets(toy)[:1], toy, toy_encoder, objective=objective, method=Finetune.of(steps=3))
    heads, everything = moved
    assert heads
    assert all(".head_" in name or name.startswith("heads.") for name in heads)
    assert heads < everything
    assert any(name.startswith("blocks.0.conv") for name in everything - heads)


@pytest.mark.parametrize(
    "method",
    [
        Optimize.of(steps=50), Finetune.of(steps=50, refine=20), FinetuneRefine.of(steps=50), Tune.of(steps=50),
        Tune.of(pivot={"name": "optimize", "options": {"steps": 20}}),
    ],
    ids=["optimize", "finetune", "finetune+refine", "tune", "pivot"],
)  # fmt: skip
def test_who_looks_on_sees_each_step_and_may_end_it(
    toy: Any, toy_encoder: Encoder, objective: Objective, method: Inverter
) -> None:
    images, seen = photos(1), list[StepTerms]()

    def stop_at_three(photo: int, step: int, steps: int, terms: Any) -> bool:
        seen.append(terms)
        assert terms.images.shape == images.shape
        assert not terms.images.requires_grad
        return len(seen) >= 3

    found = method.invert(images, toy, toy_encoder, objective=objective, on_step=stop_at_three)
    assert 3 <= len(seen) == len(found.history[0]) <= 4, "of a second part one step is taken"
    assert [one["total"] for one in seen] == pytest.approx([row["total"] for row in found.history[0]])
    reference = objective.prepare(images)
    losses = [float(objective(one.images, reference).image) for one in seen]
    assert float(objective(found.reconstructions, reference).image) <= min(losses) + 1e-4
