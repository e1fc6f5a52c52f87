"""An interrupted run, taken up again, ends where an uninterrupted one does: the same weights, the same rows."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.files import load_state
from ganenc.jobs import execute
from ganenc.models import load_generator, model_hash, save_pretrained
from ganenc.training import RunFolder, Synthesized, pretrain
from ganenc_registry.errors import SpecError, TrainingError
from ganenc_registry.specs import RunSpec
from runs import fresh, run_spec, same
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import ToyGenerator

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "averaged": {"optimiser": {"average": 0.9, "schedule": "cosine", "warmup": 2, "clip": 1.0, "betas": [0.9, 0.99]}},
    "rows of three": {"saving": {"log_every": 3, "checkpoint_every": 2}},
    "contiguous": {"speed": {"encoder_format": "contiguous", "generator_format": "contiguous"}, "data": {"samples": 5}},
    "bfloat16": {"speed": {"autocast": "bf16"}},
}


Whole = Callable[[RunSpec], Path]


class Stopped(Exception):
    """What interrupts a run."""


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the data of one step raise, once it comes up."""
    batch, steps = Synthesized.batch, []

    def stopping(self: Synthesized, at: int) -> Any:
        steps.append(at)
        if at == step:
            raise Stopped
        return batch(self, at)

    monkeypatch.setattr(Synthesized, "batch", stopping)


def check_same(one: Path, other: Path) -> None:
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    assert (one / "grids" / "step-0000008.png").read_bytes() == (other / "grids" / "step-0000008.png").read_bytes()
    states = [load_state(folder / "checkpoints" / "step-0000008.safetensors") for folder in (one, other)]
    assert same(*states)
    assert same(*(load_file(folder / "encoder" / "model.safetensors") for folder in (one, other)))


@pytest.fixture(scope="module")
def whole(centered_toy: Any, built_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Gives the folder of a run that nothing stopped; each is trained once."""
    folders: dict[str, Path] = {}

    def whole(run: RunSpec) -> Path:
        key = run.model_dump_json()
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("whole") / "whole"
            pretrain(copy.deepcopy(centered_toy), run, folders[key], encoder=fresh(built_encoder))
        return folders[key]

    return whole


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_by_its_data_ends_the_same(
    toy: Any, toy_encoder: Encoder, whole: Whole, tmp_path: Path, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_spec(**VARIANTS[variant])
    with monkeypatch.context() as patch:
        stop_at(7, patch)
        with pytest.raises(Stopped):
            pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder))
    assert not (tmp_path / "parts" / "encoder").exists()
    torch.manual_seed(99)
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder, other=True))
    check_same(whole(run), tmp_path / "parts")


def test_a_run_stopped_by_its_caller_ends_the_same(
    toy: Any, toy_encoder: Encoder, whole: Whole, tmp_path: Path
) -> None:
    run = run_spec(saving={"checkpoint_every": 3, "log_every": 1})

    def stopping(step: int, steps: int, terms: Mapping[str, float]) -> None:
        if step == stops[0]:
            raise KeyboardInterrupt

    stops = [2, 5, 6, 8]  # Before the first checkpoint, between two, when one is due, and at the end.
    while stops:
        with pytest.raises(KeyboardInterrupt):
            pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder), on_step=stopping)
        stops.pop(0)
    seen: list[int] = []
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder), on_step=lambda step, *rest: seen.append(step))
    assert seen == [7, 8]
    check_same(whole(run), tmp_path / "parts")
    seconds = [path.name.split(".")[3] for path in (tmp_path / "parts").glob("events.*")]
    assert len(set(seconds)) == len(seconds) == 5, "TensorBoard puts files in order by the second they were begun in"
    read = EventAccumulator(str(tmp_path / "parts")).Reload()
    assert [event.step for event in read.Scalars("total")] == list(range(1, 9))


def test_a_finished_run_is_not_trained_again(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(optimiser={"average": 0.9})
    first = pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    rows = (tmp_path / "metrics.jsonl").read_text()
    again = pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder, other=True))
    assert model_hash(again) == model_hash(first)
    assert (tmp_path / "metrics.jsonl").read_text() == rows


def test_a_damaged_checkpoint_is_passed_over_and_named(
    toy: Any, toy_encoder: Encoder, whole: Whole, tmp_path: Path
) -> None:
    run = run_spec(saving={"keep": 3})
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder))
    for step in (6, 8):
        path = tmp_path / "parts" / "checkpoints" / f"step-000000{step}.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="goes on from step 3") as caught:
        pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder, other=True))
    assert [f"step-000000{step}" in str(one.message) for one, step in zip(caught, (8, 6))] == [True, True]
    check_same(whole(run), tmp_path / "parts")


def test_a_damaged_checkpoint_costs_no_good_one(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, checkpoints = run_spec(saving={"keep": 1}), tmp_path / "checkpoints"
    for step in (4, 6):
        with monkeypatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stop_at(step, patch)
            with pytest.raises(Stopped):
                pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
        (checkpoints / "step-0000007.safetensors").write_bytes(b"damaged")
    assert sorted(path.stem for path in checkpoints.iterdir()) == ["step-0000006", "step-0000007"]
    with pytest.warns(UserWarning, match=r"step-0000007\.safetensors cannot be read.* goes on from step 6"):
        pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder, other=True))
    assert [path.stem for path in checkpoints.iterdir()] == ["step-0000008"]


@pytest.mark.parametrize("what", ["keep_best", "picture grid", "picture attention", "save", "_prune"])
@pytest.mark.parametrize("step", [4, 8])
def test_a_run_stopped_at_any_write_ends_with_the_same_files(
    what: str, step: int, toy: Any, toy_encoder: Encoder, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_spec(saving={"log_every": 1, "checkpoint_every": 4, "grid_every": 4, "keep": 1})
    name, *word = what.split()
    write, at = getattr(RunFolder, name), 0

    def stopping(self: RunFolder, *given: Any) -> None:
        if at == step and [*given[:1]] * len(word) == word:
            raise Stopped
        write(self, *given)

    def follow(done: int, *_: Any) -> None:
        nonlocal at
        at = done

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, name, stopping)
        with pytest.raises(Stopped):
            pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder), on_step=follow)
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder, other=step == 8))
    check_same(whole(run), tmp_path / "parts")
    files, parts = (
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*.*")
            if not path.match("events.*")
        }
        for folder in (whole(run), tmp_path / "parts")
    )
    assert sorted(files) == sorted(parts)
    assert [name for name in files if parts[name] != files[name]] == []


def test_where_no_checkpoint_can_be_read_it_starts_anew(
    toy: Any, toy_encoder: Encoder, whole: Whole, tmp_path: Path
) -> None:
    run = run_spec()
    pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder))
    for path in (tmp_path / "parts" / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="The run starts anew"):
        pretrain(toy, run, tmp_path / "parts", encoder=fresh(toy_encoder))
    check_same(whole(run), tmp_path / "parts")


def test_a_half_written_row_is_dropped(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec()
    pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    whole = (tmp_path / "metrics.jsonl").read_text()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "to')
    folder = RunFolder(tmp_path)
    assert [row["step"] for row in folder.metrics()] == [2, 4, 6, 8]
    state, complaints = folder.newest()
    assert state is not None
    assert not complaints
    assert (tmp_path / "metrics.jsonl").read_text() == whole


def test_another_spec_is_refused_with_the_fields_that_differ(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    pretrain(toy, run_spec(steps=1), tmp_path, encoder=fresh(toy_encoder))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = run_spec(steps=1, seed=4, optimiser={"rate": 0.1}, objective={"losses": {"ssim": 1.0}})
    with pytest.raises(TrainingError, match=r"differs in objective\.losses\.ssim, optimiser\.rate, seed\); resume"):
        pretrain(toy, other, tmp_path, encoder=fresh(toy_encoder))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    formats = {"encoder_format": "channels_last", "generator_format": "channels_last", "generator_ways": {}}
    assert RunSpec.from_file(tmp_path / "run.yaml") == run_spec(steps=1, speed=formats)
    (tmp_path / "run.yaml").write_text("steps: [")
    with pytest.raises(SpecError, match=r"run\.yaml: this is not YAML"):
        RunFolder(tmp_path).begin(run_spec())


def test_a_checkpoint_of_another_encoder_is_refused(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    pretrain(toy, run_spec(steps=1), tmp_path, encoder=fresh(toy_encoder))
    with pytest.raises(
        TrainingError, match=r"checkpoint of step 1 .* is damaged, or of another encoder or recipe; name another folder"
    ):
        pretrain(toy, run_spec(steps=1), tmp_path, encoder=build_encoder(toy, blur=True, noise="none"))


def test_checkpoints_hold_all_that_is_needed_and_are_pruned(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"checkpoint_every": 2, "keep": 3}, optimiser={"average": 0.5})
    pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    paths = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.stem for path in paths] == ["step-0000004", "step-0000006", "step-0000008"]
    state = load_state(paths[-1])
    assert state["step"] == state["progress"]["step"] == 8
    assert state["metrics"] == (tmp_path / "metrics.jsonl").stat().st_size
    learned = {"modules", "optimisers", "averages", "recipe", "scaler"}
    assert set(state) == {"step", "metrics", "progress", "window", "random"} | learned
    count = len(list(toy_encoder.parameters()))
    assert len(state["optimisers"]["encoder"]["state"]) == len(state["averages"]["encoder"]) == count
    assert state["random"].dtype == torch.uint8


def test_execute_resumes_the_run_of_a_folder(
    toy: Any, known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    known.add_value("generator", "toy", ToyGenerator)
    save_pretrained(toy, tmp_path / "toy")
    run = run_spec(model=str(tmp_path / "toy"), seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = execute(run, tmp_path / "whole")
        with monkeypatch.context() as patch:
            stop_at(4, patch)
            with pytest.raises(Stopped):
                execute(run, tmp_path / "parts")
        parts = execute(RunSpec.from_file(tmp_path / "parts" / "run.yaml"), tmp_path / "parts")
    assert model_hash(whole) == model_hash(parts)
    check_same(tmp_path / "whole", tmp_path / "parts")
    assert all((tmp_path / name / "report.html").is_file() for name in ("whole", "parts"))
    assert model_hash(load_generator(tmp_path / "toy")) == model_hash(toy)
