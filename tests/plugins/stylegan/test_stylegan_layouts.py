"""StyleGANs out of mmgeneration's, pytorch_GAN_zoo's and podgorskiy's files: published outputs, other options."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.encoders import build_encoder
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.generators import build_generator
from ganenc.models import from_checkpoint
from ganenc_plugin_stylegan.specs import StyleGAN1Options, StyleGAN2Options, stylegan1_spec, stylegan2_spec
from ganenc_plugin_stylegan.style_based import StyleBased
from ganenc_plugin_stylegan.stylegan1 import StyleGAN1
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from ganenc_registry.errors import CheckpointError
from torch import Tensor


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"torch_formats_{name}", Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference, stylegan2 = _load("stylegan1_layouts_reference"), _load("stylegan2_reference")
W = reference.W


def opened(checkpoint: Checkpoint) -> StyleBased:
    """The generator of a checkpoint, frozen and in double precision; everything in the file must have been read."""
    generator = from_checkpoint(checkpoint)
    assert isinstance(generator, StyleBased)
    return generator.freeze().double()


def close(found: Tensor, expected: Any, share: float = 1e-5) -> None:
    wanted = torch.as_tensor(expected).double()
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) <= share * float(wanted.std())


def recorded(shared: Path, name: str) -> tuple[Checkpoint, dict[str, Tensor]]:
    folder = shared / "checkpoints" / name
    file = next(path for path in folder.iterdir() if path.suffix in (".pth", ".pt"))
    arrays = {key: torch.from_numpy(array).double() for key, array in np.load(folder / "expected.npz").items()}
    return read_checkpoint(file), arrays


@pytest.mark.parametrize("name", ["stylegan1_mmgen", "stylegan2_mmgen"])
def test_mmgenerations_published_outputs(shared: Path, name: str) -> None:
    checkpoint, expected = recorded(shared, name)
    generator = opened(checkpoint)
    latents = generator.map(expected["z"])
    pulled = torch.lerp(expected["w_avg"], expected["w"], 0.7)[:, None].expand_as(latents["w"])
    raw = {key: tensor for key, tensor in checkpoint.tensors.items() if "_ema" not in key}
    other = opened(dataclasses.replace(checkpoint, tensors=raw))
    found = {
        "w": latents["w"][:, 0],
        "img": generator.synthesize(latents),
        "img_psi07": generator.synthesize(latents.replace(w=pulled)),
        "img_wplus": generator.synthesize(latents.replace(w=expected["wplus"])),
        "img_nonoise": generator.synthesize(latents, noise="none"),
        "img_raw": other.synthesize(other.map(expected["z"])),
    }
    assert found.keys() == expected.keys() - {"z", "w_avg", "wplus"}
    for key, tensor in found.items():
        close(tensor, expected[key], 1e-4)


@pytest.mark.parametrize(("name", "psi", "layers"), [("stylegan1_ganzoo", 0.5, None), ("stylegan1_podgorskiy", 0.7, 8)])
def test_the_published_outputs_of_those_without_stored_noise(
    shared: Path, name: str, psi: float, layers: int | None
) -> None:
    checkpoint, expected = recorded(shared, name)
    generator = opened(checkpoint)
    whole = generator.map(expected["z"])
    pulled = generator.map(expected["z"], truncation=psi, truncation_layers=layers)
    maps = [expected[f"noise_{index}"] for index in range(whole["w"].shape[1])]
    usual, other = (pulled, "img_psi1_nonoise") if name == "stylegan1_ganzoo" else (whole, "img_trunc_nonoise")
    close(whole["w"] if expected["w"].ndim == 3 else whole["w"][:, 0], expected["w"], 1e-4)
    close(generator.synthesize(usual, noise="none"), expected["img_nonoise"], 1e-4)
    close(generator.synthesize(usual, noise=maps), expected["img_noise"], 1e-4)
    close(generator.synthesize(whole if usual is pulled else pulled, noise="none"), expected[other], 1e-4)


@pytest.mark.parametrize("prefix", ["", "state_dict.generator_ema.", "module."])
@pytest.mark.parametrize(("widths", "place"), [((6, 5, 4), 0), ((6, 5, 4), 1), ((4, 4), 0)])
def test_mmgenerations_stylegan1(widths: tuple[int, ...], place: int, prefix: str) -> None:
    tensors = reference.mm_weights(widths, place=place, channels=1)
    generator = opened(Checkpoint(Path("n.pth"), "torch", {prefix + key: one for key, one in tensors.items()}))
    z = torch.randn(2, W)
    w, images = reference.mm(tensors, z, place=place)
    latents = generator.map(z.double())
    close(latents["w"][:, 0], w)
    close(generator.synthesize(latents), images)


@pytest.mark.parametrize("config", [{}, {"leakyReluLeak": 0.05}, {"lossCriterion": "MSE"}])
def test_gan_zoos_stylegan1(config: dict[str, Any]) -> None:
    tensors = reference.zoo_weights(channels=1)
    named = {f"avgG.{key}": one for key, one in tensors.items()}
    generator = opened(Checkpoint(Path("n.pth"), "torch", named, {"config": config}))
    z = torch.randn(2, 7)
    latents = generator.map(z.double())
    maps = [torch.randn(2, 1, 4 << index // 2, 4 << index // 2) for index in range(6)]
    w, images = reference.zoo(tensors, z, maps, config)
    close(latents["w"][:, 0], w)
    close(generator.synthesize(latents, noise=maps), images)
    close(generator.center()["w"][0, 2], tensors["mean_w"][0])


def test_gan_zoos_stylegan1_that_still_grows_is_refused() -> None:
    checkpoint = Checkpoint(Path("n.pth"), "torch", reference.zoo_weights(), {"config": {"alpha": 0.4}})
    with pytest.raises(CheckpointError, match=r"before it had grown .*alpha is not 0\); use a copy"):
        StyleGAN1.from_checkpoint(checkpoint)


@pytest.mark.parametrize("own", [False, True])
def test_mmgenerations_stylegan2(own: bool) -> None:
    """The same as rosinality's file, unless filters have been changed; they count as they are stored."""
    net = stylegan2.Net(widths=(6, 5, 4), z_dim=W, w_dim=W, hidden=W)
    tensors = stylegan2.as_rosinality(net, stylegan2.weights(net))
    tensors |= {f"to_rgbs.{level}.upsample.kernel": tensors["convs.0.conv.blur.kernel"] for level in (0, 1)}
    generator = opened(Checkpoint(Path("n.pt"), "torch", tensors))
    named = {f"state_dict.generator_ema.{key}": one for key, one in stylegan2.as_mmgeneration(tensors).items()}
    kernels = [key for key in named if key.endswith("kernel")]
    assert len(kernels) == 4
    if own:
        named |= {key: torch.rand_like(named[key]) for key in kernels}
    other = opened(Checkpoint(Path("n.pth"), "torch", named))
    assert other.spec.options["own_filters"] == own
    latents = generator.map(torch.randn(2, W).double())
    if own:
        assert isinstance(generator, StyleGAN2)
        for level in (1, 2):  # Put by hand where the network without such filters has one for all.
            blur, image = (f"convs.{2 * level - 2}.conv.blur", f"to_rgbs.{level - 1}.upsample")
            for module, name in ((generator.convs[2 * level - 1], blur), (generator.to_rgb[level], image)):
                module.kernel = named[f"state_dict.generator_ema.{name}.kernel"].double() / 4
    close(other.synthesize(latents), generator.synthesize(latents).detach())


@pytest.mark.parametrize("make", [StyleGAN1, StyleGAN2])
def test_networks_of_these_options_are_built_and_trained_from_their_specs(make: type[StyleBased]) -> None:
    dims: dict[str, Any] = {"z_dim": 5, "w_dim": 7}
    if make is StyleGAN1:
        options = StyleGAN1Options(own_filters=True, before_blur="activation", slope=0.1, epsilon=1e-5, tanh=True)
        spec = stylegan1_spec((16, 16), {4: 8, 8: 6, 16: 5}, **dims, options=options)
    else:
        spec = stylegan2_spec((16, 16), {4: 8, 8: 6, 16: 5}, **dims, options=StyleGAN2Options(own_filters=True))
    torch.manual_seed(0)
    generator = build_generator(type(spec).from_json(spec.to_json())).train()
    assert sum(name.endswith("kernel") for name in generator.state_dict()) == (2 if make is StyleGAN1 else 4)
    optimiser, losses = torch.optim.Adam(generator.parameters(), 0.01), []
    for step in range(15):
        images = generator.synthesize(generator.sample(4, seed=1, first=4 * step))
        losses.append((images - 0.5).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1].item() < 0.8 * losses[0].item()
    assert build_encoder(generator)(images.detach())["w"].shape == (4, 6, 7)
