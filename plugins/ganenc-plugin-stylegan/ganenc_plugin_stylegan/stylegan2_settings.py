"""What shapes cannot tell of a foreign StyleGAN2: gains, bounds, filters, and what the file declares of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganenc_plugin_stylegan.names import Format
from ganenc_plugin_stylegan.settings import (
    Settings,
    filter_options,
    tensorflow_arguments,
    tensorflow_settings,
    unsupported,
)
from ganenc_plugin_stylegan.stylegan2_names import NvidiaTensorFlow, NvidiaTorch

__all__ = ["filters", "settings"]

_DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


def settings(source: Format) -> Settings:
    """Return what the file declares, with the format's own defaults.

    Raises:
        CheckpointError: it declares something that this family does not support.
    """
    try:
        if isinstance(source, NvidiaTorch):
            return _torch_settings(source)
        if isinstance(source, NvidiaTensorFlow):
            return tensorflow_settings(source)
    except (AttributeError, TypeError, ValueError):
        source.checkpoint.fail("what it declares of its StyleGAN2 is malformed")
    return Settings()


def _torch_settings(source: NvidiaTorch) -> Settings:
    checkpoint, prefix = source.checkpoint, source.prefix
    clamps = set()
    for layer, kind in _torch_layers(source):
        activation = layer.get("activation", "lrelu")
        if kind != "torgb" and activation != "lrelu":
            unsupported(source, f"activation {activation!r}")
        if kind != "fc":
            clamps.add(layer.get("conv_clamp"))
    if len(clamps) > 1:
        unsupported(source, "bound on the features that differs between layers")
    clamp = next(iter(clamps), None)
    gain = checkpoint.meta(f"{prefix}mapping.fc0.bias_gain")
    return Settings(
        lr_multiplier=float(gain or checkpoint.meta(f"{prefix}mapping.init_kwargs.lr_multiplier", 0.01)),
        clamp=None if clamp is None else float(clamp),
        resolution=checkpoint.meta(f"{prefix}img_resolution"),
        mapping_layers=checkpoint.meta(f"{prefix}mapping.num_layers"),
        classes=checkpoint.meta(f"{prefix}c_dim"),
        z_dim=checkpoint.meta(f"{prefix}z_dim"),
    )


def _torch_layers(source: NvidiaTorch) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the metadata of every layer of the mapping and synthesis networks, and what it is."""
    mapping = source.checkpoint.meta(f"{source.prefix}mapping", {})
    blocks = source.checkpoint.meta(f"{source.prefix}synthesis", {})
    yield from ((layer, "fc") for name, layer in mapping.items() if name.startswith("fc") and isinstance(layer, dict))
    for block in blocks.values():
        for kind in ("conv0", "conv1", "torgb"):
            if isinstance(block, dict) and isinstance(block.get(kind), dict):
                yield block[kind], kind


def filters(source: Format) -> dict[str, Any]:
    """Return what the spec says of the low-pass filters, whose taps are an even number.

    Raises:
        CheckpointError: the file stores filters that differ, or one that is no outer product of a row with itself.
    """
    declares = isinstance(source, NvidiaTensorFlow) and "resample_kernel" in tensorflow_arguments(source)
    declared = tensorflow_arguments(source)["resample_kernel"] or (1, 1) if declares else _DEFAULT_TAPS
    return filter_options(source, "fir", declared, parity=0)
