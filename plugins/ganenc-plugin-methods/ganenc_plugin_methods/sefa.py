"""SeFa (Shen and Zhou, 2021, "Closed-Form Factorization of Latent Semantics in GANs"): directions from the weights."""

from __future__ import annotations

from typing import Annotated

import torch
from ganenc.editing import Direction, Finder, Search
from ganenc.latents import main_part
from ganenc.models import model_hash
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Spec, Styles
from pydantic import Field

__all__ = ["SeFa"]


class SeFa(Finder):
    """The ways that change most what the first layers give: the eigenvectors of A^T A, with the largest values first
    (Equation 4), where A are the weights that read the styles, or the vector, one below the other."""

    class Options(Spec):
        """What users can choose."""

        components: int | None = Field(None, ge=1, description="how many; by default 10, or as many as there are")
        layers: list[Annotated[int, Field(ge=0)]] | None = Field(
            None, description="the layers of styles whose weights are taken, and which are moved; all by default"
        )
        normalise: bool = Field(
            False, description="whether each row of A is scaled to length 1, as in the published code"
        )

    def find(self, search: Search) -> list[Direction]:
        """`sefa-0` and so on; what each explains is its share of the sum of all eigenvalues."""
        generator, layers = search.generator, self.options.layers
        part = main_part(generator.spec.layout)
        styled = isinstance(part, Styles)
        if layers is not None and not styled:
            raise LatentsError(f"{generator.spec.family} has no styles, so it has no layers to choose; leave them out.")
        taken = [one for one in generator.readings() if one.part == part.name]
        taken = [one for one in taken if layers is None or one.layer in layers]
        if not taken:
            which = "" if layers is None else f" on the layers {layers}"
            raise LatentsError(
                f"{generator.spec.family} has no layer that is known to read {part.name!r}{which}; its generator may"
                " say which do, by `readings`."
            )
        weights = torch.cat([one.matrix for one in taken])
        if self.options.normalise:
            weights = torch.nn.functional.normalize(weights)
        values, vectors = torch.linalg.eigh(weights.T @ weights)
        count = self.options.components or min(10, part.dim)
        if count > part.dim:
            raise LatentsError(f"There are {part.dim} directions in {part.name!r}, not {count}.")
        drawn = generator.sample(search.n, seed=search.seed, labels=search.labels)
        digest, found = model_hash(generator), []
        for place in range(count):
            way = vectors[:, -1 - place]
            way = way * way[way.abs().argmax()].sign()  # As a sign of its own it has not.
            share = round(float(values[-1 - place] / values.sum()), 4)
            one = Direction(
                f"sefa-{place}", [part], {part.name: way[None] if styled else way}, space="w" if styled else "z",
                layers=layers, model=digest, info={"found": "by SeFa", "variance": share},
            )  # fmt: skip
            found.append(one.measured(drawn))
        return found
