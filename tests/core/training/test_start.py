"""An encoder solved for in closed form is the one that least squares give, and an encoder as any other."""

from __future__ import annotations

import math
from typing import Any

import ganenc
import pytest
import torch
from ganenc.encoders import Encoder, check_fits
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.models import load_encoder, save_pretrained
from ganenc.training import pretrain, solve_start
from ganenc_registry.errors import GanencError, SpecError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Map, Prior, RunSpec, Styles, Vector
from torch import Tensor
from torch.nn import functional as F
from toys import ToyConditional


class Linear(Generator):
    """Images of which each latent is a pattern of its own: what least squares can tell apart."""

    def __init__(self, layout: Any, *, tied: bool = False, **fields: Any) -> None:
        first = layout[0]
        dim = math.prod(first.shape[-1:] if tied else first.shape)
        fields = {"size": (16, 16), **fields}
        super().__init__(GeneratorSpec(family="linear", prior=Prior(dim=dim), layout=layout, **fields))
        self.first, self.tied, (low, high) = first, tied, self.spec.value_range
        coarse = torch.randn(dim, self.spec.channels, 4, 4, generator=torch.Generator().manual_seed(2))
        self.register_buffer("patterns", F.interpolate(coarse, self.spec.size) * (high - low) / 20)
        self.register_buffer("level", torch.tensor((low + high) / 2))

    def map(self, z: Tensor) -> Latents:  # type: ignore[override]
        rows = z[:, None].expand(-1, self.first.layers, -1) if self.tied else z
        return Latents(self.spec.layout, {self.first.name: 3 + 2 * rows.reshape(len(z), *self.first.shape)})

    def default(self, name: str) -> Tensor | None:
        return torch.full((1, 2, 4, 4), 7.0) if name == "const" else super().default(name)

    def synthesize(self, latents: Latents) -> Tensor:  # type: ignore[override]
        found = latents[self.first.name]
        flat = found.mean(1) if self.tied else found.flatten(1)
        return self.level + torch.einsum("nd,dchw->nchw", (flat - 3) / 2, self.patterns)


CONST = Map(name="const", channels=2, height=4, width=4)


@pytest.mark.parametrize(
    ("layout", "fields"),
    [
        ((Vector(dim=5),), {"value_range": (0.0, 255.0), "channels": 1, "size": (12, 20)}),
        ((Styles(layers=3, dim=4), CONST), {"tied": True}),
        ((Styles(layers=3, dim=4), CONST), {}),
        ((Map(name="z", channels=6, height=1, width=1),), {"size": (7, 5)}),
        ((Vector(dim=3),), {"size": (512, 32), "channels": 4}),
    ],
    ids=["grey", "tied styles", "styles apart", "map", "large"],
)
def test_what_is_linear_is_found(layout: Any, fields: dict[str, Any]) -> None:
    generator = Linear(layout, **fields)
    encoder, explained = solve_start(generator, backbone="none", images=100)
    check_fits(encoder.spec, generator.spec)
    assert max(encoder.spec.size) <= 256
    truth = generator.sample(6, seed=9)
    with torch.no_grad():
        found = encoder(generator.synthesize(truth))
    name = layout[0].name
    apart = float((found[name] - truth[name]).square().mean() / (truth[name] - 3).square().mean())
    assert apart < 0.05
    assert explained == {name: pytest.approx(1 - apart, abs=0.05)}
    if len(layout) > 1:
        assert torch.equal(found["const"], torch.full((6, 2, 4, 4), 7.0))


def test_left_out_errors_are_those_of_refitting_without_each() -> None:
    generator, count = Linear((Vector(dim=9),)), 14
    encoder, explained = solve_start(generator, backbone="none", images=count)
    truth = generator.sample(count)
    head: Any = encoder.heads[0]
    with torch.no_grad():
        x = encoder.pooled(generator.synthesize(truth))[0].flatten(1).double()  # type: ignore[misc]
    y, weight = truth["z"].double(), head.linear.weight.detach().double().T
    rest = y - y.mean(0)
    # The strength that was chosen, from the weights: (X'X + strength) w = X'y.
    strength = float(((x.T @ (rest - x @ weight)) * weight).sum() / weight.square().sum())
    errors = of_mean = 0.0
    for out in range(count):
        kept = [i for i in range(count) if i != out]
        a, b = x[kept] - x[kept].mean(0), y[kept] - y[kept].mean(0)
        fit = torch.linalg.solve(a.T @ a + strength * torch.eye(a.shape[1], dtype=a.dtype), a.T @ b)
        errors += float((y[out] - y[kept].mean(0) - (x[out] - x[kept].mean(0)) @ fit).square().sum())
        of_mean += float((y[out] - y[kept].mean(0)).square().sum())
    assert 0.05 < explained["z"] < 0.95
    assert explained["z"] == pytest.approx(1 - errors / of_mean, abs=1e-3)


def test_it_is_saved_and_trained_on_as_any_encoder(toy: Any, tiny_backbone: Any, known: Any, tmp_path: Any) -> None:
    ganenc.register("backbone", "tiny")(type(tiny_backbone))
    encoder, explained = solve_start(toy, backbone="tiny", images=40, seed=3)
    assert set(explained) == {"w"}
    save_pretrained(encoder, tmp_path)
    loaded = load_encoder(tmp_path)
    images = toy.synthesize(toy.sample(3, seed=8))
    assert isinstance(loaded, Encoder)
    assert loaded.spec == encoder.spec
    assert EncoderSpec.from_yaml(encoder.spec.to_yaml()) == encoder.spec
    assert all(torch.equal(tensor, loaded(images)[name]) for name, tensor in encoder(images).tensors.items())
    assert sum(row.parameters for row in encoder.spec.rows()) == sum(p.numel() for p in encoder.parameters())
    again = solve_start(toy, backbone="tiny", images=40, seed=3).encoder
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), encoder.state_dict().values()))
    run = RunSpec.from_mapping({
        "task": "pretrain", "steps": 2, "data": {"batch": 2},
        "objective": {"losses": {"mse": 1.0}, "attention": "none"},
    })  # fmt: skip
    trained = pretrain(toy, run, encoder=loaded)
    assert not torch.equal(trained.pooled.styles[0].weight, encoder.pooled.styles[0].weight)  # type: ignore[union-attr, arg-type]


def test_labels_are_no_matter_and_conditions_are_predicted() -> None:
    generator = ToyConditional().freeze()
    encoder, explained = solve_start(generator, backbone="none", images=40)
    assert set(explained) == {"z", "c"}
    found = encoder(generator.synthesize(generator.sample(2)))
    assert {name: tuple(tensor.shape) for name, tensor in found.tensors.items()} == {"z": (2, 5), "c": (2, 4)}


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((512, 256), (256, 128)), ((300, 900), (75, 225)), ((257, 509), (257, 509)), ((1, 1024), (1, 256))],
)
def test_large_images_are_averaged_where_it_goes(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    generator = Linear((Vector(dim=2),), size=size, channels=1)
    assert solve_start(generator, backbone="none", images=4).encoder.spec.size == wanted


def test_what_cannot_be_solved_is_told(toy: Any) -> None:
    with pytest.raises(SpecError, match="4 or more"):
        solve_start(toy, images=3)
    with torch.no_grad():
        toy.to_image.bias.fill_(torch.nan)
    with pytest.raises(GanencError, match="not finite"):
        solve_start(toy, backbone="none", images=4)
    encoder = {"size": [8, 8], "layout": [{"kind": "vector", "dim": 3}], "blocks": []}
    for wrong in ({"inputs": 2**20, "directions": 2**20}, {"inputs": 0, "directions": 2}, {"inputs": 2}):
        with pytest.raises(SpecError):
            EncoderSpec.from_mapping({**encoder, "pooled": wrong})
