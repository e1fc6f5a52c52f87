"""Whether the photo or the encoder is at fault: the error on generated images beside that on the photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ganenc.encoder import Encoder
from ganenc.generator import Generator
from ganenc.metrics import psnr

__all__ = ["HELD_OUT", "Baseline", "DomainCheck", "Verdict", "judge", "measure_baseline"]

WEAK = 2.0
"""Under so many dB above the mean image, an encoder has learned little."""
GAP = 2.5
"""From so many dB below a generated image on, a photo counts as unlike what the generator makes."""
LEAST = 1.0
"""So does a photo that one pass rebuilds less than so many dB better than the mean image does."""

HELD_OUT = 1 << 40
"""A place in the stream of draws that no training reaches."""


@dataclass(frozen=True)
class Baseline:
    """One pass of an encoder on images that the generator makes: what it can do at its best. Not in paper.

    Attributes:
        psnr: mean PSNR of the images and their reconstructions, in dB.
        mean_psnr: PSNR of the images and the generator's mean image: what no encoder at all would reach.
        count: how many images.
        image: one of the images, (C, H, W).
        reconstruction: its reconstruction.
        mean_image: the generator's mean image (C, H, W).
    """

    psnr: float
    mean_psnr: float
    count: int
    image: Tensor
    reconstruction: Tensor
    mean_image: Tensor


@dataclass(frozen=True)
class DomainCheck:
    """A baseline, beside the same pass on the photo.

    Attributes:
        baseline: the encoder on generated images.
        photo_psnr: PSNR of the photo and one pass of the encoder, in dB.
        photo_mean_psnr: PSNR of the photo and the generator's mean image.
    """

    baseline: Baseline
    photo_psnr: float
    photo_mean_psnr: float


@dataclass(frozen=True)
class Verdict:
    """What the numbers say, in plain words."""

    mark: Literal["good", "warn", "bad"]
    headline: str
    text: str


@torch.no_grad()
def measure_baseline(generator: Generator, encoder: Encoder, *, count: int = 8, seed: int = 0) -> Baseline:
    """Encode images that the generator makes, once each, and rebuild them.

    Args:
        generator: the generator, frozen.
        encoder: its encoder, as it is before any photo.
        count: how many images, drawn with ``seed``.
        seed: the stream of draws; a run that trains draws from other places of it.
    """
    labels = generator.draw_labels(count, seed=seed, first=HELD_OUT)
    images = generator.synthesize(generator.sample(count, seed=seed, labels=labels, first=HELD_OUT))
    was_training = encoder.training
    encoder.eval()
    try:
        rebuilt = generator.synthesize(generator.complete(encoder(images, labels=labels), labels=labels))
    finally:
        encoder.train(was_training)
    mean = generator.synthesize(generator.center())
    value_range = generator.spec.value_range
    return Baseline(
        psnr=_mean(psnr(images, rebuilt, value_range=value_range)),
        mean_psnr=_mean(psnr(images, mean.expand_as(images), value_range=value_range)),
        count=count,
        image=images[0].cpu(),
        reconstruction=rebuilt[0].cpu(),
        mean_image=mean[0].cpu(),
    )


def judge(check: DomainCheck, final_psnr: float) -> Verdict:
    """Say whether the photo or the encoder is at fault.

    Args:
        check: the encoder's one pass on generated images and on the photo.
        final_psnr: PSNR of the photo and the reconstruction that the report is about.
    """
    made, photo = check.baseline.psnr, check.photo_psnr
    reached = _reached(check, final_psnr)
    if made - check.baseline.mean_psnr < WEAK:
        return Verdict(
            "bad",
            "The encoder is at fault, not the photo.",
            f"Even images that the generator made itself come back at {made:.1f} dB, hardly above the mean image"
            f" ({check.baseline.mean_psnr:.1f} dB). Train the encoder longer. {reached}",
        )
    if made - photo >= GAP or photo - check.photo_mean_psnr < LEAST:
        return Verdict(
            "warn",
            "The photo is unlike what the generator makes.",
            f"In one pass the encoder rebuilds generated images at {made:.1f} dB and this photo at {photo:.1f} dB; the"
            f" mean image alone is at {check.photo_mean_psnr:.1f} dB."
            " Check that the photo is cropped and aligned like the images that the generator was trained on; a pose,"
            f" light or background that it never saw cannot be rebuilt in one pass. {reached}",
        )
    return Verdict(
        "good",
        "The photo lies within what the generator makes.",
        f"In one pass the encoder rebuilds it at {photo:.1f} dB, and generated images at {made:.1f} dB. {reached}",
    )


def _reached(check: DomainCheck, final_psnr: float) -> str:
    if abs(final_psnr - check.photo_psnr) < 0.05:
        return "The method added nothing to that pass."
    word = "raised" if final_psnr > check.photo_psnr else "lowered"
    return f"The method {word} the photo from {check.photo_psnr:.1f} to {final_psnr:.1f} dB."


def _mean(values: list[float]) -> float:
    finite = [value for value in values if value != float("inf")]
    return sum(finite) / len(finite) if finite else float("inf")
