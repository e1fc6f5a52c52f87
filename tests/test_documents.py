"""What the documents say holds: links lead somewhere, code is Python, commands and targets exist."""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ganenc.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("plugins/*/*.md"), *ROOT.glob("docs/**/*.md")])
DOCUMENTS = [path for path in dict.fromkeys(DOCUMENTS) if not path.relative_to(ROOT).parts[0].startswith(".")]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^(?: {4}.*\n)+", re.MULTILINE)

each = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def blocks(path: Path, *languages: str) -> list[str]:
    """The fenced blocks of a document in one of ``languages``."""
    return [text for language, text in FENCE.findall(path.read_text(encoding="utf-8")) if language in languages]


def commands(path: Path) -> list[list[str]]:
    """The command lines of a document: in fences of a shell, and in blocks that are indented."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    shown = [*blocks(path, "sh", "bash", "console", "shell"), *INDENTED.findall(text)]
    lines = [line.strip().removeprefix("$ ").split("#")[0].split() for block in shown for line in block.splitlines()]
    return [line for line in lines if line]


def test_there_is_a_document_for_the_project_and_for_each_plugin() -> None:
    named = {str(path.relative_to(ROOT)) for path in DOCUMENTS}
    plugins = {f"plugins/{path.name}/README.md" for path in ROOT.glob("plugins/ganenc-plugin-*")}
    assert named >= {"README.md", "CHANGELOG.md", *plugins}


@each
def test_links_lead_to_files_and_headings(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        if name.startswith("reference/") and path.parent.name == "docs":  # Made of the docstrings with the site.
            module = None if name == "reference/index.md" else importlib.import_module(name[10 : -len(".md")])
            assert not heading or hasattr(module, heading.rpartition(".")[2]), f"{path.name} links to {target}"
            continue
        found = (path.parent / name).resolve() if name else path
        assert found.exists(), f"{path.name} links to {target}, which is not there"
        if heading:
            lines = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            known = {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
            assert heading in known, f"{path.name} links to {target}; the headings are {sorted(known)}"


@each
def test_python_is_python_and_imports_what_is_there(path: Path) -> None:
    for block in blocks(path, "python", "py"):
        tree = ast.parse(block, filename=str(path))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ganenc"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{path.name}: {node.module} has no {alias.name}"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ganenc":
                assert hasattr(importlib.import_module("ganenc"), node.attr), f"{path.name}: no ganenc.{node.attr}"


def components() -> list[Any]:
    """Every block of Python that defines something that ganenc can choose."""
    named = [(path, block) for path in DOCUMENTS for block in blocks(path, "python", "py")]
    found = [
        (path, block) for path, block in named if re.search(r"@ganenc\.register|^class \w+\(ganenc\.", block, re.M)
    ]
    return [pytest.param(block, id=f"{path.relative_to(ROOT)}:{place}") for place, (path, block) in enumerate(found)]


@pytest.mark.parametrize("block", components())
def test_what_documents_define_keeps_to_its_contract(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ganenc.testing import check
    from ganenc_registry import registry

    registered = dict(registry()._entries)
    monkeypatch.setattr(registry(), "_entries", registered)
    for kind, name in re.findall(r'register\("(\w+)", "([\w-]+)"', block):
        registered.pop((kind, name), None)
    script = tmp_path / f"block-{abs(hash(block)):x}.py"
    script.write_text(block, encoding="utf-8")
    outcomes = check(str(script))  # A block that registers nothing is refused.
    assert sum(one.passed for one in outcomes) > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("document", "count", "left"),
    [
        ("README.md", 1, {"inverted/report.html", "inverted/latents.safetensors", "edited/strip.png"}),
        ("docs/tutorial.md", 2, {"samples.png", "again.png", "inverted/report.html"}),
    ],
)
def test_first_snippets_run_word_for_word(tmp_path: Path, document: str, count: int, left: set[str]) -> None:
    from ganenc_plugin_hands.models import PHOTOS

    (tmp_path / "photo.jpg").write_bytes(next(PHOTOS.glob("*.jpg")).read_bytes())
    for block in blocks(ROOT / document, "python")[:count]:
        done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert left <= {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}


def test_the_first_snippet_is_short_and_names_no_option() -> None:
    lines = [line for line in blocks(ROOT / "README.md", "python")[0].splitlines() if line.strip()]
    assert len(lines) <= 6
    assert not [line for line in lines if re.search(r"\w=", line.split("#")[0].replace(" = ", " "))]


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_asks_the_network_for_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    method = (tmp_path / "method.html").read_text(encoding="utf-8")
    assert "<math" in method
    assert "$$" not in method
    for heading in re.findall(r'href="(reference/[^"]+#[^"]+)"', method):
        name, _, anchor = heading.partition("#")
        assert f'id="{anchor}"' in (tmp_path / name).read_text(encoding="utf-8"), f"the method links to {heading}"
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text("utf-8"))
        wanted = [url for url in loaded if "canonical" not in url]
        assert not wanted, f"{page.name} loads {wanted}"


def test_what_opens_is_listed_for_every_family_that_reads_files() -> None:
    """Each in the README of its plugin, of which the site makes one table."""
    from ganenc.generators import Generator
    from ganenc_registry import registry

    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.on_page_markdown((ROOT / "docs" / "how-to" / "own-checkpoint.md").read_text(encoding="utf-8"))
    for one in registry().list("generator"):
        package = one.target.partition(".")[0]
        if package.startswith("ganenc_plugin_"):
            cls = registry().resolve("generator", one.name)
            readme = ROOT / "plugins" / package.replace("_", "-") / "README.md"
            rows = re.findall(
                rf"^\|[^|]*`{one.name}`[^|]*(?:\|[^|\n]+){{3}}\|$", readme.read_text("utf-8"), re.MULTILINE
            )
            assert bool(rows) == (cls.from_checkpoint.__func__ is not Generator.from_checkpoint.__func__), one.name
            assert all(row in page for row in rows), f"the table of {readme} is not on the page"


@each
def test_targets_of_make_exist(path: Path) -> None:
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = path.read_text(encoding="utf-8")
    named = {line[1] for line in commands(path) if line[0] == "make"} | set(re.findall(r"`make ([\w-]+)`", text))
    assert named <= known


@cache
def help_of(*command: str) -> str:
    """What the command line says of a command."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert not ended.value.code, f"there is no command `ganenc {' '.join(command)}`: {said.getvalue()}"
    return said.getvalue()


@each
def test_commands_and_their_options_exist(path: Path) -> None:
    for line in commands(path):
        if line[0] != "ganenc" or len(line) < 2 or line[1].startswith("-"):
            continue
        said = help_of(line[1])
        for option in (word.split("=")[0] for word in line[2:] if word.startswith("--")):
            assert option in said, f"{path.name}: `ganenc {line[1]}` has no {option}"
