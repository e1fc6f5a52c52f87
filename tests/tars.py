"""Shards to try with, a small model to invert them by, and what they leave. Tests import it as ``tars``."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ganenc.encoders import build_encoder
from ganenc.generators import build_generator
from ganenc.model import Model
from ganenc_plugin_pggan.specs import pggan_spec
from PIL import Image

__all__ = ["photos_tar", "plain", "png", "small_model", "write_tar"]


def png(seed: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: list[tuple[Any, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def photos_tar(path: Path, count: int = 40, first: int = 0) -> Path:
    """Photos with broken ones, every tenth from the third on, and one of text alone."""
    members = []
    for place in range(first, first + count):
        key = f"{place:04d}"
        members += [(f"{key}.txt", b"words")]
        members += [] if place % 40 == 7 else [(f"{key}.png", b"no photo" if place % 10 == 3 else png(place))]
    return write_tar(path, members)


def plain(path: Path) -> tuple[Any, ...]:
    """All that a shard's file says but the seconds; floats to the bit, as none is NaN."""
    import pyarrow.parquet as pq  # Where a test does without shards, pyarrow may be missing.

    found = pq.read_table(path).drop_columns("seconds")
    return found.to_pylist(), found.schema.metadata, str(found.schema)


def small_model(folder: Path) -> Path:
    """The folder of a model of 8x8 images with random weights, that any process can load."""
    torch.manual_seed(0)
    generator = build_generator(pggan_spec((8, 8), {4: 8, 8: 8}, z_dim=8)).freeze()
    Model(generator, build_encoder(generator), backbone="none").save(folder)
    return folder
