"""The training loop: rates, averages, guards, and what a run leaves in its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.files import load_state
from ganenc.models import load_encoder, model_hash, read_config
from ganenc.objectives import CenterAttention, looks, looks_sheet
from ganenc.training import pretrain
from ganenc_registry.errors import TrainingError
from PIL import Image
from runs import run_spec, trainer, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_there_is_one_optimiser_step_an_iteration(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    made, source = trainer(run_spec(steps=5), tmp_path, toy, toy_encoder)
    stepped: list[tuple[int, bool]] = []
    adam = made.recipe.optimisers["encoder"]
    adam.register_step_post_hook(lambda *_: stepped.append((made.progress.step, made.recipe.encoder.training)))
    before = model_hash(toy)
    made.train()
    assert stepped == [(step, True) for step in range(5)]
    assert not made.recipe.encoder.training
    assert model_hash(toy) == before
    assert all((source.before[i] != source.before[i + 1]).any() for i in range(4))


def test_the_steps_are_those_of_adam_on_the_total(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(steps=4, optimiser={"rate": 0.01, "betas": [0.5, 0.9]})
    made, source = trainer(run, tmp_path, toy, toy_encoder)
    trained = weights(made.train())
    adam = torch.optim.Adam(toy_encoder.parameters(), lr=0.01, betas=(0.5, 0.9))
    for step in range(4):
        batch = source.source.batch(step)
        latents = toy_encoder(batch.images)
        result = made.recipe.context.objective(
            toy.synthesize(latents),
            made.recipe.context.objective.prepare(batch.images),
            latents=latents,
            latents_reference=toy.complete(batch.latents),
        )
        adam.zero_grad()
        result.total.backward()
        adam.step()
    assert torch.allclose(trained, weights(toy_encoder), atol=1e-5)


def test_the_gradient_can_be_clipped(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    norms = {}
    for clip in (0.0, 1e-3):
        made, _ = trainer(run_spec(steps=1, optimiser={"clip": clip}), tmp_path / str(clip), toy, toy_encoder)
        made.train()
        norms[clip] = torch.cat(
            [p.grad.flatten() for p in made.recipe.encoder.parameters() if p.grad is not None]
        ).norm()
    assert norms[0.0] > 1e-2
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_rates_follow_their_formula(toy: Any, toy_encoder: Encoder, tmp_path: Path, schedule: str, warmup: int) -> None:
    run = run_spec(optimiser={"rate": 0.002, "schedule": schedule, "warmup": warmup}, saving={"log_every": 1})
    trainer(run, tmp_path, toy, toy_encoder)[0].train()
    expected = []
    for step in range(8):
        full = 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (8 - warmup)) if schedule == "cosine" else 1.0
        expected.append(0.002 * ((step + 1) / (warmup + 1) if step < warmup else full))
    assert [row["rate"] for row in rows(tmp_path)] == pytest.approx(expected, rel=1e-5)


def test_the_averaged_weights_are_what_is_given_back(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(optimiser={"average": 0.5, "rate": 0.01})
    made, source = trainer(run, tmp_path, toy, toy_encoder)
    average = weights(made.train())
    after = [*[source.before[step] for step in range(1, 8)], None]
    after[-1] = torch.cat(
        [
            t.flatten()
            for name, t in load_state(made.sink.checkpoints()[-1])["modules"]["encoder"].items()
            if "offset" not in name
        ]
    )
    expected = source.before[0]
    for step, value in enumerate(after, 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert torch.allclose(average, expected, atol=1e-5)
    assert not torch.allclose(average, after[-1], atol=1e-4)


def test_nothing_is_kept_of_an_average_that_nobody_wants(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    made, _ = trainer(run_spec(steps=1), tmp_path, toy, toy_encoder)
    made.train()
    assert load_state(made.sink.checkpoints()[-1])["averages"] == {}


def test_a_loss_that_is_no_number_leads_back_at_half_the_rate(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"log_every": 1}, guards={"good_every": 1})
    made, source = trainer(run, tmp_path, toy, toy_encoder, spoil=lambda step: step == 4)
    trained = made.train()
    assert torch.equal(source.before[5], source.before[4])
    assert weights(trained).isfinite().all()
    assert (made.progress.step, made.progress.retries, made.progress.rate_factor) == (8, 1, 0.5)
    assert rows(tmp_path)[4] == {"step": 5, "returned_to_good_state": 1.0, "rate_factor": 0.5}
    assert [row.get("rate") for row in rows(tmp_path)] == [0.0015] * 4 + [None] + [0.00075] * 3
    assert all(math.isfinite(value) for row in rows(tmp_path) for value in row.values())


def test_the_last_good_state_stays_good_through_several_returns(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(
        saving={"log_every": 1, "checkpoint_every": 3}, guards={"good_every": 100}, optimiser={"average": 0.9}
    )
    made, source = trainer(run, tmp_path, toy, toy_encoder, spoil=lambda step: step in (3, 4))
    trained = made.train()
    # The good state is the checkpoint of step 3, which has moments and an average that the spoiled steps would touch.
    assert torch.equal(source.before[4], source.before[3])
    assert torch.equal(source.before[5], source.before[3])
    assert made.progress.retries == 2
    assert weights(trained).isfinite().all()
    assert all(m.isfinite().all() for state in made.recipe.optimisers["encoder"].state.values() for m in state.values())


def test_a_gradient_that_is_no_number_is_seen_in_the_weights(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(steps=6, saving={"log_every": 1}, guards={"good_every": 1})
    made, source = trainer(run, tmp_path, toy, toy_encoder)
    first = next(made.recipe.encoder.parameters())
    first.register_hook(lambda grad: grad * torch.nan if made.progress.step == 2 else grad)
    trained = made.train()
    assert torch.equal(source.before[3], source.before[2])
    assert made.progress.retries == 1
    assert weights(trained).isfinite().all()


def test_a_checkpoint_never_holds_a_broken_state(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"log_every": 4, "checkpoint_every": 3, "keep": 9})
    made, _ = trainer(run, tmp_path, toy, toy_encoder, spoil=lambda step: step == 2)
    made.train()
    states = [load_state(path) for path in made.sink.checkpoints()]
    assert [state["step"] for state in states] == [3, 6, 8]
    assert all(t.isfinite().all() for state in states for t in state["modules"]["encoder"].values())
    assert states[0]["progress"]["retries"] == 1


def test_it_gives_up_after_the_last_retry(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"log_every": 1}, guards={"nan_retries": 2})
    made, _ = trainer(run, tmp_path, toy, toy_encoder, spoil=lambda step: step >= 1)
    with pytest.raises(TrainingError, match=r"not finite at step 4, after 2 returns .* lower optimiser\.rate"):
        made.train()
    assert made.sink._trackers is None
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_the_guard_can_be_switched_off(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(guards={"nan": False}, saving={"log_every": 1})
    made, _ = trainer(run, tmp_path, toy, toy_encoder, spoil=lambda step: step == 4)
    assert weights(made.train()).isnan().any()
    assert made.progress.retries == 0
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, 9))


def test_a_plateau_ends_the_run(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    fields: dict[str, Any] = {
        "steps": 30,
        "data": {"samples": 2},
        "guards": {"plateau": 4, "plateau_share": 0.01},
        "optimiser": {"rate": 1e-9},
        "saving": {"checkpoint_every": 100},
    }
    run = run_spec(**fields)
    made, _ = trainer(run, tmp_path, toy, toy_encoder)
    made.train()
    assert made.progress.step == 6
    assert "not fallen by 1.00% for 4 steps" in made.progress.stopped
    assert [path.name for path in made.sink.checkpoints()] == ["step-0000006.safetensors"]
    again, source = trainer(run, tmp_path, toy, toy_encoder)
    again.train()
    assert not source.before
    learning = run_spec(**{**fields, "steps": 12, "optimiser": {"rate": 0.003}})
    made, _ = trainer(learning, tmp_path / "learning", toy, toy_encoder)
    made.train()
    assert (made.progress.step, made.progress.stopped) == (12, "")


def test_a_run_leaves_its_folder_in_order(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    run = run_spec(saving={"checkpoint_every": 2, "keep": 2})
    seen: list[tuple[int, int, dict[str, float]]] = []
    trained = pretrain(toy, run, tmp_path, encoder=toy_encoder, on_step=lambda *row: seen.append(row))  # type: ignore[arg-type]
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert names - events == {
        ".lock",
        "attention.png",
        "best/config.json",
        "best/model.safetensors",
        "run.yaml",
        "metrics.jsonl",
        "checkpoints/step-0000006.safetensors",
        "checkpoints/step-0000008.safetensors",
        *(f"grids/step-000000{step}.png" for step in (1, 4, 8)),
        "encoder/config.json",
        "encoder/model.safetensors",
    }
    assert model_hash(load_encoder(tmp_path / "encoder")) == model_hash(trained)
    info = read_config(tmp_path / "encoder")["info"]
    assert info == {"generator": model_hash(toy), "steps": 8, "stopped": ""}
    terms = {f"{view}/{loss}" for view in ("image", "at1", "at2") for loss in ("mse", "cos")}
    terms |= {f"latent/{part}/{loss}" for part in ("w", "const") for loss in ("mse", "cos")} | {"total"}
    assert [set(row) for row in rows(tmp_path)] == [terms | {"step", "rate"}] * 4
    assert [(step, steps, set(row)) for step, steps, row in seen] == [(step, 8, terms) for step in (2, 4, 6, 8)]
    read = EventAccumulator(str(tmp_path)).Reload()
    assert set(read.Tags()["scalars"]) == terms | {"rate"}
    logged = [(event.step, event.value) for event in read.Scalars("at1/cos")]
    assert logged == [(row["step"], pytest.approx(row["at1/cos"], rel=1e-4)) for row in rows(tmp_path)]


def test_a_row_holds_the_means_of_its_steps(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    for every in (1, 4):
        trainer(run_spec(saving={"log_every": every}), tmp_path / str(every), toy, toy_encoder)[0].train()
    each = [row["image/mse"] for row in rows(tmp_path / "1")]
    means = [row["image/mse"] for row in rows(tmp_path / "4")]
    assert means == pytest.approx([sum(each[:4]) / 4, sum(each[4:]) / 4], rel=1e-4)


def test_a_grid_shows_targets_over_reconstructions(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    made, source = trainer(run_spec(steps=1), tmp_path, toy, toy_encoder)
    trained = made.train()
    pixels = np.asarray(Image.open(tmp_path / "grids" / "step-0000001.png")).astype(float)
    assert pixels.shape == (18, 28, 3)
    targets = torch.cat([source.source.batch(step).images for step in range(2)])[:3]
    with torch.no_grad():
        rebuilt = toy.synthesize(trained(targets))
    for top, images in ((0, targets), (10, rebuilt)):
        for i, image in enumerate(images):
            shown = pixels[top : top + 8, 10 * i : 10 * i + 8].transpose(2, 0, 1)
            assert np.abs(shown - (image.clamp(-1, 1).numpy() + 1) * 127.5).max() <= 0.51
    assert set(source.before) == {0, 1}


def test_what_the_attention_sees_of_the_first_targets_is_shown(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> None:
    made, source = trainer(run_spec(steps=1), tmp_path / "center", toy, toy_encoder)
    trained = made.train()
    targets = torch.cat([source.source.batch(step).images for step in range(2)])[:3]
    with torch.no_grad():
        found = looks(CenterAttention(), targets, toy.synthesize(trained(targets)))
    assert [look.name for look in found] == ["image", "boxes", "at1", "at2"]
    assert [look.weight for look in found] == [1.0, None, 0.375, 0.625]
    wanted = looks_sheet(found, toy.spec).permute(1, 2, 0).numpy().astype(int)
    assert wanted.shape[0] == 6 * (20 + 256 + 8) + 8, "three targets, each with its reconstruction below"
    assert np.abs(np.asarray(Image.open(tmp_path / "center" / "attention.png")).astype(int) - wanted).max() <= 1
    trainer(run_spec(steps=1, objective={"attention": "none"}), tmp_path / "none", toy, toy_encoder)[0].train()
    latent_only, _ = trainer(run_spec(steps=1), tmp_path / "latent", toy, toy_encoder)
    latent_only.recipe.encoder_step.image_gradient = False
    latent_only.train()
    for name in ("none", "latent"):
        assert (tmp_path / name / "grids").is_dir()
        assert not (tmp_path / name / "attention.png").exists()
