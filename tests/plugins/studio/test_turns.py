"""Turns at the model, and long work that passes them on."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("gradio", reason="needs gradio, which ganenc-plugin-studio brings")

from ganenc_plugin_studio.jobs import Job
from ganenc_plugin_studio.turns import Turns


def ask(turns: Turns, told: list[str], name: str) -> threading.Thread:
    """Someone who asks for a turn and says when it came."""

    def work() -> None:
        with turns:
            told.append(name)

    before = len(turns._asked)
    thread = threading.Thread(target=work)
    thread.start()
    while len(turns._asked) == before:
        pass
    return thread


def test_turns_come_in_the_order_of_asking() -> None:
    turns, told = Turns(), list[str]()
    with turns:
        threads = [ask(turns, told, name) for name in "abcdef"]
        assert told == []
    for thread in threads:
        thread.join()
    assert told == list("abcdef")


def test_long_work_lets_all_who_wait_have_one_turn_between_two_steps() -> None:
    turns, told = Turns(), list[str]()
    with turns:
        told.append("step 1")
        threads = [ask(turns, told, name) for name in "ab"]
        turns.pass_on()
        told.append("step 2")
        turns.pass_on()
        told.append("step 3")
    for thread in threads:
        thread.join()
    assert told == ["step 1", "a", "b", "step 2", "step 3"]


def test_two_long_works_go_step_by_step(wait: Callable[..., None]) -> None:
    turns, steps = Turns(), list[str]()
    begun = threading.Barrier(2)

    def long(name: str) -> Callable[[], None]:
        job: Job[None] = Job(turns)

        def work() -> None:
            for step in range(1, 6):
                steps.append(name)
                if step == 1:
                    wait(lambda: len(turns._asked) > 1)
                job.step(step, 5, lambda: None)

        def run() -> None:
            begun.wait()
            list(job.run(work))

        return run

    threads = [threading.Thread(target=long(name)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps) == ["a"] * 5 + ["b"] * 5
    assert all(one != other for one, other in itertools.pairwise(steps[:9])), steps


def test_a_job_tells_how_far_it_is_and_its_end(monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]) -> None:
    monkeypatch.setattr("ganenc_plugin_studio.jobs.EVERY", 0.0)
    job: Job[str] = Job(Turns())
    shown = list[int]()

    def work() -> None:
        for step in range(1, 5):
            job.step(step, 4, lambda step=step: f"picture {step}")
            if step == 2:
                wait(lambda: shown)

    for told in job.run(work):
        shown.append(told.step)
        assert (told.steps, told.shown) == (4, f"picture {told.step}")
        assert told.left >= 0
    assert 2 in shown
    assert job.taken == 4


@pytest.mark.parametrize("end", ["stop", "drop", "close"])
def test_a_job_ends_after_its_step(end: str, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]) -> None:
    monkeypatch.setattr("ganenc_plugin_studio.jobs.EVERY", 0.0)
    job: Job[None] = Job(Turns())
    ended = threading.Event()

    def work() -> None:
        step = 1
        while not job.step(step, 10**9, lambda: None):
            step += 1
        ended.set()

    going = job.run(work)
    next(going)
    if end == "close":
        going.close()  # type: ignore[attr-defined]
    else:
        getattr(job, end)()
        list(going)
    wait(ended.is_set)
    assert job.dropped == (end != "stop")


def test_what_goes_wrong_in_a_job_is_raised_where_it_is_waited_for() -> None:
    turns = Turns()

    def work() -> Any:
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        list(Job(turns).run(work))
    with turns:
        pass
