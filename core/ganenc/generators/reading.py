"""What reads the latents inside a generator: the affine layers that turn them into styles and first features. Not in
paper."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from ganenc_registry.specs import Styles, Vector
from torch import Tensor, nn

from ganenc.generators.contract import evaluating

_PARALLEL = 1 - 1e-5
_AFFINE = 1e-3


@dataclass(frozen=True)
class Reading:
    """What one affine layer, A x + b, reads of a vector x (dim,) among the latents; where a generator normalises it
    first, of the normalised one."""

    module: str
    """The name of the layer among the generator's modules."""
    part: str
    """The styles, or the vector, that it reads."""
    layer: int | None
    """Which layer of styles; None of a vector."""
    matrix: Tensor = field(repr=False)
    """A (outputs, dim), float64 on the CPU; what it gives in several axes is flat."""


@torch.no_grad()
def find_readings(generator: Any) -> list[Reading]:
    """See `Generator.readings`."""
    apart = torch.Generator().manual_seed(1)  # No two layers of styles are alike, so that each is known by its values.
    drawn = generator.sample(2, seed=1)
    parts = [part for part in generator.spec.layout if isinstance(part, Styles | Vector)]
    vectors = {part.name: torch.randn(2, *part.shape, generator=apart).to(drawn[part.name]) for part in parts}
    given: dict[str, Tensor] = {}

    def hook(name: str, module: nn.Module, taken: tuple[Any, ...]) -> None:
        if len(taken) == 1 and isinstance(taken[0], Tensor) and len(taken[0]) == 2:
            given.setdefault(name, taken[0])

    modules = {name: module for name, module in generator.named_modules() if name}
    found = []
    with evaluating(generator):
        with ExitStack() as hooks:
            for name, module in modules.items():
                hooks.callback(module.register_forward_pre_hook(functools.partial(hook, name)).remove)
            generator.synthesize(drawn.replace(**vectors))
        most = sum(one[0].numel() for one in drawn.tensors.values())
        for name, one in given.items():
            for part in parts if one[0].numel() <= most else ():
                layers = vectors[part.name].unbind(1) if isinstance(part, Styles) else [vectors[part.name]]
                for layer, vector in enumerate(layers):
                    matrix = _matrix(modules[name], one, vector.to(one))
                    if matrix is not None:
                        found.append(Reading(name, part.name, layer if isinstance(part, Styles) else None, matrix))
    names = {one.module for one in found}
    return [one for one in found if not any(name.startswith(f"{one.module}.") for name in names)]


def _matrix(module: nn.Module, given: Tensor, vector: Tensor) -> Tensor | None:
    """A of a module, (outputs, dim), by what it reads of a vector (2, dim) in what it was given (2, ...); None if it
    reads nothing of it, or is not affine there."""
    flat = given.flatten(1)
    places, columns = _places(flat, vector)
    if not len(places):
        return None
    size = given.shape[1:]
    basis = torch.zeros(len(places), flat.shape[1]).to(flat)
    basis[torch.arange(len(places)), places] = 1
    without = flat.clone()
    without[:, places] = 0
    made = [module(rows.reshape(-1, *size)) for rows in (basis, torch.zeros_like(flat), flat, without)]
    if not all(isinstance(one, Tensor) for one in made):
        return None
    unit, zero, whole, rest = (one.flatten(1).double().cpu() for one in made)
    slopes, change = unit - zero[:1], whole - rest
    if (flat[:, places].double().cpu() @ slopes - change).norm() > _AFFINE * change.norm():
        return None
    return torch.zeros(vector.shape[1], slopes.shape[1], dtype=torch.float64).index_copy(0, columns.cpu(), slopes).T


def _places(flat: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Where numbers (2, K) hold those of a vector (2, dim), and which: alike, or as a whole and scaled by a norm."""
    if bool(torch.isin(flat[0], vector[0]).any()):
        alike = (flat[:, :, None] == vector[:, None]).all(0).nonzero()
        return alike[:, 0], alike[:, 1]
    dim = vector.shape[1]
    if flat.shape[1] >= dim > 1:
        along = torch.cosine_similarity(flat.unfold(1, dim, 1), vector[:, None], dim=2).amin(0)
        if float(along.amax()) > _PARALLEL:
            whole = torch.arange(dim, device=flat.device)
            return int(along.argmax()) + whole, whole
    none = torch.empty(0, dtype=torch.int64)
    return none, none
