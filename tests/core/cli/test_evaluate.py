"""``ganenc evaluate``: metrics that are asked for, folds, and the Frechet distance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.editing import find_by_pca
from ganenc.encoders import build_encoder
from ganenc.images import read
from ganenc.inversion import invert
from ganenc.measures import Frechet, split_folds
from ganenc.models import load_encoder, load_generator, save_pretrained
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EvaluateSpec
from PIL import Image
from torch import Tensor
from toys import MeanError, Offset, ToyGenerator, toy_spec

COUNT = 7


class AbsoluteError(MeanError):
    """The mean absolute error."""


class EvaluateBackbone(Backbone):
    """A backbone with three features."""

    name = "toy-evaluate"
    smallest = 8
    last_convolution = None

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.register_buffer("weights", torch.randn(3, 3, 3, 3, generator=torch.Generator().manual_seed(1)))

    def forward(self, images: Tensor) -> BackboneOutput:
        return BackboneOutput([torch.nn.functional.conv2d(images, self.weights).relu()])


def frechet(a: Tensor, b: Tensor) -> float:
    found = Frechet(context=Context(load_backbone=EvaluateBackbone))(a, b)
    assert isinstance(found, float)
    return found


@pytest.fixture(autouse=True)
def plugins(known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's generator, backbone and metrics, on a machine without published weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    known.add_value("generator", toy_spec().family, ToyGenerator)
    known.add_value("backbone", EvaluateBackbone.name, EvaluateBackbone)
    known.add_value("metric", "mae", AbsoluteError)
    known.add_value("metric", "offset", Offset)


@pytest.fixture
def model(plugins: None, toy: ToyGenerator, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    torch.manual_seed(0)
    save_pretrained(toy, folder, info={"backbone": EvaluateBackbone.name})
    save_pretrained(build_encoder(toy), folder / "encoder")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(COUNT):
        pixels = random.integers(20 * index, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def evaluate(model: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command; gives the exit code, what it told, and what it complained of."""

    def called(*words: object, photos: Path = photos) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in ("evaluate", photos, "--model", model, *words)])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return called


@pytest.fixture
def rebuilt(model: Path, photos: Path) -> tuple[Tensor, Tensor]:
    """The photos, and what one pass makes of them."""
    generator = load_generator(model)
    targets = torch.stack([read(path, size=(8, 8)) for path in sorted(photos.iterdir())])
    return targets, invert(targets, generator, load_encoder(model / "encoder"), method="encode").reconstructions


def test_the_default_has_one_frechet_distance_over_all_images(evaluate: Any, rebuilt: tuple[Tensor, Tensor]) -> None:
    code, told, err = evaluate("--json")
    assert code == 0, err
    facts = json.loads(told)
    name = f"frechet-{EvaluateBackbone.name}"
    assert list(facts["metrics"]) == ["psnr", "ssim", f"lpips-{EvaluateBackbone.name}", name]
    wanted = frechet(*rebuilt)
    assert facts["metrics"][name]["mean"] == pytest.approx(wanted, rel=1e-4)
    assert facts["metrics"][name]["std"] is None
    assert facts["metrics"][name]["mean_image"] > 0
    assert all(name not in row and len(row) == 3 for row in facts["per_image"])
    assert f"{COUNT} images a side" in facts["metric_settings"][name]
    assert facts["spec"]["folds"] is None
    assert all("folds" not in numbers for numbers in facts["metrics"].values())


def test_a_strangers_metrics_are_used(evaluate: Any, rebuilt: tuple[Tensor, Tensor]) -> None:
    code, told, err = evaluate("--json", "--metric", "mae", "--metric", "offset", "--metric", "mae")
    assert code == 0, err
    facts = json.loads(told)
    a, b = (each.detach().numpy() for each in rebuilt)
    errors = np.abs(a - b).mean((1, 2, 3)) / 2
    assert list(facts["metrics"]) == ["mae", "offset"]
    assert [row["mae"] for row in facts["per_image"]] == pytest.approx(errors.tolist(), rel=1e-4)
    assert facts["metrics"]["mae"]["std"] == pytest.approx(errors.std(ddof=1), rel=1e-3)
    assert facts["metrics"]["offset"]["mean"] == pytest.approx(abs(a.mean() - b.mean()), abs=1e-5)
    assert facts["metric_settings"]["mae"].startswith("The mean absolute error")
    _, told, _ = evaluate("--metric", "offset")
    (line,) = (line.split() for line in told.splitlines() if line.strip().startswith("offset"))
    assert float(line[1]) == pytest.approx(abs(a.mean() - b.mean()), abs=1e-3)


def test_folds_give_their_mean_and_deviation(evaluate: Any, rebuilt: tuple[Tensor, Tensor]) -> None:
    words = ("--metric", "mae", "--metric", "frechet", "--folds", 3, "--seed", 4)
    code, told, err = evaluate("--json", *words)
    assert code == 0, err
    facts = json.loads(told)
    a, b = (each.detach() for each in rebuilt)
    parts = split_folds(COUNT, 3, seed=4)
    errors = [(a[part] - b[part]).abs().mean().item() / 2 for part in parts]
    distances = [frechet(a[part], b[part]) for part in parts]
    for name, wanted in (("mae", errors), (f"frechet-{EvaluateBackbone.name}", distances)):
        assert facts["metrics"][name]["folds"] == pytest.approx(wanted, rel=1e-4)
        assert facts["metrics"][name]["mean"] == pytest.approx(np.mean(wanted), rel=1e-4)
        assert facts["metrics"][name]["std"] == pytest.approx(np.std(wanted, ddof=1), rel=1e-3)
    assert len(facts["per_image"]) == COUNT
    assert "2 images a side" in facts["metric_settings"][f"frechet-{EvaluateBackbone.name}"]
    _, told, _ = evaluate(*words)
    assert "3 folds, nothing trained anew" in told
    assert "over folds" in told


def test_options_of_a_metric_are_set_by_their_path(evaluate: Any, rebuilt: tuple[Tensor, Tensor]) -> None:
    words = ("--metric", "psnr", "--metric", "mae", "--set", "metrics.mae.options.power=2")
    code, told, err = evaluate("--json", *words)
    assert code == 0, err
    facts = json.loads(told)
    a, b = (each.detach().numpy() for each in rebuilt)
    assert list(facts["metrics"]) == ["psnr", "mae"]
    assert facts["metrics"]["mae"]["mean"] == pytest.approx((((a - b) / 2) ** 2).mean(), rel=1e-4)
    assert facts["metric_settings"]["mae"] == "The mean absolute error; power 2.0; 8x8 pixels"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--metric", "mae", "--set", "metrics.mae.options.powr=2"),
            "metrics.mae.options.powr: there is no such field",
        ),
        (("--folds", 8), "7 images do not go into 8 folds"),
        (("--folds", 4), "4 folds of 7 images leave 1 image in some"),
        (("--folds", 1), "folds: input should be greater than or equal to 2"),
        (("--metric", "maee"), "did you mean 'mae'"),
        (("--metric", "lpips", "--backbone", "none"), "metric lpips is taken on a backbone"),
        (("--metric", "fid"), "weights of Inception"),
        (("--set", "objective=3"), "takes a mapping of fields"),
        (("--set", "objective.attention.nam=none", "--method", "finetune"), "did you mean 'name'"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(evaluate: Any, words: tuple[object, ...], said: str) -> None:
    code, _, err = evaluate(*words)
    assert code in (1, 2)
    assert said in err
    assert "Traceback" not in err


def test_a_direction_tells_how_well_images_can_be_edited(evaluate: Any, model: Path, tmp_path: Path) -> None:
    generator = load_generator(model)
    way = find_by_pca(generator, 1, n=100)[0]
    way.save(tmp_path / "way.safetensors")
    words = ("--metric", "mae", "--direction", tmp_path / "way.safetensors", "--strength", "-1..2")
    code, told, err = evaluate(*words, "--json")
    assert code == 0, err
    facts = json.loads(told)["editing"]
    assert facts["strengths"] == [-1, -0.5, 0, 0.5, 1, 1.5, 2]
    assert list(facts["numbers"]) == ["change-mae", "consistency", "mahalanobis", "nscd"]
    assert facts["numbers"]["consistency"]["mean"] > 0
    code, told, _ = evaluate(*words)
    assert "from -1 to 2 deviations" in told
    assert f"{facts['numbers']['mahalanobis']['mean']:.3f}" in told
    code, _, err = evaluate(*words, "--towards", 1)
    assert code == 2
    assert "knows no class 1" in err


def test_folds_of_one_image_do_without_the_frechet_distance(evaluate: Any) -> None:
    code, told, err = evaluate("--folds", COUNT, "--metric", "psnr", "--json")
    assert code == 0, err
    facts = json.loads(told)
    assert sorted(facts["metrics"]["psnr"]["folds"]) == pytest.approx(sorted(row["psnr"] for row in facts["per_image"]))


def test_one_photo_has_no_frechet_distance(evaluate: Any, photos: Path) -> None:
    code, told, err = evaluate("--json", photos=photos / "0.png")
    assert code == 0, err
    assert "left out" in err
    assert list(json.loads(told)["metrics"]) == ["psnr", "ssim", f"lpips-{EvaluateBackbone.name}"]
    code, _, err = evaluate("--metric", "frechet", photos=photos / "0.png")
    assert code == 1
    assert "2 images or more" in err


def test_without_a_backbone_the_default_is_what_needs_none(evaluate: Any) -> None:
    code, told, err = evaluate("--json", "--backbone", "none")
    assert code == 0, err
    assert list(json.loads(told)["metrics"]) == ["psnr", "ssim"]


def test_the_objective_can_be_chosen(evaluate: Any, photos: Path) -> None:
    words = ("--method", "finetune", "--steps", 2, "--metric", "mae", "--json")
    first = json.loads(evaluate(*words, photos=photos / "0.png")[1])
    code, told, err = evaluate(*words, "--set", "objective.losses.mse.weight=1", photos=photos / "0.png")
    assert code == 0, err
    other = json.loads(told)
    assert first["spec"]["objective"]["losses"]["mse"]["weight"] == 5
    assert other["spec"]["objective"]["losses"]["mse"]["weight"] == 1
    assert other["spec"]["method"] == {"name": "finetune", "options": {"steps": 2}}
    assert other["per_image"] != first["per_image"]


def test_it_is_written_where_it_is_told_to_and_its_spec_gives_it_again(
    evaluate: Any, photos: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--metric", "mae", "--set", "metrics.mae.options.power=2", "--out", tmp_path / "out", "--json")
    code, told, err = evaluate(*words)
    assert code == 0, err
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert written["metrics"] == json.loads(told)["metrics"]
    spec = EvaluateSpec.from_mapping(written["spec"])
    assert (spec.model, spec.photos) == (str(model), (str(photos),))
    with pytest.raises(SpecError, match="seconds: there is no such field"):  # The method that is measured is said.
        EvaluateSpec.from_mapping({"seconds": 5})
    (tmp_path / "evaluate.yaml").write_text(spec.to_yaml())
    with pytest.raises(SystemExit):
        main(["evaluate", "--config", str(tmp_path / "evaluate.yaml"), "--json"])
    assert json.loads(capsys.readouterr().out)["metrics"] == written["metrics"]
