"""What shapes cannot tell of a foreign StyleGAN: learning rates, filters, and what the file declares of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from ganenc_plugin_stylegan.layers import fir_kernel
from ganenc_plugin_stylegan.names import Format

__all__ = ["Settings", "filter_options", "filter_taps", "tensorflow_arguments", "tensorflow_settings", "unsupported"]


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


def tensorflow_arguments(source: Format) -> dict[str, Any]:
    """Return the arguments that NVIDIA's TensorFlow networks were built with, as far as they were given."""
    found: dict[str, Any] = {}
    for part in ("", "mapping.", "synthesis."):
        found |= source.checkpoint.meta(f"{source.prefix}{part}static_kwargs") or {}
    return found


def tensorflow_settings(source: Format) -> Settings:
    """Return what NVIDIA's TensorFlow networks declare.

    Raises:
        CheckpointError: they declare something that no family here supports.
    """
    declared = tensorflow_arguments(source)
    for name in ("nonlinearity", "mapping_nonlinearity"):
        if declared.get(name, "lrelu") != "lrelu":
            unsupported(source, f"activation {declared[name]!r}")
    if declared.get("normalize_latents", True) is not True:
        unsupported(source, "mapping network without normalised z")
    clamp = declared.get("conv_clamp")
    return Settings(
        lr_multiplier=float(declared.get("mapping_lrmul", 0.01)),
        clamp=None if clamp is None else float(clamp),
        resolution=declared.get("resolution"),
        mapping_layers=declared.get("mapping_layers"),
        classes=declared.get("label_size"),
        z_dim=declared.get("latent_size"),
    )


def filter_options(source: Format, key: str, declared: Sequence[float], parity: int) -> dict[str, Any]:
    """Return the options of a spec that say what its low-pass filters are: one for all layers, by the taps of its row
    under ``key``; or, in formats that know such, one of each layer's own, where the stored ones are not just that.

    Arguments and errors as for :func:`filter_taps`.
    """
    names = [name for name in _stored_filters(source) if "kernel" in source.conv_leaves]
    kernels = [source.checkpoint.tensor(source.prefix + name) for name in names]
    sides = {kernel.shape[-2:] for kernel in kernels if kernel.ndim > 1}
    if len(sides) == 1 and len(side := set(next(iter(sides)))) == 1 and next(iter(side)) % 2 == parity:
        row = kernels[0].reshape(-1, *next(iter(sides)))[0].sum(dim=0)
        row = row / row.sum()
        taps = _taps(row) if bool(torch.isfinite(row).all()) else ()
        used = fir_kernel(taps) * source.filter_sum if taps else row
        if taps and all(_repeats(one, used) for one in kernels):
            return {key: taps}
        usual = tuple(declared) if len(declared) == len(row) else (1.0,) * len(row)
        return {key: usual, "own_filters": True}
    return {key: filter_taps(source, declared, parity)}


def filter_taps(source: Format, declared: Sequence[float], parity: int) -> tuple[float, ...]:
    """Return the taps of the low-pass filter, the smallest 1, since the networks normalise them.

    Args:
        source: the format, which may store filters.
        declared: the taps where it stores none.
        parity: 0 for an even number of taps, 1 for an odd one; a tap of 0 is put before them where that is needed.

    Raises:
        CheckpointError: the file stores filters that differ, or one that is no outer product of a row with itself; or
            what it declares is no row of numbers.
    """
    taps = [_row(source, name) for name in _stored_filters(source)] or [_declared_row(source, declared)]
    first = taps[0] / taps[0].sum()
    if any(tap.shape != first.shape or not torch.allclose(tap / tap.sum(), first, atol=1e-5) for tap in taps):
        unsupported(source, "low-pass filter that differs between layers")
    nonzero = first[first != 0].abs()
    if not bool(torch.isfinite(first).all()) or not len(nonzero):
        unsupported(source, "low-pass filter that sums to zero")
    row = _taps(first)
    return row if len(row) % 2 == parity else (0.0, *row)


def _repeats(kernel: Tensor, used: Tensor) -> bool:
    """Whether a stored filter is another, (k, k), in each channel."""
    return kernel.shape[-2:] == used.shape and torch.allclose(kernel, used.expand_as(kernel), rtol=0, atol=1e-6)


def _taps(row: Tensor) -> tuple[float, ...]:
    """Return a row with its smallest tap that is not zero as 1; none where all are zero."""
    nonzero = row[row != 0].abs()
    return tuple(round(float(tap / nonzero.min()), 4) for tap in row) if len(nonzero) else ()


def _stored_filters(source: Format) -> list[str]:
    """Return the names, without the prefix, of the low-pass filters that the file stores."""
    stored = (name[len(source.prefix) :] for name in source.checkpoint.tensors if name.startswith(source.prefix))
    return [name for name in stored if source.filters.fullmatch(name)]


def _declared_row(source: Format, declared: Sequence[float]) -> Tensor:
    """Return the row that a file declares, which may be of any kind."""
    try:
        return torch.tensor([float(tap) for tap in declared])
    except (TypeError, ValueError, OverflowError):
        source.checkpoint.fail("what it declares of its low-pass filter is malformed")


def _row(source: Format, name: str) -> Tensor:
    """Return the row whose outer product with itself a stored filter is: (k,), (k, k), or (channels, 1, k, k)."""
    kernel = source.checkpoint.tensor(source.prefix + name)
    if kernel.ndim < 2 or 0 in kernel.shape:
        return kernel.reshape(-1)
    kernel = kernel.reshape(-1, *kernel.shape[-2:])
    if bool((kernel != kernel[0]).any()):
        unsupported(source, "low-pass filter that differs between channels")
    kernel = kernel[0]
    if kernel.shape[0] != kernel.shape[1]:
        unsupported(source, "low-pass filter that is not square")
    row = kernel.sum(dim=0)
    if not torch.allclose(torch.outer(row, row) / kernel.sum(), kernel, atol=1e-5):
        unsupported(source, "low-pass filter that is no outer product")
    return row


def unsupported(source: Format, what: str) -> NoReturn:
    """Raise a `CheckpointError` that the network has something which is not supported."""
    source.checkpoint.fail(f"its StyleGAN has a {what}, which is not supported", "use a network without it")
