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
    "leaky_gradient",
    "row_parts",
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
    sums = [(one * other).sum((2, 3)) for one, other in row_parts(a, b)]
    return sums[0] if len(sums) == 1 else torch.stack(sums).sum(0)


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


def standardized(x: Tensor, slope: float | None = None, gain: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Instance norm of (N, C, H, W), after a leaky ReLU if it has a slope; the mean and the deviation (N, C, 1, 1).

    The mean and the deviation are of what is normalised; ``gain`` is the deviation that it gets.
    """
    values = wide(x)
    parts = [part for (part,) in row_parts(values)]

    def activated(rows: Tensor) -> Tensor:
        return rows if slope is None else F.leaky_relu(rows, slope)

    if len(parts) == 1 or torch.is_grad_enabled():
        y = activated(values)
        mean = y.mean((2, 3), keepdim=True)
        y = y - mean
        std = torch.sqrt((y * y).mean((2, 3), keepdim=True) + EPSILON)
        scale = gain / std
        y = y * scale if torch.is_grad_enabled() else y.mul_(scale)  # Under vmap autograd may be looking on.
        return y.to(x.dtype), mean, std
    mean, std = _moments(parts, activated)
    y, scale = torch.empty_like(values), gain / std
    for rows, into in row_parts(values, y):
        torch.sub(activated(rows), mean, out=into).mul_(scale)
    return y.to(x.dtype), mean, std


def _moments(parts: Sequence[Tensor], activated: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of features that are given a few rows at a time, each part read once.

    Squares are taken from each part's own mean, then moved to that of all (Chan, Golub and LeVeque, 1983).
    """
    levels, squares = [], []
    for part in parts:
        rows = activated(part)
        level = rows.mean((2, 3), keepdim=True)
        rows = rows - level
        levels.append(level)
        squares.append(rows.mul_(rows).sum((2, 3), keepdim=True))
    pixels = parts[0].new_tensor([part.shape[2] * part.shape[3] for part in parts])[:, None]
    count, level = pixels.sum(), torch.cat(levels, dim=2)
    mean = (level * pixels).sum(2, keepdim=True) / count
    square = torch.cat(squares, dim=2) + (level - mean).square() * pixels
    return mean, torch.sqrt(square.sum(2, keepdim=True) / count + EPSILON)


class Standardize(torch.autograd.Function):
    """:func:`standardized`. It keeps what it gives and nothing else: on which side of 0 the leaky ReLU was is seen from
    where 0 came to lie.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float | None, gain: float) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, std = standardized(x, slope, gain)
        ctx.save_for_backward(y, mean, std)
        ctx.slope, ctx.gain = slope, gain
        return y, mean, std

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad_y, grad_mean, grad_std = grads
        y, mean, std = ctx.saved_tensors
        scale = ctx.gain / std
        zero = (-mean * scale).to(y)
        count = y.shape[2] * y.shape[3]
        level, steep = _sums(grad_y, y)
        constant = ((grad_mean - scale * level) / count).to(y)
        along = ((grad_std - steep / std) / (count * ctx.gain)).to(y)
        scale = scale.to(y)

        def rows(y: Tensor, grad: Tensor, out: Tensor | None) -> Tensor:
            if ctx.slope is None:
                return torch.addcmul(constant, y, along, out=out).addcmul_(grad, scale)
            before = torch.addcmul(constant, y, along).addcmul_(grad, scale)
            return leaky_gradient(before, y - zero, ctx.slope, out)

        return _by_rows(rows, y, grad_y), None, None


class ActivateHalve(torch.autograd.Function):
    """Leaky ReLU, then the average over 2x2 pixels, of even height and width. It keeps one byte a value."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        # Whether each value is above 0: as bytes by way of values, which are compared and converted several at a time.
        above, halves = torch.empty_like(x, dtype=torch.int8), []
        for rows, into in row_parts(x, above):
            into.copy_(torch.gt(rows, 0, out=torch.empty_like(rows)))
            halves.append(F.avg_pool2d(F.leaky_relu(rows, slope), 2))
        ctx.save_for_backward(above)
        ctx.slope = slope
        return torch.cat(halves, dim=2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (above,) = ctx.saved_tensors

        def rows(above: Tensor, grad: Tensor, out: Tensor | None) -> Tensor:
            return leaky_gradient(_spread(grad), above.to(grad.dtype), ctx.slope, out)

        return _by_rows(rows, above, grad, dtype=grad.dtype), None


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


def row_parts(x: Tensor, *others: Tensor) -> list[tuple[Tensor, ...]]:
    """Features (N, C, H, W), and others of the same height or of a fraction of it, a few rows at a time."""
    rows = _rows(x)
    if rows is None:
        return [(x, *others)]
    return list(zip(*(one.split(rows * one.shape[2] // x.shape[2], dim=2) for one in (x, *others)), strict=True))


def _sums(grad: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of ``grad`` and of ``grad * y`` over height and width, in single precision: -> twice (N, C, 1, 1)."""
    pairs = [(wide(one), wide(other)) for one, other in row_parts(grad, y)]
    sums = [(one.sum((2, 3), keepdim=True), (one * other).sum((2, 3), keepdim=True)) for one, other in pairs]
    level, steep = (torch.cat(found, dim=2).sum(2, keepdim=True) for found in zip(*sums, strict=True))
    return level, steep


def _by_rows(change: Callable[..., Tensor], x: Tensor, *others: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``change`` applied to tensors, a few rows at a time where nothing is recorded.

    Args:
        change: treats every row alike; called with the tensors and where to write the outcome, or None.
        x: of the shape of the outcome.
        others: of the same height, or of a fraction of it.
        dtype: of the outcome, if not that of ``x``.
    """
    if torch.is_grad_enabled() or _rows(x) is None:
        return change(x, *others, None)
    out = torch.empty_like(x, dtype=dtype or x.dtype)
    for given in row_parts(x, *others, out):
        change(*given)
    return out
