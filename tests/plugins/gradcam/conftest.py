"""A classifier small enough to work out by hand, and the attentions of the plugin."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganenc.objectives import Backbone, BackboneOutput
from torch import Tensor, nn


class TwoColours(Backbone):
    """Its maps are the red and the green of the image, cut at 0; the logits of its three classes are linear in them."""

    name = "two-colours"
    classes = 3
    smallest = 4

    def __init__(self) -> None:
        super().__init__()
        self.last_convolution = nn.Conv2d(3, 2, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.last_convolution.weight.data = torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None]
        # Class 0 is red, class 1 green, class 2 neither.
        self.weights = nn.Parameter(torch.tensor([[2.0, -1.0], [-1.0, 4.0], [-1.0, -1.0]]))
        self.passes = 0

    def forward(self, images: Tensor) -> BackboneOutput:
        self.passes += 1
        maps = self.relu(self.last_convolution(images))
        return BackboneOutput([maps], maps.mean((2, 3)) @ self.weights.T)


@pytest.fixture
def two_colours() -> TwoColours:
    """A backbone that counts its passes."""
    return TwoColours()


def spots(*places: tuple[int, int, int], value: float = 1.0) -> Tensor:
    """An image (1, 3, 8, 8), -1 but for spots given as (colour, row, column)."""
    image = torch.full((1, 3, 8, 8), -1.0)
    for colour, row, column in places:
        image[0, colour, row, column] = value
    return image


@pytest.fixture
def paint() -> Any:
    """The function that paints spots."""
    return spots
