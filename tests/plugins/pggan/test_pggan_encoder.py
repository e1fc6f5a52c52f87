"""PGGAN with its encoder: the note under Table 9, where it starts, and every way from images to a lone z."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc.encoders import Encoder, build_encoder
from ganenc.inversion import Finetune, Optimize
from ganenc.objectives import Objective
from ganenc_plugin_pggan.pggan import PGGAN
from ganenc_plugin_pggan.specs import pggan_spec
from ganenc_registry.specs import EncoderSpec
from torch import Tensor
from toys import make_objective

CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
TABLE_9 = [
    ((16, 16), (16, 32)),
    ((32, 32), (32, 64)),
    ((64, 64), (64, 128)),
    ((128, 128), (128, 256)),
    ((256, 256), (256, 512)),
    ((512, 512), (512, 512)),
    ((512, 512), (512, 512)),
    ((512, 512), (512, 512)),
    ((512, 512),),
]


@pytest.fixture(scope="module")
def generator() -> PGGAN:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return PGGAN(pggan_spec((16, 16), {4: 24, 8: 24, 16: 16}, z_dim=16)).freeze()


@pytest.fixture
def encoder(generator: PGGAN) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return build_encoder(generator)


@pytest.fixture
def objective() -> Objective:
    return make_objective({"mse": 5.0, "cos": 3.0}, "none")


def targets(generator: PGGAN, n: int = 2) -> Tensor:
    return generator.synthesize(generator.sample(n, seed=11))


def test_the_mirror_of_the_published_generator_is_table_9_row_by_row() -> None:
    spec = EncoderSpec.mirror(pggan_spec((1024, 1024), CHANNELS))
    image, *blocks, z = spec.rows()
    assert image.convolutions == ((3, 16, (1, 1)),)
    assert [row.convolutions for row in blocks] == [tuple((a, b, (3, 3)) for a, b in pair) for pair in TABLE_9]
    assert [row.size[0] for row in blocks] == [1024 >> index for index in range(9)]
    assert [row.downscale for row in blocks] == ["average"] * 8 + ["none"]
    assert all(row.heads == () for row in blocks), "the FC of the blocks are removed"
    assert (z.name, z.heads) == ("z", ((512 * 4 * 4, 512),))
    assert (spec.norm, spec.noise, spec.residual, spec.hidden) == ("instance", "none", "sum", 0)


def test_the_built_encoder_has_those_rows(generator: PGGAN, encoder: Encoder) -> None:
    rows = encoder.spec.rows()
    assert [row.name for row in rows] == ["image", "block 1", "block 2", "block 3", "z"]
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in encoder.parameters())
    assert not any("noise" in name or "head_" in name for name, _ in encoder.named_parameters())


def test_z_comes_out_with_gradients_everywhere(generator: PGGAN, encoder: Encoder) -> None:
    images = targets(generator, 3).requires_grad_()
    latents = encoder(images)
    assert latents["z"].shape == (3, 16)
    generator.synthesize(latents).square().mean().backward()
    assert images.grad is not None
    assert bool((images.grad.flatten(1).norm(dim=1) > 0).all())
    assert all(bool(p.grad.any()) and bool(p.grad.isfinite().all()) for p in encoder.parameters())
    assert all(p.grad is None for p in generator.parameters())


def test_an_encoder_comes_back_from_its_folder(generator: PGGAN, encoder: Encoder, tmp_path: Path) -> None:
    save_pretrained(encoder, tmp_path / "encoder")
    back = ganenc.load_encoder(tmp_path / "encoder")
    images = targets(generator)
    assert back.spec == encoder.spec
    assert torch.equal(back(images)["z"], encoder.eval()(images)["z"])


# Where it starts


def test_the_center_is_no_singular_place(generator: PGGAN) -> None:
    z = generator.center()["z"].requires_grad_()
    assert float(z.detach().norm()) < 0.1, "the mean of the prior is zero"
    image = generator.synthesize(generator.map(z))
    typical = float(targets(generator, 16).std())
    assert 0.3 * typical < float(image.detach().std()) < 3 * typical
    (gradient,) = torch.autograd.grad(image.square().mean(), z)
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())


def test_the_encoder_starts_around_the_center_at_images_like_any_other(generator: PGGAN, encoder: Encoder) -> None:
    images = targets(generator, 16)
    z = encoder(images)["z"].detach()
    assert torch.equal(encoder.state_dict()["heads.0.offset"], generator.center()["z"][0])
    assert 0.05 < float(z.square().mean().sqrt()) < 1, "within the draws, and away from zero"
    made = generator.synthesize(generator.map(z))
    apart = (images - images.mean(0)).square().mean()
    assert float((made - images.mean(0)).square().mean()) < 2.5 * float(apart)


def test_an_image_without_any_contrast_does_no_harm(generator: PGGAN, encoder: Encoder) -> None:
    loss = generator.synthesize(encoder(torch.full((2, 3, 16, 16), 0.3))).square().mean()
    loss.backward()
    assert all(bool(p.grad.isfinite().all()) for p in encoder.parameters() if p.grad is not None)


# From images to z


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("finetune", {"steps": 15}),
        ("finetune+refine", {"steps": 20, "share": 0.5}),
        ("optimize", {"steps": 15}),
        ("optimize", {"steps": 15, "start": "center"}),
        ("optimize", {"steps": 15, "start": "draws", "draws": 8}),
    ],
    ids=lambda value: value if isinstance(value, str) else value.get("start", ""),
)
def test_every_method_lowers_the_loss(
    generator: PGGAN, encoder: Encoder, objective: Objective, method: str, options: dict[str, Any]
) -> None:
    images = targets(generator)
    found = ganenc.invert(images, generator, encoder, {"name": method, "options": options}, objective=objective)
    check(found, generator)
    for rows in found.history:
        assert rows[-1]["total"] < 0.9 * rows[0]["total"]


def test_without_an_encoder_it_starts_at_the_best_draw(generator: PGGAN, objective: Objective) -> None:
    images = targets(generator)
    found = ganenc.invert(images, generator, method=Optimize.of(steps=15), objective=objective)
    check(found, generator)
    options = found.settings["method"]["options"]
    assert (options["start"], options["space"]) == ("draws", "z")
    assert all(rows[-1]["total"] < rows[0]["total"] for rows in found.history)


def test_encoding_is_one_pass(generator: PGGAN, encoder: Encoder) -> None:
    images = targets(generator)
    found = ganenc.invert(images, generator, encoder, method="encode")
    check(found, generator)
    torch.testing.assert_close(found.latents["z"], encoder(images)["z"].detach())


def test_a_generator_with_labels_has_them_in_its_encoder(objective: Objective) -> None:
    torch.manual_seed(5)
    generator = PGGAN(pggan_spec((16, 16), {4: 24, 8: 24, 16: 16}, z_dim=16, classes=3)).freeze()
    encoder, labels = build_encoder(generator), torch.tensor([2, 0])
    images = generator.synthesize(generator.sample(2, seed=1, labels=labels))
    options: dict[str, Any] = {"labels": labels, "objective": objective}
    found = ganenc.invert(images, generator, encoder, method=Finetune.of(steps=15), **options)
    check(found, generator)
    assert torch.equal(found.latents["c"], generator.embed(labels))
    assert all(rows[-1]["total"] < rows[0]["total"] for rows in found.history)


def check(found: ganenc.Inversion, generator: PGGAN) -> None:
    """Whole latents that give the reconstructions again."""
    assert found.latents["z"].shape == (2, 16)
    assert bool(found.latents["z"].isfinite().all())
    again = generator.synthesize(found.latents)
    torch.testing.assert_close(again, found.reconstructions, rtol=1e-4, atol=1e-5)
