"""The networks that are timed. Their weights are random: weights do not change the time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from ganenc.encoders import Encoder, build_encoder, generator_format, generator_ways
from ganenc.files import measured
from ganenc.generators import Generator, build_generator
from ganenc.objectives import ImageNetBackbone, Squeeze, Vgg16
from ganenc_plugin_hands.zoo_specs import zoo_spec
from ganenc_plugin_stylegan.specs import published_channels, stylegan2_spec
from ganenc_plugin_stylegan3.specs import stylegan3_spec
from ganenc_registry.specs import EncoderSpec, GeneratorSpec
from torchvision import models

__all__ = ["BACKBONES", "NETWORKS", "as_in_runs", "backbone", "chosen_here", "networks", "published_block"]

STRIDED = 4
"""The first blocks of the published encoder, which halve by stride."""


def config_f(resolution: int = 256) -> GeneratorSpec:
    """The published configuration F: min(512, 32768 / resolution) channels (Karras et al., 2020, appendix B)."""
    return stylegan2_spec((resolution, resolution), published_channels(resolution, fmap_base=16384))


def hands64() -> GeneratorSpec:
    """The shipped StyleGAN2 of hands."""
    return zoo_spec("stylegan2-hands64")


def tiny() -> GeneratorSpec:
    """Small enough for a quick run."""
    return stylegan2_spec((32, 32), {4: 64, 8: 64, 16: 32, 32: 16}, z_dim=64, w_dim=64)


def small() -> GeneratorSpec:
    """The least that backbones take as it is."""
    return stylegan2_spec((64, 64), {4: 32, 8: 32, 16: 32, 32: 16, 64: 8}, z_dim=32, w_dim=32)


NETWORKS: dict[str, Callable[[], GeneratorSpec]] = {
    **{f"f{resolution}": partial(config_f, resolution) for resolution in (64, 128, 256, 512, 1024)},
    "hands64": hands64,
    "tiny32": tiny,
    "small64": small,
    "t256": partial(stylegan3_spec, 256, channel_base=16384),
    "r256": partial(stylegan3_spec, 256, config="r", channel_base=32768),
    "tiny-t32": partial(stylegan3_spec, 32, channel_base=512, channel_max=32, layers=4, z_dim=64, w_dim=64),
}
"""StyleGANs by name: configuration F of StyleGAN2 at its resolutions, the shipped model of hands, two for quick runs;
T and R of StyleGAN3 as they were published for 256 pixels, and one for quick runs."""
BACKBONES: dict[str, type[ImageNetBackbone]] = {"squeeze": Squeeze, "vgg16": Vgg16}
"""The smallest backbone, and the one that is taken where none is named."""


def networks(
    spec: GeneratorSpec,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    device: str = "cpu",
    **overrides: Any,
) -> tuple[Generator, Encoder]:
    """A generator, frozen, and its encoder.

    Args:
        spec: the generator's.
        memory_format: of the weights; training has them channels last.
        device: where they go; the weights are the same everywhere.
        overrides: fields of the encoder's spec that differ from the generator's mirror.
    """
    torch.manual_seed(0)
    generator = build_generator(spec).freeze()
    encoder = build_encoder(generator, **overrides).requires_grad_(True)
    generator, encoder = generator.to(device), encoder.to(device)
    return generator.to(memory_format=memory_format), encoder.to(memory_format=memory_format)


def published_block(spec: GeneratorSpec) -> dict[str, Any]:
    """The fields of an encoder's spec by which it is the published one of training strategy 2: a blur before each
    second convolution, the first four of which halve by stride, noise, and a ninth of the convolutions in each sum."""
    blocks = [
        block.model_copy(update={"downscale": "stride"}) if place < STRIDED and block.convolutions == 2 else block
        for place, block in enumerate(EncoderSpec.mirror(spec).blocks)
    ]
    return {"blocks": blocks, "blur": True, "noise": "fixed", "residual": 0.111}


def as_in_runs(generator: Generator, batch: int, precision: str = "none") -> None:
    """Have a generator in the memory format, and compute in the ways, that a run on this machine takes."""
    memory_format = generator_format(generator, batch, precision=precision)
    generator_ways(generator, batch, memory_format, precision=precision)


def chosen_here() -> str:
    """The ways that were measured to be faster here, in a sentence."""
    found = "; ".join(measured())
    return f"Chosen by a pass and its gradient: {found or 'nothing, of small networks'}."


def backbone(name: str = "squeeze", device: str = "cpu") -> tuple[ImageNetBackbone, str]:
    """A backbone on a device, channels last, and whose weights it has: the published ones if on disk, else random."""
    kind = BACKBONES[name]
    state, weights = None, "published weights"
    if not kind.available():
        torch.manual_seed(0)
        state, weights = getattr(models, kind.architecture)(weights=None).state_dict(), "random weights"
    return kind(state=state).to(device).to(memory_format=torch.channels_last), weights
