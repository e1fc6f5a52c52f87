"""LPIPS: a loss on the features of a frozen network (paper, Equation 3; Zhang et al., 2018)."""

from __future__ import annotations

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import Spec
from torch import Tensor, nn

from ganenc.generators import apart
from ganenc.objectives.backbones.base import Backbone
from ganenc.objectives.losses.base import Loss, pool, precise

_EPSILON = 1e-10


class LPIPS(Loss):
    """Learned perceptual image patch similarity (Equation 3; Zhang et al., 2018), sample by sample.

    The features of each layer are scaled to length 1 along the channels; their square differences, weighed by channel
    in the linear layers of the lpips package, version 0.1, are averaged over positions and added over layers. A
    backbone without linear weights gives every channel the weight 1 / number of layers: another distance, so whatever
    is reported goes by ``lpips-`` and the backbone's name. Images are pooled to at most 256 pixels, and enlarged to the
    least size that the backbone takes, 64 pixels.
    """

    needs_backbone = pictures_only = True

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.backbone: Backbone = self.context.backbone.freeze()
        weights = self.backbone.linear_weights()
        self.linear = None if weights is None else _linear_layers(weights)

    @torch.no_grad()
    def prepare(self, target_view: Tensor) -> list[Tensor]:
        """The target's features, each (N, C, h, w) of length 1 along the channels."""
        return self._features(target_view)

    def forward(self, view: Tensor, reference: list[Tensor]) -> Tensor:
        return self.between(self._features(view), reference)

    def between(self, features: list[Tensor], reference: list[Tensor]) -> Tensor:
        """The distance (N,) of features as `prepare` gives them."""
        return torch.stack([each.mean((1, 2, 3)) for each in self.maps(features, reference)]).sum(0)

    def maps(self, features: list[Tensor], reference: list[Tensor]) -> list[Tensor]:
        """Where they differ, layer by layer, (N, 1, h, w) each: the distance is the sum of their means."""
        with torch.autocast(reference[0].device.type, enabled=False):
            squares = [(one - other).square() for one, other in zip(features, reference, strict=True)]
            if self.linear is None:
                return [layer.sum(1, keepdim=True) / len(squares) for layer in squares]
            return [weigh(layer) for weigh, layer in zip(self.linear, squares, strict=True)]

    def _features(self, images: Tensor) -> list[Tensor]:
        scaled = pool(self.scaled(images))
        features = [precise(feature) for feature in self.backbone(self.backbone.fit(scaled)).features]
        # As lpips.normalize_tensor, whose gradient is not a number where all channels are 0.
        return [each / (torch.linalg.vector_norm(each, dim=1, keepdim=True) + _EPSILON) for each in features]


def _linear_layers(weights: list[Tensor]) -> nn.ModuleList:
    from lpips import NetLinLayer  # Takes seconds, which backbones without weights do without.

    state = {f"{index}.model.0.weight": weight[None, :, None, None] for index, weight in enumerate(weights)}
    with apart():
        layers = nn.ModuleList(NetLinLayer(len(weight)) for weight in weights)
        layers.load_state_dict(state)
        return layers.requires_grad_(False).to(weights[0].device)
