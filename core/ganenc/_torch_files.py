"""Opens tensor files with ``weights_only=True``, after looking for what that switch does not cover. Not in paper."""

from __future__ import annotations

import argparse
import contextlib
import re
import tarfile
import zipfile
from typing import Any, BinaryIO

import torch

from ganenc._inert_pickle import PickleDamaged, PickleRefused

__all__ = ["LEGACY_MAGIC", "check_tensor", "load_tensor_file", "tensor_from_storage"]

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The first bytes of a tensor file in the format before the zip archive."""

_SLACK = 1 << 20
_FOREIGN = re.compile(r"(?:GLOBAL|Unsupported class|unrecognized function|unsupported class) `?([\w.<>]+)")


def load_tensor_file(file: BinaryIO) -> Any:
    """Return what a tensor file holds, on the CPU: tensors in plain containers.

    Args:
        file: a seekable binary file at its start, in the zip or the older format.

    Raises:
        PickleRefused: it names anything but tensors and plain data, or is damaged.
    """
    size = file.seek(0, 2)
    file.seek(0)
    _look_inside(file, size)
    file.seek(0)
    try:
        with _plain_options():
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
    """Refuse the containers that older versions of torch open without care, and archives that swell."""
    start = file.read(len(LEGACY_MAGIC))
    file.seek(0)
    if start[:4] == b"PK\x03\x04":
        try:
            entries = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise PickleDamaged("its archive is truncated or damaged") from error
        if any(entry.filename.endswith("constants.pkl") for entry in entries):
            raise PickleRefused("it is a TorchScript program, not a file of tensors")
        if sum(entry.file_size for entry in entries) > 2 * size + _SLACK:
            raise PickleRefused("it unpacks to far more data than the file holds")
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


def check_tensor(tensor: torch.Tensor, limit: int) -> torch.Tensor:
    """Return a tensor detached, once it is sure that it holds its numbers in memory.

    Args:
        tensor: any tensor that came from a file of ``limit`` bytes.
        limit: the most bytes its storage or its elements may take.

    Raises:
        PickleRefused: it is sparse, quantised, without data, or larger than the file.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise PickleRefused("it holds a tensor that is sparse, quantised or without data")
    taken = max(tensor.untyped_storage().nbytes(), tensor.numel() * tensor.element_size())
    if taken > limit + _SLACK:
        raise PickleRefused("it describes tensors larger than the file itself")
    return tensor.detach()


def tensor_from_storage(storage: Any, offset: Any, size: Any, stride: Any) -> torch.Tensor:
    """Return the tensor that views a storage, as the format of pickled tensors describes it.

    Args:
        storage: a typed storage read by `load_tensor_file`.
        offset: the first element.
        size: the shape, a tuple of integers.
        stride: the step along each axis, a tuple of integers.

    Raises:
        PickleRefused: the shape does not fit into the storage.
    """
    sound = (
        type(storage) is torch.storage.TypedStorage
        and isinstance(size, tuple)
        and isinstance(stride, tuple)
        and len(size) == len(stride)
        and all(isinstance(number, int) and number >= 0 for number in (offset, *size, *stride))
    )
    if not sound:
        raise PickleRefused("it describes a tensor that is malformed")
    count = storage._untyped_storage.nbytes() // storage.dtype.itemsize
    elements, last = 1, offset
    for length, step in zip(size, stride):
        elements *= length
        last += (length - 1) * step
    if elements and (last >= count or elements > count):
        raise PickleRefused("it describes a tensor larger than the numbers it holds")
    empty = torch.empty(0, dtype=storage.dtype)
    return empty.set_(storage._untyped_storage, offset, size, stride) if elements else empty.reshape(size)
