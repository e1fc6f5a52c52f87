"""Latents as rows of a parquet file, one of each photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ganenc_registry.errors import LatentsError

from ganenc.files import load_parquet, open_parquet

_ROWS = 1024
"""Read at a time."""
_MOST = 1 << 30
_UNPACKED = 1000
"""What unpacks to more bytes, and to so many times its size, is refused."""


def read_rows(
    path: str | Path, keys: Sequence[str] | None = None
) -> tuple[dict[str, str], dict[str, np.ndarray[Any, Any]]]:
    """What the schema says, and every part of the latents as float32 or float16 (N, numbers): all rows that hold some,
    or those of some keys in their order. A LatentsError if there are none, or they are of other types."""
    pa, _ = load_parquet()
    with open_parquet(path, LatentsError) as opened:
        schema = opened.schema_arrow
        metadata = {
            name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
            for name, value in (schema.metadata or {}).items()
        }
        kind = schema.field("latents").type if "latents" in schema.names else None
        parts = list(kind) if kind is not None and pa.types.is_struct(kind) else []
        fits = [
            pa.types.is_fixed_size_list(one.type) and one.type.value_type in (pa.float32(), pa.float16())
            for one in parts
        ]
        if not fits or not all(fits) or "key" not in schema.names or not pa.types.is_string(schema.field("key").type):
            raise LatentsError(
                f"{path} has no column of latents as numbers by part, and their keys; give another file."
            )
        size = Path(path).stat().st_size
        if opened.metadata.num_rows * sum(4 * one.type.list_size for one in parts) > max(_MOST, _UNPACKED * size):
            raise LatentsError(f"{path} says that it unpacks to far more than it holds; it is damaged.")
        wanted = None if keys is None else dict.fromkeys(keys)
        names: list[str] = []
        found: dict[str, list[Any]] = {one.name: [] for one in parts}
        for batch in opened.iter_batches(_ROWS, columns=["key", "latents"], use_threads=False):
            own = batch.column(0).to_pylist()
            kept = [
                valid and (wanted is None or key in wanted)
                for valid, key in zip(batch.column(1).is_valid().to_pylist(), own)
            ]
            rows = batch.column(1).filter(pa.array(kept, pa.bool_()))
            names += [key for key, one in zip(own, kept) if one]
            for place, one in enumerate(parts):
                values = rows.field(place).flatten().to_numpy(zero_copy_only=False)
                if len(values) != len(rows) * one.type.list_size:
                    raise LatentsError(f"In {path} the part {one.name!r} has rows without numbers; make it anew.")
                found[one.name].append(values.reshape(len(rows), one.type.list_size))
    if wanted is not None:
        places = {name: place for place, name in enumerate(names)}
        missing = [key for key in keys or () if key not in places]
        if missing:
            raise LatentsError(f"{path} holds no latents of {missing[0]!r}: it is not there, or failed.")
        order = [places[key] for key in keys or ()]
    else:
        order = list(range(len(names)))
    if not order:
        raise LatentsError(f"{path} holds no latents: every photo of it failed.")
    return metadata, {name: np.concatenate(some)[order] for name, some in found.items()}
