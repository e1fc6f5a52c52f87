"""What own code saves in a whole fine-tuning step, over plain operators and over functions of packages.

Each row is a step on one photo (encoder, generator and objective forward and backward, Adam) with one piece exchanged,
over the step as it is, taken in turns. Of what stays, each is to save 10% of the time or of the memory somewhere
against plain operators, and 5% of the time against a package.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import kornia
import lpips
import torch
from _common import clock, describe, parser, publish, set_threads, table
from _memory import Kept
from _networks import NETWORKS
from ganenc.encoders import Conv, blocks
from ganenc.objectives import SSIM, Batch, EncoderStep, attentions
from ganenc_plugin_stylegan import layers, stylegan2
from steps import Bench, build
from torch import Tensor
from torch.nn import functional as F

Change = tuple[Any, str, Any]
"""A module or class, the name of something in it, and what takes its place."""


def standardize(x: Tensor, slope: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Instance norm after a leaky ReLU, with mean and deviation."""
    x = x if slope is None else F.leaky_relu(x, slope)
    mean = x.mean((2, 3), keepdim=True)
    std = torch.sqrt((x - mean).square().mean((2, 3), keepdim=True) + 1e-8)
    return (x - mean) / std, mean, std


def convolve(self: Any, x: Tensor) -> Tensor:
    """A convolution of equalised rate, its weight scaled."""
    return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


def upsampled(x: Tensor, weight: Tensor, up: Tensor | None) -> Tensor:
    """The convolution of a layer of StyleGAN2, or the one that doubles the size."""
    if up is None:
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    kernel = up.flip(0, 1).mul(4).expand(x.shape[1], 1, *up.shape)
    return F.conv2d(x, kernel, padding=up.shape[0] // 2 - 1, groups=x.shape[1])


def styled_conv(
    x: Tensor, weight: Tensor, styles: Tensor, bias: Tensor, noise: Any = None, *, up: Any = None, clamp: Any = None
) -> Tensor:
    """A layer of StyleGAN2."""
    demodulation = (styles.square() @ weight.square().sum((2, 3)).t() + 1e-8).rsqrt()
    x = upsampled(x * styles[:, :, None, None], weight, up) * demodulation[:, :, None, None]
    x = F.leaky_relu((x if noise is None else x + noise) + bias[:, None, None], 0.2) * 2**0.5
    return x if clamp is None else x.clamp(-clamp, clamp)


def filtered(x: Tensor, kernel: Tensor, padding: int, bias: Tensor | None = None) -> Tensor:
    """StyleGAN2's low-pass filter by kornia."""
    out = kornia.filters.filter2d(F.pad(x, [padding] * 4), kernel[None], padding="valid")
    return out if bias is None else out + bias[:, None, None]


def ssim(self: Any, view: Tensor, reference: Sequence[Tensor]) -> Tensor:
    """SSIM by kornia."""
    found = kornia.metrics.ssim(self._intensities(view), reference[0], 11, max_val=1.0, padding="valid")
    return 1.0 - found.mean((1, 2, 3))


def crop(image: Tensor, vertical: float, horizontal: float) -> Tensor:
    """A view, resized by kornia."""
    height, width = image.shape[-2:]
    top, left = int(height * vertical + 0.5), int(width * horizontal + 0.5)
    part = image[..., top : height - top, left : width - left]
    return kornia.geometry.transform.resize(part, (height, width), "bilinear", align_corners=False)


PIECES: dict[str, list[Change]] = {
    "standardize: plain operators": [(blocks, "standardize", standardize)],
    "activate: F.leaky_relu": [(blocks, "activate", F.leaky_relu)],
    "halve: F.avg_pool2d": [(blocks, "halve", lambda x: F.avg_pool2d(x, 2))],
    "Conv: the weight scaled": [(Conv, "forward", convolve)],
    "StyleGAN2's layer: plain operators": [(stylegan2, "styled_conv", styled_conv)],
    "StyleGAN2's low-pass filter: kornia.filters.filter2d": [(layers, "_filtered", filtered)],
    "SSIM: kornia.metrics.ssim": [(SSIM, "forward", ssim)],
    "centre crops: kornia.geometry.transform.resize": [(attentions, "_crop", crop)],
}
"""What is exchanged, and for what."""


@contextmanager
def exchanged(changes: Sequence[Change]) -> Iterator[None]:
    """Put things in the place of ours while this is entered."""
    before = [(owner, name, vars(owner)[name]) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


class Exchange:
    """Steps of a bench with pieces exchanged."""

    def __init__(self, bench: Bench, tick: Callable[[], float]) -> None:
        self.bench, self.tick = bench, tick
        self.work = EncoderStep(bench.generator, bench.encoder, bench.objective, latent_on_photos=False)
        for group in bench.adam.param_groups:
            group["lr"] = 0.0  # Takes as long, and every step has the same loss.

    def step(self, changes: Sequence[Change]) -> tuple[float, Tensor, float]:
        """The seconds of a step, the gradient to the encoder, and the megabytes kept for it."""
        bench = self.bench
        with exchanged(changes), Kept(bench.generator, bench.encoder, bench.backbone) as kept:
            started = self.tick()
            bench.adam.zero_grad(set_to_none=True)
            self.work(Batch(bench.images), bench.reference).result.total.backward()
            bench.adam.step()
            spent = self.tick() - started
        grads = [weight.grad.flatten() for weight in bench.encoder.parameters() if weight.grad is not None]
        return spent, torch.cat(grads), kept.megabytes

    def rows(self, network: str, rounds: int) -> Iterator[tuple[str, ...]]:
        """A row for each piece: how much longer, how much more is kept, how far the gradient is off."""
        _, gradient, kept = self.step([])
        for name, changes in PIECES.items():
            _, other, memory = self.step(changes)
            off = float((other - gradient).norm() / gradient.norm())
            over = []
            for _ in range(rounds):
                before, changed, after = (self.step(what)[0] for what in ([], changes, []))
                over.append(2 * changed / (before + after))
            yield name, network, describe(over), f"{memory / kept:.2f}", f"{off:.0e}"

    def whole(self) -> tuple[str, str]:
        """The seconds of a step as it is, and the megabytes kept."""
        found = [self.step([]) for _ in range(3)]
        return f"{statistics.median(spent for spent, *_ in found):.3f}", f"{found[0][2]:.0f}"


def slope_at_zero() -> float:
    """The gradient of lpips's scaling to length 1 where all features are 0."""
    zeros = torch.zeros(1, 4, 1, 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(lpips.normalize_tensor(zeros).sum(), zeros)
    return float(gradient.max())


def main() -> None:
    """Time the steps and print the ratios."""
    options = parser("packages", __doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["hands64", "f64", "f256", "f1024"])
    options.add_argument("--rounds", type=int, default=5, help="rounds that count; at 1024 pixels a third of them")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    networks, count = (["small64"], 1) if chosen.quick else (chosen.networks, chosen.rounds)
    steps, rows = [], []
    for name in networks:
        exchange = Exchange(build(NETWORKS[name](), 1), clock(chosen.threads))
        steps.append((name, *exchange.whole()))
        rows += exchange.rows(name, max(1, count // 3) if name == "f1024" else count)
    rows.sort(key=lambda row: [*PIECES].index(row[0]))
    body = "\n\n".join(
        [
            "One photo, backbone squeeze, no latent loss. Medians, smallest and largest in brackets.",
            table(["network", "seconds of a step", "megabytes kept for the gradient"], steps),
            table(["exchanged", "network", "step over the step as it is", "kept over", "gradient off by"], rows),
            f"Where all features are 0, the gradient of `lpips.normalize_tensor` is {slope_at_zero()}; ours is 0.",
        ]
    )
    publish("packages", "Own code over operators and packages", body, out=chosen.out, quick=chosen.quick,
            threads=chosen.threads)  # fmt: skip


if __name__ == "__main__":
    main()
