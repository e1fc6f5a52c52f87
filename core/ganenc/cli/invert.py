"""``ganenc invert``: photos => latents that rebuild them, and back from saved latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import InvertSpec, merge

from ganenc import images, load
from ganenc.cli.console import Bar, emit, show
from ganenc.cli.options import (
    Backbone,
    Candidates,
    Config,
    Encoder,
    Json,
    MaybeDevice,
    MaybeModel,
    MaybePhotos,
    MaybeSeed,
    Method,
    Out,
    PhotoLabels,
    Set,
    Space,
    Steps,
    given_fields,
    integers,
    read_settings,
)
from ganenc.cli.outcome import carry_out, show_result
from ganenc.inversion import default_method
from ganenc.jobs import unique_names
from ganenc.latents import Latents
from ganenc.models import resolve

__all__ = ["invert", "read_spec"]


def invert(
    photos: MaybePhotos = None,
    *,
    model: MaybeModel = None,
    out: Out,
    config: Config = None,
    encoder: Encoder = None,
    method: Method = None,
    steps: Steps = None,
    space: Space = None,
    labels: PhotoLabels = None,
    candidates: Candidates = None,
    backbone: Backbone = None,
    seed: MaybeSeed = None,
    fit: Annotated[str | None, typer.Option("--fit", help="cover (default), contain or stretch.")] = None,
    align: Annotated[
        str | None,
        typer.Option(
            "--align",
            help="Cut out the part of the photo to invert, and put the result back: none (by --fit alone), center,"
            " attention (around what the objective's attention looks at), or a plugin's.",
        ),
    ] = None,
    settings: Set = None,
    device: MaybeDevice = None,
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
    and a line in OUT/index.jsonl. Saved latents (.safetensors) in place of photos give their images again.

    --set reaches every field of the spec by its path, as in --set method.options.rate=0.01, --set
    objective.attention.name=none or --set align.options.margin=0.3. A broken photo is named and skipped; the rest go
    on, and the exit code is 1. A photo that is unlike what the model makes is told.

    Stopped or killed, the same command goes on with the photos that are not done. Started by torchrun, several
    processes share the photos.
    """
    given = {
        "model": model, "encoder": encoder, "labels": labels, "candidates": integers(candidates, option="--candidates"),
        "seed": seed, "fit": fit, "align": align, "device": device, "backbone": backbone,
        "method": {"name": method, "options": {"steps": steps, "space": space}},
    }  # fmt: skip
    spec = read_spec(config, given, settings)
    words = photos or list(spec.photos)
    if not words and not retry_failed:
        raise SpecError("Name photos to invert, or saved latents (.safetensors) to rebuild images from.")
    if any(word.endswith(".safetensors") for word in words):
        _rebuild([Path(word) for word in words], spec, out, as_json)
        return
    result = carry_out(
        spec.model, words, out, spec, report=report is not False, pages=report, overwrite=overwrite,
        retry_failed=retry_failed,
    )  # fmt: skip
    again = "" if retry_failed else " --retry-failed tries them again."
    show_result(result, as_json=as_json, quiet=quiet, report=report is not False, again=again)


def read_spec(config: Path | None, given: dict[str, Any], settings: list[str] | None) -> InvertSpec:
    """The spec that a file, options of the command line (None where they were not given) and ``--set`` make together.

    Raises:
        SpecError: if a field is wrong, or no model is named.
    """
    spec = InvertSpec() if config is None else InvertSpec.from_file(config)
    over = read_settings(settings)
    if isinstance(over.get("method"), str):
        over["method"] = {"name": over["method"]}
    told = merge(given_fields(given), over)
    model = told.get("model", spec.model)
    if not model:
        raise SpecError("No model is named; give --model.")
    if spec.method is None and "name" not in told.setdefault("method", {}):
        encoder = told.get("encoder", spec.encoder) or resolve(model).encoder
        told["method"]["name"] = default_method(encoder is not None)
    return changed(spec, told)


def _rebuild(files: list[Path], spec: InvertSpec, out: Path, as_json: bool) -> None:
    """Saved latents => the same pixels again, a picture of each sample."""
    model = load(spec.model, device=spec.device)
    generator = model.generator
    samples = []
    for file in files:
        latents = Latents.load(file, model=model.hash, device=generator.device)
        if latents.layout != generator.spec.layout:
            raise LatentsError(f"The latents {file} have another layout than the generator takes; they are another's.")
        stem = file.resolve().parent.name if file.stem == "latents" else file.stem
        several = len(latents) > 1
        samples += [(file, at, one, f"{stem}-{at:04d}" if several else stem) for at, one in enumerate(latents)]
    names = unique_names([Path(f"{name}.png") for *_, name in samples])
    written = []
    with Bar("rebuilding", len(samples)) as bar:
        for (file, at, one, _), name in zip(samples, names, strict=True):
            with torch.no_grad():
                made = generator.synthesize(one.to(generator.dtype))[0]
            written.append({"latents": file, "sample": at, "image": out / f"{name}.png"})
            images.write_png(out / f"{name}.png", made, value_range=generator.spec.value_range)
            bar.update(len(written))
    if as_json:
        emit({"model": model.source, "model_hash": model.hash, "images": written})
    else:
        show("\n".join(str(item["image"]) for item in written))
