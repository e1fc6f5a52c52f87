"""A step in parts: over processes, over micro-batches, with passes done anew, with the next batch made meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import load_state
from ganenc.latents import Latents
from ganenc.objectives import Batch
from ganenc.training import Expectation, Mixture, Photos, Recipe, RecipeContext, Synthesized, expect, pretrain
from ganenc_registry.errors import TrainingError
from runs import fresh, recipe, run_spec, weights
from servers import serving
from torch import Tensor

TOGETHER = """
import json, sys, torch
from pathlib import Path
from ganenc.files import Processes
from ganenc.training import pretrain
from ganenc_registry.specs import RunSpec
import toys
spec, folder = sys.argv[1:]
run = RunSpec.from_file(spec)
torch.manual_seed(0)
torch.backends.cudnn.allow_tf32 = False
processes = Processes(run.device)
pretrain(toys.ToyGenerator(toys.toy_spec((8, 8), dim=4)).freeze().to(processes.device), run, folder)
mine = torch.full((1 + processes.index, 2), float(processes.index), device=processes.device)
rows, own = processes.gathered(mine)
assert torch.equal(rows[own], mine)
if processes.first:
    Path(folder, "rows.json").write_text(json.dumps(rows.tolist()))
"""


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_two_processes_train_as_one(device: str, tmp_path: Path) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    with serving():  # Skips where a machine cannot reach itself.
        pass
    run = run_spec(steps=4, data={"batch": 5}, saving={"log_every": 1}, device=device)
    spec = tmp_path / "run.yaml"
    spec.write_text(run.to_yaml())
    script = tmp_path / "together.py"
    script.write_text(TOGETHER)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for name, start in (("one", [sys.executable]), ("two", launched)):
        done = subprocess.run(
            [*start, script, spec, tmp_path / name], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert [row["step"] for row in two] == [1, 2, 3, 4]
    for alone, together in zip(one, two, strict=True):
        assert together == pytest.approx(alone, rel=2e-5, abs=1e-6)
    assert json.loads((tmp_path / "two" / "rows.json").read_text()) == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    states = [load_state(tmp_path / name / "checkpoints" / "step-0000004.safetensors") for name in ("one", "two")]
    for name, weight in states[0]["modules"]["encoder"].items():
        torch.testing.assert_close(states[1]["modules"]["encoder"][name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [0, 7])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_parts_of_a_batch_are_the_batch(samples: int, count: int, toy: Any) -> None:
    made = Synthesized(toy, 5, seed=3, samples=samples)
    photos = Photos(torch.arange(9.0).reshape(9, 1, 1, 1).expand(9, 3, 8, 8), 5, seed=3, labels=torch.arange(9))
    for source in (made, photos, Mixture(photos, made, 0.5)):
        for step in (0, 3):
            whole = source.batch(step)
            parts = [source.batch(step, (index, count)) for index in range(count)]
            assert {part.of for part in parts} == {5}
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
            torch.testing.assert_close(torch.cat([part.images for part in parts]), whole.images)
            if whole.latents is not None:
                latents = Latents.cat([part.latents for part in parts if part.latents is not None])
                torch.testing.assert_close(latents["w"], whole.latents["w"])
            if whole.labels is not None:
                assert torch.equal(torch.cat([part.labels for part in parts if part.labels is not None]), whole.labels)


def test_a_batch_is_not_shared_by_more_processes_than_images(toy: Any) -> None:
    with pytest.raises(TrainingError, match="2 images cannot be shared by 3 processes"):
        Synthesized(toy, 2).batch(0, (0, 3))


@pytest.mark.parametrize("speed", [{"micro_batch": 1}, {"micro_batch": 2}, {"checkpointing": True}])
def test_parts_and_passes_done_anew_give_the_same_run_to_rounding(
    speed: dict[str, Any], toy: Any, toy_encoder: Encoder, tmp_path: Path
) -> None:
    data = {"batch": 5}
    toy, toy_encoder = toy.double(), toy_encoder.double()
    whole = pretrain(toy, run_spec(data=data), tmp_path / "whole", encoder=fresh(toy_encoder))
    parts = pretrain(toy, run_spec(data=data, speed=speed), tmp_path / "parts", encoder=fresh(toy_encoder))
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-9, atol=1e-9)
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def test_the_next_batch_made_meanwhile_changes_nothing(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    ends = [
        pretrain(toy, run_spec(speed={"prefetch": choice}), tmp_path / choice, encoder=fresh(toy_encoder))
        for choice in ("off", "on")
    ]
    assert torch.equal(*map(weights, ends))


def test_half_precision_keeps_its_scale(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(speed={"autocast": "fp16"}, optimiser={"clip": 1.0})
    trained = pretrain(toy, run, tmp_path, encoder=fresh(toy_encoder))
    state = load_state(tmp_path / "checkpoints" / "step-0000008.safetensors")
    assert state["scaler"]["scale"] == 65536.0
    assert state["scaler"]["_growth_tracker"] == 8
    assert weights(trained).isfinite().all()
    exact = pretrain(toy, run_spec(optimiser={"clip": 1.0}), tmp_path / "exact", encoder=fresh(toy_encoder))
    assert not torch.equal(weights(trained), weights(exact))
    torch.testing.assert_close(weights(trained), weights(exact), rtol=0.2, atol=0.02)


def test_what_a_step_takes_is_counted(toy: Any, toy_encoder: Encoder) -> None:
    batch = Synthesized(toy, 4).batch(0)
    before = weights(toy_encoder)
    drawn = torch.get_rng_state()
    found = expect(recipe(run_spec(), toy, toy_encoder), batch)
    assert torch.equal(weights(toy_encoder), before)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(parameter.grad is None for parameter in toy_encoder.parameters())
    assert found.parameters == sum(p.numel() for p in toy_encoder.parameters())
    frozen = sum(t.numel() * t.element_size() for t in (*toy.parameters(), *toy.buffers()))
    buffers = sum(t.numel() * t.element_size() for t in toy_encoder.buffers())
    assert found.fixed == frozen + buffers + 4 * found.parameters * 4
    assert found.each > batch.images[:1].numel() * 4
    anew = expect(recipe(run_spec(speed={"checkpointing": True}), toy, toy_encoder), batch)
    assert anew.each < found.each / 2


def test_the_bytes_of_a_graph_are_those_of_the_tensors_it_holds(toy: Any) -> None:
    square = torch.nn.Linear(1, 1, bias=False)

    class Squares(Recipe):
        def step(self, batch: Batch, update: Any) -> dict[str, Tensor]:
            def losses(part: Batch) -> dict[str, Tensor]:
                hidden = part.images * square.weight  # Holds the images, which it needs for the weight's gradient.
                return {"total": hidden.square().flatten(1).sum(1)}  # Holds what was made before it.

            return update("square", losses, batch)

    empty: Any = torch.nn.Module()
    squares = Squares(None, RecipeContext(network=empty, encoder=empty, objective=empty, run=run_spec()))
    squares.own("square", square, torch.optim.SGD(square.parameters()))
    images = torch.ones(3, 2, 5, 5)
    found = expect(squares, Batch(images))
    own = images[:1].numel() * 4
    assert found.each - own == pytest.approx(own + images.numel() * 4, abs=own), "one storage of the images, one result"


def test_as_many_images_as_fit_go_at_a_time() -> None:
    found = Expectation(parameters=10**6, fixed=100, each=10, seconds=0.5, available=200)
    assert found.memory(8) == 180
    assert [found.fitting(n) for n in (1, 7, 8, 9, 64)] == [1, 7, 8, 8, 8]
    assert Expectation(1, 100, 10, 0.5, available=50).fitting(8) == 1
    assert Expectation(1, 100, 10, 0.5, available=None).fitting(8) == 8
    told = found.sentences(steps=7200, batch=16, micro=16)
    assert told[0].startswith("1.0 million weights to train; about")
    assert "16.0 hours for 7200 steps of 16 images." in told[0]
    assert "may not fit" in told[1]
    small = Expectation(37364, 100, 10, 0.01, available=None).sentences(steps=3, batch=4, micro=4)[0]
    assert small.startswith("37,364 weights to train; about 1 MB of memory and a minute at most for 3 steps")
    assert len(found.sentences(steps=1, batch=16, micro=8)) == 1
