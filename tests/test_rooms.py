"""The house keeps its order: who imports whom, who names what, and who pulls torch in."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import itertools
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = {path.name: path / path.name.replace("-", "_") for path in sorted((ROOT / "plugins").glob("ganenc-plugin-*"))}
ROOMS = {"registry": ROOT / "registry/ganenc_registry", "core": ROOT / "core/ganenc", **PLUGINS}
PACKAGES = [room.name for room in ROOMS.values()]
DEVELOPING = ("dev", "docs")
"""Extras that no code of a package may lean on."""
FAMILY = re.compile(r"(?i)(?:style|pg|progressive|big|bigbi|cycle|dc|w|info)[ _-]?gans?\b|stylegan|pggan|biggan|progan")


ORDER = (
    "files", "images", "latents", "generators", "encoders", "foreign", "models", "objectives", "measures", "inversion",
    "editing", "training", "export", "report", "model", "jobs", "testing", "scaffold", "cli",
)  # fmt: skip
"""The rooms of the core. Each imports only from those before it."""
NAMED_IN_SIGNATURES = {("generators", "foreign")}
"""What a contract takes or holds of a room below it, named for type checkers alone."""
STILL_DEEP = (
    "tests/broken/", "tests/core/cli/test_edit.py", "tests/core/measures/test_frechet.py", "tests/core/testing/",
    "tests/core/objectives/test_backbones.py", "tests/core/training/test_data.py",
)  # fmt: skip
MOST_ENTRIES = 20
MOST_INNER_IMPORTS = 32
"""Import statements inside functions, in all packages: for what is heavy and seldom needed."""
CARRYING = {"torch", "pluggy", "pydantic", "safetensors", "einops", "kornia", "lpips", "captum"}
"""What the code that runs is made of; see DESIGN.md."""


class Import(NamedTuple):
    """One import statement's module, what is taken from it, and whether it runs (not only for type checkers)."""

    module: str
    runs: bool
    names: tuple[str, ...] = ()
    inner: bool = False
    """Whether it stands inside a function."""


def files(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"{folder} holds no code"
    return found


def imports(path: Path) -> Iterator[Import]:
    """Every import in a file, those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    inner = {id(statement) for function in functions for statement in ast.walk(function)}
    for node in ast.walk(tree):
        runs, inside = id(node) not in guarded, id(node) in inner
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, runs, inner=inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports here name the whole module"
            yield Import(node.module or "", runs, tuple(alias.name for alias in node.names), inside)
        elif isinstance(node, ast.Call) and isinstance(node.args[0] if node.args else None, ast.Constant):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            value = node.args[0].value
            if name in ("import_module", "__import__") and isinstance(value, str):
                yield Import(value, True)


def roots(folder: Path, *, running: bool = False) -> set[str]:
    """The top-level packages that the code below ``folder`` imports."""
    return {one.module.split(".")[0] for path in files(folder) for one in imports(path) if one.runs or not running}


def run(code: str) -> str:
    """What ``code`` prints in a fresh process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sources() -> dict[str, Path]:
    """Every module of ours by name, templates of scaffolds left out."""
    found = {}
    for folder in ROOMS.values():
        for path in files(folder):
            steps = [folder.name, *path.relative_to(folder).with_suffix("").parts]
            if "templates" not in steps:
                found[".".join(steps[:-1] if steps[-1] == "__init__" else steps)] = path
    return found


def faces(modules: dict[str, Path]) -> dict[tuple[str, str], str]:
    """Where each name that a room offers comes from: (room's module, name) => module."""
    found = {}
    for module, path in modules.items():
        stub = path.with_suffix(".pyi")
        for node in ast.parse(stub.read_text(encoding="utf-8")).body if stub.is_file() else []:
            assert isinstance(node, ast.ImportFrom), f"{stub} is more than a list of names"
            for alias in node.names:
                found[module, alias.asname or alias.name] = f"{module}.{node.module or alias.name}"
    return found


def edges(*, typing: bool = False) -> dict[str, set[str]]:
    """The modules of ours that each imports while it runs, inside functions too, or for type checkers as well.

    Names of faces lead to the modules that they come from.
    """
    modules = sources()
    homes = faces(modules)
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        found[module] = set()
        for one in imports(path):
            for name in one.names or ("",):
                inside = f"{one.module}.{name}"
                target = homes.get((one.module, name), inside if inside in modules else one.module)
                if (one.runs or typing) and target in modules:
                    found[module].add(target)
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import one another, in a circle (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(module: str) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for target in graph[module]:
            if target not in order:
                visit(target)
            if target in stack:
                lowest[module] = min(lowest[module], lowest[target])
        if lowest[module] == order[module]:
            circle = [stack.pop()]
            while circle[-1] != module:
                circle.append(stack.pop())
            found.extend([sorted(circle)] if len(circle) > 1 or module in graph[module] else [])

    for module in graph:
        if module not in order:
            visit(module)
    return found


def room(module: str) -> str:
    """The room of the core that a module lies in; empty for what is in none."""
    steps = module.split(".")
    return steps[1] if steps[0] == "ganenc" and len(steps) > 1 and steps[1] in ORDER else ""


@pytest.mark.parametrize("typing", [False, True], ids=["running", "typing"])
def test_a_room_imports_only_from_rooms_above_it(typing: bool) -> None:
    pairs = {(room(module), room(target)) for module, targets in edges(typing=typing).items() for target in targets}
    wrong = {(own, other) for own, other in pairs if own and other and ORDER.index(own) < ORDER.index(other)}
    assert wrong <= (NAMED_IN_SIGNATURES if typing else set())


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a", "d"}}) == [["b", "c"], ["d"]]
    assert circles(edges()) == []


def test_the_core_has_no_more_rooms_than_a_person_can_hold() -> None:
    entries = [
        path.name for path in ROOMS["core"].iterdir() if not path.name.startswith("__") and path.name != "py.typed"
    ]
    assert len(entries) <= MOST_ENTRIES, entries
    assert {path.removesuffix(".py") for path in entries} >= set(ORDER)


@pytest.mark.parametrize("place", ["core", "plugins", "examples", "benchmarks", "tests"])
def test_a_room_is_entered_by_its_face(place: str) -> None:
    deep = {
        f"{path.relative_to(ROOT)} imports {one.module}"
        for path in files(ROOT / place)
        for one in imports(path)
        if one.module.startswith("ganenc.") and one.module.count(".") > 1
        if place != "core" or room(one.module) != room(".".join(path.relative_to(ROOT / "core").with_suffix("").parts))
    }
    assert not {one for one in deep if not one.startswith(STILL_DEEP)}


def test_imports_stand_at_the_top() -> None:
    inner = [f"{module}: {one.module}" for module, path in sources().items() for one in imports(path) if one.inner]
    assert len(inner) <= MOST_INNER_IMPORTS, inner


def test_the_packages_that_carry_it_are_imported_by_the_code_that_runs() -> None:
    used = {root for folder in ROOMS.values() for root in roots(folder, running=True)}
    assert used >= CARRYING


def test_the_registry_imports_neither_core_nor_plugins_nor_torch() -> None:
    forbidden = {"torch", "torchvision", "numpy", *PACKAGES} - {"ganenc_registry"}
    assert not roots(ROOMS["registry"]) & forbidden


def test_the_core_imports_no_plugin() -> None:
    assert not {root for root in roots(ROOMS["core"]) if root.startswith("ganenc_plugin")}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_plugin_imports_only_plugins_that_it_declares(plugin: str) -> None:
    own = PLUGINS[plugin].name
    others = {root for root in roots(PLUGINS[plugin]) if root.startswith("ganenc_plugin")} - {own}
    assert others <= {name.replace("-", "_") for name in dependencies(ROOT / "plugins" / plugin)}


@pytest.mark.parametrize("room", ["registry", "core"])
def test_no_gan_family_is_named_outside_its_plugin(room: str) -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(ROOMS[room].rglob("*"))
        if path.is_file() and path.suffix not in (".pyc", ".png", ".safetensors")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FAMILY.search(line)
    ]
    assert not named


def test_the_search_for_families_finds_them() -> None:
    for text in ("StyleGAN2", "a stylegan", "PGGANs", "BigGAN-deep", "# Style GAN", "progressive gan", "_biggan_"):
        assert FAMILY.search(text), text
    for text in ("a GAN", "the generator", "ganenc", "big gain", "styles"):
        assert not FAMILY.search(text), text


def _light(code: str) -> str:
    return f"import sys\n{code}\nprint(sorted({{'torch', 'torchvision', 'numpy.linalg'}} & set(sys.modules)))"


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_leaves_torch_out(package: str) -> None:
    assert run(_light(f"import {package}")) == "[]\n"


def test_the_registry_reads_specs_only_when_they_are_asked_for() -> None:
    code = "import sys, ganenc_registry\nprint(sorted({'pydantic', 'yaml', 'torch', 'numpy'} & set(sys.modules)))"
    assert run(code) == "[]\n"


def test_listing_what_is_registered_leaves_torch_out() -> None:
    code = "from ganenc_registry import registry\nassert registry().list()"
    assert run(_light(code)) == "[]\n"


@pytest.mark.parametrize("arguments", [["list"], ["plugins"], ["--help"]])
def test_the_command_line_lists_without_torch(arguments: list[str]) -> None:
    code = f"""
sys.argv = ["ganenc", *{arguments}]
from ganenc.cli import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code"""
    printed = run(_light(code)).splitlines()
    assert len(printed) > 1, "it prints something"
    assert printed[-1] == "[]"


def modules(package: str) -> list[str]:
    """Every module of a package, by name."""
    found = importlib.import_module(package)
    inner = pkgutil.walk_packages(found.__path__, f"{package}.", onerror=lambda name: pytest.fail(f"{name} fails"))
    return [package, *(one.name for one in inner if not one.name.endswith("__main__"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_imports(package: str) -> None:
    folder = next(room for room in ROOMS.values() if room.name == package)
    names = modules(package)
    assert len(names) == len([path for path in files(folder) if path.name != "__main__.py"]), "a folder lacks __init__"
    for name in names:
        importlib.import_module(name)


def test_the_installed_plugins_load_and_every_target_imports() -> None:
    from ganenc_registry import registry

    found = registry()
    assert {status.name: status.error for status in found.plugins if status.error} == {}
    assert {status.distribution.split()[0] for status in found.plugins} >= {"ganenc", *PLUGINS}
    for contribution in found.list():
        assert found.resolve(contribution.kind, contribution.name) is not None


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_module_offers_is_there(package: str) -> None:
    for name in modules(package):
        module = importlib.import_module(name)
        for offered in getattr(module, "__all__", ()):
            assert hasattr(module, offered), f"{name}.__all__ names {offered}, which is not there"


def dependencies(project: Path) -> set[str]:
    """The distributions that a project declares, in what it offers as extras too, by normalised name."""
    data = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in data.get("optional-dependencies", {}).items() if name not in DEVELOPING}
    declared = [*data["dependencies"], *itertools.chain(*extras.values())]
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in declared}  # type: ignore[index]


@pytest.mark.parametrize(
    ("project", "folders"),
    [
        pytest.param(ROOT, [ROOMS["registry"], ROOMS["core"]], id="ganenc"),
        *(pytest.param(ROOT / "plugins" / name, [folder], id=name) for name, folder in PLUGINS.items()),
    ],
)
def test_a_project_declares_what_it_imports(project: Path, folders: list[Path]) -> None:
    own = {folder.name for folder in folders}
    imported = {root for folder in folders for root in roots(folder, running=True)} - own - sys.stdlib_module_names
    # An editable install lists no packages, and what is optional need not be installed.
    ours = {"ganenc": ["ganenc"], "ganenc_registry": ["ganenc"], "open_clip": ["open_clip_torch"]}
    providers = {**importlib.metadata.packages_distributions(), **ours}
    declared = dependencies(project)
    for root in sorted(imported):
        names = {name.lower().replace("_", "-") for name in providers.get(root, [root])}
        assert names & declared, f"{project.name} imports {root} but does not declare {sorted(names)}"


@pytest.mark.parametrize("project", [ROOT, *(ROOT / "plugins" / name for name in PLUGINS)], ids=lambda path: path.name)
def test_a_project_carries_its_licence_readme_and_entry_point(project: Path) -> None:
    data = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert data["license"] == "Apache-2.0"
    assert (project / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert all((project / name).is_file() for name in [*data["license-files"], data["readme"]])
    for target in data["entry-points"]["ganenc"].values():
        assert callable(importlib.import_module(target).ganenc_contributions)


def test_no_file_of_ours_names_a_place_of_the_machine_it_was_written_on() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout.decode()
    if not listed:
        pytest.skip("needs the files of the repository")
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".txt", "") and path.is_file():
            text = path.read_text(encoding="utf-8", errors="ignore")
            for place in (os.sep + "work" + os.sep, os.sep + "root" + os.sep):
                assert place not in text, f"{name} names {place}"
