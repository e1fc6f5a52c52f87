"""The maps inside a generator: found, and watched with their gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganenc.generators import Generator, reach
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import Tensor, nn
from toys import ToyGenerator


class Both(nn.Module):
    """Gives its features and their image, as blocks with skips do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.paint = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x)
        return x, self.paint(x)


class Deep(Generator):
    """Maps of 3x5 and 6x10, an activation that is used twice, and a pass that gives several things."""

    spec = GeneratorSpec(family="deep", size=(6, 10), prior=Prior(dim=4), layout=(Vector(dim=4),))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.act = nn.Linear(4, 7 * 3 * 5), nn.ReLU(inplace=True)
        self.net = nn.ModuleDict({"small": nn.Conv2d(7, 6, 3, padding=1), "up": nn.Upsample(scale_factor=2)})
        self.both = Both()

    def synthesize(self, latents: Any) -> Tensor:
        x = self.act(self.net["small"](self.first(latents["z"]).reshape(-1, 7, 3, 5)))
        return self.both(self.act(self.net["up"](x)))[1]


def test_stages_are_the_last_maps_of_each_size_and_no_images() -> None:
    generator = Deep().train()
    assert generator.stages() == {"net.small": (6, 3, 5), "both": (5, 6, 10)}
    assert generator.training
    flat = type("Flat", (Deep,), {"synthesize": lambda self, latents: latents["z"].repeat(1, 45).reshape(-1, 3, 6, 10)})
    assert flat().stages() == {}
    assert list(ToyGenerator().stages().values()) == [(8, 4, 4), (8, 8, 8), (8, 16, 16)]


def test_watched_maps_come_with_their_gradient() -> None:
    generator = Deep().freeze()
    latents = generator.sample(2)
    z = latents["z"].clone().requires_grad_()
    with generator.watch(generator.stages()) as maps:
        images = generator.synthesize(latents.replace(z=z))
        assert {name: tuple(one.shape) for name, one in maps.items()} == {
            "net.small": (2, 6, 3, 5),
            "both": (2, 5, 6, 10),
        }
        images.square().sum().backward()
        paint = generator.both.paint
        wanted = torch.einsum("nchw,cd->ndhw", 2 * images.detach(), paint.weight[:, :, 0, 0])
        torch.testing.assert_close(maps["both"].grad, wanted)
        assert maps["net.small"].grad is not None
        with torch.no_grad():
            generator.synthesize(latents)
        assert not maps["both"].requires_grad
    kept = maps["both"]
    generator.synthesize(generator.sample(1))
    assert maps["both"] is kept
    with (
        pytest.raises(LatentsError, match=r"deep has no stage 'bot' \(did you mean 'both'\?\)"),
        generator.watch(["bot"]),
    ):
        pass


def test_a_network_is_left_where_its_map_is_reached() -> None:
    generator, ran = Deep().freeze(), list[bool]()
    latents = generator.sample(2)
    z = latents["z"].clone().requires_grad_()
    generator.both.register_forward_hook(lambda *_: ran.append(True))
    found = reach(generator, "net.small", latents.replace(z=z))
    assert torch.equal(found, generator.net["small"](generator.first(z).reshape(-1, 7, 3, 5)))
    assert torch.autograd.grad(found.sum(), z)[0].any()
    assert not ran
    with generator.watch(["net.small"]) as maps:
        generator.synthesize(latents)
    assert torch.equal(maps["net.small"], found), "though the network goes on in place"
    for name, told in (("bot", "no stage 'bot'"), ("net", "no maps")):
        with pytest.raises(LatentsError, match=told):
            reach(generator, name, latents)
