"""Finding directions: by labels, by principal components, and between classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias

import numpy as np
import torch
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import Condition, Map, Spec, Styles, Vector, encoded
from pydantic import Field
from torch import Tensor

from ganenc.editing.directions.direction import Direction
from ganenc.editing.directions.finder import Finder, Search
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.measures import classify
from ganenc.models import model_hash
from ganenc.objectives import Backbone

SOFTNESS = 0.3
"""The SVM's C, for latents of which the variances of all coordinates sum to 1."""
FEWEST = 10
Moved: TypeAlias = Styles | Vector | Map | Condition


@torch.no_grad()
def label_draws(
    generator: Generator,
    backbone: Backbone,
    n: int = 2000,
    *,
    encoder: Encoder | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    batch: int = 32,
    on_step: Callable[[int], None] | None = None,
) -> tuple[Latents, Tensor]:
    """Draw ``n`` latents, and ask a backbone, a classifier on the generator's device, what it sees in their images: its
    scores of its classes (n, classes).

    Where an ``encoder`` is given, the latents are not those that were drawn but those that it finds for their images: a
    direction between them lies where inverted photos lie, with their maps (not in InterFaceGAN). ``labels`` are the
    classes of the draws int64 (n,), where they matter, drawn if left out; ``batch`` is how many go at a time;
    ``on_step`` is called with the number of draws done. `SpecError` if the backbone is no classifier.
    """
    found, logits = [], []
    for first in range(0, n, batch):
        count = min(batch, n - first)
        given = generator.draw_labels(count, seed=seed, first=first)
        given = given if labels is None else labels[first : first + count]
        latents = generator.sample(count, seed=seed, first=first, labels=given)
        images = generator.synthesize(latents)
        logits.append(classify(generator, backbone, images))
        if encoder is not None:
            latents = generator.complete(encoder.eval()(images, labels=given), labels=given)
        found.append(latents.to("cpu"))
        if on_step:
            on_step(first + count)
    return Latents.cat(found), torch.cat(logits)


def margin(logits: Tensor, label: int) -> Tensor:
    """How much a classifier is for one class: the log of its odds against all others, (N, classes) => (N,); `SpecError`
    if there is no such class."""
    if not 0 <= label < logits.shape[1]:
        raise SpecError(f"There is no class {label}; the backbone's run from 0 to {logits.shape[1] - 1}.")
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return logits[:, label] - others.logsumexp(1)


def find_by_labels(
    generator: Generator,
    latents: Latents,
    labels: Tensor,
    *,
    name: str,
    parts: Sequence[str] | None = None,
    share: float = 0.1,
    split: float = 0.7,
    softness: float = SOFTNESS,
    machine: Any = None,
    seed: int = 0,
) -> Direction:
    """The normal of the hyperplane that parts latents with a trait from those without (InterFaceGAN, section 3.1).

    A linear SVM (scikit-learn) learns from the samples of the highest and of the lowest scores and is checked on those
    of them that were held out. What it parts is scaled to unit variance as a whole, and its margin is softer than
    InterFaceGAN's (C = 1 as the latents are): a hard one leans on coordinates that hardly vary, along which a step of a
    deviation shows nothing.

    ``latents`` are (N); of one style for all layers, such as draws, the direction is in ``w``, otherwise in ``w+``; of
    `as_draws` in ``z``. ``labels`` are bool (N,), with the trait or without, or scores (N,), higher for more of it.
    ``parts`` of the layout are those that it moves, by default the styles with the maps that the latents hold, or the
    vector. ``share`` of all samples that score highest, and as many that score lowest, are taken, and ``split`` is the
    share of these to learn from; ``softness`` is the SVM's C. ``machine`` is another linear classifier of scikit-learn
    in place of the SVM, or a regressor, which learns from all samples. The direction's ``info`` has the accuracy on
    what was held out, or R^2 (``fit``). `LatentsError` if there are not as many labels as latents, they are all alike,
    or there are too few.
    """
    from sklearn.svm import SVC

    scores = labels.detach().cpu()
    if scores.shape != (len(latents),) or not bool(scores.float().isfinite().all()):
        raise LatentsError(
            f"There are {len(latents)} latents and labels {tuple(scores.shape)}; give a number for each."
        )
    tied = _is_tied(latents)
    moved = _parts(latents, parts)
    data = torch.cat([_rows(latents, part, tied) for part in moved], 1).double()
    machine = machine or SVC(kernel="linear", C=softness, class_weight="balanced")
    regresses = not hasattr(machine, "decision_function")
    chosen, truth = (torch.arange(len(scores)), scores.double().numpy()) if regresses else _extremes(scores, share)
    order = np.random.default_rng(seed).permutation(len(chosen))
    learnt, held = np.split(order, [round(split * len(order))])
    if not FEWEST <= len(learnt) < len(order) or len(set(truth[learnt].tolist())) < 2:
        raise LatentsError(f"{name}: {len(chosen)} labelled latents, split at {split:g}, are too few; label more.")
    spread = float(data.var(0).sum().sqrt())
    rows = (data[chosen] / spread).numpy()
    machine.fit(rows[learnt], truth[learnt])
    facts = {"found": "by labels", "samples": len(data), "labelled": len(order), "held_out": len(held)}
    facts["fit" if regresses else "accuracy"] = round(float(machine.score(rows[held], truth[held])), 4)
    way = torch.tensor(machine.coef_, dtype=torch.float64).flatten() / spread
    if not bool(way.any()):
        raise LatentsError(f"{name}: nothing is left of it under so strong a penalty; take a weaker one.")
    found = Direction(
        name,
        moved,
        _unflatten(way, moved, tied),
        space=_space(latents, tied),
        intercept=float(np.ravel(machine.intercept_)[0]),
        model=model_hash(generator),
        info=facts,
    )
    return found.measured(latents)


class ClassFinder(Finder):
    """Towards what a backbone takes for its classes, by a linear SVM between draws (InterFaceGAN): see `label_draws`
    and `find_by_labels`."""

    class Options(Spec):
        """What users can choose."""

        classes: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="the backbone's, one or more")
        encoded: bool | None = Field(
            None, description="whether to learn from what the encoder finds for the draws' images; where there is one"
        )

    def find(self, search: Search) -> list[Direction]:
        """`class-N` for each class."""
        latents, logits = self.labelled(search, self.options.encoded)
        named = [(f"class-{one}", margin(logits, one)) for one in self.options.classes]
        return [find_by_labels(search.generator, latents, it, name=name, seed=search.seed) for name, it in named]

    def labelled(self, search: Search, encoded: bool | None) -> tuple[Latents, Tensor]:
        """The draws of a search, encoded or not, and the backbone's logits (n, classes); `SpecError` if there is no
        encoder to encode by."""
        if encoded and search.encoder is None:
            raise SpecError("Directions of encoded draws take an encoder; train one with `ganenc pretrain`.")
        return label_draws(
            search.generator, self.context.backbone, search.n, encoder=None if encoded is False else search.encoder,
            labels=search.labels, seed=search.seed, on_step=lambda done: search.tell(done, search.n),
        )  # fmt: skip


def between_classes(generator: Generator, start: int, end: int, *, name: str | None = None) -> Direction:
    """From one class to another: see `between_sets`. `LatentsError` if the generator has no such classes, or their mean
    latents do not differ."""
    first, last = (generator.center(labels=label) for label in generator.as_labels([start, end]).split(1))
    facts = {"found": "between classes", "classes": [start, end]}
    return between_sets(generator, first, last, name=name or f"class-{start}-to-{end}", info=facts)


def between_sets(
    generator: Generator, start: Latents, end: Latents, *, name: str, info: Mapping[str, Any] | None = None
) -> Direction:
    """From some latents to others, such as those of photos without a trait and with it: the difference of their means,
    maps and noise left out; a strength of 1 goes all the way. `LatentsError` if the means do not differ."""
    both = [start.to("cpu"), end.to("cpu")]
    tied, names = all(map(_is_tied, both)), encoded(generator.spec.layout)
    means = {
        part: [_rows(one, part, tied).double().mean(0) for one in both]
        for part in names if isinstance(part, Styles | Vector | Condition)
    }  # fmt: skip
    moved = [part for part, (first, last) in means.items() if not torch.allclose(first, last, atol=1e-6)]
    if not moved:
        raise LatentsError("The means of the two sets are the same, so there is no way from one to the other.")
    first, last = (torch.cat([means[part][at] for part in moved]) for at in (0, 1))
    way = (last - first).double()
    facts = {"found": "between sets", "samples": [len(one) for one in both]}
    return Direction(
        name,
        moved,
        _unflatten(way, moved, tied),
        space=_space(both[0], tied),
        scale=float(way.norm()),
        intercept=-float(way @ first.double()),
        model=model_hash(generator),
        info=info or facts,
    )


def _is_tied(latents: Latents) -> bool:
    """Whether all layers share one style, so that a direction holds for them all."""
    styles = [latents[part.name] for part in latents.layout if isinstance(part, Styles) and part.name in latents]
    return bool(styles) and all(torch.equal(one, one[:, :1].expand_as(one)) for one in styles)


def _space(latents: Latents, tied: bool) -> str:
    return latents.space if latents.space == "z" else "w" if tied else "w+"


def _parts(latents: Latents, names: Sequence[str] | None) -> list[Moved]:
    """The parts to move: those named, or all that the latents hold and an encoder would find, but conditions."""
    known = {part.name: part for part in encoded(latents.layout) if part.name in latents}
    for name in names or ():
        if name not in known:
            raise LatentsError(f"These latents hold no part {name!r} to move; they hold {sorted(known)}.")
    if names:
        return [known[name] for name in names]
    moved = [part for part in known.values() if not isinstance(part, Condition)]
    varying: list[Moved] = [part for part in moved if len(latents) > 1 and bool(latents[part.name].var(0).sum() > 0)]
    if not varying:
        raise LatentsError(f"These latents do not differ in {sorted(known)}; a direction needs some that do.")
    return varying


def _rows(latents: Latents, part: Moved, tied: bool) -> Tensor:
    """A part as rows (N, numbers): of styles that all layers share, one layer's."""
    tensor = latents[part.name].cpu().float()
    return (tensor[:, :1] if tied and isinstance(part, Styles) else tensor).flatten(1)


def _unflatten(way: Tensor, parts: Sequence[Moved], tied: bool) -> dict[str, Tensor]:
    shapes = [(1, part.dim) if tied and isinstance(part, Styles) else part.shape for part in parts]
    pieces = way.split([int(np.prod(shape)) for shape in shapes]) if parts else []
    return {part.name: piece.reshape(shape) for part, piece, shape in zip(parts, pieces, shapes)}


def _extremes(scores: Tensor, share: float) -> tuple[Tensor, Any]:
    """The places of the samples to learn from (M,), and whether each has the trait."""
    if scores.dtype == torch.bool:
        return torch.arange(len(scores)), scores.numpy()
    if not 0 < share <= 0.5:
        raise LatentsError(f"The share of samples at either end is above 0 and at most 0.5, not {share:g}.")
    count = max(1, round(share * len(scores)))
    order = scores.argsort(descending=True, stable=True)
    if not float(scores[order[0]]) > float(scores[order[-1]]):
        raise LatentsError("All latents score alike, so nothing parts them; label them otherwise.")
    return torch.cat([order[:count], order[-count:]]), np.arange(2 * count) < count
