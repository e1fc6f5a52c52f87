"""Encoders whose network is not blocks: specs, offsets, folders, and files that networks recognise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, EncoderNetwork, build_encoder, mirror, rows
from ganenc.foreign import Checkpoint
from ganenc.models import load_encoder, load_model, save_pretrained
from ganenc_registry.errors import CheckpointError, GanencError, SpecError
from ganenc_registry.specs import EncoderSpec, Spec
from pydantic import Field
from safetensors.torch import save_file
from torch import Tensor, nn
from toys import ToyGenerator, toy_spec


class Means(EncoderNetwork):
    """Every value of every part from the mean colour."""

    class Options(Spec):
        scale: float = Field(1.0, gt=0, description="of what is given")

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        sizes = {part.name: torch.Size(part.shape).numel() for part in self.spec.parts}
        self.heads = nn.ModuleDict({name: nn.Linear(self.spec.channels, size) for name, size in sizes.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        means = images.mean((2, 3)) * self.options.scale
        return {part.name: self.heads[part.name](means).reshape(-1, *part.shape) for part in self.spec.parts}

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        return "means.weight" in checkpoint.tensors

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Encoder:
        encoder = build_encoder(EncoderSpec.mirror(toy_spec((8, 8), dim=4), network="means"))
        checkpoint.tensor("means.weight", (3, 3))
        return encoder


@pytest.fixture(autouse=True)
def networks(known: Any) -> Any:
    known.add_value("encoder", "means", Means)
    known.add_value("generator", "toy", ToyGenerator)
    return known


def test_the_spec_of_a_network() -> None:
    """It sees images averaged to 256 pixels at most, where that goes, and leaves maps to the generator."""
    for side, seen in ((64, 64), (1024, 256), (384, 192)):
        spec = EncoderSpec.mirror(toy_spec().model_copy(update={"size": (side, side)}), network="means")
        assert (spec.size, spec.blocks, [part.name for part in spec.parts]) == ((seen, seen), (), ["w"])
        assert EncoderSpec.from_json(spec.to_json()) == spec
    with pytest.raises(SpecError, match="with `network` there are no blocks"):
        mirror(toy_spec(), network="means", blocks=mirror(toy_spec()).blocks)
    with pytest.raises(SpecError, match=r"network\.options\.scal: there is no such field \(did you mean 'scale'"):
        build_encoder(toy_spec(), network={"name": "means", "options": {"scal": 2}})


def test_it_predicts_around_the_mean_and_is_saved(toy: Any, tmp_path: Path) -> None:
    encoder = build_encoder(toy, network={"name": "means", "options": {"scale": 1e-6}}).eval()
    for head in encoder.network.heads.values():
        nn.init.zeros_(head.bias)
    images = toy.synthesize(toy.sample(2)).detach()
    center = toy.center()
    with torch.no_grad():
        latents = encoder(images)
        assert torch.allclose(latents["w"], center["w"].expand(2, -1, -1), atol=1e-4)
        assert "const" not in latents
        whole = toy.complete(latents)
        assert whole.layout == toy.spec.layout
        assert torch.equal(toy.synthesize(latents), toy.synthesize(whole))
        save_pretrained(encoder, tmp_path / "encoder")
        assert torch.equal(load_encoder(tmp_path / "encoder")(images)["w"], latents["w"])
    (row,) = rows(encoder.spec)
    assert row.parameters == sum(weight.numel() for weight in encoder.parameters())


def test_files_that_a_network_recognises(tmp_path: Path, networks: Any) -> None:
    path = tmp_path / "means.safetensors"
    save_file({"means.weight": torch.ones(3, 3)}, path)
    assert load_encoder(path).spec == load_model(path).spec
    save_file({"means.weight": torch.ones(3, 3), "more.weight": torch.ones(3, 3)}, path)
    with pytest.raises(CheckpointError, match=r"'more\.weight' are left over"):
        load_encoder(path)
    networks.add_value("encoder", "also", type("Also", (Means,), {}))
    with pytest.raises(GanencError, match=r"is claimed by also \(.*\) and means \(.*\); uninstall one"):
        load_encoder(path)
    path.with_suffix(".yaml").write_text("family: also\n")
    save_file({"means.weight": torch.ones(3, 3)}, path)
    assert load_encoder(path).spec.network is not None


def test_a_network_that_fails_harms_no_other(tmp_path: Path, networks: Any) -> None:
    def fail(cls: Any, checkpoint: Checkpoint) -> bool:
        raise RuntimeError("broken")

    networks.add_value("encoder", "broken", type("Broken", (Means,), {"recognises": classmethod(fail)}))
    path = tmp_path / "means.safetensors"
    save_file({"means.weight": torch.ones(3, 3)}, path)
    assert load_encoder(path).spec.network is not None
    save_file({"other.weight": torch.ones(3, 3)}, path)
    with pytest.raises(CheckpointError, match="holds no encoder that is known"):
        load_encoder(path)
