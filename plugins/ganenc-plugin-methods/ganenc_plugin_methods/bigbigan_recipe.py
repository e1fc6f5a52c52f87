"""The recipe ``bigbigan``: BigBiGAN's encoder (Donahue and Simonyan, 2019), on a frozen generator."""

from __future__ import annotations

from dataclasses import replace

import torch
from ganenc.objectives import Batch
from pydantic import Field
from torch import Tensor, nn

from ganenc_plugin_methods.adversary import (
    MLP,
    AdversarialOptions,
    AdversarialRecipe,
    ImageFeatures,
    Shown,
    Standard,
    hinge,
    r1,
)

__all__ = ["BigBiGANRecipe"]


class BigBiGANRecipe(AdversarialRecipe):
    """A discriminator tells images with the latents that the encoder gives them from latents that were drawn with the
    images that the generator makes of them: by images, by latents, and by both. The encoder learns from what it says
    alone (Equations 1 to 4), and not from the run's objective. For any encoder of any generator. R1 takes the place of
    the paper's spectral norm, at the generator's pairs."""

    class Options(AdversarialOptions):
        """What can be chosen of the discriminator."""

        rate: float = Field(2e-4, gt=0, description="learning rate of the discriminator; it follows the run's schedule")
        r1: float = Field(0.1, ge=0, description="weight of half the squared gradient at what is real (R1)")

    def discriminating(self) -> nn.Module:
        network, spec = self.context.network, self.encoder.spec
        return JointDiscriminator(ImageFeatures(network, spec.size), Standard(network, spec))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        latents = self.discriminator.standard(self.encoder(batch.images, labels=batch.labels))
        self.made.append(latents.detach())
        _, alone, pair = self.discriminator(self.encoder.seen(batch.images), latents).unbind(1)
        return {"latents": alone, "pair": pair, "total": alone + pair}

    def shown(self, batch: Batch) -> Shown:
        self.on_photos = batch.latents is None
        return replace(super().shown(batch), latents=self.true_latents(batch))

    def telling(self, shown: Shown) -> Tensor:
        encoded = self.discriminator(self.encoder.seen(shown.images), shown.made)
        return hinge(encoded, self.discriminator(*self._drawn(shown))).sum(1)

    def penalty(self, shown: Shown) -> Tensor:
        return r1(self.discriminator, *self._drawn(shown))

    @torch.no_grad()
    def _drawn(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """The generator's pairs: images as the encoder sees them, and latents in deviations."""
        images, latents = shown.images, shown.latents
        assert latents is not None
        if self.on_photos:
            images = self.context.network.synthesize(latents)
        return self.encoder.seen(images), self.discriminator.standard(latents)


class JointDiscriminator(nn.Module):
    """Images as the encoder sees them, and latents in deviations (N, F) => scores (N, 3) of images, of latents and of
    both: high for the encoder's pairs, low for the generator's."""

    def __init__(self, features: ImageFeatures, standard: Standard) -> None:
        super().__init__()
        width = features.width
        self.features, self.standard = features, standard
        self.latents = nn.Sequential(MLP(standard.width, width, width, width), nn.LeakyReLU(0.2))
        self.scores = nn.ModuleList([MLP(width, 1), MLP(width, 1), MLP(2 * width, width, width, 1)])

    def forward(self, images: Tensor, latents: Tensor) -> Tensor:
        seen, said = self.features(images), self.latents(latents)
        read = zip(self.scores, (seen, said, torch.cat([seen, said], 1)), strict=True)
        return torch.cat([score(one) for score, one in read], 1)
