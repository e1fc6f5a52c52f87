"""Finding what is odd: how far photos are from what a generator makes of them, beside normal photos. Not in paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeAlias

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError, nearest
from ganenc_registry.specs import Choice, NonNegativeInt, Spec
from kornia.filters import gaussian_blur2d
from pydantic import Field, PositiveFloat
from torch import Tensor
from torch.nn import functional as F

from ganenc.images import Fit, convert_range
from ganenc.latents import Latents
from ganenc.measures.editability import OwnLatents
from ganenc.objectives import LPIPS, Backbone, pool

SCORES = ("pixels", "lpips", "features", "latents", "peak")
"""What is taken together by default, as far as it can be had; see `Comparer`. Besides there is ``f-anogan``."""
FALSE_ALARMS = 0.05
KAPPA = 1.0
"""f-AnoGAN's weight of features (Schlegl et al., 2019)."""
BLUR = 1 / 64
"""Maps are blurred by a Gaussian of this part of the longer side, as PaDiM's are (Defard et al., 2021)."""
FEWEST = 3

Features: TypeAlias = Callable[[Tensor], "Tensor | Sequence[Tensor]"]
"""Images (N, C, H, W) from -1 to 1 => features, (N, ...) or several such: those of a discriminator, for one."""
Standard: TypeAlias = tuple[float, PositiveFloat]
"""Mean and deviation of normal photos."""


@dataclass(frozen=True)
class Differences:
    """How photos differ from what a generator made of them."""

    scores: Mapping[str, Tensor]
    """(N,) by name, in float64."""
    maps: Mapping[str, Tensor]
    """(N, 1, h, w) of those that tell where, blurred, at most `LARGEST` pixels a side."""

    @classmethod
    def cat(cls, parts: Sequence[Differences]) -> Differences:
        """Those of all photos."""
        scores, maps = (
            {name: torch.cat([one[name] for one in rows]) for name in rows[0]}
            for rows in ([part.scores for part in parts], [part.maps for part in parts])
        )
        return cls(scores, maps)


class Comparer:
    """Compares photos with what a generator made of them, by any of these scores (all means):

    ``pixels``: absolute differences, in widths of the range. ``lpips``: the backbone's LPIPS. ``features``: absolute
    differences of features, by default the backbone's deepest. ``f-anogan``: squared differences of pixels, from -1 to
    1, and ``kappa`` times those of features (Schlegl et al., 2019). ``latents``: see `OwnLatents.mahalanobis`.
    ``peak``: the highest value of all maps together, which `Calibration` adds.

    ``names`` are what is wanted, by default `SCORES` as far as there is a backbone; `SpecError` if one cannot be had.
    """

    def __init__(
        self,
        context: Context,
        own: Callable[[], OwnLatents],
        *,
        names: Iterable[str] | None = None,
        backbone: Backbone | None = None,
        features: Features | None = None,
        kappa: float = KAPPA,
    ) -> None:
        self.context, self.own, self.kappa = context, own, kappa
        self._of = features or (
            None if backbone is None else lambda images: backbone(backbone.fit(images)).features[-1]
        )
        needs: dict[str, object] = {"lpips": backbone, "features": self._of, "f-anogan": self._of}
        self.names = tuple(dict.fromkeys([one for one in SCORES if needs.get(one, self)] if names is None else names))
        for name in self.names or [""]:
            if name not in (*SCORES, "f-anogan"):
                raise SpecError(f"There is no score {name!r}{nearest(name, SCORES)}; there are {', '.join(SCORES)}.")
            if not needs.get(name, self):
                raise SpecError(f"The score {name} is taken on a backbone, and there is none; name one.")
        self._lpips = LPIPS(context=Context(load_backbone=lambda: backbone)) if "lpips" in self.names else None

    @torch.no_grad()
    def __call__(self, targets: Tensor, made: Tensor, latents: Latents) -> Differences:
        """Targets and what was made of them, (N, C, H, W) in the generator's range, and the latents."""
        low, high = self.context.value_range
        x, y = (convert_range(one.float().clamp(low, high), (low, high), (-1.0, 1.0)) for one in (targets, made))
        maps, scores = {"pixels": (x - y).abs().mean(1, keepdim=True) / 2}, {}
        if self._lpips is not None:
            layers = self._lpips.maps(*(self._lpips.prepare(one) for one in (x, y)))
            scores["lpips"] = torch.stack([one.double().mean((1, 2, 3)) for one in layers]).sum(0)
            maps["lpips"] = _alike(layers).sum(0)
        if {"features", "f-anogan"} & {*self.names}:
            apart = [(one - other).abs() for one, other in zip(*map(self._features, (x, y)), strict=True)]
            flat = [one.double().flatten(1) for one in apart]
            squares = torch.stack([one.square().mean(1) for one in flat]).mean(0)
            scores["features"] = torch.stack([one.mean(1) for one in flat]).mean(0)
            scores["f-anogan"] = (x - y).double().square().mean((1, 2, 3)) + self.kappa * squares
            if spread := [one.mean(1, keepdim=True) for one in apart if one.ndim == 4]:
                maps["features"] = _alike(spread).mean(0)
        if "latents" in self.names:
            scores["latents"] = torch.tensor(self.own().mahalanobis(latents), dtype=torch.float64)
        scores["pixels"] = maps["pixels"].double().mean((1, 2, 3))
        kept = {
            name: _blurred(F.interpolate(pool(one), pool(x[:1]).shape[2:], mode="bilinear"))
            for name, one in maps.items()
        }
        wanted = {*self.names, *({"pixels", "features"} if "f-anogan" in self.names else ())} & {*kept} or {*kept}
        return Differences(
            {name: scores[name].cpu() for name in self.names if name in scores},
            {name: one.cpu() for name, one in kept.items() if name in wanted},
        )

    def _features(self, images: Tensor) -> list[Tensor]:
        assert self._of is not None
        found = self._of(images)
        found = [found] if isinstance(found, Tensor) else list(found)
        shapes = [tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in found]
        if not shapes or not all(isinstance(one, tuple) and len(one) > 1 and one[0] == len(images) for one in shapes):
            raise SpecError(
                f"What gives features gave {shapes} for {len(images)} images; it gives (N, ...), or several."
            )
        return [one.float() for one in found]


@dataclass(frozen=True)
class Oddity:
    """How odd photos are; its fields are named as anomalib's."""

    pred_score: Tensor
    """(N,): the mean of the scores, in deviations of normal photos from their mean."""
    anomaly_map: Tensor = field(repr=False)
    """(N, 1, H, W): the same of each pixel."""
    pred_label: Tensor
    """bool (N,): whether a photo's score is above the threshold."""
    pred_mask: Tensor = field(repr=False)
    """bool (N, 1, H, W): pixels above the threshold of maps."""
    p_value: Tensor
    """(N,): the share of normal photos that are as odd, itself counted among them."""
    scores: Mapping[str, Tensor]
    """What the score is the mean of, (N,) by name."""

    @classmethod
    def cat(cls, parts: Sequence[Oddity]) -> Oddity:
        """That of all photos."""
        rows = {
            name: torch.cat([getattr(one, name) for one in parts])
            for name in cls.__dataclass_fields__
            if name != "scores"
        }
        return cls(**rows, scores={name: torch.cat([one.scores[name] for one in parts]) for name in parts[0].scores})


class Calibration(Spec):
    """How normal photos are scored, and how: what others are held against.

    Each score is standardised by its mean and deviation over normal photos, and their mean is taken (Kriegel et al.,
    2011; Aggarwal and Sathe, 2015): normal photos alone say nothing of which is best. Maps likewise, by all pixels.
    """

    written_by: str = "ganenc"
    model: str = ""
    model_hash: str
    method: Choice
    seed: NonNegativeInt = 0
    fit: Fit = "cover"
    align: Choice | None = None
    backbone: str | None = None
    features: str | None = None
    """Whose these are, if not the backbone's; a script is not run unless it is given again."""
    kappa: float = KAPPA
    scores: Annotated[dict[str, Standard], Field(min_length=1)]
    maps: Annotated[dict[str, Standard], Field(min_length=1)]
    normal: Annotated[tuple[float, ...], Field(min_length=1)]
    """The scores of normal photos, in rising order; each standardised by the others."""
    peaks: Annotated[tuple[float, ...], Field(min_length=1)]
    """The highest values of their maps."""

    @classmethod
    def of(cls, found: Differences, names: Sequence[str], **how: Any) -> Calibration:
        """Of the `Differences` of normal photos, by ``names``; `SpecError` if they are too few, or all alike."""
        count = len(next(iter(found.maps.values())))
        if count < FEWEST:
            raise SpecError(f"Calibrating takes {FEWEST} normal photos or more; these are {count}.")
        maps = {name: _standard(one) for name, one in found.maps.items()}
        peaks = _together(found.maps, maps).amax((1, 2, 3)).double()
        rows = {name: peaks if name == "peak" else found.scores[name] for name in names}
        scores = {name: _standard(row) for name, row in rows.items() if row.std() > 0}
        if not scores:
            raise SpecError("The normal photos are all scored alike, so they say nothing of others; give others.")
        own = torch.stack([_beside_others(rows[name]) for name in scores]).mean(0)
        return cls(scores=scores, maps=maps, normal=own.sort()[0].tolist(), peaks=peaks.sort()[0].tolist(), **how)

    def threshold(self, false_alarms: float = FALSE_ALARMS, *, maps: bool = False) -> float:
        """The score, or the value of maps, above which at most this share of normal photos lie, or have a pixel: that
        of the conformal rank (Laxhammar and Falkman, 2010). `SpecError` if there are too few for it."""
        normal = self.peaks if maps else self.normal
        if not 0 < false_alarms < 1:
            raise SpecError(f"A rate of false alarms is between 0 and 1, not {false_alarms:g}.")
        rank = math.ceil((len(normal) + 1) * (1 - false_alarms) - 1e-9)
        if rank > len(normal):
            least = math.ceil(1 / false_alarms - 1e-9) - 1
            raise SpecError(
                f"{false_alarms:.2%} of false alarms take {least} normal photos or more; these were {len(normal)}."
            )
        return sorted(normal)[rank - 1]

    def judge(self, found: Differences, size: Sequence[int], false_alarms: float = FALSE_ALARMS) -> dict[str, Any]:
        """The fields of `Oddity` of photos of a size (H, W); `SpecError` if other things were compared."""
        if lacks := ({*self.maps} - {*found.maps}) | ({*self.scores} - {*found.scores, "peak"}):
            raise SpecError(
                f"The calibration goes by {min(lacks)}, of which there is no such thing here; calibrate anew."
            )
        small = _together(found.maps, self.maps)
        rows = {**found.scores, "peak": small.amax((1, 2, 3)).double()}
        scores = {name: (rows[name] - mean) / deviation for name, (mean, deviation) in self.scores.items()}
        total, normal = torch.stack([*scores.values()]).mean(0), torch.tensor(self.normal, dtype=torch.float64)
        places = F.interpolate(small, tuple(size), mode="bilinear") if small.shape[2:] != tuple(size) else small
        as_odd = (normal >= total[:, None]).sum(1)
        return {
            "pred_score": total, "anomaly_map": places, "scores": scores,
            "pred_label": total > self.threshold(false_alarms),
            "pred_mask": places > self.threshold(false_alarms, maps=True),
            "p_value": (as_odd + 1).double() / (len(normal) + 1),
        }  # fmt: skip


def _alike(maps: Sequence[Tensor]) -> Tensor:
    """Maps (N, 1, h, w), all of the size of the largest."""
    size = max((one.shape[2:] for one in maps), key=math.prod)
    return torch.stack([F.interpolate(one, size, mode="bilinear") for one in maps])


def _blurred(maps: Tensor) -> Tensor:
    sigma = max(BLUR * max(maps.shape[2:]), 0.1)
    sides = [min(2 * math.ceil(3 * sigma) + 1, 2 * side - 1) for side in maps.shape[2:]]
    blurred: Tensor = gaussian_blur2d(maps, (sides[0], sides[1]), (sigma, sigma))
    return blurred


def _standard(values: Tensor) -> Standard:
    return float(values.double().mean()), max(float(values.double().std()), 1e-12)


def _together(maps: Mapping[str, Tensor], standards: Mapping[str, Standard]) -> Tensor:
    return torch.stack([(maps[name] - mean) / deviation for name, (mean, deviation) in standards.items()]).mean(0)


def _beside_others(row: Tensor) -> Tensor:
    """Each value, standardised by the mean and deviation of all others, as those of other photos are."""
    count = len(row)
    row = (row - row.mean()) / row.std()
    mean = -row / (count - 1)
    variance = ((count - 1) - row.square() - (count - 1) * mean.square()) / (count - 2)
    return (row - mean) / variance.clamp(min=1e-12).sqrt()
