"""The checks of an inverter: latents that rebuild what it says, better than the average image, all else left alone."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import GeneratorSpec, encoded
from torch import Tensor

from ganenc.encoders import build_encoder
from ganenc.generators import Tuning
from ganenc.inversion import Inversion, Inverter
from ganenc.latents import Latents
from ganenc.objectives import MSE, NoAttention, Objective, context_for
from ganenc.testing.checks import declare, expect, fail
from ganenc.testing.comparing import expect_close, expect_unchanged, seeded, shape_text, state_of
from ganenc.testing.examples import ExampleGenerator, conditional_spec, styled_spec
from ganenc.testing.learning import train_briefly
from ganenc.testing.subjects import Subject, built

__all__ = ["CHECKS", "InverterCase"]

STEPS = 12
TRAINING = 60


class InverterCase:
    """An inverter to check, on small generators with encoders that were trained for a moment.

    Args:
        subject: its class, or an inverter.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._done: dict[str, Inversion] = {}

    @cached_property
    def inverter(self) -> Inverter:
        """The inverter, with few steps where steps are an option of its."""
        value = self.subject.resolve()
        inverter = built(value, Inverter, self.context)
        if value is inverter or "steps" not in inverter.Options.model_fields:
            return inverter
        return type(inverter).of(self.context, steps=STEPS)

    @property
    def context(self) -> Context:
        """What it is built for."""
        return Context(generator=styled_spec())

    @cached_property
    def bench(self) -> Bench:
        """A generator with styles, a constant and noise, and its encoder."""
        return copy.deepcopy(_bench(styled_spec))

    @cached_property
    def classes(self) -> Bench:
        """A generator with classes, and its encoder."""
        return copy.deepcopy(_bench(conditional_spec))

    def invert(self, bench: Bench, **changes: Any) -> Inversion:
        """Invert the images of a bench; the same once for all checks where nothing is changed."""
        key = f"{bench.spec.layout}"
        if changes or key not in self._done:
            given: dict[str, Any] = {"labels": bench.labels, "objective": bench.objective, "seed": 1, **changes}
            images, inverter = given.pop("images", bench.images), given.pop("inverter", self.inverter)
            encoder = given.pop("encoder", bench.encoder)
            done: Inversion = inverter.invert(images, bench.generator, encoder, **given)
            if changes:
                return done
            self._done[key] = done
        return self._done[key]


class Bench:
    """A generator, an encoder that knows two of its images, and these images.

    Args:
        spec: of the generator.
    """

    def __init__(self, spec: GeneratorSpec) -> None:
        self.spec = spec
        self.generator = ExampleGenerator(spec).freeze()
        self.labels = torch.arange(2) if spec.classes else None
        self.objective = Objective(
            NoAttention(), {"mse": (1.0, MSE(context=context_for(generator=spec)))}
        ).requires_grad_(False)
        with torch.no_grad():
            self.images = self.generator.synthesize(self.generator.sample(2, seed=3, labels=self.labels))
        with seeded():
            self.encoder = build_encoder(self.generator)
        train_briefly(self.generator, self.encoder, self.labels, steps=TRAINING)
        self.encoder.eval()

    def error(self, images: Tensor) -> float:
        """The mean square error of the rebuilt images."""
        return float((images - self.images).square().mean())


@functools.cache
def _bench(spec: Callable[[], GeneratorSpec]) -> Bench:
    """A bench that every case copies, as its encoder takes seconds to train."""
    return Bench(spec())


def builds_by_its_options(case: InverterCase) -> None:
    """It builds with its default options."""
    assert case.inverter is not None


def inversion_is_whole(case: InverterCase) -> None:
    """It gives an Inversion with latents, images, history and seconds of every photo."""
    for bench in (case.bench, case.classes):
        done = case.invert(bench)
        expect(isinstance(done, Inversion), f"invert gives a {type(done).__name__}, where an Inversion is expected.")
        found = (len(done.latents), shape_text(done.reconstructions.shape))
        fits = found == (2, shape_text(bench.images.shape))
        expect(fits, f"Two photos give {found[0]} latents and images {found[1]}; give one of each for every photo.")
        lacking = [part.name for part in encoded(bench.spec.layout) if part.name not in done.latents]
        expect(
            not lacking, f"The latents lack part {lacking[:1]}; finish with generator.complete(latents, labels=...)."
        )
        for what, rows in (("history", done.history), ("seconds", done.seconds)):
            expect(len(rows) == 2, f"{what} is of {len(rows)} photos, where 2 are inverted; give one entry for each.")
        sound = all(isinstance(row, Mapping) and "step" in row for rows in done.history for row in rows)
        expect(sound, "A row of the history has no `step`; give step and the terms of the objective by name.")


def latents_rebuild_the_reconstructions(case: InverterCase) -> None:
    """The latents that it gives are those of the images that it gives, and neither takes a gradient."""
    for bench in (case.bench, case.classes):
        done = case.invert(bench)
        with torch.no_grad():
            again = torch.cat([_again(bench, *done.sample(place)) for place in range(2)])
        mend = "synthesize the reconstructions from the latents that are returned"
        expect_close(done.reconstructions, again, f"Its latents give images that differ by {{by}} from its own; {mend}")
        bound = done.reconstructions.requires_grad or any(one.requires_grad for one in done.latents.tensors.values())
        expect(not bound, "What it returns still takes a gradient; detach it, as it holds every step in memory.")


def _again(bench: Bench, latents: Latents, tuning: Tuning) -> Tensor:
    with bench.generator.tuned(tuning):
        return bench.generator.synthesize(latents)


def photos_come_nearer_than_the_average(case: InverterCase) -> None:
    """What it rebuilds is nearer to the photos than the generator's average image."""
    for bench in (case.bench, case.classes):
        center = bench.generator.center(labels=bench.labels)
        with torch.no_grad():
            average = bench.generator.synthesize(center.expand(2) if len(center) == 1 else center)
        found, known = bench.error(case.invert(bench).reconstructions), bench.error(average)
        expect(
            found < known,
            f"The mean square error is {found:.3g}, that of the average image {known:.3g}; see that it moves towards"
            " the photos.",
        )


def same_seed_gives_the_same_latents(case: InverterCase) -> None:
    """The same photos and seed give the same latents, whatever torch's global seed is."""
    with seeded(5):
        one = case.invert(case.bench, seed=4)
    with seeded(6):
        other = case.invert(case.bench, seed=4)
    for name, tensor in one.latents.tensors.items():
        mend = "draw by the seed that is given"
        expect_close(other.latents[name], tensor, f"For one seed part {name!r} differs by {{by}}; {mend}")


def everything_given_stays(case: InverterCase) -> None:
    """The photos, the weights of the generator and of the encoder are as they were."""
    bench = case.bench
    encoder, images = copy.deepcopy(bench.encoder), bench.images.clone()
    before = [{**state_of(one), "training": {}, "gradient": {}} for one in (bench.generator, encoder)]
    case.invert(bench, images=images, encoder=encoder)
    expect(torch.equal(images, bench.images), "It changes the photos in place; work on a copy.")
    expect_unchanged(bench.generator, before[0], "It, given a generator,")
    expect_unchanged(encoder, before[1], "It, given an encoder,")
    awake = bench.generator.training or encoder.training
    expect(not awake, "It leaves a network in train mode; put the generator and the encoder into eval mode.")


def labels_are_kept(case: InverterCase) -> None:
    """A condition is the embedding of the label that is given, unless the method frees it."""
    bench = case.classes
    done = case.invert(bench)
    assert bench.labels is not None
    mend = "hand labels to generator.complete()"
    expect_close(
        done.latents["c"], bench.generator.embed(bench.labels), f"The condition is off its class by {{by}}; {mend}"
    )


def needs_are_declared(case: InverterCase) -> None:
    """It works without an encoder unless it declares `needs_encoder`, and without an objective or `needs_objective`."""
    lacking: dict[str, bool] = {"encoder": case.inverter.needs_encoder, "objective": case.inverter.needs_objective}
    for what in (what for what, needed in lacking.items() if not needed):
        mend = f"declare `needs_{what} = True`, or go without"
        try:
            done = case.invert(case.bench, **{what: None})
        except Exception as error:
            fail(f"Without an {what} it raises {type(error).__name__}: {error}; {mend}.")
        expect(len(done.latents) == 2, f"Without an {what} it gives no latents; {mend}.")


def one_photo_is_enough(case: InverterCase) -> None:
    """A single photo is inverted."""
    done = case.invert(case.bench, images=case.bench.images[:1])
    fits = len(done.latents) == 1 and len(done.reconstructions) == 1
    expect(
        fits, f"One photo gives {len(done.latents)} latents and {len(done.reconstructions)} images, not one of each."
    )


def steps_are_told_in_order(case: InverterCase) -> None:
    """on_step is called, if at all, with photos from 0, steps from 1 that grow, and the terms as numbers."""
    told: list[tuple[int, int, int]] = []

    def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
        told.append((photo, step, steps))
        numbers = all(isinstance(value, float | int) for value in terms.values())
        expect(numbers, f"on_step is told the terms {terms}, where numbers are expected; use float(term.mean()).")

    case.invert(case.bench, on_step=on_step)
    sound = all(0 <= photo < 2 and 1 <= step <= steps for photo, step, steps in told)
    expect(sound, f"on_step is told (photo, step, steps) {told[:3]}; count photos from 0 and steps from 1 to steps.")
    expect(told == sorted(told), "on_step is told steps out of order; go from photo to photo and step to step.")


def settings_are_plain_data(case: InverterCase) -> None:
    """The settings of an inversion can be written as JSON."""
    settings = case.invert(case.bench).settings
    try:
        json.dumps(settings)
    except (TypeError, ValueError) as error:
        fail(f"The settings cannot be written as JSON ({error}); keep names, numbers and lists.")


def settings_replay_it(case: InverterCase) -> None:
    """Built anew of its options and the settings of an inversion, it gives the same latents."""
    done, kind = case.invert(case.bench, seed=4), type(case.inverter)
    options = {**case.inverter.options.to_mapping(), **done.settings}
    mend = "settings are its own options as they came out, and no more"
    try:
        again = kind.of(case.context, **options)
    except GanencError as error:
        fail(f"It cannot be built of its settings ({error}); {mend}.")
    same = case.invert(case.bench, seed=4, inverter=again).latents
    for name, tensor in done.latents.tensors.items():
        expect_close(same[name], tensor, f"Built of its settings it gives {name!r} that differs by {{by}}; {mend}")


CHECKS = (
    *declare("inverter", builds_by_its_options, gate=True),
    *declare(
        "inverter",
        inversion_is_whole,
        latents_rebuild_the_reconstructions,
        photos_come_nearer_than_the_average,
        same_seed_gives_the_same_latents,
        everything_given_stays,
        labels_are_kept,
        needs_are_declared,
        one_photo_is_enough,
        steps_are_told_in_order,
        settings_are_plain_data,
        settings_replay_it,
    ),
)
