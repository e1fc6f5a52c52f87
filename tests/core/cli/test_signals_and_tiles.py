"""One way through all commands, with generators of what is no picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.models import save_pretrained
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from PIL import Image
from torch import Tensor, nn

LAYOUT = (Vector(dim=4),)
SPECS = {
    "signals": GeneratorSpec(family="rows", size=(1, 24), channels=2, prior=Prior(dim=4), layout=LAYOUT),
    "tiles": GeneratorSpec(
        family="rows", size=(8, 12), channels=6, value_range=(0, 1), prior=Prior(dim=4), layout=LAYOUT
    ),
}


class Rows(ganenc.Generator):
    """A fully connected layer: waves of any number of channels, or votes on kinds of tiles."""

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or SPECS["signals"])
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer = nn.Linear(4, self.spec.channels * self.spec.size[0] * self.spec.size[1])

    def synthesize(self, latents: ganenc.Latents) -> Tensor:
        x = 2 * self.layer(latents["z"]).reshape(-1, self.spec.channels, *self.spec.size)
        return x.softmax(1) if self.spec.shows == "tiles" else torch.tanh(x)


@pytest.mark.parametrize("shows", SPECS)
def test_what_is_no_picture_goes_through_all_commands(known: Any, run: Any, tmp_path: Path, shows: str) -> None:
    ganenc.register("generator", "rows")(Rows)
    model, made, inverted = (tmp_path / name for name in ("model", "made", "inverted"))
    generator = Rows(SPECS[shows]).freeze()
    save_pretrained(generator, model)
    heard = ""

    def told(*words: object) -> Any:
        nonlocal heard
        code, out, heard = run(*words, "--json")
        assert code == 0, heard
        return json.loads(out)

    assert run("check", "rows", "--spec", model)[0] == 0
    files = [Path(file) for file in told("generate", "--model", model, "--out", made, "-n", 3)["images"]]
    latents = ganenc.Latents.load(made / "latents.safetensors")
    for file, one in zip(files, latents):
        assert (np.load(file) == generator.synthesize(one)[0].permute(1, 2, 0).numpy()).all(), "nothing is lost"
    with Image.open(files[0].with_suffix(".png")) as picture:
        assert picture.mode == "RGB"
        assert shows == "signals" or picture.size == (12, 8)
    words = ("--model", model, "--out", tmp_path / "run", "--steps", 30, "--set", "optimiser.rate=0.01")
    code, _, heard = run("pretrain", *words)
    assert code == 0, heard
    assert f"without lpips, ssim, made for pictures: rows makes {shows}" in heard
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["total"] < rows[0]["total"]
    encoder = ("--model", model, "--encoder", tmp_path / "run")
    (photo,) = told("invert", files[0], *encoder, "--out", inverted, "--for", "rebuild", "--steps", 40, "--report")[
        "photos"
    ]
    assert f"rows makes {shows}, so what is made for pictures is left out: ssim, lpips" in heard
    assert set(photo["metrics"]) == {"psnr"}
    folder = Path(photo["folder"])
    facts = json.loads((folder / "inversion.json").read_text())
    assert facts["metrics"]["psnr"] > facts["metrics_of_the_mean_image"]["psnr"] + 5
    assert (np.load(folder / "target.npy") == np.load(files[0])).all()
    rebuilt = np.load(folder / "reconstruction.npy")
    saved = generator.synthesize(ganenc.Latents.load(folder / "latents.safetensors"))[0]
    assert np.abs(rebuilt - saved.permute(1, 2, 0).numpy()).max() < 1e-6
    for page in (folder / "report.html", inverted / "index.html"):
        assert page.read_text().count("data:image/png") >= 2
    tuned = ("finetune", *files, *encoder, "--out", tmp_path / "tuned", "--steps", 1)
    assert run(*tuned)[0] == 0
    code, _, heard = run("invert", files[0], *encoder, "--out", tmp_path / "aligned", "--align", "center")
    assert code == 1
    assert f"is of {shows}, which are not aligned" in heard
    assert set(told("evaluate", *files, *encoder)["metrics"]) == {"psnr"}
    code, _, heard = run("evaluate", *files, *encoder, "--metric", "ssim")
    assert code == 2
    assert f"The metric ssim is not made for {shows}." in heard
