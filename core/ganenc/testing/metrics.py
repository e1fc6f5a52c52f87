"""The checks of a metric: one number an image, best for equal images, worse for worse ones, the same at any range."""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from ganenc_registry.errors import GanencError
from torch import Tensor

from ganenc.images import Range, convert_range
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import draw, expect_close
from ganenc.testing.examples import ExampleBackbone
from ganenc.testing.subjects import Subject

__all__ = ["CHECKS", "MetricCase"]

SIZES = ((16, 16), (21, 13), (9, 40))


class MetricCase:
    """A metric to check: ``metric(a, b, *, value_range, ...) -> [N numbers]``.

    Args:
        subject: the function. One that names ``backbone`` is given a small one.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    def measure(self, a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0), **options: Any) -> list[float]:
        """The numbers of N pairs of images."""
        metric = self.subject.resolve()
        if "backbone" in inspect.signature(metric).parameters:
            options["backbone"] = ExampleBackbone().freeze()
        found: list[float] = metric(a, b, value_range=value_range, **options)
        return found

    def pair(self, *, channels: int = 3, size: tuple[int, int] = SIZES[0]) -> tuple[Tensor, Tensor]:
        """Two batches of three images."""
        a = draw(3, channels, *size)
        return a, (a + draw(3, channels, *size, seed=4, low=-0.3, high=0.3)).clamp(-1, 1)


def takes_two_batches_of_images(case: MetricCase) -> None:
    """It takes two batches of images and their value_range."""
    found = case.measure(*case.pair())
    expect(
        isinstance(found, list), f"It gives a {type(found).__name__}, where a list of floats is expected; use tolist()."
    )


def one_number_an_image(case: MetricCase) -> None:
    """It gives one float for each pair, for colour and grey images of any size."""
    for size in SIZES:
        for channels in (1, 3):
            found = case.measure(*case.pair(channels=channels, size=size))
            fits = len(found) == 3 and all(isinstance(one, float) for one in found)
            expect(fits, f"Three pairs of {size[0]}x{size[1]} give {found}, where three floats are expected.")
            expect(not any(map(math.isnan, found)), f"Pairs of {size[0]}x{size[1]} give {found}; guard divisions.")


def equal_images_are_best(case: MetricCase) -> None:
    """Equal images are the best there is, and more noise is never better."""
    image, noise = draw(1, 3, 16, 16), draw(1, 3, 16, 16, seed=9)
    values = [case.measure(image, ((1 - share) * image + share * noise))[0] for share in (0.0, 0.1, 0.4, 0.9)]
    told = ", ".join(f"{value:.3g}" for value in values)
    falls, rises = sorted(values) == values, sorted(values, reverse=True) == values
    expect(
        (falls or rises) and values[0] != values[-1],
        f"With more and more noise it gives {told}, where it should go one way from equal images; compare a and b.",
    )


def samples_do_not_mix(case: MetricCase) -> None:
    """A pair alone gives what it gives in a batch."""
    a, b = case.pair()
    whole, alone = case.measure(a, b), case.measure(a[1:2], b[1:2])
    expect(len(alone) == 1, f"One pair gives {len(alone)} numbers; give one for each.")
    expect_close(torch.tensor(alone), torch.tensor(whole[1:2]), "A pair alone differs by {by}; average within a pair")


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
    """Where it takes a region, what lies outside does not count."""
    if "region" not in inspect.signature(case.subject.resolve()).parameters:
        skip("it takes no region")
    a = draw(1, 3, 32, 32)
    b = a + draw(1, 3, 32, 32, seed=3, low=-0.2, high=0.2)
    region = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[..., :16] = True
    worse = torch.where(region, b, -b)
    one, other = case.measure(a, torch.where(region, b, a), region=region), case.measure(a, worse, region=region)
    whole = case.measure(a, worse)
    near = abs(one[0] - other[0]) <= 0.5 * abs(one[0] - whole[0])
    expect(near, f"Outside its region it counts: {one[0]:.3g} against {other[0]:.3g}; leave those pixels out.")


def other_shapes_are_refused(case: MetricCase) -> None:
    """Batches of different shapes are told in a sentence."""
    try:
        case.measure(draw(2, 3, 16, 16), draw(2, 3, 8, 8))
    except GanencError:
        return
    except Exception as error:
        fail(f"Images of two shapes raise {type(error).__name__}: {error}; raise an ImageError that names both.")
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
        one_number_an_image,
        equal_images_are_best,
        samples_do_not_mix,
        range_changes_nothing,
        region_alone_counts,
        other_shapes_are_refused,
        calls_change_nothing,
    ),
)
