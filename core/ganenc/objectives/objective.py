"""The objective: views x losses, plus the latent loss, in one number (paper, Equations 2, 3 and 6)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from einops import rearrange
from ganenc_registry.components import Context, build, component_class
from ganenc_registry.errors import SpecError, WeightsMissingError
from ganenc_registry.fields import check_choices
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ganenc.generators import Generator, apart
from ganenc.latents import Latents
from ganenc.objectives.attentions import Attention, View
from ganenc.objectives.backbones.base import Backbone
from ganenc.objectives.backbones.loading import NO_BACKBONE, context_for
from ganenc.objectives.latent_term import LatentTerm
from ganenc.objectives.losses.base import Loss, pool


@dataclass(frozen=True)
class Reference:
    """What an objective needs of a batch of targets, computed once."""

    samples: int
    """The number of targets, N."""
    views: int
    """The number of views, V."""
    focus: Any = field(repr=False)
    """What the attention prepared; the sample is the first dimension."""
    losses: dict[str, Any] = field(repr=False)
    """What each loss prepared, by its name, for the views stacked view by view: V * N samples."""
    full: dict[str, Any] = field(default_factory=dict, repr=False)
    """What pixelwise losses prepared for whole images that are larger than the objective looks at."""

    def __len__(self) -> int:
        return self.samples

    def select(self, indices: Sequence[int] | Tensor) -> Reference:
        """The reference of some of the targets, by position (M,), as if these alone had been prepared."""
        index = torch.as_tensor(indices, dtype=torch.int64)

        def of_samples(tensor: Tensor) -> Tensor:
            return tensor.index_select(0, index.to(tensor.device))

        def of_stack(tensor: Tensor) -> Tensor:
            by_view = rearrange(tensor, "(v n) ... -> v n ...", v=self.views)
            return rearrange(by_view.index_select(1, index.to(tensor.device)), "v n ... -> (v n) ...")

        focus, full = tree_map_only(Tensor, of_samples, (self.focus, self.full))
        return Reference(len(index), self.views, focus, tree_map_only(Tensor, of_stack, self.losses), full)

    def to(self, device: str | torch.device) -> Reference:
        """The same reference on another device."""
        held = (self.focus, self.losses, self.full)
        return Reference(self.samples, self.views, *tree_map_only(Tensor, lambda tensor: tensor.to(device), held))


@dataclass(frozen=True)
class ObjectiveResult:
    """The value of an objective. Nothing in it has been moved to the host."""

    total: Tensor
    """The mean of ``per_sample``, a scalar: what to call ``backward`` on."""
    per_sample: Tensor = field(repr=False)
    """The weighed sum of each sample (N,)."""
    image: Tensor = field(repr=False)
    """What the image losses alone add up to, each weighed (N,)."""
    terms: dict[str, Tensor] = field(repr=False)
    """Every term (N,) by name, not weighed and with its graph: ``image/mse``, ``at1/lpips``, ``latent/w/cos`` and,
    last, ``total``, which is ``per_sample``."""
    images: Tensor | None = field(default=None, repr=False)
    """What was compared, (N, C, H, W) without its graph; None where no images were."""

    def numbers(self) -> dict[str, float]:
        """The mean of every term over the samples, as numbers, brought to the host in one transfer."""
        means = torch.stack([term.detach().mean() for term in self.terms.values()]).tolist()
        return dict(zip(self.terms, means, strict=True))


class Objective(nn.Module):
    """How far a reconstruction is from its target (Equations 2, 3 and 6).

    The sum over views (weighed 1, mu1, mu2) of the sum over losses (weighed alpha, beta, gamma, delta), plus the latent
    loss times epsilon. ``losses`` are weight and loss by name; one of weight 0 is left out, and `SpecError` says if
    none is left. All views go through each loss in one batch, so a step takes one pass of the backbone; what the target
    needs is computed once, by `prepare`. Images whose longer side is above ``size`` are averaged
    to it first, for attention and losses; pixelwise losses compare the whole image at full size in its place, which has
    the averages' difference in it and that of the details.
    """

    def __init__(
        self,
        attention: Attention,
        losses: Mapping[str, tuple[float, Loss]],
        latent: LatentTerm | None = None,
        *,
        size: int | None = None,
    ) -> None:
        super().__init__()
        used = {name: pair for name, pair in losses.items() if pair[0]}
        if not used:
            raise SpecError("The objective has no image loss; give one of its losses a weight above 0.")
        self.attention = attention
        self.weights = {name: float(weight) for name, (weight, _) in used.items()}
        self.losses = nn.ModuleDict({name: loss for name, (_, loss) in used.items()})
        self.latent = latent
        self.size = size
        self.spec: ObjectiveSpec | None = None
        """What builds the same again, where it was built from a spec."""

    def likewise(self, other: Objective) -> Objective:
        """Another objective, to compare what this one does: whole images, as any does by itself."""
        return other

    @torch.no_grad()
    def prepare(self, target: Tensor, **context: Any) -> Reference:
        """Compute once what targets (N, C, H, W) call for, in the value range that the losses were made for;
        ``context`` is what the attention may want to know besides, such as ``labels`` (N,)."""
        small = self._looked_at(target)
        focus = self.attention.prepare(small, **context)
        views = self.attention.views(small, focus)
        stack = _stack(views)
        named = {name: cast(Loss, loss) for name, loss in self.losses.items()}
        losses = {name: loss.prepare(stack) for name, loss in named.items()}
        full = {name: loss.prepare(target) for name, loss in named.items() if small is not target and loss.pixelwise}
        return Reference(len(target), len(views), focus, losses, full)

    def _looked_at(self, images: Tensor) -> Tensor:
        return images if self.size is None else pool(images, self.size)

    def forward(
        self,
        reconstruction: Tensor,
        reference: Reference,
        *,
        latents: Latents | Mapping[str, Tensor] | None = None,
        latents_reference: Latents | Mapping[str, Tensor] | None = None,
    ) -> ObjectiveResult:
        """Compare reconstructions (N, C, H, W) with the targets of ``reference``, which `prepare` returned, in order.

        Without ``latents``, those of the reconstruction, the latent loss is left out. ``latents_reference`` is what
        they are compared with: the true latents of a synthesized image, or on a photo those of the reconstruction
        encoded again. Both get a gradient. `SpecError` if numbers of images differ, or a loss gives not one each.
        """
        if len(reconstruction) != len(reference):
            raise SpecError(f"{len(reconstruction)} reconstructions cannot be compared with {len(reference)} targets.")
        views = self.attention.views(self._looked_at(reconstruction), reference.focus)
        stack = _stack(views)
        terms: dict[str, Tensor] = {}
        weighed: list[Tensor] = []
        for name, loss in self.losses.items():
            values: Tensor = loss(stack, reference.losses[name])
            if values.shape != (len(stack),):
                raise SpecError(
                    f"The loss {name!r} gives shape {tuple(values.shape)}; it has to give one number a sample."
                )
            if name in reference.full:
                values = torch.cat([loss(reconstruction, reference.full[name]), values[len(reconstruction) :]])
            for view, term in zip(views, rearrange(values, "(v n) -> v n", v=len(views)), strict=True):
                terms[f"{view.name}/{name}"] = term
                weighed.append(term * (view.weight * self.weights[name]))
        image = per_sample = torch.stack(weighed).sum(0)
        if self.latent is not None and latents is not None and latents_reference is not None:
            regular, parts = self.latent(latents, latents_reference)
            terms.update(parts)
            per_sample = image + regular
        terms["total"] = per_sample
        return ObjectiveResult(per_sample.mean(), per_sample, image, terms, reconstruction.detach())


@apart()
def build_objective(
    spec: ObjectiveSpec, generator: Generator, *, own_backbone: str | Choice | Backbone | None = None
) -> Objective:
    """The objective that a spec describes, for the images of a generator and on its device.

    Where the spec names no backbone, ``own_backbone`` is taken, such as the model's own or ``none`` (vgg16 by default),
    and losses that need one are left out if there is none or, after a warning, if its weights cannot be had. It is
    loaded only if a loss or the attention needs it.

    `UnknownNameError` if a name is not registered; `SpecError` for a wrong option, by its path and before anything is
    loaded, or if no loss is left; `WeightsMissingError` if the backbone is needed and its weights cannot be had.
    """
    chosen = {name: choice for name, choice in spec.losses.items() if choice.weight}
    check_choices(spec, at="objective.")
    looking = spec.attention
    if generator.spec.shows != "pictures":
        out = [name for name, one in chosen.items() if component_class("loss", one.name, Loss).pictures_only]
        chosen = {name: choice for name, choice in chosen.items() if name not in out}
        if component_class("attention", looking.name, Attention).pictures_only:
            out, looking = [*out, looking.name], Choice(name="none")
        if out:
            left = f"{', '.join(out)}, made for pictures: {generator.spec.family} makes {generator.spec.shows}"
            warnings.warn(f"The objective goes on without {left}.", stacklevel=3)
    context = context_for(spec.backbone or own_backbone, generator.spec, device=generator.device)
    needing = [name for name, choice in chosen.items() if component_class("loss", choice.name, Loss).needs_backbone]
    blind = spec.backbone is None and own_backbone == NO_BACKBONE
    try:
        if needing and not blind:
            context.backbone  # noqa: B018
    except WeightsMissingError as error:
        if spec.backbone is not None or len(needing) == len(chosen):
            raise
        warnings.warn(f"The objective goes on without {', '.join(needing)}: {error}", stacklevel=3)
        blind = True
    if blind:
        chosen = {name: choice for name, choice in chosen.items() if name not in needing}
    losses = {name: (choice.weight, build("loss", choice, Loss, context)) for name, choice in chosen.items()}
    latent = LatentTerm(spec.latent) if spec.latent.weight else None
    objective = Objective(build_attention(looking, context), losses, latent, size=spec.size)
    objective.to(generator.device)
    if isinstance(own_backbone, Backbone):
        return objective
    own = None if own_backbone is None or own_backbone == NO_BACKBONE else Choice.of(own_backbone)
    objective.spec = spec.model_copy(update={"losses": chosen, "attention": looking, "backbone": spec.backbone or own})
    return objective


def build_attention(choice: Choice | str, context: Context) -> Attention:
    """An attention by itself, as `build_objective` builds it, with the same errors; `context_for` makes the context."""
    return build("attention", choice, Attention, context, at="attention")


def _stack(views: Sequence[View]) -> Tensor:
    """All views in one batch, view by view: (V * N, C, H, W)."""
    if len({view.image.shape for view in views}) != 1:
        shapes = ", ".join(f"{view.name} {tuple(view.image.shape)}" for view in views)
        raise SpecError(
            f"The views of an attention need one shape; these have {shapes or 'none, as there are no views'}."
        )
    return views[0].image if len(views) == 1 else torch.cat([view.image for view in views])
