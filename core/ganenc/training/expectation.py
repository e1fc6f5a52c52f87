"""What a run will take, said before it starts: parameters, memory and time, measured on one image."""

from __future__ import annotations

import copy
import gc
import time
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ganenc.objectives import Batch
from ganenc.training.recipe import Losses, Recipe

RESERVE = 0.1
"""The part of the memory that is left free."""


@dataclass(frozen=True)
class Expectation:
    """What a run is expected to take."""

    parameters: int
    """Weights that are trained."""
    fixed: int
    """Bytes that any step takes: all weights, the gradients and averages of those that are trained."""
    each: int
    """Bytes that one image of a step takes besides, held for its gradient."""
    seconds: float
    """One image's part of a step."""
    available: int | None
    """Bytes that are free on the device, those in `fixed` that are taken already included; None if unknown."""

    def memory(self, images: int) -> int:
        """Bytes of a step of so many images at a time."""
        return self.fixed + images * self.each

    def fitting(self, images: int) -> int:
        """How many of so many images to take at a time: all, or the largest power of two that fits, at least one."""
        if self.available is None or self._fits(images):
            return images
        fitting = 1
        while fitting * 2 < images and self._fits(fitting * 2):
            fitting *= 2
        return fitting

    def sentences(self, steps: int, batch: int, micro: int) -> list[str]:
        """What to tell before so many steps of ``batch`` images, ``micro`` at a time; last a warning, if need be."""
        hours = self.seconds * batch * steps / 3600
        minutes = f"{round(hours * 60)} minutes" if hours > 1.5 / 60 else "a minute at most"
        took = f"{hours:.1f} hours" if hours >= 1 else minutes
        memory = self.memory(micro)
        told = [
            f"{_weights(self.parameters)} weights to train; about {_gigabytes(memory)} of memory and {took} for"
            f" {steps} steps of {batch} images{f', {micro} at a time' if micro < batch else ''}."
        ]
        if self.available is not None and memory > self.available:
            told.append(
                f"That may not fit: {_gigabytes(self.available)} are free. Take fewer images at a time with --set"
                " speed.micro_batch=auto, or compute passes anew with --set speed.checkpointing=true."
            )
        return told

    def _fits(self, images: int) -> bool:
        return self.available is None or self.memory(images) <= self.available * (1 - RESERVE)


def expect(recipe: Recipe, batch: Batch, *, averages: int = 2) -> Expectation:
    """Do one step on the first image of a batch, forward and backward alone, and count what it holds. Nothing is
    changed: modules are in eval mode meanwhile, and gradients are dropped. The optimiser and the run keep so many
    ``averages`` of the weights besides them and their gradient."""
    one, modules = batch[:1], list(recipe.modules.values())
    held = _Held([*modules, recipe.context.network, recipe.context.objective])

    def forward_and_backward(name: str, losses: Losses, part: Batch) -> dict[str, Tensor]:
        for module in modules:
            module.eval()
        terms = losses(part)
        terms["total"].sum().backward()
        return {term: values.detach().sum() for term, values in terms.items()}

    def once() -> None:
        recipe.step(one, forward_and_backward)
        for module in modules:
            module.zero_grad(set_to_none=True)
        gc.collect(0)

    training, kept = [module.training for module in modules], copy.deepcopy(recipe.state())
    with torch.random.fork_rng(devices=[]):
        once()  # What is loaded or chosen on first use does not count.
        started = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(held.hold, lambda tensor: tensor):
            once()
        seconds = time.perf_counter() - started
    recipe.restore(kept)
    for module, mode in zip(modules, training, strict=True):
        module.train(mode)
    trained = [p for module in modules for p in module.parameters() if p.requires_grad]
    own = _bytes(trained)
    weights = sum(_bytes([*module.parameters(), *module.buffers()]) for module in held.modules)
    free = available_memory(one.images.device)
    return Expectation(
        parameters=sum(p.numel() for p in trained),
        fixed=weights + own * (1 + averages),
        each=held.bytes + _bytes([one.images]),
        seconds=seconds,
        available=None if free is None else free + weights,
    )


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available) if device.type == "cpu" else None


class _Held:
    """Counts the bytes that a graph holds, each storage once, without those of weights."""

    def __init__(self, modules: list[Any]) -> None:
        self.modules: list[nn.Module] = modules
        weights = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in weights}
        self.bytes = 0

    def hold(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._seen:
            self._seen.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _weights(count: int) -> str:
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,}"


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MB"
