"""A fine-tuning step's time and memory as the resolution and the batch grow.

Each size is measured in a process of its own, with the allocator's default settings: the median of the steps' times but
the first, and how far the memory rises above what Python and the libraries hold, or on a GPU what torch allocates
there; weights, gradients and Adam's averages count.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
from _common import parser, place_of, publish, set_threads, table
from _device import Place, place_options
from _memory import Peak, in_fresh_process
from _networks import NETWORKS, as_in_runs, backbone, networks
from _svg import curves
from ganenc.encoders import FORMATS, encoder_format
from ganenc.objectives import Batch, EncoderStep, build_objective, make_adam
from ganenc.training import Recipe, RecipeContext, expect
from ganenc_registry.components import build
from ganenc_registry.specs import ObjectiveSpec, RunSpec

RESOLUTIONS = ("f64", "f128", "f256", "f512", "f1024")
"""StyleGAN2's configuration F, one photo a step."""
BATCHES = (1, 2, 4, 8)
"""Photos a step at one resolution."""


def measure_here(network: str, batch: int, steps: int, place: Place) -> None:
    """Take some steps and print what they took."""
    peak = Peak(place.device)
    generator, encoder = networks(NETWORKS[network](), device=place.device)
    place.prepare(generator)
    torch.manual_seed(1)
    photos = (torch.rand(batch, 3, *generator.spec.size) * 2 - 1).to(place.device)
    photos = photos.contiguous(memory_format=FORMATS[encoder_format(encoder, batch, precision=place.autocast)])
    as_in_runs(generator, batch, place.autocast)
    objective = build_objective(ObjectiveSpec(), generator, own_backbone=backbone(device=place.device)[0])
    run = RunSpec(task="finetune", steps=1)
    context = RecipeContext(
        generator.spec, device=place.device, network=generator, encoder=encoder, objective=objective, run=run
    )
    with place.computing():
        expected = expect(build("recipe", run.recipe, Recipe, context), Batch(photos)).memory(batch)
    work, reference = EncoderStep(generator, encoder, objective), objective.prepare(photos)
    adam = make_adam(encoder.parameters(), 1e-6, (0.9, 0.99))
    read, seconds = place.clock(), []
    for _ in range(steps + 1):
        started = read()
        with place.computing():
            result = work(Batch(photos), reference).result
        adam.zero_grad(set_to_none=True)
        result.total.backward()
        adam.step()
        del result
        seconds.append(read() - started)
    peak.report(seconds=statistics.median(seconds[1:]), expected=expected / (1 << 20))


def measure(network: str, batch: int, chosen: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds and megabytes of a step, from a process of its own, and the megabytes that a run would have said."""
    options = ["--here", network, "--batch", str(batch), "--steps", str(chosen.steps)]
    found = in_fresh_process("scaling.py", *options, *Place.chosen(chosen).arguments)
    return found["seconds"], found["megabytes"], found["expected"]


def rows(found: Sequence[tuple[str, int, float, float, float]]) -> list[Sequence[str]]:
    """What was found, with seconds and megabytes over those of the row before."""
    made, before = [], None
    for network, batch, seconds, megabytes, expected in found:
        times = ("", "") if before is None else (f"{seconds / before[0]:.2f}", f"{megabytes / before[1]:.2f}")
        made.append((network, str(batch), f"{seconds:.2f}", times[0], f"{megabytes:.0f}", times[1], f"{expected:.0f}"))
        before = (seconds, megabytes)
    return [*made]


def plot(found: dict[str, list[tuple[str, int, float, float, float]]]) -> str:
    """Seconds and gigabytes over the pixels of a step."""
    lines = {}
    for name, points in found.items():
        pixels = [batch * NETWORKS[network]().size[0] ** 2 / 2**20 for network, batch, *_ in points]
        lines[f"seconds, {name}"] = [(x, point[2]) for x, point in zip(pixels, points, strict=True)]
        lines[f"gigabytes, {name}"] = [(x, point[3] / 1000) for x, point in zip(pixels, points, strict=True)]
    return curves(lines, across="pixels of a step, in units of 1024 x 1024", up="seconds; gigabytes")


def main() -> None:
    """Measure each size, print the table and draw the curves."""
    options = parser("scaling", __doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=3, help="steps that count")
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*RESOLUTIONS], help="StyleGAN2s")
    options.add_argument("--batches", nargs="+", type=int, default=[*BATCHES], help="photos a step")
    options.add_argument("--batched", choices=NETWORKS, default="f256", help="the StyleGAN2 of the batches")
    options.add_argument("--here", choices=NETWORKS, help=argparse.SUPPRESS)
    options.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    place_options(options)
    chosen = options.parse_args()
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    if chosen.here:
        measure_here(chosen.here, chosen.batch, chosen.steps, place)
        return
    if chosen.quick:
        chosen.networks, chosen.batches, chosen.batched, chosen.steps = ["small64"], [1, 2], "small64", 1
    sizes = {
        "resolution grows": [(network, 1) for network in chosen.networks],
        "batch grows": [(chosen.batched, batch) for batch in chosen.batches],
    }
    found = {name: [(*size, *measure(*size, chosen)) for size in line] for name, line in sizes.items()}
    header = ["network", "photos", "seconds", "over the row before", "peak megabytes", "over the row before",
              "megabytes that a run says to expect"]  # fmt: skip
    parts = [f"{name[0].upper()}{name[1:]}:\n\n{table(header, rows(points))}" for name, points in found.items()]
    if not chosen.quick:
        drawn = place_of("scaling", place, ".svg")
        drawn.write_text(plot(found), encoding="utf-8")
        parts.append(f"![Seconds and gigabytes over the pixels of a step]({drawn.name})")
    losses = "losses mse, cos, lpips and ssim on three views, and the latent loss; backbone squeeze"
    body = "\n\n".join([f"StyleGAN2s with random weights, their mirrored encoders; {losses}, {backbone()[1]}.", *parts])
    title, threads = "How a step grows", chosen.threads
    publish("scaling", title, body, out=chosen.out, quick=chosen.quick, threads=threads, place=place)


if __name__ == "__main__":
    main()
