"""Small images at a part of the cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganenc.generators import Generator, Preview
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from toys import ToyGenerator


class Linear(Generator):
    """An image that is linear in its last map."""

    spec = GeneratorSpec(family="linear", size=(6, 10), prior=Prior(dim=4), layout=(Vector(dim=4),))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.paint = nn.Linear(4, 300), nn.Conv2d(5, 6, 3, padding=1), nn.Conv2d(6, 3, 1)

    def synthesize(self, latents: Any) -> Tensor:
        return self.paint(self.conv(self.first(latents["z"]).reshape(-1, 5, 6, 10).relu()))


def test_it_is_the_image_where_that_is_linear_in_the_stage() -> None:
    generator = Linear().freeze()
    known, other = generator.sample(3), generator.sample(2, seed=5)
    preview = Preview(generator, known, 10)
    assert (preview.stage, preview.size) == ("conv", (6, 10))
    assert torch.equal(preview.images, torch.cat([generator.synthesize(one) for one in known]))
    wanted = generator.synthesize(other)
    assert (preview(other) - wanted).std() < 0.02 * wanted.std()


def test_it_is_near_the_image_made_smaller_and_takes_no_more_than_its_stage() -> None:
    generator = ToyGenerator().freeze()
    known = generator.sample(1)
    preview, ran = Preview(generator, known, 8), list[int]()
    for place, conv in enumerate(generator.convs):
        conv.register_forward_hook(lambda *_, place=place: ran.append(place))
    made = preview(other := generator.sample(1, seed=1))
    last = int(preview.stage.split(".")[-1])
    assert max(ran) == last < len(generator.convs) - 1
    wanted = F.interpolate(generator.synthesize(other), preview.size, mode="area")
    assert made.shape == wanted.shape == (1, 3, 8, 8)
    assert (made - wanted).square().mean() < wanted.var() / 4


def test_without_so_small_a_stage_there_is_none() -> None:
    with pytest.raises(SpecError, match="no stage of at most 3 pixels"):
        Preview(ToyGenerator(), ToyGenerator().sample(1), 3)
