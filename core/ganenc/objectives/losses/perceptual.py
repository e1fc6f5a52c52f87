"""LPIPS: a loss on the features of a frozen network (paper, Equation 3; Zhang et al., 2018)."""

from __future__ import annotations

from typing import Any

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor
from torch.autograd.function import once_differentiable

from ganenc.images import convert_range
from ganenc.objectives.backbones.base import Backbone
from ganenc.objectives.losses.base import Loss, pool, precise

__all__ = ["LPIPS"]

_EPSILON = 1e-10


class LPIPS(Loss):
    """Learned perceptual image patch similarity (Equation 3; Zhang et al., 2018), sample by sample.

    The features of each layer are scaled to length 1 along the channels; their square differences, weighed by channel,
    are averaged over positions and added over layers. With the linear weights of the lpips package this is its LPIPS,
    version 0.1. A backbone without linear weights gives every channel the weight 1 / number of layers; that distance
    is another one. Every number reported goes by `label`, which names the backbone.

    Images are pooled to at most 256 pixels, and enlarged to the least size that the backbone takes, 64 pixels.

    """

    needs_backbone = True

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.backbone: Backbone = self.context.backbone.freeze()
        given = self.backbone.linear_weights()
        device = next((tensor.device for tensor in self.backbone.parameters()), torch.device("cpu"))
        self._unit = given is None
        for index, weight in enumerate(given or ()):
            self.register_buffer(f"_linear{index}", weight.detach().clone().to(device), persistent=False)

    @property
    def label(self) -> str:
        """The name under which this distance is reported: ``lpips-`` and the backbone's name."""
        return f"lpips-{self.backbone.name}"

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> list[Tensor]:
        """The target's features, each (N, C, h, w) of length 1 along the channels."""
        return [feature / (_length(feature, 1) + _EPSILON) for feature in self._features(target_view)]

    def forward(self, view: Tensor, reference: list[Tensor]) -> Tensor:
        """The distance, (N,)."""
        return self.between(self._features(view), reference)

    def between(self, features: list[Tensor], reference: list[Tensor]) -> Tensor:
        """The distance (N,) from features of any length to features of length 1, as `prepare` gives them."""
        layers: list[Tensor] = []
        for index, (feature, target) in enumerate(zip(features, reference, strict=True)):
            layers.append(_Distance.apply(feature, target, self._weight(index, feature, len(reference))))
        return torch.stack(layers).sum(0)

    def _features(self, images: Tensor) -> list[Tensor]:
        scaled = pool(convert_range(images, self.value_range, (-1.0, 1.0)))
        features: list[Tensor] = self.backbone(self.backbone.fit(scaled)).features
        return [precise(feature) for feature in features]

    def _weight(self, index: int, feature: Tensor, layers: int) -> Tensor:
        if self._unit:
            return feature.new_full((feature.shape[1],), 1.0 / layers)
        weight: Tensor = getattr(self, f"_linear{index}")
        return weight.to(feature.dtype)


def _length(feature: Tensor, dim: int) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(feature, dim=dim, keepdim=True)
    return length


class _Distance(torch.autograd.Function):
    """The distance of one layer, with its derivative written out: a quarter of the time that autograd takes.

    With u = a / |a| along the channels, the distance is the mean over positions of the sum of w (u - b)^2. Where all
    channels of a are 0, the derivative is taken to be 0.
    """

    @staticmethod
    def forward(ctx: Any, feature: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """Features (N, C, h, w), the target's of length 1, and weights (C,) to distances (N,)."""
        a, b = feature.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)
        length = _length(a, -1)
        inverse = 1.0 / (length + _EPSILON)
        difference = (a * inverse).sub_(b)
        ctx.save_for_backward(a, difference, weight, length, inverse)
        return (difference.square() @ weight).mean((1, 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The derivative with respect to the features: du/da = (1 - u u^T) / |a| applied to 2 w (u - b)."""
        a, difference, weight, length, inverse = ctx.saved_tensors
        scale = gradient.view(-1, 1, 1, 1) * inverse * (length > 0)
        outer = (difference * (weight * (2.0 / (a.shape[1] * a.shape[2])))).mul_(scale)
        along = (outer * a).sum(-1, keepdim=True) * inverse / length.clamp_min(torch.finfo(a.dtype).tiny)
        return torch.addcmul(outer, a, along, value=-1.0).permute(0, 3, 1, 2), None, None
