"""Four ways to map where in an image a score comes from. Maps are raw: signed, not scaled, as coarse as they come."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import torch
from captum.attr import GuidedGradCam, LayerGradCam
from ganenc_registry.errors import SpecError
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_gradcam.scores import Scores

__all__ = ["METHODS", "Method", "MethodName", "class_activation", "grad_cam", "grad_cam_plus_plus", "guided_grad_cam"]

Method: TypeAlias = Callable[[Scores, nn.Module, Tensor, Tensor | None], Tensor]
"""(scores, layer, images (N, 3, H, W) as the backbone takes them, rows of labels) => maps (N, 1, h, w), above 0 where
something speaks for the score, below where it speaks against it."""

MethodName: TypeAlias = Literal["cam", "gradcam", "gradcam++", "guided"]

GUIDED_BLUR = 1 / 64
"""The deviation of the blur over guided maps, as a part of the image's shorter side (not in the paper)."""


def grad_cam(scores: Scores, layer: nn.Module, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """Grad-CAM (Selvaraju et al., 2017), by captum: channels weighed by their mean gradient, and added."""
    attribution = LayerGradCam(scores, layer)
    found: Tensor = attribution.attribute(images, additional_forward_args=rows)
    return found


def class_activation(scores: Scores, layer: nn.Module, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """CAM (Zhou et al., 2016, Equation 2): the last features, weighed by the last layer's row of the class, and added.

    That takes a network that averages its last features over positions and has one linear layer behind. Then the
    gradient of a logit is the same at all positions and for all images: this tells such features, wherever they are,
    and is the row. The ``layer`` is not asked.

    Raises:
        SpecError: if there are no such features.
    """
    found, rows = _pooled(scores, images, rows)
    other, _ = _pooled(scores, -images[:1], rows[:1])
    for (maps, slopes), (_, others) in zip(found, other, strict=True):
        if slopes is not None and others is not None and torch.allclose(slopes[:1], others, rtol=1e-3, atol=1e-7):
            return (maps * slopes).sum(1, keepdim=True)
    raise SpecError(
        f"The backbone {scores.backbone.name!r} does not average its last features before one last linear layer, so it"
        " has no CAM; take gradcam."
    )


def grad_cam_plus_plus(scores: Scores, layer: nn.Module, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al., 2018, Equation 19), for the exponential of the score, whose factor cancels.

    With gradients g of the score and maps A of the layer, cut at 0 as if a ReLU followed, each channel weighs
    sum(alpha relu(g)), alpha = g^2 / (2 g^2 + g^3 sum(A)), the sums over positions.
    """
    maps, gradients = _layer_gradients(scores, layer, images, rows)
    square = gradients.square()
    whole = maps.relu().sum((2, 3), keepdim=True)
    below = 2 * square + gradients * square * whole
    alpha = torch.where(gradients > 0, square / torch.where(gradients > 0, below, 1.0), 0.0)
    weights = (alpha * gradients.relu()).sum((2, 3), keepdim=True)
    return (weights * maps).sum(1, keepdim=True)


def guided_grad_cam(scores: Scores, layer: nn.Module, images: Tensor, rows: Tensor | None = None) -> Tensor:
    """Guided Grad-CAM (Selvaraju et al., 2017), by captum: as fine as the image.

    Captum's product of Grad-CAM and guided backpropagation has a sign and a colour; the map is its magnitude, added
    over colours and blurred a little, as single pixels are no region. ReLUs that are no modules are not guided.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks")
        found: Tensor = GuidedGradCam(scores, layer).attribute(
            images.requires_grad_(), additional_forward_args=rows, interpolate_mode="bilinear"
        )
    strength = found.detach().abs().sum(1, keepdim=True)
    deviation = GUIDED_BLUR * min(strength.shape[-2:])
    size = 2 * max(1, round(3 * deviation)) + 1
    return gaussian_blur2d(strength, (size, size), (deviation, deviation), border_type="replicate")


METHODS: Mapping[MethodName, Method] = MappingProxyType(
    {"cam": class_activation, "gradcam": grad_cam, "gradcam++": grad_cam_plus_plus, "guided": guided_grad_cam}
)
"""Every way, by name."""


def _layer_gradients(scores: Scores, layer: nn.Module, images: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """The maps of a layer and the gradients of the scores there, both (N, C, h, w)."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()  # What follows may work in place.

    hook = layer.register_forward_hook(keep)
    try:
        total = scores(images, rows).sum()
    finally:
        hook.remove()
    (gradients,) = torch.autograd.grad(total, kept[-1:])
    return kept[-1].detach(), gradients


@torch.enable_grad()
def _pooled(scores: Scores, images: Tensor, rows: Tensor | None) -> tuple[list[tuple[Tensor, Tensor | None]], Tensor]:
    """All maps (N, C, h, w) of a pass, the last ones first, each with what a change of each channel's mean changes of
    the score (N, C, 1, 1), None where that depends on the place, or nothing does; and the rows of the classes."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            seen.append(output)

    with ExitStack() as hooks:
        for module in scores.backbone.modules():
            if module is not scores.backbone:
                hooks.callback(module.register_forward_hook(keep).remove)
        found = scores.backbone(images.detach().clone().requires_grad_())
        logits = found.logits
    if rows is None:
        likeliest = F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)
        rows = logits.detach().softmax(1) if scores.of == "energy" else likeliest
    candidates = [one for one in (*found.features[::-1], *seen[::-1]) if one.requires_grad]
    gradients = torch.autograd.grad((logits * rows).sum(), candidates, allow_unused=True)
    told: list[tuple[Tensor, Tensor | None]] = []
    for maps, gradient in zip(candidates, gradients, strict=True):
        slope = None
        if gradient is not None and gradient.any() and maps.shape[-2:].numel() > 1:
            first = gradient[..., :1, :1]
            even = float((gradient - first).abs().max()) <= 1e-5 * float(gradient.abs().max())
            slope = first * maps.shape[-2:].numel() if even else None
        told.append((maps.detach(), slope))
    return told, rows
