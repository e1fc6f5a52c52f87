"""Shards as they are read ahead of the networks, where that can be by a process that does nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import repeat, takewhile
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, TypeAlias, cast

from ganenc_registry.errors import ImageError
from PIL import Image

from ganenc.images import Range, to_values
from ganenc.inversion import Photo
from ganenc.jobs.prefetching import ahead
from ganenc.jobs.shard_decoding import LIMITS, Found, Load, Loaded, Reading

Read: TypeAlias = Loaded[Photo]
Stream: TypeAlias = "Generator[Found[Sequence[Read]] | None]"
Decoder: TypeAlias = "tuple[subprocess.Popen[bytes], Connection]"
CHILD = "import sys; sys.path[:] = {}; from ganenc.jobs.shard_decoding import decode_shards; decode_shards({})"


END = object()
_idle: list[Decoder] = []
"""One that is done, and waits for more, as beginning one takes half a second."""
if hasattr(os, "register_at_fork"):  # They are of this process.
    os.register_at_fork(after_in_child=_idle.clear)


def read_shards(
    reading: Reading, load: Load[Photo], value_range: Range = (-1.0, 1.0), *, apart: bool = True
) -> Generator[Iterator[Found[Sequence[Read]]]]:
    """What is found of each shard, one after another, in its order.

    What is next is read while the networks work, by a process of its own, as Python runs in one thread of a process at
    a time. Where it ends before its time, as a decoder that a photo makes fail ends it, the shard is broken, and
    another reads on; it waits idle for the next call, and ends with this process. Not ``apart``, where Pillow was
    taught formats that are not its own, and where no such process can be begun (as on Windows), it is done in this one,
    by ``load``; the photos are the same.
    """
    own = all(opens.__module__.startswith("PIL.") for opens, _ in Image.OPEN.values())
    with closing(_apart(reading, load, value_range) if apart and own else reading.found(load)) as stream:
        for _ in reading.shards:
            found = cast("Iterator[Found[Sequence[Read]]]", takewhile(lambda one: one is not None, stream))
            yield found
            deque(found, 0)


def _apart(reading: Reading, load: Load[Photo], value_range: Range) -> Stream:
    """What is found by another process, which is begun anew where it ended."""
    left, read_with = deque(reading.shards), {"fit": reading.fit, "align": None}

    def read(photos: Sequence[Any], pixels: Any) -> list[Read]:
        targets = iter(() if pixels is None else to_values(pixels, value_range))
        return [(photo, error or Photo(next(targets), read_with=read_with)) for photo, error in photos]

    def receive(pipe: Connection) -> Stream:
        for _ in reading.shards[-len(left) :]:
            found: Any = ...
            while found is not None:
                try:
                    found = pipe.recv()
                except OSError:  # Half of it was sent.
                    raise EOFError from None
                yield read(*found) if isinstance(found, tuple) else found

    while left:
        try:
            folder, (process, pipe) = os.getcwd(), _taken()
        except (OSError, EOFError):
            yield from replace(reading, shards=tuple(left)).found(load)
            return
        with suppress(BrokenPipeError):
            limits = [getattr(*one) for one in LIMITS]
            pipe.send((folder, limits, replace(reading, shards=tuple(left))))
        found: Generator[Any] = ahead(repeat(receive(pipe)), lambda one: next(one, END), threads=1, begun=2)
        try:
            for one in found:
                if one is END:
                    break
                if one is None:
                    left.popleft()
                yield one
        except EOFError:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        finally:
            if left:  # What it sends is for nobody.
                process.kill()
            found.close()
            if left or _idle:
                pipe.close()
                process.wait()
            else:
                _idle.append((process, pipe))
        if left:
            code = process.returncode
            how = f"code {code}" if code >= 0 else signal.strsignal(-code) or f"signal {-code}"
            yield ImageError(
                f"{left.popleft()}: the process that read it ended ({how}), for want of memory or by a photo that the"
                " decoder fails at; give it more memory, or leave that photo out."
            )
            yield None


def _taken() -> Decoder:
    """A process that decodes, and the pipe to it, one that is idle or a new one; it ends where this one does. An
    OSError or EOFError where none can be begun."""
    with suppress(IndexError):
        process, pipe = _idle.pop()
        if process.poll() is None:
            return process, pipe
        pipe.close()
    if os.name != "posix" or not sys.executable or getattr(sys, "frozen", False):  # That it would begin is another.
        raise OSError
    pipe, its = Pipe()
    with its:
        paths = [os.path.abspath(one) for one in sys.path if isinstance(one, str)]
        words = [sys.executable, "-c", CHILD.format(paths, its.fileno())]
        process = subprocess.Popen(words, pass_fds=[its.fileno()], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        pipe.recv()
    except (OSError, EOFError):
        pipe.close()
        process.wait()
        raise
    return process, pipe
