"""``ganenc evaluate``: how well a method rebuilds photos, or images that the generator makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import torch
import typer
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import EvaluateSpec

from ganenc.cli import options
from ganenc.cli.console import Bar, complain, emit, say, show, show_table
from ganenc.cli.edit import DIRECTION, STRENGTH, ends_of
from ganenc.cli.exits import FAILED
from ganenc.files import write_json
from ganenc.jobs import evaluate_photos
from ganenc.measures import Evaluation
from ganenc.report import metric_text

E = TypeVar("E", bound=EvaluateSpec)
RESULT = "evaluation.json"
METRIC = typer.Option(
    "--metric",
    help="A metric, of `ganenc list metric`; may be given again. By default psnr, ssim, lpips, and fid where the"
    " weights of Inception are on disk, otherwise frechet, on the backbone.",
)
Metrics: TypeAlias = Annotated[list[str] | None, METRIC]
FOLDS = typer.Option(
    "--folds",
    metavar="K",
    help="Split the images at random into K folds, and give the mean and the deviation over folds. The evaluation alone"
    " is split: nothing is trained anew.",
)
Folds: TypeAlias = Annotated[int | None, FOLDS]


def evaluate(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path | None] = None,
    config: options.Config = None,
    encoder: options.Encoder = None,
    samples: Annotated[int | None, typer.Option("--samples", help="Or so many synthesized images.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="encode (default), or another inverter.")] = None,
    steps: options.Steps = None,
    metric: Metrics = None,
    folds: Folds = None,
    labels: options.PhotoLabels = None,
    candidates: options.Candidates = None,
    truncation: Annotated[float | None, typer.Option("--truncation", help="Of synthesized images.")] = None,
    direction: Annotated[str | None, DIRECTION] = None,
    towards: Annotated[
        int | None, typer.Option("--towards", help="The class of the backbone's that the direction leads to.")
    ] = None,
    strength: Annotated[str | None, STRENGTH] = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int | None] = None,
    settings: options.Set = None,
    device: options.Device[str | None] = None,
    as_json: options.Json = False,
) -> None:
    """Measure how well images are rebuilt: mean and standard deviation of PSNR, SSIM and LPIPS, and a Frechet distance.

    The Frechet distance compares all images as one set, and so has no deviation but over --folds. Synthesized images
    are drawn where no training draws. With a conditional generator the numbers are told apart for labels that are given
    (those of photos with --labels, or else by the names of their folders) and that are found. With a --direction it
    measures how well the images can be edited along it, too: latent editing consistency, the effect on the logit of the
    class --towards, what changes besides, and how far the latents lie from the generator's own. --set reaches every
    field by its path, as in --set method.options.rate=0.01 or --set metrics.psnr.options..., and --out writes all
    numbers into OUT/evaluation.json.
    """
    given = {
        "model": model, "encoder": encoder, "photos": photos, "samples": samples, "folds": folds, "labels": labels,
        "candidates": options.integers(candidates, option="--candidates"), "truncation": truncation, "seed": seed,
        "backbone": backbone, "device": device, "method": {"name": method, "options": {"steps": steps}},
        "metrics": {name: name for name in metric or []}, "direction": direction, "towards": towards,
        "strengths": None if strength is None else torch.linspace(*ends_of(strength), 7).tolist(),
    }  # fmt: skip
    spec, failures = read_spec(EvaluateSpec, config, given, settings), Failures()
    with Bar("evaluating", 100) as bar:
        found = evaluate_photos(
            spec, on_step=lambda done, total: bar.update(100 * done // total), on_error=failures.add
        )
    facts = {"spec": spec.to_mapping(), "images": len(found.mean_image.rows), **found.to_mapping()}
    facts["failures"] = [{"photo": str(path), "error": reason} for path, reason in failures.found]
    if out is not None:
        write_json(out / RESULT, facts)
    if as_json:
        emit(facts)
    else:
        parts = f" in {spec.folds} folds, nothing trained anew" if spec.folds else ""
        show(f"{facts['images']} images{parts}, {spec.method.name}, {facts['seconds_each']:.2f} s each")
        _show(found)
        if found.editing is not None:
            show(f"Edited along {spec.direction}, from {spec.strengths[0]:g} to {spec.strengths[-1]:g} deviations:")
            rows = [
                [name, f"{mean:.3f}", "" if std is None else f"{std:.3f}"]
                for name, (mean, std) in found.editing.table().items()
            ]
            show_table(["number", "mean", "± std"], rows, numeric=[1, 2])
    failures.end()


def read_spec(kind: type[E], config: Path | None, given: dict[str, Any], settings: list[str] | None) -> E:
    """The spec that a file, options of the command line and ``--set`` make together; `SpecError` if a field is wrong,
    or no model is named."""
    spec = kind() if config is None else kind.from_file(config)
    spec = changed(changed(spec, options.given_fields(given), where="--"), options.read_settings(settings))
    if not spec.model:
        raise SpecError("No model is named; give --model.")
    return spec


class Failures:
    """Photos that could not be read, and why."""

    def __init__(self) -> None:
        self.found: list[tuple[Path, str]] = []

    def add(self, path: Path, error: ImageError) -> None:
        """Note one, and tell of it."""
        self.found.append((path, str(error)))
        say(f"Skipped: {error}")

    def end(self) -> None:
        """Fail, if there were any."""
        if self.found:
            complain(f"{len(self.found)} photos could not be read: {', '.join(str(path) for path, _ in self.found)}.")
            raise typer.Exit(FAILED)


def _show(found: Evaluation) -> None:
    """Each metric in its row, or where there are labels one row for each way that they came."""
    base = found.mean_image.table()

    def text(name: str, value: float) -> str:
        return metric_text(value, found.metrics[name])

    def spread(name: str, value: float | None) -> str:
        return "" if value is None else f"{value:.{found.metrics[name].digits}f}"

    if "" in found.ways:
        scores = found.ways[""].scores
        rows = [
            [name, text(name, mean), spread(name, std), text(name, base[name][0]), found.settings[name]]
            for name, (mean, std) in scores.table().items()
        ]
        over = "± over folds" if len(scores.folds) > 1 else "± std"
        show_table(["metric", "mean", over, "mean image", "taken with"], rows, numeric=[1, 2, 3])
        return
    rows = [
        [way, *(f"{text(name, mean)} ± {spread(name, std)}".removesuffix(" ± ") for name, (mean, std) in cells)]
        for way, cells in ((way, one.scores.table().items()) for way, one in found.ways.items())
    ]
    rows.append(["(mean image)", *(text(name, mean) for name, (mean, _) in base.items())])
    show_table(["labels", *base], rows, numeric=range(1, len(base) + 1))
    for name, words in found.settings.items():
        show(f"{name}: {words}")
    if found.agreement is not None:
        way, count = found.agreement
        show(f"The {way} class is the given one for {count} of {len(found.mean_image.rows)} images.")
