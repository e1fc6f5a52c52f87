"""Latents by gradient: spaces, what is free and what is not, and where it starts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.generators import Generator, NoiseChoice
from ganenc.inversion import Inversion, Optimize, invert
from ganenc.latents import Latents
from ganenc.models import model_hash
from ganenc.objectives import Objective
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Setting, Styles, Vector
from rounding import close, tolerance
from torch import Tensor, nn
from toys import ToyConditional, ToyGenerator, make_objective, toy_spec


@pytest.fixture
def objective() -> Objective:
    return make_objective({"mse": 5.0, "cos": 3.0, "ssim": 1.0}, "center")


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


def targets(toy: Any, n: int = 2) -> Tensor:
    """Images within the generator's reach, away from its mean."""
    latents, center = toy.complete(toy.sample(n, seed=9)), toy.center().expand(n)
    images: Tensor = toy.synthesize(center.lerp(latents, 4.0))
    return images


class VectorToy(Generator):
    """One vector, scaled to length 1 first, so that its mean is no place to start from."""

    def __init__(self) -> None:
        spec = GeneratorSpec(family="vector", size=(8, 8), channels=1, prior=Prior(dim=3), layout=(Vector(dim=3),))
        super().__init__(spec)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.paint = nn.Linear(3, 64)
        self.made = 0

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        self.made += len(latents)
        z = latents["z"] / latents["z"].norm(dim=1, keepdim=True).clamp_min(1e-8)
        return torch.tanh(self.paint(z)).reshape(-1, 1, 8, 8)


@pytest.mark.parametrize("space", ["z", "w", "w+"])
def test_the_loss_falls_in_every_space(toy: Any, objective: Objective, space: str) -> None:
    images = targets(toy)
    calls: list[tuple[int, int, int]] = []
    draws = {"draws": 8} if space == "z" else {}
    found = Optimize.of(
        steps=25, rate=0.2, space=space, free=(), **draws
    ).invert(  # type: ignore[arg-type]
        images, toy, None, objective=objective, on_step=lambda *args: calls.append(args[:3])
    )
    close(toy.synthesize(found.latents), found.reconstructions, terms=36, depth=10)
    losses = objective(found.reconstructions, objective.prepare(images)).image
    rounding = 9 * tolerance(torch.float32, terms=192)  # Of losses that weigh 9, over 192 values.
    for loss, rows in zip(losses, found.history):
        assert [row["step"] for row in rows] == list(range(1, 26))
        assert loss <= min(row["total"] for row in rows) + rounding
        assert loss < 0.9 * rows[0]["total"]
    assert calls == [(0, step, 25) for step in range(1, 26)]
    assert torch.equal(found.latents["const"], toy.const.expand(2, -1, -1, -1))
    tied = found.latents["w"].std(1).max().item() < 1e-6
    assert tied == (space != "w+")
    assert found.settings["space"] == space
    assert found.latents.space == ("w+" if space == "w+" else "w")
    if space == "z":  # On the plane that the mapping spans.
        bias, weight = toy.mapping.bias, toy.mapping.weight
        w = found.latents["w"][:, 0] - bias
        assert torch.allclose(w @ torch.linalg.pinv(weight).T @ weight.T, w, atol=1e-4)


def test_the_constant_is_free_unless_told_otherwise(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images = targets(toy)
    with torch.no_grad():
        assert not torch.allclose(toy_encoder(images)["const"], toy.const)
    kept = Optimize.of(steps=20, rate=0.05, free=()).invert(images, toy, toy_encoder, objective=objective)
    assert torch.equal(kept.latents["const"], toy.const.expand(2, -1, -1, -1))
    freed = Optimize.of(steps=20, rate=0.05).invert(images, toy, toy_encoder, objective=objective)
    named = Optimize.of(steps=20, rate=0.05, free=("const",)).invert(images, toy, toy_encoder, objective=objective)
    assert torch.equal(freed.latents["const"], named.latents["const"])
    assert not torch.allclose(freed.latents["const"], toy.const, atol=0.05)
    reference = objective.prepare(images)
    assert objective(freed.reconstructions, reference).total < objective(kept.reconstructions, reference).total
    with pytest.raises(LatentsError, match=r"setting or noise 'konst' to free \(did you mean 'const'\?\)"):
        Optimize.of(free=("konst",)).invert(images, toy, None, objective=objective)


def test_it_starts_at_the_encoder_where_there_is_one(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    images, before = targets(toy), model_hash(toy_encoder)
    with torch.no_grad():
        for head in toy_encoder.heads:
            head.offset.add_(0.5)
        expected = toy_encoder(images)["w"]
        before = model_hash(toy_encoder)
    starts = {}
    for name, start in (("default", None), ("encoder", "encoder"), ("center", "center"), ("draws", "draws")):
        options = {"draws": 5} if start == "draws" else {}
        method = Optimize.of(steps=1, rate=1e-9, start=start, **options)  # type: ignore[arg-type]
        found = method.invert(images, toy, toy_encoder, objective=objective, seed=2)
        starts[name] = found.latents["w"]
        assert found.settings["start"] == (start or "encoder")
    assert model_hash(toy_encoder) == before
    assert torch.allclose(starts["default"], expected, atol=1e-5)
    assert torch.equal(starts["default"], starts["encoder"])
    center = toy.center()["w"].expand(2, -1, -1)
    assert torch.allclose(starts["center"], center, atol=1e-5)
    drawn = toy.map(toy.draw(5, seed=2))
    errors = torch.stack([(toy.synthesize(drawn) - image).square().flatten(1).mean(1) for image in images])
    assert torch.allclose(starts["draws"], drawn["w"][errors.argmin(1)], atol=1e-5)
    without = Optimize.of(steps=1, rate=1e-9).invert(images, toy, None, objective=objective)
    assert torch.allclose(without.latents["w"], center, atol=1e-5)
    assert without.settings["start"] == "center"
    with pytest.raises(SpecError, match="start 'encoder' needs an encoder"):
        Optimize.of(start="encoder").invert(images, toy, None, objective=objective)


def test_it_starts_at_the_center_of_each_photos_class(objective: Objective) -> None:
    generator = ToyGenerator(toy_spec((8, 8), dim=4, classes=3)).freeze()
    assert generator.labels is not None
    labels = torch.tensor([2, 0])
    images = generator.synthesize(generator.sample(2, seed=3, labels=labels))
    found = Optimize.of(steps=1, rate=1e-9).invert(images, generator, None, labels=labels, objective=objective)
    noise = 5 * generator.mapping.weight.norm(dim=1) / math.sqrt(1000)
    for w, label in zip(found.latents["w"], labels.tolist()):
        expected = generator.mapping.bias + generator.labels.weight[:, label]
        assert bool(((w - expected).abs() < noise + 1e-5).all())
    assert torch.equal(found.latents["const"], generator.const.expand(2, -1, -1, -1))
    rows = Optimize.of(steps=1, rate=1e-9).invert(
        images, generator, None, labels=torch.eye(3)[labels], objective=objective
    )
    assert torch.allclose(rows.latents["w"], found.latents["w"], atol=1e-6)
    without = Optimize.of(steps=1, rate=1e-9).invert(images, generator, None, objective=objective)
    assert torch.allclose(without.latents["w"], generator.center()["w"].expand(2, -1, -1), atol=1e-6)


class LayeredToy(ToyGenerator):
    """A toy whose mapping gives every layer a style of its own."""

    def map(self, z: Tensor, **rest: Any) -> Latents:
        mapped = super().map(z, **rest)
        return mapped.replace(w=mapped["w"] * torch.linspace(0.5, 1.5, self.layers)[:, None])


def test_a_z_that_becomes_styles_is_saved_in_the_space_of_these(objective: Objective, tmp_path: Path) -> None:
    for kind, space in ((ToyGenerator, "w"), (LayeredToy, "w+")):
        generator = kind(toy_spec((8, 8), dim=4)).freeze()
        images = targets(generator)
        found = Optimize.of(steps=2, space="z", draws=3).invert(images, generator, None, objective=objective)
        found.latents.save(tmp_path / "latents.safetensors")
        loaded = Latents.load(tmp_path / "latents.safetensors")
        assert (loaded.space, found.settings["space"]) == (space, "z")
        close(
            generator.synthesize(loaded), found.reconstructions, terms=36, depth=10
        )  # 4 channels; the styles' layers.
        tied = torch.equal(loaded["w"], loaded["w"][:, :1].expand_as(loaded["w"]))
        assert tied == (space == "w")


def test_a_vector_starts_at_the_best_draw(objective: Objective) -> None:
    generator = VectorToy().freeze()
    images = generator.synthesize(generator.sample(3, seed=4))
    generator.center()
    generator.made = 0
    found = Optimize.of(steps=1, rate=1e-9, draws=20, batch=7, starts=1).invert(
        images, generator, None, objective=objective, seed=1
    )
    # The draws are painted once for each batch of photos, and each photo at each look.
    assert generator.made == 20 + 3 * 3
    drawn = generator.draw(20, seed=1)
    made = generator.synthesize(generator.map(drawn))
    best = torch.stack([(made - image).square().flatten(1).mean(1).argmin() for image in images])
    assert torch.allclose(found.latents["z"], drawn[best], atol=1e-5)
    assert (found.settings["space"], found.settings["start"]) == ("z", "draws")
    longer = Optimize.of(steps=40, rate=0.1, draws=20).invert(images, generator, None, objective=objective, seed=1)
    errors = [(one.reconstructions - images).square().mean().item() for one in (found, longer)]
    assert errors[1] < 0.1 * errors[0]
    with pytest.raises(LatentsError, match=r"vector has no styles, so there is no space 'w'; use 'z'"):
        Optimize.of(space="w").invert(images, generator, None, objective=objective)


def test_the_same_seed_gives_the_same(toy: Any, objective: Objective) -> None:
    images = targets(toy)
    one, same, other = (
        invert(images, toy, method=Optimize.of(steps=3, space="z", draws=4), objective=objective, seed=seed)
        for seed in (1, 1, 8)
    )
    assert torch.equal(one.latents["w"], same.latents["w"])
    assert one.history == same.history
    assert not torch.equal(one.latents["w"], other.latents["w"])


def test_photos_do_not_touch_one_another(toy: Any, objective: Objective) -> None:
    images = targets(toy.double(), 3)  # So that no rounding grows from step to step.
    together = Optimize.of(steps=8, rate=0.1).invert(images, toy, None, objective=objective)
    calls: list[int] = []
    split = Optimize.of(steps=8, rate=0.1, batch=2).invert(
        images, toy, None, objective=objective, on_step=lambda photo, *rest: calls.append(photo)
    )
    assert torch.allclose(split.latents["w"], together.latents["w"], atol=1e-8)
    assert calls == [0] * 8 + [2] * 8
    assert len(split.history) == len(split.seconds) == 3


def test_a_sample_that_breaks_spoils_no_other(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make_objective({"mse": 1.0}, "none")
    images = targets(toy)
    alone = Optimize.of(steps=6, rate=0.1).invert(images[1:], toy, None, objective=objective)
    synthesize, calls = toy.synthesize, []

    def breaking(latents: Latents, **rest: Any) -> Tensor:
        calls.append(1)
        made: Tensor = synthesize(latents, **rest)
        if len(calls) == 3:
            made = made * torch.tensor([torch.nan, 1.0]).reshape(2, 1, 1, 1)
        return made

    monkeypatch.setattr(toy, "synthesize", breaking)
    found = Optimize.of(steps=6, rate=0.1).invert(images, toy, None, objective=objective)
    assert torch.allclose(found.latents["w"][1], alone.latents["w"][0], atol=1e-5)
    assert found.reconstructions.isfinite().all()
    first = [row["total"] for row in found.history[0]]
    error = (found.reconstructions[0] - images[0]).square().mean().item()
    assert error == pytest.approx(min(first[:2]), rel=1e-4)


def test_a_condition_is_that_of_the_label(objective: Objective) -> None:
    generator = ToyConditional().freeze()
    labels = torch.tensor([2, 0])
    latents = generator.sample(2, seed=3, labels=labels, truncation=0.5)
    images = generator.synthesize(latents)
    with pytest.raises(LatentsError, match="toy-conditional needs labels"):
        Optimize.of(steps=1, draws=2).invert(images, generator, None, objective=objective)
    found = Optimize.of(steps=60, rate=0.1, draws=9).invert(images, generator, None, labels=labels, objective=objective)
    assert torch.equal(found.latents["c"], generator.embed(labels))
    assert torch.equal(found.latents["truncation"], torch.tensor([0.5, 0.5]))
    assert (found.reconstructions - images).square().mean() < 1e-3
    freed = Optimize.of(steps=60, rate=0.1, draws=9, free=("c",)).invert(
        images, generator, None, labels=torch.tensor([1, 1]), objective=objective
    )
    assert not torch.allclose(freed.latents["c"], generator.embed(torch.tensor([1, 1])), atol=0.05)
    rows = torch.eye(3)[labels]
    again = Optimize.of(steps=60, rate=0.1, draws=9).invert(images, generator, None, labels=rows, objective=objective)
    assert torch.allclose(again.latents["z"], found.latents["z"], atol=1e-5)
    wrong = Optimize.of(steps=60, rate=0.1, draws=9).invert(
        images, generator, None, labels=torch.tensor([1, 1]), objective=objective
    )
    assert (wrong.reconstructions - images).square().mean() > 1e-3
    assert (freed.reconstructions - images).square().mean() < 0.5 * (wrong.reconstructions - images).square().mean()


class Lit(Generator):
    """A picture of z under a light, which is a setting: a tenth of 1 of it shows as much as 1 of z."""

    def __init__(self) -> None:
        layout = (Vector(dim=3), Setting(name="light", default=0.0, unit=0.1))
        super().__init__(GeneratorSpec(family="lit", size=(8, 8), channels=1, prior=Prior(dim=3), layout=layout))
        waves = torch.arange(64) * torch.tensor([[1.0], [2.0], [3.0]]) * (2 * math.pi / 64)
        self.register_buffer("waves", waves.sin() / 10)

    def synthesize(self, latents: Latents) -> Tensor:
        light = latents["light"] if "light" in latents else self.default("light")
        return (latents["z"] @ self.waves + light[:, None]).reshape(-1, 1, 8, 8)


@pytest.mark.parametrize("free", [(), ("light",)])
def test_settings_are_held_at_what_is_given_and_sought_where_freed(free: tuple[str, ...]) -> None:
    """Held where they were, so that z is found. Freed, they are found from elsewhere; unless the light were a variable
    in its own unit, in steps of a tenth of z's, they would end far beyond."""
    lit, near = Lit(), 0.5 if free else 0.7
    made = Latents(lit.spec.layout, {"z": torch.tensor([[0.5, -1.0, 0.2]]), "light": torch.tensor([0.7])})
    options = {"steps": 150, "free": free, "settings": {"light": near}, "starts": 1}
    method = {"name": "optimize", "options": options}
    done = invert(lit.synthesize(made), lit, method=method, objective=make_objective({"mse": 100.0}, "none"))
    assert done.latents["light"].item() == pytest.approx(0.7, abs=2e-3 if free else 1e-6)
    torch.testing.assert_close(done.latents["z"], made["z"], atol=0.05, rtol=0)
    assert torch.equal(lit.synthesize(done.latents), done.reconstructions)
    assert lit.default("light").item() == 0


class Stripes(Generator):
    """Linear in z, whose vectors are two stretches of it; ``scaled`` makes something else of them."""

    def __init__(self, kind: str, *, scaled: bool = False) -> None:
        layout = (Vector(name="a", dim=3), Vector(name="b", dim=5))
        super().__init__(
            GeneratorSpec(family="s", size=(8, 8), channels=1, prior=Prior(kind=kind, dim=8), layout=layout)
        )
        self.scaled = scaled
        rng = torch.Generator().manual_seed(1)
        self.paint = nn.Parameter(torch.randn(8, 64, generator=rng))

    def map(self, z: Tensor, **given: Any) -> Latents:
        return super().map(3 * z if self.scaled else z, **given)

    def synthesize(self, latents: Latents, **given: Any) -> Tensor:
        return (torch.cat([latents["a"], latents["b"]], 1) @ self.paint).reshape(-1, 1, 8, 8)


def outermost(kind: str, *, scaled: bool = False, **options: Any) -> tuple[float, list[float]]:
    """How far from 0 the z of images far outside the prior ends, and the lengths of z."""
    generator = Stripes(kind, scaled=scaled)
    far = generator.synthesize(generator.map(8 * torch.sign(generator.draw(2, seed=3))))
    found = Optimize.of(steps=60, rate=0.5, start="center", **options).invert(
        far, generator, None, objective=make_objective({"mse": 1.0}, spec=generator.spec)
    )
    z = torch.cat([found.latents["a"], found.latents["b"]], 1)
    return float(z.abs().max()), z.norm(dim=1).tolist()


def test_z_stays_inside_a_uniform_prior() -> None:
    assert outermost("uniform")[0] == 1.0
    assert outermost("uniform", scaled=True)[0] > 1.0  # No z any more, but what a mapping makes of it.
    assert min(outermost("normal")[0], outermost("truncated-normal")[0]) > 2.0


def test_z_of_a_normal_prior_may_be_held_to_its_shell() -> None:
    assert outermost("normal", shell=True)[1] == pytest.approx([math.sqrt(8)] * 2, rel=1e-5)
    found = Optimize.of(steps=4, draws=4, space="z", shell=True)
    toy = ToyGenerator(toy_spec((8, 8)))
    found.invert(toy.synthesize(toy.sample(1)), toy, None, objective=make_objective({"mse": 1.0}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": "z", "start": "center"}, "z of toy starts at draws, not at 'center'"),
        ({"space": "w", "draws": 7}, "draws are of no use for the start 'center'"),
        ({"space": "w+", "shell": True}, "shell is for z of a normal prior"),
    ],
)
def test_options_without_effect_are_refused(options: Any, words: str, toy: Any, objective: Objective) -> None:
    with pytest.raises(SpecError, match=words):
        invert(torch.zeros(1, 3, 8, 8), toy, None, {"name": "optimize", "options": options}, objective=objective)


def test_options_of_steps_that_are_not_taken_are_refused(toy: Any, toy_encoder: Encoder, objective: Objective) -> None:
    for options, words in (
        ({"refine_rate": 0.3}, "refine_rate is of no use without steps that refine"),
        ({"latent_loss": True}, "the objective has no latent loss"),
    ):
        chosen = {"name": "finetune", "options": {"steps": 1, **options}}
        with pytest.raises(SpecError, match=words):
            invert(torch.zeros(1, 3, 8, 8), toy, toy_encoder, chosen, objective=objective)


class Dot(Generator):
    """A small dot on black where z says: from afar, nothing tells in which direction it lies."""

    def __init__(self) -> None:
        spec = GeneratorSpec(family="dot", size=(16, 16), channels=1, prior=Prior(dim=2), layout=(Vector(dim=2),))
        super().__init__(spec)
        self.place = nn.Parameter(torch.linspace(-2, 2, 16))

    def synthesize(self, latents: Latents) -> Tensor:
        down, right = (self.place - latents["z"][:, axis, None] for axis in (0, 1))
        return 2 * torch.exp(-8 * (down.square()[:, :, None] + right.square()[:, None]))[:, None] - 1


@pytest.mark.parametrize("start", ["center", "encoder"])
def test_where_the_first_start_leaves_a_photo_poor_others_are_tried(start: str) -> None:
    generator, objective = Dot().freeze(), make_objective({"mse": 1.0}, "none")
    z = torch.tensor([[1.5, -1.4], [0.2, 0.1], [-1.2, 1.6]])
    images = generator.synthesize(Latents(generator.spec.layout, {"z": z}))
    encoder = None
    method: dict[str, Any] = {"name": "optimize", "options": {"steps": 80, "start": start}}
    if start == "encoder":
        block = {"size": (16, 16), "in_channels": 1, "out_channels": 1, "convolutions": 1, "downscale": "none"}
        encoder = build_encoder(generator, blocks=[block], head_gain=0.0)
        method = {"name": "finetune+refine", "options": {"steps": 80}}

    def found(**options: Any) -> Inversion:
        chosen = {**method, "options": {**method["options"], **options}}
        return invert(images, generator, encoder, chosen, objective=objective)

    once, anew = found(starts=1), found()
    errors = [(one.reconstructions - images).square().mean((1, 2, 3)) / 4 for one in (once, anew)]
    poor = errors[0] > 0.01
    assert poor[0]
    assert poor[2]
    assert bool((errors[1][poor] < 1e-4).all())
    assert torch.equal(anew.latents["z"][~poor], once.latents["z"][~poor])
    assert anew.settings["method"]["options"]["starts"] == 8
    assert [row["step"] for row in anew.history[0]] == [float(step) for step in range(1, 80 + 20 + 40 + 1)]
    again = invert(images, generator, encoder, **{**anew.settings, "objective": objective})
    assert torch.equal(again.latents["z"], anew.latents["z"])
    assert torch.equal(found(poor=-10.0).latents["z"], once.latents["z"])


def test_where_there_are_styles_there_is_one_start(toy: Any, objective: Objective) -> None:
    done = invert(targets(toy, 1), toy, None, Optimize.of(steps=1), objective=objective)
    assert done.settings["method"]["options"]["starts"] == 1
    with pytest.raises(LatentsError, match="toy has more to find than vectors, so it has one start; use starts=1"):
        invert(targets(toy, 1), toy, None, Optimize.of(steps=1, starts=3), objective=objective)


class Skewed(VectorToy):
    """Pixels are linear in w; it varies by 0.01 to 10 along ways askew, along each of which pixels vary alike."""

    def __init__(self) -> None:
        Generator.__init__(
            self,
            GeneratorSpec(
                family="skewed", size=(8, 8), channels=1, prior=Prior(dim=4), layout=(Styles(layers=2, dim=4),)
            ),
        )
        with torch.random.fork_rng():
            torch.manual_seed(2)
            turned, paint = torch.linalg.qr(torch.randn(4, 4))[0], torch.randn(4, 64)
        self.way = nn.Parameter(torch.logspace(-2, 1, 4)[:, None] * turned)
        self.paint = nn.Parameter(torch.linalg.inv(self.way.data) @ paint / 8)

    def map(self, z: Tensor, **given: Any) -> Latents:
        return Latents(self.spec.layout, {"w": (z @ self.way)[:, None].repeat(1, 2, 1)})

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        return (latents["w"].mean(1) @ self.paint).reshape(-1, 1, 8, 8)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_along_what_draws_vary_by_a_skewed_w_is_found(space: str) -> None:
    skewed, objective = Skewed().freeze(), make_objective({"mse": 1.0}, "none")
    images = skewed.synthesize(skewed.sample(2, seed=9))
    errors = {}
    for whiten in (False, True):
        options = {"space": space, "steps": 60, "rate": 0.2, "betas": [0.8, 0.9], "whiten": whiten}
        done = invert(images, skewed, None, {"name": "optimize", "options": options}, objective=objective)
        assert torch.equal(skewed.synthesize(done.latents), done.reconstructions)
        assert done.settings["method"]["options"]["whiten"] is whiten
        errors[whiten] = float((done.reconstructions - images).square().mean())
    assert errors[True] < 1e-2 * errors[False]
