"""PGGAN out of mmgeneration's and pytorch_GAN_zoo's files: the published outputs, other options, and wrong files."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc_plugin_pggan.pggan import PGGAN
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("pggan_layouts", Path(__file__).parent / "pggan_layouts_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)


def images(checkpoint: Checkpoint, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """What the network in a checkpoint makes, in double precision; everything in it must have been read."""
    assert PGGAN.recognises(checkpoint)
    generator = PGGAN.from_checkpoint(checkpoint).freeze().double()
    checkpoint.check_all_read()
    return generator.synthesize(generator.map(z.double(), labels=labels))


def close(found: torch.Tensor, expected: Any, share: float = 1e-5) -> None:
    wanted = torch.as_tensor(expected).double()
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= share * float(wanted.std())


def without(checkpoint: Checkpoint, word: str) -> Checkpoint:
    kept = {name: checkpoint.tensors[name] for name in checkpoint.tensors if word not in name}
    return dataclasses.replace(checkpoint, tensors=kept)


def added(checkpoint: Checkpoint, **tensors: torch.Tensor) -> Checkpoint:
    return dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, **tensors})


def test_mmgenerations_published_outputs(shared: Path) -> None:
    checkpoint = read_checkpoint(shared / "checkpoints/pggan_mmgen/checkpoint.pth")
    expected = np.load(shared / "checkpoints/pggan_mmgen/expected.npz")
    z = torch.from_numpy(expected["z"])
    close(images(checkpoint, z), expected["img"], 1e-4)
    close(images(without(checkpoint, "_ema"), z), expected["img_raw"], 1e-4)
    half = added(checkpoint, **{"state_dict.generator_ema.lod": torch.tensor(0.5)})
    close(images(half, z), expected["img_half"], 1e-4)
    small = added(checkpoint, **{"state_dict._curr_scale_int": torch.tensor(32, dtype=torch.int32)})
    found = images(small, z)
    close(found[:, :, ::2, ::2], expected["img_small"], 1e-4)
    assert torch.equal(found[:, :, ::2, ::2], found[:, :, 1::2, 1::2]), "enlarged from the size that was reached"


def test_gan_zoos_published_outputs(shared: Path) -> None:
    checkpoint = read_checkpoint(shared / "checkpoints/pggan_ganzoo/checkpoint.pth")
    expected = np.load(shared / "checkpoints/pggan_ganzoo/expected.npz")
    z = torch.from_numpy(expected["z"])
    close(images(checkpoint, z), expected["img"], 1e-4)
    close(images(without(checkpoint, "avgG"), z), expected["img_netG"], 1e-4)


@pytest.mark.parametrize("prefix", ["", "state_dict.generator_ema.", "module."])
@pytest.mark.parametrize(("widths", "fused"), [((6, 5, 4), True), ((6, 5, 4), False), ((4, 4), True), ((5,), True)])
def test_mmgenerations_networks(widths: tuple[int, ...], fused: bool, prefix: str) -> None:
    tensors = reference.mm_weights(widths, fused=fused, channels=1)
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    z = torch.randn(2, 7)
    close(images(Checkpoint(Path("net.pth"), "torch", named), z), reference.mm_images(tensors, z, fused=fused))


ZOO: dict[str, dict[str, Any]] = {
    "published": {},
    "leak": {"leakyReluLeak": 0.05},
    "tanh": {"lossCriterion": "DCGAN"},
    "plain weights": {"equalizedlR": False},
    "fading": {"alpha": 0.3},
    "labels": {"categoryVectorDim": 3},
}


@pytest.mark.parametrize("options", ZOO)
def test_gan_zoos_networks(options: str) -> None:
    config = ZOO[options]
    tensors = reference.zoo_weights()
    if options == "plain weights":
        tensors = {name: tensor * 0.2 for name, tensor in tensors.items()}
    named = {f"netG.{name}": tensor for name, tensor in tensors.items()}
    classes = config.get("categoryVectorDim", 0)
    z, labels = torch.randn(2, 7 - classes), torch.tensor([2, 0]) if classes else None
    whole = torch.cat([z, torch.eye(3)[labels]], 1) if classes else z
    found = images(Checkpoint(Path("net.pth"), "torch", named, {"config": config}), z, labels)
    close(found, reference.zoo_images(tensors, whole, config))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"alpha": "much"}, "its setting alpha is no share of an image, but 'much'"),
        ({"leakyReluLeak": "much"}, "its settings are malformed .*slope"),
        ({"categoryVectorDim": 9}, "labels of length 9, but its first layer takes 7"),
    ],
)
def test_settings_that_are_wrong_are_named(config: dict[str, Any], message: str) -> None:
    checkpoint = Checkpoint(Path("net.pth"), "torch", reference.zoo_weights(), {"config": config})
    with pytest.raises(CheckpointError, match=message):
        PGGAN.from_checkpoint(checkpoint)


def test_a_size_that_no_growing_passes_is_named() -> None:
    tensors = {f"generator.{name}": tensor for name, tensor in reference.mm_weights().items()}
    checkpoint = Checkpoint(Path("net.pth"), "torch", {**tensors, "_curr_scale_int": torch.tensor(12)})
    with pytest.raises(CheckpointError, match="holds no size that images of 16 pixels grow through"):
        PGGAN.from_checkpoint(checkpoint)
