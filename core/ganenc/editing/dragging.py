"""Dragging: points of an image go where they are wanted, and the coarse latents follow (DragGAN, Pan et al., 2023)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from einops import rearrange
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Styles, Vector
from torch import Tensor
from torch.nn import functional as F

from ganenc.editing.edited import FRAMES, Edited
from ganenc.files import as_count, as_tensor
from ganenc.generators import Generator, reach
from ganenc.images import PhotoSource, read, write_png
from ganenc.inversion import able, of_prior
from ganenc.latents import Latents

STEPS = 200
RATE = 0.01
"""Of Adam, in deviations of what the generator draws."""
HOLD = 1.5
"""What a change outside the mask weighs, beside motion."""
DRAWS = 256
"""Of latents, from which their deviation is taken."""
COARSE = 0.5
"""The part of all layers of styles that move; in the paper the first 6 of 16."""
FULL = 512
"""Pixels of the image's longer side that the paper's lengths are of."""
LOOKED = 128
"""Pixels of the longer side of the map that is looked at, at most; 256 in the paper, at twice the cost. Images of at
most so many are small."""
PACE, PATCH, WINDOW = (1.0, 0.5), (3.0, 1.5), (12.0, 3.0)
"""Of the paper, and the least, in pixels: how far a patch is moved in a step, its radius, and that in which a point is
found again."""
ARRIVED = 0.5
"""Of a step, how near to its target a point is there: as far apart as the places at which it is sought."""
PIXELS, COLOURS = 3.0, 3.0
"""Of small images, the radius of the patch of pixels by which a point is known, too, and what these weigh beside
features."""
STILL = 0.1
"""What a place at the edge of that window costs beside, and those within by their distance, in deviations of features:
so that of places that are much alike, as along an edge, a near one is taken."""
Mask: TypeAlias = "PhotoSource | Tensor"
"""A picture, whose white may move and whose black stays, or numbers (H, W), bool or halved at their highest."""


@dataclass(frozen=True)
class DragStep:
    """How far a drag is."""

    step: int
    """From 1."""
    steps: int
    """That it takes at most."""
    points: Tensor
    """Where the points are now, (K, 2), as x and y."""
    distances: Tensor
    """From their targets, in pixels (K,)."""
    latents: Latents
    generator: Generator = field(repr=False)

    @cached_property
    @torch.no_grad()
    def image(self) -> Tensor:
        """(1, C, H, W), in the generator's range; made when it is asked for."""
        return self.generator.synthesize(self.latents)


@dataclass(frozen=True)
class Dragged(Edited):
    """A drag: the latents that it ends at, and the way there. ``drag(generator, before, **settings)`` does it again."""

    points: Tensor = field(default_factory=lambda: torch.empty(0, 2))
    """Where the points have come to, (K, 2)."""
    distances: Tensor = field(default_factory=lambda: torch.empty(0))
    """From their targets, in pixels (K,)."""
    history: list[dict[str, Any]] = field(default_factory=list, repr=False)
    """Of every step up to the one given back: ``step``, ``motion`` and ``hold`` that were descended, ``points`` and
    ``distances`` after it."""
    settings: dict[str, Any] = field(default_factory=dict, repr=False)

    def save(self, folder: str | Path, *, animations: Sequence[str] = ()) -> dict[str, Path]:
        """As `Edited.save`, with the mask as ``mask.png``, if there is one."""
        written = super().save(folder, animations=animations)
        if (mask := self.settings.get("mask")) is not None:
            written["mask"] = Path(folder) / "mask.png"
            write_png(written["mask"], mask[None].float(), value_range=(0.0, 1.0), sheet=True)
        return written


@torch.inference_mode(False)
@torch.enable_grad()
def drag(
    generator: Generator,
    latents: Latents,
    points: Any,
    targets: Any,
    mask: Mask | None = None,
    *,
    steps: int = STEPS,
    rate: float = RATE,
    hold: float = HOLD,
    layers: Sequence[int] | None = None,
    stage: str | None = None,
    on_step: Callable[[DragStep], object] | None = None,
) -> Dragged:
    """Move one sample's latents so that what is at ``points`` of its image comes to ``targets``, both (K, 2): x from
    the left and y from the top, in pixels of the generator's images, 0 the middle of the first.

    What is white in the ``mask`` (see `Mask`) may move, and what is black is held, ``hold`` times as dear as motion. It
    ends when every point is as near as half a step goes, after ``steps``, or when ``on_step``, which is told of each,
    returns something true. Given back is the step after which the points were nearest, in the mean, of several the
    first: its latents, and history, frames and ``settings["steps"]`` up to there. Of styles the first ``layers`` move,
    by default the coarse ones; without styles the vectors do. ``stage`` is the map inside that is looked at (see
    `Generator.stages`), by default the finest of at most half the image's size, and of 128 pixels. Points are told by
    the features around them there and, in images of at most 128 pixels, by the pixels, too.

    `SpecError` if points or the mask do not fit the image, or a point lies where the mask is black; `LatentsError` if
    there are several samples, fewer than two stages, nothing that could move, or it does not stay finite.
    """
    own, size = generator, generator.spec.size
    generator = able(generator).freeze()
    spots, wanted, moves = drag_points(points, targets, mask, size)
    places, goal, steps = spots.to(generator.device), wanted.to(generator.device), as_count(steps, "steps")
    free, stage = _Free(generator, latents, layers, rate), _stage(generator, stage)
    pace, near, far = (max(of_paper * max(size) / FULL, least) for of_paper, least in (PACE, PATCH, WINDOW))
    patch, pixels, window = (
        _disc(one, by).to(places) for one, by in ((near, pace), (PIXELS, pace), (far, ARRIVED * pace))
    )
    settings = {
        "points": spots.tolist(), "targets": wanted.tolist(), "mask": moves, "rate": rate, "hold": hold,
        "layers": free.layers or None, "stage": stage,
    }  # fmt: skip
    way: list[dict[str, Tensor]] = []
    tracked: list[tuple[Tensor, Tensor]] = []
    history: list[dict[str, Any]] = []
    terms = places.new_empty(0)
    for step in range(steps + 1):
        now = free.latents()
        found, *image = _look(generator, stage, now)
        maps = [found.detach(), *image]
        if not step:
            first, held = found.detach(), None if moves is None else _held(moves, found)
            marks = [
                Mark.of(one, places, around, weight, size)
                for one, around, weight in zip(maps, (patch, pixels), (1.0, COLOURS))
            ]
        else:
            places = track_points(maps, marks, places, window, size)
        apart = (goal - places).norm(dim=1)
        told = [places.flatten(), apart, maps[0].sum()[None], terms]
        looked = torch.cat(told).cpu()  # All that a step is asked, in one transfer.
        spots, distances, _, costs = looked.split([len(one) for one in told])
        spots = spots.reshape(-1, 2)
        if not bool(looked.isfinite().all()):
            raise LatentsError(f"The drag left what is finite after {step} steps; lower its rate.")
        tracked.append((spots, distances))
        way.append({name: one.detach().clone() for name, one in free.tensors.items()})
        if step:
            row = {"step": step, **dict(zip(("motion", "hold"), costs.tolist()))}
            history.append({**row, "points": spots.tolist(), "distances": distances.tolist()})
            seen = DragStep(step, steps, spots.clone(), distances.clone(), now.detach().clone(), generator)
            if on_step is not None and on_step(seen):
                break
        if step == steps or bool((distances <= ARRIVED * pace).all()):
            break
        ahead = (goal - places) * (pace / apart.clamp(min=pace))[:, None]
        motion = motion_loss(found, places, ahead, patch, size)
        outside = motion.new_zeros(()) if held is None else hold * ((found - first).abs() * held).sum()
        terms = torch.stack([motion, outside]).detach()
        free.descend(motion + outside)
    nearest = min(range(len(tracked)), key=lambda step: float(tracked[step][1].mean()))
    if step and not nearest:
        warnings.warn(
            f"The points came no nearer to their targets in {step} steps, and the image stays as it was. Take more"
            " --steps, a higher --rate or, with a mask, a lower --hold.", stacklevel=4,
        )  # fmt: skip
    way, history, settings["steps"] = way[: nearest + 1], history[:nearest], nearest
    spots, distances = tracked[nearest]
    kept = torch.linspace(0, len(way) - 1, min(len(way), FRAMES)).round().long().tolist()
    facts = {key: value for key, value in settings.items() if key != "mask"}
    facts |= {"masked": moves is not None, "tracked": spots.tolist(), "distances": distances.tolist()}
    return Dragged(
        own, free.latents(way[-1]).detach(), facts, frames=Latents.cat(free.latents(way[place]) for place in kept),
        before=free.start, points=spots, distances=distances, history=history, settings=settings,
    )  # fmt: skip


class _Free:
    """What of one sample's latents moves: some layers of its styles, or its vectors, in float32 at least."""

    def __init__(self, generator: Generator, latents: Latents, layers: Sequence[int] | None, rate: float) -> None:
        if len(latents) != 1:
            raise LatentsError(f"One sample is dragged at a time; these are {len(latents)}. Pick one by its number.")
        styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
        names = [part.name for part in styles or generator.spec.layout if isinstance(part, Styles | Vector)]
        if not names:
            raise LatentsError(f"{generator.spec.family} has neither styles nor vectors, so nothing can be dragged.")
        self.layers = _layers(generator, min((part.layers for part in styles), default=0), layers)
        own = generator.complete(latents).to(generator.device).detach().clone()
        space = "w+" if styles else own.space
        self.start = Latents(own.layout, own.tensors, space=space, model=own.model, info=dict(own.info))
        self.at = torch.tensor(self.layers, device=generator.device)
        self.tensors = {name: own[name][:, self.at] if styles else own[name] for name in names}
        self.tensors = {name: one.float().clone().requires_grad_() for name, one in self.tensors.items()}
        with torch.no_grad():
            drawn = generator.sample(DRAWS)
        spread = {name: float(drawn[name].float().std(0).square().mean().sqrt()) or 1.0 for name in names}
        self.adam = torch.optim.Adam(
            [{"params": [one], "lr": rate * spread[name]} for name, one in self.tensors.items()]
        )
        self.bounded = of_prior(generator) if generator.spec.prior.kind == "uniform" and not styles else []

    def latents(self, tensors: Mapping[str, Tensor] | None = None) -> Latents:
        """The latents, complete, as they are now, or with what moves as given."""
        found = {name: one.to(self.start[name].dtype) for name, one in (tensors or self.tensors).items()}
        if self.layers:
            found = {name: self.start[name].index_copy(1, self.at, one) for name, one in found.items()}
        return self.start.replace(**found)

    def descend(self, loss: Tensor) -> None:
        """One step of Adam, after which z of a uniform prior is brought back inside; a LatentsError if nothing that
        moves has an effect on the loss."""
        found = torch.autograd.grad(loss, [*self.tensors.values()], allow_unused=True, materialize_grads=True)
        if not self.adam.state and not any(bool(one.any()) for one in found):
            raise LatentsError("What may move has no effect at the points; take other layers, or another stage.")
        for tensor, gradient in zip(self.tensors.values(), found, strict=True):
            tensor.grad = gradient
        self.adam.step()
        with torch.no_grad():
            for name in self.bounded:
                self.tensors[name].clamp_(-1, 1)


def drag_points(
    points: Any, targets: Any, mask: Mask | None, size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Points and their targets, both (K, 2), and where an image of ``size`` may move, bool (H, W), as `drag` is given
    them; a SpecError if they do not fit."""
    places, goal = (_places(one, size) for one in (points, targets))
    if len(places) != len(goal):
        raise SpecError(f"Every point has one target; these are {len(places)} points and {len(goal)} targets.")
    return places, goal, None if mask is None else _mask(mask, size, places)


def features_at(maps: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    """A map (1, C, h, w) at places (..., 2) of the image of ``size`` that it would be brought to bilinearly: (..., C);
    beyond the edge what is nearest."""
    axes = zip(places.unbind(-1), size[::-1], maps.shape[:-3:-1], strict=True)
    along = [((2 * at + 1) / side - 1).clamp(1 / cells - 1, 1 - 1 / cells) for at, side, cells in axes]
    grid = torch.stack(along, -1)
    found = F.grid_sample(maps, grid.reshape(1, 1, -1, 2).to(maps), align_corners=False)
    return rearrange(found, "1 c 1 n -> n c").reshape(*places.shape[:-1], -1)


def motion_loss(maps: Tensor, places: Tensor, ahead: Tensor, patch: Tensor, size: tuple[int, int]) -> Tensor:
    """Motion supervision (Equation 1, its first term): how far the features (1, C, h, w) around each place (K, 2), at
    the offsets of a ``patch`` (P, 2), are from those a step (K, 2) ``ahead``, which alone take a gradient: L1, a mean
    over patch and channels, summed over places."""
    spots = places[:, None] + patch
    behind = features_at(maps.detach(), spots, size)
    return (features_at(maps, spots + ahead[:, None], size) - behind).abs().mean((1, 2)).sum()


@dataclass(frozen=True)
class Mark:
    """What points are found again by, in one kind of map."""

    patch: Tensor
    """Offsets (P, 2) around a point."""
    known: Tensor
    """Values there at the start, (K, P, C)."""
    weight: float
    """What a difference of one counts."""

    @classmethod
    def of(cls, maps: Tensor, places: Tensor, patch: Tensor, weight: float, size: tuple[int, int]) -> Mark:
        """That of places (K, 2) in a map (1, C, h, w); of the weight is a difference of one deviation in it."""
        deviation = float(maps.std((2, 3), correction=0).mean()) or 1.0
        return cls(patch, features_at(maps, places[:, None] + patch, size), weight / deviation)


def track_points(
    maps: Sequence[Tensor], marks: Sequence[Mark], places: Tensor, window: Tensor, size: tuple[int, int]
) -> Tensor:
    """Point tracking (Equation 2), by patches: of the spots around each place (K, 2), at the offsets of a ``window``
    (W, 2), those where what is around them in the maps (1, C, h, w) is nearest to the marks of these, by L1, a far
    one a little less readily (`STILL`); of some alike, the first. In the paper the features of the point alone are
    compared, which in small maps are soon taken for others, and change where the pixels do not."""
    axes = zip((places[:, None] + window).unbind(-1), size[::-1], strict=True)
    spots = torch.stack([at.clamp(0, side - 1) for at, side in axes], -1)
    lengths = window.norm(dim=1)
    still = STILL * lengths / lengths.amax().clamp(min=1e-12)
    nearest = []
    for place, around in enumerate(spots):  # One after the other, as a patch at every spot takes memory.
        apart = still.clone()
        for one, mark in zip(maps, marks, strict=True):
            there = features_at(one, around[:, None] + mark.patch, size)
            apart += mark.weight * (there - mark.known[place]).abs().mean((-2, -1))
        nearest.append(around[apart.argmin(keepdim=True)])  # No number, for which it would wait.
    return torch.cat(nearest)


def _look(generator: Generator, stage: str, latents: Latents) -> list[Tensor]:
    """The map at a stage (1, C, h, w), with its gradient, and the image, if it is small, without; in float32."""
    if max(generator.spec.size) > LOOKED:
        return [reach(generator, stage, latents).float()]
    with generator.watch([stage]) as maps:
        image = generator.synthesize(latents).detach()
    return [maps[stage].float(), image.float()]


def _layers(generator: Generator, count: int, layers: Sequence[int] | None) -> list[int]:
    """The layers of styles that move, of so many; none where there are no styles."""
    if not count and layers is not None:
        raise LatentsError(f"{generator.spec.family} has no styles, so no layers of them; leave these out.")
    taken = sorted(set(range(math.ceil(COARSE * count)) if layers is None else layers))
    if count and (not taken or taken[0] < 0 or taken[-1] >= count):
        raise LatentsError(f"There are the layers 0 to {count - 1} to move, not {taken}.")
    return taken


def _stage(generator: Generator, stage: str | None) -> str:
    """The stage that is looked at; see `drag`."""
    stages, (height, width) = generator.stages(), generator.spec.size
    if len(stages) < 2:
        raise LatentsError(
            f"{generator.spec.family} shows {len(stages)} stages inside, and dragging takes two or more sizes of maps."
        )
    small = [name for name, (_, high, wide) in stages.items() if high * 2 <= height and wide * 2 <= width]
    fair = [name for name in small if max(stages[name][1:]) <= LOOKED]
    return stage or (fair or small or [*stages])[-1]


def _disc(radius: float, spacing: float) -> Tensor:
    """Offsets (P, 2) within a radius, so far apart, the nearest first."""
    reach = int(radius / spacing)
    line = torch.arange(-reach, reach + 1) * spacing
    square = torch.cartesian_prod(line, line)
    lengths = square.norm(dim=1)
    nearest = lengths.argsort(stable=True)
    return square[nearest][lengths[nearest] <= radius]


def _places(given: Any, size: tuple[int, int]) -> Tensor:
    """Points (K, 2) inside an image of ``size``; a SpecError for others."""
    found = as_tensor(given, "points", SpecError).detach()
    found = found[None] if found.ndim == 1 else found
    if found.ndim != 2 or found.shape[1] != 2 or not len(found) or found.is_complex():
        raise SpecError(f"Points are one or more pairs of x and y, (K, 2); not {tuple(found.shape)}.")
    found = found.float()
    inside = (found >= 0) & (found <= found.new_tensor(size[::-1]) - 1)
    for (x, y), fits in zip(found.tolist(), inside.all(1).tolist()):
        if not fits:  # NaN among them.
            raise SpecError(
                f"The point {x:g},{y:g} is not in the image: x is from 0 to {size[1] - 1}, and y to {size[0] - 1}."
            )
    return found


def _mask(mask: Mask, size: tuple[int, int], places: Tensor) -> Tensor:
    """Where an image of ``size`` may move: bool (H, W); a SpecError if the mask is of another, or holds a point."""
    if isinstance(mask, np.ndarray | Tensor):
        values = as_tensor(mask, "mask", SpecError).detach().cpu()
        moves = values > values.max() / 2 if values.numel() else values > 0
    else:
        moves = read(mask, channels=1, value_range=(0.0, 1.0))[0] > 0.5
    if tuple(moves.shape) != size:
        raise SpecError(
            f"The mask is of {' x '.join(map(str, reversed(moves.shape)))} pixels, and the image of"
            f" {size[1]} x {size[0]}; draw it on the image itself."
        )
    for x, y in places.round().long().tolist():
        if not moves[y, x]:
            raise SpecError(f"The point {x},{y} lies where the mask is black, and holds; white is what may move.")
    return moves


def _held(moves: Tensor, maps: Tensor) -> Tensor:
    """What each place of maps (1, C, h, w) counts that has to stay: (1, 1, h, w), in all 1 over the channels."""
    height, width = maps.shape[-2:]
    held = F.adaptive_avg_pool2d((~moves)[None, None].to(maps), (height, width))
    return held / (held.sum() * maps.shape[1]).clamp(min=1e-12)
