"""A training step's time over the sum of the times of its parts, each measured alone.

A step is as fast as its networks allow if this ratio is 1; what lies above is the objective, the views and
bookkeeping. The parts are the passes that the method cannot do without, counted as often as the step makes them:

- fine-tuning on a photo: the encoder forward and backward, twice where the latent loss encodes the reconstruction
  again; the frozen generator forward and its gradient to the latents; the frozen backbone forward and its gradient to
  the views (its pass over the photo is made once a photo, not once a step); Adam.
- pre-training: the synthesis of the batch; the encoder; the generator; the backbone over the batch, and over the
  reconstructions with its gradient; Adam.

A step on the latents themselves is held against the synthesis and its gradient alone, in time and in memory.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from _common import describe, interleaved, parser, publish, ratios, set_threads, table
from _device import Place, place_options
from _memory import Kept, Peak, in_fresh_process
from _networks import NETWORKS, as_in_runs, backbone, chosen_here, networks
from ganenc.encoders import FORMATS, Encoder, encoder_format
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Backbone, Batch, EncoderStep, Objective, Reference, build_objective, make_adam
from ganenc.training import Synthesized
from ganenc_registry.specs import GeneratorSpec, ObjectiveSpec
from torch import Tensor

TARGET = 1.25
"""The ratio that a step is held to."""
DIRECT = 1.3
"""That of a step on the latents themselves to the synthesis and its gradient alone, in time and in memory."""


@dataclass
class Bench:
    """The networks of a step, its batch, and its optimiser."""

    generator: Generator
    encoder: Encoder
    backbone: Backbone
    objective: Objective
    batch: int
    place: Place = field(default_factory=Place)

    def __post_init__(self) -> None:
        self.memory_format = FORMATS[encoder_format(self.encoder, self.batch, precision=self.place.autocast)]
        as_in_runs(self.generator, self.batch, self.place.autocast)
        self.adam = make_adam(self.encoder.parameters(), 1e-6, (0.9, 0.99))
        self.source = Synthesized(self.generator, self.batch)
        self.images = self.laid_out(self.source.batch(0).images)
        with torch.no_grad():
            self.latents = self.generator.complete(self.encoder(self.images))
            self.made = self.laid_out(self.generator.synthesize(self.latents))
            views = self.objective.attention.views(self.images, self.objective.attention.prepare(self.images))
            self.views = self.backbone.fit(torch.cat([view.image for view in views]))
        self.reference = self.objective.prepare(self.images)

    def laid_out(self, images: Tensor) -> Tensor:
        """The same images in the memory format of the encoder."""
        return images.contiguous(memory_format=self.memory_format)

    def step(self, work: EncoderStep, batch: Callable[[], Batch], reference: Reference | None) -> Callable[[], None]:
        """A whole step, as the trainer (without a reference) and the inverter (with one) take it."""

        def run() -> None:
            given = batch()
            with self.place.computing():
                result = work(given, reference).result
            self.adam.zero_grad(set_to_none=True)
            result.total.backward()
            self.adam.step()

        return run

    def synthesized(self) -> Batch:
        """A batch of the source, as the trainer prepares it."""
        batch = self.source.batch(1)
        return Batch(self.laid_out(batch.images), batch.labels, batch.latents)

    def encode(self, images: Tensor, *, gradient: bool) -> Callable[[], None]:
        """The encoder forward and backward, with a gradient to the images where the step takes one."""

        def run() -> None:
            self.encoder.zero_grad(set_to_none=True)
            with self.place.computing():
                outputs = list(self.encoder(images.detach().requires_grad_(gradient)).tensors.values())
            torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])

        return run

    def generate(self) -> None:
        """The frozen generator forward, and its gradient to the latents."""
        tensors = {name: tensor.detach().requires_grad_() for name, tensor in self.latents.tensors.items()}
        with self.place.computing():
            made = self.generator.synthesize(Latents(self.latents.layout, tensors))
        torch.autograd.grad(made, list(tensors.values()), torch.ones_like(made))

    def look(self) -> None:
        """The frozen backbone forward over all views, and its gradient to them."""
        views = self.views.detach().requires_grad_()
        with self.place.computing():
            features = self.backbone(views).features
        torch.autograd.grad(features, views, [torch.ones_like(one) for one in features])

    @torch.no_grad()
    def look_only(self) -> None:
        """The frozen backbone forward over all views."""
        with self.place.computing():
            _ = self.backbone(self.views).features

    def optimise(self) -> None:
        """The gradient of the objective to the latents themselves."""
        tensors = {name: tensor.detach().requires_grad_() for name, tensor in self.latents.tensors.items()}
        with self.place.computing():
            result = self.objective(self.generator.synthesize(Latents(self.latents.layout, tensors)), self.reference)
        torch.autograd.grad(result.total, list(tensors.values()))


def finetuning(bench: Bench, *, latent: bool) -> dict[str, Callable[[], object]]:
    """A fine-tuning step on a photo, then its parts."""
    work = EncoderStep(bench.generator, bench.encoder, bench.objective, latent_on_photos=latent)
    parts: dict[str, Callable[[], object]] = {
        "step": bench.step(work, lambda: Batch(bench.images), bench.reference),
        "encoder": bench.encode(bench.images, gradient=False),
        "generator": bench.generate,
        "backbone": bench.look,
    }
    if latent:
        parts["encoder, second pass"] = bench.encode(bench.made, gradient=True)
    return parts | {"Adam": bench.adam.step}


def pretraining(bench: Bench) -> dict[str, Callable[[], object]]:
    """A pre-training step on synthesized images, then its parts."""
    work = EncoderStep(bench.generator, bench.encoder, bench.objective)
    return {
        "step": bench.step(work, bench.synthesized, None),
        "synthesis of the batch": lambda: bench.source.batch(1),
        "encoder": bench.encode(bench.images, gradient=False),
        "generator": bench.generate,
        "backbone on the batch": bench.look_only,
        "backbone": bench.look,
        "Adam": bench.adam.step,
    }


def build(
    spec: GeneratorSpec,
    batch: int,
    *,
    choice: ObjectiveSpec | None = None,
    look: str = "squeeze",
    place: Place | None = None,
    **overrides: Any,
) -> Bench:
    """The bench of a generator.

    Args:
        spec: the generator's.
        batch: images of a pre-training step.
        choice: the objective; by default that of a run. Its backbone is not asked for:
        look: the backbone that is taken.
        place: where to compute, and how; by default on the processor.
        overrides: fields of the encoder's spec that differ from the generator's mirror.
    """
    place = place or Place()
    generator, encoder = networks(spec, device=place.device, **overrides)
    place.prepare(generator)
    network, _ = backbone(look, place.device)
    return Bench(
        generator,
        encoder,
        network,
        build_objective(choice or ObjectiveSpec(), generator, own_backbone=network),
        batch,
        place,
    )


def measure(spec: GeneratorSpec, batch: int, rounds: int, place: Place) -> dict[str, dict[str, list[float]]]:
    """The times of each kind of step and of its parts."""
    times = {}
    bench = build(spec, 1, place=place)
    for latent, ending in ((True, ""), (False, ", no latent loss")):
        pieces = finetuning(bench, latent=latent)
        times[f"fine-tuning, one photo{ending}"] = interleaved(pieces, rounds=rounds, clock=place.clock())
    bench = build(spec, batch, place=place)
    times[f"pre-training, {batch} images"] = interleaved(pretraining(bench), rounds=rounds, clock=place.clock())
    return times


def direct(network: str, rounds: int, place: Place) -> tuple[str, ...]:
    """A step on the latents of a photo over the synthesis and its gradient: the time, the peak memory of a process of
    its own, and what is kept for the gradient."""
    bench = build(NETWORKS[network](), 1, place=place)
    times = interleaved({name: piece(bench) for name, piece in PIECES.items()}, rounds=rounds, clock=place.clock())
    kept = [keeps(bench, piece(bench)) for piece in PIECES.values()]
    arguments = ["--memory-of", network, *place.arguments, "--piece"]
    peaks = [in_fresh_process("steps.py", *arguments, name)["megabytes"] for name in PIECES]
    return network, describe(ratios(*times.values())), *(f"{mine / alone:.3f}" for mine, alone in (peaks, kept))


PIECES: dict[str, Callable[[Bench], Callable[[], object]]] = {
    "step": lambda bench: bench.optimise,
    "generator": lambda bench: bench.generate,
}


def memory_of(network: str, piece: str, place: Place) -> None:
    """A piece, twice, and the memory it took."""
    bench = build(NETWORKS[network](), 1, place=place)
    peak, work = Peak(place.device), PIECES[piece](bench)
    for _ in range(2):
        work()
    peak.report()


def keeps(bench: Bench, work: Callable[[], object]) -> float:
    """The megabytes that it keeps at once for the gradient, weights left out."""
    with Kept(bench.generator, bench.objective) as kept:
        work()
    return kept.megabytes


def main() -> None:
    """Time the steps and print the ratios."""
    options = parser("steps", __doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["f256", "hands64"], help="StyleGAN2s")
    options.add_argument(
        "--latents", nargs="+", choices=NETWORKS, default=["f256", "f1024"], help="those of steps on latents"
    )
    options.add_argument("--batch", type=int, default=4, help="images of a pre-training step")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count")
    place_options(options)
    options.add_argument("--memory-of", choices=NETWORKS, help=argparse.SUPPRESS)
    options.add_argument("--piece", choices=PIECES, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    if chosen.memory_of:
        memory_of(chosen.memory_of, chosen.piece, place)
        return
    if chosen.quick:
        chosen.networks, chosen.latents, chosen.batch, chosen.rounds = ["tiny32"], ["tiny32"], 2, 3
    totals, shares = [], []
    for network in chosen.networks:
        for step, times in measure(NETWORKS[network](), chosen.batch, chosen.rounds, place).items():
            whole, *parts = times.values()
            totals.append((network, step, f"{statistics.median(whole):.3f}", describe(ratios(whole, *parts))))
            for part, values in list(times.items())[1:]:
                shares.append((network, step, part, f"{statistics.median(ratios(values, whole)):.3f}"))
    _, weights = backbone()
    body = "\n\n".join(
        [
            "StyleGAN2s with random weights, their mirrored encoders; losses mse, cos, lpips and ssim on three views;"
            f" backbone squeeze, {weights}. Medians of {chosen.rounds} rounds, smallest and largest in brackets."
            f" {chosen_here()}",
            table(["network", "step", "seconds", f"over the sum of its parts (target: at most {TARGET})"], totals),
            f"A step on the latents themselves, over the synthesis and its gradient alone (target: at most {DIRECT}).",
            table(
                ["network", "time", "peak memory", "memory kept for the gradient"],
                [direct(network, chosen.rounds, place) for network in chosen.latents],
            ),
            table(["network", "step", "part, measured alone", "share of the step"], shares),
        ]
    )
    title, threads = "Training steps", chosen.threads
    publish("steps", title, body, out=chosen.out, quick=chosen.quick, threads=threads, place=place)


if __name__ == "__main__":
    main()
