"""``ganenc restore``: photos that were damaged => what they may have been."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Choice

from ganenc.cli import options
from ganenc.cli.console import emit
from ganenc.cli.invert import Report, read_spec
from ganenc.cli.outcome import carry_out, show_result
from ganenc.files import first_process
from ganenc.inversion import another_answer


def restore(
    photos: options.Photos[list[str] | None] = None,
    *,
    operator: options.Operator[list[str] | None] = None,
    model: options.Model[str | None] = None,
    out: options.Out[Path],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=1000, help="Answers, from as many seeds.")] = 1,
    config: options.Config = None,
    encoder: options.Encoder = None,
    method: options.Method = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="A photo; as many steps as fill them on this machine.")
    ] = None,
    steps: options.Steps = None,
    labels: options.PhotoLabels = None,
    candidates: options.Candidates = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int | None] = None,
    fit: Annotated[str | None, typer.Option("--fit", help="cover (default), contain or stretch.")] = None,
    align: options.Align = None,
    settings: options.Set = None,
    device: options.Device[str | None] = None,
    report: Report = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Restore photos anew that were restored.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what failed.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find images of a generator that look as photos do once what happened to these happened to them, too. A photo is
    what was seen, in the size that the operator leaves of the generator's images.

    Each photo leaves a folder in OUT as of invert; pasted.png is the reconstruction with what it lacks of what was
    seen, such as the pixels around a mask. Of several answers each has a folder of its own, OUT/1, OUT/2 and so on.
    An option that is written ? is found along.
    """
    given = {
        "model": model, "encoder": encoder, "backbone": backbone, "device": device, "seed": seed, "labels": labels,
        "candidates": options.integers(candidates, option="--candidates"), "fit": fit, "seconds": seconds,
        "operator": options.operators(operator),
        "align": {"name": align},
        "method": {"name": method, "options": {"steps": steps}},
    }  # fmt: skip
    spec = read_spec(config, given, settings, quiet=quiet)
    if not spec.operator:
        raise SpecError("No operator is named; give what happened to the photos, such as --operator downscale:4.")
    words = photos or list(spec.photos)
    if not words:
        raise SpecError("Name photos to restore.")
    results = []
    other = another_answer(spec.method.to_mapping() if spec.method else None)
    for place in range(n):
        own = spec.model_copy(update={"seed": spec.seed + place})
        if place:
            own = own.model_copy(update={"method": Choice.of(other)})
        folder = out / str(place + 1) if n > 1 else out
        results.append(
            carry_out(spec.model, words, folder, own, report=report is not False, pages=report, overwrite=overwrite)
        )
    if as_json and n > 1 and first_process():
        emit([result.to_mapping() for result in results])
    for result in results:
        show_result(result, as_json=as_json and n == 1, quiet=quiet or as_json, report=report is not False)
