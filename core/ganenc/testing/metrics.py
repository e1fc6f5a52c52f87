"""The checks of a metric: best for equal images, worse for worse ones, each pair by itself, the same at any range."""

from __future__ import annotations

import inspect
import math
from functools import cached_property
from typing import Any

import torch
from ganenc_registry.errors import GanencError, WeightsMissingError
from torch import Tensor

from ganenc.images import Range, convert_range
from ganenc.measures import Metric
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import draw, expect_close, told
from ganenc.testing.examples import ExampleBackbone
from ganenc.testing.subjects import Subject

__all__ = ["CHECKS", "MetricCase"]

SIZES = ((16, 16), (21, 13), (9, 40))
COUNT = 4
GIVEN = ("value_range", "backbone", "device")


class MetricCase:
    """A metric to check: ``metric(a, b, *, value_range, ...)``, numbers of pairs or one number of two sets.

    Args:
        subject: the function. One that names ``backbone`` is given a small one.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @property
    def function(self) -> Any:
        """What is checked."""
        return self.subject.resolve()

    @cached_property
    def metric(self) -> Metric:
        """The metric as an evaluation calls it."""
        if self.subject.contribution is not None:
            return Metric.named(self.subject.contribution.name)
        names = frozenset(inspect.signature(self.function).parameters) & frozenset(GIVEN)
        return Metric(self.subject.name, self.function, names)

    @cached_property
    def backbone(self) -> ExampleBackbone:
        """The network for those that take one."""
        return ExampleBackbone().freeze()

    def measure(self, a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0)) -> list[float]:
        """The numbers of the pairs, or the one of the sets in a list.

        Raises:
            CheckSkipped: if it needs weights that are not on this machine.
        """
        try:
            found = self.metric(a, b, value_range=value_range, backbone=self.backbone)
        except WeightsMissingError:
            skip("its weights are not on this machine")
        return found if isinstance(found, list) else [found]

    @cached_property
    def compares_sets(self) -> bool:
        """Whether it gives one number for all images."""
        a, b = self.pair()
        return not isinstance(self.metric(a, b, backbone=self.backbone), list)

    def pair(self, *, channels: int = 3, size: tuple[int, int] = SIZES[0]) -> tuple[Tensor, Tensor]:
        """Two batches of images."""
        a = draw(COUNT, channels, *size)
        strength = torch.linspace(0.1, 0.5, COUNT)[:, None, None, None]
        return a, (a + strength * draw(COUNT, channels, *size, seed=4)).clamp(-1, 1)


def takes_two_batches_of_images(case: MetricCase) -> None:
    """It takes two batches of images, and names nothing else that an evaluation does not give."""
    case.measure(*case.pair())


def numbers_are_finite(case: MetricCase) -> None:
    """It gives a number for each pair, or one for the sets, for colour and grey images of any size."""
    for size in SIZES:
        for channels in (1, 3):
            found = case.measure(*case.pair(channels=channels, size=size))
            what = f"Images of {size[0]}x{size[1]} with {channels} channel(s)"
            expect(all(map(math.isfinite, found)), f"{what} give {found}; guard what it divides by.")


def equal_images_are_best(case: MetricCase) -> None:
    """Equal images are the best there is, and more noise is never better."""
    images = draw(COUNT, 3, 16, 16)
    noise = torch.rand(images.shape, generator=torch.Generator().manual_seed(9)) * 2 - 1
    values = [case.measure(images, images + share * noise)[0] for share in (0.0, 0.1, 0.3, 0.9)]
    text = ", ".join(f"{value:.3g}" for value in values)
    falls, rises = sorted(values) == values, sorted(values, reverse=True) == values
    expect(
        (falls or rises) and values[0] != values[-1],
        f"With more and more noise it gives {text}, where it should go one way from equal images; compare a and b.",
    )


def pairs_do_not_mix(case: MetricCase) -> None:
    """A pair alone gives what it gives in a batch."""
    if case.compares_sets:
        skip("it compares sets as wholes")
    a, b = case.pair()
    alone, whole = torch.tensor(case.measure(a[1:2], b[1:2])), torch.tensor(case.measure(a, b)[1:2])
    expect_close(alone, whole, "A pair alone differs by {by} from in a batch; average within a pair")


def range_changes_nothing(case: MetricCase) -> None:
    """The same images in the range from 0 to 1 or to 255 give the same."""
    a, b = case.pair()
    wanted = torch.tensor(case.measure(a, b))
    for value_range in ((0.0, 1.0), (0.0, 255.0)):
        moved = [convert_range(images, (-1.0, 1.0), value_range) for images in (a, b)]
        found = torch.tensor(case.measure(*moved, value_range=value_range))
        mend = "bring images to one scale by value_range"
        expect_close(found, wanted, f"In the range {value_range} it differs by {{by}}; {mend}", tolerance=0.02)


def region_alone_counts(case: MetricCase) -> None:
    """Where it takes a region, what lies outside hardly counts."""
    function = case.function
    names = inspect.signature(function).parameters
    if "region" not in names:
        skip("it takes no region")
    options = {"backbone": case.backbone} if "backbone" in names else {}
    a = draw(1, 3, 32, 32)
    b = a + draw(1, 3, 32, 32, seed=3, low=-0.2, high=0.2)
    region = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[..., :16] = True
    worse = torch.where(region, b, -b)
    one = function(a, torch.where(region, b, a), region=region, **options)[0]
    other, whole = function(a, worse, region=region, **options)[0], function(a, worse, **options)[0]
    near = abs(one - other) <= 0.5 * abs(one - whole)
    expect(near, f"What lies outside its region counts: {one:.3g} becomes {other:.3g}; leave those pixels out.")


def other_shapes_are_refused(case: MetricCase) -> None:
    """Pairs of different shapes are told in a sentence."""
    if case.compares_sets:
        skip("it compares sets, which may differ")
    try:
        case.measure(draw(2, 3, 16, 16), draw(2, 3, 8, 8))
    except GanencError:
        return
    except Exception as error:
        fail(f"Images of two shapes raise {told(error)}; raise an ImageError that names both.")
    fail("Images of two shapes are taken; raise an ImageError that names both.")


def calls_change_nothing(case: MetricCase) -> None:
    """The same images give the same twice, stay as they are, and may take a gradient."""
    a, b = case.pair()
    kept = [a.clone(), b.clone()]
    one, other = case.measure(a, b), case.measure(a, b)
    expect(one == other, f"The same pairs give {one} and then {other}; draw nothing and keep no state.")
    same = torch.equal(a, kept[0]) and torch.equal(b, kept[1])
    expect(same, "It changes its images in place; work on a copy.")
    case.measure(a.requires_grad_(), b)


CHECKS = (
    *declare("metric", takes_two_batches_of_images, gate=True),
    *declare(
        "metric",
        numbers_are_finite,
        equal_images_are_best,
        pairs_do_not_mix,
        range_changes_nothing,
        region_alone_counts,
        other_shapes_are_refused,
        calls_change_nothing,
    ),
)
