"""Folders of runs that others had their hands in: nothing of theirs is lost, and damage is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import load_state, save_state
from ganenc.report import run_report
from ganenc.training import RunFolder, pretrain
from ganenc_registry.errors import GanencError, TrainingError
from runs import fresh, run_spec


@pytest.mark.parametrize(
    "name",
    [
        "metrics.jsonl", "checkpoints/step-0000001.safetensors", "grids/step-0000002.png", "encoder/config.json",
        "best/model.safetensors", "report.html", "attention.png",
    ],
)  # fmt: skip
def test_a_folder_that_no_run_made_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(GanencError, match=name):
        RunFolder(tmp_path).begin(run_spec())
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]


def test_a_run_leaves_what_is_not_its_own_and_cuts_no_file_behind_a_link(
    toy: Any, toy_encoder: Encoder, tmp_path: Path
) -> None:
    folder, victim = tmp_path / "run", tmp_path / "victim"
    pretrain(toy, run_spec(steps=2), folder, encoder=fresh(toy_encoder))
    others = [folder / name for name in ("checkpoints/mine.safetensors", "checkpoints/step-mine.safetensors")]
    others += [folder / "grids" / "step-x.png"]
    for path in others:
        path.write_text("mine")
    pretrain(toy, run_spec(steps=2), folder, encoder=fresh(toy_encoder))
    assert all(path.read_text() == "mine" for path in others)
    assert 2 in RunFolder(folder).grids
    victim.write_text("mine " * 1000)
    (folder / "metrics.jsonl").unlink()
    (folder / "metrics.jsonl").symlink_to(victim)
    with pytest.raises((OSError, GanencError)):
        pretrain(toy, run_spec(steps=2), folder, encoder=fresh(toy_encoder))
    assert victim.read_text() == "mine " * 1000


@pytest.mark.parametrize(
    "change",
    [
        {"step": "../../x"}, {"step": 7}, {"step": None}, {"metrics": -5}, {"metrics": "0"}, {"metrics": True},
    ],
)  # fmt: skip
def test_a_checkpoint_that_names_another_place_is_damaged(
    change: dict[str, Any], toy: Any, toy_encoder: Encoder, tmp_path: Path
) -> None:
    pretrain(toy, run_spec(steps=1), tmp_path, encoder=fresh(toy_encoder))
    (path,) = RunFolder(tmp_path).checkpoints()
    save_state(path, {**load_state(path), **change})
    state, complaints = RunFolder(tmp_path).newest()
    assert state is None
    assert "damaged, or of another step" in complaints[0]
    save_state(path, [1])
    assert RunFolder(tmp_path).newest()[0] is None


@pytest.mark.parametrize("part", ["optimisers", "progress", "window", "random", "modules"])
def test_a_checkpoint_without_a_part_is_one_sentence(part: str, toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    pretrain(toy, run_spec(steps=1), tmp_path, encoder=fresh(toy_encoder))
    (path,) = RunFolder(tmp_path).checkpoints()
    for value in ([1], {"a": torch.ones(2)}):
        save_state(path, {**load_state(path), part: value})
        with pytest.raises(TrainingError, match="is damaged"):
            pretrain(toy, run_spec(steps=1), tmp_path, encoder=fresh(toy_encoder))


def test_damaged_metrics_are_passed_over(tmp_path: Path, make_pipe: Callable[[Path], None]) -> None:
    folder = RunFolder(tmp_path)
    sound = [{"step": 1, "total": 2.0}, {"step": 2, "total": None}, {"step": 3, "total": 1}]
    damaged = [[1], 7, {"total": 1.0}, {"step": "x"}, {"step": 4, "total": "x"}, {"step": 5, "total": [1]}]
    lines = [json.dumps(row) for row in (*sound, *damaged)] + ['{"step": 6, "total": 1' + "0" * 400 + "}", "[" * 5000]
    (tmp_path / "metrics.jsonl").write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n{")
    assert folder.metrics() == sound
    folder.run, folder.info = run_spec(), {}
    assert "loss at the end" in run_report(folder, title="a")
    (tmp_path / "metrics.jsonl").unlink()
    make_pipe(tmp_path / "metrics.jsonl")
    assert folder.metrics() == []
