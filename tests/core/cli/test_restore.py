"""Photos restored from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
from ganenc import images
from ganenc.encoders import build_encoder
from ganenc.models import save_pretrained
from PIL import Image
from toys import ToyGenerator, toy_spec

WORDS = ("--backbone", "none", "--steps", 2)


@pytest.fixture
def model(known: Any, tmp_path: Path) -> Path:
    ganenc.register("generator", "toy")(ToyGenerator)
    save_pretrained(ToyGenerator(toy_spec((16, 16))).freeze(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    picture = Image.radial_gradient("L").resize((8, 8)).convert("RGB")
    picture.save(tmp_path / "small.png")
    return tmp_path / "small.png"


def test_several_answers_each_leave_a_folder_and_are_not_made_twice(
    model: Path, photo: Path, run: Any, tmp_path: Path
) -> None:
    words = ("restore", photo, "--operator", "downscale:2", "--operator", "blur:?", "--model", model, "-n", 2, *WORDS)
    code, out, err = run(*words, "--out", tmp_path / "out", "--report", "--json")
    assert code == 0, err
    answers = json.loads(out)
    assert [one["photos"][0]["found"].keys() == {"sigma"} for one in answers] == [True, True]
    made = []
    for number in (1, 2):
        folder = tmp_path / "out" / str(number) / "small"
        facts = json.loads((folder / "inversion.json").read_text())
        assert [one["name"] for one in facts["settings"]["operator"]] == ["downscale", "blur"]
        assert "prior" in facts["loss"]
        assert "Seen again" in (folder / "report.html").read_text()
        sizes = [Image.open(folder / f"{name}.png").size for name in ("target", "reconstruction", "pasted")]
        assert sizes == [(8, 8), (16, 16), (16, 16)]
        made.append(images.read(folder / "reconstruction.png"))
    assert not made[0].equal(made[1])
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 0
    assert "done before" in err


def test_what_is_hidden_is_filled_and_all_else_is_restored_near_the_encoders(
    model: Path, photo: Path, run: Any, tmp_path: Path
) -> None:
    save_pretrained(build_encoder(ToyGenerator(toy_spec((16, 16))), hidden=8), model / "encoder")
    names = {}
    for written in ("downscale:2", "mask:box=0,0,4,4"):
        seen = photo if written == "downscale:2" else tmp_path / "whole.png"
        Image.radial_gradient("L").resize((16, 16)).convert("RGB").save(tmp_path / "whole.png")
        words = ("restore", seen, "--operator", written, "--model", model, "-n", 2, *WORDS, "--out", tmp_path / written)
        code, _, err = run(*words)
        assert code == 0, err
        facts = [json.loads((tmp_path / written / f"{n}" / seen.stem / "inversion.json").read_text()) for n in (1, 2)]
        ways = [one["settings"]["method"] for one in facts]
        names[written] = [(way["name"], way["options"].get("start")) for way in ways]
    assert names["downscale:2"] == [("newton", "encoder"), ("newton", "draws")]
    assert names["mask:box=0,0,4,4"] == [("optimize", "encoder"), ("optimize", "draws")]


def test_invert_takes_operators_too(model: Path, photo: Path, run: Any, tmp_path: Path) -> None:
    words = ("invert", photo, "--model", model, "--out", tmp_path / "out", "--backbone", "none", "--json")
    code, out, err = run(*words, "--operator", "downscale:2", "--steps", 2)
    assert code == 0, err
    assert json.loads(out)["method"] == "optimize"
    assert (tmp_path / "out" / "small" / "pasted.png").is_file()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "No operator is named"),
        (("--operator", "downscale"), 0, ""),
        (("--operator", "downscale:4"), 1, "8x8 and 4x4 pixels"),
        (("--operator", "dwnscale:4"), 2, "did you mean 'downscale'"),
        (("--operator", "downscale:four"), 2, "downscale"),
        (("--operator", "downscale:2", "--align", "center"), 2, "not aligned"),
        (("--operator", "mask"), 1, "no transparent pixels"),
        (("--operator", "mask:nowhere.png"), 1, "nowhere.png: there is no such file"),
        (("--operator", "blur:kernel=nowhere.png"), 1, "nowhere.png: there is no such file"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    model: Path, photo: Path, run: Any, tmp_path: Path, words: tuple[str, ...], code: int, told: str
) -> None:
    found, _, err = run("restore", photo, "--model", model, "--out", tmp_path / "out", *WORDS, *words)
    assert found == code, err
    assert told in err
    assert "Traceback" not in err
