"""``ganenc invert`` of aligned photos, and of photos that are far from what the model makes.

The model's image is its constant, and its encoder hands nine tenths of an image over as this constant: the dull images
that the model makes come back well, and a photo as badly as it is bright or dark.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.encoders import build_encoder
from ganenc.generators import Generator
from ganenc.inversion import Transform
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc.objectives import Attention, View
from ganenc_registry.specs import GeneratorSpec, Map, Prior, Vector
from PIL import Image
from torch import Tensor

SIZE = (16, 16)
KEPT = 0.9


class Copied(Generator):
    """Its image is its constant, tinted by z."""

    def __init__(self, channels: int = 3) -> None:
        layout = (Vector(dim=channels), Map(channels=channels, height=16, width=16))
        spec = GeneratorSpec(family="copied", size=SIZE, channels=channels, prior=Prior(dim=channels), layout=layout)
        super().__init__(spec)
        self.one = torch.nn.Parameter(torch.ones(()))

    def default(self, name: str) -> Tensor | None:
        return torch.zeros(1, self.spec.channels, 16, 16) if name == "const" else None

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        latents = self.complete(latents)
        return latents["const"] * self.one + 0.1 * latents["z"][:, :, None, None]


class Quarter(Attention):
    """Looks at the right upper quarter."""

    def views(self, image: Tensor, focus: Any) -> list[View]:
        return [View("image", 1.0, image), View("at1", 1.0, image * 0.5)]

    def region(self, target: Tensor, focus: Any) -> Tensor:
        height, width = target.shape[-2:]
        return torch.tensor([[0, width // 2, height // 2, width - width // 2]]).expand(len(target), 4)


@pytest.fixture
def session(known: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make the command line take the copying model."""
    known.add_value("attention", "quarter", Quarter)

    def opened(channels: int = 3) -> None:
        generator = Copied(channels).freeze()
        encoder = build_encoder(generator)

        def copy(images: Tensor, *, labels: Tensor | None = None) -> Latents:
            nothing = torch.zeros(len(images), channels) + 0 * sum(weight.sum() for weight in encoder.parameters())
            return Latents(generator.spec.layout, {"z": nothing, "const": images * KEPT})

        monkeypatch.setattr(encoder, "forward", copy)
        monkeypatch.setattr(
            "ganenc.jobs.inverting.load", lambda source, **_: Model(generator, encoder, source=source, backbone="none")
        )

    opened()
    return opened


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo of 60x120: grey in the middle, white to the left, and its right upper quarter a dull ramp."""
    pixels = np.full((60, 120, 3), 128, dtype=np.uint8)
    pixels[:, :30], pixels[:, 90:] = 255, 0
    pixels[:30, 60:] = np.linspace(120, 140, 60, dtype=np.uint8)[None, :, None]
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], session: Any, photo: Path, tmp_path: Path) -> Any:
    """Run ``ganenc invert`` in this process: its exit code, and what it printed on both channels."""

    def command(*words: object, file: Path = photo) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["invert", str(file), "--model", "copied", "--out", str(tmp_path / "out"), *map(str, words)])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path)).astype(float)


ENCODE = ("--method", "encode")


def test_an_aligned_photo_leaves_its_transform_and_itself_with_the_result_in_place(
    run: Any, photo: Path, tmp_path: Path
) -> None:
    aligned = ("--align", "attention", "--set", "align.options.margin=0", "--set", "objective.attention.name=quarter")
    code, out, err = run(*ENCODE, *aligned, "--json")
    assert code == 0, err
    folder = tmp_path / "out" / "photo"
    wanted = Transform.of_box((0, 60, 60, 60), SIZE, (60, 120))
    told = json.loads(out)
    assert told["align"] == "attention"
    assert Transform.from_mapping(told["photos"][0]["transform"]) == wanted
    assert Transform.from_mapping(json.loads((folder / "inversion.json").read_text())["transform"]) == wanted
    latents = Latents.load(folder / "latents.safetensors")
    assert Transform.from_mapping(latents.info["transform"]) == wanted
    before, after = pixels(photo), pixels(folder / "photo.png")
    assert after.shape == before.shape
    assert np.array_equal(after[:, :60], before[:, :60])
    inner = (before[8:18, 80:110] - 127.5) * KEPT + 127.5
    assert np.abs(after[8:18, 80:110] - inner).max() < 2
    target = pixels(folder / "target.png")
    assert np.abs(target[1:6, 1:15].mean() - before[4:24, 64:116].mean()) < 2
    html = (folder / "report.html").read_text()
    assert "In its place" in html
    assert "60x120, aligned by attention" in html


def test_none_aligns_not(run: Any, tmp_path: Path) -> None:
    assert run(*ENCODE, "--align", "none")[0] == 0
    assert not (tmp_path / "out/photo/photo.png").exists()


def test_a_face_and_nothing_that_aligns_is_one_sentence(run: Any) -> None:
    code, _, err = run(*ENCODE, "--face", 2)
    assert (code, "give --align face, too" in err) == (2, True), err


def test_center_gives_what_no_alignment_gives_and_puts_it_back(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "photo"
    run(*ENCODE)
    plain = pixels(folder / "target.png")
    assert not (folder / "photo.png").exists()
    assert "In its place" not in (folder / "report.html").read_text()
    assert json.loads((folder / "inversion.json").read_text())["transform"] is None
    run(*ENCODE, "--align", "center", "--overwrite")
    assert np.abs(pixels(folder / "target.png") - plain).max() <= 2
    assert pixels(folder / "photo.png").shape == (60, 120, 3)


def test_grey_models_take_colour_photos_aligned(run: Any, session: Any, tmp_path: Path) -> None:
    session(1)
    code, _, err = run(*ENCODE, "--align", "center")
    assert code == 0, err
    assert pixels(tmp_path / "out" / "photo" / "photo.png").shape == (60, 120)


def test_what_the_attention_sees_is_left_as_a_picture(run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "photo"
    run("--method", "finetune", "--steps", 1, "--set", "objective.attention.name=quarter")
    three = 3 * (256 + 8) + 8
    assert pixels(folder / "attention.png").shape == (2 * (20 + 256 + 8) + 8, three, 3), "image, boxes, at1"
    html = (folder / "report.html").read_text()
    for title in ("Where it looks, photo", "AT1, reconstruction"):
        assert title in html
    run("--method", "finetune", "--steps", 1, "--set", "objective.attention.name=none", "--overwrite")
    assert not (folder / "attention.png").exists()
    assert "Views of the attention" not in (folder / "report.html").read_text()


def test_a_photo_far_from_what_the_model_makes_is_told_with_its_figures(run: Any, tmp_path: Path) -> None:
    code, out, err = run(*ENCODE, "--fit", "stretch", "--json")
    assert code == 0
    (told,) = json.loads(out)["photos"]
    assert "unlike" not in err, "with --json it is a field"
    one = told["one_pass"]
    assert told["far"]
    assert one["generated_count"] == 16
    assert one["generated_psnr"] - one["photo_psnr"] > 2.5
    below = (one["generated_psnr"] - one["photo_psnr"]) / one["generated_deviation"]
    assert one["deviations_below"] == pytest.approx(below)
    error = pixels(tmp_path / "out" / "photo" / "target.png") - pixels(
        tmp_path / "out" / "photo" / "reconstruction.png"
    )
    assert one["photo_psnr"] == pytest.approx(10 * np.log10(255**2 / np.square(error).mean()), abs=0.01)
    assert told["hint"] == "center"
    assert one["aligned_psnr"]["center"] > one["photo_psnr"] + 1
    figures = (f"at {one['photo_psnr']:.1f} dB", f"{one['generated_psnr']:.1f} ± {one['generated_deviation']:.1f} dB")
    assert all(figure in told["warning"] for figure in figures)
    assert told["warning"].endswith(f"--align center would raise it to {one['aligned_psnr']['center']:.1f} dB.")
    assert told["warning"].startswith("photo.png is unlike what the generator makes")
    _, _, err = run(*ENCODE, "--fit", "stretch")
    assert err.count("unlike") == 1
    assert told["warning"] in err
    assert told["verdict"] in (tmp_path / "out" / "photo" / "report.html").read_text()
    _, out, err = run(*ENCODE, "--fit", "stretch", "--quiet")
    assert (out, err) == ("", "")
    assert json.loads((tmp_path / "out" / "photo" / "inversion.json").read_text())["warning"] == told["warning"]


def test_an_alignment_that_gives_the_same_crop_is_not_tried(run: Any) -> None:
    _, out, _ = run(*ENCODE, "--json")
    (told,) = json.loads(out)["photos"]
    assert told["one_pass"]["aligned_psnr"] == {}, "fit cover is center, and encode has no attention"


def test_a_dull_photo_is_not_told(run: Any, tmp_path: Path) -> None:
    dull = np.full((20, 20, 3), (120, 128, 134), dtype=np.uint8)
    Image.fromarray(dull).save(tmp_path / "dull.png")
    _, out, err = run(*ENCODE, file=tmp_path / "dull.png")
    assert "dull.png" in out
    assert err == ""


def test_what_is_called_wrongly_is_told(run: Any, tmp_path: Path) -> None:
    for words, said in (
        (("--align", "centre"), "did you mean 'center'"),
        (("--align", "attention", "--set", "align.options.margn=1"), "did you mean 'margin'?"),
        (("--align", "attention", "--set", "margin=1"), "did you mean 'align.options.margin'?"),
        (("--set", "align.options.margin=1"), "nothing that aligns"),
        (("--align", "center", "--set", "align=1"), "align"),
    ):
        code, _, err = run(*ENCODE, *words)
        assert code == 2
        assert said in err
    assert not (tmp_path / "out").exists()
