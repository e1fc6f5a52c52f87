"""Broken plugins, all of them installed at once: each is listed with its reason, and everything else works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import distributions
import ganenc
import pytest
from ganenc_registry import registry
from ganenc_registry.specs import EncoderSpec, GeneratorSpec

HOOK = "from ganenc_registry import Contribution, hookimpl\n@hookimpl\ndef ganenc_contributions():\n    "
ONE = HOOK + "return [Contribution('{kind}', '{name}', 'Something', '{target}')]"

NOT_LOADED = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck (raises/__init__.py, line 1)"),
    "exits": ("import sys\nsys.exit('gone')", "SystemExit: gone"),
    "needs": ("import a_module_nobody_has", "No module named 'a_module_nobody_has'"),
    "no_hook": ("", "no_hook implements no hook"),
    "future": (
        "GANENC_CONTRACT = (2, 0)\nfrom ganenc_registry import Later",
        "It was made for plugin contract 2.0, and this ganenc has 1.0: upgrade ganenc.",
    ),
    "past": ("GANENC_CONTRACT = (0, 9)\n" + ONE.format(kind="loss", name="p", target="a:b"), "upgrade the plugin."),
    "taken": (
        ONE.format(kind="loss", name="mse", target="taken:x"),
        "The loss 'mse' is contributed twice: by ganenc",
    ),
    "kind": (ONE.format(kind="los", name="x", target="kind:x"), "there is no kind 'los' (did you mean 'loss'?)"),
    "target": (ONE.format(kind="loss", name="x", target="a place"), "a target reads 'package.module:attribute'"),
}
"""Plugins that cannot be loaded, and why."""

LOADED = {
    "no_module": (("generator", "no-module", "no_module.gan:Gan"), "", "there is no module no_module.gan."),
    "no_class": (("generator", "no-class", "no_class.gan:Gan"), "class Gam: pass", "no_class.gan has no Gan."),
    "syntax": (("loss", "syntax", "syntax.gan:Loss"), "def (", "syntax.gan is not Python: invalid syntax, line 1."),
    "no_folder": (
        ("model", "no-folder", "no_folder.gan:X"),
        "from pathlib import Path\nX = Path('gone')",
        "has no config",
    ),
    "no_spec": (("model", "aaa-no-spec", "no_spec.gan:X"), "{folder}", "size: this field is required"),
    "family": (("model", "no-family", "family.gan:X"), "{folder}", "'stylegan9' (did you mean 'stylegan"),
    "later": (
        ("model", "later", "later.gan:X"),
        "{folder}",
        "speaks contract 7 and this ganenc knows 1; upgrade ganenc",
    ),
    "weights": (("model", "no-weights", "weights.gan:X"), "{folder}", "folder has no model.safetensors; install its"),
    "inner": (("model", "bad-encoder", "inner.gan:X"), "{folder}", "channels: input should be greater than 0"),
    "no_path": (
        ("model", "no-path", "no_path.gan:X"),
        "X = 'a text'",
        "it has to be the Path of a folder, or a Release",
    ),
    "release": (
        ("model", "bad-release", "release.gan:X"),
        "from ganenc_registry.specs import Release\nX = Release.from_mapping({'files': 3})",
        "cannot be imported from release.gan:X: SpecError",
    ),
}
"""Plugins that load, what each contributes, the module that it points to, and what is wrong with it."""

ENDS = ("ends", ("generator", "ends", "ends.gan:Gan"), "import sys\nclass Gan: pass\nsys.exit(3)")
"""A plugin whose target ends the process that imports it: only importing it can tell."""

FOLDER = "from pathlib import Path\nX = Path(__file__).parent / 'folder'"
VALID: dict[str, Any] = {"size": [64, 64], "prior": {"dim": 8}, "layout": [{"kind": "vector", "dim": 8}]}
SPECS: dict[str, dict[str, Any]] = {
    "no_spec": {"family": "stylegan2"},
    "family": {"family": "stylegan9", **VALID},
    "later": {"family": "stylegan2", "contract": 7, **VALID},
    "weights": {"family": "stylegan2", **VALID},
    "inner": {"family": "stylegan2", **VALID},
}
"""The specs of the generators in model folders."""


def write_model(folder: Path, name: str) -> None:
    """A model folder that is broken in the way of its name, and that offers itself to the demo."""
    config = {"format": "ganenc-model", "kind": "generator", "spec": SPECS[name], "info": {"demo": True}}
    folders = {folder: config}
    if name == "inner":
        spec = EncoderSpec.mirror(GeneratorSpec.from_mapping(SPECS[name])).to_mapping() | {"channels": 0}
        folders[folder / "encoder"] = {"format": "ganenc-model", "kind": "encoder", "spec": spec}
    for place, fields in folders.items():
        place.mkdir()
        (place / "config.json").write_text(json.dumps(fields))
        if name != "weights":
            (place / "model.safetensors").write_bytes(b"")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every broken plugin, and a sound one."""
    place = tmp_path_factory.mktemp("site")
    for name, (init, _) in NOT_LOADED.items():
        distributions.install(place, name, init)
    for name, (declared, module, _) in LOADED.items():
        kind, called, target = declared
        init = ONE.format(kind=kind, name=called, target=target)
        modules = {"gan": FOLDER if module == "{folder}" else module} if module else {}
        package = distributions.install(place, name, init, **modules)
        if name in SPECS:
            write_model(package / "folder", name)
    name, (kind, called, target), module = ENDS
    distributions.install(place, name, ONE.format(kind=kind, name=called, target=target), gan=module)
    sound = ONE.format(kind="loss", name="sound-loss", target="sound.gan:Loss")
    distributions.install(place, "sound", f"GANENC_CONTRACT = (1, 0)\n{sound}", gan="class Loss: pass")
    return place


def run(place: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line, or with ``-c`` any code, in a process that has the broken plugins installed."""
    environment = {**os.environ, "PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"}
    command = list(arguments) if arguments[0] == "-c" else ["-c", "from ganenc.cli import main; main()", *arguments]
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def listed(place: Path, *options: str) -> dict[str, dict[str, Any]]:
    """What ``ganenc plugins`` says of each plugin."""
    done = run(place, "plugins", "--json", *options)
    assert done.returncode == 1, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)}


def test_every_broken_plugin_is_listed_with_its_reason(place: Path) -> None:
    told = listed(place)
    for name, (_, reason) in NOT_LOADED.items():
        assert reason in told[name]["error"]
        assert told[name]["contributions"] == told[name]["faults"] == []
    for name, (_, _, reason) in LOADED.items():
        assert told[name]["error"] is None
        (fault,) = told[name]["faults"]
        assert reason in fault
    installed = {one.name for one in registry().plugins}
    for name in {"sound", "ends", *installed}:
        assert (told[name]["error"], told[name]["faults"], told[name]["contract"]) == (None, [], "1.0")
    assert set(told) == {*NOT_LOADED, *LOADED, "sound", "ends", *installed}


def test_the_table_tells_the_reasons_and_looking_deeper_tells_more(place: Path) -> None:
    done = run(place, "plugins")
    words = " ".join(done.stdout.split())
    assert done.returncode == 1
    for reason in ("not loaded: RuntimeError: no luck", "broken: The generator 'no-module' cannot be imported"):
        assert reason in words
    assert [listed(place, "--check")[name]["faults"] for name in ("ends", "sound")] == [
        ["The generator 'ends' cannot be imported from ends.gan:Gan: SystemExit: 3 (ends/gan.py, line 3)."],
        [],
    ]


def test_what_is_sound_works_beside_what_is_broken(place: Path, tmp_path: Path) -> None:
    done = run(place, "list", "--json")
    assert done.returncode == 0, done.stderr
    names = {(one["kind"], one["name"]) for one in json.loads(done.stdout)}
    assert names >= {(one.kind, one.name) for plugin in registry().plugins for one in plugin.contributions}
    assert ("loss", "sound-loss") in names
    code = """
import ganenc, sys
generator = ganenc.load_generator("stylegan2-hands64")
print(generator.spec.family, ganenc.registry().owner("loss", "mse").split()[0])
try:
    ganenc.load_generator(sys.argv[1])
except ganenc.GanencError as error:
    print(error)
"""
    foreign = tmp_path / "foreign.safetensors"
    import torch
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(3)}, foreign)
    done = run(place, "-c", code, str(foreign))
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "stylegan2 ganenc"
    assert "No installed family recognises" in second
    assert "ends could not be imported" in second


@pytest.mark.slow
def test_the_demo_runs_beside_what_is_broken(place: Path, tmp_path: Path) -> None:
    done = run(place, "demo", "--n", "1", "--steps", "2", "--out", str(tmp_path / "demo"), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Passed over" in done.stderr, "the first model by name says that it is for the demo, and its spec is broken"
    assert list((tmp_path / "demo").rglob("*.png"))
    assert ganenc.Latents.load(next((tmp_path / "demo").rglob("*.safetensors")))
