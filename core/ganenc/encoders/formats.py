"""The memory format that a network is trained and differentiated in: what is faster on the machine at hand, measured.

Which one is depends on the processor's instructions, on threads and on sizes, and has been a factor of 1.3 either way.
A measurement takes seconds, once, and is kept in the cache folder. A pass without gradient keeps the channels last, so
that what many machines invert does not depend on what each of them measured. Not in paper.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from ganenc_registry.errors import GanencError, SpecError
from torch import Tensor, nn

from ganenc.encoders.encoder import Encoder
from ganenc.files import cache_folder, processor, read_json, write_json
from ganenc.generators import Generator
from ganenc.latents import Latents

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""The candidates; the first is taken unless another is faster by `MARGIN`."""
MARGIN = 0.95
SMALLEST = 128 * 128
"""Pixels of an image, below which nothing is measured: a pass is short either way."""
MOST = 4
"""Images that a measurement takes at a time, at the most."""
BUDGET = 8.0
"""Seconds that a measurement takes at the most, once each candidate has had two rounds."""
ROUNDS = 4
MEASURED: dict[str, Any] = {}
"""What this process measured, also where nothing can be kept."""
VARIABLE = "GANENC_MEMORY_FORMAT"
"""Names a format that is taken everywhere, so that nothing is measured."""


def encoder_format(encoder: Encoder, batch: int) -> str:
    """In which format the encoder is faster, forward and backward, on that many images; it is left in that one."""
    spec, weights = encoder.spec, [weight for weight in encoder.parameters() if weight.requires_grad]
    shape = (min(batch, MOST), spec.channels, *spec.size)
    images = torch.zeros(shape, device=weights[0].device, dtype=weights[0].dtype)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device) if spec.classes else None

    def work(memory_format: torch.memory_format) -> None:
        latents = encoder(images.contiguous(memory_format=memory_format), labels=labels)
        _differentiate([*latents.tensors.values()], weights)

    return _fastest("encoder", encoder, shape, work)


def generator_format(generator: Generator, batch: int) -> str:
    """In which format the generator is faster, forward and backward to the latents, on that many; it is left in that
    one, or in the only one that it works in."""
    shape = (min(batch, MOST), generator.spec.channels, *generator.spec.size)
    with torch.no_grad():
        drawn = generator.complete(generator.sample(shape[0], seed=0))

    def work(memory_format: torch.memory_format) -> None:
        given = {name: one.detach().requires_grad_() for name, one in drawn.tensors.items() if one.is_floating_point()}
        made = generator.synthesize(Latents(drawn.layout, {**drawn.tensors, **given}))
        _differentiate([made], [*given.values()])

    chosen = _fastest("generator", generator, shape, work)
    try:
        with torch.no_grad():
            generator.synthesize(drawn)
    except RuntimeError:  # A network that was written with another format in mind, such as by ``view`` of its features.
        chosen = "contiguous"
        in_format(generator, chosen)
    return chosen


def known_formats() -> list[str]:
    """What was measured on this machine as it is now set up, in words."""
    here = _machine()
    return [
        f"{row['network']}: {row['format']} ("
        + ", ".join(f"{name} {seconds:.3g} s" for name, seconds in row["seconds"].items())
        + ")"
        for key, row in sorted(_kept().items())
        if key.startswith(here)
    ]


def in_format(network: nn.Module, name: str) -> None:
    """Bring a network's weights into a format."""
    network.to(memory_format=FORMATS[name])


def _fastest(what: str, network: nn.Module, shape: tuple[int, ...], work: Callable[[torch.memory_format], None]) -> str:
    """The format in which a network works faster; its weights are in that one then."""
    first, device, told = next(iter(FORMATS)), next(network.parameters()).device, os.environ.get(VARIABLE)
    flat = all(one.dim() != 5 for one in network.state_dict().values())  # Of volumes nothing lies with channels last.
    chosen = first if flat and device.type in ("cpu", "cuda") else "contiguous"
    if told is not None:
        if told not in FORMATS:
            raise SpecError(f"{VARIABLE} is {told!r}; it takes {' or '.join(FORMATS)}.")
        chosen = told if flat else "contiguous"
    elif chosen == first and shape[-2] * shape[-1] >= SMALLEST:
        sizes = repr([(tuple(one.shape), one.dtype, one.requires_grad) for one in network.parameters()])
        words = f"{what} of {'x'.join(map(str, shape))}, {hashlib.sha256(sizes.encode()).hexdigest()[:8]}"
        key = f"{_machine()}, {device}, {words}"
        if key not in _kept():
            seconds = _measured(network, work)
            best = min(seconds, key=lambda name: seconds[name], default=first)
            best = first if first in seconds and seconds[first] * MARGIN <= seconds[best] else best
            MEASURED[key] = {"network": words, "format": best, "seconds": seconds}
            if seconds:
                with suppress(GanencError):
                    write_json(cache_folder() / "formats.json", _kept(), replace=True)
        chosen = _kept()[key]["format"]
    in_format(network, chosen)
    return chosen


def _measured(network: nn.Module, work: Callable[[torch.memory_format], None]) -> dict[str, float]:
    """The least seconds of some rounds in each format that the network works in."""
    found: dict[str, float] = {}
    training, began = network.training, time.perf_counter()
    network.eval()
    try:
        for turn in range(1 + ROUNDS):
            for name, memory_format in FORMATS.items():
                if turn and name not in found:
                    continue
                network.to(memory_format=memory_format)
                start = time.perf_counter()
                try:
                    work(memory_format)
                except RuntimeError:
                    if turn:
                        raise
                    continue
                if next(network.parameters()).is_cuda:
                    torch.cuda.synchronize()
                seconds = time.perf_counter() - start
                found[name] = min(found[name], seconds) if turn > 1 else seconds
            if turn and time.perf_counter() - began > BUDGET:
                break
    finally:
        network.train(training)
    return found


def _differentiate(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    ones = [torch.ones_like(one) for one in outputs]
    torch.autograd.grad(outputs, inputs, ones, allow_unused=True)


def _machine() -> str:
    """All of the machine and its settings that decides what is faster."""
    limits = [f"{name}={os.environ[name]}" for name in ("DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA") if name in os.environ]
    set_up = [f"{torch.get_num_threads()} threads", torch.backends.cpu.get_cpu_capability(), *limits]
    cards = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    return ", ".join([processor(), *cards, f"torch {torch.__version__}", *set_up])


def _kept() -> dict[str, Any]:
    """What was measured before, if it can be read."""
    with suppress(GanencError, OSError):
        kept = read_json(cache_folder() / "formats.json", "delete it")
        if isinstance(kept, dict):
            good = {key: row for key, row in kept.items() if isinstance(row, dict) and row.get("format") in FORMATS}
            return good | MEASURED
    return MEASURED
