"""What the methods that optimise latents share: losses of their own, and Adam at one rate throughout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from ganenc.encoders import Encoder
from ganenc.inversion import Inversion, Task, descend, of_prior
from ganenc.latents import Latents
from ganenc.objectives import NO_BACKBONE, Objective, ObjectiveResult, build_objective
from ganenc_registry.specs import ObjectiveSpec
from torch import Tensor

__all__ = ["BETAS", "descend_latents", "own_objective"]

BETAS = (0.9, 0.999)


def own_objective(task: Task, *, latent: float = 0.0, mse: float = 1.0, **perceptual: float) -> Objective:
    """The losses that a method was published with, by their weights, of what the task's objective compares and on its
    backbone; without one, the mean square of the pixels alone. ``latent`` weighs that of latents and their
    reference."""
    given = task.objective
    assert given is not None
    backbones = [loss.context.backbone for loss in given.losses.values() if loss.needs_backbone]
    losses = {"mse": mse, **perceptual} if backbones else {"mse": mse or 1.0}
    fields = {"losses": losses, "attention": "none", "size": given.size}
    spec = ObjectiveSpec.from_mapping({**fields, "latent": {"weight": latent, "mse": 1.0, "cos": 0.0}})
    own = build_objective(spec, task.generator, own_backbone=backbones[0] if backbones else NO_BACKBONE)
    return given.likewise(own)


def descend_latents(
    task: Task,
    start: Latents,
    names: Iterable[str],
    objective: Objective,
    *,
    steps: int,
    rate: float,
    encoder: Encoder | None = None,
) -> Inversion:
    """Adam on parts of latents, complete, from a start; each sample ends where its own loss was lowest. With an encoder
    the objective's latent term compares them with what it says of their images, with gradient on both sides. Vectors
    that hold z of a uniform prior stay inside."""
    generator, reference = task.generator, objective.prepare(task.images, labels=task.labels)
    free = {name: start[name].detach() for name in names}
    for name, one in free.items():  # In half precision, Adam's steps would be lost.
        free[name] = one.to(torch.promote_types(one.dtype, torch.float32), copy=True).requires_grad_()
    bounded = of_prior(generator) if generator.spec.prior.kind == "uniform" else ()

    @torch.no_grad()
    def bring_back() -> None:
        for name in bounded:
            if name in free:
                free[name].clamp_(-1, 1)

    def take() -> tuple[Latents, ObjectiveResult, Tensor]:
        latents = start.replace(**free)
        made = generator.synthesize(latents)
        again = None if encoder is None else encoder(made, labels=task.labels)
        seen = None if again is None else {name: again[name] for name in free}
        result = objective(made, reference, latents=free, latents_reference=seen)
        return latents, replace(result, image=result.per_sample), result.per_sample.sum()

    best, history = descend(
        task, free.values(), take, steps=steps, rate=rate, betas=BETAS, schedule="constant", settle=bring_back,
        fixed=True,
    )  # fmt: skip
    with torch.no_grad():
        latents, result, _ = take()
        best.offer(latents, result.image, best.now())
        latents = best.take()
        return Inversion(latents, generator.synthesize(latents), history.per_sample())
