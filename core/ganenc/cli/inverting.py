"""Many photos inverted, a batch at a time, in bounded memory; what is done is never done again."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock

from ganenc.cli.console import Bar
from ganenc.cli.outcome import Job, Outcome, write_summary
from ganenc.cli.placing import NO_ALIGNMENT
from ganenc.cli.record import DONE, FAILED, Record
from ganenc.cli.working import Failed, Read, Result, Worker
from ganenc.files import Interrupts
from ganenc.jobs import ahead, batches

__all__ = ["invert_photos"]

READERS = min(4, os.cpu_count() or 1)
"""Threads that read photos ahead; as many write results."""


class _Note:
    """Tells a bar how far a batch is, and stops the work where that is asked for."""

    def __init__(self, bar: Bar, interrupts: Interrupts) -> None:
        self.bar, self.interrupts, self.done = bar, interrupts, 0

    EACH = 100
    """Steps of the bar for each photo."""

    def __call__(self, photos: float, text: str) -> None:
        if self.interrupts.asked:
            raise KeyboardInterrupt
        self.bar.update(self.done + int(photos * self.EACH), text)

    def add(self, photos: int) -> None:
        self.done += photos * self.EACH
        self.bar.update(self.done)


class _Writing:
    """Writes results in threads while the next batch is inverted; each is in the index as soon as it is written."""

    def __init__(self, worker: Worker, record: Record) -> None:
        self.worker, self.record = worker, record
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="ganenc-write")
        self._begun: list[Future[None]] = []
        self._turn = Lock()

    def begin(self, done: Sequence[Result | Failed]) -> None:
        """Begin to write; what was begun before is finished first."""
        self.finish()
        self._begun = [self._pool.submit(self._write, one) for one in done]

    def finish(self) -> None:
        """Wait for what was begun."""
        begun, self._begun = self._begun, []
        wait(begun)
        for one in begun:
            one.result()

    def close(self) -> None:
        """Finish, and end the threads."""
        try:
            self.finish()
        finally:
            self._pool.shutdown()

    def _write(self, done: Result | Failed) -> None:
        if isinstance(done, Result):
            status, state, facts = DONE, done.read.state, self.worker.write(done)
        else:
            status, state, facts = FAILED, done.state, {"error": str(done.error)}
        with self._turn:
            self.record.add(done.todo, state, status, facts)


def invert_photos(photos: Sequence[Path], job: Job) -> Outcome | None:
    """Invert photos and write what each leaves; those that were inverted before are passed over.

    Photos are read ahead, inverted as many at once as the method takes, and written meanwhile, so that the memory does
    not depend on how many there are. One that fails is named, and the rest go on. Several processes share the photos.

    Returns:
        what came of all photos; None in processes other than the first.

    Raises:
        GanencError: if the method or the model cannot do it at all, or the folder holds these photos inverted with
            other settings.
        KeyboardInterrupt: if it was asked to stop; what was done is in the index, and the same call goes on.
    """
    worker = Worker(job)
    with Record(job, photos) as record:
        if record.todo:
            _work(worker, record)
        record.finish()
        if not job.processes.first:
            return None
        outcome = Outcome(record, worker.settings_of_metrics())
        if job.report and outcome.rows:
            write_summary(outcome, job)
    return outcome


def _work(worker: Worker, record: Record) -> None:
    """Do this process's share, or what there is time for."""
    job, mine = worker.job, record.mine()
    began, finished = time.monotonic(), 0
    threads = 0 if job.align != NO_ALIGNMENT or worker.size == 1 else READERS
    reading = ahead(mine, worker.read, threads=threads, begun=2 * max(worker.size, READERS))
    writing = _Writing(worker, record)
    try:
        with Interrupts() as interrupts, _bar(job, len(mine)) as bar:
            note = _Note(bar, interrupts)
            for batch in batches(reading, lambda: worker.size):
                broken = [one for one in batch if not isinstance(one, Read)]
                good = [one for one in batch if isinstance(one, Read)]
                bar.update(note.done, what=_what(batch, finished, len(mine)))
                note(0, "")
                done = [*broken, *(worker.invert(good, note) if good else [])]
                for one in done:
                    if isinstance(one, Failed):
                        bar.note(f"Skipped: {one.error}")
                writing.begin(done)
                finished += len(batch)
                note.add(len(batch))
                spent = time.monotonic() - began
                if spent + spent / finished * min(worker.size, len(mine) - finished) > job.budget:
                    break
    finally:
        reading.close()
        writing.close()


def _bar(job: Job, photos: int) -> Bar:
    return Bar("inverting", _Note.EACH * photos, shown=job.processes.first)


def _what(batch: Sequence[Read | Failed], before: int, total: int) -> str:
    last = f" to {before + len(batch)}" if len(batch) > 1 else ""
    return f"{batch[0].todo.photo.name} ({before + 1}{last} of {total})"
