"""The notebook runs from beginning to end in a folder of its own, and is stored clean."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ganenc
import nbformat
import pytest
from ganenc_plugin_hands.models import STYLEGAN2_HANDS64

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any, kind: str) -> Iterator[Any]:
    """What all cells left of one kind, in order: a media type such as ``image/png``, or ``stream``, what they print."""
    for cell in code(notebook):
        for output in cell.outputs:
            if kind == "stream" and output.output_type == "stream":
                yield output.text
            elif kind in output.get("data", {}):
                yield output.data[kind]


def test_it_is_valid_and_holds_no_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert [cell.id for cell in code(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}


def test_its_code_parses_and_each_cell_of_it_follows_words() -> None:
    notebook = read()
    for cell in code(notebook):
        assert ast.parse(cell.source).body, cell.id
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == kinds[-1] == "markdown"
    assert ("code", "code") not in list(itertools.pairwise(kinds))


def test_what_it_takes_from_modules_is_there() -> None:
    nodes = [node for cell in code(read()) for node in ast.walk(ast.parse(cell.source))]
    taken: dict[str, Any] = {}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(ast.unparse(node), taken)
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in taken:
            assert hasattr(taken[node.value.id], node.attr), ast.unparse(node)


def test_its_links_lead_to_files() -> None:
    words = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\(([^)\s]+)\)", words)
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).exists()] == []


@pytest.mark.slow
@pytest.mark.skipif(not (STYLEGAN2_HANDS64 / "encoder").is_dir(), reason="needs the shipped model and its encoder")
def test_it_runs_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    folder = tmp_path / "tour"
    folder.mkdir()
    resources = {"metadata": {"path": str(folder)}}
    done = NotebookClient(read(), timeout=900, kernel_name="python3", resources=resources).execute()
    assert all(cell.execution_count for cell in code(done))
    printed = "\n".join(outputs(done, "stream"))
    quick, tuned = map(float, re.findall(r"([\d.]+) dB", printed))
    assert tuned > quick + 2, printed
    assert "the same pixels: True" in printed
    assert len(list(outputs(done, "image/png"))) == 5
    generator = ganenc.load_generator("stylegan2-hands64")
    latents = ganenc.Latents.load(folder / "hand.safetensors", model=ganenc.model_hash(generator))
    assert latents.space == "w+"
    assert ganenc.Direction.load(folder / "five.safetensors", model=latents.model).name == "five"
    assert {path.name for path in folder.iterdir()} == {"hand.safetensors", "five.safetensors"}
