"""Both BigGANs out of BigGAN-PyTorch's files: the published outputs, other options, and files that are wrong."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.encoders import build_encoder
from ganenc.foreign import Checkpoint
from ganenc.generators import build_generator
from ganenc_plugin_biggan.biggan import BigGAN
from ganenc_plugin_biggan.specs import biggan_spec
from ganenc_registry.errors import CheckpointError, SpecError

_spec = importlib.util.spec_from_file_location("ajbrock_reference", Path(__file__).parent / "ajbrock_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)
Net = reference.Net

NETS = {
    "chunks": Net(),
    "chunks, attention at the end": Net(attention=(1,)),
    "attention twice": Net(widths=(16, 16, 16, 8), z_dim=8, attention=(0, 1)),
    "flat z": Net(hier=False, z_dim=9),
    "each norm its classes": Net(hier=False, shared=False, classes=4),
    "plain weights, grey, odd widths": Net(widths=(15, 10, 5), normalised=False, channels=1),
    "deep": Net(widths=(16, 16, 16, 16), depth=2, attention=(0,)),
    "deep, flat z": Net(widths=(16, 16, 16, 16), depth=2, hier=False),
    "deep, one block a resolution": Net(widths=(16, 8, 4), depth=1),
    "deep, as published for 64": Net(widths=(32, 32, 16, 8, 4), depth=3),
    "from 8 pixels on": Net(widths=(8, 8, 4), base=8),
}


def checkpoint(tensors: dict[str, torch.Tensor], prefix: str = "", **metadata: Any) -> Checkpoint:
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    return Checkpoint(Path("G_ema.pth"), "torch", named, metadata)


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.G_ema."])
@pytest.mark.parametrize("name", NETS)
def test_other_options(name: str, prefix: str) -> None:
    net = NETS[name]
    tensors = reference.weights(net)
    file = checkpoint(tensors, prefix)
    assert BigGAN.recognises(file)
    generator = BigGAN.from_checkpoint(file)
    file.check_all_read()
    z, labels = torch.randn(2, net.z_dim), torch.tensor([2, 0])
    found = generator.freeze().double().synthesize(generator.map(z.double(), labels=labels))
    expected = reference.images(net, tensors, z, labels)
    assert float(expected.std()) > 0.1
    assert float((found - expected).abs().max()) <= 1e-5 * float(expected.std())


def test_several_singular_values_and_norms_that_count_are_read_alike() -> None:
    """``--num_G_SVs 2`` and ``--mybn``: more vectors, and statistics one level further down."""
    found = {}
    for name, tensor in reference.weights(NETS["chunks"]).items():
        owner, _, leaf = name.rpartition(".")
        if leaf.startswith("stored_"):
            found |= {f"{owner}.bn.{leaf}": tensor, f"{owner}.bn.accumulation_counter": torch.zeros(1)}
        elif leaf in ("u0", "sv0"):
            found |= {name: tensor, f"{owner}.{leaf[:-1]}1": torch.randn(tensor.shape)}
        else:
            found[name] = tensor
    file, plain = checkpoint(found), BigGAN.from_checkpoint(checkpoint(reference.weights(NETS["chunks"])))
    same = BigGAN.from_checkpoint(file)
    file.check_all_read()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[name]), name


@pytest.mark.parametrize("name", ["biggan_ajbrock", "biggan_ajbrock_deep", "biggan_ajbrock_cifar"])
def test_published_outputs(shared: Path, name: str) -> None:
    folder = shared / "checkpoints" / name
    generator = ganenc.load_generator(folder / "G_ema.pth")
    expected = {name: torch.from_numpy(array) for name, array in np.load(folder / "expected.npz").items()}
    latents = generator.map(expected["z"], labels=expected["y"].long())
    outputs = {"img": generator.synthesize(latents)}
    if "embed" in expected:
        outputs["embed"] = latents["c"]
        between = latents["c"][:2].mean(0, keepdim=True)
        outputs["img_mix"] = generator.synthesize(latents[:1].replace(c=between))
    assert outputs.keys() == expected.keys() - {"z", "y"}
    for key, found in outputs.items():
        assert float((found - expected[key]).abs().max()) <= 1e-4 * float(expected[key].std()), key


def test_what_the_training_says_is_followed(tmp_path: Path) -> None:
    """Where the shapes leave open how many blocks share a resolution, and what is added to variances."""
    net = Net(widths=(16, 16, 16), depth=2)
    tensors = reference.weights(net)
    with pytest.raises(CheckpointError, match=r"of 64 or 16 or 8 pixels, .*G_depth.* beside it, or .* state_dict"):
        BigGAN.from_checkpoint(checkpoint(tensors))
    torch.save(tensors, tmp_path / "G_ema.pth")
    torch.save({"config": {"G_depth": 2, "BN_eps": 0.5, "G_activation": torch.nn.ReLU()}}, tmp_path / "state_dict.pth")
    spec = ganenc.load_generator(tmp_path).spec
    assert (spec.size, spec.options["eps"]) == ((16, 16), 0.5)
    (tmp_path / "config.json").write_text(json.dumps({"G_depth": 2}))
    spec = ganenc.load_generator(tmp_path / "G_ema.pth").spec
    assert (spec.size, spec.options["eps"]) == ((16, 16), 1e-5)


WRONG: dict[str, tuple[str, Any, str]] = {
    "missing": ("blocks.1.0.conv2.weight", None, r"blocks\.1\.0\.conv2\.weight' is missing"),
    "another shape": ("blocks.1.0.bn1.stored_mean", torch.ones(3), r"bn1\.stored_mean' has shape"),
    "NaN": ("shared.weight", torch.full((3, 5), torch.nan), r"shared\.weight' holds NaN"),
    "variance": ("output_layer.0.stored_var", -torch.ones(8), "holds variances below zero"),
    "no direction": ("linear.u0", torch.zeros(1, 256), r"linear\.weight' has a spectral norm of zero"),
    "no square": ("linear.weight", torch.ones(48, 2), "gives 48 numbers, no square of 16 channels"),
    "longer classes": ("shared.weight", torch.ones(3, 9), "takes 2 numbers, its norms 7, and its classes 9"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(wrong: str) -> None:
    name, tensor, message = WRONG[wrong]
    tensors = reference.weights(NETS["chunks"])
    tensors.pop(name)
    with pytest.raises(CheckpointError, match=message) as raised:
        BigGAN.from_checkpoint(checkpoint({**tensors, **({} if tensor is None else {name: tensor})}))
    assert str(raised.value).count(". ") == 0, "one sentence"


@pytest.mark.parametrize("options", [{"conditioning": "chunks"}, {"conditioning": "class", "embedding": False}])
def test_a_plain_network_is_built_and_trained_from_its_spec(options: dict[str, Any]) -> None:
    spec = biggan_spec(
        16, style="plain", channel_width=8, z_dim=6, c_dim=4, classes=5, n_stats=1, spectral_norm=True, **options
    )
    torch.manual_seed(0)
    generator = build_generator(type(spec).from_json(spec.to_json())).train()
    assert isinstance(generator, BigGAN)
    optimiser = torch.optim.Adam(generator.parameters(), 0.01)
    losses = []
    for step in range(12):
        images = generator.synthesize(generator.sample(8, seed=1, first=8 * step))
        losses.append((images - 0.5).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1].item() < 0.8 * losses[0].item()
    images = generator.gather_statistics(samples=32, batch=16).folded().synthesize(generator.sample(2))
    assert build_encoder(generator)(images.detach(), labels=torch.tensor([0, 1]))["z"].shape == (2, 6)


def test_z_that_cannot_be_cut_is_refused() -> None:
    with pytest.raises(SpecError, match="z of 7 numbers cannot be cut into 3 equal chunks"):
        BigGAN(biggan_spec(16, style="plain", conditioning="chunks", channel_width=8, z_dim=7, n_stats=1))
