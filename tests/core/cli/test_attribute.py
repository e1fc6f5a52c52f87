"""Which generator made an image: toys of two sizes and ranges of values, and what neither made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc import images
from ganenc.generators import Generator, NoiseChoice
from ganenc.jobs import Attributed, attribute, attribution_method, judged
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc.models import save_pretrained
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Styles
from PIL import Image
from torch import Tensor, nn
from toys import ToyConditional

WORDS = ("--own", 39, "--false-alarms", 0.025, "--steps", 40)


class Wide(Generator):
    """12x20 pixels from 0 to 1, of styles that vary along some ways far more than along others."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        prior, layout = Prior(dim=4), (Styles(layers=2, dim=4),)
        super().__init__(
            spec or GeneratorSpec(family="wide", size=(12, 20), value_range=(0, 1), prior=prior, layout=layout)
        )
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.scales, self.paint = nn.Parameter(torch.logspace(-2, 1, 4)), nn.Linear(8, 3 * 12 * 20)
        self.paint.weight.data /= self.scales.repeat(2)

    def map(self, z: Tensor, **given: Any) -> Latents:
        return Latents(self.spec.layout, {"w": (z * self.scales)[:, None].repeat(1, 2, 1)})

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        made: Tensor = self.paint(self.complete(latents)["w"].flatten(1)).sigmoid()
        return made.reshape(-1, 3, 12, 20)


@pytest.fixture
def paths(known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two models, and a folder with two images that each made and one that neither did."""
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    ganenc.register("generator", "toy-conditional")(ToyConditional)
    ganenc.register("generator", "wide")(Wide)
    for name, generator in (("small", ToyConditional()), ("wide", Wide())):
        save_pretrained(generator.freeze(), tmp_path / name)
        made, spec = ganenc.load(tmp_path / name).generate(2, seed=7).images, generator.spec
        for place, one in enumerate(made):
            images.write_image(tmp_path / "photos" / f"{name}-{place}.png", one, spec)
    pixels = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    images.write_png(tmp_path / "photos" / "other.png", pixels, value_range=(0, 1))
    (tmp_path / "photos" / "torn.png").write_bytes(b"none")
    return {name: tmp_path / name for name in ("small", "wide", "photos", "out")}


def test_each_image_is_given_to_its_model_or_to_none(paths: dict[str, Path], run: Any) -> None:
    words = ("attribute", paths["photos"], "-m", paths["small"], "-m", paths["wide"], "--out", paths["out"], *WORDS)
    code, told, err = run(*words, "--json")
    assert (code, "1 photos could not be read" in err) == (1, True), err
    facts = json.loads(told)
    assert json.loads((paths["out"] / "attribution.json").read_text()).items() >= facts.items()
    found = {Path(row["photo"]).stem: Path(row["verdict"]).name for row in facts["photos"]}
    assert found == {"small-0": "small", "small-1": "small", "wide-0": "wide", "wide-1": "wide", "other": "none"}
    first = facts["photos"][1]["models"][str(paths["small"])]
    assert first["psnr"] > 20
    assert 0.025 < first["p_value"] <= 1
    page = (paths["out"] / "index.html").read_text()
    assert page.count("<img") == 3 * 5
    assert page.count("<b>none</b>") == 1
    code, told, _ = run(*words, paths["photos"] / "other.png")
    assert (code, "Report:" in told, "none" in told) == (1, True, True)


def test_own_images_are_inverted_once(paths: dict[str, Path], tmp_path: Path) -> None:
    models, told = [ganenc.load(paths["small"])], []

    def again(**given: Any) -> Attributed:
        told.clear()
        photo = Image.open(paths["photos"] / "small-0.png")
        how = {"own": 9, "rate": 0.1, "steps": 5, "kept": tmp_path / "kept", **given}
        return attribute(photo, models, on_step=lambda done, total: told.append((done, total)), **how)

    first = again()
    assert [*dict.fromkeys(told)] == [(done, 40) for done in (0, 9, 18, 27, 36, 37, 38, 39, 40)]
    assert again().to_mapping() == first.to_mapping()
    assert [*dict.fromkeys(told)] == [(done, 4) for done in range(5)]
    again(steps=6)
    assert [*dict.fromkeys(told)] == [(done, 31) for done in (0, 9, 18, 27, 28, 29, 30, 31)]
    (file, *_) = (tmp_path / "kept").glob("*.json")
    for text in ("{}", '{"psnr": [1, 2]}', '{"psnr": ["a"]}', '{"psnr": null}'):
        file.write_text(text)
        assert len(again()) == len(again(steps=6)) == 1


def test_chances_deviations_and_verdicts_are_as_said() -> None:
    known = {"a": [10.0, 12.0, 14.0], "b": [20.0, 21.0, 22.0]}
    apart, chances, verdict = judged({"a": 13.0, "b": 21.0}, known, 0.25)
    assert chances == {"a": 3 / 4, "b": 3 / 4}
    assert apart == pytest.approx({"a": 0.5, "b": 0.0})
    assert verdict == "b"
    assert judged({"a": 9.0, "b": 20.0}, known, 0.25)[1:] == ({"a": 1 / 4, "b": 2 / 4}, "b")
    assert judged({"a": 9.0, "b": 19.0}, known, 0.25)[2] == "none"


def test_of_styles_one_is_sought_for_all_layers(paths: dict[str, Path]) -> None:
    spaces = [attribution_method(ganenc.load(paths[name]))["options"]["space"] for name in ("small", "wide")]
    assert spaces == [None, "w"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rate": 0.05, "own": 18}, "A rate of 0.05 takes 19 own images or more; not 18"),
        ({"rate": 0.0}, "A rate of 0 takes more own images"),
        ({"models": []}, "Name one or more models"),
        ({"models": ["small", "small"]}, "each once; these are .*small, .*small"),
        ({"method": "encode"}, "needs an encoder"),
    ],
)
def test_what_is_wrong_is_one_sentence(paths: dict[str, Path], given: dict[str, Any], told: str) -> None:
    models: list[Model] = [ganenc.load(paths[name]) for name in given.pop("models", ["small"])]
    with pytest.raises(SpecError, match=told):
        attribute(paths["photos"] / "small-0.png", models, **given)


def test_a_photo_that_cannot_be_read_is_an_error_unless_it_is_told(paths: dict[str, Path]) -> None:
    models = [ganenc.load(paths["small"])]
    with pytest.raises(ImageError, match="torn"):
        attribute(paths["photos"] / "torn.png", models, steps=1, own=1, rate=0.5)
