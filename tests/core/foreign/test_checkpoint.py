"""Foreign files are read as data: what they hold, and that nothing in them ever runs."""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import enum
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import Calls, Network, dumps, module, nested, storage_bytes, tensorflow_network
from foreign.containers import torch_dump
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc_registry.errors import CheckpointError
from safetensors.torch import save_file

PICKLES = (
    "pggan_nvidia_tf/network.pkl",
    "stylegan1_nvidia_tf/network.pkl",
    "stylegan2_nvidia_tf/network.pkl",
    "stylegan2_nvlabs_cond/network.pkl",
    "stylegan2_nvlabs_uncond/network.pkl",
)
TORCH = (
    "encoder_authors_E/encoder.pth",
    "pggan_genforce/checkpoint.pth",
    "stylegan1_genforce/checkpoint.pth",
    "stylegan2_genforce/checkpoint.pth",
    "stylegan2_rosinality/checkpoint.pt",
)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that comes into being only if something in a checkpoint is executed."""
    return tmp_path / "executed"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write bytes to a file of a given name."""

    def to(data: bytes, name: str = "network.pkl") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return to


def refusal(path: Path) -> str:
    """The message of the error that reading a file gives: one sentence that begins with the file."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(str(path.parent))
    assert message.endswith(".")
    assert "\n" not in message
    return message


# What files hold


@pytest.mark.parametrize("name", TORCH)
def test_torch_files_give_the_tensors_torch_gives(shared: Path, name: str) -> None:
    found = read_checkpoint(shared / "checkpoints" / name)
    stored = torch.load(shared / "checkpoints" / name, weights_only=True)
    inner = {top: value if isinstance(value, dict) else {"": value} for top, value in stored.items()}
    flat = {f"{top}.{key}".rstrip("."): value for top, group in inner.items() for key, value in group.items()}
    assert found.container == "torch"
    assert found.tensors.keys() == flat.keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in flat.items())


def test_network_pickles_of_torch_flatten_to_dotted_names(shared: Path) -> None:
    found = read_checkpoint(shared / "checkpoints/stylegan2_nvlabs_cond/network.pkl")
    assert found.container == "pickle"
    assert found.tensors["G_ema.synthesis.b8.conv0.weight"].shape == (24, 24, 3, 3)
    assert found.tensors["G_ema.mapping.w_avg"].shape == (48,)
    assert found.tensors["G.mapping.w_avg"].shape == (48,)
    assert found.meta("G_ema.class_name") == "Generator"
    assert found.meta("G_ema.init_kwargs.c_dim") == 10
    assert found.meta("G_ema.synthesis.b4.conv1.class_name") == "SynthesisLayer"
    assert found.meta("training_set_kwargs.path") == "data.zip"
    assert found.meta("G_ema.nothing.there", "default") == "default"
    assert "module_src" not in json.dumps(found.metadata)


def test_network_pickles_of_tensorflow_keep_the_names_of_variables(shared: Path) -> None:
    found = read_checkpoint(shared / "checkpoints/stylegan2_nvidia_tf/network.pkl")
    assert found.tensors["Gs.synthesis/4x4/Const/const"].shape == (1, 32, 4, 4)
    assert found.tensors["Gs.mapping/Dense0/weight"].dtype == torch.float32
    assert found.tensors["Gs.lod"].shape == ()
    assert found.meta("Gs.static_kwargs.resolution") == 64
    assert found.meta("Gs.synthesis.build_func_name") == "G_style_synth"
    assert {name.split(".")[0] for name in found.tensors} == {"G", "D", "Gs"}


@pytest.mark.parametrize("name", PICKLES)
def test_metadata_is_plain_data(shared: Path, name: str) -> None:
    metadata = read_checkpoint(shared / "checkpoints" / name).metadata
    assert json.loads(json.dumps(metadata)) == metadata


def test_arrays_come_back_as_numpy_wrote_them(write: Any) -> None:
    arrays = {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float64).reshape(2, 3)),
        "big_endian": np.arange(3, dtype=">i4"),
        "unsigned": np.array([7, 65535], dtype=np.uint16),
        "half": np.array([[1.5]], dtype=np.float16),
        "truth": np.array([True, False]),
    }
    for protocol in range(2, 6):
        found = read_checkpoint(write(pickle.dumps({**arrays, "scalar": np.float32(2.5)}, protocol=protocol)))
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.tensors[name].numpy(), array)
        assert found.meta("scalar") == 2.5


def test_arrays_of_python_2_come_back(write: Any) -> None:
    """Its pickles hold the bytes of an array as text, short and long, with lengths of one byte and of four."""
    for array in (np.arange(3, dtype="<f4"), np.arange(5000, dtype="<f4").reshape(50, 100)):
        raw = array.tobytes()
        text = b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<I", len(raw)) + raw
        shape = b"(" + b"".join(b"M" + struct.pack("<H", side) for side in array.shape) + b"t"
        kind = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        data = b"\x80\x02}U\x01w" + empty + b"(K\x01" + shape + kind + b"\x89" + text + b"tbs."
        np.testing.assert_array_equal(pickle.loads(data, encoding="latin1")["w"], array)
        np.testing.assert_array_equal(read_checkpoint(write(data)).tensors["w"].numpy(), array)


def test_arrays_stay_in_the_file_until_they_are_asked_for(write: Any) -> None:
    path = write(pickle.dumps({"a": np.ones(5000, dtype=np.float32), "b": np.ones(5000, dtype=np.float32)}))
    before = read_checkpoint(path)
    assert before.tensors["a"].sum() == 5000
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(0)
        file.write(data.replace(np.float32(1).tobytes(), np.float32(2).tobytes()))
    assert before.tensors["a"].sum() == 5000, "what was asked for is a copy"
    assert before.tensors["b"].sum() == 10000, "what was not is read now"
    assert before.tensors["b"] is before.tensors["b"]


def test_nested_torch_dictionaries_and_lists_flatten(tmp_path: Path) -> None:
    tensor = torch.arange(3.0)
    content = {
        "g": OrderedDict(a=tensor),
        "list": [tensor, {"b": tensor}],
        "step": 7,
        "args": argparse.Namespace(size=64),
    }
    for name, new in (("new.pt", True), ("legacy.pt", False)):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=new)
        found = read_checkpoint(tmp_path / name)
        assert set(found.tensors) == {"g.a", "list.0", "list.1.b"}
        assert found.metadata == {"step": 7, "args": {"size": 64}}


def test_safetensors_with_their_metadata(tmp_path: Path) -> None:
    save_file({"a.b": torch.ones(2)}, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found = read_checkpoint(tmp_path / "m.safetensors")
    assert found.container == "safetensors"
    assert torch.equal(found.tensors["a.b"], torch.ones(2))
    assert found.metadata == {"format": "pt"}


def test_settings_lie_beside_a_file_and_name_a_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder there are none, whatever it is called by."""
    torch.save({"a": torch.ones(2)}, tmp_path / "net.pth")
    (tmp_path / "net.yml").write_text("family: mine\nz: 3\n")
    assert read_checkpoint(tmp_path / "net.pth").settings == (tmp_path / "net.yml", {"family": "mine", "z": 3})
    monkeypatch.chdir(tmp_path)
    assert read_checkpoint(".").settings == (None, {})
    (tmp_path / "net.yml").write_text("lr: 3\n")
    assert read_checkpoint(tmp_path / "net.pth").settings == (None, {})


def test_folders_put_the_stem_first(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pth")
    torch.save(torch.zeros(3), tmp_path / "center.pt")
    save_file({"w": torch.ones(1)}, tmp_path / "more.safetensors")
    (tmp_path / "config.json").write_text('{"z": [1, 2]}')
    (tmp_path / "notes.txt").write_text("nothing")
    found = read_checkpoint(tmp_path)
    assert found.container == "folder"
    assert set(found.tensors) == {"net.w", "center", "more.w"}
    assert found.meta("config.z") == [1, 2]


@pytest.mark.parametrize("given", ["", "weights.pt"])
def test_what_lies_beside_the_weights(tmp_path: Path, given: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text('{"z": [1, 2]}')
    found = read_checkpoint(tmp_path / given)
    assert found.beside("other.json", "config.json") == (tmp_path / "config.json", {"z": [1, 2]})
    with pytest.raises(CheckpointError, match=rf"{given}: there is no other\.json .*; put the other\.json"):
        found.beside("other.json")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: it is not valid JSON"):
        found.beside("config.json")


def test_tensors_asked_for_are_there_of_their_shape_and_finite() -> None:
    found = Checkpoint(
        Path("file.pt"), "torch", {"g.weight": torch.ones(2, 3).half(), "g.bad": torch.tensor([1.0, float("nan")])}
    )
    assert found.tensor("g.weight", (None, 3)).dtype == torch.float32
    with pytest.raises(
        CheckpointError, match=r"^file.pt: .*'g.wieght' is missing \(did you mean 'g.weight'\?\); .*\.$"
    ):
        found.tensor("g.wieght")
    with pytest.raises(CheckpointError, match=r"'g.weight' has shape \(2, 3\) where \(any, 4\) is needed"):
        found.tensor("g.weight", (None, 4))
    with pytest.raises(CheckpointError, match=r"'g\.weight' has shape"):
        found.tensor("g.weight", (2,))
    with pytest.raises(CheckpointError, match=r"'g\.bad' holds NaN"):
        found.tensor("g.bad")


def test_what_is_left_over_is_told_once_all_should_be_read() -> None:
    one, map2 = torch.ones(1), torch.ones(2, 2)
    names = {"m.g.w": map2, "m.g.spare": one, "m.g_ema.w": map2, "m.g_ema.fir": one, "m.g_ema.count": torch.tensor(3)}
    beside = {"m.D.w": map2, "optimizer_G.0": map2, "m.latent_avg": map2, "step": one, "netD.w": map2}

    def read(**more: torch.Tensor) -> Checkpoint:
        found = Checkpoint(Path("f.pt"), "torch", {**names, **beside, **more})
        assert found.averaged(["m.g.", "m.g_ema."]) == "m.g_ema."
        found.tensor("m.g_ema.w", (2, 2))
        found.spare(r"m\.g_ema\.fir")
        return found

    read().check_all_read()
    for name, tensor in {"m.g_ema.out": one, "m.upsampler.w": map2, "head.w": map2}.items():
        with pytest.raises(CheckpointError, match=f"^f.pt: '{name}' are left over when its network is read"):
            read(**{name: tensor}).check_all_read()


# What files must not do


def payloads(canary: Path) -> dict[str, tuple[Any, str]]:
    """Things that do something when unpickled, and the name that the error must give."""
    command = f"touch {canary}"
    return {
        "system": (Calls(os.system, command), f"{os.system.__module__}.system"),
        "eval": (Calls(eval, f"__import__('os').system('{command}')"), "builtins.eval"),
        "exec": (Calls(exec, f"open({str(canary)!r}, 'w')"), "builtins.exec"),
        "open": (Calls(open, str(canary), "w"), "io.open"),
        "getattr": (Calls(getattr, Calls(__import__, "os"), "system"), "builtins.getattr"),
        "torch_load": (Calls(torch.load, str(canary)), "torch.serialization.load"),
        "numpy_load": (Calls(np.load, str(canary)), "numpy.load"),
        "partial": (Calls(__import__("functools").partial, os.system, command), "functools.partial"),
    }


def test_the_canary_sings(canary: Path) -> None:
    """The payloads are live: the standard unpickler does execute them."""
    pickle.loads(pickle.dumps(payloads(canary)["system"][0]))
    assert canary.exists()


@pytest.mark.parametrize("kind", ["system", "eval", "exec", "open", "getattr", "torch_load", "numpy_load", "partial"])
@pytest.mark.parametrize("protocol", range(6))
def test_foreign_names_are_refused_by_name(canary: Path, write: Any, kind: str, protocol: int) -> None:
    payload, name = payloads(canary)[kind]
    canary.unlink(missing_ok=True)
    data = pickle.dumps({"G_ema": OrderedDict(a=1), "D": payload}, protocol=protocol)
    message = refusal(write(data))
    assert not canary.exists()
    shown = name.replace("builtins", "__builtin__") if protocol < 3 else name
    assert shown in message or name in message
    assert "nothing in it was executed" in message


def test_dotted_names_reach_nothing(write: Any, canary: Path) -> None:
    """Protocol 4 resolves 'a.b.c' attribute by attribute, so an allowed function would lead to its globals."""
    for package, attribute in (
        ("torch._utils", "_rebuild_parameter.__globals__"),
        ("collections", "OrderedDict.__init__"),
        ("torch_utils.persistence", "_reconstruct_persistent_obj.__class__"),
    ):
        texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (package, attribute))
        assert f"{package}.{attribute}" in refusal(write(b"\x80\x04" + texts + b"\x93."))


def test_source_text_is_never_run(write: Any, canary: Path) -> None:
    net = module(f"open({str(canary)!r}, 'w')", _parameters={"w": torch.ones(2)}, _buffers={}, _modules={})
    found = read_checkpoint(write(dumps({"G_ema": net})))
    assert torch.equal(found.tensors["G_ema.w"], torch.ones(2))
    assert not canary.exists()


@pytest.mark.parametrize("kind", ["system", "eval", "getattr", "torch_load"])
def test_payloads_inside_tensor_bytes_are_refused(write: Any, canary: Path, kind: str) -> None:
    payload, name = payloads(canary)[kind]
    net = module(_parameters={"w": nested(torch.ones(1), storage_bytes(payload))}, _buffers={}, _modules={})
    canary.unlink(missing_ok=True)
    message = refusal(write(dumps({"G_ema": net})))
    assert name.rpartition(".")[2] in message
    assert not canary.exists()


def test_payloads_inside_tensor_files_are_refused(write: Any, canary: Path, tmp_path: Path) -> None:
    payload, name = payloads(canary)["system"]
    for new in (True, False):
        torch.save({"w": torch.ones(1), "x": payload}, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
        assert name in refusal(tmp_path / "x.pt")
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.pt").rename(tmp_path / "folder" / "x.pt")
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(tmp_path / "folder")
    assert not canary.exists()


def test_tar_archives_are_refused_outside_and_inside(write: Any, canary: Path) -> None:
    """Older releases of torch unpickle tar archives freely, whatever ``weights_only`` says."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = dumps(payloads(canary)["system"][0])
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    canary.unlink(missing_ok=True)
    refusal(write(buffer.getvalue(), "x.pth"))
    nested = Calls(torch.storage._load_from_bytes, buffer.getvalue())
    assert "tar archive" in refusal(write(dumps({"w": nested})))
    assert not canary.exists()


def test_torchscript_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", dumps(()))
    assert "TorchScript" in refusal(tmp_path / "script.pt")


def test_opcodes_that_reach_outside_are_refused(write: Any) -> None:
    assert "EXT1" in refusal(write(b"\x80\x02\x82\x01."))
    assert "BINPERSID" in refusal(write(b"\x80\x02K\x01Q."))
    assert "PERSID" in refusal(write(b"\x80\x00Px\n."))


def test_state_is_set_on_nothing_but_records(write: Any) -> None:
    """A state set on an allowed function or class would change it for the rest of the process."""
    data = b"\x80\x02ctorch._utils\n_rebuild_parameter\nN}X\x08\x00\x00\x00__kw__x_K\x01s\x86b."
    assert "state of something that has none" in refusal(write(data))


def test_payloads_inside_tensorflow_networks_are_refused(write: Any, canary: Path) -> None:
    payload, name = payloads(canary)["system"]
    network = Network()
    network.__dict__.update(version=4, name="Gs", static_kwargs={"x": payload}, components={}, variables=[])
    canary.unlink(missing_ok=True)
    assert name in refusal(write(dumps((network, network, network))))
    assert not canary.exists()


def test_networks_without_variables_are_refused(write: Any) -> None:
    states: list[dict[str, Any]] = [{}, {"variables": 3}, {"variables": [("w", "text")]}, {"variables": [3]}]
    for state in [*states, {"variables": [], "components": 1}]:
        network = Network()
        network.__dict__.update(state)
        assert "variable" in refusal(write(dumps({"Gs": network})))


def test_object_arrays_are_refused(write: Any) -> None:
    array = np.array([{"a": 1}, None], dtype=object)
    for protocol in (2, 4, 5):
        assert "where numbers belong" in refusal(write(pickle.dumps({"a": array}, protocol=protocol)))
    structured = np.zeros(2, dtype=[("a", "f4")])
    assert "where numbers belong" in refusal(write(pickle.dumps({"a": structured})))


# Files that swell


@pytest.mark.parametrize(
    ("prefixes", "taken"),
    [
        ([""], ""),
        (["generator."], "generator."),
        (["G.", "Gs."], "Gs."),
        (["generator.", "generator_smooth."], "generator_smooth."),
        (["state.g.", "state.g_ema."], "state.g_ema."),
        (["models.generator", "models.generator_s"], "models.generator_s"),
    ],
)
def test_the_averaged_copy_is_told_by_its_name(prefixes: list[str], taken: str) -> None:
    assert Checkpoint(Path("net.pt"), "torch", {}).averaged(prefixes) == taken


@pytest.mark.parametrize("prefixes", [["G.", "other."], ["G_ema.", "Gs."], ["Gsmooth.", "schema."]])
def test_copies_that_cannot_be_told_apart_are_named(prefixes: list[str]) -> None:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(Path("net.pt"), "torch", {}).averaged(prefixes)
    named = f"({prefixes[0]!r}, {prefixes[1]!r})"
    assert (
        str(caught.value) == f"net.pt: it holds several networks {named}; save the averaged one to a file of its own."
    )


def test_repeated_content_does_not_multiply(write: Any) -> None:
    laughs: list[Any] = [1]
    for _ in range(60):
        laughs = [laughs, laughs]
    assert "without bound" in refusal(write(pickle.dumps({"a": laughs})))


def test_depth_and_cycles_are_bounded(write: Any) -> None:
    assert "without bound" in refusal(write(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."))
    cycle: list[Any] = []
    cycle.append(cycle)
    assert "refers to itself" in refusal(write(pickle.dumps({"a": cycle})))


def test_deep_keys_are_never_hashed(write: Any) -> None:
    """Hashing a tuple nested a million times ends the process."""
    refusal(write(b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"K\x01s."))


def test_huge_memo_indices_cost_nothing(write: Any) -> None:
    found = pickle.dumps({"w": np.ones(1)}, protocol=2)
    stop = found.rindex(b".")
    assert read_checkpoint(write(found[:stop] + b"r\xff\xff\xff\xff.")).tensors["w"].item() == 1


def test_decoding_again_and_again_is_bounded(write: Any) -> None:
    text = "a" * (1 << 20)
    function = b"c_codecs\nencode\nq\x01"
    arguments = b"X" + struct.pack("<I", len(text)) + text.encode() + b"X\x06\x00\x00\x00latin1\x86q\x02"
    again = b"h\x01h\x02Ra"
    assert "far more data" in refusal(write(b"\x80\x02]" + function + arguments + b"00" + again * 1000 + b"."))


def test_tensors_cannot_exceed_their_bytes(write: Any, tmp_path: Path) -> None:
    raw = storage_bytes(torch.ones(4)._typed_storage())
    views = [((1 << 40,), (0,)), ((5,), (1,)), ((2,), (1 << 50,)), ((-1,), (1,)), ((1, 1), (1,)), ((2,), (-1,))]
    for size, stride in views:
        storage = Calls(torch.storage._load_from_bytes, raw)
        tensor = Calls(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, OrderedDict())
        assert "tensor" in refusal(write(pickle.dumps({"w": tensor})))
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "expanded.pt")
    assert "larger than the file" in refusal(tmp_path / "expanded.pt")


def test_compressed_archives_do_not_swell(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(1 << 25))
    assert "far more data" in refusal(tmp_path / "bomb.pt")


# Files that are damaged


@pytest.mark.parametrize("name", PICKLES + TORCH)
def test_truncated_files(shared: Path, write: Any, name: str) -> None:
    data = (shared / "checkpoints" / name).read_bytes()
    for share in (0.001, 0.3, 0.9, 0.999):
        refusal(write(data[: int(share * len(data))], Path(name).name))


def test_flipped_bytes_give_errors_of_ours_alone(shared: Path, write: Any) -> None:
    rng = random.Random(5)
    data = (shared / "checkpoints/stylegan2_nvlabs_cond/network.pkl").read_bytes()
    small = pickle.dumps({"w": np.ones((2, 2)), "d": OrderedDict(a=[1, (2, 3)])}, protocol=2)
    for original, rounds, reach in ((data, 20, 6000), (small, 600, len(small))):
        for _ in range(rounds):
            broken = bytearray(original)
            for _ in range(rng.randint(1, 3)):
                broken[rng.randrange(2, reach)] = rng.randrange(256)
            with contextlib.suppress(CheckpointError):  # any other error fails the test
                read_checkpoint(write(bytes(broken)))


def test_files_that_are_no_weights(write: Any, tmp_path: Path) -> None:
    assert "there is no such file" in refusal(tmp_path / "nowhere.pkl")
    assert "it is empty" in refusal(write(b""))
    assert "web page" in refusal(write(b"<!DOCTYPE html><html>Quota exceeded</html>"))
    assert "Git LFS" in refusal(write(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"))
    assert "neither" in refusal(write(bytes(range(200, 256)) * 20))
    assert "holds no tensors" in refusal(write(pickle.dumps({"a": 1})))
    assert "safetensors" in refusal(write(struct.pack("<Q", 30) + b'{"a": 1' + bytes(60), "x.safetensors"))


def test_folders_without_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_checkpoint(tmp_path)
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pth")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: it is not valid JSON \(.*\); correct it or remove it"):
        read_checkpoint(tmp_path)
    with (tmp_path / "config.json").open("r+b") as file:
        file.truncate((1 << 24) + 1)
    with pytest.raises(CheckpointError, match=r"config\.json.* far too large.*; correct it or remove it"):
        read_checkpoint(tmp_path)
    (tmp_path / "config.json").unlink()
    torch.save({"w": torch.ones(2)}, tmp_path / "net.pt")
    with pytest.raises(CheckpointError, match=r"two files hold the tensor 'net\.w'"):
        read_checkpoint(tmp_path)


# What lies beside the weights


class Config(dict):  # type: ignore[type-arg]
    """An object of a class of the program that wrote a file, with attributes beside its entries."""


class Chosen(enum.Enum):
    """What is pickled as a call of a class."""

    FIRST = 1


class FolderOf(type(Path())):  # type: ignore[misc]
    """A path of a class of one's own: pickled as a call of it."""


@pytest.mark.parametrize("new", [True, False])
def test_what_lies_beside_the_weights_is_inert(tmp_path: Path, new: bool) -> None:
    """Numbers of numpy, paths, objects of other classes, and what torch alone can make, in a torch file."""
    config = Config(size=64)
    config.note = OrderedDict(a=[1, 2])  # type: ignore[attr-defined]
    content = {
        "w": torch.ones(2, 3).t(),
        "tied": torch.arange(4.0),
        "loss": np.float64(0.5),
        "path": tmp_path / "data",
        "when": datetime.datetime(2020, 1, 1),
        "config": config,
        "kind": torch.nn.Linear,
        "sparse": torch.eye(2).to_sparse(),
        "seen": collections.defaultdict(list, a=[1]),
    }
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    found = read_checkpoint(tmp_path / "x.pt")
    assert set(found.tensors) >= {"w", "tied"}
    assert torch.equal(found.tensors["w"], torch.ones(3, 2))
    assert found.metadata["loss"] == 0.5
    assert found.metadata["config"] == {"size": 64}
    assert found.metadata["kind"] == "torch.nn.modules.linear.Linear"
    assert "Path" in found.metadata["path"]
    assert found.metadata["seen"] == {"a": [1]}


@pytest.mark.parametrize("new", [True, False])
def test_a_network_saved_whole_is_read(tmp_path: Path, new: bool) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm2d(3))
    torch.save({"g": network, "n": 1}, tmp_path / "whole.pt", _use_new_zipfile_serialization=new)
    found = read_checkpoint(tmp_path / "whole.pt").tensors
    state = {f"g.{key}": tensor for key, tensor in network.state_dict().items()}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in state.items())


def test_a_network_of_nvidias_saved_whole_is_read(write: Any) -> None:
    """As tuned generators are: theirs is a torch file, whose pickle rebuilds the network from its source text."""
    layer = module(_parameters={"w": torch.ones(2)}, _buffers={}, _modules={}, plain=torch.nn.Conv2d(1, 1, 1))
    network = module("raise", _parameters={}, _buffers={"b": torch.zeros(1)}, _modules={"l": layer}, z_dim=3)
    found = read_checkpoint(write(torch_dump(network), "model.pt"))
    assert torch.equal(found.tensors["G_ema.l.w"], torch.ones(2))
    assert found.meta("G_ema.z_dim") == 3


def test_plain_modules_in_a_network_pickle_are_read(write: Any) -> None:
    """Theirs is the pickle of a program that knows torch's classes, not NVIDIA's hook."""
    plain = torch.nn.Conv2d(1, 2, 1)
    found = read_checkpoint(write(pickle.dumps({"D": plain, "G": torch.nn.Linear(1, 1)}))).tensors
    assert torch.equal(found["D.weight"], plain.weight)


def test_networks_of_any_number_have_the_names_that_they_state(write: Any) -> None:
    networks = [
        tensorflow_network(name, {"lod": torch.tensor(float(i))}) for i, name in enumerate(("E", "G", "D", "Gs"))
    ]
    found = read_checkpoint(write(dumps(tuple(networks)))).tensors
    assert {name: one.item() for name, one in found.items()} == {"E.lod": 0, "G.lod": 1, "D.lod": 2, "Gs.lod": 3}


def test_calls_inside_what_is_inert_are_refused(write: Any, canary: Path, tmp_path: Path) -> None:
    """An object's state and entries, a subclass of a path, a choice: whatever a file calls and no weights need."""
    payload, name = payloads(canary)["system"]
    canary.unlink(missing_ok=True)
    config = Config(run=payload)
    hidden = Config()
    hidden.run = payload  # type: ignore[attr-defined]
    cases = {name: config, f"{name} ": hidden, "test_checkpoint.FolderOf": FolderOf("x"), "Chosen": Chosen.FIRST}
    for called, value in cases.items():
        torch.save({"w": torch.ones(1), "x": value}, tmp_path / "x.pt")
        assert called.strip().rpartition(".")[2] in refusal(tmp_path / "x.pt")
        assert "save the state dictionary" in refusal(write(pickle.dumps({"w": np.ones(1), "x": value})))
    assert not canary.exists()


def test_records_without_bound_are_refused(write: Any) -> None:
    deep = b"ccollections\nUserDict\n)\x81" * 2000 + b"b" * 1999
    assert "without bound" in refusal(write(b"\x80\x02" + deep + b"."))
    laughs: Any = 1
    for _ in range(40):
        laughs = Config(a=laughs, b=laughs)
    assert "without bound" in refusal(write(pickle.dumps({"w": np.ones(1), "x": laughs})))
