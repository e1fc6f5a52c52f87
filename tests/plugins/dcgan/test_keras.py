"""Generators of Keras's, in the files that Keras 3 wrote of them (see `keras_files`) and in one of Keras 2."""

from __future__ import annotations

import json
import random
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.foreign import read_checkpoint
from ganenc_plugin_dcgan.dcgan import DCGAN
from ganenc_registry.errors import CheckpointError, GanencError

h5py = pytest.importorskip("h5py")
FILES = Path(__file__).resolve().parent / "keras_files"
ANIME = Path(__file__).resolve().parents[4] / "shared" / "gans" / "dcgan-anime64.h5"
RANGES = {"functional.h5": (0, 1), "flattened.h5": (0, 1)}


def read(path: Path) -> DCGAN:
    checkpoint = read_checkpoint(path)
    generator = DCGAN.from_checkpoint(checkpoint)
    checkpoint.check_all_read()
    return generator


def made(generator: DCGAN, z: np.ndarray) -> np.ndarray:
    latents = ganenc.Latents(generator.spec.layout, {"z": torch.from_numpy(z)})
    return generator.synthesize(latents).detach().numpy()


@pytest.mark.parametrize(
    "file", ["functional.h5", "nested.keras", "signal.weights.h5", "sequential.keras", "flattened.h5"]
)
def test_images_are_those_of_keras(file: str) -> None:
    generator = read(FILES / file)
    with np.load(FILES / "outputs.npz") as outputs:
        z, images = outputs[f"{file} z"], outputs[f"{file} images"]
    if images.ndim == 3:
        images = images[:, None]
    wanted = images.transpose(0, 3, 1, 2) if "flattened" not in file else images
    assert np.abs(made(generator, z) - wanted).max() < 1e-4 * wanted.std()
    assert generator.spec.value_range == RANGES.get(file, (-1, 1))


def convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """Keras's transposed convolution, `same`, by its definition: every pixel adds its kernel, (h, w, out, in)."""
    n, height, width, _ = x.shape
    side = kernel.shape[0]
    whole = np.zeros((n, (height - 1) * stride + side, (width - 1) * stride + side, kernel.shape[2]))
    for row in range(height):
        for column in range(width):
            part = np.einsum("ni,hwoi->nhwo", x[:, row, column], kernel)
            whole[:, row * stride : row * stride + side, column * stride : column * stride + side] += part
    first = (side - stride) // 2
    return whole[:, first : first + height * stride, first : first + width * stride] + bias


@pytest.mark.skipif(not ANIME.is_file(), reason=f"{ANIME} is not there")
def test_a_generator_of_keras_2_is_what_its_layers_say() -> None:
    generator, z = read(ANIME), np.random.default_rng(0).normal(size=(1, 128)).astype(np.float32)
    with h5py.File(ANIME) as file:
        groups = file["model_weights"]
        found = {name: {key[:-2]: each[()] for key, each in groups[name][name].items()} for name in groups
                 if name in groups[name]}  # fmt: skip
    numbers = [name for name in sorted(found) if name.startswith("conv2d")]
    norms = [name for name in sorted(found) if name.startswith("batch")]
    x = (z @ found["dense_43"]["kernel"] + found["dense_43"]["bias"]).reshape(1, 4, 4, 128)
    for name, norm in zip(numbers[:-1], norms, strict=True):
        x, own = np.maximum(convolved(x, **found[name], stride=2), 0), found[norm]
        x = (x - own["moving_mean"]) / np.sqrt(own["moving_variance"] + 1e-3) * own["gamma"] + own["beta"]
    x = 1 / (1 + np.exp(-convolved(x, **found[numbers[-1]], stride=1)))
    assert np.abs(made(generator, z) - x.transpose(0, 3, 1, 2)).max() < 1e-4 * x.std()


def test_a_file_beside_settles_what_is_convention(tmp_path: Path) -> None:
    path = shutil.copy(FILES / "signal.weights.h5", tmp_path)
    shutil.copy(FILES / "signal.weights.json", tmp_path)
    told = read(Path(path)).taken_as
    assert "prior: normal  # guess" in told
    (tmp_path / "signal.weights.yaml").write_text(told.replace("prior: normal", "prior: uniform"))
    assert read(Path(path)).spec.prior.kind == "uniform"


def _config(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], Path]:
    """The sequential model with its layers changed."""

    def written(folder: Path) -> Path:
        with zipfile.ZipFile(FILES / "sequential.keras") as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(parts["config.json"])
        change(config["config"]["layers"])
        parts["config.json"] = json.dumps(config).encode()
        with zipfile.ZipFile(folder / "a.keras", "w") as archive:
            for name, data in parts.items():
                archive.writestr(name, data)
        return folder / "a.keras"

    return written


def _h5(fill: Callable[[Any], object]) -> Callable[[Path], Path]:
    """A functional model's file with something added."""

    def written(folder: Path) -> Path:
        path = Path(shutil.copy(FILES / "functional.h5", folder / "a.h5"))
        with h5py.File(path, "r+") as file:
            fill(file)
        return path

    return written


def _huge(file: Any) -> None:
    file.create_dataset("huge", shape=(1 << 40,), dtype="f4", chunks=(1 << 16,))


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
    file.create_virtual_dataset("virtual", layout)


def _external(file: Any) -> None:
    file.create_dataset("external", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])


def _loop(file: Any) -> None:
    file["model_weights/loop"] = file["model_weights"]


DAMAGED = {
    "a lambda": (_config(lambda layers: layers[3].update(class_name="Lambda")), "class 'Lambda'"),
    "another kernel": (_config(lambda layers: layers[5]["config"].update(kernel_size=[3, 3])), "has a kernel of"),
    "another width": (_config(lambda layers: layers[1]["config"].update(units=9)), "where it makes 9"),
    "groups": (_config(lambda layers: layers[10]["config"].update(groups=2)), "groups"),
    "no field": (_config(lambda layers: layers[1]["config"].pop("units")), "cannot be read"),
    "no number": (_config(lambda layers: layers[1]["config"].update(units="many")), "cannot be read"),
    "a layer left out": (_config(lambda layers: layers.pop(1)), "arrays for its|where it|cannot be|does not"),
    "no image": (_config(lambda layers: layers.__delitem__(slice(4, None))), "gives no image"),
    "a link": (_h5(lambda file: file.__setitem__("soft", h5py.SoftLink("/model_weights"))), "link to elsewhere"),
    "a link outside": (_h5(lambda file: file.__setitem__("far", h5py.ExternalLink("o.h5", "/"))), "link to elsewhere"),
    "a huge array": (_h5(_huge), "larger than the file can hold"),
    "a virtual array": (_h5(_virtual), "lies in another file"),
    "an array outside": (_h5(_external), "lies in another file"),
    "a loop": (_h5(_loop), "more parts than any network"),
    "no model": (_h5(lambda file: file.attrs.__delitem__("model_config")), r"no a\.json beside"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_row_of_layers_is_told(tmp_path: Path, kind: str) -> None:
    write, words = DAMAGED[kind]
    with pytest.raises(CheckpointError, match=words) as told:
        read(write(tmp_path))
    assert str(told.value).endswith(".")


@pytest.mark.parametrize("file", ["nested.keras", "functional.h5"])
def test_damaged_files_give_a_model_or_one_of_our_errors(tmp_path: Path, file: str) -> None:
    sound, chance, refused = (FILES / file).read_bytes(), random.Random(0), 0
    for _ in range(60):
        broken = bytearray(sound[: chance.choice([len(sound), chance.randrange(len(sound))])])
        for _ in range(chance.choice([1, 3, 9])):
            broken[chance.randrange(min(len(broken), 4096))] = chance.choice([0, 255, chance.randrange(256)])
        path = tmp_path / file
        path.write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
            except GanencError:
                refused += 1
    assert refused > 20, "those that are cut short at least"


def test_without_h5py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r'pip install "ganenc\[keras\]"'):
        read(FILES / "functional.h5")
