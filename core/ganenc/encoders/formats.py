"""How networks are differentiated: their memory format, and what a generator computes in one of several ways, by what
is faster on the machine at hand (see `ganenc.files.fastest`).

A format has been a factor of 1.3 either way. A pass without gradient keeps the channels last, so that what many
machines invert does not depend on what each of them measured. Not in paper.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ganenc.encoders.encoder import Encoder
from ganenc.files import fastest, forced
from ganenc.generators import Generator
from ganenc.latents import Latents

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
"""The candidates; the first is taken where nothing is measured."""
SMALLEST = 128 * 128
"""Pixels of an image, below which nothing is measured: a pass is short either way."""
MOST = 4
"""Images that a measurement takes at a time, at the most."""


def encoder_format(encoder: Encoder, batch: int, *, precision: str = "none") -> str:
    """In which format the encoder is faster, forward and backward, on that many images in a precision (see
    `in_precision`); it is left in that one."""
    spec, weights = encoder.spec, [weight for weight in encoder.parameters() if weight.requires_grad]
    images = torch.zeros(min(batch, MOST), spec.channels, *spec.size, device=weights[0].device, dtype=weights[0].dtype)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device) if spec.classes else None

    def work(name: str) -> None:
        in_format(encoder, name)
        with in_precision(images.device, precision):
            latents = encoder(images.contiguous(memory_format=FORMATS[name]), labels=labels)
        _differentiate([*latents.tensors.values()], weights)

    return _format("encoder", encoder, images.shape, precision, work)


def generator_format(generator: Generator, batch: int, *, precision: str = "none") -> str:
    """In which format the generator is faster, forward and backward to the latents, on that many in a precision (see
    `in_precision`); it is left in that one, or in the only one that it works in."""
    shape, synthesize = _synthesis(generator, batch, precision)

    def work(name: str) -> None:
        in_format(generator, name)
        synthesize()

    chosen = _format("generator", generator, shape, precision, work)
    try:
        with torch.no_grad():
            generator.synthesize(generator.sample(shape[0], seed=0))
    except RuntimeError:  # A network that was written with another format in mind, such as by ``view`` of its features.
        chosen = "contiguous"
        in_format(generator, chosen)
    return chosen


def generator_ways(
    generator: Generator, batch: int, memory_format: str, *, precision: str = "none", told: Collection[str] = ()
) -> dict[str, str]:
    """Of each of the generator's `alternatives`, but for those that are ``told``, the way that is faster, as in
    `generator_format`, in the format that it is in; it goes on in these. Those of small images are left as they are,
    unless the environment names a way."""
    found: dict[str, str] = {}
    for choice, ways in generator.alternatives.items():
        if choice in told:
            continue
        shape, synthesize = _synthesis(generator, batch, precision)

        def work(way: str, choice: str = choice, synthesize: Callable[[], None] = synthesize) -> None:
            generator.choose(**{choice: way})
            synthesize()

        way = _fastest(choice, ways, f"generator, {memory_format}", generator, shape, precision, work)
        way = getattr(generator, choice, None) if way is None else way
        if way in ways:
            generator.choose(**{choice: way})
            found[choice] = way
    return found


def in_format(network: nn.Module, name: str) -> None:
    """Bring a network's weights into a format."""
    network.to(memory_format=FORMATS[name])


def in_precision(device: torch.device, precision: str) -> torch.autocast:
    """Within it, passes are in ``bf16`` or ``fp16`` where that is sound, or with ``none`` as they are."""
    half = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, half, enabled=precision != "none")


def _format(what: str, network: nn.Module, shape: Sequence[int], precision: str, work: Callable[[str], None]) -> str:
    """The format in which a network works faster; its weights are in that one then."""
    flat = all(one.dim() != 5 for one in network.state_dict().values())  # Of volumes nothing lies with channels last.
    known = next(network.parameters()).device.type in ("cpu", "cuda")
    chosen: str | None = "contiguous"
    if flat and (known or forced("memory_format", [*FORMATS])):
        chosen = _fastest("memory_format", [*FORMATS], what, network, shape, precision, work)
    chosen = chosen or next(iter(FORMATS))
    in_format(network, chosen)
    return chosen


def _fastest(
    choice: str, ways: Sequence[str], what: str, network: nn.Module, shape: Sequence[int], precision: str,
    work: Callable[[str], None],
) -> str | None:  # fmt: skip
    """The way in which a network works faster; None of small images, where the environment names none."""
    told = forced(choice, ways)
    if told is not None or math.prod(shape[-2:]) < SMALLEST:
        return told
    sizes = repr([(tuple(one.shape), one.dtype, one.requires_grad) for one in network.parameters()])
    of = f"{what} of {'x'.join(map(str, shape))}, {hashlib.sha256(sizes.encode()).hexdigest()[:8]}"
    of = of if precision == "none" else f"{of}, {precision}"
    training = network.training
    network.eval()
    try:
        return fastest(choice, of, {way: partial(work, way) for way in ways}, next(network.parameters()).device)
    finally:
        network.train(training)


def _synthesis(generator: Generator, batch: int, precision: str) -> tuple[tuple[int, ...], Callable[[], None]]:
    """The shape of some images, and a pass forward and backward to their latents."""
    count = min(batch, MOST)
    with torch.no_grad():
        drawn = generator.complete(generator.sample(count, seed=0))

    def work() -> None:
        given = {name: one.detach().requires_grad_() for name, one in drawn.tensors.items() if one.is_floating_point()}
        with in_precision(generator.device, precision):
            made = generator.synthesize(Latents(drawn.layout, {**drawn.tensors, **given}))
        _differentiate([made], [*given.values()])

    return (count, generator.spec.channels, *generator.spec.size), work


def _differentiate(outputs: Sequence[Tensor], inputs: Sequence[Tensor]) -> None:
    ones = [torch.ones_like(one) for one in outputs]
    torch.autograd.grad(outputs, inputs, ones, allow_unused=True)
