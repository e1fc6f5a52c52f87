"""StyleGAN2 out of every published format: the published outputs, other architectures, and files that are wrong."""

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
from ganenc.latents import Latents
from ganenc.models import convert, from_checkpoint, save_pretrained
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("stylegan2_reference", Path(__file__).parent / "stylegan2_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)
Net = reference.Net

FILES = {
    "stylegan2_nvlabs_uncond": ("network.pkl", "G_ema."),
    "stylegan2_nvlabs_cond": ("network.pkl", "G_ema."),
    "stylegan2_nvidia_tf": ("network.pkl", "Gs."),
    "stylegan2_rosinality": ("checkpoint.pt", "g_ema."),
    "stylegan2_genforce": ("checkpoint.pth", "generator_smooth."),
}
EIGHT_LAYERS = ("stylegan2_nvidia_tf", "stylegan2_genforce")
OTHERS = (
    "stylegan1_nvidia_tf/network.pkl",
    "stylegan1_genforce/checkpoint.pth",
    "stylegan1_gs_gm_dir",
    "pggan_nvidia_tf/network.pkl",
    "pggan_genforce/checkpoint.pth",
    "biggan_deep_hf",
    "encoder_authors_E/encoder.pth",
)


def load(shared: Path, name: str) -> Checkpoint:
    return read_checkpoint(shared / "checkpoints" / name / FILES[name][0])


def assert_matches(found: torch.Tensor, expected: np.ndarray) -> None:
    """Within 1e-4 of the standard deviation of the published output."""
    assert found.shape == expected.shape
    assert float((found.detach() - torch.from_numpy(expected)).abs().max()) <= 1e-4 * float(expected.std())


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    """One of the sample files."""
    return str(request.param)


def test_published_outputs(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    assert StyleGAN2.recognises(checkpoint)
    generator = StyleGAN2.from_checkpoint(checkpoint).freeze()
    expected = np.load(shared / "checkpoints" / name / "expected.npz")
    z = torch.from_numpy(expected["z"])
    labels = torch.from_numpy(expected["c"]) if generator.spec.classes else None
    layers = 8 if name in EIGHT_LAYERS else None
    latents = generator.map(z, labels=labels)
    truncated = generator.map(z, labels=labels, truncation=0.7, truncation_layers=layers)
    found = {
        "w": latents["w"][:, 0],
        **dict.fromkeys(("ws", "wp"), latents["w"]),
        **dict.fromkeys(("ws_psi07", "wp_psi07"), truncated["w"]),
        "img": generator.synthesize(latents),
        "img_psi07": generator.synthesize(truncated),
        "img_nonoise": generator.synthesize(latents, noise="none"),
    }
    if "wplus" in expected:
        given = Latents(generator.spec.layout, {"w": torch.from_numpy(expected["wplus"])})
        found["img_wplus"] = generator.synthesize(given)
    outputs = set(expected.files) - {"z", "c", "wplus"}
    assert {"img", "img_psi07"} <= outputs <= set(found)
    for key in outputs:
        assert_matches(found[key], expected[key])


def test_architecture_comes_from_the_shapes(shared: Path) -> None:
    spec = StyleGAN2.from_checkpoint(load(shared, "stylegan2_nvlabs_cond")).spec
    assert (spec.size, spec.classes, spec.prior.dim) == ((32, 32), 10, 32)
    assert (spec.part("w").layers, spec.part("w").dim) == (8, 48)
    assert spec.resolution_channels == {4: 24, 8: 24, 16: 24, 32: 16}


def test_other_families_are_not_claimed(shared: Path) -> None:
    for other in OTHERS:
        checkpoint = read_checkpoint(shared / "checkpoints" / other)
        assert not StyleGAN2.recognises(checkpoint)
        with pytest.raises(CheckpointError, match=r"holds no StyleGAN2 in any known format"):
            StyleGAN2.from_checkpoint(checkpoint)


# Architectures besides those of the sample files, against an independent network in float64

VARIANTS = {
    "skip": Net(),
    "resnet": Net(architecture="resnet"),
    "orig": Net(architecture="orig"),
    "one_level": Net(widths=(6,)),
    "deep_mapping": Net(layers=6, lr=0.1),
    "shallow_mapping": Net(layers=1),
    "clamped": Net(clamp=0.8),
    "clamped_resnet": Net(clamp=0.8, architecture="resnet"),
    "grey": Net(channels=1),
    "labels": Net(classes=4),
    "labels_joint": Net(classes=4, label_dim=7, joint=True),
    "labels_as_long_as_z": Net(classes=4, label_dim=7),
    "two_taps": Net(taps=(1, 1)),
    "three_taps": Net(taps=(1, 2, 1)),
    "six_taps": Net(taps=(1, 5, 10, 10, 5, 1)),
    "no_noise": Net(noise=False),
    "wide_base": Net(base=(4, 6)),
    "tall_base": Net(base=(5, 3)),
    "large_base": Net(base=(8, 8)),
}


ONE_LENGTH = {"z_dim": 9, "hidden": 9}
"""Rosinality's networks have one length for z and w."""


def outputs(checkpoint: Checkpoint, net: Any, tensors: dict[str, torch.Tensor]) -> tuple[StyleGAN2, float]:
    """Read a checkpoint; return the generator and its greatest error against the reference, in standard deviations."""
    assert StyleGAN2.recognises(checkpoint)
    generator = StyleGAN2.from_checkpoint(checkpoint).freeze()
    z = torch.randn(2, net.z_dim, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(net.classes)[:2] if net.classes else None
    w = reference.mapping(net, tensors, z, labels)
    latents = generator.map(z, labels=labels)
    images = reference.synthesis(net, tensors, w[:, None].expand(-1, 2 * len(net.widths), -1))
    assert images.shape[1:] == (net.channels, *generator.spec.size)
    errors = [(generator.synthesize(latents) - images).abs().max() / images.std()]
    errors.append((latents["w"][:, 0] - w).abs().max() / w.std())
    return generator, float(max(errors))


def nvidia(net: Any, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    named = {f"G_ema.{key}": tensor for key, tensor in tensors.items()}
    return Checkpoint(Path("net.pkl"), "pickle", named, {"G_ema": reference.metadata(net)})


@pytest.mark.parametrize("variant", [key for key, net in VARIANTS.items() if not net.joint])
def test_variants_in_nvidias_torch_format(variant: str) -> None:
    net = VARIANTS[variant]
    tensors = reference.weights(net)
    generator, error = outputs(nvidia(net, tensors), net, tensors)
    assert error < 1e-4
    assert torch.equal(generator.center()["w"][0, 0], tensors["mapping.w_avg"])


@pytest.mark.parametrize("variant", [key for key, net in VARIANTS.items() if net.noise and net.base == (4, 4)])
def test_variants_in_nvidias_tensorflow_format(variant: str) -> None:
    net = VARIANTS[variant]
    tensors = reference.weights(net, seed=1)
    named = {f"Gs.{key}": tensor for key, tensor in reference.as_tensorflow(net, tensors).items()}
    kwargs = {
        "resolution": net.resolution,
        "mapping_layers": net.layers,
        "mapping_lrmul": net.lr,
        "conv_clamp": net.clamp,
    }
    declared = {"static_kwargs": {**kwargs, "resample_kernel": list(net.taps), "label_size": net.classes}}
    generator, error = outputs(Checkpoint(Path("net.pkl"), "pickle", named, {"Gs": declared}), net, tensors)
    assert error < 1e-4
    assert torch.equal(generator.center()["w"][0, 0], tensors["mapping.w_avg"])


@pytest.mark.parametrize("variant", ["skip", "one_level", "shallow_mapping", "two_taps", "three_taps"])
def test_variants_in_rosinalitys_format(variant: str) -> None:
    net = dataclasses.replace(VARIANTS[variant], **ONE_LENGTH)
    tensors = reference.weights(net, seed=2)
    named = {f"g_ema.{key}": tensor for key, tensor in reference.as_rosinality(net, tensors).items()}
    named["latent_avg"] = tensors["mapping.w_avg"]
    generator, error = outputs(Checkpoint(Path("net.pt"), "torch", named), net, tensors)
    assert error < 1e-4
    assert torch.equal(generator.center()["w"][0, 0], tensors["mapping.w_avg"])


@pytest.mark.parametrize("variant", ["skip", "orig", "grey", "labels_joint", "labels_as_long_as_z", "shallow_mapping"])
def test_variants_in_genforces_format(variant: str) -> None:
    net = VARIANTS[variant]
    tensors = reference.weights(net, seed=3)
    named = {f"generator_smooth.{key}": tensor for key, tensor in reference.as_genforce(net, tensors).items()}
    _, error = outputs(Checkpoint(Path("net.pth"), "torch", named), net, tensors)
    assert error < 1e-4


def test_a_network_that_grew_uses_its_last_image_layer() -> None:
    net = Net(architecture="orig")
    tensors = reference.weights(net, seed=4)
    named = {f"Gs.{key}": tensor for key, tensor in reference.as_tensorflow(net, tensors).items()}
    for key in list(named):
        if "/ToRGB/" in key:
            named[key.replace("16x16/ToRGB", "ToRGB_lod0")] = named.pop(key)
    declared = {"static_kwargs": {"mapping_layers": net.layers}}
    _, error = outputs(Checkpoint(Path("net.pkl"), "pickle", named, {"Gs": declared}), net, tensors)
    assert error < 1e-4


def test_a_file_need_not_declare_its_mapping_layers() -> None:
    net = Net()
    tensors = reference.weights(net, seed=7)
    named = {f"Gs.{key}": tensor for key, tensor in reference.as_tensorflow(net, tensors).items()}
    declared = {"static_kwargs": {"resolution": net.resolution, "num_channels": 3}}
    _, error = outputs(Checkpoint(Path("net.pkl"), "pickle", named, {"Gs": declared}), net, tensors)
    assert error < 1e-4


def test_half_precision_weights_are_read_in_full() -> None:
    net = Net()
    tensors = {name: tensor.half() for name, tensor in reference.weights(net).items()}
    generator, error = outputs(nvidia(net, tensors), net, tensors)
    assert error < 1e-4
    assert generator.dtype == torch.float32


@pytest.mark.parametrize("prefix", ["", "state_dict.decoder.", "module."])
def test_bare_state_dictionaries(prefix: str) -> None:
    net = Net(**ONE_LENGTH)
    tensors = reference.weights(net)
    for named in (tensors, reference.as_rosinality(net, tensors), reference.as_genforce(net, tensors)):
        checkpoint = Checkpoint(Path("net.pt"), "torch", {prefix + key: tensor for key, tensor in named.items()})
        assert outputs(checkpoint, net, tensors)[1] < 1e-4


# Parts that are read as the whole


def checked(named: dict[str, torch.Tensor]) -> StyleGAN2:
    """What loading a file of these tensors gives."""
    generator = from_checkpoint(Checkpoint(Path("net.pt"), "torch", named))
    assert isinstance(generator, StyleGAN2)
    return generator


def test_a_network_beside_which_the_rest_of_its_training_lies_is_read() -> None:
    net = Net(**ONE_LENGTH)
    own = reference.as_rosinality(net, reference.weights(net))
    named = {f"g_ema.{key}": tensor for key, tensor in own.items()} | {
        f"g.{key}": tensor for key, tensor in own.items()
    }
    named |= {
        "latent_avg": torch.zeros(10, 9),
        "d.convs.0.0.weight": torch.ones(4, 3, 1, 1),
        "mean_path": torch.ones(1),
    }
    named |= {
        "g_ema.steps": torch.tensor(3),
        "g_optim.state.0.exp_avg": torch.ones(2, 2),
        "E.conv.weight": torch.ones(2, 2),
    }
    assert checked(named).spec.size == (16, 16)


@pytest.mark.parametrize(
    ("prefix", "extra", "words"),
    [
        ("g_ema.", {"g_ema.to_rgbs.0.iwt.ll": (2, 2), "g_ema.iwt.lh": (2, 2)}, "'g_ema.to_rgbs.0.iwt.ll' and 1 more"),
        ("backbone.", {"decoder.net.0.weight": (8, 8), "superresolution.b.bias": (3,)}, "'decoder.net.0.weight' are"),
        ("G_ema.backbone.", {"G_ema.superresolution.block0.conv0.weight": (3, 3, 3, 3)}, "'G_ema.superres"),
        ("", {"conv1.scale": (8,)}, "'conv1.scale'"),
        ("g_ema.", {"upsampler.weight": (4, 4)}, "'upsampler.weight'"),
    ],
)
def test_a_part_is_not_read_as_the_whole(prefix: str, extra: dict[str, tuple[int, ...]], words: str) -> None:
    net = Net(**ONE_LENGTH)
    named = {f"{prefix}{key}": tensor for key, tensor in reference.as_rosinality(net, reference.weights(net)).items()}
    checked(named)
    with pytest.raises(CheckpointError, match=f"{words}.* left over when its network is read.*save it without"):
        checked(named | {key: torch.ones(shape) for key, shape in extra.items()})


def test_the_length_of_z_is_what_the_layout_fixes() -> None:
    net = Net(z_dim=18, hidden=9)
    with pytest.raises(CheckpointError, match="its mapping network takes 18 numbers where this layout has 9"):
        checked(reference.as_rosinality(net, reference.weights(net)))
    for joint in (True, False):
        net = Net(classes=4, joint=joint)
        with pytest.raises(CheckpointError, match="its mapping network takes 12 numbers where this layout has 10"):
            checked(reference.as_genforce(net, reference.weights(net)))


# The averaged copy, the mean style, the noise


def test_the_averaged_copy_is_taken() -> None:
    net = Net()
    raw, averaged = reference.weights(net, seed=5), reference.weights(net, seed=6)
    named = {f"G.{key}": tensor for key, tensor in raw.items()}
    named |= {f"G_ema.{key}": tensor for key, tensor in averaged.items()}
    assert outputs(Checkpoint(Path("net.pt"), "torch", named), net, averaged)[1] < 1e-4
    alone = {key: tensor for key, tensor in named.items() if key.startswith("G.")}
    assert outputs(Checkpoint(Path("net.pt"), "torch", alone), net, raw)[1] < 1e-4
    twice = {key.replace("G_ema.", "other."): tensor for key, tensor in named.items()}
    with pytest.raises(CheckpointError, match=r"several networks \('G\.', 'other\.'\)"):
        StyleGAN2.from_checkpoint(Checkpoint(Path("net.pt"), "torch", twice))


def test_a_missing_mean_style_is_computed(shared: Path) -> None:
    checkpoint = load(shared, "stylegan2_rosinality")
    without = {key: tensor for key, tensor in checkpoint.tensors.items() if key != "latent_avg"}
    generator = StyleGAN2.from_checkpoint(dataclasses.replace(checkpoint, tensors=without)).freeze()
    draws = generator.map(torch.randn(20_000, 32, generator=torch.Generator().manual_seed(2)))["w"][:, 0]
    difference = (generator.center()["w"][0, 0] - draws.mean(0)).abs()
    assert bool((difference < 6 * draws.std(0) * (1 / 10_000 + 1 / 20_000) ** 0.5).all())


def test_a_mean_style_of_every_layer_is_taken(shared: Path) -> None:
    checkpoint = load(shared, "stylegan2_rosinality")
    mean = checkpoint.tensors["latent_avg"]
    repeated = dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, "latent_avg": mean.expand(10, -1)})
    torch.testing.assert_close(StyleGAN2.from_checkpoint(repeated).center()["w"][0, 0], mean)


def test_noise_that_was_never_stored_is_the_same_every_time(shared: Path) -> None:
    checkpoint = load(shared, "stylegan2_rosinality")
    without = {key: tensor for key, tensor in checkpoint.tensors.items() if ".noises." not in key}
    first, second = (
        StyleGAN2.from_checkpoint(dataclasses.replace(checkpoint, tensors=without)).convs[3].noise_const
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert 0.8 < float(first.std()) < 1.2


# Files that are wrong


def needed(checkpoint: Checkpoint, prefix: str) -> list[str]:
    """The tensors of the averaged network that reading it cannot do without."""
    spare = ("filter", "kernel", "avg", "lod")
    return [key for key in checkpoint.tensors if key.startswith(prefix) and not any(word in key for word in spare)]


def broken(checkpoint: Checkpoint, **changes: torch.Tensor | None) -> str:
    """The error for a checkpoint with some tensors replaced, or left out where None."""
    tensors = {key: tensor for key, tensor in {**checkpoint.tensors, **changes}.items() if tensor is not None}
    changed = dataclasses.replace(checkpoint, tensors=tensors)
    assert StyleGAN2.recognises(changed)
    with pytest.raises(CheckpointError) as caught:
        StyleGAN2.from_checkpoint(changed)
    message = str(caught.value)
    assert message.startswith(str(checkpoint.path))
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_missing_tensors_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    keys = needed(checkpoint, FILES[name][1])
    assert len(keys) > 50
    named = [key in broken(checkpoint, **{key: None}) for key in keys[::4]]
    assert all(named)


def test_wrong_shapes_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    for key in needed(checkpoint, FILES[name][1])[::5]:
        message = broken(checkpoint, **{key: checkpoint.tensors[key][None, None, None, None]})
        assert key in message
        assert "has shape" in message
        if checkpoint.tensors[key].ndim and checkpoint.tensors[key].shape[0] > 1:
            broken(checkpoint, **{key: checkpoint.tensors[key][:-1]})


def test_nan_is_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    for key in needed(checkpoint, FILES[name][1])[::7]:
        message = broken(checkpoint, **{key: torch.full_like(checkpoint.tensors[key], float("nan"))})
        assert key in message
        assert "NaN" in message


def test_what_is_not_supported_is_said() -> None:
    net = Net()
    tensors = reference.weights(net)
    checkpoint = nvidia(net, tensors)
    own = checkpoint.metadata["G_ema"]
    block = own["synthesis"]["b8"]
    cases = {
        "activation 'relu'": {"mapping": {**own["mapping"], "fc0": {"activation": "relu"}}},
        "activation 'swish'": {"synthesis": {"b8": {**block, "conv0": {"activation": "swish"}}}},
        "differs between layers": {"synthesis": {**own["synthesis"], "b8": {**block, "torgb": {"conv_clamp": 9}}}},
        "images of 64 pixels but holds layers for 16x16": {"img_resolution": 64},
        "8 mapping layers but holds 3": {"mapping": {**own["mapping"], "num_layers": 8}},
        "labels of length 5 but embeds 0": {"c_dim": 5},
        "z of length 6 but maps 7 numbers": {"z_dim": 6},
        "is malformed": {"mapping": [1, 2]},
    }
    for words, change in cases.items():
        assert words in broken(dataclasses.replace(checkpoint, metadata={"G_ema": {**own, **change}}))
    odd = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    filters = {key: odd for key in checkpoint.tensors if "filter" in key}
    assert "no outer product" in broken(checkpoint, **filters)
    assert "low-pass filter that differs" in broken(checkpoint, **{next(iter(filters)): torch.ones(2, 2)})


# Files that other people's programs read


@pytest.mark.parametrize("form", ["rosinality", "nvidia-state"])
def test_what_is_written_is_what_was_read(form: str, tmp_path: Path) -> None:
    """Names, shapes and numbers are those of the published format; what is read back is the same generator."""
    net = Net(**ONE_LENGTH)
    tensors = reference.weights(net)
    generator = StyleGAN2.from_checkpoint(nvidia(net, tensors))
    content = generator.to_format(form)
    expected = reference.as_rosinality(net, tensors) if form == "rosinality" else tensors
    if form == "rosinality":
        kernels = {f"to_rgbs.{i}.upsample.kernel": expected["convs.0.conv.blur.kernel"] for i in range(2)}
        torch.testing.assert_close(content["latent_avg"], tensors["mapping.w_avg"])
        content, expected = content["g_ema"], expected | kernels
    assert content.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(content[key], tensor, rtol=1e-6, atol=1e-6)
    torch.save(generator.to_format(form), tmp_path / "net.pt")
    again = from_checkpoint(read_checkpoint(tmp_path / "net.pt")).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in generator.state_dict().items())


@pytest.mark.parametrize("name", ["net", "net.pt"])
def test_a_model_is_converted_twice_to_a_file_of_any_name(name: str, tmp_path: Path) -> None:
    net = Net(**ONE_LENGTH)
    save_pretrained(StyleGAN2.from_checkpoint(nvidia(net, reference.weights(net))), tmp_path / "model")
    for _ in range(2):
        assert convert(tmp_path / "model", tmp_path / name, to="rosinality")["largest_difference"] == 0


def test_what_a_format_lacks_is_not_written() -> None:
    net = Net(classes=4)
    generator = StyleGAN2.from_checkpoint(nvidia(net, reference.weights(net)))
    for form in ("rosinality", "other"):
        with pytest.raises(CheckpointError, match=f"cannot be written as {form}"):
            generator.to_format(form)


@pytest.mark.parametrize(
    ("form", "name"), [("rosinality", "stylegan2_rosinality"), ("nvidia-state", "stylegan2_nvlabs_cond")]
)
def test_published_names_and_shapes_are_written(shared: Path, form: str, name: str) -> None:
    checkpoint = load(shared, name)
    content = StyleGAN2.from_checkpoint(checkpoint).to_format(form)
    content = content.get("g_ema", content)
    prefix = FILES[name][1]
    published = {key: t for key, t in checkpoint.tensors.items() if key.startswith(prefix)}
    assert {f"{prefix}{key}": tuple(t.shape) for key, t in content.items()} == {
        k: tuple(t.shape) for k, t in published.items()
    }
    assert all(torch.allclose(content[key.removeprefix(prefix)], t) for key, t in published.items())
