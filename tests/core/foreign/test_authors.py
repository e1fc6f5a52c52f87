"""The authors' encoder files against the outputs that their own code gave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ganenc.models import load_encoder
from ganenc_registry.errors import CheckpointError
from torch import Tensor

FILES = ["encoder_authors_E", "encoder_authors_E_Blur"]


@pytest.fixture(params=FILES)
def folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "checkpoints" / request.param


def test_recorded_outputs_are_reproduced(folder: Path) -> None:
    encoder = load_encoder(folder / "encoder.pth")
    expected = np.load(folder / "expected.npz")
    with torch.no_grad():
        latents = encoder(torch.from_numpy(expected["x"]))
    for name in ("const", "w"):
        wanted = torch.from_numpy(expected[name])
        assert latents[name].shape == wanted.shape
        assert (latents[name] - wanted).abs().max() < 1e-4 * wanted.std()


def test_spec_is_found_in_the_file(folder: Path) -> None:
    spec = load_encoder(folder / "encoder.pth").spec
    assert spec.size == (128, 128)
    assert [block.in_channels for block in spec.blocks] == [4, 8, 16, 32, 32, 32]
    assert (spec.residual, spec.start, spec.head_gain, spec.map_gain) == (0.111, "zero", 1.0, 1.0)
    blurred = folder.name.endswith("Blur")
    assert spec.blur is blurred
    halving = ["stride"] * 4 + ["average"] if blurred else ["average"] * 5
    assert [block.downscale for block in spec.blocks] == [*halving, "none"]


def test_every_tensor_counts(shared: Path, tmp_path: Path) -> None:
    """Each tensor but those that the published code leaves unused changes what the encoder holds."""
    source = torch.load(shared / "checkpoints" / FILES[1] / "encoder.pth", weights_only=True)
    plain = load_encoder(shared / "checkpoints" / FILES[1] / "encoder.pth").state_dict()
    unused = {"decode_block.5.noise_weight_2", "decode_block.5.bias_2"}
    for name in source:
        moved = {**source, name: source[name] + 1}
        torch.save(moved, tmp_path / "moved.pth")
        found = load_encoder(tmp_path / "moved.pth").state_dict()
        changed = any(not torch.equal(found[key], plain[key]) for key in plain)
        assert changed is (name not in unused and "blur" not in name), name


def _without(name: str) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.__delitem__(name)


def _with(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda state: state.__setitem__(name, tensor)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda state: state.clear(), "no tensors"),
        (_without("FromRGB.from_rgb.weight"), "FromRGB"),
        (_without("decode_block.0.conv_1.weight"), "decode_block"),
        (_without("decode_block.5.conv_1.weight"), "after decode_block.4"),
        (_without("decode_block.2.conv_2.weight"), "decode_block.2.conv_2.weight"),
        (_without("decode_block.3.inver_mod2.bias"), "decode_block.3.inver_mod2.bias"),
        (_with("decode_block.1.conv_1.weight", torch.zeros(9, 9, 3, 3)), "fit together"),
        (_with("decode_block.1.bias_1", torch.zeros(1, 9, 1, 1)), "decode_block.1.bias_1"),
        (_with("decode_block.1.inver_mod1.weight", torch.zeros(3)), "inver_mod1"),
        (_with("decode_block.0.inver_mod1.weight", torch.zeros(512)), "inver_mod1"),
        (_with("decode_block.4.bias_2", torch.full((1, 32, 1, 1), torch.nan)), "NaN"),
        (_with("decode_block.5.conv_3.weight", torch.zeros(64, 32, 1, 1)), "last block"),
    ],
)
def test_a_spoilt_file_is_told_in_one_sentence(
    spoil: Callable[[dict[str, Tensor]], None], words: str, shared: Path, tmp_path: Path
) -> None:
    state = dict(torch.load(shared / "checkpoints" / FILES[0] / "encoder.pth", weights_only=True))
    spoil(state)
    torch.save(state, tmp_path / "spoilt.pth")
    with pytest.raises(CheckpointError, match=words) as error:
        load_encoder(tmp_path / "spoilt.pth")
    assert "\n" not in str(error.value)
    assert "spoilt.pth" in str(error.value)
