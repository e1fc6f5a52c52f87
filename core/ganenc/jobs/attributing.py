"""Which of some generators made an image: how well each makes it again, beside its own. Not in the paper."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import Choice, Styles
from torch import Tensor

from ganenc.files import as_count, cache_folder, read_json, write_json, write_text
from ganenc.images import depict, shrink
from ganenc.inversion import CLOSE, Method, Photo
from ganenc.jobs.prefetching import batches
from ganenc.jobs.summary import THUMBNAIL
from ganenc.measures import HELD_OUT, mean_std, psnr
from ganenc.model import Model, Photos, several, told_within
from ganenc.models import model_hash
from ganenc.report import Inverted, attributed_page

NONE = "none"
OWN = 39
"""Images of its own by which a model is judged."""
RATE = 0.025
"""The part of a model's own images that may be called none."""
STEPS = 100
"""Of `newton`, under the two nearest."""
LAST, TURNS = 2, 3
"""Models under which a photo is inverted anew, with all steps, and from how many lots of draws."""
NUMBERS = "attribution.json"
PAGE = "index.html"
"""What `Attributed.save` leaves."""
CHUNK, PIXELS = 64, 1 << 18
"""Images at once, and pixels."""


@dataclass(frozen=True)
class Attribution:
    """What is known of one photo: numbers by model, in the order in which these were given."""

    photo: str
    errors: Mapping[str, float]
    """The PSNR in dB of its inversion; of the two nearest after all steps, of the others after a quarter."""
    apart: Mapping[str, float]
    """By how many deviations of the model's own images, after as many steps, that lies above their mean."""
    chances: Mapping[str, float]
    """The part of the model's own images, this one counted in, that come back as badly: a conformal p-value (Vovk et
    al., 2005)."""
    verdict: str
    """The model that comes nearest, or ``none`` where its chance is not above the rate."""
    pictures: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)
    """By model the photo as it takes it, and as it makes it again, small and of 8 bits."""

    def to_mapping(self) -> dict[str, Any]:
        """The numbers as plain data."""
        models = {
            name: {"psnr": error, "deviations": self.apart[name], "p_value": self.chances[name]}
            for name, error in self.errors.items()
        }
        return {"photo": self.photo, "verdict": self.verdict, "models": models}


@dataclass(frozen=True)
class Attributed(Sequence[Attribution]):
    """Photos, attributed; one of them by its place."""

    rows: list[Attribution]
    facts: dict[str, Any]
    """How, as plain data: the models with what they reach on their own images, methods, and the rate."""

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[place]

    def to_mapping(self) -> dict[str, Any]:
        """All numbers as plain data."""
        return {**self.facts, "photos": [one.to_mapping() for one in self.rows]}

    def save(self, folder: str | Path) -> None:
        """Write ``attribution.json`` and the page ``index.html``."""
        write_json(Path(folder) / NUMBERS, self.to_mapping())
        write_text(Path(folder) / PAGE, attributed_page(self.to_mapping(), [one.pictures for one in self.rows]))


def attribution_method(model: Model, steps: int = STEPS) -> dict[str, Any]:
    """How photos are inverted: by `newton` on pixels, from the best of some draws, with one style for all layers."""
    layout, (height, width) = model.generator.spec.layout, model.generator.spec.size
    options = {
        "steps": steps, "start": "draws", "draws": 300,
        "space": "w" if any(isinstance(part, Styles) for part in layout) else None,
        "batch": max(1, min(CHUNK, PIXELS // (height * width))),
    }  # fmt: skip
    return {"name": "newton", "options": options}


def attribute(
    photos: Photos,
    models: Sequence[Model],
    *,
    rate: float = RATE,
    own: int = OWN,
    steps: int = STEPS,
    method: Method | None = None,
    seed: int = 0,
    kept: str | Path | None = None,
    on_step: Callable[[int, int], object] | None = None,
    on_error: Callable[[Path, ImageError], object] | None = None,
) -> Attributed:
    """Say for each photo which of some models made it, or ``none``, by inverting it under each with the same effort
    (Albright and McCloskey, 2019): a quarter of the ``steps``, and all of them, three times, under the two that
    come nearest, the best being kept; or by another ``method`` under all.

    What each reaches on ``own`` images of its own, drawn where no training draws, with noise anew, is measured once and
    kept in the folder ``kept``, by default in the cache. An image of one of the models is called ``none`` by chance
    with a probability of ``rate`` at most. Photos are cut and resized as each model takes them. ``on_step`` is told, at
    every step, of inversions done, and all; with ``on_error``, photos that cannot be read are told to it and left out.
    `SpecError` if models go by one name, or own images are too few for the rate; else as `Model.invert`.
    """
    own, many, names = as_count(own, "own", 1), several(photos), [model.source for model in models]
    if not names or len({*names, NONE}) <= len(names):
        raise SpecError(f"Name one or more models, each once; these are {', '.join(names) or 'none'}.")
    if not 0 < rate < 1 or (own + 1) * rate < 1 - 1e-9:
        least = f"{1 / rate - 1:.0f}" if 0 < rate < 1 else "more"
        raise SpecError(f"A rate of {rate:g} takes {least} own images or more; not {own}.")
    folder = Path(kept) if kept is not None else cache_folder() / "attribution"
    suspects = {name: _Suspect(model, method, steps, own, seed, folder) for name, model in zip(names, models)}
    again = TURNS * min(LAST, len(names)) if method is None else 0
    total = len(many) * (len(names) + again) + sum(one.missing for one in suspects.values())
    told = _Told(total, on_step)
    for one in suspects.values():
        one.learn(told)

    def read() -> Iterator[list[Photo]]:
        for photo in many:
            try:
                yield [model.read(photo) for model in models]
            except ImageError as error:
                if on_error is None:
                    raise
                on_error(Path(str(photo)), error)

    rows: list[Attribution] = []
    for batch in batches(read(), lambda: CHUNK):
        rows += _attributed(batch, suspects, rate, told)
    reached = {name: one.reached() for name, one in suspects.items()}
    return Attributed(rows, {"rate": rate, "own": own, "seed": seed, "models": reached})


@dataclass
class _Told:
    """How far it is."""

    total: int
    on_step: Callable[[int, int], object] | None
    done: int = 0

    def add(self, count: int) -> None:
        """Say that so many inversions more are done."""
        self.done += count
        if self.on_step is not None:
            self.on_step(self.done, self.total)


Found: TypeAlias = "tuple[float, tuple[Tensor, Tensor]]"
"""The PSNR of an inversion, and `Attribution.pictures`."""


class _Suspect:
    """A model, how photos are inverted under it, those to which it is of the nearest anew, and what its own images
    reach by each way."""

    def __init__(self, model: Model, method: Method | None, steps: int, own: int, seed: int, folder: Path) -> None:
        given = [method] if method else [attribution_method(model, some) for some in (max(1, steps // 4), steps)]
        self.model, self.own, self.seed = model, own, seed
        self.ways, self.turns = [Choice.of(one) for one in given], [1, TURNS][: len(given)]
        self.files = [_file(folder, model, way, own, seed, turns) for way, turns in zip(self.ways, self.turns)]
        self.known = [_known(file, own) or [] for file in self.files]

    @property
    def missing(self) -> int:
        """How many inversions of its own images are to be done."""
        return self.own * sum(turns for turns, one in zip(self.turns, self.known) if not one)

    def learn(self, told: _Told) -> None:
        """Invert its own images in the ways in which that was not done."""
        for way, file in enumerate(self.files):
            if not self.known[way]:
                parts = [
                    self.invert(_own_images(self.model, first, min(CHUNK, self.own - first), self.seed), way, told)
                    for first in range(0, self.own, CHUNK)
                ]
                self.known[way] = [error for part in parts for error, _ in part]
                facts = {"model": self.model.hash, "method": self.ways[way].to_mapping(), "psnr": self.known[way]}
                write_json(file, facts, replace=True)

    def invert(self, some: Any, way: int, told: _Told) -> list[Found]:
        """Photos, inverted; the best of each, where that is done from several lots of draws."""
        span, every = self.model.generator.spec.value_range, []
        for turn in range(self.turns[way]):
            within = told_within(told.on_step, told.done, told.total)
            found = self.model.invert(some, self.ways[way], objective=CLOSE, seed=self.seed + turn, on_step=within)
            errors = psnr(found.targets, found.reconstructions.detach(), value_range=span)
            told.add(len(some))
            every.append([(min(error, 99.0), _pictures(found, place)) for place, error in enumerate(errors)])
        return [max(each, key=lambda one: one[0]) for each in zip(*every, strict=True)]

    def reached(self) -> dict[str, Any]:
        """Of the way by which the nearest are judged, as plain data."""
        mean, deviation = mean_std(self.known[-1])
        way = self.ways[-1].to_mapping()
        return {"hash": self.model.hash, "psnr": mean, "deviation": deviation, "method": way}


def _attributed(
    batch: Sequence[Sequence[Photo]], suspects: Mapping[str, _Suspect], rate: float, told: _Told
) -> list[Attribution]:
    """Photos, each as every model takes it, attributed."""
    found = {
        name: dict(enumerate(one.invert([photos[at] for photos in batch], 0, told)))
        for at, (name, one) in enumerate(suspects.items())
    }
    first = [{name: some[place][0] for name, some in found.items()} for place in range(len(batch))]
    last = [sorted(errors, key=errors.__getitem__)[-LAST:] for errors in first]
    for at, (name, one) in enumerate(suspects.items()):
        places = [place for place, some in enumerate(last) if name in some]
        if places and len(one.ways) > 1:
            found[name] |= zip(places, one.invert([batch[place][at] for place in places], 1, told), strict=True)
    rows = []
    for place, (photo, *_) in enumerate(batch):
        name_of = str(photo.source) if isinstance(photo.source, str | Path) else photo.name
        errors = {name: some[place][0] for name, some in found.items()}
        known = {name: one.known[-1 if name in last[place] else 0] for name, one in suspects.items()}
        pictures = {name: some[place][1] for name, some in found.items()}
        rows.append(Attribution(name_of, errors, *judged(errors, known, rate), pictures))
    return rows


def judged(
    errors: Mapping[str, float], known: Mapping[str, Sequence[float]], rate: float
) -> tuple[dict[str, float], dict[str, float], str]:
    """`Attribution`'s deviations, chances and verdict, from a photo's errors, and those of own images."""
    apart, chances = {}, {}
    for name, error in errors.items():
        values = known[name]
        mean, deviation = mean_std(values)
        chances[name] = (1 + sum(one <= error for one in values)) / (len(values) + 1)
        apart[name] = (error - mean) / max(deviation, 1e-6)
    nearest = max(errors, key=lambda name: errors[name])
    return apart, chances, nearest if chances[nearest] > rate else NONE


@torch.no_grad()
def _own_images(model: Model, first: int, n: int, seed: int) -> Tensor:
    """Images of 8 bits that a model draws, (N, C, H, W), each with noise of its own, as its training had it."""
    drawn, (low, high), made = model.generator, model.generator.spec.value_range, []
    for place in range(HELD_OUT + first, HELD_OUT + first + n):
        labels = drawn.draw_labels(1, seed=seed, first=place)
        one = drawn.sample(1, seed=seed, first=place, labels=labels)
        made.append(drawn.synthesize(drawn.complete(one, labels=labels), noise=place))
    return ((torch.cat(made).clamp(low, high) - low) * (255 / (high - low))).round() * ((high - low) / 255) + low


def _file(folder: Path, model: Model, method: Choice, own: int, seed: int, turns: int) -> Path:
    """Where is kept what a model reaches on its own images."""
    encoder = "" if model.encoder is None else model_hash(model.encoder)
    facts = [model.hash, encoder, method.to_mapping(), own, seed, turns]
    return folder / f"{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]}.json"


def _known(file: Path, own: int) -> list[float] | None:
    """What was kept, if there is something and it is whole."""
    values = read_json(file, "delete it") if file.is_file() else None
    found = values.get("psnr") if isinstance(values, dict) else None
    whole = isinstance(found, list) and len(found) == own and all(isinstance(one, int | float) for one in found)
    return found if whole else None


def _pictures(done: Inverted, place: int) -> tuple[Tensor, Tensor]:
    spec = done.model.generator.spec
    shown = (done.targets[place].cpu(), done.reconstructions[place].detach().cpu())
    return tuple(shrink(depict(one, spec), THUMBNAIL).clone() for one in shown)  # type: ignore[return-value]
