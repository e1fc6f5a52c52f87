"""The classifier of the ten digits, which serves as a backbone that needs no download."""

from __future__ import annotations

import torch
from ganenc.models import load_weights
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_hands.models import HANDS_CLASSIFIER

__all__ = ["HandsBackbone"]

WIDTHS = (16, 32, 64, 128)


class HandsBackbone(Backbone):
    """Four levels of two convolutions, batch norm and ReLU, halving in between; logits from the mean of the last.

    It takes images (N, 3, H, W) from -1 to 1 and was trained at 64x64. LPIPS compares the features after each level,
    with unit weights, so the distance is called ``lpips-hands``.

    Args:
        options: none.
        context: what it is built for.
        trained: whether it has the weights that ship.
    """

    name = "hands"
    classes = 10

    def __init__(self, options: Spec | None = None, context: Context | None = None, *, trained: bool = True) -> None:
        super().__init__(options, context)
        self.levels = nn.ModuleList(_level(a, b) for a, b in zip((3, *WIDTHS), WIDTHS))
        self.scores = nn.Linear(WIDTHS[-1], self.classes)
        # Set past nn.Module, which would hold the convolution's weights twice.
        object.__setattr__(self, "last_convolution", self.levels[-1][3])
        if trained:
            load_weights(self, HANDS_CLASSIFIER)

    def forward(self, images: Tensor) -> BackboneOutput:
        """(N, 3, H, W) => the features after each level, and the digits' scores (N, 10)."""
        features, x = [], images
        for i, level in enumerate(self.levels):
            x = level(x if i == 0 else F.max_pool2d(x, 2))
            features.append(x)
        return BackboneOutput(features, lambda: self.scores(x.mean((2, 3))))


def _level(inputs: int, outputs: int) -> nn.Sequential:
    def convolution(a: int) -> list[nn.Module]:
        return [nn.Conv2d(a, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(*convolution(inputs), *convolution(outputs))


def accuracy(backbone: HandsBackbone, photos: Tensor, digits: Tensor) -> float:
    """The share of photos, uint8 (N, 3, 64, 64), whose digit is found."""
    with torch.inference_mode():
        logits = backbone.eval()(photos.float() / 127.5 - 1).logits
    assert logits is not None
    return float((logits.argmax(1) == digits).float().mean())
