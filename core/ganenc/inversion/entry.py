"""The one call from images to latents."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, PluginError, SpecError, nearest
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor

from ganenc.encoders import Encoder, check_fits
from ganenc.generators import Generator
from ganenc.inversion.defaults import default_method
from ganenc.inversion.inverter import Inversion, Inverter, OnStep
from ganenc.inversion.photo_classes import LabelsGiven, find_labels, given_labels, must_find
from ganenc.objectives import Objective, build_objective

__all__ = ["build_inverter", "invert"]


def invert(
    images: Tensor,
    generator: Generator,
    encoder: Encoder | None = None,
    *,
    method: str | None = None,
    labels: LabelsGiven | str | None = None,
    candidates: Sequence[int] | Tensor | None = None,
    objective: Objective | None = None,
    backbone: str | Choice | None = None,
    seed: int = 0,
    on_step: OnStep | None = None,
    **options: Any,
) -> Inversion:
    """Images => latents that rebuild them.

    Args:
        images: (N, C, H, W) in ``generator.spec.value_range``; ``ganenc.images.read`` gives one of them.
        generator: frozen here.
        encoder: the generator's encoder; only ``optimize`` can do without.
        method: a registered inverter: ``encode``, ``finetune`` (the paper's), ``finetune+refine`` (the default with an
            encoder) or ``optimize`` (the default without one).
        labels: for generators with classes: int64 (N,) or rows (N, classes), one each or one for all; or ``predicted``,
            by the objective's backbone; or ``searched``: of all classes or of ``candidates``, the one under which one
            pass of the encoder comes nearest to the photo. By default predicted where that backbone has as many classes
            as the generator, otherwise searched. See `ganenc.inversion.photo_classes.find_labels`.
        candidates: the classes (K,), or (N, K), that a search tries.
        objective: what "close" means; by default the paper's, with ``backbone`` behind lpips.
        backbone: see there; vgg16 by default, and where that cannot be had, lpips is left out.
        seed: of whatever the method draws.
        on_step: called now and then with the terms of the objective.
        options: of the method, such as ``steps`` or ``rate``.

    Raises:
        ImageError: if the images are not of the generator's size, or hold values that are not finite.
        LatentsError: if the labels do not fit the images, or the generator.
        UnknownNameError: if there is no such method.
        SpecError: if the method has no such option, or needs an encoder, or the encoder is another generator's; or if
            the classes cannot be found as asked.

    Returns:
        the inversion; its settings say which classes were taken (``labels``), and how they came (``labels_from``).
    """
    _check(images, generator, encoder)
    if labels is not None and not isinstance(labels, str):
        labels = given_labels(labels, len(images), generator)
    method = method or default_method(encoder is not None)
    inverter = build_inverter(method, **options)
    if objective is None and (method != "encode" or must_find(generator, encoder, labels, candidates)):
        objective = build_objective(ObjectiveSpec(backbone=backbone), generator)
    images = images.to(device=generator.device, dtype=torch.promote_types(generator.dtype, torch.float32))
    started = time.perf_counter()
    found = find_labels(images, generator, encoder, objective, labels=labels, candidates=candidates)
    spent = (time.perf_counter() - started) / len(images)
    done = inverter.invert(
        images, generator, encoder, labels=found.labels, objective=objective, seed=seed, on_step=on_step
    )
    if found.labels is None:
        return done
    settings = {**done.settings, "labels": found.labels.tolist(), "labels_from": found.source}
    return replace(done, labels=found.labels, settings=settings, seconds=[spent + each for each in done.seconds])


def _check(images: Tensor, generator: Generator, encoder: Encoder | None) -> None:
    spec = generator.spec
    wanted = (spec.channels, *spec.size)
    if images.ndim != 4 or tuple(images.shape[1:]) != wanted or not len(images):
        found = tuple(images.shape)
        raise ImageError(f"The generator makes images (N, {', '.join(map(str, wanted))}); these are {found}.")
    if not images.is_floating_point():
        low, high = spec.value_range
        raise ImageError(f"Images are floats from {low:g} to {high:g}; these are {images.dtype}.")
    broken = (~images.flatten(1).isfinite().all(1)).nonzero().flatten().tolist()
    if broken:
        raise ImageError(f"The images {broken} (counted from 0) hold values that are not finite; leave them out.")
    if encoder is not None:
        check_fits(encoder.spec, spec)


def build_inverter(method: str, **options: Any) -> Inverter:
    """The registered inverter of that name with its options.

    Raises:
        SpecError: if it has no such option.
    """
    factory = registry().resolve("inverter", method)
    known = list(inspect.signature(factory).parameters)
    for name in options:
        if name not in known:
            raise SpecError(f"The method {method!r} has no option {name!r}{nearest(name, known)}; it has {known}.")
    try:
        inverter = factory(**options)
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in options.items())
        raise SpecError(f"The method {method!r} cannot be made of {given}: {error}.") from None
    if not isinstance(inverter, Inverter):
        raise PluginError(f"The inverter {method!r} builds a {type(inverter).__name__}, which is no Inverter.")
    return inverter
