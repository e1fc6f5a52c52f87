"""Training state on disk: nested dicts and lists of tensors and plain data, as one safetensors file (no pickle)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import CheckpointError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganenc.atomic import write_bytes

__all__ = ["load_state", "save_state"]


def save_state(path: str | Path, state: Any) -> None:
    """Write nested dicts, lists, tensors and plain values, atomically. Keys of dicts are strings or integers."""
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
    return _restore(json.loads(metadata["skeleton"]), tensors)


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
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


def to_device(state: Any, device: torch.device) -> Any:
    """The same state with every tensor on ``device``."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, dict):
        return {key: to_device(item, device) for key, item in state.items()}
    if isinstance(state, list):
        return [to_device(item, device) for item in state]
    return state
