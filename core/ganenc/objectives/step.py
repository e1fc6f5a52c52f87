"""One step of an encoder's training: encoder, generator, objective (Equation 6)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import cast

import torch
from ganenc_registry.errors import LatentsError
from ganenc_registry.specs import Setting
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ganenc.encoders import Encoder, averaged
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives.objective import Objective, ObjectiveResult, Reference


@dataclass(frozen=True)
class Batch:
    """What an encoder is trained on in one step."""

    images: Tensor = field(repr=False)
    """(N, C, H, W) in the generator's value range; its size, or the encoder's, to which it then is averaged."""
    labels: Tensor | None = None
    """int64 (N,) or rows (N, classes), where they matter."""
    latents: Latents | None = None
    """The true latents of synthesized images; None for photos, which have none."""
    of: int | None = None
    """How many samples the whole step has, where others are elsewhere: in another process, or in a later part."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, samples: slice) -> Batch:
        """Some of the samples, as a part of the same step."""
        labels = None if self.labels is None else self.labels[samples]
        latents = None if self.latents is None else self.latents[samples]
        return Batch(self.images[samples], labels, latents, self.of or len(self))


@dataclass(frozen=True)
class StepOutcome:
    """What came out of one step, with its graph."""

    result: ObjectiveResult
    latents: Latents
    """What the encoder predicted."""
    reconstruction: Tensor | None = field(repr=False)
    """(N, C, H, W), not clamped; None where the step did not make it."""


@dataclass(eq=False)
class EncoderStep:
    """Computes the loss of a batch. The generator and the objective are frozen; gradients reach the encoder alone."""

    generator: Generator
    encoder: Encoder
    objective: Objective
    _: KW_ONLY
    image_gradient: bool = True
    """Whether image losses reach the encoder. Without them (strategy 1 of section 4.3, as its published code has it)
    the latent loss alone does, and the generator does not run."""
    log_images: bool = False
    """Where image losses reach nothing, whether to compute them for the log."""
    latent_on_photos: bool = True
    """On photos, compare E(y) with E(G(E(y))), gradient on both sides."""
    checkpointing: bool = False
    """Keep nothing of the passes of encoder and generator and do them anew for the gradient, so that the memory of one
    of them is held at a time. An encoder whose norm gathers statistics is not done anew."""

    def __post_init__(self) -> None:
        self.generator.freeze()
        self.objective.requires_grad_(False)

    def __call__(self, batch: Batch, reference: Reference | None = None) -> StepOutcome:
        """The loss of a batch: images, with their true latents where known; ``reference`` is what ``objective.prepare``
        gave for them, if at hand. `LatentsError` if no image gradient is wanted and no true latents are known."""
        latents = self._encoded(batch.images, batch.labels)
        truth = None if batch.latents is None else self.generator.complete(batch.latents)
        if not self.image_gradient:
            return self._latent_only(batch, latents, truth, reference)
        if reference is None:
            reference = self.objective.prepare(batch.images, labels=batch.labels)
        reconstruction = averaged(self.synthesized(self.completed(latents, batch)), batch.images.shape[2:])
        if truth is None and self.objective.latent is not None and self.latent_on_photos:
            truth = self._encoded(_laid_out_as(batch.images, reconstruction), batch.labels)
        result = self.objective(reconstruction, reference, latents=latents, latents_reference=truth)
        return StepOutcome(result, latents, reconstruction)

    def _encoded(self, images: Tensor, labels: Tensor | None) -> Latents:
        if not self.checkpointing or (self.encoder.training and self.encoder.gathers):
            encoded: Latents = self.encoder(images, labels=labels)
            return encoded
        return cast(Latents, checkpoint(self.encoder, images, labels=labels, use_reentrant=False))

    def synthesized(self, latents: Latents) -> Tensor:
        """The generator's images (N, C, H, W), computed anew for the gradient if asked for."""
        if not self.checkpointing:
            return self.generator.synthesize(latents)
        return checkpoint(self.generator.synthesize, latents, use_reentrant=False)

    def completed(self, latents: Latents, batch: Batch) -> Latents:
        """What was predicted for a batch, with all that is not: embedded labels, and the settings of its true latents,
        so that an image is rebuilt under the settings that it was synthesized under."""
        known = {} if batch.latents is None else batch.latents.tensors
        settings = {
            part.name: known[part.name] for part in latents.layout if isinstance(part, Setting) and part.name in known
        }
        return self.generator.complete(latents.replace(**settings), labels=batch.labels)

    def _latent_only(
        self, batch: Batch, latents: Latents, truth: Latents | None, reference: Reference | None
    ) -> StepOutcome:
        if truth is None or self.objective.latent is None:
            raise LatentsError(
                "Without image gradient an encoder learns from true latents alone: train it on synthesized images, with"
                " a latent loss."
            )
        per_sample, terms = self.objective.latent(latents, truth)
        reconstruction = None
        if self.log_images:
            with torch.no_grad():
                made = self.generator.synthesize(self.completed(latents, batch))
                reconstruction = averaged(made, batch.images.shape[2:])
                reference = reference or self.objective.prepare(batch.images, labels=batch.labels)
                images = self.objective(reconstruction, reference).terms
            terms = {**{name: value for name, value in images.items() if name != "total"}, **terms}
        terms = {**terms, "total": per_sample}
        result = ObjectiveResult(per_sample.mean(), per_sample, torch.zeros_like(per_sample), terms)
        return StepOutcome(result, latents, reconstruction)


def _laid_out_as(images: Tensor, others: Tensor) -> Tensor:
    """Other images in the memory format of these, which is the encoder's."""
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return others.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
