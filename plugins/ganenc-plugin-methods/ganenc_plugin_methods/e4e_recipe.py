"""The recipe ``e4e``: an encoder that is trained to be edited (Tov et al., 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from ganenc.objectives import Batch
from ganenc.training import Update
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, Spec, Styles
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods.adversary import (
    MLP,
    AdversarialOptions,
    AdversarialRecipe,
    Shown,
    Standard,
    fooled,
    r1,
    told,
)
from ganenc_plugin_methods.parts import rows_of
from ganenc_plugin_methods.psp import E4E

__all__ = ["E4ERecipe"]


class E4ERecipe(AdversarialRecipe):
    """The objective, and what keeps latents where they can be edited: offsets from one w that join one by one, a
    penalty on them, and a discriminator that tells rows of styles from the generator's own. For the encoder ``e4e`` of
    a generator with styles."""

    encoder_fields: ClassVar[dict[str, Any]] = {"network": {"name": "e4e"}}

    class Options(AdversarialOptions):
        """What can be chosen."""

        weight: float = Field(0.1, ge=0, description="of what the discriminator says of the encoder's styles")
        offsets: float = Field(2e-4, ge=0, description="weight of the norms of the offsets, summed over layers")
        first: float = Field(0.1, ge=0, le=1, description="share of the run's steps after which the first offset joins")
        every: float = Field(
            0.01, ge=0, le=1, description="share of them between two; less where not all would join before the end"
        )
        pool: int = Field(50, ge=0, le=100_000, description="how many past latents the discriminator may see again")
        rate: float = Field(2e-5, gt=0, description="learning rate of the discriminator; it follows the run's schedule")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.random = torch.Generator().manual_seed(self.context.run.seed)
        self.pool = next(self.encoder.parameters()).new_zeros(0, self.discriminator.standard.width)
        self._take_stage()
        for (place, _), stack in zip(self.network.rows, self.network.stacks, strict=True):
            if place >= self.network.stage:  # What has not joined adds nothing, in what is saved meanwhile, too.
                for weight in stack.get_submodule("linear").parameters():
                    nn.init.zeros_(weight)

    def discriminating(self) -> nn.Module:
        network, spec = self.encoder.network, self.encoder.spec
        if not any(isinstance(part, Styles) for part in spec.parts):
            given = " and ".join(part.name for part in spec.parts)
            raise SpecError(f"The recipe 'e4e' is for generators with layer-wise styles, and this one takes {given}.")
        if not isinstance(network, E4E):
            raise SpecError(
                "The recipe 'e4e' trains an encoder with one w and offsets from it: choose the network 'e4e', as by"
                " --set encoder.overrides.network=e4e, or start from such an encoder."
            )
        self.network = network
        return StyleDiscriminator(Standard(self.context.network, spec), spec)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        self._take_stage()
        return super().step(batch, update)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outcome, options, stage = self.encoder_step(batch), self.options, self.network.stage
        rows = self.discriminator.standard(outcome.latents)
        self.made.append(rows.detach())
        realism = fooled(self.discriminator(rows, stage)).mean(1)
        styles = [outcome.latents[part.name] for part in self.encoder.spec.parts if isinstance(part, Styles)]
        apart = torch.cat([one[:, 1:stage] - one[:, :1] for one in styles], 1).norm(dim=2).sum(1)
        terms = outcome.result.terms
        total = terms["total"] + options.weight * realism + options.offsets * apart
        return {**terms, "realism": realism, "offsets": apart, "total": total}

    def shown(self, batch: Batch) -> Shown:
        shown = super().shown(batch)
        return replace(shown, latents=self.true_latents(batch), made=self._pooled(shown.made))

    def telling(self, shown: Shown) -> Tensor:
        score, stage = self.discriminator, self.network.stage
        return told(score(score.standard(shown.latents), stage), score(shown.made, stage)).mean(1)

    def penalty(self, shown: Shown) -> Tensor:
        score, stage = self.discriminator, self.network.stage

        def scores(rows: Tensor) -> Tensor:
            found: Tensor = score(rows, stage)
            return found / found.shape[1] ** 0.5  # So that the squares are averaged over rows.

        return r1(scores, score.standard(shown.latents))

    def state(self) -> dict[str, Any]:
        return {**super().state(), "pool": self.pool, "random": self.random.get_state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self.pool = state["pool"].to(self.pool)
        self.random.set_state(state["random"])
        self._take_stage()

    def _take_stage(self) -> None:
        """Let as many rows differ as it is time for."""
        options, steps = self.options, self.context.run.steps
        offsets = max(place for place, _ in rows_of(self.encoder.spec))
        since = self.steps - options.first * steps
        every = min(options.every, (1 - options.first) / max(1, offsets)) * steps
        joined = 0 if since < 0 else 1 + int(since / every) if every else offsets
        self.network.stage = 1 + min(joined, offsets)

    def _pooled(self, rows: Tensor) -> Tensor:
        """Latents (N, F) => each or, once the pool is full, for half of them one of the pool, whose place it takes."""
        whole, own = self.context.processes.gathered(rows)
        shown = whole.clone()
        for index, row in enumerate(whole):
            if len(self.pool) < self.options.pool:
                self.pool = torch.cat([self.pool, row[None]])
            elif len(self.pool) and torch.rand((), generator=self.random) < 0.5:
                place = int(torch.randint(len(self.pool), (), generator=self.random))
                shown[index], self.pool[place] = self.pool[place], row
        return shown[own]


class StyleDiscriminator(nn.Module):
    """Latents in deviations (N, F) => scores (N, rows) of rows of styles, the first ``stage`` of each part, high for a
    generator's own."""

    def __init__(self, standard: Standard, spec: EncoderSpec) -> None:
        super().__init__()
        self.standard = standard
        self.styles = [part for part in spec.parts if isinstance(part, Styles)]
        self.scores = nn.ModuleList(MLP(*[part.dim] * 4, 1) for part in self.styles)

    def forward(self, rows: Tensor, stage: int) -> Tensor:
        parts = self.standard.split(rows)
        read = zip(self.scores, self.styles, strict=True)
        return torch.cat([score(parts[part.name][:, :stage])[:, :, 0] for score, part in read], 1)
