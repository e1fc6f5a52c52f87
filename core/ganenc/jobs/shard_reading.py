"""Shards as they are read ahead of the networks, where that can be by a process that does nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import repeat, takewhile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeAlias, cast

import torch
from ganenc_registry.errors import ImageError, told
from ganenc_registry.specs import InvertSpec
from PIL import Image

from ganenc.inversion import Photo
from ganenc.jobs.inverting import READERS, ahead, batches
from ganenc.jobs.shard_records import ShardPhoto, open_shard

Read: TypeAlias = tuple[ShardPhoto, Photo | ImageError]
Found: TypeAlias = int | Sequence[Read] | Exception
"""Of a shard: first its size in bytes; then its photos, a batch at a time, or why there are no more, which is a
FileExistsError if it was done before."""
_forking = threading.Lock()


class Loads(Protocol):
    """What makes photos of records."""

    spec: InvertSpec
    together: int
    """The size of a batch."""

    def loaded(self, photo: ShardPhoto) -> Read:
        """A photo as the generator takes it, or what is wrong with it."""


def read_shards(worker: Loads, shards: Sequence[Path], done: Callable[[Path], bool]) -> Generator[Iterator[Found]]:
    """What is found of each shard, one after another, in its order; whether it is ``done`` is asked when its turn to be
    read comes.

    What is next is read while the networks work, by a process of its own that threads decode in, as Python runs in one
    thread of a process at a time. Where it is killed, as by a decoder that a photo makes fail, the shard is broken, and
    another reads on. In this process it is done where there is no fork, where a process may begin none (of
    `multiprocessing.Pool`), and where reading needs the device: to align, or through an operator.
    """
    spec = worker.spec
    here = sys.platform != "linux" or multiprocessing.current_process().daemon or bool(spec.align or spec.operator)
    with closing((_found if here else _found_apart)(worker, shards, done)) as stream:
        for _ in shards:
            found = cast(Iterator[Found], takewhile(lambda one: one is not None, stream))
            yield found
            deque(found, 0)


def _found(worker: Loads, shards: Sequence[Path], done: Callable[[Path], bool]) -> Generator[Found | None]:
    """What is found of shards, with None after each."""
    for shard in shards:
        try:
            with told(ImageError):
                size = shard.stat().st_size
            yield size
            if done(shard):
                raise FileExistsError(shard)
            yield from _batches(worker, shard)
        except Exception as error:
            yield error
        yield None


def _batches(worker: Loads, shard: Path) -> Iterator[Sequence[Read]]:
    threads = 0 if worker.spec.align is not None else READERS
    with (
        open_shard(shard, worker.spec.shards) as photos,
        closing(ahead(photos, worker.loaded, threads=threads, begun=worker.together + READERS)) as reading,
    ):
        yield from batches(reading, lambda: worker.together)


def _found_apart(worker: Loads, shards: Sequence[Path], done: Callable[[Path], bool]) -> Generator[Found | None]:
    """The same, by another process, which is begun anew where it was killed."""
    left = deque(shards)
    Image.init()  # Once, and not in each process.
    while left:
        with _begun(worker, [*left], done) as found, suppress(EOFError):
            while left:
                one = next(found)
                if one is None:
                    left.popleft()
                yield one
        if left:
            yield ImageError(
                f"{left.popleft()}: the process that read it was killed, for want of memory or by a photo that the"
                " decoder fails at; give it more memory, or leave that photo out."
            )
            yield None


@contextmanager
def _begun(*given: Any) -> Iterator[Iterator[Found | None]]:
    """A process while it lasts, and what it finds; an EOFError if it was killed."""
    fork = multiprocessing.get_context("fork")
    with _forking:  # Its end of the pipe is held by no other, or that of a killed one would not be told.
        receiver, sender = fork.Pipe(duplex=False)
        process = fork.Process(target=_send, args=(receiver, sender, *given), name="ganenc-read", daemon=True)
        process.start()
        sender.close()
    with receiver, closing(ahead(repeat(receiver), _received, threads=1, begun=2)) as found:
        try:
            yield found
        finally:
            process.kill()
            process.join()


def _send(receiver: Connection, sender: Connection, *given: Any) -> None:
    """Send what is found, photos as arrays (as a tensor would be a file for each)."""
    receiver.close()  # So that the pipe breaks where the parent was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    with suppress(BrokenPipeError):
        for found in _found(*given):
            sender.send([_sent(*one) for one in found] if isinstance(found, list) else found)


def _sent(photo: ShardPhoto, found: Photo | ImageError) -> tuple[Any, ...]:
    kept = replace(photo, load=None)
    return (kept, found) if isinstance(found, ImageError) else (kept, found.target.numpy(), found.read_with)


def _received(receiver: Connection) -> Found | None:
    try:
        found = receiver.recv()
    except OSError:  # Half of it was sent.
        raise EOFError from None
    return [_of(*one) for one in found] if isinstance(found, list) else found


def _of(photo: ShardPhoto, found: Any, *read_with: Any) -> Read:
    return photo, Photo(torch.from_numpy(found), read_with=read_with[0]) if read_with else found
