"""StyleGAN1's network: its layers against the paper's formulas, its latents, its gradients, and its spec."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ganenc
import numpy as np
import pytest
import torch
from ganenc import save_pretrained
from ganenc.encoders import Encoder
from ganenc.generators import build_generator
from ganenc.latents import Latents
from ganenc_plugin_stylegan.layers import adaptive_instance_norm, blur, fir_kernel
from ganenc_plugin_stylegan.specs import StyleGAN1Options, published_channels, stylegan1_spec, stylegan2_spec
from ganenc_plugin_stylegan.stylegan1 import StyleGAN1
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec
from torch import nn

WIDTHS = {4: 8, 8: 6, 16: 4}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network(*, classes: int = 0, **fields: object) -> StyleGAN1:
    """A small StyleGAN1 of 16x16 in which every weight counts: noise strengths and biases are not 0."""
    torch.manual_seed(0)
    generator = build_generator(stylegan1_spec((16, 16), WIDTHS, z_dim=5, w_dim=7, classes=classes, **fields))
    assert isinstance(generator, StyleGAN1)
    for name, weight in generator.named_parameters():
        if name.endswith(("noise_strength", "bias")):
            nn.init.normal_(weight, std=0.3)
    return generator


# Layers


def test_adain_gives_each_channel_the_mean_and_deviation_of_its_style() -> None:
    """Equation 1 of Karras et al., 2019: y_s (x - mean) / deviation + y_b, pixel by pixel; scales are stored less 1."""
    x, style = draw(2, 3, 4, 5) * 3 + 2, draw(2, 6, seed=1)
    expected = np.zeros(x.shape)
    for n, c in itertools.product(range(2), range(3)):
        values = x[n, c].numpy()
        deviation = np.sqrt(np.mean((values - values.mean()) ** 2) + 1e-8)
        expected[n, c] = (style[n, c].item() + 1) * (values - values.mean()) / deviation + style[n, 3 + c].item()
    np.testing.assert_allclose(adaptive_instance_norm(x, style).numpy(), expected, rtol=0, atol=1e-10)


def test_adain_holds_its_precision_where_the_mean_is_far_larger_than_the_deviation() -> None:
    x, style = draw(2, 8, 16, 16) * 0.1 + 30, torch.zeros(2, 16, dtype=torch.float64)
    expected = adaptive_instance_norm(x, style)
    for memory in (torch.contiguous_format, torch.channels_last):
        found = adaptive_instance_norm(x.float().contiguous(memory_format=memory), style.float())
        assert (found - expected).abs().max() < 3e-3


@pytest.mark.parametrize("taps", [(1.0, 2.0, 1.0), (1.0, 4.0, 6.0, 4.0, 1.0), (3.0,), (1.0, 5.0, 2.0)])
def test_the_blur_is_the_filters_sum(taps: tuple[float, ...]) -> None:
    x, row, half = draw(2, 3, 5, 4).numpy(), np.asarray(taps) / np.sum(taps), len(taps) // 2
    expected = np.zeros(x.shape)
    for y, z, i, j in itertools.product(range(5), range(4), range(len(taps)), range(len(taps))):
        m, n = y + i - half, z + j - half
        if 0 <= m < 5 and 0 <= n < 4:
            expected[:, :, y, z] += row[i] * row[j] * x[:, :, m, n]
    found = blur(torch.from_numpy(x), torch.from_numpy(np.outer(row, row)))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(fir_kernel(taps).numpy(), np.outer(row, row), rtol=1e-6)


# Latents


def test_what_goes_in() -> None:
    generator = network()
    latents = generator.sample(2, seed=3)
    assert latents["w"].shape == (2, 6, 7)
    images = generator.synthesize(latents)
    assert images.shape == (2, 3, 16, 16)
    assert torch.equal(images, generator.synthesize(latents))
    assert torch.equal(images, generator.synthesize(generator.complete(latents)))
    other = generator.complete(latents)["const"] + draw(2, 8, 4, 4).float()
    assert not torch.allclose(images, generator.synthesize(latents.replace(const=other)))


def test_each_style_and_each_noise_map_matters() -> None:
    generator = network().freeze()
    latents = generator.sample(1)
    images = generator.synthesize(latents)
    for layer in range(6):
        w = latents["w"].clone()
        w[:, layer] += 1
        assert not torch.allclose(images, generator.synthesize(latents.replace(w=w)), atol=1e-3)
        maps = [one[None, None].clone() for one in generator.noise_maps()]
        assert torch.equal(images, generator.synthesize(latents, noise=maps))
        maps[layer] += draw(*maps[layer].shape, seed=layer).float()
        assert not torch.allclose(images, generator.synthesize(latents, noise=maps), atol=1e-3)
        named = latents.replace(**{f"noise.{i}": one for i, one in enumerate(maps)})
        assert torch.equal(generator.synthesize(named), generator.synthesize(latents, noise=maps))


def test_noise_is_stored_drawn_seeded_or_none() -> None:
    generator = network().freeze()
    latents = generator.sample(3)
    seeded, drawn, none = (generator.synthesize(latents, noise=noise) for noise in (5, "random", "none"))
    assert torch.equal(seeded, generator.synthesize(latents, noise=5))
    assert not torch.allclose(drawn, generator.synthesize(latents, noise="random"))
    zeros = [torch.zeros(3, *shape) for shape in generator.spec.part("noise").shapes]
    torch.testing.assert_close(none, generator.synthesize(latents, noise=zeros))
    for wrong, words in (("loud", "is 'const'"), (zeros[:2], "noise maps of stylegan1 are")):
        with pytest.raises(LatentsError, match=words):
            generator.synthesize(latents, noise=wrong)


@pytest.mark.parametrize("layers", [None, 0, 2, 6])
def test_truncation_pulls_the_first_layers_to_their_means(layers: int | None) -> None:
    generator = network().freeze().double()
    generator.w_avg.copy_(draw(6, 7, seed=4))
    z = draw(2, 5, seed=5)
    w, mean = generator.map(z)["w"].numpy(), generator.w_avg.numpy()
    found = generator.map(z, truncation=0.3, truncation_layers=layers)["w"].numpy()
    for layer in range(6):
        pulled = layers is None or layer < layers
        expected = mean[layer] + 0.3 * (w[:, layer] - mean[layer]) if pulled else w[:, layer]
        np.testing.assert_allclose(found[:, layer], expected, rtol=0, atol=1e-12)
    assert torch.equal(generator.center()["w"][0], generator.w_avg)


def test_the_mean_of_a_fresh_network_is_computed() -> None:
    generator = network().freeze()
    assert generator.w_avg.isnan().all()
    center = generator.center()["w"]
    torch.testing.assert_close(generator.map(generator.draw(2), truncation=0.0)["w"], center.expand(2, -1, -1))


def test_labels_are_embedded_beside_z() -> None:
    generator = network(classes=3).freeze()
    z = generator.draw(3)
    by_number = generator.map(z, labels=torch.tensor([0, 2, 1]))["w"]
    by_row = generator.map(z, labels=torch.eye(3)[[0, 2, 1]])["w"]
    assert torch.equal(by_number, by_row)
    assert not torch.allclose(by_number, generator.map(z, labels=torch.tensor([1, 2, 1]))["w"])
    doubled = torch.cat([z * 2, generator.mapping.embed(torch.eye(3)[[0, 2, 1]]) * 2], 1)
    x = doubled / doubled.square().mean(1, keepdim=True).sqrt()
    for layer in generator.mapping.layers:
        x = layer(x)
    torch.testing.assert_close(by_number[:, 0], x, rtol=1e-4, atol=1e-5)
    with pytest.raises(LatentsError, match="has 3 classes: give labels"):
        generator.map(z)
    with pytest.raises(LatentsError, match="stylegan1 has no classes, so labels are of no use"):
        network().map(z, labels=torch.tensor([0, 2, 1]))


# Training


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_gradients_reach_every_weight_and_every_latent(memory: torch.memory_format) -> None:
    generator = network().to(memory_format=memory)
    z = draw(2, 5).float().requires_grad_()
    w = generator.map(z)["w"].detach().requires_grad_()
    const = draw(2, 8, 4, 4, seed=1).float().requires_grad_()
    generator.synthesize(
        Latents(generator.spec.layout, {"w": w, "const": const}), noise="random"
    ).square().mean().backward()
    assert all(bool((part.grad.flatten(1) != 0).any(1).all()) for part in (w, const))
    assert bool((w.grad != 0).any(2).all())
    assert generator.const.grad is None
    generator.synthesize(generator.map(z), noise="random").square().mean().backward()
    assert bool((z.grad != 0).any(1).all())
    for name, weight in generator.named_parameters():
        assert weight.grad is not None, name
        assert bool((weight.grad != 0).any()), name


def test_gradients_are_right() -> None:
    generator = network().double().freeze()
    inputs = (draw(1, 6, 7).requires_grad_(), draw(1, 8, 4, 4, seed=1).requires_grad_())

    def image(w: torch.Tensor, const: torch.Tensor) -> torch.Tensor:
        return generator.synthesize(Latents(generator.spec.layout, {"w": w, "const": const}))[:, :, ::5, ::5]

    assert torch.autograd.gradcheck(image, inputs)


def test_half_precision_gives_nearly_the_same_images() -> None:
    generator = network().freeze()
    latents = generator.sample(2)
    images = generator.synthesize(latents)
    half = generator.to(torch.bfloat16).synthesize(latents.to("cpu", torch.bfloat16))
    assert half.dtype == torch.bfloat16
    assert float((half.float() - images).square().mean().sqrt() / images.std()) < 0.1


def test_features_keep_their_scale_at_the_start() -> None:
    """Equalised learning rate: weights of variance 1, features too; images of a width of 256 as of one of 16."""
    for width in (16, 256):
        torch.manual_seed(1)
        generator = build_generator(stylegan1_spec((16, 16), dict.fromkeys(WIDTHS, width), z_dim=64, w_dim=64))
        for name, weight in generator.named_parameters():
            rate = 0.01 if "mapping" in name else 1.0
            wanted = 0.0 if name.endswith(("bias", "noise_strength")) else 1 / rate
            assert float(weight.detach().square().mean().sqrt()) == pytest.approx(wanted, rel=0.2)
        assert 0.5 < float(generator.synthesize(generator.sample(8)).detach().std()) < 3


# Specs and folders


def test_the_same_generator_comes_back_from_its_folder(tmp_path: Path) -> None:
    generator = network(classes=3, base=(4, 4), image_channels=1, options=StyleGAN1Options(mapping_layers=3)).freeze()
    save_pretrained(generator, tmp_path)
    again = ganenc.load_generator(tmp_path)
    assert again.spec == generator.spec
    latents = generator.sample(2, labels=torch.tensor([2, 0]))
    assert torch.equal(again.sample(2, labels=torch.tensor([2, 0]))["w"], latents["w"])
    assert torch.equal(again.synthesize(latents), generator.synthesize(latents))


def test_images_need_not_be_square() -> None:
    generator = build_generator(stylegan1_spec((8, 12), {4: 8, 8: 6}, z_dim=5, w_dim=7, base=(4, 6)))
    assert generator.synthesize(generator.sample(1)).shape == (1, 3, 8, 12)


def test_specs_that_cannot_be_are_refused() -> None:
    with pytest.raises(SpecError, match="24x24 cannot start at 4x4"):
        stylegan1_spec((24, 24), WIDTHS)
    with pytest.raises(SpecError, match="channels at 32 pixels are missing"):
        stylegan1_spec((32, 32), WIDTHS)
    with pytest.raises(SpecError, match="odd number of taps, not 2"):
        StyleGAN1(stylegan1_spec((16, 16), WIDTHS, options=StyleGAN1Options(blur=(1, 1))))
    spec = stylegan1_spec((16, 16), WIDTHS)
    with pytest.raises(SpecError, match=r"has no part 'w'"):
        StyleGAN1(spec.model_copy(update={"layout": spec.layout[1:]}))


@pytest.mark.parametrize("make", [stylegan1_spec, stylegan2_spec])
def test_a_layout_or_options_of_another_network_are_refused(make: Callable[..., GeneratorSpec]) -> None:
    spec = make((16, 16), WIDTHS)
    styles, const, noise = spec.layout
    for part, fields in (
        (styles, {"layers": 1000}),
        (styles, {"layers": 5}),
        (const, {"channels": 1}),
        (noise, {"shapes": noise.shapes[1:]}),
    ):
        layout = tuple(one.model_copy(update=fields) if one is part else one for one in spec.layout)
        with pytest.raises(SpecError, match="layout is not that of"):
            build_generator(spec.model_copy(update={"layout": layout}))
    for option, value in (("mapping_layers", 10**9), ("mapping_dim", 10**9), ("fir", [1] * 1000), ("blur", [1] * 1001)):
        with pytest.raises(SpecError, match=option):
            build_generator(spec.model_copy(update={"options": {option: value}}))


def test_published_channels_are_those_of_the_releases() -> None:
    upper = {64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
    assert published_channels(1024) == dict.fromkeys((4, 8, 16, 32), 512) | upper
    assert published_channels(256, fmap_base=16384)[256] == 128
    with torch.device("meta"):
        generator = StyleGAN1(stylegan1_spec((1024, 1024), published_channels(1024)))
    unused_images = sum(3 * width + 3 for width in list(published_channels(1024).values())[:-1])
    # What the published code prints of its generator for FFHQ: 26,219,627 weights, those of 8 unused images among them.
    assert sum(weight.numel() for weight in generator.parameters()) + unused_images == 26_219_627


def test_specs_are_made_without_torch() -> None:
    code = (
        "import sys; from ganenc_plugin_stylegan.specs import published_channels, stylegan1_spec, stylegan2_spec;"
        "[make((64, 64), published_channels(64)).to_json() for make in (stylegan1_spec, stylegan2_spec)];"
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_two_specs_differ_in_the_noise_of_the_constant() -> None:
    first, second = (make((8, 8), {4: 8, 8: 6}) for make in (stylegan1_spec, stylegan2_spec))
    assert [spec.part("noise").shapes for spec in (first, second)] == [
        ((1, 4, 4), (1, 4, 4), (1, 8, 8), (1, 8, 8)),
        ((1, 4, 4), (1, 8, 8), (1, 8, 8)),
    ]
    assert first.part("w") == second.part("w")


# Table 9 of the encoders' paper: (in, out) of the 3x3 convolutions, block by block from full resolution down.
TABLE_9 = {
    256: [(64, 64, 128), (128, 128, 256), (256, 256, 512), *[(512, 512, 512)] * 3, (512, 512)],
    512: [(32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512), *[(512, 512, 512)] * 3, (512, 512)],
    1024: [
        *[(16, 16, 32), (32, 32, 64), (64, 64, 128), (128, 128, 256), (256, 256, 512)],
        *[(512, 512, 512)] * 3,
        (512, 512),
    ],
}


@pytest.mark.parametrize("resolution", TABLE_9)
def test_its_encoder_is_table_9(resolution: int) -> None:
    spec = EncoderSpec.mirror(stylegan1_spec((resolution, resolution), published_channels(resolution)))
    with torch.device("meta"):
        encoder = Encoder(spec)
    assert encoder.from_image.weight.shape == (TABLE_9[resolution][0][0], 3, 1, 1)
    assert len(encoder.blocks) == len(TABLE_9[resolution])
    for index, (block, row) in enumerate(zip(encoder.blocks, TABLE_9[resolution], strict=True)):
        shapes = {name: tuple(weight.shape) for name, weight in block.named_parameters()}
        found = [shapes[name] for name in ("conv_1.weight", "conv_2.weight") if name in shapes]
        assert found == [(outputs, inputs, 3, 3) for inputs, outputs in itertools.pairwise(row)]
        heads = [shapes[name] for name in ("head_1.weight", "head_2.weight")]
        assert heads == [(512, 2 * row[0]), (512, 2 * row[1])]
        assert spec.blocks[index].size == (resolution >> index, resolution >> index)
    assert spec.blocks[-1].size == (4, 4)
    assert spec.norm == "instance"
