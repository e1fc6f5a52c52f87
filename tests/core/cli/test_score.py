"""Odd photos from the command line and in Python: calibrated once, scored afterwards."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
from ganenc import images
from ganenc.measures import Calibration
from ganenc.models import save_pretrained
from ganenc_registry.errors import PluginError, SpecError
from PIL import Image
from toys import ToyGenerator, toy_spec

WORDS = ("--backbone", "none", "--steps", 5)
BOX = (2, 5, 8, 12)
"""Left, top, right and bottom of what is painted."""


@pytest.fixture
def model(known: Any, tmp_path: Path) -> Path:
    ganenc.register("generator", "toy")(ToyGenerator)
    save_pretrained(ToyGenerator(toy_spec((16, 16))).freeze(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photos(model: Path, tmp_path: Path) -> Path:
    """What the generator makes: in ``good`` to calibrate by, in ``new`` also with a painted box, and its masks."""
    made = ganenc.load(model).generate(20).images
    for place, image in enumerate(made):
        images.write_png(tmp_path / ("new/ok" if place >= 12 else "good") / f"{place}.png", image)
        if place >= 16:
            odd, mask = Image.open(tmp_path / f"new/ok/{place}.png"), Image.new("L", (16, 16))
            mask.paste(255, BOX)
            odd.paste((255, 0, 255), BOX)
            (tmp_path / "masks/odd").mkdir(parents=True, exist_ok=True)
            (tmp_path / "new/odd").mkdir(exist_ok=True)
            odd.save(tmp_path / f"new/odd/{place}.png")
            mask.save(tmp_path / f"masks/odd/{place}_mask.png")
    (tmp_path / "new/broken.png").write_bytes(b"none")
    return tmp_path


def test_calibrated_once_and_scored_afterwards(model: Path, photos: Path, run: Any) -> None:
    out, rate = photos / "out", ("--false-alarms", 0.1)
    code, told, err = run("score", "--model", model, "--normal", photos / "good", "--out", out, *WORDS, *rate)
    assert code == 0, err
    assert "Calibrated by 12 photos" in told
    words = ("score", photos / "new", "--model", model, "--calibration", out / "calibration.json", "--out", out)
    code, told, err = run(*words, *rate, "--masks", photos / "masks", "--backbone", "none", "--json")
    assert (code, "1 photos could not be read" in err) == (1, True), err
    facts = json.loads(told)
    assert json.loads((out / "scores.json").read_text())["photos"] == facts["photos"]
    odd = {row["photo"] for row in facts["photos"] if "/odd/" in row["photo"]}
    assert len(facts["photos"]) == 12
    assert len(odd) == 4
    assert {row["photo"] for row in facts["photos"] if row["pred_label"]} >= odd
    assert facts["measures"]["image_AUROC"] == 1.0
    assert facts["measures"]["pixel_AUROC"] > 0.9
    assert len(list((out / "maps").glob("*.png"))) == 12
    page = (out / "index.html").read_text()
    assert page.count("<img") == 3 * 12
    assert page.index("odd/1") < page.index("ok/1")
    assert "broken.png" in page
    code, told, _ = run(*words, *rate, "--truth", ",".join("0" + "1" * 4 + "0" * 8), "--backbone", "none")
    assert (code, "AUROC: 1.000" in told, "of pixels" in told) == (1, True, False)
    model_, normal = ganenc.load(model, backbone="none"), images.find(photos / "good")
    again = model_.score(images.find(photos / "new/odd"), normal, false_alarms=0.1, steps=5)
    expected = [row["pred_score"] for row in facts["photos"] if row["photo"] in odd]
    assert again.pred_score.tolist() == pytest.approx(expected, rel=1e-4)  # Of another number at a time.
    assert again[2].rows == again.rows[2:3]
    left, top, right, bottom = BOX
    inside = again.anomaly_map[..., top:bottom, left:right]
    assert all(one.mean() > whole.mean() for one, whole in zip(inside, again.anomaly_map, strict=True))
    assert [file.name for file in again.save(photos / "saved")] == [f"{at:04d}-{at + 16}.png" for at in range(4)]


def test_features_of_a_script_are_run_where_they_are_given_alone(model: Path, photos: Path, run: Any) -> None:
    script, out = photos / "mine.py", photos / "out"
    script.write_text("def seen(images):\n    return images.mean((2, 3))\n")
    given = ("--features", f"{script}:seen", "--score", "f-anogan", "--kappa", 2)
    words = ("score", "--model", model, "--out", out, "--false-alarms", 0.1, "--json")
    code, _, err = run(*words, photos / "new/odd", "--normal", photos / "good", *WORDS, *given)
    assert code == 0, err
    known = Calibration.from_file(out / "calibration.json")
    assert (known.features, known.kappa, [*known.scores]) == (f"{script}:seen", 2.0, ["f-anogan"])
    assert known.method.options["steps"] == 5
    again = (*words, photos / "new/odd", "--calibration", out / "calibration.json", "--backbone", "none")
    script.write_text("raise SystemExit(9)\n")
    code, _, err = run(*again)
    assert (code, "give that again to run it" in err) == (2, True), err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "Give normal photos with --normal"),
        (("--normal", "{}/good", "--calibration", "x.json"), 2, "Give normal photos with --normal"),
        (("--normal", "{}/good", *WORDS), 2, "5.00% of false alarms take 19 normal photos or more; these were 12"),
        (("--normal", "{}/good", *WORDS, "--score", "lpips"), 2, "The score lpips is taken on a backbone"),
        (("--normal", "{}/nowhere", *WORDS), 1, "no such file"),
        (("--normal", "{}/good", *WORDS, "--set", "prior=1"), 2, "--set prior has no effect here"),
        (("--normal", "{}/good", *WORDS, "--false-alarms", "0.1", "--masks", "{}/good"), 1, "No mask in"),
        (("--normal", "{}/good", *WORDS, "--false-alarms", "0.1", "--truth", "1,0"), 2, "2 are given for 4 photos"),
        (("--calibration", "{}/nowhere.json"), 2, "cannot be read"),
        (("--calibration", "{}/other.json", "--backbone", "none"), 2, "The calibration is of the model 000000000000"),
        (("--calibration", "{}/other.json", "--steps", "3"), 2, "--steps is of calibrating"),
        (("--calibration", "{}/bad.json"), 2, "scores.pixels.1: input should be greater than 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    model: Path, photos: Path, run: Any, words: tuple[object, ...], code: int, told: str
) -> None:
    held = {"model_hash": "0" * 64, "method": "optimize", "scores": {"pixels": [0, 1]}, "maps": {"pixels": [0, 1]}}
    held |= {"normal": [0.0] * 19, "peaks": [0.0] * 19}
    (photos / "other.json").write_text(json.dumps(held))
    (photos / "bad.json").write_text(json.dumps({**held, "scores": {"pixels": [0, -1]}}))
    filled = [str(word).format(photos) for word in words]
    found, _, err = run("score", photos / "new/odd", "--model", model, "--out", photos / "out", *filled)
    assert (found, told in err, "Traceback" in err) == (code, True, False), err


def test_a_mask_is_as_large_as_its_photo(model: Path, photos: Path, run: Any) -> None:
    Image.new("L", (8, 16)).save(photos / "masks/odd/17_mask.png")
    words = ("--normal", photos / "good", *WORDS, "--false-alarms", 0.1, "--masks", photos / "masks")
    code, _, err = run("score", photos / "new/odd", "--model", model, "--out", photos / "out", *words)
    assert (code, "as large as its photo 17.png" in err) == (1, True), err


def test_a_model_for_anomalib_is_calibrated_and_scores(model: Path, photos: Path) -> None:
    from ganenc.jobs import GanScore

    if importlib.util.find_spec("anomalib") is None:
        with pytest.raises(PluginError, match="A model for anomalib takes anomalib"):
            GanScore(model)
        return
    from anomalib.data import ImageBatch

    made, how = ganenc.load(model).generate(14).images / 2 + 0.5, {"steps": 2, "scores": ["pixels", "peak"]}
    one = GanScore(model, false_alarms=0.1, how=how)
    one.training_step(ImageBatch(image=made[:12].clamp(0, 1)), 0)
    one.fit()
    made[13, :, 5:12, 2:8] = 1
    found = one.validation_step(ImageBatch(image=made[12:].clamp(0, 1)), 0)
    assert found.pred_label.tolist() == [False, True]
    assert found.anomaly_map.shape == found.pred_mask.shape == (2, 16, 16)
    kept: dict[str, Any] = {}
    one.on_save_checkpoint(kept)
    other = GanScore(model, false_alarms=0.1)
    other.on_load_checkpoint(kept)
    assert other(made[12:].clamp(0, 1)).pred_score.tolist() == pytest.approx(found.pred_score.tolist())


def test_what_calibrating_chose_is_not_chosen_again(model: Path, photos: Path) -> None:
    loaded = ganenc.load(model, backbone="none")
    known = loaded.calibrate(images.find(photos / "good")[:4], steps=1)
    with pytest.raises(SpecError, match="steps is of calibrating"):
        loaded.score(images.find(photos / "new/odd"), known, steps=2)
