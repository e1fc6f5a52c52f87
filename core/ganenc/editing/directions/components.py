"""Directions without labels: principal components of what a generator makes of its prior (GANSpace)."""

from __future__ import annotations

from typing import Any

import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Condition, Part, Spec, Styles, Vector
from pydantic import Field
from torch import Tensor

from ganenc.editing.directions.direction import Direction
from ganenc.editing.directions.finder import Finder, Search
from ganenc.generators import Generator
from ganenc.latents import Latents, main_part
from ganenc.models import model_hash
from ganenc.objectives import pool

BATCH = 32
SIDE = 16
"""Pixels of the longer side that images are made small to."""


class PCAFinder(Finder):
    """Principal components of what the generator makes of its prior (GANSpace): see `find_by_pca`."""

    class Options(Spec):
        """What users can choose."""

        components: int | None = Field(None, ge=1, description="how many; by default 10, or as many as there are")

    def find(self, search: Search) -> list[Direction]:
        """`pca-0` and so on."""
        count = self.options.components or min(10, main_part(search.generator.spec.layout).dim, search.n - 1)
        return find_by_pca(search.generator, count, n=search.n, labels=search.labels, seed=search.seed)


@torch.no_grad()
def find_by_pca(
    generator: Generator, components: int = 10, *, n: int = 4096, labels: Tensor | None = None, seed: int = 0
) -> list[Direction]:
    """The axes along which samples differ most, the first the most (GANSpace, section 3).

    Of a generator with styles they are the principal components of w. Elsewhere the prior has no axes of its own, so
    they are those of what the generator makes of z, carried back to z by linear regression (GANSpace, section 3.2).
    GANSpace looks at the features of a first layer; that of some generators turns all axes alike, so we look at the
    images, made small. Where a class is a condition, each class's mean is taken off before.

    They are named ``pca-0`` and so on; the largest number of each is above 0, as a sign of its own it has not, and its
    ``info`` has the share of the variance that it explains. ``labels`` are the classes of the ``n`` draws int64 (n,),
    where they matter; drawn if left out. `LatentsError` if there are not so many components.
    """
    if labels is None:
        labels = generator.draw_labels(n, seed=seed)
    latents = generator.sample(n, seed=seed, labels=labels)
    styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
    part: Part = styles[0] if styles else _vector(generator)
    rows = latents[part.name].cpu().double()
    rows = rows.mean(1) if styles else rows
    features = rows if styles else _pictures(generator, latents)
    if any(isinstance(one, Condition) for one in generator.spec.layout) and labels is not None:
        features = _within_classes(features, labels.cpu())
    most = min(rows.shape[1], features.shape[1], n - 1)
    if not 1 <= components <= most:
        raise LatentsError(f"{n} draws of {part.name!r} have 1 to {most} principal components, not {components}.")
    axes, shares = _principal(features, components, seed)
    if not styles:
        axes = torch.linalg.lstsq((features - features.mean(0)) @ axes.T, rows - rows.mean(0)).solution
    digest, found = model_hash(generator), []
    for index, (axis, share) in enumerate(zip(axes, shares.tolist())):
        way = axis * axis[axis.abs().argmax()].sign()
        facts: dict[str, Any] = {"found": "by principal components", "samples": n, "variance": round(share, 4)}
        direction = Direction(
            f"pca-{index}",
            [part],
            {part.name: way[None] if styles else way},
            space="w" if styles else "z",
            intercept=-float(rows.mean(0) @ way),
            model=digest,
            info=facts,
        )
        found.append(direction.measured(latents))
    return found


def _vector(generator: Generator) -> Vector:
    for part in generator.spec.layout:
        if isinstance(part, Vector):
            return part
    raise LatentsError(f"{generator.spec.family} has neither styles nor a vector, so there are no directions to find.")


def _principal(data: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """The first principal axes of data (N, F) as rows (count, F), and the shares of the variance along each."""
    from sklearn.decomposition import PCA

    fitted: Any = PCA(count, random_state=seed).fit(data.numpy())
    return torch.from_numpy(fitted.components_), torch.from_numpy(fitted.explained_variance_ratio_)


def _within_classes(data: Tensor, labels: Tensor) -> Tensor:
    """Rows (N, F) without the mean of their class; labels int64 (N,), or rows (N, classes) whose largest counts."""
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    sums = torch.zeros(int(classes.max()) + 1, data.shape[1], dtype=data.dtype).index_add_(0, classes, data)
    counts = classes.bincount(minlength=len(sums)).clamp(min=1)
    return data - (sums / counts[:, None])[classes]


def _pictures(generator: Generator, latents: Latents) -> Tensor:
    """The images of latents, made small, as rows (N, F)."""
    rows = []
    for first in range(0, len(latents), BATCH):
        made = generator.synthesize(latents.select(slice(first, first + BATCH)))
        rows.append(pool(made, SIDE).flatten(1))
    return torch.cat(rows).cpu().double()
