"""Devices by name."""

from __future__ import annotations

import re

from ganenc_registry.errors import DeviceError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    told = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return told or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def check_device(name: str) -> str:
    """The name of a device that is there: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; `DeviceError` if it is not."""
    import torch

    kind, _, index = name.partition(":")
    if not re.fullmatch(r"(cpu|cuda|mps)(:0|:[1-9][0-9]*)?", name):
        raise DeviceError(f"There is no device {name!r}; it is cpu, cuda, cuda:N or mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError("The device 'cuda' is not here: no NVIDIA GPU, or no driver for it; use --device cpu.")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise DeviceError(f"The device {name!r} is not here; there are {torch.cuda.device_count()} GPUs, from cuda:0.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("The device 'mps' is not here: it takes a Mac with Apple silicon; use --device cpu.")
    return name
