"""Networks as functions of plain tensors, each with a name and a shape: what is exported to other programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ganenc_registry.errors import ExportError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Noise, Part, Setting, Styles
from torch import Tensor, nn

from ganenc.encoders import Encoder
from ganenc.generators import Generator, draw_normal
from ganenc.latents import Latents

NOISES = {"const": "the generator's own noise, fixed inside the graph", "none": "no noise is added"}
"""What may be chosen for noise, in words."""

_SEED = 0x6578706F


@dataclass(frozen=True)
class Port:
    """One tensor into or out of a graph: its name (a layout's part has its own), one sample's shape, plain facts."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    about: dict[str, Any]

    def facts(self, batch: int | None) -> dict[str, Any]:
        """The port as plain data; its shape begins with the batch, a number or ``batch``."""
        shape = ["batch" if batch is None else batch, *self.shape]
        return {"name": self.name, "shape": shape, "dtype": str(self.dtype).removeprefix("torch."), **self.about}


class Graph(nn.Module, ABC):
    """A network that takes plain tensors, in the order of ``inputs``, and gives plain ones, in that of ``outputs``.

    ``name`` is what the file is called; ``network``, the generator or encoder inside, is put into eval mode.
    """

    def __init__(
        self, name: str, network: Generator | Encoder, inputs: Sequence[Port], outputs: Sequence[Port]
    ) -> None:
        super().__init__()
        self.name, self.inputs, self.outputs = name, tuple(inputs), tuple(outputs)
        self.network = network.eval()

    @abstractmethod
    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Inputs => outputs, (N, \\*shape) each."""

    @abstractmethod
    def draw(self, n: int) -> tuple[Tensor, ...]:
        """Inputs of n samples, drawn at random, but the same each time."""

    def facts(self) -> dict[str, Any]:
        """What else is to be known of the graph, as plain data."""
        return {}


class GeneratorGraph(Graph):
    """Latents => images.

    Its inputs are the parts of the layout, all of them but noise, each under its name; settings are (N,), with their
    default among the facts. Its output is ``images`` (N, C, H, W) in ``spec.value_range``, never clamped. ``noise`` is
    ``const`` for the generator's own noise, ``none`` for none; `SpecError` for another.
    """

    network: Generator

    def __init__(self, generator: Generator, *, noise: str = "const") -> None:
        super().__init__("generator", generator, _ports(generator.spec.layout, generator.dtype), [_images(generator)])
        if noise not in NOISES:
            raise SpecError(f"noise: in a graph it is {' or '.join(NOISES)}, not {noise!r}.")
        self.noise = noise

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        parts = {port.name: tensor for port, tensor in zip(self.inputs, tensors, strict=True)}
        return (self.network.synthesize(Latents(self.network.spec.layout, parts), noise=self.noise),)

    def draw(self, n: int) -> tuple[Tensor, ...]:
        latents = self.network.complete(self.network.sample(n, seed=_SEED))
        return tuple(latents[port.name].contiguous() for port in self.inputs)

    def facts(self) -> dict[str, Any]:
        has_noise = any(isinstance(part, Noise) for part in self.network.spec.layout)
        return {"noise": {"choice": self.noise, "means": NOISES[self.noise]}} if has_noise else {}


class MappingGraph(Graph):
    """Draws of the prior, and labels where they matter => all that `GeneratorGraph` takes.

    Its inputs are ``prior`` (N, prior.dim) and, with classes, ``labels`` int64 (N,). Maps and settings come out with
    the generator's own values. Nothing is truncated. `ExportError` if the generator takes draws as they are.
    """

    network: Generator

    def __init__(self, generator: Generator) -> None:
        spec = generator.spec
        if not has_mapping(spec):
            raise ExportError(f"This {spec.family} takes draws of its prior as they are: it has no mapping to export.")
        about = {"prior": spec.prior.kind, "truncation": spec.truncation}
        prior = Port("prior", (spec.prior.dim,), generator.dtype, about)
        known = generator.eval().complete(generator.sample(1, seed=_SEED))
        found = [port for port in _ports(spec.layout, generator.dtype) if port.name in known]
        super().__init__("mapping", generator, [prior, *_labels(spec.classes)], found)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        z = tensors[0]
        rows = _one_hot(tensors[1], self.network.spec.classes, z.dtype) if len(tensors) > 1 else None
        latents = self.network.map(z, labels=rows)
        found = []
        for port in self.outputs:
            own = None if port.name in latents else self.network.default(port.name)
            tensor = latents[port.name] if own is None else own.expand(z.shape[0], *port.shape)
            found.append(tensor.clone())  # An output that is an input would have two names.
        return tuple(found)

    def draw(self, n: int) -> tuple[Tensor, ...]:
        z, labels = self.network.draw(n, seed=_SEED), self.network.draw_labels(n, seed=_SEED)
        return (z,) if labels is None else (z, labels)


class EncoderGraph(Graph):
    """Images => latents.

    Its inputs are ``images`` (N, C, H, W) in ``spec.value_range`` and, where the encoder is conditional, ``labels``
    int64 (N,); a label that is no class is not noticed. Its outputs are the layout's parts that it predicts.
    """

    network: Encoder

    def __init__(self, encoder: Encoder) -> None:
        images = _images(encoder)
        labels = [] if encoder.embedding is None else _labels(encoder.spec.classes)
        super().__init__("encoder", encoder, [images, *labels], _ports(encoder.spec.parts, images.dtype))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        images = tensors[0]
        rows = _one_hot(tensors[1], self.network.spec.classes, images.dtype) if len(tensors) > 1 else None
        latents = self.network(images, labels=rows)
        return tuple(latents[port.name] for port in self.outputs)

    def draw(self, n: int) -> tuple[Tensor, ...]:
        port = self.inputs[0]
        device = next(self.network.parameters()).device
        (low, high), size = self.network.spec.value_range, torch.Size(port.shape)
        images = draw_normal(n, size.numel(), seed=_SEED).sigmoid() * (high - low) + low
        given = (images.reshape(n, *size).to(device, port.dtype),)
        return given if len(self.inputs) == 1 else (*given, torch.arange(n, device=device) % self.network.spec.classes)


def has_mapping(spec: GeneratorSpec) -> bool:
    """Whether a generator's latents are more than draws of its prior: styles, or anything that hangs on labels."""
    return bool(spec.classes) or any(isinstance(part, Styles | Condition) for part in spec.layout)


def _ports(parts: Sequence[Part], dtype: torch.dtype) -> list[Port]:
    """A port for each part of a layout but noise."""
    ports = []
    for part in parts:
        if not isinstance(part, Noise):
            about = {"kind": part.kind, **({"default": part.default} if isinstance(part, Setting) else {})}
            ports.append(Port(part.name, part.shape, dtype, about))
    return ports


def _images(network: Generator | Encoder) -> Port:
    spec = network.spec
    dtype = next((weight.dtype for weight in network.parameters()), torch.float32)
    return Port("images", (spec.channels, *spec.size), dtype, {"value_range": list(spec.value_range)})


def _labels(classes: int) -> list[Port]:
    return [Port("labels", (), torch.int64, {"classes": classes})] if classes else []


def _one_hot(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """int64 (N,) => rows (N, classes), without looking at the values, as a graph must."""
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(dtype)
