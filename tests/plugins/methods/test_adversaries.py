"""Recipes with an adversary or losses of their own: who learns from what, by which formula, and how a run goes on."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.files import load_state
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.models import save_pretrained
from ganenc.objectives import Batch, build_objective
from ganenc.training import Memory, Recipe, RecipeContext, Synthesized, finetune, pretrain
from ganenc_plugin_methods.adversary import Standard, fooled, hinge, r1, told
from ganenc_registry.components import build
from ganenc_registry.errors import CheckpointError, GanencError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from runs import run_spec, same
from safetensors.torch import save_file
from servers import serving
from torch import Tensor, nn
from toys import ToyConditional, ToyGenerator, toy_spec

NETWORKS: dict[str, Any] = {
    "e4e": {"name": "e4e", "options": {"trunk": "blocks", "widths": [4, 4, 8, 8]}},
    "in-domain": {"name": "in-domain", "options": {"widths": [4, 8]}},
    "bigbigan": None,
    "alae": {"name": "alae", "options": {"widths": [4, 8]}},
    "d2e": {"name": "d2e", "options": {"widths": [4]}},
    "restyle": {"name": "restyle", "options": {"trunk": "blocks", "widths": [4, 4, 8, 8]}},
    "psp": {"name": "psp", "options": {"trunk": "blocks", "widths": [4, 4, 8, 8]}},
    "e2style": {"name": "e2style", "options": {"trunk": "blocks", "widths": [4, 4, 8, 8]}},
    "riddle": None,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "e4e": {"first": 0.25, "every": 0.25, "pool": 3, "r1_every": 3, "rate": 0.01},
    "in-domain": {"r1_every": 3},
    "bigbigan": {"r1_every": 3},
}
ADVERSARIES = list(OPTIONS)


class Grey(Generator):
    """Grey images of any size, from 0 to 1, by one linear layer of z."""

    def __init__(self, *size: int) -> None:
        super().__init__(
            GeneratorSpec(
                family="grey", size=size, channels=1, value_range=(0, 1), prior=Prior(dim=6), layout=(Vector(dim=6),)
            )
        )
        torch.manual_seed(0)
        self.paint = nn.Linear(6, math.prod(size))

    def synthesize(self, latents: Latents) -> Tensor:
        return self.paint(latents["z"]).sigmoid().reshape(-1, 1, *self.spec.size)


@pytest.fixture
def toy() -> ToyGenerator:
    return ToyGenerator(toy_spec((8, 8), dim=4)).double().freeze()


def encoder_of(generator: Generator, name: str, **fields: Any) -> Encoder:
    torch.manual_seed(5)
    network = NETWORKS[name]
    return build_encoder(generator, **({"network": network} if network else {}), **fields).to(generator.dtype)


def made(name: str, generator: Generator, encoder: Encoder | None = None, **fields: Any) -> Any:
    """The recipe of a run."""
    run = run_spec(**{"recipe": {"name": name, "options": OPTIONS.get(name, {})}, **fields})
    context = RecipeContext(
        generator.spec,
        network=generator,
        encoder=encoder or encoder_of(generator, name),
        objective=build_objective(run.objective, generator).to(generator.dtype),
        run=run,
    )
    return build("recipe", run.recipe, Recipe, context, at="recipe")


def gradients(recipe: Any, batch: Batch) -> dict[str, dict[str, list[Tensor | None]]]:
    """One step without optimisers: by the optimiser that would move, the gradients of each module."""
    found: dict[str, dict[str, list[Tensor | None]]] = {}

    def update(name: str, losses: Callable[[Batch], Mapping[str, Tensor]], part: Batch) -> dict[str, Tensor]:
        for module in recipe.modules.values():
            module.zero_grad(set_to_none=True)
        terms = losses(part)
        terms["total"].mean().backward()
        found[name] = {key: [p.grad for p in module.parameters()] for key, module in recipe.modules.items()}
        return {key: value.detach().mean() for key, value in terms.items()}

    recipe.step(batch, update)
    return found


def reached(given: list[Tensor | None]) -> bool:
    return any(one is not None and bool(one.any()) for one in given)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_each_learns_from_the_other_and_moves_itself_alone(name: str, toy: ToyGenerator) -> None:
    recipe = made(name, toy)
    batch = Synthesized(toy, 3).batch(0)
    found = gradients(recipe, batch)
    assert reached(found["encoder"]["encoder"])
    assert not reached(found["encoder"]["discriminator"])
    assert reached(found["discriminator"]["discriminator"])
    assert not reached(found["discriminator"]["encoder"])
    assert all(one.grad is None for one in toy.parameters())
    with torch.no_grad():  # Scores that are the same whatever is seen teach the encoder nothing of the adversary's.
        for weight in recipe.discriminator.parameters():
            weight.zero_()
    without = gradients(recipe, batch)["encoder"]["encoder"]
    assert any(
        one is not None and not torch.equal(one, torch.zeros_like(one) if other is None else other)
        for one, other in zip(found["encoder"]["encoder"], without)
    )


def test_losses_are_those_of_the_papers() -> None:
    real, fake = torch.randn(7, dtype=torch.double), torch.randn(7, dtype=torch.double)
    torch.testing.assert_close(fooled(fake), -torch.sigmoid(fake).log())
    torch.testing.assert_close(told(real, fake), -torch.sigmoid(real).log() - (1 - torch.sigmoid(fake)).log())
    torch.testing.assert_close(hinge(real, fake), (1 - real).clamp_min(0) + (1 + fake).clamp_min(0))
    x, y = torch.randn(5, 3, dtype=torch.double), torch.randn(5, 2, dtype=torch.double)
    wanted = (2 * x).square().sum(1) + torch.cos(y).square().sum(1)
    torch.testing.assert_close(r1(lambda a, b: a.square().sum(1) + b.sin().sum(1), x, y), wanted)


def test_r1_trains_the_discriminator(toy: ToyGenerator) -> None:
    recipe, batch = made("in-domain", toy), Synthesized(toy, 3).batch(0)
    weights = [*recipe.discriminator.parameters()]
    r1(recipe.discriminator, recipe.encoder.seen(batch.images)).sum().backward()
    assert all(one.grad is not None and one.grad.any() for one in weights if one.ndim > 1)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_r1_counts_for_the_steps_between(name: str, toy: ToyGenerator) -> None:
    recipe, batch = made(name, toy), Synthesized(toy, 3).batch(0)
    totals: list[float] = []

    def update(name: str, losses: Any, part: Batch) -> dict[str, Tensor]:
        terms = losses(part)
        totals.append(float((terms["total"] - terms.get("discriminator", terms["total"])).detach().mean()))
        if name == "discriminator":
            wanted = recipe.options.r1 / 2 * 3 * recipe.penalty(part) if recipe.steps % 3 == 0 else torch.zeros(3)
            assert totals[-1] == pytest.approx(float(wanted.detach().mean()))
        return {key: value.detach().mean() for key, value in terms.items()}

    for _ in range(4):
        recipe.step(batch, update)
    assert [value > 0 for value in totals[1::2]] == [True, False, False, True]


def test_latents_are_measured_in_the_deviations_of_the_generators_own() -> None:
    for generator in (ToyGenerator(), Grey(8, 8), ToyConditional()):
        of = Standard(generator, build_encoder(generator).spec)
        rows = of(generator.complete(generator.sample(4000, seed=9)))
        given = {part.name: part.shape for part in generator.spec.layout if part.name in ("w", "z", "c")}
        assert {name: one.shape[1:] for name, one in of.split(rows).items()} == given, "not the constant of all images"
        torch.testing.assert_close(rows.mean(0), torch.zeros(of.width), atol=0.25, rtol=0)
        torch.testing.assert_close(rows.std(0), torch.ones(of.width), atol=0.15, rtol=0)


@pytest.mark.parametrize("name", ["in-domain", "bigbigan"])
@pytest.mark.parametrize("generator", [Grey(20, 12), Grey(1, 24), ToyConditional(), ToyGenerator()])
def test_any_generator_will_do(name: str, generator: Generator) -> None:
    spec = generator.freeze().spec
    recipe = made(name, generator, build_encoder(generator))
    for batch in (
        Synthesized(generator, 2).batch(0),
        Batch(torch.rand(2, spec.channels, *spec.size), torch.tensor([0, 1])),
    ):
        found = gradients(recipe, batch)
        assert reached(found["encoder"]["encoder"])
        assert reached(found["discriminator"]["discriminator"])


def test_offsets_join_one_by_one_and_start_at_nothing(toy: ToyGenerator) -> None:
    recipe = made("e4e", toy, steps=8)
    stages = []
    for _ in range(8):
        recipe.step(
            Synthesized(toy, 2).batch(0),
            lambda name, losses, part: {key: value.detach().mean() for key, value in losses(part).items()},
        )
        stages.append(recipe.network.stage)
    assert stages == [1, 1, 2, 2, 3, 3, 4, 4]
    w = recipe.encoder.eval()(Synthesized(toy, 2).batch(0).images)["w"]
    torch.testing.assert_close(w - w[:, :1], torch.zeros_like(w), rtol=0, atol=1e-12)
    late = made("e4e", toy, steps=8, recipe={"name": "e4e", "options": {"first": 0.9, "every": 0.5}})
    late.steps = 7
    late._take_stage()
    assert late.network.stage < 4
    late.steps = 8
    late._take_stage()
    assert late.network.stage == 4, "all have joined by the end"
    at_once = made("e4e", toy, recipe={"name": "e4e", "options": {"first": 0, "every": 0}})
    assert at_once.network.stage == 4
    assert reached([stack.linear.weight for stack in at_once.network.stacks[1:]])


def test_the_penalty_is_of_the_offsets_and_the_discriminator_sees_rows(toy: ToyGenerator) -> None:
    recipe = made("e4e", toy, recipe={"name": "e4e", "options": {"first": 0, "every": 0, "offsets": 0.5, "weight": 2}})
    part = Synthesized(toy, 3).batch(0)
    recipe.encoder.eval()
    terms, plain = recipe.losses(part), recipe.encoder_step(part)
    w = plain.latents["w"]
    norms = torch.stack([(w[:, place] - w[:, 0]).square().sum(1).sqrt() for place in (1, 2, 3)], 1).sum(1)
    torch.testing.assert_close(terms["offsets"], norms)
    score = recipe.discriminator
    rows = (w - score.standard.mean_0) / score.standard.deviation_0
    scores = torch.stack([score.scores[0](rows[:, place])[:, 0] for place in range(4)], 1)
    torch.testing.assert_close(terms["realism"], fooled(scores).mean(1))
    wanted = plain.result.per_sample + 2 * terms["realism"] + 0.5 * norms
    torch.testing.assert_close(terms["total"], wanted)
    penalty = recipe.penalty(recipe.shown(part))
    truth = (toy.complete(part.latents)["w"] - score.standard.mean_0) / score.standard.deviation_0
    each = torch.stack([r1(lambda one: score.scores[0](one)[:, 0], truth[:, place]) for place in range(4)], 1)
    torch.testing.assert_close(penalty, each.mean(1))


def test_the_pool_shows_what_was_there_before(toy: ToyGenerator) -> None:
    recipes = [made("e4e", toy, recipe={"name": "e4e", "options": {"pool": 4}}) for _ in range(2)]
    given = torch.arange(40.0, dtype=torch.double)[:, None].expand(40, recipes[0].pool.shape[1])
    shown = [torch.cat([recipe._pooled(rows) for rows in given.split(5)]) for recipe in recipes]
    assert torch.equal(*shown)
    assert torch.equal(shown[0][:4], given[:4]), "until it is full"
    places = shown[0][:, 0].long()
    assert (places <= torch.arange(40)).all()
    again = places < torch.arange(40)
    assert 8 <= int(again.sum()) <= 28, "half of them, within three deviations"
    assert len(set(places[4:].tolist())) == 36, "what is shown leaves the pool, or never enters it"
    assert recipes[0].pool.shape[0] == 4
    none = made("e4e", toy, recipe={"name": "e4e", "options": {"pool": 0}})
    assert torch.equal(none._pooled(given), given)


@pytest.mark.parametrize(
    ("name", "network", "fields", "told"),
    [
        ("e4e", "bigbigan", {}, "choose the network 'e4e', as by --set encoder.overrides.network=e4e"),
        ("e4e", "d2e", {}, "trains an encoder with one w and offsets"),
        ("in-domain", "in-domain", {"objective": {"image_gradient": False}}, "objective.image_gradient: the recipe"),
        ("alae", "alae", {"task": "finetune"}, "learns from true latents, which photos have not"),
        ("d2e", "alae", {"recipe": {"name": "d2e", "options": {"discriminator": "D.pth"}}}, "only the network 'd2e'"),
        ("d2e", "d2e", {"recipe": {"name": "d2e", "options": {"discriminator": "D.pth"}}}, "D.pth"),
    ],
)
def test_what_is_missing_is_told_in_one_sentence(
    name: str, network: str, fields: dict[str, Any], told: str, toy: ToyGenerator
) -> None:
    with pytest.raises(GanencError, match=told) as caught:
        made(name, toy, encoder_of(toy, network), **fields)
    assert "\n" not in str(caught.value)


def test_e4e_needs_styles() -> None:
    generator = Grey(8, 8).freeze()
    with pytest.raises(SpecError, match=r"for generators with layer-wise styles, and this one takes z\."):
        made("e4e", generator)


@pytest.mark.parametrize("name", [*NETWORKS, "e4e on photos", "bigbigan on photos"])
def test_a_run_that_was_stopped_goes_on_to_the_bit(name: str, toy: ToyGenerator) -> None:
    name, _, photos = name.partition(" on ")
    toy = toy.float()
    given = Synthesized(toy, 7, seed=3).batch(0).images
    run = run_spec(
        **({"task": "finetune"} if photos else {}),
        recipe={"name": name, "options": OPTIONS.get(name, {})},
        data={"batch": 3},
        optimiser={"average": 0.9, "schedule": "cosine"},
        saving={"log_every": 1},
    )

    def train(memory: Memory, stop: int = 0) -> None:
        torch.manual_seed(stop)  # What is drawn in between has no part in it.

        def stopping(step: int, *_: Any) -> None:
            if step == stop:
                raise KeyboardInterrupt

        fields = {"encoder": encoder_of(toy, name), "on_step": stopping}
        finetune(toy, given, run, memory, **fields) if photos else pretrain(toy, run, memory, **fields)

    whole, parts = Memory(), Memory()
    train(whole)
    for stop in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            train(parts, stop)
    train(parts)
    assert same(parts.states[8], whole.states[8])
    assert parts.metrics() == whole.metrics()
    if name == "e4e":
        state = whole.states[8]["recipe"]
        assert state["steps"] == 8
        assert state["pool"].shape == (3, 4 * 4)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_parts_of_a_batch_make_the_same_step(name: str, toy: ToyGenerator) -> None:
    ends = []
    for speed in ({}, {"micro_batch": 1}, {"checkpointing": True}):
        memory, encoder = Memory(), encoder_of(toy, name).eval()
        if name == "in-domain":  # Its own network has batch norm.
            encoder = encoder_of(toy, "alae")
        fields = {"recipe": {"name": name, "options": OPTIONS[name]}, "data": {"batch": 3}, "speed": speed}
        pretrain(toy, run_spec(**fields, objective={"losses": {"mse": 1}}, steps=4), memory, encoder=encoder)
        ends.append(memory.states[4])
    for other in ends[1:]:
        torch.testing.assert_close(other["modules"], ends[0]["modules"], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(other["recipe"], ends[0]["recipe"], rtol=1e-6, atol=1e-8)


TOGETHER = """
import sys, torch
from pathlib import Path
from ganenc.models import load_encoder, load_generator
from ganenc.training import finetune
from ganenc_registry.specs import RunSpec
import toys, ganenc
ganenc.register("generator", "toy")(toys.ToyGenerator)
folder, where = map(Path, sys.argv[1:])
for spec in sorted(folder.glob("*.yaml")):
    generator = load_generator(folder / "generator").double().freeze()
    photos = torch.load(folder / "photos.pt", weights_only=True)
    encoder = load_encoder(folder / spec.stem).double()
    finetune(generator, photos, RunSpec.from_file(spec), where / spec.stem, encoder=encoder)
"""


SHARED = ("bigbigan", "e2style", "e4e", "in-domain", "psp", "restyle", "riddle")
"""Recipes that two processes are to train as one does."""


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path, toy: ToyGenerator) -> None:
    with serving():  # Skips where a machine cannot reach itself.
        pass
    save_pretrained(toy.float(), tmp_path / "generator")
    torch.save(Synthesized(toy, 7, seed=3).batch(0).images.double(), tmp_path / "photos.pt")
    for name in SHARED:
        run = run_spec(
            task="finetune",
            data={"batch": 5},
            steps=6,
            recipe={"name": name, "options": OPTIONS.get(name, {})},
            saving={"log_every": 1},
        )
        (tmp_path / f"{name}.yaml").write_text(run.to_yaml())
        save_pretrained(encoder_of(toy, "alae" if name == "in-domain" else name), tmp_path / name)
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for where, start in (("one", [sys.executable]), ("two", launched)):
        done = subprocess.run(
            [*start, script, tmp_path, tmp_path / where], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    for name in SHARED:
        one, two = (
            load_state(tmp_path / where / name / "checkpoints" / "step-0000006.safetensors") for where in ("one", "two")
        )
        torch.testing.assert_close(two["modules"], one["modules"], rtol=1e-6, atol=1e-8)
        torch.testing.assert_close(two["recipe"], one["recipe"], rtol=1e-6, atol=1e-8)


def discriminator(normed: str = "batch") -> nn.Sequential:
    """A DCGAN's, of 16x16 images, in eval mode with statistics of its own."""
    torch.manual_seed(2)
    spectral = nn.utils.spectral_norm if normed == "spectral" else nn.utils.parametrizations.spectral_norm
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 4), (4, 6)):
        conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
        layers.append(conv if normed == "batch" else spectral(conv))
        if normed == "batch" and inputs > 3:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.LeakyReLU(0.2))
    found = nn.Sequential(*layers, nn.Conv2d(6, 1, 4, bias=False))
    for _ in range(3):
        found(torch.randn(8, 3, 16, 16))
    return found.eval()


def start_of(path: Path, *, widths: tuple[int, ...] = (4, 6), bias: bool = True) -> Encoder:
    generator = ToyGenerator().freeze()
    encoder = build_encoder(generator, network={"name": "d2e", "options": {"widths": widths, "bias": bias}})
    made("d2e", generator, encoder, recipe={"name": "d2e", "options": {"discriminator": str(path)}})
    return encoder


@pytest.mark.parametrize("normed", ["batch", "spectral", "parametrized"])
@pytest.mark.parametrize("prefix", ["main.", "discriminator.net."])
def test_the_encoder_starts_as_the_discriminator(normed: str, prefix: str, tmp_path: Path) -> None:
    theirs = discriminator(normed)
    state = {f"{prefix}{name}": value for name, value in theirs.state_dict().items()}
    noise = nn.ConvTranspose2d(4, 3, 4).state_dict()  # The generator's end, of the widths backwards.
    torch.save({**{f"generator.main.9.{name}": value for name, value in noise.items()}, **state}, tmp_path / "D.pth")
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    network = start_of(tmp_path / "D.pth", bias=normed == "batch").network
    assert network is not None
    torch.testing.assert_close(network.get_submodule("trunk")(images), theirs[:-1](images))


def test_layers_of_safetensors_go_by_their_numbers(tmp_path: Path) -> None:
    theirs = discriminator()
    order = {"0": "0", "2": "9", "3": "10", "5": "12"}
    state = {f"{order[key.split('.')[0]]}.{key.split('.')[1]}": value for key, value in theirs.state_dict().items()}
    save_file({key: value for key, value in state.items() if value.ndim}, tmp_path / "D.safetensors")
    images = torch.rand(2, 3, 16, 16)
    network = start_of(tmp_path / "D.safetensors").network
    assert network is not None
    torch.testing.assert_close(network.get_submodule("trunk")(images), theirs[:-1](images))


def test_layers_with_names_go_in_the_order_of_the_file(tmp_path: Path) -> None:
    first, norm, second = (theirs := discriminator())[0], theirs[3], theirs[2]
    named = nn.Sequential(OrderedDict(conv_b=first, conv_a=second, bn=norm))
    torch.save(named.state_dict(), tmp_path / "D.pth")
    images = torch.rand(2, 3, 16, 16)
    network = start_of(tmp_path / "D.pth").network
    assert network is not None
    torch.testing.assert_close(network.get_submodule("trunk")(images), theirs[:-1](images))


@pytest.mark.parametrize(
    ("change", "fields", "told"),
    [
        (lambda state: state, {"widths": (4, 5)}, "no row of 4x4 convolutions of 3 => 4 => 5 channels"),
        (lambda state: state, {"bias": False}, "the option `bias: true`"),
        (lambda state: {**state, "0.weight": state["0.weight"] * math.nan}, {}, "holds NaN"),
        (lambda state: {**state, "3.running_mean": torch.zeros(3)}, {}, r"shape \(3,\) where \(6\) is needed"),
        (lambda state: {key: value for key, value in state.items() if "running" not in key}, {}, "no batch norm"),
        (lambda state: {f"{of}.{key}": one for of in "ab" for key, one in state.items()}, {}, "several networks"),
        (lambda state: {"weight": torch.zeros(3), f"{'9' * 5000}.weight": torch.zeros(1)}, {}, "no row of 4x4 conv"),
    ],
)
def test_a_file_that_will_not_do_is_told_in_one_sentence(
    change: Callable[[dict[str, Tensor]], Any], fields: dict[str, Any], told: str, tmp_path: Path
) -> None:
    torch.save(change(dict(discriminator().state_dict())), tmp_path / "D.pth")
    with pytest.raises((CheckpointError, SpecError), match=told) as caught:
        start_of(tmp_path / "D.pth", **fields)
    assert "\n" not in str(caught.value)


def test_latents_that_are_spread_as_the_generators_cost_nothing(toy: ToyGenerator) -> None:
    recipe = made("d2e", toy, recipe={"name": "d2e", "options": {"spread": 3}})
    part = Synthesized(toy, 2).batch(0)
    terms, plain = recipe.losses(part), recipe.encoder_step(part)
    rows = recipe.standard(plain.latents)
    wanted = rows.mean(1) ** 2 + (rows.var(1, unbiased=False).sqrt() - 1) ** 2
    torch.testing.assert_close(terms["spread"], wanted)
    torch.testing.assert_close(terms["total"], plain.result.per_sample + 3 * wanted)


@pytest.mark.slow
def test_a_joint_discriminator_alone_teaches_latents() -> None:
    generator = Grey(8, 8)
    with torch.no_grad():
        generator.paint.weight.mul_(4)
    generator.freeze()
    torch.manual_seed(0)
    encoder, part = build_encoder(generator), Synthesized(generator, 128, seed=99).batch(0)
    run = run_spec(
        steps=400,
        data={"batch": 32},
        recipe={"name": "bigbigan", "options": {"rate": 0.002}},
        optimiser={"rate": 0.001},
        saving={"log_every": 100, "grid_every": 400, "checkpoint_every": 400},
    )
    pretrain(generator, run, Memory(), encoder=encoder)
    with torch.no_grad():
        found = encoder(part.images)["z"]
    assert part.latents is not None
    both = torch.stack([found.flatten(), part.latents["z"].flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.5, "measured: 0.72"


def test_alae_learns_the_latents_and_nothing_else(toy: ToyGenerator) -> None:
    recipe, part = made("alae", toy), Synthesized(toy, 2).batch(0)
    recipe.encoder.eval()
    assert part.latents is not None
    wanted = (recipe.encoder(part.images)["w"] - part.latents["w"]).square().mean((1, 2))
    torch.testing.assert_close(recipe.losses(part)["total"], wanted)
