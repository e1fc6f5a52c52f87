"""Signals, full disks and vanished folders: what is done is kept, and a run that goes on ends the same."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import Interrupts
from ganenc.models import load_encoder
from ganenc.training import RunFolder, pretrain
from ganenc.training import folder as folder_module
from ganenc_registry.errors import SpecError, TrainingError
from runs import fresh, run_spec, same, weights
from safetensors.torch import load_file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_end(
    number: signal.Signals, toy: Any, toy_encoder: Encoder, tmp_path: Path
) -> None:
    run = run_spec(saving={"checkpoint_every": 100, "log_every": 1})
    pretrain(toy, run, tmp_path / "whole", encoder=fresh(toy_encoder))
    before = signal.getsignal(number)

    def ask(step: int, *_: Any) -> None:
        if step == 5:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder), on_step=ask)
    assert signal.getsignal(number) is before
    assert [path.stem for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["step-0000005"]
    assert not (tmp_path / "parts" / "encoder").exists()
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder, other=True))
    ends = [load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "parts")]
    assert same(*ends)
    assert (tmp_path / "whole" / "metrics.jsonl").read_text() == (tmp_path / "parts" / "metrics.jsonl").read_text()


def test_a_second_signal_acts_at_once() -> None:
    def at_once(number: int, frame: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGTERM, at_once)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.asked
            with pytest.raises(TimeoutError):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """No file whose path holds one of these parts can be put in place."""
    replace, parts = os.replace, set[str]()

    def put(source: Path, place: Path) -> None:
        if parts & set(Path(place).parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, place)

    monkeypatch.setattr(os, "replace", put)
    return parts


def test_pictures_and_trackers_that_find_no_room_cost_no_run(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, full: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    logs = iter([refuse])  # Once.
    tracker = SimpleNamespace(log=lambda *_, **__: next(logs, lambda: None)(), finish=refuse)
    started: list[Any] = []
    monkeypatch.setattr(folder_module, "start_trackers", lambda *_: started.append(tracker) or [tracker])
    full |= {"grids", "attention.png"}
    with pytest.warns(UserWarning, match=r"could not be written \(No space left on device\); the run goes on") as told:
        trained = pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
    assert {str(one.message).split(": ")[1].split(" of ")[0].split(" could")[0] for one in told} == {
        "the grid", "the attention", "what trackers are told", "what trackers were told last"
    }  # fmt: skip
    assert len(started) == 2
    assert torch.equal(weights(load_encoder(tmp_path / "encoder")), weights(trained))


@pytest.mark.parametrize(
    ("part", "told"), [("step-0000006.safetensors", "the checkpoint"), ("best", "the best encoder,")]
)
def test_a_checkpoint_that_finds_no_room_ends_the_run_which_goes_on_from_the_one_before(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, full: set[str], part: str, told: str
) -> None:
    whole = pretrain(toy, run_spec(), tmp_path / "whole", encoder=fresh(toy_encoder))

    def fill(step: int, *_: Any) -> None:
        if step == 6:
            full.add(part)

    with pytest.raises(TrainingError, match=rf"{told} of step 6 could not be written \(No space left .* the run stops"):
        pretrain(toy, run_spec(), tmp_path / "run", encoder=fresh(toy_encoder), on_step=fill)
    assert [path.stem for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-0000003"]
    full.clear()
    again = pretrain(toy, run_spec(), tmp_path / "run", encoder=fresh(toy_encoder, other=True))
    assert torch.equal(weights(again), weights(whole))


def test_a_row_that_finds_no_room_leaves_no_half_of_it(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = RunFolder(tmp_path)
    folder.begin(run_spec(saving={"trackers": []}))
    folder.log(1, {"total": 1.0})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.jsonl").stat().st_size + 9, before[1]))
    try:
        with pytest.warns(UserWarning, match="the metrics of step 2 could not be written"):
            folder.log(2, {"total": 2.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder.log(3, {"total": 3.0})
    folder.close()
    assert [row["step"] for row in folder.metrics()] == [1, 3]


def test_a_disk_that_stays_full_is_told_at_the_end(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, full: set[str]
) -> None:
    full.add("encoder")
    with pytest.raises(TrainingError, match=r"cannot be written: No space left on device\. Make room"):
        pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
    full.clear()
    trained = pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder, other=True))
    assert torch.equal(weights(load_encoder(tmp_path / "encoder")), weights(trained))


def test_a_folder_that_vanishes_is_made_again(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"log_every": 1})

    def vanish(step: int, *_: Any) -> None:
        if step == 4:
            shutil.rmtree(tmp_path / "run")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = pretrain(toy, run, tmp_path / "run", encoder=fresh(toy_encoder), on_step=vanish)
    assert torch.equal(weights(load_encoder(tmp_path / "run" / "encoder")), weights(trained))
    again = pretrain(toy, run, tmp_path / "run", encoder=fresh(toy_encoder, other=True))
    assert torch.equal(weights(again), weights(trained)), "the folder knows its run, which is done"
    with pytest.raises(TrainingError, match="another spec"):
        pretrain(toy, run_spec(seed=7), tmp_path / "run", encoder=fresh(toy_encoder))


def test_what_killed_writes_left_goes_and_nothing_else(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run, torn = run_spec(), "0123456789abcdef" * 2
    names = (
        (".ganenc-run-", "yaml"),
        ("checkpoints/.ganenc-step-0000003-", "safetensors"),
        ("best/.ganenc-model-", "safetensors"),
    )
    places = [f"{name}{torn}.{suffix}" for name, suffix in names]
    others = [
        ".notes",
        f".mine-{torn[1:]}.txt",
        f"notes-{torn}.txt",
        f"mine/.ganenc-model-{torn}.safetensors",
        f".a-{torn}",
    ]
    for name in [*places, *others]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"torn")
    pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    assert [name for name in [*places, *others] if (tmp_path / name).exists()] == others


def test_two_processes_do_not_train_in_one_folder(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    """The lock goes with its process; as long as that runs, the folder stays as it is."""
    script = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True)"
    command = [sys.executable, "-c", f"{script}; sys.stdin.read()", str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(TrainingError, match=r"Another process trains in .*; wait for it or end it"):
            pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "run.yaml"}
        other.kill()
    assert other.returncode == -signal.SIGKILL
    pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
    assert (tmp_path / "encoder").is_dir()


def test_the_best_encoder_is_kept_beside_the_last(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"log_every": 1, "checkpoint_every": 1}, optimiser={"average": 0.5, "rate": 0.003})
    seen: dict[int, Any] = {}
    pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder), on_step=lambda step, _, terms: seen.update({step: terms}))
    smooth, best, at = float("nan"), float("inf"), 0
    for step, terms in seen.items():
        smooth = terms["total"] if smooth != smooth else 0.9 * smooth + 0.1 * terms["total"]
        if smooth < best:
            best, at = smooth, step
    from ganenc.models import read_config

    assert read_config(tmp_path / "best")["info"] == {"step": at, "loss": pytest.approx(best)}
    kept = run.model_copy(update={"steps": at, "saving": run.saving.model_copy(update={"best": False})})
    stopped = pretrain(toy, kept, tmp_path / "stopped", encoder=fresh(toy_encoder))
    assert torch.equal(weights(load_encoder(tmp_path / "best")), weights(stopped))
    assert not (tmp_path / "stopped" / "best").exists()


def test_a_tracker_that_is_not_there_is_named(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"there is no 'tensorbord' \(did you mean 'tensorboard'\?\)"):
        pretrain(toy, run_spec(saving={"trackers": ["tensorbord"]}), tmp_path / "a", encoder=fresh(toy_encoder))
    with pytest.raises(SpecError, match=r"clearml is not installed; `pip install clearml`"):
        pretrain(toy, run_spec(saving={"trackers": ["clearml"]}), tmp_path / "b", encoder=fresh(toy_encoder))
