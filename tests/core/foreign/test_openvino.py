"""OpenVINO's files, read as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ganenc.foreign import read_checkpoint
from ganenc_registry.errors import CheckpointError
from openvino_files import write_openvino

CONSTANTS = {
    "m.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "axis": np.array(-1, dtype=np.int64),
    "half": np.array([0.5, 2], dtype=np.float16),
}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    write_openvino(tmp_path / "net.xml", CONSTANTS.items(), ["MatMul", "Add", "MatMul"])
    return tmp_path / "net.xml"


def test_the_constants_are_read_by_name_and_in_order(graph: Path) -> None:
    checkpoint = read_checkpoint(graph)
    assert checkpoint.container == "openvino"
    assert list(checkpoint.tensors) == list(CONSTANTS)
    for name, array in CONSTANTS.items():
        assert torch.equal(checkpoint.tensors[name], torch.from_numpy(array))
    assert checkpoint.meta("operations") == {"Const": 3, "MatMul": 2, "Add": 1}


def test_a_folder_of_graphs_takes_each_under_its_name(graph: Path) -> None:
    write_openvino(graph.with_name("other.xml"), [("one", np.ones(2, dtype=np.float32))], ["Relu"])
    checkpoint = read_checkpoint(graph.parent)
    assert sorted(checkpoint.tensors) == ["net.axis", "net.half", "net.m.weight", "other.one"]
    assert checkpoint.meta("other.operations.Relu") == 1


BOMB = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><net name="&b;"/>"""
OUTSIDE = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net name="&x;"/>"""


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('offset="0"', 'offset="99"', "is not in its .bin"),
        ('size="24"', 'size="20"', "is not in its .bin"),
        ('shape="2,3"', 'shape="0,9223372036854775808"', "says neither"),
        ('shape="2,3"', 'shape="-2,-3"', "says neither"),
        ('shape="2,3"', 'shape="4000000,4000000"', "is not in its .bin"),
        ('shape="2,3"', 'shape="0,3"', "is not in its .bin"),
        ('element_type="f32"', 'element_type="string"', "says neither"),
        ('name="axis"', 'name="m.weight"', "two constants share the name"),
        ("</net>", "", "is no XML of OpenVINO"),
        ("<net ", "<page ", "is no XML of OpenVINO"),
        (None, BOMB, "is no XML of OpenVINO"),
        (None, OUTSIDE, "is no XML of OpenVINO"),
        (None, '<?xml version="1.0"?><page/>', "is no graph of OpenVINO"),
    ],
)
def test_what_does_not_fit_is_told(graph: Path, before: str | None, after: str, message: str) -> None:
    text = graph.read_text()
    graph.write_text(after if before is None else text.replace(before, after, 1))
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(graph)


def test_a_graph_without_its_constants_is_told(graph: Path) -> None:
    graph.with_suffix(".bin").unlink()
    with pytest.raises(CheckpointError, match=r"there is no net\.bin beside it"):
        read_checkpoint(graph)
