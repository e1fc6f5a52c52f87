"""Whether the photo or the encoder is at fault: the error on generated images beside that on the photo."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.measures.metric import mean_std
from ganenc.measures.pairs import psnr

WEAK = 2.0
"""Under so many dB above the mean image, an encoder has learned little."""
SPREAD = 3.0
"""From so many standard deviations below generated images on, a photo counts as unlike what the generator makes: so do
1% of those that each shipped generator makes itself, and 99% of photos that are upside down, shifted or negatives."""
GAP = 2.5
"""But only if it lies so many dB below them,"""
LEAST = 1.0
"""or if one pass rebuilds it less than so many dB better than the mean image does."""
GAIN = 1.0
"""From so many dB on, another alignment of a photo is worth a hint."""

_BATCH = 8

HELD_OUT = 1 << 40
"""A place in the stream of draws that no training reaches."""


@dataclass(frozen=True)
class Baseline:
    """One pass of an encoder on images that the generator makes: what it can do at its best. Not in paper.

    ``psnr`` is the mean PSNR of ``count`` images and their reconstructions, in dB, ``values`` are each one's where they
    are known, and ``mean_psnr`` is that of the images and the generator's ``mean_image``: what no encoder at all would
    reach. ``image`` is one of them and ``reconstruction`` its own, all (C, H, W).
    """

    psnr: float
    mean_psnr: float
    count: int
    image: Tensor = field(repr=False)
    reconstruction: Tensor = field(repr=False)
    mean_image: Tensor = field(repr=False)
    values: tuple[float, ...] = ()

    @property
    def deviation(self) -> float:
        """The standard deviation of the values, in dB; 0 where there are not two."""
        return mean_std(self.values)[1]


@dataclass(frozen=True)
class DomainCheck:
    """A baseline, beside the PSNR in dB of the photo with one pass of the encoder, with the generator's mean image,
    and, by name, of one pass on the same photo under other alignments."""

    baseline: Baseline
    photo_psnr: float
    photo_mean_psnr: float
    aligned: Mapping[str, float] = field(default_factory=dict)

    @property
    def deviations(self) -> float:
        """By how many standard deviations of the generated images the photo lies below their mean; nan if unknown."""
        deviation = self.baseline.deviation
        return (self.baseline.psnr - self.photo_psnr) / deviation if deviation else math.nan

    @property
    def weak(self) -> bool:
        """Whether the encoder has learned too little to judge any photo by."""
        return self.baseline.psnr - self.baseline.mean_psnr < WEAK

    @property
    def far(self) -> bool:
        """Whether the photo is unlike what the generator makes."""
        if self.weak or self.deviations < SPREAD:
            return False
        return self.baseline.psnr - self.photo_psnr >= GAP or self.photo_psnr - self.photo_mean_psnr < LEAST

    @property
    def hint(self) -> str | None:
        """The alignment that clearly lowers the error of one pass most, if there is one."""
        best = max(self.aligned, key=lambda name: self.aligned[name], default=None)
        return best if best is not None and self.aligned[best] - self.photo_psnr >= GAIN else None


@dataclass(frozen=True)
class Verdict:
    """What the numbers say, in plain words."""

    mark: Literal["good", "warn", "bad"]
    headline: str
    text: str


@torch.no_grad()
def measure_baseline(generator: Generator, encoder: Encoder, *, count: int = 16, seed: int = 0) -> Baseline:
    """Encode ``count`` images that the generator makes, once each, and rebuild them; the encoder is as it is before any
    photo, and a run that trains draws from other places of the stream ``seed``."""
    mean = generator.synthesize(generator.center())
    value_range = generator.spec.value_range
    values: list[float] = []
    mean_values: list[float] = []
    kept: list[Tensor] = []
    for first in range(0, count, _BATCH):
        some, place = min(_BATCH, count - first), HELD_OUT + first
        labels = generator.draw_labels(some, seed=seed, first=place)
        images = generator.synthesize(generator.sample(some, seed=seed, labels=labels, first=place))
        rebuilt = one_pass(images, generator, encoder, labels=labels)
        values += psnr(images, rebuilt, value_range=value_range)
        mean_values += psnr(images, mean.expand_as(images), value_range=value_range)
        kept = kept or [images[0].cpu(), rebuilt[0].cpu()]
    own, base = mean_std(values)[0], mean_std(mean_values)[0]
    return Baseline(own, base, count, kept[0], kept[1], mean[0].cpu(), tuple(values))


@torch.no_grad()
def one_pass(images: Tensor, generator: Generator, encoder: Encoder, *, labels: Tensor | None = None) -> Tensor:
    """Images (N, C, H, W), in the generator's range and on its device => what one pass of the encoder, as it is, makes
    of them. The encoder comes back in the mode it was in."""
    was_training = encoder.training
    encoder.eval()
    try:
        made = generator.synthesize(generator.complete(encoder(images, labels=labels), labels=labels))
    finally:
        encoder.train(was_training)
    return made


def domain_warning(check: DomainCheck, photo: str) -> str:
    """One sentence, with the figures, about a photo that is unlike what the generator makes; empty for any other."""
    if not check.far:
        return ""
    hint, below = check.hint, check.deviations
    lower = "" if math.isnan(below) else f", {below:.1f} deviations lower than"
    text = (
        f"{photo} is unlike what the generator makes: one pass rebuilds it at {check.photo_psnr:.1f} dB"
        f"{lower or ', and'} {_generated(check.baseline)}"
    )
    if hint is not None:
        return f"{text}; --align {hint} would raise it to {check.aligned[hint]:.1f} dB."
    return f"{text}; check how it is cropped and aligned." if not check.aligned else f"{text}."


def judge(check: DomainCheck, final_psnr: float) -> Verdict:
    """Say whether the photo or the encoder is at fault for ``final_psnr``, of the reconstruction that is reported."""
    made, photo = check.baseline.psnr, check.photo_psnr
    reached = _reached(check, final_psnr)
    if check.weak:
        return Verdict(
            "bad",
            "The encoder is at fault, not the photo.",
            f"Even images that the generator made itself come back at {made:.1f} dB, hardly above the mean image"
            f" ({check.baseline.mean_psnr:.1f} dB). Train the encoder longer. {reached}",
        )
    if check.far:
        return Verdict(
            "warn",
            "The photo is unlike what the generator makes.",
            f"In one pass the encoder rebuilds {_generated(check.baseline)} and this photo at {photo:.1f} dB; the"
            f" mean image alone is at {check.photo_mean_psnr:.1f} dB. {_advice(check)} {reached}",
        )
    return Verdict(
        "good",
        "The photo lies within what the generator makes.",
        f"In one pass the encoder rebuilds it at {photo:.1f} dB, and {_generated(check.baseline)}. {reached}",
    )


def _generated(made: Baseline) -> str:
    """The generated images and their figures."""
    if not made.deviation:
        return f"generated images at {made.psnr:.1f} dB"
    low, high = min(made.values), max(made.values)
    return f"{made.count} generated images at {made.psnr:.1f} ± {made.deviation:.1f} dB ({low:.1f} to {high:.1f})"


def _advice(check: DomainCheck) -> str:
    if check.hint is not None:
        better = check.aligned[check.hint]
        return f"With the alignment {check.hint} one pass reaches {better:.1f} dB: try --align {check.hint}."
    tried = " and ".join(f"{name} ({value:.1f} dB)" for name, value in check.aligned.items())
    word = f"The alignments tried, {tried}, do not help clearly. " if tried else ""
    return (
        f"{word}Check that the photo is cropped and aligned like the images that the generator was trained on; a pose,"
        " light or background that it never saw cannot be rebuilt in one pass."
    )


def _reached(check: DomainCheck, final_psnr: float) -> str:
    if abs(final_psnr - check.photo_psnr) < 0.05:
        return "The method added nothing to that pass."
    word = "raised" if final_psnr > check.photo_psnr else "lowered"
    return f"The method {word} the photo from {check.photo_psnr:.1f} to {final_psnr:.1f} dB."
