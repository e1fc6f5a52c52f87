"""Instance norm after a leaky ReLU, with the gradient written out: less time and memory than autograd takes. It keeps
what it gives and nothing else."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-8
"""What is added to variances, as in the paper's published code; it also keeps the gradient of the deviation finite."""


def autocasts(x: Tensor) -> bool:
    """Whether operators on the device of ``x`` choose their own precision."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def wide(x: Tensor) -> Tensor:
    """``x`` at least in single precision."""
    return x if x.dtype == torch.float64 else x.float()


def leaky_gradient(grad: Tensor, x: Tensor, slope: float) -> Tensor:
    """The gradient of a leaky ReLU at ``x``, or at anything of the same signs."""
    found: Tensor = torch.ops.aten.leaky_relu_backward(grad, x, slope, False)
    return found


def standardize(x: Tensor, slope: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Instance norm, with the statistics that the style heads want: (N, C, H, W) -> the same, and twice (N, C, 1, 1).

    y = (x - mean) / deviation, over height and width, after a leaky ReLU if there is a slope; the deviation is the
    square root of variance + 1e-8. Statistics are at least in single precision.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        if slope is not None and (x.dtype not in (torch.float32, torch.float64) or autocasts(x)):
            x, slope = F.leaky_relu(x, slope), None  # Which side of 0 values were on does not show in half precision.
        y, mean, std = _Standardize.apply(x, slope)
        return y, mean, std
    return _standardized(x, slope)


def _standardized(x: Tensor, slope: float | None) -> tuple[Tensor, Tensor, Tensor]:
    y = wide(x) if slope is None else F.leaky_relu(wide(x), slope)
    mean = y.mean((2, 3), keepdim=True)
    y = y - mean
    std = torch.sqrt(y.square().mean((2, 3), keepdim=True) + EPSILON)
    return (y / std).to(x.dtype), mean, std


class _Standardize(torch.autograd.Function):
    """On which side of 0 the leaky ReLU was is seen from where 0 came to lie. The gradient has gradients itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float | None) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, std = _standardized(x, slope)
        ctx.save_for_backward(y, mean, std)
        ctx.slope = slope
        return y, mean, std

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_y, grad_mean, grad_std = grads
        y, mean, std = ctx.saved_tensors
        pixels = y.shape[2] * y.shape[3]
        level, steep = (one.sum((2, 3), keepdim=True) for one in (wide(grad_y), wide(grad_y) * wide(y)))
        constant = ((grad_mean - level / std) / pixels).to(y)
        along = ((grad_std - steep / std) / pixels).to(y)
        found = torch.addcmul(constant, y, along).addcmul_(grad_y, (1 / std).to(y))
        return (found if ctx.slope is None else leaky_gradient(found, y + (mean / std).to(y), ctx.slope)), None
