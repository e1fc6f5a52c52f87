"""What one training step does. The loop, processes, micro-batches, guards, resuming and folders are every recipe's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import torch
from ganenc_registry.components import Component, Context
from ganenc_registry.specs import RunSpec, Spec
from torch import Tensor, nn

from ganenc.encoders import Encoder, averaged
from ganenc.files import Processes
from ganenc.generators import Generator
from ganenc.objectives import Batch, EncoderStep, Look, Objective, looks, make_adam

Losses: TypeAlias = Callable[[Batch], Mapping[str, Tensor]]
"""Terms (N,) of a batch by name; ``total`` is what is minimised."""
Update: TypeAlias = Callable[[str, Losses, Batch], dict[str, Tensor]]
"""One step of the optimiser of a name towards the least mean ``total`` of losses over a batch; gives every term's mean.
Parts of a batch, processes, scales of half precision and bounds of the gradient are seen to."""
LOOKS = 4
"""So many targets, the first of the sample grids, are shown as the attention sees them."""


@dataclass(frozen=True, kw_only=True)
class RecipeContext(Context):
    """What a recipe trains, and with what."""

    network: Generator
    """Frozen."""
    encoder: Encoder
    objective: Objective
    run: RunSpec
    processes: Processes = field(default_factory=Processes)
    """Those that share each step; what `Recipe.state` holds has to be the same in all."""


class Recipe(Component, ABC):
    """What one training step does: the modules and optimisers that it owns, and what is kept of them. A subclass makes
    optimisers in ``__init__`` and calls `own` for each. A step then hands losses to ``update``, once for each optimiser
    that it wants to move, and changes nothing else of what it owns but what `state` holds."""

    context: RecipeContext
    encoder_fields: ClassVar[Mapping[str, Any]] = {}
    """Fields of the spec of an encoder that it trains, where the mirror of a generator is none; `ganenc check` builds
    that one."""
    averaged: ClassVar[tuple[str, ...]] = ("encoder",)
    """The modules of whose weights an averaged copy is kept, where the run asks for one."""

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.encoder = self.context.encoder
        self.modules: dict[str, nn.Module] = {}
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    def own(self, name: str, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Train a module: its weights and its optimiser's state go into checkpoints, its rate follows the schedule."""
        self.modules[name], self.optimisers[name] = module, optimiser

    @abstractmethod
    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step: the terms to report, scalars by name, ``total`` among them."""

    def state(self) -> dict[str, Any]:
        """What is to be restored besides modules and optimisers: tensors and plain values in dicts and lists."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""

    def rebuild(self, batch: Batch) -> Tensor:
        """Images (N, C, H, W) => what the encoder, as it is now, and the generator make of them."""
        encoder, network = self.encoder.eval(), self.context.network
        latents = network.complete(encoder(batch.images, labels=batch.labels), labels=batch.labels)
        return averaged(network.synthesize(latents), batch.images.shape[2:])

    def leave(self, folder: Path) -> None:
        """Write what a run that is done leaves besides its encoder into its folder: by default nothing."""

    def looks(self, batch: Batch, made: Tensor) -> list[Look]:
        """Where the attention looks in the first targets; empty where images are not compared."""
        return []


class EncoderRecipe(Recipe):
    """The paper's step (Equation 6): encoder, generator, objective; one Adam, of the encoder alone."""

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        run, encoder = self.context.run, self.encoder.requires_grad_(True)
        choice = run.objective
        self.encoder_step = EncoderStep(
            self.context.network,
            encoder,
            self.context.objective,
            image_gradient=choice.image_gradient,
            log_images=choice.log_images,
            latent_on_photos=choice.latent.on_photos,
            checkpointing=run.speed.checkpointing,
        )
        self.own("encoder", encoder, make_adam(encoder.parameters(), run.optimiser.rate, run.optimiser.betas))

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """Batch norm takes the statistics of the batch in pre-training, and its running ones in fine-tuning."""
        self.encoder.train(self.context.run.task == "pretrain")
        return update("encoder", self.losses, batch)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Every term (N,) of the objective; a recipe that adds some to ``total`` begins here."""
        return self.encoder_step(batch).result.terms

    def rebuild(self, batch: Batch) -> Tensor:
        """As in a step: under the settings of the batch's true latents."""
        latents = self.encoder.eval()(batch.images, labels=batch.labels)
        made = self.context.network.synthesize(self.encoder_step.completed(latents, batch))
        return averaged(made, batch.images.shape[2:])

    def looks(self, batch: Batch, made: Tensor) -> list[Look]:
        if not (self.encoder_step.image_gradient or self.encoder_step.log_images):
            return []
        few, attention = batch[:LOOKS], self.context.objective.attention
        return looks(attention, few.images, made[:LOOKS], labels=few.labels)
