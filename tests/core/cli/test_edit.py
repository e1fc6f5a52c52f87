"""Editing on the command line, with a toy that has styles, an encoder, and a backbone that tells bright from dark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc import images
from ganenc.cli.options import layer_numbers
from ganenc.editing import Direction
from ganenc.latents import Latents
from ganenc.models import model_hash, save_pretrained
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.errors import SpecError
from PIL import Image
from toys import ToyConditional, ToyGenerator


class Brightness(Backbone):
    """Class 1 is bright, class 0 dark."""

    name, classes, smallest, last_convolution = "toy-brightness", 2, 4, None

    def forward(self, images: torch.Tensor) -> BackboneOutput:
        level = images.flatten(1).mean(1)
        return BackboneOutput([images], torch.stack([-level, level], 1))


@pytest.fixture
def model(known: Any, toy: ToyGenerator, toy_encoder: Any, tmp_path: Path) -> Path:
    """A model folder with its encoder and backbone."""
    ganenc.register("generator", "toy")(ToyGenerator)
    ganenc.register("backbone", Brightness.name)(Brightness)
    folder = tmp_path / "model"
    save_pretrained(toy, folder, info={"backbone": Brightness.name})
    save_pretrained(toy_encoder, folder / "encoder", info={"generator": model_hash(toy)})
    return folder


@pytest.fixture
def inverted(toy: ToyGenerator, tmp_path: Path) -> list[Path]:
    """Two folders as `ganenc invert` leaves them, and a file of three samples."""
    paths = [tmp_path / name for name in ("one/latents.safetensors", "two/latents.safetensors", "three.safetensors")]
    for seed, path in enumerate(paths):
        toy.complete(toy.sample(3 if seed == 2 else 1, seed=seed)).save(path, model=model_hash(toy))
    return [paths[0].parent, paths[1].parent, paths[2]]


def told(run: Any, *words: object) -> list[dict[str, Any]]:
    code, out, err = run(*words, "--json")
    assert code == 0, err
    found: list[dict[str, Any]] = json.loads(out)
    return found


@pytest.fixture
def tuned(model: Path, tmp_path: Path) -> Path:
    """A folder as `ganenc invert --method tune` leaves it."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    method = {"name": "tune", "options": {"steps": 3, "rate": 0.01}}
    ganenc.load(model).invert(pixels, method).save(tmp_path / "tuned")
    return tmp_path / "tuned"


def same_pixels(path: Path, column: int, image: torch.Tensor) -> bool:
    """Whether a column of a strip of 8x8 images, 2 pixels apart, is this image."""
    return torch.equal(images.to_uint8(images.read(path))[:, :, 10 * column : 10 * column + 8], images.to_uint8(image))


def test_a_direction_is_found_by_class_and_edits(
    run: Any, model: Path, inverted: list[Path], toy: ToyGenerator, tmp_path: Path
) -> None:
    out = tmp_path / "found"
    (facts,) = told(run, "directions", "--model", model, "--class", "1", "-n", 200, "--out", out)
    assert (facts["name"], facts["space"], facts["file"]) == ("class-1", "w+", str(out / "class-1.safetensors"))
    assert facts["accuracy"] > 0.7
    way = Direction.load(facts["file"], model=model_hash(toy))
    assert sorted(way.tensors) == ["const", "w"], "as the encoder finds them"
    assert images.read(out / "class-1.png").shape == (3, 4 * 10 - 2, 7 * 10 - 2)

    words = ("edit", inverted[0], "--model", model, "--direction", facts["file"], "--strength", "-2..2", "--steps", 5)
    (edited,) = told(run, *words, "--gif", "--webp", "--layers", "0-1", "--out", tmp_path / "edited")
    assert edited["strengths"] == [-2.0, -1.0, 0.0, 1.0, 2.0]
    start = Latents.load(inverted[0] / "latents.safetensors")
    saved = Latents.load(edited["latents"], model=model_hash(toy))
    expected = way.apply(start.expand(5), torch.linspace(-2, 2, 5), layers=[0, 1])
    assert torch.equal(saved["w"], expected["w"])
    assert torch.equal(saved["const"], expected["const"])
    assert edited["position"] == pytest.approx(float(way.position(start)))
    made = toy.synthesize(expected).detach()
    assert all(same_pixels(Path(edited["strip"]), index, image) for index, image in enumerate(made))
    for suffix in ("gif", "webp"):
        with Image.open(edited[suffix]) as moving:
            assert (moving.format, moving.size) == (suffix.upper(), (256, 256))
    assert json.loads((tmp_path / "edited/one/edit.json").read_text())["layers"] == [0, 1]


def test_points_are_dragged(
    run: Any, model: Path, inverted: list[Path], tuned: Path, toy: ToyGenerator, tmp_path: Path
) -> None:
    mask = torch.ones(1, 8, 8)
    mask[:, :, 6:] = 0
    images.write_png(tmp_path / "mask.png", mask, value_range=(0.0, 1.0))
    points = ("--from", "2,3", "--to", "4,3", "--from", "1.5,6", "--to", "1.5,5", "--mask", tmp_path / "mask.png")
    words = ("drag", inverted[0], tuned, "--model", model, *points, "--steps", 4, "--out", tmp_path / "out")
    words += ("--rate", 0.005, "--hold", 3)
    facts, of_tuned = told(run, *words, "--gif")
    assert (facts["points"], facts["targets"]) == ([[2.0, 3.0], [1.5, 6.0]], [[4.0, 3.0], [1.5, 5.0]])
    # Nothing of the toy's few pixels comes nearer, so that it stays as it was.
    assert (facts["masked"], facts["layers"], facts["steps"]) == (True, [0, 1], 0)
    assert (facts["rate"], facts["hold"]) == (0.005, 3.0)
    assert facts["tracked"] == facts["points"]
    loaded = ganenc.load(model)
    again = loaded.drag(inverted[0], facts["points"], facts["targets"], facts["mask"], steps=facts["steps"])
    saved = Latents.load(facts["latents"], model=model_hash(toy))
    assert torch.equal(saved["w"], again.latents["w"])
    assert same_pixels(Path(facts["strip"]), 1, toy.synthesize(saved)[0])
    assert Path(facts["gif"]).is_file()
    assert Path(of_tuned["tuning"]).is_file()
    for wrong, said in (
        (("--from", "2,3,4", "--to", "1,1"), "A point is X,Y in pixels of the generator's images"),
        (("--from", "2,3", "--to", "8,1"), "The point 8,1 is not in the image"),
        (("--from", "7,3", "--to", "1,1", "--mask", tmp_path / "mask.png"), "lies where the mask is black"),
        (("--from", "2,3", "--to", "1,1", "--mask", tmp_path / "none.png"), "no such file"),
    ):
        code, _, err = run("drag", inverted[0], "--model", model, "--out", tmp_path / "bad", *wrong)
        assert (code, said in err, err.count("\n")) == (1 if "none" in str(wrong) else 2, True, 1), err


def test_a_classifier_is_explained(run: Any, model: Path, inverted: list[Path], tuned: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text("def bright(images):\n    return 20 * images.mean((1, 2, 3))[:, None]\n")
    words = ("explain", inverted[0], tuned, "--model", model, "--target", 1, "--out", tmp_path / "out")
    facts, of_tuned = told(run, *words, "--classifier", f"{script}:bright", "--layers", "0-2", "--random", 4)
    assert (facts["target"], facts["flipped"], {*facts["changes"]} <= {"w.0", "w.1", "w.2"}) == (1, True, True)
    assert Path(facts["map"]).is_file()
    assert Path(of_tuned["tuning"]).is_file()
    code, _, err = run(*words, "--classifier", Brightness.name, "--probability", 0.999999, "--steps", 20)
    assert (code, "makes it say 1 with" in err) == (1, True), err
    for wrong, said in (
        (("--classifier", "toy-bright"), "did you mean 'toy-brightness'"),
        (("--classifier", f"{script}:dark"), "has no function 'dark'"),
        (("--classifier", Brightness.name, "--probability", 2), "between 0 and 1"),
        (("--classifier", Brightness.name, "--target", 2), "There is no class 2"),
    ):
        code, _, err = run(*words, *wrong)
        assert (code, said in err) == (2, True), err


def test_a_direction_found_among_draws_is_in_w_and_raises_the_brightness(
    run: Any, model: Path, toy: ToyGenerator, tmp_path: Path
) -> None:
    told(run, "directions", "--model", model, "--class", "1", "-n", 300, "--drawn", "--out", tmp_path)
    way = Direction.load(tmp_path / "class-1.safetensors")
    assert (way.space, list(way.tensors)) == ("w", ["w"])
    drawn = toy.sample(50, seed=9)
    levels = [toy.synthesize(way.apply(drawn, strength)).mean() for strength in (-1.0, 0.0, 1.0)]
    assert levels[0] < levels[1] < levels[2]


def test_directions_beside_others_and_on_layers(run: Any, model: Path, tmp_path: Path) -> None:
    words = ("directions", "--model", model, "--out")
    told(run, *words, tmp_path / "pca", "--pca", 2, "-n", 200)
    beside = ("--beside", tmp_path / "pca/pca-0.safetensors", "--layers", "1-2")
    told(run, *words, tmp_path / "own", "--class", 1, "-n", 200, "--drawn", *beside)
    kept, way = Direction.load(tmp_path / "pca/pca-0.safetensors"), Direction.load(tmp_path / "own/class-1.safetensors")
    assert float((kept.tensors["w"] * way.tensors["w"]).sum()) == pytest.approx(0, abs=1e-5)
    assert way.layers == (1, 2)


def test_directions_that_lie_with_the_model_go_by_name(
    run: Any, model: Path, inverted: list[Path], tmp_path: Path
) -> None:
    code, _, err = run("directions", "--model", model)
    assert (code, "No directions lie with" in err) == (0, True)
    told(run, "directions", "--model", model, "--pca", 2, "-n", 200, "--out", model / "directions")
    assert [facts["name"] for facts in told(run, "directions", "--model", model)] == ["pca-0", "pca-1"]
    assert "pca-1" in run("directions", "--model", model)[1]
    words = ("edit", inverted[2], "--model", model, "--out", tmp_path / "out", "--steps", 3, "--direction")
    assert len(told(run, *words, "pca-1")) == 3, "each sample of a file"
    code, _, err = run(*words, "pca-7")
    assert (code, "did you mean 'pca-" in err) == (2, True)
    for unused in (("--method", "encode"), ("--set", "method.options.steps=3"), ("--labels", "1")):
        code, _, err = run(*words, "pca-1", *unused)
        assert (code, "are for photos, and these are latents" in err) == (2, True)


def test_a_photo_is_inverted_first_and_stands_first_in_the_strip(
    run: Any, model: Path, toy: ToyGenerator, tmp_path: Path
) -> None:
    photo = toy.synthesize(toy.sample(1, seed=4)).detach()[0].clamp(-1, 1)
    images.write_png(tmp_path / "photo.png", photo)
    told(run, "directions", "--model", model, "--pca", 1, "-n", 100, "--out", tmp_path)
    words = ("edit", tmp_path / "photo.png", "--model", model, "--direction", tmp_path / "pca-0.safetensors")
    (edited,) = told(run, *words, "--method", "encode", "--strength", "2", "--steps", 3, "--out", tmp_path / "out")
    assert (edited["method"], edited["strengths"]) == ("encode", [0.0, 1.0, 2.0])
    assert same_pixels(Path(edited["strip"]), 0, photo)
    saved = Latents.load(edited["latents"])
    encoder = ganenc.load_encoder(model)
    with torch.no_grad():
        expected = encoder(images.read(tmp_path / "photo.png")[None])
    assert torch.allclose(saved["w"][0], expected["w"][0], atol=1e-5)


def test_what_belongs_to_another_model_is_refused(run: Any, model: Path, inverted: list[Path], tmp_path: Path) -> None:
    other = ToyGenerator(ganenc.load_generator(model).spec, seed=3)
    save_pretrained(other, tmp_path / "other")
    told(run, "directions", "--model", tmp_path / "other", "--pca", 1, "-n", 100, "--out", tmp_path)
    words = ("edit", inverted[0], "--model", model, "--out", tmp_path / "out", "--direction")
    code, _, err = run(*words, tmp_path / "pca-0.safetensors")
    mine = model_hash(ganenc.load_generator(model))[:12]
    assert (code, model_hash(other)[:12] in err, mine in err) == (1, True, True)
    told(run, "directions", "--model", model, "--pca", 1, "-n", 100, "--out", tmp_path)
    code, _, err = run(*words[:3], tmp_path / "other", *words[4:], tmp_path / "pca-0.safetensors")
    assert (code, mine in err) == (1, True)


def test_a_boundary_edits_where_its_space_fits(run: Any, model: Path, inverted: list[Path], tmp_path: Path) -> None:
    """The toy's z has 6 numbers, its w 4."""
    np.save(tmp_path / "age_boundary.npy", np.eye(1, 4))
    np.save(tmp_path / "z_boundary.npy", np.eye(1, 6))
    words = ("edit", inverted[0], "--model", model, "--out", tmp_path / "out", "--steps", 2, "--direction")
    (edited,) = told(run, *words, tmp_path / "age_boundary.npy")
    first, last = Latents.load(edited["latents"])["w"]
    assert bool(((last - first)[:, 0] > 0).all())
    assert bool(((last - first)[:, 1:].abs() < 1e-6).all())
    code, _, err = run(*words, tmp_path / "z_boundary.npy")
    assert (code, "lies in the space 'z'" in err) == (1, True)
    (facts,) = told(run, "directions", "--model", model, "--boundary", tmp_path / "z_boundary.npy", "--out", tmp_path)
    assert facts["space"] == "z"


def test_mixing_and_interpolating(
    run: Any, model: Path, inverted: list[Path], toy: ToyGenerator, tmp_path: Path
) -> None:
    a, b = (Latents.load(folder / "latents.safetensors")["w"][0] for folder in inverted[:2])
    words = (*inverted[:2], "--model", model, "--out", tmp_path)
    (mixed,) = told(run, "mix", *words, "--layers", "0,2-3")
    assert mixed["latents"] == str(tmp_path / "one-two" / "latents.safetensors")
    taken = [layer in (0, 2, 3) for layer in range(len(a))]
    assert torch.equal(Latents.load(mixed["latents"])["w"][0], torch.where(torch.tensor(taken)[:, None], b, a))
    assert images.read(mixed["strip"]).shape == (3, 8, 28), "both, and the mixture"
    (way,) = told(run, "interpolate", *words, "--steps", 3, "--gif")
    assert torch.allclose(Latents.load(way["latents"])["w"], torch.stack([a, (a + b) / 2, b]), atol=1e-6)
    assert Path(way["gif"]).is_file()
    images.write_png(tmp_path / "photo.png", torch.zeros(3, 8, 8))
    (mixed,) = told(run, "mix", tmp_path / "photo.png", *words[1:], "--layers", "0", "--method", "encode")
    assert (mixed["first"], mixed["second"]) == (str(tmp_path / "photo.png"), str(inverted[1] / "latents.safetensors"))
    code, _, err = run("mix", inverted[0], inverted[2], *words[2:], "--layers", "0")
    assert (code, "hold 4 samples" in err) == (2, True)


def test_between_the_classes_of_a_conditional_model(run: Any, known: Any, tmp_path: Path) -> None:
    ganenc.register("generator", "toy-conditional")(ToyConditional)
    generator = ToyConditional()
    save_pretrained(generator, tmp_path / "model")
    words = ("directions", "--model", tmp_path / "model", "--between", "0,2", "--out", tmp_path)
    told(run, *words)
    way = Direction.load(tmp_path / "class-0-to-2.safetensors")
    start = generator.sample(1, labels=torch.tensor([0]))
    assert torch.allclose(way.apply(start, 1.0)["c"], generator.embed(torch.tensor([2])), atol=1e-5)
    assert (tmp_path / "class-0-to-2.png").is_file()
    assert run(*words[:3], "--between", "0", "--out", tmp_path)[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("directions", "--pca", 2),
        ("directions", "--pca", 2, "--class", 1, "--out", "out"),
        ("edit", "one", "--direction", "up", "--out", "out", "--strength", "far"),
        ("edit", "one", "--direction", "up", "--out", "out", "--strength", "nan"),
        ("edit", "one", "--direction", "up", "--out", "out", "--strength", "0..1e400"),
        ("edit", "one", "--direction", "up", "--out", "out", "--layers", "3-1"),
        ("edit", "one", "--direction", "up", "--out", "out", "--space", "w"),
    ],
)
def test_wrong_words_are_told(run: Any, model: Path, words: tuple[object, ...]) -> None:
    code, _, err = run(*words, "--model", model)
    assert code == 2
    assert err.startswith("Error: ")


def test_layers_are_read() -> None:
    assert layer_numbers("0-3,7") == [0, 1, 2, 3, 7]
    assert layer_numbers("5") == [5]
    for wrong in ("", "a", "3-1", "1-", "-1"):
        with pytest.raises(SpecError, match="layers"):
            layer_numbers(wrong)


def test_from_photos_of_one_folder_to_those_of_another(
    run: Any, model: Path, toy: ToyGenerator, tmp_path: Path
) -> None:
    """A strength of 1 goes from the mean latents of the one to those of the other."""
    for folder, seeds in (("dark", (1, 2, 3)), ("bright", (4, 5))):
        for seed in seeds:
            image = toy.synthesize(toy.sample(1, seed=seed)).detach()[0].clamp(-1, 1)
            images.write_png(tmp_path / folder / f"{seed}.png", image)
    words = ("directions", "--model", model, "--photos", tmp_path / "dark", tmp_path / "bright", "--out", tmp_path)
    (facts,) = told(run, *words, "--method", "encode")
    assert (facts["name"], facts["samples"]) == ("photos", [3, 2])
    encoder, means = ganenc.load_encoder(model), {}
    for folder in ("dark", "bright"):
        with torch.no_grad():
            photos = torch.stack([images.read(path) for path in sorted((tmp_path / folder).iterdir())])
            means[folder] = encoder(photos)["w"].mean(0)
    way = Direction.load(facts["file"], model=model_hash(toy))
    start = Latents(toy.spec.layout, {"w": means["dark"][None], "const": toy.center()["const"]}, space="w+")
    assert torch.allclose(way.apply(start, 1.0)["w"][0], means["bright"], atol=1e-4)
    tuned = (
        "--method",
        "tune",
        "--set",
        "method.options={steps: 1, pivot: encode}",
        "--set",
        "objective.losses={mse: 1}",
    )
    (again,) = told(run, *words[:-1], tmp_path / "tuned", *tuned)
    assert torch.equal(Direction.load(again["file"]).tensors["w"], way.tensors["w"])
    code, _, err = run(*words[:4], words[4], words[4], *words[6:], "--method", "encode")
    assert (code, "The means of the two sets are the same" in err) == (1, True), err
    code, _, err = run(*words[:3], "--pca", 2, "--method", "encode", "--out", tmp_path)
    assert (code, "Give one of" in err) == (2, True)
    code, _, err = run(*words[:3], "--pca", 2, "--align", "center", "--out", tmp_path)
    assert (code, "is for --photos" in err) == (2, True)


def test_directions_are_found_by_any_way_that_is_registered(
    run: Any, model: Path, toy: ToyGenerator, tmp_path: Path
) -> None:
    words = ("directions", "--model", model, "-n", 200, "--out", tmp_path)
    found = told(run, *words, "--method", "pca", "--set", "method.options.components=2")
    assert [facts["name"] for facts in found] == ["pca-0", "pca-1"]
    again = ganenc.load(model).find_directions({"name": "pca", "options": {"components": 2}}, 200)
    assert torch.equal(again[1].tensors["w"], Direction.load(found[1]["file"]).tensors["w"])
    for wrong, said in (
        (("--method", "pcaa"), "did you mean 'pca'"),
        (("--method", "pca", "--set", "method.options.component=2"), "did you mean 'components'"),
        (("--method", "pca", "--set", "fit=cover"), "--set fit has no effect"),
        (("--method", "classes", "--backbone", "none"), "takes a backbone"),
        (("--method", "classes", "--set", "method.options.classes=[9]"), "no class 9"),
    ):
        code, _, err = run(*words, *wrong)
        assert code == 2
        assert said in err


def test_a_photo_is_cut_as_told_before_it_is_edited(run: Any, model: Path, tmp_path: Path) -> None:
    """The strip's first picture is what the aligner, or the fit, makes of a wider one."""
    images.write_png(tmp_path / "wide.png", torch.rand(3, 8, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    told(run, "directions", "--model", model, "--pca", 1, "-n", 100, "--out", tmp_path)
    words = ("edit", tmp_path / "wide.png", "--model", model, "--direction", tmp_path / "pca-0.safetensors", "--out")
    loaded, strips = ganenc.load(model), {}
    for name, more in (("center", ("--align", "center")), ("stretch", ("--set", "fit=stretch"))):
        (made,) = told(run, *words, tmp_path / name, "--method", "encode", *more)
        strips[name] = Path(made["strip"])
    aligned, stretched = (
        loaded.read(tmp_path / "wide.png", **how).target for how in ({"align": "center"}, {"fit": "stretch"})
    )
    assert same_pixels(strips["center"], 0, aligned)
    assert same_pixels(strips["stretch"], 0, stretched)
    assert not torch.allclose(aligned, stretched, atol=0.1)
    (tmp_path / "broken.png").write_text("no")
    code, _, err = run("edit", tmp_path / "broken.png", *words[1:], tmp_path / "b", "--method", "encode")
    assert (code, "1 photos were skipped: " in err, (tmp_path / "b/wide/strip.png").is_file()) == (1, True, True), err
    code, _, err = run(*words, tmp_path / "c", "--set", "seed=3")
    assert (code, "has no effect here" in err) == (2, True)


def test_a_tuned_inversion_is_replayed_and_edited_with_its_weights(
    run: Any, model: Path, tuned: Path, inverted: list[Path], tmp_path: Path
) -> None:
    way = tmp_path / "way.safetensors"
    styles = ToyGenerator(ganenc.load(model).generator.spec).spec.layout[0]
    Direction("up", [styles], {"w": torch.ones(4, 4)}, space="w+").save(way)
    rebuilt = tuned / "reconstruction.png"
    code, _, err = run("invert", tuned / "latents.safetensors", "--model", model, "--out", tmp_path / "again")
    assert code == 0, err
    assert rebuilt.read_bytes() == (tmp_path / "again" / "tuned.png").read_bytes()
    words = ("--model", model, "--direction", way, "--strength", "0..1", "--steps", 2, "--out", tmp_path / "edited")
    (facts,) = told(run, "edit", tuned, *words)
    assert same_pixels(Path(facts["strip"]), 0, images.read(rebuilt))
    assert Path(facts["tuning"]) == tmp_path / "edited" / "tuned" / "tuning.safetensors"
    for command in (("mix", "--layers", "1"), ("interpolate",)):
        code, _, err = run(command[0], tuned, inverted[0], "--model", model, *command[1:], "--out", tmp_path / "both")
        assert code != 0
        assert "differently tuned" in err
    (tuned / "tuning.safetensors").unlink()
    code, _, err = run("edit", tuned, *words)
    assert code != 0
    assert "tuning.safetensors" in err
    assert "Traceback" not in err
