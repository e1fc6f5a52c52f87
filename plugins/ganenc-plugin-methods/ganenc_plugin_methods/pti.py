"""The inverter ``pti`` (Roich et al., 2021), on its published schedule: a pivot in W, then the generator's weights."""

from __future__ import annotations

from dataclasses import replace

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Inversion, Inverter, Task, Tune
from ganenc.objectives import ObjectiveResult
from ganenc_registry.specs import Noise, Spec, Styles
from pydantic import Field, NonNegativeFloat, PositiveFloat
from typing_extensions import Self

from ganenc_plugin_methods.gradient import BETAS, own_objective

__all__ = ["PTI"]

LPIPS = "image/lpips"


class PTI(Inverter):
    """PTI: one w by LPIPS, with noise that is held to noise, from the mean; then all weights by pixels and LPIPS, until
    that is low. Of the objective it takes the backbone alone; it needs no encoder. ``tune`` has more freedom."""

    class Options(Spec):
        """How long it goes, and how near."""

        steps: int = Field(800, ge=2, description="steps in all")
        share: float = Field(0.5625, gt=0, lt=1, description="the share of them that look for the pivot: 450 of 800")
        pivot_rate: PositiveFloat = Field(0.01, description="learning rate of the pivot at its height")
        rate: PositiveFloat = Field(3e-4, description="learning rate of the weights throughout")
        enough: NonNegativeFloat = Field(0.06, description="LPIPS at which it ends; 0 takes all steps")
        locality: NonNegativeFloat = Field(
            0.0, description="how strongly images of other latents are held to the untuned generator's; published: 0.1"
        )
        half: bool = Field(False, description="round the tuning to half precision, which halves its file")

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        """See :meth:`Inverter.settled`; a SpecError if there are no weights to tune."""
        self._tuning(generator)
        return self

    def work(self, task: Task) -> Inversion:
        """See :meth:`Inverter.work`. The generator that is given stays as it is."""
        own = replace(task, objective=own_objective(task, lpips=1.0))
        return self._tuning(task.generator).work(own)

    def _tuning(self, generator: Generator) -> _Weights:
        options, layout = self.options, generator.spec.layout
        first = min(max(1, round(options.steps * options.share)), options.steps - 1)
        pivot = {
            "steps": first, "rate": options.pivot_rate, "start": "center", "starts": 1,
            "space": "w" if any(isinstance(part, Styles) for part in layout) else "z",
            "free": [part.name for part in layout if isinstance(part, Noise)],
        }  # fmt: skip
        return _Weights.of(
            self.context, steps=options.steps - first, rate=options.rate, locality=options.locality, edits=0,
            half=options.half,
            pivot={"name": "optimize", "options": pivot}, enough=options.enough,
        ).settled(generator, None)  # fmt: skip


class _Weights(Tune):
    """Tuning as published: at one rate, until LPIPS is low enough."""

    class Options(Tune.Options):
        enough: NonNegativeFloat = 0.0

    def going_down(self) -> dict[str, object]:
        return {"betas": BETAS, "schedule": "constant", "until": self._enough}

    def _enough(self, result: ObjectiveResult) -> bool:
        return LPIPS in result.terms and bool((result.terms[LPIPS] <= self.options.enough).all())

    def _pivot(self, task: Task) -> Inversion:
        return super()._pivot(replace(task, objective=own_objective(task, mse=0.0, lpips=1.0)))
