"""The spec of a StyleGAN3, from its settings alone. Importing this imports no torch."""

from __future__ import annotations

import math
from typing import Any, Literal

from ganenc_plugin_stylegan.specs import MappingOptions
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Count, GeneratorSpec, Prior, Setting, Spec, Styles, Width
from ganenc_registry.specs.sizes import check_values
from pydantic import Field, model_validator
from typing_extensions import Self

__all__ = ["LayerOptions", "StyleGAN3Options", "build_spec", "stylegan3_spec"]


class LayerOptions(Spec):
    """A layer of the synthesis network: a convolution, and between two filters of finite length a leaky ReLU."""

    channels: Width = Field(description="channels that it gives out")
    size: tuple[Width, Width] = Field(description="height and width of what it gives out, margins included")
    rate: float = Field(gt=0, description="samples in the length of an image that it gives out")
    cutoff: float = Field(gt=0, description="cutoff of what it gives out, in periods an image")
    half_width: float = Field(gt=0, description="half of the transition band of that cutoff")
    kernel: Literal[1, 3] = Field(3, description="side of the convolution")
    up: int = Field(2, ge=1, le=64, description="by how much it samples more densely before the leaky ReLU")
    down: int = Field(2, ge=1, le=64, description="by how much less densely after it")
    up_taps: int = Field(12, ge=1, le=1024, description="length of the filter before the leaky ReLU; 1 for none")
    down_taps: int = Field(12, ge=1, le=1024, description="length of the one after it; 1 for none")
    radial: bool = Field(False, description="whether that one has two dimensions, and by design circular symmetry")

    @property
    def filters(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Length and factor of each of its filters."""
        return (self.up_taps, self.up), (self.down_taps, self.down)


class StyleGAN3Options(MappingOptions):
    """What a StyleGAN3 needs besides its layout."""

    mapping_layers: Count = Field(2, description="fully connected layers of the mapping network")
    embedding: Width | None = Field(
        None, description="length of the class vectors that a layer embeds, with a mean style for each (StyleGAN-XL)"
    )
    input_channels: Width = Field(description="Fourier features")
    input_size: tuple[Width, Width] = Field(description="height and width of their maps, margins included")
    input_rate: float = Field(gt=0, description="their samples in the length of an image")
    bandwidth: float = Field(gt=0, description="their highest frequency, in periods an image")
    input_half_width: float = Field(gt=0, description="half of their transition band")
    layers: tuple[LayerOptions, ...] = Field(
        min_length=1, max_length=100, description="the layers; the last makes the image, without filters"
    )
    clamp: float | None = Field(256.0, gt=0, description="bound on the features")
    scale: float = Field(0.25, description="factor of the image")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_values("the input", [(self.input_channels, *self.input_size)])
        for index, layer in enumerate(self.layers):
            between = (side * layer.down + layer.down_taps + layer.up_taps for side in layer.size)
            check_values(f"a channel of layers.{index}", [between])
            if any((taps == 1) != (factor == 1) for taps, factor in layer.filters):
                raise ValueError(
                    f"layers.{index}: a layer has a filter where it samples more or less densely, only there"
                )
        last = self.layers[-1]
        if last.radial or {*last.model_dump(include=PLAIN).values()} != {1}:
            raise ValueError("the last layer makes the image of one pixel's features: without filters or kernel")
        return self


PLAIN = {"kernel", "up", "down", "up_taps", "down_taps"}


def stylegan3_spec(
    size: int,
    *,
    config: Literal["t", "r"] = "t",
    channel_base: int | None = None,
    channel_max: int | None = None,
    layers: int = 14,
    critical: int = 2,
    first_cutoff: float = 2,
    first_stopband: float = 2**2.1,
    last_stopband_rel: float = 2**0.3,
    margin: int = 10,
    filter_size: int = 6,
    z_dim: int = 512,
    w_dim: int = 512,
    image_channels: int = 3,
    classes: int = 0,
    licence: str = "unknown",
    **options: Any,
) -> GeneratorSpec:
    """The spec of a StyleGAN3 by the published design: cutoffs and stopbands grow geometrically from layer to layer, up
    to the critically sampled ones (Karras et al., 2021, section 3.2 and appendix D).

    Args:
        size: side of the images, a power of two.
        config: T, equivariant to translation, of 3x3 kernels; or R, to rotation too, of 1x1 kernels, radial filters and
            twice the channels.
        channel_base: channels at a cutoff of half a period an image; 32768 in T, 65536 in R.
        channel_max: the most channels of a layer; 512 in T, 1024 in R.
        layers: how many layers, without the input and the one that makes the image.
        critical: how many of the last are critically sampled.
        first_cutoff: of the input, in periods an image.
        first_stopband: the least stopband of the first layer.
        last_stopband_rel: that of the last, over its cutoff.
        margin: samples on each side outside the image.
        filter_size: taps of a filter for each sample of its lower rate.
        z_dim: length of z.
        w_dim: length of each style vector.
        image_channels: channels of the images.
        classes: number of labels; 0 where labels do not matter.
        licence: licence of the weights.
        options: others of `StyleGAN3Options`, such as ``embedding``.

    Raises:
        SpecError: if no such network can be built.
    """
    if size < 4 or size & (size - 1) or not 0 <= critical < layers:
        raise SpecError(
            f"A StyleGAN3 makes images of 4, 8, 16 pixels and so on, by more layers than are critically sampled; not"
            f" {size} pixels by {layers}, of which {critical}."
        )
    radial = config == "r"
    base = channel_base or (65536 if radial else 32768)
    most = channel_max or (1024 if radial else 512)
    last_cutoff = size / 2
    found: list[dict[str, Any]] = []
    for index in range(layers + 1):
        share = min(index / (layers - critical), 1)
        cutoff = first_cutoff * (last_cutoff / first_cutoff) ** share
        stopband = first_stopband * (last_cutoff * last_stopband_rel / first_stopband) ** share
        rate = 2.0 ** math.ceil(math.log2(min(2 * stopband, size)))
        side = size if index >= layers - 1 else int(rate) + 2 * margin
        one = {"size": (side, side), "rate": rate, "cutoff": cutoff, "half_width": max(stopband, rate / 2) - cutoff}
        found.append({**one, "channels": round(min(base / 2 / cutoff, most))})
    start, before, made = found[0], found[0]["rate"], []
    for index, one in enumerate(found[:-1]):
        up, down = round(2 * max(before, one["rate"]) / before), round(2 * max(before, one["rate"]) / one["rate"])
        taps = {"up": up, "down": down, "up_taps": filter_size * up, "down_taps": filter_size * down}
        made.append({**one, **taps, "kernel": 1 if radial else 3, "radial": radial and index < layers - critical})
        before = one["rate"]
    made.append({**found[-1], "channels": image_channels, **dict.fromkeys(PLAIN, 1)})
    given = {
        "input_channels": start["channels"],
        "input_size": start["size"],
        "input_rate": start["rate"],
        "bandwidth": start["cutoff"],
        "input_half_width": start["half_width"],
        "layers": made,
        **options,
    }
    checked = StyleGAN3Options.from_mapping(given, where="the options of a stylegan3")
    return build_spec(checked, z_dim=z_dim, w_dim=w_dim, classes=classes, licence=licence)


def build_spec(
    options: StyleGAN3Options, *, z_dim: int, w_dim: int, classes: int = 0, licence: str = "unknown"
) -> GeneratorSpec:
    """The spec of a StyleGAN3 of these layers."""
    image = options.layers[-1]
    return GeneratorSpec(
        family="stylegan3",
        size=image.size,
        channels=image.channels,
        prior=Prior(dim=z_dim),
        layout=(
            Styles(layers=len(options.layers) + 1, dim=w_dim),
            Setting(name="rotation", default=0.0, unit=10.0),
            Setting(name="shift_x", default=0.0, unit=0.1),
            Setting(name="shift_y", default=0.0, unit=0.1),
        ),
        classes=classes,
        truncation="styles",
        resolution_channels={max(round(layer.rate), 1): layer.channels for layer in options.layers[:-1]} or None,
        options=options.model_dump(mode="json"),
        licence=licence,
    )
