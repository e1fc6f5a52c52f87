"""Dragging: its two formulas by hand, and a generator whose latents say where its blobs are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc.editing import Mark, drag, features_at, motion_loss, track_points
from ganenc.generators import Generator, save_tuning, tuning_hash
from ganenc.images import read
from ganenc.latents import Latents
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Map, Noise, Prior, Styles, Vector
from torch import Tensor, nn

ROOM = (32, 48)
PLACES = torch.tensor([[12.0, 10.0], [34.0, 20.0]])
"""Of two blobs, as x and y."""


class Blobs(nn.Module):
    """Blobs on a grid of half the image's size, each with its slopes, which tell its middle from a ring around it."""

    def forward(self, centres: Tensor) -> Tensor:
        y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
        apart = torch.stack([2 * x + 0.5, 2 * y + 0.5]) - centres[..., None, None]
        bump = torch.exp(-apart.square().sum(2, keepdim=True) / 32)
        return torch.cat([bump, bump * apart / 4], 2).flatten(1, 2)


class Movable(Generator):
    """Two blobs: the first value moves the first to the right, the second both downwards, ten pixels each."""

    def __init__(self, kind: str = "vector", prior: str = "normal") -> None:
        parts = {"vector": Vector(dim=2), "styles": Styles(layers=4, dim=2), "map": Map(channels=2, height=1, width=1)}
        classed = prior == "uniform"
        super().__init__(
            GeneratorSpec(
                family="movable",
                size=ROOM,
                prior=Prior.model_validate({"kind": prior, "dim": 2}),
                layout=(parts[kind], *([Condition(dim=3)] if classed else [])),
                classes=3 if classed else 0,
            )
        )
        self.coarse, self.fine, self.spare = Blobs(), nn.Upsample(scale_factor=2, mode="bilinear"), Blobs()
        self.places = nn.Parameter(PLACES.clone())
        self.moves = nn.Parameter(torch.tensor([[[10.0, 0.0], [0.0, 0.0]], [[0.0, 10.0], [0.0, 10.0]]]))
        self.paint = nn.Parameter(torch.linspace(-1, 1, 18).reshape(3, 6, 1, 1))

    def map(self, z: Tensor, **given: Any) -> Any:
        return z[:, None].repeat(1, 4, 1) if isinstance(self.spec.layout[0], Styles) else super().map(z, **given)

    def synthesize(self, latents: Any) -> Tensor:
        values = latents[self.spec.layout[0].name].flatten(1)[:, :2]
        maps = self.fine(self.coarse(self.places + torch.einsum("nk,kbd->nbd", values, self.moves)))
        return nn.functional.conv2d(maps, self.paint)


def still(generator: Generator) -> Latents:
    """Latents of nothing but zeros, where its blobs are in their places."""
    layout = generator.spec.layout
    return Latents(layout, {part.name: torch.zeros(1, *part.shape) for part in layout if not isinstance(part, Noise)})


def test_features_between_pixels_are_those_of_the_enlarged_map() -> None:
    maps = torch.randn(1, 3, 4, 6)
    large = nn.functional.interpolate(maps, (8, 12), mode="bilinear", align_corners=False)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    torch.testing.assert_close(features_at(maps, torch.stack([x, y], -1), (8, 12)), large[0].permute(1, 2, 0))
    torch.testing.assert_close(features_at(maps, torch.tensor([-9.0, 99.0]), (8, 12)), maps[0, :, 3, 0])


def test_motion_supervision_by_hand() -> None:
    """A quarter of a pixel ahead of the spots 2 and 3 are a quarter of F3 - F2 and of F4 - F3; F2 and F3 are held."""
    maps = torch.tensor([[1.0, 2.0, 4.0, 7.0, 7.0], [0.0, 0.0, 0.0, 0.0, -1.0]])[None, :, None].requires_grad_()
    patch = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    loss = motion_loss(maps, torch.tensor([[2.0, 0.0]]), torch.tensor([[0.25, 0.0]]), patch, (1, 5))
    assert loss.item() == pytest.approx((0.25 * 3 + 0.0 + 0.0 + 0.25) / 4)
    loss.backward()
    assert maps.grad is not None
    first, second = maps.grad[0, :, 0] * 4
    torch.testing.assert_close(first, torch.tensor([0.0, 0.0, 0.75, 0.25, 0.0]))
    torch.testing.assert_close(second, torch.tensor([0.0, 0.0, 0.0, -0.75, -0.25]))


@pytest.mark.parametrize("shift", [(2, 1), (-3, 0), (0, -2)])
def test_points_are_found_again_where_the_map_went(shift: tuple[int, int]) -> None:
    maps, places = torch.randn(1, 4, 12, 14), torch.tensor([[6.0, 5.0], [8.0, 7.0]])
    moved = maps.roll(shift[::-1], (2, 3))
    line, patch, size = torch.arange(-3.0, 4.0), torch.tensor([[0.0, 0.0], [0.0, 1.0]]), (12, 14)
    window = torch.cartesian_prod(line, line)
    mark = Mark.of(maps, places, patch, 1.0, size)
    assert torch.equal(track_points([moved], [mark], places, window, size), places + torch.tensor(shift))
    twin = places.long() + torch.tensor([1, 0])  # Nearer, and alike, but with something else below.
    moved[..., twin[:, 1], twin[:, 0]] = maps[..., places[:, 1].long(), places[:, 0].long()]
    assert torch.equal(track_points([moved], [mark], places, window, size), places + torch.tensor(shift))
    flat = torch.zeros(1, 4, *size)
    assert torch.equal(track_points([flat], [mark], places, torch.tensor([[0.0, 0], [1, 0]]), size), places)


def test_of_places_that_are_alike_a_near_one_is_taken() -> None:
    maps, place = torch.tensor([[[[1.0, 0.0, 0.0, 0.0, 1.01]]]]), torch.tensor([[2.0, 0.0]])
    mark = Mark(torch.zeros(1, 2), torch.tensor([[[1.01]]]), 1.0)
    window = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 0.0]])
    assert track_points([maps], [mark], place, window, (1, 5)).tolist() == [
        [4.0, 0.0]
    ]  # Both as far: the nearer alike.
    nearer = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])
    near = torch.tensor([[[[0.0, 1.0, 0.0, 0.0, 1.01]]]])
    assert track_points([near], [mark], place, nearer, (1, 5)).tolist() == [[1.0, 0.0]]


def test_features_and_pixels_count_by_their_deviations_and_weights() -> None:
    """Of two spots each is what one of the maps has at the point, and the other is a deviation away from it."""
    maps = [torch.tensor([[[[0.0, 2.0, 0.0, 2.0]]]]), torch.tensor([[[[0.0, 0.0, 60.0, 60.0]]]])]
    place, middle, spots = torch.zeros(1, 2), torch.zeros(1, 2), torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    for weight, found in ((0.9, 2.0), (1.1, 1.0)):
        size = (1, 4)
        marks = [Mark.of(one, place, middle, by, size) for one, by in zip(maps, (1.0, weight), strict=True)]
        deviations = [one.std(correction=0) for one in maps]
        torch.testing.assert_close(
            torch.tensor([mark.weight for mark in marks]), torch.tensor([1 / deviations[0], weight / deviations[1]])
        )
        assert torch.equal(track_points(maps, marks, place, spots, size), torch.tensor([[found, 0.0]]))


@pytest.mark.parametrize(("kind", "prior"), [("vector", "normal"), ("styles", "normal"), ("vector", "uniform")])
def test_a_blob_goes_where_it_is_wanted(kind: str, prior: str) -> None:
    generator = Movable(kind, prior)
    start, told = still(generator), []
    done = drag(generator, start, PLACES[:1], PLACES[:1] + torch.tensor([[6.0, 4.0]]), on_step=told.append)
    moved = done.latents[generator.spec.layout[0].name].reshape(-1)
    torch.testing.assert_close(moved[:2], torch.tensor([0.6, 0.4]), atol=0.1, rtol=0)  # A step is half a pixel: 0.05.
    assert float(done.distances[0]) <= 0.25
    assert 0 < len(told) == len(done.history) == done.settings["steps"] < 200
    assert torch.equal(told[-1].latents.tensors[generator.spec.layout[0].name].reshape(-1), moved)
    assert torch.equal(told[-1].image, done.images)
    if kind == "styles":
        assert done.settings["layers"] == [0, 1]
        assert done.latents.space == "w+"
        assert torch.equal(done.latents["w"][:, 2:], start["w"][:, 2:])
    if prior == "uniform":
        seen: list[Any] = []
        far = drag(generator, start, PLACES[:1], [[40.0, 10.0]], on_step=seen.append)
        assert max(float(now.latents["z"].max()) for now in seen) == 1.0
        assert torch.equal(far.latents["c"], start["c"])
        nearest = min(range(len(seen)), key=lambda place: float(seen[place].distances[0]))
        assert nearest + 1 == len(far.history) == far.settings["steps"] <= len(seen) == 200
        assert torch.equal(far.latents["z"], seen[nearest].latents["z"])
        assert torch.equal(far.distances, seen[nearest].distances)
    again = drag(generator, done.before, **done.settings)  # type: ignore[arg-type]
    assert torch.equal(again.images, done.images)
    assert again.history == done.history
    assert len(done.frames or []) == min(24, len(done.history) + 1)


class Large(Movable):
    """Counts how often its network is gone through, and to the end."""

    begun = ended = 0

    def synthesize(self, latents: Any) -> Tensor:
        self.begun += 1
        maps = super().synthesize(latents)
        self.ended += 1
        return nn.functional.interpolate(maps, self.spec.size)


@pytest.mark.parametrize("most", [48, 47])
def test_small_images_are_made_to_the_end_in_a_step_and_large_ones_are_not(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganenc.editing.dragging.LOOKED", most)
    generator, begun, ended = Large(), [], []
    for steps in (1, 1, 6):  # The first finds the stages, too.
        generator.begun = generator.ended = 0
        drag(generator, still(generator), PLACES[:1], [[40.0, 10.0]], stage="coarse", steps=steps)
        begun.append(generator.begun)
        ended.append(generator.ended)
    assert begun[2] - begun[1] == 5
    assert ended[2] - ended[1] == (5 if most == 48 else 0)


def test_what_is_black_in_the_mask_stays() -> None:
    generator = Movable()
    mask = torch.ones(ROOM, dtype=torch.bool)
    mask[:, 24:] = False
    goal = PLACES[:1] + torch.tensor([[5.0, 5.0]])
    free, held = (drag(generator, still(generator), PLACES[:1], goal, one, steps=60, hold=8.0) for one in (None, mask))
    before, outside = generator.synthesize(still(generator)).detach(), ~mask
    changed = [float((one.images - before).abs()[..., outside].mean()) for one in (free, held)]
    assert changed[1] < changed[0] / 4
    torch.testing.assert_close(held.latents["z"], torch.tensor([[0.5, 0.0]]), atol=0.1, rtol=0)
    for same in (mask.numpy(), mask.float() * 255, mask.numpy().astype("uint8")):
        assert torch.equal(drag(generator, still(generator), PLACES[:1], goal, same, steps=3).settings["mask"], mask)


def test_whoever_is_told_may_end_it() -> None:
    generator = Movable()
    told: list[Any] = []
    ended = drag(
        generator, still(generator), PLACES[:1], [[20.0, 10.0]], on_step=lambda now: told.append(now) or now.step == 9
    )
    assert len(told) == 9
    assert 0 < len(ended.history) <= 9
    assert float(ended.distances[0]) == min(float(now.distances[0]) for now in told)
    assert torch.equal(ended.images, drag(generator, still(generator), **ended.settings).images)
    with pytest.raises(KeyboardInterrupt):
        drag(
            generator, still(generator), PLACES[:1], [[20.0, 10.0]], on_step=lambda now: exec("raise KeyboardInterrupt")
        )
    with pytest.warns(UserWarning, match="came no nearer to their targets in 3 steps.*--steps, a higher --rate"):
        stayed = drag(generator, still(generator), PLACES[:1], [[20.0, 10.0]], rate=1e3, steps=3)
    assert torch.equal(stayed.latents["z"], still(generator)["z"])
    arrived = drag(generator, still(generator), PLACES, PLACES)
    assert arrived.history == []
    assert torch.equal(arrived.latents["z"], still(generator)["z"])


POINT = [[12.0, 10.0]]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"points": [[48.0, 3.0]]}, "The point 48,3 is not in the image: x is from 0 to 47, and y to 31"),
    ({"targets": [[float("nan"), 3.0]]}, "The point nan,3 is not in the image"),
    ({"points": [*POINT, *POINT]}, "2 points and 1 targets"),
    ({"points": [[1.0, 2.0, 3.0]]}, r"pairs of x and y, \(K, 2\); not \(1, 3\)"),
    ({"points": torch.empty(0, 2)}, "Points are one or more"),
    ({"points": "12,10"}, "A tensor is wanted as points"),
    ({"mask": torch.ones(48, 32)}, "The mask is of 32 x 48 pixels, and the image of 48 x 32"),
    ({"mask": torch.zeros(ROOM)}, "The point 12,10 lies where the mask is black"),
    ({"mask": torch.full(ROOM, torch.nan)}, "The point 12,10 lies where the mask is black"),
    ({"steps": -1}, "steps is a whole number"),
    ({"stage": "corse"}, "did you mean 'coarse'"),
    ({"stage": "spare"}, "makes no maps at its stage 'spare'"),
    ({"layers": [0]}, "has no styles, so no layers"),
    ({"rate": float("inf")}, "left what is finite"),
]


@pytest.mark.parametrize(("given", "told"), BAD, ids=[told[:20] for _, told in BAD])
def test_what_cannot_be_dragged_is_told(given: dict[str, Any], told: str) -> None:
    generator = Movable()
    with pytest.raises((SpecError, LatentsError), match=told) as caught:
        drag(generator, still(generator), **{"points": POINT, "targets": [[20.0, 20.0]], **given})
    assert "\n" not in str(caught.value)


class Flat(Movable):
    """Without maps inside."""

    def synthesize(self, latents: Any) -> Tensor:
        return latents["z"][:, :1, None, None].expand(-1, 3, *ROOM)


def test_a_generator_that_cannot_be_dragged_is_told() -> None:
    styled = Movable("styles")
    cases: list[tuple[Generator, dict[str, Any], str]] = [
        (Flat(), {}, "shows 0 stages"),
        (Movable("map"), {}, "neither styles nor vectors"),
        (styled, {"layers": [7]}, "There are the layers 0 to 3"),
        (styled, {"layers": [2]}, "has no effect at the points"),
        (styled, {"latents": Latents.cat([still(styled)] * 2)}, "One sample is dragged at a time; these are 2"),
    ]
    for generator, given, told in cases:
        with pytest.raises(LatentsError, match=told):
            drag(generator, **{"latents": still(generator), "points": POINT, "targets": [[20.0, 20.0]], **given})


def test_a_model_drags_with_the_weights_that_its_latents_go_with(tmp_path: Path) -> None:
    model = ganenc.Model(Movable(), None, source="movable")
    tuning = {"moves": torch.tensor([[[10.0, 0.0], [0.0, 0.0]], [[0.0, 10.0], [0.0, 10.0]]])}  # Twice as far.
    latents = still(model.generator)
    latents.info["tuning"] = tuning_hash(tuning)
    save_tuning(tmp_path / "tuning.safetensors", tuning, model=model.hash)
    latents.save(tmp_path / "latents.safetensors", model=model.hash)
    mask = torch.ones(ROOM, dtype=torch.bool)
    mask[:, 30:] = False
    done = model.drag(tmp_path, POINT, [[18.0, 10.0]], mask)
    assert done.latents["z"][0, 0] == pytest.approx(0.3, abs=0.05)
    written = done.save(tmp_path / "dragged", animations=["gif"])
    assert torch.equal(read(written["mask"], channels=1)[0] > 0, mask)
    facts = json.loads((tmp_path / "dragged/edit.json").read_text())
    assert facts["model_hash"] == model.hash
    assert facts["distances"] == done.distances.tolist()
    saved = model.latents(written["latents"])
    with model.generator.tuned(model.tuning(saved)):
        torch.testing.assert_close(model.generator.synthesize(saved), done.images)
    asked = {key: facts[key] for key in ("points", "targets", "steps", "rate", "hold", "layers", "stage")}
    assert torch.equal(model.drag(tmp_path, mask=written["mask"], **asked).images, done.images)
