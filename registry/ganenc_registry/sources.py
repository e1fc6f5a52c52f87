"""What a module holds, as its source tells: nothing of it runs, so a broken or a slow one does no harm."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

__all__ = ["UNKNOWN", "constant", "fault_of"]

UNKNOWN = object()
"""What is returned where the source does not tell."""

_DYNAMIC_CALLS = {"globals", "setattr", "vars", "exec"}


def fault_of(target: str) -> str:
    """Why ``package.module:attribute`` cannot be imported, as far as the source tells; empty if nothing speaks against.
    What a module does while it runs cannot be told from its source, so importing may still fail."""
    module, _, attribute = target.partition(":")
    if _find(module) is None:
        return f"there is no module {module}"
    try:
        names = _names(_source(module)) | _names(_stub(module))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        return f"the module {module} is not Python: {getattr(error, 'msg', error)}{line}"
    first = attribute.split(".")[0]
    if {first, "*"} & names or _find(f"{module}.{first}"):
        return ""
    return f"the module {module} has no {first}"


def constant(module: str, name: str) -> Any:
    """The literal value that a module gives ``name``; `UNKNOWN` if it gives it none, or one that is no literal."""
    try:
        tree = ast.parse(_source(module) or "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # Some of it is nested too deep.
        return UNKNOWN
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value:
            targets, value = [node.target], node.value
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            try:
                return ast.literal_eval(value)
            except (ValueError, RecursionError, MemoryError):
                return UNKNOWN
    return UNKNOWN


def _find(module: str) -> ModuleSpec | None:
    """Where a module would be imported from, without importing it or the packages around it."""
    top, *rest = module.split(".")
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    name = top
    for step in rest:
        places = getattr(sys.modules.get(name), "__path__", None) or (found and found.submodule_search_locations)
        if not places:
            return None
        name = f"{name}.{step}"
        found = PathFinder.find_spec(name, list(places))
    return found


def _source(module: str) -> str | None:
    """The source of a module; None where there is none. ValueError if it cannot be read or decoded."""
    found = _find(module)
    read = getattr(found and found.loader, "get_source", None)
    try:
        source: str | None = read(module) if read else None
    except ImportError as error:  # What it is raised from says more.
        raise ValueError(str(error.__cause__ or error)) from None
    return source


def _stub(module: str) -> str:
    """What lies beside a module that loads its names when they are asked for, and says which; empty if nothing does."""
    found = _find(module)
    stub = Path(found.origin).with_suffix(".pyi") if found and found.origin else None
    return stub.read_text(encoding="utf-8") if stub and stub.is_file() else ""


@functools.lru_cache(maxsize=64)
def _names(source: str | None) -> frozenset[str]:
    """The names that a module binds when it runs; ``*`` where it may bind others. SyntaxError if it is not Python."""
    return frozenset("*" if source is None else _bound(ast.parse(source)))


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield "*" if node.name == "__getattr__" else node.name
            if any(isinstance(inner, ast.Global) for inner in ast.walk(node)):
                yield "*"
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _DYNAMIC_CALLS:
            yield "*"
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        yield from _bound(node)
