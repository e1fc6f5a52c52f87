"""The class of a photo on the command line, with a generator whose classes are four colours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc import images
from ganenc.models import model_hash, save_pretrained
from ganenc_registry.specs import RunSpec
from toys import ColourBackbone, ToyColours, small_encoder

TRUE = {"0/a.png": 0, "2/a.png": 2, "3/b.png": 3}


class OtherBackbone(ColourBackbone):
    """One that knows five colours, and takes the first for another."""

    name = "toy-five-colours"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given, classes=5)


class WrongBackbone(ColourBackbone):
    """One that takes the colour 3 for 1."""

    name = "toy-wrong-colours"

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.colours[1] = self.colours[3]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with its encoder and backbone."""
    for kind in (ColourBackbone, OtherBackbone, WrongBackbone):
        ganenc.register("backbone", kind.name)(kind)
    ganenc.register("generator", "toy-colours")(ToyColours)
    folder = tmp_path_factory.mktemp("models") / "toy"
    generator = ToyColours().freeze()
    save_pretrained(generator, folder, info={"backbone": ColourBackbone.name})
    save_pretrained(small_encoder(generator), folder / "encoder", info={"generator": model_hash(generator)})
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos that the generator made, in folders named by their class."""
    generator, folder = ToyColours(), tmp_path / "photos"
    for name, label in TRUE.items():
        made = generator.synthesize(generator.sample(1, seed=label, labels=torch.tensor([label])))
        images.write_png(folder / name, made[0].detach())
    return folder


def inverted(run: Any, photos: Path, model: Path, out: Path, *more: object) -> list[tuple[int, str]]:
    """The class of each photo, and how it came."""
    words = ["invert", photos, "--model", model, "--out", out, "--overwrite", "--method", "encode", "--no-report"]
    words += ["--json", *more]
    code, told, err = run(*words)
    assert code == 0, err
    return [(item["label"], item["labels_from"]) for item in json.loads(told)["photos"]]


class TestInvert:
    def test_labels_are_given_in_four_ways(self, run: Any, photos: Path, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        given = [(label, "given") for label in TRUE.values()]
        assert inverted(run, photos, model, out, "--labels", "0,2,3") == given
        assert inverted(run, photos, model, out, "--labels", "folders") == given
        (tmp_path / "table.json").write_text(json.dumps(TRUE))
        assert inverted(run, photos, model, out, "--labels", tmp_path / "table.json") == given
        named = tmp_path / "named"
        for name, label in TRUE.items():
            target = named / f"{label}-{Path(name).name}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((photos / name).read_bytes())
        assert inverted(run, named, model, out, "--labels", "names") == given

    def test_they_are_predicted_or_searched(self, run: Any, photos: Path, model: Path, tmp_path: Path) -> None:
        out, true = tmp_path / "out", list(TRUE.values())
        assert inverted(run, photos, model, out) == [(label, "predicted") for label in true]
        assert inverted(run, photos, model, out, "--labels", "searched") == [(label, "searched") for label in true]
        assert inverted(run, photos, model, out, "--backbone", "none") == [(label, "searched") for label in true]
        wrong = inverted(run, photos, model, out, "--backbone", WrongBackbone.name, "--labels", "predicted")
        assert wrong == [(0, "predicted"), (2, "predicted"), (1, "predicted")]
        some = inverted(run, photos, model, out, "--candidates", "1,2")
        assert some[1] == (2, "searched")
        assert {label for label, _ in some} <= {1, 2}

    def test_reports_show_the_class_and_where_it_came_from(
        self, run: Any, photos: Path, model: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        code, told, err = run("invert", photos, "--model", model, "--out", out, "--method", "encode")
        assert code == 0, err
        assert "class" in told
        assert "2 (predicted)" in told
        assert "2 (predicted)" in (out / "index.html").read_text()
        assert "2 (predicted)" in (out / "a-2" / "report.html").read_text()
        facts = json.loads((out / "a-2" / "inversion.json").read_text())
        assert (facts["labels"], facts["labels_from"]) == ([2], "predicted")

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ("0,1", "labels: 2 are given for 3 photos; give one each, or one for all"),
            ("4", "4 is no class of"),
            ("-1", "whole numbers of 0 or more"),
            ("folder", "no 'folder' (did you mean 'folders'?)"),
            ("names", "has no class, as its name begins with no number"),
            ("half.csv", "half.csv has no class for"),
            ("broken.json", "broken.json cannot be read"),
            ("wrong.csv", "is no class"),
        ],
    )
    def test_wrong_labels_are_one_sentence(
        self, run: Any, photos: Path, model: Path, tmp_path: Path, labels: str, message: str
    ) -> None:
        for name, text in {"half.csv": "0/a.png,0\n", "broken.json": "{", "wrong.csv": "a.png,0\nb.png,-3\n"}.items():
            (tmp_path / name).write_text(text)
        given = tmp_path / labels if "." in labels else labels
        code, _, err = run("invert", photos, "--model", model, "--out", tmp_path / "out", "--labels", given)
        assert code == 2
        assert message in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()

    def test_a_backbone_of_other_classes_is_one_sentence(
        self, run: Any, photos: Path, model: Path, tmp_path: Path
    ) -> None:
        words = ("invert", photos, "--model", model, "--out", tmp_path / "out", "--labels", "predicted")
        code, _, err = run(*words, "--backbone", OtherBackbone.name)
        assert code == 2
        assert "'toy-five-colours' knows 5 classes and toy-colours has 4" in err.replace("\n", " ")


class TestEvaluate:
    def test_given_and_predicted_are_told_apart(self, run: Any, photos: Path, model: Path) -> None:
        words = ("evaluate", photos, "--model", model, "--backbone", WrongBackbone.name)
        code, told, err = run(*words, "--json")
        assert code == 0, err
        facts = json.loads(told)
        assert list(facts["by_labels"]) == ["given", "predicted"]
        given, predicted = facts["by_labels"].values()
        assert (given["labels"], predicted["labels"]) == ([0, 2, 3], [0, 2, 1])
        assert facts["agreement"] == pytest.approx(2 / 3)
        assert facts["metrics"] == given["metrics"]
        assert facts["per_image"] == given["per_image"]
        assert set(given["metrics"]) >= {"psnr", "ssim", f"lpips-{WrongBackbone.name}"}
        for i in range(2):
            assert predicted["per_image"][i] == given["per_image"][i]
        assert predicted["per_image"][2]["psnr"] < given["per_image"][2]["psnr"] - 3
        assert predicted["metrics"]["psnr"]["mean"] < given["metrics"]["psnr"]["mean"]
        _, shown, _ = run(*words)
        assert "for 2 of 3 images" in shown
        assert [line.split()[0] for line in shown.splitlines()[3:6]] == ["given", "predicted", "(mean"]

    def test_photos_of_unknown_class_have_found_ones_alone(
        self, run: Any, photos: Path, model: Path, tmp_path: Path
    ) -> None:
        (photos / "3").rename(photos / "unknown")
        code, told, err = run("evaluate", photos, "--model", model, "--json")
        assert code == 0, err
        facts = json.loads(told)
        assert list(facts["by_labels"]) == ["predicted"]
        assert facts["by_labels"]["predicted"]["labels"] == list(TRUE.values())
        assert "agreement" not in facts
        (tmp_path / "labels.csv").write_text("a.png,0\nb.png,3\n2/a.png,2\n")
        words = ("evaluate", photos, "--model", model, "--labels", tmp_path / "labels.csv", "--json")
        facts = json.loads(run(*words)[1])
        assert facts["by_labels"]["given"]["labels"] == list(TRUE.values())
        assert facts["agreement"] == 1

    def test_the_way_can_be_chosen_and_samples_know_their_labels(self, run: Any, photos: Path, model: Path) -> None:
        words = ("evaluate", photos, "--model", model, "--json", "--labels", "searched")
        assert list(json.loads(run(*words)[1])["by_labels"]) == ["given", "searched"]
        facts = json.loads(run("evaluate", "--model", model, "--samples", 5, "--json")[1])
        assert list(facts["by_labels"]) == ["given", "predicted"]
        assert facts["agreement"] == 1
        assert len(facts["by_labels"]["given"]["labels"]) == 5

    def test_samples_are_rebuilt_under_the_truncation_they_were_made_with(
        self, run: Any, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[int, list[float]]] = []
        synthesize = ToyColours.synthesize

        def watched(self: ToyColours, latents: Any, **options: Any) -> torch.Tensor:
            seen.append((len(latents), latents["truncation"].tolist()))
            return synthesize(self, latents, **options)

        monkeypatch.setattr(ToyColours, "synthesize", watched)
        words = ("evaluate", "--model", model, "--samples", 3, "--truncation", 0.25, "--labels", "0,1,2", "--json")
        code, _, err = run(*words)
        assert code == 0, err
        assert [truncation for _, truncation in seen[:3]] == [[0.25]] * 3, "the samples, one by one"
        assert [truncation for count, truncation in seen if count == 3] == [[0.25] * 3] * 2, "what the encoder made"

    def test_a_broken_photo_takes_its_label_with_it(self, run: Any, photos: Path, model: Path) -> None:
        (photos / "2" / "a.png").write_text("no photo")
        code, told, _ = run("evaluate", photos, "--model", model, "--json")
        assert code == 1
        assert json.loads(told)["by_labels"]["given"]["labels"] == [0, 3]


def test_a_training_takes_classes_from_folders(run: Any, photos: Path, model: Path, tmp_path: Path) -> None:
    words = ("finetune", photos, "--model", model, "--out", tmp_path / "run", "--steps", 1)
    code, _, err = run(*words, "--labels", "folders")
    assert code == 0, err
    assert RunSpec.from_file(tmp_path / "run" / "run.yaml").data.labels == tuple(TRUE.values())
    code, _, err = run(*words, "--labels", "predicted")
    assert code == 2
    assert "given" in err
