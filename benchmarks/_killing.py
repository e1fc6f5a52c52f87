"""Runs that are killed and started again: how they are started, and what can be seen of them from outside."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from ganenc.cli import main
from ganenc.jobs import execute
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

IMPORTED = (execute, SummaryWriter)
"""What brings along nearly all that a run imports, before it is forked; the rooms alone bring nothing."""
__all__ = ["Watch", "call", "command", "content", "rest", "scalars", "start", "torn"]

_TORN = re.compile(r"\..*-[0-9a-f]{32}(\..*)?")
"""The temporary name of a file that is being written."""
_BEGUN = b"weights to train"
"""Part of the sentence that a run says right before its first step."""
_FORK = multiprocessing.get_context("fork")


def start(arguments: Sequence[str], log: Path, how: str = "forked") -> BaseProcess:
    """Start the command line with these arguments; what it says goes to a file.

    Args:
        arguments: the words after ``ganenc``.
        log: the file, begun anew.
        how: ``forked`` off this process, which has imported everything; ``fresh``, a Python of its own; ``together``,
            two of them by torchrun, in a session of their own.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    child = _FORK.Process(target=_run, args=(list(arguments), log, how))
    child.start()
    return child


def rest(child: BaseProcess, seconds: float) -> None:
    """Let it run for so long, unless it ends before. (Its ``join`` takes an ``exec`` for the end.)"""
    until = time.monotonic() + seconds
    while child.exitcode is None and time.monotonic() < until:
        time.sleep(min(0.0003, seconds))


def call(work: Callable[[], object]) -> None:
    """Do some work in a process of its own, so that this one never starts torch's threads and can be forked."""
    child = _FORK.Process(target=work)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"{work} failed")


def command(arguments: Sequence[str], log: Path, how: str = "forked") -> None:
    """Run the command line to its end.

    Raises:
        RuntimeError: if it fails, with what it said.
    """
    child = start(arguments, log, how)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"ganenc {' '.join(arguments)} failed:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _run(arguments: list[str], log: Path, how: str) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    if how == "forked":
        torch.set_num_threads(1)
        main(arguments)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    if how == "together":
        os.setsid()
    words = [sys.executable, *(launcher if how == "together" else []), "-m", "ganenc", *arguments]
    os.execve(sys.executable, words, {**os.environ, "OMP_NUM_THREADS": "1"})


def torn(folder: Path) -> set[str]:
    """The temporary files in a run's folder, each as ``part/name`` or ``name``."""
    names: set[str] = set()
    for part in ("", "checkpoints/", "best/", "grids/", "encoder/"):
        try:
            names |= {f"{part}{name}" for name in os.listdir(folder / part) if _TORN.fullmatch(name)}
        except FileNotFoundError:
            continue
    return names


@dataclass
class Watch:
    """What a run shows to those outside while it runs."""

    folder: Path
    log: Path
    _begun: bool = field(default=False, init=False)

    def again(self) -> None:
        """Another attempt starts."""
        self._begun = False

    def begun(self) -> bool:
        """Whether the attempt has come to its first step."""
        self._begun = self._begun or _BEGUN in self.log.read_bytes()
        return self._begun

    def rows(self) -> int:
        """The step of the last whole row of metrics."""
        path = self.folder / "metrics.jsonl"
        text = path.read_bytes() if path.is_file() else b""
        last = text[: text.rfind(b"\n") + 1].splitlines()[-1:]
        return int(json.loads(last[0])["step"]) if last else 0

    def checkpoint(self) -> int:
        """The step of the newest checkpoint."""
        names = sorted((self.folder / "checkpoints").glob("step-*.safetensors"))
        return int(names[-1].stem.partition("-")[2]) if names else 0


def scalars(folder: Path) -> list[tuple[int, float]]:
    """Steps and values of the total loss, as TensorBoard reads them."""
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # It tells of every part of a run but the first.
    read = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in read.Scalars("total")]


def content(folder: Path) -> dict[str, str]:
    """A hash of every file of a run, by name; not of those whose bytes tell the time: TensorBoard's and the report.

    A checkpoint is hashed tensor by tensor, as the entries of its header come in no order.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith("events.") and name not in ("report.html", ".lock"):
            data = path.read_bytes()
            found[name] = hashlib.sha256(_ordered(data) if name.startswith("checkpoints/") else data).hexdigest()
    return found


def _ordered(data: bytes) -> bytes:
    """A safetensors file's header, its keys in order, and its tensors in the order of their names."""
    size = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:size])
    parts = [json.dumps(header, sort_keys=True).encode()]
    for name in sorted(header.keys() - {"__metadata__"}):
        first, last = header[name]["data_offsets"]
        parts.append(data[size + first : size + last])
    return b"".join(parts)
