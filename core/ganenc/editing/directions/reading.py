"""Directions that other tools wrote: InterFaceGAN's boundaries, ways in W+, and GANSpace's components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Styles, Vector
from torch import Tensor

from ganenc.editing.directions.direction import Direction
from ganenc.foreign import read_arrays
from ganenc.generators import Generator
from ganenc.latents import as_draws
from ganenc.models import model_hash

COMPONENTS = ("lat_comp", "comp")
"""What GANSpace, and tools that took over its files, call the ways (components, 1, dim)."""


def read_directions(
    path: str | Path,
    generator: Generator,
    *,
    space: str | None = None,
    name: str | None = None,
    places: Sequence[int] | None = None,
    n: int = 4096,
) -> list[Direction]:
    """Read the directions in a file (``.npy``, ``.npz``, ``.pt`` or ``.pth``): an array (dim,) or (1, dim), as
    InterFaceGAN writes it; in W+ (layers, dim), (1, layers, dim) or flat (layers * dim,); or GANSpace's components. A
    way in W+ of another number of layers L is stretched: layer k of M takes its layer round((L - 1) k / (M - 1)).

    Such files say neither their space nor their model: that they are this generator's is taken on trust. Their scale is
    measured on ``n`` draws.

    Args:
        path: the file.
        generator: whose directions they are.
        space: ``z``, ``w`` or ``w+``. By default what the length allows; where it allows z and w, what the file's name
            says, as InterFaceGAN's and GANSpace's do (``age_w_boundary.npy``, or a folder that ends in ``_w``); w for
            files that are not called a boundary, which InterFaceGAN has in both.
        name: by default the file's, without ``boundary``; of components, with their number.
        places: the components to read, counted from 0; all by default.

    Raises:
        LatentsError: if the file cannot be read, holds something else, fits no space of the generator's, or fits two
            and says not which.
    """
    path, arrays = Path(path), read_arrays(path)
    styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
    components = next((key for key in COMPONENTS if key in arrays), None)
    if components is None and len(arrays) != 1:
        raise LatentsError(f"{path} holds {', '.join(sorted(arrays)[:8])}; leave the direction alone in the file.")
    ways = next(iter(arrays.values()))[None] if components is None else arrays[components]
    sizes = {"z": (1, generator.spec.prior.dim)}
    if styles:
        sizes |= {"w": (1, styles[0].dim), "w+": (styles[0].layers, styles[0].dim)}
        ways = _stretched(ways, styles[0])
    chosen = _space(path, ways, sizes, space, generator.spec.family)
    latents = as_draws(generator.draw(n)) if styles and chosen == "z" else generator.sample(n)
    part = styles[0] if chosen != "z" else next(one for one in latents.layout if isinstance(one, Vector))
    words = name or path.stem.replace("boundary", "").strip("_-") or path.stem
    found = []
    for place in range(len(ways)) if places is None else places:
        if not 0 <= place < len(ways):
            raise LatentsError(f"{path} holds the directions 0 to {len(ways) - 1}, not {place}.")
        info: dict[str, Any] = {"found": "read from a file", "file": path.name, "samples": n}
        if components and len(arrays.get("var_ratio", ())) == len(ways):
            info["variance"] = round(float(arrays["var_ratio"][place]), 4)
        shape = part.shape if chosen == "z" else sizes[chosen]
        one = Direction(
            f"{words}-{place}" if components else words, [part], {part.name: ways[place].reshape(shape)}, space=chosen,
            model=model_hash(generator), info=info,
        )  # fmt: skip
        found.append(one.measured(latents))
    return found


def _stretched(ways: Tensor, part: Styles) -> Tensor:
    """Ways in W+ (N, L, dim) or (N, 1, L, dim), L > 1, with as many layers as a part has; others as they are."""
    layers = ways.shape[-2] if ways.shape[-1] == part.dim and (ways.ndim == 3 or ways.shape[1:-2] == (1,)) else 1
    if layers in (1, part.layers):
        return ways
    taken = [math.floor((layers - 1) * k / max(part.layers - 1, 1) + 0.5) for k in range(part.layers)]
    return ways[..., taken, :]


def _space(path: Path, ways: Tensor, sizes: dict[str, tuple[int, int]], asked: str | None, family: str) -> str:
    if asked is not None and asked not in sizes:
        raise LatentsError(f"A direction of {family} is in {' or '.join(sizes)}, not in {asked!r}.")
    shape = tuple(ways.shape[1:])
    held = [
        space
        for space, (layers, dim) in sizes.items()
        if shape in ((layers * dim,), (1, layers * dim), (layers, dim), (1, layers, dim)) and asked in (None, space)
    ]
    if not held:
        has = " and ".join(
            f"{dim if layers == 1 else f'{layers}x{dim}'} in {space}" for space, (layers, dim) in sizes.items()
        )
        raise LatentsError(
            f"The direction {path} has the shape {shape}; {family} has {has}. It belongs to another model"
            f"{'' if asked is None else ', or lies in another space than ' + asked}."
        )
    said = [space for space in held if _says(path, space)]
    if not said and set(held) == {"z", "w"} and "boundary" not in path.stem.lower():
        said = ["w"]
    if len(held) > 1 and len(said) != 1:
        raise LatentsError(
            f"The direction {path} has {ways[0].numel()} numbers, which fits {' and '.join(held)} of {family}; say its"
            " space."
        )
    return said[0] if len(held) > 1 else held[0]


def _says(path: Path, space: str) -> bool:
    """Whether the name of a file, or of its folder, says that it lies in a space."""
    names = (path.stem.lower().removesuffix("_boundary"), path.absolute().parent.name.lower())
    return any(name.endswith(f"_{space}") for name in names)
