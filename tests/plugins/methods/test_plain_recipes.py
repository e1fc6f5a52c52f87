"""The recipes of pSp, ReStyle and E2Style: against what their steps come to by hand, and resumed to the bit."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.files import load_state
from ganenc.objectives import Batch, build_objective, context_for
from ganenc.training import Memory, Recipe, RecipeContext, Synthesized, pretrain
from ganenc_plugin_methods.perceptual import Identity
from ganenc_registry import registry
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import RunSpec
from runs import fresh, run_spec, same
from torch import Tensor
from toys import ColourBackbone, ToyGenerator, toy_spec

SMALL = {"trunk": "blocks", "widths": [4, 4, 4, 8]}
NETWORKS: dict[str, dict[str, Any]] = {"psp": {}, "restyle": {"passes": 3}, "e2style": {"stages": 3}}


def toy() -> ToyGenerator:
    return ToyGenerator(toy_spec((8, 8), dim=4)).freeze()


def encoder_of(generator: ToyGenerator, name: str, **options: Any) -> Encoder:
    torch.manual_seed(3)
    return build_encoder(generator, network={"name": name, "options": {**SMALL, **NETWORKS[name], **options}})


def recipe_of(name: str, generator: ToyGenerator, encoder: Encoder, run: RunSpec) -> Any:
    context = RecipeContext(
        generator.spec, network=generator, encoder=encoder, objective=build_objective(run.objective, generator), run=run
    )
    made: Any = registry().resolve("recipe", name).of(context, **run.recipe.options)
    assert isinstance(made, Recipe)
    return made


def batch_of(generator: ToyGenerator) -> Batch:
    return Synthesized(generator, 2, seed=7).batch(0)


@pytest.mark.parametrize("name", [*NETWORKS, "riddle"])
def test_a_run_is_resumed_to_the_bit(name: str) -> None:
    generator = toy()
    encoder = encoder_of(generator, name) if name in NETWORKS else build_encoder(generator)
    run = run_spec(recipe=name, optimiser={"average": 0.9, "warmup": 2}, saving={"log_every": 1, "grid": 1})
    whole, parts = Memory(), Memory()
    pretrain(generator, run, whole, encoder=fresh(encoder))

    def stopping(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(generator, run, parts, encoder=fresh(encoder), on_step=stopping)
    pretrain(generator, run, parts, encoder=fresh(encoder, other=name in NETWORKS))
    assert same(parts.states[8], whole.states[8])
    assert parts.metrics() == whole.metrics()


def test_psp_holds_latents_near_the_start() -> None:
    generator = toy()
    encoder, batch = encoder_of(generator, "psp"), batch_of(generator)
    terms = {}
    for weight in (0.0, 2.0):
        run = run_spec(recipe={"name": "psp", "options": {"w_norm": weight}})
        terms[weight] = recipe_of("psp", generator, encoder.eval(), run).losses(batch)
    w = encoder(batch.images)["w"] - generator.center()["w"]
    norm = w.square().sum((1, 2)).sqrt()
    torch.testing.assert_close(terms[2.0]["w_norm"], norm)
    torch.testing.assert_close(terms[2.0]["total"], terms[0.0]["total"] + 2 * norm)


def test_restyle_adds_up_its_passes_each_with_a_gradient_of_its_own() -> None:
    """By hand: every pass by itself, from latents and a reconstruction that are numbers."""
    generator = toy().double()
    encoder, batch = encoder_of(generator, "restyle").double().eval(), batch_of(generator)
    run = run_spec(
        recipe="restyle", objective={"losses": {"mse": 1.0, "cos": 0.0}, "attention": "none", "latent": {"weight": 0}}
    )
    other = copy.deepcopy(encoder)
    terms = recipe_of("restyle", generator, encoder, run).losses(batch)
    terms["total"].sum().backward()
    network: Any = other.network
    latents = generator.complete(generator.center()).expand(2)
    made, totals = generator.synthesize(latents), []
    for _ in range(3):
        added = network.predict(torch.cat([batch.images, made], 1))["w"]
        latents = latents.replace(w=latents["w"].detach() + added)
        made = generator.synthesize(latents)
        loss = (made - batch.images).square().mean((1, 2, 3))
        loss.sum().backward()
        totals.append(loss.detach())
        made = made.detach()
    torch.testing.assert_close(terms["total"].detach(), sum(totals))
    for index, total in enumerate(totals, 1):
        torch.testing.assert_close(terms[f"pass/{index}"].detach(), total)
    for (name, one), two in zip(encoder.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_e2style_trains_one_stage_after_another(tmp_path: Path) -> None:
    generator = toy()
    saving = {"checkpoint_every": 1, "keep": 9, "log_every": 1}
    pretrain(
        generator,
        run_spec(recipe="e2style", steps=6, saving=saving),
        tmp_path,
        encoder=encoder_of(generator, "e2style"),
    )
    states = [load_state(path)["modules"]["encoder"] for path in sorted((tmp_path / "checkpoints").iterdir())]
    assert len(states) == 6
    moved = [
        {name.split(".")[2] for name in after if not torch.equal(before[name], after[name])}
        for before, after in itertools.pairwise(states)
    ]
    assert moved == [{"0"}, {"1"}, {"1"}, {"2"}, {"2"}]  # The statistics of their norms among them.


def test_e2style_trains_one_stage_alone() -> None:
    generator = toy()
    encoder = encoder_of(generator, "e2style")
    before = copy.deepcopy(encoder.state_dict())
    pretrain(generator, run_spec(recipe={"name": "e2style", "options": {"stage": 2}}, steps=2), encoder=encoder)
    changed = {name.split(".")[2] for name, one in encoder.state_dict().items() if not torch.equal(one, before[name])}
    assert changed == {"1"}


def test_batches_of_refining_recipes_go_in_parts() -> None:
    generator = toy().double()
    ends = []
    for speed in ({}, {"micro_batch": 1}):
        encoder = encoder_of(generator, "restyle").double()
        pretrain(generator, run_spec(recipe="restyle", data={"batch": 3}, speed=speed), encoder=encoder)
        ends.append(torch.cat([weight.detach().flatten() for weight in encoder.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "network", "options", "sentence"),
    [
        ("restyle", "psp", {}, "set encoder.overrides.network to restyle"),
        ("e2style", "psp", {}, "set encoder.overrides.network to e2style"),
        ("e2style", "restyle", {}, "is for the encoder 'e2style'"),
        ("e2style", "e2style", {"stage": 4}, "has 3 stages"),
    ],
)
def test_an_encoder_of_another_kind(name: str, network: str, options: dict[str, Any], sentence: str) -> None:
    generator = toy()
    run = run_spec(recipe={"name": name, "options": options})
    with pytest.raises(SpecError, match=sentence):
        pretrain(generator, run, encoder=encoder_of(generator, network))


def test_identity_is_the_cosine_of_embeddings() -> None:
    context = context_for(ColourBackbone(), device="cpu")
    loss = Identity(context=context)
    a, b = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1

    def embedded(images: Tensor) -> Tensor:
        backbone = context.backbone
        return backbone(backbone.fit(images)).features[-1].mean((2, 3))

    one, other = embedded(a), embedded(b)
    wanted = 1 - (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
    torch.testing.assert_close(loss(a, loss.prepare(b)), wanted)
