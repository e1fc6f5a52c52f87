"""``ganenc evaluate``: how well a method rebuilds photos, or images that the generator makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, SpecError, WeightsMissingError

from ganenc.cli._app import FAILED
from ganenc.cli._console import Bar, complain, emit, say, show, show_table
from ganenc.cli._labels import WAYS, folder_classes, photo_labels
from ganenc.cli._options import (
    Backbone,
    Candidates,
    Device,
    Encoder,
    Json,
    Model,
    PhotoLabels,
    Seed,
    Set,
    integers,
    options,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli._session import Session
    from ganenc.objective import Objective

__all__ = ["evaluate"]

CHUNK = 16


@dataclass(frozen=True)
class Job:
    """How it is rebuilt."""

    session: Session
    method: str
    options: Mapping[str, Any]
    seed: int
    candidates: Sequence[int] | None


@dataclass(frozen=True)
class Target:
    """What is rebuilt."""

    images: Tensor
    """(N, C, H, W), on the CPU."""
    labels: Tensor | None
    """Their classes int64 (N,), where these are known."""


@dataclass(frozen=True)
class Measured:
    """How well it was rebuilt, with labels that came one way."""

    rows: list[dict[str, float]]
    """The metrics of every image."""
    seconds: float
    """The time of one image."""
    labels: list[Any] | None
    """The classes that the images were taken to be of."""

    def table(self) -> dict[str, tuple[float, float]]:
        """Mean and standard deviation of every metric."""
        from ganenc.report import mean_std

        return {name: mean_std([row[name] for row in self.rows]) for name in self.rows[0]}


def evaluate(
    *,
    model: Model,
    encoder: Encoder = None,
    photos: Annotated[
        list[str] | None, typer.Option("--photos", "-p", help="Files, folders or patterns; may be given again.")
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, help="Or so many synthesized images.")] = None,
    method: Annotated[str, typer.Option("--method", help="encode, finetune, optimize, or a plugin's.")] = "encode",
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the method, where it has some.")] = None,
    labels: PhotoLabels = None,
    candidates: Candidates = None,
    truncation: Annotated[float, typer.Option("--truncation", min=0, help="Of synthesized images.")] = 1.0,
    backbone: Backbone = None,
    seed: Seed = 0,
    settings: Set = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure how well images are rebuilt: mean and standard deviation of PSNR, SSIM and LPIPS.

    Synthesized images are drawn where no training draws. With a conditional generator the numbers are told apart for
    labels that are given (those of photos with --labels, or else by the names of their folders) and that are found.
    """
    if bool(photos) == bool(samples):
        raise SpecError("Give --photos, or --samples for synthesized images; one of the two.")
    from ganenc.cli._session import open_session
    from ganenc.inverters.entry import build_inverter

    registry().get("inverter", method)
    chosen = {**options(settings), **({} if steps is None else {"steps": steps})}
    build_inverter(method, **chosen)
    session = open_session(model, encoder=encoder, device=device, backbone=backbone)
    failures: list[tuple[Path, str]] = []
    if samples:
        asked = labels if labels in WAYS else None
        target = _synthesized(session, samples, seed, truncation, None if asked else integers(labels))
    else:
        target, asked = _photos(session, photos or [], labels, failures)
    job = Job(session, method, chosen, seed, integers(candidates, option="--candidates"))
    with session.generator.using(**_settings_of(session, truncation if samples else None)):
        measured = _measure_apart(job, target, asked)
    first = next(iter(measured.values()))
    facts: dict[str, Any] = {"model": model, "model_hash": session.hash, "encoder": encoder, "method": method}
    facts |= {"options": chosen, "seed": seed, "photos": photos, "samples": samples, "images": len(target.images)}
    facts |= {"seconds_each": first.seconds, "metric_settings": _settings(session, target.images)}
    base = Measured(_mean_rows(session, target.images), 0.0, None).table()
    if as_json:
        lost = [{"photo": path, "error": reason} for path, reason in failures]
        emit({**facts, **_as_json(measured, base), "failures": lost})
    else:
        show(f"{facts['images']} images, {method}, {first.seconds:.2f} s each")
        _show(measured, base, facts["metric_settings"])
    if failures:
        complain(f"{len(failures)} photos could not be read: {', '.join(str(path) for path, _ in failures)}.")
        raise typer.Exit(FAILED)


def _settings_of(session: Session, truncation: float | None) -> dict[str, float]:
    """The setting under which synthesized images were made, where the generator has one for their truncation."""
    from ganenc_registry.specs import Setting

    carried = any(isinstance(part, Setting) and part.name == "truncation" for part in session.generator.spec.layout)
    return {} if truncation is None or not carried else {"truncation": truncation}


def _synthesized(session: Session, count: int, seed: int, truncation: float, given: list[int] | None) -> Target:
    """Images that the generator makes, with their labels."""
    import torch

    from ganenc.report import HELD_OUT

    generator = session.generator
    labels = generator.draw_labels(count, seed=seed, first=HELD_OUT) if given is None else session.labels(given, count)
    made = []
    with torch.no_grad():
        for first in range(0, count, CHUNK):
            n = min(CHUNK, count - first)
            some = None if labels is None else labels[first : first + n]
            latents = generator.sample(n, seed=seed, first=HELD_OUT + first, labels=some, truncation=truncation)
            made.append(generator.synthesize(latents).cpu())
    return Target(torch.cat(made), labels)


def _photos(
    session: Session, given: list[str], text: str | None, failures: list[tuple[Path, str]]
) -> tuple[Target, str | None]:
    """Photos with the labels that are known, and the way that is asked for; the broken ones go to ``failures``."""
    from ganenc import images

    def skip(path: Path, error: ImageError) -> None:
        failures.append((path, str(error)))
        say(f"Skipped: {error}")

    spec = session.generator.spec
    files = images.find(given)
    labels = photo_labels(text, files, session)
    asked = labels if isinstance(labels, str) else None
    if labels is None or isinstance(labels, str):
        labels = session.labels(folder_classes(files, spec.classes), len(files))
    found = images.read_many(files, size=spec.size, channels=spec.channels, value_range=spec.value_range, on_error=skip)
    if not found.paths:
        raise ImageError(f"None of the photos in {', '.join(given)} could be read.")
    kept = [files.index(path) for path in found.paths]
    return Target(found.batch, None if labels is None else labels[kept]), asked


def _measure_apart(job: Job, target: Target, asked: str | None) -> dict[str, Measured]:
    """The metrics by how the labels came: as far as they are known ``given``, and found by the way that is asked for.

    Where there are no labels at all, the one name is empty.
    """
    from ganenc.classes import default_way

    session, known = job.session, target.labels
    way = asked or ("searched" if job.candidates else None)
    try:
        objective = session.objective_for(job.method, way, job.candidates)
    except WeightsMissingError:
        if known is None or way or job.method != "encode":
            raise
        objective = None
    way = way or default_way(session.generator, session.encoder, objective)
    measured = {} if known is None else {"given": _measure(job, target, objective, known)}
    if way is None:
        return measured or {"": _measure(job, target, objective, None)}
    try:
        measured[way] = _measure(job, target, objective, way)
    except SpecError as error:
        if asked or not measured:
            raise
        say(f"With labels given alone: {error}")
    return measured


def _measure(job: Job, target: Target, objective: Objective | None, labels: Tensor | str | None) -> Measured:
    """The metrics of every image, with these labels or with labels found in this way."""
    from ganenc.inverters import invert
    from ganenc.metrics import evaluate_pairs

    generator, backbone = job.session.generator, job.session.metric_backbone()
    size = CHUNK if job.method == "encode" else 1
    rows: list[dict[str, float]] = []
    taken: list[Any] = []
    seconds = 0.0
    with Bar("evaluating", len(target.images)) as bar:
        for first in range(0, len(target.images), size):
            some = target.images[first : first + size].to(device=generator.device, dtype=generator.dtype)
            done = invert(
                some, generator, job.session.encoder, method=job.method, objective=objective, seed=job.seed,
                labels=labels if labels is None or isinstance(labels, str) else labels[first : first + size],
                candidates=job.candidates if labels == "searched" else None, **job.options,
            )  # fmt: skip
            seconds += sum(done.seconds)
            made = done.reconstructions.detach()
            rows += evaluate_pairs(some, made, value_range=generator.spec.value_range, backbone=backbone)
            taken += [] if done.labels is None else done.labels.tolist()
            bar.update(len(rows), f"psnr {sum(row['psnr'] for row in rows) / len(rows):.2f} dB")
    return Measured(rows, seconds / max(len(rows), 1), taken or None)


def _mean_rows(session: Session, targets: Tensor) -> list[dict[str, float]]:
    """The metrics of the generator's mean image against every image."""
    import torch

    from ganenc.metrics import evaluate_pairs

    generator, backbone = session.generator, session.metric_backbone()
    with torch.no_grad():
        mean = generator.synthesize(generator.center())
    rows: list[dict[str, float]] = []
    for some in targets.to(mean).split(CHUNK):
        rows += evaluate_pairs(some, mean.expand_as(some), value_range=generator.spec.value_range, backbone=backbone)
    return rows


def _settings(session: Session, targets: Tensor) -> dict[str, str]:
    from ganenc.metrics import metric_settings

    return metric_settings(targets, session.metric_backbone())


def _agreement(measured: Mapping[str, Measured]) -> tuple[str, int] | None:
    """The way by which labels were found, and for how many images they are the given ones."""
    given = measured.get("given")
    for way, found in measured.items():
        if given is not None and way != "given":
            return way, sum(a == b for a, b in zip(given.labels or (), found.labels or (), strict=True))
    return None


def _as_json(measured: Mapping[str, Measured], base: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The metrics as data: those of the first way at the top, and where there are labels all of them by way."""

    def numbers(one: Measured) -> dict[str, Any]:
        metrics = {name: {"mean": m, "std": std, "mean_image": base[name][0]} for name, (m, std) in one.table().items()}
        return {"metrics": metrics, "per_image": one.rows}

    first = numbers(next(iter(measured.values())))
    if "" in measured:
        return first
    apart = {way: {**numbers(one), "labels": one.labels, "seconds_each": one.seconds} for way, one in measured.items()}
    agreement = _agreement(measured)
    share = {} if agreement is None else {"agreement": agreement[1] / len(measured["given"].rows)}
    return {**first, "by_labels": apart, **share}


def _show(
    measured: Mapping[str, Measured], base: Mapping[str, tuple[float, float]], taken_with: Mapping[str, str]
) -> None:
    from ganenc.report import metric_text

    def spread(name: str, value: float) -> str:
        return f"{value:.2f}" if name == "psnr" else f"{value:.3f}"

    if "" in measured:
        texts = [
            [name, metric_text(name, mean), spread(name, std), metric_text(name, base[name][0]), taken_with[name]]
            for name, (mean, std) in measured[""].table().items()
        ]
        show_table(["metric", "mean", "± std", "mean image", "taken with"], texts, numeric=[1, 2, 3])
        return
    rows = [
        [way, *(f"{metric_text(name, mean)} ± {spread(name, std)}" for name, (mean, std) in one.table().items())]
        for way, one in measured.items()
    ]
    rows.append(["(mean image)", *(metric_text(name, mean) for name, (mean, _) in base.items())])
    show_table(["labels", *base], rows, numeric=range(1, len(base) + 1))
    for name, words in taken_with.items():
        show(f"{name}: {words}")
    agreement, total = _agreement(measured), len(next(iter(measured.values())).rows)
    if agreement is not None:
        show(f"The {agreement[0]} class is the given one for {agreement[1]} of {total} images.")
