"""Strides and padding of a row of convolutions, which no shape tells, by the conventions of the field."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

__all__ = ["geometry"]

COMMON = (16, 28, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024)
"""Sides of images, in pixels."""
Choice = tuple[int, int, int]
"""Stride, padding, and what the far edge is longer by (PyTorch's output_padding)."""


def geometry(kernels: Sequence[tuple[int, bool]], start: int, channels: int) -> list[Choice]:
    """For each convolution (kernel, transposed), from a map of ``start`` pixels to an image of so many channels: its
    stride, padding and output padding.

    A transposed one makes a pixel a map of its kernel's size; the others double, with a kernel of 4, 2 and 1
    (DCGAN). Where that ends at no usual size, none is padded (the WGAN-GP of many courses), and as many double as then
    end at one. Odd kernels among even ones that give 28 pixels so are not padded beyond (4 to 7 to 14 to 28), and a
    last one of 1 that is transposed cuts grey images of 32 to 28.
    """
    first = 0
    while first < len(kernels) and start == 1 and kernels[first][1]:
        start, first = kernels[first][0], first + 1
    return [(1, 0, 0)] * first + _from_a_map(kernels[first:], start, channels)


def _from_a_map(kernels: Sequence[tuple[int, bool]], start: int, channels: int) -> list[Choice]:
    doubling = [_doubling(kernel, turned) for kernel, turned in kernels]
    odd = [(2, (kernel - 1) // 2, 0) if turned and kernel % 2 and kernel > 1 else usual
           for (kernel, turned), usual in zip(kernels, doubling)]  # fmt: skip
    if len({kernel % 2 for kernel, turned in kernels if turned}) > 1 and _side(kernels, odd, start) == 28:
        return odd
    if kernels[-1:] == [(1, True)] and channels == 1 and _side(kernels, doubling, start) == 32:
        return [*doubling[:-1], (1, 2, 0)]
    if _side(kernels, doubling, start) in COMMON:
        return doubling
    free = [i for i, (_, turned) in enumerate(kernels) if turned]
    unpadded = []
    for strides in itertools.islice(itertools.product((2, 1), repeat=len(free)), 1 << 10):
        chosen = [(1, 0 if turned else usual[1], 0) for (_, turned), usual in zip(kernels, doubling)]
        for i, stride in zip(free, strides):
            chosen[i] = (stride, 0, 0)
        if _side(kernels, chosen, start) in COMMON:
            unpadded.append((sum(strides), chosen))
    return max(unpadded, key=lambda one: one[0])[1] if unpadded else doubling


def _doubling(kernel: int, turned: bool) -> Choice:
    if not turned or kernel == 1 or kernel == 7:
        return (1, (kernel - 1) // 2, 0)
    return (2, (kernel - 2) // 2, 0) if kernel % 2 == 0 else (2, (kernel - 1) // 2, 1)


def _side(kernels: Sequence[tuple[int, bool]], chosen: Sequence[Choice], side: int) -> int:
    """The side of the image."""
    for (kernel, turned), (stride, padding, extra) in zip(kernels, chosen):
        if turned:
            side = (side - 1) * stride + kernel - 2 * padding + extra
        else:
            side = (side + 2 * padding - kernel) // stride + 1
    return side
