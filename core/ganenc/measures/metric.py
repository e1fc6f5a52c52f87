"""What a metric is: how close images are, as numbers to report, with the settings they were taken under."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from ganenc_registry.components import Component, Context, build
from ganenc_registry.errors import ImageError, PluginError
from ganenc_registry.specs import Choice
from torch import Tensor

from ganenc.images import to_uint8

CHUNK = 16
"""So many images are compared at a time."""


class Metric(Component, ABC):
    """How close two batches of images are, the targets and what came of them.

    A subclass says what it is in the class variables and computes it in `measure`; black and white are
    ``self.context.value_range``. The first line of its docstring goes into reports::

        @ganenc.register("metric", "mae")
        class MeanError(ganenc.Metric):
            \"""Mean absolute error, as a share of the range.\"""

            higher_is_better = False

            def measure(self, a, b, region):
                low, high = self.context.value_range
                return ((a - b).abs().flatten(1).mean(1) / (high - low)).tolist()
    """

    higher_is_better: ClassVar[bool]
    unit: ClassVar[str] = ""
    digits: ClassVar[int] = 3
    """Digits after the point that are worth showing."""
    least: ClassVar[int] = 1
    """The number of images that it takes at least."""
    compares_sets: ClassVar[bool] = False
    """Whether it compares two sets, which may differ in number, by one number, in place of pairs by one each."""
    needs_backbone: ClassVar[bool] = False
    """Whether it is taken on ``self.context.backbone``, whose name is then a part of its own."""
    within: ClassVar[str] = ""
    """How it is taken within a region, in words; empty where it can not be."""

    @abstractmethod
    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> Sequence[float] | float:
        """Take it of targets ``a`` and what came of them, ``b``, both (N, C, H, W) on the context's device: N numbers,
        N at most `CHUNK`, or one for two sets. ``region``, bool (N, 1, H, W), holds the pixels that count, never none;
        None for all."""

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor, *, region: Tensor | None = None) -> list[float] | float:
        """Take it of targets ``a`` (N, C, H, W) and what came of them, ``b``, of the same shape (sets may differ in N):
        N numbers, or one for the sets. ``region``, bool (N, 1, H, W), holds the pixels that count; all by default. An
        ImageError if images are too few or differ in shape, or a region is empty or not taken; else a PluginError."""
        self._check(a, b, region)
        if self.compares_sets:
            found = self.measure(a, b, region)
            if not isinstance(found, Real):
                raise PluginError(f"{self} gave {_told(found)}; a metric that compares sets gives one float.")
            return float(found)
        values: list[float] = []
        given = [a, b] if region is None else [a, b, region]
        for parts in zip(*(images.split(CHUNK) for images in given), strict=True):
            one, other, *counted = (part.to(self.context.device) for part in parts)
            some = self.measure(one, other, counted[0] if counted else None)
            if not (isinstance(some, Sequence) and all(isinstance(value, Real) for value in some)):
                raise PluginError(f"{self} gave {_told(some)}; a metric of pairs gives a list, one number each.")
            if len(some) != len(one):
                raise PluginError(f"{self} gave {_told(some)} for {len(one)} images; it gives a list, one number each.")
            values += map(float, some)
        return values

    def how(self, images: Tensor) -> str:
        """How it is taken on such images (N, C, H, W), in words: what it is, and its options."""
        options = ", ".join(f"{name} {value}" for name, value in self.options.to_mapping().items())
        said = (self.__doc__ or type(self).__name__).strip().splitlines()[0].rstrip(".")
        return f"{said}; {options}" if options else said

    def words(self, images: Tensor, *, region: bool = False) -> str:
        """`how`, with the size of the images and, if that is asked, how a region is taken."""
        return "; ".join(
            [self.how(images), f"{images.shape[-2]}x{images.shape[-1]} pixels", *([self.within] if region else [])]
        )

    def eight_bits(self, images: Tensor) -> Tensor:
        """Images, clamped and rounded to uint8."""
        return to_uint8(images, self.context.value_range)

    def __str__(self) -> str:
        return f"The metric {type(self).__name__}"

    def _check(self, a: Tensor, b: Tensor, region: Tensor | None) -> None:
        shapes = f"these are {tuple(a.shape)} and {tuple(b.shape)}"
        alike = a.shape[1:] == b.shape[1:] if self.compares_sets else a.shape == b.shape
        if not alike or a.ndim != 4 or 0 in a.shape[1:]:
            raise ImageError(f"Metrics compare two batches (N, C, H, W) of one shape; {shapes}.")
        if min(len(a), len(b)) < self.least:
            raise ImageError(f"{self} needs {self.least} images or more on either side; {shapes}.")
        if region is None:
            return
        if not self.within:
            raise ImageError(f"{self} takes no region; give whole images.")
        shape = (len(a), 1, *a.shape[-2:])
        if region.dtype != torch.bool or region.shape != shape:
            raise ImageError(
                f"A region is bool {shape} for images {tuple(a.shape)}; this one is {region.dtype} "
                f"{tuple(region.shape)}."
            )
        empty = (~region.flatten(1).any(1)).nonzero().flatten().tolist()
        if empty:
            raise ImageError(
                f"The region of sample {empty[0]} (they count from 0) is empty, so there is nothing to measure there; "
                "mark some of its pixels."
            )


def build_metrics(
    choices: Iterable[str] | Mapping[str, Any] = ("psnr", "ssim", "lpips"), context: Context | None = None
) -> dict[str, Metric]:
    """Metrics by the names to report their numbers under: ``psnr``, or with the backbone's ``lpips-vgg16``.

    ``choices`` are names; or by a name of one's own what is written in a spec: a name, or ``{name, options}``, where
    the name may be left out that is its own. Left out are metrics of pictures, where the generator makes none, and of a
    backbone, where the context has none. The errors are those of `build`.
    """
    context = context or Context()
    named = choices if isinstance(choices, Mapping) else dict.fromkeys(choices)
    found: dict[str, Metric] = {}
    for name, written in named.items():
        given = written if isinstance(written, str | Choice) else Choice.from_mapping({"name": name, **(written or {})})
        metric = build("metric", given, Metric, context, at=f"metrics.{name}")
        if metric.pictures_only and context.generator is not None and context.generator.shows != "pictures":
            continue
        if not metric.needs_backbone:
            found[name] = metric
        elif context.load_backbone is not None:
            found[f"{name}-{context.backbone.name}"] = metric
    return found


def mean_std(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of the sample; 0 for one value) of the finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return (math.inf if values else math.nan), 0.0
    return statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else 0.0


def _told(found: Any) -> str:
    return f"{len(found)} numbers" if isinstance(found, list | tuple) else f"a {type(found).__name__}"
