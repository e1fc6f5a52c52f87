"""What shapes cannot tell of a foreign StyleGAN2: gains, bounds, filters, and what the file declares of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ganenc_plugin_stylegan.stylegan2_names import Format, NvidiaTensorFlow, NvidiaTorch

__all__ = ["Settings", "filter_taps", "settings"]

_DEFAULT_TAPS = (1.0, 3.0, 3.0, 1.0)


@dataclass(frozen=True)
class Settings:
    """What a file declares; None where it says nothing.

    Attributes:
        lr_multiplier: of the mapping network; every published format takes 0.01 by default.
        clamp: bound on the features.
        resolution: the larger side of the images.
        mapping_layers: how many layers the mapping network has.
        classes: length of the label.
        z_dim: length of z.
    """

    lr_multiplier: float = 0.01
    clamp: float | None = None
    resolution: int | None = None
    mapping_layers: int | None = None
    classes: int | None = None
    z_dim: int | None = None


def settings(source: Format) -> Settings:
    """Return what the file declares, with the format's own defaults.

    Raises:
        CheckpointError: it declares something that this family does not support.
    """
    try:
        if isinstance(source, NvidiaTorch):
            return _torch_settings(source)
        if isinstance(source, NvidiaTensorFlow):
            return _tensorflow_settings(source)
    except (AttributeError, TypeError, ValueError):
        source.checkpoint.fail("what it declares of its StyleGAN2 is malformed")
    return Settings()


def _torch_settings(source: NvidiaTorch) -> Settings:
    checkpoint, prefix = source.checkpoint, source.prefix
    clamps = set()
    for layer, kind in _torch_layers(source):
        activation = layer.get("activation", "lrelu")
        if kind != "torgb" and activation != "lrelu":
            _unsupported(source, f"activation {activation!r}")
        if kind != "fc":
            clamps.add(layer.get("conv_clamp"))
    if len(clamps) > 1:
        _unsupported(source, "bound on the features that differs between layers")
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


def _tensorflow_settings(source: NvidiaTensorFlow) -> Settings:
    declared = _tensorflow_arguments(source)
    for name in ("nonlinearity", "mapping_nonlinearity"):
        if declared.get(name, "lrelu") != "lrelu":
            _unsupported(source, f"activation {declared[name]!r}")
    if declared.get("normalize_latents", True) is not True:
        _unsupported(source, "mapping network without normalised z")
    clamp = declared.get("conv_clamp")
    return Settings(
        lr_multiplier=float(declared.get("mapping_lrmul", 0.01)),
        clamp=None if clamp is None else float(clamp),
        resolution=declared.get("resolution"),
        mapping_layers=declared.get("mapping_layers", 8) if declared else None,
        classes=declared.get("label_size"),
        z_dim=declared.get("latent_size"),
    )


def _tensorflow_arguments(source: NvidiaTensorFlow) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in ("", "mapping.", "synthesis."):
        found |= source.checkpoint.meta(f"{source.prefix}{part}static_kwargs") or {}
    return found


def filter_taps(source: Format) -> tuple[float, ...]:
    """Return the taps of the low-pass filter: an even number, the smallest 1, since the network normalises them.

    Raises:
        CheckpointError: the file stores filters that differ, or one that is no outer product of a row with itself.
    """
    if isinstance(source, NvidiaTensorFlow):
        given = _tensorflow_arguments(source).get("resample_kernel", _DEFAULT_TAPS)
        taps = [torch.tensor([float(tap) for tap in given or (1, 1)])]
    else:
        stored = source.checkpoint.subset(source.prefix)
        names = [name for name in stored if source.filters.fullmatch(name)]
        taps = [_row(source, name) for name in names] or [torch.tensor(_DEFAULT_TAPS)]
    first = taps[0] / taps[0].sum()
    if any(tap.shape != first.shape or not torch.allclose(tap / tap.sum(), first, atol=1e-5) for tap in taps):
        _unsupported(source, "low-pass filter that differs between layers")
    nonzero = first[first != 0].abs()
    if not bool(torch.isfinite(first).all()) or not len(nonzero):
        _unsupported(source, "low-pass filter that sums to zero")
    row = [round(float(tap / nonzero.min()), 4) for tap in first]
    return tuple(row) if len(row) % 2 == 0 else (0.0, *row)


def _row(source: Format, name: str) -> Tensor:
    kernel = source.checkpoint.tensor(source.prefix + name)
    kernel = kernel.reshape([size for size in kernel.shape if size != 1] or [1])
    if kernel.ndim == 1:
        return kernel
    row = kernel.sum(dim=0)
    if not torch.allclose(torch.outer(row, row) / kernel.sum(), kernel, atol=1e-5):
        _unsupported(source, "low-pass filter that is no outer product")
    return row


def _unsupported(source: Format, what: str) -> None:
    source.checkpoint.fail(f"its StyleGAN2 has a {what}, which is not supported", "use a network without it")
