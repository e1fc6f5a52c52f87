"""The checks of a generator: does its spec tell the truth, and are its images what the spec says, wherever it runs?"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch
from ganenc_registry import registry
from ganenc_registry.specs import GeneratorSpec, encoded
from torch import Tensor

from ganenc.foreign import Checkpoint, Container
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.testing import generator_draws, generator_uses
from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import (
    expect_batch_is_apart,
    expect_close,
    expect_runs_elsewhere,
    expect_unchanged,
    shape_text,
    state_of,
    told,
)
from ganenc.testing.generator_case import GeneratorCase

__all__ = ["CHECKS", "GeneratorCase"]

RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
"""What black and white usually are."""
FAR = 10.0
"""By so much latents are taken too far, to see where images end."""


def builds_from_its_spec(case: GeneratorCase) -> None:
    """A spec alone builds it, twice alike, with weights that train."""
    first = case.built
    expect(
        isinstance(first.spec, GeneratorSpec),
        f"{case.name} has the spec {first.spec!r}, where a GeneratorSpec is expected; hand one to super().__init__.",
    )
    again = case.rebuilt()
    shapes = [{name: tuple(tensor.shape) for name, tensor in one.state_dict().items()} for one in (first, again)]
    expect(shapes[0] == shapes[1], f"{case.name} built twice from one spec has other tensors; let the spec decide.")
    still = [name for name, one in again.named_parameters() if one.is_floating_point() and not one.requires_grad]
    expect(not still, f"{case.name} is built with {still[:1]} frozen; build trainable weights, as freeze() freezes.")


def spec_comes_back_from_json_and_yaml(case: GeneratorCase) -> None:
    """The same spec comes back from JSON and YAML."""
    for way, text in (("json", case.spec.to_json()), ("yaml", case.spec.to_yaml())):
        back = getattr(GeneratorSpec, f"from_{way}")(text)
        expect(
            back == case.spec, f"The spec of {case.name} comes back changed from {way.upper()}; keep plain data in it."
        )


def spec_names_its_family(case: GeneratorCase) -> None:
    """The spec's family is the name it is registered under, by which saved models find it."""
    family, names = case.spec.family, registry().names("generator")
    if case.subject.contribution is not None:
        name = case.subject.contribution.name
        expect(family == name, f"The spec says family {family!r}, but {name!r} is registered; set family={name!r}.")
    elif family not in names:
        skip(f"{family!r} is not registered, so models of it can be saved but not loaded by name")
    else:
        own, other = type(case.built), registry().resolve("generator", family)
        expect(
            other is own or not isinstance(other, type), f"The family {family!r} is registered as {other!r}; rename."
        )


def images_have_the_shape_of_the_spec(case: GeneratorCase) -> None:
    """Images are finite numbers (N, channels, height, width)."""
    generator = case.fresh()
    with torch.no_grad():
        images = generator.synthesize(case.latents(generator))
    wanted = (3, case.spec.channels, *case.spec.size)
    expect(
        tuple(images.shape) == wanted,
        f"Three samples give images {shape_text(images.shape)}, but the spec says {shape_text(wanted)}; set size and"
        " channels in the spec to what synthesize gives.",
    )
    expect(images.isfinite().all(), f"The images of {case.name} hold NaN or infinity; find the layer that overflows.")


def images_keep_to_the_value_range(case: GeneratorCase) -> None:
    """Black and white are where the spec's value_range has them."""
    generator, (low, high) = case.fresh(), case.spec.value_range
    latents, parts = case.latents(generator, 8), [part.name for part in encoded(case.spec.layout)]
    with torch.no_grad():
        usual = generator.synthesize(latents)
        far = generator.synthesize(latents.replace(**{n: latents[n] * FAR for n in parts if n in latents}))
    lowest, highest = (float(pick(torch.cat([usual, far]))) for pick in (torch.min, torch.max))
    for dark, light in RANGES:
        slack = (light - dark) / 10
        ends = abs(lowest - dark) <= slack and abs(highest - light) <= slack
        expect(
            not ends or (dark, light) == (low, high) or (low <= dark and light <= high and (high - low) < 2 * light),
            f"Images run from {lowest:.2g} to {highest:.2g} however far latents go, but the spec's value_range is"
            f" ({low:g}, {high:g}); set value_range=({dark:g}, {light:g}).",
        )
    margin = (high - low) / 2
    outside = float(((usual < low - margin) | (usual > high + margin)).float().mean())
    expect(
        outside < 0.5,
        f"{outside:.0%} of the pixels lie far outside the spec's value_range ({low:g}, {high:g}), from"
        f" {float(usual.min()):.2g} to {float(usual.max()):.2g}; set value_range to the values of black and white.",
    )


def dtype_follows_the_weights(case: GeneratorCase) -> None:
    """In double precision it draws and gives double precision, and the same images."""
    generator, double = case.fresh(), case.fresh().double()
    with torch.no_grad():
        single = generator.synthesize(case.latents(generator, 2))
        latents = case.latents(double, 2)
        images = double.synthesize(latents)
    expect(
        single.dtype == generator.dtype, f"The weights are {generator.dtype}, the images {single.dtype}; cast nothing."
    )
    expect(
        images.dtype == torch.float64,
        f"The weights are torch.float64, but the images are {images.dtype}; cast latents to self.dtype, and"
        " nothing to a fixed dtype.",
    )
    mend = "compute in the dtype of the weights"
    expect_close(images.float(), single, f"In double precision the images differ by {{by}}; {mend}", tolerance=0.02)


def device_follows_the_weights(case: GeneratorCase) -> None:
    """Moved to another device, it works there."""
    generator = case.fresh()
    latents = case.latents(generator, 2)
    expect_runs_elsewhere(generator, lambda one, device: generator.synthesize(latents.to(device)), case.name)


def one_image_as_in_a_batch(case: GeneratorCase) -> None:
    """A sample alone gives the image that it gives in a batch."""
    generator = case.fresh()
    latents = case.latents(generator)

    def run(picked: Tensor) -> Tensor:
        return generator.synthesize(latents[picked])

    with torch.no_grad():
        expect_batch_is_apart(run, torch.arange(3), "The image")


def calls_change_nothing(case: GeneratorCase) -> None:
    """Frozen, it stays as it is when it draws and synthesizes, and leaves its latents as they are."""
    generator = case.fresh()
    latents = case.latents(generator)
    kept, before = latents.clone(), state_of(generator)
    with torch.no_grad():
        generator.sample(3, seed=2, labels=case.labels(3, generator))
        generator.synthesize(latents)
        generator.synthesize(latents)
    expect_unchanged(generator, before, f"A call of {case.name}")
    for name, tensor in kept.tensors.items():
        same = torch.equal(latents[name], tensor)
        expect(same, f"synthesize changed part {name!r} of the latents in place; work on a copy.")


def alternatives_are_the_same(case: GeneratorCase) -> None:
    """Whichever of its alternatives it takes, images and their gradient are the same, to rounding."""
    generator = case.fresh()
    if not generator.alternatives:
        skip("it declares no alternatives")
    latents = case.latents(generator, 2)
    for name, ways in generator.alternatives.items():
        first, *others = (_differentiated(generator.choose(**{name: way}), latents) for way in ways)
        for way, found in zip(ways[1:], others, strict=True):
            for what, one, other in zip(("images", "gradients"), found, first, strict=True):
                apart = f"With {name}={way!r} the {what} of {case.name} differ by {{by}} from those with {ways[0]!r}"
                expect_close(one, other, f"{apart}; let alternatives differ by rounding alone")


def _differentiated(generator: Generator, latents: Latents) -> tuple[Tensor, Tensor]:
    """Images, and the gradient of their squares to what moves, in one row."""
    given = {name: one.detach().requires_grad_() for name, one in latents.tensors.items() if one.is_floating_point()}
    images = generator.synthesize(latents.replace(**given))
    found = torch.autograd.grad(images.square().sum(), [*given.values()], allow_unused=True)
    return images.detach(), torch.cat([one.flatten() for one in found if one is not None])


def claims_no_foreign_file(case: GeneratorCase) -> None:
    """Asked whether a file of something else is its own, it says no."""
    family = type(case.built)
    for container in get_args(Container):
        tensors = {"some.other.weight": torch.ones(3, 2)}
        file = Checkpoint(Path("other"), container, tensors, {"note": "of another program"})
        try:
            claimed = family.recognises(file)
        except Exception as error:
            fail(f"recognises() raises {told(error)} for a foreign {container} file; return False for those.")
        expect(
            claimed is False, f"recognises() gives {claimed!r} for a foreign {container} file; look for names of yours."
        )


CHECKS = (
    *declare("generator", builds_from_its_spec, gate=True),
    *declare(
        "generator",
        spec_comes_back_from_json_and_yaml,
        spec_names_its_family,
        images_have_the_shape_of_the_spec,
        images_keep_to_the_value_range,
        one_image_as_in_a_batch,
        calls_change_nothing,
        dtype_follows_the_weights,
        device_follows_the_weights,
        alternatives_are_the_same,
        claims_no_foreign_file,
    ),
    *generator_draws.CHECKS,
    *generator_uses.CHECKS,
)
