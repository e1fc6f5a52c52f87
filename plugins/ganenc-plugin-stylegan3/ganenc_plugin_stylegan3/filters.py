"""Low-pass filters of finite length, and the leaky ReLU between two of them (Karras et al., 2021, section 3.1 and
appendix C)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Axis", "design", "filtered_lrelu"]

SLOPE = 0.2
WHOLE = 96
"""Up to so many samples, a row is filtered by one matrix; a longer one in tiles, each by the same."""
TILE = 24
AT_ONCE = 1 << 19
"""Values between the two filters that are computed together: they stay in the cache."""


def design(taps: int, *, cutoff: float, half_width: float, rate: float, radial: bool = False) -> Tensor:
    """A low-pass filter windowed by Kaiser's window, whose sum is 1 (equations 4 to 7 of the appendix).

    Args:
        taps: its length.
        cutoff: where its gain is a half, in periods.
        half_width: half of its transition band.
        rate: samples in the length that has those periods.
        radial: circularly symmetric, by a jinc in place of a sinc.

    Returns:
        (taps,), or (taps, taps) if radial; float32.
    """
    places = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2) / rate
    attenuation = 2.285 * (taps - 1) * math.pi * 4 * half_width / rate + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        over = max(attenuation - 21, 0.0)
        beta = 0.5842 * over**0.4 + 0.07886 * over
    window = torch.kaiser_window(taps, periodic=False, beta=beta, dtype=torch.float64)
    if radial:
        radius = torch.hypot(places[:, None], places)
        angle = 2 * cutoff * math.pi * radius
        jinc = torch.where(angle == 0, 0.5, torch.special.bessel_j1(angle) / torch.where(angle == 0, 1.0, angle))
        found = jinc * torch.outer(window, window)
    else:
        found = torch.sinc(2 * cutoff * places) * window
    return (found / found.sum()).float()


@dataclass(frozen=True)
class Axis:
    """How one axis, height or width, is sampled: zeros between its samples, the first filter, the leaky ReLU, the
    second filter, every ``down``-th sample.

    Attributes:
        inputs: samples that come in.
        outputs: samples that go out.
        up: samples that one becomes for the leaky ReLU.
        down: of how many one is kept after it.
        up_taps: length of the first filter.
        down_taps: length of the second one.
    """

    inputs: int
    outputs: int
    up: int
    down: int
    up_taps: int
    down_taps: int

    @property
    def between(self) -> int:
        """Samples that the leaky ReLU sees."""
        return (self.outputs - 1) * self.down + self.down_taps

    @property
    def before(self) -> int:
        """Samples of padding on the low side, after zeros are put in (symmetric, appendix C.3 of the paper); a negative
        number crops."""
        total = self.between + self.up_taps - 1 - self.inputs * self.up
        return (total + self.up) // 2

    @property
    def after(self) -> int:
        """The same on the high side."""
        return self.between + self.up_taps - 1 - self.inputs * self.up - self.before


@dataclass(frozen=True)
class Tiles:
    """An axis cut into tiles of ``size`` outputs, ``count`` of them, that are all computed alike.

    Tile i needs ``inputs`` samples from ``i * step`` on, once ``pad`` zeros are put before and behind what comes in
    (fewer than none crop it), and has ``between`` samples for the leaky ReLU.
    """

    axis: Axis
    size: int
    count: int
    step: int
    inputs: int
    between: int
    first: int
    pad: tuple[int, int]

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, axis: Axis, longest: int, tile: int, *, joined: bool = False) -> Tiles:
        """Cut an axis of more than ``longest`` samples into tiles of ``tile``; ``joined`` gives the samples between the
        filters in tiles that do not overlap."""
        down, taps, outputs = (1, 1, axis.between) if joined else (axis.down, axis.down_taps, axis.outputs)
        whole = axis.inputs <= longest
        grain = axis.up // math.gcd(axis.up, down)
        size = -(-(outputs if whole else tile * (axis.down if joined else 1)) // grain) * grain
        count = -(-outputs // size)
        between = (size - 1) * down + taps
        first = -(axis.before // axis.up)
        last = (between - 1 - axis.before + axis.up_taps - 1) // axis.up
        step = size * down // axis.up
        inputs = last - first + 1
        return cls(
            axis, size, count, step, inputs, between, first, (-first, (count - 1) * step + last + 1 - axis.inputs)
        )

    def up(self, taps: Tensor | None) -> Tensor:
        """The first filter as a matrix (inputs, between), times ``axis.up``."""
        return _at(taps, self._up_places) * self.axis.up

    def down(self, taps: Tensor | None) -> Tensor:
        """The second filter as a matrix (between, size)."""
        return _at(taps, self._down_places)

    @functools.cached_property
    def _up_places(self) -> Tensor:
        start = torch.arange(self.inputs)[:, None] + self.first
        places = self.axis.up_taps - 1 - start * self.axis.up + torch.arange(self.between) - self.axis.before
        return places.clamp(-1, self.axis.up_taps) + 1

    @functools.cached_property
    def _down_places(self) -> Tensor:
        start = torch.arange(self.size) * self.axis.down
        places = self.axis.down_taps - 1 + start - torch.arange(self.between)[:, None]
        return places.clamp(-1, self.axis.down_taps) + 1


def _at(taps: Tensor | None, places: Tensor) -> Tensor:
    """The taps at these places, counted from 1; 0 outside."""
    taps = torch.ones(1, dtype=torch.float64) if taps is None else taps
    return F.pad(taps, (1, 1))[places]


def filtered_lrelu(
    x: Tensor,
    up: Tensor | None,
    down: Tensor | None,
    axes: tuple[Axis, Axis],
    *,
    clamp: float | None = None,
) -> Tensor:
    """Leaky ReLU times sqrt(2) between two low-pass filters, at a higher rate than what comes in and goes out.

    On processors the filters are products with matrices, a few tiles at a time, and of the gradient nothing is kept but
    ``x``: what lies between the filters is several times as large.

    Args:
        x: features (N, C, H, W).
        up: the first filter (taps,), for both axes; None for none.
        down: the second one, likewise, or one of two dimensions.
        axes: height and width.
        clamp: the largest magnitude that goes into the second filter.

    Returns:
        (N, C, H', W'); a gradient goes to ``x`` alone.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return _plain(x, up, down, axes, clamp)
    if torch.is_grad_enabled() and x.requires_grad:
        made: Tensor = _FilteredLeakyReLU.apply(x, up, down, axes, clamp)
        return made
    return _Filters(x, up, down, axes, clamp).forward(x)


def _plain(x: Tensor, up: Tensor | None, down: Tensor | None, axes: tuple[Axis, Axis], clamp: float | None) -> Tensor:
    """The same by convolutions."""
    channels, first = x.shape[1], axes[0]
    if up is not None:
        taps = (up * first.up * math.sqrt(2) ** 0.5).to(x.dtype)
        for shape, stride in (((len(up), 1), (first.up, 1)), ((1, len(up)), (1, first.up))):
            x = F.conv_transpose2d(x, taps.view(shape).expand(channels, 1, *shape), stride=stride, groups=channels)
        rim = [first.up_taps - 1, first.up_taps - first.up]
    else:
        x, rim = x * math.sqrt(2), [0, 0]
    height, width = axes
    x = F.pad(x, (width.before - rim[0], width.after - rim[1], height.before - rim[0], height.after - rim[1]))
    x = F.leaky_relu(x, SLOPE)
    x = x if clamp is None else x.clamp(-clamp, clamp)
    if down is None:
        return x
    if down.ndim == 2:
        return _down2d(x, down, first.down)
    taps = down.flip(0).to(x.dtype)
    for shape, stride in (((len(down), 1), (first.down, 1)), ((1, len(down)), (1, first.down))):
        x = F.conv2d(x, taps.view(shape).expand(channels, 1, *shape), stride=stride, groups=channels)
    return x


def _down2d(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """A filter of two dimensions, and every ``stride``-th sample: (N, C, H, W) => (N, C, H', W')."""
    weight = kernel.flip(0, 1).to(x.dtype).expand(x.shape[1], 1, *kernel.shape)
    return F.conv2d(x, weight, stride=stride, groups=x.shape[1])


class _Filters:
    """The filters as matrices, for features like ``x``."""

    def __init__(
        self,
        x: Tensor,
        up: Tensor | None,
        down: Tensor | None,
        axes: tuple[Axis, Axis],
        clamp: float | None,
    ) -> None:
        self.clamp, self.stride = clamp, axes[0].down
        self.kernel = down if down is not None and down.ndim == 2 else None
        self.rows = Tiles.of(axes[0], WHOLE, TILE)
        self.columns = Tiles.of(axes[1], WHOLE, TILE, joined=self.kernel is not None)
        gain = math.sqrt(2)
        self.up_rows, self.up_columns = (self.rows.up(up) * gain).to(x), self.columns.up(up).to(x)
        if self.kernel is None:
            self.down_rows, self.down_columns = self.rows.down(down).to(x), self.columns.down(down).to(x)
        self.pad = (*self.columns.pad, *self.rows.pad)
        self.at_once = max(1, AT_ONCE // (self.rows.between * self.columns.between * self.columns.count))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => (N, C, H', W')."""
        height, width = self.rows.axis.outputs, self.columns.axis.outputs
        padded = F.pad(x.flatten(0, 1), self.pad)
        high = self.rows.size * self.rows.count
        wide = width if self.kernel is not None else self.columns.size * self.columns.count
        out = x.new_empty(len(padded), high, wide)
        for some, into in zip(padded.split(self.at_once), out.split(self.at_once)):
            for i in range(self.rows.count):
                y = self._activated(self._between(self._tile(some, i)))
                into[:, i * self.rows.size : (i + 1) * self.rows.size] = self._down(y, len(some))
        images: Tensor = out[:, :height, :width].unflatten(0, x.shape[:2])
        return images

    def backward(self, x: Tensor, grad: Tensor) -> Tensor:
        """The gradient to ``x``, (N, C, H, W), from that of what comes out."""
        padded = F.pad(x.flatten(0, 1), self.pad)
        size = self.rows.size
        grad = F.pad(grad.flatten(0, 1), (0, 0, 0, size * self.rows.count - grad.shape[2]))
        found = torch.zeros_like(padded)
        parts = (padded.split(self.at_once), grad.split(self.at_once), found.split(self.at_once))
        for some, given, into in zip(*parts):
            for i in range(self.rows.count):
                y = self._between(self._tile(some, i))
                back = self._down_back(given[:, i * size : (i + 1) * size]).view_as(y)
                if self.clamp is not None:
                    given_out = F.leaky_relu(y, SLOPE)
                    back = torch.ops.aten.hardtanh_backward(back, given_out, -self.clamp, self.clamp)
                back = torch.ops.aten.leaky_relu_backward(back, y, SLOPE, False)
                back = self._up_back(back @ self.up_columns.mT, some)
                self._tile(into, i).add_(back)
        return F.pad(found, tuple(-one for one in self.pad)).view_as(x)

    def _tile(self, x: Tensor, i: int) -> Tensor:
        return x[:, i * self.rows.step : i * self.rows.step + self.rows.inputs]

    def _between(self, rows: Tensor) -> Tensor:
        """Rows of a tile (C, inputs, W) => what the leaky ReLU sees, (C * between * tiles, between)."""
        y = (self.up_rows.mT @ rows).unfold(2, self.columns.inputs, self.columns.step)
        return y.reshape(-1, self.columns.inputs) @ self.up_columns

    def _activated(self, y: Tensor) -> Tensor:
        F.leaky_relu_(y, SLOPE)
        return y if self.clamp is None else y.clamp_(-self.clamp, self.clamp)

    def _down(self, y: Tensor, channels: int) -> Tensor:
        """(C * between * tiles, between) => (C, size, W')."""
        if self.kernel is None:
            y = rearrange(y @ self.down_columns, "(c h t) w -> c h (t w)", c=channels, t=self.columns.count)
            return self.down_rows.mT @ y
        y = rearrange(y, "(c h t) w -> c h (t w)", c=channels, t=self.columns.count)
        return _down2d(y[None, :, :, : self.columns.axis.between], self.kernel, self.stride)[0]

    def _down_back(self, grad: Tensor) -> Tensor:
        """(C, size, W') => the gradient of what the leaky ReLU gave, (C * between * tiles, between)."""
        tiles = self.columns
        if self.kernel is None:
            grad = self.down_rows @ F.pad(grad, (0, tiles.size * tiles.count - grad.shape[2]))
            return rearrange(grad, "c h (t w) -> (c h t) w", t=tiles.count) @ self.down_columns.mT
        weight = self.kernel.flip(0, 1).to(grad.dtype).expand(len(grad), 1, *self.kernel.shape)
        grad = F.conv_transpose2d(grad[None], weight, stride=self.stride, groups=len(grad))[0]
        return F.pad(grad, (0, tiles.between * tiles.count - grad.shape[2]))

    def _up_back(self, grad: Tensor, like: Tensor) -> Tensor:
        """Tiles (C * between * tiles, inputs) laid over one another where they overlap => rows (C, inputs, W)."""
        tiles = self.columns
        grad = rearrange(grad, "(c h t) w -> c h t w", c=len(like), t=tiles.count)
        parts = grad.split(tiles.step, dim=3)
        laid = grad.new_zeros(*grad.shape[:2], tiles.count + len(parts) - 1, tiles.step)
        for i, part in enumerate(parts):
            laid[:, :, i : i + tiles.count, : part.shape[3]] += part
        return self.up_rows @ laid.flatten(2)[:, :, : like.shape[2]]


class _FilteredLeakyReLU(torch.autograd.Function):
    """Makes what lies between the filters anew for the gradient, which has gradients itself."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        up: Tensor | None,
        down: Tensor | None,
        axes: tuple[Axis, Axis],
        clamp: float | None,
    ) -> Tensor:
        ctx.save_for_backward(x, up, down)
        ctx.axes, ctx.clamp = axes, clamp
        return _Filters(x, up, down, axes, clamp).forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, up, down = ctx.saved_tensors
        if torch.is_grad_enabled():
            made = _plain(x, up, down, ctx.axes, ctx.clamp)
            (to_x,) = torch.autograd.grad(made, x, grad, create_graph=True)
        else:
            to_x = _Filters(x, up, down, ctx.axes, ctx.clamp).backward(x, grad)
        return to_x, None, None, None, None
