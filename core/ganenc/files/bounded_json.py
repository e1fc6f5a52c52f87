"""JSON that lies with weights, read as data of bounded size. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError

__all__ = ["LARGEST", "read_json"]

LARGEST = 1 << 24
"""The most bytes that are read; parsed, they take some twenty times that at worst."""


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds. `CheckpointError`, ending in the ``remedy``, if it is larger than `LARGEST` or not JSON;
    `OSError` if it cannot be read."""
    if path.stat().st_size > LARGEST:
        raise CheckpointError(f"{path}: it is far too large for JSON that comes with weights; {remedy}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: it is not valid JSON ({error}); {remedy}.") from None
