"""What a run finds out of a generator before it starts, from a few of its images. Not in paper."""

from __future__ import annotations

import warnings

import torch
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc.generators.generator import Generator

_IMAGES = 2
"""How many are made: a network that mixes up memory formats may do well with one."""


@torch.no_grad()
def examine(generator: Generator) -> None:
    """Make a few images of a frozen generator, and warn if its range of values is not what it declares."""
    complaint = range_complaint(generator.synthesize(generator.sample(_IMAGES)), generator.spec)
    if complaint:
        warnings.warn(complaint, stacklevel=4)


def range_complaint(images: Tensor, spec: GeneratorSpec) -> str:
    """Tell if images (N, C, H, W) can hardly be in the range of values that a spec declares: they go beyond it by more
    than half its width, or not one value is darker than its middle. Empty if they can."""
    low, high = spec.value_range
    darkest, lightest = (float(value) for value in torch.aminmax(images.detach().float()))
    margin = (high - low) / 2
    beyond = darkest < low - margin or lightest > high + margin
    if not beyond and darkest < low + 0.98 * margin:
        return ""
    return (
        f"{spec.family} declares values from {low:g} to {high:g}, and its images hold {darkest:.2f} to {lightest:.2f}:"
        " unless it is untrained, declare the values of black and white as value_range in its GeneratorSpec."
    )
