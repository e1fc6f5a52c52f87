"""What mkdocs does besides: a page of reference for each public module, and equations as MathML."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["ganenc", "ganenc_registry", *sorted(path.parent.name for path in ROOT.glob("plugins/*/*/__init__.py"))]
BLOCK = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<![\w$\\])\$([^$\n]+)\$(?![\w$])")
OPENS = "<!-- what opens -->"
FORMATS = re.compile(r"^\| family \| repository \| file \| asked for \|\n\|[-|]+\|\n((?:\|.*\n)+)", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the reference."""
    modules = [name for package in PACKAGES for name in public_modules(package)]
    for name in modules:
        files.append(File.generated(config, f"reference/{name}.md", content=page(name)))
    lines = [f"- [`{name}`]({name}.md): {summary(name)}" for name in modules]
    intro = "# Reference\n\nEvery public module, class and function, from their docstrings.\n\n"
    files.append(File.generated(config, "reference/index.md", content=intro + "\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what opens, and turn ``$...$`` and ``$$...$$`` into MathML, which browsers show without any script."""
    markdown = markdown.replace(OPENS, formats())
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found.group())
        return f"\0{len(kept) - 1}\0"

    text = FENCE.sub(keep, markdown)
    text = BLOCK.sub(lambda found: f"\n{convert(found[1], display='block')}\n", text)
    text = INLINE.sub(lambda found: convert(found[1]), text)
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)


def formats() -> str:
    """What the plugins read, as their READMEs list it, in one table."""
    readmes = [path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("plugins/*/README.md"))]
    rows = "".join(rows for text in readmes for rows in FORMATS.findall(text))
    return f"| family | repository | file | asked for |\n|---|---|---|---|\n{rows}"


def public_modules(package: str) -> list[str]:
    """The package and, unless it has a face, every module in it whose name begins with no underscore."""
    names = [package]
    inner = pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    for one in inner if package == "ganenc" or not face(package) else ():
        if not one.name.rpartition(".")[2].startswith("_"):
            names += public_modules(one.name) if one.ispkg else [one.name]
    return names


def face(package: str) -> list[str]:
    """The names that a package with a stub gives out, in its order; of any other, none."""
    stub = Path(importlib.import_module(package).__file__ or "").with_suffix(".pyi")
    body = ast.parse(stub.read_text(encoding="utf-8")).body if stub.is_file() else []
    return [alias.asname or alias.name for line in body if isinstance(line, ast.ImportFrom) for alias in line.names]


def page(module: str) -> str:
    """The page of a module, or of the names of a package that has a face."""
    names, found = face(module), importlib.import_module(module)
    if module == "ganenc":
        said = [f"- {link(found, name)}" for name in sorted(names) if not name.startswith("_")]
    else:
        said = [f"\n::: {module}.{name}" for name in names] or [f"::: {module}"]
    return "\n".join([f"# `{module}`\n", f"{found.__doc__}\n" if names or module == "ganenc" else "", *said]) + "\n"


def link(module: ModuleType, name: str) -> str:
    """A name that a module gives out, with a link to where it is from."""
    given = getattr(module, name)
    if isinstance(given, ModuleType):
        return f"[`{module.__name__}.{name}`]({module.__name__}.{name}.md): {summary(given.__name__)}"
    home = f"{getattr(given, '__module__', given.__class__.__module__)}.{getattr(given, '__qualname__', name)}"
    return f"[`{module.__name__}.{name}`][{home}]: {first_sentence(given.__doc__)}"


def summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    return first_sentence(importlib.import_module(module).__doc__)


def first_sentence(doc: str | None) -> str:
    """Of a docstring, on one line."""
    text = " ".join((doc or "").split("\n\n")[0].split())
    return re.sub(r"``([^`]+)``", r"`\1`", text)
