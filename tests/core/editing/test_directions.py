"""Directions: what they are, how they are found, and what moving, mixing and interpolating does."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import editing
from ganenc.editing import (
    Direction,
    between_classes,
    find_by_labels,
    find_by_pca,
    label_draws,
    margin,
    read_directions,
)
from ganenc.latents import Latents, as_draws
from ganenc.models import model_hash
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.errors import GanencError, ImageError, LatentsError, SpecError
from ganenc_registry.specs import Map, Noise, Styles, Vector
from PIL import Image
from rounding import close
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from toys import ToyColours, ToyConditional, ToyGenerator, toy_spec

STYLES, CONST, Z = Styles(layers=4, dim=3), Map(channels=3, height=2, width=2), Vector(dim=3)
MODEL, OTHER = "a" * 64, "b" * 64


def latents(n: int = 2, *, space: str = "w+", model: str = "") -> Latents:
    rng = torch.Generator().manual_seed(n)
    tensors = {"w": torch.randn(n, 4, 3, generator=rng), "const": torch.randn(n, 3, 2, 2, generator=rng)}
    made = Latents((STYLES, CONST), tensors, model=model)
    return made.tie() if space == "w" else made


def along_w(**more: Any) -> Direction:
    return Direction("up", [STYLES], {"w": torch.tensor([[0.0, 3.0, 4.0]])}, space="w", scale=2.0, **more)


@pytest.fixture(scope="module")
def generator() -> ToyGenerator:
    return ToyGenerator(toy_spec((8, 8), dim=4)).freeze()


@pytest.mark.parametrize("strength", [math.nan, math.inf, 1e39, [0.0, -math.inf], "far"])
def test_strengths_are_finite_numbers(strength: Any) -> None:
    with pytest.raises(LatentsError, match=r"finite number, not|A tensor is wanted as a strength"):
        along_w().apply(latents(space="w"), strength)


def test_directions_and_latents_of_files_are_finite(tmp_path: Path) -> None:
    for name, options in (("way", {}), ("scale", {"scale": math.nan}), ("intercept", {"intercept": math.nan})):
        way = torch.tensor([[0.0, 3.0, math.nan if name == "way" else 4.0]])
        with pytest.raises(LatentsError, match=r"length nan|scale nan|intercept nan"):
            Direction("up", [STYLES], {"w": way}, space="w", **options)
    broken = latents()
    broken["const"][1, 0, 0, 0] = math.inf
    broken.save(tmp_path / "latents.safetensors")
    with pytest.raises(LatentsError, match="the part 'const' holds NaN or infinity; make them anew"):
        Latents.load(tmp_path / "latents.safetensors")
    assert Direction("up", [STYLES], {"w": np.array([[0.0, 3.0, 4.0]])}, space="w").tensors["w"].tolist()


def test_latents_move_by_the_strength_times_the_scale_along_the_unit_vector() -> None:
    before = latents()
    after = along_w().apply(before, [1.0, -0.5])
    way = 2.0 * torch.tensor([0.0, 0.6, 0.8])
    assert torch.allclose(after["w"], before["w"] + torch.tensor([1.0, -0.5])[:, None, None] * way)
    assert torch.equal(after["const"], before["const"])
    assert along_w().apply(before, 0.0)["w"].equal(before["w"])


def test_the_layers_that_are_named_move_alone() -> None:
    before = latents()
    for after in (along_w().apply(before, 1.0, layers=[1, 3]), along_w(layers=[3, 1]).apply(before, 1.0)):
        moved = (after["w"] - before["w"]).abs().sum(2) > 0
        assert moved.tolist() == [[False, True, False, True]] * 2
    assert along_w().on_layers([2]).layers == (2,)
    for layers in ([4], [-1], []):
        with pytest.raises(LatentsError, match="moves styles of the layers 0 to 3"):
            along_w().apply(before, 1.0, layers=layers)


def test_a_direction_may_move_maps_too() -> None:
    tensors = {"w": torch.zeros(4, 3), "const": torch.ones(3, 2, 2)}
    before, more = latents(), Direction("more", [STYLES, CONST], tensors, space="w+")
    for after in (more.apply(before, 1.0), more.apply(before, 1.0, layers=[0, 2])):
        assert torch.equal(after["w"], before["w"])
        assert torch.allclose(after["const"], before["const"] + 12**-0.5)
    assert torch.equal(more.apply(before, 1.0, layers=[1, 2])["const"], before["const"])


def test_the_space_of_moved_latents() -> None:
    full = Direction("full", [STYLES], {"w": torch.ones(4, 3)}, space="w+")
    assert along_w().apply(latents(space="w")).space == "w"
    assert along_w().apply(latents(space="w"), layers=[0]).space == "w+"
    assert along_w().apply(latents()).space == "w+"
    assert full.apply(latents(space="w")).space == "w+"


def test_latents_of_another_space_are_refused_and_both_are_named() -> None:
    prior = Direction("z-way", [Z], {"z": torch.ones(3)}, space="z")
    with pytest.raises(LatentsError, match=r"'z-way' lies in the space 'z', these latents in 'w\+'"):
        prior.apply(latents())
    with pytest.raises(LatentsError, match="'up' lies in the space 'w', these latents in 'z'"):
        along_w().apply(as_draws(torch.zeros(1, 3)))


def test_latents_of_another_model_are_refused_and_both_are_named(tmp_path: Path) -> None:
    latents().save(tmp_path / "latents.safetensors", model=OTHER)
    loaded = Latents.load(tmp_path / "latents.safetensors")
    with pytest.raises(LatentsError, match=f"'up' belongs to the model {MODEL[:12]}, .* model {OTHER[:12]}"):
        along_w(model=MODEL).apply(loaded)
    assert along_w(model=OTHER).apply(loaded.select(0)).model == OTHER
    with pytest.raises(LatentsError, match="moves 'w' \\(5, 3\\)"):
        Direction("tall", [Styles(layers=5, dim=3)], {"w": torch.ones(1, 3)}, space="w").apply(latents())


def test_images_are_refused_to_latents_of_another_model(generator: ToyGenerator) -> None:
    drawn = generator.sample(1)
    way = find_by_pca(generator, 1, n=50)[0]
    assert editing.render(generator, way.apply(drawn)).shape == (1, 3, 8, 8)
    other = ToyGenerator(generator.spec, seed=1)
    with pytest.raises(LatentsError, match=f"{model_hash(generator)[:12]}.*{model_hash(other)[:12]}"):
        editing.render(other, way.apply(drawn))


def test_latents_of_two_models_do_not_mix() -> None:
    with pytest.raises(LatentsError, match=f"{MODEL[:12]} and {OTHER[:12]}"):
        latents(model=MODEL).lerp(latents(model=OTHER), 0.5)


def test_a_file_gives_the_same_direction_back(tmp_path: Path) -> None:
    path = tmp_path / "up.safetensors"
    first = along_w(model=MODEL, layers=(0, 2), intercept=5.0, info={"accuracy": 0.9})
    first.save(path)
    again = Direction.load(path, model=MODEL)
    assert torch.equal(again.tensors["w"], first.tensors["w"])
    for name in ("name", "parts", "space", "scale", "intercept", "layers", "model", "info"):
        assert getattr(again, name) == getattr(first, name), name
    assert first.intercept == pytest.approx(1.0), "as long as the vector was"
    with pytest.raises(LatentsError, match=f"{MODEL[:12]}, the one wanted is {OTHER[:12]}"):
        Direction.load(path, model=OTHER)


def test_files_of_something_else_or_damaged_are_refused(tmp_path: Path) -> None:
    latents().save(tmp_path / "latents.safetensors")
    with pytest.raises(LatentsError, match="holds no direction"):
        Direction.load(tmp_path / "latents.safetensors")
    along_w().save(tmp_path / "up.safetensors")
    with pytest.raises(LatentsError, match="holds no latents"):
        Latents.load(tmp_path / "up.safetensors")
    good = {"format": "ganenc-direction", "layout": json.dumps([STYLES.model_dump()]), "space": "w", "model": ""}
    facts = {"name": "up", "scale": 1.0, "intercept": None, "layers": None}
    broken = [{"facts": "{"}, {"facts": "[]"}, {"facts": json.dumps({**facts, "scale": -1})}, {"layout": "?"}, {}]
    broken += [{"facts": json.dumps({**facts, "layers": "x"})}, {"facts": json.dumps({**facts, "scale": "x"})}]
    for change in broken:
        text = {**good, "facts": json.dumps(facts), "info": "{}", **change}
        if not change:
            text.pop("info")
        save_file(load_file(tmp_path / "up.safetensors"), tmp_path / "broken.safetensors", text)
        with pytest.raises(LatentsError):
            Direction.load(tmp_path / "broken.safetensors")


def test_tensors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(LatentsError, match=r"'w' of shape \(4, 3\); in the space 'w' it is \(1, 3\)"):
        Direction("x", [STYLES], {"w": torch.ones(4, 3)}, space="w")
    for tensors, space in (
        ({"w": torch.zeros(1, 3)}, "w"),
        ({"v": torch.ones(1, 3)}, "w"),
        ({"w": torch.ones(4, 3)}, "z"),
    ):
        with pytest.raises(LatentsError):
            Direction("x", [STYLES], tensors, space=space)
    with pytest.raises(LatentsError, match="3 strengths are given for 2 samples"):
        along_w().apply(latents(), [1.0, 2.0, 3.0])


def test_an_orthogonal_direction_leaves_the_others_where_they_are() -> None:
    """InterFaceGAN's n1 - (n1.n2) n2, here for one other; and for two that are not orthogonal themselves."""
    one = Direction("one", [Z], {"z": torch.tensor([1.0, 1.0, 0.0])}, space="z", scale=2.0)
    two = Direction("two", [Z], {"z": torch.tensor([1.0, 0.0, 0.0])}, space="z")
    three = Direction("three", [Z], {"z": torch.tensor([1.0, 0.0, 1.0])}, space="z")
    n1, n2 = one.tensors["z"].double(), two.tensors["z"].double()
    by_hand = n1 - (n1 @ n2) * n2
    assert torch.allclose(one.orthogonal_to(two).tensors["z"].double(), by_hand / by_hand.norm())
    apart = one.orthogonal_to(two, three)
    drawn = as_draws(torch.randn(5, 3))
    for other in (two, three):
        assert torch.allclose(other.position(apart.apply(drawn, 3.0)), other.position(drawn), atol=1e-5)
    assert (apart.scale, apart.info["orthogonal_to"]) == (2.0, ["two", "three"])
    with pytest.raises(LatentsError, match="Nothing is left"):
        one.orthogonal_to(one)
    with pytest.raises(LatentsError, match="one space"):
        one.orthogonal_to(along_w())


def test_positions_are_in_deviations_from_the_hyperplane() -> None:
    drawn = as_draws(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 1.0, 1.0]))
    way = Direction("x", [Z], {"z": torch.tensor([2.0, 0.0, 0.0])}, space="z", intercept=4.0).measured(drawn)
    expected = (drawn["z"][:, 0] + 2.0) / drawn["z"][:, 0].std()
    assert torch.allclose(way.position(drawn), expected, atol=1e-5)
    assert torch.allclose(way.position(way.apply(drawn, 1.5)), expected + 1.5, atol=1e-5)


def test_labels_find_the_axis_that_they_were_made_by(generator: ToyGenerator) -> None:
    drawn = generator.sample(800, seed=1)
    axis = torch.tensor([1.0, -2.0, 0.0, 0.5])
    scores = drawn["w"][:, 0] @ axis
    deviations = torch.cov(drawn["w"][:, 0].T)
    for labels in (scores, scores > scores.median()):
        way = find_by_labels(generator, drawn, labels, name="axis")
        assert (way.space, way.model, way.info["held_out"] > 40) == ("w", model_hash(generator), True)
        assert way.info["accuracy"] > 0.9
        own = way.tensors["w"][0]
        assert way.scale == pytest.approx(float((own @ deviations @ own).sqrt()), rel=1e-3)
        up = way.apply(drawn, 1.0)["w"][:, 0] @ axis
        assert bool((up > scores).all())
        correlation = torch.corrcoef(torch.stack([way.position(drawn), scores]))[0, 1]
        assert correlation > 0.9


def test_labels_of_noise_are_no_better_than_chance_on_what_is_held_out(generator: ToyGenerator) -> None:
    scores = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    way = find_by_labels(generator, generator.sample(2000, seed=1), scores, name="noise", share=0.5)
    assert abs(way.info["accuracy"] - 0.5) < 0.08


def test_a_boundary_in_z_becomes_one_in_w(generator: ToyGenerator) -> None:
    """The mapping is affine here, so w moved along the direction found is z moved along the boundary, seen from it."""
    normal = torch.tensor([1.0, 0, 0, 0, 0, 0])
    z = generator.draw(800, seed=3)
    way = find_by_labels(generator, generator.sample(800, seed=3), z @ normal, name="from z")
    back = way.tensors["w"][0] @ generator.mapping.weight
    assert way.space == "w"
    assert float(back[0]) == float(back.max())
    assert find_by_labels(generator, as_draws(z), z @ normal, name="in z").space == "z"


def test_labels_that_cannot_part_are_refused(generator: ToyGenerator) -> None:
    drawn = generator.sample(40)
    for labels, what in (
        (torch.zeros(40), "score alike"),
        (torch.zeros(40, dtype=torch.bool), "too few"),
        (torch.zeros(39), "labels \\(39,\\)"),
        (torch.arange(40.0) / 0, "labels"),
        (torch.arange(40.0), "too few"),
    ):
        with pytest.raises(LatentsError, match=what):
            find_by_labels(generator, drawn, labels, name="x")
    with pytest.raises(LatentsError, match="share"):
        find_by_labels(generator, drawn, torch.arange(40.0), name="x", share=0.6)
    with pytest.raises(LatentsError, match="no part 'v'"):
        find_by_labels(generator, drawn, torch.arange(40.0), name="x", parts=["v"], share=0.5)


class Brightness(Backbone):
    """Class 1 is bright, class 0 dark."""

    name, classes, smallest, last_convolution = "brightness", 2, 4, None

    def forward(self, images: torch.Tensor) -> BackboneOutput:
        level = images.flatten(1).mean(1)
        return BackboneOutput([images], torch.stack([-level, level], 1))


def test_draws_are_labelled_as_drawn_or_as_the_encoder_finds_them(toy: Any, toy_encoder: Any) -> None:
    drawn, logits = label_draws(toy, Brightness(), 10, batch=4)
    made = toy.synthesize(toy.sample(10)).clamp(-1, 1)
    assert torch.allclose(logits[:, 1], made.flatten(1).mean(1), atol=1e-5)
    close(drawn["w"], toy.sample(10)["w"], terms=6)
    assert torch.allclose(margin(logits, 1), logits[:, 1] - logits[:, 0])
    found, same = label_draws(toy, Brightness(), 10, encoder=toy_encoder, batch=10)
    with torch.no_grad():
        expected = toy_encoder.eval()(toy.synthesize(toy.sample(10)))
    assert torch.allclose(found["w"], expected["w"], atol=1e-5)
    assert torch.allclose(found["const"], expected["const"], atol=1e-5)
    assert torch.allclose(same, logits, atol=1e-5)
    way = find_by_labels(toy, Latents.cat([found, found]), torch.arange(20) > 9, name="encoded")
    assert (way.space, sorted(way.tensors)) == ("w+", ["const", "w"])
    with pytest.raises(SpecError, match="no class 2"):
        margin(logits, 2)


def test_components_are_those_of_w(generator: ToyGenerator) -> None:
    found = find_by_pca(generator, 3, n=600, seed=2)
    w = generator.sample(600, seed=2)["w"][:, 0].double()
    values, axes = torch.linalg.eigh(torch.cov(w.T))
    for index, way in enumerate(found):
        own = way.tensors["w"][0].double()
        assert abs(float(own @ axes[:, -1 - index])) == pytest.approx(1, abs=1e-4)
        assert float(own[own.abs().argmax()]) > 0
        assert way.scale == pytest.approx(float(values[-1 - index].sqrt()), rel=1e-3)
        assert way.info["variance"] == pytest.approx(float(values[-1 - index] / values.sum()), abs=1e-3)
        assert float(way.position(generator.sample(600, seed=2)).mean()) == pytest.approx(0, abs=1e-3)
    assert [way.name for way in found] == ["pca-0", "pca-1", "pca-2"]
    with pytest.raises(LatentsError, match="1 to 4 principal components, not 5"):
        find_by_pca(generator, 5, n=50)


def test_components_of_a_vector_are_those_of_its_images() -> None:
    """Images that are all but linear in z: carried back, their components are its right singular vectors."""
    generator = ToyConditional().freeze()
    with torch.no_grad():
        generator.paint.weight[:, 5:] *= 2  # Were classes not taken off, they would be the first component.
        left, _, axes = torch.linalg.svd(generator.paint.weight[:, :5], full_matrices=False)
        generator.paint.weight[:, :5] = left @ torch.diag(torch.tensor([1.6, 0.8, 0.4, 0.2, 0.1])) @ axes
    for index, way in enumerate(find_by_pca(generator, 2, n=1000)):
        assert (way.space, list(way.tensors)) == ("z", ["z"])
        assert abs(float(way.tensors["z"] @ axes[index])) > 0.98


def test_from_one_class_to_another() -> None:
    generator = ToyConditional().freeze()
    way = between_classes(generator, 0, 2)
    start = generator.sample(3, labels=torch.tensor([0, 0, 0]))
    moved = way.apply(start, [0.0, 0.5, 1.0])
    ends = generator.embed(torch.tensor([0, 2]))
    assert torch.allclose(moved["c"], torch.stack([ends[0], ends.mean(0), ends[1]]), atol=1e-5)
    assert torch.equal(moved["z"], start["z"])
    assert torch.allclose(way.position(moved), torch.tensor([0.0, 0.5, 1.0]), atol=1e-5)
    with pytest.raises(LatentsError, match=r"run from 0 to 2; \[3\] are no classes"):
        between_classes(generator, 0, 3)
    styled = ToyGenerator(toy_spec((8, 8), dim=4, classes=3)).freeze()
    across = between_classes(styled, 1, 2)
    assert across.space == "w"
    rows = styled.labels.weight.T  # type: ignore[union-attr]
    assert torch.allclose(across.tensors["w"][0] * across.scale, rows[2] - rows[1], atol=1e-4)


def boundary(folder: Path, name: str, array: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def read_boundary(path: Path, generator: Any, **options: Any) -> Direction:
    (found,) = read_directions(path, generator, **options)
    return found


def test_boundaries_are_read_into_the_space_that_fits(tmp_path: Path, generator: ToyGenerator) -> None:
    """The toy's z has 6 numbers, its w 4."""
    way = read_boundary(boundary(tmp_path, "toy_age_boundary.npy", np.eye(1, 4, 2, ">f8") * 1e38), generator, n=300)
    assert (way.name, way.space, way.tensors["w"].tolist()) == ("toy_age", "w", [[0.0, 0.0, 1.0, 0.0]])
    assert way.scale == pytest.approx(float(generator.sample(300)["w"][:, 0, 2].std()), rel=1e-4)
    prior = read_boundary(boundary(tmp_path, "b.npy", np.ones(6, dtype=np.float32)), generator, n=300)
    assert (prior.space, prior.tensors["z"].shape) == ("z", (6,))
    colours = ToyColours()
    assert read_boundary(boundary(tmp_path, "c.npy", np.ones((1, 4))), colours).apply(colours.sample(2)).space == "z"


def test_a_boundary_that_fits_two_spaces_has_to_say_which(tmp_path: Path) -> None:
    both = ToyGenerator(toy_spec((8, 8), dim=6)).freeze()
    way = np.ones((1, 6))
    for name, space in (
        ("age_w_boundary.npy", "w"),
        ("toy_z/boundary_Smiling.npy", "z"),
        ("toy_w/boundary_Smiling.npy", "w"),
    ):
        assert read_boundary(boundary(tmp_path, name, way), both, n=50).space == space
    silent = boundary(tmp_path, "age_boundary.npy", way)
    with pytest.raises(LatentsError, match="say its space"):
        read_boundary(silent, both)
    assert read_boundary(silent, both, space="z", n=50).space == "z"


def test_what_is_no_boundary_is_refused_in_a_sentence(tmp_path: Path, generator: ToyGenerator) -> None:
    text = boundary(tmp_path, "cut.npy", np.ones((1, 4))).read_bytes()
    (tmp_path / "cut.npy").write_bytes(text[:-8])
    header = text[:128].replace(b"'shape': (1, 4), }        ", b"'shape': (1, 9999999999), }")[:128]
    (tmp_path / "huge.npy").write_bytes(header + text[128:])
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "boundaries.npz", a=np.ones(4), b=np.ones(4))
    (tmp_path / "text.npy").write_text("no")
    (tmp_path / "empty.npy").write_bytes(b"")
    boundary(tmp_path, "whole.npy", np.ones((1, 4), dtype=np.int64))
    boundary(tmp_path, "wide.npy", np.ones((2, 3, 4)))
    boundary(tmp_path, "zero.npy", np.zeros((1, 4)))
    boundary(tmp_path, "nan.npy", np.full((1, 4), np.nan))
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(LatentsError, match=f"{path.stem}"):
            read_boundary(path, generator)
    with pytest.raises(LatentsError, match=r"has the shape \(1, 5\); toy has 6 in z and 4 in w and 4x4 in w\+"):
        read_boundary(boundary(tmp_path, "five.npy", np.ones((1, 5))), generator)
    with pytest.raises(LatentsError, match=r"has the shape \(2, 3, 4\)"):
        read_boundary(tmp_path / "wide.npy", generator)
    with pytest.raises(LatentsError, match=r"names no model; read it by `model\.direction"):
        Direction.load(tmp_path / "five.npy")
    with pytest.raises(LatentsError, match="another space than z"):
        read_boundary(boundary(tmp_path, "four.npy", np.ones((1, 4))), generator, space="z")


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (16,), (1, 16)])
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".pt"])
def test_normals_in_w_plus_are_read_in_any_shape(
    tmp_path: Path, generator: ToyGenerator, shape: tuple[int, ...], suffix: str
) -> None:
    """The toy has 4 layers of 4 numbers."""
    normal, path = torch.arange(16.0).reshape(4, 4), tmp_path / f"smile{suffix}"
    if suffix == ".pt":
        torch.save(normal.reshape(shape), path)
    elif suffix == ".npz":
        np.savez_compressed(path, normal.numpy().reshape(shape))
    else:
        np.save(path, normal.numpy().reshape(shape))
    way = read_boundary(path, generator, n=50)
    assert (way.name, way.space) == ("smile", "w+")
    assert torch.allclose(way.tensors["w"], normal / normal.norm())


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_ways_in_w_plus_of_another_number_of_layers_are_stretched(
    tmp_path: Path, generator: ToyGenerator, layers: int
) -> None:
    """Layer k of the toy's 4 takes layer round((L - 1) k / 3): of 3, 0, 1, 1, 2; of 7, every second one."""
    ways = torch.eye(layers)[:, :4] + torch.arange(1.0, layers + 1)[:, None] * 10
    ways = torch.nn.functional.pad(ways, (0, 4 - ways.shape[1]))
    torch.save(ways[None], tmp_path / "pose.pt")
    way = read_boundary(tmp_path / "pose.pt", generator, n=50)
    taken = {2: [0, 0, 1, 1], 3: [0, 1, 1, 2], 7: [0, 2, 4, 6]}[layers]
    assert way.space == "w+"
    assert torch.allclose(way.tensors["w"], ways[taken] / ways[taken].norm())


def test_other_files_that_fit_z_and_w_are_taken_to_be_of_w(tmp_path: Path) -> None:
    """As e4e's age.pt, and its components: a dictionary of mean, comp and std."""
    both = ToyGenerator(toy_spec((8, 8), dim=6)).freeze()
    torch.save(torch.eye(1, 6), tmp_path / "age.pt")
    assert read_boundary(tmp_path / "age.pt", both, n=50).space == "w"
    torch.save({"mean": torch.ones(1, 6), "comp": torch.eye(6)[:3, None], "std": torch.ones(3)}, tmp_path / "pca.pt")
    found = read_directions(tmp_path / "pca.pt", both, n=50)
    assert [one.space for one in found] == ["w"] * 3
    assert torch.equal(found[1].tensors["w"], torch.eye(6)[1:2])


@pytest.mark.parametrize("space", ["w", "z"])
def test_components_of_ganspace_are_directions_with_their_shares(
    tmp_path: Path, generator: ToyGenerator, space: str
) -> None:
    """As its decomposition.py writes them: lat_comp is (components, 1, dim)."""
    axes = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6) if space == "z" else (4, 4)))[0][:3].astype("f4")
    path, shares = tmp_path / f"toy_ipca_c3_n100_{space}.npz", np.array([0.5, 0.25, 0.125], "f4")
    np.savez_compressed(
        path, lat_comp=axes[:, None], lat_mean=axes[:1], lat_stdev=shares, var_ratio=shares, act_comp=axes
    )
    found = read_directions(path, generator, n=50)
    assert [one.info["variance"] for one in found] == [0.5, 0.25, 0.125]
    assert {one.space for one in found} == {space}
    assert np.allclose([one.tensors[space].flatten().numpy() for one in found], axes, atol=1e-6)
    (last,) = read_directions(path, generator, places=[2], n=50)
    assert last.name == found[2].name == f"{path.stem}-2"
    with pytest.raises(LatentsError, match="directions 0 to 2, not 3"):
        read_directions(path, generator, places=[3])


def test_mixing_takes_styles_layer_by_layer_and_maps_with_the_first() -> None:
    a, b = latents(2, model=MODEL), latents(1)
    mixed = editing.mix(a, b, [3, 1])
    for layer in range(4):
        whose = b if layer in (1, 3) else a
        assert torch.equal(mixed["w"][:, layer], whose["w"][:, layer].expand(2, -1))
    assert torch.equal(mixed["const"], a["const"])
    assert torch.equal(editing.mix(a, b, [0])["const"], b["const"].expand(2, -1, -1, -1))
    assert (mixed.space, mixed.model) == ("w+", MODEL)
    for wrong in ([], [4]):
        with pytest.raises(LatentsError, match="layers 0 to 3"):
            editing.mix(a, b, wrong)
    with pytest.raises(LatentsError, match="no styles"):
        editing.mix(as_draws(torch.ones(1, 3)), as_draws(torch.ones(1, 3)), [0])


def test_the_way_between_two_samples() -> None:
    a, b = latents(2).select(0), latents(2).select(1)
    way = editing.interpolate(a, b, 5)
    for name in ("w", "const"):
        assert torch.allclose(way[name][0], a[name][0])
        assert torch.allclose(way[name][1], 0.75 * a[name][0] + 0.25 * b[name][0], atol=1e-6)
        assert torch.allclose(way[name][4], b[name][0])
    with pytest.raises(LatentsError):
        editing.interpolate(latents(2), a, 5)


def test_vectors_go_along_the_arc() -> None:
    a, b = as_draws(torch.tensor([[2.0, 0.0, 0.0]])), as_draws(torch.tensor([[0.0, 4.0, 0.0]]))
    way = editing.interpolate(a, b, 3)["z"]
    assert torch.allclose(way[1], 3 * torch.tensor([0.5**0.5, 0.5**0.5, 0.0]), atol=1e-6)
    assert torch.allclose(way[[0, 2]], torch.cat([a["z"], b["z"]]), atol=1e-6)
    assert torch.allclose(editing.interpolate(a, a, 3)["z"], a["z"].expand(3, -1), atol=1e-6)


def test_what_one_of_two_leaves_out_is_the_generators_own() -> None:
    class Told(ToyGenerator):
        def default(self, name: str) -> torch.Tensor | None:
            return self.get_buffer(name.replace(".", "_")) if name.startswith("noise.") else super().default(name)

    toy = Told().freeze()
    bare = toy.complete(toy.sample(1))
    (part,) = [part for part in toy.spec.layout if isinstance(part, Noise)]
    noisy = bare.replace(**{f"noise.{i}": torch.ones(1, *shape) for i, shape in enumerate(part.shapes)})
    way = editing.edit_between(toy, bare, noisy, 2).latents["noise.1"]
    assert torch.equal(way[:1], toy.default("noise.1"))  # type: ignore[arg-type]
    assert torch.equal(way[1:], noisy["noise.1"])
    assert torch.equal(editing.edit_by_mixing(toy, noisy, bare, [1]).latents["noise.0"], noisy["noise.0"])


@pytest.mark.parametrize(("suffix", "channels"), [("gif", 3), ("webp", 3), ("gif", 1)])
def test_animations_hold_every_frame_enlarged(tmp_path: Path, suffix: str, channels: int) -> None:
    levels = torch.linspace(-1, 1, 4)[:, None, None, None].expand(-1, channels, 8, 12)
    editing.write_animation(tmp_path / f"a.{suffix}", editing.there_and_back(levels), seconds=1.2)
    with Image.open(io.BytesIO((tmp_path / f"a.{suffix}").read_bytes())) as image:
        assert (image.size, image.n_frames, image.info["loop"]) == ((384, 256), 6, 0)  # type: ignore[attr-defined]
        for index, level in enumerate([0, 85, 170, 255, 170, 85]):
            image.seek(index)
            assert np.abs(np.asarray(image.convert("L"), dtype=int) - level).max() <= 3
            assert image.info["duration"] == 200


def test_what_is_no_animation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"end in \.gif or \.webp"):
        editing.write_animation(tmp_path / "a.mp4", torch.zeros(2, 3, 8, 8))
    with pytest.raises(GanencError):
        editing.animation_bytes(torch.zeros(0, 3, 8, 8))


def test_a_pipe_is_no_boundary(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    make_pipe(tmp_path / "age_boundary.npy")
    with pytest.raises(LatentsError, match="it is no regular file"):
        read_boundary(tmp_path / "age_boundary.npy", ToyGenerator(toy_spec()))


@pytest.mark.parametrize("name", ["../../victim", "/victim", "..", "", "a\0b", 7, None, "x" * 300])
def test_a_directions_name_leads_nowhere_else(name: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    Direction("smile", [STYLES], {"w": torch.ones(4, 3)}, space="w+").save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    facts = {**json.loads(metadata["facts"]), "name": name}
    save_file(load_file(path), path, {**metadata, "facts": json.dumps(facts)})
    with pytest.raises(LatentsError, match="No direction can be called"):
        Direction.load(path)
