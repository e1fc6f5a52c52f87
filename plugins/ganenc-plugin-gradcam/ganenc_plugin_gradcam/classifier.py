"""A classifier of one's own as a backbone, for Grad-CAM and LPIPS alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.errors import SpecError
from torch import Tensor, nn

__all__ = ["Classifier"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class Classifier(Backbone):
    """Any network from images to logits, as a backbone: ``build_objective(..., own_backbone=Classifier(network))``.

    LPIPS compares the maps of the last convolution alone, with unit weights.

    Args:
        network: (N, 3, H, W), normalised, => logits (N, classes); it is frozen, in place.
        classes: how many there are.
        layer: the module whose maps Grad-CAM weighs, or its name; by default the last `Conv2d`.
        mean: of each colour, on a scale from 0 to 1, taken off before the network; ImageNet's by default.
        deviation: of each colour, by which what is left is divided.
        name: under which distances and errors name it.

    Raises:
        SpecError: if the network has no such layer.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        *,
        layer: nn.Module | str | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_DEVIATION,
        name: str = "classifier",
    ) -> None:
        super().__init__()
        self.name = name
        self.classes = classes
        self.network = network
        # Not as a second submodule, which would hold its weights twice in the state.
        object.__setattr__(self, "last_convolution", _layer(network, layer))
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)
        self.freeze()

    def forward(self, images: Tensor) -> BackboneOutput:
        """The maps of the layer, and the logits (N, classes), in one pass."""
        features: list[Tensor] = []

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            features.append(output.clone())  # What follows may work in place.

        assert self.last_convolution is not None
        hook = self.last_convolution.register_forward_hook(keep)
        try:
            logits: Tensor = self.network(((images + 1) / 2 - self.mean) / self.deviation)
        finally:
            hook.remove()
        return BackboneOutput(features, logits)


def _layer(network: nn.Module, layer: nn.Module | str | None) -> nn.Module:
    """The layer of that name, the layer itself, or the last convolution."""
    modules = dict(network.named_modules())
    if isinstance(layer, str):
        layer = modules.get(layer)
    elif layer is None:
        layer = next((module for module in reversed(modules.values()) if isinstance(module, nn.Conv2d)), None)
    if layer is None or all(layer is not module for module in modules.values()):
        raise SpecError("The network has no such layer, or no convolution; name one of its modules as `layer`.")
    return layer
