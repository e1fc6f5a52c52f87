"""How pSp (Richardson et al., 2021), ReStyle (Alaluf et al., 2021) and E2Style (Wei et al., 2022) train: near the mean,
in several passes, and in stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import torch
from ganenc.encoders import averaged
from ganenc.latents import Latents
from ganenc.objectives import Batch
from ganenc.training import EncoderRecipe, Update
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from ganenc_registry.specs.sizes import Count
from pydantic import Field
from torch import Tensor

from ganenc_plugin_methods.e2style import E2Style
from ganenc_plugin_methods.restyle import RefiningNetwork, plus, start_image

__all__ = ["E2StyleRecipe", "PSPRecipe", "ReStyleRecipe", "RefiningRecipe"]


class PSPRecipe(EncoderRecipe):
    """pSp: the step of one encoder, and a bound on how far its latents go from those that it starts at."""

    encoder_fields: ClassVar[Mapping[str, Any]] = {"network": "psp"}

    class Options(Spec):
        """The regulariser."""

        w_norm: float = Field(
            0.005, ge=0, description="weight of the norm of what is predicted around the encoder's start; its papers"
            " have 0.005 where colours are wanted, and 0 for faces",
        )  # fmt: skip

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        outcome = self.encoder_step(batch)
        start = self.encoder.start
        offsets = [(outcome.latents[name] - start[name]).flatten(1) for name in start.tensors]
        norm = torch.linalg.vector_norm(torch.cat(offsets, 1), dim=1)
        total = outcome.result.per_sample + self.options.w_norm * norm
        return {**outcome.result.terms, "w_norm": norm, "total": total}


class RefiningRecipe(EncoderRecipe):
    """What the recipes of encoders share that see images beside their reconstructions."""

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        network, choice = self.encoder.network, self.context.run.objective
        if not isinstance(network, RefiningNetwork):
            wanted = self.encoder_fields["network"]
            raise SpecError(
                f"The recipe {wanted!r} is for an encoder that sees images beside their reconstructions: set"
                f" encoder.overrides.network to {wanted}, or encoder.weights to such a one."
            )
        if not choice.image_gradient:
            raise SpecError("objective.image_gradient is off, and this recipe learns from images; leave it on.")
        self.network = network
        network.meet(self.context.network, self.encoder)
        self.start = start_image(self.encoder, self.context.network)

    def passes(self, batch: Batch, count: int, *, learns: int = 0) -> Iterator[tuple[Latents, Tensor]]:
        """The latents and the reconstructions of each pass, which has a gradient of its own from ``learns`` on."""
        seen, size = self.encoder.seen(batch.images), batch.images.shape[2:]
        latents, made = self.encoder.start.expand(len(seen)), self.start
        for index in range(count):
            with torch.set_grad_enabled(torch.is_grad_enabled() and index >= learns):
                if index:
                    added = self.network.again(seen, self.encoder.seen(made), index)
                else:
                    added = self.network.first(seen, made)
                latents = plus(latents, added)
                whole = self.encoder_step.completed(latents, batch)
                made = averaged(self.encoder_step.synthesized(whole), size)
            yield latents, made
            latents, made = latents.detach(), made.detach()

    def compared(self, batch: Batch, count: int, *, learns: int = 0) -> list[Mapping[str, Tensor]]:
        """The terms of the objective (N,) in each pass that learns; of photos without the latent loss."""
        objective = self.context.objective
        reference = objective.prepare(batch.images, labels=batch.labels)
        truth = None if batch.latents is None else self.context.network.complete(batch.latents)
        walked = enumerate(self.passes(batch, count, learns=learns))
        return [
            objective(made, reference, latents=latents, latents_reference=truth).terms
            for index, (latents, made) in walked
            if index >= learns
        ]

    def rebuild(self, batch: Batch) -> Tensor:
        """By as many passes as it is trained for."""
        self.encoder.eval()
        *_, (_, made) = self.passes(batch, self.network.passes)
        return made


class ReStyleRecipe(RefiningRecipe):
    """ReStyle: an image goes through all passes, each compared with it; the gradient goes through each alone, and one
    step of the optimiser follows all."""

    encoder_fields: ClassVar[Mapping[str, Any]] = {"network": "restyle"}

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        found = self.compared(batch, self.network.passes)
        each = {f"pass/{index}": terms["total"] for index, terms in enumerate(found, 1)}
        return {**found[-1], **each, "total": torch.stack(list(each.values())).sum(0)}


class E2StyleRecipe(RefiningRecipe):
    """E2Style: one stage after another learns for its share of the run, while those before it are frozen."""

    encoder_fields: ClassVar[Mapping[str, Any]] = {"network": "e2style"}

    class Options(Spec):
        """Which stages learn."""

        stage: Count | None = Field(
            None, description="the only stage to train, from 1; by default all, each for the same share of the steps"
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        count = self.network.passes
        if not isinstance(self.network, E2Style):
            raise SpecError("The recipe 'e2style' is for the encoder 'e2style': set encoder.overrides.network to it.")
        if (self.options.stage or 1) > count:
            raise SpecError(f"recipe.options.stage: the encoder has {count} stages, and {self.options.stage} is asked.")
        self.done = 0

    @property
    def stage(self) -> int:
        """The stage that learns now, from 0."""
        if self.options.stage:
            return int(self.options.stage) - 1
        return min(self.done * self.network.passes // max(1, self.context.run.steps), self.network.passes - 1)

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The stages before, and those to come, are as they are: their statistics, too."""
        for index, stage in enumerate(cast(E2Style, self.network).stages):
            stage.requires_grad_(index == self.stage)
            stage.train(index == self.stage and self.context.run.task == "pretrain")
        terms = update("encoder", self.losses, batch)
        self.done += 1
        return terms

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        return self.compared(batch, self.stage + 1, learns=self.stage)[0]

    def rebuild(self, batch: Batch) -> Tensor:
        """By the stages that have learned."""
        self.encoder.eval()
        *_, (_, made) = self.passes(batch, self.stage + 1)
        return made

    def state(self) -> dict[str, Any]:
        return {"done": self.done}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.done = int(state["done"])
