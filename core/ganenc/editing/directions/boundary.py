"""The files of InterFaceGAN: ``*_boundary.npy``, the normal of a hyperplane in z or w."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.opening import fixed_path
from ganenc_registry.specs import Part, Styles, Vector

from ganenc.editing.directions.direction import Direction
from ganenc.editing.directions.finding import as_draws
from ganenc.generators import Generator
from ganenc.models import model_hash

__all__ = ["read_boundary"]

_LIMIT = 1 << 20
"""Bytes that such a file has at most."""


def read_boundary(
    path: str | Path, generator: Generator, *, space: str | None = None, name: str | None = None, n: int = 4096
) -> Direction:
    """Read a direction that InterFaceGAN wrote: an array (1, dim) of floats.

    Such a file says neither its space nor its model: that it is this generator's is taken on trust. Its scale is
    measured on ``n`` draws; its name is by default the file's, without ``boundary``.

    Args:
        path: the file.
        generator: whose direction it is.
        space: ``z`` or ``w``. By default what the length allows; where it allows both, what the file's name says, as
            InterFaceGAN's do (``age_w_boundary.npy``, or a folder that ends in ``_w`` or ``_z``).

    Raises:
        LatentsError: if the file cannot be read, holds something else, fits no space of the generator's, or fits two
            and says not which.
    """
    path = Path(path)
    way = torch.from_numpy(_read(path))
    styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
    dims = {"z": generator.spec.prior.dim, **({"w": styles[0].dim} if styles else {})}
    chosen = _space(path, len(way), dims, space, generator.spec.family)
    latents = as_draws(generator.draw(n)) if styles and chosen == "z" else generator.sample(n)
    part: Part = styles[0] if chosen == "w" else next(one for one in latents.layout if isinstance(one, Vector))
    tensors = {part.name: way[None] if chosen == "w" else way}
    words = name or path.stem.replace("boundary", "").strip("_-") or path.stem
    info = {"found": "read from a boundary", "file": path.name, "samples": n}
    return Direction(words, [part], tensors, space=chosen, model=model_hash(generator), info=info).measured(latents)


def _read(path: Path) -> np.ndarray:
    """The normal (dim,), float32. A header that promises more than the file holds is not believed."""
    try:
        if path.stat().st_size > _LIMIT:
            raise ValueError("it is far too large")
        with fixed_path(path) as fixed:
            array = np.load(fixed, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise ValueError("it holds no array of floats")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise LatentsError(f"The boundary {path} cannot be read: {error}.") from None
    if array.ndim not in (1, 2) or array.size != array.shape[-1] or not array.size:
        raise LatentsError(f"The boundary {path} has the shape {array.shape}; it should be (1, dim).")
    way = np.array(array, dtype=np.float32).reshape(-1)
    if not np.isfinite(way).all() or not way.any():
        raise LatentsError(f"The boundary {path} is no direction: its numbers are all zero, or not all finite.")
    return way


def _space(path: Path, length: int, dims: dict[str, int], asked: str | None, family: str) -> str:
    has = " and ".join(f"{dim} in {space}" for space, dim in dims.items())
    if asked is not None and asked not in dims:
        raise LatentsError(f"A boundary of {family} is in {' or '.join(dims)}, not in {asked!r}.")
    fits = [space for space, dim in dims.items() if dim == length and asked in (None, space)]
    if not fits:
        raise LatentsError(
            f"The boundary {path} has {length} numbers; {family} has {has}. It belongs to another model"
            f"{'' if asked is None else ', or lies in another space than ' + asked}."
        )
    said = [space for space in fits if _says(path, space)]
    if len(fits) > 1 and len(said) != 1:
        raise LatentsError(f"The boundary {path} has {length} numbers, which fits z and w of {family}; say its space.")
    return said[0] if len(fits) > 1 else fits[0]


def _says(path: Path, space: str) -> bool:
    """Whether the name of a file, or of its folder, says that it lies in a space."""
    names = (path.stem.lower().removesuffix("_boundary"), path.absolute().parent.name.lower())
    return any(name.endswith(f"_{space}") for name in names)
