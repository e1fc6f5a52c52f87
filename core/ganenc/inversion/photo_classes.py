"""The class of a photo: given, predicted by a backbone, or searched (not in the paper, whose encoder is told it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, cast, get_args

import torch
from ganenc_registry.errors import LatentsError, SpecError, nearest
from ganenc_registry.specs import Condition
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator, LabelsGiven, check_labels
from ganenc.images import convert_range
from ganenc.latents import Latents
from ganenc.objectives import Backbone, Objective, pool

FEW = 32
"""Up to so many classes a search tries all of them."""
LIKELIEST = 8
"""Of more classes it tries so many, the likeliest of a backbone."""

Finding: TypeAlias = Literal["predicted", "searched"]
"""A way to find the class of a photo."""
Source: TypeAlias = Literal["given", "predicted", "searched"]
"""How the class of a photo came."""


class Found(NamedTuple):
    """The classes of photos."""

    labels: Tensor | None
    """int64 (N,), or rows (N, classes) if they were given so; None where there are none."""
    source: Source | None
    """How they came; None where there are none."""


def find_labels(
    images: Tensor,
    generator: Generator,
    encoder: Encoder | None,
    objective: Objective | None,
    *,
    labels: LabelsGiven | str | None = None,
    candidates: Sequence[int] | Tensor | None = None,
) -> Found:
    """The classes of photos (N, C, H, W), in the generator's range, on its device, as asked for or in the best way.

    ``labels`` are the classes, ``predicted`` (by the objective's backbone) or ``searched`` (the objective judges), by
    default as `default_way` says; ``candidates`` to search among make a search the default. A LatentsError says that
    labels do not fit, or the generator has no classes, a SpecError that they cannot be found in that way.
    """
    if not generator.spec.classes and labels is None and candidates is None:
        return Found(None, None)
    generator.need_classes()
    known, way = get_args(Finding), cast("Source | None", labels)
    if isinstance(labels, str) and labels not in known:
        raise SpecError(f"Labels are classes, or {' or '.join(known)}; not {labels!r}{nearest(labels, known)}.")
    if labels is None:
        way = "searched" if candidates is not None else default_way(generator, encoder, objective)
    elif not isinstance(labels, str):
        way = "given"
    if candidates is not None and way != "searched":
        raise SpecError(f"Candidates are for labels that are searched; these are {way}. Leave the candidates out.")
    if labels is not None and not isinstance(labels, str):
        return Found(generator.as_labels(labels, len(images)), "given")
    if way is None:
        return Found(None, None)
    if objective is None:
        raise SpecError(f"Labels can be {way} only with an objective; give one, or the labels.")
    if way == "predicted":
        backbone = _classifier(generator, objective)
        if backbone is None:
            raise SpecError("The objective has no backbone to predict labels with; give the labels, or search them.")
        return Found(predict_labels(images, generator, backbone), way)
    return Found(search_labels(images, generator, encoder, objective, candidates=candidates), way)


def looks_at_labels(generator: Generator, encoder: Encoder | None) -> bool:
    """Whether the latents hold a condition, or the encoder wants labels: only then do images depend on them."""
    conditional = any(isinstance(part, Condition) for part in generator.spec.layout)
    return conditional or (encoder is not None and encoder.embedding is not None)


def default_way(generator: Generator, encoder: Encoder | None, objective: Objective | None) -> Finding | None:
    """How labels are found that are not given: predicted where the objective has a backbone with as many classes as the
    generator, otherwise searched; None where there are none, or nothing looks at them."""
    if not generator.spec.classes:
        return None
    if objective is not None and _matching(generator, objective) is not None:
        return "predicted"
    return "searched" if looks_at_labels(generator, encoder) else None


def must_find(
    generator: Generator,
    encoder: Encoder | None,
    labels: LabelsGiven | str | None,
    candidates: Sequence[int] | Tensor | None = None,
) -> bool:
    """Whether `find_labels` has to look at the images, for which it wants an objective."""
    if labels is None and candidates is None:
        return looks_at_labels(generator, encoder)
    return labels is None or isinstance(labels, str)


@torch.no_grad()
def predict_labels(
    images: Tensor, generator: Generator, backbone: Backbone, *, likeliest: int | None = None, batch: int = 16
) -> Tensor:
    """The classes to which a backbone gives the highest scores: int64 (N,), or the first ``likeliest``, (N, likeliest).
    Images (N, C, H, W) are in the generator's range, on the backbone's device; a SpecError if its classes differ."""
    classes = generator.spec.classes
    if backbone.classes != classes:
        raise SpecError(
            f"The backbone {backbone.name!r} knows {backbone.classes} classes and {generator.spec.family} has"
            f" {classes}, so it cannot predict them; give the labels, search them, or take a matching backbone."
        )
    found = []
    for some in images.split(batch):
        views = pool(convert_range(some.float(), generator.spec.value_range, (-1.0, 1.0)))
        logits = backbone(backbone.fit(views)).logits
        if logits is None or logits.shape != (len(some), classes):
            shape = None if logits is None else tuple(logits.shape)
            raise SpecError(f"The backbone {backbone.name!r} gives logits {shape}, not ({len(some)}, {classes}).")
        found.append(logits.topk(min(likeliest or 1, classes)).indices)
    return torch.cat(found) if likeliest else torch.cat(found).squeeze(1)


@torch.no_grad()
def search_labels(
    images: Tensor,
    generator: Generator,
    encoder: Encoder | None,
    objective: Objective,
    *,
    candidates: Sequence[int] | Tensor | None = None,
    batch: int = 16,
) -> Tensor:
    """For each image (N, C, H, W) the class under which one pass of the encoder rebuilds it best, int64 (N,).

    Each candidate conditions encoder and generator, ``batch`` pairs of image and class at once; the objective's image
    losses decide. Where no encoder looks at the class, the mean latents of the class stand in. Candidates are classes
    (K,) for all, or (N, K); by default all of up to 32, and of more the 8 likeliest of the objective's backbone (a
    SpecError if it has not the generator's classes). A LatentsError if one is no class.
    """
    generator.freeze()
    tried = _candidates(images, generator, objective, candidates)
    width = tried.shape[1]
    best = []
    step = max(1, batch // width)
    for some, labels in zip(images.split(step), tried.split(step), strict=True):
        reference = objective.prepare(some)
        photos = torch.arange(len(some), device=images.device).repeat_interleave(width)
        losses = []
        for places, classes in zip(photos.split(batch), labels.flatten().split(batch), strict=True):
            made = generator.synthesize(_first_latents(some[places], classes, generator, encoder))
            losses.append(objective(made, reference.select(places)).image)
        loss = torch.cat(losses).reshape(len(some), width)
        lowest = torch.where(loss.isfinite(), loss, torch.inf).argmin(1, keepdim=True)
        best.append(labels.gather(1, lowest).squeeze(1))
    return torch.cat(best)


def _first_latents(images: Tensor, labels: Tensor, generator: Generator, encoder: Encoder | None) -> Latents:
    if encoder is None or not looks_at_labels(generator, encoder):
        return generator.center(labels=labels)
    return generator.complete(encoder.eval()(images, labels=labels), labels=labels)


def _candidates(
    images: Tensor, generator: Generator, objective: Objective, given: Sequence[int] | Tensor | None
) -> Tensor:
    """The classes to try for each image: int64 (N, K)."""
    classes, n = generator.spec.classes, len(images)
    if given is None and classes <= FEW:
        return torch.arange(classes, device=images.device).expand(n, -1)
    if given is None:
        backbone = _matching(generator, objective)
        if backbone is None:
            raise SpecError(
                f"{generator.spec.family} has {classes} classes, too many to try them all, and the objective has no"
                " backbone that knows them; give candidates, or the labels."
            )
        return predict_labels(images, generator, backbone, likeliest=LIKELIEST)
    tried = torch.as_tensor(given)
    tried = tried.expand(n, -1) if tried.ndim == 1 else tried
    if tried.ndim != 2 or len(tried) != n or not tried.shape[1]:
        raise LatentsError(f"Candidates are classes (K,), or (N, K) for {n} images; these are {tuple(tried.shape)}.")
    flat = check_labels(tried.flatten(), classes, of=generator.spec.family, what="Candidates")
    return flat.reshape(tried.shape).to(images.device)


def _matching(generator: Generator, objective: Objective) -> Backbone | None:
    """The objective's backbone, if it has one with the generator's number of classes."""
    found = _classifier(generator, objective)
    return found if found is not None and found.classes == generator.spec.classes else None


def _classifier(generator: Generator, objective: Objective) -> Backbone | None:
    """The objective's backbone, the matching one first."""
    backbones = [module for module in objective.modules() if isinstance(module, Backbone)]
    return min(backbones, key=lambda one: one.classes != generator.spec.classes, default=None)
