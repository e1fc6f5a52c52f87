"""The synthesis of StyleGAN2 and 3 over its convolutions alone, forward and with the gradient to the latents.

The convolutions that one synthesis calls are recorded, with the inputs and weights that they were given, and called
again one after another with nothing between them. What the ratio leaves above 1 is modulation, noise, biases,
activations, skips and bookkeeping. A third of StyleGAN2's calls are low-pass filters, one channel at a time; the second
ratio leaves these out as well and so counts them against the synthesis. On processors StyleGAN3 has them as products of
matrices, but for circular ones, so that both ratios count those.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from _common import describe, interleaved, parser, publish, ratios, set_threads, table
from _device import Place, place_options
from _networks import NETWORKS, as_in_runs, chosen_here, networks
from ganenc.generators import Generator
from ganenc.latents import Latents
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = (F.conv2d, F.conv_transpose2d)


@dataclass(frozen=True)
class Call:
    """One call of a convolution."""

    function: Callable[..., Tensor]
    x: Tensor
    weight: Tensor
    options: Mapping[str, Any]

    @property
    def is_filter(self) -> bool:
        """Whether it goes channel by channel, as low-pass filters do."""
        return self.options.get("groups", 1) > 1

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x, self.weight, **self.options)


class Recorder(TorchFunctionMode):
    """Keeps the convolutions that are called while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the call and let it through."""
        options = dict(kwargs or {})
        if function in CONVOLUTIONS:
            x, weight, *others = args
            assert not others, "a convolution was called with more than its input and weight by position"
            self.calls.append(Call(function, x.detach().clone(), weight.detach().clone(), options))
        return function(*args, **options)


def replay(calls: Sequence[Call], *, gradient: bool, place: Place) -> Callable[[], None]:
    """The calls one after another; with their gradients to the inputs, taken once all are done, as in a network."""

    def forward() -> None:
        with torch.no_grad(), place.computing():
            for call in calls:
                call(call.x)

    def both() -> None:
        inputs = [call.x.detach().requires_grad_() for call in calls]
        with place.computing():
            outputs = [call(x) for call, x in zip(calls, inputs, strict=True)]
        torch.autograd.grad(outputs, inputs, [torch.ones_like(one) for one in outputs])

    return both if gradient else forward


def synthesis(generator: Generator, latents: Latents, *, gradient: bool, place: Place) -> Callable[[], None]:
    """The whole synthesis; with its gradient to styles and constant."""

    def forward() -> None:
        with torch.no_grad(), place.computing():
            generator.synthesize(latents)

    def both() -> None:
        tensors = {name: tensor.detach().requires_grad_() for name, tensor in latents.tensors.items()}
        with place.computing():
            made = generator.synthesize(Latents(latents.layout, tensors))
        torch.autograd.grad(made, list(tensors.values()), torch.ones_like(made))

    return both if gradient else forward


def main() -> None:
    """Time the syntheses and print the ratios."""
    options = parser("synthesis", __doc__.splitlines()[0])
    options.add_argument("--batch", type=int, default=1, help="images at once")
    options.add_argument("--networks", nargs="+", choices=NETWORKS, default=["f256", "hands64", "t256", "r256"])
    options.add_argument("--rounds", type=int, default=9, help="rounds that count")
    place_options(options)
    chosen = options.parse_args()
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    rows = []
    for name in ["tiny32", "tiny-t32"] if chosen.quick else chosen.networks:
        generator, _ = networks(NETWORKS[name](), device=place.device)
        as_in_runs(generator, chosen.batch, chosen.autocast)
        with torch.no_grad():
            latents = generator.complete(generator.sample(chosen.batch))
            with Recorder() as recorder, place.computing():
                generator.synthesize(latents)
        place.prepare(generator)
        main_calls = [call for call in recorder.calls if not call.is_filter]
        for what, gradient in (("forward", False), ("forward and gradient", True)):
            times = interleaved(
                {
                    "synthesis": synthesis(generator, latents, gradient=gradient, place=place),
                    "all": replay(recorder.calls, gradient=gradient, place=place),
                    "main": replay(main_calls, gradient=gradient, place=place),
                },
                rounds=3 if chosen.quick else chosen.rounds,
                clock=place.clock(),
            )
            all_of, main_of = (describe(ratios(times["synthesis"], times[key])) for key in ("all", "main"))
            seconds = f"{statistics.median(times['synthesis']):.4f}"
            rows.append((name, what, seconds, f"{len(recorder.calls)}: {all_of}", f"{len(main_calls)}: {main_of}"))
    header = ["network", "pass", "seconds", "calls of convolutions: time over theirs", "without low-pass filters"]
    told = f"Batch {chosen.batch}, random weights. Medians, smallest and largest in brackets. {chosen_here()}"
    body = f"{told}\n\n{table(header, rows)}"
    threads = chosen.threads
    publish("synthesis", "Synthesis", body, out=chosen.out, quick=chosen.quick, threads=threads, place=place)


if __name__ == "__main__":
    main()
