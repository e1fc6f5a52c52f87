"""An encoder solved for in closed form: linear heads on pooled features of a frozen network. Not in paper."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from ganenc_registry.errors import TrainingError, WeightsMissingError
from ganenc_registry.specs import Choice, EncoderSpec, Map, Styles
from torch import Tensor

from ganenc.encoders import Encoder, averaged, sees
from ganenc.files import as_count
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import DEFAULT_BACKBONE, NO_BACKBONE, load_backbone
from ganenc.training.data import Synthesized

LARGEST = 256
"""The longer side, in pixels, of the images that its encoder sees, where larger ones can be averaged to it."""
FLOOR = 0.1
"""What is added to a feature's deviation, in those of its kind and layer."""
STRENGTHS = torch.logspace(-8, 2, 41, dtype=torch.float64)
"""The strengths of the ridge that are tried, in the largest eigenvalue of the features."""


class Solved(NamedTuple):
    """An encoder, and what is known of it."""

    encoder: Encoder
    explained: dict[str, float]
    """The share of each part's variance that it predicts for images that it has not seen (leave-one-out)."""


@torch.inference_mode(False)
@torch.no_grad()
def solve_start(
    generator: Generator,
    *,
    backbone: str | None = None,
    own_backbone: str | None = None,
    images: int = 300,
    truncation: float = 1.0,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Solved:
    """Synthesize some hundred images, and solve for the encoder that predicts their latents with least squares: ridge
    regression in float64, its strength chosen for each part by leave-one-out cross-validation.

    Features are those of a registered ``backbone``, by default the model's own or vgg16, or of random convolutions: for
    ``none`` and, with a warning, where the weights of the default cannot be had. Styles are one for all layers where
    the generator draws them so; maps that it does not draw stay its own. ``on_step`` gets the images made, and all. A
    SpecError if there are fewer than four images, a TrainingError if they are not finite.
    """
    generator.freeze()
    count = as_count(images, "images", 4)
    taken = _backbone(backbone, own_backbone, generator.device)
    spec = generator.spec
    size = _size(spec.size)
    source = Synthesized(generator, 1, seed=seed, truncation=truncation)
    seen, drawn = [], []
    for place in range(count):
        batch = source.batch(place)
        assert batch.latents is not None
        seen.append(averaged(batch.images, size))
        drawn.append(batch.latents)
        if on_step:
            on_step(place + 1, count)
    latents, known = Latents.cat(drawn), torch.cat(seen)
    if not known.isfinite().all():
        raise TrainingError(
            "The generator's images hold values that are not finite; so nothing can be learned of them."
        )
    return _solve(generator, latents, known, taken, seed)


def _backbone(chosen: str | None, own: str | None, device: torch.device) -> Choice | None:
    """The backbone, if there is one and its weights can be had."""
    name = chosen or own or DEFAULT_BACKBONE
    if name == NO_BACKBONE:
        return None
    try:
        choice = Choice(name=name)
        load_backbone(choice, device=device)
    except WeightsMissingError as error:
        if chosen is not None:
            raise
        warnings.warn(f"Random convolutions take the place of the backbone: {error}", stacklevel=3)
        return None
    return choice


def _size(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which the encoder sees images: a whole number of times smaller, if need be and it goes."""
    rows, columns = size
    found = [(max(1, rows // n), columns // n) for n in range(1, columns + 1) if columns % n == 0]
    fitting = [one for one in found if sees(one, size)]
    return next((one for one in fitting if max(one) <= LARGEST), fitting[-1])


def _solve(generator: Generator, latents: Latents, images: Tensor, backbone: Choice | None, seed: int) -> Solved:
    spec, count = generator.spec, len(images)
    parts = [part for part in EncoderSpec.mirror(spec).parts if isinstance(part, Styles)]
    tied = all(torch.equal(latents[p.name], latents[p.name][:, :1].expand_as(latents[p.name])) for p in parts)
    fields = {
        "size": tuple(images.shape[2:]), "channels": spec.channels, "value_range": spec.value_range,
        "layout": spec.layout, "classes": spec.classes, "blocks": (), "equalized": False, "map_gain": 1.0,
    }  # fmt: skip
    pooled = {"backbone": backbone, "styles": 1 if tied else max(part.layers for part in parts)}

    def build(inputs: int, directions: int) -> Encoder:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sizes = {**pooled, "inputs": inputs, "directions": directions}
            return Encoder(EncoderSpec.from_mapping({**fields, "pooled": sizes})).to(generator.device)

    low, high = spec.value_range
    trunk = build(1, 1).pooled
    assert trunk is not None
    chunks = [trunk.pool(some * (2 / (high - low)) - (high + low) / (high - low)) for some in images.float().split(8)]
    kinds = [torch.cat(one).cpu().double() for one in zip(*chunks)]
    means = torch.cat([one.mean(0) for one in kinds])
    scales = torch.cat([_scales(one.var(0)) for one in kinds])
    u, s, v = torch.linalg.svd((torch.cat(kinds, 1) - means) * scales, full_matrices=False)
    rank = min(count - 1, len(means))
    if any(isinstance(part, Map) and part.channels == rank for part in spec.layout):
        rank -= 1  # As a map, the directions would be taken as they are.
    encoder = build(len(means), rank)
    encoder.center_on(generator)
    assert encoder.pooled is not None
    basis = v[:rank] * scales
    _fill(encoder.pooled.project, basis, -basis @ means)
    explained, before = {}, [0] * len(encoder.pooled.styles)
    for part, head in zip(encoder.spec.parts, encoder.heads, strict=True):
        offset = head.get_buffer("offset").cpu().double()
        target = latents[part.name].cpu().double() - offset if part.name in latents else offset * 0
        target = target.expand(count, *part.shape)
        if isinstance(part, Styles):
            places = torch.tensor(encoder.spec.heads_of(part))
            taken = sorted(set(places.tolist()))
            target = torch.cat([target[:, places == one].mean(1) for one in taken], 1)
        elif isinstance(part, Map):
            target = target.mean((2, 3))
        weight, bias, share = _ridge(u[:, :rank], s[:rank], target)
        if bool((target != target[0]).any()):  # What the generator draws.
            explained[part.name] = share
        if not isinstance(part, Styles):
            _fill(head.conv if isinstance(part, Map) else head.linear, weight, bias)
            continue
        for one, rows, level in zip(taken, weight.split(part.dim), bias.split(part.dim), strict=True):
            _fill(encoder.pooled.styles[one], rows, level, before[one])
            before[one] += part.dim
    return Solved(encoder.eval(), explained)


def _scales(variances: Tensor) -> Tensor:
    """Factors that bring features of one kind and layer to like deviations, and of 1 in all."""
    deviations = (variances + FLOOR**2 * variances.mean()).sqrt()
    found = 1 / (deviations * (variances / deviations**2).sum().sqrt())
    return found.nan_to_num(0.0, 0.0, 0.0)


def _ridge(u: Tensor, s: Tensor, target: Tensor) -> tuple[Tensor, Tensor, float]:
    """Ridge regression of targets (N, D) on centred features u @ diag(s), its strength of the least leave-one-out error
    (Golub, Heath and Wahba, 1979): weights (D, K), levels (D,), and the share of the variance explained by it."""
    level = target.mean(0)
    rest, along = target - level, u.T @ (target - level)
    strengths = STRENGTHS * s[0].square().clamp_min(1e-300)
    errors = []
    for strength in strengths:
        kept = s.square() / (s.square() + strength)
        left_out = 1 - 1 / len(target) - (u.square() * kept).sum(1)
        errors.append(((rest - u @ (kept[:, None] * along)) / left_out.clamp_min(1e-9)[:, None]).square().sum())
    best = int(torch.stack(errors).argmin())
    weight = ((s / (s.square() + strengths[best]))[:, None] * along).T
    of_mean = rest.square().sum() / (1 - 1 / len(target)) ** 2  # Left out in the same way.
    return weight, level, float(1 - errors[best] / of_mean.clamp_min(1e-300))


def _fill(layer: Any, weight: Tensor, bias: Tensor, first: int = 0) -> None:
    """Set rows of a layer, from the first on."""
    layer.weight[first : first + len(weight)].copy_(weight.reshape(len(weight), *layer.weight.shape[1:]))
    layer.bias[first : first + len(bias)].copy_(bias)
