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
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import Interrupts
from ganenc.models import load_encoder
from ganenc.training import folder as folder_module
from ganenc.training import pretrain
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


def test_a_full_disk_costs_no_run_and_no_older_checkpoint(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, tried = folder_module.save_state, []

    def full(path: Path, state: Any) -> None:
        tried.append(path.stem)
        if path.stem == "step-0000006":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(path, state)

    monkeypatch.setattr(folder_module, "save_state", full)
    run = run_spec(saving={"keep": 1})
    with pytest.warns(UserWarning, match=r"the checkpoint of step 6 could not be written \(No space left on device\)"):
        pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    assert tried == ["step-0000003", "step-0000006", "step-0000008"]
    assert [path.stem for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000008"]


@pytest.mark.filterwarnings("ignore:.*best encoder")
def test_a_disk_that_stays_full_is_told_at_the_end(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "save_pretrained", full)
        with pytest.raises(TrainingError, match=r"cannot be written: No space left on device\. Make room"):
            pretrain(toy, run_spec(), tmp_path, encoder=fresh(toy_encoder))
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
    places = [f".run-{torn}.yaml", f"checkpoints/.step-0000003-{torn}.safetensors", f"best/.model-{torn}.safetensors"]
    others = [".notes", f".mine-{torn[1:]}.txt", f"notes-{torn}.txt", f"mine/.model-{torn}.safetensors"]
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
