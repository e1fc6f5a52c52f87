"""The layers that read latents: found in any generator, with the matrices that their weights are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ganenc.generators import Generator
from ganenc_registry.specs import Condition, GeneratorSpec, Prior, Styles, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from toys import ToyConditional, ToyGenerator


class Mixed(Generator):
    """Reads chunks of z beside a condition, a normalised z through two layers, and all its styles at once."""

    spec = GeneratorSpec(
        family="mixed", size=(4, 4), prior=Prior(dim=6), classes=2, truncation="none",
        layout=(Vector(dim=6), Condition(dim=3), Styles(layers=2, dim=4)),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 3)
        self.chunks = nn.ModuleList(nn.Linear(6, 5) for _ in range(2))
        self.first = nn.Sequential(nn.ConvTranspose2d(6, 7, 2), nn.BatchNorm2d(7), nn.ReLU())
        self.styles = nn.Sequential(nn.Linear(8, 9), nn.Tanh())
        self.bends = nn.Sequential(nn.Tanh(), nn.Linear(4, 2))
        self.paint = nn.Linear(10 + 28 + 9 + 2, 48)

    def map(self, z: Tensor, *, labels: Tensor) -> dict[str, Tensor]:
        return {"z": z, "c": self.embed(labels), "w": z[:, None, :4].expand(-1, 2, -1)}

    def embed(self, labels: Tensor) -> Tensor:
        return self.table(self.label_numbers(labels))

    def synthesize(self, latents: Any) -> Tensor:
        z, c, w = latents["z"], latents["c"], latents["w"]
        read = [layer(torch.cat([one, c], 1)) for layer, one in zip(self.chunks, z.split(3, 1))]
        read.append(self.first(F.normalize(z)[:, :, None, None]).flatten(1))
        read += [self.styles(w.flatten(1)), self.bends(w[:, 1])]
        return self.paint(torch.cat(read, 1)).reshape(-1, 3, 4, 4)


def test_layers_are_found_with_their_matrices() -> None:
    generator = Mixed().train()
    found = {(one.module, one.layer): one for one in generator.readings()}
    assert generator.training
    assert set(found) == {("chunks.0", None), ("chunks.1", None), ("first.0", None), ("styles.0", 0), ("styles.0", 1)}
    assert {one.part for one in found.values() if one.layer is None} == {"z"}
    for place, layer in enumerate(generator.chunks):
        wanted = torch.zeros(5, 6)
        wanted[:, 3 * place : 3 * place + 3] = layer.weight.detach()[:, :3]
        torch.testing.assert_close(found[f"chunks.{place}", None].matrix.float(), wanted)
        torch.testing.assert_close(
            found["styles.0", place].matrix.float(), generator.styles[0].weight.detach()[:, 4 * place : 4 * place + 4]
        )
    flat = generator.first[0].weight.detach().flatten(1).T
    torch.testing.assert_close(found["first.0", None].matrix.float(), flat)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_styles_are_told_apart_layer_by_layer(dtype: torch.dtype) -> None:
    generator = ToyGenerator().to(dtype).freeze()
    found = generator.readings()
    assert [(one.module, one.part, one.layer) for one in found] == [(f"affines.{i}", "w", i) for i in range(6)]
    for one in found:
        weight = generator.get_submodule(one.module).get_parameter("weight")
        torch.testing.assert_close(one.matrix, weight.double(), atol=1e-5, rtol=1e-5)


def test_what_a_generator_reads_otherwise_it_says_itself() -> None:
    (reading,) = ToyConditional().readings()
    assert (reading.module, reading.part, reading.layer, reading.matrix.shape) == ("paint", "z", None, (192, 5))
    assert type("Nothing", (ToyConditional,), {"readings": lambda self: []})().readings() == []
