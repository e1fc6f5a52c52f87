"""Keras's files, read as data: HDF5 (``.h5``), and ``.keras``, an archive of JSON and HDF5. Not in paper."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from ganenc_registry.errors import CheckpointError
from ganenc_registry.plain_data import parse_json
from torch import Tensor

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
"""What an archive holds."""
LARGER = 16
"""How many times as large as its file what a file unpacks to may be."""
_MOST_OBJECTS, _DEPTH, _LONGEST = 20_000, 24, 1 << 24


def is_archive(file: BinaryIO) -> bool:
    """Whether a zip is Keras's."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {CONFIG, WEIGHTS} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    finally:
        file.seek(0)


def read_keras(path: Path, file: BinaryIO, name: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The arrays of a file by their paths in it, such as ``model_weights/dense/dense/kernel:0``, and ``model_config``,
    what it says of its layers, if it does. `CheckpointError` if h5py is missing, or it is damaged, unsafe or not so."""
    try:
        import h5py
    except ImportError:
        raise CheckpointError(f'{path}: a file of Keras\'s takes h5py; run `pip install "ganenc[keras]"`.') from None
    size = os.fstat(file.fileno()).st_size
    try:
        source, config = _unpacked(path, file, size)
        with h5py.File(source, "r") as opened:
            config = opened.attrs.get("model_config") if config is None else config
            text = config.decode() if isinstance(config, bytes) else config
            if text is not None and not (isinstance(text, str) and len(text) <= _LONGEST):
                raise CheckpointError(f"{path}: its model_config is no text of a bounded length; save it anew.")
            metadata = {} if text is None else {"model_config": parse_json(text)}
            tensors = dict(_arrays(path, opened, LARGER * size, h5py))
    except CheckpointError:
        raise
    except Exception as error:  # HDF5's library raises many kinds on broken files.
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{path}: it cannot be read as Keras's HDF5 ({told}); download it again.") from None
    start = f"{name}." if name else ""
    return {f"{start}{key}": tensor for key, tensor in tensors.items()}, {name: metadata} if name else metadata


def _unpacked(path: Path, file: BinaryIO, size: int) -> tuple[BinaryIO, bytes | None]:
    """The HDF5 file, and the config where that lies beside it."""
    if file.read(4) != b"PK\x03\x04":
        file.seek(0)
        return file, None
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        if any(archive.getinfo(one).file_size > LARGER * size for one in (CONFIG, WEIGHTS)):
            raise CheckpointError(f"{path}: it unpacks to far more than it can hold; download it again.")
        return io.BytesIO(archive.read(WEIGHTS)), archive.read(CONFIG)


def _arrays(path: Path, root: Any, limit: int, h5py: Any) -> Iterator[tuple[str, Tensor]]:
    """Every array of numbers by its path; links, and data that lies elsewhere, are refused."""
    groups, seen = [("", root, 0)], 0
    while groups:
        start, group, depth = groups.pop()
        for key in group:
            name, seen = f"{start}{key}", seen + 1
            if seen > _MOST_OBJECTS or depth > _DEPTH:
                raise CheckpointError(f"{path}: it has more parts than any network; save it anew.")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise CheckpointError(f"{path}: its {name!r} is a link to elsewhere; save it anew, with its arrays.")
            item = group[key]
            if isinstance(item, h5py.Group):
                groups.append((f"{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and item.dtype.itemsize <= 8:
                limit -= item.nbytes
                if item.external or item.is_virtual or limit < 0:
                    why = "is larger than the file can hold" if limit < 0 else "lies in another file"
                    raise CheckpointError(f"{path}: its {name!r} {why}; save it anew.")
                values = np.asarray(item[()])
                native = values.astype(values.dtype.newbyteorder("="), copy=False)
                if native.dtype.name in _TYPES:
                    yield name, torch.from_numpy(np.array(native))


_TYPES = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8"}
