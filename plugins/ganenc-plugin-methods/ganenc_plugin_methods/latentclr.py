"""LatentCLR (Yuksel et al., 2021): directions that each do the same to any image, and each another
thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from ganenc.editing import Direction, Finder, Search
from ganenc.generators import Generator
from ganenc.latents import Latents, main_part
from ganenc.models import model_hash
from ganenc_registry.specs import Spec, Styles
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LatentCLR", "contrast"]

HALVED = (1000, 5000)
"""The steps after which the rate falls to a fifth."""


class LatentCLR(Finder):
    """Ways to move latents, trained by contrast: what one changes in the generator's features is alike for all draws,
    and unlike what the others change. The features are the maps of one of the generator's stages, or the
    images where none are known."""

    class Options(Spec):
        """What users can choose."""

        count: int = Field(10, ge=2, description="how many directions")
        way: Literal["fixed", "linear", "mlp"] = Field(
            "fixed",
            description="what is trained: a vector, or what makes one of the latents, of which the mean is kept",
        )
        steps: int = Field(1000, ge=1, description="steps of training")
        batch: int = Field(8, ge=2, description="draws in each step")
        rate: float = Field(0.001, gt=0, description="of Adam; it falls to a fifth after 1,000 and 5,000 steps")
        step: float = Field(0.1, gt=0, description="how far latents are moved, in deviations of all of them together")
        temperature: float = Field(0.5, gt=0, description="of the contrast")
        stage: str | None = Field(None, description="the stage whose maps are compared; the middle one by default")

    def find(self, search: Search) -> list[Direction]:
        """`latentclr-0` and so on, those whose changes are most alike first."""
        generator, chosen = search.generator, self.options
        part = main_part(generator.spec.layout)
        styled = isinstance(part, Styles)
        stages = list(generator.stages())
        stage = chosen.stage or (stages[len(stages) // 2] if stages else None)
        drawn = generator.sample(search.n, seed=search.seed, labels=search.labels)
        length = float(_vectors(drawn).double().var(0).sum().sqrt()) * chosen.step
        with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(search.seed)
            ways = nn.ModuleList(_way(chosen.way, part.dim) for _ in range(chosen.count)).to(generator.device)
            optimiser = torch.optim.Adam(ways.parameters(), lr=chosen.rate)
            schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, HALVED, gamma=0.2)
            for step in range(chosen.steps):
                some = generator.sample(chosen.batch, seed=search.seed, first=search.n + step * chosen.batch)
                changes = _changes(generator, stage, some, lambda rows: [length * _unit(way(rows)) for way in ways])
                optimiser.zero_grad()
                contrast(changes, chosen.temperature).backward()
                optimiser.step()
                schedule.step()
                search.tell(step + 1, chosen.steps)
        with torch.no_grad():
            rows = _vectors(drawn)
            kept = [_unit(way(rows)).mean(0).cpu() for way in ways]
            some = drawn[: min(search.n, 4 * chosen.batch)]
            alike = _likeness(
                _changes(generator, stage, some, lambda given: [length * _unit(way(given)) for way in ways])
            )
        digest, found = model_hash(generator), []
        for place, index in enumerate(alike.argsort(descending=True).tolist()):
            info = {"found": "by LatentCLR", "likeness": round(float(alike[index]), 4), "stage": stage}
            tensor = kept[index][None] if styled else kept[index]
            one = Direction(
                f"latentclr-{place}", [part], {part.name: tensor}, space="w" if styled else "z", model=digest, info=info
            )
            found.append(one.measured(drawn))
        return found


def contrast(changes: Tensor, temperature: float) -> Tensor:
    """Changes of unit length (directions, N, F) => the mean loss: minus the log of the likeness to the same direction's
    other changes over that to the changes of other directions (Equation 4), likenesses being exponentials of cosines
    over the temperature."""
    count, n, _ = changes.shape
    rows = changes.flatten(0, 1)
    near = rows @ rows.T / temperature
    whose = torch.arange(count, device=rows.device).repeat_interleave(n)
    same = whose[:, None] == whose
    others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    own = near.masked_fill(~(same & others), -torch.inf).logsumexp(1)
    against: Tensor = near.masked_fill(same, -torch.inf).logsumexp(1)
    return (against - own).mean()


def _changes(
    generator: Generator, stage: str | None, latents: Latents, ways: Callable[[Tensor], list[Tensor]]
) -> Tensor:
    """What moving latents by each way changes in the maps of a stage, of unit length: (directions, N, F)."""
    part = main_part(latents.layout)
    old = latents[part.name]
    moved = [old + (way[:, None] if isinstance(part, Styles) else way) for way in ways(_vectors(latents))]
    maps = []
    for one in [old, *moved]:
        with generator.watch([stage] if stage else []) as seen:
            images = generator.synthesize(latents.replace(**{part.name: one}))
        maps.append((seen[stage] if stage else images).flatten(1))
    return F.normalize(torch.stack(maps[1:]) - maps[0], dim=2)


def _likeness(changes: Tensor) -> Tensor:
    """By direction, the mean cosine of two draws' changes (directions,)."""
    n = changes.shape[1]
    return ((changes.sum(1).square().sum(1) - n) / max(n * (n - 1), 1)).cpu()


def _vectors(latents: Latents) -> Tensor:
    """The vector of each sample (N, dim); of styles, the mean over layers."""
    tensor = latents[main_part(latents.layout).name]
    return tensor.mean(1) if tensor.ndim == 3 else tensor


def _unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=1)


class _Fixed(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.randn(dim))

    def forward(self, rows: Tensor) -> Tensor:
        """The same for all (N, dim)."""
        return self.vector.expand_as(rows)


def _way(kind: str, dim: int) -> nn.Module:
    if kind == "fixed":
        return _Fixed(dim)
    if kind == "linear":
        return nn.Linear(dim, dim)
    return nn.Sequential(nn.Linear(dim, dim), nn.LeakyReLU(0.2), nn.Linear(dim, dim))
