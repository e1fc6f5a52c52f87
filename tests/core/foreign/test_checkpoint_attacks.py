"""Files made to run code, to fill the memory or to exhaust the stack; each is refused in little time and memory."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import foreign
import pytest
import torch
from ganenc.foreign import read_checkpoint
from ganenc_registry.errors import CheckpointError

READ_IN_LITTLE_MEMORY = """
import sys
from fuzzing.memory import peak_megabytes
from ganenc.foreign import read_checkpoint
from ganenc_registry.errors import CheckpointError
import torch
torch.ones(2).sum()
before = peak_megabytes()
for path in sys.argv[1:]:
    try:
        read_checkpoint(path)
        outcome = "read"
    except CheckpointError as error:
        outcome = str(error)
    print(f"{peak_megabytes() - before:.0f}\\t{outcome}")
"""


def read_apart(paths: Sequence[Path]) -> list[tuple[float, str]]:
    """Read files in a process of its own: how many megabytes more it has taken by then, and what came of each."""
    command = [sys.executable, "-c", READ_IN_LITTLE_MEMORY, *map(str, paths)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=1800)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [(float(megabytes), outcome) for megabytes, outcome in lines]


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def called(name: str, arguments: bytes) -> bytes:
    """The opcodes that call a global name."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n(".encode() + arguments + b"tR"


def torch_zip(pickled: bytes, *, numbers: bytes = bytes(16), compress: int = zipfile.ZIP_STORED) -> bytes:
    """A tensor file with this pickle in it, and the numbers of one storage."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compress) as archive:
        for name, body in (("data.pkl", pickled), ("byteorder", b"little"), ("data/0", numbers), ("version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), body, compress)
    return out.getvalue()


def older(pickled: bytes) -> bytes:
    """A tensor file in the older format with this pickle in it."""
    head = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    return b"".join([*head, pickled, pickle.dumps([], protocol=2)])


def storage(key: int, count: bytes = b"K\x04") -> bytes:
    """The opcodes of the numbers of a tensor."""
    return b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu") + count + b"tQ"


def tensor(size: bytes, stride: bytes, numbers: bytes | None = None) -> bytes:
    """The opcodes of a tensor of some shape."""
    view = b"K\x00(" + size + b"t(" + stride + b"t"
    made = (numbers or storage(0)) + view + b"\x89ccollections\nOrderedDict\n)R"
    return called("torch._utils._rebuild_tensor_v2", made)


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


MILLION = 1_000_000
MANY = 200_000
BOMBS: dict[str, bytes] = {
    "nested lists": b"]" * MANY + b"a" * (MANY - 1),
    "nested tuples as a key": b"})" + b"\x85" * MANY + b"K\x01s",
    "nested frozensets": b"(" * 10_000 + b"\x91" * 10_000,
    "empty sets": b"(" + b"\x8f" * 20_000_000 + b"t",
    "marks": b"(" * 20_000_000,
    "one list, doubled again and again": b"(lp0\n" + b"0(g0\ng0\nlp0\n" * 60,
    "a text, decoded again and again": text("a" * MILLION)
    + b"q\x000]"
    + (b"c_codecs\nencode\nh\x00" + text("latin1") + b"\x86Ra") * 3000,
    "a dictionary, copied again and again": b"}("
    + b"".join(text(str(i)) + b"N" for i in range(5000))
    + b"uq\x000]"
    + b"ccollections\nOrderedDict\nh\x00\x85Ra" * 5000,
    "a long number": b"\x8b" + struct.pack("<i", 10_000_000) + b"\x7f" * 10_000_000,
    "a long decimal number": b"L" + b"9" * 3_000_000 + b"L\n",
    "a text of four gigabytes": b"X\xff\xff\xff\x7f" + b"abc",
    "bytes of exabytes": b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc",
    "negative length": b"T\xff\xff\xff\xff" + b"abc",
    "a far memo": b"Nr\xff\xff\xff\xff0",
    "a memo that is not there": b"j\xff\xff\xff\x7f",
    "a frame of exabytes": b"\x95" + struct.pack("<Q", 1 << 62) + b"N",
    "bytes from a number": called("builtins.bytearray", number(1 << 36)),
    "a tensor of terabytes, without numbers": called("torch.Tensor", number(1 << 40)),
    "a tensor larger than its numbers": tensor(number(1 << 40), number(1)),
    "a tensor of overlapping rows": tensor(number(1 << 40) + number(1 << 20), number(0) + number(0)),
    "a tensor past the end": tensor(number(2), number(1 << 40)),
    "a tensor before the start": tensor(number(2), number(-1)),
    "a tensor of many axes": tensor(b"K\x01" * 100_000, b"K\x01" * 100_000),
    "an empty tensor of impossible shape": tensor(number(0) + number(1 << 62) + number(1 << 62), b"K\x01K\x01K\x01"),
    "numbers of terabytes": tensor(b"K\x01", b"K\x01", storage(0, number(1 << 40))),
    "many storages": b"(" + b"".join(storage(i, number(1 << 20)) for i in range(500)) + b"t",
}


def wrappers() -> dict[str, Callable[[bytes], bytes]]:
    """Every place where a pickle may lie, from its opcodes to a file."""

    def inside(pickled: bytes) -> bytes:
        raw = older(pickled)
        return (
            b"\x80\x04}"
            + text("w")
            + called("torch.storage._load_from_bytes", b"B" + struct.pack("<I", len(raw)) + raw)
            + b"s."
        )

    return {
        "network pickle": lambda body: b"\x80\x04}" + text("w") + body + b"s.",
        "tensor file": lambda body: torch_zip(b"\x80\x02}" + text("w") + body + b"s."),
        "compressed tensor file": lambda body: torch_zip(b"\x80\x02" + body + b".", compress=zipfile.ZIP_DEFLATED),
        "older tensor file": lambda body: older(b"\x80\x02}" + text("w") + body + b"s."),
        "bytes of a tensor": lambda body: inside(b"\x80\x02" + body + b"."),
    }


QUICK = ("network pickle", "tensor file")


@pytest.mark.parametrize(
    "where", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in wrappers()]
)
def test_bombs_are_refused_in_little_memory(where: str, tmp_path: Path) -> None:
    """In a process of its own, since a crash would end this one: each within a few hundred megabytes, none for ever."""
    paths = []
    for i, body in enumerate(BOMBS.values()):
        paths.append(tmp_path / f"{i}.bin")
        paths[-1].write_bytes(wrappers()[where](body))
    read = read_apart(paths)
    assert len(read) == len(BOMBS)
    for name, (megabytes, outcome), path in zip(BOMBS, read, paths):
        assert outcome.startswith(str(path)), f"{name}: {outcome}"
        assert megabytes < 600, f"{name}: {megabytes} MB"


def test_the_walls_are_not_in_the_way(tmp_path: Path) -> None:
    """The same wrappers, around sound content, are read."""
    sound = b"}" + text("x") + tensor(b"K\x02K\x02", b"K\x02K\x01") + b"s"
    for where in ("tensor file", "compressed tensor file"):
        path = tmp_path / f"{where}.pt"
        path.write_bytes(wrappers()[where](sound))
        (found,) = read_checkpoint(path).tensors.values()
        assert found.shape == (2, 2)
    content = {"w": torch.ones(2), "n": torch.nn.Parameter(torch.ones(3)), "c": Counter(a=1), "s": torch.Size([2, 3])}
    content |= {
        "d": torch.device("cpu"),
        "t": torch.float32,
        "u": torch.ones(2, dtype=torch.uint16),
        "e": torch.ones(2, 0),
    }
    content |= {"view": torch.arange(12.0)[3:9].view(2, 3).t(), "set": {1, 2}, "z": 1j, "l": [1, (2.5, None)]}
    for new in (True, False):
        if not new:
            del content["u"]  # torch cannot read its own older files of this kind
        torch.save(content, tmp_path / "all.pt", _use_new_zipfile_serialization=new)
        found_all = read_checkpoint(tmp_path / "all.pt").tensors
        assert torch.equal(found_all["view"], content["view"])
        assert set(found_all) == {"w", "n", "e", "view", *(["u"] if new else [])}


# Archives that two programs read in two ways


def refused(path: Path, data: bytes, words: str) -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=words) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


def test_archives_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    sound = torch_zip(b"\x80\x02}" + text("w") + tensor(b"K\x02", b"K\x01") + b"s.")
    evil = torch_zip(b"\x80\x02}" + text("w") + tensor(b"K\x03", b"K\x01") + b"s.")
    path = tmp_path / "x.pt"
    path.write_bytes(sound)
    read_checkpoint(path)
    refused(path, evil + sound, "truncated or damaged")  # a directory that counts from elsewhere
    refused(path, sound + b"\0" * 30, "truncated or damaged")  # something after the end
    end = bytearray(sound)
    end[-2:] = b"\x05\x00"
    refused(path, bytes(end) + b"hello", "truncated or damaged")  # a comment
    out = io.BytesIO(sound)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    refused(path, out.getvalue(), "two files of one name")
    out = io.BytesIO(sound)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("ARCHIVE/DATA.pkl", b"\x80\x02}.")
    refused(path, out.getvalue(), "two files of one name")


def test_names_in_archives_reach_nothing(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("../escaped", "/escaped", str(tmp_path / "escaped"), "archive/../../escaped"):
        out = io.BytesIO(torch_zip(b"\x80\x02}" + text("w") + tensor(b"K\x02", b"K\x01") + b"s."))
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"escaped")
        (inner / "x.pt").write_bytes(out.getvalue())
        with contextlib.suppress(CheckpointError):
            read_checkpoint(inner / "x.pt")
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["inner", "x.pt"]
    assert not Path("/escaped").exists()


def test_archives_that_swell_are_refused(tmp_path: Path) -> None:
    """By what the directory says; and where that lies, before the memory is full."""
    length = 1 << 28
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        pickled = b"\x80\x02}" + text("w") + tensor(b"K\x02", b"K\x01", storage(0, number(1024))) + b"s."
        archive.writestr("archive/data.pkl", pickled)
        with archive.open("archive/data/0", "w") as member:
            for _ in range(length >> 20):
                member.write(bytes(1 << 20))
    swelling = out.getvalue()
    lying = swelling.replace(struct.pack("<I", length), struct.pack("<I", 4096))
    assert len(swelling) < 1 << 20
    assert lying != swelling
    for name, data in (("swelling", swelling), ("lying", lying)):
        (tmp_path / name).write_bytes(data)
    (_, told), (megabytes, outcome) = read_apart([tmp_path / "swelling", tmp_path / "lying"])
    assert "far more data" in told
    assert "truncated or damaged" in outcome
    assert megabytes < 100


def test_encrypted_archives_are_named(tmp_path: Path) -> None:
    data = bytearray(torch_zip(b"\x80\x02}."))
    data[6] |= 1
    directory = data.index(b"PK\x01\x02")
    data[directory + 8] |= 1
    refused(tmp_path / "x.pt", bytes(data), "encrypted")


# Payloads, wherever a file has room for one

PLACES = ["top", "key", "list", "memo", "state", "attribute", "variable", "static", "bytes", "twice", "hooks"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_payloads_are_refused_wherever_they_lie(place: str, protocol: int, tmp_path: Path) -> None:
    sentinel = tmp_path / "executed"
    payload = foreign.Calls(os.system, f"touch {sentinel}")
    ones = torch.ones(1)
    once = foreign.storage_bytes(payload)
    twice = foreign.storage_bytes(foreign.Calls(torch.storage._load_from_bytes, once))
    hooks = foreign.Calls(
        torch._utils._rebuild_tensor_v2, foreign.nested(ones).arguments[0], 0, (1,), (1,), False, OrderedDict(a=payload)
    )
    trees: dict[str, Any] = {
        "top": payload,
        "key": {"w": foreign.nested(ones), "x": {"y": payload}},
        "list": [payload, foreign.nested(ones)],
        "memo": (payload, payload, [payload]),
        "state": foreign.module(_parameters={"w": foreign.nested(ones)}, _buffers={}, _modules={"m": payload}),
        "attribute": foreign.module(_parameters={}, _buffers={}, _modules={}, lr=payload),
        "variable": foreign.tensorflow_network("Gs", {"lod": ones}),
        "static": foreign.tensorflow_network("Gs", {"lod": ones}, {"static_kwargs": {"x": payload}}),
        "bytes": {"w": foreign.nested(ones, once)},
        "twice": {"w": foreign.nested(ones, twice)},
        "hooks": {"w": hooks},
    }
    if place == "variable":
        trees[place].variables.append(("w", payload))
    path = tmp_path / "network.pkl"
    path.write_bytes(foreign.dumps({"G_ema": trees[place]}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"system'|_load_from_bytes'") as caught:
        read_checkpoint(path)
    assert "nothing in it was executed" in str(caught.value)
    assert not sentinel.exists()
