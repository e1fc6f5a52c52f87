"""Work begun ahead of when it is needed. Without tensors."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")

READERS = min(4, os.cpu_count() or 1)
"""Threads that read photos ahead; as many write results."""


def ahead(items: Iterable[Item], work: Callable[[Item], Done], *, threads: int, begun: int) -> Generator[Done]:
    """``work(item)`` of each item, in their order, while the next ones are worked on in threads; an error comes where
    its result would have. Items are taken as they are needed; at the most ``begun`` are begun, or done and wait. With 0
    ``threads`` each is worked on when it is asked for."""
    if not threads:
        yield from map(work, items)
        return
    source = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ganenc-ahead")
    try:
        waiting: deque[Future[Done]] = deque(pool.submit(work, item) for item in itertools.islice(source, begun))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in itertools.islice(source, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)


def batches(items: Iterable[Item], size: Callable[[], int]) -> Iterator[Sequence[Item]]:
    """Items in batches, in their order; the size is asked for anew before each one."""
    source = iter(items)
    while batch := list(itertools.islice(source, size())):
        yield batch
