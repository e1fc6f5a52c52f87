"""StyleGAN3 (Karras et al., 2021, "Alias-Free Generative Adversarial Networks") and StyleGAN-XL (Sauer et al., 2022,
"StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets"), in plain torch."""

from __future__ import annotations

import math

import torch
from einops import repeat
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_plugin_stylegan.layers import FullyConnected
from ganenc_plugin_stylegan.style_based import Mapping
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor, nn
from typing_extensions import Self

from ganenc_plugin_stylegan3 import formats
from ganenc_plugin_stylegan3.layers import FourierInput, Image, Layer, rigid
from ganenc_plugin_stylegan3.specs import StyleGAN3Options, build_spec

__all__ = ["StyleGAN3"]


class ClassVectors(nn.Module):
    """A vector for each class, and a layer that embeds it (StyleGAN-XL)."""

    def __init__(self, classes: int, length: int, outputs: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(classes, length))
        self.layer = FullyConnected(length, outputs, activation="lrelu")

    def forward(self, labels: Tensor) -> Tensor:
        """Rows (N, classes) => (N, outputs)."""
        made: Tensor = self.layer(labels @ self.table)
        return made


class StyleGAN3(Generator):
    """StyleGAN3's generator: ``map`` is the mapping network, ``synthesize`` the synthesis network.

    Latents: ``w`` (N, layers, dim) in W+, of which style 0 drives the input, i + 1 layer i; and where the image lies on
    the plane that the network draws: ``rotation`` in degrees, counterclockwise, then ``shift_x`` to the right and
    ``shift_y`` down in lengths of the image, (N,) each. Left out, they are 0. There is no noise.
    """

    w_avg: Tensor
    """The mean style, (dim,), or one for each class (classes, dim); NaN where it is not known."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        options = StyleGAN3Options.from_mapping(spec.options, where="the options of a stylegan3")
        w_dim = getattr(spec.layout[0], "dim", 1) if spec.layout else 1
        made = build_spec(options, z_dim=spec.prior.dim, w_dim=w_dim)
        if spec.layout != made.layout or (spec.size, spec.channels) != (made.size, made.channels):
            raise SpecError(
                "Size, channels or layout are not those of a stylegan3 of these layers; see stylegan3_spec()."
            )
        if options.embedding and not spec.classes:
            raise SpecError("classes: a stylegan3 with class vectors has at least one class; give their number.")
        self._styles = len(options.layers) + 1
        self.scale = options.scale
        self.mapping = Mapping(spec, options, w_dim)
        if options.embedding:
            self.mapping.embed = ClassVectors(spec.classes, options.embedding, options.label_dim or w_dim)  # type: ignore[assignment]
        self.input = FourierInput(options, w_dim)
        before = (options.input_channels, options.bandwidth, options.input_half_width, options.input_size)
        self.layers = nn.ModuleList()
        for layer in options.layers[:-1]:
            share = layer.rate / options.layers[-1].rate
            inside = (max(1, round(spec.size[0] * share)), max(1, round(spec.size[1] * share)))
            self.layers.append(Layer(layer, before, w_dim, options.clamp, inside))
            before = (layer.channels, layer.cutoff, layer.half_width, layer.size)
        self.image = Image(before[0], spec.channels, w_dim, options.clamp)
        self.register_buffer("w_avg", torch.full((spec.classes, w_dim) if options.embedding else (w_dim,), math.nan))

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        """z (N, z_dim) => styles w (N, layers, dim), pulled by ``truncation`` towards the mean, that of the class where
        each has its own."""
        if labels is None and self.spec.classes:
            raise LatentsError(f"This generator has {self.spec.classes} classes: give labels, integers (N,) or rows.")
        w = self.mapping(z.to(self.dtype), None if labels is None else self.label_rows(labels))
        w = repeat(w, "n dim -> n layers dim", layers=self._styles)
        if truncation != 1:
            mean = self.center(labels=labels if self.w_avg.ndim == 2 else None)["w"]
            cut = self._styles if truncation_layers is None else truncation_layers
            w = torch.cat([torch.lerp(mean, w, truncation)[:, :cut], w[:, cut:]], dim=1)
        return Latents(self.spec.layout, {"w": w})

    @torch.no_grad()
    def center(self, *, labels: Tensor | None = None) -> Latents:
        """The mean latents: the running mean that the file holds, of the class where it holds one for each; or that of
        10,000 draws."""
        own = self.w_avg.ndim == 2
        if self.w_avg.isnan().any() or (labels is not None and not own):
            return super().center(labels=labels)
        w = self.w_avg.mean(0, keepdim=True) if own and labels is None else self.w_avg
        w = w if labels is None else self.label_rows(labels) @ w
        w = repeat(w.view(-1, w.shape[-1]), "n dim -> n layers dim", layers=self._styles)
        return self.complete(Latents(self.spec.layout, {"w": w}))

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents => images (N, C, H, W), nominally in [-1, 1]."""
        w = latents["w"]
        x: Tensor = self.input(w[:, 0], self._turn(latents, w.shape[0]))
        for layer, style in zip([*self.layers, self.image], w.unbind(1)[1:]):
            x = layer(x, style)
        return x * self.scale

    def stages(self) -> dict[str, tuple[int, int, int]]:
        """What lies inside the image of the last map at each rate; the maps themselves have margins."""
        layers = [module for module in self.layers if isinstance(module, Layer)]
        last = {layer.inside.size: (f"layers.{i}.inside", len(layer.bias)) for i, layer in enumerate(layers)}
        return {name: (channels, *size) for size, (name, channels) in last.items()}

    def _turn(self, latents: Latents, n: int) -> Tensor:
        """The inverse of the transform that the settings ask for, (N, 3, 3)."""
        angle, x, y = (self._setting(latents, name).expand(n) for name in ("rotation", "shift_x", "shift_y"))
        angle = angle * (math.pi / 180)
        cos, sin = angle.cos(), angle.sin()
        return rigid(cos, -sin, sin * y - cos * x, -sin * x - cos * y)

    def _setting(self, latents: Latents, name: str) -> Tensor:
        value = latents[name] if name in latents else self.default(name)
        assert value is not None, "settings have a default"
        return value

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether the file is a StyleGAN3 of NVIDIA's or a StyleGAN-XL."""
        return bool(formats.prefixes(checkpoint))

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that the file holds: the averaged copy of the weights, where there are several."""
        return cls.from_tensors(*formats.convert(checkpoint, cls))
