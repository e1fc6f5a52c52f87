"""The inverter ``rfm``, the paper's reference 11: the encoder fine-tuned on the photo, with latents that stay short."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import ClassVar

import torch
from ganenc.inversion import Inversion, Inverter, Task, descend, need_encoder
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, ObjectiveResult
from ganenc_registry.specs import PositiveInt, Spec
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from ganenc_plugin_methods.parts import sought

__all__ = ["RFM"]


class RFM(Inverter):
    """Fine-tunes a copy of the encoder on each photo towards the objective, with the paper's views, plus the length of
    styles and vectors. It needs an encoder."""

    needs_encoder: ClassVar[bool] = True

    class Options(Spec):
        """How long it goes, and how short latents stay."""

        steps: PositiveInt = Field(1501, description="steps a photo")
        rate: PositiveFloat = Field(0.005, description="learning rate throughout")
        norm: NonNegativeFloat = Field(1e-3, description="weight of the length of the latents")

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`. The encoder that is given stays as it is."""
        options, generator, objective = self.options, task.generator, task.objective
        assert objective is not None
        dtype = torch.promote_types(task.images.dtype, torch.float32)
        encoder = copy.deepcopy(need_encoder(task.encoder)).requires_grad_(True).to(dtype)
        step_of = EncoderStep(generator, encoder, objective, latent_on_photos=False)
        batch, reference = Batch(task.images, task.labels), objective.prepare(task.images, labels=task.labels)

        def take() -> tuple[Latents, ObjectiveResult, Tensor]:
            outcome = step_of(batch, reference)
            found, result = outcome.latents, outcome.result
            parts = [found[name].flatten(1) for name in sought(found.layout) if name in found]
            length = torch.cat(parts, 1).norm(dim=1)
            total = result.per_sample + options.norm * length
            latents = generator.complete(found, labels=task.labels)
            terms = {**result.terms, "norm": length, "total": total}
            return latents, replace(result, image=total, terms=terms), total.sum()

        best, history = descend(
            task, encoder.parameters(), take, steps=options.steps, rate=options.rate, betas=(0.0, 0.99),
            schedule="constant", fixed=True,
        )  # fmt: skip
        with torch.no_grad():
            latents, result, _ = take()
            best.offer(latents, result.image, best.now())
            latents = best.take()
            return Inversion(latents, generator.synthesize(latents), history.per_sample())
