"""What has its gradient written out gives what autograd gives of the plain formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from ganenc.encoders import Conv, FixedNoise, activate, halve, standardize
from rounding import tolerance
from torch import Tensor
from torch.nn import functional as F

SLOPE = 0.3


def features(*shape: int, layout: torch.memory_format = torch.channels_last) -> Tensor:
    torch.manual_seed(8)
    return (torch.randn(*shape, dtype=torch.float64) * 2 + 0.5).contiguous(memory_format=layout).requires_grad_()


def plainly_standardized(x: Tensor, slope: float = SLOPE) -> tuple[Tensor, Tensor, Tensor]:
    x = F.leaky_relu(x, slope)
    mean = x.mean((2, 3), keepdim=True)
    std = ((x - mean).square().mean((2, 3), keepdim=True) + 1e-8).sqrt()
    return (x - mean) / std, mean, std


PAIRS: dict[str, tuple[Callable[[Tensor], object], Callable[[Tensor], object]]] = {
    "standardize": (standardize, lambda x: plainly_standardized(x, 1.0)),
    "standardize, activated": (lambda x: standardize(x, SLOPE), plainly_standardized),
    "activate": (lambda x: activate(x, SLOPE), lambda x: F.leaky_relu(x, SLOPE)),
    "halve": (halve, lambda x: F.avg_pool2d(x, 2)),
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", PAIRS)
def test_outcome_and_gradient_are_those_of_the_formula(name: str, layout: torch.memory_format) -> None:
    x = features(2, 3, 8, 6, layout=layout)
    found, wanted = (torch.utils._pytree.tree_leaves(make(x)) for make in PAIRS[name])
    torch.testing.assert_close(found, wanted)
    along = [torch.randn_like(one) for one in wanted]
    (mine,), (theirs,) = (torch.autograd.grad(outcome, x, along) for outcome in (found, wanted))
    torch.testing.assert_close(mine, theirs)
    assert mine.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("name", PAIRS)
def test_the_gradient_has_a_gradient(name: str) -> None:
    assert torch.autograd.gradgradcheck(PAIRS[name][0], features(1, 2, 4, 4))


@pytest.mark.parametrize("size", [(5, 4), (4, 7), (1, 1)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    x = features(1, 2, *size)
    torch.testing.assert_close(standardize(x, SLOPE), plainly_standardized(x))
    if min(size) > 1:
        torch.testing.assert_close(halve(x), F.avg_pool2d(x, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_knows_on_which_side_of_0_values_were(dtype: torch.dtype) -> None:
    """By the leaky ReLU itself: the gradient is that of the same two steps by autograd."""
    x = (features(1, 2, 6, 5) + 20).detach().to(dtype).requires_grad_()
    found = torch.autograd.grad(standardize(x, SLOPE)[0].float().square().sum(), x)[0]
    wanted = torch.autograd.grad(standardize(F.leaky_relu(x, SLOPE))[0].float().square().sum(), x)[0]
    assert torch.equal(found, wanted)


def test_the_deviation_is_exact_where_the_mean_is_far_larger() -> None:
    """In single precision, with a mean that differs from row to row."""
    x = (features(1, 2, 8, 6) + 300 + torch.arange(8.0)[:, None]).detach().float()
    found = standardize(x)
    wanted = plainly_standardized(x.double(), 1.0)
    torch.testing.assert_close(found[2].double(), wanted[2], rtol=tolerance(torch.float32, terms=48), atol=0)
    # The mean, 308 at most, is rounded once, and deviations of about 2 are taken from it.
    torch.testing.assert_close(found[0].double(), wanted[0], rtol=0, atol=tolerance(torch.float32) * 308 / 2)


@pytest.mark.parametrize("name", PAIRS)
def test_what_is_kept_for_the_gradient_is_little(name: str) -> None:
    """One value for each that is standardized, a byte for each that is activated, none for one that is halved."""
    x, kept = features(1, 4, 8, 8), 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        PAIRS[name][0](x * 1.0)
    assert kept <= {"activate": x.numel(), "halve": 0}.get(name, 8 * x.numel() + 2 * 4 * 8)


def test_a_scaled_convolution_and_its_gradients() -> None:
    torch.manual_seed(9)
    conv, x = Conv(3, 4, 3).double(), features(2, 3, 6, 5)
    assert conv.scale != 1.0
    given = (x, conv.weight, conv.bias)
    wanted = F.conv2d(x, conv.weight * conv.scale, conv.bias, padding=1)
    along = torch.randn_like(wanted)
    found = conv(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, given, along), torch.autograd.grad(wanted, given, along))


def test_noise_and_its_gradients() -> None:
    noise, x = FixedNoise(3, (4, 5), seed=1, place=0).double(), features(2, 3, 4, 5)
    torch.nn.init.normal_(noise.strength)
    given, wanted = (x, noise.strength), x + noise.strength * noise.noise
    along = torch.randn_like(wanted)
    found = noise(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(torch.autograd.grad(found, given, along), torch.autograd.grad(wanted, given, along))
