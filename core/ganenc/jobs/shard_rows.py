"""What is kept of the photos of a shard: rows of a parquet file, which say in the schema what latents they are."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ganenc_registry.specs import Noise, ShardSettings
from PIL import Image
from typing_extensions import Self

from ganenc.files import MARK, load_parquet
from ganenc.latents import FORM, layout_json
from ganenc.model import Model

GROUP = 256
"""The most rows that are held, and written as one group;"""
HELD = 1 << 26
"""or fewer, that have some more bytes than this."""
QUALITY = 95
"""Of JPEG."""


@dataclass
class ShardRow:
    """What came of one photo."""

    key: str
    error: str | None = None
    """Why nothing did."""
    latents: Mapping[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    """Every part as one row of numbers."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    verdict: str | None = None
    """Whether it is like what the generator makes; None where there is no encoder to tell."""
    method: str | None = None
    label: int | None = None
    seconds: float | None = None
    picture: Image.Image | None = None

    @property
    def bytes(self) -> int:
        """How much it takes."""
        pixels = 0 if self.picture is None else self.picture.width * self.picture.height * len(self.picture.getbands())
        return sum(one.nbytes for one in self.latents.values()) + pixels + len(self.error or "")


def shard_metadata(model: Model, shard: Path, size: int, settings: Mapping[str, Any]) -> dict[str, str]:
    """What the schema of the latents of a shard, of a size in bytes, says of them: all that the rows depend on."""
    spec = model.generator.spec
    return {
        "format": FORM,
        "layout": layout_json(spec.layout),
        "model": model.hash,
        "shard": shard.name,
        "shard_bytes": str(size),
        "settings": json.dumps(settings, sort_keys=True),
        "written_by": MARK.rpartition(" ")[2],
    }


class ShardWriter:
    """A parquet file as it is written, a group of rows at a time; of one schema for all shards of a job."""

    def __init__(self, path: Path, model: Model, settings: ShardSettings, metadata: Mapping[str, str]) -> None:
        self.arrow, parquet = load_parquet()
        pa, spec = self.arrow, model.generator.spec
        number = pa.float16() if settings.numbers == "float16" else pa.float32()
        sizes = {part.name: int(np.prod(part.shape)) for part in spec.layout if not isinstance(part, Noise)}
        self.parts = pa.struct([(name, pa.list_(number, size)) for name, size in sizes.items()])
        self.metrics = pa.struct([(name, pa.float64()) for name in model.metrics(settings.metrics)])
        fields = [("key", pa.string()), ("latents", self.parts), ("metrics", self.metrics), ("verdict", pa.string())]
        fields += [("method", pa.string()), ("seconds", pa.float64()), ("error", pa.string())]
        fields += [("label", pa.int64())] if spec.classes else []
        if settings.reconstructions != "none":
            fields.append(("reconstruction", pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
        self.schema = pa.schema(fields, metadata=dict(metadata))
        self.ending = settings.reconstructions
        told = ["verdict", "method", "error"]
        self._writer = parquet.ParquetWriter(path, self.schema, compression="zstd", use_dictionary=told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def write(self, rows: Sequence[ShardRow]) -> None:
        """Write a group of rows."""
        pa = self.arrow
        lost = pa.array([row.error is not None for row in rows])
        arrays = {
            "key": pa.array([row.key for row in rows], pa.string()),
            "latents": self._struct(self.parts, [self._numbers(rows, one) for one in self.parts], lost),
            "metrics": pa.array([None if row.error is not None else dict(row.metrics) for row in rows], self.metrics),
        }
        for name in ("verdict", "method", "seconds", "error", "label"):
            if name in self.schema.names:
                arrays[name] = pa.array([getattr(row, name) for row in rows], self.schema.field(name).type)
        if "reconstruction" in self.schema.names:
            kept = [
                None if row.picture is None
                else {"bytes": _encoded(row.picture, self.ending), "path": f"{row.key}.{self.ending}"}
                for row in rows
            ]  # fmt: skip
            arrays["reconstruction"] = pa.array(kept, self.schema.field("reconstruction").type)
        table = pa.table([arrays[name] for name in self.schema.names], schema=self.schema)
        self._writer.write_table(table, row_group_size=len(rows))

    def _numbers(self, rows: Sequence[ShardRow], part: Any) -> Any:
        """A part of the latents of some rows."""
        pa, size = self.arrow, part.type.list_size
        nothing = np.zeros(size, part.type.value_type.to_pandas_dtype())
        found = [row.latents.get(part.name, nothing) for row in rows]
        lost = pa.array([part.name not in row.latents for row in rows])
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(found)), type=part.type, mask=lost)

    def _struct(self, kind: Any, arrays: Sequence[Any], lost: Any) -> Any:
        return self.arrow.StructArray.from_arrays(arrays, fields=list(kind), mask=lost)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    opaque = picture.convert("RGB") if kind == "jpeg" and picture.mode == "RGBA" else picture
    opaque.save(buffer, kind, quality=QUALITY)
    return buffer.getvalue()
