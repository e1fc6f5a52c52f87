"""The checks of a loss: one number a sample, nothing for equal images, more for worse ones, a gradient to follow."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from ganenc_registry.components import Context
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ganenc.images import Range, convert_range
from ganenc.objectives import Loss
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import (
    draw,
    expect_batch_is_apart,
    expect_close,
    expect_gradient,
    expect_runs_elsewhere,
    shape_text,
    tensors_in,
)
from ganenc.testing.examples import ExampleBackbone, styled_spec
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "LossCase"]

SIZES = ((16, 16), (21, 13), (9, 40))
STEPS = 20


class LossCase:
    """A loss to check, built as an objective builds it, on a small backbone where it takes one.

    Args:
        subject: the class of the loss, or a loss.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.asked = False

    @cached_property
    def loss(self) -> Loss:
        """The loss of images from -1 to 1."""
        return self.of_range((-1.0, 1.0))

    @property
    def is_built(self) -> bool:
        """Whether it came built, so that it cannot be built for another range."""
        return isinstance(self.subject.resolve(), Loss)

    def of_range(self, value_range: Range) -> Loss:
        """The loss of images of some range."""
        value = self.subject.resolve()
        if isinstance(value, Loss):
            return value
        return built(value, Loss, Context(styled_spec(), value_range, load_backbone=self._backbone))

    def _backbone(self) -> ExampleBackbone:
        self.asked = True
        return ExampleBackbone().freeze()

    def images(self, n: int = 3, *, channels: int = 3, size: tuple[int, int] = SIZES[0], seed: int = 0) -> Tensor:
        """Images (n, channels, *size) within the range of the loss."""
        low, high = self.loss.value_range
        return draw(n, channels, *size, seed=seed, low=0.8 * low + 0.2 * high, high=0.2 * low + 0.8 * high)

    def values(self, view: Tensor, target: Tensor, loss: Loss | None = None) -> Tensor:
        """The loss (N,) of a view against a target."""
        loss = loss or self.loss
        values: Tensor = loss(view, loss.prepare(target))
        return values


def builds_as_an_objective_builds_it(case: LossCase) -> None:
    """An objective can build it of its default options; it says if it needs a backbone, and nothing in it trains."""
    wrong = [name for name, weight in case.loss.named_parameters() if weight.requires_grad]
    expect(not wrong, f"The loss has a weight that trains, {wrong[:1]}; keep it as a buffer, as nothing trains it.")
    said = case.loss.needs_backbone or not case.asked
    expect(
        said, "The loss asks for the backbone without saying so; set needs_backbone = True, as some models have none."
    )


def one_number_a_sample(case: LossCase) -> None:
    """It gives finite numbers (N,) for colour and grey images of any size, and float64 for float64."""
    for size in SIZES:
        for channels in (1, 3):
            target = case.images(channels=channels, size=size)
            values = case.values(case.images(channels=channels, size=size, seed=1), target)
            what = f"For images {shape_text(target.shape)}"
            expect(
                tuple(values.shape) == (3,),
                f"{what} the loss has shape {shape_text(values.shape)}, where (3,) is expected; average each sample.",
            )
            expect(values.isfinite().all(), f"{what} the loss holds NaN or infinity; guard what it divides by.")
            expect(values.dtype == torch.float32, f"{what} the loss is {values.dtype}; float32 is expected.")


def equal_images_cost_nothing(case: LossCase) -> None:
    """Equal images have the loss 0, with a finite gradient."""
    target = case.images()
    view = target.clone().requires_grad_()
    values = case.values(view, target)
    largest = float(values.detach().abs().max())
    expect(largest < 1e-3, f"Equal images have a loss of {largest:.3g}, where 0 is expected; measure a distance.")
    if values.requires_grad:
        (gradient,) = torch.autograd.grad(values.sum(), view, allow_unused=True)
        finite = gradient is None or gradient.isfinite().all()
        expect(finite, "For equal images the gradient holds NaN or infinity; add a little under a square root.")


def worse_images_cost_more(case: LossCase) -> None:
    """The loss is above 0 for other images, and grows with the noise on them."""
    target, noise = case.images(), case.images(seed=4) - case.images(seed=8)
    costs = [float(case.values(target + share * noise, target).mean()) for share in (0.05, 0.2, 0.8)]
    told = ", ".join(f"{cost:.3g}" for cost in costs)
    expect(
        0 < costs[0] < costs[1] < costs[2],
        f"With more and more noise on the image the loss is {told}, where it should grow from above 0; see its sign.",
    )


def gradient_goes_to_the_view_alone(case: LossCase) -> None:
    """The gradient reaches the view, and the reference of the target takes none."""
    target = case.images().requires_grad_()
    view = case.images(seed=1).requires_grad_()
    reference = case.loss.prepare(target)
    bound = any(tensor.requires_grad for tensor in tensors_in(reference))
    expect(not bound, "The reference of a target takes a gradient; run prepare under torch.no_grad().")
    values = case.loss(view, reference)
    if not values.requires_grad:
        fail("The loss is cut off from the view, so nothing can learn from it; run forward without no_grad and detach.")
    gradient = torch.autograd.grad(values.sum(), view, allow_unused=True)[0]
    expect_gradient(gradient, "the view", "use all of it")


def following_the_gradient_lowers_it(case: LossCase) -> None:
    """A few steps along its gradient lower it."""
    target = case.images()
    image = case.images(seed=1).requires_grad_()
    reference, low_high = case.loss.prepare(target), case.loss.value_range
    adam = torch.optim.Adam([image], lr=0.02 * (low_high[1] - low_high[0]))
    costs = []
    for _ in range(STEPS):
        cost = case.loss(image, reference).mean()
        costs.append(float(cost.detach()))
        adam.zero_grad()
        cost.backward()
        adam.step()
    least, nothing = min(costs), float(case.values(target, target).mean())
    expect(
        costs[0] - least > 0.1 * (costs[0] - nothing),
        f"{STEPS} steps along its gradient bring the loss from {costs[0]:.3g} to {least:.3g}, where it should near"
        f" that of equal images, {nothing:.3g}; see that the gradient is that of what forward computes.",
    )


def samples_do_not_mix(case: LossCase) -> None:
    """A sample costs alone what it costs in a batch, and its reference can be picked from a batch's."""
    target, view = case.images(), case.images(seed=1)
    whole = case.loss.prepare(target)

    def run(picked: Tensor) -> Tensor:
        return case.values(view[picked], target[picked])

    with torch.no_grad():
        expect_batch_is_apart(run, torch.arange(3), "The loss")
        picked = tree_map_only(Tensor, lambda tensor: tensor[1:2], whole)
        found, wanted = case.loss(view[1:2], picked), case.loss(view, whole)[1:2]
    mend = "make the sample the first dimension of every tensor in the reference"
    expect_close(found, wanted, f"With its part of a batch's reference a sample costs {{by}} more or less; {mend}")


def range_changes_nothing(case: LossCase) -> None:
    """Built for images from 0 to 1, it gives the same for the same images."""
    if case.is_built:
        skip("it came built, for one range")
    target, view = case.images(), case.images(seed=1)
    wanted = case.values(view, target)
    for value_range in ((0.0, 1.0), (0.0, 255.0)):
        moved = [convert_range(images, (-1.0, 1.0), value_range) for images in (view, target)]
        found = case.values(moved[0], moved[1], case.of_range(value_range))
        mend = "convert_range() the images from self.value_range"
        expect_close(found, wanted, f"For images of the range {value_range} the loss differs by {{by}}; {mend}")


def calls_change_nothing(case: LossCase) -> None:
    """The same images cost the same twice, and stay as they are."""
    target, view = case.images(), case.images(seed=1)
    kept = [target.clone(), view.clone()]
    with torch.no_grad():
        reference = case.loss.prepare(target)
        one, other = case.loss(view, reference), case.loss(view, reference)
    expect_close(other, one, "The second time the same view costs {by} more or less; leave the reference as it is")
    same = torch.equal(target, kept[0]) and torch.equal(view, kept[1])
    expect(same, "The loss changes its images in place; work on a copy, as other losses see them too.")


def device_follows_the_images(case: LossCase) -> None:
    """Moved to another device, it works there."""
    target, view = case.images(), case.images(seed=1)
    loss = case.loss if case.is_built else case.of_range((-1.0, 1.0))

    def run(moved: Any, device: torch.device) -> Any:
        return moved(view.to(device), moved.prepare(target.to(device)))

    expect_runs_elsewhere(loss, run, "The loss")


CHECKS = (
    *declare("loss", builds_as_an_objective_builds_it, gate=True),
    *declare(
        "loss",
        one_number_a_sample,
        equal_images_cost_nothing,
        worse_images_cost_more,
        gradient_goes_to_the_view_alone,
        following_the_gradient_lowers_it,
        samples_do_not_mix,
        range_changes_nothing,
        calls_change_nothing,
        device_follows_the_images,
    ),
)
