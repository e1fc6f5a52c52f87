"""Tensors on disk as safetensors files, which run no code: by name, or as nested state."""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import CheckpointError, GanencError, SpecError
from ganenc_registry.opening import fixed_path
from ganenc_registry.plain_data import parse_json
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ganenc.files.atomic import write_bytes


def as_tensor(given: Any, what: str, error: type[GanencError]) -> Tensor:
    """A tensor, or an array or list as one, sharing its memory where that can be; ``error`` for anything else."""
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as failure:
        reason = " ".join(str(failure).split())
        raise error(f"A tensor is wanted as {what}, where a {type(given).__name__} is given: {reason}.") from None


def as_count(given: Any, what: str, least: int = 0) -> int:
    """A whole number of at least so much; `SpecError` for anything else."""
    try:
        number = operator.index(given)
    except TypeError:
        number = least - 1
    if number < least:
        raise SpecError(f"{what} is a whole number{f' of {least} or more' if least >= 0 else ''}; not {given!r}.")
    return number


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors, by name: the same for the same values, wherever they are."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, replace: bool = False
) -> None:
    """Write named tensors and what is said of them, the same to the byte; see `ganenc.files.atomic_path`."""
    # Cloned, as the format refuses tensors that share memory.
    own = {name: one.detach().cpu().clone(memory_format=torch.contiguous_format) for name, one in tensors.items()}
    data = memoryview(save(own, {**metadata, "written_by": "ganenc"}))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:end]))
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))  # Which has no order of its own.
    written = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    written = written.ljust(-(-len(written) // 8) * 8)
    write_bytes(path, b"".join((len(written).to_bytes(8, "little"), written, data[end:])), replace=replace)


def load_tensors(
    path: str | Path,
    what: str,
    *,
    form: str = "",
    error: type[GanencError] = CheckpointError,
    remedy: str = "",
    device: str | torch.device = "cpu",
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """What `save_tensors` wrote: the metadata, and the tensors by name, on the device.

    ``form`` is what the metadata have to call its ``format``; anything if empty. ``error`` is raised if the file is not
    there, is damaged or holds something else; in it, ``what`` says what it holds and ``remedy`` what to do about it.
    """
    try:
        with fixed_path(path) as fixed, safe_open(fixed, framework="pt", device=str(device)) as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if any(one.ndim > 32 or math.prod(max(size, 1) for size in one.shape) >= 2**62 for one in tensors.values()):
            raise ValueError("it holds a tensor of a shape that none has")
    except (SafetensorError, OSError, TypeError, ValueError, RuntimeError) as failure:
        reason = " ".join(str(failure).split())
        raise error(f"{path} cannot be read for its {what}: {reason}{remedy and '; '}{remedy}.") from None
    if form and metadata.get("format") != form:
        raise error(f"{path} is a safetensors file, but it holds no {what} of ganenc.")
    return metadata, tensors


def save_state(path: str | Path, state: Any, *, replace: bool = False) -> None:
    """Write nested dicts, lists, tensors and plain values, atomically. Tuples come back as lists. `TypeError` if
    something else is in the state, or a key is neither a string nor an integer; `GanencError` if it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    outline = json.dumps(_outline(state, "", tensors))
    save_tensors(path, tensors, {"format": "ganenc-state", "skeleton": outline}, replace=replace)


def load_state(path: str | Path) -> Any:
    """Read what `save_state` wrote, to the CPU; `CheckpointError` if it is missing, damaged, or something else."""
    metadata, tensors = load_tensors(path, "training state", form="ganenc-state")
    try:
        return _restored(parse_json(metadata["skeleton"]), tensors)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CheckpointError(f"The training state {path} is damaged: its outline does not fit its tensors.") from None


# Not torch's pytree, whose outlines name modules that reading them imports.
def _outline(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON, with the name of a tensor in its place: each node is a mapping of its kind to what it holds."""
    if isinstance(value, Tensor):
        unique = f"{len(tensors)}{name}"  # A key may hold a slash, and 1 and "1" are two keys.
        tensors[unique] = value
        return {"tensor": unique}
    if isinstance(value, dict):
        wrong = [key for key in value if not isinstance(key, str | int)]
        if wrong:
            raise TypeError(f"a training state cannot hold the key {wrong[0]!r} (at {name or 'the top'})")
        return {"dict": [[key, _outline(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_outline(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"value": value}
    raise TypeError(f"a training state cannot hold {type(value).__name__} (at {name or 'the top'})")


def _restored(outline: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    ((kind, content),) = outline.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _restored(item, tensors) for key, item in content}
    return [_restored(item, tensors) for item in content] if kind == "list" else content
