"""The checks of a backbone: features and logits of one pass, frozen for good, differentiable with respect to images."""

from __future__ import annotations

import copy
from functools import cached_property

import torch
from ganenc_registry.components import Context
from torch import Tensor, nn

from ganenc.objectives import Backbone, BackboneOutput
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import (
    draw,
    expect_batch_is_apart,
    expect_close,
    expect_gradient,
    expect_runs_elsewhere,
    expect_unchanged,
    shape_text,
    state_of,
)
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "BackboneCase"]


class BackboneCase:
    """A backbone to check, built without arguments.

    Args:
        subject: its class, or a backbone.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone, frozen."""
        value = self.subject.resolve()
        if isinstance(value, Backbone):
            return copy.deepcopy(value).freeze()
        if isinstance(value, type) and issubclass(value, Backbone) and not value.available():
            skip("its weights are not on this machine")
        return built(value, Backbone, Context()).freeze()

    def images(self, n: int = 2, *, seed: int = 0) -> Tensor:
        """Images (n, 3, H, W) from -1 to 1 as the backbone takes them."""
        side = self.backbone.smallest
        return self.backbone.fit(draw(n, 3, side, side + 4, seed=seed))

    def run(self, images: Tensor) -> BackboneOutput:
        """One pass."""
        found: BackboneOutput = self.backbone(images)
        return found


def builds_without_arguments(case: BackboneCase) -> None:
    """It builds without arguments, and says what it is."""
    backbone = case.backbone
    for attribute, kind in (("name", str), ("classes", int), ("smallest", int)):
        found = getattr(backbone, attribute, None)
        expect(
            isinstance(found, kind), f"It has {attribute} {found!r}; set {attribute} to {kind.__name__} in its class."
        )
    there = hasattr(backbone, "last_convolution")
    expect(there, "It has no `last_convolution`; set the module that Grad-CAM looks at in __init__, or None.")


def name_is_the_registered_one(case: BackboneCase) -> None:
    """Distances carry its name, so it is the name that it is registered under."""
    if case.subject.contribution is None:
        skip("it is not registered")
    name, own = case.subject.contribution.name, case.backbone.name
    expect(name == own, f"It is registered as {name!r} but called {own!r}, which reports name; set name = {name!r}.")


def features_are_maps(case: BackboneCase) -> None:
    """A pass gives a BackboneOutput whose features are finite maps (N, C, h, w)."""
    output = case.run(case.images())
    good = isinstance(output, BackboneOutput)
    expect(good, f"forward gives a {type(output).__name__}, where a BackboneOutput is expected; return one.")
    expect(output.features, "A pass gives no features, of which LPIPS is made; return those of some layers.")
    for index, feature in enumerate(output.features):
        found = shape_text(feature.shape)
        expect(feature.ndim == 4 and len(feature) == 2, f"Feature {index} of two images is {found}, not (2, C, h, w).")
        expect(feature.isfinite().all(), f"Feature {index} holds NaN or infinity; check the weights.")


def logits_fit_the_classes(case: BackboneCase) -> None:
    """The logits are (N, classes), or None where there are no classes."""
    logits, classes = case.run(case.images()).logits, case.backbone.classes
    found = None if logits is None else tuple(logits.shape)
    wanted = (2, classes) if classes else None
    expect(
        found == wanted, f"Two images have logits {found}, but classes = {classes} asks for {wanted}; make them fit."
    )


def any_image_is_fitted(case: BackboneCase) -> None:
    """Grey, small and long images are brought to what it takes."""
    for channels, height, width in ((1, 8, 8), (2, 16, 16), (4, 16, 40), (3, 70, 33)):
        images = case.backbone.fit(draw(1, channels, height, width))
        expect(images.shape[1] == 3, f"fit() leaves {images.shape[1]} channels; bring images to three.")
        with torch.no_grad():
            features = case.run(images).features
        sound = all(feature.isfinite().all() and feature.numel() for feature in features)
        expect(sound, f"Images of {height}x{width} give empty features or NaN; raise `smallest` to what it needs.")


def last_convolution_is_used(case: BackboneCase) -> None:
    """The last convolution is a module that a pass runs, whose maps the logits depend on."""
    module = case.backbone.last_convolution
    if module is None:
        skip("it has none, so Grad-CAM cannot look through it")
    inside = any(one is module for one in case.backbone.modules())
    expect(inside, "`last_convolution` is no module of this backbone; set it to the one that forward runs.")
    maps: list[Tensor] = []

    def keep(_: nn.Module, __: object, found: Tensor) -> None:
        maps.append(found)

    handle = module.register_forward_hook(keep)
    try:
        logits = case.run(case.images().requires_grad_()).logits
    finally:
        handle.remove()
    expect(maps and maps[-1].ndim == 4, "A pass does not run `last_convolution`, or its output is no map (N, C, h, w).")
    if logits is not None:
        gradient = torch.autograd.grad(logits.sum(), maps[-1], allow_unused=True)[0]
        mend = "name a convolution that they come from, and follow it by nothing that works in place"
        expect_gradient(gradient, "the maps of `last_convolution` from the logits", mend)


def frozen_stays_frozen(case: BackboneCase) -> None:
    """Once frozen it stays in eval mode, takes no weight gradients, and a pass leaves it as it is."""
    backbone = case.backbone
    before = state_of(backbone)
    with torch.no_grad():
        case.run(case.images()).logits  # noqa: B018
    expect_unchanged(backbone, before, "A pass")
    backbone.train()
    in_training = [name for name, one in backbone.named_modules() if one.training]
    expect(not in_training, f"After freeze(), train() switches {in_training[:1]} on; leave train() to Backbone.")
    learning = [name for name, weight in backbone.named_parameters() if weight.requires_grad]
    expect(not learning, f"After freeze(), {learning[:1]} takes a gradient; leave requires_grad to freeze().")


def gradient_reaches_the_images(case: BackboneCase) -> None:
    """Features and logits are differentiable with respect to images."""
    images = case.images().requires_grad_()
    output = case.run(images)
    outputs = {f"feature {index}": one for index, one in enumerate(output.features)}
    if output.logits is not None:
        outputs["the logits"] = output.logits
    for what, one in outputs.items():
        if not one.requires_grad:
            fail(f"From {what} no gradient goes back to the images; run forward without no_grad and detach.")
        total = (one * draw(*one.shape, seed=3)).sum()
        gradient = torch.autograd.grad(total, images, retain_graph=True, allow_unused=True)[0]
        expect_gradient(gradient, f"the images from {what}", "compute it from them")


def samples_do_not_mix(case: BackboneCase) -> None:
    """An image alone gives what it gives in a batch, twice the same, and stays as it is."""
    images = case.images(3)
    kept = images.clone()
    with torch.no_grad():
        for index in range(len(case.run(images).features)):
            expect_batch_is_apart(lambda some, index=index: case.run(some).features[index], images, f"Feature {index}")  # type: ignore[misc]
        one, other = (case.run(images).features[-1] for _ in range(2))
    expect_close(other, one, "The last feature differs by {by} the second time; draw nothing")
    expect(torch.equal(images, kept), "The images are changed in place; work on a copy, as others see them too.")


def linear_weights_fit_the_features(case: BackboneCase) -> None:
    """The linear weights, where there are any, are one of 0 or more for each channel of each feature."""
    weights = case.backbone.linear_weights()
    if weights is None:
        skip("it has none, so all channels weigh the same")
    features = case.run(case.images()).features
    found, wanted = [tuple(one.shape) for one in weights], [(one.shape[1],) for one in features]
    expect(
        found == wanted, f"The linear weights have shapes {found}, the features ask for {wanted}; give one a channel."
    )
    expect(all(bool((one >= 0).all()) for one in weights), "A linear weight is below 0, so LPIPS is no distance.")


def device_follows_the_weights(case: BackboneCase) -> None:
    """Moved to another device, it works there."""
    images = case.images()

    def run(moved: nn.Module, device: torch.device) -> list[Tensor]:
        features: list[Tensor] = moved(images.to(device)).features
        return features

    expect_runs_elsewhere(copy.deepcopy(case.backbone), run, "The backbone")


CHECKS = (
    *declare("backbone", builds_without_arguments, gate=True),
    *declare(
        "backbone",
        name_is_the_registered_one,
        features_are_maps,
        logits_fit_the_classes,
        any_image_is_fitted,
        last_convolution_is_used,
        frozen_stays_frozen,
        gradient_reaches_the_images,
        samples_do_not_mix,
        linear_weights_fit_the_features,
        device_follows_the_weights,
    ),
)
