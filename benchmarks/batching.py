"""Many photos at once against one after another: fine-tuning, refinement of latents, encoding; time and peak memory.

What is timed are the inverters themselves, on the same photos: once with ``batch=1``, once with as many at once as
there are photos. In fine-tuning each photo has an encoder of its own; at once, their weights are stacked
(torch.func.vmap), and generator and objective take all reconstructions in one batch. Before anything is timed, the two
ways are held against each other.

Memory is that of a process of its own: how far it rises above what Python and the libraries hold. On a GPU it is what
torch has allocated there at the most.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from _common import clock, describe, interleaved, parser, publish, ratios, set_threads, table
from _memory import Peak, in_fresh_process
from _networks import NETWORKS, backbone, networks
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Encode, Finetune, FinetuneRefine, Inversion, Inverter, Optimize
from ganenc.objectives import Objective, build_objective
from ganenc_plugin_stylegan.specs import stylegan2_spec
from ganenc_registry.specs import GeneratorSpec, ObjectiveSpec
from torch import Tensor

Method = Callable[[int, int], Inverter]

METHODS: dict[str, Method] = {
    "finetune": lambda steps, batch: Finetune.of(steps=steps, batch=batch),
    "finetune, latent loss": lambda steps, batch: Finetune.of(steps=steps, latent_loss=True, batch=batch),
    "finetune, layers=heads": lambda steps, batch: Finetune.of(steps=steps, layers="heads", batch=batch),
    "finetune+refine": lambda steps, batch: FinetuneRefine.of(steps=4 * steps, batch=batch),
    "optimize": lambda steps, batch: Optimize.of(steps=steps, batch=batch),
    "encode": lambda steps, batch: Encode.of(batch=batch),
}
"""By name: steps and photos at once => the method. With finetune+refine, a quarter of the steps is the encoder's."""
THIN = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16}
SPECS: dict[str, Callable[[], GeneratorSpec]] = {
    **NETWORKS,
    "thin128": partial(stylegan2_spec, (128, 128), THIN, z_dim=128, w_dim=128),
}
"""StyleGAN2s by name: those of the other benchmarks, and one of many pixels and few weights."""
LARGE = ("f64", "thin128", "f128", "f256")
"""Those that take long: they are measured with two photos, two steps and two methods."""
APART = 1e-6
"""How far the errors of the two ways may be apart, over their size, in double precision."""


@dataclass
class Bench:
    """A generator, its encoder and the objective, on a device."""

    generator: Generator
    encoder: Encoder
    objective: Objective
    device: str

    def photos(self, count: int) -> Tensor:
        """Something to rebuild."""
        torch.manual_seed(1)
        return (torch.rand(count, 3, *self.generator.spec.size) * 2 - 1).to(self.device, self.generator.dtype)

    def invert(self, method: Inverter, count: int) -> Inversion:
        """As many photos, inverted; done when it returns."""
        found = method.invert(self.photos(count), self.generator, self.encoder, objective=self.objective)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return found

    def errors(self, method: Inverter, count: int) -> Tensor:
        """What is left of each photo, in mean square: (count,)."""
        return (self.invert(method, count).reconstructions - self.photos(count)).square().flatten(1).mean(1)


def bench_of(network: str, device: str, dtype: torch.dtype = torch.float32) -> Bench:
    """The bench of a network."""
    generator, encoder = networks(SPECS[network]())
    objective = build_objective(ObjectiveSpec(), generator, own_backbone=backbone()[0])
    return Bench(generator.to(device, dtype), encoder.eval().to(device, dtype), objective.to(device, dtype), device)


def check(network: str, chosen: argparse.Namespace) -> None:
    """See that two photos come out alike both ways: in double precision, as steps make much of a rounding error."""
    bench = bench_of(network, chosen.device, torch.float64)
    for name in chosen.methods:
        alone, at_once = (bench.errors(METHODS[name](2, batch), 2) for batch in (1, 2))
        apart = float(((alone - at_once).abs() / alone).max())
        if not apart < APART:
            raise SystemExit(f"The two ways do not give the same: {apart:.1e} apart with {name} on {network}.")


def reduced(network: str, chosen: argparse.Namespace) -> argparse.Namespace:
    """What is measured of a network: of a large one less than was asked for."""
    if network not in LARGE:
        return chosen
    methods = [name for name in ("finetune", "optimize") if name in chosen.methods]
    return argparse.Namespace(**{**vars(chosen), "counts": [2], "steps": 2, "methods": methods})


def measure(network: str, chosen: argparse.Namespace) -> list[Sequence[str]]:
    """The rows of the table of times for one network."""
    bench, rows = bench_of(network, chosen.device), []
    read = clock(chosen.threads) if chosen.device == "cpu" else time.perf_counter
    weights = f"{sum(p.numel() for p in bench.encoder.parameters()) / 1e6:.2f}"
    for name in chosen.methods:
        for count in chosen.counts:
            work = {"alone": METHODS[name](chosen.steps, 1), "at once": METHODS[name](chosen.steps, count)}
            runs = {which: partial(bench.invert, method, count) for which, method in work.items()}
            times = interleaved(runs, rounds=chosen.rounds, clock=read)
            each = f"{statistics.median(times['at once']) / count:.3f}"
            ratio = describe(ratios(times["alone"], times["at once"]))
            rows.append((network, weights, name, str(count), each, ratio))
            print(*rows[-1], flush=True)
    return rows


def memory(network: str, chosen: argparse.Namespace) -> list[Sequence[str]]:
    """The rows of the table of peak memory for one network, of fine-tuning."""
    arguments = ["--memory-of", network, "--threads", str(chosen.threads), "--device", chosen.device]
    found = {
        n: in_fresh_process("batching.py", *arguments, "--counts", str(n))["megabytes"] for n in (1, *chosen.counts)
    }
    return [(network, str(n), f"{found[n]:.0f}", f"{found[n] / found[1]:.2f}") for n in chosen.counts]


def memory_of(chosen: argparse.Namespace) -> None:
    """Two steps of fine-tuning with as many photos at once, and the memory they took."""
    peak, (count,) = Peak(), chosen.counts
    bench_of(chosen.memory_of, chosen.device).invert(Finetune.of(steps=2, batch=count), count)
    if chosen.device == "cuda":
        peak.report(megabytes=torch.cuda.max_memory_allocated() / (1 << 20))
    else:
        peak.report()


def options() -> argparse.Namespace:
    """What was asked for on the command line."""
    given = parser("batching", __doc__.splitlines()[0])
    default = ["hands64", "small64", "f64", "thin128", "f256"]
    given.add_argument("--networks", nargs="+", choices=SPECS, default=default, help="StyleGAN2s")
    given.add_argument("--methods", nargs="+", choices=METHODS, default=[*METHODS], help="ways to invert")
    given.add_argument("--counts", nargs="+", type=int, default=[2, 4, 8], help="photos at once")
    given.add_argument("--steps", type=int, default=5, help="steps a photo, four times as many in finetune+refine")
    given.add_argument("--rounds", type=int, default=3, help="rounds that count")
    given.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where it runs")
    given.add_argument("--memory-of", choices=SPECS, help=argparse.SUPPRESS)
    chosen = given.parse_args()
    if chosen.quick:
        chosen.networks, chosen.counts, chosen.rounds, chosen.steps = ["tiny32"], [2], 2, 2
    return chosen


def main() -> None:
    """Time both ways and print the ratios."""
    chosen = options()
    set_threads(chosen.threads)
    if chosen.memory_of:
        memory_of(chosen)
        return
    times, peaks = [], []
    for network in chosen.networks:
        asked = reduced(network, chosen)
        check(network, asked)
        times += measure(network, asked)
        peaks += memory(network, asked)
    where = "" if chosen.device == "cpu" else f" On {torch.cuda.get_device_name()}, wall time."
    body = "\n\n".join(
        [
            "StyleGAN2s with random weights, their mirrored encoders; losses mse, cos, lpips and ssim on three views;"
            f" backbone squeeze, {backbone()[1]}. {chosen.steps} steps a photo, four times as many in finetune+refine;"
            f" 2 for {', '.join(LARGE)}."
            f" Medians of {chosen.rounds} rounds, smallest and largest in brackets.{where}",
            table(
                ["network", "million weights", "method", "photos", "seconds a photo", "one after another over at once"],
                times,
            ),
            table(["network", "photos at once", "fine-tuning, peak MB", "over one photo"], peaks),
        ]
    )
    publish("batching", "Photos at once", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
