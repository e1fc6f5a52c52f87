"""Ray gives what this process gives, whatever it loses on the way. Starting it takes a minute on a busy machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from ganenc.files import load_state
from ganenc.jobs import execute, invert_shards, invert_shards_on, read_runner, train_on
from ganenc.testing import check
from ganenc_registry.errors import CheckpointError, SpecError
from ganenc_registry.specs import InvertSpec, RunSpec
from tars import photos_tar, plain, small_model

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray", reason="needs Ray, which ganenc-plugin-ray brings")

pytestmark = pytest.mark.slow
SPEC = InvertSpec(method="encode", backbone="none", shards={"metrics": ["psnr"]})
TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}
"""As of two processes that torchrun starts: sums of single precision in another order, over three steps."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray waits for a machine that is busy, and its processes are no less urgent than others."""
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "300")
    monkeypatch.setenv("RAY_worker_register_timeout_seconds", "300")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "600")


def is_actor(process: psutil.Process) -> bool:
    """Whether a process is an actor of ours; one that has ended meanwhile is none."""
    try:
        return "MapWorker" in "".join(process.cmdline()[:1])
    except psutil.Error:
        return False


def kill_an_actor(out: Path) -> threading.Thread:
    """Once a shard is done, an actor is killed."""

    def kill() -> None:
        while not [*out.glob("[!.]*.parquet")]:
            time.sleep(0.05)
        actors = [one for one in psutil.Process().children(recursive=True) if is_actor(one)]
        os.kill(actors[0].pid, signal.SIGKILL)
        killed.append(actors[0].pid)

    killed: list[int] = []
    thread = threading.Thread(target=kill, daemon=True)
    thread.killed = killed  # type: ignore[attr-defined]
    thread.start()
    return thread


def test_shards_come_out_the_same_though_an_actor_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = str(small_model(tmp_path / "model"))
    shards = [photos_tar(tmp_path / "in" / f"{place}.tar", 120, 120 * place) for place in range(12)]
    (tmp_path / "in" / "x.tar").write_bytes(b"no tar at all")
    whole = invert_shards(model, [*shards, tmp_path / "in" / "x.tar"], tmp_path / "here", SPEC)
    killer = kill_an_actor(tmp_path / "there")
    monkeypatch.chdir(tmp_path)  # Paths mean the same in an actor.
    result = invert_shards_on(read_runner("ray:concurrency=2"), "model", "in/*.tar", "there", SPEC)
    killer.join(60)
    assert killer.killed, "an actor was killed while there was work"  # type: ignore[attr-defined]
    assert [one.shard.name for one in result.done] == sorted(path.name for path in shards)
    assert [path.name for path, _ in result.broken] == [path.name for path, _ in whole.broken] == ["x.tar"]
    assert not [*(tmp_path / "there").glob(".*")]
    for shard in shards:
        here, there = (tmp_path / place / f"{shard.stem}.parquet" for place in ("here", "there"))
        assert plain(here) == plain(there)
    again = invert_shards_on(read_runner("ray:concurrency=1"), "model", "in/*.tar", "there", SPEC)
    assert all(one.done_before for one in again.done)
    other = SPEC.model_copy(update={"seed": 1})
    with pytest.raises(SpecError, match="another settings"):
        invert_shards_on(read_runner("ray:concurrency=1"), "model", "in/0.tar", "there", other)


def test_two_processes_of_a_training_train_as_one(tmp_path: Path) -> None:
    run = RunSpec(
        task="pretrain",
        model=str(small_model(tmp_path / "model")),
        steps=3,
        objective={"losses": {"mse": 1.0}, "attention": "none"},
        data={"batch": 5},
        saving={"trackers": ()},
    )
    execute(run, tmp_path / "one")
    train_on(read_runner("ray:concurrency=2"), run, tmp_path / "two")
    one, two = (
        load_state(tmp_path / name / "checkpoints" / "step-0000003.safetensors")["modules"]["encoder"]
        for name in ("one", "two")
    )
    assert any(not torch.equal(one[name], two[name]) for name in one), "two processes sum in another order"
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, **TOLERANCE)
    missing = run.model_copy(update={"model": str(tmp_path / "nothing")})
    with pytest.raises(CheckpointError, match="There is no model"):
        train_on(read_runner("ray:concurrency=2,retries=0"), missing, tmp_path / "three")


def test_ray_keeps_to_the_contract_of_a_runner() -> None:
    assert all(outcome.passed for outcome in check("runner:ray"))
