"""Ways to compute one thing, the same to rounding, of which the machine at hand decides: measured, kept, and told.

Which one is faster depends on the processor's instructions, on threads and on sizes. A measurement takes seconds, once,
and is kept in the cache folder. Not in paper.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from ganenc_registry.errors import GanencError, SpecError

from ganenc.files.atomic import write_json
from ganenc.files.bounded_json import read_json
from ganenc.files.downloads import cache_folder
from ganenc.files.machine import processor

MARGIN = 0.95
"""The first way is taken unless another takes at the most so much of its time."""
BUDGET = 8.0
"""Seconds that a measurement takes at the most, once each way has had two rounds."""
ROUNDS = 4
MEASURED: dict[str, Any] = {}
"""What this process measured, also where nothing can be kept."""
FILE = "measured.json"


def forced(choice: str, ways: Sequence[str]) -> str | None:
    """The way that the environment names for a choice, as in ``GANENC_MEMORY_FORMAT``, so that nothing is measured; a
    SpecError if there is no such way."""
    variable = f"GANENC_{choice.upper()}"
    told = os.environ.get(variable)
    if told is not None and told not in ways:
        raise SpecError(f"{variable} is {told!r}; it takes {' or '.join(ways)}.")
    return told


def fastest(choice: str, of: str, ways: Mapping[str, Callable[[], object]], device: torch.device) -> str:
    """The way of a ``choice`` that works faster on this machine as it is set up; those that end in a RuntimeError are
    left out. ``of`` tells, for people too, all else that decides: the network, its sizes, the batch, the precision."""
    key, first = f"{_machine()}; {device}, {choice} of {of}", next(iter(ways))
    if (row := _kept().get(key)) is None or row["way"] not in ways:
        seconds = _measured(ways, device)
        best = min(seconds, key=lambda name: seconds[name], default=first)
        best = first if first in seconds and seconds[first] * MARGIN <= seconds[best] else best
        MEASURED[key] = row = {"what": f"{choice} of {of}", "way": best, "seconds": seconds}
        if seconds:
            with suppress(GanencError):
                write_json(cache_folder() / FILE, _kept(), replace=True)
    way: str = row["way"]
    return way


def measured() -> list[str]:
    """What was measured on this machine as it is now set up, in words."""
    here = f"{_machine()}; "
    return [
        f"{row['what']}: {row['way']} ("
        + ", ".join(f"{name} {seconds:.3g} s" for name, seconds in row["seconds"].items())
        + ")"
        for key, row in sorted(_kept().items())
        if key.startswith(here)
    ]


def _measured(ways: Mapping[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """The least seconds of some rounds of each way that works."""
    found: dict[str, float] = {}
    began = time.perf_counter()
    for turn in range(1 + ROUNDS):
        for name, work in ways.items():
            if turn and name not in found:
                continue
            start = time.perf_counter()
            try:
                work()
            except RuntimeError:
                if turn:
                    raise
                continue
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
            found[name] = min(found[name], seconds) if turn > 1 else seconds
        if turn and time.perf_counter() - began > BUDGET:
            break
    return found


def _machine() -> str:
    """All of the machine and its settings that decides what is faster."""
    limits = [f"{name}={os.environ[name]}" for name in ("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA") if name in os.environ]
    set_up = [f"{torch.get_num_threads()} threads", torch.backends.cpu.get_cpu_capability(), *limits]
    cards = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return ", ".join([processor(), *cards, f"torch {torch.__version__}", *set_up])


def _kept() -> dict[str, Any]:
    """What was measured before, if it can be read."""
    with suppress(GanencError, OSError):
        kept = read_json(cache_folder() / FILE, "delete it")
        if isinstance(kept, dict):
            return {key: row for key, row in kept.items() if _whole(row)} | MEASURED
    return MEASURED


def _whole(row: Any) -> bool:
    """Whether a row of the file is one that was written there."""
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("what", "way")):
        return False
    seconds = row.get("seconds")
    return isinstance(seconds, dict) and all(isinstance(one, float) for one in seconds.values())
