"""OpenVINO's files, a graph (``.xml``) and its constants (``.bin``), read as data. Not in paper."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import torch
from defusedxml import DefusedXmlException
from ganenc_registry.errors import CheckpointError
from torch import Tensor

LARGEST = 2**26
"""Bytes of a graph; published ones have some hundred thousand."""
_DTYPES = {
    "f16": torch.float16,
    "f32": torch.float32,
    "f64": torch.float64,
    "i8": torch.int8,
    "i32": torch.int32,
    "i64": torch.int64,
    "u8": torch.uint8,
}


def read_openvino(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The constants of the graph in ``path`` by their names, in its order, out of the ``.bin`` of the same name; and
    ``operations``, how many it has of each kind. `CheckpointError` if the graph is no such XML, or a constant is not in
    the ``.bin`` as it says."""
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path}: a graph of more than {LARGEST:,} bytes is none; give OpenVINO's file.")
    try:
        graph = defusedxml.ElementTree.fromstring(path.read_bytes(), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise CheckpointError(f"{path}: it is no XML of OpenVINO ({error}); download or export it again.") from None
    weights = path.with_suffix(".bin")
    if graph.tag != "net" or not weights.is_file():
        problem = "it is no graph of OpenVINO" if graph.tag != "net" else f"there is no {weights.name} beside it"
        raise CheckpointError(f"{path}: {problem}; give the .xml and the .bin that belong together.")
    data = bytearray(weights.read_bytes())
    layers = graph.findall("layers/layer")
    tensors: dict[str, Tensor] = {}
    for layer in layers:
        if layer.get("type") == "Const":
            name = layer.get("name", "")
            if name in tensors:
                raise CheckpointError(f"{path}: two constants share the name {name!r}; export it again.")
            tensors[name] = _constant(layer.find("data"), data, f"{path}: the constant {name!r}")
    return tensors, {"operations": dict(Counter(layer.get("type", "") for layer in layers))}


def _constant(said: Element | None, data: bytearray, what: str) -> Tensor:
    """One constant, a view of the data, once its place and shape fit them."""
    attributes = {} if said is None else said.attrib
    sizes = [size.strip() for size in attributes.get("shape", "").split(",") if size.strip()]
    numbers = [*sizes, attributes.get("offset", ""), attributes.get("size", "")]
    if attributes.get("element_type") not in _DTYPES or not all(_is_natural(number) for number in numbers):
        raise CheckpointError(f"{what} says neither what it is nor where; download or export it again.")
    dtype = _DTYPES[attributes["element_type"]]
    *shape, offset, size = map(int, numbers)
    count = math.prod(shape)
    if not count or count * dtype.itemsize != size or offset + size > len(data):
        raise CheckpointError(f"{what} of shape {tuple(shape)} is not in its .bin; download or export it again.")
    return torch.frombuffer(data, dtype=dtype, count=count, offset=offset).reshape(shape)


def _is_natural(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
