"""Several layers in one, with the gradient written out: less time and memory than autograd takes.

On processors they go a few rows at a time, which stay in the cache, and write what is large once. Every gradient is
made of differentiable operators, so it has gradients itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "ActivateHalve",
    "AddNoise",
    "Halve",
    "ScaledConv",
    "Standardize",
    "channel_dot",
    "fusible",
    "standardized",
    "wide",
]

EPSILON = 1e-8
"""What is added to variances, as in the paper's published code; it also keeps the gradient of the deviation finite."""
SLAB = 1 << 18
"""How many values are taken at a time on a processor."""


def fusible(*tensors: Tensor) -> bool:
    """Whether a written-out gradient serves these: in single precision at least, without autocast, and one is due."""
    precise = {tensor.dtype for tensor in tensors} <= {torch.float32, torch.float64}
    due = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    return precise and due and not autocasts(tensors[0])


def autocasts(x: Tensor) -> bool:
    """Whether operators on the device of ``x`` choose their own precision."""
    device = x.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def channel_dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of ``a * b`` over height and width, with no product of full size: twice (N, C, H, W) -> (N, C)."""
    rows = _rows(a)
    if rows is None:
        return (a * b).sum((2, 3))
    parts = zip(a.split(rows, dim=2), b.split(rows, dim=2), strict=True)
    return torch.stack([(one * other).sum((2, 3)) for one, other in parts]).sum(0)


def wide(x: Tensor) -> Tensor:
    """``x`` at least in single precision."""
    return x if x.dtype == torch.float64 else x.float()


def standardized(x: Tensor, slope: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Instance norm of (N, C, H, W), after a leaky ReLU if it has a slope; the mean and the deviation (N, C, 1, 1)."""
    count = x.shape[2] * x.shape[3]

    def activated(rows: Tensor) -> Tensor:
        return rows if slope is None else F.leaky_relu(rows, slope)

    values = wide(x)
    if slope is None:
        mean = values.mean((2, 3), keepdim=True)
    else:
        sums = [activated(part).sum((2, 3), keepdim=True) for part in _parts(values)]
        mean = torch.cat(sums, dim=2).sum(2, keepdim=True) / count
    y = _by_rows(lambda rows: activated(rows) - mean, values)
    std = torch.sqrt(channel_dot(y, y)[:, :, None, None] / count + EPSILON)
    scale = std.reciprocal()
    y = y * scale if torch.is_grad_enabled() else y.mul_(scale)  # Under vmap autograd may be looking on.
    return y.to(x.dtype), mean, std


class Standardize(torch.autograd.Function):
    """:func:`standardized`. It keeps what it gives and nothing else: on which side of 0 the leaky ReLU was is seen from
    where 0 came to lie.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float | None) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, std = standardized(x, slope)
        ctx.save_for_backward(y, mean, std)
        ctx.slope = slope
        return y, mean, std

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_y, grad_mean, grad_std = grads
        y, mean, std = ctx.saved_tensors
        scale = std.reciprocal()
        zero = (-mean) * scale
        count = y.shape[2] * y.shape[3]
        level = grad_y.mean((2, 3), keepdim=True, dtype=std.dtype)
        steep = channel_dot(wide(grad_y), wide(y))[:, :, None, None] / count
        constant = (grad_mean / count - scale * level).to(y)
        along = (grad_std / count - scale * steep).to(y)
        scale = scale.to(y)

        def rows(y: Tensor, grad: Tensor) -> Tensor:
            before = torch.addcmul(constant, y, along).addcmul_(grad, scale)
            if ctx.slope is None:
                return before
            out: Tensor = torch.ops.aten.leaky_relu_backward(before, y - zero, ctx.slope, False)
            return out

        return _by_rows(rows, y, grad_y), None


class ActivateHalve(torch.autograd.Function):
    """Leaky ReLU, then the average over 2x2 pixels, of even height and width. It keeps one byte a value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        parts = [F.avg_pool2d(F.leaky_relu(rows, slope), 2) for rows in _parts(x)]
        ctx.save_for_backward(x > 0)
        ctx.slope = slope
        return torch.cat(parts, dim=2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (positive,) = ctx.saved_tensors

        def rows(positive: Tensor, grad: Tensor) -> Tensor:
            spread = _spread(grad)
            return torch.where(positive, spread, spread * ctx.slope)

        return _by_rows(rows, positive, grad, dtype=grad.dtype), None


class Halve(torch.autograd.Function):
    """The average over 2x2 pixels, of even height and width. It keeps nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _spread(grad)


class AddNoise(torch.autograd.Function):
    """Adds noise (1, 1, H, W) to features in place, at a strength (1, C, 1, 1) for each channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: Tensor, noise: Tensor) -> Tensor:
        ctx.save_for_backward(noise)
        ctx.mark_dirty(x)
        return x.addcmul_(strength, noise)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        (noise,) = ctx.saved_tensors
        return grad, (grad.flatten(2) @ noise.flatten(2).mT).sum(0)[None, :, :, None], None


class ScaledConv(torch.autograd.Function):
    """Convolution by ``scale * weight``, which is not kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, scale: float, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.scale, ctx.padding = scale, padding
        return F.conv2d(x, weight * scale, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        one, padding, wanted = [1, 1], [ctx.padding] * 2, list(ctx.needs_input_grad[:3])
        to_x, to_weight, to_bias = torch.ops.aten.convolution_backward(
            grad, x, weight * ctx.scale, [len(weight)], one, padding, one, False, [0, 0], 1, wanted
        )
        if to_weight is not None:
            to_weight = to_weight * ctx.scale if torch.is_grad_enabled() else to_weight.mul_(ctx.scale)
        return to_x, to_weight, to_bias, None, None


def _spread(grad: Tensor) -> Tensor:
    """The gradient of an average over 2x2 pixels."""
    return F.interpolate(grad * 0.25, scale_factor=2.0, mode="nearest")


def _rows(x: Tensor) -> int | None:
    """How many rows of (N, C, H, W) are taken at a time, an even number; None if all are.

    They are on accelerators, where each part would cost a start, where a graph is being recorded that is to serve any
    batch, and where they are few.
    """
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if x.device.type != "cpu" or torch.compiler.is_compiling() or tracing:
        return None
    rows = max(2, SLAB * x.shape[2] // max(x.numel(), 1) // 2 * 2)
    return rows if rows < x.shape[2] else None


def _parts(x: Tensor) -> Sequence[Tensor]:
    rows = _rows(x)
    return [x] if rows is None else x.split(rows, dim=2)


def _by_rows(change: Callable[..., Tensor], x: Tensor, *others: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``change`` applied to tensors, a few rows at a time where nothing is recorded.

    Args:
        change: treats every row alike.
        x: of the shape of the outcome.
        others: of the same height, or of a fraction of it.
        dtype: of the outcome, if not that of ``x``.
    """
    rows = _rows(x)
    if torch.is_grad_enabled() or rows is None:
        return change(x, *others)
    out = torch.empty_like(x, dtype=dtype or x.dtype)
    parts = [other.split(rows * other.shape[2] // x.shape[2], dim=2) for other in (out, x, *others)]
    for part, *given in zip(*parts, strict=True):
        part.copy_(change(*given))
    return out
