"""``ganenc evaluate``: how well a method rebuilds photos, or images that the generator makes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, SpecError

from ganenc.cli._app import FAILED
from ganenc.cli._console import Bar, complain, emit, say, show, show_table
from ganenc.cli._options import Backbone, Device, Encoder, Json, Labels, Model, Seed, Set, integers, options

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli._session import Session

__all__ = ["evaluate"]

CHUNK = 16


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
    labels: Labels = None,
    truncation: Annotated[float, typer.Option("--truncation", min=0, help="Of synthesized images.")] = 1.0,
    backbone: Backbone = None,
    seed: Seed = 0,
    settings: Set = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure how well images are rebuilt: mean and standard deviation of PSNR, SSIM and LPIPS.

    Synthesized images are drawn where no training draws.
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
        targets, classes = _synthesized(session, samples, seed, truncation, integers(labels))
    else:
        targets, classes = _photos(session, photos or [], integers(labels), failures)
    rows, mean_rows, seconds = _measure(session, targets, classes, method, chosen, seed)
    facts: dict[str, Any] = {"model": model, "model_hash": session.hash, "encoder": encoder, "method": method}
    facts |= {"options": chosen, "seed": seed, "photos": photos, "samples": samples, "images": len(targets)}
    facts |= {"seconds_each": seconds, "metric_settings": _settings(session, targets)}
    _print(facts, rows, mean_rows, failures, as_json)
    if failures:
        complain(f"{len(failures)} photos could not be read: {', '.join(str(path) for path, _ in failures)}.")
        raise typer.Exit(FAILED)


def _synthesized(
    session: Session, count: int, seed: int, truncation: float, given: list[int] | None
) -> tuple[Tensor, Tensor | None]:
    """Images that the generator makes, on the CPU, with their labels."""
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
    return torch.cat(made), labels


def _photos(
    session: Session, given: list[str], labels: list[int] | None, failures: list[tuple[Path, str]]
) -> tuple[Tensor, Tensor | None]:
    """Photos, on the CPU, with their labels; the broken ones go to ``failures``."""
    from ganenc import images

    def skip(path: Path, error: ImageError) -> None:
        failures.append((path, str(error)))
        say(f"Skipped: {error}")

    spec = session.generator.spec
    files = images.find(given)
    all_labels = session.labels(labels, len(files))
    found = images.read_many(files, size=spec.size, channels=spec.channels, value_range=spec.value_range, on_error=skip)
    if not found.paths:
        raise ImageError(f"None of the photos in {', '.join(given)} could be read.")
    if all_labels is None:
        return found.batch, None
    kept = [files.index(path) for path in found.paths]
    return found.batch, all_labels[kept]


def _measure(
    session: Session, targets: Tensor, labels: Tensor | None, method: str, chosen: Mapping[str, Any], seed: int
) -> tuple[list[dict[str, float]], list[dict[str, float]], float]:
    """The metrics of every image, and those of the generator's mean image."""
    import torch

    from ganenc.inverters import invert
    from ganenc.metrics import evaluate_pairs

    generator = session.generator
    objective = None if method == "encode" else session.objective()
    backbone = session.metric_backbone()
    values = generator.spec.value_range
    with torch.no_grad():
        mean = generator.synthesize(generator.center())
    size = CHUNK if method == "encode" else 1
    rows: list[dict[str, float]] = []
    mean_rows: list[dict[str, float]] = []
    seconds = 0.0
    with Bar("evaluating", len(targets)) as bar:
        for first in range(0, len(targets), size):
            some = targets[first : first + size].to(device=generator.device, dtype=generator.dtype)
            given = None if labels is None else labels[first : first + size]
            done = invert(
                some, generator, session.encoder, method=method, labels=given, objective=objective, seed=seed, **chosen
            )
            seconds += sum(done.seconds)
            rows += evaluate_pairs(some, done.reconstructions.detach(), value_range=values, backbone=backbone)
            mean_rows += evaluate_pairs(some, mean.expand_as(some), value_range=values, backbone=backbone)
            bar.update(len(rows), f"psnr {sum(row['psnr'] for row in rows) / len(rows):.2f} dB")
    return rows, mean_rows, seconds / max(len(targets), 1)


def _settings(session: Session, targets: Tensor) -> dict[str, str]:
    from ganenc.metrics import metric_settings

    return metric_settings(targets, session.metric_backbone())


def _print(
    facts: dict[str, Any],
    rows: list[dict[str, float]],
    mean_rows: list[dict[str, float]],
    failures: list[tuple[Path, str]],
    as_json: bool,
) -> None:
    from ganenc.report import mean_std, metric_text

    table = {name: mean_std([row[name] for row in rows]) for name in rows[0]}
    base = {name: mean_std([row[name] for row in mean_rows])[0] for name in rows[0]}
    if as_json:
        metrics = {name: {"mean": mean, "std": std, "mean_image": base[name]} for name, (mean, std) in table.items()}
        lost = [{"photo": path, "error": reason} for path, reason in failures]
        emit({**facts, "metrics": metrics, "per_image": rows, "failures": lost})
        return
    texts = [
        [name, metric_text(name, mean), f"{std:.2f}" if name == "psnr" else f"{std:.3f}", metric_text(name, base[name]),
         facts["metric_settings"].get(name, "")]
        for name, (mean, std) in table.items()
    ]  # fmt: skip
    show(f"{facts['images']} images, {facts['method']}, {facts['seconds_each']:.2f} s each")
    show_table(["metric", "mean", "± std", "mean image", "taken with"], texts, numeric=[1, 2, 3])
