"""A fine-tuning step against the paper's published loop, written plainly: time and peak memory.

The plain loop (`_plain.py`) takes what the published one does: its encoder, two optimiser steps an iteration,
contiguous tensors, weights of the generator left trainable, three separate image losses with a pass of LPIPS each,
features of the target computed anew, SSIM by a two-dimensional window, modulated weights convolved in groups, and a
second encoder pass with a second backward pass for the latent loss. Ours takes the same photo, generator and terms of
the loss, with its own encoder, whose blocks halve after the convolution at full size, and with the published one;
there, loss and gradient are held against the plain loop's before anything is timed. As in ``finetune``, our encoder is
in the memory format that was measured to be faster here, and the generator as it was loaded.

Memory is that of a process of its own for each loop, with the allocator's default settings: how far it rises in two
steps above what Python and the libraries hold; on a GPU, what torch allocates there. Weights, gradients and Adam's
averages count.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from _common import describe, interleaved, parser, publish, ratios, set_threads, table
from _device import Place, place_options
from _memory import Kept, Peak, in_fresh_process
from _networks import NETWORKS, backbone, chosen_here, networks, published_block
from _plain import PlainLoop, encode, synthesize
from ganenc.encoders import FORMATS, Encoder, encoder_format
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, LatentTerm, build_objective, make_adam
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from ganenc_registry.specs import ObjectiveSpec
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

Work = dict[str, Callable[[], object]]

FASTER, SMALLER, LARGEST = 3.0, 0.5, 4000.0
"""What is wanted: times as fast at the least, of the memory at the most, megabytes at 1024 pixels at the most."""


@dataclass
class Ours:
    """The step that ``finetune`` takes, on one photo."""

    generator: Generator
    encoder: Encoder
    photo: Tensor
    place: Place

    def __post_init__(self) -> None:
        self.photo = self.photo.contiguous(
            memory_format=FORMATS[encoder_format(self.encoder, 1, precision=self.place.autocast)]
        )
        self.objective = build_objective(
            ObjectiveSpec(size=None), self.generator, own_backbone=backbone(device=self.place.device)[0]
        )
        self.reference = self.objective.prepare(self.photo)
        self.adam = make_adam(self.encoder.parameters(), 1e-6, (0.9, 0.99))

    def losses(self, *, latent: bool = True) -> tuple[float, float]:
        """The image losses and the latent loss, with their gradients added to the encoder's."""
        work = EncoderStep(self.generator, self.encoder, self.objective, latent_on_photos=latent)
        with self.place.computing():
            result = work(Batch(self.photo), self.reference).result
        result.total.backward()
        # Its parts, as what it adds to the image losses is lost in their rounding.
        latent_term, numbers = cast(LatentTerm, self.objective.latent), result.numbers()
        factors = {"mse": latent_term.options.mse, "cos": latent_term.options.cos}
        parts = [factors[name.split("/")[2]] * value for name, value in numbers.items() if name.startswith("latent/")]
        return float(result.image.detach()), latent_term.options.weight * sum(parts)

    def step(self, *, latent: bool = True) -> None:
        """One step of fine-tuning."""
        self.adam.zero_grad(set_to_none=True)
        self.losses(latent=latent)
        self.adam.step()


def photo_of(network: str, place: Place) -> Tensor:
    """Something to rebuild."""
    torch.manual_seed(1)
    return (torch.rand(1, 3, *NETWORKS[network]().size) * 2 - 1).to(place.device)


def plain_of(network: str, place: Place) -> PlainLoop:
    """The plain loop, on contiguous networks of its own."""
    layout = torch.contiguous_format
    spec = NETWORKS[network]()
    generator, encoder = networks(spec, memory_format=layout, device=place.device, **published_block(spec))
    look, _ = backbone()
    return PlainLoop(cast(StyleGAN2, generator), encoder, look.to(memory_format=layout), place)


def ours_of(network: str, place: Place, *, published: bool = False) -> Ours:
    """Our step, on networks of its own; with the published block of the same weights as the plain loop's."""
    spec = NETWORKS[network]()
    fields = published_block(spec) if published else {}
    loaded = networks(spec, memory_format=torch.contiguous_format, device=place.device, **fields)
    return Ours(*loaded, photo_of(network, place), place)


def disagreement(ours: Ours, plain: PlainLoop) -> float:
    """How far the losses and gradients of the two are apart, over their size."""
    found, wanted = ours.losses(), plain.losses(ours.photo.contiguous())
    apart = [abs(a - b) / abs(b) for a, b in zip(found, wanted, strict=True)]
    pairs = zip(ours.encoder.parameters(), plain.encoder.parameters(), strict=True)
    squares = [(float((a.grad - b.grad).square().sum()), float(b.grad.square().sum())) for a, b in pairs]
    gradient = (sum(one for one, _ in squares) / sum(all_ for _, all_ in squares)) ** 0.5
    return max(*apart, gradient)


def loops(ours: Ours, same: Ours, plain: PlainLoop) -> Work:
    """The steps: ours, ours with the published encoder, and the plain one."""
    photo = ours.photo.contiguous()
    return {
        "ours": ours.step,
        "ours, published encoder": same.step,
        "plain": lambda: plain.step(photo),
        "plain, filters in groups": lambda: plain.step(photo, grouped=True),
    }


def keeps(ours: Ours, same: Ours, plain: PlainLoop) -> dict[str, float]:
    """The megabytes that each step keeps at once for its gradients, weights left out."""
    found = {}
    for name, step in loops(ours, same, plain).items():
        mine = [module for one in (ours, same) for module in (one.generator, one.encoder, one.objective)]
        networks = (*mine, plain.generator, plain.encoder, plain.lpips)
        with Kept(*networks) as kept:
            step()
        found[name] = kept.megabytes
    return found


def passes(ours: Ours, plain: PlainLoop) -> Work:
    """The networks alone: the encoder without gradient, the synthesis without and with the gradient to the latents."""
    photo, generator = ours.photo.contiguous(), plain.generator
    with torch.no_grad():
        latents = ours.generator.complete(ours.encoder(ours.photo))
    known = {name: latents[name].contiguous() for name in ("w", "const")}

    def forward(make: Callable[[dict[str, Tensor]], Tensor]) -> None:
        with torch.no_grad(), ours.place.computing():
            make(known)

    def both(make: Callable[[dict[str, Tensor]], Tensor]) -> None:
        given = {name: tensor.detach().requires_grad_() for name, tensor in known.items()}
        with ours.place.computing():
            made = make(given)
        torch.autograd.grad(made, list(given.values()), torch.ones_like(made))

    def mine(given: dict[str, Tensor]) -> Tensor:
        return ours.generator.synthesize(latents.replace(**given))

    def theirs(given: dict[str, Tensor]) -> Tensor:
        return synthesize(generator, given)

    def encoded(make: Callable[[], Latents | dict[str, Tensor]]) -> None:
        with torch.no_grad(), ours.place.computing():
            make()

    return {
        "encoder": lambda: encoded(lambda: ours.encoder(photo.contiguous(memory_format=torch.channels_last))),
        "plain encoder": lambda: encoded(lambda: encode(plain.encoder, photo)),
        "synthesis": lambda: forward(mine),
        "plain synthesis": lambda: forward(theirs),
        "synthesis and gradient": lambda: both(mine),
        "plain synthesis and gradient": lambda: both(theirs),
    }


def agree(network: str, place: Place) -> tuple[Ours, PlainLoop]:
    """Both loops with the published encoder, held against each other in single precision before they compute as they
    are told to.

    Raises:
        SystemExit: if they do not compute the same.
    """
    precise = replace(place, autocast="none")
    ours, plain = ours_of(network, precise, published=True), plain_of(network, precise)
    with torch.backends.cudnn.flags(allow_tf32=False):
        apart = disagreement(ours, plain)
    if apart > 1e-3:
        raise SystemExit(f"The two loops do not compute the same: they are {apart:.1e} apart on {network}.")
    ours.place = plain.place = place
    place.prepare(ours.generator)
    return ours, plain


ROWS = {
    "fine-tuning": ("ours", "plain"),
    "fine-tuning; the published encoder in ours, too": ("ours, published encoder", "plain"),
    "fine-tuning; the plain loop's filters in groups": ("ours", "plain, filters in groups"),
}
"""The steps that are held against each other."""


SIDE, PRODUCTS = 2048, 4
"""Of the square matrices, and how many products of two are taken, that show how fast products alone are here."""


def counted(step: Callable[[], object]) -> float:
    """Thousands of millions of operations in the convolutions and products of a step."""
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 1e9


def measure(
    network: str, rounds: int, place: Place
) -> tuple[list[Sequence[str]], list[Sequence[str]], list[Sequence[str]]]:
    """The rows of the three tables for one network."""
    same, plain = agree(network, place)
    ours = ours_of(network, place)
    place.prepare(ours.generator)
    kept = keeps(ours, same, plain)
    matrix = torch.rand(SIDE, SIDE, device=place.device)
    work = {**loops(ours, same, plain), "products": lambda: [matrix @ matrix for _ in range(PRODUCTS)]}
    operations = {name: counted(step) for name, step in work.items()}
    times = interleaved(work, rounds=rounds, clock=place.clock())
    paces = {name: operations[name] / statistics.median(times[name]) for name in work}
    plain.generator.requires_grad_(False)
    alone = interleaved(passes(ours, plain), rounds=rounds, clock=place.clock())
    del ours, same, plain, work
    arguments = ["--memory-of", network, *place.arguments, "--loop"]
    peaks = {name: in_fresh_process("paper_loop.py", *arguments, name)["megabytes"] for name in LOOPS}
    steps: list[Sequence[str]] = []
    for name, (mine, theirs) in ROWS.items():
        memory = [""] * 4
        if theirs in peaks:
            memory = [f"{peaks[mine]:.0f}", f"{peaks[mine] / peaks[theirs]:.3f}"]
            memory += [f"{kept[mine]:.0f}", f"{kept[mine] / kept[theirs]:.3f}"]
        ratio = describe(ratios(times[theirs], times[mine]))
        steps.append((network, name, f"{statistics.median(times[mine]):.3f}", ratio, *memory))
    rows = []
    for name in ("encoder", "synthesis", "synthesis and gradient"):
        rate = 1 / statistics.median(alone[name])
        rows.append((network, name, f"{rate:.2f}", describe(ratios(alone[f"plain {name}"], alone[name]))))
    limits = [
        (network, name, f"{operations[name]:.0f}", f"{pace:.1f}", f"{pace / paces['products']:.2f}")
        for name, pace in paces.items()
    ]
    return steps, [*limits], [*rows]


LOOPS = ("ours", "ours, published encoder", "plain")


def memory_of(chosen: argparse.Namespace) -> None:
    """Two steps of one loop and the memory they took."""
    place = Place.chosen(chosen)
    peak = Peak(place.device)
    if chosen.loop == "plain":
        plain, photo = plain_of(chosen.memory_of, place), photo_of(chosen.memory_of, place)
        step: Callable[[], None] = partial(plain.step, photo)
    else:
        ours = ours_of(chosen.memory_of, place, published=chosen.loop != "ours")
        place.prepare(ours.generator)
        step = ours.step
    for _ in range(2):
        step()
    peak.report()


def main() -> None:
    """Time the loops and print the ratios."""
    options = parser("paper_loop", __doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["f256", "f1024"], help="StyleGAN2s")
    options.add_argument("--rounds", type=int, default=3, help="rounds that count")
    place_options(options)
    options.add_argument("--memory-of", choices=NETWORKS, help=argparse.SUPPRESS)
    options.add_argument("--loop", choices=LOOPS, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.memory_of:
        memory_of(chosen)
        return
    if chosen.quick:
        chosen.networks, chosen.rounds = ["small64"], 1
    place = Place.chosen(chosen)
    found = [measure(network, chosen.rounds, place) for network in chosen.networks]
    steps, limits, alone = ([row for rows in some for row in rows] for some in zip(*found, strict=True))
    wanted = f"(wanted: {FASTER:g} at least)", f"(wanted: {SMALLER:g} at most)"
    body = "\n\n".join(
        [
            "StyleGAN2s with random weights, their mirrored encoders; losses mse, cos, lpips and ssim on three views;"
            f" backbone squeeze, {backbone()[1]}. Medians of {chosen.rounds} rounds, smallest and largest in brackets."
            f" {chosen_here()}",
            table(
                [
                    "network",
                    "step",
                    "seconds",
                    f"plain loop's time over it {wanted[0]}",
                    f"peak megabytes (wanted: {LARGEST:g} at most)",
                    f"over the plain loop's {wanted[1]}",
                    "megabytes kept for gradients",
                    "over the plain loop's",
                ],
                steps,
            ),
            table(["network", "step", "GFLOP of convolutions and products", "GFLOP/s", "of that of products"], limits),
            table(["network", "pass, one image", "a second", "plain networks' time over it"], alone),
        ]
    )
    title, threads = "Against the paper's loop", chosen.threads
    publish("paper_loop", title, body, out=chosen.out, quick=chosen.quick, threads=threads, place=place)


if __name__ == "__main__":
    main()
