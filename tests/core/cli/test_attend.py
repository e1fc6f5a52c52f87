"""``ganenc attend``: what an attention looks at, as lines, as data and as pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.models import save_pretrained
from ganenc.objectives import Attention, View
from ganenc_registry.specs import Spec
from PIL import Image
from torch import Tensor
from toys import ColourBackbone, ToyGenerator


class Bare(Attention):
    """Nothing but views."""

    def views(self, image: Tensor, focus: Any) -> list[View]:
        return [View("image", 1.0, image), View("at1", 1.0, -image)]


class Bright(Attention):
    """Looks at bright pixels, in the left half, for the class asked for or 7."""

    class Options(Spec):
        floor: float = 0.0

    def prepare(self, target: Tensor, *, classes: Tensor | None = None, **context: Any) -> dict[str, Tensor]:
        heat = ((target.mean(1, keepdim=True) + 1) / 2 - self.options.floor).clamp_min(0)
        found = torch.full((len(target),), 7) if classes is None else classes
        return {"map": heat / heat.amax((1, 2, 3), keepdim=True), "class": found}

    def views(self, image: Tensor, focus: dict[str, Tensor]) -> list[View]:
        return [View("image", 1.0, image), View("at1", 1.0, image * focus["map"])]

    def heat(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor:
        return focus["map"]

    def region(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor:
        height, width = target.shape[-2:]
        return torch.tensor([[0, 0, height, width // 2]]).expand(len(target), 4)

    def classes(self, target: Tensor, focus: dict[str, Tensor]) -> Tensor:
        return focus["class"]


@pytest.fixture
def photos(known: Any, tmp_path: Path) -> Path:
    """Two photos: a spot of 30 pixels to the left and one of 10 to the right, on black; and one that is broken."""
    known.add_value("attention", "bare", Bare)
    known.add_value("attention", "bright", Bright)
    folder = tmp_path / "photos"
    (folder / "4").mkdir(parents=True)
    pixels = np.zeros((40, 60, 3), dtype=np.uint8)
    pixels[10:15, 4:10] = pixels[20:25, 40:42] = 255
    Image.fromarray(pixels).save(folder / "4" / "one.png")
    Image.fromarray(np.kron(pixels, np.ones((10, 10, 1), dtype=np.uint8))).save(folder / "large.png")
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``ganenc attend`` in this process: its exit code, and what it printed on both channels."""

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["attend", *(str(word) for word in words)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def test_a_line_says_what_it_looked_for_where_and_how_much_lies_there(run: Any, photos: Path) -> None:
    code, out, _ = run(photos / "4" / "one.png", "--attention", "bright")
    assert (code, out) == (
        0,
        "one.png: class 7 (predicted), box 30x40 at (0, 0) of 60x40, 75% of the map's mass in it\n",
    )
    _, out, _ = run(photos / "4", "-a", "bright", "--labels", "folders")
    assert "class 4 (given)" in out


def test_data_has_the_same_and_large_photos_are_made_smaller(run: Any, photos: Path, tmp_path: Path) -> None:
    code, out, _ = run(photos, "-a", "bright", "--labels", "3,5", "--json", "--out", tmp_path / "out")
    found = json.loads(out)
    one, large = sorted(found["photos"], key=lambda one: one["photo"])
    assert code == 0
    assert (one["size"], large["size"]) == ([40, 60], [171, 256])
    assert large["box"] == {"top": 0, "left": 0, "height": 171, "width": 128}
    assert large["share_of_map_in_box"] == pytest.approx(0.75, abs=0.01)
    assert sorted([one["label"], large["label"]]) == [3, 5]
    assert one["label_from"] == "given"
    assert one["pictures"] == ["photo", "heat", "boxes", "at1"]
    code, out, _ = run(photos / "large.png", "-a", "bright", "--json", "--size", 60)
    assert json.loads(out)["photos"][0]["size"] == [40, 60]


def test_pictures_hold_the_photo_and_where_it_looks(run: Any, photos: Path, tmp_path: Path) -> None:
    run(photos / "4" / "one.png", photos / "large.png", "-a", "bright", "-o", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["attention.png", "large.png", "one.png"]
    sheet = np.asarray(Image.open(tmp_path / "out" / "one.png"))
    assert sheet.shape == (8 + 20 + 160 + 8, 4 * (240 + 8) + 8, 3), "four pictures of 60x40, four times as large"
    photo, heat, boxes, _ = (sheet[28:188, 8 + i * 248 : 248 + i * 248] for i in range(4))
    wanted = np.kron(np.asarray(Image.open(photos / "4" / "one.png")), np.ones((4, 4, 1), dtype=np.uint8))
    assert np.array_equal(photo, wanted)
    assert heat[48, 24].astype(int).sum() > heat[150, 230].astype(int).sum()
    assert (boxes[:, :4] == (255, 217, 26)).all(-1).all(), "the box's left side"
    assert np.array_equal(boxes[:, 130:], photo[:, 130:])
    both = np.asarray(Image.open(tmp_path / "out" / "attention.png"))
    assert both.shape[0] > sheet.shape[0]


def test_an_attention_with_views_alone_is_shown_by_its_views(run: Any, photos: Path, tmp_path: Path) -> None:
    code, out, _ = run(photos / "4", "-a", "bare", "--json")
    (found,) = json.loads(out)["photos"]
    assert code == 0
    assert found["pictures"] == ["photo", "at1"]
    assert (found["label"], found["box"], found["share_of_map_in_box"]) == (None, None, None)
    _, out, _ = run(photos / "4", "-a", "bare")
    assert out == "one.png: the whole photo alike\n"


def test_the_attentions_of_the_core_are_shown(run: Any, photos: Path) -> None:
    _, out, _ = run(photos / "4", "-a", "center")
    assert out == "one.png: box 44x40 at (8, 0) of 60x40\n"
    _, out, _ = run(photos / "4", "-a", "none")
    assert out == "one.png: the whole photo alike\n"


def test_a_broken_photo_is_named_and_the_rest_go_on(run: Any, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    code, out, err = run(photos, "-a", "bare")
    assert code == 1
    assert out.count("\n") == 2
    assert "Skipped" in err
    assert "1 of 3 photos failed" in err


class Counts(Bare):
    """Looks for a class by the name of the number of classes that its backbone knows."""

    def classes(self, target: Tensor, focus: Any) -> Tensor:
        return torch.full((len(target),), self.context.backbone.classes)


def test_a_model_gives_its_own_backbone_where_none_is_named(
    run: Any, photos: Path, known: Any, toy: Any, tmp_path: Path
) -> None:
    known.add_value("attention", "counts", Counts)
    known.add_value("generator", "toy", ToyGenerator)
    known.add_value("backbone", ColourBackbone.name, ColourBackbone)
    save_pretrained(toy, tmp_path / "model", info={"backbone": ColourBackbone.name})
    words = (photos / "4" / "one.png", "-a", "counts")
    _, out, _ = run(*words, "--model", tmp_path / "model")
    assert out.startswith("one.png: class 4 (predicted)")
    code, _, err = run(*words, "--model", tmp_path / "model", "--backbone", "no-such")
    assert (code, "no backbone 'no-such'" in err) == (2, True)


def test_what_is_called_wrongly_is_told(run: Any, photos: Path) -> None:
    code, _, err = run(photos, "-a", "brigt")
    assert code == 2
    assert "did you mean 'bright'" in err
    for wrong in ("flor=1", "floor=1"):
        code, _, err = run(photos, "-a", "bright", "--set", wrong)
        assert code == 2
        assert "no such field (did you mean 'attention.options.floor'?)" in err
    code, _, err = run(photos, "-a", "bright", "--set", "attention.options.flor=1")
    assert code == 2
    assert "attention.options.flor: there is no such field (did you mean 'floor'?)" in err
    code, _, err = run(photos, "-a", "bright", "--labels", "1,2,3")
    assert code == 2
    assert "labels: 3 are given for 2 photos" in err
