"""Synthesized images that are kept: the same as those that are made anew, and made once."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from ganenc.encoders import build_encoder
from ganenc.files import load_tensors, save_tensors
from ganenc.training import Cached, Memory, Synthesized, pretrain
from ganenc_registry.errors import SpecError, TrainingError
from ganenc_registry.specs import RunSpec
from toys import ToyConditional, ToyGenerator, toy_spec

SIZE = (4, 4)
OPTIONS: dict[str, Any] = {"samples": 70, "seed": 3}


def cached(generator: Any, folder: Path, **options: Any) -> Cached:
    return Cached(generator, options.pop("size", SIZE), folder, 8, **{**OPTIONS, **options})


@pytest.fixture
def count(toy: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images the toy makes, call by call."""
    made: list[int] = []
    own = toy.synthesize
    monkeypatch.setattr(toy, "synthesize", lambda latents, **more: made.append(len(latents)) or own(latents, **more))
    return made


def test_kept_images_are_those_that_would_be_made_and_are_made_once(toy: Any, count: list[int], tmp_path: Path) -> None:
    low, high = toy.spec.value_range
    source, kept = Synthesized(toy, 8, **OPTIONS), cached(toy, tmp_path)
    assert sum(count) == 70
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 70 * (3 * 16 + 4 * 4 * 4) + 2 * 2048
    wanted = [source.batch(step) for step in range(10)]
    count.clear()
    again = cached(toy, tmp_path)
    for step in (3, 9, 0):
        batch, images = again.batch(step), torch.nn.functional.avg_pool2d(wanted[step].images, 2).clamp(low, high)
        assert torch.equal(batch.images, kept.batch(step).images)
        assert float((batch.images - images).abs().max()) <= (high - low) / 255 * 0.501
        assert torch.allclose(batch.latents["w"], wanted[step].latents["w"])  # type: ignore[index]
        halves = [again.batch(step, (index, 2)) for index in range(2)]
        assert torch.equal(torch.cat([half.images for half in halves]), batch.images)
        assert halves[0].of == 8
    assert not count


def test_what_is_missing_is_made_and_shared(toy: Any, count: list[int], tmp_path: Path) -> None:
    cached(toy, tmp_path)
    before = {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    (tmp_path / "00000064.safetensors").unlink()
    count.clear()
    cached(toy, tmp_path)
    assert sum(count) == 6
    assert {path.name: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before
    count.clear()
    cached(toy, tmp_path, samples=80)  # The last file grows.
    assert sum(count) == 16
    both = tmp_path / "both"
    for index in range(2):  # Two processes, each with files of its own.
        count.clear()
        Cached(toy, SIZE, both, 8, **OPTIONS, processes=_process(index))
        assert sum(count) == (64, 6)[index]
    assert {path.name: path.read_bytes() for path in sorted(both.iterdir())} == before


def _process(index: int) -> Any:
    return SimpleNamespace(index=index, count=2, first=index == 0, wait=lambda: None)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"seed": 4}, "seed"),
        ({"size": (8, 8)}, "size"),
        ({"truncation": 0.5}, "truncation"),
        ({"other": True}, "model"),
    ],
)
def test_those_of_another_run_are_refused(toy: Any, tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    cached(toy, tmp_path, samples=3)
    generator = ToyGenerator(toy_spec((8, 8), dim=4), seed=1) if changed.pop("other", False) else toy
    with pytest.raises(TrainingError, match=f"another {told}.*name another folder"):
        cached(generator, tmp_path, **{"samples": 3, **changed})


def test_damage_and_other_peoples_files_are_told(toy: Any, tmp_path: Path) -> None:
    kept = cached(toy, tmp_path, samples=3)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-9])
    for use in (lambda: cached(toy, tmp_path, samples=3), lambda: kept.batch(0)):
        with pytest.raises(TrainingError, match=f"{path.name} is damaged.*made anew"):
            use()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"latents.w": None}, "tensors"),
        ({"more": torch.zeros(3)}, "tensors"),
        ({"images": torch.zeros(3, 3, 4, 4)}, "tensors"),
        ({"images": torch.zeros(3, 3, 4, 2, dtype=torch.uint8)}, "tensors"),
        ({"images": torch.zeros(9, 3, 4, 4, dtype=torch.uint8)}, "unpack"),
        ({"latents.w": torch.full((3, 4, 4), torch.nan)}, "NaN"),
    ],
)
def test_a_file_of_other_tensors_is_told(toy: Any, tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    cached(toy, tmp_path, samples=3)
    (path,) = tmp_path.glob("*.safetensors")
    metadata, tensors = load_tensors(path, "images")
    left = {name: one for name, one in {**tensors, **changed}.items() if one is not None}
    save_tensors(path, left, metadata)
    with pytest.raises(TrainingError, match=f"{path.name} is damaged.*{told}.*made anew"):
        cached(toy, tmp_path, samples=3)


def test_a_run_waits_for_another_that_fills_it(toy: Any, tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock")
    lock.acquire()
    with ThreadPoolExecutor(1) as other, warnings.catch_warnings(record=True) as told:
        done = other.submit(cached, toy, tmp_path, samples=3)
        assert not wait([done], 0.3).done
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        lock.release()
        assert len(done.result().batch(0).images) == 8
    assert "Another run fills" in str(told[0].message)


def test_settings_and_labels_are_kept(tmp_path: Path) -> None:
    generator = ToyConditional().freeze()
    one = cached(generator, tmp_path, size=(8, 8), samples=9, truncation=0.7).batch(1)
    other = Synthesized(generator, 8, samples=9, seed=3, truncation=0.7).batch(1)
    assert torch.equal(one.labels, other.labels)  # type: ignore[arg-type]
    assert all(torch.equal(one.latents[name], tensor) for name, tensor in other.latents.tensors.items())  # type: ignore[index, union-attr]


def test_training_over_it_goes_on_bit_for_bit(toy: Any, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "task": "pretrain", "steps": 4, "objective": {"losses": {"mse": 1.0}},
        "encoder": {"overrides": {"size": [4, 4]}},
        "data": {"batch": 2, "samples": 5, "cache": str(tmp_path / "cache")},
        "saving": {"checkpoint_every": 2, "grid": 2, "trackers": []},
    }  # fmt: skip
    run = RunSpec.from_mapping(fields)
    whole = pretrain(toy, run, Memory())
    halted, folder = tmp_path / "halted", tmp_path / "run"

    def stop(step: int, steps: int, terms: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    logged = run.model_copy(update={"saving": run.saving.model_copy(update={"log_every": 1})})
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy, logged, halted, on_step=stop)
    resumed, straight = pretrain(toy, logged, halted), pretrain(toy, logged, folder)
    for one, other, third in zip(*(net.state_dict().values() for net in (whole, resumed, straight)), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(other, third)
    assert whole.spec == build_encoder(toy, size=(4, 4)).spec


def test_a_cache_without_a_number_of_samples_is_refused() -> None:
    with pytest.raises(SpecError, match=r"data\.samples"):
        RunSpec.from_mapping({"task": "pretrain", "steps": 1, "data": {"cache": "here"}})
