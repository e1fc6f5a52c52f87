"""The loss ``features``: how far a backbone's features of two images are apart, as they are (Johnson et al., 2016)."""

from __future__ import annotations

from ganenc.objectives import Backbone, Loss, pool, precise
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor

__all__ = ["Features"]


class Features(Loss):
    """Mean square difference of a backbone's features, added over its layers: LPIPS without scaling these to length 1
    or weighing channels. Images are pooled to at most 256 pixels."""

    needs_backbone = pictures_only = True

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.backbone: Backbone = self.context.backbone.freeze()

    def prepare(self, target_view: Tensor) -> list[Tensor]:
        """The target's features."""
        return [one.detach() for one in self._features(target_view)]

    def forward(self, view: Tensor, reference: list[Tensor]) -> Tensor:
        squares = [(a - b).square().mean((1, 2, 3)) for a, b in zip(self._features(view), reference, strict=True)]
        total: Tensor = sum(squares[1:], squares[0])
        return total

    def _features(self, images: Tensor) -> list[Tensor]:
        scaled = pool(self.scaled(images))
        return [precise(one) for one in self.backbone(self.backbone.fit(scaled)).features]
