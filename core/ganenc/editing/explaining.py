"""Explaining a classifier: the smallest change of latents that makes it say something else. Not in the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Condition, Styles, Vector
from torch import Tensor
from torch.nn import functional as F

from ganenc.editing.directions.direction import Direction
from ganenc.editing.directions.finding import margin
from ganenc.editing.edited import FRAMES, Edited
from ganenc.files import as_count, import_function
from ganenc.generators import Generator
from ganenc.images import convert_range, heat_over, write_png
from ganenc.inversion import able, of_prior
from ganenc.latents import Latents
from ganenc.measures import deviations
from ganenc.objectives import Backbone, load_backbone

PROBABILITY = 0.9
EFFORT = 400
"""Passes with a gradient at most, from each start."""
STARTS = 3
"""The sample itself, and where that does not lead to the class others, a deviation away."""
SHOWN = 5
"""Images of the strip."""
DRAWS = 1024
"""Of latents, from which it is learnt how they vary."""
LOWER, ROUNDS, PASSES, SMALL = 0.4, 5, 15, 0.05
"""What the price of length is lowered by until the class is said; rounds after that, for less; passes of a round; of
the longest group that is left, the part below which another is left out, if the class is still said."""
LEAST, AT_ONCE, HALVINGS = 1e-3, 8, 12

Classifier: TypeAlias = "str | Backbone | Callable[[Tensor], Tensor]"
"""A registered backbone with classes, or a function of images (N, C, H, W) from -1 to 1 that gives logits (N, classes),
or one, of a yes; or its name in a script or module, as in ``mine.py:classify``."""


@dataclass(frozen=True)
class Explained(Edited):
    """An explanation: the latents from the sample itself to where the classifier says the class."""

    flipped: bool = False
    """Whether it does; where not, the latents lead to where it was surest."""
    probabilities: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    """What it says of every image of the strip, (N, classes)."""
    changes: Mapping[str, float] = field(default_factory=dict)
    """How far what changed went, in deviations of what the generator draws: layers as ``w.3``, parts, directions."""
    random: float = math.nan
    """The part of random changes of the same length that bring it to say the class, too; nan if none was made."""

    @cached_property
    def map(self) -> Tensor:
        """What changed where: a mean over channels, in widths of the range of values, (1, 1, H, W)."""
        low, high = self.generator.spec.value_range
        first, last = self.images[:1].clamp(low, high), self.images[-1:].clamp(low, high)
        return (last - first).abs().mean(1, keepdim=True) / (high - low)

    def save(self, folder: str | Path, *, animations: Sequence[str] = ()) -> dict[str, Path]:
        """As `Edited.save`, with ``map.png`` where images are pictures: what changed, over the sample's greys."""
        written = super().save(folder, animations=animations)
        if (spec := self.generator.spec).shows == "pictures":
            written["map"] = Path(folder) / "map.png"
            heat = heat_over(self.images[:1], self.map / self.map.max().clamp(min=1e-6), spec.value_range)
            write_png(written["map"], heat[0], value_range=spec.value_range, sheet=True)
        return written


def as_classifier(given: Classifier, generator: Generator) -> Callable[[Tensor], Tensor]:
    """What gives the logits (N, classes) of a generator's images, with their gradient; `GanencError` if there is no
    such classifier, it has no classes, or what it gives are no logits."""
    named = str(given) if isinstance(given, str) else getattr(given, "name", getattr(given, "__name__", "given"))
    if isinstance(given, str):
        given = import_function(given) if ":" in given else load_backbone(given)
    ask = given
    if isinstance(given, Backbone):
        backbone = load_backbone(given, device=generator.device)
        if not backbone.classes:
            raise SpecError(f"The backbone {named!r} is no classifier, so there is nothing to explain; take another.")

        def ask(views: Tensor) -> Any:
            return backbone(backbone.fit(views)).logits

    def logits(images: Tensor) -> Tensor:
        views = convert_range(images, generator.spec.value_range, (-1.0, 1.0)).clamp(-1, 1)
        found = ask(views)
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(images) or not found.shape[1]:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise SpecError(f"The classifier {named!r} gives {shape} for {len(images)} images; it gives (N, classes).")
        if not bool(found.isfinite().all()):
            raise SpecError(f"The classifier {named!r} gives logits that are not finite.")
        return F.pad(found, (1, 0)) if found.shape[1] == 1 else found

    return logits


@torch.inference_mode(False)
@torch.enable_grad()
def explain(
    generator: Generator,
    latents: Latents,
    classifier: Classifier,
    target: int,
    *,
    probability: float = PROBABILITY,
    layers: Sequence[int] | None = None,
    directions: Sequence[Direction] = (),
    steps: int = EFFORT,
    random: int = 20,
    seed: int = 0,
    on_step: Callable[[int, int], object] | None = None,
) -> Explained:
    """Find the smallest change of one sample's latents with which a classifier says the class ``target`` with a
    ``probability``: a counterfactual (Wachter et al., 2018) among what the generator makes.

    Small is the sum, over groups, of how far each goes, as in the group lasso (Yuan and Lin, 2006), which leaves most
    as they are. Groups are the ``layers`` of styles (by default all), vectors and conditions, and ``directions``, each
    by itself; maps and noise stay. Lengths are in deviations of what the generator draws, so along what it varies
    (Mahalanobis). L-BFGS descends -log p of the class, by the classifier's gradient through the generator, and a price
    of length that falls until the probability is reached, in ``steps`` passes at most; where it is not, it begins anew
    from a deviation away, twice at most. The lasso is a least square,
    reweighted by the lengths so far (Daubechies et al., 2010); then small groups are left out, and as much of the rest
    is taken as the class needs. ``random`` changes of the same length, in all that may move, tell whether it takes this
    one. ``on_step`` is told of passes, and all.

    `SpecError` if there is no such class or probability, or the classifier gives no logits or no gradient;
    `LatentsError` if there are several samples, directions that do not fit, or nothing that moves the classifier.
    """
    if not 0 < probability < 1:
        raise SpecError(f"A probability is between 0 and 1, not {probability:g}.")
    own, steps, random = generator, as_count(steps, "steps", 1), as_count(random, "random")
    generator, ask = able(generator).freeze(), as_classifier(classifier, generator)
    free, wanted = _Free(generator, latents, layers, directions), math.log(probability / (1 - probability))

    @torch.no_grad()
    def says(changes: Tensor) -> Tensor:
        return torch.cat([ask(generator.synthesize(free.apply(some))).double() for some in changes.split(AT_ONCE)])

    def odds(change: Tensor) -> float:
        return float(margin(says(change), target))

    change = torch.zeros(1, sum(free.sizes), device=generator.device, requires_grad=True)
    price, stiff, passes, rounds, ends = 0.0, torch.zeros_like(change), 0, ROUNDS, steps
    descent = torch.optim.LBFGS([change], max_iter=PASSES, max_eval=PASSES, line_search_fn="strong_wolfe")

    def look() -> float:
        nonlocal passes
        gap = margin(ask(generator.synthesize(free.apply(change))).double(), target)
        if not gap.requires_grad:
            raise SpecError("The classifier gives no gradient; it is to be made of differentiable operations.")
        loss = F.softplus(-gap).sum() + price * (stiff * change.square()).sum() / 2
        (change.grad,) = torch.autograd.grad(loss, change)
        passes += 1
        if on_step is not None:
            on_step(min(passes, ends), ends)
        return loss.item()

    look()
    stiff, found = torch.ones_like(stiff), change.detach().clone()
    first, most = float(change.grad.norm()), odds(found)  # type: ignore[union-attr]
    price, gap = first, most
    if not price and gap < wanted:
        raise LatentsError("What may change has no effect on what the classifier says; let more change.")
    while rounds and (passes > 1 or gap < wanted):
        if passes >= ends:
            if most >= wanted or ends == STARTS * steps:
                break
            price, stiff, ends = first, torch.ones_like(stiff), ends + steps
            with torch.no_grad():
                change.copy_(free.random(1, 1.0, seed + ends // steps))
        descent.state.clear()
        descent.step(look)
        gap, lengths = odds(change.detach()), free.lengths(change.detach())
        rounds -= most >= wanted
        shorter = gap >= wanted and (most < wanted or lengths.sum() < free.lengths(found).sum())
        if shorter or most < gap < wanted:
            found, most = change.detach().clone(), gap
        price *= LOWER if gap < wanted else LOWER**-0.5
        stiff = 1 / free.each(lengths.clamp(min=LEAST * float(lengths.max())))
    flipped, low, share = most >= wanted, 0.0, 1.0
    lengths = free.lengths(found)
    if flipped and odds(sparse := found * (free.each(lengths) > SMALL * lengths.max())) >= wanted:
        found = sparse
    for _ in range(HALVINGS if flipped else 0):
        middle = (low + share) / 2
        low, share = (low, middle) if odds(middle * found) >= wanted else (middle, share)
    found = share * found
    length, moved = float(found.norm()), free.lengths(found)[0].tolist()
    ways = [torch.linspace(0, 1, n, device=found.device)[:, None] * found for n in (SHOWN, FRAMES)]
    said, does = says(ways[0]).softmax(1).float().cpu(), math.nan
    if random and length:
        does = float((margin(says(free.random(random, length, seed)), target) >= wanted).double().mean())
    changes = {name: round(far, 4) for name, far in zip(free.names, moved) if far}
    facts = {
        "target": target, "probability": probability, "flipped": flipped, "before": int(said[0].argmax()),
        "after": int(said[-1].argmax()), "from": round(float(said[0, target]), 4),
        "to": round(float(said[-1, target]), 4), "length": round(length, 4), "changes": changes, "passes": passes,
        "random": random, "random_flipped": None if math.isnan(does) else does,
    }  # fmt: skip
    latents, frames = (free.apply(way).detach() for way in ways)
    return Explained(
        own, latents, facts, frames=frames, flipped=flipped, probabilities=said, changes=changes, random=does
    )


class _Free:
    """What may change of one sample's latents: K numbers in groups, each number a deviation of the draws."""

    def __init__(
        self, generator: Generator, latents: Latents, layers: Sequence[int] | None, directions: Sequence[Direction]
    ) -> None:
        if len(latents) != 1:
            raise LatentsError(f"One sample is explained at a time; these are {len(latents)}. Pick one by its number.")
        self.device = generator.device
        own = generator.complete(latents).to(self.device).detach().clone()
        styles = [part for part in generator.spec.layout if isinstance(part, Styles)]
        space = "w+" if styles else own.space
        self.start = Latents(own.layout, own.tensors, space=space, model=own.model, info=dict(own.info))
        self.bounded = of_prior(generator) if generator.spec.prior.kind == "uniform" else []
        count = min((part.layers for part in styles), default=0)
        if wrong := [layer for layer in layers or () if not 0 <= layer < count]:
            known = f"of styles there are {count}, from 0 on" if count else "there are none, as there are no styles"
            raise LatentsError(f"The layers {wrong} cannot change: {known}.")
        with torch.no_grad():
            drawn = generator.sample(DRAWS, labels=generator.draw_labels(DRAWS))
        self.roots: list[tuple[str, int | None, Tensor]] = []
        for part in generator.spec.layout:
            if isinstance(part, Styles):
                rows, own_root = drawn[part.name], None
                tied = torch.equal(rows, rows[:, :1].expand_as(rows))
                for layer in range(part.layers) if layers is None else sorted({*layers}):
                    own_root = own_root if tied and own_root is not None else deviations(rows[:, layer])
                    self.roots.append((part.name, layer, own_root))
            elif isinstance(part, Vector | Condition) and layers is None:
                self.roots.append((part.name, None, deviations(drawn[part.name])))
        self.roots = [(name, layer, root.to(own[name])) for name, layer, root in self.roots if len(root)]
        self.ways = list(directions)
        for way in self.ways:
            way.check(self.start)
        self.sizes = [len(root) for *_, root in self.roots] + [1] * len(self.ways)
        self.names = [name if layer is None else f"{name}.{layer}" for name, layer, _ in self.roots]
        self.names += [f"direction {way.name}" for way in self.ways]
        if not self.sizes:
            raise LatentsError("Nothing may change; name layers, or a direction.")

    def lengths(self, changes: Tensor) -> Tensor:
        """Of each group: (N, K) => (N, groups)."""
        return torch.stack([one.norm(dim=1) for one in changes.split(self.sizes, 1)], 1)

    def each(self, groups: Tensor) -> Tensor:
        """Of each number what is of its group: (N, groups) => (N, K)."""
        return torch.cat([groups[:, at : at + 1].expand(-1, size) for at, size in enumerate(self.sizes)], 1)

    def random(self, n: int, length: float, seed: int) -> Tensor:
        """Changes (n, K) of a length, all ways alike."""
        drawn = torch.randn(n, sum(self.sizes), generator=torch.Generator().manual_seed(seed))
        return drawn.mul(length / drawn.norm(dim=1, keepdim=True)).to(self.device)

    def apply(self, changes: Tensor) -> Latents:
        """The latents of N samples, complete."""
        now, parts = self.start.expand(len(changes)), changes.split(self.sizes, 1)
        for (name, layer, root), one in zip(self.roots, parts):
            step = one.to(root) @ root
            at = torch.full((1,), layer or 0, device=root.device)  # Made there, as a transfer would wait.
            now = now.replace(
                **{name: now[name] + step if layer is None else now[name].index_add(1, at, step[:, None])}
            )
        for way, one in zip(self.ways, parts[len(self.roots) :]):
            now = way.apply(now, one[:, 0])
        return now.replace(**{name: now[name].clamp(-1, 1) for name in self.bounded})
