"""Every distribution builds, holds what belongs into it, and works in an environment that has nothing else of ours."""

from __future__ import annotations

import email
import json
import re
import tarfile
import zipfile
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import pytest
from environments import PROJECTS, ROOT, Environment, make_environment

pytestmark = pytest.mark.slow

Built = Callable[[str], tuple[Path, Path]]
HANDS = "ganenc-plugin-hands"
ROOMS = {"ganenc": [ROOT / "core/ganenc", ROOT / "registry/ganenc_registry"]}
ROOMS |= {name: [path / name.replace("-", "_")] for name, path in PROJECTS.items() if name != "ganenc"}
OF_THE_FAMILIES = {"ganenc-plugin-stylegan", "ganenc-plugin-pggan", "ganenc-plugin-biggan"}
BRINGS = {name: {"ganenc", name} for name in PROJECTS}
BRINGS[HANDS] |= OF_THE_FAMILIES
for plugin in ("ganenc-plugin-mobilestylegan", "ganenc-plugin-stylegan3"):
    BRINGS[plugin] |= {"ganenc-plugin-stylegan"}
"""What comes along where one is installed, it included."""
MUST_HOLD = {
    "ganenc": ["ganenc/scaffold/templates/generator.py.tmpl", "ganenc/scaffold/licences/MIT.txt"],
    HANDS: [
        "ganenc_plugin_hands/zoo/stylegan2-hands64/model.safetensors",
        "ganenc_plugin_hands/zoo/stylegan2-hands64/encoder/model.safetensors",
        "ganenc_plugin_hands/zoo/hands-classifier/model.safetensors",
        "ganenc_plugin_hands/zoo/photos/0-IMG_1118.jpg",
    ],
}

each = pytest.mark.parametrize("name", PROJECTS)


def names_in(wheel: Path) -> set[str]:
    """The files of a wheel, without the folder of its metadata in their names."""
    with zipfile.ZipFile(wheel) as archive:
        found = {name for name in archive.namelist() if not name.endswith("/")}
    return {re.sub(r"^[^/]+\.dist-info/", "INFO/", name) for name in found}


def metadata(wheel: Path) -> Message:
    """The metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".dist-info/METADATA")]
        return email.message_from_string(archive.read(name).decode())


@each
def test_a_wheel_holds_its_packages_whole_its_licences_and_nothing_else(built: Built, name: str) -> None:
    files = {
        str(path.relative_to(room.parent))
        for room in ROOMS[name]
        for path in room.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    information = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"}
    held = names_in(built(name)[0])
    assert held == files | {f"INFO/{one}" for one in information}
    assert {f"{room.name}/py.typed" for room in ROOMS[name]} | set(MUST_HOLD.get(name, [])) <= held


@each
def test_an_sdist_holds_no_more_than_the_project(built: Built, name: str) -> None:
    with tarfile.open(built(name)[1]) as archive:
        held = {one.name.partition("/")[2] for one in archive.getmembers() if one.isfile()}
    top = {one.split("/")[0] for one in held}
    known = {"LICENSE", "NOTICE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}
    own = {"core", "registry", "CHANGELOG.md"} if name == "ganenc" else {room.name for room in ROOMS[name]}
    assert top == known | own | ({"training"} if name == HANDS else set())


@each
def test_a_wheel_declares_what_it_needs(built: Built, name: str) -> None:
    said = metadata(built(name)[0])
    needs = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    ours = {re.split(r"[<>=~! ]", line)[0]: line for line in needs if line.startswith("ganenc")}
    assert set(ours) == BRINGS[name] - {name}
    assert all(line.endswith("<0.2,>=0.1") for line in ours.values())
    assert all(re.search(r">=\d", line) for line in needs), "each has a lower bound"
    assert said["Name"] == name
    assert said["Version"] == metadata(built("ganenc")[0])["Version"]
    assert (said["License-Expression"], said["Requires-Python"]) == ("Apache-2.0", ">=3.10")


def check_installed(environment: Environment, wanted: set[str]) -> None:
    """Only those are there, from their wheels, with all that they need, and everything that they bring imports."""
    code = """
import importlib.metadata, json, ganenc, ganenc_registry
found = sorted({one.name for one in importlib.metadata.distributions() if one.name.startswith("ganenc")})
print(json.dumps([found, ganenc.__file__, ganenc_registry.__file__]))
"""
    found, *places = json.loads(environment.python(code))
    assert set(found) == wanted
    assert all(Path(place).is_relative_to(environment.folder) for place in places)
    listed = json.loads(environment.run("ganenc", "plugins", "--check", "--json"))
    assert {one["distribution"].split()[0] for one in listed} == wanted
    told = environment.run("sh", "-c", "pip check || true")
    assert not [line for line in told.splitlines() if line.startswith("ganenc")]


def clean(folder: Path, dist: Path, built: Built, name: str, wanted: set[str]) -> Environment:
    """An environment in which one distribution was installed, with what comes along."""
    for one in wanted:
        built(one)
    environment = make_environment(folder, dist, name)
    check_installed(environment, wanted)
    return environment


def test_the_core_works_alone(built: Built, dist: Path, tmp_path: Path) -> None:
    alone = clean(tmp_path / "alone", dist, built, "ganenc", {"ganenc"})
    assert "ganenc-plugin-hands" in alone.run("ganenc", "demo", code=1), "it says what brings a model for the demo"
    alone.run("ganenc", "new-plugin", "ganenc-plugin-mine", "--kind", "loss")
    alone.run("pip", "install", "--quiet", "./ganenc-plugin-mine")
    check_installed(alone, {"ganenc", "ganenc-plugin-mine"})


@pytest.mark.parametrize("name", [name for name in PROJECTS if name not in ("ganenc", HANDS)])
def test_a_plugin_brings_the_core_along_and_no_other_plugin(
    built: Built, dist: Path, tmp_path: Path, name: str
) -> None:
    clean(tmp_path / "one", dist, built, name, BRINGS[name])


def test_all_of_them_work_together(built: Built, dist: Path, tmp_path: Path) -> None:
    whole = clean(tmp_path / "whole", dist, built, HANDS, BRINGS[HANDS])
    for name in PROJECTS:
        built(name)
    whole.run("pip", "install", "--quiet", *PROJECTS)
    check_installed(whole, set(PROJECTS))
    whole.run("ganenc", "demo", "--n", "1", "--steps", "2", "--out", str(tmp_path / "demo"))
    assert list((tmp_path / "demo").rglob("*.png"))
