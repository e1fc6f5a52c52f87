"""What can be named, in which order checks run, and how they are told: in Python, by pytest, on the command line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, ClassVar

import ganenc
import pytest
import torch
from ganenc.cli import main
from ganenc.encoders import EncoderNetwork
from ganenc.generators import build_from
from ganenc.measures import PSNR
from ganenc.models import release_folder, save_pretrained
from ganenc.objectives import MSE
from ganenc.testing import (
    CheckFailed,
    Subject,
    check,
    check_generator,
    check_loss,
    check_metric,
    check_model,
    check_recipe,
    find_subjects,
    known_checks,
    parametrize_with_checks,
    run_checks,
    subject_of,
)
from ganenc.testing.examples import ExampleBackbone, ExampleGenerator, conditional_spec, vector_spec
from ganenc.training import EncoderRecipe
from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError
from ganenc_registry.specs import Release, Spec
from pydantic import Field

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = '''
import ganenc
from ganenc.objectives import MSE

@ganenc.register("loss", "kit-good")
class Good(MSE):
    """Mean square error, once more."""

@ganenc.register("loss", "kit-bad", summary="Mean square error and one")
class Bad(MSE):
    def forward(self, view, reference):
        return super().forward(view, reference) + 1
'''


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a test registers goes when it ends."""
    found = registry()
    monkeypatch.setattr(found, "_entries", dict(found._entries))
    return found


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script that registers a sound loss and one that is never 0."""
    path = tmp_path / "kit_losses.py"
    path.write_text(SCRIPT)
    return path


def names(subjects: Any) -> list[str]:
    return [one.name for one in subjects]


class TestSubjects:
    def test_a_bare_name_and_one_with_its_kind(self) -> None:
        assert names(find_subjects("mse")) == names(find_subjects("loss:mse")) == ["loss:mse"]

    def test_a_name_of_several_kinds_says_which(self) -> None:
        with pytest.raises(UnknownNameError, match="'ssim' names a loss and a metric: say loss:ssim or metric:ssim"):
            find_subjects("ssim")

    def test_an_unknown_name_is_told_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'adaptive'"):
            find_subjects("adaptiv")
        with pytest.raises(UnknownNameError, match="no loss 'mze'"):
            find_subjects("loss:mze")

    @pytest.mark.parametrize("name", ["ganenc-plugin-pggan", "ganenc_plugin_pggan", "plugin:ganenc-plugin-pggan"])
    def test_a_plugin_is_itself_and_all_that_it_contributes(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beside the folder of its project too."""
        (tmp_path / "ganenc-plugin-pggan").mkdir()
        monkeypatch.chdir(tmp_path)
        found = names(find_subjects(name))
        assert found[:2] == ["plugin:ganenc-plugin-pggan", "generator:pggan"]
        assert "model:pggan-celebahq-1024" in found

    def test_a_script_is_all_that_it_registers_each_time(self, script: Path) -> None:
        for _ in range(2):
            assert names(find_subjects(str(script))) == ["loss:kit-bad", "loss:kit-good"]

    def test_a_script_that_registers_nothing_or_fails_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "kit_empty.py").write_text("x = 1\n")
        (tmp_path / "kit_fails.py").write_text("import a_module_nobody_has\n")
        with pytest.raises(PluginError, match=r"registers nothing; decorate what it brings with `@ganenc\.register"):
            find_subjects(str(tmp_path / "kit_empty.py"))
        with pytest.raises(PluginError, match="a_module_nobody_has"):
            find_subjects(str(tmp_path / "kit_fails.py"))

    def test_the_kind_of_what_is_at_hand_follows_from_its_class(self) -> None:
        for value, kind in ((ExampleGenerator, "generator"), (ExampleBackbone(), "backbone"), (MSE(), "loss")):
            assert subject_of(value).kind == kind
        assert subject_of(Path("x")).kind == "model"
        with pytest.raises(PluginError, match="say so with `kind`"):
            subject_of(len)

    def test_a_spec_is_for_a_generator(self) -> None:
        spec = vector_spec()
        with pytest.raises(SpecError, match="brings no generator"):
            find_subjects("loss:mse", spec=spec)
        with pytest.raises(SpecError, match="leave it out"):
            subject_of(MSE, spec=spec)
        assert find_subjects("generator:pggan", spec=spec)[0].spec is spec


class TestGenerators:
    def test_one_is_checked_under_the_name_that_it_is_registered_by(self) -> None:
        ganenc.register("generator", "kit-named", summary="An example")(ExampleGenerator)
        (outcome,) = check("kit-named", only=["spec-names-its-family"], on_fail="return")
        assert outcome.sentence == (
            "The spec says family 'example', but 'kit-named' is registered; set family='kit-named'."
        )

    def test_another_class_under_the_specs_family_is_told(self) -> None:
        ganenc.register("generator", "example", summary="Another")(type("Other", (ExampleGenerator,), {}))
        with pytest.raises(CheckFailed, match="The family 'example' is registered as"):
            check_generator(ExampleGenerator, only=["spec-names-its-family"])

    def test_a_family_without_a_spec_takes_that_of_its_smallest_shipped_model(self) -> None:
        from ganenc.testing.generator_case import GeneratorCase

        spec = GeneratorCase(find_subjects("generator:stylegan2")[0]).spec
        assert spec.size == (64, 64)
        assert spec.options["mapping_layers"]

    @pytest.mark.parametrize("kept", [True, False])
    def test_one_that_takes_no_spec_is_built_without(self, kept: bool) -> None:
        class Kept(ExampleGenerator):
            if kept:
                spec = vector_spec((8, 8))  # Of another size than what is handed on.

            def __init__(self, network: Any = None) -> None:
                super().__init__(vector_spec())
                assert network is None

        (outcome,) = check_generator(Kept, only=["builds-from-its-spec"])
        assert outcome.passed
        assert build_from(Kept, vector_spec()).spec == vector_spec()
        with pytest.raises(SpecError, match="which differs from this in size; let its __init__ take a `spec`"):
            build_from(Kept, vector_spec((8, 8)))

    def test_a_function_that_makes_a_model_is_checked(self) -> None:
        made = ExampleGenerator(vector_spec())
        assert {one.result for one in check_model(lambda: made)} == {"passed", "skipped"}
        drawn = [ExampleGenerator(vector_spec()) for _ in range(2)]
        torch.nn.init.ones_(drawn[1].paint.weight)
        failed = [one.check.name for one in check_model(drawn.pop, on_fail="return") if one.failed]
        assert failed == ["loads-twice-alike"]

    def test_a_family_of_which_nothing_is_known_wants_a_spec(self) -> None:
        class Needy(ExampleGenerator):
            def __init__(self, spec: Any) -> None:
                super().__init__(spec)

        (outcome,) = check(Needy, only=["builds-from-its-spec"], on_fail="return")
        assert "give one by --spec or spec=" in outcome.sentence
        assert check_generator(Needy, spec=vector_spec(), only=["builds-from-its-spec"])[0].passed


class TestRunning:
    def test_the_stages_come_in_order_and_names_are_used_once_a_kind(self) -> None:
        order = ["static", "import", "behaviour"]
        seen: dict[str, list[Any]] = {}
        for one in known_checks():
            seen.setdefault(one.kind, []).append(one)
            assert one.why.endswith(".")
            assert "\n" not in one.why
        for checks in seen.values():
            stages = [order.index(one.stage) for one in checks]
            assert stages == sorted(stages)
            assert len({one.name for one in checks}) == len(checks)

    def test_what_rests_on_a_failed_check_is_skipped(self) -> None:
        class Unbuilt(MSE):
            def __init__(self, *given: Any) -> None:
                raise RuntimeError("no luck here")

        first, *others = check_loss(Unbuilt, on_fail="return")
        assert (first.result, first.sentence) == ("failed", "RuntimeError: no luck here")
        assert {(one.result, one.sentence) for one in others} == {
            ("skipped", "not run, as builds-as-an-objective-builds-it failed")
        }

    def test_weights_that_are_not_here_skip_the_rest(self) -> None:
        class Absent(ExampleBackbone):
            @classmethod
            def available(cls) -> bool:
                return False

        outcomes = check(Absent, on_fail="return")
        assert {(one.result, one.sentence) for one in outcomes} == {("skipped", "its weights are not on this machine")}

    def test_a_check_uses_no_network_and_gives_it_back(self) -> None:
        class Fetches(MSE):
            def prepare(self, target_view: Any) -> Any:
                socket.create_connection(("example.org", 80))

        before = socket.getaddrinfo
        (outcome,) = check(Fetches, only=["one-number-a-sample"], on_fail="return")
        assert outcome.sentence == "gaierror: checks use no network"
        assert socket.getaddrinfo is before

    def test_a_backbone_is_called_as_it_is_registered(self) -> None:
        ganenc.register("backbone", "kit-backbone", summary="An example")(ExampleBackbone)
        (outcome,) = check("kit-backbone", only=["name-is-the-registered-one"], on_fail="return")
        assert outcome.sentence.startswith("It is registered as 'kit-backbone' but called 'example'")

    def test_a_summary_says_more_than_the_name(self) -> None:
        ganenc.register("metric", "kit-metric")(type("Kit", (PSNR,), {"__doc__": ""}))
        outcomes = check("kit-metric", only=["summary-says-what-it-is"], on_fail="return")
        assert "its name, so lists say nothing of it" in outcomes[0].sentence

    def test_a_thing_of_another_kind_is_told(self) -> None:
        ganenc.register("loss", "kit-other", summary="No loss")(ExampleBackbone)
        failed = [one for one in check("loss:kit-other", on_fail="return") if one.failed]
        assert [one.check.name for one in failed] == ["target-is-of-its-kind"]
        assert "a Loss is expected" in failed[0].sentence

    def test_an_abstract_class_names_what_is_missing(self) -> None:
        ganenc.register("loss", "kit-abstract", summary="Half a loss")(type("Half", (ganenc.Loss,), {}))
        (outcome,) = check("kit-abstract", only=["target-is-of-its-kind"], on_fail="return")
        assert outcome.sentence == "loss:kit-abstract does not implement forward, prepare; write it."

    def test_a_recipe_is_checked_with_the_encoder_that_it_asks_for(self) -> None:
        class Wide(EncoderRecipe):
            encoder_fields: ClassVar[dict[str, Any]] = {"network": {"name": "kit-network"}}

            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                assert isinstance(self.encoder.network, Network)
                assert self.encoder.network.options.width == 2

        class Network(EncoderNetwork):
            class Options(Spec):
                width: int = Field(99, json_schema_extra={"small": 2})

            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                self.norm = torch.nn.BatchNorm2d(3)
                self.rows = torch.nn.Linear(3 * 8 * 8, 4 * 6)

            def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
                (part,) = self.spec.parts
                rows = self.rows(self.norm(images).flatten(1))
                return {part.name: rows.reshape(-1, *part.shape)}

        ganenc.register("encoder", "kit-network", summary="One linear layer")(Network)
        results = {one.check.name: one.result for one in check_recipe(Wide)}
        assert results.pop("batches-go-in-parts") == "skipped"
        assert set(results.values()) == {"passed"}

    def test_an_unknown_check_is_told_the_nearest(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'one-number-a-sample'"):
            check_metric(PSNR, only=["one-number-sample"])


class TestModels:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        ganenc.register("generator", "example", summary="An example")(ExampleGenerator)
        save_pretrained(ExampleGenerator(conditional_spec()), tmp_path / "model")
        return tmp_path / "model"

    def change(self, folder: Path, **fields: Any) -> None:
        config = json.loads((folder / "config.json").read_text())
        config["spec"].update(fields)
        (folder / "config.json").write_text(json.dumps(config))

    def failing(self, folder: Path) -> list[str]:
        return [one.check.name for one in check_model(folder, on_fail="return") if one.failed]

    def test_a_sound_folder_passes(self, folder: Path) -> None:
        assert self.failing(folder) == []

    def test_what_is_no_folder_is_told(self, tmp_path: Path) -> None:
        assert self.failing(tmp_path / "nowhere") == ["is-a-folder-a-release-or-a-function"]

    def test_an_unknown_family_is_told(self, folder: Path) -> None:
        self.change(folder, family="of-nobody")
        assert self.failing(folder) == ["spec-names-an-installed-family"]

    def test_a_missing_licence_is_told(self, folder: Path) -> None:
        self.change(folder, licence="unknown")
        assert self.failing(folder) == ["licence-is-told"]

    def test_a_pickle_is_told(self, folder: Path) -> None:
        (folder / "weights.pkl").write_bytes(b"")
        assert self.failing(folder) == ["holds-no-pickle"]

    def test_images_that_are_all_the_same_are_told(self, folder: Path) -> None:
        generator = ExampleGenerator(conditional_spec())
        torch.nn.init.zeros_(generator.paint.weight)
        save_pretrained(generator, folder)
        assert self.failing(folder) == ["images-differ-and-are-finite"]

    def test_weights_that_are_not_finite_are_told(self, folder: Path) -> None:
        generator = ExampleGenerator(conditional_spec())
        torch.nn.init.constant_(generator.paint.weight, float("nan"))
        save_pretrained(generator, folder)
        assert self.failing(folder) == ["loads-twice-alike"]

    def test_an_encoder_of_other_weights_that_rebuilds_nothing_is_told(self, folder: Path) -> None:
        torch.manual_seed(0)
        encoder = ganenc.build_encoder(ExampleGenerator(conditional_spec()), start="zero", head_gain=1.0)
        save_pretrained(encoder, folder / "encoder", info={"generator": 64 * "0"})
        assert self.failing(folder) == ["encoder-fits-it", "encoder-rebuilds-its-images"]

    def test_an_encoder_of_another_size_is_told(self, folder: Path) -> None:
        save_pretrained(ganenc.build_encoder(ExampleGenerator(vector_spec())), folder / "encoder")
        (outcome,) = check_model(folder, only=["encoder-fits-it"], on_fail="return")
        assert outcome.sentence.startswith("size: the encoder has (20, 12), the generator (16, 16)")


def run_python(code: str, *, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, check=False
    )


class TestPlugins:
    PLUGIN = """
        import torch
        from ganenc_registry import Contribution, hookimpl

        @hookimpl
        def ganenc_contributions():
            return [
                Contribution("loss", "kit-noisy", "Prints, and sets the dtype", "kit_plugin.losses:Noisy"),
                Contribution("loss", "kit-gone", "Is not there", "kit_plugin.losses:Gone"),
            ]
    """
    LOSSES = """
        import torch
        from ganenc.objectives import MSE
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        class Noisy(MSE):
            pass
    """

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """A place with the distribution ``dist-kit``, which breaks what a plugin can break, and an empty one."""
        (tmp_path / "kit_plugin").mkdir()
        (tmp_path / "kit_plugin" / "__init__.py").write_text(textwrap.dedent(self.PLUGIN))
        (tmp_path / "kit_plugin" / "losses.py").write_text(textwrap.dedent(self.LOSSES))
        hook = "from ganenc_registry import hookimpl\n@hookimpl\ndef ganenc_contributions():\n    return []\n"
        (tmp_path / "kit_empty.py").write_text(hook)
        (tmp_path / "kit_broken.py").write_text("GANENC_CONTRACT = (99, 0)\n" + hook)
        for name, requires in (("plugin", "torch"), ("empty", "ganenc>=0.1"), ("broken", "ganenc")):
            info = tmp_path / f"kit_{name}-1.0.dist-info"
            info.mkdir()
            said = f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: 1.0\nRequires-Dist: {requires}\n"
            (info / "METADATA").write_text(said)
            (info / "entry_points.txt").write_text(f"[ganenc]\n{name} = kit_{name}\n")
        return tmp_path

    def test_each_fault_of_a_plugin_is_named(self, place: Path) -> None:
        code = """
            import json
            from ganenc.testing import check
            told = {}
            for name in ("dist-plugin", "kit_empty", "dist-broken"):
                for one in check(name, on_fail="return"):
                    if one.failed:
                        told.setdefault(one.subject, {})[one.check.name] = one.sentence
            print(json.dumps(told))
        """
        done = run_python(code, path=place)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.splitlines()[-1])
        plugin = told.pop("plugin:dist-plugin")
        assert plugin.keys() == {
            "plugin-declares-its-contract",
            "distribution-requires-ganenc",
            "importing-it-leaves-torch-alone",
            "importing-changes-nothing",
        }
        assert (
            "Importing kit_plugin imports torch (kit_plugin/__init__.py, line 2)"
            in plugin["importing-it-leaves-torch-alone"]
        )
        assert "the default dtype" in plugin["importing-changes-nothing"]
        assert "torch's random state" in plugin["importing-changes-nothing"]
        gone = told.pop("loss:kit-gone")
        assert gone.keys() == {"target-is-in-its-module", "importing-it-leaves-torch-alone", "target-is-of-its-kind"}
        assert "has no Gone" in gone["target-is-in-its-module"]
        assert told.pop("loss:kit-noisy").keys() >= {"importing-it-leaves-torch-alone"}
        assert told.pop("plugin:dist-empty").keys() == {"plugin-brings-something", "plugin-declares-its-contract"}
        broken = told.pop("plugin:dist-broken")
        assert broken.keys() == {"plugin-loads"}
        assert "upgrade ganenc" in broken["plugin-loads"]
        assert told == {}

    def test_importing_the_kit_leaves_torch_and_pytest_alone(self, tmp_path: Path) -> None:
        code = "import sys, ganenc.testing\nprint(sorted({'torch', 'numpy', 'pytest'} & set(sys.modules)))"
        assert run_python(code, path=tmp_path).stdout == "[]\n"


class TestPytest:
    TESTS = """
        from ganenc.objectives import MSE
        from ganenc.testing import parametrize_with_checks

        class Off(MSE):
            def forward(self, view, reference):
                return super().forward(view, reference) + 1

        @parametrize_with_checks([Off], expected_failures={"equal-images-cost-nothing": "it is one too much"})
        def test_known(check):
            check()

        @parametrize_with_checks([MSE], expected_failures={"equal-images-cost-nothing": "not so"})
        def test_mended(check):
            check()

        @parametrize_with_checks([MSE()])
        def test_at_hand(check):
            check()
    """

    def test_each_check_is_a_case_and_expected_failures_are_strict(self, tmp_path: Path) -> None:
        (tmp_path / "test_mine.py").write_text(textwrap.dedent(self.TESTS))
        command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", str(tmp_path / "test_mine.py")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        lines = done.stdout.splitlines()
        count = len([one for one in known_checks() if one.kind == "loss"])
        assert f"1 failed, {3 * count - 3} passed, 1 skipped, 1 xfailed" in lines[-1], done.stdout
        (xfailed,) = [line for line in lines if line.startswith("XFAIL ")]
        assert "test_known[loss:Off-equal-images-cost-nothing]" in xfailed
        assert "it is one too much" in xfailed
        assert any("[XPASS(strict)] not so" in line for line in lines)
        assert any(line.startswith("FAILED") and "loss:MSE-equal-images-cost-nothing" in line for line in lines)
        assert any(line.startswith("SKIPPED") and "it came built, for one range" in line for line in lines)

    def test_an_expected_failure_of_no_check_is_told(self) -> None:
        with pytest.raises(UnknownNameError, match="no check 'nothing-like-it'"):
            parametrize_with_checks([MSE], expected_failures={"nothing-like-it": "?"})


class TestCommand:
    def run(self, capsys: Any, *words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["check", *words])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    def test_a_table_of_one_subject_and_exit_code_0(self, capsys: Any) -> None:
        code, out, _ = self.run(capsys, "loss:mse", "--only", "one-number-a-sample", "--only", "samples-do-not-mix")
        assert code == 0
        rows = [line.split()[:3] for line in out.splitlines()[2:4]]
        assert rows == [["one-number-a-sample", "behaviour", "passed"], ["samples-do-not-mix", "behaviour", "passed"]]
        assert out.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"

    def test_a_script_with_a_fault_exits_with_1_and_says_which(self, capsys: Any, script: Path) -> None:
        code, out, _ = self.run(capsys, str(script), "--only", "equal-images-cost-nothing")
        assert code == 1
        assert "Equal images have a loss of 1, where 0 is expected" in " ".join(out.split())
        assert out.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"
        code, out, _ = self.run(capsys, str(script), "--only", "equal-images-cost-nothing", "--json")
        told = json.loads(out)
        assert code == 1
        assert [(one["subject"], one["check"], one["stage"], one["result"]) for one in told] == [
            ("loss:kit-bad", "equal-images-cost-nothing", "behaviour", "failed"),
            ("loss:kit-good", "equal-images-cost-nothing", "behaviour", "passed"),
        ]
        assert told[0]["sentence"].startswith("Equal images")
        assert told[1]["sentence"] == ""

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ([], "Name what to check"),
            (["ssim"], "say loss:ssim or metric:ssim"),
            (["nothing-of-the-kind"], "There is no contribution, plugin or Python file"),
            (["loss:mse", "--only", "one-number-sample"], "did you mean 'one-number-a-sample'"),
            (["loss:mse", "--only", "conditions-matter"], "there is no such check for loss:mse"),
            (["loss:mse", "--spec", "stylegan2-hands64"], "brings no generator"),
            (["generator:pggan", "--spec", "nothing"], "There is no model, generator, preset or file"),
        ],
    )
    def test_a_wrong_call_exits_with_2_and_one_sentence(self, capsys: Any, words: list[str], told: str) -> None:
        code, out, err = self.run(capsys, *words)
        assert code == 2
        assert told in err
        assert err.count("\n") == 1
        assert out == ""

    def test_a_spec_file_builds_the_family(self, capsys: Any, tmp_path: Path) -> None:
        from ganenc_plugin_pggan.specs import pggan_spec

        path = tmp_path / "pggan.yaml"
        path.write_text(pggan_spec((8, 8), {4: 4, 8: 4}, z_dim=4).to_yaml())
        words = ["--only", "images-have-the-shape-of-the-spec", "--json"]
        code, out, _ = self.run(capsys, "generator:pggan", "--spec", str(path), *words)
        assert code == 0
        assert json.loads(out)[0]["result"] == "passed"

    def test_the_list_names_every_check(self, capsys: Any) -> None:
        code, out, _ = self.run(capsys, "--list", "--json")
        assert code == 0
        assert [(one["kind"], one["name"]) for one in json.loads(out)] == [(c.kind, c.name) for c in known_checks()]
        code, out, _ = self.run(capsys, "--list")
        assert code == 0
        assert all(one.name in out for one in known_checks())


def test_a_release_that_was_converted_is_checked_by_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANENC_HOME", str(tmp_path))
    ganenc.register("generator", "example")(ExampleGenerator)
    generator = ExampleGenerator(vector_spec())
    file = {"name": "w.pth", "url": "https://example.org/w.pth"}
    facts = {"generator": generator.spec.to_mapping(), "files": [file], "page": "https://example.org", "convert": True}
    release = Release.from_mapping(facts)
    ganenc.register("model", "example-16", summary="A release")(lambda: generator)
    contribution = registry().get("model", "example-16")
    monkeypatch.setattr(type(registry()), "resolve", _resolving(release, type(registry()).resolve))

    def skipped() -> list[str]:
        subject = Subject("model", "model:example-16", contribution=contribution, value=release)
        return [one.sentence for one in run_checks([subject]) if one.result == "skipped"]

    assert "its files are not on this machine" in skipped()
    save_pretrained(generator, release_folder("example-16"))
    assert "its files are not on this machine" not in skipped()


def _resolving(release: Release, real: Any) -> Any:
    """The registry's own way to what a name stands for, but for the release."""
    return lambda self, kind, name: release if name == "example-16" else real(self, kind, name)
