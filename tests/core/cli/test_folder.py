"""``ganenc invert`` of many photos: each once, whatever stops it, and none harms another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.cli.inverting import invert_photos
from ganenc.cli.outcome import LISTED, WORST, Job, Outcome
from ganenc.cli.record import Record
from ganenc.cli.session import Session
from ganenc.files import Processes
from ganenc.inversion import Inversion, Inverter
from ganenc.latents import Latents
from ganenc.models import model_hash, save_pretrained
from ganenc_registry.errors import GanencError, ImageError, SpecError
from PIL import Image
from servers import serving
from torch import Tensor

BATCH = 4
calls: list[list[int]] = []
"""The mean grey value of every photo, in every batch that the method saw."""
faults: dict[int, Callable[[int], Exception]] = {}
"""What is raised where a photo of that grey value is in a batch, from the number of photos in it."""


class Paints(Inverter):
    """Gives the mean latents; takes some photos at once."""

    def __init__(self, batch: int = BATCH, fails: bool = False) -> None:
        self.batch = batch

    def invert(self, images: Tensor, generator: Any, encoder: Any, *, on_step: Any = None, **_: Any) -> Inversion:
        grey = [round(float(value) * 127.5 + 127.5) for value in images.mean((1, 2, 3))]
        calls.append(grey)
        for value in grey:
            if value in faults:
                raise faults[value](len(grey))
        if on_step is not None:
            on_step(0, 1, 1, {"total": 1.0})
        latents = generator.complete(generator.center().expand(len(images)))
        latents = Latents(latents.layout, {name: one.clone() for name, one in latents.tensors.items()})
        return Inversion(latents, images * 0.5, [], {"method": "paints", "batch": self.batch}, [0.1] * len(images))


@pytest.fixture(autouse=True)
def fresh(known: Any) -> None:
    known.add_value("inverter", "paints", Paints)
    calls.clear()
    faults.clear()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Ten photos, each of one grey value: 0, 10, 20, ..."""
    return grey_photos(tmp_path / "photos", 10)


def grey_photos(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{place}.png" for place in range(count)]
    for place, path in enumerate(paths):
        Image.fromarray(np.full((8, 8, 3), 10 * place % 250, dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def job(toy: Any, tmp_path: Path) -> Job:
    session = Session("toy", toy, None, model_hash(toy), "none", towards={"losses": {"mse": 1.0}})
    return Job(session, tmp_path / "out", "paints", report=False, pages=False)


def invert(photos: list[Path], job: Job) -> Outcome:
    outcome = invert_photos(photos, job)
    assert outcome is not None
    return outcome


def rows(out: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({row["photo"] for row in lines}) == len(lines), "each photo once"
    return {Path(row["photo"]).name: row for row in lines}


def seen() -> list[int]:
    return [value for batch in calls for value in batch]


def test_photos_go_in_batches_and_each_leaves_its_own(job: Job, photos: list[Path]) -> None:
    outcome = invert(photos, job)
    assert calls == [[0, 10, 20, 30], [40, 50, 60, 70], [80, 90]]
    assert (outcome.done, outcome.failed, outcome.left, outcome.record.skipped) == (10, 0, 0, 0)
    assert [Path(row["photo"]) for row in outcome.rows] == photos
    for place, photo in enumerate(photos):
        row = rows(job.out)[photo.name]
        grey = 10 * place
        half = round((grey / 127.5 - 1) / 2 * 127.5 + 127.5)
        assert row["metrics"]["psnr"] == pytest.approx(20 * np.log10(255 / abs(grey - half)), abs=0.1)
        made = np.asarray(Image.open(job.out / photo.stem / "reconstruction.png"))
        assert np.abs(made.astype(int) - half).max() <= 1
        assert len(Latents.load(job.out / photo.stem / "latents.safetensors", model=job.session.hash)) == 1
    assert outcome.means()["psnr"] == pytest.approx(np.mean([row["metrics"]["psnr"] for row in outcome.rows]))


def test_what_is_done_is_not_done_again_unless_it_changed_or_is_gone(job: Job, photos: list[Path]) -> None:
    invert(photos[:6], job)
    calls.clear()
    outcome = invert(photos, job)
    assert seen() == [60, 70, 80, 90]
    assert (outcome.done, outcome.record.skipped) == (10, 6)
    calls.clear()
    Image.fromarray(np.full((9, 9, 3), 200, dtype=np.uint8)).save(photos[2])
    (job.out / "5" / "latents.safetensors").unlink()
    invert(photos, job)
    assert seen() == [200, 50]
    assert list(rows(job.out)) == [photo.name for photo in photos]
    calls.clear()
    invert(photos[:2], replace(job, overwrite=True))
    assert seen() == [0, 10]
    assert len(rows(job.out)) == 10


def test_other_settings_do_not_touch_what_is_done(job: Job, photos: list[Path]) -> None:
    invert(photos[:2], job)
    before = (job.out / "index.jsonl").read_bytes()
    other = replace(job, options={"fails": True, "batch": 2}, seed=3)
    with pytest.raises(SpecError, match=r"\(options: {} there, {'fails': True} here; seed: 0 there, 3 here\)") as told:
        invert(photos, other)
    assert "--overwrite" in str(told.value)
    assert (job.out / "index.jsonl").read_bytes() == before
    invert(photos[2:4], other)
    assert set(rows(job.out)) == {"0.png", "1.png", "2.png", "3.png"}, "other photos may lie beside them"
    invert(photos[:2], replace(other, overwrite=True))
    assert calls == [[0, 10], [20, 30], [0, 10]]
    assert invert(photos[:4], other).record.skipped == 4


def test_a_label_that_is_given_anew_counts(job: Job, photos: list[Path]) -> None:
    first = replace(job, labels=torch.tensor([1, 2]))
    with Record(first, photos[:2]) as record:
        assert [one.place for one in record.todo] == [0, 1]
        for one in record.todo:
            record.add(one, one.state(), "done", {})
            (job.out / one.name).mkdir()
            (job.out / one.name / "latents.safetensors").touch()
    with Record(replace(job, labels=torch.tensor([1, 3])), photos[:2]) as record:
        assert [one.place for one in record.todo] == [1]


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
    outcome = invert(photos, replace(job, retry_failed=True))
    assert (seen(), outcome.failed) == ([50], 1)
    Image.fromarray(np.full((8, 8, 3), 77, dtype=np.uint8)).save(photos[1])
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
        invert(photos, replace(job, overwrite=True))


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
            return invert_photos(photos, replace(job, processes=Two(index)))
        except GanencError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        return [done.result() for done in [pool.submit(one, index) for index in range(2)]]


def test_processes_share_the_photos_and_the_first_puts_the_index_together(job: Job, photos: list[Path]) -> None:
    invert(photos[:1], job)
    photos[4].write_text("no photo")
    first, second = together(photos, job)
    assert second is None
    assert sorted(seen()) == [0, 10, 20, 30, 50, 60, 70, 80, 90], "each once"
    assert (first.done, first.failed, first.left, first.record.skipped) == (9, 1, 0, 1)
    assert list(rows(job.out)) == [photo.name for photo in photos]
    assert not list(job.out.glob("index-*.jsonl"))
    refused = together(photos, replace(job, seed=1))
    assert all("other settings (seed: 0 there, 1 here)" in str(error) for error in refused)


def kill_all(process: int) -> None:
    """A process and those that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    for one in (process, *map(int, children)):
        os.kill(one, signal.SIGKILL)


REGISTERING = """
import ganenc, toys
ganenc.register("generator", "toy")(toys.ToyGenerator)
"""


@pytest.mark.slow
def test_two_processes_killed_and_started_again_do_each_photo_once(toy: Any, toy_encoder: Any, tmp_path: Path) -> None:
    with serving():  # Skips where a machine cannot reach itself.
        pass
    photos, out = grey_photos(tmp_path / "photos", 80), tmp_path / "out"
    photos[7].write_text("no photo")
    save_pretrained(toy, tmp_path / "model")
    save_pretrained(toy_encoder, tmp_path / "model" / "encoder")
    (tmp_path / "mine.py").write_text(REGISTERING)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ganenc"]
    words = ["--import", "mine.py", "invert", "photos", "--model", "model", "--out", "out", "--quiet"]
    words += ["--method", "optimize", "--steps", "3", "--set", "batch=2", "--set", "objective.losses.mse=1"]
    words += ["--backbone", "none"]
    begun: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen([*launch, *words], **begun) as process:
        while process.poll() is None and sum(len(path.read_bytes()) for path in out.glob("index-*.jsonl")) < 2000:
            time.sleep(0.01)
        kill_all(process.pid)
    assert not (out / "index.jsonl").exists(), "it was killed before its end"
    lines = [line for path in out.glob("index-*.jsonl") for line in path.read_text(encoding="utf-8").splitlines(True)]
    before = [json.loads(line) for line in lines if line.endswith("\n")]
    assert 0 < len(before) < 80
    done = subprocess.run([*launch, *words], check=False, timeout=300, **begun)
    assert done.returncode == 1, "one photo failed"
    assert f"1 of 80 photos failed: {Path('photos') / '7.png'}" in done.stderr
    assert [Path(row["photo"]) for row in rows_by_path(out)] == photos
    kept = {row["photo"]: row for row in rows_by_path(out)}
    assert all(kept[row["photo"]] == row for row in before), "what was done stays, with the time it took"
    assert {row["status"] for row in rows_by_path(out) if row["folder"] != "7"} == {"done"}
    assert all((out / path.stem / "latents.safetensors").is_file() for path in photos if path.stem != "7")
    assert not list(out.glob("index-*.jsonl"))


def test_names_stay_with_their_photos_whatever_else_is_asked_for(job: Job, tmp_path: Path) -> None:
    a, b = grey_photos(tmp_path / "a", 2), grey_photos(tmp_path / "b", 2)
    invert(b, job)
    invert([*a, *b], job)
    folders = {row["photo"]: row["folder"] for row in rows_by_path(job.out)}
    assert [folders[str(path)] for path in (*b, *a)] == ["0", "1", "0-2", "1-2"]
    assert calls == [[0, 10], [0, 10]]


def rows_by_path(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "index.jsonl").read_text(encoding="utf-8").splitlines()]


def test_of_many_photos_the_worst_are_shown(job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ganenc.cli.outcome import show_outcome

    many = grey_photos(tmp_path / "many", LISTED + 5)
    job = replace(job, report=True)
    outcome = invert(many, job)
    numbers = sorted(row["metrics"]["psnr"] for row in rows(job.out).values())
    assert [row["metrics"]["psnr"] for row in outcome.rows] == numbers[:WORST]
    assert outcome.means()["psnr"] == pytest.approx(np.mean(numbers))
    page = (job.out / "index.html").read_text()
    assert page.count("<img") == 2 * WORST
    assert f"{LISTED + 5} inverted" in page
    assert f"The {WORST} of lowest PSNR" in page
    show_outcome(outcome, job)
    assert f"Of {LISTED + 5} photos, the {WORST} of lowest PSNR" in capsys.readouterr().out
    assert len(outcome.as_json(job)["photos"]) == LISTED + 5


@pytest.fixture
def run(job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run ``ganenc invert`` in this process: its exit code, and what it printed on both channels."""
    monkeypatch.setattr("ganenc.cli.session.open_session", lambda model, **_: job.session)

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["invert", "--model", "toy", "--out", str(job.out), "--method", "paints", *map(str, words)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def test_the_command_goes_on_lists_what_failed_and_tries_it_again(run: Any, job: Job, photos: list[Path]) -> None:
    photos[3].write_text("no photo")
    code, out, err = run(photos[0].parent)
    assert code == 1
    assert f"1 of 10 photos failed: {photos[3]}. --retry-failed tries them again." in err
    code, out, err = run(photos[0].parent)
    assert code == 1
    assert "9 of 10 photos were done before" in err
    Image.fromarray(np.full((8, 8, 3), 30, dtype=np.uint8)).save(photos[3])
    calls.clear()
    code, out, err = run("--retry-failed", "--json")
    assert (code, seen()) == (0, [30])
    assert [item["photo"] for item in json.loads(out)["photos"]] == [str(photos[3])]
    code, out, err = run("--retry-failed")
    assert code == 2
    assert "tells of no photo that failed" in err
    assert (job.out / "0" / "report.html").is_file(), "few photos have pages of their own"


def test_the_command_says_when_it_was_interrupted(run: Any, job: Job, photos: list[Path]) -> None:
    def asked(count: int) -> Exception:
        return KeyboardInterrupt()  # type: ignore[return-value]

    faults[90] = asked
    code, _, err = run(*photos)
    assert code == 1
    assert "Interrupted" in err
    assert len(rows(job.out)) == 8


def test_a_list_names_photos(run: Any, photos: list[Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# some\nphotos/7.png\n\n{photos[2]}\nphotos/[01].png\n", encoding="utf-8")
    code, out, err = run(listed, "--quiet")
    assert (code, out, err) == (0, "", "")
    assert seen() == [70, 20, 0, 10]


def test_every_outcome_is_of_the_photos_asked_for(job: Job, photos: list[Path]) -> None:
    invert(photos, job)
    outcome = invert(photos[4:6], job)
    assert isinstance(outcome, Outcome)
    assert [Path(row["photo"]) for row in outcome.rows] == photos[4:6]


def test_what_lies_in_the_folder_to_write_to_is_no_photo(run: Any, job: Job, photos: list[Path]) -> None:
    inside = photos[0].parent / "inverted"
    for _ in range(3):
        code, _, err = run(photos[0].parent, "--out", inside, "--quiet")
        assert code == 0, err
    assert len(rows(inside)) == 10
    code, _, err = run(inside, "--out", inside)
    assert code == 1
    assert "all photos there lie in" in err
    assert run(inside / "3" / "reconstruction.png", "--out", inside, "--quiet")[0] == 0, "unless it is named itself"
    assert len(rows(inside)) == 11


def test_names_that_are_not_in_utf_8_and_names_of_dots_do_no_harm(run: Any, job: Job, photos: list[Path]) -> None:
    odd = [os.fsdecode(name) for name in (b"bad\xff.png", b"...png", b"..png", b"[x].png", b"index-0.jsonl.png")]
    for name in odd:
        shutil.copy(photos[5], photos[0].parent / name)
    named = [photos[0].parent / name for name in odd]
    before = set(job.out.parent.iterdir())
    for turn in range(2):
        code, out, err = run(*named)
        assert code == 0, err
        assert "bad\\udcff.png" in out
        assert ("5 of 5 photos were done before" in err) == bool(turn)
    assert set(job.out.parent.iterdir()) - before == {job.out}
    assert {row["photo"] for row in rows_by_path(job.out)} == {str(path) for path in named}
    folders = {path.name for path in job.out.iterdir() if path.is_dir()}
    assert folders == {os.fsdecode(b"bad\xff"), "photo", "photo-2", "[x]", "index-0.jsonl-2"}


def test_what_is_written_is_in_the_index_though_another_cannot_be_written(job: Job, photos: list[Path]) -> None:
    invert(photos[:1], job)
    (job.out / "2").write_text("in the way")
    invert(photos[:4], job)
    assert rows(job.out)["2.png"]["folder"] == "2-2", "a file's name is taken"
    (job.out / "5").mkdir()
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
    anew = replace(job, seed=1, overwrite=True)
    faults[50] = lambda count: GanencError("the disk is full")
    with pytest.raises(GanencError):
        invert(photos, anew)
    faults.clear()
    calls.clear()
    assert invert(photos, anew).record.skipped == 4
    assert seen() == [40, 50, 60, 70, 80, 90]
    calls.clear()
    invert(photos, anew)
    assert len(seen()) == 10, "what is over begins anew"
    assert sorted(path.name for path in job.out.iterdir() if path.is_dir()) == [str(place) for place in range(10)]


def test_a_retry_with_other_settings_is_refused(job: Job, photos: list[Path]) -> None:
    photos[1].write_text("no photo")
    invert(photos, job)
    with pytest.raises(SpecError, match="seed: 0 there, 5 here"):
        invert(photos[1:2], replace(job, seed=5, retry_failed=True))
    assert invert(photos, job).failed == 1


def test_a_retry_keeps_the_class_that_was_given(job: Job, photos: list[Path]) -> None:
    from ganenc.cli.record import failed_before

    with Record(replace(job, labels=torch.tensor([3, 4])), photos[:2]) as record:
        for one in record.todo:
            record.add(one, one.state(), "failed", {"error": "it was broken"})
        assert failed_before(job.out) == (photos[:2], [3, 4])
    with pytest.raises(SpecError, match="labels: given there, None here"):
        invert(photos[:2], job)


def test_a_photo_that_changes_while_it_is_inverted_is_inverted_again(job: Job, photos: list[Path]) -> None:
    def changes(count: int) -> Exception:
        del faults[20]
        Image.fromarray(np.full((8, 8, 3), 222, dtype=np.uint8)).save(photos[2])
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


def test_where_nothing_is_there_it_says_so_at_once(run: Any, job: Job, tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "phtos")
    assert code == 1
    assert "there is no such file or folder" in err
    assert not job.out.exists()
    long = "x" * 300
    assert "there is no such file or folder" in run(f"{long}.jpg")[2]


def test_photos_that_share_an_encoder_are_refused(run: Any, photos: list[Path]) -> None:
    code, _, err = run(*photos, "--method", "finetune", "--set", "together=true")
    assert code == 2
    assert "ganenc finetune" in err
