"""Steps of one shape, recorded on a GPU and replayed (CUDA graphs), where launching kernels takes longer than they do.

The first steps are taken as they come. One of them is watched; if it neither waited for the device nor drew random
numbers, the next is recorded, replayed where it was taken, and compared. Whatever speaks against replaying, steps go on
as they come. Not in paper.
"""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import torch
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc.latents import Latents
from ganenc.objectives import ObjectiveResult, Reference

T = TypeVar("T")
Taken: TypeAlias = tuple[Latents, ObjectiveResult, Tensor]
"""A step's latents, their result, and the number whose gradient is followed."""

VARIABLE = "GANENC_CUDA_GRAPHS"
"""1 has steps recorded; without it each is taken as it comes, as no recording has been proven on a GPU yet."""
WARMUP = 3
"""Steps that are taken on the stream of the recording before it, as torch wants it; the last is the one watched."""
FEWEST = 20
"""Steps, below which recording, which takes as long as some, gains little."""
LOSSES, GRADIENT = 1e-3, 1e-2
"""How far a replay may be from the step itself, relative to that: each term, and the gradient in its norm. Convolutions
round to 2^-11 (TF32), and their algorithms may differ."""
_failed: list[Any] = []
"""Recordings that failed on the device: torch's allocator still asks for them, so they stay, and no other follows."""
_log = logging.getLogger(__name__)


class Card:
    """A GPU, as far as a recording needs it."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, _stream_of(device)

    def beside(self, work: Callable[[], T]) -> T:
        """Do work on the stream of recordings, after all that was asked for before and before all that will be."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            done = work()
        current.wait_stream(self._stream)
        return done

    def watched(self, work: Callable[[], T]) -> tuple[T, str]:
        """The same, and what speaks against recording it; empty if nothing was seen."""
        states, mode = self._random(), torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                done = self.beside(work)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        if any("called a synchronizing" in str(one.message) for one in told):
            return done, "it waits for the device"
        drew = not all(torch.equal(one, other) for one, other in zip(states, self._random(), strict=True))
        return done, "it draws random numbers" if drew else ""

    def record(self, work: Callable[[], T]) -> tuple[Any, T]:
        """Record work without doing it => what has ``replay`` and ``reset``, and what each replay will write to."""
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            # Other threads may allocate meanwhile.
            with (
                torch.cuda.device(self._device),
                torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
            ):
                return graph, work()
        except BaseException:
            _failed.append(graph)
            torch.cuda.set_stream(current)  # Which torch leaves undone where a recording cannot be ended.
            with suppress(RuntimeError, AttributeError):  # The generator would wait for the end of the recording.
                generator = torch.cuda.default_generators[self._device.index or 0]
                generator.graphsafe_set_state(generator.clone_state())
            raise

    def finish(self) -> None:
        """Wait until all that was asked for is done."""
        torch.cuda.current_stream(self._device).synchronize()

    def _random(self) -> tuple[Tensor, Tensor]:
        return torch.get_rng_state(), torch.cuda.get_rng_state(self._device)


class Stepper:
    """Takes steps: calls ``take`` with what is given, and leaves the gradient at the parameters. With a card a step is
    recorded and replayed: then ``take`` has to compute the same of the parameters and of what is given every time, and
    latents and results that come back hold until the next step (``images`` for ever)."""

    def __init__(self, take: Callable[..., Taken], parameters: Sequence[Tensor], card: Card | None) -> None:
        self._take, self._parameters, self._card, self._steps = take, parameters, card, 0
        self._graph: Any = None
        self._held: tuple[Any, ...] = ()
        self._written: tuple[Latents, ObjectiveResult] | None = None
        self._gradients: list[Tensor | None] = []

    def __call__(self, *given: Any) -> tuple[Latents, ObjectiveResult]:
        """A step's latents and their result."""
        self._steps += 1
        card = self._card
        if self._written is not None and self._alike(given):
            return self._replayed(given)
        if card is None:
            return self._taken(*given)
        if self._steps < WARMUP or self._written is not None:
            return card.beside(lambda: self._taken(*given))
        if self._steps == WARMUP:
            done, against = card.watched(lambda: self._taken(*given))
            if against:
                self._go_on(against)
            return done
        done = card.beside(lambda: self._taken(*given))
        self._record(card, given, done[1])
        return done

    def close(self) -> None:
        """Give back what a recording takes."""
        if self._graph is not None and self._card is not None:
            self._card.finish()
            self._graph.reset()
        self._graph, self._written, self._gradients, self._held = None, None, [], ()

    def _taken(self, *given: Any) -> tuple[Latents, ObjectiveResult]:
        for parameter in self._parameters:  # Here, as a step may gather gradients before its loss.
            parameter.grad = None
        latents, result, loss = self._take(*given)
        loss.backward()
        return latents, result

    def _replayed(self, given: tuple[Any, ...]) -> tuple[Latents, ObjectiveResult]:
        assert self._written is not None
        for old, new in zip(_leaves(self._held), _leaves(given), strict=True):
            if isinstance(old, Tensor):
                old.copy_(new)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        latents, result = self._written
        return latents, replace(result, images=None if result.images is None else result.images.clone())

    def _record(self, card: Card, given: tuple[Any, ...], result: ObjectiveResult) -> None:
        """Record the step that was just taken, and compare."""
        own = [parameter.grad for parameter in self._parameters]
        wanted = torch.stack([term.detach() for term in result.terms.values()])
        try:
            self._held = copy.deepcopy(given)
            self._graph, written = card.record(lambda: self._taken(*self._held))
            self._written = written
            self._gradients = [parameter.grad for parameter in self._parameters]
            self._graph.replay()
            found = torch.stack([term.detach() for term in written[1].terms.values()])
            alike = torch.allclose(found, wanted, rtol=LOSSES, atol=1e-6) and _close(self._gradients, own)
            against = "" if alike else "replayed, it comes out otherwise"
        except (RuntimeError, AssertionError) as error:
            against = str(error).splitlines()[0] if str(error) else type(error).__name__
        for parameter, gradient in zip(self._parameters, own, strict=True):
            parameter.grad = gradient
        if against:
            self.close()
            self._go_on(against)

    def _alike(self, given: tuple[Any, ...]) -> bool:
        """Whether what is given differs from what was recorded in the values of tensors alone."""
        held, new = [*_leaves(self._held)], [*_leaves(given)]
        return len(held) == len(new) and all(_as_large(a, b) for a, b in zip(held, new, strict=True))

    def _go_on(self, against: str) -> None:
        self._card = None
        _log.debug("Steps are taken as they come, not replayed: %s", against)


def card_for(parameters: Sequence[Tensor], steps: int) -> Card | None:
    """The GPU that steps on these parameters may be recorded on; None where they are better taken as they come. A
    SpecError if the variable is neither 0 nor 1."""
    told = os.environ.get(VARIABLE, "0")
    if told not in ("0", "1"):
        raise SpecError(f"{VARIABLE} is {told!r}; it takes 0 or 1.")
    devices = {parameter.device for parameter in parameters}
    if told == "0" or steps < FEWEST or {device.type for device in devices} != {"cuda"} or torch.version.cuda is None:
        return None
    doubtful = _failed or len(devices) > 1 or torch.is_autocast_enabled() or torch.cuda.get_sync_debug_mode()
    return None if doubtful else Card(devices.pop())


def _leaves(given: Any) -> Iterator[Any]:
    """What is given, down to tensors."""
    if isinstance(given, Latents):
        given = (given.layout, given.tensors)
    elif isinstance(given, Reference):
        given = (type(given), vars(given))
    if isinstance(given, Mapping):
        given = [*given, *given.values()]
    if isinstance(given, list | tuple):
        for one in given:
            yield from _leaves(one)
    else:
        yield given


def _as_large(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and (one.shape, one.dtype) == (other.shape, other.dtype)
    return bool(one == other)


def _close(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None]) -> bool:
    pairs = [(a, b) for a, b in zip(found, wanted, strict=True) if a is not None and b is not None]
    if len(pairs) != sum(one is not None for one in (*found, *wanted)) / 2 or not pairs:
        return False
    apart = torch.stack([(a - b).square().sum() for a, b in pairs]).sum().sqrt()
    return bool(apart <= GRADIENT * torch.stack([b.square().sum() for _, b in pairs]).sum().sqrt())


@lru_cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """One for all recordings on a device, as torch keeps memory for each stream."""
    return torch.cuda.Stream(device)
