"""The adaptive block and its layers, against formulas and torch's own layers."""

from __future__ import annotations

import math

import pytest
import torch
from ganenc.encoders import (
    AdaptiveBlock,
    Blur,
    ConditionalBatchNorm,
    Conv,
    EncoderBlock,
    FixedNoise,
    Linear,
    halve,
    standardize,
)
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import BlockShape, EncoderSpec, Styles
from torch import Tensor, nn
from torch.nn import functional as F


def spec_of(**fields: object) -> EncoderSpec:
    """Two blocks, 8x6 and 4x3, of styles of 4 layers."""
    blocks = (
        BlockShape(size=(8, 6), in_channels=3, out_channels=5, downscale=fields.pop("downscale", "average")),
        BlockShape(size=(4, 3), in_channels=5, out_channels=5, convolutions=1, downscale="none"),
    )
    return EncoderSpec(size=(8, 6), layout=(Styles(layers=4, dim=7),), blocks=blocks, **fields)


def block_of(spec: EncoderSpec, index: int) -> AdaptiveBlock:
    return AdaptiveBlock(context=Context(block=spec.block_spec(index)))


def shake(module: nn.Module) -> nn.Module:
    """Move every parameter away from where it starts, so that a path left out shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def reference(block: AdaptiveBlock, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Figure 4 for a block of two convolutions, written out with torch's layers alone."""
    spec, inputs = block.spec, x

    def style(head: Linear, x: Tensor) -> Tensor:
        stats = torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], 1)
        return F.linear(stats, head.weight / math.sqrt(stats.shape[1]), head.bias)

    def conv(layer: Conv, x: Tensor) -> Tensor:
        fan_in = layer.weight[0].numel()
        weight = layer.weight * math.sqrt(2 / fan_in)
        return F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[-1] // 2)

    first = style(block.head_1, x)
    x = conv(block.conv_1, F.instance_norm(x, eps=1e-8))
    x = F.leaky_relu(x + block.noise_1.strength * block.noise_1.noise, 0.2)
    second = style(block.head_2, x)
    x = F.instance_norm(x, eps=1e-8)
    if spec.blur:
        kernel = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]], dtype=x.dtype) / 16
        x = F.conv2d(x, kernel.expand(x.shape[1], 1, 3, 3), padding=1, groups=x.shape[1])
    x = conv(block.conv_2, x)
    if block.spec.downscale == "stride":
        x = F.avg_pool2d(x, 2)
    x = F.leaky_relu(x + block.noise_2.strength * block.noise_2.noise, 0.2)
    if block.spec.downscale == "average":
        x = F.avg_pool2d(x, 2)
    bypass = conv(block.bypass, F.avg_pool2d(inputs, 2))
    x = x + bypass if spec.residual == "sum" else spec.residual * x + (1 - spec.residual) * bypass
    return x, first, second


@pytest.mark.parametrize("downscale", ["average", "stride"])
@pytest.mark.parametrize(("blurred", "residual"), [(False, 0.111), (True, 0.7), (False, "sum")])
def test_block_is_figure_4(downscale: str, blurred: bool, residual: float | str) -> None:
    torch.manual_seed(1)
    spec = spec_of(downscale=downscale, blur=blurred, residual=residual, noise="fixed")
    block = shake(block_of(spec, 0).double())
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    out, (first, second) = block(x.clone(), None)
    wanted = reference(block, x)
    for ours, theirs in zip((out, first, second), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert out.shape == (2, 5, 4, 3)


def test_last_block_has_its_second_head_after_its_one_convolution() -> None:
    torch.manual_seed(2)
    block = shake(block_of(spec_of(residual=0.111), 1).double())
    x = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    out, (_, second) = block(x.clone(), None)
    scaled = block.conv_1.weight * math.sqrt(2 / 45)
    features = F.leaky_relu(F.conv2d(F.instance_norm(x, eps=1e-8), scaled, block.conv_1.bias, padding=1), 0.2)
    stats = torch.cat([features.mean((2, 3)), features.std((2, 3), correction=0)], 1)
    wanted = F.linear(stats, block.head_2.weight / math.sqrt(10), block.head_2.bias)
    torch.testing.assert_close(second, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out, 0.111 * F.instance_norm(features, eps=1e-8) + 0.889 * x, rtol=1e-6, atol=1e-6)


def test_blocks_leave_what_comes_in_alone() -> None:
    block = block_of(spec_of(), 0)
    x = torch.randn(2, 3, 8, 6)
    before = x.clone()
    block(x, None)
    assert torch.equal(x, before)


def test_block_without_equalised_rate_starts_the_same_size() -> None:
    torch.manual_seed(3)
    plain, scaled = (block_of(spec_of(equalized=value), 1) for value in (False, True))
    assert plain.conv_1.scale == 1.0
    assert plain.conv_1.weight.std().item() == pytest.approx(math.sqrt(2 / 45), rel=0.2)
    assert scaled.conv_1.weight.std().item() == pytest.approx(1, rel=0.2)


def test_heads_of_no_width_are_not_built() -> None:
    blocks = (BlockShape(size=(4, 4), in_channels=3, out_channels=3, convolutions=1, downscale="none"),)
    spec = EncoderSpec(size=(4, 4), layout=(Styles(layers=1, dim=7),), blocks=blocks)
    block = block_of(spec, 0)
    _, (first, second) = block(torch.randn(2, 3, 4, 4), None)
    assert first is None
    assert block.head_1 is None
    assert second is not None
    assert second.shape == (2, 7)


def test_gradient_is_finite_where_features_are_constant() -> None:
    block = block_of(spec_of(), 0)
    x = torch.full((2, 3, 8, 6), 0.25, requires_grad=True)
    out, (first, second) = block(x, None)
    (out.sum() + first.sum() + second.sum()).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in block.parameters() if p.grad is not None)


def test_standardize_is_instance_norm_with_its_statistics() -> None:
    x = torch.randn(3, 4, 5, 7) * 3 + 2
    y, mean, std = standardize(x)
    torch.testing.assert_close(mean[..., 0, 0], x.mean((2, 3)))
    torch.testing.assert_close(std[..., 0, 0], x.std((2, 3), correction=0))
    torch.testing.assert_close(y, F.instance_norm(x, eps=1e-8))


def test_standardize_has_the_gradients_of_its_formula() -> None:
    torch.manual_seed(6)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(standardize, x)
    assert torch.autograd.gradgradcheck(standardize, x)
    for of_one in range(3):
        assert torch.autograd.gradcheck(lambda value, i=of_one: standardize(value)[i], x)


def test_standardize_keeps_its_statistics_in_single_precision() -> None:
    x = (torch.randn(2, 3, 16, 16) + 4).bfloat16()
    wanted = standardize(x.double().requires_grad_())
    found = standardize(x.clone().requires_grad_())
    assert [tensor.dtype for tensor in found] == [torch.bfloat16, torch.float32, torch.float32]
    torch.testing.assert_close(found[2].double(), wanted[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=1e-2, atol=1e-2)


def test_blur_is_the_binomial_kernel() -> None:
    x = torch.zeros(1, 2, 5, 5)
    x[0, 1, 0, 2] = 16
    wanted = torch.zeros(5, 5)
    wanted[0, 1:4] = torch.tensor([2.0, 4, 2])
    wanted[1, 1:4] = torch.tensor([1.0, 2, 1])
    out = Blur(2)(x)[0]
    torch.testing.assert_close(out[1], wanted)
    assert not out[0].any()
    assert not Blur(2).state_dict()


def test_rows_of_pixels_are_blurred_halved_and_convolved_along_themselves() -> None:
    """As torch's layers of one dimension do it."""
    x, conv = torch.randn(2, 3, 1, 9), Conv(3, 4, (1, 3), stride=True)
    weight = conv.weight[:, :, 0] * conv.scale
    wanted = F.avg_pool1d(F.conv1d(x[:, :, 0], weight, conv.bias, padding=1), 2)
    torch.testing.assert_close(conv(x)[:, :, 0], wanted)
    torch.testing.assert_close(halve(x)[:, :, 0], F.avg_pool1d(x[:, :, 0], 2))
    torch.testing.assert_close(halve(x.mT), halve(x).mT)
    taps = torch.tensor([0.25, 0.5, 0.25]).expand(3, 1, 3)
    torch.testing.assert_close(Blur(3)(x)[:, :, 0], F.conv1d(x[:, :, 0], taps, padding=1, groups=3))
    torch.testing.assert_close(Blur(3)(x.mT), Blur(3)(x).mT)


def test_linear_starts_at_its_gain() -> None:
    torch.manual_seed(4)
    x = torch.randn(64, 256)
    assert Linear(256, 400, gain=2.0)(x).std().item() == pytest.approx(2, rel=0.05)
    assert Linear(256, 400, start=0.1)(x).std().item() == pytest.approx(0.1, rel=0.05)
    assert Linear(256, 400, start=0.1, equalized=False)(x).std().item() == pytest.approx(0.1, rel=0.05)


def test_noise_is_fixed_by_seed_and_place_and_stays_out_of_the_file() -> None:
    one, same, other, seeded = (FixedNoise(2, (4, 4), seed=s, place=p) for s, p in ((0, 1), (0, 1), (0, 2), (5, 1)))
    assert torch.equal(one.noise, same.noise)
    assert not torch.equal(one.noise, other.noise)
    assert not torch.equal(one.noise, seeded.noise)
    assert set(one.state_dict()) == {"strength"}
    x = torch.randn(2, 2, 4, 4)
    assert torch.equal(one(x), x)


def test_conditional_batch_norm_gathers_statistics_that_normalise() -> None:
    torch.manual_seed(5)
    norm = ConditionalBatchNorm(3, 4)
    shift, scale = torch.tensor([5.0, -2, 0])[:, None, None], torch.tensor([0.1, 4, 2])[:, None, None]
    condition = torch.randn(16, 4)

    def batch() -> Tensor:
        return torch.randn(16, 3, 6, 6) * scale + shift

    for _ in range(60):
        norm(batch(), condition)
    norm.eval()
    out = norm(batch(), condition)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=0.2)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), rtol=0.2, atol=0)
    one = batch()[:1]
    torch.testing.assert_close(
        norm(one, condition[:1]), norm(torch.cat([one, batch()]), condition[[0, *range(16)]])[:1]
    )


def test_conditional_batch_norm_follows_its_condition() -> None:
    norm = shake(ConditionalBatchNorm(3, 4)).eval()
    x = torch.randn(1, 3, 6, 6).expand(2, 3, 6, 6)
    condition = torch.randn(2, 4)
    out = norm(x, condition)
    assert not torch.allclose(out[0], out[1])
    gain = 1 + F.linear(condition, norm.gain.weight / 2, norm.gain.bias)
    offset = F.linear(condition, norm.shift.weight / 2, norm.shift.bias)
    wanted = x / math.sqrt(1 + 1e-5) * gain[..., None, None] + offset[..., None, None]
    torch.testing.assert_close(out, wanted)


def test_encoder_block_is_abstract() -> None:
    with pytest.raises(TypeError):
        EncoderBlock(context=Context(block=spec_of().block_spec(0)))  # type: ignore[abstract]


def test_a_block_is_built_for_a_place() -> None:
    with pytest.raises(SpecError, match="AdaptiveBlock is built for a place"):
        AdaptiveBlock()
