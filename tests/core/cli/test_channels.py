"""One way through all commands, with generators of other numbers of channels than three."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
from ganenc import images
from ganenc.models import save_pretrained
from ganenc.objectives import Backbone, BackboneOutput
from PIL import Image
from torch import Tensor
from toys import ToyGenerator, toy_spec


class Colours(Backbone):
    """Takes the colours alone for features."""

    name, smallest, last_convolution = "toy-colours-only", 8, None

    def forward(self, images: Tensor) -> BackboneOutput:
        assert images.shape[1] == 3
        return BackboneOutput([images])


@pytest.mark.parametrize("channels", [1, 2, 4, 10])
def test_a_generator_of_any_number_of_channels_goes_through_all_commands(
    known: Any, run: Any, tmp_path: Path, channels: int
) -> None:
    ganenc.register("generator", "toy")(ToyGenerator)
    ganenc.register("backbone", Colours.name)(Colours)
    model, made, inverted = (tmp_path / name for name in ("model", "made", "inverted"))
    generator = ToyGenerator(toy_spec((8, 8), channels=channels, dim=4)).freeze()
    save_pretrained(generator, model, info={"backbone": Colours.name})

    def done(*words: object) -> str:
        code, out, err = run(*words)
        assert code == 0, err
        return str(out)

    def told(*words: object) -> Any:
        return json.loads(done(*words, "--json"))

    generated = told("generate", "--model", model, "--out", made, "-n", 4)
    files = [Path(file) for file in generated["images"]]
    assert {file.suffix for file in files} == {".png" if channels in (1, 4) else ".npy"}
    pixels = [images.read(file, channels=channels) for file in files]
    latents = ganenc.Latents.load(generated["latents"])
    for read, one in zip(pixels, latents):
        assert (read - generator.synthesize(one)[0].clamp(-1, 1)).abs().max() < 1.01 / 255
    with Image.open(generated["grid"]) as grid:
        assert grid.mode == {1: "L", 4: "RGBA"}.get(channels, "RGB")

    done("pretrain", "--model", model, "--out", tmp_path / "run", "--steps", 2, "--set", "data.batch=2",
         "--set", "saving.grid_every=1")  # fmt: skip
    assert (tmp_path / "run" / "grids" / "step-0000002.png").is_file()
    encoder = ("--model", model, "--encoder", tmp_path / "run")
    done("finetune", *encoder, *files, "--out", tmp_path / "tuned", "--steps", 1)

    job = told("invert", *files[:2], *encoder, "--out", inverted, "--steps", 2, "--method", "optimize", "--report")
    folder = Path(job["photos"][0]["folder"])
    assert np.isfinite([*job["mean"].values()]).all()
    for page in (folder / "report.html", inverted / "index.html"):
        assert page.read_text().count("data:image/png") >= 2
    again = told("invert", folder / "latents.safetensors", *encoder, "--out", tmp_path / "again")["images"][0]["image"]
    assert images.read(again, channels=channels).shape == (channels, 8, 8)

    array = tmp_path / "w.npy"  # Of another tool; where images are arrays, too, its shape says what it is.
    np.save(array, ganenc.Latents.load(folder / "latents.safetensors")["w"].numpy())
    other = told("invert", array, *encoder, "--out", tmp_path / "other")["images"][0]["image"]
    assert images.read(other, channels=channels).shape == (channels, 8, 8)

    found = told("directions", "--model", model, "--pca", 1, "--out", tmp_path / "ways", "-n", 100)
    edited = told(
        "edit", folder, "--model", model, "--direction", found[0]["file"], "--out", tmp_path / "edited", "--gif"
    )
    for file in (edited[0]["strip"], edited[0]["gif"]):
        with Image.open(file) as strip:
            assert strip.size[0] >= 8
    scores = told("evaluate", *files, *encoder)["metrics"]
    of_pictures = {"ssim", f"lpips-{Colours.name}", f"frechet-{Colours.name}"}
    assert set(scores) == {"psnr", *(of_pictures if channels < 5 else ())}
    assert np.isfinite([score["mean"] for score in scores.values()]).all()
