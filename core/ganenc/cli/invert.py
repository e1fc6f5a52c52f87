"""``ganenc invert``: photos => latents that rebuild them, and back from saved latents."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import GeneratorSpec, InvertSpec, merge

from ganenc import images, load
from ganenc.cli import options
from ganenc.cli.console import Bar, emit, say, show
from ganenc.cli.outcome import carry_out, show_result
from ganenc.cli.shards import carry_out_shards
from ganenc.inversion import PhotoFolder, Purpose, default_method, purpose_of
from ganenc.jobs import are_shards, read_part, unique_names
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc.models import resolve

REPORT = typer.Option(
    "--report/--no-report",
    help="A page of all photos, and for each a page of its own and a picture of what the attention saw; by default each"
    " has its own up to 100 photos.",
)
Report: TypeAlias = Annotated[bool | None, REPORT]


def invert(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path],
    config: options.Config = None,
    encoder: options.Encoder = None,
    method: options.Method = None,
    purpose: Annotated[
        Purpose | None,
        typer.Option("--for", help="rebuild (as near as can be), edit (moved far), both (default), restore, or fill."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, help="A photo; as many steps as fill them on this machine.")
    ] = None,
    steps: options.Steps = None,
    space: options.Space = None,
    labels: options.PhotoLabels = None,
    candidates: options.Candidates = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int | None] = None,
    fit: Annotated[str | None, typer.Option("--fit", help="cover (default), contain or stretch.")] = None,
    align: options.Align = None,
    face: Annotated[
        int | None, typer.Option("--face", min=1, help="Which face --align takes; 1 is the largest.")
    ] = None,
    operator: options.Operator[list[str] | None] = None,
    settings: options.Set = None,
    device: options.Device[str | None] = None,
    report: Report = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Invert photos anew that were inverted before; else they are skipped.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try photos again that failed before; without PHOTOS, these alone.")
    ] = False,
    shards: Annotated[
        bool, typer.Option("--shards", help="Lists (.txt) are shards, as .tar and .parquet are.")
    ] = False,
    part: Annotated[
        str | None, typer.Option("--part", metavar="I/N", help="Of shards those that are I, I + N, ... from 0.")
    ] = None,
    refine_below: Annotated[
        float | None,
        typer.Option("--refine-below", metavar="DB", help="One pass for shards, the method for photos of lower PSNR."),
    ] = None,
    on: options.On = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what failed.")] = False,
    as_json: options.Json = False,
) -> None:
    """Find the latents that rebuild photos. Each photo leaves a folder in OUT with latents, images, numbers, a report,
    and a line in OUT/index.jsonl. Latents, saved (.safetensors) or of other
    tools (.npy, .npz, .pt), in place of photos give their images, under other settings where
    --set method.options.settings.NAME gives some.

    --set reaches every field of the spec by its path, as in --set method.options.rate=0.01, --set
    objective.attention.name=none or --set align.options.margin=0.3. A broken photo is named and skipped; the rest go
    on, and the exit code is 1. A photo that is unlike what the model makes is told.

    Stopped or killed, the same command goes on with the photos that are not done. Started by torchrun, several
    processes share the photos.

    Shards (WebDataset's .tar, .parquet with a column of images; 'shards/{0000..0999}.tar' and patterns, too) each leave
    one OUT/NAME.parquet with a row for each photo: key, latents, metrics, error; --set shards.NAME=VALUE says what is
    kept. One pass of the encoder is the default there. A shard whose file is there is done; processes, and the tasks
    of an array, share them, or --on has an engine do them. `ganenc index OUT` sums up.
    """
    given = {
        "model": model, "encoder": encoder, "backbone": backbone, "device": device, "seed": seed, "labels": labels,
        "candidates": options.integers(candidates, option="--candidates"), "fit": fit, "purpose": purpose,
        "seconds": seconds, "operator": options.operators(operator),
        "align": {"name": align, "options": {"face": face}},
        "method": {"name": method, "options": {"steps": steps, "space": space}},
        "shards": {"refine_below": refine_below},
    }  # fmt: skip
    spec = read_spec(config, given, settings, quiet=quiet)
    words = photos or list(spec.photos)
    if words and (shards or are_shards(words)):
        share = None if part is None else read_part(part)
        carry_out_shards(words, out, spec, on=on, part=share, overwrite=overwrite, as_json=as_json, quiet=quiet)
        return
    if shards or part is not None or refine_below is not None or on is not None:
        raise SpecError("--shards, --part, --refine-below and --on are for shards (.tar, .parquet, lists); name some.")
    if not words and not retry_failed:
        raise SpecError("Name photos to invert, or saved latents (.safetensors) to rebuild images from.")
    if any(PhotoFolder.latents_file(word) for word in words if not os.path.isdir(word)):
        loaded = load(spec.model, device=spec.device)
        if any(map(loaded.latents_file, words)):
            held = dict(spec.method.options.get("settings", {})) if spec.method else {}
            _rebuild([loaded.latents_file(word) or Path(word) for word in words], loaded, out, held, as_json)
            return
    result = carry_out(
        spec.model, words, out, spec, report=report is not False, pages=report, overwrite=overwrite,
        retry_failed=retry_failed,
    )  # fmt: skip
    again = "" if retry_failed else " --retry-failed tries them again."
    show_result(result, as_json=as_json, quiet=quiet, report=report is not False, again=again)


def read_spec(
    config: Path | None, given: dict[str, Any], settings: list[str] | None, *, quiet: bool = False
) -> InvertSpec:
    """The spec that a file, options of the command line (None where they were not given) and ``--set`` make together;
    `SpecError` if a field is wrong, or no model is named."""
    spec = InvertSpec() if config is None else InvertSpec.from_file(config)
    over = options.read_settings(settings)
    if isinstance(over.get("method"), str):
        over["method"] = {"name": over["method"]}
    told = merge(options.given_fields(given), over)
    model = told.get("model", spec.model)
    if not model:
        raise SpecError("No model is named; give --model.")
    if spec.align is None and "options" in told.get("align", ()) and "name" not in told["align"]:
        raise SpecError("--face, or an option of align, is given, and nothing that aligns; give --align face, too.")
    purpose, method = told.get("purpose", spec.purpose), told.pop("method", {})
    if spec.method is not None or "name" in method:
        told["method"] = method
        if purpose != "both":
            raise SpecError(f"A method and what it is for ({purpose}) are given; leave one out.")
    else:
        encoder = told.get("encoder", spec.encoder) or resolve(model).encoder
        if method.get("options"):
            through = told.get("operator", spec.operator)
            chosen = usual_method(model, encoder, purpose_of(through) if through and purpose == "both" else purpose)
            told["method"] = {**chosen, "options": {**chosen["options"], **method["options"]}}
        if encoder is None and not quiet:
            say(f"{model} has no encoder; `ganenc start -m {model} -o DIR` builds one in minutes, for --encoder DIR.")
    return changed(spec, told)


def usual_method(model: str, encoder: str | Path | None, purpose: Purpose) -> dict[str, Any]:
    """The method that a model takes for a purpose, with an encoder or its own, as far as it is known unloaded."""
    known = resolve(model)
    layout = known.spec.layout if isinstance(known.spec, GeneratorSpec) else None
    return default_method((encoder or known.encoder) is not None, purpose, layout)


def read_samples(files: Iterable[Path], model: Model) -> list[tuple[Path, int, Latents, str]]:
    """Saved latents of a model, sample by sample: the file, the place in it, the latents, and a name."""
    found = []
    for file in files:
        latents = model.latents(file)
        name = file.resolve().parent.name if file.name == PhotoFolder.LATENTS else file.stem
        several = len(latents) > 1
        found += [(file, at, one, f"{name}-{at:04d}" if several else name) for at, one in enumerate(latents)]
    return found


def _rebuild(files: list[Path], model: Model, out: Path, settings: dict[str, Any], as_json: bool) -> None:
    """Saved latents => the same pixels again, or those under other settings, a picture of each sample."""
    generator = model.generator
    samples = read_samples(files, model)
    names = unique_names([Path(f"{name}.png") for *_, name in samples])
    written = []
    with Bar("rebuilding", len(samples)) as bar:
        for (file, at, one, _), name in zip(samples, names, strict=True):
            kept = one.only(*(part for part in one.tensors if part not in settings))
            with torch.no_grad(), generator.tuned(model.tuning(one)), generator.using(**settings):
                made = generator.synthesize(kept.to(generator.dtype))[0]
            path = images.write_image(out / f"{name}.png", made, generator.spec)
            written.append({"latents": file, "sample": at, "image": path})
            bar.update(len(written))
    if as_json:
        emit({"model": model.source, "model_hash": model.hash, "images": written})
    else:
        show("\n".join(str(item["image"]) for item in written))
