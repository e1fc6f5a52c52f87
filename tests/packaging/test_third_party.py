"""The example of somebody else's package: built, installed beside the core alone, tested by its own tests, and used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import distributions
import pytest
from environments import ROOT, build, make_environment
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, RunSpec

EXAMPLE = ROOT / "examples" / "third_party_plugin"


def test_nothing_of_ours_knows_of_it() -> None:
    for room in (ROOT / "core", ROOT / "registry", ROOT / "plugins"):
        assert not [path for path in room.rglob("*.py") if "ripples" in path.read_text(encoding="utf-8").lower()]


def test_it_is_listed_with_its_model_and_without_torch(tmp_path: Path) -> None:
    distributions.install_project(tmp_path, EXAMPLE)
    code = f"""
import json, sys; sys.path.insert(0, {str(tmp_path)!r})
from ganenc.cli import main
try:
    main(["plugins", "--json"])
except SystemExit:
    sys.stderr.write(str("torch" in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "False"
    (told,) = [one for one in json.loads(done.stdout) if one["name"] == "ripples"]
    assert (told["distribution"], told["contract"], told["error"], told["faults"]) == (
        "ripples-gan 2.3.0",
        "1.0",
        None,
        [],
    )
    assert [(one["kind"], one["name"]) for one in told["contributions"]] == [
        ("generator", "ripples"),
        ("model", "ripples-48x40"),
    ]


def test_its_run_and_its_model_fit_together_and_are_odd() -> None:
    assert RunSpec.from_file(EXAMPLE / "run.yaml").model == "ripples-48x40"
    config = json.loads((EXAMPLE / "ripples_gan" / "model" / "config.json").read_text(encoding="utf-8"))
    spec = GeneratorSpec.from_mapping(config["spec"])
    assert (spec.size, spec.channels, spec.value_range) == ((48, 40), 1, (0.0, 1.0))
    assert EncoderSpec.mirror(spec).features[1:] == (6, 5)


@pytest.mark.slow
def test_it_installs_passes_its_own_tests_and_trains_from_its_run(
    built: Callable[[str], tuple[Path, Path]], dist: Path, tmp_path: Path
) -> None:
    built("ganenc")
    wheel, _ = build(EXAMPLE, tmp_path / "own")
    clean = make_environment(tmp_path / "clean", dist, str(wheel))
    place = tmp_path / "place"
    shutil.copytree(EXAMPLE / "tests", place / "tests")
    shutil.copy(EXAMPLE / "run.yaml", place)
    said = clean.run("pytest", "-q", "tests", folder=place)
    assert int(said.rsplit(" passed")[0].split()[-1]) > 30
    assert "48" in clean.run("ganenc", "spec", "ripples-48x40")
    clean.run("ganenc", "pretrain", "--run", "run.yaml", "--steps", "4", "--out", "runs/ripples", folder=place)
    assert (place / "runs" / "ripples" / "encoder" / "model.safetensors").is_file()
