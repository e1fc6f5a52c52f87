"""Shards as they are read ahead of the networks, where that can be by a process that does nothing else."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import torch
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import InvertSpec
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ganenc.inversion import Photo
from ganenc.jobs.inverting import READERS, ahead, batches
from ganenc.jobs.shard_records import ShardPhoto, open_shard

Read: TypeAlias = tuple[ShardPhoto, Photo | ImageError]
Found: TypeAlias = Sequence[Read] | ImageError | FileExistsError
"""Of a shard: a batch of its photos, why there are no more, or that it was done before."""


class Loads(Protocol):
    """What makes photos of records."""

    spec: InvertSpec
    together: int
    """The size of a batch."""

    def loaded(self, photo: ShardPhoto) -> Read:
        """A photo as the generator takes it, or what is wrong with it."""


def read_shards(worker: Loads, shards: Sequence[Path], done: Callable[[Path], bool]) -> Generator[Iterator[Found]]:
    """Of each shard, one after another, its photos in batches of one size, in their order, or that it is ``done``,
    which is asked when its turn to be read comes.

    What is next is read while the networks work, by a process of its own that threads decode in, as Python runs in one
    thread of a process at a time. Where it is killed, as by a decoder that a photo makes fail, the shard is broken, and
    another reads on. In this process it is done where there is no fork, and where reading needs the device: to align,
    or through an operator.
    """
    with closing(_stream(_Reading(worker, tuple(shards), done))) as stream:  # It ends the process.
        for _ in shards:
            found = cast(Iterator[Found], takewhile(lambda one: one is not None, stream))
            yield found
            deque(found, 0)


@dataclass(frozen=True)
class _Reading(IterableDataset[Any]):
    """What is found of the shards, one after another, with None after each."""

    worker: Loads
    shards: tuple[Path, ...]
    done: Callable[[Path], bool]

    def __iter__(self) -> Iterator[Found | None]:
        for shard in self.shards:
            if self.done(shard):
                yield FileExistsError(shard)
            else:
                try:
                    yield from self._batches(shard)
                except ImageError as error:
                    yield error
            yield None

    def _batches(self, shard: Path) -> Iterator[Sequence[Read]]:
        spec, size = self.worker.spec, self.worker.together
        threads = 0 if spec.align is not None else READERS
        with open_shard(shard, spec.shards) as photos:
            reading = ahead(photos, self.worker.loaded, threads=threads, begun=size + READERS)
            try:
                for batch in batches(reading, lambda: size):
                    yield batch if get_worker_info() is None else [_sent(*one) for one in batch]
            finally:
                reading.close()


def _sent(photo: ShardPhoto, found: Photo | ImageError) -> tuple[Any, ...]:
    """A photo as it goes from one process to another: its numbers as an array, as a tensor would be a file for each."""
    kept = replace(photo, load=None)
    return (kept, found) if isinstance(found, ImageError) else (kept, found.target.numpy(), found.read_with)


def _received(photo: ShardPhoto, found: Any, *read_with: Any) -> Read:
    return photo, Photo(torch.from_numpy(found), read_with=read_with[0]) if read_with else found


def _stream(reading: _Reading) -> Generator[Found | None]:
    """What is read, by a process that is begun anew where it was killed."""
    spec = reading.worker.spec
    apart = sys.platform == "linux" and spec.align is None and not spec.operator
    Image.init()  # Once, and not in each process.
    options: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": "fork"} if apart else {}
    left = reading.shards
    while left:
        ended = 0
        try:
            for found in DataLoader(replace(reading, shards=left), batch_size=None, collate_fn=_same, **options):
                ended += found is None
                yield [_received(*one) for one in found] if apart and isinstance(found, list) else found
            return
        except RuntimeError as error:
            if not apart or "exited unexpectedly" not in str(error):
                raise
        yield ImageError(
            f"{left[ended]}: the process that read it was killed, for want of memory or by a photo that the decoder"
            " fails at; give it more memory, or leave that photo out."
        )
        yield None
        left = left[ended + 1 :]


def _same(found: Any) -> Any:
    return found
