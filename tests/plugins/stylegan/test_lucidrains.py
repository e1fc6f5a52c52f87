"""lucidrains' StyleGAN2 out of stylegan2-pytorch's files: the published outputs, other options, and wrong files."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.foreign import read_checkpoint
from ganenc_plugin_stylegan.lucidrains import LucidrainsStyleGAN2
from ganenc_plugin_stylegan.specs import lucidrains_spec
from ganenc_registry.errors import CheckpointError, SpecError

_spec = importlib.util.spec_from_file_location(
    "lucidrains_reference", Path(__file__).parent / "lucidrains_reference.py"
)
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)


def write(folder: Path, tensors: dict[str, torch.Tensor], config: Any = None, prefix: str = "") -> Path:
    """A training's file, with its settings beside it."""
    nested: dict[str, Any] = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    nested[f"{prefix}D.blocks.0.conv_res.weight"] = torch.ones(2, 2)
    torch.save({"GAN": nested, "version": "1.9.0"}, folder / "model_1.pt")
    if config is not None:
        (folder / ".config.json").write_text(json.dumps(config))
    return folder / "model_1.pt"


def close(found: torch.Tensor, expected: torch.Tensor, share: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= share * float(expected.std())


def test_published_outputs(shared: Path) -> None:
    folder = shared / "checkpoints" / "stylegan2_lucidrains"
    expected = {key: torch.from_numpy(one).double() for key, one in np.load(folder / "expected.npz").items()}
    generator = ganenc.load_generator(folder / "model_1.pt").double()
    noise = expected["image_noise"].permute(0, 3, 1, 2)
    latents = generator.map(expected["z"])
    pulled = latents.replace(w=torch.lerp(expected["w_avg"], latents["w"], 0.75))
    mixed = latents[:1].replace(w=torch.cat([latents["w"][:1, :2], latents["w"][1:2, 2:]], 1))
    checkpoint = read_checkpoint(folder / "model_1.pt")
    kept = {key: one for key, one in checkpoint.tensors.items() if ".GE." not in key and ".SE." not in key}
    raw = LucidrainsStyleGAN2.from_checkpoint(dataclasses.replace(checkpoint, tensors=kept)).freeze().double()
    trunc = generator.synthesize(pulled, noise=[noise])
    found = {
        "w": latents["w"][:, 0],
        "img": generator.synthesize(latents, noise=[noise]),
        "w_trunc": pulled["w"][:, 3],
        "img_trunc": trunc,
        "img_trunc_clamped": trunc.clamp(*generator.spec.value_range),
        "img_mix": generator.synthesize(mixed, noise=[noise[:1]]),
        "img_raw": raw.synthesize(raw.map(expected["z"]), noise=[noise]),
    }
    assert found.keys() == expected.keys() - {"z", "w_avg", "image_noise"}
    for key, tensor in found.items():
        close(tensor, expected[key], 1e-4)


OPTIONS: dict[str, dict[str, Any]] = {
    "published": {},
    "transparent": {"channels": 4},
    "older": {"initial": False, "blur": False},
    "another size": {"widths": (5, 5, 5, 4), "layers": 1},
    "one block": {"widths": (4,)},
    "attention": {"attention": (0, 2)},
    "no constant": {"const": False},
}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("options", OPTIONS)
def test_other_options(options: str, prefix: str, tmp_path: Path) -> None:
    tensors = reference.weights(**OPTIONS[options])
    generator = ganenc.load_generator(write(tmp_path, tensors, {"lr_mlp": 0.3}, prefix)).double()
    side = generator.spec.size[0]
    z, noise = torch.randn(2, reference.DIM), torch.rand(2, side, side, 1)
    latents = generator.map(z.double())
    w = reference.styles(tensors, z, 0.3)
    close(latents["w"][:, 0], w)
    close(generator.synthesize(latents, noise=[noise.permute(0, 3, 1, 2)]), reference.images(tensors, w, noise))
    zeros = torch.zeros(1, side, side, 1)
    close(generator.synthesize(latents, noise="none"), reference.images(tensors, w, zeros))


def test_drawn_noise_is_uniform(tmp_path: Path) -> None:
    generator = ganenc.load_generator(write(tmp_path, reference.weights(), {}))
    assert isinstance(generator, LucidrainsStyleGAN2)
    (stored,) = generator.noise_maps()
    assert 0 <= float(stored.min()) < 0.1
    assert 0.9 < float(stored.max()) <= 1
    seen = []
    generator.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2]))
    latents = generator.sample(2)
    for noise in (3, "random"):
        generator.synthesize(latents, noise=noise)
        assert 0 <= float(seen[-1].min()) < 0.1
        assert 0.9 < float(seen[-1].max()) <= 1
        assert abs(float(seen[-1].mean()) - 0.5) < 0.1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            None,
            r"there is no \.config\.json beside it to tell the learning rate .*; put that of .*lr_mlp",
        ),
        ([1], r"the lr_mlp in .*\.config\.json is no learning rate; correct it; the usual one is 0\.1"),
        ({"lr_mlp": -1}, r"is no learning rate"),
    ],
)
def test_settings_that_are_missing_or_wrong_are_asked_for(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        ganenc.load_generator(write(tmp_path, reference.weights(), config))


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("GE.blocks.1.conv2.weight", None, r"GE\.blocks\.1\.conv2\.weight' is missing"),
        ("SE.net.2.bias", torch.ones(5), r"SE\.net\.2\.bias' has shape"),
        ("GE.initial_block", torch.full((1, 8, 4, 4), torch.nan), "initial_block' holds NaN"),
        ("GE.attns.0.0.fn.g", torch.ones(1), "attention is that of an older version, which is not read"),
        ("GE.blocks.0.more.weight", torch.ones(2, 2), "left over when its network is read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, tensor: torch.Tensor | None, message: str) -> None:
    tensors = {key: one for key, one in reference.weights().items() if key != name}
    with pytest.raises(CheckpointError, match=message):
        ganenc.load_generator(write(tmp_path, {**tensors, **({} if tensor is None else {name: tensor})}, {}))


def test_a_spec_that_does_not_fit_is_named() -> None:
    for fields in ({"w_dim": 4}, {"classes": 2}):
        with pytest.raises(SpecError, match="square images, no classes, and z as long as w"):
            LucidrainsStyleGAN2(lucidrains_spec((8, 8), {4: 4, 8: 4}, **{"z_dim": 5, "w_dim": 5, **fields}))
