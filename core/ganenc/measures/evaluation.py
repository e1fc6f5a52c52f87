"""How well sets of images are rebuilt, by any registered metrics, as a whole or in folds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from ganenc_registry.errors import ImageError, SpecError
from torch import Tensor

from ganenc.measures.editability import Editability
from ganenc.measures.frechet import has_inception
from ganenc.measures.metric import Metric, mean_std


def default_metrics() -> list[str]:
    """The metrics of the paper's tables: ``psnr``, ``ssim``, ``lpips`` and a Frechet distance: ``fid`` where the
    weights of Inception are on disk, otherwise ``frechet``, on the backbone."""
    return ["psnr", "ssim", "lpips", "fid" if has_inception() else "frechet"]


@dataclass(frozen=True)
class Scores:
    """Metrics of many images, by the names to report them under."""

    rows: list[dict[str, float]] = field(repr=False)
    """Of every image, in order, the metrics that tell images apart."""
    folds: list[dict[str, float]]
    """Of every fold all metrics: their mean over its images, or the one number. One fold if there are none."""

    def table(self) -> dict[str, tuple[float, float | None]]:
        """Mean and standard deviation (of the sample) of every metric: over folds where there are some, as in the
        paper's Table 2, otherwise over images; one number for all images has no deviation."""
        if len(self.folds) > 1:
            return {name: mean_std([fold[name] for fold in self.folds]) for name in self.folds[0]}
        (whole,) = self.folds
        told = self.rows[0] if self.rows else {}
        return {
            name: mean_std([row[name] for row in self.rows]) if name in told else (value, None)
            for name, value in whole.items()
        }


@dataclass(frozen=True)
class Measured:
    """How well images were rebuilt, with labels that came one way."""

    scores: Scores
    seconds: float
    """The time that one image took."""
    labels: list[Any] | None
    """The classes that the images were taken to be of."""


@dataclass(frozen=True)
class Evaluation:
    """How well images were rebuilt, apart by how their labels came."""

    metrics: Mapping[str, Metric]
    """What was taken, by the names of its numbers."""
    ways: Mapping[str, Measured]
    """By ``given``, ``predicted`` and ``searched``, as far as labels came so; without labels the one name is empty."""
    mean_image: Scores
    """The same of the generator's mean image in place of every image."""
    settings: Mapping[str, str]
    """How each metric was taken, in words."""
    editing: Editability | None = None
    """How well the images, as they were inverted the first way, can be edited; where a direction was given."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """The hashes of the ``generator`` and, where it took part, the ``encoder``."""

    def table(self) -> dict[str, tuple[float, float | None]]:
        """Mean and deviation of every metric, the first way that there is; see `Scores.table`."""
        return next(iter(self.ways.values())).scores.table()

    @property
    def agreement(self) -> tuple[str, int] | None:
        """The way by which labels were found, and for how many images they are the given ones."""
        given = self.ways.get("given")
        for way, found in self.ways.items():
            if given is not None and way != "given":
                return way, sum(a == b for a, b in zip(given.labels or (), found.labels or (), strict=True))
        return None

    def to_mapping(self) -> dict[str, Any]:
        """All of it as data: the numbers of the first way at the top, and where there are labels those of every way."""
        first, *_ = self.ways.values()
        told = {
            "weights": dict(self.weights),
            "metric_settings": dict(self.settings),
            "seconds_each": first.seconds,
            **self._numbers(first.scores),
        }
        told |= {} if self.editing is None else {"editing": self.editing.to_mapping()}
        if "" in self.ways:
            return told
        told["by_labels"] = {
            way: {**self._numbers(one.scores), "labels": one.labels, "seconds_each": one.seconds}
            for way, one in self.ways.items()
        }
        share = {} if self.agreement is None else {"agreement": self.agreement[1] / len(first.scores.rows)}
        return {**told, **share}

    def _numbers(self, scores: Scores) -> dict[str, Any]:
        base, apart = self.mean_image.table(), len(scores.folds) > 1
        metrics = {
            name: {
                "mean": mean,
                "std": std,
                "mean_image": base[name][0],
                **({"folds": [fold[name] for fold in scores.folds]} if apart else {}),
            }
            for name, (mean, std) in scores.table().items()
        }
        return {"metrics": metrics, "per_image": scores.rows}


def evaluate(
    targets: Tensor,
    made: Mapping[str, tuple[Tensor, Sequence[float], Tensor | None]],
    metrics: Mapping[str, Metric],
    *,
    mean_image: Tensor,
    folds: Sequence[Sequence[int]] | None = None,
) -> Evaluation:
    """Take metrics, as `build_metrics` gives them, of what was made of targets (N, C, H, W), and of the generator's
    ``mean_image`` (1, C, H, W) in its place; ``folds`` as for `score`.

    ``made`` holds, by how labels came, what was made of the targets (N, C, H, W), each one's seconds, and the labels.
    """
    ways = {
        way: Measured(
            score(targets, rebuilt.to(targets), metrics, folds=folds),
            statistics.fmean(seconds),
            None if labels is None else labels.tolist(),
        )
        for way, (rebuilt, seconds, labels) in made.items()
    }
    base = score(targets, mean_image.to(targets).expand_as(targets), metrics, folds=folds)
    count = min(len(places) for places in folds or [range(len(targets))])
    settings = {name: metric.words(targets[:count]) for name, metric in metrics.items()}
    return Evaluation(metrics, ways, base, settings)


def score(
    a: Tensor,
    b: Tensor,
    metrics: Mapping[str, Metric],
    *,
    region: Tensor | None = None,
    folds: Sequence[Sequence[int]] | None = None,
) -> Scores:
    """Take metrics, by the names to report them under, of targets and what came of them, both (N, C, H, W).

    Only the pixels of ``region``, bool (N, 1, H, W), count; all by default. ``folds`` are the places of the images in
    each fold, as `split_folds` gives them; by default all are one. `ImageError` if there are no images, or none that a
    metric takes; `PluginError` if a metric is not of the contract.
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
    """The places of ``count`` images, from 0, at random in folds of one size, or of two that differ by 1 (paper,
    section 4.1). `SpecError` if there are fewer than 2 folds, or one would have fewer than ``least`` images."""
    if not 2 <= folds <= count:
        raise SpecError(f"{count} images do not go into {folds} folds; take 2 folds or more, and {count} at most.")
    if count < least * folds:
        raise SpecError(
            f"{folds} folds of {count} images leave {count // folds} image in some, and a metric takes {least} or more;"
            f" give {least * folds} images, fewer folds, or other metrics."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return [sorted(order[first::folds]) for first in range(folds)]
