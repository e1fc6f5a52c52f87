"""JSON that lies with weights, read as data of bounded size. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError
from ganenc_registry.opening import LARGEST, read_text
from ganenc_registry.plain_data import parse_json


def read_json(path: Path, remedy: str) -> Any:
    """What a JSON file holds. `CheckpointError`, ending in the ``remedy``, if it is no JSON or too large; `OSError`."""
    try:
        return parse_json(read_text(path, LARGEST))
    except ValueError as error:
        raise CheckpointError(f"{path}: it is not valid JSON ({error}); {remedy}.") from None
