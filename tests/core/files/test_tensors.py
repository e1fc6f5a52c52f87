"""Training states on disk: what comes back, what is refused, and that the file holds nothing but JSON and numbers."""

from __future__ import annotations

import functools
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc import images
from ganenc.files import load_arrays, load_state, load_tensors, save_state
from ganenc.foreign import read_arrays, read_checkpoint
from ganenc.latents import Latents
from ganenc_registry.errors import CheckpointError, GanencError, LatentsError
from runs import same
from safetensors.torch import save_file

STATE: dict[str, Any] = {
    "encoder": {"weight": torch.arange(6.0).reshape(2, 3), "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)},
    "optimiser": {
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(2)}, 1: {"step": torch.tensor(4.0)}},
        "param_groups": [{"betas": [0.0, 0.99], "lr": 0.0015, "params": [0, 1], "foreach": None, "amsgrad": False}],
    },
    "mask": torch.tensor([True, False]),
    "count": torch.tensor(2**40),
    "none": torch.empty(0, 4),
    "progress": {"best": math.inf, "step": 7, "stopped": "", "text": 'ü "/\n'},
    "empty": {"dict": {}, "list": []},
}


def test_a_nested_state_comes_back(tmp_path: Path) -> None:
    save_state(tmp_path / "state.safetensors", STATE)
    back = load_state(tmp_path / "state.safetensors")
    assert same(back, STATE)
    assert back["optimiser"]["state"][0]["step"].ndim == 0
    assert [type(key) for key in back["optimiser"]["state"]] == [int, int]


def test_a_number_that_is_none_comes_back(tmp_path: Path) -> None:
    save_state(tmp_path / "state", {"smooth": math.nan, "weights": torch.tensor([math.nan, math.inf])})
    back = load_state(tmp_path / "state")
    assert math.isnan(back["smooth"])
    assert back["weights"][0].isnan()
    assert back["weights"][1].isinf()


@pytest.mark.parametrize("keys", [("a/b", ("a", "b")), ((1,), ("1",)), (("0",), ("", "0"))], ids=str)
def test_keys_that_read_alike_stay_apart(tmp_path: Path, keys: tuple[Any, Any]) -> None:
    state: dict[Any, Any] = {}
    for value, path in enumerate(keys):
        *outer, last = (path,) if isinstance(path, str) else path
        place = state
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = torch.tensor(value)
    save_state(tmp_path / "state", state)
    assert same(load_state(tmp_path / "state"), state)


def test_tuples_come_back_as_lists(tmp_path: Path) -> None:
    save_state(tmp_path / "state", {"betas": (0.0, torch.tensor(1))})
    assert same(load_state(tmp_path / "state"), {"betas": [0.0, torch.tensor(1)]})


def test_tensors_may_share_memory_and_have_any_layout(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(1, 2, 3, 4)
    state = {
        "whole": whole,
        "again": whole,
        "part": whole[0, 1],
        "turned": whole.permute(0, 3, 1, 2),
        "last": whole.contiguous(memory_format=torch.channels_last),
        "one": whole[0, 0, 0, 3],
        "weight": torch.nn.Parameter(torch.ones(2)),
    }
    save_state(tmp_path / "state", state)
    back = load_state(tmp_path / "state")
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_the_file_is_a_header_of_json_and_numbers_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, STATE)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert json.loads(metadata["skeleton"])
    spans = sorted(entry["data_offsets"] for entry in header.values())
    assert [start for start, _ in spans] == [0, *[end for _, end in spans[:-1]]]
    assert 8 + length + spans[-1][1] == len(data)
    assert {entry["dtype"] for entry in header.values()} == {"F32", "BF16", "BOOL", "I64"}


@pytest.mark.parametrize("value", [object(), {1.5: torch.ones(1)}, {None: 1}, {("a",): 1}, {"deep": [torch.dtype]}])
def test_what_it_cannot_hold_is_refused_before_writing(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        save_state(tmp_path / "state", {"x": value})
    assert not list(tmp_path.iterdir())


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    save_state(path, {"step": 1})

    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(GanencError, match="No space left"):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_of_many_tensors_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    for value in (1.0, 2.0):  # An outline of 260 kB, before or after the mark.
        save_state(path, {f"{turn}": torch.tensor(value) for turn in range(5000)})
    assert load_state(path)["0"] == 2.0


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, STATE)
    whole = path.read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    for broken in (b"", whole[:5], whole[: 8 + length // 2], whole[:-1], b"\x80\x04" + whole, os.urandom(200)):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=f"{path} cannot be read"):
            load_state(path)
    with pytest.raises(CheckpointError, match="missing cannot be read"):
        load_state(tmp_path / "missing")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "other", {"format": "pt"})
    with pytest.raises(CheckpointError, match="no training state"):
        load_state(tmp_path / "other")


DEEP = '{"list": [' * 5000 + '{"value": 1}' + "]}" * 5000


@pytest.mark.parametrize(
    "skeleton", [None, "{", '{"tensor": "b"}', "[]", '{"dict": [[["a"], {"value": 1}]]}', "3", DEEP]
)
def test_an_outline_that_does_not_fit_is_refused(tmp_path: Path, skeleton: str | None) -> None:
    metadata = {"format": "ganenc-state"} | ({} if skeleton is None else {"skeleton": skeleton})
    save_file({"a": torch.ones(1)}, tmp_path / "state", metadata)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path / "state")


def test_a_pipe_in_place_of_tensors_is_refused(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    make_pipe(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="it is no regular file"):
        load_tensors(tmp_path / "model.safetensors", "weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_state(tmp_path)


@pytest.mark.parametrize("shape", [[0, 2**63], [0, 2**62], [2**63, 0], [0, 2**40, 2**40], [0, 2**70], [True], [1] * 40])
def test_a_tensor_of_no_possible_shape_is_told(tmp_path: Path, shape: list[int]) -> None:
    data = b"" if 0 in shape else bytes(4)
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    for read in (functools.partial(load_tensors, what="weights"), load_state, read_checkpoint, Latents.load):
        with pytest.raises(GanencError, match=f"{path} cannot be read") as told:
            read(path)
        assert "\n" not in str(told.value)


SHAPES = [
    "(9223372036854775808,)",
    "(4611686018427387904,)",
    "(True,)",
    "(0, 9223372036854775807)",
    "(-1,)",
    "(1,) * 9**9",
]


@pytest.mark.parametrize(
    "shape", [*SHAPES, "(" * 200, "(" * 3000 + ")" * 3000, f"({'9' * 4400},)", "(" + "1," * 100 + ")"]
)
def test_an_array_of_no_possible_shape_is_told(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "a.npy")
    with pytest.raises(ValueError, match=r"\w"):
        load_arrays(path)
    for read in (read_arrays, images.read):
        with pytest.raises(GanencError, match=str(path)) as told:
            read(path)
        assert "\n" not in str(told.value)
    with pytest.raises(LatentsError, match="cannot be read"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["info", "layout"])
def test_metadata_that_are_nested_deep_are_told(tmp_path: Path, name: str) -> None:
    layout = [{"kind": "vector", "name": "z", "dim": 1}]
    metadata = {"format": "ganenc-latents", "space": "z", "layout": json.dumps(layout)} | {
        name: "[" * 3000 + "]" * 3000
    }
    save_file({"z": torch.ones(1, 1)}, tmp_path / "a.safetensors", metadata)
    with pytest.raises(LatentsError, match=f"The {name} in .* cannot be read"):
        Latents.load(tmp_path / "a.safetensors")
