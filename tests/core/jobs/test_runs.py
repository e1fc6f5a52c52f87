"""Runs from their specs: the presets, fine-tuning on photos, and what a spec can have wrong."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc import images
from ganenc.encoders import Encoder, build_encoder
from ganenc.generators import Generator
from ganenc.jobs import execute
from ganenc.jobs import runs as runs_module
from ganenc.models import load_encoder, model_hash, save_pretrained
from ganenc.objectives import load_backbone
from ganenc.training import Photos, finetune, pretrain
from ganenc_registry.errors import DeviceError, ImageError, LatentsError, SpecError, TrainingError, WeightsMissingError
from ganenc_registry.specs import BlockShape, RunSpec, preset
from runs import run_spec
from torch import Tensor
from toys import ToyConditional, ToyGenerator

SAVING = {"log_every": 1}


@pytest.fixture(autouse=True)
def installed(known: Any, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy as a family, and a backbone that needs no download in place of VGG16."""
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)
    known.add_value("generator", "toy", ToyGenerator)
    known.add_value("backbone", "tiny", type(tiny_backbone), summary="Tiny")
    return known


@pytest.fixture
def model(toy: Any, toy_encoder: Encoder, tmp_path: Path, installed: Any) -> str:
    """The toy with an encoder, as an installed model."""
    save_pretrained(toy, tmp_path / "model")
    save_pretrained(toy_encoder, tmp_path / "model" / "encoder")
    installed.add_value("model", "a-toy", tmp_path / "model", summary="A toy")
    return "a-toy"


@pytest.fixture
def photos(toy: Any, tmp_path: Path) -> Path:
    """A folder of four photos within the generator's reach."""
    latents, center = toy.complete(toy.sample(4, seed=9)), toy.center().expand(4)
    for i, image in enumerate(toy.synthesize(center.lerp(latents, 4.0))):
        images.write_png(tmp_path / "photos" / f"{i}.png", image)
    return tmp_path / "photos"


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_spec_in_a_file_is_carried_out_whole(model: str, photos: Path, tmp_path: Path) -> None:
    spec = f"""
task: finetune
model: {model}
encoder: {{weights: {model}}}
objective: {{backbone: tiny}}
data: {{photos: [{photos}], batch: 2}}
optimiser: {{rate: 0.05, betas: [0.9, 0.99]}}
steps: 20
saving: {{log_every: 1}}
"""
    (tmp_path / "run.yaml").write_text(spec)
    seen: list[int] = []
    run = RunSpec.from_file(tmp_path / "run.yaml")
    trained = execute(run, tmp_path / "out", on_step=lambda step, *rest: seen.append(step))
    assert seen == list(range(1, 21))
    assert model_hash(load_encoder(tmp_path / "out" / "encoder")) == model_hash(trained)
    assert model_hash(trained) != model_hash(load_encoder(model))
    found = rows(tmp_path / "out")
    names = {f"{view}/{loss}" for view in ("image", "at1", "at2") for loss in ("mse", "cos", "lpips", "ssim")}
    assert names < set(found[0])
    assert sum(row["total"] for row in found[-4:]) < 0.95 * sum(row["total"] for row in found[:4])
    # Each pair of steps is one pass over the four photos.
    batch = torch.stack([images.read(path, size=(8, 8)) for path in images.find(photos)])
    source = Photos(batch, 2, seed=0)
    seen = torch.cat([source.batch(0).images, source.batch(1).images])
    assert sorted(seen.flatten(1).tolist()) == sorted(batch.flatten(1).tolist())


@pytest.mark.parametrize("name", ["paper-pretrain-s1", "paper-pretrain-s2", "paper-finetune"])
def test_the_presets_of_the_paper_run(name: str, model: str, photos: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": model, "steps": 2, "saving": SAVING, "objective": {"backbone": "tiny"}}
    if name == "paper-finetune":
        fields |= {"data": {"photos": [str(photos)]}, "encoder": {"weights": model}}
    trained = execute(preset(name, **fields), tmp_path / "out")
    found = rows(tmp_path / "out")
    assert [row["rate"] for row in found] == [0.0015, 0.0015]
    latent = {f"latent/{part}/{loss}" for part in ("w", "const") for loss in ("mse", "cos")}
    if name == "paper-pretrain-s1":
        assert set(found[0]) == latent | {"total", "step", "rate"}
        assert load_backbone("tiny").passes == 0
    else:
        assert latent | {"image/lpips", "at1/ssim", "at2/cos", "total"} < set(found[0])
        mu = {"image": 1.0, "at1": 5.0, "at2": 9.0} if name.endswith("s2") else {"image": 1, "at1": 0.375, "at2": 0.625}
        losses = {"mse": 5, "cos": 3, "lpips": 2, "ssim": 1}
        total = sum(mu[view] * weight * found[0][f"{view}/{loss}"] for view in mu for loss, weight in losses.items())
        total += 0.01 * sum({"mse": 5, "cos": 3}[key[-3:]] * found[0][key] for key in latent)
        assert found[0]["total"] == pytest.approx(total, rel=1e-3)
    if name.startswith("paper-pretrain"):
        spec = trained.spec
        assert (spec.start, spec.head_gain, spec.map_gain, spec.residual) == ("zero", 1.0, 1.0, 0.111)
        assert spec.blur == name.endswith("s2")


def test_strategy_1_loads_a_backbone_only_to_log_images(model: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": model, "steps": 1, "saving": SAVING}
    run = preset("paper-pretrain-s1", **fields, objective={"backbone": "not-there"})
    quiet = execute(run, tmp_path / "quiet")
    logging = {"log_images": True, "backbone": "tiny"}
    logged = execute(preset("paper-pretrain-s1", **fields, objective=logging), tmp_path / "logged")
    assert load_backbone("tiny").passes > 0
    assert {"at1/lpips", "image/mse"} < set(rows(tmp_path / "logged")[0])
    assert model_hash(quiet) == model_hash(logged)


def test_the_models_own_backbone_is_taken_where_none_is_named(
    toy: Any, installed: Any, tmp_path: Path, tiny_backbone: Any
) -> None:
    save_pretrained(toy, tmp_path / "own", info={"backbone": "tiny"})
    execute(preset("pretrain", model=str(tmp_path / "own"), steps=1, saving=SAVING), tmp_path / "out")
    assert "image/lpips" in rows(tmp_path / "out")[0]
    assert RunSpec.from_file(tmp_path / "out" / "run.yaml").objective.backbone is None


def test_without_the_weights_of_its_own_it_goes_on_without_lpips_and_says_so(
    toy: Any, installed: Any, tmp_path: Path, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotHere(type(tiny_backbone)):  # type: ignore[misc]
        def __init__(self, *_: Any) -> None:
            raise WeightsMissingError("The weights are not on disk.")

    installed.add_value("backbone", "not-here", NotHere, summary="Missing")
    save_pretrained(toy, tmp_path / "own", info={"backbone": "not-here"})
    run = preset("pretrain", model=str(tmp_path / "own"), steps=1, saving=SAVING)
    with pytest.warns(UserWarning, match="goes on without lpips: The weights are not on disk") as told:
        execute(run, tmp_path / "out")
    assert len(told) == 1
    (row,) = rows(tmp_path / "out")
    assert {"image/mse", "image/cos", "image/ssim"} < set(row)
    assert "image/lpips" not in row
    named = preset("pretrain", model=str(tmp_path / "own"), steps=1, objective={"backbone": "not-here"})
    with pytest.raises(WeightsMissingError, match="not on disk"):
        execute(named, tmp_path / "named")


def test_a_fine_tuning_starts_from_the_models_encoder(
    toy: Any, model: str, photos: Path, tmp_path: Path, installed: Any
) -> None:
    fields: dict[str, Any] = {"task": "finetune", "data": {"photos": [str(photos)]}, "optimiser": {"rate": 1e-9}}
    trained = execute(run_spec(**fields, model=model, steps=1), tmp_path / "out")
    start = load_encoder(tmp_path / "model" / "encoder")
    for weight, wanted in zip(trained.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(weight, wanted, atol=1e-7, rtol=0)
    assert RunSpec.from_file(tmp_path / "out" / "run.yaml").encoder.weights == str(tmp_path / "model" / "encoder")
    save_pretrained(toy, tmp_path / "bare")
    with pytest.raises(SpecError, match=r"encoder\.weights: .*bare has no encoder to fine-tune"):
        execute(run_spec(**fields, model=str(tmp_path / "bare"), steps=1), tmp_path / "none")


def test_the_seed_decides_weights_and_data(model: str, tmp_path: Path) -> None:
    hashes = []
    for i, seed in enumerate((1, 1, 2)):
        torch.manual_seed(i)
        hashes.append(model_hash(execute(run_spec(model=model, seed=seed, steps=1), tmp_path / str(i))))
    assert hashes[0] == hashes[1] != hashes[2]


def test_fine_tuning_leaves_the_statistics_alone(tmp_path: Path) -> None:
    generator = ToyConditional().freeze()
    blocks = [{"size": (8, 8), "in_channels": 4, "out_channels": 4, "convolutions": 1}]
    encoder = build_encoder(generator, blocks=blocks, hidden=4)
    batch = torch.rand(3, 3, 8, 8) * 2 - 1
    fields: dict[str, Any] = {"steps": 3, "optimiser": {"rate": 0.01}}
    before = {name: tensor.clone() for name, tensor in encoder.named_buffers()}
    run = run_spec(**fields, task="finetune")
    labels = torch.tensor([0, 1, 2])
    tuned = finetune(generator, batch, run, tmp_path / "tuned", encoder=copy.deepcopy(encoder), labels=labels)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tuned.named_buffers())
    trained = pretrain(generator, run_spec(**fields), tmp_path / "trained", encoder=copy.deepcopy(encoder))
    changed = [name for name, tensor in trained.named_buffers() if not torch.equal(tensor, before[name])]
    assert any("running_mean" in name for name in changed)
    assert not trained.training
    with pytest.raises(LatentsError, match="give labels"):
        finetune(generator, batch, run, tmp_path / "none", encoder=encoder)


@pytest.mark.parametrize(("batch", "share", "steps"), [(2, 1.0, 6), (8, 1.0, 3), (2, 0.5, 12)])
def test_epochs_are_passes_over_the_photos(
    toy: Any, toy_encoder: Encoder, tmp_path: Path, batch: int, share: float, steps: int
) -> None:
    fields = {"steps": 0, "epochs": 3, "data": {"batch": batch, "photo_share": share}}
    run = run_spec(task="finetune", saving={"log_every": 1}, **fields)
    finetune(toy, torch.zeros(4, 3, 8, 8), run, tmp_path, encoder=toy_encoder)
    assert [row["step"] for row in rows(tmp_path)] == list(range(1, steps + 1))
    finetune(toy, torch.zeros(4, 3, 8, 8), run, tmp_path, encoder=toy_encoder)
    assert len(rows(tmp_path)) == steps


def test_photos_and_synthesized_images_can_take_turns(model: str, photos: Path, tmp_path: Path) -> None:
    data = {"photos": [str(photos)], "photo_share": 0.5, "batch": 2}
    run = run_spec(task="finetune", model=model, data=data, saving=SAVING, objective={"latent": {"on_photos": False}})
    execute(run, tmp_path / "out")
    # A photo has no true latents, so here it has no latent terms.
    assert ["latent/w/mse" in row for row in rows(tmp_path / "out")] == [True, False] * 4


def test_broken_photos_are_named_and_their_labels_left_out(
    model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "1.png").write_bytes(b"no photo")
    given: list[tuple[int, list[int]]] = []

    def caught(generator: Generator, batch: Tensor, run: RunSpec, folder: Path, *, labels: Tensor, **rest: Any) -> None:
        given.append((len(batch), labels.tolist()))

    monkeypatch.setattr(runs_module, "finetune", caught)
    monkeypatch.setattr(runs_module, "run_report", lambda *_, **__: "")
    for labels in ([5, 6, 7, 8], [3]):
        run = run_spec(task="finetune", model=model, data={"photos": [str(photos)], "labels": labels})
        with pytest.warns(UserWarning, match=r"1\.png"):
            execute(run, tmp_path / "out")
    assert given == [(3, [5, 7, 8]), (3, [3])]
    # Three photos are left, but which labels are theirs?
    run = run_spec(task="finetune", model=model, data={"photos": [str(photos)], "labels": [5, 6, 7]})
    with pytest.warns(UserWarning, match=r"1\.png"), pytest.raises(TrainingError, match="4 photos and 3 labels"):
        execute(run, tmp_path / "out")


def test_what_a_spec_lacks_is_named(model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="model: this run names none"):
        execute(run_spec(), tmp_path / "out")
    with pytest.raises(SpecError, match="a 'finetune' run needs photos"):
        execute(run_spec(task="finetune", model=model), tmp_path / "out")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="'cuda' is not here"):
        execute(run_spec(model=model, device="cuda"), tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="no photo in"):
        execute(run_spec(task="finetune", model=model, data={"photos": [str(tmp_path / "empty")]}), tmp_path / "out")
    (tmp_path / "empty" / "a.png").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match=r"a\.png"),
        pytest.raises(TrainingError, match=r"None of the photos in .*empty could be read"),
    ):
        execute(run_spec(task="finetune", model=model, data={"photos": [str(tmp_path / "empty")]}), tmp_path / "out")
    labels = {"photos": [str(photos)], "labels": [1, 2]}
    with pytest.raises(TrainingError, match="4 photos and 2 labels"):
        execute(run_spec(task="finetune", model=model, data=labels), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_overrides_build_an_encoder_or_must_agree_with_its_weights(model: str, tmp_path: Path) -> None:
    blocks = [{"size": [8, 8], "in_channels": 5, "out_channels": 5, "convolutions": 1, "downscale": "none"}]
    overrides = {"blocks": blocks, "noise": "none"}
    made = execute(run_spec(model=model, steps=1, encoder={"overrides": overrides}), tmp_path / "made")
    assert made.spec.blocks == (
        BlockShape(size=(8, 8), in_channels=5, out_channels=5, convolutions=1, downscale="none"),
    )
    start = str(tmp_path / "made" / "encoder")
    agreeing = run_spec(model=model, steps=1, encoder={"weights": start, "overrides": overrides})
    assert execute(agreeing, tmp_path / "agreeing").spec == made.spec
    wrong = run_spec(model=model, steps=1, encoder={"weights": start, "overrides": {**overrides, "blur": True}})
    with pytest.raises(SpecError, match=r"encoder\.overrides\.blur: the weights .* have another; drop one"):
        execute(wrong, tmp_path / "wrong")


def test_an_encoder_of_another_generator_is_refused(toy: Any, tmp_path: Path) -> None:
    other = ToyGenerator()
    for task in (
        lambda: pretrain(toy, run_spec(), tmp_path, encoder=build_encoder(other.spec)),
        lambda: finetune(toy, torch.zeros(1, 3, 8, 8), run_spec(), tmp_path, encoder=build_encoder(other.spec)),
    ):
        with pytest.raises(SpecError, match=r"size: the encoder has \(16, 16\), the generator \(8, 8\)"):
            task()
    assert not list(tmp_path.iterdir())
