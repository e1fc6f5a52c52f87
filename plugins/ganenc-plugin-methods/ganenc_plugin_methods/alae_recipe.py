"""The recipe ``alae``: ALAE's latent regression (Pidhorskyi et al., 2020), on a frozen generator."""

from __future__ import annotations

from typing import Any, ClassVar

from ganenc.objectives import Batch, LatentTerm
from ganenc.training import EncoderRecipe
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import LatentLoss, Spec
from torch import Tensor

__all__ = ["ALAERecipe"]


class ALAERecipe(EncoderRecipe):
    """The mean square of E(G(w)) - w, summed over parts: what is left of ALAE's three steps where the generator stays
    as it is. The run's objective plays no part. For any encoder of any generator, on images that it makes."""

    encoder_fields: ClassVar[dict[str, Any]] = {"network": {"name": "alae"}}

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.distance = LatentTerm(LatentLoss(weight=1, mse=1, cos=0))
        if self.context.run.task != "pretrain":
            raise SpecError(
                "The recipe 'alae' learns from true latents, which photos have not: take the task 'pretrain'."
            )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.latents is not None
        truth = self.context.network.complete(batch.latents)
        total, terms = self.distance(self.encoder(batch.images, labels=batch.labels), truth)
        return {**terms, "total": total}
