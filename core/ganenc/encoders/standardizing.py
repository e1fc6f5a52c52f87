"""Instance norm after a leaky ReLU, with the gradient written out: less time and memory than autograd takes. It keeps
what it gives and nothing else. On processors it goes a few rows at a time, which stay in the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-8
"""What is added to variances, as in the paper's published code; it also keeps the gradient of the deviation finite."""
SLAB = 1 << 18
"""How many values are taken at a time on a processor."""


def autocasts(x: Tensor) -> bool:
    """Whether operators on the device of ``x`` choose their own precision."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def wide(x: Tensor) -> Tensor:
    """``x`` at least in single precision."""
    return x if x.dtype == torch.float64 else x.float()


def leaky_gradient(grad: Tensor, x: Tensor, slope: float, out: Tensor | None = None) -> Tensor:
    """The gradient of a leaky ReLU at ``x``, or at anything of the same signs; written to ``out`` if that is given."""
    if out is None:
        found: Tensor = torch.ops.aten.leaky_relu_backward(grad, x, slope, False)
    else:
        found = torch.ops.aten.leaky_relu_backward.grad_input(grad, x, slope, False, grad_input=out)
    return found


def row_parts(x: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    """Features (N, C, H, W), and others of the same height, a few rows at a time; in one part on accelerators, where
    each part would cost a start, and where a graph is being recorded that is to serve any batch."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    rows = max(2, SLAB * x.shape[2] // max(x.numel(), 1))
    if x.device.type != "cpu" or torch.compiler.is_compiling() or tracing or rows >= x.shape[2]:
        return [(x, *others)]
    return list(zip(*(one.split(rows, dim=2) for one in (x, *others)), strict=True))


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
    def activated(rows: Tensor) -> Tensor:
        return rows if slope is None else F.leaky_relu(rows, slope)

    values = wide(x)
    parts = [part for (part,) in row_parts(values)]
    if len(parts) == 1 or torch.is_grad_enabled():  # Under vmap autograd may be looking on.
        y = activated(values)
        mean = y.mean((2, 3), keepdim=True)
        y = y - mean
        std = torch.sqrt(y.square().mean((2, 3), keepdim=True) + EPSILON)
        return (y / std).to(x.dtype), mean, std
    mean, std = _moments(parts, activated)
    y = torch.empty_like(values)
    for rows, into in row_parts(values, y):
        torch.sub(activated(rows), mean, out=into).div_(std)
    return y.to(x.dtype), mean, std


def _moments(parts: list[Tensor], activated: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of features given a few rows at a time, each part read once: squares are taken from each
    part's own mean, then moved to that of all (Chan, Golub and LeVeque, 1983)."""
    levels, variances = [], []  # By hand: torch.var_mean takes three times as long.
    for part in parts:
        rows = activated(part)
        levels.append(rows.mean((2, 3), keepdim=True))
        variances.append((rows - levels[-1]).square_().mean((2, 3), keepdim=True))
    level, var = torch.cat(levels, dim=2), torch.cat(variances, dim=2)
    share = level.new_tensor([part.shape[2] for part in parts])[:, None] / sum(part.shape[2] for part in parts)
    mean = (level * share).sum(2, keepdim=True)
    return mean, torch.sqrt(((var + (level - mean).square()) * share).sum(2, keepdim=True) + EPSILON)


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
        zero = (-mean / std).to(y)
        pixels = y.shape[2] * y.shape[3]
        level, steep = _sums(grad_y, y)
        constant = ((grad_mean - level / std) / pixels).to(y)
        along = ((grad_std - steep / std) / pixels).to(y)
        scale = (1 / std).to(y)
        whole = torch.is_grad_enabled()
        out = torch.empty_like(y)
        for y_rows, grad_rows, into in [(y, grad_y, None)] if whole else row_parts(y, grad_y, out):
            rows = torch.addcmul(constant, y_rows, along, out=into if ctx.slope is None else None)
            rows = rows.addcmul_(grad_rows, scale)
            if ctx.slope is not None:
                rows = leaky_gradient(rows, y_rows - zero, ctx.slope, into)
        return (rows if whole else out), None


def _sums(grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of ``grad`` and of ``grad * y`` over height and width, in single precision: -> twice (N, C, 1, 1)."""
    pairs = [(wide(one), wide(other)) for one, other in row_parts(grad, y)]
    sums = [(one.sum((2, 3), keepdim=True), (one * other).sum((2, 3), keepdim=True)) for one, other in pairs]
    level, steep = (torch.cat(found, dim=2).sum(2, keepdim=True) for found in zip(*sums, strict=True))
    return level, steep
