"""What a module holds is told from its source, without running it."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest
from ganenc_registry.sources import UNKNOWN, constant, fault_of

BODIES = {
    "assigned": "A = 1",
    "annotated": "A: int = 1",
    "unpacked": "B, (A, *C) = 1, (2, 3)",
    "walrus": "print(A := 1)",
    "function": "def A(): pass",
    "coroutine": "async def A(): pass",
    "class": "class A: pass",
    "imported": "import os as A",
    "package": "import A.b",
    "from_another": "from os import path as A",
    "star": "from os import *",
    "conditional": "try:\n    import nothing\nexcept ImportError:\n    A = None",
    "loop": "for A in range(3): pass",
    "with": "with open(__file__) as A: pass",
    "matched": "match 1:\n    case A: pass",
    "lazily": "def __getattr__(name): return 1",
    "by_name": "globals()['A'] = 1",
    "in_a_function": "def make():\n    global A\n    A = 1\nmake()",
}
ABSENT = {
    "local": "def make():\n    A = 1",
    "of_a_class": "class B:\n    A = 1",
    "read": "print(A)",
    "in_a_text": "'''A = 1'''",
    "of_an_object": "class B: pass\nB.A = 1",
    "empty": "",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for modules, on ``sys.path``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def write(place: Path, name: str, text: str) -> str:
    """A module in the package ``held``; its name."""
    package = place / "held"
    package.mkdir(exist_ok=True)
    (package / "__init__.py").write_text("raise RuntimeError('the package was run')")
    (package / f"{name}.py").write_text(textwrap.dedent(text))
    return f"held.{name}"


@pytest.mark.parametrize("name", BODIES)
def test_a_name_that_may_be_there_is_not_complained_about(place: Path, name: str) -> None:
    assert fault_of(f"{write(place, name, BODIES[name])}:A.inner") == ""


@pytest.mark.parametrize("name", ABSENT)
def test_a_name_that_is_not_there_is_told(place: Path, name: str) -> None:
    module = write(place, name, ABSENT[name])
    assert fault_of(f"{module}:A") == f"the module {module} has no A"


def test_modules_that_are_not_there_and_files_that_are_not_python_are_told(place: Path) -> None:
    module = write(place, "broken", "x = 1\ndef (:\n")
    (place / "held" / "bytes.py").write_bytes(b"# \xff\n")
    assert fault_of("nobody_has_this:A") == "there is no module nobody_has_this"
    assert fault_of("nobody_has_this.inner:A") == "there is no module nobody_has_this.inner"
    assert fault_of("held.none:A") == "there is no module held.none"
    assert fault_of("held.broken.inner:A") == "there is no module held.broken.inner"
    assert fault_of(f"{module}:A") == "the module held.broken is not Python: invalid syntax, line 2"
    assert "held.bytes is not Python" in fault_of("held.bytes:A")
    assert not [name for name in sys.modules if name.startswith("held")], "nothing was imported"


def test_what_has_no_source_and_modules_as_attributes_are_taken_as_they_are(place: Path) -> None:
    write(place, "inner", "")
    assert fault_of("sys:argv_of_nobody") == ""
    assert fault_of("held:inner") == ""
    assert fault_of("held:outer") == "the module held has no outer"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X = (1, 2)", (1, 2)),
        ("X: tuple[int, int] = (3, 4)", (3, 4)),
        ("Y = X = 'text'", "text"),
        ("X = None", None),
        ("import sys\nX = sys.version_info[:2]", UNKNOWN),
        ("def f():\n    X = (1, 2)", UNKNOWN),
        ("X: int", UNKNOWN),
        ("def (", UNKNOWN),
    ],
)
def test_a_constant_is_read_without_running_anything(place: Path, text: str, value: object) -> None:
    assert constant(write(place, "holds", text), "X") == value
    assert "held" not in sys.modules


def test_a_constant_of_a_module_that_is_not_there_is_unknown() -> None:
    assert constant("nobody_has_this.inner", "X") is UNKNOWN


def test_what_a_lazy_module_offers_is_what_lies_in_its_stub(place: Path) -> None:
    lazy = "import lazy_loader\n__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)"
    module = write(place, "face", lazy)
    (place / "held" / "face.pyi").write_text("from .inside import A as A\n")
    assert fault_of(f"{module}:A") == ""
    assert "has no B" in fault_of(f"{module}:B")
