"""The command line, on a generator of sixteen pixels that is registered here as a stranger would do it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.encoders import build_encoder
from ganenc.generators import Generator
from ganenc.jobs import ResultFolder
from ganenc.latents import Latents
from ganenc.models import load_generator, model_hash, save_pretrained
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry import Contribution, PluginStatus, Registry, registry
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, InvertSpec, Map, Prior, RunSpec, Styles
from PIL import Image
from torch import Tensor, nn

TORCH_FREE = """
import sys
from ganenc.cli import main
for words in (["list"], ["list", "model", "--json"], ["plugins"], ["spec", {spec!r}], ["spec", {model!r}, "--json"],
              ["spec", "paper-pretrain-s1"]):
    try:
        main(words)
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
    heavy = [name for name in ("torch", "torchvision", "skimage", "numpy") if name in sys.modules]
    assert not heavy, (words, heavy)
"""


class ToyGenerator(Generator):
    """A generator of the test command line."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        styles = spec.part("w")
        assert isinstance(styles, Styles)
        self.mapping = nn.Linear(spec.prior.dim, styles.dim)
        self.const = nn.Parameter(torch.randn(styles.dim, 4, 4))
        self.convs = nn.ModuleList(nn.Conv2d(styles.dim, styles.dim, 3, padding=1) for _ in range(2))
        self.to_rgb = nn.Conv2d(styles.dim, spec.channels, 1)

    def map(self, z: Tensor, **_: Any) -> Latents:
        w = self.mapping(z).tanh()
        return self.complete(Latents(self.spec.layout, {"w": w[:, None].expand(-1, 2, -1)}))

    def default(self, name: str) -> Tensor | None:
        return self.const[None] if name == "const" else None

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        latents = self.complete(latents)
        x = latents["const"]
        for index, conv in enumerate(self.convs):
            x = nn.functional.interpolate(x * (1 + latents["w"][:, index, :, None, None]), scale_factor=2)
            x = nn.functional.leaky_relu(conv(x), 0.2)
        return self.to_rgb(x)


class ToyBackbone(Backbone):
    """A backbone of the test command line."""

    name = "toy-cli-backbone"
    smallest = 16

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        weights = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor) -> BackboneOutput:
        return BackboneOutput([nn.functional.conv2d(images, self.weights).relu()])


SPEC = GeneratorSpec(
    family="toy-cli",
    size=(16, 16),
    prior=Prior(dim=6),
    layout=(Styles(layers=2, dim=8), Map(channels=8, height=4, width=4)),
    resolution_channels={4: 8, 8: 8, 16: 8},
)


@pytest.fixture(scope="module", autouse=True)
def toys() -> None:
    """Register what the tests use, once a process."""
    ganenc.register("generator", "toy-cli")(ToyGenerator)
    ganenc.register("backbone", ToyBackbone.name)(ToyBackbone)


@pytest.fixture(scope="module")
def model(toys: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with its encoder."""
    folder = tmp_path_factory.mktemp("models") / "toy"
    torch.manual_seed(0)
    generator = ToyGenerator(SPEC).freeze()
    save_pretrained(generator, folder, info={"backbone": ToyBackbone.name})
    save_pretrained(build_encoder(generator), folder / "encoder", info={"generator": model_hash(generator)})
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with a colour photo and a grey one of another size and the same stem, in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "one.png")
    Image.fromarray(pixels[..., 0]).save(folder / "more" / "one.jpg")
    return folder


class Ran:
    """How one command went."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def json(self) -> Any:
        """What it printed, as data; a constant that JSON does not have is an error."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.out, parse_constant=refuse)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command in this process."""

    def command(*words: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ran(0 if code is None else int(code), out, err)

    return command


def pixels(path: Path) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(path))


def test_commands_without_tensors_import_no_torch(tmp_path: Path, model: Path) -> None:
    spec = tmp_path / "toy.json"
    spec.write_text(SPEC.to_json())
    script = TORCH_FREE.format(spec=str(spec), model=str(model))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class TestCatalogue:
    def test_list_names_every_contribution_of_a_kind(self, run: Any) -> None:
        found = run("list", "loss", "--json").json()
        assert {item["name"] for item in found} >= {"mse", "cos", "ssim", "lpips"}
        assert {item["kind"] for item in found} == {"loss"}
        assert all(item["owner"] and item["summary"] and item["target"] for item in found)

    def test_list_in_words_shows_the_same_names(self, run: Any) -> None:
        ran = run("list", "losses")
        assert ran.code == 2
        assert "losses" in ran.err
        ran = run("list", "generators")
        assert "toy-cli" in ran.out

    def test_a_wrong_kind_is_told_the_right_one(self, run: Any) -> None:
        ran = run("list", "generatr")
        assert ran.code == 2
        assert "'generator'" in ran.err
        assert ran.err.count("\n") == 1

    def test_list_shows_the_options_that_a_component_declares(self, run: Any) -> None:
        found = {item["name"]: item["options"] for item in run("list", "attention", "--options", "--json").json()}
        (weights,) = found["center"]
        assert (weights["name"], weights["default"], weights["required"]) == ("weights", [0.375, 0.625], False)
        assert "Equation 2" in weights["description"]
        assert found["none"] == []
        shown = run("list", "attention", "--options").out
        assert weights["description"] in shown
        assert "It has no options." in shown
        ran = run("list", "model", "--options")
        assert ran.code == 2
        assert "attention" in ran.err

    def test_options_of_what_cannot_be_imported_are_told_and_the_rest_are_listed(
        self, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        installed = Registry()
        installed.add_all(
            [registry().get("loss", "mse"), Contribution("loss", "x", "an x", "nobody:X")], owner="a test"
        )
        monkeypatch.setattr("ganenc.cli.catalogue.registry", lambda: installed)
        ran = run("list", "loss", "--options")
        assert ran.code == 1
        assert "nobody" in ran.err
        assert "mse" in ran.out

    def test_plugins_says_why_one_failed_and_exits_with_1(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        item = Contribution(kind="loss", name="x", summary="an x", target="ganenc.objectives:MSE")
        statuses = [
            PluginStatus("good", "good 1.0", contributions=(item,)),
            PluginStatus("bad", "bad 2.0", error="boom"),
        ]
        monkeypatch.setattr(registry(), "plugins", statuses[:1])
        assert run("plugins").code == 0
        monkeypatch.setattr(registry(), "plugins", statuses)
        ran = run("plugins")
        assert ran.code == 1
        assert "loss x" in ran.out
        assert "boom" in ran.out
        assert run("plugins", "--json").json()[1]["error"] == "boom"


class TestSpec:
    def test_a_generator_file_gives_the_mirrored_encoder(self, run: Any, tmp_path: Path) -> None:
        path = tmp_path / "toy.yaml"
        path.write_text(SPEC.to_yaml())
        found = run("spec", path, "--json").json()
        mirror = EncoderSpec.mirror(SPEC)
        assert EncoderSpec.from_mapping(found["encoder"]) == mirror
        assert found["parameters"] == sum(p.numel() for p in build_encoder(mirror).parameters())
        assert [row["block"] for row in found["rows"]][:3] == ["image", "block 1", "block 2"]
        shown = run("spec", path).out
        assert f"{found['parameters']:,}" in shown
        assert "16x16" in shown

    def test_set_changes_the_encoder(self, run: Any, model: Path) -> None:
        found = run("spec", model, "--set", "residual=sum", "--set", "head_gain=1e-2", "--json").json()
        assert found["encoder"]["residual"] == "sum"
        assert found["encoder"]["head_gain"] == 0.01

    def test_a_wrong_field_is_told_the_right_one(self, run: Any, model: Path) -> None:
        ran = run("spec", model, "--set", "residul=sum")
        assert ran.code == 2
        assert "'residual'" in ran.err

    @pytest.mark.parametrize(
        ("setting", "told"),
        [
            ("block=adaptiv", "did you mean 'adaptive'"),
            ("block.nam=adaptive", "did you mean 'name'"),
            ("block.options.rate=1", "block.options.rate: there is no such field"),
        ],
    )
    def test_a_wrong_block_or_option_of_it_is_named_by_its_path(
        self, run: Any, model: Path, setting: str, told: str
    ) -> None:
        ran = run("spec", model, "--set", setting)
        assert ran.code == 2
        assert told in ran.err

    def test_a_run_and_a_preset_and_an_encoder_are_shown(self, run: Any, tmp_path: Path, model: Path) -> None:
        assert run("spec", "paper-finetune", "--json").json()["run"]["steps"] == 3500
        assert "steps: 3500" in run("spec", "paper-finetune").out
        path = tmp_path / "run.yaml"
        spec = RunSpec(task="pretrain", model=str(model), steps=3, encoder={"overrides": {"blur": True}})
        path.write_text(spec.to_yaml())
        found = run("spec", path, "--json").json()
        assert found["run"]["steps"] == 3
        assert found["encoder"]["blur"] is True
        assert "encoder" in run("spec", model / "encoder", "--json").json()

    def test_an_unknown_name_is_told_the_nearest(self, run: Any) -> None:
        ran = run("spec", "paper-finetun")
        assert ran.code == 2
        assert "'paper-finetune'" in ran.err


class TestUsage:
    def test_a_wrong_option_is_told_the_right_one(self, run: Any, model: Path, tmp_path: Path) -> None:
        ran = run("generate", "--model", model, "--out", tmp_path, "--truncatoin", "0.5")
        assert ran.code == 2
        assert "--truncation" in ran.err

    def test_a_wrong_method_is_told_the_right_one(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        ran = run("invert", photos, "--model", model, "--out", tmp_path, "--method", "finetun")
        assert ran.code == 2
        assert "'finetune'" in ran.err

    def test_a_wrong_fit_is_told_the_right_one(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        ran = run("invert", photos, "--model", model, "--out", tmp_path, "--fit", "covr")
        assert ran.code == 2
        assert "'cover'" in ran.err

    def test_an_option_that_the_method_has_not_is_an_error(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        ran = run("invert", photos, "--model", model, "--out", tmp_path / "o", "--method", "encode", "--steps", 5)
        assert ran.code == 2
        assert "method.options.steps" in ran.err
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize("device", ["cuda:99", "tpu"])
    def test_a_device_that_is_not_there_is_one_sentence(
        self, run: Any, model: Path, tmp_path: Path, device: str
    ) -> None:
        ran = run("generate", "--model", model, "--out", tmp_path, "--device", device)
        assert ran.code == 2
        assert device in ran.err or "cuda" in ran.err
        assert "Traceback" not in ran.err
        assert ran.err.count("\n") == 1

    def test_a_model_that_is_not_there_is_one_sentence(self, run: Any, tmp_path: Path) -> None:
        ran = run("generate", "--model", "no-such-model", "--out", tmp_path)
        assert ran.code == 1
        assert "no-such-model" in ran.err
        assert ran.err.count("\n") == 1

    def test_labels_where_there_are_no_classes_are_an_error(self, run: Any, model: Path, tmp_path: Path) -> None:
        ran = run("generate", "--model", model, "--out", tmp_path, "--labels", "1,2")
        assert ran.code == 2
        assert "no classes" in ran.err

    def test_a_script_is_imported_first(self, run: Any, tmp_path: Path) -> None:
        script = tmp_path / "my_loss_for_cli.py"
        script.write_text(
            "import ganenc\n\n@ganenc.register('loss', 'my-loss-for-cli')\nclass Mine:\n    'A loss of mine.'\n"
        )
        names = [item["name"] for item in run("--import", script, "list", "loss", "--json").json()]
        assert "my-loss-for-cli" in names
        ran = run("--import", tmp_path / "absent.py", "list")
        assert ran.code == 1
        assert "absent.py" in ran.err


class TestInvert:
    @pytest.mark.parametrize(
        ("method", "more", "steps"),
        [("encode", (), 0), ("finetune", ("--steps", 3), 3), ("optimize", ("--steps", 4, "--space", "w"), 4)],
    )
    def test_each_photo_leaves_its_folder(
        self, run: Any, model: Path, photos: Path, tmp_path: Path, method: str, more: tuple[object, ...], steps: int
    ) -> None:
        out = tmp_path / "out"
        ran = run("invert", photos, "--model", model, "--out", out, "--method", method, *more, "--json")
        assert ran.code == 0, ran.err
        told = ran.json()
        assert [Path(item["folder"]).name for item in told["photos"]] == ["one", "one-2"]
        assert (out / "index.html").is_file()
        for item in told["photos"]:
            folder = Path(item["folder"])
            names = {path.name for path in folder.iterdir()}
            wanted = {"latents.safetensors", "reconstruction.png", "target.png", "inversion.json", "report.html"}
            assert names == wanted | (set() if method == "encode" else {"attention.png"})
            facts = json.loads((folder / "inversion.json").read_text())
            error = np.square(
                pixels(folder / "target.png").astype(float) - pixels(folder / "reconstruction.png")
            ).mean()
            assert facts["metrics"]["psnr"] == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
            assert set(facts["metrics"]) == {"psnr", "ssim", f"lpips-{ToyBackbone.name}"}
            assert set(facts["metric_settings"]) == set(facts["metrics"])
            assert (facts["settings"]["method"]["name"], facts["steps"]) == (method, steps)
            assert facts["model_hash"] == told["model_hash"] == model_hash(load_generator(model))
            assert facts["seconds"] > 0
        mean = np.mean([item["metrics"]["psnr"] for item in told["photos"]])
        assert told["mean"]["psnr"] == pytest.approx(mean)

    def test_saved_latents_give_the_same_pixels(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        assert run("invert", photos / "one.png", "--model", model, "--out", out, "--steps", 2, "--no-report").code == 0
        assert not list(out.rglob("*.html"))
        again = tmp_path / "again"
        ran = run("invert", out / "one" / "latents.safetensors", "--model", model, "--out", again, "--json")
        assert ran.code == 0, ran.err
        (image,) = ran.json()["images"]
        assert np.array_equal(pixels(Path(image["image"])), pixels(out / "one" / "reconstruction.png"))

    def test_what_photos_are_for_and_the_time_that_there_is_choose_the_method(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        words = ("invert", photos / "one.png", "--model", model, "--out")
        ran = run(*words, tmp_path / "both", "--for", "edit", "--method", "encode")
        assert ran.code == 2
        assert "A method and what it is for (edit) are given; leave one out." in ran.err
        for purpose, name, edits in (("edit", "tune", 1.0), ("rebuild", "finetune+refine", None)):
            assert run(*words, tmp_path / purpose, "--for", purpose, "--steps", 4).code == 0
            facts = json.loads((tmp_path / purpose / "one" / "inversion.json").read_text())
            assert facts["settings"]["method"]["name"] == name
            assert facts["settings"]["method"]["options"].get("edits") == edits
        timed = (*words, tmp_path / "timed", "--seconds", 0.2, "--json")
        first, again = run(*timed), run(*timed)  # Another number of steps may fit now, and the photo is done.
        assert (first.code, again.code) == (0, 0), first.err + again.err
        facts = json.loads((tmp_path / "timed" / "one" / "inversion.json").read_text())
        assert facts["settings"]["method"]["options"]["steps"] >= 1
        (told,) = ResultFolder(tmp_path / "timed").settings().values()
        assert told["method"]["options"]["steps"] == "0.2 seconds"

    def test_the_objective_can_be_chosen(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        words = ("invert", photos / "one.png", "--model", model, "--steps", 2, "--out")
        assert run(*words, tmp_path / "a").code == 0
        assert (
            run(
                *words, tmp_path / "b", "--set", "objective.attention.name=none", "--set", "method.options.rate=0.02"
            ).code
            == 0
        )
        (told,) = ResultFolder(tmp_path / "b").settings().values()
        assert told["objective"]["attention"] == {"name": "none", "options": {}}
        assert told["method"] == {"name": "tune", "options": {"steps": 2, "rate": 0.02}}
        views = "Views of the attention"
        assert views in (tmp_path / "a" / "one" / "report.html").read_text()
        assert views not in (tmp_path / "b" / "one" / "report.html").read_text()
        for wrong, said in (
            ("objective.attention.nam=none", "did you mean 'name'"),
            ("objective=3", "mapping of fields"),
            ("rate=0.02", "did you mean 'method.options.rate'"),
            ("method.options.rat=0.02", "method.options.rat: there is no such field (did you mean 'rate'?)"),
        ):
            ran = run(*words, tmp_path / "c", "--set", wrong)
            assert ran.code == 2
            assert said in ran.err
        assert not (tmp_path / "c").exists()

    def test_latents_of_another_model_are_refused(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        torch.manual_seed(9)
        save_pretrained(ToyGenerator(SPEC), tmp_path / "other")
        out = tmp_path / "out"
        run("generate", "--model", model, "--out", out, "--n", 1)
        ran = run("invert", out / "latents.safetensors", "--model", tmp_path / "other", "--out", out)
        assert ran.code == 1
        assert "another model" in ran.err or "belong to the model" in ran.err

    def test_a_broken_photo_is_named_and_the_rest_go_on(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        broken = photos / "broken.jpg"
        broken.write_text("no photo")
        out = tmp_path / "out"
        words = ("invert", broken, photos / "one.png", "--model", model, "--out", out, "--method", "encode")
        ran = run(*words, "--json")
        assert ran.code == 1
        assert "1 of 2 photos failed" in ran.err
        told = ran.json()
        assert [item["photo"] for item in told["failures"]] == [str(broken)]
        assert (out / "one" / "latents.safetensors").is_file()
        assert not (out / "broken").exists()
        assert "broken.jpg" in (out / "index.html").read_text()
        assert "Traceback" not in run(*words).err

    def test_no_photo_is_begun_after_the_time_is_spent(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        from ganenc.jobs import invert_folder

        found = [photos / "one.png", photos / "more" / "one.jpg", photos / "none.png"]
        spec = InvertSpec(method={"name": "encode", "options": {"batch": 1}})
        result = invert_folder(str(model), found, tmp_path / "out", spec, budget=0.0)
        assert (result.done, result.left, result.failures) == (1, 2, [])

    def test_an_encoder_of_another_shape_is_refused(self, run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
        other = SPEC.model_copy(update={"size": (32, 32)})
        save_pretrained(build_encoder(other), tmp_path / "other")
        ran = run("invert", photos, "--model", model, "--encoder", tmp_path / "other", "--out", tmp_path / "out")
        assert ran.code == 2
        assert ran.err.startswith("Error: ")
        assert not (tmp_path / "out").exists()

    def test_without_an_encoder_optimize_works_and_encode_says_what_to_do(
        self, run: Any, photos: Path, tmp_path: Path
    ) -> None:
        torch.manual_seed(0)
        bare = tmp_path / "bare"
        save_pretrained(ToyGenerator(SPEC), bare)
        words = ("invert", photos / "one.png", "--model", bare, "--out", tmp_path / "out", "--backbone", "none")
        ran = run(*words, "--method", "encode")
        assert ran.code == 2
        assert "ganenc pretrain" in ran.err
        ran = run(*words, "--method", "optimize", "--steps", 2, "--json")
        assert ran.code == 0, ran.err
        assert set(ran.json()["mean"]) == {"psnr", "ssim"}


def test_generate_writes_images_and_latents_that_make_them_again(run: Any, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run("generate", "--model", model, "--n", 3, "--seed", 5, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert [Path(name).name for name in ran.json()["images"]] == ["0000.png", "0001.png", "0002.png"]
    assert pixels(out / "grid.png").shape == (2 * 16 + 2, 2 * 16 + 2, 3)
    generator = load_generator(model)
    wanted = generator.sample(3, seed=5)
    saved = Latents.load(out / "latents.safetensors", model=model_hash(generator))
    assert torch.allclose(saved["w"], wanted["w"])
    assert run("invert", out / "latents.safetensors", "--model", model, "--out", out / "again").code == 0
    for index, path in enumerate(sorted((out / "again").iterdir())):
        assert np.array_equal(pixels(path), pixels(out / f"{index:04d}.png"))


class TestTraining:
    def test_pretrain_leaves_an_encoder_and_a_report_and_resumes(self, run: Any, model: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        words = ("pretrain", "--model", model, "--out", out, "--steps", 4, "--set", "data.batch=2")
        words += ("--set", "saving.log_every=2", "--set", "saving.checkpoint_every=2", "--set", "optimiser.rate=1e-3")
        ran = run(*words)
        assert ran.code == 0, ran.err
        spec = RunSpec.from_file(out / "run.yaml")
        assert (spec.steps, spec.data.batch, spec.optimiser.rate) == (4, 2, 0.001)
        assert spec.objective.backbone is None, "the model's own, wherever it is carried out"
        assert (out / "encoder" / "model.safetensors").is_file()
        assert "4 of 4" in (out / "report.html").read_text()
        before = (out / "encoder" / "model.safetensors").read_bytes()
        assert run(*words).code == 0
        assert (out / "encoder" / "model.safetensors").read_bytes() == before
        ran = run(*words[:-1], "optimiser.rate=2e-3")
        assert ran.code == 1
        assert "optimiser.rate" in ran.err
        evaluated = run("evaluate", "--model", model, "--encoder", out, "--samples", 3, "--json")
        assert evaluated.code == 0, evaluated.err

    def test_finetune_starts_from_the_models_encoder_and_names_broken_photos(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        (photos / "broken.png").write_text("no photo")
        out = tmp_path / "run"
        words = ("finetune", photos, "--model", model, "--out", out, "--steps", 2)
        ran = run(*words, "--set", "saving.log_every=1")
        assert ran.code == 1
        assert "broken.png" in ran.err
        assert RunSpec.from_file(out / "run.yaml").encoder.weights == str(model / "encoder")
        assert (out / "encoder" / "model.safetensors").is_file()

    def test_wrong_settings_are_told(self, run: Any, model: Path, tmp_path: Path) -> None:
        words = ("pretrain", "--model", model, "--out", tmp_path / "run")
        ran = run(*words, "--set", "optimiser.rte=1")
        assert ran.code == 2
        assert "'rate'" in ran.err
        assert run(*words, "--set", "optimiser").code == 2
        ran = run("finetune", "--run", "paper-pretrain-s1", "--model", model, "--out", tmp_path / "run")
        assert ran.code == 2
        assert "ganenc pretrain" in ran.err
        assert not (tmp_path / "run").exists()


class TestEvaluate:
    def test_photos_give_means_and_deviations(self, run: Any, model: Path, photos: Path) -> None:
        ran = run("evaluate", photos, "--model", model, "--json")
        assert ran.code == 0, ran.err
        told = ran.json()
        values = [row["psnr"] for row in told["per_image"]]
        assert told["metrics"]["psnr"]["mean"] == pytest.approx(np.mean(values))
        assert told["metrics"]["psnr"]["std"] == pytest.approx(np.std(values, ddof=1))
        assert set(told["metric_settings"]) == set(told["metrics"])
        assert "±" in run("evaluate", "--model", model, "--samples", 2).out

    def test_it_takes_photos_or_samples(self, run: Any, model: Path, photos: Path) -> None:
        assert run("evaluate", "--model", model).code == 2
        assert run("evaluate", photos, "--model", model, "--samples", 2).code == 2


def test_start_builds_an_encoder_that_invert_takes(run: Any, model: Path, photos: Path, tmp_path: Path) -> None:
    bare, out = tmp_path / "bare", tmp_path / "start"
    save_pretrained(load_generator(model), bare, info={"backbone": ToyBackbone.name})
    quick = ("--steps", 2, "--no-report", "--set", "objective.losses={mse: 1.0}")
    told = run("invert", photos, "--model", bare, "--out", tmp_path / "from-centre", *quick)
    assert told.code == 0
    assert f"ganenc start -m {bare}" in told.err
    assert "ganenc start" not in run("invert", photos, "--model", bare, "--out", tmp_path / "q", *quick, "--quiet").err
    facts = run("start", "--model", bare, "--out", out, "--images", 20, "--json").json()
    assert facts["generator"] == model_hash(load_generator(bare))
    assert set(facts["explained"]) == {"w"}
    assert "an encoder" in run("spec", out).out
    with_it = run("invert", photos, "--model", bare, "--encoder", out, "--out", tmp_path / "from-start", *quick)
    assert with_it.code == 0
    assert "ganenc start" not in with_it.err


def test_convert_checks_its_pixels(run: Any, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("convert", "--model", model, "--out", tmp_path / "new", "--json").json()
    assert told["hash"] == model_hash(load_generator(model))
    one, other = load_generator(model), load_generator(tmp_path / "new")
    assert torch.equal(one.synthesize(one.sample(2)), other.synthesize(other.sample(2)))
    monkeypatch.setattr(ToyGenerator, "synthesize", lambda self, latents, **_: torch.rand(len(latents), 3, 16, 16))
    ran = run("convert", "--model", model, "--out", tmp_path / "wrong")
    assert ran.code == 1
    assert "same pixels" in ran.err


class TestDemo:
    def test_it_takes_the_model_that_says_so_and_its_photos(
        self, run: Any, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shown = tmp_path / "zoo" / "toy"
        shutil.copytree(model, shown)
        config = json.loads((shown / "config.json").read_text())
        config["info"] |= {"demo": True, "photos": "../../photos"}
        (shown / "config.json").write_text(json.dumps(config))
        installed = Registry()
        installed.add_value("model", "a-model", model)
        installed.add_value("model", "demo-model", shown)
        installed.add_value("generator", "toy-cli", ToyGenerator)
        for module in ("ganenc.cli.demo", "ganenc.models.resolving", "ganenc.models.faults"):
            monkeypatch.setattr(f"{module}.registry", lambda: installed)
        ran = run("demo", "--out", tmp_path / "demo", "--n", 1, "--steps", 2, "--json")
        assert ran.code == 0, ran.err
        told = ran.json()
        assert told["model"] == "demo-model"
        assert len(told["photos"]) == 1
        assert told["mean_image"]["psnr"] > 0
        assert (tmp_path / "demo" / "index.html").is_file()

    def test_another_model_takes_the_users_photos_as_it_knows_them(
        self, run: Any, model: Path, photos: Path, tmp_path: Path
    ) -> None:
        ran = run("demo", "--model", model, "--out", tmp_path / "demo")
        assert ran.code == 2
        assert "brings no photos; name one" in ran.err
        config = json.loads((model / "config.json").read_text())
        config["info"]["demo_with"] = {"align": "center", "method": {"options": {"steps": 2}}}
        (model / "config.json").write_text(json.dumps(config))
        photo = next(photos.iterdir())
        ran = run("demo", photo, "--model", model, "--out", tmp_path / "demo", "--json")
        assert ran.code == 0, ran.err
        (facts,) = (tmp_path / "demo").glob("*/inversion.json")
        told = json.loads(facts.read_text())
        assert told["transform"] is not None
        assert told["settings"]["method"]["options"]["steps"] == 2

    def test_without_a_zoo_it_says_what_to_install(self, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ganenc.cli.demo.registry", Registry)
        ran = run("demo")
        assert ran.code == 1
        assert "ganenc plugins" in ran.err
        assert ran.err.count("\n") == 1
