"""How well inverted photos can be edited: what a direction does to them, and how near to the generator's own latents
they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Styles
from torch import Tensor

from ganenc.generators import Generator, Tuning
from ganenc.images import convert_range
from ganenc.latents import Latents, main_part
from ganenc.measures.metric import CHUNK, Metric, mean_std
from ganenc.objectives import Backbone

Move: TypeAlias = Callable[[Latents, float], Latents]
"""Moves latents by a strength, in deviations; `Direction.apply` does."""
Samples: TypeAlias = Sequence[tuple[Latents, Tuning]]
"""Inverted photos, one or several in each, and the tuning of weights that their latents go with."""
TRIMMED = 0.01
"""The share of the distances at either end that e4e leaves out of its mean."""
DRAWS = 4096


@dataclass(frozen=True)
class Edits:
    """What moving photos along a direction does, at some strengths, 0 among them."""

    strengths: tuple[float, ...]
    """In rising order."""
    images: Tensor = field(repr=False)
    """(strengths, N, C, H, W), on the CPU, not clamped."""
    logits: Tensor | None = field(default=None, repr=False)
    """What a classifier says of them, (strengths, N, classes)."""
    changes: Mapping[str, list[float]] = field(default_factory=dict, repr=False)
    """By metric, how each photo differs from itself unedited, a mean over the strengths but 0; within the region, if
    there is one."""
    outside: Mapping[str, list[float]] = field(default_factory=dict, repr=False)
    """The same outside the region."""

    @property
    def farthest(self) -> int:
        """The place of the greatest strength, or of the least where none is above 0."""
        return len(self.strengths) - 1 if self.strengths[-1] > 0 else 0

    def curve(self, label: int) -> list[float]:
        """The mean logit of a class at each strength."""
        means: list[float] = self._of(label).mean(1).tolist()
        return means

    def effect(self, label: int) -> list[float]:
        """By how much a deviation raises the logit of a class, photo by photo: the slope of least squares."""
        at = torch.tensor(self.strengths, dtype=torch.float64)
        at = at - at.mean()
        slopes: list[float] = (at @ self._of(label) / at.square().sum()).tolist()
        return slopes

    def _of(self, label: int) -> Tensor:
        if self.logits is None or not 0 <= label < self.logits.shape[2]:
            known = "there is no classifier" if self.logits is None else f"it has {self.logits.shape[2]} classes"
            raise SpecError(f"The effect on class {label} takes a backbone that knows this class; {known}.")
        return self.logits[..., label].double()


def measure_edits(
    generator: Generator,
    samples: Samples,
    move: Move,
    strengths: Sequence[float],
    *,
    backbone: Backbone | None = None,
    metrics: Mapping[str, Metric] | None = None,
    region: Callable[[Tensor], Tensor] | None = None,
) -> Edits:
    """Move inverted photos by every strength, and by 0, and measure what becomes of them.

    ``backbone`` is the classifier that is asked, if it is one; ``metrics`` compare pairs, as `build_metrics` gives
    them; ``region`` tells of images (N, C, H, W) where the edit should be, bool (N, 1, H, W), and what is compared is
    where it is before or after. `SpecError` if there is no strength but 0, or a metric takes no region.
    """
    steps = tuple(sorted({0.0, *map(float, strengths)}))
    if len(steps) < 2:
        raise SpecError("Give strengths other than 0 to edit by.")
    images = torch.stack([
        torch.cat([_made(generator, move(latents, step), tuning) for latents, tuning in samples]) for step in steps
    ])  # fmt: skip
    logits = None
    if backbone is not None and backbone.classes:
        logits = torch.stack([classify(generator, backbone, some) for some in images])
    before = images[steps.index(0.0)]
    areas = None if region is None else [region(some) | region(before) for some in images]
    pairs = {name: metric for name, metric in (metrics or {}).items() if not metric.compares_sets}
    found: list[dict[str, list[float]]] = []
    for side in (True, False):
        taken = pairs if side or areas is not None else {}
        rows = {name: torch.zeros(len(before), dtype=torch.float64) for name in taken}
        for place, some in enumerate(images if taken else ()):
            if steps[place]:
                area = None if areas is None else areas[place] if side else ~areas[place]
                for name, metric in taken.items():
                    rows[name] += torch.tensor(metric(before, some, region=area), dtype=torch.float64)
        found.append({name: (row / (len(steps) - 1)).tolist() for name, row in rows.items()})
    return Edits(steps, images, logits, *found)


@torch.no_grad()
def classify(generator: Generator, backbone: Backbone, images: Tensor) -> Tensor:
    """What a classifier on the generator's device says of its images (N, C, H, W): logits (N, classes), on the CPU;
    `SpecError` if the backbone is no classifier."""
    if not backbone.classes:
        raise SpecError(f"The backbone {backbone.name!r} is no classifier, so it cannot label images; take another.")
    views = convert_range(images, generator.spec.value_range, (-1.0, 1.0)).clamp(-1, 1)
    found = [backbone(backbone.fit(part.to(generator.device))).logits for part in views.split(CHUNK)]
    return torch.cat([one.cpu() for one in found if one is not None])


def consistency(
    generator: Generator,
    samples: Samples,
    edited: Tensor,
    move: Move,
    strength: float,
    invert: Callable[[Tensor], Samples],
) -> list[float]:
    """The latent editing consistency of e4e (Tov et al., 2021, section 5.2): move inverted photos, synthesise, invert
    the images again, move back; how far each is then from where it was, in length, over W+ or z. 0 is best.

    ``edited`` are the images (N, C, H, W) of the samples, moved by the strength; ``invert`` takes such, on the
    generator's device.
    """
    again = invert(edited.to(generator.device))
    name = main_part(generator.spec.layout).name
    start, end = (
        torch.cat([latents[name].detach().cpu().double().flatten(1) for latents in some])
        for some in ([latents for latents, _ in samples], [move(latents, -strength) for latents, _ in again])
    )
    distances: list[float] = (end - start).norm(dim=1).tolist()
    return distances


def trimmed_mean(values: Sequence[float], share: float = TRIMMED) -> float:
    """The mean of the values but those beyond the quantiles ``share`` and 1 - ``share``, as e4e takes it, or of all."""
    rows = torch.tensor(values, dtype=torch.float64)
    low, high = rows.quantile(share), rows.quantile(1 - share)
    kept = rows[(rows >= low) & (rows <= high)]
    return float((kept if len(kept) else rows).mean())


class OwnLatents:
    """How the latents lie that a generator makes of its prior, by statistics of ``n`` draws, in float64.

    Of styles it is w, layer by layer where a mapping gives each layer another; otherwise the vector. The covariance is
    shrunk (Ledoit and Wolf, 2004).
    """

    @torch.no_grad()
    def __init__(self, generator: Generator, *, n: int = DRAWS, seed: int = 0) -> None:
        from sklearn.covariance import LedoitWolf

        if n < 2:
            raise LatentsError(f"Statistics take 2 draws or more, not {n}.")
        self.part = main_part(generator.spec.layout)
        rows = []
        for first in range(0, n, 256):
            count = min(256, n - first)
            drawn = generator.sample(count, seed=seed, first=first)[self.part.name].cpu().double()
            drawn = drawn.reshape(count, -1, self.part.dim)
            rows.append(drawn[:, :1].clone() if torch.equal(drawn, drawn[:, :1].expand_as(drawn)) else drawn)
        drawn = torch.cat([one.expand(-1, max(each.shape[1] for each in rows), -1) for one in rows])
        fitted: list[Any] = [LedoitWolf().fit(layer.numpy()) for layer in drawn.unbind(1)]
        mean, precision = drawn.mean(0), torch.stack([torch.tensor(one.precision_) for one in fitted])
        home = torch.device("cpu") if generator.device.type == "mps" else generator.device  # Which has no float64.
        self.mean, self.precision = mean.to(home), precision.to(home)
        readings = [one for one in generator.readings() if isinstance(self.part, Styles) and one.part == self.part.name]
        self._styles: list[tuple[int, Tensor]] = []
        for one in readings:
            layer = one.layer or 0
            spread = ((drawn - mean)[:, min(layer, drawn.shape[1] - 1)] @ one.matrix.T).std(0)
            self._styles.append((layer, one.matrix[spread > 0] / spread[spread > 0, None]))

    def mahalanobis(self, latents: Latents) -> list[float]:
        """How many deviations latents lie from the mean: the root of the mean square over layers and numbers, about 1
        of what the generator draws."""
        found: list[float] = self.squares(latents.detach()).sqrt().tolist()
        return found

    def squares(self, latents: Latents) -> Tensor:
        """The square of that distance, (N,) in float64, with its gradient, where the generator is (on MPS, the CPU)."""
        apart = self._apart(latents)
        squares = torch.einsum("nld,lde,nle->nl", apart, self.precision.expand(apart.shape[1], -1, -1), apart)
        return squares.mean(1) / self.part.dim

    def style_distance(self, latents: Latents) -> list[float] | None:
        """The cosine distance in the normalised style space (LSAP; Cao et al., 2022) between the style codes of latents
        and the nearest that one w for all layers gives: 0 of what the generator draws, 1 at most. None where no layer
        reads styles.

        The paper's NSCD, as we take it. The codes of one w fill a linear space, so it is the angle to that.
        """
        if not self._styles:
            return None
        apart = self._apart(latents.detach()).cpu()
        codes = torch.cat([apart[:, layer] @ matrix.T for layer, matrix in self._styles], 1)
        axes, sizes, _ = torch.linalg.svd(torch.cat([matrix for _, matrix in self._styles]), full_matrices=False)
        near = codes @ axes[:, sizes > 1e-10 * sizes[0]]
        length = codes.norm(dim=1)
        cosines = torch.where(length > 0, near.norm(dim=1) / length.clamp(min=1e-300), 1.0)
        found: list[float] = (1 - cosines).clamp(min=0).tolist()
        return found

    def _apart(self, latents: Latents) -> Tensor:
        rows = latents[self.part.name].to(self.mean.device).double()
        return rows.reshape(len(rows), -1, self.part.dim) - self.mean


def deviations(rows: Tensor) -> Tensor:
    """Of draws (N, D) the deviations along what they vary by, as rows (K, D) in float64: a root of their covariance
    (Ledoit and Wolf, 2004); K is 0 where they do not vary."""
    from sklearn.covariance import LedoitWolf

    values, axes = torch.linalg.eigh(torch.tensor(LedoitWolf().fit(rows.cpu().double().numpy()).covariance_))
    kept = values > max(1e-12, 1e-9 * float(values[-1]))
    found: Tensor = (axes[:, kept] * values[kept].sqrt()).T
    return found


@dataclass(frozen=True)
class Editability:
    """How well photos that were inverted one way can be edited along one direction."""

    edits: Edits
    label: int | None
    """The class that the direction is to lead to."""
    consistency: list[float]
    """Of each photo, moved the farthest; see `consistency`."""
    own: Mapping[str, list[float]]
    """How far the latents of each lie from the generator's own; see `OwnLatents`."""
    sets: Mapping[str, float]
    """By metric of sets, how far the photos that are moved to the class are from those that are of it."""

    def table(self) -> dict[str, tuple[float, float | None]]:
        """Mean and standard deviation of every number over photos."""
        rows = {} if self.label is None else {"effect": self.edits.effect(self.label)}
        rows |= {f"change-{name}": row for name, row in self.edits.changes.items()}
        rows |= {f"outside-{name}": row for name, row in self.edits.outside.items()}
        found: dict[str, tuple[float, float | None]] = {name: mean_std(row) for name, row in rows.items()}
        found["consistency"] = (trimmed_mean(self.consistency), mean_std(self.consistency)[1])
        found |= {name: mean_std(row) for name, row in self.own.items()}
        return found | {f"edited-{name}": (value, None) for name, value in self.sets.items()}

    def to_mapping(self) -> dict[str, Any]:
        """The numbers as plain data."""
        curve = {} if self.label is None else {"label": self.label, "curve": self.edits.curve(self.label)}
        numbers = {name: {"mean": mean, "std": std} for name, (mean, std) in self.table().items()}
        return {"strengths": list(self.edits.strengths), **curve, "numbers": numbers}


@torch.no_grad()
def _made(generator: Generator, latents: Latents, tuning: Tuning) -> Tensor:
    """The images (N, C, H, W) of latents, on the CPU."""
    with generator.tuned(tuning):
        parts = (latents.select(slice(first, first + CHUNK)) for first in range(0, len(latents), CHUNK))
        return torch.cat([generator.synthesize(part).cpu() for part in parts])
