"""A few steps of training on two images: does the loss of an encoder fall?"""

from __future__ import annotations

import torch
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.objectives import MSE, Batch, EncoderStep, NoAttention, Objective, context_for, make_adam
from ganenc.testing.checks import expect
from ganenc.testing.comparing import seeded

__all__ = ["expect_learning", "train_briefly"]

STEPS = 12
RATE = 0.003
FALL = 0.95
"""The least that a loss falls to, as a part of where it began; sound encoders fall much further."""


def train_briefly(
    generator: Generator, encoder: Encoder, labels: Tensor | None = None, *, steps: int = STEPS, images: int = 2
) -> list[float]:
    """Train an encoder on some images of the generator's, with the mean square of the pixels alone.

    Args:
        generator: frozen here.
        encoder: trained in place.
        labels: of the images, where they matter.
        steps: how many.
        images: how many.

    Returns:
        the loss before each step, and after the last.
    """
    objective = Objective(NoAttention(), {"mse": (1.0, MSE(context=context_for(generator=generator.spec)))})
    step = EncoderStep(generator, encoder.train(), objective)
    with torch.no_grad():
        latents = generator.complete(generator.sample(images, seed=3, labels=labels))
        batch = Batch(generator.synthesize(latents), labels, latents)
    adam = make_adam(encoder.parameters(), RATE, (0.9, 0.99))
    losses: list[float] = []
    with seeded():
        for _ in range(steps):
            outcome = step(batch)
            adam.zero_grad(set_to_none=True)
            outcome.result.total.backward()
            adam.step()
            losses.append(float(outcome.result.total.detach()))
        with torch.no_grad():
            losses.append(float(step(batch).result.total))
    return losses


def expect_learning(generator: Generator, encoder: Encoder, labels: Tensor | None, what: str) -> None:
    """Some steps of training lower the loss."""
    losses = train_briefly(generator, encoder, labels)
    first, least = losses[0], min(losses[1:])
    expect(
        least <= FALL * first,
        f"{what}: {STEPS} steps on two images bring the mean square error of an encoder from {first:.4g} to"
        f" {least:.4g}, where it should fall by {1 - FALL:.0%} or more; see that images depend on what is predicted.",
    )
