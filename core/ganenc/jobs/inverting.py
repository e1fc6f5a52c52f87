"""Many photos inverted, a batch at a time, in bounded memory; what is done is never done again."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import InvertSpec

from ganenc.files import Interrupts, Processes
from ganenc.inversion import read_labels
from ganenc.jobs.events import BatchBegun, Finished, OnEvent, PhotoDone, PhotoFailed, Started, Stepped
from ganenc.jobs.job_result import LISTED, JobResult
from ganenc.jobs.photo_row import DONE, FAILED
from ganenc.jobs.prefetching import READERS, ahead, batches
from ganenc.jobs.record import Record, Todo
from ganenc.jobs.result_folder import ResultFolder
from ganenc.jobs.summary import Pictures, summary_page
from ganenc.jobs.worker import Read, Worker, row_facts
from ganenc.model import Model, load
from ganenc.report import Inverted

PATIENCE = 7 * 86400.0
"""Seconds for which a process that has done its share waits for the others."""


def invert_folder(
    model: Model | str | Path,
    photos: str | Path | Sequence[str | Path] = (),
    out: str | Path = "inverted",
    spec: InvertSpec | None = None,
    *,
    on_event: OnEvent | None = None,
    report: bool = True,
    pages: bool | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    budget: float = math.inf,
    processes: Processes | None = None,
) -> JobResult:
    """Invert photos and write what each leaves into a `ResultFolder`; those that were inverted before are passed over.

    Photos are read ahead, inverted as many at once as the method takes, and written meanwhile, so that the memory does
    not depend on how many there are. One that fails is named, and the rest go on. Stopped or killed (a
    KeyboardInterrupt on SIGINT or SIGTERM), the same call goes on where it was. Processes of torchrun share the photos.

    ``model`` is one, or what `ganenc.load` takes (what ``spec`` says of it counts then); ``photos`` are files, folders,
    patterns or lists (.txt), without what lies in ``out``, by default those of the spec, or with ``retry_failed`` those
    that failed before, which are tried again. ``overwrite`` inverts photos anew that were inverted before. ``on_event``
    is told what happens; ``report`` is whether to write the page of all photos, ``pages`` whether each gets a page of
    its own and a picture of what the attention saw, by default up to 100. After ``budget`` seconds no further batch is
    begun; one is inverted in any case. ``processes`` share the photos, by default those that torchrun started.
    `GanencError` if the method or model cannot do it at all, or the folder holds these photos with other settings.
    """
    spec = spec or InvertSpec()
    check_choices(spec)
    device = str(model.generator.device) if isinstance(model, Model) else spec.device
    processes = processes or Processes(device, patience=PATIENCE)
    folder = ResultFolder(out)
    words = [photos] if isinstance(photos, str | Path) else [*photos] or [*spec.photos]
    found, given = processes.told(_photos(folder, words, retry_failed) if processes.first else None)
    if not isinstance(model, Model):
        model = load(model, device=processes.device, encoder=spec.encoder, backbone=spec.backbone)
    written = given if spec.labels is None else spec.labels
    labels = None if written is None else read_labels(written, found, classes=model.generator.spec.classes)
    classes = None if isinstance(labels, str) else labels
    worker = Worker(model, spec, labels=labels, pages=len(found) <= LISTED if pages is None else pages)
    record = Record(
        folder, found, worker.settings(), labels=classes, overwrite=overwrite, retry_failed=retry_failed,
        processes=processes, written=[folder.summary] if report else [], ways=worker.ways,
    )  # fmt: skip
    work = _Work(worker, record, on_event or (lambda event: None), budget)
    with record:
        worker.take(record.ways)
        work.run()
        record.finish()
        result = JobResult(record, worker.facts(), worker.model.metrics())
        if report and result.rows and processes.first:
            folder.write_summary(summary_page(result, worker, work.pictures))
    work.tell(Finished(result))
    return result


def _photos(
    folder: ResultFolder, words: Sequence[str | Path], retry_failed: bool
) -> tuple[list[Path], list[int] | None]:
    """The photos, and the classes that those which failed before were said to have."""
    if words:
        return folder.find(words), None
    if not retry_failed:
        raise SpecError("There are no photos to invert; name some.")
    return folder.failed()


@dataclass
class _Work:
    """This process's share of a job. Results are written, and indexed, in threads while the next batch is inverted."""

    worker: Worker
    record: Record
    tell: OnEvent
    budget: float
    pictures: Pictures = field(default_factory=Pictures)
    begun: list[Future[PhotoDone | None]] = field(default_factory=list)

    def run(self) -> None:
        """Do it, or what there is time for."""
        worker, mine = self.worker, self.record.mine()
        self.tell(Started(len(self.record.photos), len(mine), self.record.skipped))
        began, finished = time.monotonic(), 0
        threads = 0 if worker.spec.align is not None or worker.size == 1 else READERS
        reading = ahead(mine, worker.read, threads=threads, begun=2 * max(worker.size, READERS))
        with ThreadPoolExecutor(READERS, thread_name_prefix="ganenc-write") as pool, Interrupts() as interrupts:
            try:
                for batch in batches(reading, lambda: worker.size):
                    self._invert(batch, finished, len(mine), interrupts, pool)
                    finished += len(batch)
                    spent = time.monotonic() - began
                    if spent + spent / finished * min(worker.size, len(mine) - finished) > self.budget:
                        break
            finally:
                reading.close()
                self._finish()

    def _invert(
        self, batch: Sequence[Read], before: int, total: int, interrupts: Interrupts, pool: ThreadPoolExecutor
    ) -> None:
        """Invert some photos, and begin to write what they leave once all before them are written."""

        def note(photos: float, terms: Mapping[str, float]) -> None:
            if interrupts.asked:
                raise KeyboardInterrupt
            self.tell(Stepped(before + photos, total, terms))

        self.tell(BatchBegun(tuple(todo.photo for todo, _ in batch), before, total))
        note(0, {})
        done = self.worker.invert(batch, note)
        for todo, found in done:
            if isinstance(found, ImageError):
                self.tell(PhotoFailed(todo.photo, str(found)))
            else:
                self.pictures.add(todo.name, found)
        self._finish()
        self.begun = [pool.submit(self._write, *one) for one in done]
        self.tell(Stepped(before + len(batch), total, {}))

    def _finish(self) -> None:
        """Wait for what is being written, and tell of it."""
        begun, self.begun = self.begun, []
        wait(begun)
        for one in begun:
            if (done := one.result()) is not None:
                self.tell(done)

    def _write(self, todo: Todo, found: Inverted | ImageError) -> PhotoDone | None:
        if isinstance(found, ImageError):
            self.record.add(todo, FAILED, {"error": str(found)})
            return None
        folder = self.record.folder.path / todo.name
        found.save(folder, pages=self.worker.pages)
        facts = row_facts(found)
        self.record.add(todo, DONE, facts)
        return PhotoDone(todo.photo, folder, facts)
