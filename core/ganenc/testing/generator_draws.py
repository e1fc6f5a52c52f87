"""The checks of what a generator draws: samples by seed, labels, truncation, noise."""

from __future__ import annotations

import torch
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import Condition, Noise, Styles, encoded

from ganenc.testing.checks import declare, expect, fail, skip
from ganenc.testing.comparing import draw, expect_close, seeded, shape_text, told
from ganenc.testing.generator_case import EXACT, GeneratorCase

__all__ = ["CHECKS"]


def same_seed_gives_the_same_samples(case: GeneratorCase) -> None:
    """A seed fixes the samples, wherever in a batch they are drawn, and another seed gives others."""
    generator = case.fresh()
    with torch.no_grad():
        with seeded(1):
            one = generator.sample(3, seed=5)
        with seeded(2):
            again = generator.sample(3, seed=5)
        later, other = generator.sample(1, seed=5, first=2), generator.sample(3, seed=6)
    for name, tensor in one.tensors.items():
        mend = "draw with draw() and draw_labels(), and nothing from torch's global state"
        expect_close(again[name], tensor, f"Part {name!r} differs by {{by}} for one seed; {mend}", tolerance=EXACT)
        expect_close(later[name], tensor[2:], f"Sample 3 of a seed differs by {{by}} when drawn alone; {mend}")
    differ = any(not torch.equal(tensor, one[name]) for name, tensor in other.tensors.items())
    expect(differ, f"{case.name} draws the same samples for two seeds; hand the seed on to draw().")


def same_latents_give_the_same_pixels(case: GeneratorCase) -> None:
    """The same latents give the same pixels twice, whatever torch's global seed is."""
    generator = case.fresh()
    drawn = generator.sample(2, seed=1, labels=case.labels(2, generator))
    images = []
    for seed in (1, 2):
        with torch.no_grad(), seeded(seed):
            images.append(generator.synthesize(drawn))
    mend = "take stored noise for noise='const', and switch dropout off in eval mode"
    expect_close(images[1], images[0], f"The same latents give pixels that differ by {{by}}; {mend}", tolerance=EXACT)


def noise_is_taken_as_asked(case: GeneratorCase) -> None:
    """Noise may be const, random, none, a seed, or maps given to synthesize or held by the latents."""
    generator = case.fresh()
    latents = case.latents(generator, 2)
    part = next((one for one in case.spec.layout if isinstance(one, Noise)), None)
    with torch.no_grad():
        made = {str(noise): generator.synthesize(latents, noise=noise) for noise in ("const", "random", "none", 3)}
        again = generator.synthesize(latents, noise=3)
        for noise, images in made.items():
            found = shape_text(images.shape)
            expect(images.shape == again.shape, f"noise={noise!r} gives images {found}; it must not change shapes.")
        mend = "seed a torch.Generator of your own with it"
        expect_close(again, made["3"], f"The noise seed 3 gives pixels that differ by {{by}}; {mend}", tolerance=EXACT)
        if part is None:
            mend = "add the part Noise to the layout, or draw nothing"
            expect_close(
                made["random"], made["const"], f"There is no noise, yet noise='random' differs by {{by}}; {mend}"
            )
            return
        maps = [draw(2, *shape, seed=index).to(made["3"]) for index, shape in enumerate(part.shapes)]
        held = latents.replace(**{f"{part.name}.{index}": one for index, one in enumerate(maps)})
        given, kept = generator.synthesize(latents, noise=maps), generator.synthesize(held)
    mend = "look at latents.noise() first"
    expect_close(kept, given, f"Noise maps held by latents give pixels that differ by {{by}} from given ones; {mend}")


def latents_fit_the_layout(case: GeneratorCase) -> None:
    """Samples have the spec's layout, and with the generator's own values every part that images take."""
    generator = case.fresh()
    drawn = generator.sample(2, seed=1, labels=case.labels(2, generator))
    expect(
        drawn.layout == case.spec.layout, f"{case.name} draws latents of another layout; hand spec.layout to Latents."
    )
    whole = generator.complete(drawn)
    missing = [part.name for part in encoded(case.spec.layout) if part.name not in whole]
    expect(
        not missing,
        f"Samples lack part {missing[:1]} of the layout; give it in map(), or a Map of its own in default().",
    )
    expect(len(whole) == 2, f"Two samples are asked for, and the latents hold {len(whole)}; keep the first dimension.")


def truncation_acts_as_the_spec_says(case: GeneratorCase) -> None:
    """Truncation pulls styles to their mean, or scales the prior, or does nothing, as spec.truncation has it."""
    generator, kind = case.fresh(), case.spec.truncation
    labels = case.labels(1, generator)
    labels = None if labels is None else labels.expand(2)
    with torch.no_grad():
        usual = generator.sample(2, seed=1, labels=labels)
        try:
            none = generator.sample(2, seed=1, labels=labels, truncation=0.0)
        except GanencError:
            if kind == "none":  # Which is refused.
                return
            raise
    for part in encoded(case.spec.layout):
        if part.name not in usual or isinstance(part, Condition):
            continue
        a, b = none[part.name]
        if kind == "styles" and isinstance(part, Styles):
            mend = "interpolate to the mean style in map()"
            expect_close(a, b, f"At truncation 0 two styles {part.name!r} differ by {{by}}; {mend}")
        elif kind == "none":
            mend = "leave truncation out of map(), or set spec.truncation"
            expect_close(none[part.name], usual[part.name], f"Truncation changes {part.name!r} by {{by}}; {mend}")
        elif kind == "prior":
            mend = "let sample() scale z"
            expect_close(a, b, f"At truncation 0 of the prior two {part.name!r} differ by {{by}}; {mend}")


def labels_are_integers_or_rows(case: GeneratorCase) -> None:
    """Labels may be int64 (N,) or rows (N, classes), and a class changes what is drawn."""
    generator, classes = case.fresh(), case.spec.classes
    if not classes:
        skip("it has no classes")
    integers = torch.arange(3) % classes
    rows = torch.eye(classes)[integers].to(generator.dtype)
    with torch.no_grad():
        one, other = (generator.sample(3, seed=1, labels=labels) for labels in (integers, rows))
        same = generator.sample(3, seed=1, labels=torch.zeros_like(integers))
    for name, tensor in one.tensors.items():
        expect_close(other[name], tensor, f"Rows give {name!r} that differs by {{by}} from integers; use label_rows()")
    changed = any(not torch.equal(tensor, same[name]) for name, tensor in one.tensors.items())
    expect(classes < 2 or changed, f"{case.name} draws the same latents for every class; use the labels in map().")


def unknown_classes_are_refused(case: GeneratorCase) -> None:
    """A class that is not there is told in a sentence."""
    generator = case.fresh()
    if not case.spec.classes:
        skip("it has no classes")
    try:
        with torch.no_grad():
            labels = torch.tensor([case.spec.classes])
            if any(isinstance(part, Condition) for part in case.spec.layout):
                generator.embed(labels)
            else:
                generator.synthesize(generator.map(generator.draw(1), labels=labels))
    except GanencError:
        return
    except Exception as error:
        fail(f"A class that is not there raises {told(error)}; turn labels to rows by self.label_rows(labels).")
    fail(f"Class {case.spec.classes} is not there, yet it is taken; turn labels to rows by self.label_rows(labels).")


CHECKS = declare(
    "generator",
    latents_fit_the_layout,
    same_seed_gives_the_same_samples,
    same_latents_give_the_same_pixels,
    noise_is_taken_as_asked,
    truncation_acts_as_the_spec_says,
    labels_are_integers_or_rows,
    unknown_classes_are_refused,
)
