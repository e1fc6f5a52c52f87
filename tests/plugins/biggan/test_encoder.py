"""BigGAN's encoder (Table 10): its rows, what it may know, and photos inverted with it and without."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc.encoders import ConditionalBatchNorm, Encoder, build_encoder
from ganenc.inversion import Optimize
from ganenc.latents import Latents
from ganenc.models import model_hash
from ganenc.objectives import Batch, EncoderStep, LatentTerm, Objective
from ganenc_plugin_biggan.biggan import BigGAN
from ganenc_plugin_biggan.specs import biggan_spec
from ganenc_registry.specs import EncoderSpec, LatentLoss
from rounding import close
from torch import Tensor
from toys import make_objective

# Table 10 of the paper, typed by hand: (in, out) of each CBN + CONV, block by block.
TABLE_10 = {
    128: "128-128 128-256 / 256-256 256-512 / 512-512 512-512 / 512-512 512-512 / 512-512 512-512 / 512-512",
    256: "64-64 64-128 / 128-128 128-256 / 256-256 256-512 / 512-512 512-512 / 512-512 512-512 / 512-512 512-512"
    " / 512-512",
    512: "32-32 32-64 / 64-64 64-128 / 128-128 128-256 / 256-256 256-512 / 512-512 512-512 / 512-512 512-512"
    " / 512-512 512-512 / 512-512",
}
SIZES: dict[str, Any] = {"channel_width": 8, "z_dim": 6, "c_dim": 4, "classes": 5, "n_stats": 5}
LABELS = torch.tensor([3, 0, 3, 1])


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> BigGAN:
    """A small generator whose images differ by z, class and truncation."""
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    torch.manual_seed(0)
    made = BigGAN(biggan_spec(16, blocks=((True, 4, 2), (True, 2, 1)), attention=(), **SIZES))
    return made.gather_statistics(samples=64).freeze()


@pytest.fixture
def encoder(generator: BigGAN) -> Encoder:
    """Its encoder, with random weights, norms that look at the class, and running statistics of some images."""
    torch.manual_seed(1)
    made = build_encoder(generator)
    for module in made.modules():
        if isinstance(module, ConditionalBatchNorm):
            for linear in (module.gain, module.shift):
                torch.nn.init.normal_(linear.weight, std=0.3)
    labels = torch.arange(20) % 5
    images = generator.synthesize(generator.sample(20, seed=7, labels=labels))
    with torch.no_grad():
        for _ in range(20):
            made(images, labels=labels)
    return made.eval()


@pytest.fixture
def objective() -> Objective:
    return make_objective({"mse": 1.0}, "none", latent={"weight": 0.01, "mse": 5.0, "cos": 3.0})


def batch(generator: BigGAN, *, seed: int = 5, truncation: float = 1.0) -> Batch:
    latents = generator.sample(4, seed=seed, labels=LABELS, truncation=truncation)
    return Batch(generator.synthesize(latents), LABELS, latents)


@pytest.mark.parametrize("size", TABLE_10)
def test_the_mirror_is_table_10(size: int) -> None:
    spec = EncoderSpec.mirror(biggan_spec(size))
    image, *blocks, hidden, z, c = spec.rows()
    table = [[tuple(map(int, conv.split("-"))) for conv in block.split()] for block in TABLE_10[size].split(" / ")]
    assert image.convolutions == ((3, table[0][0][0], (1, 1)),), "CONV(3, C_in, 1) before block 1"
    assert [[(a, b) for a, b, _ in row.convolutions] for row in blocks] == table
    assert {kernel for row in blocks for _, _, kernel in row.convolutions} == {(3, 3)}
    assert [row.size for row in blocks] == [(size >> i, size >> i) for i in range(len(table))]
    assert not any(row.heads for row in blocks), "the FC and z'_n of StyleGAN are removed"
    assert spec.noise == "none"
    assert hidden.heads == ((512 * 4 * 4, 256),)
    assert z.heads == ((256, 128),)
    assert c.heads == ((256, 128),)
    assert (spec.norm, spec.embedding, spec.classes) == ("conditional-batch", 128, 1000)


def test_the_built_encoder_has_those_layers() -> None:
    spec = EncoderSpec.mirror(biggan_spec(128, channel_width=8, z_dim=16, c_dim=12, classes=7))
    encoder = Encoder(spec)
    norms = [module for module in encoder.modules() if isinstance(module, ConditionalBatchNorm)]
    assert len(norms) == sum(len(row.convolutions) for row in spec.rows()[1:])
    assert {norm.gain.weight.shape[1] for norm in norms} == {12}
    assert sum(parameter.numel() for parameter in encoder.parameters()) == sum(row.parameters for row in spec.rows())


def test_it_knows_images_and_labels_alone(generator: BigGAN, encoder: Encoder) -> None:
    assert list(inspect.signature(encoder.forward).parameters) == ["images", "labels"]
    encoder.train()
    some = batch(generator)
    z = some.latents["z"].clone().requires_grad_()
    c = some.latents["c"].clone().requires_grad_()
    truncation = some.latents["truncation"].clone().requires_grad_()
    made = generator.synthesize(some.latents.replace(z=z, c=c, truncation=truncation))
    through = encoder(made, labels=LABELS)
    found = torch.autograd.grad(through["z"].sum() + through["c"].sum(), (z, c), retain_graph=True)
    assert all(float(gradient.abs().sum()) > 0 for gradient in found), "the image itself does depend on them"
    encoded = encoder(made.detach(), labels=LABELS)
    for name in ("z", "c"):
        beside = torch.autograd.grad(encoded[name].sum(), (z, c, truncation), retain_graph=True, allow_unused=True)
        assert beside == (None, None, None)


def test_a_step_tells_it_nothing_of_the_true_latents(generator: BigGAN, encoder: Encoder, objective: Objective) -> None:
    """With the images left as they are, whatever is said of their latents changes nothing that is predicted."""
    step = EncoderStep(generator, encoder, objective)
    some = batch(generator)
    z, c = (some.latents[name].clone().requires_grad_() for name in ("z", "c"))
    outcome = step(Batch(some.images, LABELS, some.latents.replace(z=z, c=c)))
    for name in ("z", "c"):
        assert torch.autograd.grad(outcome.latents[name].sum(), (z, c), retain_graph=True, allow_unused=True) == (
            None,
            None,
        )
    assert torch.autograd.grad(outcome.reconstruction.sum(), (z, c), retain_graph=True, allow_unused=True) == (
        None,
        None,
    )
    others = some.latents.replace(z=torch.randn(4, 6), c=torch.randn(4, 4))
    for latents in (others, None):
        again = step(Batch(some.images, LABELS, latents))
        assert torch.equal(again.latents["z"], outcome.latents["z"])
        assert torch.equal(again.latents["c"], outcome.latents["c"])
        assert torch.equal(again.reconstruction, outcome.reconstruction)


def test_the_norms_look_at_the_class_alone(generator: BigGAN, encoder: Encoder) -> None:
    """What the norms get is a constant of the encoder for each class: the generator's embedding of it."""
    seen: list[Tensor] = []
    norm = next(module for module in encoder.modules() if isinstance(module, ConditionalBatchNorm))
    norm.register_forward_hook(lambda module, inputs, output: seen.append(inputs[1]))
    for seed in (5, 6):
        encoder(batch(generator, seed=seed).images, labels=LABELS)
    encoder(batch(generator).images, labels=torch.nn.functional.one_hot(LABELS, 5))
    for condition in seen:
        torch.testing.assert_close(condition, generator.embed(LABELS))
    other = encoder(batch(generator).images, labels=(LABELS + 1) % 5)
    assert not torch.allclose(other["z"], encoder(batch(generator).images, labels=LABELS)["z"])


def test_both_vectors_are_supervised(generator: BigGAN, encoder: Encoder, objective: Objective) -> None:
    some = batch(generator)
    outcome = EncoderStep(generator, encoder, objective)(some)
    for name in ("z", "c"):
        error = outcome.latents[name].double() - some.latents[name].double()
        term = outcome.result.terms[f"latent/{name}/mse"]
        torch.testing.assert_close(term.double(), error.square().mean(1), atol=1e-6, rtol=1e-5)
        head = encoder.heads[[part.name for part in encoder.spec.parts].index(name)]
        (gradient,) = torch.autograd.grad(term.sum(), head.linear.weight, retain_graph=True)
        assert float(gradient.abs().sum()) > 0
    assert not any("truncation" in name for name in outcome.result.terms)


def test_synthesis_takes_the_embedded_label(generator: BigGAN, encoder: Encoder, objective: Objective) -> None:
    some = batch(generator, truncation=0.5)
    outcome = EncoderStep(generator, encoder, objective)(some)
    assert not torch.allclose(outcome.latents["c"], generator.embed(LABELS))
    whole = outcome.latents.replace(c=generator.embed(LABELS), truncation=torch.full((4,), 0.5))
    torch.testing.assert_close(outcome.reconstruction, generator.synthesize(whole))


def test_running_statistics_are_gathered_and_normalise(generator: BigGAN, encoder: Encoder) -> None:
    with torch.no_grad():
        images = batch(generator, seed=99).images
        together = encoder(images, labels=LABELS)["z"]
        alone = torch.cat([encoder(images[i : i + 1], labels=LABELS[i : i + 1])["z"] for i in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    norm = next(module for module in encoder.modules() if isinstance(module, ConditionalBatchNorm))
    x, condition = torch.randn(2, len(norm.running_mean), 3, 3), generator.embed(LABELS[:2])
    normal = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-5).sqrt()
    expected = normal * (1 + norm.gain(condition))[:, :, None, None] + norm.shift(condition)[:, :, None, None]
    torch.testing.assert_close(norm(x, condition), expected, atol=1e-5, rtol=1e-5)
    assert float(norm.running_mean.abs().sum()) > 0


METHODS: dict[str, dict[str, Any]] = {
    "encode": {},
    "finetune": {"steps": 15, "rate": 0.003, "latent_loss": True},
    "optimize": {"steps": 30, "rate": 0.3},
}


@pytest.mark.parametrize("method", METHODS)
def test_inversion(generator: BigGAN, encoder: Encoder, objective: Objective, method: str, tmp_path: Path) -> None:
    some, labels = batch(generator).images[:3], LABELS[:3]
    chosen = {"name": method, "options": METHODS[method]}
    done = ganenc.invert(some, generator, encoder, chosen, labels=labels, objective=objective)
    if method != "encode":
        errors = (done.reconstructions - some).square().flatten(1).mean(1)
        first = torch.tensor([rows[0]["image/mse"] for rows in done.history])
        assert float(errors.mean()) < 0.9 * float(first.mean())
        assert all(("latent/c/mse" in rows[0]) == (method == "finetune") for rows in done.history)
    assert torch.equal(done.latents["c"], generator.embed(labels))
    assert torch.equal(done.latents["truncation"], torch.ones(3))
    done.latents.save(tmp_path / "latents.safetensors", model=model_hash(generator))
    again = Latents.load(tmp_path / "latents.safetensors", model=model_hash(generator))
    torch.testing.assert_close(generator.synthesize(again), done.reconstructions, atol=1e-5, rtol=0)
    moved = generator.synthesize(again.replace(truncation=torch.full((3,), 0.25)))
    assert not torch.allclose(moved, done.reconstructions, atol=1e-3), "the pixels do hang on what is saved"


def test_the_class_embedding_can_be_freed(generator: BigGAN, objective: Objective) -> None:
    """A photo of a mix of two classes, of which neither rebuilds it."""
    mixed = generator.sample(1, seed=5, labels=torch.tensor([[0.5, 0.0, 0.5, 0.0, 0.0]]))
    photo, labels = generator.synthesize(mixed), torch.tensor([0])
    held, freed = (
        ganenc.invert(
            photo, generator, method=Optimize.of(steps=40, draws=10, free=free), labels=labels, objective=objective
        )
        for free in (None, ("c",))
    )
    assert torch.equal(held.latents["c"], generator.embed(labels))
    assert not torch.allclose(freed.latents["c"], generator.embed(labels), atol=0.01)
    errors = [float((one.reconstructions - photo).square().mean()) for one in (freed, held)]
    assert errors[0] < errors[1]


def test_pretraining_lowers_both_errors(generator: BigGAN, tmp_path: Path) -> None:
    """A few steps of a run, truncation and all, through the same door as any other generator's."""
    run = ganenc.preset(
        "pretrain",
        steps=20,
        objective={"losses": {"mse": 5.0}, "attention": {"name": "none"}},
        data={"batch": 8, "truncation": 0.5},
        optimiser={"rate": 0.01, "warmup": 0},
        saving={"log_every": 5, "grid_every": 20},
    )
    rows: list[dict[str, float]] = []
    trained = ganenc.pretrain(generator, run, tmp_path, on_step=lambda step, steps, terms: rows.append(dict(terms)))
    assert rows[-1]["image/mse"] < rows[0]["image/mse"]
    assert rows[-1]["latent/c/mse"] < rows[0]["latent/c/mse"]
    loaded = ganenc.load_encoder(tmp_path / "encoder")
    some = batch(generator, truncation=0.5)
    with torch.no_grad():
        found, wanted = (one(some.images, labels=LABELS)["z"] for one in (loaded, trained))
    close(found, wanted, terms=512, depth=10)  # The weights are in another memory format.


def test_the_latent_loss_of_a_class_vector_by_hand() -> None:
    """Equation 4 on c and on z alike, weighed and summed as Equation 5 has it."""
    layout = biggan_spec(16, **SIZES).layout
    ours, true = (Latents(layout, {"z": torch.randn(2, 6), "c": torch.randn(2, 4)}) for _ in range(2))
    total, _ = LatentTerm(LatentLoss(weight=0.01, mse=5.0, cos=3.0))(ours, true)
    expected = torch.zeros(2, dtype=torch.float64)
    for name in ("z", "c"):
        a, b = ours[name].double(), true[name].double()
        cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
        expected += 0.01 * (5 * (a - b).square().mean(1) + 3 * (1 - cosine))
    torch.testing.assert_close(total.double(), expected, atol=1e-6, rtol=1e-5)
