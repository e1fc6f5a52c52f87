"""The checks of an attention: the whole image first, views of one shape, differentiable, the same for both images."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from ganenc_registry.components import Context
from torch import Tensor

from ganenc.images import Range
from ganenc.objectives import MSE, Attention, Objective, View, pictures
from ganenc.testing.checks import declare, expect, fail
from ganenc.testing.comparing import draw, expect_close, expect_gradient, shape_text, tensors_in, told
from ganenc.testing.examples import ExampleBackbone, styled_spec
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "AttentionCase"]

SIZES = ((16, 16), (21, 13), (9, 40))


class AttentionCase:
    """An attention to check, built as an objective builds it, on a small backbone where it takes one.

    Args:
        subject: the class of the attention, or an attention.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def attention(self) -> Attention:
        """The attention of images from -1 to 1."""
        return self.of_range((-1.0, 1.0))

    def of_range(self, value_range: Range) -> Attention:
        """The attention of images of some range."""
        value = self.subject.resolve()
        if isinstance(value, Attention):
            return value
        return built(value, Attention, Context(styled_spec(), value_range, load_backbone=ExampleBackbone().freeze))

    def images(self, n: int = 3, *, channels: int = 3, size: tuple[int, int] = SIZES[0], seed: int = 0) -> Tensor:
        """Images (n, channels, *size) from -1 to 1."""
        return draw(n, channels, *size, seed=seed)

    def views(self, image: Tensor, target: Tensor) -> list[View]:
        """The views of an image where its target directs them."""
        with torch.no_grad():
            focus = self.attention.prepare(target)
        return self.attention.views(image, focus)


def builds_as_an_objective_builds_it(case: AttentionCase) -> None:
    """An objective can build it of its default options."""
    assert case.attention is not None


def first_view_is_the_whole_image(case: AttentionCase) -> None:
    """The first view is the image itself, under the name image, with weight 1."""
    image = case.images()
    views = case.views(image, image)
    wrong = [type(view).__name__ for view in views if not isinstance(view, View)]
    expect(views and not wrong, f"views() gives {wrong or 'nothing'}, where a list of ganenc.View is expected.")
    first = views[0]
    named = first.name == "image" and first.weight == 1.0
    expect(named, f"The first view is {first.name!r} of weight {first.weight}; put View('image', 1.0, image) first.")
    expect_close(first.image, image, "The first view differs from the image by {by}; put the image itself first")


def views_have_one_shape(case: AttentionCase) -> None:
    """All views have the shape of the image, for colour, grey and RGBA of any size, and names and weights each."""
    for size in SIZES:
        for channels in (1, 3, 4):
            image = case.images(2, channels=channels, size=size)
            views = case.views(image, image)
            for view in views:
                fits = view.image.shape == image.shape and view.image.dtype == image.dtype
                found = f"{shape_text(view.image.shape)} of {view.image.dtype}"
                expect(
                    fits, f"View {view.name!r} of images {shape_text(image.shape)} is {found}; resize to the image's."
                )
                expect(
                    view.image.isfinite().all(), f"View {view.name!r} holds NaN or infinity; guard what it divides by."
                )
                sound = isinstance(view.weight, int | float) and math.isfinite(view.weight) and view.weight >= 0
                expect(sound, f"View {view.name!r} has weight {view.weight!r}; give a number of 0 or more.")
            names = [view.name for view in views]
            expect(
                len(set(names)) == len(names), f"Two views share a name, {names}; terms go by it, so give each its own."
            )


def views_are_differentiable(case: AttentionCase) -> None:
    """The gradient of every view reaches the image, and what the target calls for takes none."""
    target = case.images()
    image = case.images(seed=1).requires_grad_()
    with torch.no_grad():
        focus = case.attention.prepare(target.clone())
    bound = any(tensor.requires_grad for tensor in tensors_in(focus))
    expect(not bound, "What prepare() returns takes a gradient; detach it, as targets do not learn.")
    for view in case.attention.views(image, focus):
        if not view.image.requires_grad:
            fail(f"View {view.name!r} is cut off from the image, so nothing can learn from it; detach no images.")
        gradient = torch.autograd.grad(view.image.sum(), image, allow_unused=True)[0]
        expect_gradient(gradient, f"the image from view {view.name!r}", "let every view show a part of it")


def equal_images_have_equal_views(case: AttentionCase) -> None:
    """The target and a reconstruction that equals it are looked at alike, so they cost nothing."""
    image = case.images()
    kept = image.clone()
    with torch.no_grad():
        focus = case.attention.prepare(image)
        pairs = zip(case.attention.views(image, focus), case.attention.views(image.clone(), focus), strict=True)
    for one, other in pairs:
        expect_close(
            other.image, one.image, f"View {one.name!r} of equal images differs by {{by}}; draw nothing in views()"
        )
    expect(torch.equal(image, kept), "The images are changed in place; work on a copy, as losses see them too.")


def samples_do_not_mix(case: AttentionCase) -> None:
    """One target of a batch, picked from what was prepared, has the views it has alone."""
    objective = Objective(case.attention, {"mse": (1.0, MSE())})
    target, image = case.images(), case.images(seed=1)
    with torch.no_grad():
        whole = objective.prepare(target)
        batch = objective(image, whole)
        try:
            picked = objective(image[1:2], whole.select([1]))
        except Exception as error:
            fail(
                f"What prepare() returns cannot be picked by sample ({told(error)}); return tensors whose first"
                " dimension is the sample, in tuples, lists or mappings."
            )
        alone = objective(image[1:2], objective.prepare(target[1:2]))
    for name, term in batch.terms.items():
        mend = "make the sample the first dimension of what prepare() returns"
        expect_close(picked.terms[name][0], term[1], f"Picked from a batch, {name} differs by {{by}}; {mend}")
        mend = "let the samples of a batch not weigh on one another"
        expect_close(alone.terms[name][0], term[1], f"Alone, {name} differs by {{by}} from in a batch; {mend}")


def regions_and_pictures_fit_the_target(case: AttentionCase) -> None:
    """The region that it names lies within the target, and its pictures have the target's size."""
    image = case.images(2)
    with torch.no_grad():
        focus = case.attention.prepare(image)
        region, shown = case.attention.region(image, focus), pictures(case.attention, image, focus)
    for name, picture in shown.items():
        fits = picture.ndim == 4 and len(picture) == 2 and picture.shape[-2:] == image.shape[-2:]
        found = shape_text(picture.shape)
        expect(fits, f"The picture {name!r} of two images {shape_text(image.shape)} is {found}; give one of each size.")
    if region is None:
        return
    expect(tuple(region.shape) == (2, 4), f"The region of two images is {shape_text(region.shape)}, not (2, 4).")
    start, extent = region[:, :2], region[:, 2:]
    whole = torch.tensor(image.shape[-2:]).to(region)
    inside = (start >= -0.5).all() and (extent > 0).all() and (start + extent <= whole + 0.5).all()
    expect(inside, f"The region {region[0].tolist()} leaves the image; give top, left, height and width in its pixels.")


def unknown_context_is_ignored(case: AttentionCase) -> None:
    """What prepare() is told besides and does not know, it ignores."""
    image = case.images()
    with torch.no_grad():
        case.attention.prepare(image, labels=None, something_of_another_plugin=1)


def it_keeps_no_weights_that_train(case: AttentionCase) -> None:
    """It has no weights that train, and what it prepares is the same twice."""
    image = case.images()
    with torch.no_grad():
        one, other = (list(tensors_in(case.attention.prepare(image.clone()))) for _ in range(2))
    expect(len(one) == len(other), "prepare() returns other things the second time; keep no state in it.")
    for a, b in zip(one, other):
        expect_close(b.float(), a.float(), "What prepare() returns differs by {by} the second time; draw nothing in it")
    if isinstance(case.attention, torch.nn.Module):
        wrong = [name for name, weight in case.attention.named_parameters() if weight.requires_grad]
        expect(not wrong, f"It has a weight that trains, {wrong[:1]}; freeze() its network, as nothing trains it.")


CHECKS = (
    *declare("attention", builds_as_an_objective_builds_it, gate=True),
    *declare(
        "attention",
        first_view_is_the_whole_image,
        views_have_one_shape,
        views_are_differentiable,
        equal_images_have_equal_views,
        samples_do_not_mix,
        regions_and_pictures_fit_the_target,
        unknown_context_is_ignored,
        it_keeps_no_weights_that_train,
    ),
)
