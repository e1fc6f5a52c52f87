"""Networks of others, each wrapped by an adapter of at most 20 lines, go the whole way from spec to latents."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, NamedTuple

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc_registry.specs import EncoderSpec, RunSpec
from rounding import close
from torch import Tensor
from toys import make_objective

WRAPPED = Path(__file__).with_name("wrapped.py")
NAMES = [
    "alias-free",
    "chunked",
    "digits",
    "half",
    "info",
    "modulated",
    "noise-inside",
    "one-hot",
    "plain-dcgan",
    "progressive",
    "sngan",
    "spatial",
    "voxels",
]
LOSSES = {"losses": {"mse": 5.0, "cos": 3.0}, "attention": {"name": "none"}}


class Trained(NamedTuple):
    generator: Generator
    encoder: Encoder
    folder: Path


def made(name: str) -> Generator:
    """An adapter as a user has it: built, and nothing more."""
    generator = ganenc.registry().resolve("generator", name)()
    assert isinstance(generator, Generator)
    return generator


@pytest.fixture(scope="module", params=NAMES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """An adapter, and the encoder that was trained for it on the same four images."""
    generator, folder = made(request.param), tmp_path_factory.mktemp(request.param)
    fields: dict[str, Any] = {"task": "pretrain", "steps": 12, "objective": LOSSES, "optimiser": {"rate": 0.01}}
    saving = {"log_every": 1, "grid": 2}
    run = RunSpec.from_mapping({**fields, "data": {"batch": 4, "samples": 4}, "saving": saving})
    return Trained(generator, ganenc.pretrain(generator, run, folder), folder)


def targets(generator: Generator, n: int = 2) -> tuple[Tensor, Tensor | None]:
    """Images of the generator, and their labels."""
    labels = generator.draw_labels(n, seed=5)
    with torch.no_grad():
        return generator.synthesize(generator.sample(n, seed=5, labels=labels)), labels


def assert_same(a: Tensor, b: Tensor) -> None:
    """Two images, or latents, are the same, but for rounding in the dtype that they are in."""
    # Ten layers with those of the styles, of 17 x 3 x 3 terms, and phases of several turns that add ten roundings more;
    # sums of halves are made in float32 and rounded once.
    close(a, b, terms=153 if a.dtype == torch.float32 else 1, depth=20 if a.dtype == torch.float32 else 10)


def test_every_adapter_is_tested_and_has_at_most_20_lines() -> None:
    tree = ast.parse(WRAPPED.read_text(encoding="utf-8"))
    lines = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            (call,) = node.decorator_list
            assert isinstance(call, ast.Call)
            assert node.end_lineno is not None
            lines[ast.literal_eval(call.args[1])] = node.end_lineno - call.lineno + 1
    assert sorted(lines) == NAMES
    assert max(lines.values()) <= 20, lines


def test_the_loss_falls_and_the_encoder_mirrors(trained: Trained) -> None:
    generator, encoder, folder = trained
    mirror = EncoderSpec.mirror(generator.spec)
    assert encoder.spec == mirror
    totals = [row["total"] for row in ganenc.training.RunFolder(folder).metrics()]
    assert sum(totals[-3:]) < 0.95 * sum(totals[:3]), totals


def test_the_same_latents_give_the_same_pixels_alone_and_in_a_batch(trained: Trained) -> None:
    generator = trained.generator
    latents = generator.sample(3, seed=1)
    with torch.no_grad():
        images = generator.synthesize(latents)
        assert torch.equal(generator.synthesize(latents), images)
        for one, image in zip(latents, images, strict=True):
            assert_same(generator.synthesize(one)[0], image)
        assert images.dtype == generator.dtype
        assert not torch.allclose(images[0], images[1], atol=1e-2)


@pytest.mark.parametrize(
    ("method", "options"),
    [("encode", {}), ("finetune", {"steps": 2}), ("optimize", {"steps": 3}), ("finetune+refine", {})],
)
def test_every_method_inverts_and_the_latents_bring_the_image_back(
    trained: Trained, method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    generator, encoder, _ = trained
    images, labels = targets(generator)
    options = {"steps": 4} if method == "finetune+refine" else options
    objective = make_objective(LOSSES["losses"], "none", spec=generator.spec)
    chosen = {"name": method, "options": options}
    found = ganenc.invert(images, generator, encoder, chosen, labels=labels, objective=objective)
    assert found.reconstructions.shape == images.shape
    assert found.reconstructions.isfinite().all()
    if method == "optimize":
        losses = [[row["total"] for row in rows] for rows in found.history]
        assert all(min(rows[1:]) < rows[0] for rows in losses), losses
    path = tmp_path / "latents.safetensors"
    found.latents.save(path, model=ganenc.model_hash(generator))
    loaded = ganenc.Latents.load(path, model=ganenc.model_hash(generator))
    assert set(loaded.tensors) == set(found.latents.tensors)
    with torch.no_grad():
        for one, image in zip(loaded, found.reconstructions, strict=True):
            assert_same(generator.synthesize(one)[0], image)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_folder_gives_the_same_pixels(name: str, tmp_path: Path) -> None:
    generator = made(name).freeze()
    with torch.no_grad():
        for weight in generator.parameters():  # Not those that the adapter starts from.
            weight.mul_(1.01)
    save_pretrained(generator, tmp_path / "mine")
    again = ganenc.load_generator(tmp_path / "mine")
    assert type(again) is type(generator)
    assert again.spec == generator.spec
    assert ganenc.model_hash(again) == ganenc.model_hash(generator)
    assert torch.equal(targets(again)[0], targets(generator)[0])


def test_a_trained_encoder_is_kept(trained: Trained) -> None:
    generator, encoder, folder = trained
    images, labels = targets(generator)
    kept = ganenc.load_encoder(folder)
    assert kept.spec == encoder.spec
    with torch.no_grad():
        mine, theirs = encoder(images, labels=labels), kept(images, labels=labels)
    for name in mine.tensors:  # The weights are in another memory format.
        assert_same(theirs[name], mine[name])


@pytest.mark.parametrize("name", ["alias-free", "info", "one-hot", "sngan"])
def test_labels_are_numbers_or_rows(name: str) -> None:
    generator = made(name).freeze()
    classes = generator.spec.classes
    numbers = torch.arange(classes)
    z = generator.draw(1, seed=2).expand(classes, -1)
    by_number = generator.synthesize(generator.map(z, labels=numbers))
    assert torch.equal(generator.synthesize(generator.map(z, labels=torch.eye(classes))), by_number)
    assert len(torch.unique(by_number.flatten(1), dim=0)) == classes
    smooth = 0.9 * torch.eye(classes) + 0.1 / classes
    smoothed = generator.synthesize(generator.map(z, labels=smooth))
    looks_up = name == "sngan"  # It looks classes up, so a smoothed row is the class that it favours.
    assert torch.equal(smoothed, by_number) is looks_up


def test_truncation_reaches_the_network_of_others() -> None:
    generator = made("alias-free").freeze()
    styles = generator.sample(2, truncation=0.0)["w"]
    torch.testing.assert_close(styles, torch.full_like(styles, 0.25))
    drawn = made("chunked")
    assert torch.equal(drawn.sample(2, seed=1, truncation=0.5)["z"], 0.5 * drawn.sample(2, seed=1)["z"])


def test_a_network_in_train_mode_keeps_its_running_statistics() -> None:
    generator = made("plain-dcgan")
    kept = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    assert generator.network.main[1].training
    images, _ = targets(made("plain-dcgan").freeze())
    encoder = ganenc.build_encoder(generator)
    ganenc.invert(images, generator, encoder, method="encode")
    assert all(torch.equal(buffer, kept[name]) for name, buffer in generator.named_buffers())


def test_codes_are_uniform_and_normal_ones_are_not() -> None:
    generator = made("info")
    drawn = generator.sample(500, seed=3)
    for code in drawn["code"].T:
        assert abs(float((code < 0.5).float().mean()) - 0.75) < 5 * (0.75 * 0.25 / 500) ** 0.5
    assert float(drawn["code"].abs().max()) <= 1
    assert float(drawn["noise"].abs().max()) > 2
    assert torch.equal(drawn["category"].sum(1), torch.ones(500))
