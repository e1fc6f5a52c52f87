"""Training state on disk: nested dicts and lists of tensors and plain data, as one safetensors file (no pickle)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganenc.files.atomic import write_bytes

__all__ = ["load_state", "save_state"]


def save_state(path: str | Path, state: Any) -> None:
    """Write nested dicts, lists, tensors and plain values, atomically. Tuples come back as lists.

    Raises:
        TypeError: if something else is in the state, or a key of a dict is neither a string nor an integer.
        GanencError: if the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _flatten(state, "", tensors)
    write_bytes(path, save(tensors, {"format": "ganenc-state", "skeleton": json.dumps(skeleton)}))


def load_state(path: str | Path) -> Any:
    """Read what ``save_state`` wrote; tensors come back on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, or something else.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"The training state {path} cannot be read: {error}.") from None
    if metadata.get("format") != "ganenc-state":
        raise CheckpointError(f"{path} is a safetensors file, but it holds no training state of ganenc.")
    try:
        return _restore(json.loads(metadata["skeleton"]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"The training state {path} is damaged: its outline does not fit its tensors.") from None


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        unique = f"{len(tensors)}{name}"  # A key may hold a slash, and 1 and "1" are two keys.
        tensors[unique] = value.detach().cpu().contiguous().clone()
        return {"tensor": unique}
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str | int)]
        if wrong:
            raise TypeError(f"a training state cannot hold the key {wrong[0]!r} (at {name or 'the top'})")
        items = [[key, _flatten(item, f"{name}/{key}", tensors)] for key, item in value.items()]
        return {"dict": items}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a training state cannot hold {type(value).__name__} (at {name or 'the top'})")


def _restore(skeleton: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = skeleton.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _restore(item, tensors) for key, item in content}
    if kind == "list":
        return [_restore(item, tensors) for item in content]
    return content
