"""A generator for any spec and a small backbone: what parts are checked with, and what tests can lean on."""

from __future__ import annotations

import math

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import (
    Condition,
    GeneratorSpec,
    Layout,
    Map,
    Noise,
    Prior,
    Setting,
    Spec,
    Styles,
    Vector,
    encoded,
)
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc.objectives import Backbone, BackboneOutput
from ganenc.testing.comparing import seeded

__all__ = ["ExampleBackbone", "ExampleGenerator", "conditional_spec", "styled_spec", "vector_spec"]

FAMILY = "example"
COARSE = 4


def vector_spec(size: tuple[int, int] = (20, 12), *, channels: int = 1) -> GeneratorSpec:
    """One vector; by default grey images of an odd shape, from 0 to 1."""
    layout: Layout = (Vector(dim=6),)
    value_range = (0.0, 1.0)
    return _spec(size, layout, channels=channels, value_range=value_range)


def styled_spec(size: tuple[int, int] = (16, 16)) -> GeneratorSpec:
    """Layer-wise styles, a constant and noise."""
    layout = (Styles(layers=4, dim=6), Map(channels=5, height=4, width=4), Noise(shapes=((1, 4, 4), (1, 8, 8))))
    return _spec(size, layout, truncation="styles")


def conditional_spec(size: tuple[int, int] = (16, 16), *, classes: int = 3) -> GeneratorSpec:
    """A vector of a truncated normal, a condition embedded from the label, and a setting."""
    layout = (Vector(dim=6), Condition(dim=4), Setting(name="truncation", default=1.0, holds="truncation"))
    prior = Prior(kind="truncated-normal", dim=6)
    return _spec(size, layout, prior=prior, classes=classes, truncation="prior")


class ExampleGenerator(Generator):
    """A generator of any spec: each part of the layout is mapped to coarse features, which are enlarged and painted.

    Its weights are drawn with a fixed seed. Several vectors share z one after the other; styles come from an affine
    mapping of z and, where there are classes but no condition, of the label.

    Args:
        spec: any; by default that of :func:`vector_spec`.
    """

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec or vector_spec())
        parts, self.width = list(encoded(self.spec.layout)), 8
        with seeded(7):
            self.readers = nn.ModuleDict({part.name: _linear(math.prod(part.shape), self._flat) for part in parts})
            self.paint = nn.Conv2d(self.width, self.spec.channels, 3, padding=1)
            self.mappings, self.tables, self.maps = nn.ModuleDict(), nn.ModuleDict(), nn.ParameterDict()
            for part in parts:
                if isinstance(part, Styles | Vector):
                    self.mappings[part.name] = nn.Linear(self.spec.prior.dim, part.shape[-1])
                elif isinstance(part, Map):
                    self.maps[part.name] = nn.Parameter(torch.randn(1, *part.shape))
                if isinstance(part, Condition) or (self.spec.classes and isinstance(part, Styles)):
                    self.tables[part.name] = nn.Linear(max(self.spec.classes, 1), part.dim, bias=False)
            for index, shape in enumerate(self._noise_shapes):
                self.register_buffer(f"noise_{index}", torch.randn(1, *shape))

    @property
    def _flat(self) -> int:
        return self.width * COARSE * COARSE

    @property
    def _noise_shapes(self) -> tuple[tuple[int, ...], ...]:
        return next((part.shapes for part in self.spec.layout if isinstance(part, Noise)), ())

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        """z (N, dim) => latents: styles and vectors by their mappings, conditions by :meth:`embed`."""
        tensors: dict[str, Tensor] = {}
        rows = None if labels is None or not self.spec.classes else self.label_rows(labels)
        for part in self.spec.layout:
            if isinstance(part, Vector):
                own = part.dim == self.spec.prior.dim
                tensors[part.name] = z if own else self.mappings[part.name](z)
            elif isinstance(part, Condition) and rows is not None:
                tensors[part.name] = self.embed(rows)
            elif isinstance(part, Styles):
                mapping = self.mappings[part.name]
                w, mean = mapping(z), mapping.get_parameter("bias")
                if rows is not None:
                    w = w + self.tables[part.name](rows)
                pulled = torch.lerp(mean.expand_as(w), w, truncation)
                count = part.layers if truncation_layers is None else truncation_layers
                layers = [pulled if layer < count else w for layer in range(part.layers)]
                tensors[part.name] = torch.stack(layers, 1)
        return Latents(self.spec.layout, tensors)

    def embed(self, labels: Tensor) -> Tensor:
        """Labels => the first condition (N, dim)."""
        name = next((part.name for part in self.spec.layout if isinstance(part, Condition)), None)
        if name is None:
            return super().embed(labels)
        embedded: Tensor = self.tables[name](self.label_rows(labels))
        return embedded

    def default(self, name: str) -> Tensor | None:
        """The learned maps, and the defaults of settings."""
        return self.get_parameter(f"maps.{name}") if name in self.maps else super().default(name)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), within the spec's range."""
        latents = self.complete(latents)
        read = [reader(latents[name].flatten(1)) for name, reader in self.readers.items()]
        features = torch.stack(read).sum(0).reshape(-1, self.width, COARSE, COARSE)
        for part in self.spec.layout:
            if isinstance(part, Setting):
                features = features * (0.5 + 0.5 * latents[part.name])[:, None, None, None]
        features = F.interpolate(features, self.spec.size, mode="bilinear", align_corners=False)
        for one in self._maps_of_noise(latents, noise):
            features = features + 0.1 * F.interpolate(one.mean(1, keepdim=True).to(features), self.spec.size)
        low, high = self.spec.value_range
        return low + (high - low) * (0.5 + 0.5 * torch.tanh(self.paint(features)))

    def _maps_of_noise(self, latents: Latents, noise: NoiseChoice) -> list[Tensor]:
        """One map (N or 1, \\*shape) for each of the layout's, or none."""
        given = latents.noise()
        if given is not None:
            return given
        if not isinstance(noise, str | int):
            return list(noise)
        if noise == "none":
            return []
        if noise == "const":
            return [self.get_buffer(f"noise_{index}") for index in range(len(self._noise_shapes))]
        rng = None if noise == "random" else torch.Generator().manual_seed(int(noise))
        maps = [torch.randn(len(latents), *shape, generator=rng) for shape in self._noise_shapes]
        return [one.to(self.device, self.dtype) for one in maps]


class ExampleBackbone(Backbone):
    """A classifier of five classes with small fixed weights, for images of eight pixels or more."""

    name = "example"
    classes = 5
    smallest = 8

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        with seeded(3):
            self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
            self.second = nn.Conv2d(6, 9, 3, stride=2, padding=1)
            self.head = nn.Linear(9, self.classes)
        # Set past nn.Module, which would hold the convolution's weights twice.
        object.__setattr__(self, "last_convolution", self.second)

    def forward(self, images: Tensor) -> BackboneOutput:
        """(N, 3, H, W) from -1 to 1 => two features and the logits (N, 5)."""
        one = self.first(images).relu()
        two = self.second(one).relu()
        return BackboneOutput([one, two], lambda: self.head(two.mean((2, 3))))


def _spec(size: tuple[int, int], layout: Layout, **fields: object) -> GeneratorSpec:
    narrow = {side: 8 for side in (4 << level for level in range(8)) if side <= min(size)}
    given = {"prior": Prior(dim=6), "resolution_channels": narrow, "licence": "Apache-2.0", **fields}
    return GeneratorSpec.model_validate({"family": FAMILY, "size": size, "layout": layout, **given})


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer whose outputs are about as large as its inputs."""
    made = nn.Linear(inputs, outputs)
    nn.init.normal_(made.weight, std=1 / math.sqrt(inputs))
    return made
