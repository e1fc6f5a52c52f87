"""Latents of other tools, in files that are written here as those tools write them."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import images
from ganenc.foreign import read_latents
from ganenc.latents import Latents
from ganenc_registry.errors import GanencError, LatentsError
from ganenc_registry.specs import Map, Noise, Styles, Vector

LAYOUT = (Styles(layers=6, dim=8), Map(channels=2, height=2, width=2), Noise(shapes=((1, 4, 4), (1, 8, 8))))
W_PLUS = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
NOISE = [torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 8, 8)]


def written(folder: Path, data: Any, suffix: str) -> Path:
    path = folder / f"a{suffix}"
    if suffix == ".pt":
        torch.save(data, path)
    elif isinstance(data, dict):
        np.savez(path, **{name: one.numpy() for name, one in data.items()})
    else:
        np.save(path, data.numpy())
    return path


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize(
    ("array", "wanted", "space"),
    [
        (W_PLUS[0], W_PLUS[:1], "w+"),
        (W_PLUS[:1], W_PLUS[:1], "w+"),
        (W_PLUS, W_PLUS, "w+"),
        (W_PLUS.flatten(1), W_PLUS, "w+"),
        (W_PLUS[0].flatten(), W_PLUS[:1], "w+"),
        (W_PLUS[0, 0], W_PLUS[:1, :1].expand(-1, 6, -1), "w"),
        (W_PLUS[:, 0], W_PLUS[:, :1].expand(-1, 6, -1), "w"),
        (W_PLUS[:, :1], W_PLUS[:, :1].expand(-1, 6, -1), "w"),
        (W_PLUS[:1, :1].expand(-1, 6, -1), W_PLUS[:1, :1].expand(-1, 6, -1), "w"),
    ],
)
def test_styles_of_any_shape(
    tmp_path: Path, array: torch.Tensor, wanted: torch.Tensor, space: str, suffix: str
) -> None:
    found = read_latents(written(tmp_path, array.clone(), suffix), LAYOUT)
    assert torch.equal(found["w"], wanted)
    assert (found.space, found.layout, [*found.tensors]) == (space, LAYOUT, ["w"])


@pytest.mark.parametrize(
    ("data", "suffix", "places"),
    [
        ({"w": W_PLUS[:1]}, ".npz", [0]),  # NVIDIA's projector.
        ({"latent": W_PLUS[0]}, ".pt", [0]),
        ({"latent": W_PLUS[:1], "image": torch.zeros(3, 4, 4)}, ".pt", [0]),
        ({"w": W_PLUS[1], "seed": torch.tensor(3)}, ".npz", [1]),
        ([W_PLUS[2]], ".pt", [2]),
    ],
)
def test_latents_beside_other_things_are_found_by_their_names(
    tmp_path: Path, data: Any, suffix: str, places: list[int]
) -> None:
    assert torch.equal(read_latents(written(tmp_path, data, suffix), LAYOUT)["w"], W_PLUS[places])


def test_rosinalitys_projections_come_with_their_noise(tmp_path: Path) -> None:
    """A mapping by the image's name to the image, its latent and its noise."""
    data = {
        f"faces/{name}.png": {"img": torch.zeros(3, 8, 8), "latent": w, "noise": NOISE} for name, w in zip("ab", W_PLUS)
    }
    found = read_latents(written(tmp_path, data, ".pt"), LAYOUT)
    assert torch.equal(found["w"], W_PLUS[:2])
    maps = found.noise()
    assert maps is not None
    assert [float(one.mean()) for one in maps] == [1.0, 0.0]
    other = (LAYOUT[0], Noise(shapes=((1, 4, 4),)))
    assert read_latents(written(tmp_path, data, ".pt"), other).noise() is None, "of another size"


def test_draws_are_told_by_their_name_or_asked_for(tmp_path: Path) -> None:
    z = torch.randn(2, 5)
    found = read_latents(written(tmp_path, {"z": z}, ".npz"), LAYOUT)
    assert (found.space, found["z"].tolist()) == ("z", z.tolist())
    assert torch.equal(read_latents(written(tmp_path, z, ".npy"), LAYOUT, space="z")["z"], z)
    vectors = (Vector(dim=5),)
    for given in (z, z[:1], z[0]):
        assert torch.equal(read_latents(written(tmp_path, given, ".npy"), vectors)["z"], given.reshape(-1, 5))


class Code:
    def __reduce__(self) -> Any:
        return (print, ("code ran",))


@pytest.mark.parametrize(
    ("data", "suffix", "words"),
    [
        (torch.zeros(7), ".npy", r"\(7,\); the latents 'w' are \(8,\), \(6, 8\) or \(N, 6, 8\)"),
        (torch.zeros(2, 5, 8), ".npy", r"\(2, 5, 8\)"),
        (torch.full((8,), torch.nan), ".npy", "finite"),
        (torch.zeros(6, 8, dtype=torch.uint8), ".npy", "no floating-point"),
        ({"a": torch.zeros(8), "b": torch.zeros(8)}, ".npz", "holds a, b: call the latents"),
        ({"w": torch.zeros(8), "latent": torch.zeros(8)}, ".pt", "holds latent, w"),
        ({"latent": Code()}, ".pt", "nothing in it was executed"),
    ],
)
def test_what_fits_not_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: Any, suffix: str, words: str
) -> None:
    path = written(tmp_path, data, suffix)
    with pytest.raises(GanencError, match=words) as caught:
        read_latents(path, LAYOUT)
    assert str(path) in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "shape", ["(1000000000000000000000,)", "(4611686018427387904,)", "(True, 4)", "(-1,)", "(0,)", "(1,(" * 99]
)
@pytest.mark.filterwarnings("error")
def test_shapes_that_are_none_are_not_believed(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("w.npy", data)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        with pytest.raises(GanencError, match=path.name):
            read_latents(path, LAYOUT)
    with pytest.raises(GanencError, match=r"a\.npy"):
        images.read(tmp_path / "a.npy")


def test_styles_are_no_vectors(tmp_path: Path) -> None:
    with pytest.raises(LatentsError, match="holds styles, and this generator has none"):
        read_latents(written(tmp_path, {"w": torch.zeros(1, 5)}, ".npz"), (Vector(dim=5),))
    with pytest.raises(LatentsError, match="no floating-point"):
        read_latents(written(tmp_path, torch.tensor(1.0), ".npy"), (Vector(dim=5),))


def test_objects_and_damage_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([Code()], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", w=W_PLUS.numpy())
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.pt").write_bytes(b"no")
    (tmp_path / "d.npz").mkdir()
    for path in (*sorted(tmp_path.iterdir()), tmp_path / "missing.npy"):
        with pytest.raises(GanencError, match=path.name):
            read_latents(path, LAYOUT)


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_was_written_for_other_tools_comes_back(tmp_path: Path, suffix: str) -> None:
    tensors = {"w": W_PLUS, "const": torch.randn(3, 2, 2, 2), "noise.0": torch.randn(3, 1, 4, 4)}
    tensors["noise.1"] = torch.randn(3, 1, 8, 8)
    Latents(LAYOUT, tensors).save(tmp_path / f"a{suffix}")
    plain = np.load(tmp_path / f"a{suffix}", allow_pickle=False)
    assert np.array_equal(plain if suffix == ".npy" else plain["w"], W_PLUS.numpy())
    back = read_latents(tmp_path / f"a{suffix}", LAYOUT)
    assert torch.equal(back["w"], W_PLUS)
    assert suffix == ".npy" or all(torch.equal(back[name], one) for name, one in tensors.items())
