"""The losses ``features``, how far a backbone's features of two images are apart (Johnson et al., 2016), and
``identity``, which pSp, e4e, E2Style and RiDDLE take on a network of faces."""

from __future__ import annotations

import torch
from ganenc.objectives import Backbone, Loss, pool, precise
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor

__all__ = ["Features", "Identity"]


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


class Identity(Features):
    """1 - cosine of a backbone's deepest features, averaged over positions: of faces on a network of faces, whether it
    is the same, and on any other what that takes for the same."""

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> Tensor:  # type: ignore[override]
        """The target's embedding (N, D)."""
        return self._embedded(target_view)

    def forward(self, view: Tensor, reference: Tensor) -> Tensor:  # type: ignore[override]
        return 1 - torch.cosine_similarity(self._embedded(view), reference)

    def _embedded(self, images: Tensor) -> Tensor:
        return self._features(images)[-1].mean((2, 3))
