"""Opens tensor files with ``weights_only=True``, after looking for what that switch does not cover. Not in paper."""

from __future__ import annotations

import argparse
import contextlib
import re
import struct
import tarfile
import warnings
import zipfile
import zlib
from io import BytesIO
from typing import Any, BinaryIO

import torch

from ganenc.foreign.inert_pickle import PickleDamaged, PickleRefused
from ganenc.foreign.plain_makers import SLACK
from ganenc.foreign.vetting import Vetting, check_view

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a tensor file in the format before the zip archive."""

_LEGACY_PICKLES = 5  # magic, version, machine, content, and the keys of the numbers, which follow
_END, _END64, _PLACE64 = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
_FOREIGN = re.compile(r"(?:GLOBAL|Unsupported class|unrecognized function|unsupported class) `?([\w.<>]+)")


def load_tensor_file(file: BinaryIO) -> Any:
    """What a seekable tensor file, zip or older, holds: tensors on the CPU in plain containers; `PickleRefused` if it
    names anything but tensors and plain data, or is damaged."""
    size = file.seek(0, 2)
    file.seek(0)
    _look_inside(file, size)
    file.seek(0)
    try:
        with _plain_options(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch thinks of other versions' files is no concern of the user
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes fail in many ways, all of them the file's fault
        found = _FOREIGN.search(str(error))
        if found:
            raise PickleRefused(f"it names {found.group(1)!r}, which no file of tensors needs") from error
        raise PickleDamaged("its tensors cannot be read, so it is truncated or damaged") from error


def _plain_options() -> contextlib.AbstractContextManager[Any]:
    """Let command-line options through, which training scripts save beside their weights."""
    allow = getattr(torch.serialization, "safe_globals", None)
    return allow([argparse.Namespace]) if allow else contextlib.nullcontext()


def _look_inside(file: BinaryIO, size: int) -> None:
    """Refuse the containers that older versions of torch open without care, what swells, and what is not data."""
    start = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if start[:4] == b"PK\x03\x04":
        _look_into_archive(file, size)
        return
    try:
        with tarfile.open(fileobj=file, mode="r:"):
            pass
    except tarfile.TarError:
        pass
    else:
        raise PickleRefused("it is a tar archive, a format of tensor files that cannot be opened safely")
    if start != LEGACY_MAGIC:
        raise PickleRefused("it is no file of tensors")
    file.seek(0)
    vetting = Vetting(size)
    for _ in range(_LEGACY_PICKLES):
        vetting.walk(file)


def _look_into_archive(file: BinaryIO, size: int) -> None:
    """Read the directory of an archive as torch does, and look through its pickle."""
    try:
        _check_directory(file, size)
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
        folder = entries[0].filename.partition("/")[0] if entries else ""
        names = [entry.filename for entry in entries]
        if f"{folder}/constants.pkl" in names:
            raise PickleRefused("it is a TorchScript program, not a file of tensors")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > 2 * size + SLACK:
            raise PickleRefused("it unpacks to far more data than the file holds")
        if len({name.casefold() for name in names}) < len(names):
            raise PickleRefused("its archive holds two files of one name")
        pickled = archive.read(f"{folder}/data.pkl")
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, NotImplementedError) as error:
        raise PickleDamaged("its archive is truncated or damaged") from error
    except RuntimeError as error:
        raise PickleRefused("its archive is encrypted") from error
    Vetting(max(size, unpacked)).walk(BytesIO(pickled))


def _check_directory(file: BinaryIO, size: int) -> None:
    """Refuse an archive whose end can be read in two ways: what is looked at here must be what torch opens.

    The directory ends where its description begins, and the file ends with that; PKWARE's APPNOTE, 4.3.14 to 4.3.16.
    """
    tail = _END64.size + _PLACE64.size + _END.size
    file.seek(max(size - tail, 0))
    end = file.read(tail)
    magic, *_, length, start, comment = _END.unpack(end[-_END.size :].rjust(_END.size, b"\0"))
    directory_end = size - _END.size
    if len(end) == tail and end[_END64.size :].startswith(b"PK\x06\x07"):
        at = _PLACE64.unpack_from(end, _END64.size)[2]
        *_, length64, start64 = _END64.unpack_from(end)
        directory_end = size - tail
        if at != directory_end or length not in (length64, 0xFFFFFFFF) or start not in (start64, 0xFFFFFFFF):
            raise ValueError("the two ends of the directory differ")
        length, start = length64, start64
    if magic != b"PK\x05\x06" or comment or start + length != directory_end:
        raise ValueError("the directory is not where the file says")


def check_tensor(tensor: torch.Tensor, limit: int) -> torch.Tensor:
    """A tensor, detached, once it is sure that it holds its numbers in memory, in at most ``limit`` bytes and a few;
    `PickleRefused` if it is sparse, quantised, without data, or larger than the file."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise PickleRefused("it holds a tensor that is sparse, quantised or without data")
    taken = max(tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())
    if taken > limit + SLACK:
        raise PickleRefused("it describes tensors larger than the file itself")
    return tensor.detach()


def tensor_from_storage(storage: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    """The tensor that views a typed storage from ``offset`` on, in steps of ``stride``, as pickled tensors have it;
    `PickleRefused` if the shape does not fit into the storage."""
    if type(storage) is not torch.storage.TypedStorage:
        raise PickleRefused("it describes a tensor that is malformed")
    count = storage._untyped_storage.nbytes() // storage.dtype.itemsize
    elements = check_view(count, offset, size, stride)
    if elements > count:
        raise PickleRefused("it describes a tensor larger than the numbers it holds")
    empty = torch.empty(0, dtype=storage.dtype)
    return empty.set_(storage._untyped_storage, offset, size, stride) if elements else empty.reshape(size)
