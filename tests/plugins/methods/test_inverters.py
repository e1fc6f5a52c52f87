"""The inverters of other methods, step by step against their formulas, on generators of several kinds of latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ganenc.encoders import build_encoder
from ganenc.generators import Generator, NoiseChoice
from ganenc.inversion import Inverter, build_operator, invert
from ganenc.latents import Latents
from ganenc.objectives import Objective
from ganenc_plugin_methods.image2stylegan import Image2StyleGAN
from ganenc_plugin_methods.indomain_inverter import SCALE, InDomainInverter
from ganenc_plugin_methods.perceptual import Features
from ganenc_plugin_methods.pti import PTI
from ganenc_plugin_methods.rfm import RFM
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import Tensor, nn
from toys import ToyConditional, ToyGenerator, make_objective, small_encoder, toy_spec

SETTING = "truncation"


class Plain(Generator):
    """Pixels that are sums of the three values of z, from a uniform prior."""

    def __init__(self) -> None:
        layout = (Vector(dim=3),)
        prior = Prior(kind="uniform", dim=3)
        super().__init__(GeneratorSpec(family="plain", size=(8, 8), prior=prior, layout=layout))
        rows = torch.arange(3.0 * 8 * 8 * 3).reshape(-1, 3).mul(1.7).sin() / 3
        self.weight = nn.Parameter(rows)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        return (latents["z"] @ self.weight.T).reshape(-1, 3, 8, 8)


def styled() -> Generator:
    return ToyGenerator(toy_spec((8, 8), dim=4))


KINDS: dict[str, Callable[[], Generator]] = {"styles": styled, "vector": Plain, "condition": ToyConditional}


class Case:
    """A generator in float64, its encoder, photos, an objective that has a backbone, and what it is made of."""

    def __init__(self, kind: str, backbone: Any) -> None:
        self.generator = KINDS[kind]().double().freeze()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            made = small_encoder(self.generator) if kind == "condition" else build_encoder(self.generator)
            self.encoder = made.double().eval()
            for one in self.encoder.parameters():  # It starts at the mean, whatever it sees.
                one.data.add_(0.1 * torch.randn_like(one))
            self.images = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1
        self.labels = torch.tensor([1, 2]) if self.generator.spec.classes else None
        self.backbone = backbone.double().freeze()
        losses = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
        self.objective: Objective = make_objective(losses, "center", backbone=self.backbone, spec=self.generator.spec)

    def invert(self, method: Inverter, **changes: Any) -> Any:
        given = {"labels": self.labels, "objective": self.objective, **changes}
        return invert(self.images, self.generator, self.encoder, method, **given)

    def complete(self, latents: Latents) -> Latents:
        return self.generator.complete(latents, labels=self.labels)

    def features(self, images: Tensor) -> list[Tensor]:
        return self.backbone(images).features

    def loss(self, latents: Latents, perceptual: float) -> Tensor:
        """The pixels' mean square, and that of features, by hand."""
        made = self.generator.synthesize(latents)
        pairs = zip(self.features(made), self.features(self.images))
        seen = sum(((a - b) ** 2).sum((1, 2, 3)) / a[0].numel() for a, b in pairs)
        return ((made - self.images) ** 2).flatten(1).mean(1) + perceptual * seen


class Images(nn.Module):
    """What a generator makes, as a forward pass."""

    def __init__(self, inner: Generator) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, latents: Latents) -> Tensor:
        return self.inner.synthesize(latents)


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 200)
    return Case(request.param, tiny_backbone)


def adam(
    free: dict[str, Tensor], loss: Callable[[], Tensor], steps: int, rate: float, betas: tuple[float, float]
) -> list[Tensor]:
    """Adam at one rate, written out: what the loss was at each step, and moves the tensors."""
    names, seen = list(free), []
    means, squares = ({name: torch.zeros_like(free[name]) for name in names} for _ in range(2))
    for step in range(1, steps + 1):
        leaves = [free[name].requires_grad_() for name in names]
        values = loss()
        seen.append(values.detach())
        for name, gradient in zip(names, torch.autograd.grad(values.sum(), leaves, allow_unused=True)):
            if gradient is None:
                continue
            means[name] = betas[0] * means[name] + (1 - betas[0]) * gradient
            squares[name] = betas[1] * squares[name] + (1 - betas[1]) * gradient**2
            root = (squares[name] / (1 - betas[1] ** step)).sqrt() + 1e-8
            free[name] = (free[name] - rate * means[name] / (1 - betas[0] ** step) / root).detach()
    return seen


def same(found: Any, wanted: Tensor) -> None:
    torch.testing.assert_close(torch.as_tensor(found, dtype=torch.float64), wanted, rtol=1e-8, atol=1e-10)


def totals(done: Any) -> Tensor:
    """The total of each step, of each photo."""
    return torch.tensor([[row["total"] for row in rows] for rows in done.history], dtype=torch.float64).T


def test_image2stylegan_is_adam_on_pixels_and_features_from_the_mean(case: Case) -> None:
    done = case.invert(Image2StyleGAN.of(steps=4, perceptual=0.3))
    center = case.generator.center(labels=case.labels)
    start = case.complete(center if len(center) == 2 else center.expand(2))
    name = "w" if "w" in start else "z"
    free = {name: start[name].clone()}
    seen = adam(free, lambda: case.loss(start.replace(**free), 0.3), 4, 0.01, (0.9, 0.999))
    same(totals(done), torch.stack(seen))
    same(done.latents[name], free[name])
    for other in set(start.tensors) - {name}:  # What is no style or vector stays.
        assert torch.equal(done.latents[other], start[other])


def test_image2stylegan_begins_at_draws(case: Case) -> None:
    one, same_one, other = (
        case.invert(Image2StyleGAN.of(steps=1, rate=1e-9, start="uniform"), seed=seed) for seed in (1, 1, 2)
    )
    name = "w" if "w" in one.latents else "z"
    assert torch.equal(one.latents[name], same_one.latents[name])
    assert not torch.allclose(one.latents[name], other.latents[name])
    assert one.latents[name].abs().max() <= 1
    assert one.latents[name].std() == pytest.approx(1 / 3**0.5, rel=0.5)
    assert not torch.allclose(one.latents[name][0], one.latents[name][1])


def test_z_of_a_uniform_prior_stays_inside(tiny_backbone: Any) -> None:
    case = Case("vector", tiny_backbone)
    case.images = 9 * case.images
    done = case.invert(Image2StyleGAN.of(steps=30, rate=0.2))
    assert done.latents["z"].abs().max() == 1


def test_in_domain_holds_latents_to_what_the_encoder_says_of_their_image(case: Case) -> None:
    """Its term against the formula, with the gradient through the encoder and on both sides."""
    method = InDomainInverter.of(steps=3, perceptual=1e-5, domain=0.7)
    done = case.invert(method)
    with torch.no_grad():
        start = case.complete(case.encoder(case.images, labels=case.labels))
    names = [name for name in ("w", "const", "z") if name in start]
    free = {name: start[name].clone() for name in names}
    apart: list[Tensor] = []

    def loss() -> Tensor:
        latents = start.replace(**free)
        again = case.encoder(case.generator.synthesize(latents), labels=case.labels)
        terms = [((free[name] - again[name]) ** 2).flatten(1).mean(1) for name in names]
        apart.append(terms[0].detach())
        return case.loss(latents, 1e-5 * 127.5**2) + 0.7 * sum(terms)

    seen = adam(free, loss, 3, 0.01, (0.9, 0.999))
    same(totals(done), torch.stack(seen))
    found = [[row[f"latent/{names[0]}/mse"] for row in rows] for rows in done.history]
    same(found, torch.stack(apart).T)
    if totals(done).diff(dim=0).lt(0).all():  # Otherwise another step than the last is kept.
        same(done.latents[names[0]], free[names[0]])
    assert SCALE == 127.5**2
    assert not any(one.grad is not None for one in case.encoder.parameters())


def test_in_domain_stays_nearer_to_the_domain(tiny_backbone: Any) -> None:
    case = Case("styles", tiny_backbone)

    def far(domain: float) -> float:
        done = case.invert(InDomainInverter.of(steps=30, domain=domain))
        again = case.encoder(done.reconstructions)["w"]
        return (again - done.latents["w"]).square().mean().item()

    assert far(20.0) < 0.8 * far(0.0)


@pytest.mark.parametrize("place", [0, 1])
def test_rfm_moves_the_encoder_and_keeps_latents_short(case: Case, place: int) -> None:
    """Each photo has an encoder of its own."""
    done = case.invert(RFM.of(steps=2, norm=0.5))
    reference, before = case.objective.prepare(case.images, labels=case.labels), case.encoder.state_dict()
    labels = None if case.labels is None else case.labels[place : place + 1]
    free = {name: one.detach().clone() for name, one in case.encoder.named_parameters()}

    def loss() -> Tensor:
        given = (case.images[place : place + 1],)
        found = torch.func.functional_call(case.encoder, free, given, {"labels": labels})
        made = case.generator.synthesize(case.generator.complete(found, labels=labels))
        length = found["w" if "w" in found else "z"].square().sum().sqrt()
        return case.objective(made, reference.select([place])).image + 0.5 * length

    seen = adam(free, loss, 2, 0.005, (0.0, 0.99))
    torch.testing.assert_close(totals(done)[:, place], torch.cat(seen), rtol=1e-6, atol=1e-9)
    assert all(torch.equal(one, before[name]) for name, one in case.encoder.state_dict().items())


def test_rfm_makes_latents_shorter(tiny_backbone: Any) -> None:
    case = Case("styles", tiny_backbone)
    lengths = [float(case.invert(RFM.of(steps=15, norm=norm)).latents["w"].norm()) for norm in (0.0, 2.0)]
    assert lengths[1] < 0.9 * lengths[0]


def test_pti_tunes_weights_at_one_rate_around_one_style(case: Case) -> None:
    """Without a backbone by pixels alone: the weights against Adam written out, from the pivot that is reported."""
    pixels = make_objective({"mse": 3.0})
    method = PTI.of(steps=7, share=0.5, rate=0.01)
    done = invert(case.images[:1], case.generator, None, method, labels=None if case.labels is None else [1],
                  objective=pixels)  # fmt: skip
    assert [row["step"] for row in done.history[0]] == [*range(1, 8)]
    assert "locality" not in done.history[0][-1]
    pivot, tuning = done.sample(0)
    if "w" in pivot:
        assert torch.equal(pivot["w"], pivot["w"][:, :1].expand_as(pivot["w"]))
        assert "noise.0" in pivot
    own = dict(case.generator.named_parameters())
    free = {name: own[name].detach().clone() for name in tuning}
    pivot.info.clear()

    def loss() -> Tensor:
        tuned = {f"inner.{name}": one for name, one in free.items()}
        made = torch.func.functional_call(Images(case.generator), tuned, (pivot,))
        return ((made - case.images[:1]) ** 2).flatten(1).mean(1)

    seen = adam(free, loss, 3, 0.01, (0.9, 0.999))
    same(totals(done)[4:], torch.stack(seen))
    for name, difference in tuning.items():
        same(own[name] + difference, free[name])


def test_pti_ends_where_lpips_is_low_enough(tiny_backbone: Any) -> None:
    case = Case("styles", tiny_backbone)
    every = case.invert(PTI.of(steps=12, enough=0.0, locality=0.1, rate=0.01))
    curve = [row["image/lpips"] for row in every.history[0]]
    assert len(curve) == 12
    assert "image/mse" not in every.history[0][0]  # The pivot is found by LPIPS alone.
    assert "image/mse" in every.history[0][-1]
    assert "locality" in every.history[0][-1]
    first = 7  # 0.5625 of 12 steps.
    stop = sorted(curve[first:])[2]
    some = case.invert(PTI.of(steps=12, enough=stop, locality=0.1, rate=0.01))
    ended = next(place for place, value in enumerate(curve) if place >= first and value <= stop)
    assert len(some.history[0]) == ended + 1
    done = case.invert(PTI.of(steps=12, enough=9.0))
    assert len(done.history[0]) == first + 1
    assert not any(done.tuning)


@pytest.mark.parametrize(
    "method",
    [
        lambda steps: Image2StyleGAN.of(steps=steps),
        lambda steps: InDomainInverter.of(steps=steps, domain=0.0),
        lambda steps: PTI.of(steps=2 + steps, share=2 / (2 + steps), rate=0.01),
    ],
    ids=["image2stylegan", "in-domain", "pti"],
)
def test_what_was_seen_is_compared(method: Callable[[int], Inverter]) -> None:
    """Of a smaller photo: the loss of the fourth step is that of what three steps made, made smaller."""
    generator = styled().double().freeze()
    torch.manual_seed(5)
    photo = torch.rand(1, 3, 4, 4, dtype=torch.float64) * 2 - 1
    encoder, smaller = build_encoder(generator).double(), build_operator("downscale:2", Context())
    three, four = (
        invert(photo, generator, encoder, method(steps), operator=smaller, objective=make_objective({"mse": 1.0}))
        for steps in (3, 4)
    )
    wanted = (smaller(three.reconstructions) - photo).square().mean()
    same(four.history[0][-1]["image/mse"], wanted)


@pytest.mark.parametrize("method", [InDomainInverter.of(), RFM.of()])
def test_what_needs_an_encoder_says_so(method: Inverter) -> None:
    with pytest.raises(SpecError, match="needs an encoder; train one"):
        invert(torch.zeros(1, 3, 8, 8), styled(), None, method, objective=make_objective({"mse": 1.0}))


def test_features_are_compared_as_they_are(tiny_backbone: Any) -> None:
    loss = Features(context=Context(value_range=(0.0, 1.0), load_backbone=lambda: tiny_backbone))
    one, other = torch.rand(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = loss(one, loss.prepare(other))
    pairs = zip(tiny_backbone(2 * one - 1).features, tiny_backbone(2 * other - 1).features)
    wanted = sum((a - b).square().flatten(1).mean(1) for a, b in pairs)
    torch.testing.assert_close(found, wanted)
