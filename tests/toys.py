"""Small generators of two kinds, with layouts that between them have every part. Tests import them as ``toys``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from ganenc.encoders import Encoder, build_encoder
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc.measures import Metric
from ganenc.objectives import Attention, Backbone, BackboneOutput, LatentTerm, Loss, Objective, context_for
from ganenc_registry.components import build
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import (
    Choice,
    Condition,
    GeneratorSpec,
    LatentLoss,
    Map,
    Noise,
    Prior,
    Setting,
    Spec,
    Styles,
    Vector,
)
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "ColourBackbone",
    "MeanError",
    "Offset",
    "ToyColours",
    "ToyConditional",
    "ToyGenerator",
    "make_objective",
    "small_encoder",
    "toy_colours_spec",
    "toy_conditional_spec",
    "toy_spec",
]


def toy_spec(size: tuple[int, int] = (16, 16), *, channels: int = 3, dim: int = 8, classes: int = 0) -> GeneratorSpec:
    """The spec of a :class:`ToyGenerator` whose sides are 4 times a power of two."""
    levels = (min(size) // 4).bit_length()
    shapes = [(1, size[0] >> (levels - 1 - i), size[1] >> (levels - 1 - i)) for i in range(levels)]
    return GeneratorSpec(
        family="toy",
        size=size,
        channels=channels,
        prior=Prior(dim=6),
        layout=(
            Styles(layers=2 * levels, dim=dim),
            Map(channels=dim, height=shapes[0][1], width=shapes[0][2]),
            Noise(shapes=tuple(shapes)),
        ),
        classes=classes,
        truncation="styles",
        resolution_channels={4 << i: dim for i in range(levels)},
    )


class ToyGenerator(Generator):
    """Layer-wise styles, a learned constant, a noise map a resolution, and an affine mapping from z (and labels) to w.

    The mapping being affine, the mean of w is ``mapping.bias``, plus the row of ``labels`` for a class.
    """

    const: Tensor

    def __init__(self, spec: GeneratorSpec | None = None, *, seed: int = 0) -> None:
        spec = spec or toy_spec()
        super().__init__(spec)
        styles, const, noise = spec.layout
        assert isinstance(styles, Styles)
        assert isinstance(const, Map)
        assert isinstance(noise, Noise)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.mapping = nn.Linear(spec.prior.dim, styles.dim)
            self.labels = nn.Linear(spec.classes, styles.dim, bias=False) if spec.classes else None
            self.const = nn.Parameter(torch.randn(1, *const.shape))
            self.affines = nn.ModuleList(nn.Linear(styles.dim, styles.dim) for _ in range(styles.layers))
            self.convs = nn.ModuleList(nn.Conv2d(styles.dim, styles.dim, 3, padding=1) for _ in range(styles.layers))
            self.to_image = nn.Conv2d(styles.dim, spec.channels, 1)
            for i, shape in enumerate(noise.shapes):
                self.register_buffer(f"noise_{i}", torch.randn(1, *shape))
        self.levels = len(noise.shapes)
        self.layers = styles.layers

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        w = self.mapping(z)
        if self.labels is not None:
            if labels is None:
                raise LatentsError("toy needs labels.")
            rows = labels if labels.ndim == 2 else F.one_hot(labels, self.spec.classes)
            w = w + self.labels(rows.to(w.dtype))
        w = w[:, None].repeat(1, self.layers, 1)
        w[:, :truncation_layers] = torch.lerp(self.mapping.bias, w[:, :truncation_layers], truncation)
        return Latents(self.spec.layout, {"w": w})

    def default(self, name: str) -> Tensor | None:
        return self.const if name == "const" else super().default(name)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        latents = self.complete(latents)
        x, maps = latents["const"], self._noise(latents, noise)
        for layer, (affine, conv) in enumerate(zip(self.affines, self.convs, strict=True)):
            if layer and layer % 2 == 0:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = conv(x * (1 + affine(latents["w"][:, layer]))[:, :, None, None])
            if layer % 2 and maps:
                x = x + 0.1 * maps[layer // 2]
            x = F.leaky_relu(x, 0.2) * 1.4
        return self.to_image(x)

    def _noise(self, latents: Latents, noise: NoiseChoice) -> list[Tensor] | None:
        own = [getattr(self, f"noise_{i}") for i in range(self.levels)]
        if isinstance(noise, int):
            rng = torch.Generator().manual_seed(noise)
            return [torch.randn(one.shape, generator=rng).to(one) for one in own]
        if not isinstance(noise, str):
            return list(noise)
        if noise == "random":
            return [torch.randn(len(latents), *one.shape[1:]).to(one) for one in own]
        return None if noise == "none" else latents.noise() or own


def toy_conditional_spec() -> GeneratorSpec:
    """The spec of a :class:`ToyConditional`."""
    return GeneratorSpec(
        family="toy-conditional",
        size=(8, 8),
        prior=Prior(kind="truncated-normal", dim=5),
        layout=(Vector(dim=5), Condition(dim=4), Setting(name="truncation", default=0.5, holds="truncation")),
        classes=3,
        truncation="prior",
    )


class ToyConditional(Generator):
    """A vector drawn from a truncated normal, a condition embedded from the label, and the setting ``truncation``."""

    def __init__(self, spec: GeneratorSpec | None = None, *, seed: int = 0) -> None:
        super().__init__(spec or toy_conditional_spec())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.table = nn.Linear(3, 4, bias=False)
            self.paint = nn.Linear(9, 3 * 8 * 8)

    def embed(self, labels: Tensor) -> Tensor:
        rows = labels if labels.ndim == 2 else F.one_hot(labels, 3)
        return self.table(rows.to(self.dtype))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        latents = self.complete(latents)
        inputs = torch.cat([latents["z"], latents["c"]], 1)
        return torch.tanh(self.paint(inputs) * latents["truncation"][:, None]).reshape(-1, 3, 8, 8)


def colours(classes: int) -> Tensor:
    """A colour for each class (classes, 3), from -0.8 to 0.8, no two alike."""
    steps = 2
    while steps**3 < classes:
        steps += 1
    values = torch.linspace(-0.8, 0.8, steps)
    return torch.cartesian_prod(values, values, values)[:classes]


def toy_colours_spec(classes: int = 4) -> GeneratorSpec:
    """The spec of a :class:`ToyColours`."""
    layout = (Vector(dim=4), Condition(dim=3), Setting(name="truncation", default=1.0, holds="truncation"))
    fields = {"family": "toy-colours", "size": (8, 8), "prior": Prior(dim=4), "layout": layout}
    return GeneratorSpec(**fields, classes=classes, truncation="prior")


class ToyColours(Generator):
    """The class is the colour of the image, with a faint pattern on it that is drawn from z."""

    def __init__(self, spec: GeneratorSpec | None = None, *, seed: int = 0) -> None:
        super().__init__(spec or toy_colours_spec())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.pattern = nn.Linear(4, 3 * 8 * 8, bias=False)
        self.register_buffer("colours", colours(self.spec.classes))

    def embed(self, labels: Tensor) -> Tensor:
        rows = labels if labels.ndim == 2 else F.one_hot(labels, self.spec.classes)
        return rows.to(self.dtype) @ self.colours

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        pattern = self.pattern(latents["z"]).reshape(-1, 3, 8, 8)
        return latents["c"][:, :, None, None] + 0.1 * torch.tanh(pattern)


def small_encoder(generator: Generator) -> Encoder:
    """An encoder of 8x8 images with random weights, whose conditional norms look at the label."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = {"size": (8, 8), "in_channels": 4, "out_channels": 8}
        last = {"size": (4, 4), "in_channels": 8, "out_channels": 8, "convolutions": 1, "downscale": "none"}
        encoder = build_encoder(generator, blocks=[first, last], hidden=8).eval()
        with torch.no_grad():
            for name, weight in encoder.named_parameters():
                weight.add_(0.3 if "norm" in name else 0.0)
    return encoder


class ColourBackbone(Backbone):
    """Tells the classes of :class:`ToyColours` by the mean colour of an image."""

    name = "toy-colour-backbone"
    smallest = 8

    def __init__(self, *given: Any, classes: int = 4) -> None:
        super().__init__(*given)
        self.classes = classes
        self.last_convolution = None
        self.register_buffer("colours", colours(classes))

    def forward(self, images: Tensor) -> BackboneOutput:
        return BackboneOutput([images], lambda: -torch.cdist(images.mean((2, 3)), self.colours))


def make_objective(
    losses: Mapping[str, float],
    attention: str | Mapping[str, Any] = "none",
    *,
    backbone: Any = None,
    latent: Mapping[str, Any] | None = None,
    spec: GeneratorSpec | None = None,
) -> Objective:
    """An objective of registered parts, for images from -1 to 1 or those of a spec; the backbone is one at hand."""
    context = context_for(backbone, spec)
    choice = attention if isinstance(attention, str) else Choice.from_mapping(attention)
    return Objective(
        build("attention", choice, Attention, context),
        {name: (weight, build("loss", name, Loss, context)) for name, weight in losses.items()},
        None if latent is None else LatentTerm(LatentLoss(**latent)),
    )


class MeanError(Metric):
    """The mean absolute error, as a share of the range."""

    higher_is_better = False

    class Options(Spec):
        power: float = Field(1.0, gt=0, description="of the error")

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        low, high = self.context.value_range
        return (((a - b).abs() / (high - low)) ** self.options.power).flatten(1).mean(1).tolist()


class Offset(Metric):
    """By how much the means of two sets differ."""

    higher_is_better, compares_sets = False, True

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> float:
        return float((a.mean() - b.mean()).abs())
