"""The checks of an aligner: a transform of the right sizes that lies in the photo, comes back, and can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError, WeightsMissingError
from torch import Tensor

from ganenc.inversion import Aligner, Transform
from ganenc.testing.checks import declare, expect, skip
from ganenc.testing.comparing import draw, shape_text
from ganenc.testing.examples import ExampleBackbone, styled_spec
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "AlignerCase"]

PHOTOS = ((3, 40, 64), (1, 70, 33), (3, 16, 16))
SIZES = ((16, 16), (20, 12))


class AlignerCase:
    """An aligner to check.

    Args:
        subject: its class, or an aligner.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def aligner(self) -> Aligner:
        """The aligner."""
        context = Context(styled_spec(), load_backbone=ExampleBackbone().freeze)
        return built(self.subject.resolve(), Aligner, context)

    def found(self) -> Iterator[tuple[Tensor, tuple[int, int], Transform]]:
        """A photo, the size of a generator's image, and the transform between them."""
        for channels, height, width in PHOTOS:
            for size in SIZES:
                photo = draw(1, channels, height, width)[0]
                yield photo, size, self.transform(photo, size)

    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        """Where the image lies in a photo.

        Raises:
            CheckSkipped: if it needs weights that are not on this machine, or finds nothing in a photo of nothing.
        """
        try:
            return self.aligner.transform(photo, size, **context)
        except WeightsMissingError:
            skip("its weights are not on this machine")
        except ImageError as error:
            skip(f"it finds nothing in a made-up photo: {error}")


def builds_by_its_options(case: AlignerCase) -> None:
    """It builds with its default options, and takes a photo."""
    case.transform(draw(1, *PHOTOS[0])[0], SIZES[0])


def transform_has_both_sizes(case: AlignerCase) -> None:
    """It gives a Transform from the photo's size to that of the generator's image."""
    for photo, size, found in case.found():
        expect(isinstance(found, Transform), f"It gives a {type(found).__name__}, where a Transform is expected.")
        told = (found.size, found.photo_size)
        wanted = (size, tuple(photo.shape[-2:]))
        expect(told == wanted, f"Its transform is of sizes {told}, asked for {wanted}; take both as they are given.")
        image = found.apply(photo)
        fits = tuple(image.shape) == (len(photo), *size) and bool(image.isfinite().all())
        expect(fits, f"Applied, it gives {shape_text(image.shape)}, or values that are not finite; see its matrix.")


def transform_touches_the_photo(case: AlignerCase) -> None:
    """The image that it cuts out lies in the photo, at least with its middle."""
    for photo, _, found in case.found():
        x, y = (sum(places) / 4 for places in zip(*found.corners(), strict=True))
        inside = 0 <= x <= photo.shape[-1] and 0 <= y <= photo.shape[-2]
        expect(
            inside, f"The middle of its image lies at ({x:.1f}, {y:.1f}), outside a photo {shape_text(photo.shape)}."
        )


def transform_comes_back_from_json(case: AlignerCase) -> None:
    """The transform comes back from JSON."""
    for _, _, found in case.found():
        expect(Transform.from_json(found.to_json()) == found, "Its transform comes back changed from JSON.")


def transform_can_be_undone(case: AlignerCase) -> None:
    """Put back where it was cut out, the image leaves a photo of the photo's size."""
    for photo, _, found in case.found():
        whole = found.undo(found.apply(photo), photo)
        sound = whole.shape == photo.shape and bool(whole.isfinite().all())
        expect(sound, f"Undone, a photo {shape_text(photo.shape)} becomes {shape_text(whole.shape)}; see its matrix.")


def same_photo_lies_the_same_twice(case: AlignerCase) -> None:
    """The same photo gives the same transform twice, told its name or not, and stays as it is."""
    photo = draw(1, 3, 40, 64)[0]
    kept = photo.clone()
    one = case.transform(photo, SIZES[0])
    other = case.transform(photo, SIZES[0], name="photo.jpg")
    near = torch.allclose(torch.tensor(one.matrix), torch.tensor(other.matrix), atol=1e-4)
    expect(near, f"The same photo gives {one.matrix} and then {other.matrix}; draw nothing.")
    expect(torch.equal(photo, kept), "It changes the photo in place; work on a copy.")


CHECKS = (
    *declare("aligner", builds_by_its_options, gate=True),
    *declare(
        "aligner",
        transform_has_both_sizes,
        transform_touches_the_photo,
        transform_comes_back_from_json,
        transform_can_be_undone,
        same_photo_lies_the_same_twice,
    ),
)
