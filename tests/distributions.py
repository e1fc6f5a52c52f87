"""Distributions as an installer leaves them: a package, and the metadata beside it. Tests import them as
``distributions``."""

from __future__ import annotations

import textwrap
from pathlib import Path

__all__ = ["install"]


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
