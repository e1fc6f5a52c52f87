"""Distributions as an installer leaves them: a package, and the metadata beside it. Tests import them as
``distributions``."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["install", "install_project"]


def install(place: Path, name: str, init: str, *, version: str = "1.0", target: str = "", **modules: str) -> Path:
    """Install a distribution ``dist-<name>`` with a plugin.

    Args:
        place: a folder that is on ``sys.path``.
        name: of its package and its entry point.
        init: the source of the package's ``__init__``.
        version: of the distribution.
        target: what the entry point names; by default the package.
        modules: the sources of the package's other modules.

    Returns:
        the package's folder.
    """
    package = place / name
    package.mkdir()
    for module, text in {"__init__": init, **modules}.items():
        (package / f"{module}.py").write_text(textwrap.dedent(text), encoding="utf-8")
    info = place / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dist-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[ganenc]\n{name} = {target or name}\n")
    return package


def install_project(place: Path, project: Path) -> None:
    """Install the one package of a project, with the metadata that its pyproject.toml gives, without building it.

    Args:
        place: a folder that is on ``sys.path``.
        project: the folder of pyproject.toml, beside the package.
    """
    data = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = data["entry-points"]["ganenc"]
    (package,) = {target.split(":")[0].split(".")[0] for target in points.values()}
    shutil.copytree(project / package, place / package)
    info = place / f"{package}-{data['version']}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {line}\n" for line in data["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {data['name']}\nVersion: {data['version']}\n"
    (info / "METADATA").write_text(head + needs, encoding="utf-8")
    (info / "entry_points.txt").write_text(
        "[ganenc]\n" + "".join(f"{name} = {target}\n" for name, target in points.items()), encoding="utf-8"
    )
