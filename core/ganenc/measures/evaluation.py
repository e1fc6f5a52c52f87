"""How well sets of images are rebuilt, by any registered metrics, as a whole or in folds.

A metric comes from a plugin, or from a script: ``@ganenc.register("metric", "mae")`` above a function

    def mae(a: Tensor, b: Tensor, *, value_range: tuple[float, float]) -> list[float]:
        return ((a - b).abs().flatten(1).mean(1) / (value_range[1] - value_range[0])).tolist()

It gets two batches (N, C, H, W), first the targets, then what came of them, of one dtype and on one device. It returns
N numbers, one a pair; or, where it compares the sets as wholes, one number. What it is given besides ``value_range``
it names among its parameters:

``backbone``: the network that the user chose, a frozen `ganenc.Backbone`. The numbers go by the name of the metric, a
dash and that of the backbone, and where there is no backbone the metric is left out.
``device``: where the generator is, as the images may lie on the CPU.

`ganenc.measures.metrics.metric_settings` says of it what the line of its registration says.
"""

from __future__ import annotations

import inspect
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, PluginError, SpecError
from torch import Tensor

from ganenc.images import Range
from ganenc.measures.distances import has_inception
from ganenc.objectives import Backbone

__all__ = ["Metric", "Scores", "default_metrics", "mean_std", "score", "split_folds"]

_GIVEN = ("value_range", "backbone", "device")
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def default_metrics() -> list[str]:
    """The metrics of the paper's tables: ``psnr``, ``ssim``, ``lpips`` and a Frechet distance.

    It is ``fid`` where the weights of Inception are on disk, otherwise ``frechet``, on the backbone.
    """
    return ["psnr", "ssim", "lpips", "fid" if has_inception() else "frechet"]


@dataclass(frozen=True)
class Metric:
    """A registered metric; the head of this module has the contract."""

    name: str
    """The name under which it is registered."""
    function: Callable[..., Any]
    takes: frozenset[str]
    """Those of ``value_range``, ``backbone`` and ``device`` that it names."""

    @classmethod
    def named(cls, name: str) -> Metric:
        """The metric of that name.

        Raises:
            UnknownNameError: if there is none.
            PluginError: if it cannot be imported, or is no function of the contract.
        """
        function = registry().resolve("metric", name)
        try:
            first, second, *others = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            raise _wrong(name, "is no function of two batches of images") from None
        if inspect.Parameter.KEYWORD_ONLY in (first.kind, second.kind):
            raise _wrong(name, "is no function of two batches of images")
        needed = [other.name for other in others if other.default is other.empty and other.kind not in _VARIABLE]
        strange = [other for other in needed if other not in _GIVEN]
        if strange:
            raise _wrong(name, f"needs {strange[0]!r}, which nobody gives it; it is given {', '.join(_GIVEN)}")
        return cls(name, function, frozenset(other.name for other in others) & frozenset(_GIVEN))

    @property
    def needs_backbone(self) -> bool:
        """Whether it is taken on a backbone."""
        return "backbone" in self.takes

    @property
    def least(self) -> int:
        """The number of images that it takes at least: 2 for those of this package that compare sets."""
        return 2 if self.name in ("fid", "frechet") else 1

    def label(self, backbone: Backbone | None) -> str | None:
        """The name to report its numbers under; None where it needs a backbone and there is none."""
        if not self.needs_backbone:
            return self.name
        return None if backbone is None else f"{self.name}-{backbone.name}"

    def __call__(
        self,
        a: Tensor,
        b: Tensor,
        *,
        value_range: Range = (-1.0, 1.0),
        backbone: Backbone | None = None,
        device: str | torch.device | None = None,
    ) -> list[float] | float:
        """Take it.

        Args:
            a: the targets (N, C, H, W).
            b: what came of them, (N, C, H, W).
            value_range: the values of black and white.
            backbone: see `label`.
            device: where networks run; by default where the images are.

        Returns:
            N numbers, or one for the sets.

        Raises:
            PluginError: if it gives anything else.
        """
        given = {"value_range": value_range, "backbone": backbone, "device": torch.device(device or a.device)}
        found = self.function(a, b, **{name: given[name] for name in self.takes})
        if isinstance(found, Real):
            return float(found)
        if isinstance(found, list | tuple) and all(isinstance(value, Real) for value in found):
            if len(found) == len(a):
                return [float(value) for value in found]
            raise _wrong(self.name, f"gave {len(found)} numbers for {len(a)} images; it gives one each, or one float")
        raise _wrong(
            self.name, f"gave a {type(found).__name__}; it gives a list of numbers, one an image, or one float"
        )


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
    metrics: Sequence[Metric],
    *,
    value_range: Range = (-1.0, 1.0),
    backbone: Backbone | None = None,
    device: str | torch.device | None = None,
    folds: Sequence[Sequence[int]] | None = None,
) -> Scores:
    """Take metrics of N images.

    Args:
        a: the targets (N, C, H, W).
        b: what came of them, (N, C, H, W).
        metrics: which; one that needs a backbone is left out where there is none.
        value_range: the values of black and white.
        backbone: the network that metrics are taken on.
        device: where networks run; by default where the images are.
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
    named = [(label, metric) for metric in metrics if (label := metric.label(backbone)) is not None]
    for places in folds or [range(len(a))]:
        one, other = (each[list(places)] if folds else each for each in (a, b))
        numbers: dict[str, float] = {}
        for name, metric in named:
            found = metric(one, other, value_range=value_range, backbone=backbone, device=device)
            numbers[name] = found if isinstance(found, float) else mean_std(found)[0]
            for place, value in zip(places, found, strict=True) if isinstance(found, list) else ():
                rows[place][name] = value
        whole.append(numbers)
    return Scores(rows, whole)


def split_folds(count: int, folds: int, *, seed: int = 0, metrics: Sequence[Metric] = ()) -> list[list[int]]:
    """Images at random => folds of one size, or of two that differ by 1 (paper, section 4.1).

    Args:
        count: how many images there are.
        folds: how many folds.
        seed: of the draw.
        metrics: what is to be taken of every fold.

    Returns:
        the places of the images of every fold, from 0, each once.

    Raises:
        SpecError: if there are fewer images than folds, or fewer than 2 folds, or a fold is too small for a metric.
    """
    if not 2 <= folds <= count:
        raise SpecError(f"{count} images do not go into {folds} folds; take 2 folds or more, and {count} at most.")
    if count < 2 * folds and any(metric.least > 1 for metric in metrics):
        raise SpecError(
            f"{folds} folds of {count} images leave 1 image in some, and a Frechet distance takes 2 or more; give"
            f" {2 * folds} images, fewer folds, or other metrics."
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return [sorted(order[first::folds]) for first in range(folds)]


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; 0 for one value) of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return (math.inf if values else math.nan), 0.0
    return statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else 0.0


def _wrong(name: str, fault: str) -> PluginError:
    owner = registry().owner("metric", name)
    return PluginError(f"The metric {name!r} (of {owner}) {fault}; it is called as metric(a, b, *, value_range).")
