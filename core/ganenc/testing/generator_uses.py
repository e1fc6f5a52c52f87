"""The checks of what a generator is for: latents on disk, gradients, its encoder, its model folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from ganenc_registry import registry
from ganenc_registry.specs import EncoderSpec, Styles, encoded

from ganenc import save_pretrained
from ganenc.encoders import build_encoder
from ganenc.latents import Latents
from ganenc.models import build_with_weights, load_generator, model_hash
from ganenc.testing.checks import declare, expect, fail
from ganenc.testing.comparing import expect_close, expect_gradient, perturbed, seeded, shape_text
from ganenc.testing.generator_case import EXACT, GeneratorCase
from ganenc.testing.learning import expect_learning

__all__ = ["CHECKS"]


def latents_come_back_from_disk(case: GeneratorCase) -> None:
    """Latents written to disk and read again give the same pixels."""
    generator = case.fresh()
    latents = case.latents(generator, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "latents.safetensors"
        latents.save(path, model=model_hash(generator))
        back = Latents.load(path, model=model_hash(generator), device=generator.device)
    same = back.layout == latents.layout and back.space == latents.space and set(back.tensors) == set(latents.tensors)
    expect(same, f"Latents {latents} come back from disk as {back}; keep to the layout of the spec.")
    with torch.no_grad():
        one, other = generator.synthesize(latents), generator.synthesize(back)
    mend = "let synthesize look at the tensors of its latents alone"
    expect_close(other, one, f"Latents from disk give pixels that differ by {{by}}; {mend}", tolerance=EXACT)


def gradients_reach_every_part(case: GeneratorCase) -> None:
    """Images are differentiable with respect to every part that an encoder predicts, and every layer of styles."""
    generator = case.fresh()
    latents = case.latents(generator, 2)
    leaves = {p.name: latents[p.name].detach().clone().requires_grad_() for p in encoded(case.spec.layout)}
    images = generator.synthesize(latents.replace(**leaves))
    if not images.requires_grad:
        fail("Images are cut off from the latents, so no encoder can learn; run synthesize without no_grad and detach.")
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
    gradients = torch.autograd.grad((images * weights).sum(), list(leaves.values()), allow_unused=True)
    for part, gradient in zip(encoded(case.spec.layout), gradients):
        mend = "let synthesize use it by differentiable steps, or take it out of the layout"
        expect_gradient(gradient, f"part {part.name!r}", mend)
        if isinstance(part, Styles) and gradient is not None:
            expect(
                not bool(gradient[:, list(part.idle)].any()),
                f"Layers {list(part.idle)} of part {part.name!r} are said to be idle, and images change with them; take"
                " those that are used out of `idle`.",
            )
            for layer in sorted({*range(part.layers)} - {*part.idle}):
                expect_gradient(
                    gradient[:, layer], f"layer {layer} of part {part.name!r}", "set `layers` to those used"
                )


def center_is_the_mean_image(case: GeneratorCase) -> None:
    """The mean latents are one complete sample, without gradient, that gives an image."""
    generator = case.fresh()
    center = generator.center(labels=case.labels(1, generator))
    expect(len(center) == 1, f"center() gives {len(center)} samples, where one is expected; average over the draws.")
    lacking = [part.name for part in encoded(case.spec.layout) if part.name not in center]
    expect(not lacking, f"center() lacks part {lacking[:1]}; finish with self.complete(...).")
    bound = [name for name, tensor in center.tensors.items() if tensor.requires_grad]
    expect(not bound, f"center() takes a gradient in {bound[:1]}; compute it under no_grad.")
    with torch.no_grad():
        image = generator.synthesize(center)
    expect(image.isfinite().all(), "The image of center() holds NaN or infinity; average finite draws.")


def its_encoder_mirrors_it(case: GeneratorCase) -> None:
    """The encoder that mirrors it builds, and what it predicts is what synthesize takes."""
    generator = case.fresh()
    spec = EncoderSpec.mirror(case.spec)
    expect(EncoderSpec.from_json(spec.to_json()) == spec, "The mirrored EncoderSpec comes back changed from JSON.")
    with seeded():
        encoder = build_encoder(generator).eval()
    labels = case.labels(2, generator)
    with torch.no_grad():
        images = generator.synthesize(case.latents(generator, 2))
        predicted = encoder(images.float(), labels=labels)
        again = generator.synthesize(generator.complete(predicted.to(generator.dtype), labels=labels))
    wanted = {part.name for part in encoded(case.spec.layout)}
    expect(set(predicted.tensors) == wanted, f"Its encoder predicts {sorted(predicted.tensors)}, not {sorted(wanted)}.")
    expect(
        again.shape == images.shape and again.isfinite().all(),
        f"Predicted latents give images {shape_text(again.shape)} that are not those of samples; take any values of"
        " the layout's shapes.",
    )


def its_encoder_learns(case: GeneratorCase) -> None:
    """A few steps of training lower the loss of its mirrored encoder."""
    generator = case.fresh()
    with seeded():
        encoder = build_encoder(generator)
    expect_learning(generator, encoder, case.labels(2, generator), case.name)


def saved_and_loaded_gives_the_same_pixels(case: GeneratorCase) -> None:
    """Written to a model folder and read again, it gives the same pixels."""
    generator = perturbed(case.fresh(), size=0.01)
    latents = case.latents(generator, 2)
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(generator, folder)
        known = _is_registered(case)
        loaded = load_generator(folder) if known else build_with_weights(case.rebuilt, Path(folder)).freeze()
    expect(loaded.spec == case.spec, f"{case.name} is read back with another spec; keep the one that is given.")
    with torch.no_grad():
        one, other = generator.synthesize(latents), loaded.synthesize(latents)
    mend = "keep all that images depend on in parameters and persistent buffers"
    expect_close(other, one, f"Saved and loaded, it gives pixels that differ by {{by}}; {mend}", tolerance=EXACT)


def _is_registered(case: GeneratorCase) -> bool:
    """Whether loading by name builds it with the same class."""
    family = case.spec.family
    return family in registry().names("generator") and registry().resolve("generator", family) is case.family


CHECKS = declare(
    "generator",
    latents_come_back_from_disk,
    gradients_reach_every_part,
    center_is_the_mean_image,
    its_encoder_mirrors_it,
    its_encoder_learns,
    saved_and_loaded_gives_the_same_pixels,
)
