"""A direction: which way to move latents, in which space, and of which model. Not in the paper."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.plain_data import parse_json
from ganenc_registry.specs import Map, Noise, Part, Styles, encoded
from torch import Tensor

from ganenc.files import as_tensor, is_plain_name, load_tensors, save_tensors
from ganenc.foreign import FILES
from ganenc.latents import SPACES, Latents, layout_json, read_layout

_STYLED = ("w", "w+")


class Direction:
    """A unit vector in a latent space, with all that is needed to move latents along it. It may be the normal of a
    hyperplane (``intercept``, for tensors of the length given) that parts latents with a trait from those without, as
    InterFaceGAN finds it, or a principal axis, as GANSpace does.

    ``tensors`` hold the way for each of ``parts``, the parts of the layout that it moves: of the part's shape, or (1,
    dim) for styles that all layers share. They are scaled to length 1, all together. ``space`` is ``z``, ``w`` (one way
    for all layers) or ``w+``; ``scale`` the deviation of the model's own latents along it, the length of a step of
    strength 1; ``layers`` those of styles that it moves, counted from 0, all by default; ``model`` the hash of the
    model that it belongs to (see ``ganenc.model_hash``); ``info`` plain data on how it was found. `LatentsError` if the
    tensors do not fit the parts, the space or the layers, or have no length.
    """

    def __init__(
        self,
        name: str,
        parts: Sequence[Part],
        tensors: Mapping[str, Tensor],
        *,
        space: str,
        scale: float = 1.0,
        intercept: float | None = None,
        layers: Iterable[int] | None = None,
        model: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(name, str) or not is_plain_name(name):
            raise LatentsError(f"No direction can be called {name!r}; its name is one that a file can have.")
        self.name, self.parts, self.space, self.model = name, tuple(parts), space, model
        self.info: dict[str, Any] = dict(info or {})
        given = {key: as_tensor(tensor, f"the way of {key!r}", LatentsError) for key, tensor in tensors.items()}
        own = {key: tensor.detach().to("cpu", torch.float32) for key, tensor in given.items()}
        self._check_parts(own)
        length = math.sqrt(sum(float(tensor.double().square().sum()) for tensor in own.values()))
        if not length > 0 or not math.isfinite(length) or not 0 < scale < math.inf:
            raise LatentsError(
                f"The direction {name!r} has the length {length} and the scale {scale}; both are above 0."
            )
        length = 1.0 if abs(length - 1) < 1e-6 else length  # One that was read back stays as it is.
        self.tensors = {key: (tensor.double() / length).float() for key, tensor in own.items()}
        self.scale = float(scale)
        self.intercept = None if intercept is None else float(intercept) / length
        if not math.isfinite(self.intercept or 0.0):
            raise LatentsError(f"The direction {name!r} has the intercept {intercept}; it is a finite number.")
        self.layers = self._check_layers(layers)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}={tuple(tensor.shape)}" for name, tensor in self.tensors.items())
        return f"Direction({self.name!r}, {shapes}, space={self.space!r}, scale={self.scale:.4g})"

    def apply(
        self, latents: Latents, strength: float | Sequence[float] | Tensor = 1.0, *, layers: Iterable[int] | None = None
    ) -> Latents:
        """Latents of N samples, moved along the direction, in ``w+`` unless all layers of latents in ``w`` moved alike;
        parts that it does not name stay as they are.

        ``strength`` is how far, in deviations of the model's latents, one number for all samples or one each (N,);
        ``layers`` stand in place of the direction's own; maps move with layer 0, which begins with them. `LatentsError`
        if the latents are another model's, lie in another space or hold other parts.
        """
        self.check(latents)
        chosen = self.layers if layers is None else self._check_layers(layers)
        steps = as_tensor(strength, "a strength", LatentsError).to(torch.float32) * self.scale
        if not bool(steps.isfinite().all()):
            raise LatentsError(f"How far {self.name!r} is followed is a finite number, not {strength}.")
        if steps.ndim > 1 or steps.numel() not in (1, len(latents)):
            raise LatentsError(
                f"{steps.numel()} strengths are given for {len(latents)} samples; give one, or one each."
            )
        moved = {}
        for part in self.parts:
            old = latents[part.name]
            way = self.tensors[part.name].to(old)
            if chosen is not None and isinstance(part, Styles):
                kept = torch.zeros(part.layers, 1, dtype=old.dtype, device=old.device)
                way = way * kept.index_fill(0, torch.tensor(chosen, device=old.device), 1.0)
            elif chosen is not None and isinstance(part, Map) and 0 not in chosen:
                continue
            moved[part.name] = old + steps.to(old).reshape(-1, *[1] * (old.ndim - 1)) * way
        tied = latents.space == self.space and chosen is None
        space = latents.space if tied or latents.space == "z" else "w+"
        known: dict[str, Any] = {"model": latents.model or self.model, "info": latents.info}
        return Latents(latents.layout, {**latents.tensors, **moved}, space=space, **known)

    def position(self, latents: Latents) -> Tensor:
        """Where latents stand along the direction (N,), in deviations from its hyperplane; from 0 where it has none.
        `LatentsError` as `apply` does."""
        self.check(latents)
        found = torch.zeros(len(latents))
        for part in self.parts:
            tensor, way = latents[part.name], self.tensors[part.name]
            if isinstance(part, Styles) and len(way) == 1:
                tensor = tensor.mean(1, keepdim=True)
            found = found.to(tensor) + (tensor * way.to(tensor)).flatten(1).sum(1)
        return (found + (self.intercept or 0.0)) / self.scale

    def check(self, latents: Latents) -> None:
        """Refuse latents that are another model's, lie in another space or hold other parts; `LatentsError` if they do,
        with both models or spaces."""
        if self.model and latents.model and self.model != latents.model:
            raise self._of_another(f"these latents to the model {latents.model[:12]}")
        if latents.space != self.space and not {latents.space, self.space} <= set(_STYLED):
            raise LatentsError(
                f"The direction {self.name!r} lies in the space {self.space!r}, these latents in {latents.space!r};"
                " take a direction that was found in their space."
            )
        for part in self.parts:
            if part not in latents.layout or part.name not in latents:
                size = "" if isinstance(part, Noise) else f" {part.shape}"
                raise LatentsError(
                    f"The direction {self.name!r} moves {part.name!r}{size}, which {latents} have not; the two are"
                    " different models'."
                )

    def orthogonal_to(self, *others: Direction) -> Direction:
        """The direction without what others have of it: moving along it leaves their traits (conditional manipulation,
        section 3.2 of InterFaceGAN: n1 - (n1.n2) n2, for several the part that is orthogonal to all). Its intercept
        goes, as the hyperplane is another; `measured` takes the scale anew. `LatentsError` if others lie in another
        space, belong to another model, or leave nothing of it."""
        for other in others:
            if self.model and other.model and other.model != self.model:
                raise self._of_another(f"the direction {other.name!r} to the model {other.model[:12]}")
            if other.space != self.space or other.parts != self.parts:
                raise LatentsError(
                    f"The direction {self.name!r} lies in {self.space!r} and {other.name!r} in {other.space!r}, or they"
                    " move different parts; orthogonal are directions of one space."
                )
        left = self._flat()
        if others:
            basis, _ = torch.linalg.qr(torch.stack([other._flat() for other in others], 1))
            left = left - basis @ (basis.T @ left)
        if float(left.norm()) < 1e-4:
            names = ", ".join(repr(other.name) for other in others)
            raise LatentsError(f"Nothing is left of the direction {self.name!r} beside {names}; leave some out.")
        sizes = [tensor.numel() for tensor in self.tensors.values()]
        shaped = zip(self.tensors.items(), left.split(sizes))
        tensors = {name: flat.reshape(tensor.shape) for (name, tensor), flat in shaped}
        return self._changed(tensors=tensors, intercept=None, orthogonal_to=[other.name for other in others])

    def measured(self, latents: Latents) -> Direction:
        """The same direction, its scale taken anew as the deviation of these latents along it; `LatentsError` as
        `apply` does, or if there are fewer than two latents, or they do not differ along it."""
        along = self.position(latents) * self.scale
        return self._changed(scale=float(along.double().std()) if len(along) > 1 else 0.0)

    def on_layers(self, layers: Iterable[int] | None) -> Direction:
        """The same direction for these layers of styles alone, or for all (None); `LatentsError` if there are no such
        layers."""
        return self._changed(layers=layers)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file with the tensors and all else that the direction knows, atomically."""
        facts = {"name": self.name, "scale": self.scale, "intercept": self.intercept, "layers": self.layers}
        metadata = {"layout": layout_json(self.parts), "space": self.space, "model": self.model}
        written = {"facts": json.dumps(facts), "info": json.dumps(self.info)}
        save_tensors(path, self.tensors, {"format": "ganenc-direction", **metadata, **written})

    @classmethod
    def load(cls, path: str | Path, *, model: str = "") -> Direction:
        """Read a direction from a file that ``save`` wrote, which belongs to ``model``, a hash, where that is given;
        `LatentsError` if the file is not there, is no direction's or damaged, or belongs to another model; or is
        another tool's, which says too little by itself: `ganenc.editing.read_directions` takes the generator, too."""
        if Path(path).suffix.lower() in FILES:
            raise LatentsError(f"{path} is another tool's and names no model; read it by `model.direction(path)`.")
        metadata, tensors = load_tensors(path, "direction", form="ganenc-direction", error=LatentsError)
        try:
            facts, info = parse_json(metadata["facts"]), parse_json(metadata["info"])
            known = {name: facts[name] for name in ("scale", "intercept", "layers")}
            known |= {"space": metadata["space"], "model": metadata["model"], "info": info}
            direction = cls(facts["name"], read_layout(metadata, path), tensors, **known)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise LatentsError(f"The direction {path} cannot be read ({reason}); the file is damaged.") from None
        if model and direction.model and direction.model != model:
            raise direction._of_another(f"the one wanted is {model[:12]}")
        return direction

    def _check_parts(self, tensors: Mapping[str, Tensor]) -> None:
        if self.space not in SPACES:
            raise LatentsError(f"There is no latent space {self.space!r}; it is one of {', '.join(SPACES)}.")
        known = {part.name: part for part in encoded(self.parts)}
        if not tensors or tensors.keys() != known.keys() or len(known) != len(self.parts):
            names = [part.name for part in self.parts]
            raise LatentsError(f"The direction {self.name!r} has tensors {sorted(tensors)} for the parts {names}.")
        for name, tensor in tensors.items():
            part = known[name]
            shape = (1, part.dim) if isinstance(part, Styles) and self.space == "w" else part.shape
            if tuple(tensor.shape) != shape:
                raise LatentsError(
                    f"The direction {self.name!r} has {name!r} of shape {tuple(tensor.shape)}; in the space"
                    f" {self.space!r} it is {shape}."
                )
        if (self.space in _STYLED) != any(isinstance(part, Styles) for part in self.parts):
            raise LatentsError(f"The space {self.space!r} does not fit the parts {sorted(tensors)} of {self.name!r}.")

    def _check_layers(self, layers: Iterable[int] | None) -> tuple[int, ...] | None:
        if layers is None:
            return None
        chosen = tuple(sorted({int(layer) for layer in layers}))
        count = max((part.layers for part in self.parts if isinstance(part, Styles)), default=0)
        if not chosen or chosen[0] < 0 or chosen[-1] >= count:
            which = f"of the layers 0 to {count - 1}" if count else "of no layers"
            raise LatentsError(f"The direction {self.name!r} moves styles {which}; not {list(chosen)}.")
        return chosen

    def _changed(self, *, tensors: Mapping[str, Tensor] | None = None, **changes: Any) -> Direction:
        known: dict[str, Any] = {"scale": self.scale, "intercept": self.intercept, "layers": self.layers}
        known |= {name: changes.pop(name) for name in list(changes) if name in known}
        fixed: dict[str, Any] = {"space": self.space, "model": self.model}
        return Direction(
            self.name, self.parts, tensors or self.tensors, info={**self.info, **changes}, **fixed, **known
        )

    def _flat(self) -> Tensor:
        return torch.cat([tensor.flatten() for tensor in self.tensors.values()]).double()

    def _of_another(self, found: str) -> LatentsError:
        return LatentsError(
            f"The direction {self.name!r} belongs to the model {self.model[:12]}, {found}; find it anew for that model."
        )
