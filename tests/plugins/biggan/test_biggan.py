"""The generator and its spec: building, sampling, gradients, files, and training one from scratch."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc.generators import build_generator
from ganenc.latents import Latents
from ganenc_plugin_biggan.biggan import BigGAN
from ganenc_plugin_biggan.layers import BatchNorm
from ganenc_plugin_biggan.specs import biggan_spec, published_blocks
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Setting

ROW = {"channel_width": 8, "z_dim": 6, "c_dim": 4, "classes": 5}
NARROW = ((False, 4, 2), (True, 2, 1))


def small_spec(**fields: object) -> GeneratorSpec:
    return biggan_spec(16, **{**ROW, "n_stats": 5, **fields})  # type: ignore[arg-type]


def build(**fields: object) -> BigGAN:
    """A small generator, with attention that does something and running statistics that differ from row to row."""
    torch.manual_seed(0)
    generator = BigGAN(small_spec(**fields)).eval()
    assert generator.attention is not None
    generator.attention.gamma.data.fill_(0.5)
    for module in generator.modules():
        if isinstance(module, BatchNorm):
            module.running_means.normal_(std=0.3)
            module.running_vars.uniform_(0.5, 2.0)
    return generator


def latents_of(generator: BigGAN, n: int = 3, truncation: float = 1.0) -> Latents:
    return generator.sample(n, seed=1, truncation=truncation)


def test_the_spec_imports_no_torch() -> None:
    lines = ("import sys", "from ganenc_plugin_biggan.specs import biggan_spec", "biggan_spec(128)")
    code = "\n".join([*lines, "print('torch' in sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_published_layouts() -> None:
    """Tables 7 to 9 of Brock et al., as the released networks have them, typed by hand."""
    widths = {
        128: [16, 16, 16, 16, 8, 8, 4, 4, 2, 2, 1],
        256: [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1],
        512: [16, 16, 16, 16, 8, 8, 8, 8, 4, 4, 2, 2, 1, 1, 1],
    }
    for size, expected in widths.items():
        blocks = published_blocks(size)
        assert [up for up, _, _ in blocks] == [False, True] * (len(blocks) // 2)
        assert [blocks[0][1], *(outputs for _, _, outputs in blocks)] == expected
        assert [inputs for _, inputs, _ in blocks] == expected[:-1]
        assert biggan_spec(size).options["attention"] == [8]


@pytest.mark.parametrize(
    ("size", "fields"),
    [
        (64, {}),
        (8, {"attention": ()}),
        ((16, 24), {"blocks": NARROW, "image_channels": 1, "attention": (1,)}),
        (32, {"reduction": 2, "n_stats": 1}),
    ],
)
def test_builds_from_its_spec_alone(size: int | tuple[int, int], fields: dict[str, object]) -> None:
    spec = biggan_spec(size, **{**ROW, **fields})  # type: ignore[arg-type]
    generator = build_generator(GeneratorSpec.from_json(spec.to_json()))
    assert isinstance(generator, BigGAN)
    with torch.no_grad():
        images = generator.eval().synthesize(generator.sample(2, seed=0))
    assert images.shape == (2, spec.channels, *spec.size)
    assert float(images.std()) > 0.01
    assert float(images.abs().max()) <= 1


@pytest.mark.parametrize(
    ("size", "fields", "message"),
    [
        (24, {}, "4 times a power of two, not 24"),
        (4, {}, "4 times a power of two"),
        (18, {"blocks": ((True, 2, 1), (True, 1, 1))}, "18x18 cannot be halved 2 times"),
        (16, {"blocks": ((True, 2, 1), (True, 2, 1))}, "blocks.1 takes 2 units, but 1"),
        (16, {"blocks": ((True, 1, 2),)}, "blocks.0 widens"),
        (16, {"attention": (9,)}, "attention stands before block 9"),
        (16, {"channel_width": 2, "attention": (3,)}, "at least 8 channels"),
        (16, {"channel_width": 1, "attention": ()}, "narrower than the reduction"),
        (16, {"eps": 0.0}, "eps"),
        (16, {"blocks": ()}, "blocks"),
        (16, {"blocks": ((True, 1, 1),) * 9999}, "blocks"),
        (16, {"n_stats": 10**9}, "n_stats"),
        (16, {"channel_width": 10**9}, "channel_width"),
    ],
)
def test_a_spec_that_does_not_fit_is_named(size: int, fields: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        biggan_spec(size, **{**ROW, **fields})  # type: ignore[arg-type]


def test_a_generator_of_another_layout_is_refused() -> None:
    spec = small_spec()
    for field, value in (("layout", spec.layout[:2]), ("classes", 0), ("prior", {"dim": 7})):
        with pytest.raises(SpecError):
            BigGAN(GeneratorSpec.from_mapping({**spec.to_mapping(), field: value}))


def test_labels_are_embedded_alike_as_numbers_and_rows() -> None:
    generator = build()
    labels = torch.tensor([4, 0, 2])
    rows = torch.nn.functional.one_hot(labels, 5)
    torch.testing.assert_close(generator.embed(labels), generator.embed(rows))
    torch.testing.assert_close(generator.embed(labels), generator.embedding.weight.t()[labels])
    half = generator.embed(torch.tensor([[0.5, 0.5, 0, 0, 0]]))
    torch.testing.assert_close(half, generator.embed(torch.tensor([0, 1])).mean(0, keepdim=True))


@pytest.mark.parametrize("labels", [torch.tensor([5]), torch.tensor([-1]), torch.ones(2, 4), torch.tensor([0.5])])
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(LatentsError, match=r"abels (are|run)"):
        build().embed(labels)


def test_mapping_never_scales_z_and_sampling_truncates_the_prior() -> None:
    generator = build()
    whole, half = latents_of(generator, 500), latents_of(generator, 500, truncation=0.5)
    torch.testing.assert_close(half["z"], 0.5 * whole["z"])
    assert 1.7 < float(whole["z"].abs().max()) <= 2
    assert half["truncation"].tolist() == [0.5] * 500
    z = torch.full((1, 6), 7.0)
    assert torch.equal(generator.map(z, labels=torch.tensor([0]))["z"], z)
    with pytest.raises(LatentsError, match="needs labels"):
        generator.map(z)


def test_truncation_left_out_is_1() -> None:
    generator = build()
    latents = generator.map(generator.draw(2), labels=torch.tensor([1, 2]))
    assert generator.spec.part("truncation") == Setting(name="truncation", default=1.0, holds="truncation")
    expected = generator.synthesize(latents.replace(truncation=torch.ones(2)))
    assert torch.equal(generator.synthesize(latents), expected)
    assert not torch.allclose(generator.synthesize(latents.replace(truncation=torch.full((2,), 0.5))), expected)


def test_the_center_of_a_class() -> None:
    generator = build()
    center = generator.center(labels=torch.tensor([3]))
    torch.testing.assert_close(center["c"], generator.embed(torch.tensor([3])))
    assert float(center["z"].abs().max()) < 0.05
    overall = generator.center()
    torch.testing.assert_close(overall["c"], generator.embedding.weight.mean(1)[None], atol=0.02, rtol=0)


def test_samples_do_not_touch_one_another() -> None:
    generator = build()
    latents = latents_of(generator).replace(truncation=torch.tensor([1.0, 0.3, 0.6]))
    together = generator.synthesize(latents)
    alone = torch.cat([generator.synthesize(one) for one in latents])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_gradients_reach_z_and_c() -> None:
    generator = build().freeze().double()
    latents = latents_of(generator, 1).to(torch.float64)
    z, c = (latents[name].clone().requires_grad_() for name in ("z", "c"))

    def picture(z: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return generator.synthesize(latents.replace(z=z, c=c)).mean((2, 3))

    assert torch.autograd.gradcheck(picture, (z, c), eps=1e-6, atol=1e-5)
    for gradient in torch.autograd.grad(picture(z, c).sum(), (z, c)):
        assert float(gradient.abs().min()) > 0


def test_save_and_load(tmp_path: Path) -> None:
    generator = build()
    latents = latents_of(generator, truncation=0.55)
    save_pretrained(generator, tmp_path / "model")
    loaded = ganenc.load_generator(tmp_path / "model")
    assert loaded.spec == generator.spec
    latents.save(tmp_path / "latents.safetensors")
    again = Latents.load(tmp_path / "latents.safetensors")
    assert torch.equal(loaded.synthesize(again), generator.synthesize(latents))


def error(generator: BigGAN, first: int) -> torch.Tensor:
    """How far the images are from a task that a few steps can teach: to wear the first values of z as a colour."""
    latents = generator.sample(16, seed=2, first=first)
    colours = generator.synthesize(latents, noise="random").mean((2, 3))
    return (colours - 0.4 * latents["z"][:, :3]).square().mean()


def train(generator: BigGAN, steps: int) -> None:
    adam = torch.optim.Adam(generator.parameters(), lr=5e-3, betas=(0.5, 0.99))
    for step in range(steps):
        adam.zero_grad()
        error(generator, 16 * step).backward()
        adam.step()


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_trains_and_is_right_in_eval_mode(spectral_norm: bool) -> None:
    generator = build(n_stats=1, spectral_norm=spectral_norm)
    before = float(error(generator, 0).detach())
    train(generator.train(), 15)
    after = float(error(generator.eval(), 1000).detach())
    assert after < 0.4 * before


def test_a_training_can_be_copied_saved_and_averaged() -> None:
    generator = build(spectral_norm=True).train()
    average = copy.deepcopy(generator).freeze()
    train(generator, 3)
    for mine, other in zip(average.parameters(), generator.parameters(), strict=True):
        mine.copy_(other.detach())
    for mine, other in zip(average.buffers(), generator.buffers(), strict=True):
        mine.copy_(other)
    fresh = BigGAN(generator.spec)
    fresh.load_state_dict(generator.state_dict())
    latents = latents_of(generator)
    expected = generator.eval().synthesize(latents)
    assert torch.equal(average.synthesize(latents), expected)
    assert torch.equal(fresh.eval().synthesize(latents), expected)


def test_folding_leaves_the_images_and_plain_weights(tmp_path: Path) -> None:
    generator = build(spectral_norm=True).train()
    train(generator, 3)
    generator.eval()
    latents = latents_of(generator)
    expected = generator.synthesize(latents)
    plain = generator.folded()
    torch.testing.assert_close(plain.synthesize(latents), expected)
    assert torch.equal(generator.synthesize(latents), expected), "folding changes the one that is folded"
    assert plain.spec == small_spec()
    assert set(plain.state_dict()) == set(BigGAN(small_spec()).state_dict())
    save_pretrained(plain, tmp_path)
    assert torch.equal(ganenc.load_generator(tmp_path).synthesize(latents), plain.synthesize(latents))


def test_spectral_norm_is_the_largest_singular_value() -> None:
    generator = build(spectral_norm=True).train()
    with torch.no_grad():
        for _ in range(30):
            generator.synthesize(latents_of(generator, 2))
    plain = generator.folded().requires_grad_(False)
    for layer in (plain.first, plain.to_image, plain.blocks[0].norms[0].gain, plain.blocks[1].convs[1]):
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2)
        assert float(largest) == pytest.approx(1, abs=0.02)


def test_gathered_statistics_are_those_of_the_samples() -> None:
    """The first norm sees what comes straight out of the first layer, whose moments are easily taken."""
    generator = build(n_stats=3)
    assert generator.gather_statistics(samples=512, batch=64, seed=4) is generator
    assert not generator.training
    assert not any(module.training for module in generator.modules())
    first = generator.blocks[0].norms[0]
    for row, truncation in enumerate((0.0, 0.5, 1.0)):
        latents = generator.sample(512, seed=4, truncation=truncation)
        inputs = torch.cat([latents["z"], latents["c"]], 1)
        features = generator.first(inputs).unflatten(1, (16, -1)).flatten(0, 1)
        torch.testing.assert_close(first.running_means[row], features.mean(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(first.running_vars[row], features.var(0), atol=1e-3, rtol=0.05)
    latents = generator.sample(256, seed=9, truncation=0.5)
    with torch.no_grad():
        kept, own = generator.synthesize(latents), generator.train().synthesize(latents)
    assert float((own - kept).square().mean().sqrt()) < 0.4 * float(own.std())
