"""The layers that generators of several families share: their formulas in float64, and their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from ganenc.encoders import conv_doubled, normalise_second_moment
from torch import Tensor
from torch.nn import functional as F


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_the_second_moment_is_normalised_by_its_formula() -> None:
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = torch.empty_like(x)
    for n in range(2):
        for i in range(3):
            for j in range(4):
                column = x[n, :, i, j]
                expected[n, :, i, j] = column / math.sqrt(sum(float(value) ** 2 for value in column) / 5 + 0.01)
    torch.testing.assert_close(normalise_second_moment(x, 0.01), expected)
    torch.testing.assert_close(normalise_second_moment(x.requires_grad_(), 0.01), expected)
    row = normalise_second_moment(torch.randn(3, 7))
    torch.testing.assert_close(row.square().mean(1), torch.ones(3))
    assert torch.equal(normalise_second_moment(torch.zeros(2, 4)), torch.zeros(2, 4))


@pytest.mark.parametrize("shape", [(2, 5), (2, 3, 2, 2)])
def test_the_gradients_of_the_norm_are_right(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: normalise_second_moment(x, 0.01), (x,))
    assert torch.autograd.gradgradcheck(lambda x: normalise_second_moment(x, 0.01), (x,))


def test_the_norm_in_half_precision_works_in_single() -> None:
    x = (torch.randn(2, 6, 3, 3) * 1000).half()
    torch.testing.assert_close(
        normalise_second_moment(x), normalise_second_moment(x.float()).half(), rtol=2e-3, atol=1e-3
    )
    tiny = torch.full((1, 4), 1e-6).half().requires_grad_()
    normalise_second_moment(tiny).sum().backward()
    assert tiny.grad is not None
    assert bool(tiny.grad.isfinite().all())


@pytest.mark.parametrize("bias", [None, draw(6, seed=3)], ids=["no bias", "a bias"])
def test_doubling_within_a_convolution_is_nearest_neighbours_and_then_the_convolution(bias: Tensor | None) -> None:
    x, weight = draw(2, 3, 4, 5).requires_grad_(), draw(6, 3, 3, 3, seed=1).requires_grad_()
    found = conv_doubled(x, weight, bias)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    probe = draw(*found.shape, seed=2)
    gradients = torch.autograd.grad((found * probe).sum(), (x, weight))
    for one, other in zip(gradients, torch.autograd.grad((expected * probe).sum(), (x, weight)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
