"""What is found of shards: their photos, decoded, in batches. Without tensors, for a process that does nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from ganenc_registry.errors import ImageError, told
from PIL import Image, ImageFile, PngImagePlugin

from ganenc.images import Fit, PhotoSource, as_floats, fitted
from ganenc.jobs.prefetching import READERS, ahead, batches
from ganenc.jobs.shard_records import PARQUET, Fields, ShardPhoto, open_shard

T = TypeVar("T")
Load: TypeAlias = Callable[["PhotoSource", "int | None"], T]
"""A photo, and its class if it is known, => what is needed of it; an ImageError if it is none."""
Loaded: TypeAlias = tuple[ShardPhoto, T | ImageError]
Found: TypeAlias = int | T | Exception
"""Of a shard: first its size in bytes; then its photos, a batch at a time, or why there are no more, which is a
FileExistsError if it was done before."""


LIMITS = (
    (Image, "MAX_IMAGE_PIXELS"), (ImageFile, "LOAD_TRUNCATED_IMAGES"), (PngImagePlugin, "MAX_TEXT_CHUNK"),
    (PngImagePlugin, "MAX_TEXT_MEMORY"),
)  # fmt: skip
"""Settings of Pillow's, which hold in a process that decodes as where it is begun."""


@dataclass(frozen=True)
class Reading:
    """What is read of shards."""

    fields: Fields
    size: tuple[int, int]
    """(height, width) of the photos, as they are needed."""
    channels: int = 3
    fit: Fit = "cover"
    classes: int = 0
    """How many there are, of which a photo may be said to be."""
    label: int | None = None
    """The class of all."""
    together: int = 1
    """The photos of a batch."""
    threads: int = READERS
    """That decode."""
    out: Path | None = None
    """Where a shard's parquet file is if it is done; by default none is."""
    shards: tuple[Path, ...] = field(default=(), repr=False)

    def loaded(self, photo: ShardPhoto, load: Load[T]) -> Loaded[T]:
        """A photo, or what is wrong with it."""
        photo = photo if self.label is None else replace(photo, label=self.label)
        try:
            if photo.load is None:
                raise ImageError(f"{photo.key} {photo.fault}")
            if (photo.label or 0) >= max(1, self.classes):
                raise ImageError(f"{photo.key} has the class {photo.label}, which the model has not.")
            return photo, load(photo.load(), photo.label)
        except ImageError as error:
            return photo, ImageError(str(error).replace("The photo given as bytes", photo.key))

    def found(self, load: Load[T]) -> Generator[Found[Sequence[Loaded[T]]] | None]:
        """What is found of the shards, one after another, with None after each; whether one is done is asked when its
        turn to be read comes."""
        for shard in self.shards:
            try:
                with told(ImageError):
                    size = shard.stat().st_size
                yield size
                if self.out is not None and os.path.lexists(self.out / f"{shard.stem}{PARQUET}"):
                    raise FileExistsError(shard)
                yield from self._batches(shard, load)
            except Exception as error:
                yield error
            yield None

    def _batches(self, shard: Path, load: Load[T]) -> Iterator[Sequence[Loaded[T]]]:
        def work(some: Sequence[ShardPhoto]) -> list[Loaded[T]]:
            return [self.loaded(photo, load) for photo in some]

        each = -(-self.together // READERS)  # One thread after another costs more than a small photo.
        with open_shard(shard, self.fields) as photos:
            some = batches(photos, lambda: each)
            with closing(ahead(some, work, threads=self.threads, begun=READERS + 1)) as loading:
                yield from batches(chain.from_iterable(loading), lambda: self.together)


def decode_shards(descriptor: int) -> None:
    """Say on a pipe that one is there, be told in what folder, what `LIMITS` are and what to read, again and again, and
    send what is found: photos with what is wrong with them, or None, and the pixels of those with whom nothing is, (N,
    H, W, channels), of 8 bits where all are, else floats within [0, 1]."""
    with Connection(descriptor) as pipe, suppress(EOFError, OSError):  # Where there is nobody any more.
        pipe.send(None)
        while True:
            os.chdir("/")
            folder, limits, reading = pipe.recv()
            os.chdir(folder)
            for (module, name), value in zip(LIMITS, limits, strict=True):
                setattr(module, name, value)

            def load(photo: PhotoSource, _: int | None, reading: Reading = reading) -> np.ndarray[Any, Any]:
                return fitted(photo, reading.channels, reading.size, reading.fit)

            for found in reading.found(load):
                pipe.send(_sent(found) if isinstance(found, list) else found)


def _sent(batch: Sequence[Loaded[np.ndarray[Any, Any]]]) -> tuple[Any, Any]:
    photos = [(replace(photo, load=None), one if isinstance(one, ImageError) else None) for photo, one in batch]
    pixels = [one for _, one in batch if not isinstance(one, ImageError)]
    if len({one.dtype for one in pixels}) > 1:
        pixels = [as_floats(one) for one in pixels]
    return photos, np.stack(pixels) if pixels else None
