"""Steps that a GPU records and replays: by a card of ours, which does again what it recorded; and on a real one."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
import torch
from ganenc.inversion import Card, Finetune, Inversion, Inverter, Optimize, Stepper, Tune, card_for
from ganenc.latents import Latents
from ganenc.objectives import ObjectiveResult
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Vector
from torch import Tensor
from toys import make_objective, small_encoder

MSE = make_objective({"mse": 1.0})
PIVOT = {"name": "optimize", "options": {"steps": 3, "start": "center", "starts": 1}}
METHODS = {
    "finetune": Finetune.of(steps=5, rate=0.01, batch=1),
    "optimize": Optimize.of(steps=5, start="center", starts=1),
    "tune": Tune.of(steps=5, pivot=PIVOT, edits=0.5, locality=0.5),
}


class OurCard:
    """Records nothing, but does the work again, and writes what comes out to where it was written the first time."""

    def __init__(self, parameters: Iterable[Tensor], *, against: str = "", fails: bool = False) -> None:
        self.parameters, self.against, self.fails, self.replays = list(parameters), against, fails, 0

    def beside(self, work: Callable[[], Any]) -> Any:
        return work()

    def watched(self, work: Callable[[], Any]) -> tuple[Any, str]:
        return work(), self.against

    def record(self, work: Callable[[], Any]) -> tuple[Any, Any]:
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        self.work, self.written = work, work()
        self.gradients = [one.grad for one in self.parameters]
        return self, self.written

    def replay(self) -> None:
        self.replays += 1
        _, result = self.work()
        for old, new in zip([*self.written[1].terms.values()], result.terms.values(), strict=True):
            old.data.copy_(new.data)
        for name in ("image", "images"):
            getattr(self.written[1], name).data.copy_(getattr(result, name).data)
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            if gradient is not None:
                gradient.copy_(parameter.grad)

    def finish(self) -> None: ...

    def reset(self) -> None: ...


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[OurCard]:
    """Has every descent find a card, as they come."""
    found: list[OurCard] = []

    def find(parameters: Iterable[Tensor], steps: int) -> OurCard:
        found.append(OurCard(parameters))
        return found[-1]

    monkeypatch.setattr("ganenc.inversion.descent.card_for", find)
    return found


def inverted(toy: Any, method: Inverter) -> tuple[Inversion, list[Tensor]]:
    """A photo, inverted, and the images of the steps."""
    told: list[Tensor] = []
    images = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1

    def keep(photo: int, step: int, steps: int, terms: Any) -> None:
        if terms.images is not None:
            told.append(terms.images)

    return method.invert(images, toy, small_encoder(toy), objective=MSE, on_step=keep), told


@pytest.mark.parametrize("name", METHODS)
def test_replayed_steps_are_the_steps(toy: Any, name: str, cards: list[OurCard], monkeypatch: Any) -> None:
    found, told = inverted(toy, METHODS[name])
    assert cards[-1].replays == 2, "the fourth, which is compared, and the one after it"
    monkeypatch.setattr("ganenc.inversion.descent.card_for", lambda parameters, steps: None)
    wanted, seen = inverted(toy, METHODS[name])
    assert torch.equal(found.reconstructions, wanted.reconstructions)
    assert found.history == wanted.history
    assert all(torch.equal(one, other) for one, other in zip(told, seen, strict=True)), "none was written over"


def toy_stepper(card: OurCard | None, weight: Tensor, scale: Callable[[], float] = lambda: 1.0) -> Stepper:
    """Steps on a weight: the square of its difference to what is given."""

    def take(wanted: Tensor) -> tuple[Latents, ObjectiveResult, Tensor]:
        apart = scale() * (weight - wanted).square().sum(1)
        images = weight.detach().clone()
        result = ObjectiveResult(apart.mean(), apart, apart, {"total": apart}, images)
        return Latents((Vector(dim=2),), {"z": weight}), result, apart.sum()

    return Stepper(take, [weight], card)  # type: ignore[arg-type]


def gradients(card: OurCard | None, steps: int = 8, **options: Any) -> list[Tensor]:
    """Of some steps, on what grows with them."""
    weight, found = torch.ones(1, 2, requires_grad=True), []
    if card is not None:
        card.parameters = [weight]
    stepper = toy_stepper(card, weight, **options)
    for step in range(steps):
        _, result = stepper(torch.full((1, 2), float(step)))
        assert options or result.image.detach() == (weight.detach() - step).square().sum()
        assert weight.grad is not None
        found.append(weight.grad.clone())
        with torch.no_grad():
            weight.sub_(0.1 * weight.grad)
    stepper.close()
    return found


@pytest.mark.parametrize(
    ("card", "replays"),
    [
        (OurCard([]), 5),
        (OurCard([], fails=True), 0),
        (OurCard([], against="it waits for the device"), 0),
    ],
)
def test_whatever_happens_steps_have_their_gradients(card: OurCard, replays: int) -> None:
    assert all(torch.equal(one, other) for one, other in zip(gradients(card), gradients(None), strict=True))
    assert card.replays == replays


def test_a_replay_that_comes_out_otherwise_is_the_only_one() -> None:
    """What counts its calls: the recording, and each replay, is a call more."""
    card, calls = OurCard([]), itertools.count(1)
    found = gradients(card, scale=lambda: float(next(calls)))
    assert card.replays == 1
    assert all(one.isfinite().all() for one in found)


def test_what_is_given_in_another_shape_is_taken_as_it_comes() -> None:
    weight = torch.ones(1, 2, requires_grad=True)
    card = OurCard([weight])
    stepper = toy_stepper(card, weight)
    for _ in range(5):
        stepper(torch.zeros(1, 2))
    replays = card.replays
    assert replays == 2
    _, result = stepper(torch.zeros(3, 2))
    assert result.per_sample.shape == (3,)
    assert card.replays == replays


def test_nothing_is_recorded_on_a_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert card_for([torch.zeros(1)], 500) is None
    monkeypatch.setenv("GANENC_CUDA_GRAPHS", "off")
    with pytest.raises(SpecError, match="GANENC_CUDA_GRAPHS is 'off'; it takes 0 or 1"):
        card_for([torch.zeros(1)], 500)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@needs_gpu
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_replays_what_it_takes(toy: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = copy.deepcopy(toy).to("cuda")
    encoder, images = small_encoder(generator).to("cuda"), torch.rand(1, 3, 8, 8, device="cuda") * 2 - 1
    options = {**METHODS[name].options.to_mapping(), "steps": 40}
    method, ways = type(METHODS[name]).of(**options), []
    replays: list[int] = []
    replay = torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(1), replay(graph))[1])
    for told in "01":
        monkeypatch.setenv("GANENC_CUDA_GRAPHS", told)
        done = partial(method.invert, images, generator, encoder, objective=copy.deepcopy(MSE).to("cuda"))()
        ways.append(done.history[0][-1]["total"])
    assert len(replays) == 37
    assert ways[1] == pytest.approx(ways[0], rel=0.05)


@needs_gpu
def test_what_waits_for_a_gpu_or_draws_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(torch.device("cuda", 0))
    one = torch.ones(1, device="cuda")
    assert card.watched(lambda: one + 1)[1] == ""
    assert card.watched(lambda: float(one))[1] == "it waits for the device"
    assert card.watched(lambda: torch.randn(2, device="cuda"))[1] == "it draws random numbers"
    assert card.watched(lambda: torch.randn(2))[1] == "it draws random numbers"
    monkeypatch.setattr("ganenc.inversion.graphs._failed", [])
    with pytest.raises(RuntimeError):
        card.record(lambda: float(one))
    assert card_for([one], 500) is None, "none is tried again"
    assert torch.randn(4, device="cuda").isfinite().all()
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
