"""The latent loss: how far latents are from their reference, part by part (paper, Equations 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from ganenc_registry.errors import LatentsError, nearest
from ganenc_registry.specs import LatentLoss, encoded
from torch import Tensor

from ganenc.latents import Latents
from ganenc.objectives.losses.base import precise
from ganenc.objectives.losses.pixels import cosine_distance


class LatentTerm:
    """The latent loss L_LS times epsilon (Equations 4 to 6).

    For each part, ``mse`` times the mean square difference plus ``cos`` times 1 - cosine of the part flattened to one
    vector, sample by sample (Equation 4 prints the norm unsquared; the mean square is taken). Parts are added with
    their own weights (Equation 5); without ``parts``, all that both sides share, with weight 1 each (of `Latents`, not
    settings and noise maps). The gradient goes to both sides: whoever wants one of them fixed detaches it.
    """

    def __init__(self, options: LatentLoss | None = None) -> None:
        self.options = options or LatentLoss()

    def __call__(
        self, latents: Latents | Mapping[str, Tensor], reference: Latents | Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare tensors (N, ...) by the name of the part: the weighed sum (N,), epsilon included, and the plain terms
        (N,), ``latent/<part>/mse`` and ``latent/<part>/cos``. `LatentsError` if parts or shapes differ."""
        mine, wanted = _named(latents), _named(reference)
        chosen = self.options
        parts = chosen.parts or dict.fromkeys((name for name in wanted if name in mine), 1.0)
        sums: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        for name, weight in parts.items():
            if not weight:
                continue
            a, b = precise(_part(mine, name, "latents")), precise(_part(wanted, name, "reference latents"))
            if a.shape != b.shape:
                raise LatentsError(
                    f"Part {name!r} is {tuple(a.shape)} in the latents and {tuple(b.shape)} in their reference."
                )
            for kind, factor, distance in (("mse", chosen.mse, _mean_square), ("cos", chosen.cos, cosine_distance)):
                if factor:
                    terms[f"latent/{name}/{kind}"] = term = distance(a, b)
                    sums.append(weight * factor * term)
        if not sums:
            raise LatentsError(
                f"The latents hold {sorted(mine)} and their reference {sorted(wanted)}; they share no part."
            )
        return chosen.weight * torch.stack(sums).sum(0), terms


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).mean(1)


def _named(latents: Latents | Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors by part; of `Latents`, those of the parts that an encoder predicts."""
    if not isinstance(latents, Latents):
        return latents
    names = [part.name for part in encoded(latents.layout)]
    return {name: latents.tensors[name] for name in names if name in latents.tensors}


def _part(tensors: Mapping[str, Tensor], name: str, which: str) -> Tensor:
    if name not in tensors:
        raise LatentsError(
            f"The latent loss compares {name!r}, but the {which} hold {sorted(tensors)}{nearest(name, tensors)}."
        )
    return tensors[name]
