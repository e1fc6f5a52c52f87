"""What mkdocs does besides: a page of reference for each public module, and equations as MathML."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["ganenc", "ganenc_registry", *sorted(path.parent.name for path in ROOT.glob("plugins/*/*/__init__.py"))]
BLOCK = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<![\w$\\])\$([^$\n]+)\$(?![\w$])")
FENCE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the reference."""
    modules = [name for package in PACKAGES for name in public_modules(package)]
    for name in modules:
        files.append(File.generated(config, f"reference/{name}.md", content=f"# `{name}`\n\n::: {name}\n"))
    lines = [f"- [`{name}`]({name}.md): {summary(name)}" for name in modules]
    intro = "# Reference\n\nEvery public module, class and function, from their docstrings.\n\n"
    files.append(File.generated(config, "reference/index.md", content=intro + "\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn ``$...$`` and ``$$...$$`` into MathML, which browsers show without any script."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found.group())
        return f"\0{len(kept) - 1}\0"

    text = FENCE.sub(keep, markdown)
    text = BLOCK.sub(lambda found: f"\n{convert(found[1], display='block')}\n", text)
    text = INLINE.sub(lambda found: convert(found[1]), text)
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)


def public_modules(package: str) -> list[str]:
    """The package and every module in it whose path has no step that begins with an underscore."""
    found = importlib.import_module(package)
    inner = (one.name for one in pkgutil.walk_packages(found.__path__, f"{package}."))
    return [package, *(name for name in inner if not any(step.startswith("_") for step in name.split(".")))]


def summary(module: str) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((importlib.import_module(module).__doc__ or "").split("\n\n")[0].split())
    return re.sub(r"``([^`]+)``", r"`\1`", text)
