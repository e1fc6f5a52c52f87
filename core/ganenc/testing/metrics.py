"""The checks of a metric: best for equal images, worse for worse ones, each pair by itself, the same at any range."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from ganenc_registry.components import Context
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


class MetricCase:
    """A metric to check, on a small backbone where it needs one.

    Args:
        subject: its class, or a metric that is built.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def metric(self) -> Metric:
        """The metric of images from -1 to 1, built with its default options."""
        return self.of_range((-1.0, 1.0))

    def of_range(self, value_range: Range) -> Metric:
        """The metric of images of some range."""
        value = self.subject.resolve()
        context = Context(value_range=value_range, load_backbone=lambda: ExampleBackbone().freeze())
        if isinstance(value, Metric):
            return type(value)(value.options, context)
        if not (isinstance(value, type) and issubclass(value, Metric)):
            fail(f"It is {value!r}, where a subclass of ganenc.Metric is expected; make it one.")
        return value(None, context)

    def measure(
        self, a: Tensor, b: Tensor, *, metric: Metric | None = None, region: Tensor | None = None
    ) -> list[float]:
        """The numbers of the pairs, or the one of the sets in a list.

        Raises:
            CheckSkipped: if it needs weights that are not on this machine.
        """
        try:
            found = (metric or self.metric)(a, b, region=region)
        except WeightsMissingError:
            skip("its weights are not on this machine")
        return found if isinstance(found, list) else [found]

    def pair(self, *, channels: int = 3, size: tuple[int, int] = SIZES[0]) -> tuple[Tensor, Tensor]:
        """Two batches of images."""
        a = draw(COUNT, channels, *size)
        strength = torch.linspace(0.1, 0.5, COUNT)[:, None, None, None]
        return a, (a + strength * draw(COUNT, channels, *size, seed=4)).clamp(-1, 1)


def takes_two_batches_of_images(case: MetricCase) -> None:
    """It takes two batches of images, and says which of two numbers is the better one."""
    case.measure(*case.pair())
    said = isinstance(getattr(case.metric, "higher_is_better", None), bool)
    expect(said, "It does not say which of two numbers is better; set the class variable higher_is_better.")


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
    falls = case.metric.higher_is_better
    expect(
        sorted(values, reverse=falls) == values and values[0] != values[-1],
        f"With more and more noise it gives {text}, where it should {'fall' if falls else 'rise'} from equal images on;"
        " compare a and b, and see higher_is_better.",
    )


def pairs_do_not_mix(case: MetricCase) -> None:
    """A pair alone gives what it gives in a batch."""
    if case.metric.compares_sets:
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
        found = torch.tensor(case.measure(*moved, metric=case.of_range(value_range)))
        mend = "bring images to one scale by self.context.value_range"
        expect_close(found, wanted, f"In the range {value_range} it differs by {{by}}; {mend}", tolerance=0.02)


def region_alone_counts(case: MetricCase) -> None:
    """Where it takes a region, what lies outside hardly counts."""
    if not case.metric.within:
        skip("it takes no region")
    a = draw(1, 3, 32, 32)
    b = a + draw(1, 3, 32, 32, seed=3, low=-0.2, high=0.2)
    region = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[..., :16] = True
    worse = torch.where(region, b, -b)
    pairs = ((torch.where(region, b, a), region), (worse, region), (worse, None))
    one, other, whole = (case.measure(a, made, region=counted)[0] for made, counted in pairs)
    near = abs(one - other) <= 0.5 * abs(one - whole)
    expect(near, f"What lies outside its region counts: {one:.3g} becomes {other:.3g}; leave those pixels out.")


def other_shapes_are_refused(case: MetricCase) -> None:
    """Pairs of different shapes are told in a sentence."""
    if case.metric.compares_sets:
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
