"""Pivotal tuning: the steps against formulas, what moves and what stays, and where the tuning is applied."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.generators import Generator, NoiseChoice
from ganenc.inversion import Inversion, Moves, Task, Tune, between, carried, invert
from ganenc.latents import Latents
from ganenc.models import model_hash
from ganenc_registry.errors import CheckpointError, LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from rounding import close
from torch import Tensor, nn
from toys import ToyGenerator, make_objective

PIVOT = {"name": "optimize", "options": {"steps": 3, "draws": 4, "start": "draws", "starts": 1}}
MSE = make_objective({"mse": 1.0})


class Linear(Generator):
    """Four pixels, each a sum of the three values of z."""

    def __init__(self) -> None:
        layout = (Vector(dim=3),)
        super().__init__(GeneratorSpec(family="linear", size=(2, 2), channels=1, prior=Prior(dim=3), layout=layout))
        self.weight = nn.Parameter(torch.arange(12.0, dtype=torch.float64).reshape(4, 3).sin() / 3)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        return (latents["z"] @ self.weight.T).reshape(-1, 1, 2, 2)


def images(toy: Any, n: int = 2) -> Tensor:
    """Images that the toy does not make, though others with its size and range do."""
    with torch.no_grad():
        return ToyGenerator(toy.spec, seed=7).synthesize(toy.sample(n, seed=9))


def tuned(toy: Any, **options: Any) -> Inversion:
    options = {"steps": 4, "rate": 0.003, "pivot": PIVOT, **options}
    return invert(images(toy), toy, None, {"name": "tune", "options": options}, objective=MSE)


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


@pytest.mark.parametrize("alpha", [0.5, 30.0])
def test_steps_are_those_of_the_formulas(alpha: float) -> None:
    """Adam, written out, on the gradient of |Wz - y|^2 / 4 + locality |Wr - W0 r|^2 / 4."""
    generator, steps, rate, locality, seed = Linear(), 4, 0.05, 0.7, 5
    target = torch.tensor([[0.4, -0.2], [0.1, 0.9]], dtype=torch.float64)[None, None]
    given = {"alpha": alpha, "locality": locality, "samples": 2, "edits": 0}
    method = Tune.of(steps=steps, rate=rate, pivot=PIVOT, **given)
    found = method.invert(target, generator, None, objective=MSE, seed=seed)
    start, z, y = generator.weight.detach(), found.latents["z"], target.reshape(1, 4)
    weight, mean, square, held = start.clone(), torch.zeros(4, 3), torch.zeros(4, 3), []
    for step in range(1, steps + 1):
        draws = generator.draw(2, seed=seed, first=2 * (step - 1))
        way = draws - z
        around = z + way * (alpha / way.norm(dim=1, keepdim=True)).clamp(max=1)
        error = around @ (weight - start).T
        gradient = (z @ weight.T - y).T @ z / 2 + locality * error.T @ around / 4
        held.append(locality * float(error.square().mean()))
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient.square()
        rises, falls = 0.5, 0.5 * (1 + math.cos(math.pi * (step - 2) / (steps - 1)))
        moves = (mean / (1 - 0.9**step)) / ((square / (1 - 0.99**step)).sqrt() + 1e-8)
        weight = weight - rate * (rises if step == 1 else falls) * moves
    torch.testing.assert_close(start + found.tuning[0]["weight"], weight, rtol=1e-9, atol=1e-12)
    assert [row["locality"] for row in found.history[0][3:]] == pytest.approx(held, rel=1e-9, abs=1e-15)
    assert [row["step"] for row in found.history[0]] == list(range(1, 3 + steps + 1))
    again = z @ weight.T
    torch.testing.assert_close(found.reconstructions.reshape(1, 4), again, rtol=1e-9, atol=1e-12)


def test_edits_are_held_by_the_gradient_of_the_formula() -> None:
    """The first step of Adam, which goes by the gradient's signs, on |Wz - y|^2 / 4 + edits |Wm - t|^2 / 4."""
    generator, rate = Linear(), 0.05
    target = torch.tensor([[0.4, -0.2], [0.1, 0.9]], dtype=torch.float64)[None, None]
    for edits in (0.01, 10.0, 1000.0):
        method = Tune.of(steps=1, rate=rate, pivot=PIVOT, edits=edits)
        found = method.invert(target, generator, None, objective=MSE)
        pivot, start = Latents(found.latents.layout, {"z": found.latents["z"]}), generator.weight.detach()
        moved, _ = Moves(Task(target, generator, None, objective=MSE), pivot)(0)
        before, after = (one["z"] @ start.T for one in (pivot, moved))
        wanted = carried(*(one.reshape(1, 1, 2, 2) for one in (target, before, after)), width=2.0).reshape(1, 4)
        gradient = (before - target.reshape(1, 4)).T @ pivot["z"] + edits * (after - wanted).T @ moved["z"]
        torch.testing.assert_close(found.tuning[0]["weight"], -rate / 2 * gradient.sign(), rtol=1e-4, atol=0)
        assert found.history[0][-1]["edits"] == pytest.approx(edits * float((after - wanted).square().mean()))


def test_others_are_as_far_from_the_pivot_as_alpha_says(toy: Any) -> None:
    start, drawn = toy.complete(toy.sample(3, seed=1)), toy.sample(3, seed=2)
    near, far = between(start, drawn, 0.25), between(start, drawn, 1e6)
    lengths = (near["w"] - start["w"]).norm(dim=2)  # Of each of the styles, which are alike here.
    torch.testing.assert_close(lengths, torch.full_like(lengths, 0.25))
    close(far["w"], drawn["w"])
    assert torch.equal(near["const"], start["const"])
    assert torch.equal(between(start, start, 1.0)["w"], start["w"])


def test_locality_holds_other_images(toy: Any) -> None:
    others = toy.complete(toy.sample(4, seed=77))
    with torch.no_grad():
        wanted = toy.synthesize(others)
        moved = []
        for locality in (0.0, 30.0):
            done = tuned(toy, steps=12, locality=locality, edits=0)
            with toy.tuned(done.tuning[0]):
                moved.append(float((toy.synthesize(others) - wanted).square().mean()))
    assert 0 < moved[1] < 0.7 * moved[0]


def test_the_generator_stays_and_its_tuning_gives_the_same_pixels(toy: Any, tmp_path: Path) -> None:
    before = {name: (tensor.clone(), tensor.data_ptr()) for name, tensor in toy.state_dict().items()}
    known, pivot = model_hash(toy), invert(images(toy), toy, None, PIVOT, objective=MSE)
    done = tuned(toy)
    for name, tensor in toy.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.data_ptr() == before[name][1]
    assert not any(one.requires_grad for one in toy.parameters())
    errors = [float((one.reconstructions - images(toy)).square().mean()) for one in (pivot, done)]
    assert errors[1] < errors[0]
    close(done.latents["w"], pivot.latents["w"], terms=36, depth=30)
    for place in range(2):
        latents, tuning = done.sample(place)
        assert "mapping.weight" not in tuning  # Which plays no part in images of latents.
        with torch.no_grad(), toy.tuned(tuning):
            assert model_hash(toy) == known  # That of the weights as they were.
            assert torch.equal(toy.synthesize(latents)[0], done.reconstructions[place])
            with pytest.raises(CheckpointError, match="tuned already"), toy.tuned(tuning):
                pass
        with pytest.raises(LatentsError, match="tuned"):
            toy.synthesize(latents)
    with pytest.raises(LatentsError, match="tuned"):
        toy.synthesize(done.latents)
    for latents in (done.latents, done.sample(0)[0]):
        with pytest.raises(LatentsError, match="cannot hold the tuned weights"):
            latents.save(tmp_path / "w.npz")
    with pytest.raises(LatentsError, match="differently tuned"):
        done.sample(0)[0].lerp(done.sample(1)[0], 0.5)
    alone = Tune.of(steps=4, rate=0.003, pivot=PIVOT).invert(images(toy)[1:], toy, None, objective=MSE)
    close(alone.reconstructions, done.reconstructions[1:], terms=36, depth=10 * 7)


def test_a_tuning_ends_when_what_is_done_with_it_fails(toy: Any) -> None:
    before, center = toy.to_image.bias.clone(), toy.center()["w"]
    tuning = {"to_image.bias": torch.ones(3), "mapping.bias": torch.ones(4, dtype=torch.float16)}
    with toy.tuned(tuning):
        assert torch.equal(toy.to_image.bias, before + 1)
        assert (toy.center()["w"] - center - 1).abs().max() < 0.2  # Of fewer draws.
    with pytest.raises(LatentsError), toy.tuned(tuning):
        toy.map(torch.zeros(1, 3))
    assert torch.equal(toy.to_image.bias, before)
    assert torch.equal(toy.center()["w"], center)
    with torch.inference_mode(), toy.tuned(tuning):
        pass
    assert torch.equal(toy.to_image.bias, before)


@pytest.mark.parametrize(
    ("tuning", "told"),
    [
        ({"to_image.bia": torch.ones(3)}, "no weights 'to_image.bia' to tune.*'to_image.bias'"),
        ({"to_image.bias": torch.ones(4)}, r"'to_image.bias' is \(4,\).* are \(3,\)"),
        ({"to_image.bias": torch.ones(3, dtype=torch.int64)}, "int64"),
        ({"to_image.bias": torch.tensor([0.0, math.nan, 0.0])}, "NaN"),
    ],
)
def test_differences_of_other_weights_are_refused(toy: Any, tuning: Any, told: str) -> None:
    with pytest.raises(CheckpointError, match=told), toy.tuned(tuning):
        pass


def test_what_is_named_is_tuned_alone(toy: Any) -> None:
    names = set(tuned(toy, weights=["convs.1", "affines.*.bias"]).tuning[0])
    wanted = {"convs.1.weight", "convs.1.bias", *(f"affines.{layer}.bias" for layer in range(toy.layers))}
    assert names == wanted
    with pytest.raises(SpecError, match="no weights 'to_imag'"):
        tuned(toy, weights="to_imag")
    with pytest.raises(SpecError, match="'tune' tunes weights itself"):
        Tune.of(pivot="tune").settled(toy, None)  # Before anything is tuned.


def test_photos_may_share_a_tuning(toy: Any) -> None:
    done = tuned(toy, together=True)
    assert done.tuning[0] is done.tuning[1]
    with torch.no_grad(), toy.tuned(done.tuning[0]):
        assert torch.equal(toy.synthesize(done.latents), done.reconstructions)
        way = done.sample(0)[0].lerp(done.sample(1)[0], 0.5)
        assert toy.synthesize(way).isfinite().all()


def test_images_made_together_or_one_by_one_are_to_one_result(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, as Adam makes steps of what rounding leaves of a gradient."""
    toy.double()
    together = tuned(toy, edits=0.5, locality=0.1)
    monkeypatch.setattr("ganenc.inversion.tune.AT_ONCE", 1)
    apart = tuned(toy, edits=0.5, locality=0.1)
    assert any(together.tuning)
    torch.testing.assert_close(together.reconstructions, apart.reconstructions, rtol=0, atol=1e-6)
    for one, other in zip(together.history[0], apart.history[0], strict=True):
        assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("rate", [1.0, 100.0])
def test_a_tuning_that_gains_nothing_is_told_and_left_out(toy: Any, rate: float) -> None:
    """Weights that lead away, and others that end in NaN; what is unknown is the pivot's, too."""
    options = {"steps": 4, "rate": rate, "pivot": PIVOT}
    with pytest.warns(UserWarning, match="4 steps of tuning brought the image no nearer"):
        done, pivot = (
            invert(images(toy, 1), toy, None, method, operator="blur:?", objective=MSE)
            for method in ({"name": "tune", "options": options}, PIVOT)
        )
    assert not any(done.tuning)
    assert torch.equal(done.reconstructions, pivot.reconstructions)
    assert done.seen is not None
    assert pivot.seen is not None
    assert done.seen.operators[0].found() == pivot.seen.operators[0].found()


def test_half_precision_is_what_comes_out(toy: Any) -> None:
    done = tuned(toy, half=True)
    assert {one.dtype for one in done.tuning[0].values()} == {torch.float16}
    latents, tuning = done.sample(0)
    with torch.no_grad(), toy.tuned(tuning):
        assert torch.equal(toy.synthesize(latents)[0], done.reconstructions[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pivot": "encode"}, "'encode' needs an encoder"),
        ({"pivot": "finetun"}, "finetun"),
        ({"pivot": {"name": "optimize", "options": {"step": 3}}}, r"method.options.pivot.options.step: .*steps"),
        ({"pivot": {"name": "tune", "options": {"steps": 1, "pivot": PIVOT, "rate": 0.003}}}, "tunes weights itself"),
        ({"locality": 0, "samples": 2}, "samples is of no use without locality"),
    ],
)
def test_wrong_options_are_told(toy: Any, options: Any, told: str) -> None:
    with pytest.raises(Exception, match=told) as raised:
        tuned(toy, **options)
    assert type(raised.value).__module__ == "ganenc_registry.errors"


def test_a_photo_that_is_left_alone_has_no_others_tuning(toy: Any) -> None:
    made = toy.synthesize(toy.center())  # Which the pivot, the centre, is to the bit: nothing can be gained.
    pivot = {"name": "optimize", "options": {"steps": 1, "rate": 1e-12, "start": "center"}}
    both = torch.cat([made, images(toy, 1)]).detach()
    done = Tune.of(steps=3, rate=0.003, pivot=pivot).invert(both, toy, None, objective=MSE)
    assert [bool(one) for one in done.tuning] == [False, True]
    assert "tuning" not in done.sample(0)[0].info
    for place in range(2):
        latents, tuning = done.sample(place)
        with torch.no_grad(), toy.tuned(tuning):
            assert torch.equal(toy.synthesize(latents)[0], done.reconstructions[place])
