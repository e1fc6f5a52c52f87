"""PGGAN out of every published format: the published outputs, other architectures, and files that are wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
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
from ganenc_plugin_pggan.pggan import PGGAN
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("pggan_reference", Path(__file__).parent / "pggan_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)

FILES = {"pggan_nvidia_tf": ("network.pkl", "Gs."), "pggan_genforce": ("checkpoint.pth", "generator_smooth.")}
WIDER = (4, 4, 6)


def load(shared: Path, name: str) -> Checkpoint:
    return read_checkpoint(shared / "checkpoints" / name / FILES[name][0])


def draws(n: int, dim: int) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(7))


def assert_matches(found: torch.Tensor, expected: torch.Tensor | np.ndarray) -> None:
    """Within 1e-4 of the standard deviation of the published output."""
    wanted = torch.as_tensor(expected)
    assert found.shape == wanted.shape
    assert float((found.detach() - wanted).abs().max()) <= 1e-4 * float(wanted.std())


def assert_agrees(
    generator: PGGAN, z: torch.Tensor, expected: torch.Tensor, labels: torch.Tensor | None = None
) -> None:
    """In float64: what is left is how weights were rescaled in float32, and where epsilon is added."""
    generator = generator.double()
    found = generator.synthesize(generator.map(z.double(), labels=labels))
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-5)


@pytest.fixture(params=FILES)
def name(request: pytest.FixtureRequest) -> str:
    """One of the sample files."""
    return str(request.param)


# The published outputs


def test_published_outputs(shared: Path, name: str) -> None:
    generator = ganenc.load_generator(shared / "checkpoints" / name / FILES[name][0])
    assert isinstance(generator, PGGAN)
    generator = generator.double()  # What is left is the rounding of the published outputs, on any machine.
    expected = np.load(shared / "checkpoints" / name / "expected.npz")
    assert set(expected.files) == {"z", "img"}
    assert_matches(generator.synthesize(generator.map(torch.from_numpy(expected["z"]).double())), expected["img"])


def test_architecture_comes_from_the_shapes(shared: Path, name: str) -> None:
    spec = PGGAN.from_checkpoint(load(shared, name)).spec
    assert (spec.size, spec.channels, spec.classes, spec.prior.dim) == ((64, 64), 3, 0, 32)
    assert spec.resolution_channels == {4: 32, 8: 32, 16: 32, 32: 32, 64: 16}


def test_no_other_file_is_claimed(shared: Path) -> None:
    claimed = set()
    for folder in published.folders(shared / "checkpoints"):
        weights = [path for path in folder.iterdir() if path.suffix in (".pkl", ".pt", ".pth", ".bin")]
        for path in weights if len(weights) == 1 else [folder, *weights]:
            if PGGAN.recognises(read_checkpoint(path)):
                claimed.add(folder.name)
    assert claimed == {*FILES, "pggan_mmgen", "pggan_ganzoo"}


@pytest.mark.parametrize(
    "names",
    [
        {"layer0.weight": (3, 4), "output0.weight": (2, 3)},
        {"layer0.weight": (3, 4, 3, 3), "layer0.style.weight": (3, 4), "output0.weight": (2, 3, 1, 1)},
        {"layer0.weight": (3, 4, 3, 3), "input0.weight": (3, 4, 1, 1), "output0.weight": (2, 3)},
        {"layer1.0.conv1.weight": (3, 4, 3, 3), "fc.weight": (2, 3)},
        {"4x4/Dense/weight": (3, 64), "ToRGB_lod0/weight": (1, 1, 4, 3), "4x4/Conv/StyleMod/weight": (3, 8)},
        {"synthesis/4x4/Dense/weight": (3, 64), "synthesis/ToRGB_lod0/weight": (1, 1, 4, 3)},
        {"4x4/Dense0/weight": (3, 64), "FromRGB_lod0/weight": (1, 1, 3, 4)},
    ],
    ids=["perceptron", "styles", "discriminator", "resnet", "style-based", "synthesis", "discriminator-tf"],
)
def test_networks_with_like_names_are_not_claimed(names: dict[str, tuple[int, ...]]) -> None:
    tensors = {f"generator.{name}": torch.zeros(shape) for name, shape in names.items()}
    checkpoint = Checkpoint(Path("net.pt"), "torch", tensors)
    assert not PGGAN.recognises(checkpoint)
    with pytest.raises(CheckpointError, match=r"^net\.pt: it holds no PGGAN in any known format; give .*\.$"):
        PGGAN.from_checkpoint(checkpoint)


# Other architectures, against the published formulas in float64


def nvidia(variables: dict[str, torch.Tensor], **arguments: Any) -> Checkpoint:
    tensors = {f"Gs.{key}": value for key, value in variables.items()}
    return Checkpoint(Path("net.pkl"), "pickle", tensors, {"Gs": {"static_kwargs": arguments}})


def genforce(state: dict[str, torch.Tensor]) -> Checkpoint:
    tensors = {f"generator_smooth.{key}": value for key, value in state.items()}
    return Checkpoint(Path("net.pth"), "torch", tensors)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("lod", [0.0, 0.3, 1.0, 1.75, 2.0])
@pytest.mark.parametrize("widths", [(6, 5, 4), (4, 4, 4), WIDER])
def test_tensorflow_networks(widths: tuple[int, ...], lod: float, fused: bool) -> None:
    variables = reference.tensorflow_weights(widths=widths, fused=fused, lod=lod)
    generator = PGGAN.from_checkpoint(nvidia(variables))
    z = draws(3, 7)
    assert generator.spec.size == (16, 16)
    assert_agrees(generator, z, reference.tensorflow(variables, z))


@pytest.mark.parametrize(
    "arguments",
    [
        {"use_wscale": False},
        {"use_pixelnorm": False},
        {"use_leakyrelu": False},
        {"normalize_latents": False},
        {"pixelnorm_epsilon": 0.3},
        {"resolution": 16, "latent_size": 7, "label_size": 0, "fmap_base": 8192, "dtype": "float32"},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_what_a_tensorflow_network_declares_is_followed(arguments: dict[str, Any]) -> None:
    variables = reference.tensorflow_weights()
    generator = PGGAN.from_checkpoint(nvidia(variables, **arguments))
    z = draws(3, 7)
    assert_agrees(generator, z, reference.tensorflow(variables, z, **arguments))


def test_labels_go_in_beside_z() -> None:
    variables = reference.tensorflow_weights(inputs=9)
    generator = PGGAN.from_checkpoint(nvidia(variables, label_size=3))
    assert (generator.spec.prior.dim, generator.spec.classes) == (6, 3)
    z, rows = draws(4, 6), torch.eye(3)[[2, 0, 1, 1]]
    expected = reference.tensorflow(variables, z, rows)
    assert_agrees(generator, z, expected, torch.tensor([2, 0, 1, 1]))
    assert_agrees(generator, z, expected, rows)


@pytest.mark.parametrize("lod", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize(("widths", "fused"), [((6, 5, 4), False), ((6, 6, 4), True), (WIDER, True), ((4,) * 5, False)])
def test_genforce_networks(widths: tuple[int, ...], fused: bool, lod: float) -> None:
    state = reference.genforce_weights(widths=widths, fused=fused, lod=lod)
    generator = PGGAN.from_checkpoint(genforce(state))
    z = draws(3, 7)
    assert_agrees(generator, z, reference.genforce(state, z, fused=fused))


def test_networks_of_one_level_and_one_channel() -> None:
    z = draws(2, 5)
    variables = reference.tensorflow_weights(4, widths=(6,), inputs=5, channels=1)
    generator = PGGAN.from_checkpoint(nvidia(variables))
    assert (generator.spec.size, generator.spec.channels) == ((4, 4), 1)
    assert_agrees(generator, z, reference.tensorflow(variables, z))
    state = reference.genforce_weights(widths=(6,), inputs=5, channels=1)
    generator = PGGAN.from_checkpoint(genforce(state))
    assert_agrees(generator, z, reference.genforce(state, z))


def test_half_precision_weights_are_read_in_full() -> None:
    state = {key: value.half() for key, value in reference.genforce_weights().items()}
    generator = PGGAN.from_checkpoint(genforce(state))
    z = draws(3, 7)
    assert generator.dtype == torch.float32
    assert_agrees(generator, z, reference.genforce(state, z))


def test_a_generator_that_was_read_can_be_trained_and_leaves_the_checkpoint_alone(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    before = {key: value.clone() for key, value in checkpoint.tensors.items()}
    generator = PGGAN.from_checkpoint(checkpoint)
    assert all(parameter.requires_grad for parameter in generator.parameters())
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(1)
    assert all(torch.equal(checkpoint.tensors[key], value) for key, value in before.items())


# The averaged copy


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.generator_ema."])
def test_bare_state_dictionaries(prefix: str) -> None:
    state = reference.genforce_weights()
    checkpoint = Checkpoint(Path("net.pt"), "torch", {prefix + key: value for key, value in state.items()})
    generator, z = PGGAN.from_checkpoint(checkpoint), draws(3, 7)
    assert_agrees(generator, z, reference.genforce(state, z))


def test_the_averaged_copy_is_taken() -> None:
    raw, averaged = reference.genforce_weights(seed=5), reference.genforce_weights(seed=6)
    tensors = {f"generator.{key}": value for key, value in raw.items()}
    tensors |= {f"generator_smooth.{key}": value for key, value in averaged.items()}
    z = draws(3, 7)
    generator = PGGAN.from_checkpoint(Checkpoint(Path("net.pth"), "torch", tensors))
    assert_agrees(generator, z, reference.genforce(averaged, z))
    twice = {key.replace("generator_smooth.", "other."): value for key, value in tensors.items()}
    with pytest.raises(CheckpointError, match=r"several networks \('generator\.', 'other\.'\)"):
        PGGAN.from_checkpoint(Checkpoint(Path("net.pth"), "torch", twice))


# Files that are wrong


def needed(checkpoint: Checkpoint, prefix: str) -> list[str]:
    """The tensors of the averaged network that reading it cannot do without: not the lower levels' images."""
    spare = ("lod", *(f"ToRGB_lod{lod}/" for lod in range(1, 5)), *(f"output{level}." for level in range(4)))
    names = (name for name in checkpoint.tensors if name.startswith(prefix))
    return [name for name in names if not name[len(prefix) :].startswith(spare)]


def broken(checkpoint: Checkpoint, **changes: torch.Tensor | None) -> str:
    """The error for a checkpoint with some tensors replaced, or left out where None."""
    tensors = {key: tensor for key, tensor in {**checkpoint.tensors, **changes}.items() if tensor is not None}
    changed = dataclasses.replace(checkpoint, tensors=tensors)
    assert PGGAN.recognises(changed)
    with pytest.raises(CheckpointError) as caught:
        PGGAN.from_checkpoint(changed)
    message = str(caught.value)
    assert message.startswith(f"{checkpoint.path}: ")
    assert "; " in message
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_missing_tensors_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    keys = needed(checkpoint, FILES[name][1])
    assert len(keys) == 22
    for key in keys:
        message = broken(checkpoint, **{key: None})
        assert repr(key) in message or repr(key.replace("Conv0_up", "Conv0")) in message
        assert "missing" in message


def test_wrong_shapes_are_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    for key in needed(checkpoint, FILES[name][1]):
        message = broken(checkpoint, **{key: checkpoint.tensors[key][None, None, None, None]})
        assert repr(key) in message
        assert "has shape" in message
        assert "has shape" in broken(checkpoint, **{key: checkpoint.tensors[key][:-1]})


def test_nan_is_named(shared: Path, name: str) -> None:
    checkpoint = load(shared, name)
    for key in [*needed(checkpoint, FILES[name][1]), FILES[name][1] + "lod"]:
        message = broken(checkpoint, **{key: torch.full_like(checkpoint.tensors[key], float("nan"))})
        assert repr(key) in message
        assert "NaN" in message


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_and_empty_files_are_refused(shared: Path, tmp_path: Path, name: str, share: float) -> None:
    whole = (shared / "checkpoints" / name / FILES[name][0]).read_bytes()
    path = tmp_path / FILES[name][0]
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError) as caught:
        ganenc.load_generator(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_file_by_another_name_is_read_all_the_same(shared: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(shared / "checkpoints" / name / FILES[name][0], tmp_path / "weights")
    assert isinstance(ganenc.load_generator(tmp_path / "weights"), PGGAN)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resolution": 64}, "images of 64 pixels but holds layers for 16x16"),
        ({"latent_size": 8}, "'Gs.4x4/Dense/weight' has shape (7, 96) where (8, any) is needed"),
        ({"label_size": 7}, "labels of length 7, but its first layer takes 7 numbers"),
        ({"label_size": "many"}, "malformed (label_size: "),
        ({"label_size": -1}, "malformed (label_size: "),
        ({"pixelnorm_epsilon": 0.0}, "malformed (pixelnorm_epsilon: "),
    ],
)
def test_what_is_declared_has_to_fit(arguments: dict[str, Any], words: str) -> None:
    assert words in broken(nvidia(reference.tensorflow_weights(), **arguments))


def test_declarations_that_are_no_mapping_are_malformed() -> None:
    checkpoint = nvidia(reference.tensorflow_weights())
    assert "malformed" in broken(dataclasses.replace(checkpoint, metadata={"Gs": {"static_kwargs": [1, 2]}}))


@pytest.mark.parametrize("lod", [-0.5, 2.5])
def test_a_lod_out_of_range_is_said(lod: float) -> None:
    assert "lod: " in broken(nvidia(reference.tensorflow_weights(lod=lod)))
    assert "lod: " in broken(genforce(reference.genforce_weights(lod=lod)))


def test_a_lod_of_several_numbers_is_said() -> None:
    message = broken(nvidia(reference.tensorflow_weights()), **{"Gs.lod": torch.zeros(2)})
    assert "'Gs.lod' has shape (2,)" in message
