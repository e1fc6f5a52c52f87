"""How well sets of images are rebuilt, by any registered metrics, as a whole or in folds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from ganenc_registry.errors import ImageError, SpecError
from torch import Tensor

from ganenc.measures.distances import has_inception
from ganenc.measures.metric import Metric

__all__ = ["Scores", "default_metrics", "mean_std", "score", "split_folds"]


def default_metrics() -> list[str]:
    """The metrics of the paper's tables: ``psnr``, ``ssim``, ``lpips`` and a Frechet distance.

    It is ``fid`` where the weights of Inception are on disk, otherwise ``frechet``, on the backbone.
    """
    return ["psnr", "ssim", "lpips", "fid" if has_inception() else "frechet"]


@dataclass(frozen=True)
class Scores:
    """Metrics of many images, by the names to report them under."""

    rows: list[dict[str, float]]
    """Of every image, in order, the metrics that tell images apart."""
    folds: list[dict[str, float]]
    """Of every fold all metrics: their mean over its images, or the one number. One fold if there are none."""

    def table(self) -> dict[str, tuple[float, float | None]]:
        """Mean and standard deviation (of the sample) of every metric.

        Over folds where there are some, as in the paper's Table 2, otherwise over images; one number for all images
        has no deviation.
        """
        if len(self.folds) > 1:
            return {name: mean_std([fold[name] for fold in self.folds]) for name in self.folds[0]}
        (whole,) = self.folds
        told = self.rows[0] if self.rows else {}
        return {
            name: mean_std([row[name] for row in self.rows]) if name in told else (value, None)
            for name, value in whole.items()
        }


def score(
    a: Tensor,
    b: Tensor,
    metrics: Mapping[str, Metric],
    *,
    region: Tensor | None = None,
    folds: Sequence[Sequence[int]] | None = None,
) -> Scores:
    """Take metrics of N images.

    Args:
        a: the targets (N, C, H, W).
        b: what came of them, (N, C, H, W).
        metrics: by the names to report them under, as `build_metrics` gives them.
        region: bool (N, 1, H, W), the pixels that count; all of them by default.
        folds: the places of the images in each fold, as `split_folds` gives them; by default all are one.

    Raises:
        ImageError: if there are no images, or they are none that a metric takes.
        PluginError: if a metric is not of the contract.
    """
    if not len(a) or a.shape != b.shape:
        raise ImageError(
            f"Scores compare two batches (N, C, H, W) of one shape, N at least 1; these are {tuple(a.shape)} and"
            f" {tuple(b.shape)}."
        )
    rows: list[dict[str, float]] = [{} for _ in range(len(a))]
    whole: list[dict[str, float]] = []
    for fold in folds or [range(len(a))]:
        places = list(fold)
        numbers: dict[str, float] = {}
        for name, metric in metrics.items():
            found = metric(a[places], b[places], region=None if region is None else region[places])
            numbers[name] = found if isinstance(found, float) else mean_std(found)[0]
            for place, value in zip(places, found, strict=True) if isinstance(found, list) else ():
                rows[place][name] = value
        whole.append(numbers)
    return Scores(rows, whole)


def split_folds(count: int, folds: int, *, seed: int = 0, least: int = 1) -> list[list[int]]:
    """Images at random => folds of one size, or of two that differ by 1 (paper, section 4.1).

    Args:
        count: how many images there are.
        folds: how many folds.
        seed: of the draw.
        least: how many images each fold has to have, for metrics that take no fewer.

    Returns:
        the places of the images of every fold, from 0, each once.

    Raises:
        SpecError: if there are fewer images than folds, or fewer than 2 folds, or a fold is too small.
    """
    if not 2 <= folds <= count:
        raise SpecError(f"{count} images do not go into {folds} folds; take 2 folds or more, and {count} at most.")
    if count < least * folds:
        raise SpecError(
            f"{folds} folds of {count} images leave {count // folds} image in some, and a metric takes {least} or more;"
            f" give {least * folds} images, fewer folds, or other metrics."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return [sorted(order[first::folds]) for first in range(folds)]


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; 0 for one value) of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return (math.inf if values else math.nan), 0.0
    return statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else 0.0
