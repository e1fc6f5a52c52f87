"""What StyleGAN1 and StyleGAN2 share: mapping network, learned constant, truncation, and the choice of noise."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable

import torch
from einops import repeat
from ganenc.encoders import normalise_second_moment
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import GeneratorSpec, Map, Styles
from torch import Tensor, nn

from ganenc_plugin_stylegan.layers import FullyConnected
from ganenc_plugin_stylegan.specs import MappingOptions, count_levels

__all__ = ["Mapping", "StyleBased"]


class Mapping(nn.Module):
    """z and a label => w: the mapping network, f in Figure 1 of Karras et al., 2019."""

    def __init__(self, spec: GeneratorSpec, options: MappingOptions, w_dim: int) -> None:
        super().__init__()
        hidden, lr = options.mapping_dim or w_dim, options.mapping_lr_multiplier
        label_dim = (options.label_dim or w_dim) if spec.classes else 0
        self.joint = options.label_norm == "joint"
        self.embed = FullyConnected(spec.classes, label_dim) if spec.classes else None
        widths = [spec.prior.dim + label_dim, *[hidden] * (options.mapping_layers - 1), w_dim]
        self.layers = nn.ModuleList(
            FullyConnected(a, b, activation="lrelu", lr_multiplier=lr) for a, b in itertools.pairwise(widths)
        )

    def forward(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """(N, z_dim), rows (N, classes) => (N, w_dim)."""
        if self.embed is None:
            x = normalise_second_moment(z)
        elif self.joint:
            x = normalise_second_moment(torch.cat([z, self.embed(labels)], dim=1))
        else:
            x = torch.cat([normalise_second_moment(z), normalise_second_moment(self.embed(labels))], dim=1)
        for layer in self.layers:
            x = layer(x)
        return x


class StyleBased(Generator):
    """A generator of layer-wise styles, a learned constant, and noise.

    Args:
        spec: what :mod:`ganenc_plugin_stylegan.specs` makes.
        options: those of the spec, read.
        make: makes the spec of such a network from its size and channels.
        features: height and width of the last features, where they are not those of the images.
        learned: whether it begins with a learned constant.

    Raises:
        SpecError: if the layout is another than that of such a network, or there are no channels per resolution.
    """

    w_avg: Tensor
    """The mean style, (dim,) or one for each layer (layers, dim); NaN where it is not known."""

    def __init__(
        self,
        spec: GeneratorSpec,
        options: MappingOptions,
        make: Callable[..., GeneratorSpec],
        *,
        features: tuple[int, int] | None = None,
        learned: bool = True,
    ) -> None:
        super().__init__(spec)
        styles, const = spec.part("w"), spec.part("const") if learned else None
        if not isinstance(styles, Styles) or not isinstance(const, Map | None) or not spec.resolution_channels:
            raise SpecError(
                f"A {spec.family} has styles `w`, a map `const` and `resolution_channels`; see {spec.family}_spec()."
            )
        base = (const.height, const.width) if const else (4, 4)
        if spec.layout != make(spec.size, spec.resolution_channels, w_dim=styles.dim, base=base).layout:
            raise SpecError(f"The layout is not that of a {spec.family} of this size; see {spec.family}_spec().")
        self._styles = styles
        self._sizes = [(base[0] << i, base[1] << i) for i in range(count_levels(features or spec.size, base))]
        self._widths = [spec.resolution_channels[min(size)] for size in self._sizes]
        self.mapping: nn.Module = Mapping(spec, options, styles.dim)
        if const:
            self.const = nn.Parameter(torch.randn(const.channels, *base))

    @abstractmethod
    def noise_maps(self) -> list[Tensor]:
        """The maps (H, W) stored with the weights, one for each layer that has noise."""

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        """z (N, z_dim) => styles w (N, layers, dim), pulled towards the mean by ``truncation``."""
        w = self.mapping(z.to(self.dtype), self._rows(labels, z.shape[0]))
        w = repeat(w, "n dim -> n layers dim", layers=self._styles.layers)
        if truncation != 1:
            pulled = torch.lerp(self._mean(), w, truncation)
            layers = self._styles.layers if truncation_layers is None else truncation_layers
            w = torch.cat([pulled[:, :layers], w[:, layers:]], dim=1)
        return Latents(self.spec.layout, {"w": w})

    def default(self, name: str) -> Tensor | None:
        """The learned constant, for ``const``; a stored map, for ``noise.0`` and so on."""
        if name.startswith("noise."):
            return self.noise_maps()[int(name.removeprefix("noise."))][None, None]
        return self.const[None] if name == "const" else super().default(name)

    @torch.no_grad()
    def center(self, *, labels: Tensor | None = None) -> Latents:
        """The mean latents: the running mean that the file holds, or that of 10,000 draws where it has none."""
        if labels is not None or self.w_avg.isnan().any():
            return super().center(labels=labels)
        w = self.w_avg.expand(1, self._styles.layers, -1)
        return self.complete(Latents(self.spec.layout, {"w": w}))

    def _mean(self) -> Tensor:
        return self.center()["w"]

    def _rows(self, labels: Tensor | None, n: int) -> Tensor | None:
        """Labels as rows (N, classes) in the dtype of the weights."""
        if labels is None:
            if not self.spec.classes:
                return None
            raise LatentsError(f"This generator has {self.spec.classes} classes: give labels, integers (N,) or rows.")
        if labels.shape[0] != n:
            raise LatentsError(f"{len(labels)} labels are given for {n} samples; give one for each.")
        return self.label_rows(labels)

    def _start(self, latents: Latents) -> Tensor:
        """The constant that synthesis starts from, (N, C, H, W): that of the latents, or the learned one."""
        const = latents["const"] if "const" in latents else self.const.expand(len(latents), -1, -1, -1)
        return const.to(self.dtype)

    def _noise(self, latents: Latents, noise: NoiseChoice) -> list[Tensor | None]:
        """One map (N or 1, 1, H, W) for each layer that has noise, or None."""
        given = latents.noise()
        if given is not None:
            return list(given)
        own = self.noise_maps()
        if isinstance(noise, str):
            if noise == "const":
                return [one[None, None] for one in own]
            if noise == "none":
                return [None] * len(own)
            if noise == "random":
                return [torch.randn(len(latents), 1, *one.shape, device=one.device) for one in own]
            raise LatentsError(f"Noise is 'const', 'random', 'none', a seed or a list of maps, not {noise!r}.")
        if isinstance(noise, int):
            rng = torch.Generator().manual_seed(noise)
            return [torch.randn(len(latents), 1, *one.shape, generator=rng).to(one) for one in own]
        if len(noise) != len(own):
            raise LatentsError(f"This generator takes {len(own)} noise maps; {len(noise)} are given.")
        return list(noise)
