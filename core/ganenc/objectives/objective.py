"""The objective: views x losses, plus the latent loss, in one number (paper, Equations 2, 3 and 6)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError, nearest
from torch import Tensor, nn

from ganenc.images import Range
from ganenc.latents import Latents
from ganenc.objectives.attentions import Attention, View
from ganenc.objectives.backbones.base import Backbone
from ganenc.objectives.backbones.loading import load_backbone
from ganenc.objectives.latent_term import LatentTerm
from ganenc.objectives.losses.base import Loss

__all__ = [
    "LatentTerm",
    "Objective",
    "ObjectiveResult",
    "Reference",
    "build_attention",
    "build_objective",
    "build_with",
]


@dataclass(frozen=True)
class Reference:
    """What an objective needs of a batch of targets, computed once.

    Attributes:
        samples: the number of targets, N.
        views: the number of views, V.
        focus: what the attention prepared; the sample is the first dimension.
        losses: what each loss prepared, by its name, for the views stacked view by view: V * N samples.
    """

    samples: int
    views: int
    focus: Any
    losses: dict[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return self.samples

    def select(self, indices: Sequence[int] | Tensor) -> Reference:
        """The reference of some of the targets, as if these alone had been prepared.

        Args:
            indices: which targets, by position; int64 (M,) if it is a tensor.
        """
        index = torch.as_tensor(indices, dtype=torch.int64)

        def of_samples(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, index.to(tensor.device))

        def of_stack(tensor: Tensor) -> Tensor:
            by_view = tensor.reshape(self.views, self.samples, *tensor.shape[1:])
            return by_view.index_select(1, index.to(tensor.device)).flatten(0, 1)

        losses = {name: _map(of_stack, reference) for name, reference in self.losses.items()}
        return Reference(len(index), self.views, _map(of_samples, self.focus), losses)

    def to(self, device: str | torch.device) -> Reference:
        """The same reference on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device)

        losses = {name: _map(move, reference) for name, reference in self.losses.items()}
        return Reference(self.samples, self.views, _map(move, self.focus), losses)


@dataclass(frozen=True)
class ObjectiveResult:
    """The value of an objective. Nothing in it has been moved to the host.

    Attributes:
        total: the mean of ``per_sample``, a scalar: what to call ``backward`` on.
        per_sample: the weighed sum of each sample (N,).
        image: what the image losses alone add up to, each weighed (N,).
        terms: every term (N,) by name, not weighed: ``image/mse``, ``at1/lpips``, ``latent/w/cos`` and, last,
            ``total``, which is ``per_sample``. They hold the graph.
    """

    total: Tensor
    per_sample: Tensor
    image: Tensor
    terms: dict[str, Tensor]

    def numbers(self) -> dict[str, float]:
        """The mean of every term over the samples, as numbers, brought to the host in one transfer."""
        means = torch.stack([term.detach().mean() for term in self.terms.values()]).tolist()
        return dict(zip(self.terms, means, strict=True))


class Objective(nn.Module):
    """How far a reconstruction is from its target (Equations 2, 3 and 6).

    The sum over views (each with its weight: 1, mu1, mu2) of the sum over losses (each with its weight: alpha, beta,
    gamma, delta), plus the latent loss times epsilon. All views go through each loss in one batch, so a step takes one
    pass of the backbone; what the target needs is computed once, by `prepare`.

    Args:
        attention: makes the views.
        losses: weight and loss by name; one of weight 0 is left out.
        latent: the latent loss, if there is to be one.

    Raises:
        SpecError: if no loss is left.
    """

    def __init__(
        self, attention: Attention, losses: Mapping[str, tuple[float, Loss]], latent: LatentTerm | None = None
    ) -> None:
        super().__init__()
        used = {name: pair for name, pair in losses.items() if pair[0]}
        if not used:
            raise SpecError("The objective has no image loss; give one of its losses a weight above 0.")
        self.attention = attention
        self.weights = {name: float(weight) for name, (weight, _) in used.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in used.items()})
        self.latent = latent

    @torch.no_grad()
    def prepare(self, target: Tensor, **context: Any) -> Reference:
        """Compute once what the targets call for.

        Args:
            target: the images (N, C, H, W) to rebuild, in the value range that the losses were made for.
            context: what the attention may want to know besides, such as ``labels`` (N,).

        Returns:
            the reference, which can be taken apart by sample.
        """
        focus = self.attention.prepare(target, **context)
        views = self.attention.views(target, focus)
        stack = _stack(views)
        losses = {name: loss.prepare(stack) for name, loss in self._losses()}
        return Reference(len(target), len(views), focus, losses)

    def forward(
        self,
        reconstruction: Tensor,
        reference: Reference,
        *,
        latents: Latents | Mapping[str, Tensor] | None = None,
        latents_reference: Latents | Mapping[str, Tensor] | None = None,
    ) -> ObjectiveResult:
        """Compare a reconstruction with its target.

        Args:
            reconstruction: (N, C, H, W), one for each target of ``reference``, in the same order.
            reference: what `prepare` returned for the targets.
            latents: the latents of the reconstruction. Without them the latent loss is left out.
            latents_reference: what they are compared with: the true latents of a synthesized image, or on a photo those
                of the reconstruction encoded again. The gradient goes to both.

        Returns:
            the total, and every term by name.

        Raises:
            SpecError: if the numbers of images differ, or a loss does not give one number a sample.
        """
        if len(reconstruction) != len(reference):
            raise SpecError(f"{len(reconstruction)} reconstructions cannot be compared with {len(reference)} targets.")
        views = self.attention.views(reconstruction, reference.focus)
        stack = _stack(views)
        terms: dict[str, Tensor] = {}
        weighed: list[Tensor] = []
        for name, loss in self._losses():
            values: Tensor = loss(stack, reference.losses[name])
            if values.shape != (len(stack),):
                raise SpecError(
                    f"The loss {name!r} gives shape {tuple(values.shape)}; it has to give one number a sample."
                )
            for view, term in zip(views, values.reshape(len(views), -1), strict=True):
                terms[f"{view.name}/{name}"] = term
                weighed.append(term * (view.weight * self.weights[name]))
        image = per_sample = torch.stack(weighed).sum(0)
        if self.latent is not None and latents is not None and latents_reference is not None:
            regular, parts = self.latent(latents, latents_reference)
            terms.update(parts)
            per_sample = image + regular
        terms["total"] = per_sample
        return ObjectiveResult(per_sample.mean(), per_sample, image, terms)

    def _losses(self) -> list[tuple[str, Loss]]:
        return [(name, cast(Loss, loss)) for name, loss in self.losses.items()]


def build_objective(
    losses: Mapping[str, float],
    attention: str | Attention = "center",
    weights: Sequence[float] = (0.375, 0.625),
    backbone: str | Backbone = "vgg16",
    latent: LatentTerm | Mapping[str, Any] | None = None,
    value_range: Range = (-1.0, 1.0),
    device: str | torch.device = "cpu",
    attention_options: Mapping[str, Any] | None = None,
) -> Objective:
    """Build an objective from plain values, names resolved through the registry.

    Args:
        losses: the weight of each registered loss; the paper's are ``{"mse": 5, "cos": 3, "lpips": 2, "ssim": 1}``.
        attention: a registered attention, or one at hand.
        weights: mu1 and mu2 of Equation 2, for the attentions that take them.
        backbone: the backbone of the losses and attentions that take one; it is loaded only if one does.
        latent: the latent loss, or its arguments.
        value_range: the values of black and white in the images.
        device: where the objective is to be.
        attention_options: what else the registered attention takes, by name.

    Raises:
        UnknownNameError: if a name is not registered.
        WeightsMissingError: if the backbone's weights are not on disk and cannot be fetched.
        SpecError: if a value makes no sense.
    """

    shared = _shared(backbone, value_range, device)
    built: dict[str, tuple[float, Loss]] = {}
    for name, weight in losses.items():
        factory = registry().resolve("loss", name)
        if weight:
            built[name] = (weight, _check(build_with(factory, shared), Loss, f"loss {name!r}"))
    looks = build_attention(
        attention, weights, backbone=backbone, value_range=value_range, device=device, options=attention_options
    )
    if latent is not None and not isinstance(latent, LatentTerm):
        latent = LatentTerm(**_known(LatentTerm, latent))
    return Objective(looks, built, latent).to(device)


def build_attention(
    attention: str | Attention,
    weights: Sequence[float] = (0.375, 0.625),
    *,
    backbone: str | Backbone = "vgg16",
    value_range: Range = (-1.0, 1.0),
    device: str | torch.device = "cpu",
    options: Mapping[str, Any] | None = None,
) -> Attention:
    """An attention by itself, as `build_objective` builds it.

    Args:
        attention: a registered attention, or one at hand.
        weights: mu1 and mu2 of Equation 2, if it takes them.
        backbone: its backbone, loaded only if it takes one.
        value_range: the values of black and white in the images.
        device: where the backbone is to be.
        options: what else the registered attention takes, by name.

    Raises:
        UnknownNameError: if the name is not registered.
        WeightsMissingError: if the backbone's weights are not on disk and cannot be fetched.
        SpecError: if a value makes no sense.
    """
    options = options or {}
    what = f"attention {attention!r}"
    if isinstance(attention, Attention):
        if options:
            raise SpecError("Options are for an attention given by its name; this one is built already.")
        return attention
    shared = {**_shared(backbone, value_range, device), "weights": tuple(weights)}
    factory = registry().resolve("attention", attention)
    known = [name for name in inspect.signature(factory).parameters if name not in shared]
    for name in options:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SpecError(f"The {what} has no option {name!r}{nearest(name, known)}; {has}.")
    try:
        made: Attention = _check(build_with(factory, {**shared, **options}), Attention, what)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise SpecError(f"The {what} cannot be made of {given or 'its defaults'}: {error}.") from None
    return made


def _shared(backbone: str | Backbone, value_range: Range, device: str | torch.device) -> dict[str, Any]:
    """What losses and attentions are offered alike."""
    return {"value_range": value_range, "backbone": lambda: load_backbone(backbone, device=device)}


def build_with(factory: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call a class or factory with those of the options that it names; ``backbone`` is a function that loads it."""
    names = inspect.signature(factory).parameters
    chosen = {name: value for name, value in options.items() if name in names}
    if "backbone" in chosen:
        chosen["backbone"] = chosen["backbone"]()
    return factory(**chosen)


def _known(factory: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    names = list(inspect.signature(factory).parameters)
    for name in options:
        if name not in names:
            raise SpecError(f"The latent loss has no option {name!r}; it has {', '.join(names)}.")
    return dict(options)


def _check(value: Any, kind: type, what: str) -> Any:
    if not isinstance(value, kind):
        raise PluginError(f"The {what} builds a {type(value).__name__}; it has to be a {kind.__name__}.")
    return value


def _stack(views: Sequence[View]) -> Tensor:
    """All views in one batch, view by view: (V * N, C, H, W)."""
    if len({view.image.shape for view in views}) != 1:
        shapes = ", ".join(f"{view.name} {tuple(view.image.shape)}" for view in views)
        raise SpecError(
            f"The views of an attention need one shape; these have {shapes or 'none, as there are no views'}."
        )
    return views[0].image if len(views) == 1 else torch.cat([view.image for view in views])


def _map(change: Callable[[Tensor], Tensor], data: Any) -> Any:
    """Apply ``change`` to every tensor in nested tuples, lists and mappings."""
    if isinstance(data, Tensor):
        return change(data)
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(_map(change, item) for item in data))
    if isinstance(data, tuple | list):
        return type(data)(_map(change, item) for item in data)
    if isinstance(data, Mapping):
        return {key: _map(change, item) for key, item in data.items()}
    return data
