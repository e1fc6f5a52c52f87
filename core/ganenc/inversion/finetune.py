"""The paper's inversion: fine-tune the encoder on the photo, then let it encode the photo (section 3.3)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, cast

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import Condition, Spec, encoded
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.descent import Schedule, descend
from ganenc.inversion.encode import channels_last
from ganenc.inversion.inverter import Inversion, Inverter, OnStep, in_parts, need_encoder
from ganenc.inversion.optimize import Variables, optimise_latents
from ganenc.inversion.stacked import StackedEncoder, pays_at_once
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, Objective, ObjectiveResult

__all__ = ["Finetune", "FinetuneRefine"]

Decay = Annotated[float, Field(ge=0, lt=1)]


class Finetune(Inverter):
    """Fine-tunes a copy of the encoder on each photo (or on all together) and takes the latents of the lowest loss.

    ``batch`` photos' encoders are fine-tuned at once: each ends where it would by itself, to rounding. By default 8
    where that was measured to pay, which is on processors, for images of at most 64x64 pixels and encoders of at most
    two million trained weights; else one after another. It takes memory for the trained weights of as many encoders,
    each with its gradient and Adam's two averages, besides the pass of as many photos.
    """

    needs_encoder = True

    class Options(Spec):
        steps: PositiveInt = Field(500, description="steps a photo, or in all where they share an encoder")
        rate: PositiveFloat = Field(
            0.01, description="learning rate at its height; the paper keeps 0.0015 throughout, by a constant schedule"
        )
        betas: tuple[Decay, Decay] = Field((0.9, 0.99), description="of Adam's averages; the paper has 0 and 0.99")
        schedule: Schedule = Field(
            "cosine", description="cosine: the rate rises over the first twentieth, then falls along a cosine"
        )
        latent_loss: bool = Field(
            False, description="also compare E(y) with E(G(E(y))) (Equation 4), as the paper does, by a second pass"
        )
        layers: Literal["all", "heads"] = Field(
            "all", description="the weights that move: all, or those of the layers that end in latents"
        )
        together: bool = Field(False, description="one encoder for all photos, instead of one each")
        refine: NonNegativeInt = Field(
            0, description="so many steps more, on the latents themselves (not in the paper)"
        )
        refine_rate: PositiveFloat = Field(0.02, description="learning rate of these")
        batch: PositiveInt | None = Field(
            None, description="photos whose encoders are fine-tuned at once", json_schema_extra={"speed": True}
        )

        @model_validator(mode="after")
        def _apart(self) -> Self:
            if self.together and self.batch not in (None, 1):
                raise ValueError("batch is 1 for photos that share an encoder")
            return self

    def invert(
        self,
        images: Tensor,
        generator: Generator,
        encoder: Encoder | None,
        *,
        labels: Tensor | None = None,
        objective: Objective | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """See :meth:`Inverter.invert`. The encoder that is given stays as it is."""
        assert objective is not None
        working = copy.deepcopy(need_encoder(encoder)).eval()
        if images.device.type in ("cpu", "cuda"):  # Convolutions there are fastest with the channels last.
            working = working.to(memory_format=torch.channels_last)
        working.requires_grad_(False)
        for parameter in self._trained(working):
            parameter.requires_grad_(True)
        size = len(images) if self.options.together else self.at_once(generator, working)

        def tune(some: Tensor, given: Tensor | None, first: int) -> Inversion:
            if self.options.together or len(some) == 1:
                own = copy.deepcopy(working)
            else:
                own = cast(Encoder, StackedEncoder(working, len(some), generator.label_rows))
            tuned = self._tuned(Batch(some, given), generator, own, objective, first, on_step)
            if not self.options.refine:
                return tuned
            return self._refined(Batch(some, given), generator, objective, tuned, first, on_step)

        return in_parts(channels_last(images), labels, size, tune, self.options.to_mapping())

    @property
    def shares(self) -> bool:
        """See :meth:`Inverter.shares`."""
        return bool(self.options.together)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`; photos that share an encoder do so within one call, whatever this says."""
        if self.options.batch is not None or self.options.together or encoder is None:
            return self.options.batch or 1
        return pays_at_once(encoder, self._trained(encoder))

    def _trained(self, encoder: Encoder) -> list[nn.Parameter]:
        """The weights of an encoder that move."""
        return list(encoder.parameters() if self.options.layers == "all" else encoder.head_parameters())

    def _tuned(
        self,
        batch: Batch,
        generator: Generator,
        encoder: Encoder,
        objective: Objective,
        photo: int,
        on_step: OnStep | None,
    ) -> Inversion:
        options = self.options
        step_of = EncoderStep(generator, encoder, objective, latent_on_photos=options.latent_loss)
        reference = objective.prepare(batch.images, labels=batch.labels)

        def take() -> tuple[Latents, ObjectiveResult, Tensor]:
            outcome = step_of(batch, reference)
            latents = generator.complete(outcome.latents, labels=batch.labels)
            # Of encoders of their own, each has the gradient of its photo.
            loss = outcome.result.total if options.together else outcome.result.per_sample.sum()
            return latents, outcome.result, loss

        best, history = descend(
            [p for p in encoder.parameters() if p.requires_grad], take, steps=options.steps, rate=options.rate,
            betas=options.betas, schedule=options.schedule, photo=photo, of=options.steps + options.refine,
            on_step=on_step,
        )  # fmt: skip
        with torch.no_grad():
            latents = generator.complete(encoder(batch.images, labels=batch.labels), labels=batch.labels)
            best.offer(latents, objective(generator.synthesize(latents), reference).image)
            return Inversion(best.found, generator.synthesize(best.found), history.per_sample())

    def _refined(
        self,
        batch: Batch,
        generator: Generator,
        objective: Objective,
        done: Inversion,
        photo: int,
        on_step: OnStep | None,
    ) -> Inversion:
        """A last refinement of the latents themselves, from where the fine-tuned encoder left them."""
        before = self.options.steps
        parts = [part for part in encoded(generator.spec.layout) if not isinstance(part, Condition)]
        free = {part.name: done.latents[part.name] for part in parts if part.name in done.latents}

        def report(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            if on_step:
                on_step(photo, before + step, before + steps, terms)

        variables = Variables(generator, done.latents, done.latents.space, free, batch.labels)
        refined = optimise_latents(
            batch.images, generator, variables, objective, steps=self.options.refine, rate=self.options.refine_rate,
            photo=photo, on_step=report,
        )  # fmt: skip
        history = [
            first + [{**row, "step": row["step"] + before} for row in then]
            for first, then in zip(done.history, refined.history, strict=True)
        ]
        return replace(refined, history=history)


class FinetuneRefine(Inverter):
    """Fine-tunes the encoder first, and goes on with the latents: the best at equal time of those that were measured.

    Not in the paper; see benchmarks/results/inversion.md.
    """

    needs_encoder = True

    class Options(Spec):
        steps: PositiveInt = Field(440, description="steps a photo in all")
        rate: PositiveFloat = Field(0.01, description="learning rate of the encoder at its height")
        share: float = Field(0.75, ge=0, lt=1, description="the share of the steps that go on the latents")
        refine_rate: PositiveFloat = Field(0.2, description="learning rate of the latents at its height")
        batch: PositiveInt | None = Field(
            None,
            description="photos at once, first their encoders and then their latents, as in finetune",
            json_schema_extra={"speed": True},
        )

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        chosen = self.options
        refine = int(chosen.steps * chosen.share)
        self._finetune = Finetune.of(
            self.context, steps=chosen.steps - refine, rate=chosen.rate, refine=refine,
            refine_rate=chosen.refine_rate, batch=chosen.batch,
        )  # fmt: skip

    def invert(
        self,
        images: Tensor,
        generator: Generator,
        encoder: Encoder | None,
        *,
        labels: Tensor | None = None,
        objective: Objective | None = None,
        seed: int = 0,
        on_step: OnStep | None = None,
    ) -> Inversion:
        """See :meth:`Inverter.invert`."""
        done = self._finetune.invert(
            images, generator, encoder, labels=labels, objective=objective, seed=seed, on_step=on_step
        )
        return replace(done, settings=self.options.to_mapping())

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`."""
        return self._finetune.at_once(generator, encoder)
