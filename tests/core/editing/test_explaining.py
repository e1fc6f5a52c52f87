"""Explaining: a linear generator and a linear classifier, where the smallest change is known in closed form."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.editing import Direction, explain
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Prior, Styles, Vector
from torch import Tensor

SIDE, LAYERS, DIM = 4, 3, 2


class Linear(Generator):
    """Pixels are linear in styles, which are linear in z, or in z itself."""

    def __init__(self, kind: str = "styles", prior: str = "normal") -> None:
        part: Any = Styles(layers=LAYERS, dim=DIM) if kind == "styles" else Vector(dim=LAYERS * DIM)
        layout = (part, *([Condition(dim=DIM)] if kind == "classed" else []))
        dim = DIM if kind == "styles" else LAYERS * DIM
        super().__init__(
            GeneratorSpec(
                family="linear", size=(SIDE, SIDE), channels=1, prior=Prior.model_validate({"kind": prior, "dim": dim}),
                layout=layout, classes=3 if kind == "classed" else 0,
            )
        )  # fmt: skip
        drawn = torch.Generator().manual_seed(1)
        self.mapping, self.paint, self.known = (
            torch.nn.Parameter(torch.randn(shape, generator=drawn))
            for shape in ((LAYERS, DIM, DIM), (LAYERS * DIM, SIDE**2), (3, DIM))
        )
        self.paint.data *= torch.tensor([0.5, 1.0, 0.3]).repeat_interleave(DIM)[:, None] / 100

    def map(self, z: Tensor, **given: Any) -> Any:
        if not isinstance(self.spec.layout[0], Styles):
            return super().map(z, **given)
        return Latents(self.spec.layout, {"w": torch.einsum("lij,nj->nli", self.mapping, z)})

    def embed(self, labels: Tensor) -> Tensor:
        return self.known[labels]

    def synthesize(self, latents: Any, **given: Any) -> Tensor:
        made: Tensor = latents[self.spec.layout[0].name].flatten(1) @ self.paint
        if self.spec.classes:
            made = made + latents["c"].sum(1, keepdim=True) / 10
        return made.reshape(-1, 1, SIDE, SIDE)


def tilted(images: Tensor) -> Tensor:
    """Two classes: the second is said the more the brighter the left is."""
    return torch.stack([torch.zeros(len(images)), 100 * images[..., : SIDE // 2].sum((1, 2, 3)) - 1], 1)


def still(generator: Generator) -> Latents:
    layout = generator.spec.layout
    return Latents(layout, {part.name: torch.zeros(1, *part.shape) for part in layout})  # type: ignore[union-attr]


def test_the_smallest_change_is_that_of_the_one_layer_that_takes_the_least_of_its_deviations() -> None:
    """gap = a'w - 1 is to be log 9: along S a of a layer of covariance S, (log 9 + 1) / sqrt(a'S a) deviations."""
    generator = Linear()
    found = explain(generator, still(generator), tilted, 1)
    slopes = generator.paint.detach().reshape(LAYERS, DIM, SIDE, SIDE)[..., : SIDE // 2].sum((2, 3)) * 100
    spreads = torch.einsum("lij,lkj->lik", generator.mapping.detach(), generator.mapping.detach())
    per = torch.einsum("li,lij,lj->l", slopes, spreads, slopes).sqrt()
    best = int(per.argmax())
    assert per.sort().values[-2] < 0.7 * per[best]
    assert list(found.changes) == [f"w.{best}"]
    assert found.flipped
    assert found.probabilities[-1, 1].item() == pytest.approx(0.9, abs=1e-3)
    error = 5 / math.sqrt(1024)  # Of a covariance of as many draws.
    assert found.changes[f"w.{best}"] == pytest.approx((math.log(9) + 1) / per[best].item(), rel=error)
    moved, wanted = found.latents["w"][-1], spreads[best] @ slopes[best]
    assert not moved[[layer for layer in range(LAYERS) if layer != best]].any()
    assert float(torch.cosine_similarity(moved[best], wanted, dim=0)) > 1 - error
    torch.testing.assert_close(found.latents["w"][:, best, 0], torch.linspace(0, 1, 5) * moved[best, 0])
    change = (found.images[-1] - found.images[0]).abs() / 2
    torch.testing.assert_close(found.map[0], change)


def test_random_changes_do_what_chance_does() -> None:
    """A random change u of K numbers and the length of the least one, along h, does it where h'u is as large."""
    generator = Linear("vector")
    found = explain(generator, still(generator), tilted, 1, random=400)
    assert list(found.changes) == ["z"]
    assert found.random < 0.02  # Of one group the least change is the only one of its length.
    way = Direction("way", generator.spec.layout, {"z": torch.ones(LAYERS * DIM)}, space="z", scale=2.0)
    along = explain(generator, still(generator), tilted, 1, layers=[], directions=[way], random=400)
    slope = 2 * float(generator.paint.reshape(-1, SIDE, SIDE)[..., : SIDE // 2].sum()) * 100 / math.sqrt(LAYERS * DIM)
    assert along.changes == {"direction way": pytest.approx((math.log(9) + 1) / abs(slope), rel=1e-3)}
    assert 0.4 < along.random < 0.6  # Forwards or backwards.


def test_a_condition_is_a_part_and_a_uniform_prior_stays_inside() -> None:
    generator = Linear("classed", "uniform")
    start = still(generator)
    found = explain(
        generator, start.replace(z=torch.full_like(start["z"], 0.9)), lambda x: x.sum((1, 2, 3))[:, None], 1
    )
    assert set(found.changes) <= {"z", "c"}
    assert float(found.latents["z"].abs().max()) <= 1


@pytest.mark.parametrize("kind", ["never", "already"])
def test_what_never_flips_is_said_and_what_says_so_stays(kind: str) -> None:
    generator, shift = Linear(), {"never": -50.0, "already": 50.0}[kind]
    found = explain(generator, still(generator), lambda x: x.tanh().sum((1, 2, 3))[:, None] + shift, 1, steps=30)
    assert found.flipped == (kind == "already")
    assert found.facts["flipped"] == found.flipped
    assert found.facts["passes"] <= 3 * (30 + 15)  # Three starts, each of which ends its round.
    if kind == "already":
        assert (found.changes, found.facts["length"], found.facts["random_flipped"]) == ({}, 0.0, None)
        assert torch.equal(found.images[0], found.images[-1])
    else:
        assert found.probabilities[-1, 1] < 1e-6


def test_what_is_left_behind(tmp_path: Path) -> None:
    generator = Linear()
    found = explain(generator, still(generator), tilted, 1, random=3)
    written = found.save(tmp_path / "out", animations=["gif"])
    assert {*written} == {"strip", "latents", "gif", "map"}
    assert json.loads((tmp_path / "out/edit.json").read_text())["changes"] == found.changes
    saved = Latents.load(written["latents"])
    assert torch.equal(saved["w"], found.latents["w"])


class Mute(Backbone):
    """No classifier."""

    name, smallest, last_convolution = "mute", 4, None

    def forward(self, images: Tensor) -> BackboneOutput:
        return BackboneOutput([images])


@pytest.mark.parametrize(
    ("classifier", "options", "told"),
    [
        (Mute(), {}, "'mute' is no classifier"),
        (tilted, {"target": 2}, "There is no class 2"),
        (tilted, {"probability": 1.0}, "between 0 and 1"),
        (tilted, {"layers": [3]}, "The layers \\[3\\] cannot change"),
        (tilted, {"layers": []}, "Nothing may change"),
        (tilted, {"latents": 2}, "One sample is explained at a time"),
        (lambda x: tilted(x).detach(), {}, "gives no gradient"),
        (lambda x: tilted(x * 0), {}, "has no effect"),
        (lambda x: x.sum(), {}, "gives \\(\\) for 1 images"),
        (lambda x: None, {}, "gives NoneType"),
        (lambda x: tilted(x) / 0, {}, "not finite"),
        ("nowhere.py:what", {}, "nowhere.py"),
        ("json:nothing", {}, "json has no function 'nothing'"),
        ("mutee", {}, "mutee"),
    ],
)
def test_what_is_wrong_is_one_sentence(classifier: Any, options: dict[str, Any], told: str) -> None:
    generator = Linear()
    start = still(generator)
    given = {"target": 1, **options}
    if given.pop("latents", 0):
        start = Latents.cat([start, start])
    with pytest.raises((LatentsError, SpecError, Exception), match=told) as caught:
        explain(generator, start, classifier, **given)
    assert "\n" not in str(caught.value)
