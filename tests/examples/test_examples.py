"""Every example runs as it stands, and leaves what it says."""

from __future__ import annotations

import ast
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import ganenc
import pytest
from ganenc.inversion import PhotoFolder
from ganenc_plugin_hands.models import STYLEGAN2_HANDS64
from ganenc_registry.specs import EncoderSpec, RunSpec, Vector
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

needs_hands = pytest.mark.skipif(
    not (STYLEGAN2_HANDS64 / "encoder" / "config.json").is_file(),
    reason="needs the shipped model stylegan2-hands64, which `python -m ganenc_plugin_hands.train` makes",
)


Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs an example from the test's folder, quickly, and gives what it prints.

    It is the main module of this process, where torch is imported already; what it registers is gone afterwards.
    """
    known = ganenc.registry()

    def run(name: str) -> str:
        monkeypatch.setattr(known, "_entries", dict(known._entries))
        monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name), "--quick"])
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.chdir(tmp_path)
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def assert_rebuilt(png: Path, latents: ganenc.Latents, generator: ganenc.Generator) -> None:
    """The latents give the picture again, to the rounding of its 8 bits."""
    made = generator.synthesize(latents).detach().clamp(-1, 1)
    kept = ganenc.images.read(png)
    assert kept.shape == made.shape[1:]
    assert (kept - made[0]).abs().max() <= 1 / 255 + 1e-4


def test_every_example_is_run_here() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f'run("{path.name}"' not in text] == []


def test_a_gan_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_gan.py")
    average, inverted = map(float, re.findall(r"([\d.]+) dB", printed))
    assert inverted > average + 1, printed
    encoder = ganenc.load_encoder(tmp_path / "runs" / "my-gan-20" / "encoder")
    assert [type(part) for part in encoder.spec.parts] == [Vector]
    assert ganenc.Latents.load(tmp_path / "my-gan.safetensors")["z"].shape == (1, 64)
    assert ganenc.images.read(tmp_path / "my-gan.png").shape == (3, 32, 32)


def test_a_gan_of_ones_own_takes_under_twenty_lines() -> None:
    tree = ast.parse((EXAMPLES / "custom_gan.py").read_text(encoding="utf-8"))
    (declared,) = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert declared.end_lineno is not None
    assert declared.end_lineno - declared.decorator_list[0].lineno + 1 < 20


@needs_hands
def test_a_block_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_block.py")
    losses = dict(re.findall(r"^(\w+): [\d,]+ parameters, a mean loss of ([\d.]+)", printed, re.MULTILINE))
    assert losses.keys() == {"adaptive", "separable"}, printed
    assert all(0 < float(loss) < 20 for loss in losses.values()), printed
    config = json.loads((tmp_path / "runs" / "separable-3" / "encoder" / "config.json").read_text(encoding="utf-8"))
    assert config["spec"]["block"] == {"name": "separable", "options": {"kernel": 5}}
    state = safe_open(tmp_path / "runs" / "separable-3" / "encoder" / "model.safetensors", "np")
    assert {"blocks.0.over_pixels.weight", "blocks.4.over_channels.weight", "blocks.4.heads.1.weight"} <= set(
        state.keys()
    )


@needs_hands
def test_an_attention_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_attention.py")
    found = re.findall(r"^(\w+): mean square error ([\d.]+), where there is detail ([\d.]+)$", printed, re.MULTILINE)
    plain, own = ({"all": float(all_), "detail": float(detail)} for _, all_, detail in found)
    assert [name for name, *_ in found] == ["none", "detail"], printed
    assert own["detail"] < plain["detail"], printed
    focus = ganenc.images.read(tmp_path / "detail.png", channels=1, value_range=(0.0, 1.0))
    assert focus.shape == (1, 64, 64)
    assert float(focus.max()) == 1.0 > 0.5 > float(focus.mean())


@needs_hands
def test_a_loss_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_loss.py")
    edges = [float(value) for value in re.findall(r"image/edges ([\d.]+)", printed)]
    assert len(edges) == 4, printed
    assert edges[-1] < edges[0], printed
    resolved = RunSpec.from_file(tmp_path / "runs" / "edges-4" / "run.yaml")
    assert {name: one.weight for name, one in resolved.objective.losses.items()} == {"mse": 5, "cos": 3, "edges": 2}
    assert resolved.objective.losses["edges"].options == {"reach": 2}
    row = json.loads((tmp_path / "runs" / "edges-4" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    weighed = 5 * row["image/mse"] + 3 * row["image/cos"] + 2 * row["image/edges"]
    latent = sum(0.01 * (5 if name.endswith("mse") else 3) * row[name] for name in row if name.startswith("latent/"))
    assert row["total"] == pytest.approx(weighed + latent, rel=1e-4)


@needs_hands
def test_a_metric_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_metric.py")
    found = re.findall(r"^(\w+) ([\d.]+) ± ([\d.]+): (.+)$", printed, re.MULTILINE)
    assert [name for name, *_ in found] == ["psnr", "sharpness"], printed
    assert 0 < float(found[1][1]) < 0.1
    assert "reach 2; 64x64 pixels" in found[1][3]


@needs_hands
def test_restoring_and_an_operator_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("restore.py")
    assert [line.partition(":")[0] for line in printed.splitlines()] == ["small", "hole", "faded"]
    assert "'sigma'" in printed.splitlines()[-1]
    assert Image.open(tmp_path / "small.png").size == (16, 16)
    for name in ("small", "hole", "faded"):
        facts = PhotoFolder(tmp_path / name).facts()
        assert facts["settings"]["operator"][0]["name"] in ("downscale", "mask", "fade")
        assert Image.open(tmp_path / name / PhotoFolder.PASTED).size == (64, 64)


@needs_hands
def test_a_blot_is_found(run: Run, tmp_path: Path) -> None:
    printed = run("score.py").splitlines()
    scores = [float(re.findall(r"score (-?[\d.]+)", line)[0]) for line in printed[:4]]
    assert min(scores[2:]) > max(scores[:2]), printed
    assert float(re.findall(r"'pixel_AUROC': ([\d.]+)", printed[4])[0]) > 0.9, printed
    assert len(list((tmp_path / "scored").glob("*.png"))) == 4


@needs_hands
@pytest.mark.slow
def test_what_a_classifier_goes_by(run: Run, tmp_path: Path) -> None:
    printed = run("explain.py")
    assert float(re.findall(r"([\d.]+) after", printed)[0]) >= 0.9, printed
    assert (tmp_path / "explained" / "map.png").is_file()


@needs_hands
@pytest.mark.slow
def test_what_made_an_image(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    printed = run("attribute.py").splitlines()
    verdicts = [line.rpartition(": ")[2] for line in printed]
    assert verdicts == ["pggan-hands64"] * 2 + ["stylegan2-hands64"] * 2 + ["none"] * 2, printed
    assert (tmp_path / "attributed" / "index.html").is_file()


@needs_hands
def test_an_inverter_of_ones_own(run: Run, tmp_path: Path) -> None:
    printed = run("custom_inverter.py")
    (one, _), (other, settings) = (
        (float(text), line) for line in printed.splitlines() for text in re.findall(r"([\d.]+) dB", line)
    )
    assert "{'name': 'pulled', 'options': {'tries': 5}}" in settings, printed
    assert other > one - 0.5, "of what is tried one pass is the first; the objective is no PSNR"


@needs_hands
def test_a_photo_inverted(run: Run, tmp_path: Path) -> None:
    run("invert_photo.py")
    generator = ganenc.load_generator("stylegan2-hands64")
    folder = PhotoFolder(tmp_path / "inverted")
    assert_rebuilt(folder.path / "reconstruction.png", folder.latents(model=ganenc.model_hash(generator)), generator)
    assert folder.has_page
    assert (tmp_path / "edited" / "strip.png").is_file()


@needs_hands
def test_a_photo_edited(run: Run, tmp_path: Path) -> None:
    printed = run("edit.py")
    assert float(re.findall(r"right for ([\d.]+)%", printed)[0]) > 50, printed
    generator = ganenc.load_generator("stylegan2-hands64")
    for name, space in (("open-hand", "w+"), ("pca-0", "w")):
        found = ganenc.Direction.load(tmp_path / f"{name}.safetensors", model=ganenc.model_hash(generator))
        assert found.space == space
        strip = ganenc.images.read(tmp_path / name / "strip.png")
        assert strip.shape == (3, 64, 8 * 66 - 2), "the photo and seven edits"
        with Image.open(tmp_path / name / "edit.gif") as moving:
            assert moving.n_frames == 2 * 24 - 2  # type: ignore[attr-defined]


@needs_hands
def test_a_run_from_one_file(run: Run, tmp_path: Path) -> None:
    run("from_spec.py")
    folder = tmp_path / "runs" / "from-spec-4"
    resolved = RunSpec.from_file(folder / "run.yaml")
    written = RunSpec.from_file(EXAMPLES / "run.yaml")
    assert "auto" not in (resolved.speed.encoder_format, resolved.speed.generator_format)
    assert resolved == written.model_copy(update={"steps": 4, "speed": resolved.speed})
    generator = ganenc.load_generator("stylegan2-hands64")
    assert ganenc.load_encoder(folder / "encoder").spec == EncoderSpec.mirror(generator.spec, map_gain=0.1)
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows[-1]["step"] == 4
    assert {"image/mse", "at1/cos", "at2/lpips", "image/ssim", "latent/w/mse", "total"} <= set(rows[-1])
    assert sorted(path.name for path in (folder / "grids").glob("*.png")) == ["step-0000001.png", "step-0000004.png"]


def test_what_the_file_of_a_run_names_is_there() -> None:
    written, known = RunSpec.from_file(EXAMPLES / "run.yaml"), ganenc.registry()
    assert written.model in known.names("model")
    assert written.objective.backbone.name in known.names("backbone")
    assert written.objective.attention.name in known.names("attention")
    assert set(written.objective.losses) <= set(known.names("loss"))
