"""StyleGAN1 out of every published format: the published outputs, other architectures, and files that are wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from foreign import published
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc_plugin_stylegan.stylegan1 import StyleGAN1
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("stylegan1_reference", Path(__file__).parent / "stylegan1_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)
Net = reference.Net

FILES = {
    "stylegan1_nvidia_tf": "network.pkl",
    "stylegan1_genforce": "checkpoint.pth",
    "stylegan1_gs_gm_dir": "",
}
PARTS = ("Gs_dict.pth", "Gm_dict.pth", "center_tensor.pt")


def load(shared: Path, name: str) -> Checkpoint:
    return read_checkpoint(shared / "checkpoints" / name / FILES[name])


def assert_matches(found: torch.Tensor, expected: np.ndarray) -> None:
    """Within 1e-4 of the standard deviation of the published output."""
    assert found.shape == expected.shape
    assert float((found.detach() - torch.from_numpy(expected)).abs().max()) <= 1e-4 * float(expected.std())


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    """One of the sample files."""
    return str(request.param)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_published_outputs(shared: Path, name: str, memory: torch.memory_format) -> None:
    generator = ganenc.load_generator(shared / "checkpoints" / name / FILES[name]).to(memory_format=memory)
    assert isinstance(generator, StyleGAN1)
    expected = np.load(shared / "checkpoints" / name / "expected.npz")
    generator = generator.double()  # What is left is the rounding of the published outputs, on any machine.
    z = torch.from_numpy(expected["z"]).double()
    latents = generator.map(z)
    layers = 5 if name == "stylegan1_gs_gm_dir" else 8
    truncated = generator.map(z, truncation=0.7, truncation_layers=layers)
    found = {"wp": latents, "img": latents, "wp_psi07": truncated, "img_psi07": truncated}
    if name == "stylegan1_gs_gm_dir":
        found = {"w": truncated, "img": truncated}
    assert set(found) == set(expected.files) - {"z"}
    for key, one in found.items():
        assert_matches(generator.synthesize(one) if key.startswith("img") else one["w"], expected[key])


def test_architecture_comes_from_the_shapes(shared: Path) -> None:
    spec = StyleGAN1.from_checkpoint(load(shared, "stylegan1_gs_gm_dir")).spec
    assert (spec.family, spec.size, spec.channels, spec.classes, spec.prior.dim) == ("stylegan1", (64, 64), 3, 0, 32)
    assert [part.shape for part in spec.layout[:2]] == [(10, 32), (32, 4, 4)]
    assert spec.part("noise").shapes == tuple((1, side, side) for side in (4, 8, 16, 32, 64) for _ in range(2))
    assert spec.resolution_channels == {4: 32, 8: 32, 16: 32, 32: 16, 64: 8}
    assert spec.options["mapping_layers"] == 8
    assert StyleGAN1.from_checkpoint(load(shared, "stylegan1_genforce")).spec.options["mapping_layers"] == 4


def test_each_file_is_claimed_by_its_own_family_alone(shared: Path) -> None:
    families = {name: ganenc.registry().resolve("generator", name) for name in ganenc.registry().names("generator")}
    seen = set()
    for folder in published.folders(shared / "checkpoints"):
        file = next((path for path in folder.iterdir() if path.stem in ("network", "checkpoint", "encoder")), folder)
        checkpoint = read_checkpoint(file)
        claims = [name for name, family in families.items() if family.recognises(checkpoint)]
        own = folder.name.split("_")[0]
        if own in ("stylegan1", "stylegan2"):
            assert claims == [own]
            seen.add(folder.name)
        else:
            assert not {"stylegan1", "stylegan2"} & set(claims)
            with pytest.raises(CheckpointError, match=r"holds no StyleGAN1 in any known format; give a file in NVIDIA"):
                StyleGAN1.from_checkpoint(checkpoint)
    assert set(FILES) <= seen
    assert len(seen) == 12


# Architectures besides those of the sample files, against an independent network in float64

VARIANTS = {
    "plain": Net(),
    "one_level": Net(widths=(6,)),
    "large": Net(widths=(8, 8, 7, 6, 5, 4, 4), z_dim=6, hidden=5),
    "deep_mapping": Net(layers=6, lr=0.1),
    "shallow_mapping": Net(layers=1),
    "grey": Net(channels=1),
    "labels": Net(classes=4),
    "five_taps": Net(taps=(1, 4, 6, 4, 1)),
    "no_filter": Net(taps=(1,)),
    "fused": Net(fused=True),
    "never_fused": Net(widths=(8, 7, 6, 5, 4, 3), fused=False),
    "no_noise": Net(noise=False),
}
DECLARED_ALONE = ("fused", "never_fused")  # what no other format can say
MAPPED_BY_LABELS = ("labels",)  # what this paper's format has not


def outputs(checkpoint: Checkpoint, net: Any, tensors: dict[str, torch.Tensor]) -> StyleGAN1:
    """Read a checkpoint and hold it against the reference, to 1e-4 of a standard deviation; return the generator."""
    assert StyleGAN1.recognises(checkpoint)
    assert not StyleGAN2.recognises(checkpoint)
    generator = StyleGAN1.from_checkpoint(checkpoint).freeze().double()
    z = torch.randn(2, net.z_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.eye(net.classes)[:2] if net.classes else None
    w = reference.mapping(net, tensors, z, labels)
    latents = generator.map(z, labels=labels)
    assert float((latents["w"][:, 0] - w).abs().max() / w.std()) < 1e-5
    images = reference.synthesis(net, tensors, latents["w"])
    assert images.shape[1:] == (net.channels, *generator.spec.size)
    assert float((generator.synthesize(latents) - images).abs().max() / images.std()) < 1e-4
    return generator


def tensorflow(net: Any, tensors: dict[str, torch.Tensor]) -> Checkpoint:
    named = {f"Gs.{key}": tensor for key, tensor in tensors.items()}
    return Checkpoint(Path("net.pkl"), "pickle", named, {"Gs": reference.declared(net)})


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_in_nvidias_format(variant: str) -> None:
    net = VARIANTS[variant]
    tensors = reference.weights(net)
    generator = outputs(tensorflow(net, tensors), net, tensors)
    assert torch.equal(generator.center()["w"][0], tensors["dlatent_avg"].double().expand(2 * len(net.widths), -1))


@pytest.mark.parametrize("variant", [key for key, net in VARIANTS.items() if key not in DECLARED_ALONE and net.noise])
def test_variants_in_genforces_format(variant: str) -> None:
    net = dataclasses.replace(VARIANTS[variant], lr=0.01)
    tensors = reference.weights(net, seed=1)
    named = {f"generator_smooth.{key}": tensor for key, tensor in reference.as_genforce(net, tensors).items()}
    generator = outputs(Checkpoint(Path("net.pth"), "torch", named), net, tensors)
    assert torch.equal(generator.center()["w"][0, -1], tensors["dlatent_avg"].double())


def quiet(net: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights with strengths of noise of 0, since this paper's format stores no noise."""
    return {key: tensor * 0 if "Noise" in key else tensor for key, tensor in tensors.items()}


def folder_of(net: Any, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    gs, gm = reference.as_gs_gm(net, tensors)
    named = {f"Gs_dict.{key}": tensor for key, tensor in gs.items()}
    return named | {f"Gm_dict.{key}": tensor for key, tensor in gm.items()}


@pytest.mark.parametrize("variant", [key for key in VARIANTS if key not in (*DECLARED_ALONE, *MAPPED_BY_LABELS)])
def test_variants_in_this_papers_format(variant: str) -> None:
    net = VARIANTS[variant]
    tensors = quiet(net, reference.weights(net, seed=2))
    named = folder_of(net, tensors)
    mean = torch.randn(2 * len(net.widths), net.w_dim, generator=torch.Generator().manual_seed(3))
    named |= {"center_tensor": mean, "Gm_dict.buffer1": mean + 1}
    generator = outputs(Checkpoint(Path("folder"), "folder", named), net, tensors)
    assert torch.equal(generator.center()["w"][0], mean.double())
    del named["center_tensor"]
    generator = StyleGAN1.from_checkpoint(Checkpoint(Path("folder"), "folder", named))
    assert torch.equal(generator.center()["w"][0], mean + 1)


@pytest.mark.parametrize("level", [1, 2])
def test_a_filter_of_another_shape_than_the_others_is_refused(level: int) -> None:
    net = Net()
    named = folder_of(net, quiet(net, reference.weights(net)))
    name = f"Gs_dict.decode_block.{level}.blur.weight"
    named[name] = named[name].flatten()
    with pytest.raises(CheckpointError, match=rf"'{name}' has shape \(\d+,\) where \(\d+, 1, 3, 3\) is needed"):
        StyleGAN1.from_checkpoint(Checkpoint(Path("folder"), "folder", named))


def test_a_training_file_of_podgorskiys_is_read() -> None:
    net = Net()
    raw, averaged = (quiet(net, reference.weights(net, seed=seed)) for seed in (4, 5))
    named = {}
    for suffix, tensors in (("", raw), ("_s", averaged)):
        gs, gm = reference.as_gs_gm(net, tensors)
        named |= {f"models.generator{suffix}.{key}": tensor for key, tensor in gs.items()}
        named |= {f"models.mapping{suffix}.{key}": tensor for key, tensor in gm.items()}
    named["models.dlatent_avg.buff"] = torch.randn(6, net.w_dim, generator=torch.Generator().manual_seed(3))
    generator = outputs(Checkpoint(Path("model.pth"), "torch", named), net, averaged)
    assert torch.equal(generator.center()["w"][0], named["models.dlatent_avg.buff"].double())
    outputs(
        Checkpoint(Path("model.pth"), "torch", {k: t for k, t in named.items() if "_s." not in k}), net, raw
    )  # no averaged copy


@pytest.mark.parametrize("prefix", ["", "state_dict.decoder.", "module."])
def test_bare_state_dictionaries(prefix: str) -> None:
    net = Net()
    tensors = reference.weights(net)
    named = {prefix + key: tensor for key, tensor in reference.as_genforce(net, tensors).items()}
    outputs(Checkpoint(Path("net.pt"), "torch", named), net, tensors)


def test_the_averaged_copy_is_taken() -> None:
    net = Net()
    raw, averaged = reference.weights(net, seed=5), reference.weights(net, seed=6)
    checkpoint = tensorflow(net, averaged)
    both = {**checkpoint.tensors, **{f"G.{key}": tensor for key, tensor in raw.items()}}
    outputs(dataclasses.replace(checkpoint, tensors=both), net, averaged)
    twice = {key.replace("Gs.", "other."): tensor for key, tensor in both.items()}
    with pytest.raises(CheckpointError, match=r"several networks \('G\.', 'other\.'\)"):
        StyleGAN1.from_checkpoint(dataclasses.replace(checkpoint, tensors=twice))


def test_a_missing_mean_style_is_computed(shared: Path) -> None:
    checkpoint = load(shared, "stylegan1_genforce")
    without = {key: tensor for key, tensor in checkpoint.tensors.items() if not key.endswith("w_avg")}
    generator = StyleGAN1.from_checkpoint(dataclasses.replace(checkpoint, tensors=without)).freeze()
    draws = generator.map(torch.randn(20_000, 32, generator=torch.Generator().manual_seed(2)))["w"][:, 0]
    difference = (generator.center()["w"][0, 0] - draws.mean(0)).abs()
    assert bool((difference < 6 * draws.std(0) * (1 / 10_000 + 1 / 20_000) ** 0.5).all())


def test_noise_that_was_never_stored_is_the_same_every_time(shared: Path) -> None:
    checkpoint = load(shared, "stylegan1_gs_gm_dir")
    first, second = (StyleGAN1.from_checkpoint(checkpoint).noise_maps() for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert 0.9 < float(first[-1].std()) < 1.1
    assert not torch.equal(first[-1], first[-2])


# Files that are wrong


def prefixes(name: str) -> tuple[str, ...]:
    return {"stylegan1_nvidia_tf": ("Gs.",), "stylegan1_genforce": ("generator_smooth.",)}.get(
        name, ("Gs_dict.", "Gm_")
    )


def needed(checkpoint: Checkpoint, name: str) -> list[str]:
    """The tensors of the averaged network that reading it cannot do without."""
    last = {"ToRGB_lod0", "output4", "to_rgb.4"}
    images = ("ToRGB", "output", "to_rgb")
    return [
        key
        for key in checkpoint.tensors
        if key.startswith(prefixes(name))
        and not any(word in key for word in ("blur", "avg", "lod", "buffer"))
        and (not any(word in key for word in images) or any(word in key for word in last))
    ]


def broken(checkpoint: Checkpoint, **changes: torch.Tensor | None) -> str:
    """The error for a checkpoint with some tensors replaced, or left out where None."""
    tensors = {key: tensor for key, tensor in {**checkpoint.tensors, **changes}.items() if tensor is not None}
    changed = dataclasses.replace(checkpoint, tensors=tensors)
    assert StyleGAN1.recognises(changed)
    with pytest.raises(CheckpointError) as caught:
        StyleGAN1.from_checkpoint(changed)
    return sentence(checkpoint.path, caught.value)


def sentence(path: Path, error: CheckpointError) -> str:
    message = str(error)
    assert message.startswith(str(path))
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_missing_tensors_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    keys = needed(checkpoint, name)
    assert len(keys) > 50
    for key in keys[::3]:
        assert repr(key) in broken(checkpoint, **{key: None})


def test_wrong_shapes_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    for key in needed(checkpoint, name)[::3]:
        tensor = checkpoint.tensors[key]
        message = broken(checkpoint, **{key: tensor[None, None, None]})
        assert repr(key) in message
        assert "has shape" in message
        if tensor.shape[0] > 1:
            broken(checkpoint, **{key: tensor[:-1]})


def test_nan_is_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    mean = {"stylegan1_nvidia_tf": "Gs.dlatent_avg", "stylegan1_genforce": "generator_smooth.truncation.w_avg"}
    for key in [*needed(checkpoint, name)[::5], mean.get(name, "center_tensor")]:
        message = broken(checkpoint, **{key: torch.full_like(checkpoint.tensors[key], float("nan"))})
        assert repr(key) in message
        assert "NaN" in message


def test_a_mean_style_of_another_shape_is_refused(shared: Path) -> None:
    checkpoint = load(shared, "stylegan1_gs_gm_dir")
    for wrong in (torch.zeros(9, 32), torch.zeros(10, 31), torch.zeros(0)):
        assert "'center_tensor' " in broken(checkpoint, center_tensor=wrong)


@pytest.mark.parametrize("left", [["Gs_dict.pth"], ["Gm_dict.pth", "center_tensor.pt"], ["center_tensor.pt"], []])
def test_a_folder_without_its_parts_is_refused(shared: Path, tmp_path: Path, left: list[str]) -> None:
    for part in left:
        shutil.copy(shared / "checkpoints/stylegan1_gs_gm_dir" / part, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        ganenc.load_generator(tmp_path)
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "\n" not in message
    if left == ["Gs_dict.pth"]:
        assert "without its mapping network, Gm_dict.pth; give the folder that holds Gs_dict.pth" in message
    elif "Gm_dict.pth" in left:
        assert "without its synthesis network, Gs_dict.pth; give the folder that holds Gs_dict.pth" in message


@pytest.mark.parametrize("part", ["network.pkl", "checkpoint.pth", *PARTS])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
def test_truncated_and_empty_files_are_refused(shared: Path, tmp_path: Path, part: str, kept: float) -> None:
    folder = next(shared / "checkpoints" / name for name in FILES if (shared / "checkpoints" / name / part).is_file())
    for file in folder.iterdir():
        if file.suffix != ".npz":
            data = file.read_bytes()
            (tmp_path / file.name).write_bytes(data[: int(len(data) * kept)] if file.name == part else data)
    whole = part in PARTS
    with pytest.raises(CheckpointError) as caught:
        ganenc.load_generator(tmp_path if whole else tmp_path / part)
    message = sentence(tmp_path / part, caught.value)
    assert "empty" in message if kept == 0 else "damaged" in message or "truncated" in message


def test_pickles_that_run_code_are_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "network.pkl").write_bytes(pickle.dumps((Evil(), Evil(), Evil())))
    with pytest.raises(CheckpointError):
        ganenc.load_generator(tmp_path / "network.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_network_that_has_not_grown_is_refused(shared: Path) -> None:
    checkpoint = load(shared, "stylegan1_nvidia_tf")
    assert "('Gs.lod' is 2.5, not 0)" in broken(checkpoint, **{"Gs.lod": torch.tensor(2.5)})
    checkpoint = load(shared, "stylegan1_genforce")
    key = "generator_smooth.synthesis.lod"
    assert f"({key!r} is 1, not 0); use a copy saved after that" in broken(checkpoint, **{key: torch.tensor(1.0)})


def test_what_is_not_supported_is_said() -> None:
    net = Net()
    checkpoint = tensorflow(net, reference.weights(net))
    own = checkpoint.metadata["Gs"]["static_kwargs"]
    cases = {
        "activation 'relu'": {"mapping_nonlinearity": "relu"},
        "setting use_pixel_norm = True": {"use_pixel_norm": True},
        "setting use_wscale = False": {"use_wscale": False},
        "setting const_input_layer = False": {"const_input_layer": False},
        "mapping network without normalised z": {"normalize_latents": False},
        "images of 64 pixels but holds layers for 16x16": {"resolution": 64},
        "8 mapping layers but holds 3": {"mapping_layers": 8},
        "labels of length 5 but embeds 0": {"label_size": 5},
        "z of length 6 but maps 7 numbers": {"latent_size": 6},
        "of its StyleGAN1 is malformed": {"mapping_lrmul": "much"},
        "of its low-pass filter is malformed": {"blur_filter": "wide"},
    }
    for words, change in cases.items():
        assert words in broken(dataclasses.replace(checkpoint, metadata={"Gs": {"static_kwargs": {**own, **change}}}))
    named = reference.as_genforce(net, reference.weights(net))
    kernels = {key: torch.eye(3).expand_as(tensor) for key, tensor in named.items() if "blur" in key}
    genforce = Checkpoint(Path("net.pth"), "torch", named)
    assert "no outer product" in broken(genforce, **kernels)
    first = next(iter(kernels))
    assert "differs between layers" in broken(genforce, **{first: torch.ones_like(named[first])})
    uneven = named[first].clone()
    uneven[0] *= 2
    assert "differs between channels" in broken(genforce, **{first: uneven})
