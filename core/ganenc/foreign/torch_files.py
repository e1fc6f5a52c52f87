"""Reads the pickles that foreign files are, or hold, as data: torch's archives, its older files, NVIDIA's networks.

Torch is never asked to open them: what is looked at is what is read. Not in paper.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, TypeAlias

from ganenc.foreign.arrays import Storage, dtype_named
from ganenc.foreign.inert_pickle import Name, PickleDamaged, PickleRefused, read_pickle
from ganenc.foreign.makers import SLACK, Budget

Data: TypeAlias = "bytes | mmap.mmap | memoryview"
Makers: TypeAlias = dict[str, Callable[..., Any]]

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a tensor file in the format before the zip archive."""

_NESTED = "torch.storage._load_from_bytes"
_END, _END64, _PLACE64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s22x2H")
_LARGE = 1 << 12
_RAW_BYTES = b"B\x8e\x96"  # the opcodes whose argument may stay what it is; texts are decoded


class _Views:
    """A pickle in memory, or mapped into it, as a file whose large pieces are views: nothing of them is copied."""

    def __init__(self, data: Data) -> None:
        self._view = memoryview(data)
        self._at = 0
        self._before = (0, 0)  # where the last two pieces began: of a large piece, its opcode and its length

    def read(self, size: int, /) -> bytes | memoryview:
        piece = self._view[self._at : self._at + size]
        opcode = self._view[self._before[0]] if len(piece) >= _LARGE else 0
        self._before = (self._before[1], self._at)
        self._at += len(piece)
        return piece if opcode in _RAW_BYTES else bytes(piece)

    def readline(self) -> bytes:
        line = b""
        while not line.endswith(b"\n") and (piece := bytes(self._view[self._at : self._at + _LARGE])):
            line += piece[: piece.find(b"\n") + 1 or None]
            self._at += len(piece[: piece.find(b"\n") + 1 or None])
        return line

    def tell(self) -> int:
        return self._at


def read_network_pickle(data: Data) -> Any:
    """The tree of a network pickle, given whole: plain values, arrays and records.

    The numbers of an array are left where they are until they are asked for, so that networks which nobody wants cost
    nothing; what is returned keeps ``data`` open.

    Raises:
        PickleRefused: it calls anything that such files do not need, at any depth, or is damaged.
    """
    return read_pickle(_Views(data), _makers(Budget(len(data))))


def read_tensor_file(file: BinaryIO, data: Data) -> Any:
    """The tree of a tensor file, zip or older: plain values, arrays and records, as `read_network_pickle` gives it.

    Args:
        file: the file, seekable.
        data: all that it holds.
    """
    return _tensor_file(file, data, lambda size: _makers(Budget(size)))


def _makers(budget: Budget) -> Makers:
    """The table of a file, in which tensors may be nested as files of their own; those nest none."""
    plain = budget.makers()

    def nested(raw: Any) -> Any:
        raw = raw.encode("latin1") if isinstance(raw, str) else raw
        if not isinstance(raw, (bytes, bytearray, memoryview)):
            raise PickleRefused("it holds a tensor without its bytes")
        budget.spend(len(raw))
        storage = _tensor_file(io.BytesIO(raw), memoryview(raw), lambda _: plain)
        if not isinstance(storage, tuple) or not storage or not isinstance(storage[0], Storage):
            raise PickleRefused("it nests something that is not the numbers of a tensor")
        return storage

    return {**plain, _NESTED: nested}


def _tensor_file(file: BinaryIO, data: Data, makers: Callable[[int], Makers]) -> Any:
    try:
        if bytes(data[:4]) == b"PK\x03\x04":
            return _archive(file, memoryview(data), makers)
        if bytes(data[257:262]) == b"ustar":
            raise PickleRefused("it is a tar archive, a format of tensor files that is no longer written")
        if bytes(data[: len(LEGACY_MAGIC)]) != LEGACY_MAGIC:
            raise PickleRefused("it is no file of tensors")
        return _older(memoryview(data), makers(len(data)))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise PickleDamaged("its archive is truncated or damaged") from error
    except (TypeError, struct.error) as error:
        raise PickleDamaged("its tensors cannot be read, so it is truncated or damaged") from error


def _older(data: memoryview, makers: Makers) -> Any:
    """Magic, version, machine, content, the keys of the storages; then of each its count (8 bytes) and its numbers."""
    found: dict[str, tuple[Storage, int]] = {}

    def storage(identity: Any) -> Any:
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # a class, beside which its source text is kept
        kind, key, count, dtype = _identified(identity)
        known = found.setdefault(key, (Storage(count * dtype.itemsize), dtype.itemsize))[0]
        if known.nbytes != count * dtype.itemsize or kind != "whole":
            raise PickleRefused("it describes the numbers of a tensor in a way that is malformed")
        return known, dtype

    source = _Views(data)
    *_, content, keys = (read_pickle(source, makers, persistent=storage) for _ in range(5))
    at = source.tell()
    if found.keys() != {*keys}:
        raise PickleDamaged("its tensors cannot be read, so it is truncated or damaged")
    for key in keys:
        one, width = found[key]
        count = int.from_bytes(data[at : at + 8], "little")
        one.raw = data[at + 8 : at + 8 + one.nbytes]
        if count * width != one.nbytes or len(one.raw) != one.nbytes:
            raise PickleDamaged("its tensors cannot be read, so it is truncated or damaged")
        at += 8 + one.nbytes
    return content


def _archive(file: BinaryIO, data: memoryview, makers: Callable[[int], Makers]) -> Any:
    """A pickle, ``data.pkl``, and a file for each storage, in the one folder of an archive."""
    _check_directory(data)
    archive = zipfile.ZipFile(file)
    entries = {entry.filename: entry for entry in archive.infolist()}
    folder = next(iter(entries), "").partition("/")[0]
    if f"{folder}/constants.pkl" in entries:
        raise PickleRefused("it is a TorchScript program, not a file of tensors")
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > 2 * len(data) + SLACK:
        raise PickleRefused("it unpacks to far more data than the file holds")
    if len({name.casefold() for name in entries}) < len(archive.infolist()):
        raise PickleRefused("its archive holds two files of one name")
    if any(entry.flag_bits & 1 for entry in entries.values()):
        raise PickleRefused("its archive is encrypted")

    def member(name: str) -> bytes | memoryview:
        entry = entries[f"{folder}/{name}"]
        if entry.compress_type != zipfile.ZIP_STORED:
            return archive.read(entry)
        _, *lengths = _LOCAL.unpack_from(data, entry.header_offset)
        start = entry.header_offset + _LOCAL.size + sum(lengths)
        return data[start : start + entry.file_size]

    swapped = f"{folder}/byteorder" in entries and bytes(member("byteorder")) == b"big"
    found: dict[str, Storage] = {}

    def storage(identity: Any) -> Any:
        _, key, count, dtype = _identified(identity)
        if key not in found:
            raw = member(f"data/{key}")
            found[key] = Storage(len(raw), raw, swapped=swapped)
        if count * dtype.itemsize > found[key].nbytes:
            raise PickleRefused("it describes tensors larger than the file itself")
        return found[key], dtype

    return read_pickle(_Views(archive.read(f"{folder}/data.pkl")), makers(max(len(data), unpacked)), persistent=storage)


def _identified(identity: Any) -> tuple[str, str, int, Any]:
    """What the id of a storage says: whole or part, key, count and dtype."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] not in ("storage", b"storage"):
        raise PickleRefused("it refers to something that is not the numbers of a tensor")
    _, kind, key, _, count, *view = identity
    dtype = dtype_named(kind.text) if isinstance(kind, Name) else None
    if dtype is None or not isinstance(key, str) or not isinstance(count, int) or count < 0:
        raise PickleRefused("it describes the numbers of a tensor in a way that is malformed")
    return "part" if view and view[0] is not None else "whole", key, count, dtype


def _check_directory(data: memoryview) -> None:
    """Refuse an archive whose end can be read in two ways.

    The directory ends where its description begins, and the file ends with that; PKWARE's APPNOTE, 4.3.14 to 4.3.16.
    """
    tail = _END64.size + _PLACE64.size + _END.size
    end = bytes(data[-tail:])
    magic, *_, length, start, comment = _END.unpack(end[-_END.size :].rjust(_END.size, b"\0"))
    directory_end = len(data) - _END.size
    if len(end) == tail and end[_END64.size :].startswith(b"PK\x06\x07"):
        at = _PLACE64.unpack_from(end, _END64.size)[2]
        *_, length64, start64 = _END64.unpack_from(end)
        directory_end = len(data) - tail
        if at != directory_end or length not in (length64, 0xFFFFFFFF) or start not in (start64, 0xFFFFFFFF):
            raise ValueError("the two ends of the directory differ")
        length, start = length64, start64
    if magic != b"PK\x05\x06" or comment or start + length != directory_end:
        raise ValueError("the directory is not where the file says")
