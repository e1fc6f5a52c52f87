"""The layers against the paper's formulas, summed term by term in double precision with no convolution of torch's."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from ganenc_plugin_stylegan.layers import (
    FullyConnected,
    fir_kernel,
    modulated_conv,
    modulated_sum,
    styled_conv,
    upsample,
)

TAPS = [(1.0, 3.0, 3.0, 1.0), (1.0, 1.0), (1.0, 2.0, 5.0, 4.0), (0.5, -1.0, 3.0, 7.0, 2.0, 1.5)]
"""Published ones, the shortest, and two that are not symmetric, so that a flipped filter shows."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kernel_of(taps: tuple[float, ...]) -> torch.Tensor:
    row = np.asarray(taps) / np.sum(taps)
    return torch.from_numpy(row[:, None] * row[None, :])


def modulated(weight: np.ndarray, style: np.ndarray, demodulate: bool) -> np.ndarray:
    """The weight of one sample (Karras et al., 2020, Equations 1 and 3)."""
    scaled = weight * style[None, :, None, None]
    if not demodulate:
        return scaled
    lengths = [math.sqrt(sum(v * v for v in row.ravel()) + 1e-8) for row in scaled]
    return scaled / np.asarray(lengths)[:, None, None, None]


def smoothed(x: np.ndarray, taps: np.ndarray, shift: int) -> np.ndarray:
    """(C, H, W) on a grid of which only every other pixel is known => (C, 2H, 2W): the filter's sum, pixel by pixel.

    On each axis pixel n of the result takes pixel m of ``x`` by the tap n - 2 m + shift, times 2 for the zeros between.
    """
    channels, height, width = x.shape
    out = np.zeros((channels, 2 * height, 2 * width))
    for y, z, m, n in itertools.product(range(2 * height), range(2 * width), range(height), range(width)):
        i, j = y - 2 * m + shift, z - 2 * n + shift
        if 0 <= i < len(taps) and 0 <= j < len(taps):
            out[:, y, z] += 4 * taps[i] * taps[j] * x[:, m, n]
    return out


def convolved(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(in, H, W) => (out, H, W): the plain sum over the window around each pixel, zeros outside."""
    half = weight.shape[-1] // 2
    _, height, width = x.shape
    wide = np.pad(x, ((0, 0), (half, half), (half, half)))
    out = np.zeros((len(weight), height, width))
    for o, y, z in itertools.product(range(len(weight)), range(height), range(width)):
        out[o, y, z] = np.sum(weight[o] * wide[:, y : y + 2 * half + 1, z : z + 2 * half + 1])
    return out


def convolved_up(x: np.ndarray, weight: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """(in, H, W) => (out, 2H, 2W): each pixel paints the weight at twice its place, then the filter smooths."""
    _, height, width = x.shape
    painted = np.zeros((len(weight), 2 * height + 1, 2 * width + 1))
    for m, n in itertools.product(range(height), range(width)):
        painted[:, 2 * m : 2 * m + 3, 2 * n : 2 * n + 3] += np.einsum("oikl,i->okl", weight, x[:, m, n])
    out = np.zeros((len(weight), 2 * height, 2 * width))
    half = len(taps) // 2
    for y, z, p, q in itertools.product(*map(range, (2 * height, 2 * width, 2 * height + 1, 2 * width + 1))):
        i, j = y - p + half, z - q + half
        if 0 <= i < len(taps) and 0 <= j < len(taps):
            out[:, y, z] += 4 * taps[i] * taps[j] * painted[:, p, q]
    return out


@pytest.mark.parametrize("taps", TAPS)
def test_upsampling_is_the_filters_sum(taps: tuple[float, ...]) -> None:
    x = draw(2, 3, 4, 5)
    row = np.asarray(taps) / np.sum(taps)
    expected = np.stack([smoothed(one, row, len(taps) // 2 - 1) for one in x.numpy()])
    np.testing.assert_allclose(upsample(x, kernel_of(taps)).numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_modulated_convolution_is_the_sum_with_each_samples_own_weight(size: int, demodulate: bool) -> None:
    x, weight, styles = draw(3, 4, 5, 6), draw(2, 4, size, size, seed=1), draw(3, 4, seed=2)
    samples = zip(x.numpy(), styles.numpy(), strict=True)
    expected = np.stack([convolved(one, modulated(weight.numpy(), style, demodulate)) for one, style in samples])
    found = modulated_conv(x, weight, styles, demodulate=demodulate)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("demodulate", [True, False])
def test_modulated_convolution_upwards_is_the_sum_then_the_filter(taps: tuple[float, ...], demodulate: bool) -> None:
    x, weight, styles = draw(2, 3, 3, 4), draw(2, 3, 3, 3, seed=1), draw(2, 3, seed=2)
    row = np.asarray(taps) / np.sum(taps)
    samples = zip(x.numpy(), styles.numpy(), strict=True)
    expected = np.stack(
        [convolved_up(one, modulated(weight.numpy(), style, demodulate), row) for one, style in samples]
    )
    found = modulated_conv(x, weight, styles, demodulate=demodulate, up=kernel_of(taps))
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("way", ["upsample", "modulated_conv"])
def test_a_pixel_stays_in_its_place_when_the_size_doubles(way: str) -> None:
    """A symmetric filter and weight spread a pixel around the middle of the four that it becomes."""
    x = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    x[0, 0, 3, 5] = 1.0
    kernel = kernel_of((1.0, 3.0, 3.0, 1.0))
    if way == "upsample":
        made = upsample(x, kernel)
    else:
        weight, styles = torch.ones(1, 1, 3, 3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        made = modulated_conv(x, weight, styles, demodulate=False, up=kernel)
    places = torch.arange(18, dtype=torch.float64)
    mass = made[0, 0] / made.sum()
    assert (mass.sum(1) @ places).item() == pytest.approx(2 * 3 + 0.5, abs=1e-12)
    assert (mass.sum(0) @ places).item() == pytest.approx(2 * 5 + 0.5, abs=1e-12)


@pytest.mark.parametrize("up", [None, (1.0, 3.0, 3.0, 1.0)])
def test_gradients_reach_features_and_styles_and_are_right(up: tuple[float, ...] | None) -> None:
    weight = draw(2, 3, 3, 3, seed=1)
    inputs = (draw(2, 3, 2, 3).requires_grad_(), draw(2, 3, seed=2).requires_grad_())
    kernel = None if up is None else kernel_of(up)
    assert torch.autograd.gradcheck(lambda x, styles: modulated_conv(x, weight, styles, up=kernel), inputs)


def test_the_filter_is_an_outer_product_that_sums_to_one() -> None:
    kernel = fir_kernel((1.0, 2.0, 4.0, 1.0))
    expected = [[a * b / 64 for b in (1, 2, 4, 1)] for a in (1, 2, 4, 1)]
    np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("activation", ["linear", "lrelu"])
def test_fully_connected_layers_scale_weights_and_bias_as_they_are_used(activation: str) -> None:
    torch.manual_seed(0)
    layer = FullyConnected(5, 4, activation=activation, bias=0.3, lr_multiplier=0.01).double()
    assert layer.bias.detach().numpy() == pytest.approx(0.3 / 0.01, rel=1e-6)
    layer.bias.data = draw(4, seed=1) / 0.01
    x = draw(3, 5)
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    expected = np.zeros((3, 4))
    for n, o in itertools.product(range(3), range(4)):
        value = sum(x[n, i].item() * weight[o, i] * 0.01 / math.sqrt(5) for i in range(5)) + bias[o] * 0.01
        expected[n, o] = value if activation == "linear" else math.sqrt(2) * (value if value > 0 else 0.2 * value)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=0, atol=1e-10)


def layer_inputs(samples: int, side: int, up: bool) -> tuple[list[torch.Tensor], torch.Tensor | None, torch.Tensor]:
    """Features, weight, styles, bias; the filter, if the size doubles; and noise."""
    shapes = [(samples, 3, side, side + 1), (2, 3, 3, 3), (samples, 3), (2,)]
    kernel = kernel_of((1.0, 3.0, 3.0, 1.0)) if up else None
    factor = 2 if up else 1
    noise = draw(1, 1, factor * side, factor * (side + 1), seed=9)
    return [draw(*shape, seed=seed) for seed, shape in enumerate(shapes)], kernel, noise


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [2, 6])
@pytest.mark.parametrize("clamp", [None, 1.0])
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_a_whole_layer_and_its_gradients_are_those_of_its_steps(
    samples: int,
    up: bool,
    clamp: float | None,
    side: int,
    layout: torch.memory_format,
) -> None:
    """Frozen, with its weights folded or not, without gradient, and with weights that train."""
    (x, weight, styles, bias), kernel, noise = layer_inputs(samples, side, up)
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    x, styles = x.requires_grad_(), styles.requires_grad_()
    wanted = modulated_conv(x, weight.contiguous(), styles, up=kernel) + noise + bias[:, None, None]
    wanted = torch.nn.functional.leaky_relu(wanted, 0.2) * math.sqrt(2)
    wanted = wanted if clamp is None else wanted.clamp(-clamp, clamp)
    along = draw(*wanted.shape, seed=7)
    gradients = torch.autograd.grad(wanted, [x, styles], along)
    for trains, how in ((False, "features"), (False, "weights"), (True, None)):
        weight.requires_grad_(trains)
        found = styled_conv(x, weight, styles, bias, noise, up=kernel, clamp=clamp, modulation=how)
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(torch.autograd.grad(found, [x, styles], along), gradients)
    with torch.no_grad():
        torch.testing.assert_close(styled_conv(x, weight, styles, bias, noise, up=kernel, clamp=clamp), wanted)


@pytest.mark.parametrize(("samples", "up"), [(1, False), (1, True), (2, False)])
def test_the_gradient_of_a_frozen_layer_has_a_gradient(samples: int, up: bool) -> None:
    """With the styles multiplied into the weights, as it is for single samples, or into the features."""
    (x, weight, styles, bias), kernel, _ = layer_inputs(samples, 5 if samples == 1 else 2, up)
    given = (x[:, :, :, :2].requires_grad_(), styles.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda x, styles: styled_conv(x, weight, styles, bias, up=kernel), given)


def test_a_style_of_zero_has_its_gradient() -> None:
    """Where a single sample's styles are multiplied into the weight, they are divided out again."""
    (x, weight, styles, bias), _, _ = layer_inputs(1, 6, False)
    styles[0, 1] = 0.0
    given = [x.requires_grad_(), styles.requires_grad_()]
    frozen, training = (
        torch.autograd.grad(styled_conv(x, kernel, styles, bias).square().sum(), given)
        for kernel in (weight, weight.clone().requires_grad_())
    )
    torch.testing.assert_close(frozen, training)
    assert frozen[1][0, 1] != 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_sums_of_modulated_features(layout: torch.memory_format) -> None:
    x, weight, styles = draw(2, 4, 3, 5).contiguous(memory_format=layout), draw(3, 4, 1, 1, seed=1), draw(2, 4, seed=2)
    torch.testing.assert_close(modulated_sum(x, weight, styles), modulated_conv(x, weight, styles, demodulate=False))
