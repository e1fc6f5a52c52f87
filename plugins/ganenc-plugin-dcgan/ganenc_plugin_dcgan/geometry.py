"""Strides and padding of a row of convolutions, which no shape tells, by the conventions of the field."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

__all__ = ["COMMON", "geometry"]

COMMON = (16, 28, 32, 48, 64, 96, 128, 192, 224, 256, 512, 1024)
"""Sides of images, in pixels."""
Choice = tuple[int, int, int]
"""Stride, padding, and what the far edge is longer by (PyTorch's output_padding)."""


def geometry(kernels: Sequence[tuple[int, bool]], start: int, channels: int) -> list[Choice]:
    """For each convolution (kernel, transposed), from a map of ``start`` pixels to an image of so many channels: its
    stride, padding and output padding.

    A transposed one makes a pixel a map of its kernel's size; the others double, with a kernel of 4, 2 and 1 (DCGAN).
    Odd kernels among even ones halve the overlap where that gives 28 pixels (4 to 7 to 14, or 3 to 7 without padding);
    else a 3 keeps the size and a 5 makes three times as many (32 to 96). A last one of 1 that is transposed cuts grey
    images of 32 to 28. Where this ends at no usual size, the first odd ones keep the size (7 to 28, TensorFlow's
    tutorial), or none is padded (the WGAN-GP of many courses), and as many double as then end at one.
    """
    first = 0
    while first < len(kernels) and start == 1 and kernels[first][1]:
        start, first = kernels[first][0], first + 1
    return [(1, 0, 0)] * first + _from_a_map(kernels[first:], start, channels)


def _from_a_map(kernels: Sequence[tuple[int, bool]], start: int, channels: int) -> list[Choice]:
    usual = [_doubling(kernel, turned) for kernel, turned in kernels]

    def otherwise(change: Callable[[int], Choice]) -> list[Choice]:
        """With the odd kernels that are transposed otherwise."""
        return [
            change(kernel) if turned and kernel % 2 and kernel > 1 else one
            for (kernel, turned), one in zip(kernels, usual)
        ]

    mixed = len({kernel % 2 for kernel, turned in kernels if turned and kernel > 1}) > 1
    if mixed:
        for halved in (otherwise(lambda kernel: (2, (kernel - 1) // 2, 0)), otherwise(lambda kernel: (2, 0, 0))):
            if _side(kernels, halved, start) == 28:
                return halved
        usual = otherwise(lambda kernel: (3, 1, 0) if kernel == 5 else (1, (kernel - 1) // 2, 0))
    if kernels[-1:] == [(1, True)] and channels == 1 and _side(kernels, usual, start) == 32:
        return [*usual[:-1], (1, 2, 0)]
    if _side(kernels, usual, start) in COMMON or not any(kernel % 2 for kernel, turned in kernels if turned):
        return usual
    for first, (kernel, turned) in enumerate(kernels, 1):
        if not turned or kernel % 2 == 0:
            break
        chosen = [(1, (kernel - 1) // 2, 0) for kernel, _ in kernels[:first]] + usual[first:]
        if _side(kernels, chosen, start) in COMMON:
            return chosen
    free = [i for i, (_, turned) in enumerate(kernels) if turned]
    unpadded = []
    for strides in itertools.islice(itertools.product((2, 1), repeat=len(free)), 1 << 10):
        chosen = [(1, 0 if turned else one[1], 0) for (_, turned), one in zip(kernels, usual)]
        for i, stride in zip(free, strides):
            chosen[i] = (stride, 0, 0)
        if _side(kernels, chosen, start) in COMMON:
            unpadded.append((sum(strides), chosen))
    return max(unpadded, key=lambda one: one[0])[1] if unpadded else usual


def _doubling(kernel: int, turned: bool) -> Choice:
    if not turned or kernel == 1 or kernel == 7:
        return (1, (kernel - 1) // 2, 0)
    if kernel == 25:  # WaveGAN's.
        return (4, 11, 1)
    return (2, (kernel - 2) // 2, 0) if kernel % 2 == 0 else (2, (kernel - 1) // 2, 1)


def _side(kernels: Sequence[tuple[int, bool]], chosen: Sequence[Choice], side: int) -> int:
    """The side of the image."""
    for (kernel, turned), (stride, padding, extra) in zip(kernels, chosen):
        if turned:
            side = (side - 1) * stride + kernel - 2 * padding + extra
        else:
            side = (side + 2 * padding - kernel) // stride + 1
    return side
