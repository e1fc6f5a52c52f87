"""``ganenc invert``: photos => latents that rebuild them, and back from saved latents."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, LatentsError, SpecError, nearest

from ganenc.cli.app import FAILED
from ganenc.cli.console import Bar, emit, say, show
from ganenc.cli.labels import photo_labels
from ganenc.cli.options import (
    Backbone,
    Candidates,
    Device,
    Encoder,
    Json,
    Method,
    Model,
    Out,
    PhotoLabels,
    Seed,
    Set,
    integers,
    of_method,
)
from ganenc.cli.placing import NO_ALIGNMENT, check_alignment
from ganenc.inversion import default_method

if TYPE_CHECKING:
    from ganenc.cli.outcome import Job, Outcome
    from ganenc.cli.session import Session

__all__ = ["invert"]

PATIENCE = 7 * 86400.0
"""Seconds for which a process that has done its share waits for the others."""


def invert(
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, patterns, or lists of them: .txt files with one on each line."),
    ] = None,
    *,
    model: Model,
    out: Out,
    encoder: Encoder = None,
    method: Method = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the method, where it has some.")] = None,
    space: Annotated[str | None, typer.Option("--space", help="z, w or w+, for methods that search one.")] = None,
    labels: PhotoLabels = None,
    candidates: Candidates = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    fit: Annotated[str, typer.Option("--fit", help="How a photo gets to size: cover, contain or stretch.")] = "cover",
    align: Annotated[
        str,
        typer.Option(
            "--align",
            help="Cut out the part of the photo to invert, and put the result back: none (by --fit alone), center,"
            " attention (around what the objective's attention looks at), or a plugin's.",
        ),
    ] = "none",
    latents: Annotated[
        list[Path] | None, typer.Option("--latents", help="Saved latents to rebuild images from, in place of photos.")
    ] = None,
    settings: Set = None,
    device: Device = "cpu",
    report: Annotated[
        bool | None,
        typer.Option(
            "--report/--no-report",
            help="A page of all photos, and for each a page of its own and a picture of what the attention saw; by"
            " default each has its own up to 100 photos.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Invert photos anew that were inverted before; else they are skipped.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try photos again that failed before; without PHOTOS, these alone."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what failed.")] = False,
    as_json: Json = False,
) -> None:
    """Find the latents that rebuild photos. Each photo leaves a folder in OUT with latents, images, numbers, a report,
    and a line in OUT/index.jsonl.

    --set takes options of the method, as in --set rate=0.01, fields of the objective that a run's spec has, as in
    --set objective.attention.name=none, and options of the alignment, as in --set align.margin=0.3. A broken photo is
    named and skipped; the rest go on, and the exit code is 1. A photo that is unlike what the model makes is told.

    Stopped or killed, the same command goes on with the photos that are not done. Started by torchrun, several
    processes share the photos.
    """
    if latents:
        if photos or retry_failed:
            raise SpecError("Give photos to invert, or --latents to rebuild images from; one of the two.")
        _rebuild(latents, model, out, device, as_json)
        return
    if not photos and not retry_failed:
        raise SpecError("Give photos to invert, or --latents to rebuild images from; one of the two.")
    from ganenc import images
    from ganenc.cli.inverting import invert_photos
    from ganenc.cli.outcome import LISTED, Job
    from ganenc.cli.record import failed_before
    from ganenc.cli.session import open_session
    from ganenc.files import Processes

    if method:
        registry().get("inverter", method)
    if fit not in get_args(images.Fit):
        known = get_args(images.Fit)
        raise SpecError(f"There is no fit {fit!r}{nearest(fit, known)}; it is one of {', '.join(known)}.")
    check_alignment(align)
    chosen, towards = of_method(settings, steps=steps, space=space)
    aligning = chosen.pop("align", {})
    if not isinstance(aligning, dict) or (aligning and align == NO_ALIGNMENT):
        raise SpecError("--set align: it takes options of the alignment that --align names, such as align.margin=0.3.")
    if chosen.get("together"):
        raise SpecError(
            "--set together: here each photo has an encoder of its own; for one that photos share, fine-tune it with"
            " `ganenc finetune`, and invert with --method encode and its --encoder."
        )
    processes = Processes(device, patience=PATIENCE)
    given: list[int] | None = None
    if not photos:
        found, given = processes.told(failed_before(out) if processes.first else None)
    else:
        found = processes.told(_named(photos, out) if processes.first else None)
    session = open_session(model, encoder=encoder, device=processes.device, backbone=backbone, towards=towards)
    classes = photo_labels(labels, found, session) if labels else session.labels(given, len(found))
    job = Job(
        session, out, method or default_method(session.encoder is not None), chosen, classes,
        integers(candidates, option="--candidates"), seed, fit, align, aligning,
        report=report is not False, pages=len(found) <= LISTED if report is None else report, overwrite=overwrite,
        retry_failed=retry_failed, processes=processes,
    )  # fmt: skip
    try:
        outcome = invert_photos(found, job)
    except KeyboardInterrupt:
        say(f"Interrupted; what was done is saved, and the same command goes on from there: {out}.")
        raise typer.Exit(FAILED) from None
    if outcome is not None:
        _tell(outcome, job, as_json=as_json, quiet=quiet)


def _named(words: Sequence[str], out: Path) -> list[Path]:
    """The photos that words on the command line stand for; what lies in ``out`` is no photo unless it is named itself.

    Raises:
        ImageError: if there is none.
    """
    from ganenc import images

    inside = os.path.join(os.path.realpath(out), "")
    found = [
        photo for photo in images.find(words) if str(photo) in words or not os.path.realpath(photo).startswith(inside)
    ]
    if not any(map(os.path.exists, found)):
        missing = found[0] if found else words[0]
        why = "there is no such file or folder; check the name" if found else f"all photos there lie in {out}"
        raise ImageError(f"{missing}: {why}.")
    return found


def _tell(outcome: Outcome, job: Job, *, as_json: bool, quiet: bool) -> None:
    """Print what came of the photos, and end with the code that says whether one failed."""
    from ganenc.cli.outcome import show_outcome, warn_of_domain

    if as_json:
        emit(outcome.as_json(job))
    elif not quiet:
        warn_of_domain(outcome)
    show_outcome(outcome, job, table=not (as_json or quiet))
    if outcome.failed:
        raise typer.Exit(FAILED)


def _rebuild(files: list[Path], model: str, out: Path, device: str, as_json: bool) -> None:
    """Saved latents => the same pixels again."""
    from ganenc.cli.session import open_session

    session = open_session(model, device=device, seek_encoder=False)
    written: list[dict[str, Any]] = []
    taken: set[str] = set()
    with Bar("rebuilding", len(files)) as bar:
        for index, file in enumerate(files):
            written += _rebuild_one(file, session, out, taken)
            bar.update(index + 1)
    if as_json:
        emit({"model": model, "model_hash": session.hash, "images": written})
    else:
        for item in written:
            show(f"{item['image']}")


def _rebuild_one(file: Path, session: Session, out: Path, taken: set[str]) -> list[dict[str, Any]]:
    import torch

    from ganenc import images
    from ganenc.latents import Latents

    generator = session.generator
    latents = Latents.load(file, model=session.hash, device=generator.device)
    if latents.layout != generator.spec.layout:
        raise LatentsError(
            f"The latents {file} have another layout than the generator takes; they are another model's."
        )
    stem = file.resolve().parent.name if file.stem == "latents" else file.stem
    written = []
    for index, one in enumerate(latents):
        base = stem if len(latents) == 1 else f"{stem}-{index:04d}"
        name, count = base, 2
        while name.casefold() in taken:
            name, count = f"{base}-{count}", count + 1
        taken.add(name.casefold())
        with torch.no_grad():
            made = generator.synthesize(one.to(generator.dtype))[0]
        path = out / f"{name}.png"
        images.write_png(path, made, value_range=generator.spec.value_range)
        written.append({"latents": file, "sample": index, "image": path})
    return written
