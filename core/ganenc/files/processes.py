"""The processes that share one work, a training or many photos: ``torchrun -m ganenc ...``, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout
from ganenc_registry.errors import DeviceError
from torch import Tensor, cuda, distributed
from torch._utils import _flatten_dense_tensors, _take_tensors, _unflatten_dense_tensors

BUCKET = 25 * 2**20
"""Bytes of gradients that are exchanged at a time."""


class Processes:
    """Which of how many processes this one is, and what they say to each other.

    Each holds the whole encoder and works on its part of every batch; the gradients are summed, so all take the same
    step. A process alone says nothing and pays nothing. With several, the ``device`` ``cuda`` becomes the one of this
    process; where they outnumber the GPUs, several have one, and what they say goes through the processor (gloo, as
    NCCL wants a GPU each). ``patience`` is for how many seconds one waits for the others before it gives them up (by
    default torch's half hour or less); `DeviceError` if they cannot share the device.
    """

    def __init__(self, device: str = "cpu", *, patience: float | None = None) -> None:
        told: dict[str, Any] = {} if patience is None else {"timeout": timedelta(seconds=patience)}
        if device == "cuda" and 0 < cuda.device_count() < int(os.environ.get("LOCAL_WORLD_SIZE", "1")):
            told["backend"] = "gloo"
        self._state = PartialState(cpu=device == "cpu", **told)
        self.index: int = self._state.process_index
        self.count: int = self._state.num_processes
        if self.count > 1 and device not in ("cpu", "cuda"):
            raise DeviceError(f"device {device}: {self.count} processes work on `cpu` or `cuda`.")
        local = f"cuda:{self._state.local_process_index % max(1, cuda.device_count())}"
        self.device = local if self.count > 1 and device == "cuda" else device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.index == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which part of how many this process takes of every batch."""
        return self.index, self.count

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier()  # Accelerate's own names a GPU, though they work on processors beside one.

    def told(self, value: Any) -> Any:
        """What the first process has, to all."""
        if self.count == 1:
            return value
        return broadcast_object_list([value])[0]

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, in place."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def gathered(self, rows: Tensor) -> tuple[Tensor, slice]:
        """The rows of all processes, in the processes' order, and which of them are this one's."""
        if self.count == 1:
            return rows, slice(len(rows))
        counts = self.sum(rows.new_tensor([len(rows) * (self.index == one) for one in range(self.count)])).long()
        ends = counts.cumsum(0).tolist()
        whole, own = rows.new_zeros(ends[-1], *rows.shape[1:]), slice(ends[self.index] - len(rows), ends[self.index])
        whole[own] = rows
        return self.sum(whole), own

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Sum the gradients over the processes, many in one message, the messages on their way together."""
        if self.count == 1:
            return
        sent = []
        for gradients in _take_tensors([p.grad for p in parameters if p.grad is not None], BUCKET):
            flat = _flatten_dense_tensors(gradients)
            sent.append((distributed.all_reduce(flat, async_op=True), flat, gradients))
        for message, flat, gradients in sent:
            message.wait()
            for gradient, summed in zip(gradients, _unflatten_dense_tensors(flat, gradients)):
                gradient.copy_(summed)


def first_process() -> bool:
    """Whether this process is the one that writes and speaks, as far as its environment says."""
    return os.environ.get("RANK", "0") == "0"


def take_lock(lock: FileLock, *, wait: bool = False) -> bool:
    """Take a lock; False where another process holds it, unless to wait. A file system may have none, or be full."""
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        return False
    except (OSError, NotImplementedError):
        pass
    return True
