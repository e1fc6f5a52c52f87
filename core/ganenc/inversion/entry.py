"""The one call from images to latents."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from ganenc_registry.components import Context, build
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor

from ganenc.encoders import Encoder, check_fits
from ganenc.files import as_count, as_tensor
from ganenc.generators import Generator, LabelsGiven
from ganenc.inversion.defaults import CLOSE, default_method
from ganenc.inversion.inverter import Inversion, Inverter, OnStep, able, need_encoder
from ganenc.inversion.operators import Operator, Operators, build_operator, operator_choices, purpose_of
from ganenc.inversion.photo import Photo
from ganenc.inversion.photo_classes import find_labels, must_find
from ganenc.inversion.seeing import Seen, SeenObjective
from ganenc.objectives import Objective, build_objective, context_for

Method: TypeAlias = str | Mapping[str, Any] | Choice
"""A registered inverter: its name, or ``{"name": ..., "options": {...}}``."""
FAR = 5.0
"""Images are another range's if they leave their own by so many times its width, as networks hardly do."""


@torch.inference_mode(False)
def invert(
    images: Tensor,
    generator: Generator,
    encoder: Encoder | None = None,
    method: Method | Inverter | None = None,
    *,
    labels: LabelsGiven | str | None = None,
    candidates: Sequence[int] | Tensor | None = None,
    objective: Objective | ObjectiveSpec | Mapping[str, Any] | None = None,
    operator: Operators | None = None,
    photos: Sequence[Photo | None] | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> Inversion:
    """Images (N, C, H, W) in ``generator.spec.value_range``, an array or a tensor, => latents that rebuild them, with
    the classes that were taken. ``invert(images, generator, encoder, **inversion.settings)`` replays it; an objective
    at hand that no spec describes is to be given again.

    The generator is frozen here; ``encoder`` is its own, and only ``optimize`` and ``tune`` can do without, and
    ``newton`` from draws. ``method`` is a registered inverter, ``encode``, ``newton``, ``finetune`` (the paper's),
    ``finetune+refine``, ``tune`` (weights; the
    default with an encoder) or ``optimize`` (the default without one), or one at hand. ``labels``, for generators with
    classes, are one each or one for all, ``predicted`` by the objective's backbone, or ``searched``; by default the
    best there is, see `ganenc.inversion.find_labels`. ``candidates`` are the classes (K,), or (N, K), that a search
    tries. ``objective`` is what "close" means, or its spec, by default the paper's. With an ``operator`` images are
    what was seen through it, and it is there that a reconstruction is compared; masks look at ``photos`` besides, where
    these are at hand. ``seed`` is of whatever the method
    draws; ``on_step`` is called now and then with the terms of the objective. Gradients are switched on, and dtypes
    meet as `ganenc.generators.Generator` has it.

    `ImageError` if the images are not of the generator's size, hold values that are not finite, or are far out of its
    range; `LatentsError` if labels do not fit the images or the generator; `UnknownNameError` if there is no such
    method; `SpecError` if it has no such option, or needs an encoder, or that is another generator's, or the classes
    cannot be found as asked.
    """
    images, seed = able(as_tensor(images, "images", ImageError)), as_count(seed, "seed", -(2**63))
    context = context_for(None, generator.spec, device=generator.device)
    through = None if operator is None else build_operator(operator, context)
    _check(images, generator, encoder, through)
    generator, encoder = able(generator), able(encoder)
    if labels is not None and not isinstance(labels, str):
        labels = generator.as_labels(labels, len(images))
    method = method or default_method(encoder is not None, purpose_of(operator), generator.spec.layout)
    inverter = build_inverter(method, generator)
    name = type(method).__name__ if isinstance(method, Inverter) else Choice.of(method).name
    if inverter.needs_encoder:
        need_encoder(encoder, name)
    if not isinstance(objective, Objective):
        spec = objective if isinstance(objective, ObjectiveSpec) else ObjectiveSpec.from_mapping(objective or {})
        needed = inverter.needs_objective or must_find(generator, encoder, labels, candidates)
        objective = build_objective(spec, generator) if needed else None
    images = images.to(device=generator.device, dtype=torch.promote_types(generator.dtype, torch.float32))
    started, seen, whole = time.perf_counter(), None, objective
    if through is not None:
        seen = Seen.of(images, through, generator.spec.size, photos)
        images = seen.guesses
        objective = SeenObjective(able(whole or build_objective(CLOSE, generator)), seen)
    found = find_labels(images, generator, encoder, objective, labels=labels, candidates=candidates)
    spent = (time.perf_counter() - started) / len(images)
    done = inverter.invert(
        images, generator, encoder, labels=found.labels, objective=objective, seed=seed, on_step=on_step
    )
    options = {**inverter.options.to_mapping(), **done.settings}
    settings: dict[str, Any] = {"method": {"name": name, "options": options}, "seed": seed}
    if whole is not None and whole.spec is not None:
        settings["objective"] = whole.spec.to_mapping()
    if found.labels is not None:
        settings["labels"] = found.labels.tolist()
    if operator is not None and not isinstance(operator, Operator):
        settings["operator"] = [choice.to_mapping() for choice in operator_choices(operator)]
    seconds = [spent + each for each in done.seconds]
    done = replace(done, seen=seen)
    return replace(done, labels=found.labels, labels_from=found.source, settings=settings, seconds=seconds)


def build_inverter(method: Method | Inverter, generator: Generator | None = None) -> Inverter:
    """The inverter that a method names, with its options, for a generator; an UnknownNameError if there is none of that
    name, a SpecError naming a wrong option and the nearest right one."""
    if isinstance(method, Inverter):
        return method
    context = Context() if generator is None else context_for(None, generator.spec, device=generator.device)
    return build("inverter", Choice.of(method, at="method"), Inverter, context, at="method")


def _check(images: Tensor, generator: Generator, encoder: Encoder | None, operator: Operator | None) -> None:
    spec = generator.spec
    size = spec.size if operator is None else operator.seen_size(spec.size)
    wanted = (spec.channels, *size)
    if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not len(images):
        found = tuple(images.shape)
        made = "The generator makes images" if operator is None else "Through the operator the generator's images are"
        raise ImageError(f"{made} (N, {', '.join(map(str, wanted))}); these are {found}.")
    low, high = spec.value_range
    if not images.is_floating_point():
        raise ImageError(f"Images are floats from {low:g} to {high:g}; these are {images.dtype}.")
    broken = (~images.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if broken:
        raise ImageError(f"The images {broken} (counted from 0) hold values that are not finite; leave them out.")
    darkest, lightest = (float(value) for value in torch.aminmax(images))
    if max(lightest - high, low - darkest) > FAR * (high - low):
        raise ImageError(
            f"Images of {spec.family} are from {low:g} to {high:g}; these hold {darkest:g} to {lightest:g}. Bring"
            " them to that range, as `ganenc.images.read` does."
        )
    if encoder is not None:
        check_fits(encoder.spec, spec)
