"""The paper's inversion: fine-tune the encoder on the photo, then let it encode the photo (section 3.3)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated, Literal, cast

import torch
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, MemoryFormat, NonNegativeInt, PositiveInt, Spec, encoded
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor, nn
from typing_extensions import Self

from ganenc.encoders import FORMATS, Encoder, encoder_format, in_format
from ganenc.generators import Generator
from ganenc.inversion.descent import Schedule, descend
from ganenc.inversion.inverter import Inversion, Inverter, Task, need_encoder
from ganenc.inversion.optimize import POOR, STARTS, Variables, begin_anew, optimise_latents, starts_of
from ganenc.inversion.stacked import StackedEncoder, pays_at_once
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, ObjectiveResult

Decay = Annotated[float, Field(ge=0, lt=1)]


class Finetune(Inverter):
    """Fine-tunes a copy of the encoder on each photo (or on all together) and takes the latents of the lowest loss.

    ``batch`` photos' encoders are fine-tuned at once, each ending where it would by itself, to rounding; by default 8
    where that was measured to pay (on processors, images of at most 64x64 pixels, encoders of at most two million
    trained weights), else 1. Each takes memory for its trained weights, their gradient and Adam's two averages.
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
        encoder_format: MemoryFormat = Field(
            "auto", description="its memory format; auto: what is faster here", json_schema_extra={"speed": True}
        )

        @model_validator(mode="after")
        def _apart(self) -> Self:
            if self.together and self.batch not in (None, 1):
                raise ValueError("batch is 1 for photos that share an encoder")
            if not self.refine and self.refine_rate != type(self).model_fields["refine_rate"].default:
                raise ValueError("refine_rate is of no use without steps that refine; give refine, or leave it out")
            return self

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`. The encoder that is given stays as it is."""
        if self.options.encoder_format == "auto":
            return self.settled(task.generator, task.encoder).work(task)
        working = self._copied(task.encoder, task.images.dtype)
        in_format(working, self.options.encoder_format)
        memory_format = FORMATS[self.options.encoder_format]
        task = replace(task, images=task.images.contiguous(memory_format=memory_format))
        if not self.options.together and len(task.images) > 1:
            working = cast(Encoder, StackedEncoder(working, len(task.images), task.generator.label_rows))
        tuned = self._tuned(task, working)
        return self._refined(task, tuned) if self.options.refine else tuned

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        if self.options.encoder_format != "auto":
            return self
        found = encoder_format(self._copied(encoder, generator.dtype), 1)
        return type(self)(self.options.model_copy(update={"encoder_format": found}), self.context)

    def _copied(self, encoder: Encoder | None, dtype: torch.dtype) -> Encoder:
        """The encoder to fine-tune, of which the weights that move take a gradient."""
        working = copy.deepcopy(need_encoder(encoder)).requires_grad_(False)
        working = working.to(torch.promote_types(dtype, torch.float32))  # Half would lose Adam's steps.
        for parameter in self._trained(working):
            parameter.requires_grad_(True)
        return working

    @property
    def shares(self) -> bool:
        return bool(self.options.together)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`; photos that share an encoder do so within one call, whatever this says."""
        if self.options.batch is not None or self.options.together or encoder is None:
            return self.options.batch or 1
        return pays_at_once(encoder, self._trained(encoder))

    def _trained(self, encoder: Encoder) -> list[nn.Parameter]:
        """The weights of an encoder that move."""
        return list(encoder.parameters() if self.options.layers == "all" else encoder.head_parameters())

    def _tuned(self, task: Task, encoder: Encoder) -> Inversion:
        options, generator, objective = self.options, task.generator, task.objective
        assert objective is not None
        if options.latent_loss and objective.latent is None:
            raise SpecError(
                "finetune: latent_loss is of no use, as the objective has no latent loss; give it a weight."
            )
        step_of = EncoderStep(generator, encoder, objective, latent_on_photos=options.latent_loss)
        batch, reference = Batch(task.images, task.labels), objective.prepare(task.images, labels=task.labels)

        def take() -> tuple[Latents, ObjectiveResult, Tensor]:
            outcome = step_of(batch, reference)
            latents = generator.complete(outcome.latents, labels=task.labels)
            # Of encoders of their own, each has the gradient of its photo.
            loss = outcome.result.total if options.together else outcome.result.per_sample.sum()
            return latents, outcome.result, loss

        best, history = descend(
            task, [p for p in encoder.parameters() if p.requires_grad], take, steps=options.steps, rate=options.rate,
            betas=options.betas, schedule=options.schedule, after=options.refine, fixed=True,
        )  # fmt: skip
        with torch.no_grad():
            latents = replace(task, encoder=encoder).encoded()
            best.offer(latents, objective(generator.synthesize(latents), reference).image, best.now())
            latents = best.take()
            return Inversion(latents, generator.synthesize(latents), history.per_sample())

    def _refined(self, task: Task, done: Inversion) -> Inversion:
        """A last refinement of the latents themselves, from where the fine-tuned encoder left them."""
        options, before = self.options, self.options.steps
        parts = [part for part in encoded(task.generator.spec.layout) if not isinstance(part, Condition)]
        free = {part.name: done.latents[part.name] for part in parts if part.name in done.latents}
        variables = Variables(task.generator, done.latents, done.latents.space, free, task.labels)
        refined = optimise_latents(task, variables, steps=options.refine, rate=options.refine_rate, before=before)
        history = [
            first + [{**row, "step": row["step"] + before} for row in then]
            for first, then in zip(done.history, refined.history, strict=True)
        ]
        return replace(refined, history=history)


class FinetuneRefine(Inverter):
    """Fine-tunes the encoder first, and goes on with the latents: the best at equal time of those that were measured
    (benchmarks/results/inversion.md; not in the paper)."""

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
        encoder_format: MemoryFormat = Field(
            "auto", description="the encoder's memory format, as in finetune", json_schema_extra={"speed": True}
        )
        starts: PositiveInt | None = STARTS
        poor: float = POOR

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        chosen = self.options
        refine = int(chosen.steps * chosen.share)
        self._finetune = Finetune.of(
            self.context, steps=chosen.steps - refine, rate=chosen.rate, refine=refine,
            batch=chosen.batch, encoder_format=chosen.encoder_format,
            **({"refine_rate": chosen.refine_rate} if refine else {}),
        )  # fmt: skip

    def work(self, task: Task) -> Inversion:
        return begin_anew(task, self._finetune.work(task), self.options, rate=0.1)

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        starts = starts_of(generator, self.options.starts)
        found = {"starts": starts, "encoder_format": self._finetune.settled(generator, encoder).options.encoder_format}
        return type(self)(self.options.model_copy(update=found), self.context)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return self._finetune.at_once(generator, encoder)
