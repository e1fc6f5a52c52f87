"""The recipe ``in-domain``: In-domain GAN inversion's encoder (Zhu et al., 2020)."""

from __future__ import annotations

from typing import Any, ClassVar

from ganenc.objectives import Batch
from ganenc_registry.errors import SpecError
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods.adversary import (
    AdversarialOptions,
    AdversarialRecipe,
    ImageFeatures,
    Shown,
    fooled,
    r1,
    told,
)

__all__ = ["InDomainRecipe"]


class InDomainRecipe(AdversarialRecipe):
    """The objective, and what a discriminator of images says of those that are rebuilt: photos on a run of photos, and
    else the generator's own. For any encoder of any generator. The paper's discriminator begins as the GAN's own, and
    this one anew."""

    encoder_fields: ClassVar[dict[str, Any]] = {"network": {"name": "in-domain"}}

    class Options(AdversarialOptions):
        """What can be chosen."""

        weight: float = Field(0.08, ge=0, description="of what the discriminator says of rebuilt images")

    def discriminating(self) -> nn.Module:
        if not self.encoder_step.image_gradient:
            raise SpecError("objective.image_gradient: the recipe 'in-domain' learns from images; leave it on.")
        return ImageDiscriminator(ImageFeatures(self.context.network, self.encoder.spec.size))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        outcome = self.encoder_step(batch)
        assert outcome.reconstruction is not None
        made = self.encoder.seen(outcome.reconstruction)
        self.made.append(made.detach())
        realism, terms = fooled(self.discriminator(made)), outcome.result.terms
        return {**terms, "realism": realism, "total": terms["total"] + self.options.weight * realism}

    def telling(self, shown: Shown) -> Tensor:
        return told(self.discriminator(self.encoder.seen(shown.images)), self.discriminator(shown.made))

    def penalty(self, shown: Shown) -> Tensor:
        return r1(self.discriminator, self.encoder.seen(shown.images))


class ImageDiscriminator(nn.Module):
    """Images as the encoder sees them => scores (N,), high for real ones."""

    def __init__(self, features: ImageFeatures) -> None:
        super().__init__()
        self.features, self.score = features, nn.Linear(features.width, 1)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.score(self.features(images))[:, 0]
        return scores
