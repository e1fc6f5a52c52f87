"""FastGAN and lightweight-gan: published outputs, their arithmetic at other options, and files that are wrong."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.encoders import build_encoder
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.generators import build_generator
from ganenc_plugin_fastgan.fastgan import FastGAN
from ganenc_plugin_fastgan.lightweight import LightweightGAN
from ganenc_plugin_fastgan.specs import FastGANOptions, LightweightGANOptions, fastgan_spec, lightweight_gan_spec
from ganenc_registry.errors import CheckpointError, SpecError

_spec = importlib.util.spec_from_file_location("fastgan_reference", Path(__file__).parent / "fastgan_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)
Fast, Light, settled = reference.FastNet, reference.LightNet, reference.settled

NETS: dict[str, Callable[[], Any]] = {
    "projected": Fast,
    "projected, 256": lambda: Fast(256, 4),
    "projected, lite, grey, parametrized": lambda: Fast(
        small=(8, 16, 32, 64, 128, 256), channels=1, normalised="parametrized"
    ),
    "projected, labels": lambda: Fast(256, 4, classes=3),
    "projected, lite, labels, plain": lambda: Fast(small=(8, 16, 32, 64, 128, 256), classes=3, normalised="plain"),
    "original, 256": lambda: Fast(256, 4, small=(16, 64, 256), projected=False),
    "light": Light,
    "light, excited, transparent": lambda: Light((6, 5, 4, 8, 8, 7), channels=4),
    "light, frequencies": lambda: Light((6, 5, 17, 8, 8, 9), kind="frequency", channels=1, antialias=False),
    "light, attention": lambda: Light((6, 5, 4), attention=(4, 8)),
    "light 1.0": lambda: Light(version="1.0"),
    "light 0.23": lambda: Light(version="0.23"),
    "light 0.21": lambda: Light(version="0.21"),
    "light 0.20": lambda: Light(version="0.20"),
}
LARGE: dict[str, Callable[[], Any]] = {
    "projected, 1024": lambda: Fast(1024, 8),
    "original, 1024": lambda: Fast(1024, 8, small=(16, 64, 256, 1024), projected=False),
    "light, 512": lambda: Light((6, 5, 4, 8, 8, 3, 3, 3)),
}


def checkpoint(tensors: dict[str, torch.Tensor], prefix: str = "", **metadata: Any) -> Checkpoint:
    return Checkpoint(Path("none/G.pth"), "torch", {prefix + key: one for key, one in tensors.items()}, metadata)


def read(file: Checkpoint) -> Any:
    (family,) = (one for one in (FastGAN, LightweightGAN) if one.recognises(file))
    generator = family.from_checkpoint(file)
    file.check_all_read()
    return generator.freeze()


def compare(net: Any, generator: Any) -> None:
    labels = torch.tensor([2, 0]) if hasattr(net, "embed") else None
    z = torch.randn(2, net.z_dim)
    latents = generator.double().map(z.double(), labels=labels)
    maps = [torch.randn(2, 1, side, side) for side in net.noisy]
    assert generator.spec.size == (max([*net.noisy, generator.spec.size[0]]),) * 2
    for given in (maps, []):
        reference.Noise.given = [one.double() for one in given]
        with torch.no_grad():
            expected = net.double()(z.double(), *([] if labels is None else [labels]))
            found = generator.synthesize(latents, noise=given or "none")
        assert float(expected.std()) > 1e-4
        error, apart = ((x - y).abs().max() for x, y in ((found, expected), (expected[0], expected[1])))
        assert float(error) <= min(1e-4 * float(expected.std()), 0.01 * float(apart))


@pytest.mark.parametrize("name", [*NETS, *(pytest.param(one, marks=pytest.mark.slow) for one in LARGE)])
def test_the_published_arithmetic(name: str) -> None:
    net = {**NETS, **LARGE}[name]()
    settled(net, *([torch.arange(6) % 3] if hasattr(net, "embed") else []))
    prefix = "GAN.GE." if isinstance(net, Light) else "G_ema.synthesis." if net.projected else "g.module."
    compare(net, read(checkpoint(net.state_dict(), prefix)))


@pytest.mark.parametrize(
    ("name", "file"), [("lightweight_gan_lucidrains", "model_1.pt"), ("fastgan_projected", "network.pkl")]
)
def test_published_outputs(shared: Path, name: str, file: str) -> None:
    """Of the averaged copy, with noise that is given or none; and of the raw one, where the file has it."""
    folder = shared / "checkpoints" / name
    expected = {key: torch.from_numpy(one) for key, one in np.load(folder / "expected.npz").items()}
    generator = ganenc.load_generator(folder / file)
    latents = generator.map(expected["z"])
    maps = [expected[f"noise_{index}"] for index in range(len(expected) - 3) if f"noise_{index}" in expected]
    found = {
        "img_nonoise": generator.synthesize(latents, noise="none"),
        "img_noise": generator.synthesize(latents, noise=maps),
    }
    if "img_raw_nonoise" in expected:
        low, high = generator.spec.value_range
        found["img_clamped_nonoise"] = found["img_nonoise"].clamp(low, high)
        whole = read_checkpoint(folder / file)
        raw = {key: whole.tensors[key] for key in whole.tensors if key.startswith("GAN.G.")}
        found["img_raw_nonoise"] = read(checkpoint(raw)).synthesize(latents, noise="none")
    assert found.keys() == {key for key in expected if key.startswith("img")}
    for key, images in found.items():
        assert float((images - expected[key]).abs().max()) <= 1e-4 * float(expected[key].std()), key


def test_averages_that_lie_in_a_list_are_taken(tmp_path: Path) -> None:
    """As FastGAN's ``all_N.pth`` keeps them, beside the state of two optimisers."""
    net = settled(Fast(256, 4, small=(16, 64, 256), projected=False))
    averages = [1.1 * one.detach() + 0.001 for one in net.parameters()]
    state = {"state": {0: {"exp_avg": torch.ones(2, 2)}}}
    content = {"g": net.state_dict(), "d": {"x": torch.ones(2, 2)}, "g_ema": averages, "opt_g": state, "opt_d": state}
    torch.save(content, tmp_path / "all_5.pth")
    with torch.no_grad():
        for one, average in zip(net.parameters(), averages):
            one.copy_(average)
    compare(net, ganenc.load_generator(tmp_path / "all_5.pth"))
    torch.save({**content, "g_ema": averages[1:]}, tmp_path / "all_5.pth")
    with pytest.raises(CheckpointError, match=r"g_ema\.\d+' (is missing|has shape)"):
        ganenc.load_generator(tmp_path / "all_5.pth")


def test_what_a_file_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    """Whether z is normalised, without either program's marks; and how many classes were learned is taken as said."""
    net = settled(Fast())
    tensors = {key.replace("to_big.bias", "other"): one for key, one in net.state_dict().items()}
    del tensors["other"]
    torch.save(tensors, tmp_path / "G.pth")
    with pytest.raises(CheckpointError, match=r"z may be normalised.* G\.yaml .*'normalise_z: true'"):
        ganenc.load_generator(tmp_path / "G.pth")
    for normalised in (True, False):
        (tmp_path / "G.yaml").write_text(f"family: fastgan\nnormalise_z: {str(normalised).lower()}\n")
        options = ganenc.load_generator(tmp_path / "G.pth").spec.options
        assert (options["normalise_z"], options["bias"]) == (normalised, False)
    net = settled(Fast(classes=5), torch.arange(6) % 5)
    file = checkpoint(net.state_dict(), "G_ema.synthesis.", G_ema={"c_dim": 3, "img_resolution": 128})
    generator = read(file)
    assert generator.spec.classes == 3
    assert torch.equal(generator.embed(torch.tensor([2])), net.embed.weight[[2]])


WRONG: dict[str, tuple[Callable[[], Any], str, Any, str]] = {
    "missing": (Fast, "feat_16.5.weight_v", None, r"weight_v' is missing"),
    "another shape": (Fast, "feat_16.3.running_mean", torch.ones(3), "has shape"),
    "NaN": (Light, "layers.1.0.1.f", torch.full((3,), torch.nan), "holds NaN"),
    "variance": (Light, "layers.1.0.4.running_var", -torch.ones(8), "holds variances below zero"),
    "no direction": (Fast, "init.init.0.weight_u", torch.zeros(256), "has a spectral norm of zero"),
    "a level too far": (Fast, "feat_4096.1.weight_orig", torch.ones(2, 2, 3, 3), "has levels of .* 4096"),
    "another width": (Fast, "to_big.weight_orig", torch.ones(3, 9, 3, 3), "takes 9 channels, which no last level"),
    "older attention": (Light, "layers.1.2.fn.to_q.weight", torch.ones(512, 4, 1, 1), "of a version before 0.21.2"),
    "an older version": (Light, "layers.0.0.1.weight", torch.ones(2, 2, 3, 3), "of a version before 0.20"),
    "no level": (Light, "layers.7.0.2.weight", torch.ones(2, 2, 3, 3), r"the levels \[0, 1, 2, 7\]"),
    "left over": (Light, "layers.1.1.net.0.weight", torch.ones(2, 5, 1, 1), "left over"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(wrong: str) -> None:
    make, name, tensor, message = WRONG[wrong]
    tensors = make().state_dict()
    tensors.pop(name, None)
    with pytest.raises(CheckpointError, match=message) as raised:
        read(checkpoint({**tensors, **({} if tensor is None else {name: tensor})}))
    assert str(raised.value).count(". ") == 0, "one sentence"


SPECS = {
    "fastgan": fastgan_spec(64, {4: 16, 8: 16, 16: 8, 32: 8, 64: 8}, z_dim=6, classes=3),
    "original": fastgan_spec(
        32,
        {4: 16, 8: 16, 16: 8, 32: 8},
        z_dim=6,
        options=FastGANOptions(single=(16,), excited=(), normalise_z=False, bias=False, tanh=True),
    ),
    "light": lightweight_gan_spec(
        32,
        {4: 16, 8: 16, 16: 8, 32: 8},
        z_dim=6,
        options=LightweightGANOptions(attention=(8,), heads=2, attention_width=8),
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_a_network_is_built_and_trained_from_its_spec(name: str) -> None:
    spec = SPECS[name]
    torch.manual_seed(0)
    generator: Any = build_generator(type(spec).from_json(spec.to_json())).train()
    optimiser = torch.optim.Adam(generator.parameters(), 0.01)
    losses = []
    for step in range(12):
        images = generator.synthesize(generator.sample(8, seed=1, first=8 * step), noise="random")
        losses.append((images - 0.5).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    assert losses[-1].item() < 0.8 * losses[0].item()
    assert all(one.grad is not None and one.grad.any() for one in generator.parameters())
    images = generator.freeze().synthesize(generator.sample(2))
    assert torch.equal(images, generator.synthesize(generator.sample(2)))
    labels = torch.tensor([0, 1]) if spec.classes else None
    assert build_encoder(generator)(images, labels=labels)["z"].shape == (2, 6)
    with generator.watch(generator.stages()) as watched:
        generator.synthesize(generator.sample(2))
    assert {key: tuple(one.shape[1:]) for key, one in watched.items()} == generator.stages()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastgan_spec(96, {}), "power of two"),
        (lambda: fastgan_spec(16, {4: 8, 8: 8}), "needs channels at 16 pixels"),
        (lambda: fastgan_spec(8, {4: 8, 8: 8}, options=FastGANOptions(excited=(64,))), "not 64"),
        (lambda: lightweight_gan_spec(8, {4: 8, 8: 8}, options=LightweightGANOptions(attention=(8,))), "not 8"),
        (lambda: lightweight_gan_spec(8, {4: 8, 8: 8}, options=LightweightGANOptions(heads=3)), "no multiple of 3"),
    ],
)
def test_a_spec_that_does_not_fit_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make()
