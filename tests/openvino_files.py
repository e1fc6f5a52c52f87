"""Writes OpenVINO's files: a graph of constants and operations, as XML, and the constants' bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

TYPES = {"float32": "f32", "float16": "f16", "int64": "i64"}


def write_openvino(path: Path, constants: Iterable[tuple[str, np.ndarray]], operations: Iterable[str] = ()) -> None:
    """``path`` (``.xml``) with its ``.bin``: constants by name, in this order, and operations by their kind."""
    layers, data = [], b""
    for name, array in constants:
        shape = ",".join(map(str, array.shape))
        layers.append(
            f'<layer id="{len(layers)}" name={quoteattr(name)} type="Const" version="opset1"><data'
            f' element_type="{TYPES[str(array.dtype)]}" shape="{shape}" offset="{len(data)}"'
            f' size="{array.nbytes}"/></layer>'
        )
        data += array.tobytes()
    layers += [f'<layer id="{len(layers) + i}" name="op{i}" type="{kind}"/>' for i, kind in enumerate(operations)]
    path.write_text(f'<?xml version="1.0"?>\n<net name="network" version="10"><layers>{"".join(layers)}</layers></net>')
    path.with_suffix(".bin").write_bytes(data)
