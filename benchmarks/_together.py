"""A run of two processes, of which one or all are killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from _killing import Watch, command, rest, start, torn
from safetensors.numpy import load_file

__all__ = ["killed_together"]

VICTIMS = ("the second process", "the first process", "all at once", "the launcher alone")
DELAY = 0.05
"""The most seconds from a step that is seen to the kill."""
CLOSE = 1e-6
"""Weights that differ by no more, relative to all of them, differ by rounding."""


def killed_together(count: int, task: str, spec: Path, steps: int, folder: Path, rng: random.Random) -> dict[str, str]:
    """Do a run of two processes undisturbed, and killed and taken up each time.

    Args:
        count: kills; the victims are taken in turn.
        task: ``pretrain`` or ``finetune``.
        spec: the run's file.
        steps: that it has.
        folder: where the runs go.
        rng: draws the moments.

    Returns:
        what was found, in words; ``survived`` is yes or no.
    """
    log = folder / "log"
    arguments = {name: [task, "-r", str(spec), "--out", str(folder / name)] for name in ("undisturbed", "killed")}
    command(arguments["undisturbed"], log, "together")
    watch, fell, refused = Watch(folder / "killed", log), [], "not tried"
    for index in range(count):
        victim = VICTIMS[index % len(VICTIMS)]
        room = steps - 2 - watch.checkpoint()
        goal = watch.checkpoint() + rng.randint(1, max(1, round(2 * room / (count - index + 1))))
        refused = _kill(victim, arguments["killed"], watch, goal, rng) or refused
        fell.append(f"{victim} at step {watch.rows()}")
    command(arguments["killed"], log, "together")
    weights = {name: _weights(folder / name) for name in arguments}
    apart = float(np.linalg.norm(weights["killed"] - weights["undisturbed"]) / np.linalg.norm(weights["undisturbed"]))
    rows = [(folder / name / "metrics.jsonl").read_bytes() for name in ("undisturbed", "killed")]
    left = torn(folder / "killed")
    return {
        "kills": "; ".join(fell),
        "a second run beside what a killed launcher left is refused": refused,
        "final weights, relative difference": f"{apart:.1e}",
        "final weights the same, to the bit": "yes"
        if np.array_equal(weights["killed"], weights["undisturbed"])
        else "no",
        "metrics.jsonl the same, byte by byte": "yes" if rows[0] == rows[1] else "no",
        "temporary files left at the end": str(len(left)),
        "survived": "yes" if apart < CLOSE and refused != "no" and not left else "no",
    }


def _kill(victim: str, arguments: list[str], watch: Watch, goal: int, rng: random.Random) -> str:
    """Start two processes, and kill some at a random moment; whether what a launcher leaves keeps another run out."""
    child = start(arguments, watch.log, "together")
    watch.again()
    while child.exitcode is None and not (watch.begun() and watch.rows() >= goal):
        time.sleep(0.001)
    rest(child, rng.uniform(0, DELAY))
    workers = _workers(child)
    if child.exitcode is not None or set(workers) != {0, 1}:
        raise RuntimeError(f"the run ended before it was killed:\n{watch.log.read_text(encoding='utf-8')}")
    refused = ""
    try:
        if victim in ("all at once", "the launcher alone"):
            child.kill()
        if victim == "the launcher alone":
            _signal(workers.values(), signal.SIGSTOP)
            refused = _refused(arguments, watch)
        elif victim == "all at once":
            _signal(workers.values(), signal.SIGKILL)
        else:
            _signal([workers[1 if victim == "the second process" else 0]], signal.SIGKILL)
        child.join()
    finally:
        _signal(workers.values(), signal.SIGKILL)
    while any(_alive(pid) for pid in workers.values()):
        time.sleep(0.01)
    return refused


def _refused(arguments: list[str], watch: Watch) -> str:
    try:
        command(arguments, watch.log.with_name("second"))
    except RuntimeError as error:
        return "yes" if "Another process trains in" in str(error) else "no"
    return "no"


def _workers(launcher: BaseProcess) -> dict[int, int]:
    """The processes that a launcher started, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == launcher.pid:
                entries = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
                rank = dict(entry.split("=", 1) for entry in entries if "=" in entry).get("RANK")
                if rank is not None:
                    found[int(rank)] = int(folder.name)
    return found


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _alive(pid: int) -> bool:
    """Whether a process runs, and is not just waiting to be taken note of."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _weights(folder: Path) -> np.ndarray:
    found = load_file(folder / "encoder" / "model.safetensors")
    return np.concatenate([found[name].astype(np.float64).ravel() for name in sorted(found)])
