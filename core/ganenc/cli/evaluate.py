"""``ganenc evaluate``: how well a method rebuilds photos, or images that the generator makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, SpecError, WeightsMissingError

from ganenc.cli.app import FAILED
from ganenc.cli.console import Bar, complain, emit, say, show
from ganenc.cli.evaluate_outcome import Evaluated, Measured
from ganenc.cli.labels import photo_labels
from ganenc.cli.options import (
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
    of_method,
)

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session
    from ganenc.measures import Metric, Scores
    from ganenc.objectives import Objective

__all__ = ["evaluate"]

CHUNK = 16


@dataclass(frozen=True)
class Target:
    """What is rebuilt."""

    images: Tensor
    """(N, C, H, W), on the CPU."""
    labels: Tensor | None
    """Their classes int64 (N,), where these are known."""


@dataclass(frozen=True)
class Gauge:
    """What is measured."""

    metrics: Mapping[str, Metric]
    folds: Sequence[Sequence[int]] | None
    """The places of the images in every fold; None for one number over all."""

    def score(self, targets: Tensor, made: Tensor) -> Scores:
        """The metrics of images (N, C, H, W) on the CPU."""
        from ganenc.measures import score

        return score(targets, made, self.metrics, folds=self.folds)


@dataclass(frozen=True)
class Job:
    """How it is rebuilt, and measured."""

    session: Session
    method: str
    options: Mapping[str, Any]
    seed: int
    candidates: Sequence[int] | None
    gauge: Gauge


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
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="A metric, of `ganenc list metric`; may be given again. By default psnr, ssim,"
            " lpips, and fid where the weights of Inception are on disk, otherwise frechet, on the backbone.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            min=2,
            metavar="K",
            help="Split the images at random into K folds, and give the mean"
            " and the deviation over folds. The evaluation alone is split: nothing is trained anew.",
        ),
    ] = None,
    labels: PhotoLabels = None,
    candidates: Candidates = None,
    truncation: Annotated[float, typer.Option("--truncation", min=0, help="Of synthesized images.")] = 1.0,
    backbone: Backbone = None,
    seed: Seed = 0,
    settings: Set = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure how well images are rebuilt: mean and standard deviation of PSNR, SSIM and LPIPS, and a Frechet distance.

    The Frechet distance compares all images as one set, and so has no deviation but over --folds. Synthesized images
    are drawn where no training draws. With a conditional generator the numbers are told apart for labels that are given
    (those of photos with --labels, or else by the names of their folders) and that are found. --set takes options of
    the method and fields of the objective, as `ganenc invert` does.
    """
    if bool(photos) == bool(samples):
        raise SpecError("Give --photos, or --samples for synthesized images; one of the two.")
    from ganenc.cli.session import open_session
    from ganenc.inversion import Finding, build_inverter
    from ganenc.measures import build_metrics

    registry().get("inverter", method)
    chosen, towards = of_method(settings, steps=steps)
    asked = {**dict.fromkeys(metric or []), **chosen.pop("metrics", {})}
    build_inverter({"name": method, "options": chosen})
    build_metrics(asked)
    session = open_session(model, encoder=encoder, device=device, backbone=backbone, towards=towards)
    failures: list[tuple[Path, str]] = []
    if samples:
        way = labels if labels in get_args(Finding) else None
        target = _synthesized(session, samples, seed, truncation, None if way else integers(labels))
    else:
        target, way = _photos(session, photos or [], labels, failures)
    gauge = _gauge(session, asked, len(target.images), folds, seed)
    job = Job(session, method, chosen, seed, integers(candidates, option="--candidates"), gauge)
    with session.generator.using(**_settings_of(session, truncation if samples else None)):
        ways = _measure_apart(job, target, way)
    evaluated = Evaluated(ways, _mean_scores(job, target.images), _words(gauge, target.images), gauge.metrics)
    facts: dict[str, Any] = {"model": model, "model_hash": session.hash, "encoder": encoder, "method": method}
    facts |= {"options": chosen, "objective": towards, "seed": seed, "photos": photos, "samples": samples}
    facts |= {"images": len(target.images), "folds": folds, "seconds_each": next(iter(ways.values())).seconds}
    if as_json:
        lost = [{"photo": path, "error": reason} for path, reason in failures]
        emit({**facts, "metric_settings": evaluated.settings, **evaluated.as_json(), "failures": lost})
    else:
        parts = f" in {folds} folds, nothing trained anew" if folds else ""
        show(f"{facts['images']} images{parts}, {method}, {facts['seconds_each']:.2f} s each")
        evaluated.show()
    if failures:
        complain(f"{len(failures)} photos could not be read: {', '.join(str(path) for path, _ in failures)}.")
        raise typer.Exit(FAILED)


def _gauge(session: Session, asked: Mapping[str, Any], count: int, folds: int | None, seed: int) -> Gauge:
    """What is measured of so many images: what is asked for, otherwise what can be had of the default.

    Raises:
        SpecError: if a metric is asked for that needs a backbone and there is none, or folds that are too small.
    """
    from ganenc.measures import default_metrics, split_folds

    metrics = session.metrics(asked or default_metrics())[1]
    if asked and len(metrics) < len(asked):
        (first, *_) = [name for name in asked if not any(name == one.partition("-")[0] for one in metrics)]
        raise SpecError(f"--metric {first} is taken on a backbone, and there is none; name one with --backbone.")
    least = max(metric.least for metric in metrics.values())
    if not asked and count < least:
        say("The Frechet distance is left out: it takes 2 images or more.")
        metrics = {name: metric for name, metric in metrics.items() if metric.least <= count}
    return Gauge(metrics, None if folds is None else split_folds(count, folds, seed=seed, least=least))


def _settings_of(session: Session, truncation: float | None) -> dict[str, float]:
    """The setting under which synthesized images were made, where the generator has one for their truncation."""
    return {} if truncation is None else dict.fromkeys(session.generator.spec.truncation_settings, truncation)


def _synthesized(session: Session, count: int, seed: int, truncation: float, given: list[int] | None) -> Target:
    """Images that the generator makes, with their labels."""
    import torch

    from ganenc.measures import HELD_OUT

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
    from ganenc.inversion import folder_labels

    def skip(path: Path, error: ImageError) -> None:
        failures.append((path, str(error)))
        say(f"Skipped: {error}")

    spec = session.generator.spec
    files = images.find(given)
    labels = photo_labels(text, files, session)
    asked = labels if isinstance(labels, str) else None
    if labels is None or isinstance(labels, str):
        labels = session.labels(folder_labels(files, spec.classes), len(files))
    found = images.read_many(files, size=spec.size, channels=spec.channels, value_range=spec.value_range, on_error=skip)
    if not found.paths:
        raise ImageError(f"None of the photos in {', '.join(given)} could be read.")
    kept = [files.index(path) for path in found.paths]
    return Target(found.batch, None if labels is None else labels[kept]), asked


def _measure_apart(job: Job, target: Target, asked: str | None) -> dict[str, Measured]:
    """The metrics by how the labels came: as far as they are known ``given``, and found by the way that is asked for.

    Where there are no labels at all, the one name is empty.
    """
    from ganenc.inversion import default_way

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
    import torch

    from ganenc.inversion import invert

    generator = job.session.generator
    size = CHUNK if job.method == "encode" else 1
    made: list[Tensor] = []
    taken: list[Any] = []
    seconds, count = 0.0, len(target.images)
    with Bar("evaluating", count) as bar:
        for first in range(0, count, size):
            some = target.images[first : first + size].to(device=generator.device, dtype=generator.dtype)
            done = invert(
                some, generator, job.session.encoder, {"name": job.method, "options": dict(job.options)},
                objective=objective, seed=job.seed,
                labels=labels if labels is None or isinstance(labels, str) else labels[first : first + size],
                candidates=job.candidates if labels == "searched" else None,
            )  # fmt: skip
            seconds += sum(done.seconds)
            made.append(done.reconstructions.detach().to(target.images))
            taken += [] if done.labels is None else done.labels.tolist()
            bar.update(min(first + size, count))
    scores = job.gauge.score(target.images, torch.cat(made))
    return Measured(scores, seconds / count, taken or None)


def _mean_scores(job: Job, targets: Tensor) -> Scores:
    """The metrics of the generator's mean image against every image."""
    import torch

    with torch.no_grad():
        mean = job.session.generator.synthesize(job.session.generator.center())
    return job.gauge.score(targets, mean.to(targets).expand_as(targets))


def _words(gauge: Gauge, targets: Tensor) -> dict[str, str]:
    """How the metrics were taken: on so many images, or on as many as the smallest fold has."""
    count = min(len(places) for places in gauge.folds or [range(len(targets))])
    return {name: metric.words(targets[:count]) for name, metric in gauge.metrics.items()}
