"""Many photos inverted: each once, whatever stops it, and none harms another."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ganenc.files import Processes
from ganenc.inversion import Inversion, PhotoFolder, Task
from ganenc.jobs import (
    LISTED,
    WORST,
    BatchBegun,
    JobResult,
    PhotoDone,
    PhotoFailed,
    Record,
    ResultFolder,
    Stepped,
    invert_folder,
)
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc_registry.errors import GanencError, ImageError, SpecError
from ganenc_registry.specs import Choice, InvertSpec, Spec
from painting import Paints, calls, faults, grey, grey_photos, rows, seen
from PIL import Image
from pydantic import Field


@pytest.fixture(autouse=True)
def fresh(known: Any) -> None:
    known.add_value("inverter", "paints", Paints)
    calls.clear()
    faults.clear()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Ten photos, each of one grey value: 0, 10, 20, ..."""
    return grey_photos(tmp_path / "photos", 10)


@dataclass(frozen=True)
class Job:
    """What is done to photos, and how."""

    model: Model
    out: Path
    spec: InvertSpec
    switches: dict[str, Any] = field(default_factory=dict)

    def but(self, **over: Any) -> Job:
        """The same job but for some fields of its spec or some switches."""
        fields = {name: over.pop(name) for name in list(over) if name in InvertSpec.model_fields}
        return replace(self, spec=self.spec.model_copy(update=fields), switches={**self.switches, **over})


@pytest.fixture
def job(toy: Any, tmp_path: Path) -> Job:
    spec = InvertSpec(method="paints", objective={"losses": {"mse": 1.0}})
    return Job(Model(toy, source="toy", backbone="none"), tmp_path / "out", spec, {"report": False, "pages": False})


def invert(photos: list[Path], job: Job) -> JobResult:
    return invert_folder(job.model, photos, job.out, job.spec, **job.switches)


def test_photos_go_in_batches_and_each_leaves_its_own(job: Job, photos: list[Path]) -> None:
    outcome = invert(photos, job)
    assert calls == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert (outcome.done, outcome.failed, outcome.left, outcome.skipped) == (10, 0, 0, 0)
    assert [Path(row["photo"]) for row in outcome.rows] == photos
    for place, photo in enumerate(photos):
        row = rows(job.out)[photo.name]
        value = 10 * place
        half = round((value / 127.5 - 1) / 2 * 127.5 + 127.5)
        assert row["metrics"]["psnr"] == pytest.approx(20 * np.log10(255 / abs(value - half)), abs=0.1)
        made = np.asarray(Image.open(job.out / photo.stem / "reconstruction.png"))
        assert np.abs(made.astype(int) - half).max() <= 1
        assert len(Latents.load(job.out / photo.stem / "latents.safetensors", model=job.model.hash)) == 1
    assert outcome.metrics["psnr"] == pytest.approx(np.mean([row["metrics"]["psnr"] for row in outcome.rows]))


def test_what_is_done_is_not_done_again_unless_it_changed_or_is_gone(job: Job, photos: list[Path]) -> None:
    invert(photos[:6], job)
    calls.clear()
    outcome = invert(photos, job)
    assert seen() == [60, 70, 80, 90]
    assert (outcome.done, outcome.skipped) == (10, 6)
    calls.clear()
    grey(photos[2], 200, 9)
    (job.out / "5" / "latents.safetensors").unlink()
    invert(photos, job)
    assert seen() == [200, 50]
    assert list(rows(job.out)) == [photo.name for photo in photos]
    calls.clear()
    invert(photos[:2], job.but(overwrite=True))
    assert seen() == [0, 10]
    assert len(rows(job.out)) == 10


def test_other_settings_do_not_touch_what_is_done(job: Job, photos: list[Path]) -> None:
    invert(photos[:2], job)
    before = (job.out / "index.jsonl").read_bytes()
    other = job.but(method=Choice(name="paints", options={"fails": True, "batch": 2}), seed=3)
    with pytest.raises(
        SpecError, match=r"\(method.options.fails: None there, True here; seed: 0 there, 3 here\)"
    ) as told:
        invert(photos, other)
    assert "--overwrite" in str(told.value)
    assert (job.out / "index.jsonl").read_bytes() == before
    invert(photos[2:4], other)
    assert set(rows(job.out)) == {"0.png", "1.png", "2.png", "3.png"}, "other photos may lie beside them"
    invert(photos[:2], other.but(overwrite=True))
    assert calls == [[0, 10], [20, 30], [0, 10]]
    assert invert(photos[:4], other).skipped == 4


class Choosy(Paints):
    """Goes the way that the machine favours, unless it is told."""

    here: ClassVar = ["left"]
    gone: ClassVar[list[str]] = []

    class Options(Spec):
        way: str = Field("auto", json_schema_extra={"speed": True})

    def settled(self, generator: Any, encoder: Any) -> Choosy:
        return self if self.options.way != "auto" else Choosy.of(way=self.here[0])

    def at_once(self, generator: Any, encoder: Any) -> int:
        return 1

    def work(self, task: Task) -> Inversion:
        self.gone.append(self.options.way)
        return super().work(task)


def test_a_job_goes_on_by_what_the_machine_that_began_favoured(
    job: Job, photos: list[Path], known: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    known.add_value("inverter", "choosy", Choosy)
    monkeypatch.setattr(Choosy, "gone", [])
    invert(photos[:2], job.but(method="choosy"))
    monkeypatch.setattr(Choosy, "here", ["right"])
    invert(photos[:4], job.but(method="choosy"))
    assert Choosy.gone == ["left"] * 4
    told = job.but(method=Choice(name="choosy", options={"way": "middle"}))
    assert invert(photos[:5], told).skipped == 4, "a way is no setting"
    assert Choosy.gone[4:] == ["middle"]
    with pytest.raises(SpecError, match=r"other settings \(seed: 0 there, 5 here\)"):
        invert(photos[:1], told.but(seed=5))


class Weighed(Paints):
    """Takes an option that has no default."""

    class Options(Paints.Options):
        weight: float


def test_a_method_with_an_option_that_must_be_given(job: Job, photos: list[Path], known: Any) -> None:
    known.add_value("inverter", "weighed", Weighed)
    assert invert(photos[:1], job.but(method=Choice(name="weighed", options={"weight": 1.0}))).done == 1


def test_a_label_that_is_given_anew_counts(job: Job, photos: list[Path]) -> None:
    folder = ResultFolder(job.out)
    with Record(folder, photos[:2], {}, labels=[1, 2]) as record:
        assert [one.photo for one in record.todo] == photos[:2]
        for one in record.todo:
            numbers = {"metrics": {"psnr": 1.0}, "metrics_of_the_mean_image": {"psnr": 1.0}, "seconds": 1.0}
            record.add(one.as_it_is(), "done", numbers)
            (job.out / one.name).mkdir()
            (job.out / one.name / "latents.safetensors").touch()
    with Record(folder, photos[:2], {}, labels=[1, 3]) as record:
        assert [one.photo for one in record.todo] == photos[1:2]


def test_two_commands_do_not_work_in_one_folder(job: Job, photos: list[Path]) -> None:
    script = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True);"
        " sys.stdin.read()"
    )
    job.out.mkdir()
    command = [sys.executable, "-c", script, str(job.out / ".lock-1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(SpecError, match="Another command inverts into"):
            invert(photos, job)
        other.kill()
    assert calls == []
    assert invert(photos, job).done == 10


def test_a_photo_that_fails_in_a_batch_is_told_alone(job: Job, photos: list[Path]) -> None:
    faults[50] = lambda count: ImageError("it never had a finite loss")
    photos[1].write_text("no photo")
    outcome = invert([*photos, photos[0].with_name("gone.png")], job)
    told = {path.name: reason for path, reason in outcome.failures}
    assert set(told) == {"1.png", "5.png", "gone.png"}
    assert "never had a finite loss" in told["5.png"]
    assert "no such file" in told["gone.png"]
    assert outcome.done == 8
    assert {name for name, row in rows(job.out).items() if row["status"] == "failed"} == set(told)
    assert not (job.out / "5").exists()


def test_what_failed_is_tried_again_when_asked_for_or_when_it_changed(job: Job, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    faults[50] = lambda count: ImageError("not today")
    invert(photos, job)
    calls.clear()
    faults.clear()
    outcome = invert(photos, job)
    assert (seen(), outcome.failed, outcome.done) == ([], 2, 8), "and it is still told"
    outcome = invert(photos, job.but(retry_failed=True))
    assert (seen(), outcome.failed) == ([50], 1)
    grey(photos[1], 77)
    assert invert(photos, job).failed == 0
    assert seen() == [50, 77]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("too many"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you ...")]
)
def test_want_of_memory_halves_the_batch_and_it_stays_smaller(
    job: Job, photos: list[Path], error: RuntimeError
) -> None:
    def full(count: int) -> Exception:
        return error if count > 2 else ImageError("no")

    faults[10] = faults[20] = full
    outcome = invert(photos, job)
    assert [path.stem for path, _ in outcome.failures] == ["1", "2"]
    assert outcome.done == 8
    assert [len(batch) for batch in calls[-3:]] == [2, 2, 2]
    faults[90] = lambda count: error
    with pytest.raises(RuntimeError, match=str(error)[:8]):
        invert(photos, job.but(overwrite=True))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_between_steps_and_the_same_call_goes_on(
    job: Job, photos: list[Path], number: signal.Signals
) -> None:
    def asked(count: int) -> Exception:
        os.kill(os.getpid(), number)
        del faults[50]
        return ImageError("tried again at once, and then it notes the signal")

    faults[50] = asked
    with pytest.raises(KeyboardInterrupt):
        invert(photos, job)
    assert set(rows(job.out)) == {"0.png", "1.png", "2.png", "3.png"}
    calls.clear()
    assert invert(photos, job).done == 10
    assert seen() == [40, 50, 60, 70, 80, 90]


def test_an_error_that_is_no_photos_fault_stops_it_with_what_was_done_kept(job: Job, photos: list[Path]) -> None:
    faults[50] = lambda count: GanencError("the disk is full")
    with pytest.raises(GanencError, match="the disk is full"):
        invert(photos, job)
    assert set(rows(job.out)) == {"0.png", "1.png", "2.png", "3.png"}


class Two(Processes):
    """One of two processes in threads."""

    said: ClassVar[list[Any]] = []
    meeting: ClassVar[threading.Barrier] = threading.Barrier(2, timeout=60)

    def __init__(self, index: int) -> None:
        self.index, self.count, self.device = index, 2, "cpu"

    def wait(self) -> None:
        self.meeting.wait()

    def told(self, value: Any) -> Any:
        if self.first:
            self.said.append(value)
        self.wait()
        value = self.said[-1]
        self.wait()
        return value


def together(photos: list[Path], job: Job) -> list[Any]:
    """What each of two processes gives back or raises."""

    def one(index: int) -> Any:
        try:
            return invert(photos, job.but(processes=Two(index)))
        except GanencError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return [done.result() for done in [pool.submit(one, index) for index in range(2)]]


def test_processes_share_the_photos_and_the_first_puts_the_index_together(job: Job, photos: list[Path]) -> None:
    invert(photos[:1], job)
    photos[4].write_text("no photo")
    first, second = together(photos, job)
    assert (second.done, second.failed) == (first.done, first.failed)
    assert sorted(seen()) == [0, 10, 20, 30, 50, 60, 70, 80, 90], "each once"
    assert (first.done, first.failed, first.left, first.skipped) == (9, 1, 0, 1)
    assert list(rows(job.out)) == [photo.name for photo in photos]
    assert not list(job.out.glob("index-*.jsonl"))
    refused = together(photos, job.but(seed=1))
    assert all("other settings (seed: 0 there, 1 here)" in str(error) for error in refused)


def test_names_stay_with_their_photos_whatever_else_is_asked_for(job: Job, tmp_path: Path) -> None:
    a, b = grey_photos(tmp_path / "a", 2), grey_photos(tmp_path / "b", 2)
    invert(b, job)
    invert([*a, *b], job)
    folders = {row["photo"]: row["folder"] for row in ResultFolder(job.out).rows()}
    assert [folders[str(path)] for path in (*b, *a)] == ["0", "1", "0-2", "1-2"]
    assert calls == [[0, 10], [0, 10]]


def test_of_many_photos_the_worst_are_shown(job: Job, tmp_path: Path) -> None:
    many = grey_photos(tmp_path / "many", LISTED + 5)
    job = job.but(report=True)
    outcome = invert(many, job)
    numbers = sorted(row["metrics"]["psnr"] for row in rows(job.out).values())
    assert [row["metrics"]["psnr"] for row in outcome.rows] == numbers[:WORST]
    assert outcome.metrics["psnr"] == pytest.approx(np.mean(numbers))
    page = (job.out / "index.html").read_text()
    assert page.count("<img") == 2 * WORST
    assert f"{LISTED + 5} inverted" in page
    assert f"The {WORST} of lowest PSNR" in page
    assert len(outcome.to_mapping()["photos"]) == LISTED + 5


def test_every_outcome_is_of_the_photos_asked_for(job: Job, photos: list[Path]) -> None:
    invert(photos, job)
    outcome = invert(photos[4:6], job)
    assert isinstance(outcome, JobResult)
    assert [Path(row["photo"]) for row in outcome.rows] == photos[4:6]


def test_what_is_written_is_in_the_index_though_another_cannot_be_written(job: Job, photos: list[Path]) -> None:
    invert(photos[:1], job)
    (job.out / "2").write_text("in the way")
    invert(photos[:4], job)
    assert rows(job.out)["2.png"]["folder"] == "2-2", "a file's name is taken"
    invert(photos[5:6], job)
    (job.out / "5" / "latents.safetensors").unlink()
    (job.out / "5" / "latents.safetensors").mkdir()
    with pytest.raises(GanencError, match="cannot be written"):
        invert(photos, job)
    assert {"4.png", "6.png", "7.png"} <= set(rows(job.out)), "of the same batch"
    (job.out / "5" / "latents.safetensors").rmdir()
    calls.clear()
    invert(photos, job)
    assert seen() == [50, 80, 90]


def test_overwriting_goes_on_where_it_was_stopped(job: Job, photos: list[Path]) -> None:
    invert(photos, job)
    anew = job.but(seed=1, overwrite=True)
    faults[50] = lambda count: GanencError("the disk is full")
    with pytest.raises(GanencError):
        invert(photos, anew)
    faults.clear()
    calls.clear()
    assert invert(photos, anew).skipped == 4
    assert seen() == [40, 50, 60, 70, 80, 90]
    calls.clear()
    invert(photos, anew)
    assert len(seen()) == 10, "what is over begins anew"
    assert sorted(path.name for path in job.out.iterdir() if path.is_dir()) == [str(place) for place in range(10)]


def test_a_retry_with_other_settings_is_refused(job: Job, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    invert(photos, job)
    with pytest.raises(SpecError, match="seed: 0 there, 5 here"):
        invert(photos[1:2], job.but(seed=5, retry_failed=True))
    assert invert(photos, job).failed == 1


def test_a_retry_keeps_the_class_that_was_given(job: Job, photos: list[Path]) -> None:
    folder = ResultFolder(job.out)
    with Record(folder, photos[:2], {"labels": "given"}, labels=[3, 4]) as record:
        for one in record.todo:
            record.add(one.as_it_is(), "failed", {"error": "it was broken"})
        assert folder.failed() == (photos[:2], [3, 4])
    with pytest.raises(SpecError, match="labels: given there, None here"):
        invert(photos[:2], job)


def test_a_photo_that_changes_while_it_is_inverted_is_inverted_again(job: Job, photos: list[Path]) -> None:
    def changes(count: int) -> Exception:
        del faults[20]
        grey(photos[2], 222)
        return ImageError("tried again at once")

    faults[20] = changes
    invert(photos[:4], job)
    calls.clear()
    invert(photos[:4], job)
    assert seen() == [222]


def test_a_photo_named_twice_and_by_other_words_is_one(
    job: Job, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos[0].parent)
    outcome = invert([Path("1.png"), photos[1], Path("..", "photos", "1.png"), photos[2]], job)
    assert (outcome.done, outcome.left) == (2, 0)
    assert seen() == [10, 20]


def test_a_finished_photo_is_in_the_index_while_the_next_ones_are_inverted(job: Job, photos: list[Path]) -> None:
    known: list[int] = []

    def looks(count: int) -> Exception:
        del faults[50]
        deadline, index = time.monotonic() + 20, job.out / "index.jsonl"
        while len(known) < 4 and time.monotonic() < deadline:
            known[:] = range(index.read_text().count("\n") if index.exists() else 0)
        return ImageError("tried again at once")

    faults[50] = looks
    invert(photos, job)
    assert len(known) == 4


def test_events_tell_what_happens_in_their_order(job: Job, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    told: list[Any] = []
    result = invert(photos[:6], job.but(on_event=told.append))
    kinds = [type(event).__name__ for event in told]
    assert kinds[:2] == ["Started", "BatchBegun"]
    assert (kinds[-1], told[-1].result) == ("Finished", result)
    assert (told[0].photos, told[0].todo, told[0].skipped) == (6, 6, 0)
    assert [(event.before, len(event.photos)) for event in told if isinstance(event, BatchBegun)] == [(0, 4), (4, 2)]
    assert [event.photo for event in told if isinstance(event, PhotoFailed)] == [photos[1]]
    done = [event for event in told if isinstance(event, PhotoDone)]
    assert [event.photo for event in done] == [photo for photo in photos[:6] if photo != photos[1]]
    assert all((event.folder / "latents.safetensors").is_file() for event in done)
    assert [event.facts["metrics"] for event in done] == [row["metrics"] for row in result.rows]
    steps = [event.done for event in told if isinstance(event, Stepped)]
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 6)
    assert any(event.terms == {"total": 1.0} for event in told if isinstance(event, Stepped))


def test_who_listens_can_stop_it_and_it_goes_on(job: Job, photos: list[Path]) -> None:
    def enough(event: Any) -> None:
        if isinstance(event, BatchBegun) and event.before:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        invert(photos, job.but(on_event=enough))
    assert set(rows(job.out)) == {"0.png", "1.png", "2.png", "3.png"}
    assert invert(photos, job).skipped == 4


def test_the_folder_gives_what_each_photo_left(job: Job, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    photos[2].write_text("no photo")
    invert(photos[:3], job)
    folder = ResultFolder(job.out)
    monkeypatch.chdir(photos[0].parent)
    for name in (photos[1], "1.png", "1"):
        left = folder.photo(name)
        assert left.facts()["model_hash"] == job.model.hash
        assert float(left.picture(left.TARGET).mean()) == pytest.approx(10 / 127.5 - 1, abs=1e-3)
        assert len(left.latents(model=job.model.hash)) == 1
    with pytest.raises(ImageError, match=r"2\.png could not be inverted"):
        folder.photo("2.png")
    with pytest.raises(ImageError, match=r"knows no photo 9\.png"):
        folder.photo("9.png")
    assert folder.failed() == ([photos[2]], None)
    assert list(ResultFolder(job.out / "nothing").rows()) == []


def test_the_page_is_made_of_what_is_at_hand(job: Job, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    job = job.but(report=True)
    read: list[str] = []
    picture = PhotoFolder.picture

    def counted(self: PhotoFolder, name: str, **known: Any) -> torch.Tensor:
        read.append(f"{self.path.name}/{name}")
        return picture(self, name, **known)

    monkeypatch.setattr(PhotoFolder, "picture", counted)
    invert(photos[:2], job)
    assert read == []
    invert(photos[:3], job)
    assert len(read) == 4, "of the two that an earlier process left"
    assert (job.out / "index.html").read_text().count("<img") == 6


def test_a_psnr_that_json_lacks_is_infinite(job: Job, photos: list[Path]) -> None:
    assert math.isfinite(invert(photos[:1], job).metrics["psnr"])
    line = json.loads((job.out / "index.jsonl").read_text())
    line["metrics"]["psnr"] = None
    (job.out / "index.jsonl").write_text(json.dumps(line) + "\n")
    assert invert(photos[:1], job).metrics["psnr"] == math.inf


def test_a_job_that_tunes_weights_leaves_them_and_says_so(job: Job, photos: list[Path]) -> None:
    method = Choice(
        name="tune", options={"steps": 2, "rate": 0.01, "pivot": {"name": "optimize", "options": {"steps": 2}}}
    )
    outcome = invert(photos[:2], job.but(method=method, report=True, pages=True))
    assert outcome.done == 2
    for row in outcome.rows:
        folder = PhotoFolder(job.out / row["folder"])
        tuning = folder.tuning(folder.latents(), model=job.model.hash)
        assert row["tuning"]["tensors"] == len(tuning) > 0
        with torch.no_grad(), job.model.generator.tuned(tuning):
            made = job.model.generator.synthesize(folder.latents())[0]
        assert (folder.picture("reconstruction.png") - made.clamp(-1, 1)).abs().max() <= 1 / 255 + 1e-6
    with pytest.raises(SpecError, match="no photo depends on the others"):
        invert(photos[2:4], job.but(method=Choice(name="tune", options={"together": True})))
