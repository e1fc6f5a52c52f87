"""Releases as data, and a plugin's table of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from ganenc_registry import Registry
from ganenc_registry.errors import PluginError, SpecError
from ganenc_registry.releases import ReleaseTable
from ganenc_registry.specs import GeneratorSpec, Prior, Release, ReleaseFile, Vector

GENERATOR = GeneratorSpec(family="toy", size=(8, 8), prior=Prior(dim=4), layout=(Vector(dim=4),), licence="MIT")
FILE = {"name": "net.pkl", "url": "https://example.org/net.pkl"}
FIELDS = {"generator": GENERATOR, "files": [FILE], "page": "https://example.org"}

BUILT: list[str] = []


def faces() -> Release:
    BUILT.append("faces")
    return Release.from_mapping(FIELDS)


def cars() -> Release:
    return Release.from_mapping({**FIELDS, "notes": "of cars"})


TABLE = ReleaseTable(f"{__name__}:TABLE", {"toy-faces-8": ("Faces, 8x8", faces), "toy-cars-8": ("Cars", cars)})


def test_a_release_comes_back_from_json_and_yaml() -> None:
    file = ReleaseFile(name="encoder/model.safetensors", url="https://a.b/c", size=3, checksum=f"md5:{'a' * 32}")
    release = Release(generator=GENERATOR, files=(file, ReleaseFile(**FILE)), page="https://a.b", notes="Old.")
    assert Release.from_json(release.to_json()) == release
    assert Release.from_yaml(release.to_yaml()) == release
    assert release.files[1].size is None
    assert release.files[1].checksum is None
    assert not release.files[1].by_hand


@pytest.mark.parametrize(
    ("file", "message"),
    [
        *(
            ({"name": name}, "files.0.name")
            for name in ("../net.pkl", "/net.pkl", "a//b", "a/../b", ".net", "", "a\\b")
        ),
        ({"url": "file:///etc/passwd"}, "files.0.url"),
        ({"url": "ftp://example.org/net.pkl"}, "files.0.url"),
        ({"checksum": "sha256:abc"}, "files.0.checksum"),
        ({"checksum": "a" * 64}, "files.0.checksum"),
        ({"size": 0}, "files.0.size"),
        ({"bytes": 3}, "files.0.bytes: there is no such field"),
    ],
)
def test_files_that_cannot_be_are_named(file: Mapping[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Release.from_mapping({**FIELDS, "files": [{**FILE, **file}]})


def test_a_release_has_files_with_names_of_their_own() -> None:
    with pytest.raises(SpecError, match="files: "):
        Release.from_mapping({**FIELDS, "files": []})
    with pytest.raises(SpecError, match=r"two files share the name 'net\.pkl'"):
        Release.from_mapping({**FIELDS, "files": [FILE, {**FILE, "url": "https://example.org/other"}]})


def test_a_table_contributes_each_release_and_builds_what_is_asked_for() -> None:
    BUILT.clear()
    found = Registry()
    found.add_all(TABLE.contributions(), owner="a test")
    assert TABLE.names() == ["toy-faces-8", "toy-cars-8"]
    assert [(item.name, item.summary) for item in found.list("model")] == [
        ("toy-cars-8", "Cars"),
        ("toy-faces-8", "Faces, 8x8"),
    ]
    assert found.resolve("model", "toy-cars-8").notes == "of cars"
    assert BUILT == []
    assert found.resolve("model", "toy-faces-8") == faces()
    with pytest.raises(AttributeError, match="no release 'release_toy_planes'"):
        _ = TABLE.release_toy_planes


def test_a_name_that_no_attribute_can_have_is_refused() -> None:
    with pytest.raises(PluginError, match=r"'toy-1\.5' is wrong: a target reads"):
        ReleaseTable("m:T", {"toy-1.5": ("Toys", faces)}).contributions()


def test_a_table_is_listed_without_reading_a_spec() -> None:
    code = (
        "import sys; from ganenc_registry.releases import ReleaseTable\n"
        "assert ReleaseTable('m:T', {'a': ('A', None)}).contributions()\n"
        "assert not {'pydantic', 'yaml', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
