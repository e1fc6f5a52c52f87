"""Quasi-Newton steps: where they end against the normal equations, and what moves and what stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from ganenc.generators import Generator, NoiseChoice
from ganenc.inversion import Newton, Task, Tune, build_operator, invert
from ganenc.latents import Latents
from ganenc_registry.components import Context
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Map, Part, Prior, Vector
from rounding import close
from torch import Tensor, nn
from toys import ToyConditional, ToyGenerator, make_objective, small_encoder, toy_spec

PIXELS, NUMBERS = 16, 5


class Linear(Generator):
    """Pixels that are sums of the values of z, of which some weigh a hundred times more than others."""

    def __init__(self, size: tuple[int, int] = (4, 4), layout: tuple[Part, ...] = (Vector(dim=NUMBERS),)) -> None:
        super().__init__(GeneratorSpec(family="linear", size=size, channels=1, prior=Prior(dim=NUMBERS), layout=layout))
        draws = torch.randn(PIXELS, NUMBERS, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        self.weight = nn.Parameter(draws * torch.logspace(0, -2, NUMBERS))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        return (latents["z"] @ self.weight.T).reshape(-1, 1, 4, 4)


class Guess(nn.Module):
    """An encoder that says the same of every image."""

    def __init__(self, generator: Generator, **values: float) -> None:
        super().__init__()
        self.generator, self.values = generator, values

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Latents:
        start = self.generator.complete(self.generator.sample(1, seed=3)).expand(len(images))
        found: Mapping[str, Tensor] = {name: torch.full_like(start[name], one) for name, one in self.values.items()}
        return start.replace(**found)


@pytest.mark.parametrize("near", [0.0, 0.3, 10.0])
def test_it_ends_where_the_normal_equations_do(near: float) -> None:
    """(W^T W / P + near / (D u^2)) (z - z0) = W^T (y - W z0) / P, u being the deviation of draws."""
    generator = Linear()
    images = torch.linspace(-1, 1, 3 * PIXELS, dtype=torch.float64).sin().reshape(3, 1, 4, 4)
    found = Newton.of(steps=30, near=near).invert(images, generator, Guess(generator, z=0.2))
    weight, unit = generator.weight.detach(), generator.sample(8, seed=0)["z"].std()
    start = torch.full((3, NUMBERS), 0.2, dtype=torch.float64)
    bent = weight.T @ weight / PIXELS + near / (NUMBERS * unit**2) * torch.eye(NUMBERS, dtype=torch.float64)
    slope = (images.reshape(3, PIXELS) - start @ weight.T) @ weight / PIXELS
    wanted = start + torch.linalg.solve(bent, slope.T).T
    torch.testing.assert_close(found.latents["z"], wanted, rtol=1e-6, atol=1e-8)
    errors = (wanted @ weight.T - images.reshape(3, PIXELS)).square().mean(1)
    assert [rows[-1]["total"] for rows in found.history] == pytest.approx(errors.tolist(), rel=1e-6)


def test_a_step_does_more_than_one_down_the_gradient_does() -> None:
    """The steepest descent of exact length, with as many gradients; curvatures here are 10,000 times apart."""
    generator, z = Linear(), torch.zeros(NUMBERS, dtype=torch.float64)
    images = generator.synthesize(generator.sample(1, seed=4)).detach()
    weight, wanted = generator.weight.detach(), images.flatten()
    for _ in range(9):
        slope = weight.T @ (weight @ z - wanted)
        z = z - slope * slope.square().sum() / (weight @ slope).square().sum()
    found = Newton.of(steps=8).invert(images, generator, Guess(generator, z=0.0))
    assert found.history[0][-1]["total"] < 0.1 * float((weight @ z - wanted).square().mean())


@pytest.mark.parametrize("labelled", [False, True])
def test_styles_and_vectors_move_and_all_else_stays(labelled: bool) -> None:
    generator = (ToyConditional() if labelled else ToyGenerator(toy_spec((8, 8)))).freeze()
    encoder, labels = small_encoder(generator), torch.tensor([0, 2]) if labelled else None
    others = ToyConditional(seed=7) if labelled else ToyGenerator(generator.spec, seed=7)
    with torch.no_grad():
        images = others.synthesize(others.sample(2, seed=9, labels=labels))
        once = generator.complete(encoder(images, labels=labels), labels=labels)
        errors = (generator.synthesize(once) - images).square().flatten(1).mean(1)
    told: list[int] = []
    found = invert(
        images, generator, encoder, {"name": "newton", "options": {"steps": 4}}, labels=labels,
        on_step=lambda photo, step, steps, terms: told.append(step),
    )  # fmt: skip
    moved = [part.name for part in generator.spec.layout if hasattr(part, "dim") and part.kind in ("styles", "vector")]
    assert told == [1, 2, 3, 4]
    assert moved
    for name, one in found.latents.tensors.items():
        assert torch.equal(one, once[name]) == (name not in moved)
    for rows, error in zip(found.history, errors.tolist()):
        down = [row["total"] for row in rows]
        assert down == sorted(down, reverse=True)
        assert down[-1] < error
    with torch.no_grad():
        close(found.reconstructions, generator.synthesize(found.latents), terms=100, depth=20)


def test_photos_do_not_touch_one_another_and_are_held_to_where_they_begin() -> None:
    generator = ToyGenerator(toy_spec((8, 8))).freeze().double()
    encoder = small_encoder(generator).double()
    with torch.no_grad():
        others = ToyGenerator(generator.spec, seed=7).double()
        images = others.synthesize(others.sample(3, seed=9))
        once = encoder(images)["w"]
    gone = []
    for near in (0.0, 1.0, 1e6):
        found = Newton.of(steps=5, near=near).invert(images, generator, encoder)
        alone = Newton.of(steps=5, near=near).invert(images[1:2], generator, encoder)
        torch.testing.assert_close(alone.latents["w"], found.latents["w"][1:2], rtol=1e-6, atol=1e-8)
        gone.append(float((found.latents["w"] - once).square().mean()))
    assert gone[0] > gone[1] > 1e3 * gone[2]


@pytest.mark.parametrize(("objective", "steps"), [(False, 60), (True, 60), (False, 7)])
def test_what_is_found_of_an_operator_belongs_to_the_best_point_and_is_true(objective: bool, steps: int) -> None:
    generator = Linear()
    images = generator.synthesize(generator.sample(2, seed=4)).detach()
    seen = torch.cat(
        [build_operator(f"blur:{sigma}", Context())(one) for sigma, one in zip((0.7, 1.1), images.split(1))]
    )
    options = {"steps": steps, "objective": objective, "start": "draws", "draws": 20}
    done = invert(
        seen, generator, None, {"name": "newton", "options": options}, operator="blur:?",
        objective=make_objective({"mse": 1.0}, "none", spec=generator.spec),
    )  # fmt: skip
    assert done.seen is not None
    errors = (done.seen.through(done.reconstructions) - seen).square().flatten(1).mean(1)
    assert [rows[-1]["total"] for rows in done.history] == pytest.approx(errors.tolist(), rel=1e-5)
    if steps == 60:
        assert [one.found()["sigma"] for one in done.seen.operators] == pytest.approx([0.7, 1.1], rel=0.05)


def test_equal_photos_are_found_alike() -> None:
    generator = Linear()
    image = generator.synthesize(generator.sample(1, seed=4)).detach()
    seen = build_operator("blur:0.7", Context())(image).repeat(2, 1, 1, 1)
    method = {"name": "newton", "options": {"steps": 9, "start": "draws", "draws": 20}}
    done = invert(seen, generator, None, method, operator="blur:?", objective=make_objective({"mse": 1.0}))
    assert done.seen is not None
    one, other = (operator.found()["sigma"] for operator in done.seen.operators)
    assert one == pytest.approx(other, rel=1e-4)


def test_what_cannot_move_or_begin_is_refused() -> None:
    layout = (Map(channels=1, height=4, width=4),)
    with pytest.raises(LatentsError, match="linear has neither styles nor vectors to move; use 'optimize'"):
        Newton.of().settled(Linear(layout=layout), None)
    generator = ToyGenerator().freeze()
    with pytest.raises(SpecError, match="The method 'newton' needs an encoder"):
        invert(torch.zeros(1, 3, 16, 16), generator, None, "newton")
    with pytest.raises(LatentsError, match="linear has no styles, so there is no space; leave it out"):
        Newton.of(space="w").settled(Linear(), None)


def test_without_an_encoder_it_begins_at_the_best_draw() -> None:
    generator, z = Linear(), Linear().draw(20, seed=5)
    images = generator.synthesize(Latents(generator.spec.layout, {"z": z[[7, 3]] + 1e-3})).detach()
    found = invert(
        images, generator, None, {"name": "newton", "options": {"start": "draws", "draws": 20, "near": 1e9}}, seed=5
    )
    torch.testing.assert_close(found.latents["z"], z[[7, 3]], rtol=0, atol=1e-5)


def test_of_w_one_style_moves_for_all_layers() -> None:
    """Down to the image of a style that draws do not hold, which has as many numbers as pixels tell apart."""
    generator = ToyGenerator(toy_spec((8, 8))).freeze().double()
    wanted = Latents(generator.spec.layout, generator.sample(2, seed=9).tensors).tie()
    with torch.no_grad():
        images = generator.synthesize(generator.complete(wanted))
    errors = []
    for space in ("w", "w+"):
        options = {"start": "draws", "draws": 5, "space": space, "steps": 40}
        found = invert(images, generator, None, {"name": "newton", "options": options})
        assert found.latents.space == space
        tied = found.latents["w"][:, :1].expand_as(found.latents["w"])
        assert torch.equal(found.latents["w"], tied) == (space == "w")
        errors.append([rows[-1]["total"] / rows[0]["total"] for rows in found.history])
    assert max(map(max, errors)) < 0.1


@pytest.mark.parametrize("factor", [1.0, 1e3])
def test_towards_an_objective(factor: float) -> None:
    """Towards the mean squared error, however it is weighed, it goes where it goes by pixels."""
    generator, images = Linear(), torch.linspace(-1, 1, 2 * PIXELS, dtype=torch.float64).reshape(2, 1, 4, 4)
    task = Task(images, generator, Guess(generator, z=0.2), objective=make_objective({"mse": factor}))
    plain, weighed = (Newton.of(steps=5, near=0.1, objective=objective) for objective in (False, True))
    assert not plain.needs_objective
    assert weighed.needs_objective
    found, same = weighed.work(task), plain.work(replace(task, objective=None))
    torch.testing.assert_close(found.latents["z"], same.latents["z"], rtol=1e-6, atol=1e-9)
    assert set(found.history[0][0]) == {"step", "image/mse", "total"}


@pytest.mark.parametrize(("size", "given"), [((4, 4), "newton"), ((512, 512), "encode")])
def test_tuning_begins_at_it_where_images_are_small(size: tuple[int, int], given: str) -> None:
    generator: Any = Linear(size)
    pivot: Any = Tune.of().settled(generator, Guess(generator)).options.pivot
    assert pivot.name == given
    assert (
        Tune.of().settled(Linear(layout=(Map(channels=1, height=4, width=4),)), Guess(generator)).options.pivot.name
        == "encode"
    )
