"""``ganenc score``: photos => how odd they are beside normal ones, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import InvertSpec

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, emit, say, show, show_table
from ganenc.cli.evaluate import Failures
from ganenc.files import write_json
from ganenc.inversion import written_labels
from ganenc.jobs import score_photos
from ganenc.measures import FALSE_ALARMS, KAPPA, SCORES, Calibration
from ganenc.model import load
from ganenc.report import MEASURES

CALIBRATION, SHOWN = "calibration.json", 20
FEATURES = (
    "Whose features are compared: SCRIPT.py:FUNCTION of images to features, as of a discriminator, or a backbone."
)


def score(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str],
    out: options.Out[Path],
    normal: Annotated[
        list[str] | None, typer.Option("--normal", help="Normal photos that no training saw, to calibrate by.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help=f"Or the {CALIBRATION} that calibrating left.")
    ] = None,
    false_alarms: Annotated[
        float, typer.Option("--false-alarms", help="The share of normal photos that may be called odd.")
    ] = FALSE_ALARMS,
    score: Annotated[
        list[str] | None,
        typer.Option(
            "--score", help=f"{', '.join(SCORES)} or f-anogan; may be given again. By default the first five."
        ),
    ] = None,
    features: Annotated[str | None, typer.Option("--features", help=FEATURES)] = None,
    kappa: Annotated[float, typer.Option("--kappa", help="The weight of features in f-anogan.")] = KAPPA,
    masks: Annotated[
        Path | None,
        typer.Option("--masks", help="A folder of masks with the photos' names, white where odd: measures it all."),
    ] = None,
    truth: Annotated[
        str | None, typer.Option("--truth", metavar=options.WRITTEN, help="Which are odd, 1 or 0: measures it all.")
    ] = None,
    encoder: options.Encoder = None,
    method: Annotated[
        str | None, typer.Option("--method", help="encode (default with an encoder), optimize, or another inverter.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="So many to seek latents in, in place of one pass.")
    ] = None,
    backbone: options.Backbone = None,
    fit: Annotated[str | None, typer.Option("--fit", help="cover (default), contain or stretch.")] = None,
    align: options.Align = None,
    seed: options.Seed[int] = 0,
    settings: options.Set = None,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Score how odd photos are, and where, by what a generator of normal ones makes of them. With --normal it
    calibrates first, and leaves OUT/calibration.json; with that, or without photos to score, one act can be done
    alone.

    OUT/scores.json has each photo's pred_score, pred_label and scores, OUT/maps the photos under maps, OUT/index.html
    both. --set reaches the options of method and align, as in --set method.options.prior=0.01.
    """
    if (normal is None) == (calibration is None):
        raise SpecError("Give normal photos with --normal, or the file that calibrating left with --calibration.")
    if not (photos or normal):
        raise SpecError("Name photos to score.")
    over = options.read_settings(settings)
    if unknown := sorted({*over} - {"method", "align"}):
        raise SpecError(f"--set {unknown[0]} has no effect here; it reaches method and align.")
    found = images.find(photos) if photos else []
    odd = None if truth is None else written_labels(truth, found)
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    if calibration is None:
        told = options.given_fields({"method": {"name": method}, "align": {"name": align}, "fit": fit})
        spec = changed(InvertSpec.from_mapping(told), over)
        with Bar("calibrating", len(files := images.find(normal or []))) as bar:
            known = loaded.calibrate(
                files, scores=score, method=spec.method, steps=steps, features=features, kappa=kappa, align=spec.align,
                fit=spec.fit, seed=seed, on_step=lambda done, _: bar.update(done),
            )  # fmt: skip
        known.threshold(false_alarms)
        write_json(out / CALIBRATION, known.to_mapping())
    else:
        given = {"score": score, "method": method, "steps": steps, "fit": fit, "align": align, "set": settings}
        if wrong := [name for name, value in given.items() if value]:
            raise SpecError(f"--{wrong[0]} is of calibrating, and that is done; leave it out, or give --normal.")
        known = Calibration.from_file(calibration)
    if not found:
        show(f"Calibrated by {len(known.normal)} photos: {out / CALIBRATION}")
        return
    failures = Failures()
    with Bar("scoring", len(found)) as bar:
        facts = score_photos(
            loaded, found, known, out, false_alarms=false_alarms, features=features, truth=odd, masks=masks,
            on_step=bar.update, on_error=failures.add,
        )  # fmt: skip
    if as_json:
        emit(facts)
    else:
        rows = sorted(facts["photos"], key=lambda row: -row["pred_score"])
        cells = [
            [Path(row["photo"]).name, f"{row['pred_score']:.2f}", f"{row['p_value']:.3f}", "odd" * row["pred_label"]]
            for row in rows[:SHOWN]
        ]
        show_table(["photo", "score", "p", ""], cells, numeric=[1, 2])
        if len(rows) > SHOWN:
            say(f"These are the {SHOWN} oddest; all are in {out / 'scores.json'}.")
        show(f"{facts['odd']} of {len(rows)} photos are odd, above {facts['threshold']:.2f}.")
        for name, value in facts["measures"].items():
            show(f"{MEASURES[name]}: {value:.3f}")
        show(f"Report: {out / 'index.html'}")
    failures.end()
