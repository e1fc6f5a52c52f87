"""Latents that other tools wrote: arrays and files of tensors, read as data. Not in paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from ganenc_registry.errors import GanencError, LatentsError
from ganenc_registry.specs import Noise, Part, Styles, Vector
from torch import Tensor

from ganenc.files import load_arrays
from ganenc.foreign.checkpoint import read_checkpoint
from ganenc.latents import Latents, as_draws, main_part

ARRAYS = (".npy", ".npz")
FILES = (*ARRAYS, ".pt", ".pth")
"""What such files end in."""
STYLES = ("w", "w_plus", "wp")
KEYS = (*STYLES, "latent", "latents", "z")
"""What tools call latents: NVIDIA's projector (``w``), rosinality's (``latent``), and those that keep draws (``z``)."""
_MOST = 1 << 28
"""Bytes that the arrays of a file take at most."""


def read_arrays(path: str | Path) -> dict[str, Tensor]:
    """The floating-point arrays in a file of NumPy's or torch's, float32 by name; one without goes by ``tensor``.
    `LatentsError` or `CheckpointError` if it cannot be read, is far too large, has none, or some are not finite."""
    path = Path(path)
    try:
        if path.suffix.lower() not in ARRAYS:
            found: Mapping[str, Tensor | np.ndarray] = read_checkpoint(path).tensors
        elif path.stat().st_size > _MOST:
            raise ValueError("it is far too large")
        else:
            found = _numpy(path)
        read = {
            name: torch.tensor(one.astype(one.dtype.newbyteorder("="))) if isinstance(one, np.ndarray) else one
            for name, one in found.items()
        }
    except GanencError:
        raise
    except Exception as error:  # NumPy raises many kinds on broken files.
        raise LatentsError(f"{path} cannot be read as arrays of numbers: {str(error).rstrip('.')}.") from None
    arrays = {name: one.float() for name, one in read.items() if one.is_floating_point() and one.ndim and one.numel()}
    bad = [name for name, one in arrays.items() if not one.isfinite().all()]
    if bad or not arrays:
        raise LatentsError(
            f"{path} holds no floating-point numbers{' that are all finite' if bad else ''}; take another file."
        )
    return arrays


def _numpy(path: Path) -> dict[str, np.ndarray]:
    found = load_arrays(path)
    if isinstance(found, np.ndarray):
        return {"tensor": found}
    with found:
        if sum(entry.file_size for entry in found.zip.infolist()) > _MOST:
            raise ValueError("it unpacks to far too much")
        return {name: found[name] for name in found.files}


def are_latents(path: str | Path, layout: Sequence[Part], *, image: tuple[int, ...] = ()) -> bool:
    """Whether a file holds latents of a layout, if any: not one array (``.npy``, ``.npz``) whose last axis is of
    another length, as that of pixels is, or of the shape of an ``image`` (C, H, W). What cannot be read may be
    either."""
    if Path(path).suffix.lower() not in (".npy", ".npz"):
        return True
    main = main_part(layout)
    with suppress(Exception):  # NumPy raises many kinds.
        (array,) = _numpy(Path(path)).values()
        shape = array.shape
        if shape in (image, (*image[1:], *image[:1])):
            return False
        return shape[-1:] in ((main.dim,), (main.dim * getattr(main, "layers", 1),))
    return True


def read_latents(path: str | Path, layout: Sequence[Part], *, space: str | None = None) -> Latents:
    """Latents for a generator's layout from another tool's file: ``.npy``, ``.npz``, ``.pt`` or ``.pth``.

    Styles are (dim,), one style for all layers, (layers, dim), (N, layers, dim), (N, 1, dim), (N, dim), or flat
    (layers * dim,); vectors (dim,) or (N, dim). In a file of several arrays they go by one of `KEYS`, also in a mapping
    for each image, where rosinality's ``noise`` beside them is taken, too; or by the names of the layout's parts, as
    `Latents.save` writes them. Whose they are no such file says.

    Args:
        path: the file.
        layout: the generator's.
        space: ``z`` for draws of the prior of a generator with styles, which come as `as_draws` gives them; by default
            what an array called ``z`` is.

    Raises:
        LatentsError: if the file cannot be read, or nothing in it, or more than one thing, fits the layout.
    """
    arrays, main, found = read_arrays(path), main_part(layout), []
    if main.name in arrays and set(arrays) <= {name for part in layout for name in _names(part)} and len(arrays) > 1:
        return Latents(layout, {**arrays, main.name: _fitted(path, arrays[main.name], main)})
    named = [name for name in arrays if name.rpartition(".")[2] in (*KEYS, main.name)]
    named = [*arrays] if len(arrays) == 1 else named
    kinds = {name.rpartition(".")[2] for name in named}
    if len(kinds) != 1 or (len(named) > 1 and any("." not in name for name in named)):
        held = ", ".join(sorted(arrays)[:8])
        raise LatentsError(
            f"{path} holds {held}: call the latents alone w, z or latent, or leave them alone in the file."
        )
    if isinstance(main, Vector) and kinds <= {*STYLES} - {main.name}:
        raise LatentsError(f"{path} holds styles, and this generator has none: it takes {main.name} ({main.dim},).")
    draws = isinstance(main, Styles) and (space == "z" if space else kinds == {"z"})
    for name in named:
        if draws:
            found.append(as_draws(arrays[name].reshape(-1, arrays[name].shape[-1])))
            continue
        styles = _fitted(path, arrays[name], main)
        tied = isinstance(main, Styles) and bool((styles == styles[:, :1]).all())
        maps = _noise(arrays, name.removesuffix("latent"), layout, len(styles))
        found.append(Latents(layout, {main.name: styles, **maps}, space="w" if tied else None))
    return Latents.cat(found)


def _names(part: Part) -> list[str]:
    return [f"{part.name}.{place}" for place in range(len(part.shapes))] if isinstance(part, Noise) else [part.name]


def _fitted(path: str | Path, array: Tensor, part: Styles | Vector) -> Tensor:
    """An array as the tensor of a part, (N, *shape)."""
    shape = tuple(array.shape)
    if isinstance(part, Vector):
        if array.shape[-1] == part.dim and array.ndim <= 2:
            return array.reshape(-1, part.dim)
        wanted = f"({part.dim},) or (N, {part.dim})"
    else:
        if array.ndim in (1, 2) and array.shape[-1] == part.layers * part.dim:
            array = array.reshape(-1, part.layers, part.dim)
        if array.ndim == 2 and len(array) != part.layers:
            array = array[:, None]
        array = array[None] if array.ndim == 2 else array[None, None] if array.ndim == 1 else array
        if array.ndim == 3 and array.shape[2] == part.dim and array.shape[1] in (1, part.layers):
            return array.expand(-1, part.layers, -1).contiguous()
        wanted = f"({part.dim},), ({part.layers}, {part.dim}) or (N, {part.layers}, {part.dim})"
    raise LatentsError(f"{path} holds an array {shape}; the latents {part.name!r} are {wanted}.")


def _noise(arrays: Mapping[str, Tensor], prefix: str, layout: Sequence[Part], count: int) -> dict[str, Tensor]:
    """The maps that lie beside latents, where they are the layout's."""
    for part in layout:
        if isinstance(part, Noise):
            maps = {name: arrays.get(f"{prefix}noise.{place}") for place, name in enumerate(_names(part))}
            wanted = [(count, *shape) for shape in part.shapes]
            whole = f"{prefix}noise.{len(maps)}" not in arrays
            if whole and [None if one is None else tuple(one.shape) for one in maps.values()] == wanted:
                return {name: one for name, one in maps.items() if one is not None}
    return {}
