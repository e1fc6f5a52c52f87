"""Pooled features of a frozen network, and linear heads on them. Not in paper."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from ganenc_registry.components import Component, Context, component_class, read_options
from ganenc_registry.specs import Choice, EncoderSpec, Styles
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc.encoders.layers import Linear
from ganenc.generators import apart, check_weights

IMAGE, MAPS = 16, 2
"""The sides to which the image and a layer's features are averaged."""
WIDTHS = (32, 64, 128, 256)
"""Channels of the random convolutions."""
_loaded: dict[tuple[type, str, torch.device], Any] = {}  # by class, as a name may come to mean another


class PooledFeatures(nn.Module):
    """Images (N, C, H, W) from -1 to 1 => features (N, directions, 1, 1) and the values of each style head (N, width).

    What is pooled is the image itself, and of every layer the means of its quarters and the deviation. A backbone is
    frozen and no part of the state; random convolutions are.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        assert spec.pooled is not None, "its encoder has blocks"
        self.backbone, place = spec.pooled.backbone, spec.pooled
        widths = [] if self.backbone else [*itertools.pairwise((spec.channels, *WIDTHS))]
        for index, (inputs, outputs) in enumerate(widths):
            self.register_buffer(f"kernel_{index}", torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5)
        self.layers = len(widths)
        self.project = Linear(place.inputs, place.directions, equalized=False)
        parts = [part for part in spec.parts if isinstance(part, Styles)]
        heads = [sum(part.dim for part in parts if head in spec.heads_of(part)) for head in range(place.styles)]
        self.styles = nn.ModuleList(Linear(place.directions, width, equalized=False) for width in heads)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        x = self.project(torch.cat(self.pool(images), 1).to(images.dtype))
        return x[:, :, None, None], [head(x) for head in self.styles]

    def pool(self, images: Tensor) -> list[Tensor]:
        """What is pooled, each kind of each layer apart: (N, F) in the dtype of the network."""
        found = [F.adaptive_avg_pool2d(images, IMAGE).flatten(1)]
        for maps in self._layers(images):
            mean = maps.mean((2, 3), keepdim=True)
            std = ((maps - mean).square().mean((2, 3)) + 1e-8).sqrt()
            found += [F.adaptive_avg_pool2d(maps, MAPS).flatten(1), std]
        return found

    def _layers(self, images: Tensor) -> list[Tensor]:
        if self.backbone is not None:
            network = frozen_backbone(self.backbone, images.device)
            features: list[Tensor] = network(network.fit(images)).features
            return features
        found: list[Tensor] = []
        for index in range(self.layers):
            x = F.avg_pool2d(found[-1], 2, ceil_mode=True) if found else images
            found.append(F.leaky_relu(F.conv2d(x, self.get_buffer(f"kernel_{index}"), padding=1), 0.2))
        return found


def frozen_backbone(
    choice: Choice | str, device: torch.device, *, base: type[Component] = Component, at: str = "pooled.backbone"
) -> Any:
    """A registered backbone, a subclass of ``base``, frozen and the same one each time; ``at`` and the errors are those
    of `build`, and `WeightsMissingError` if its weights cannot be had; `CheckpointError` if they are not finite."""
    name = choice if isinstance(choice, str) else choice.name
    kind: Any = component_class("backbone", name, base)
    options = read_options("backbone", choice, base, at=at)
    if device.type != "cpu" and device.index is None:
        device = torch.empty(0, device=device).device  # With its index, so that ``cuda`` and ``cuda:0`` are one.
    kept = _loaded.get(key := (kind, options.to_json(), device))
    if kept is None or any(one.device != device for one in (*kept.parameters(), *kept.buffers())):
        with apart():
            kept = kind(options, Context(device=str(device))).freeze().to(device)
            if device.type in ("cpu", "cuda"):
                kept = kept.to(memory_format=torch.channels_last)
            check_weights(kept, f"the backbone {name}")
            _loaded[key] = kept
    return kept.freeze()
