"""Work handed to an engine leaves what this process leaves."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ganenc
import pytest
import torch
from ganenc.cli import main
from ganenc.files import load_state
from ganenc.jobs import Runner, read_runner
from ganenc.testing import check
from ganenc_registry.errors import SpecError, UnknownNameError
from ganenc_registry.specs import Spec
from pydantic import PositiveInt
from servers import serving
from tars import photos_tar, plain, small_model

pytest.importorskip("pyarrow")

T = TypeVar("T")
R = TypeVar("R")


@ganenc.register("runner", "toy-engine", summary="Copies of the work, in turn")
class Copies(Runner):
    """Does tasks by copies of the work, the last first."""

    class Options(Spec):
        copies: PositiveInt = 2

    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        copies = [pickle.loads(pickle.dumps(work)) for _ in range(self.options.copies)]
        for place, task in reversed([*enumerate(tasks)]):
            yield pickle.loads(pickle.dumps(copies[place % len(copies)](task)))

    def together(self, work: Callable[[], None]) -> None:
        pickle.loads(pickle.dumps(work))()


class Forgets(Copies):
    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        return super().each(work, tasks[1:])


class Renews(Copies):
    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        return (pickle.loads(pickle.dumps(work))(task) for task in tasks)


class Wraps(Copies):
    def each(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        try:
            yield from super().each(work, tasks)
        except SpecError as error:
            raise SpecError(f"The engine says: {error}") from error


class Alike(Copies):
    def together(self, work: Callable[[], None]) -> None:
        before = dict(os.environ)
        for rank in "12":
            os.environ |= {"RANK": rank, "WORLD_SIZE": "2"}
            work()
        os.environ.clear()
        os.environ |= before


def test_a_runner_is_checked() -> None:
    assert all(outcome.passed for outcome in check(Copies))
    for broken, name in (
        (Forgets, "every-task-is-done-once"),
        (Renews, "copies-of-the-work-stay"),
        (Wraps, "errors-come-as-they-are"),
        (Alike, "processes-together-know-their-place"),
    ):
        assert [one.check.name for one in check(broken, on_fail="return") if one.failed] == [name]


def test_shards_done_by_an_engine_are_those_done_here(tmp_path: Path, capsys: Any) -> None:
    words = [str(photos_tar(tmp_path / "in" / f"{place}.tar", 20, 20 * place)) for place in range(3)]
    (tmp_path / "in" / "3.tar").write_bytes(b"no tar at all")
    given = [
        "--model",
        str(small_model(tmp_path / "model")),
        "--backbone",
        "none",
        "--set=shards.metrics=[psnr]",
        "--json",
    ]
    pattern = str(tmp_path / "in" / "*.tar")
    for name, on in (("here", []), ("there", ["--on", "toy-engine:copies=3"])):
        with pytest.raises(SystemExit) as ended:
            main(["invert", pattern, *given, *on, "--json", "--out", str(tmp_path / name)])
        assert ended.value.code == 1
        told = json.loads(capsys.readouterr().out)
        assert [Path(one["shard"]).name for one in told["shards"]] == ["0.tar", "1.tar", "2.tar"]
        assert [Path(one["shard"]).name for one in told["broken"]] == ["3.tar"]
    for word in words:
        name = f"{Path(word).stem}.parquet"
        assert plain(tmp_path / "here" / name) == plain(tmp_path / "there" / name)


def test_a_training_by_an_engine_is_the_one_here(tmp_path: Path) -> None:
    given = [
        "--model",
        str(small_model(tmp_path / "model")),
        "--steps",
        "2",
        "--set",
        "data.batch=2",
        "--set",
        "objective.losses={mse: 1}",
    ]
    for name, on in (("here", []), ("there", ["--on", "toy-engine"])):
        with pytest.raises(SystemExit) as ended:
            main(["pretrain", *given, *on, "--out", str(tmp_path / name)])
        assert not ended.value.code
    states = [load_state(tmp_path / name / "checkpoints" / "step-0000002.safetensors") for name in ("here", "there")]
    for name, weight in states[0]["modules"]["encoder"].items():
        assert torch.equal(weight, states[1]["modules"]["encoder"][name])


@pytest.mark.slow
def test_torchrun_tells_of_a_broken_shard_once_all_are_done(tmp_path: Path) -> None:
    with serving():  # Skips where a machine cannot reach itself.
        pass
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.tar").write_bytes(b"no tar at all")
    for place in (1, 3, 5):
        photos_tar(tmp_path / "in" / f"{place}.tar", 400)
    shards = [str(tmp_path / "in" / f"{place}.tar") for place in (0, 1, 0, 3, 0, 5)]
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ganenc", "invert"]
    given = ["--model", str(small_model(tmp_path / "model")), "--backbone", "none", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-m", *launch, *shards, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "0.tar is no tar" in done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.parquet", "3.parquet", "5.parquet"]


def test_an_engine_is_named_by_a_word() -> None:
    assert read_runner("toy-engine:copies=3").options.copies == 3
    with pytest.raises(UnknownNameError, match="toy-engin"):
        read_runner("toy-engin")
    with pytest.raises(SpecError, match="copies"):
        read_runner("toy-engine:copy=3")
    with pytest.raises(SpecError, match="names 2"):
        read_runner("toy-engine|toy-engine")
