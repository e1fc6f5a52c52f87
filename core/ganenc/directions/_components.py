"""Directions without labels: principal components of what a generator makes of its prior (GANSpace)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Condition, Part, Styles, Vector
from torch import Tensor, nn

from ganenc.directions._direction import Direction
from ganenc.generator import Generator
from ganenc.latents import Latents
from ganenc.models import model_hash

__all__ = ["find_by_pca"]

BATCH = 32


@torch.no_grad()
def find_by_pca(
    generator: Generator, components: int = 10, *, n: int = 4096, labels: Tensor | None = None, seed: int = 0
) -> list[Direction]:
    """The axes along which samples differ most, the first the most (GANSpace, section 3).

    Of a generator with styles they are the principal components of w. Elsewhere the prior has no axes of its own, so
    they are those of what the first layer with weights makes of z, carried back to z by linear regression (GANSpace,
    section 3.2); where a class is a condition, each class's mean is taken off before.

    Args:
        generator: to draw from.
        components: how many.
        n: how many draws.
        labels: the classes of the draws int64 (n,), where they matter; drawn if left out.
        seed: of the draws.

    Returns:
        the directions, named ``pca-0`` and so on. The largest number of each is above 0, as a sign of its own it has
        not; ``info`` has the share of the variance that it explains.

    Raises:
        LatentsError: if there are not so many components.
    """
    if labels is None:
        labels = generator.draw_labels(n, seed=seed)
    latents = generator.sample(n, seed=seed, labels=labels)
    styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
    part: Part = styles[0] if styles else _vector(generator)
    rows = latents[part.name].cpu().double()
    rows = rows.mean(1) if styles else rows
    features = rows if styles else _first_features(generator, latents)
    if any(isinstance(one, Condition) for one in generator.spec.layout) and labels is not None:
        features = _within_classes(features, labels.cpu())
    if not 1 <= components <= min(rows.shape[1], n - 1):
        most = min(rows.shape[1], n - 1)
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


def _first_features(generator: Generator, latents: Latents) -> Tensor:
    """What the first layer with weights of its own makes of the latents: (N, F)."""
    some = (latents.select(slice(first, first + BATCH)) for first in range(0, len(latents), BATCH))
    return torch.cat([_first_output(generator, one) for one in some])


class _Enough(Exception):
    """The first layer has been passed."""


def _first_output(generator: Generator, latents: Latents) -> Tensor:
    outputs: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and len(output) == len(latents):
            outputs.append(output.detach().flatten(1).cpu().double())
            raise _Enough

    with _watching(generator, keep):
        try:
            generator.synthesize(latents)
        except _Enough:
            return outputs[0]
    raise LatentsError(f"No layer of {generator.spec.family} with weights of its own takes the latents.")


@contextmanager
def _watching(generator: Generator, keep: Any) -> Iterator[None]:
    """While it lasts, ``keep`` is called with the output of every layer that has weights of its own."""
    inside = [module for module in generator.modules() if module is not generator]
    weighty = [module for module in inside if any(True for _ in module.parameters(recurse=False))]
    handles = [module.register_forward_hook(keep) for module in weighty]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
