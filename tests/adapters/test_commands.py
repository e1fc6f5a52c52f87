"""The command line with generators that a script registers: one in a model folder, one made by a function."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc import save_pretrained
from ganenc.cli import main
from ganenc_registry import registry
from PIL import Image

SCRIPT = "adapters.wrapped"
FAST = ["--set", "objective.losses={mse: 5, cos: 3}", "--set", "objective.attention.name=none"]


def call(*words: object) -> None:
    """Run a command, which has to go well."""
    with pytest.raises(SystemExit) as ended:
        main(["--import", SCRIPT, *map(str, words)])
    assert not ended.value.code


@pytest.fixture(params=["plain-dcgan", "info"])
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command names: the folder of an unconditional generator, and the registered name of a conditional one."""
    family = registry().resolve("generator", request.param)
    if request.param == "plain-dcgan":
        save_pretrained(family(), tmp_path / "mine")
        return str(tmp_path / "mine")
    monkeypatch.setattr(registry(), "_entries", dict(registry()._entries))
    ganenc.register("model", "my-info", summary="Made by a script")(family)
    return "my-info"


def test_from_the_spec_to_a_photo_in_the_shell(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = ganenc.load_generator(model)
    channels, classes = generator.spec.channels, generator.spec.classes
    call("spec", model, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["generator"] == generator.spec.to_mapping()
    assert told["encoder"]["channels"] == channels
    labels = ["--labels", "1"] if classes else []
    call("generate", "--model", model, "--out", tmp_path / "made", "-n", 2, *labels)
    with Image.open(tmp_path / "made" / "0001.png") as picture:
        assert (picture.mode, picture.size) == ("RGB" if channels == 3 else "L", (16, 16))
    drawn = ganenc.Latents.load(tmp_path / "made" / "latents.safetensors", model=ganenc.model_hash(generator))
    assert len(drawn) == 2
    run = tmp_path / "run"
    call("pretrain", "--model", model, "--out", run, "--steps", 2, "--set", "data.batch=2", *FAST)
    assert (run / "encoder" / "model.safetensors").is_file()
    photo = tmp_path / "made" / "0000.png"
    options: list[Any] = ["--encoder", run, "--method", "finetune", "--steps", 2, "--backbone", "none", *labels]
    call("invert", photo, "--model", model, "--out", tmp_path / "found", *options)
    again = ganenc.images.read(tmp_path / "found" / "0000" / "reconstruction.png", channels=channels)
    latents = ganenc.Latents.load(tmp_path / "found" / "0000" / "latents.safetensors")
    with torch.no_grad():
        rebuilt = generator.synthesize(latents)[0].clamp(-1, 1)
    assert (rebuilt - again).abs().max() <= 1 / 255 + 1e-4
    if classes:
        assert torch.equal(latents["category"], torch.eye(classes)[[1]])
