"""BigGAN-deep out of its published format: the published outputs, other architectures, and files that are wrong."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from foreign import published
from ganenc.foreign import read_checkpoint
from ganenc.generators import Generator
from ganenc_plugin_biggan.biggan import BigGAN
from ganenc_plugin_biggan.specs import published_blocks
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("biggan_reference", Path(__file__).parent / "biggan_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)

CONFIG = reference.CONFIG


def write(folder: Path, config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Path:
    """The two published files, with this in them."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def images(generator: Generator, z: torch.Tensor, labels: torch.Tensor, truncation: float) -> torch.Tensor:
    latents = generator.map(z, labels=labels)
    return generator.synthesize(latents.replace(truncation=torch.full((len(z),), truncation)))


def assert_matches(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Within 1e-4 of the standard deviation of what was published."""
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.std())


@pytest.mark.parametrize("given", [".", "pytorch_model.bin"])
def test_published_outputs(shared: Path, given: str) -> None:
    folder = shared / "checkpoints" / "biggan_deep_hf"
    generator = ganenc.load_generator(folder / given)
    assert isinstance(generator, BigGAN)
    expected = {name: torch.from_numpy(array) for name, array in np.load(folder / "expected.npz").items()}
    z, rows = expected["z"], expected["y"]
    assert_matches(generator.embed(rows), expected["embed"])
    assert_matches(generator.embed(rows.argmax(1)), expected["embed"])
    assert_matches(images(generator, z, rows, 0.4), expected["img_t04"])
    assert_matches(images(generator, z, rows, 0.53), expected["img_t053"])


def test_samples_may_differ_in_truncation(shared: Path) -> None:
    folder = shared / "checkpoints" / "biggan_deep_hf"
    generator = ganenc.load_generator(folder)
    expected = {name: torch.from_numpy(array) for name, array in np.load(folder / "expected.npz").items()}
    latents = generator.map(expected["z"], labels=expected["y"])
    found = generator.synthesize(latents.replace(truncation=torch.tensor([0.4, 0.53, 0.4])))
    assert_matches(found[[0, 2]], expected["img_t04"][[0, 2]])
    assert_matches(found[1:2], expected["img_t053"][1:2])


def test_claims_no_other_file(shared: Path) -> None:
    for folder in published.folders(shared / "checkpoints"):
        weights = [p for p in folder.iterdir() if p.suffix in (".pkl", ".pt", ".pth", ".bin")]
        source = weights[0] if len(weights) == 1 else folder
        assert BigGAN.recognises(read_checkpoint(source)) == folder.name.startswith("biggan"), folder.name


LAYOUTS: dict[str, dict[str, Any]] = {
    "small": {},
    "released 128": {"output_dim": 128, "channel_width": 4, "layers": published_blocks(128)},
    "released 256": {"output_dim": 256, "channel_width": 4, "layers": published_blocks(256)},
    "released 512": {"output_dim": 512, "channel_width": 4, "layers": published_blocks(512)},
    "no attention": {"attention_layer_position": 99},
    "attention first": {"attention_layer_position": 0},
    "51 rows": {"n_stats": 51},
    "another eps": {"eps": 0.01},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_architectures(tmp_path: Path, layout: str) -> None:
    config = {**CONFIG, **LAYOUTS[layout]}
    if layout.startswith("released"):
        config["attention_layer_position"] = 8
    net = reference.Net(config)
    generator = ganenc.load_generator(write(tmp_path / "model", config, net.state_dict()))
    z, labels = torch.randn(2, config["z_dim"]), torch.tensor([4, 1])
    rows = torch.nn.functional.one_hot(labels, 5).float()
    for truncation in (0.77,) if layout.startswith("released") else (0.4, 0.77, 1.0):
        assert_matches(images(generator, z, labels, truncation), net(z, rows, truncation))


def test_every_truncation_takes_the_published_rows(tmp_path: Path) -> None:
    """Also where a decimal misses its row by a rounding error, as 0.3 / 0.1 does: the rows are as they were used."""
    net = reference.Net(CONFIG)
    generator = ganenc.load_generator(write(tmp_path / "model", CONFIG, net.state_dict()))
    z, labels = torch.randn(1, CONFIG["z_dim"]), torch.tensor([3])
    rows = torch.nn.functional.one_hot(labels, 5).float()
    for truncation in (percent / 100 for percent in range(5, 101, 5)):
        assert_matches(images(generator, z, labels, truncation), net(z, rows, truncation))


@pytest.mark.parametrize("given", [".", "biggan-deep-16-pytorch_model.bin"])
def test_files_may_have_the_names_of_their_downloads(tmp_path: Path, given: str) -> None:
    net = reference.Net(CONFIG)
    write(tmp_path, CONFIG, net.state_dict())
    for name in ("config.json", "pytorch_model.bin"):
        (tmp_path / name).rename(tmp_path / f"biggan-deep-16-{name}")
    z = torch.randn(1, CONFIG["z_dim"])
    found = images(ganenc.load_generator(tmp_path / given), z, torch.tensor([0]), 1.0)
    assert_matches(found, net(z, torch.eye(5)[:1], 1.0))


Damage = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]
TENSOR = "generator.layers.1.conv_2.weight_orig"
VARS = "generator.bn.running_vars"
WRONG: dict[str, tuple[Damage, str]] = {
    "missing weight": (lambda c, t: t.pop(TENSOR), f"'pytorch_model.{TENSOR}' is missing"),
    "missing vector": (lambda c, t: t.pop("generator.gen_z.weight_u"), "gen_z.weight_u' is missing"),
    "missing embedding": (lambda c, t: t.pop("embeddings.weight"), "embeddings.weight' is missing"),
    "missing rows": (lambda c, t: t.pop(VARS), "running_vars' is missing"),
    "other shape": (lambda c, t: t.update({TENSOR: torch.ones(8, 8, 1, 1)}), r"conv_2.weight_orig' has shape"),
    "NaN": (lambda c, t: t[TENSOR].fill_(torch.nan), "conv_2.weight_orig' holds NaN"),
    "negative variance": (lambda c, t: t[VARS].neg_(), "running_vars' holds variances below zero"),
    "zero weight": (lambda c, t: t[TENSOR].zero_(), "conv_2.weight_orig' has a spectral norm of zero"),
    "wider in the config": (lambda c, t: c.update(channel_width=16), r"has shape .* but its config.json asks for"),
    "more classes in the config": (lambda c, t: c.update(num_classes=6), "embeddings.weight' has shape"),
    "more rows in the config": (lambda c, t: c.update(n_stats=12), "running_means' has shape"),
    "too narrow for colours": (lambda c, t: c.update(channel_width=2), r"config\.json: channel_width"),
    "one row": (lambda c, t: c.update(n_stats=1), r"config\.json: n_stats"),
    "attention elsewhere": (lambda c, t: c.update(attention_layer_position=3), r"generator\.layers\.2.*missing"),
    "a layer more": (lambda c, t: t.update({"generator.layers.5.gamma": torch.ones(1)}), "belongs to no layer"),
    "another size": (lambda c, t: c.update(output_dim=32), r"config\.json: output_dim is 32"),
    "blocks that do not meet": (lambda c, t: c["layers"].pop(1), r"config\.json: output_dim"),
    "blocks that widen": (lambda c, t: c["layers"].__setitem__(2, [False, 2, 4]), r"config\.json: .*fit together"),
    "a width beyond reason": (lambda c, t: c.update(channel_width=10**12), r"config\.json: channel_width"),
    "a multiple beyond reason": (lambda c, t: c["layers"][0].__setitem__(1, 10**12), r"config\.json: layers\.0\.1"),
    "no layers": (lambda c, t: c.update(layers=[], output_dim=4), r"config\.json: .*fit together"),
    "text for a number": (lambda c, t: c.update(z_dim="six"), r"config\.json: z_dim"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, wrong: str) -> None:
    config, tensors = copy.deepcopy(CONFIG), reference.Net(CONFIG).state_dict()
    damage, message = WRONG[wrong]
    damage(config, tensors)
    folder = write(tmp_path / "model", config, tensors)
    with pytest.raises(CheckpointError, match=message) as raised:
        ganenc.load_generator(folder)
    assert str(folder) in str(raised.value)
    assert str(raised.value).count(". ") == 0, "one sentence"


@pytest.mark.parametrize("field", CONFIG)
def test_a_field_that_is_missing_is_named(tmp_path: Path, field: str) -> None:
    config = {name: value for name, value in CONFIG.items() if name != field}
    folder = write(tmp_path / "model", config, reference.Net(CONFIG).state_dict())
    with pytest.raises(CheckpointError, match=rf"config\.json: {field}: this field is required; put the config"):
        ganenc.load_generator(folder)


@pytest.mark.parametrize("given", ["", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no config\.json .*; put the config\.json that came with the weights"),
        ("{", r"config\.json.* not (valid )?JSON"),
        ("[1]", r"config\.json: it holds no fields"),
        ("{}", r"config\.json: output_dim: this field is required"),
    ],
)
def test_a_config_that_is_no_config(tmp_path: Path, given: str, content: str | None, message: str) -> None:
    folder = write(tmp_path / "model", CONFIG, reference.Net(CONFIG).state_dict())
    (folder / "config.json").unlink()
    if content is not None:
        (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        ganenc.load_generator(folder / given)


@pytest.mark.parametrize("length", [0, 1000, -1000])
def test_files_cut_short(tmp_path: Path, length: int) -> None:
    folder = write(tmp_path / "model", CONFIG, reference.Net(CONFIG).state_dict())
    weights = folder / "pytorch_model.bin"
    weights.write_bytes(weights.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        ganenc.load_generator(folder)


def test_two_networks_in_one_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", CONFIG, reference.Net(CONFIG).state_dict())
    (folder / "other.bin").write_bytes((folder / "pytorch_model.bin").read_bytes())
    with pytest.raises(CheckpointError, match=r"several networks \('other\.', 'pytorch_model\.'\)"):
        ganenc.load_generator(folder)
