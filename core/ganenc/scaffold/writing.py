"""Writes the package of a plugin, whole or not at all."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import uuid
from email.utils import parseaddr
from importlib.resources import files
from pathlib import Path
from string import Template

from ganenc_registry import CONTRACT, KINDS, Kind
from ganenc_registry.errors import PluginError, SpecError, UnknownNameError, nearest

from ganenc.scaffold.declaring import __version__
from ganenc.scaffold.kinds import SCAFFOLDS
from ganenc.scaffold.names import Names

__all__ = ["LICENCES", "write_plugin"]

LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause")
"""The licences that a package can be given, by their SPDX names."""

_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    ".github/workflows/tests.yml": "tests.yml",
    "{package}/__init__.py": "init.py",
    "tests/test_{module}.py": "test.py",
}
"""The files that every package has, and the template of each."""


def write_plugin(
    name: str, kind: Kind, *, folder: str | Path | None = None, author: str = "", licence: str = LICENCES[0]
) -> Path:
    """Write a package that contributes one working example of a kind, with its tests, README, licence and CI file.

    Args:
        name: of the distribution, such as ``ganenc-plugin-my-gan``; all other names follow from it.
        kind: what it contributes, one of `SCAFFOLDS`.
        folder: where it is written; by default ``name`` in the current folder.
        author: a name, or ``Name <address>``.
        licence: one of `LICENCES`.

    Returns:
        the folder.

    Raises:
        UnknownNameError: if there is no example of that kind.
        SpecError: if the name, the author or the licence is wrong.
        NameTakenError: if something of that name is installed.
        PluginError: if the folder is there already, or cannot be written.
    """
    if kind not in SCAFFOLDS:
        raise UnknownNameError(_no_such(kind))
    if licence not in LICENCES:
        raise SpecError(
            f"There is no text of the licence {licence!r}{nearest(licence, LICENCES)} here; take one of"
            f" {', '.join(LICENCES)}, and exchange it in the package."
        )
    fields = _fields(Names.of(name, kind), kind, author, licence)
    texts = {
        path.format(**fields): _filled(f"templates/{template}.tmpl", fields)
        for path, template in [*_FILES.items(), ("{package}/{module}.py", f"{kind}.py")]
    }
    texts[f"{fields['package']}/py.typed"] = ""
    texts["LICENSE"] = _filled(f"licences/{licence}.txt", fields)
    place = Path(folder or name)
    _write(place, texts)
    return place


def _no_such(kind: str) -> str:
    if kind == "model":
        return (
            "A model needs no package of its own code: save it with `save_pretrained` into the package of its family,"
            " and contribute the folder's Path under the kind 'model'."
        )
    return f"There is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(SCAFFOLDS)}."


def _fields(names: Names, kind: Kind, author: str, licence: str) -> dict[str, str]:
    """What the templates leave open."""
    person, address = parseaddr(author) if "<" in author else (author.strip(), "")
    if "\n" in author or (author.strip() and not person) or ("<" in author and "@" not in address):
        raise SpecError(f"An author reads 'Name' or 'Name <address>', not {author!r}.")
    entry = {"name": person, **({"email": address} if address else {})}
    authors = ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items())
    scaffold, (major, minor) = SCAFFOLDS[kind], __version__.split(".")[:2]
    needs = [f"ganenc>={major}.{minor},<{major}.{int(minor) + 1}", *scaffold.needs]
    fields = {
        "distribution": names.distribution,
        "package": names.package,
        "called": names.called,
        "attribute": names.attribute,
        "kind": kind,
        "module": kind,
        "summary": scaffold.summary,
        "use_says": scaffold.use_says,
        "needs": json.dumps(needs),
        "authors": f"authors = [{{ {authors} }}]\n" if person else "",
        "holder": person or f"the authors of {names.distribution}",
        "year": str(datetime.date.today().year),
        "licence": licence,
        "contract": repr(CONTRACT),
    }
    return {**fields, "use": Template(scaffold.use).substitute(fields)}


def _filled(resource: str, fields: dict[str, str]) -> str:
    text = files("ganenc.scaffold").joinpath(resource).read_text(encoding="utf-8")
    return Template(text).substitute(fields)


def _write(place: Path, texts: dict[str, str]) -> None:
    """Write the files into a folder that is not there yet; if one cannot be written, none is."""
    if os.path.lexists(place):
        raise PluginError(f"{place} is there already, and is left as it is; take another name or --out.")
    beside = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
    try:
        for name, text in texts.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        os.rename(beside, place)
    except OSError as error:
        raise PluginError(f"{place} cannot be written: {error.strerror or error}.") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
