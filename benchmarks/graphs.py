"""Steps replayed from a recording (CUDA graphs) against steps as they come: seconds a step, and how alike the ends are.

What is timed are the inverters themselves, on one photo, with the recording and its comparison in the time. On a
processor, which records nothing, both ways are the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from _common import describe, interleaved, parser, publish, ratios, set_threads, table
from _device import Place, place_options
from _networks import NETWORKS, backbone, networks
from ganenc.inversion import Finetune, Inversion, Inverter, Optimize, Tune
from ganenc.measures import psnr
from ganenc.objectives import build_objective
from ganenc_registry.specs import ObjectiveSpec

VARIABLE = "GANENC_CUDA_GRAPHS"
METHODS: dict[str, Callable[[int], Inverter]] = {
    "finetune": lambda steps: Finetune.of(steps=steps),
    "optimize": lambda steps: Optimize.of(steps=steps, start="encoder"),
    "tune": lambda steps: Tune.of(steps=steps, pivot="encode"),
}
"""By name: steps => the method."""
WAYS = {"as they come": "0", "replayed": "1"}


def measure(network: str, chosen: argparse.Namespace, place: Place) -> list[list[str]]:
    """The rows of one network, method by method."""
    generator, encoder = networks(NETWORKS[network](), device=place.device)
    objective = build_objective(ObjectiveSpec(), generator, own_backbone=backbone(device=place.device)[0])
    with torch.no_grad():  # Within reach, so that errors become small.
        photo = generator.synthesize(generator.complete(generator.sample(1, seed=1))).clamp(*generator.spec.value_range)
    replays = count_replays()
    low, high = generator.spec.value_range
    rows = []
    for name in chosen.methods:
        method = METHODS[name](chosen.steps)
        found: dict[str, Inversion] = {}

        def invert(way: str, method: Inverter = method, found: dict[str, Inversion] = found) -> None:
            os.environ[VARIABLE] = WAYS[way]
            found[way] = method.invert(photo, generator, encoder.eval(), objective=objective)

        METHODS[name](2).invert(photo, generator, encoder.eval(), objective=objective)  # What happens once.
        replays.clear()
        work = {way: partial(invert, way) for way in WAYS}
        times = interleaved(work, rounds=chosen.rounds, warmup=0, clock=place.clock())
        seconds = [f"{chosen.steps / statistics.median(times[way]):.1f}" for way in WAYS]
        near = [psnr(found[way].reconstructions.clamp(low, high), photo, value_range=(low, high))[0] for way in WAYS]
        share = len(replays) / (chosen.steps * chosen.rounds)
        faster = describe(ratios(times["as they come"], times["replayed"]))
        apart = f"{abs(near[0] - near[1]):.2f}"
        rows.append([network, name, *seconds, faster, f"{share:.0%}", *(f"{one:.2f}" for one in near), apart])
        print(*rows[-1], flush=True)
    return rows


def count_replays() -> list[int]:
    """Gains a member with every replay from here on."""
    counted: list[int] = []
    replay = torch.cuda.CUDAGraph.replay

    def counting(graph: torch.cuda.CUDAGraph) -> None:
        counted.append(1)
        replay(graph)

    torch.cuda.CUDAGraph.replay = counting  # type: ignore[method-assign]
    return counted


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    given = parser("graphs", __doc__.splitlines()[0])
    place_options(given)
    given.add_argument("--networks", nargs="+", choices=NETWORKS, default=["hands64", "f256"], help="StyleGANs")
    given.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], help="ways to invert")
    given.add_argument("--steps", type=int, default=40, help="steps a photo")
    given.add_argument("--rounds", type=int, default=1, help="rounds that count")
    chosen = given.parse_args()
    if chosen.quick:
        chosen.networks, chosen.steps = ["tiny32"], 3
    return chosen


def main() -> None:
    """Time both ways and print the ratios."""
    chosen = options()
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    rows = []
    with suppress(KeyboardInterrupt):  # What there is time for.
        for network in chosen.networks:
            rows += measure(network, chosen, place)
    where = "" if place.is_gpu else " There are no graphs on a processor: both ways are the same."
    head = ["network", "method", "steps a second as they come", "replayed", "faster by", "steps that were replays"]
    body = "\n\n".join(
        [
            f"One photo, {chosen.steps} steps, in turn; random weights. PSNR is that of the rebuilt photo.{where}",
            table([*head, "PSNR as they come", "replayed", "apart"], rows),
        ]
    )
    publish("graphs", "Steps replayed", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads, place=place)


if __name__ == "__main__":
    main()
