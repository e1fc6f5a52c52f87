"""The ways that training chooses from, each over the first: memory formats, and a generator's alternatives.

A synthesis and its gradient to the latents, as a run measures it before it chooses.
"""

from __future__ import annotations

import itertools
import statistics
from functools import partial

import torch
from _common import describe, interleaved, parser, publish, ratios, set_threads, table
from _device import Place, place_options
from _networks import NETWORKS, networks
from ganenc.encoders import FORMATS, in_format
from ganenc.generators import Generator
from ganenc.latents import Latents


def synthesis(generator: Generator, latents: Latents, ways: dict[str, str], place: Place) -> None:
    """The synthesis and its gradient, with the generator in a format and computing in these ways."""
    memory_format, *others = ways.items()
    in_format(generator, memory_format[1])
    generator.choose(**dict(others))
    tensors = {name: tensor.detach().requires_grad_() for name, tensor in latents.tensors.items()}
    with place.computing():
        made = generator.synthesize(Latents(latents.layout, tensors))
    torch.autograd.grad(made, list(tensors.values()), torch.ones_like(made))


def main() -> None:
    """Time the ways and print the ratios."""
    options = parser("ways", __doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["f256", "hands64"])
    options.add_argument("--batches", nargs="+", type=int, default=[1, 4], help="images at once")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count")
    place_options(options)
    chosen = options.parse_args()
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    if chosen.quick:
        chosen.networks, chosen.batches, chosen.rounds = ["tiny32"], [2], 3
    rows = []
    for name, batch in itertools.product(chosen.networks, chosen.batches):
        generator, _ = networks(NETWORKS[name](), device=place.device)
        place.prepare(generator.freeze())
        latents = generator.complete(generator.sample(batch))
        choices = {"memory format": tuple(FORMATS), **generator.alternatives}
        tried = [dict(zip(choices, ways, strict=True)) for ways in itertools.product(*choices.values())]
        times = interleaved(
            {" ".join(ways.values()): partial(synthesis, generator, latents, ways, place) for ways in tried},
            rounds=chosen.rounds,
            clock=place.clock(),
        )
        first = next(iter(times.values()))
        for way, values in times.items():
            rows.append((name, str(batch), way, f"{statistics.median(values):.4f}", describe(ratios(values, first))))
    told = f"Random weights, {torch.backends.cpu.get_cpu_capability()}. Medians, smallest and largest in brackets."
    body = f"{told}\n\n{table(['network', 'batch', 'way', 'seconds', 'over the first'], rows)}"
    publish("ways", "Ways", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads, place=place)


if __name__ == "__main__":
    main()
