"""Trains the GAN on pictures that are drawn: ``python -m ripples_gan.training FOLDER``. Minutes on one core."""

from __future__ import annotations

import argparse
import copy
import math

import torch
from ganenc import save_pretrained
from torch import Tensor
from torch.nn import functional as F

from ripples_gan.generator import Ripples
from ripples_gan.networks import critic

__all__ = ["draw_ripples", "train"]


def draw_ripples(n: int, draws: torch.Generator, size: tuple[int, int] = (48, 40)) -> Tensor:
    """Pictures (n, 1, H, W) from 0 to 1: rings around a point, of a length and a phase of their own, that fade."""
    row, column, length, phase, reach = torch.rand(5, n, 1, 1, generator=draws)
    y = torch.linspace(0, 1, size[0])[None, :, None] - row
    x = torch.linspace(0, size[1] / size[0], size[1])[None, None, :] - column
    distance = (x.square() + y.square()).sqrt()
    wave = torch.sin(2 * math.pi * (distance / (0.5 + 0.3 * length) + phase))
    return (0.5 + 0.5 * wave * torch.exp(-distance / (0.4 + 0.6 * reach)))[:, None]


def train(steps: int = 2000, batch: int = 16, rate: float = 1e-3, seed: int = 0) -> Ripples:
    """Adversarial training with the hinge loss (Lim and Ye, 2017); gives the running average of the weights.

    Args:
        steps: of both networks.
        batch: pictures a step.
        rate: learning rate of both; it falls to 0.
        seed: of weights, pictures and z.
    """
    torch.manual_seed(seed)
    draws = torch.Generator().manual_seed(seed)
    generator, judge = Ripples(), critic()
    average = copy.deepcopy(generator)
    adams = [torch.optim.Adam(one.parameters(), rate, (0.0, 0.99)) for one in (generator, judge)]
    falls = [torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 - step / steps) for adam in adams]
    for step in range(steps):
        made = generator.synthesize(generator.sample(batch, seed=seed + 1, first=step * batch))
        loss = F.relu(1 - judge(draw_ripples(batch, draws))).mean() + F.relu(1 + judge(made.detach())).mean()
        adams[1].zero_grad()
        loss.backward()
        adams[1].step()
        adams[0].zero_grad()
        (-judge(made).mean()).backward()
        adams[0].step()
        for fall in falls:
            fall.step()
        with torch.no_grad():
            keep = min(0.995, (1 + step) / (10 + step))
            for kept, new in zip(average.parameters(), generator.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
    return average


def main() -> None:
    """Train, and write a model folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=2000)
    given = parser.parse_args()
    save_pretrained(train(given.steps), given.folder, info={"trained": f"{given.steps} steps on drawn ripples"})


if __name__ == "__main__":
    main()
