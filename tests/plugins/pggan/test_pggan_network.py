"""The network of PGGAN: its formulas in float64, its spec, its training, and what it gives back from disk."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc_plugin_pggan.layers import FirstLevel, UpConv
from ganenc_plugin_pggan.pggan import PGGAN
from ganenc_plugin_pggan.specs import PGGANOptions, level_sizes, pggan_spec
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Vector
from torch.nn import functional as F

CHANNELS = {4: 12, 8: 10, 16: 8}


def spec(**changes: Any) -> GeneratorSpec:
    return pggan_spec(**{"size": (16, 16), "channels": CHANNELS, "z_dim": 6, **changes})


def seeded(**changes: Any) -> PGGAN:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        generator = PGGAN(spec(**changes))
        for parameter in generator.parameters():
            if parameter.ndim == 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return generator


# The layers


def test_the_fused_convolution_is_nearest_neighbours_and_a_convolution() -> None:
    conv = UpConv(3, 4).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, 5, 3, dtype=torch.float64)
    kernel = conv.weight * math.sqrt(2) / math.sqrt(3 * 9)
    large = torch.zeros(2, 3, 12, 8, dtype=torch.float64)
    for i in range(10):
        for j in range(6):
            large[:, :, i + 1, j + 1] = x[:, :, i // 2, j // 2]
    expected = torch.empty(2, 4, 10, 6, dtype=torch.float64)
    for i in range(10):
        for j in range(6):
            expected[:, :, i, j] = torch.einsum("ncyx,dcyx->nd", large[:, :, i : i + 3, j : j + 3], kernel) + conv.bias
    torch.testing.assert_close(conv(x), expected)


def test_the_first_level_is_a_dense_layer_with_a_bias_per_channel() -> None:
    layer = FirstLevel(5, 3, (4, 6)).double()
    torch.nn.init.normal_(layer.bias)
    z = torch.randn(2, 5, dtype=torch.float64)
    weight = layer.weight.reshape(3, 4, 6, 5) * math.sqrt(2) / 4 / math.sqrt(5)
    expected = torch.einsum("ni,cyxi->ncyx", z, weight) + layer.bias.reshape(1, 3, 1, 1)
    torch.testing.assert_close(layer(z), expected)


# The whole


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"options": PGGANOptions(tanh=True)},
        {"options": PGGANOptions(slope=0.0, pixel_norm=False, normalise_z=False)},
        {"size": (16, 24), "image_channels": 1},
    ],
    ids=["published", "tanh", "bare", "not square"],
)
def test_synthesis_is_its_formula(changes: dict[str, Any]) -> None:
    generator = seeded(**changes).double()
    options = generator.options

    def act(x: torch.Tensor) -> torch.Tensor:
        x = torch.where(x > 0, x, x * options.slope)
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt() if options.pixel_norm else x

    def conv(layer: Any, x: torch.Tensor, gain: float) -> torch.Tensor:
        weight = layer.weight * gain / math.sqrt(layer.weight[0].numel())
        return F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[-1] // 2)

    z = torch.randn(3, 6, dtype=torch.float64)
    x = z / (z.square().mean(1, keepdim=True) + 1e-8).sqrt() if options.normalise_z else z
    x = act(generator.first(x))
    for index, layer in enumerate(generator.convs):
        if index % 2:
            x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        x = act(conv(layer, x, math.sqrt(2)))
    expected = conv(generator.to_rgb[0], x, 1.0)
    expected = expected.tanh() if options.tanh else expected
    images = generator.synthesize(generator.map(z))
    assert images.shape == (3, generator.spec.channels, *generator.spec.size)
    torch.testing.assert_close(images, expected)


def test_memory_formats_and_batches_change_nothing() -> None:
    generator = seeded().freeze()
    latents = generator.sample(4, seed=3)
    images = generator.synthesize(latents)
    torch.testing.assert_close(generator.synthesize(latents[1:3]), images[1:3], rtol=1e-4, atol=1e-5)
    assert torch.equal(generator.synthesize(latents, noise="random"), images)
    last = generator.to(memory_format=torch.channels_last).synthesize(latents)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, images, rtol=1e-4, atol=1e-5)


def test_the_gradient_reaches_z() -> None:
    generator = seeded().freeze().double()
    z = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 6, dtype=torch.float64)

    def loss(z: torch.Tensor) -> torch.Tensor:
        return generator.synthesize(generator.map(z)).square().sum()

    (gradient,) = torch.autograd.grad(loss(z), z)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())
    slope = (loss(z + 1e-6 * direction) - loss(z - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close((gradient * direction).sum(), slope.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close((gradient * z.detach()).sum(1), torch.zeros(2).double(), rtol=0, atol=1e-5)


def test_random_weights_learn_at_the_published_rate() -> None:
    generator = seeded().to(memory_format=torch.channels_last)
    latents = generator.sample(8, seed=0)
    target = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
    adam = torch.optim.Adam(generator.parameters(), lr=0.002, betas=(0.0, 0.99))
    losses = []
    for _ in range(60):
        loss = (generator.synthesize(latents) - target).square().mean()
        adam.zero_grad()
        loss.backward()
        assert all(bool(p.grad.isfinite().all()) and bool(p.grad.any()) for p in generator.parameters())
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_weights_start_as_unit_draws_whose_images_are_of_order_one() -> None:
    torch.manual_seed(0)
    generator = PGGAN(pggan_spec((32, 32), {4: 64, 8: 64, 16: 32, 32: 16}, z_dim=64))
    for name, parameter in generator.named_parameters():
        if name.endswith("weight") and parameter.numel() > 1000:
            assert 0.9 < parameter.std().item() < 1.1, name
        elif name.endswith("bias"):
            assert not bool(parameter.any()), name
    assert 0.2 < generator.synthesize(generator.sample(8)).std().item() < 3


# The spec


def test_the_spec_says_what_goes_in() -> None:
    plain, labelled = spec(), spec(classes=3)
    assert plain.layout == (Vector(dim=6),)
    assert labelled.layout == (Vector(dim=6), Condition(dim=3))
    assert (plain.truncation, plain.prior.dim, plain.resolution_channels) == ("none", 6, CHANNELS)
    assert GeneratorSpec.from_json(labelled.to_json()) == labelled
    assert GeneratorSpec.from_yaml(labelled.to_yaml()) == labelled


def test_the_spec_imports_no_torch() -> None:
    code = "import sys, ganenc_plugin_pggan.specs as s; s.pggan_spec((4, 4), {4: 8}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4, 4), [(4, 4)]),
        ((16, 16), [(4, 4), (8, 8), (16, 16)]),
        ((8, 12), [(4, 6), (8, 12)]),
        ((4, 7), [(4, 7)]),
        ((10, 8), [(5, 4), (10, 8)]),
    ],
)
def test_levels_double_up_to_the_size(size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    assert level_sizes(size) == expected


@pytest.mark.parametrize("size", [(3, 3), (12, 12), (18, 16), (16, 18), (2, 8), (100, 100)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match=f"cannot draw {size[0]}x{size[1]}"):
        level_sizes(size)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(SpecError, match="needs channels at 8 pixels"):
        pggan_spec((16, 16), {4: 8, 16: 8})
    with pytest.raises(SpecError, match="lod: it is at most 2"):
        spec(options=PGGANOptions(lod=2.5))
    for change in ({"layout": (Vector(dim=9),)}, {"resolution_channels": None}, {"classes": 2}):
        with pytest.raises(SpecError, match="see pggan_spec"):
            PGGAN(spec().model_copy(update=change))
    with pytest.raises(SpecError, match=r"the options of a pggan.*slop.*slope"):
        PGGAN(spec().model_copy(update={"options": {"slop": 0.1}}))


# Labels


def test_labels_are_rows_of_one_and_zeros() -> None:
    generator = seeded(classes=3).freeze()
    rows = generator.embed(torch.tensor([2, 0]))
    assert rows.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    assert torch.equal(generator.embed(rows), rows)
    latents = generator.sample(2, seed=1, labels=torch.tensor([2, 0]))
    assert torch.equal(latents["c"], rows)
    other = generator.sample(2, seed=1, labels=torch.tensor([1, 1]))
    assert torch.equal(other["z"], latents["z"])
    assert not torch.allclose(generator.synthesize(other), generator.synthesize(latents))
    torch.testing.assert_close(generator.center(labels=torch.tensor([1]))["c"], torch.tensor([[0.0, 1.0, 0.0]]))


@pytest.mark.parametrize(
    "labels", [torch.tensor([3]), torch.tensor([-1]), torch.tensor([0.5]), torch.ones(1, 4)], ids=str
)
def test_labels_that_do_not_fit_are_refused(labels: torch.Tensor) -> None:
    with pytest.raises(LatentsError, match=r"Labels (are|run)"):
        seeded(classes=3).embed(labels)


# Disk


@pytest.mark.parametrize(
    "changes",
    [{}, {"classes": 3, "image_channels": 1, "size": (16, 24)}, {"options": PGGANOptions(lod=0.5, tanh=True)}],
    ids=["plain", "labels", "unfinished"],
)
def test_a_generator_comes_back_from_its_folder(tmp_path: Path, changes: dict[str, Any]) -> None:
    generator = seeded(**changes).freeze()
    save_pretrained(generator, tmp_path / "model")
    back = ganenc.load_generator(tmp_path / "model")
    assert isinstance(back, PGGAN)
    assert back.spec == generator.spec
    latents = generator.sample(2, seed=5)
    assert torch.equal(back.synthesize(latents), generator.synthesize(latents))
    latents.save(tmp_path / "latents.safetensors")
    assert torch.equal(ganenc.Latents.load(tmp_path / "latents.safetensors")["z"], latents["z"])
