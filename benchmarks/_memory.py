"""How much memory a step takes: of a process of its own, and kept for the gradient."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

__all__ = ["Kept", "Peak", "in_fresh_process"]


class _Saved:
    """A tensor that is kept for a gradient, counted while it is."""

    def __init__(self, tensor: Tensor, count: Kept) -> None:
        self.tensor, self.count = tensor, count
        count.add(tensor, 1)

    def __del__(self) -> None:
        self.count.add(self.tensor, -1)


class Kept(torch.autograd.graph.saved_tensors_hooks):
    """The most that is kept at once for gradients while this is entered; memory that is shared counts once.

    Args:
        besides: networks whose weights are there anyway and do not count.
    """

    def __init__(self, *besides: nn.Module) -> None:
        super().__init__(lambda tensor: _Saved(tensor, self), lambda saved: saved.tensor)
        tensors = [tensor for network in besides for tensor in (*network.parameters(), *network.buffers())]
        self.weights = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.holders: dict[int, int] = {}
        self.now = self.most = 0

    def __enter__(self) -> Kept:  # type: ignore[override]
        super().__enter__()
        return self

    def add(self, tensor: Tensor, holders: int) -> None:
        """One holder more, or one less."""
        storage = tensor.untyped_storage()
        place = storage.data_ptr()
        if place in self.weights:
            return
        before = self.holders.get(place, 0)
        self.holders[place] = before + holders
        if 0 in (before, before + holders):
            self.now += storage.nbytes() * holders
            self.most = max(self.most, self.now)

    @property
    def megabytes(self) -> float:
        """The most at once."""
        return self.most / (1 << 20)


class Peak:
    """How far memory rises above what is held now: this process's resident set, or what torch allocates on a GPU.

    Args:
        device: the GPU to look at, if it is one.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.gpu = device if torch.device(device).type == "cuda" else None
        if self.gpu:
            torch.cuda.reset_peak_memory_stats(self.gpu)
        self.before = torch.cuda.memory_allocated(self.gpu) if self.gpu else _status("VmRSS") << 10

    def report(self, **others: float) -> None:
        """Print the megabytes, and other numbers, for :func:`in_fresh_process`."""
        most = torch.cuda.max_memory_allocated(self.gpu) if self.gpu else _status("VmHWM") << 10
        print(json.dumps({"megabytes": (most - self.before) / (1 << 20), **others}))


def in_fresh_process(script: str, *arguments: str) -> dict[str, float]:
    """Run ``script`` of this folder with these arguments and give the numbers that it reports."""
    command = [sys.executable, str(Path(__file__).resolve().parent / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def _status(name: str) -> int:
    """A line of what Linux says of this process, in kilobytes; VmHWM is the largest VmRSS so far."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"This system does not say {name}; memory is measured on Linux alone.")
