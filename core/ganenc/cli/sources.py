"""What the commands that edit begin with: latents that are there already, or photos that are inverted first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import SpecError

from ganenc.cli.console import Bar
from ganenc.cli.labels import photo_labels
from ganenc.cli.options import integers
from ganenc.inversion import PhotoFolder
from ganenc.jobs import unique_names

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session
    from ganenc.latents import Latents

__all__ = ["Source", "layer_numbers", "load_sources"]

EDITABLE = "optimize"
"""How photos are inverted to be edited where there is an encoder: as close as others, and edits still take
(benchmarks/results/editing.md)."""
GENTLY: dict[str, Any] = {"steps": 100, "rate": 0.05}
"""Its options, unless they are given."""


@dataclass(frozen=True)
class Source:
    """One sample to edit.

    Attributes:
        name: of the folder that it leaves.
        latents: of one sample, complete, on the CPU.
        origin: the file that it comes from.
        method: how the photo was inverted; None for latents that were there.
        target: the photo (1, C, H, W), where there is one.
    """

    name: str
    latents: Latents
    origin: Path
    method: str | None = None
    target: Tensor | None = field(default=None, repr=False)


def load_sources(
    words: Sequence[str],
    session: Session,
    *,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    labels: str | None = None,
    seed: int = 0,
) -> list[Source]:
    """The samples that words on the command line stand for.

    Args:
        words: latents files, folders that an inversion left, or photos (also folders and patterns of them).
        session: the model; with its encoder, where photos are to be inverted.
        method: the inverter for photos; if left out, the one whose latents are best to edit.
        options: of the inverter.
        labels: what ``--labels`` says of the photos.
        seed: of whatever the method draws.

    Raises:
        GanencError: if a file cannot be read, or belongs to another model.
    """
    from ganenc import images

    files = [_latents_file(word) for word in words]
    photos = images.find([word for word, file in zip(words, files) if file is None] or []) if None in files else []
    found = [one for file in files if file is not None for one in _saved(file, session)]
    if photos:
        found += _inverted(photos, session, method, options or {}, labels, seed)
    names = unique_names([Path(f"{one.name}.png") for one in found])
    return [Source(name, one.latents, one.origin, one.method, one.target) for name, one in zip(names, found)]


def layer_numbers(text: str | None) -> list[int] | None:
    """Layers as they are written, such as ``0-3,7``, as numbers.

    Raises:
        SpecError: if they cannot be read.
    """
    if text is None:
        return None
    numbers: list[int] = []
    for word in text.split(","):
        low, dash, high = word.strip().partition("-")
        ends = integers(f"{low},{high}" if dash else low, option="--layers") or []
        if ends[-1] < ends[0]:
            raise SpecError(f"--layers: {word} runs backwards; write {ends[-1]}-{ends[0]}.")
        numbers += range(ends[0], ends[-1] + 1)
    return numbers


def _latents_file(word: str) -> Path | None:
    path = Path(word)
    if (path / PhotoFolder.LATENTS).is_file():
        return path / PhotoFolder.LATENTS
    return path if path.suffix == ".safetensors" else None


def _saved(file: Path, session: Session) -> list[Source]:
    from ganenc.latents import Latents

    latents = session.generator.complete(Latents.load(file, model=session.hash, device=session.generator.device))
    name = file.resolve().parent.name if file.name == PhotoFolder.LATENTS else file.stem
    return [
        Source(name if len(latents) == 1 else f"{name}-{index:04d}", one.to("cpu"), file)
        for index, one in enumerate(latents)
    ]


def _inverted(
    photos: Sequence[Path],
    session: Session,
    method: str | None,
    options: Mapping[str, Any],
    labels: str | None,
    seed: int,
) -> list[Source]:
    from ganenc import images
    from ganenc.inversion import default_method, invert

    generator, spec = session.generator, session.generator.spec
    if method is None and session.encoder is not None:
        method, options = EDITABLE, {**GENTLY, **options}
    method = method or default_method(has_encoder=False)
    given = photo_labels(labels, photos, session)
    objective = session.objective_for(method, given)
    found = []
    with Bar("inverting", 100 * len(photos)) as bar:
        for index, path in enumerate(photos):

            def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float], before: int = index) -> None:
                bar.update(100 * before + 100 * step // max(steps, 1))

            target = images.read(path, size=spec.size, channels=spec.channels, value_range=spec.value_range)[None]
            its = given if given is None or isinstance(given, str) else given[index : index + 1]
            done = invert(
                target.to(generator.device, generator.dtype), generator, session.encoder,
                {"name": method, "options": dict(options)}, labels=its, objective=objective, seed=seed, on_step=on_step,
            )  # fmt: skip
            found.append(Source(path.stem, done.latents.detach().to("cpu"), path, method, target))
            bar.update(100 * (index + 1))
    return found
