"""The paper's inversion: fine-tune the encoder on the photo, then let it encode the photo (section 3.3)."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from typing import Literal, cast

import torch
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Condition, ObjectiveSpec, encoded
from torch import Tensor, nn

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.encode import need_encoder
from ganenc.inversion.inverter import Best, History, Inversion, Inverter, OnStep
from ganenc.inversion.optimize import REPORT_EVERY, Variables, cosine_rate, optimise_latents
from ganenc.inversion.stacked import StackedEncoder, pays_at_once
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, Objective, build_objective, make_adam

__all__ = ["Finetune", "FinetuneRefine"]


class Finetune(Inverter):
    """Fine-tunes a copy of the encoder on each photo (or on all together) and takes the latents of the lowest loss.

    Args:
        steps: steps a photo (or in all, for a set).
        rate: learning rate at its height; it rises over the first twentieth and falls along a cosine. The paper keeps
            0.0015 throughout: ``schedule="constant"``.
        betas: decay of Adam's averages; the paper has (0, 0.99).
        schedule: ``cosine`` or ``constant``.
        latent_loss: on each step also compare E(y) with E(G(E(y))) (Equation 4), as the paper does, at the cost of a
            second pass.
        layers: ``all`` of the encoder's weights move, or its ``heads`` alone: the layers that end in latents.
        together: one encoder for all photos, instead of one each.
        refine: how many steps, after these, go on the latents themselves (not in the paper).
        refine_rate: the rate of these.
        batch: how many photos' encoders are fine-tuned at once: each photo ends where it would by itself, to rounding.
            By default 8 where that was measured to pay, which is on processors, for images of at most 64x64 pixels and
            encoders of at most two million trained weights; else one after another. Other devices were not measured:
            ask for it there. It takes memory for the trained weights of as many encoders, each with its gradient and
            Adam's two averages, besides the pass of as many photos.
    """

    name = "finetune"

    def __init__(
        self,
        steps: int = 500,
        rate: float = 0.01,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        schedule: Literal["cosine", "constant"] = "cosine",
        latent_loss: bool = False,
        layers: Literal["all", "heads"] = "all",
        together: bool = False,
        refine: int = 0,
        refine_rate: float = 0.02,
        batch: int | None = None,
    ) -> None:
        if steps < 1 or rate <= 0 or refine < 0 or refine_rate <= 0:
            raise SpecError("finetune: steps, rate and refine_rate are above 0, refine is not below.")
        if schedule not in ("cosine", "constant"):
            raise SpecError(f"finetune: the schedule is 'cosine' or 'constant', not {schedule!r}.")
        self.steps, self.rate, self.betas, self.schedule = steps, rate, betas, schedule
        if layers not in ("all", "heads"):
            raise SpecError(f"finetune: the layers are 'all' or 'heads', not {layers!r}.")
        if batch is not None and (batch < 1 or (together and batch > 1)):
            raise SpecError(f"finetune: batch is above 0, and 1 for photos that share an encoder, not {batch}.")
        self.latent_loss, self.layers, self.together = latent_loss, layers, together
        self.refine, self.refine_rate, self.batch = refine, refine_rate, batch

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
        encoder = need_encoder(encoder, self.name)
        objective = objective or build_objective(ObjectiveSpec(), generator)
        working = copy.deepcopy(encoder).eval()
        if images.device.type in ("cpu", "cuda"):  # Convolutions there are fastest with the channels last.
            working = working.to(memory_format=torch.channels_last)
            images = images.contiguous(memory_format=torch.channels_last)
        working.requires_grad_(False)
        for parameter in self._trained(working):
            parameter.requires_grad_(True)
        size = len(images) if self.together else self.at_once(generator, working)
        parts: list[Inversion] = []
        for first in range(0, len(images), max(size, 1)):
            started = time.perf_counter()
            given = None if labels is None else labels[first : first + size]
            batch = Batch(images[first : first + size], given)
            if self.together or len(batch) == 1:
                own = copy.deepcopy(working)
            else:
                own = cast(Encoder, StackedEncoder(working, len(batch), generator.label_rows))
            part = self._one(batch, generator, own, objective, first, on_step)
            spent = (time.perf_counter() - started) / len(batch.images)
            parts.append(Inversion(part.latents, part.reconstructions, part.history, {}, [spent] * len(batch.images)))
        return Inversion(
            Latents.cat([part.latents for part in parts]),
            torch.cat([part.reconstructions for part in parts]),
            [rows for part in parts for rows in part.history],
            {"method": self.name, **vars(self)},
            [spent for part in parts for spent in part.seconds],
        )

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        """See :meth:`Inverter.at_once`; photos that share an encoder do so within one call, whatever this says."""
        if self.batch is not None or self.together or encoder is None:
            return self.batch or 1
        return pays_at_once(encoder, self._trained(encoder))

    def _trained(self, encoder: Encoder) -> list[nn.Parameter]:
        """The weights of an encoder that move."""
        return list(encoder.parameters() if self.layers == "all" else encoder.head_parameters())

    def _one(
        self,
        batch: Batch,
        generator: Generator,
        encoder: Encoder,
        objective: Objective,
        photo: int,
        on_step: OnStep | None,
    ) -> Inversion:
        step_of = EncoderStep(generator, encoder, objective, latent_on_photos=self.latent_loss)
        reference = objective.prepare(batch.images, labels=batch.labels)
        adam = make_adam([p for p in encoder.parameters() if p.requires_grad], self.rate, self.betas)
        best, history = Best(), History()
        total = self.steps + self.refine
        for step in range(self.steps):
            if self.schedule == "cosine":
                for group in adam.param_groups:
                    group["lr"] = self.rate * cosine_rate(step, self.steps)
            outcome = step_of(batch, reference)
            latents = generator.complete(outcome.latents, labels=batch.labels)
            best.offer(latents, outcome.result.image)
            history.add(outcome.result)
            adam.zero_grad(set_to_none=True)
            # Of encoders of their own, each has the gradient of its photo.
            (outcome.result.total if self.together else outcome.result.per_sample.sum()).backward()
            adam.step()
            if on_step and ((step + 1) % REPORT_EVERY == 0 or step + 1 == self.steps):
                on_step(photo, step + 1, total, history.latest())
        with torch.no_grad():
            latents = generator.complete(encoder(batch.images, labels=batch.labels), labels=batch.labels)
            made = generator.synthesize(latents)
            best.offer(latents, objective(made, reference).image)
            found = best.found
            done = Inversion(found, generator.synthesize(found), history.per_sample())
        return self._refined(batch, generator, objective, done, photo, on_step) if self.refine else done

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
        parts = [part for part in encoded(generator.spec.layout) if not isinstance(part, Condition)]
        free = {part.name: done.latents[part.name] for part in parts if part.name in done.latents}

        def report(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            if on_step:
                on_step(photo, self.steps + step, self.steps + steps, terms)

        refined = optimise_latents(
            batch.images,
            generator,
            Variables(generator, done.latents, done.latents.space, free, batch.labels),
            objective,
            steps=self.refine,
            rate=self.refine_rate,
            first_photo=photo,
            on_step=report,
        )
        history = [
            before + [{**row, "step": row["step"] + self.steps} for row in after]
            for before, after in zip(done.history, refined.history)
        ]
        return Inversion(refined.latents, refined.reconstructions, history)


class FinetuneRefine(Finetune):
    """Fine-tunes the encoder first, and goes on with the latents: the best at equal time of those that were measured.

    Not in the paper; see benchmarks/results/inversion.md.

    Args:
        steps: steps a photo in all.
        rate: learning rate of the encoder.
        share: the share of the steps that go on the latents.
        refine_rate: learning rate of the latents.
        batch: how many photos are worked on at once, first their encoders and then their latents; see `Finetune`.
    """

    name = "finetune+refine"

    def __init__(
        self,
        steps: int = 440,
        rate: float = 0.01,
        *,
        share: float = 0.75,
        refine_rate: float = 0.2,
        batch: int | None = None,
    ) -> None:
        if steps < 1 or not 0 <= share < 1:
            raise SpecError("finetune+refine: steps are above 0, share is from 0 to below 1.")
        refine = int(steps * share)
        super().__init__(steps - refine, rate, refine=refine, refine_rate=refine_rate, batch=batch)
