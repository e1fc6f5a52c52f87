"""A run that leaves nothing on disk, and one in a folder: the same steps, the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.training import Memory, RunFolder, pretrain
from ganenc_registry.errors import TrainingError
from runs import fresh, run_spec, same, weights


def test_memory_holds_what_a_folder_does(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"keep": 2})
    memory, folder = Memory(), RunFolder(tmp_path / "run")
    one, other = (pretrain(toy, run, sink, encoder=fresh(toy_encoder)) for sink in (memory, folder))
    assert torch.equal(weights(one), weights(other))
    assert memory.encoder is one
    assert memory.info == folder.info
    assert sorted(memory.states) == [6, 8]
    assert [path.stem for path in folder.checkpoints()] == ["step-0000006", "step-0000008"]
    for mine, written in zip(memory.metrics(), folder.metrics(), strict=True):
        assert mine == pytest.approx(written, rel=1e-5)
    assert list(memory.grids) == [1, 4, 8]
    assert same(folder.grids, {step: memory.grids[step] for step in (1, 8)})
    assert memory.attention is not None
    assert folder.attention is not None
    assert torch.equal(memory.attention, folder.attention)
    assert memory.best is not None
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_without_a_sink_nothing_is_left(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trained = pretrain(toy, run_spec(steps=2), encoder=fresh(toy_encoder))
    assert not torch.equal(weights(trained), weights(toy_encoder))
    assert not list(tmp_path.iterdir())


def test_a_run_in_memory_goes_on_where_it_stopped(toy: Any, toy_encoder: Encoder) -> None:
    run = run_spec(optimiser={"average": 0.5}, saving={"log_every": 1})
    whole, parts = Memory(), Memory()
    pretrain(toy, run, whole, encoder=fresh(toy_encoder))

    def stop(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(toy, run, parts, encoder=fresh(toy_encoder), on_step=stop)
    assert [row["step"] for row in parts.metrics()] == [1, 2, 3, 4, 5]
    seen: list[int] = []
    pretrain(toy, run, parts, encoder=fresh(toy_encoder, other=True), on_step=lambda step, *_: seen.append(step))
    assert seen == [4, 5, 6, 7, 8]
    assert parts.metrics() == whole.metrics()
    assert same(parts.states[8], whole.states[8])


def test_a_memory_holds_one_run(toy: Any, toy_encoder: Encoder) -> None:
    memory = Memory()
    pretrain(toy, run_spec(steps=1), memory, encoder=fresh(toy_encoder))
    with pytest.raises(TrainingError, match="This memory holds a run of another spec"):
        pretrain(toy, run_spec(steps=2), memory, encoder=fresh(toy_encoder))
