"""The checks of an operator: what is seen of images, alike each time, sample by sample, with a gradient to follow."""

from __future__ import annotations

from functools import cached_property

import torch
from ganenc_registry.components import Context
from torch import Tensor

from ganenc.inversion import Operator
from ganenc.testing.checks import declare, expect
from ganenc.testing.comparing import (
    draw,
    expect_batch_is_apart,
    expect_close,
    expect_gradient,
    expect_runs_elsewhere,
    seeded,
    shape_text,
)
from ganenc.testing.examples import styled_spec
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "OperatorCase"]


class OperatorCase:
    """An operator to check.

    Args:
        subject: its class, or an operator.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def operator(self) -> Operator:
        """The operator, for images from -1 to 1."""
        return built(self.subject.resolve(), Operator, Context(styled_spec()))

    @property
    def images(self) -> Tensor:
        """Three images of the generator's."""
        return draw(3, styled_spec().channels, *styled_spec().size)


def builds_by_its_options(case: OperatorCase) -> None:
    """It builds with its default options, and nothing in it trains."""
    wrong = [name for name, weight in case.operator.named_parameters() if weight.requires_grad]
    expect(not wrong, f"The operator has a weight that trains, {wrong[:1]}; keep it as a buffer, as nothing trains it.")


def one_picture_a_sample(case: OperatorCase) -> None:
    """It gives finite pictures (N, C', H', W') in the dtype of the images, which stay as they are."""
    images = case.images
    for dtype in (torch.float32, torch.float64):
        seen = case.operator(images.to(dtype))
        fits = seen.ndim == 4 and len(seen) == len(images) and seen.dtype == dtype and bool(seen.isfinite().all())
        found = f"{shape_text(seen.shape)} of {seen.dtype}"
        expect(fits, f"For images {shape_text(images.shape)} of {dtype} it gives {found}; give a picture for each.")
    expect(torch.equal(images, case.images), "It changes the images in place; work on a copy.")


def picture_has_the_declared_size(case: OperatorCase) -> None:
    """What is seen has the channels of the images and the size that `seen_size` says, and the guess that of images."""
    images = case.images
    size = (images.shape[2], images.shape[3])
    declared, seen = (images.shape[1], *case.operator.seen_size(size)), case.operator(images)
    found = f"its pictures are {shape_text(seen.shape[1:])} where seen_size says {shape_text(declared)}"
    expect(
        tuple(seen.shape[1:]) == declared, f"Of images {shape_text(images.shape[1:])} {found}; declare what it gives."
    )
    guess = case.operator.guess(seen.detach(), size)
    found = f"{shape_text(guess.shape)} of {shape_text(images.shape)}"
    expect(guess.shape == images.shape, f"Its guess of the images is {found}; bring it to their size.")


def same_images_look_the_same(case: OperatorCase) -> None:
    """The same images give the same pictures, whatever torch's global seed is."""
    with seeded(5):
        one = case.operator(case.images)
    with seeded(6):
        other = case.operator(case.images)
    expect_close(other, one, "The same images give pictures that differ by {by}; draw what is drawn when it is built")


def samples_do_not_mix(case: OperatorCase) -> None:
    """A sample is seen alike alone and in a batch."""
    expect_batch_is_apart(case.operator, case.images, "The operator")


def gradient_reaches_the_images(case: OperatorCase) -> None:
    """A gradient goes through it to the images."""
    images = case.images.requires_grad_()
    (gradient,) = torch.autograd.grad(case.operator(images).square().sum(), images, allow_unused=True)
    expect_gradient(gradient, "The images", "keep to differentiable operations")


def device_follows_the_images(case: OperatorCase) -> None:
    """It runs where it is moved to."""
    expect_runs_elsewhere(case.operator, lambda operator, device: operator(case.images.to(device)), "The operator")


CHECKS = (
    *declare("operator", builds_by_its_options, gate=True),
    *declare(
        "operator",
        one_picture_a_sample,
        picture_has_the_declared_size,
        same_images_look_the_same,
        samples_do_not_mix,
        gradient_reaches_the_images,
        device_follows_the_images,
    ),
)
