"""Training the classifier of the ten digits."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ganenc_plugin_hands.augment import AdaptiveAugment
from ganenc_plugin_hands.classifier import HandsBackbone, accuracy

__all__ = ["split_test", "train_classifier"]

TEST_EVERY = 10


def split_test(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Every tenth photo by name of each class is for testing: (for training, for testing)."""
    place: dict[str, int] = {}
    training, test = [], []
    for path in sorted(paths):
        digit = path.parent.name
        place[digit] = place.get(digit, -1) + 1
        (test if place[digit] % TEST_EVERY == TEST_EVERY // 2 else training).append(path)
    return training, test


def train_classifier(
    photos: Tensor, digits: Tensor, *, epochs: int = 60, batch: int = 64, rate: float = 0.003, seed: int = 0
) -> HandsBackbone:
    """Train on uint8 photos (N, 3, 64, 64) with digits int64 (N,): AdamW, one cycle, shift, rotation, scale, colour."""
    torch.manual_seed(seed)
    backbone = HandsBackbone(trained=False).to(memory_format=torch.channels_last)
    backbone.train()
    optimiser = torch.optim.AdamW(backbone.parameters(), lr=rate, weight_decay=0.02)
    steps = epochs * (len(photos) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    augment = AdaptiveAugment(0.8)
    for step in range(steps):
        rows = _rows(len(photos), batch, step, seed)
        pictures = augment(photos[rows].float() / 127.5 - 1)
        pictures = torch.where(torch.rand(batch, 1, 1, 1) < 0.5, pictures, pictures.flip(3))
        logits = backbone(pictures.contiguous(memory_format=torch.channels_last)).logits
        loss = F.cross_entropy(logits, digits[rows], label_smoothing=0.05)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return backbone.freeze()


def _rows(n: int, batch: int, step: int, seed: int) -> Tensor:
    """Which samples step ``step`` takes: each epoch goes once through a new order."""
    epoch, place = divmod(step, n // batch)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
    return order[place * batch : (place + 1) * batch]


def check(backbone: HandsBackbone, photos: Tensor, digits: Tensor) -> tuple[float, float]:
    """Accuracy on photos, and its standard error."""
    share = accuracy(backbone, photos, digits)
    return share, math.sqrt(share * (1 - share) / len(photos))
