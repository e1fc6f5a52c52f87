"""Latents: the named tensors of a layout."""

from __future__ import annotations

import io
import itertools
import json
import math
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from ganenc_registry.errors import LatentsError, nearest
from ganenc_registry.plain_data import parse_json
from ganenc_registry.specs import Layout, Noise, Part, Styles, Vector
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from ganenc.files import MARK, as_tensor, load_tensors, save_tensors, write_bytes
from ganenc.latents.rows import read_rows

_LAYOUT: TypeAdapter[Layout] = TypeAdapter(Layout)
SPACES = ("z", "w", "w+")
FORM = "ganenc-latents"


class Latents:
    """What a generator's ``synthesize`` takes: for each part of its layout a tensor whose first axis is the sample.

    A part may be left out: the generator then takes its own value (its constant, its noise, its default setting). What
    is saved is loaded to the bit; images of it are the same to rounding (see ``Generator.synthesize``). `LatentsError`
    if a name is not in the layout or a shape does not fit.

    ``tensors`` holds one for each part of ``layout`` that is given: styles (N, layers, dim), vectors and conditions
    (N, dim), maps (N, channels, height, width), settings (N,); the i-th map of a noise part ``noise`` goes by
    ``noise.i``. ``space`` is ``z``, ``w`` or ``w+``, by default ``w+`` where there are styles, otherwise ``z``. Where a
    file tells, ``model`` is the hash of the model that they belong to (see ``ganenc.model_hash``), and ``info`` what
    else it says of them, as plain data, such as ``transform``, where in its photo the image lies, and ``tuning``, which
    weights they go with (see ``ganenc.inversion``). It goes along when they are moved, picked from or edited.
    """

    def __init__(
        self,
        layout: Sequence[Part],
        tensors: Mapping[str, Tensor],
        *,
        space: str | None = None,
        model: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.layout: Layout = tuple(layout)
        self.model = model
        self.info: dict[str, Any] = dict(info or {})
        self.tensors = {name: as_tensor(one, f"the part {name!r}", LatentsError) for name, one in tensors.items()}
        shapes = _shapes(self.layout)
        for name, tensor in self.tensors.items():
            if name not in shapes:
                raise LatentsError(f"The layout has no part {name!r}{nearest(name, shapes)}; it has {sorted(shapes)}.")
            if tuple(tensor.shape[1:]) != shapes[name] or tensor.ndim == 0:
                wanted = ("N", *shapes[name])
                raise LatentsError(f"Part {name!r} has shape {tuple(tensor.shape)}; the layout wants {wanted}.")
        counts = {name: tensor.shape[0] for name, tensor in self.tensors.items()}
        if any(count != other for count, other in itertools.pairwise(counts.values())):
            raise LatentsError(f"The parts hold different numbers of samples: {counts}.")
        self.space = space or ("w+" if any(isinstance(part, Styles) for part in self.layout) else "z")
        if self.space not in SPACES:
            raise LatentsError(f"There is no latent space {space!r}; it is one of {', '.join(SPACES)}.")

    def __len__(self) -> int:
        """The number of samples."""
        return len(next(iter(self.tensors.values()))) if self.tensors else 0

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[Latents]:
        """One sample after another, each as latents of one sample."""
        return (self.select(slice(i, i + 1)) for i in range(len(self)))

    @overload
    def __getitem__(self, key: str) -> Tensor: ...

    @overload
    def __getitem__(self, key: int | slice | Tensor | Sequence[int]) -> Latents: ...

    def __getitem__(self, key: str | int | slice | Tensor | Sequence[int]) -> Tensor | Latents:
        """By a name, the tensor of a part; by a number, a slice or several numbers, these samples as latents.
        `LatentsError` if there is no such part or sample."""
        if not isinstance(key, str):
            return self.select(key)
        try:
            return self.tensors[key]
        except KeyError:
            known = sorted(self.tensors)
            raise LatentsError(f"These latents hold no {key!r}{nearest(key, known)}; they hold {known}.") from None

    def __repr__(self) -> str:
        parts = ", ".join(f"{name}={tuple(tensor.shape)}" for name, tensor in self.tensors.items())
        return f"Latents({parts}, space={self.space!r})"

    def noise(self) -> list[Tensor] | None:
        """The noise maps (N, \\*shape), layer by layer, or None where they are left out."""
        for part in self.layout:
            if isinstance(part, Noise):
                maps = [self.tensors.get(f"{part.name}.{i}") for i in range(len(part.shapes))]
                given = [one for one in maps if one is not None]
                if given and len(given) < len(maps):
                    raise LatentsError(f"Only {len(given)} of the {len(maps)} noise maps are given; give all or none.")
                return given or None
        return None

    def select(self, index: int | slice | Tensor | Sequence[int]) -> Latents:
        """The samples that ``index`` picks, as latents; `LatentsError` if there is no such sample."""
        if isinstance(index, Latents):  # Torch would take it for a nest of endless depth.
            raise LatentsError("Samples are picked by numbers, not by latents; a part by its name, as in latents['w'].")
        try:
            picked = [index] if isinstance(index, int) else index
            return self._like({name: tensor[picked] for name, tensor in self.tensors.items()})
        except IndexError:
            raise LatentsError(f"These latents hold {len(self)} samples; {index} asks for another one.") from None

    def only(self, *names: str) -> Latents:
        """The same latents with these parts alone."""
        return self._like({name: self[name] for name in names})

    def replace(self, **tensors: Tensor) -> Latents:
        """The same latents with some parts given anew (or for the first time)."""
        return self._like({**self.tensors, **tensors})

    def to(self, *args: Any, **kwargs: Any) -> Latents:
        """Moved or cast, as ``Tensor.to`` does it."""
        return self._like({name: tensor.to(*args, **kwargs) for name, tensor in self.tensors.items()})

    def detach(self) -> Latents:
        """The same values, cut from the graph."""
        return self._like({name: tensor.detach() for name, tensor in self.tensors.items()})

    def clone(self) -> Latents:
        """A copy that shares no memory."""
        return self._like({name: tensor.clone() for name, tensor in self.tensors.items()})

    def expand(self, n: int) -> Latents:
        """One sample, seen as n samples; `LatentsError` if there is more than one."""
        if len(self) > 1:
            raise LatentsError(f"These latents hold {len(self)} samples; only one can be seen as {n}.")
        return self._like({name: tensor.expand(n, *tensor.shape[1:]) for name, tensor in self.tensors.items()})

    def tie(self) -> Latents:
        """Project W+ to W: every layer takes the mean over the layers."""
        styles = {part.name for part in self.layout if isinstance(part, Styles)}
        tied = {
            name: tensor.mean(1, keepdim=True).expand_as(tensor) if name in styles else tensor
            for name, tensor in self.tensors.items()
        }
        return Latents(self.layout, tied, space="w" if styles else self.space, model=self.model, info=self.info)

    def lerp(self, other: Latents, weight: float | Tensor) -> Latents:
        """Interpolate linearly, part by part: 0 gives these latents, 1 the other ones. `LatentsError` if the two lie in
        different spaces, belong to different models or hold different parts."""
        _check_alike([self, other])
        return self._like({name: torch.lerp(a, other[name], _weight(weight, a)) for name, a in self.tensors.items()})

    @classmethod
    def cat(cls, many: Iterable[Latents]) -> Latents:
        """Stack the samples of latents of one layout and space, with the info that all share; else a `LatentsError`."""
        items = list(many)
        if not items:
            raise LatentsError("There are no latents to stack.")
        _check_alike(items)
        stacked = items[0]._like({name: torch.cat([item[name] for item in items]) for name in items[0].tensors})
        shared = {key: value for key, value in stacked.info.items() if all(i.info.get(key) == value for i in items)}
        stacked.info = shared
        return stacked

    def save(self, path: str | Path, *, model: str = "") -> None:
        """Write a safetensors file atomically, with layout, space and the model's hash (by default, the known one); for
        other tools an array of the styles or else the vector (``.npy``), or of all parts by name (``.npz``).
        `LatentsError` if these would lose the tuned weights that latents go with."""
        kind, buffer = Path(path).suffix.lower(), io.BytesIO()
        if kind in (".npy", ".npz"):
            if "tuning" in self.info:
                raise LatentsError(
                    f"{path} cannot hold the tuned weights that these latents go with, without which they make another"
                    " image; invert by another method, as --for rebuild does."
                )
            arrays: dict[str, Any] = {name: one.detach().cpu().float().numpy() for name, one in self.tensors.items()}
            if kind == ".npz":
                np.savez(buffer, **arrays)
                with zipfile.ZipFile(buffer, "a") as archive:
                    archive.comment = MARK.encode()
            else:
                np.save(buffer, arrays[main_part(self.layout).name])
                buffer.write(MARK.encode())  # Which readers of arrays pass over.
            write_bytes(path, buffer.getvalue())
            return
        metadata = {"layout": layout_json(self.layout), "space": self.space, "model": model or self.model}
        if self.info:
            metadata["info"] = json.dumps(self.info)
        save_tensors(path, self.tensors, {"format": FORM, **metadata})

    @classmethod
    def load(cls, path: str | Path, *, model: str = "", device: str | torch.device = "cpu") -> Latents:
        """Read latents from a file that ``save`` wrote. `LatentsError` if it is not there, is no latents file, is
        not finite, or belongs to another model than the hash ``model``, where given."""
        metadata, tensors = load_tensors(path, "latents", form=FORM, error=LatentsError, device=device)
        _check_model(metadata, path, model)
        _check_finite(tensors, path)
        layout = read_layout(metadata, path)
        return cls(
            layout, tensors, space=metadata.get("space"), model=metadata.get("model", ""), info=_info(metadata, path)
        )

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        keys: Sequence[str] | None = None,
        model: str = "",
        device: str | torch.device = "cpu",
    ) -> Latents:
        """Latents of a shard that was inverted: of its photos in their order but those that failed, or of those of some
        ``keys``. `LatentsError` as `load`, or if a key is not there or failed; a `GanencError` without pyarrow."""
        metadata, parts = read_rows(path, keys)
        layout = read_layout(metadata, path)
        if metadata.get("format") != FORM:
            raise LatentsError(f"{path} holds no latents of ganenc; give a file that `ganenc invert` left of a shard.")
        _check_model(metadata, path, model)
        shapes = _shapes(layout)
        lost = [name for name, values in parts.items() if values.shape[1] != math.prod(shapes.get(name, (0,)))]
        if lost:
            raise LatentsError(f"In {path} the part {lost[0]!r} is not what the layout says; the file is damaged.")
        tensors = {name: torch.from_numpy(one).reshape(-1, *shapes[name]).to(device) for name, one in parts.items()}
        _check_finite(tensors, path)
        return cls(layout, tensors, model=metadata.get("model", ""))

    def _like(self, tensors: Mapping[str, Tensor]) -> Latents:
        return Latents(self.layout, tensors, space=self.space, model=self.model, info=self.info)


def main_part(layout: Sequence[Part]) -> Styles | Vector:
    """The part that other tools mean by latents: the styles, else the vector; a `LatentsError` if there are none."""
    for kind in (Styles, Vector):
        for part in layout:
            if isinstance(part, kind):
                return part
    raise LatentsError("A layout without styles and vectors has no latents that other tools would know.")


def as_draws(z: Tensor) -> Latents:
    """Draws of a prior z (N, dim) as latents of the space ``z``, whatever the generator's layout."""
    return Latents((Vector(name="z", dim=z.shape[1]),), {"z": z}, space="z")


def layout_json(layout: Sequence[Part]) -> str:
    """Parts of a layout as files keep them."""
    return json.dumps([part.model_dump(mode="json") for part in layout])


def read_layout(metadata: Mapping[str, str], path: str | Path) -> Layout:
    """The layout in a file's metadata; `LatentsError` if it is damaged."""
    try:
        return _LAYOUT.validate_json(metadata.get("layout", ""))
    except ValidationError:
        raise LatentsError(f"The layout in {path} cannot be read; the file is damaged.") from None


def _info(metadata: Mapping[str, str], path: str | Path) -> dict[str, Any]:
    """What a file says of its latents besides."""
    try:
        info = parse_json(metadata.get("info", "{}"))
    except ValueError:
        info = None
    if not isinstance(info, dict):
        raise LatentsError(f"The info in {path} cannot be read; the file is damaged.")
    return info


def _check_model(metadata: Mapping[str, str], path: str | Path, model: str) -> None:
    if model and metadata.get("model") and metadata["model"] != model:
        raise LatentsError(
            f"The latents {path} belong to the model {metadata['model'][:12]}, not to {model[:12]};"
            " load the model that they were made with."
        )


def _check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise LatentsError(f"In the latents {path} the part {name!r} holds NaN or infinity; make them anew.")


def _shapes(layout: Sequence[Part]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for part in layout:
        if isinstance(part, Noise):
            shapes.update({f"{part.name}.{i}": shape for i, shape in enumerate(part.shapes)})
        else:
            shapes[part.name] = part.shape
    return shapes


def _weight(weight: float | Tensor, like: Tensor) -> Tensor:
    value = torch.as_tensor(weight, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1)) if value.ndim else value


def _check_alike(items: Sequence[Latents]) -> None:
    first = items[0]
    for item in items[1:]:
        if item.info.get("tuning") != first.info.get("tuning"):
            raise LatentsError(
                "Latents that go with differently tuned weights cannot be combined, as no weights give both; invert the"
                " photos by another method, or in Python tune them together."
            )
        if item.space != first.space:
            raise LatentsError(f"Latents of the spaces {first.space!r} and {item.space!r} cannot be combined.")
        if item.model and first.model and item.model != first.model:
            models = f"{first.model[:12]} and {item.model[:12]}"
            raise LatentsError(f"Latents of the models {models} cannot be combined; take latents of one model.")
        if set(item.tensors) != set(first.tensors) or item.layout != first.layout:
            raise LatentsError(f"{first} and {item} have different parts and cannot be combined.")
