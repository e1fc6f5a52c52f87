"""Work that is begun ahead of when it is needed."""

from __future__ import annotations

import threading
import time

import pytest
from ganenc.jobs import ahead, batches


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def slow_if_early(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(ahead(range(20), slow_if_early, threads=threads, begun=5)) == [item * item for item in range(20)]


@pytest.mark.parametrize("begun", [1, 4])
def test_no_more_are_begun_than_may_be(begun: int) -> None:
    taken = []
    source = (taken.append(item) or item for item in range(100))
    results = ahead(source, lambda item: item, threads=2, begun=begun)
    for got in range(10):
        assert next(results) == got
        assert len(taken) <= got + 1 + begun
    results.close()
    assert len(taken) <= 10 + begun, "what is not wanted any more is not taken"


def test_items_are_worked_on_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert list(ahead(range(3), lambda item: meeting.wait() >= 0, threads=3, begun=3)) == [True] * 3


def test_what_the_work_raises_comes_where_its_result_would_have() -> None:
    def fails_at_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = ahead(range(5), fails_at_two, threads=2, begun=5)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_batches_ask_for_their_size_anew() -> None:
    sizes = iter([3, 3, 1, 2, 9, 9])
    assert list(batches(range(11), lambda: next(sizes))) == [[0, 1, 2], [3, 4, 5], [6], [7, 8], [9, 10]]
    assert list(batches([], lambda: 3)) == []
