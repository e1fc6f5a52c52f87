"""Which of some generators made an image: how well each makes it again, beside its own. Not in the paper."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.specs import Choice, Condition, ObjectiveSpec, Styles
from torch import Tensor

from ganenc.files import as_count, cache_folder, read_json, write_json, write_text
from ganenc.images import depict, shrink
from ganenc.inversion import Method, Photo
from ganenc.jobs.inverting import batches
from ganenc.jobs.summary import THUMBNAIL
from ganenc.measures import HELD_OUT, mean_std, psnr
from ganenc.model import Model, Photos, several, told_within
from ganenc.models import model_hash
from ganenc.report import Inverted, attributed_page

NONE = "none"
OWN, RATE, STEPS = 39, 0.025, 50
NUMBERS, PAGE = "attribution.json", "index.html"
CLOSE = ObjectiveSpec.from_mapping({"losses": {"mse": 1.0}, "attention": "none"})
"""What inversions go by: pixels, which every generator has."""
CHUNK, PIXELS = 64, 1 << 18
"""Images at once, and pixels."""


@dataclass(frozen=True)
class Attribution:
    """What is known of one photo: numbers by model, in the order in which these were given."""

    photo: str
    errors: Mapping[str, float]
    """The PSNR in dB of its inversion."""
    apart: Mapping[str, float]
    """By how many deviations of the model's own images that lies above their mean."""
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
    """How photos are inverted: by `optimize` among what the generator draws, from the best of some draws, and along
    what they vary by."""
    layout, (height, width) = model.generator.spec.layout, model.generator.spec.size
    options = {
        "steps": steps, "rate": 0.2, "betas": [0.8, 0.9], "whiten": True, "start": "draws", "draws": 300, "starts": 1,
        "space": "w" if any(isinstance(part, Styles) for part in layout) else "z",
        "free": [part.name for part in layout if isinstance(part, Condition)],
        "batch": max(1, min(CHUNK, PIXELS // (height * width))),
    }  # fmt: skip
    return {"name": "optimize", "options": options}


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
    """Say for each photo which of some models made it, or ``none``, by inverting it under each with the same ``steps``
    (Albright and McCloskey, 2019), or by another ``method``.

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
    chosen = {name: Choice.of(method or attribution_method(model, steps)) for name, model in zip(names, models)}
    files = {name: _file(folder, model, chosen[name], own, seed) for name, model in zip(names, models)}
    known = {name: _known(file, own) or [] for name, file in files.items()}
    done, total = 0, len(names) * len(many) + own * sum(not one for one in known.values())

    def invert(name: str, model: Model, some: Any) -> tuple[Inverted, list[float]]:
        nonlocal done
        found = model.invert(some, chosen[name], objective=CLOSE, seed=seed, on_step=told_within(on_step, done, total))
        done += len(some)
        if on_step is not None:
            on_step(done, total)
        return found, psnr(found.targets, found.reconstructions.detach(), value_range=model.generator.spec.value_range)

    for name, model in zip(names, models):
        if not known[name]:
            parts = [invert(name, model, _own_images(model, first, min(CHUNK, own - first), seed))[1]
                     for first in range(0, own, CHUNK)]  # fmt: skip
            known[name] = [min(value, 99.0) for part in parts for value in part]
            facts = {"model": model.hash, "method": chosen[name].to_mapping(), "psnr": known[name]}
            write_json(files[name], facts, replace=True)

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
        found = {name: invert(name, model, [one[at] for one in batch])
                 for at, (name, model) in enumerate(zip(names, models))}  # fmt: skip
        for place, photo in enumerate(batch):
            errors = {name: min(values[place], 99.0) for name, (_, values) in found.items()}
            pictures = {name: _pictures(one, place) for name, (one, _) in found.items()}
            source = photo[0].source
            told = str(source) if isinstance(source, str | Path) else photo[0].name
            rows.append(Attribution(told, errors, *judged(errors, known, rate), pictures))
    reached = {name: {"hash": model.hash, "psnr": mean_std(known[name])[0], "deviation": mean_std(known[name])[1],
                      "method": chosen[name].to_mapping()} for name, model in zip(names, models)}  # fmt: skip
    return Attributed(rows, {"rate": rate, "own": own, "seed": seed, "models": reached})


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
    """Images that a model draws, (N, C, H, W), each with noise of its own, as its training had it."""
    drawn, made = model.generator, []
    for place in range(HELD_OUT + first, HELD_OUT + first + n):
        labels = drawn.draw_labels(1, seed=seed, first=place)
        one = drawn.sample(1, seed=seed, first=place, labels=labels)
        made.append(drawn.synthesize(drawn.complete(one, labels=labels), noise=place))
    return torch.cat(made)


def _file(folder: Path, model: Model, method: Choice, own: int, seed: int) -> Path:
    """Where is kept what a model reaches on its own images."""
    encoder = "" if model.encoder is None else model_hash(model.encoder)
    facts = [model.hash, encoder, method.to_mapping(), own, seed]
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
