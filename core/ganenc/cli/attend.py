"""``ganenc attend``: photos => pictures of where an attention looks in them. It needs no generator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError
from ganenc_registry.fields import changed
from ganenc_registry.specs import ObjectiveSpec

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import complain, emit, say, show
from ganenc.cli.exits import FAILED
from ganenc.files import check_device
from ganenc.images import sheet
from ganenc.inversion import written_labels
from ganenc.jobs import unique_names
from ganenc.models import resolve
from ganenc.objectives import PhotoLook, build_attention, context_for, look_at

LONGEST = 256
"""The longest side, in pixels, at which a photo is looked at unless a size is given."""
SHEET = "attention.png"
MOST_ROWS = 16
"""So many photos, the first, go into the sheet of all."""


def attend(
    photos: options.Photos[list[str]],
    *,
    attention: Annotated[str, typer.Option("--attention", "-a", help="A registered attention.")] = "gradcam",
    backbone: options.Backbone = None,
    model: options.Model[str | None] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="N[,N...]|WORD|FILE",
            help="The backbone's classes to look for: numbers, one each or one; folders (data/3/x.jpg) or names"
            " (3-x.jpg); a file with lines photo,class, or JSON. By default the likeliest.",
        ),
    ] = None,
    out: options.Out[Path | None] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="The longer side, in pixels, to look at; by default up to 256.")
    ] = None,
    settings: options.Set = None,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Show where an attention looks in photos: the heat map, its boxes or mask, and the views that losses see.

    It needs no generator; of a model it takes the backbone, where none is named.

    --set takes options of the attention, as in --set attention.options.of=energy. It prints one line a photo; with
    --out it leaves a PNG file of each photo, and one of them all. A broken photo is named and skipped, and the exit
    code is then 1.
    """
    registry().get("attention", attention)
    found = images.find(photos)
    classes = [None] * len(found) if labels is None else written_labels(labels, found)
    chosen = changed(ObjectiveSpec(attention=attention), options.read_settings(settings))
    taken = backbone or chosen.backbone or (None if model is None else resolve(model).info.get("backbone"))
    looking = build_attention(chosen.attention, context_for(taken, device=check_device(device)))
    looked: list[dict[str, Any]] = []
    pictures: list[Any] = []
    failures: list[dict[str, Any]] = []
    names = unique_names(found, taken=[SHEET])
    for path, name, label in zip(found, names, classes, strict=True):
        try:
            look = look_at(looking, images.shrink(images.read(path), size or LONGEST).to(device), label)
        except ImageError as error:
            failures.append({"photo": path, "error": str(error)})
            say(f"Skipped: {error}")
            continue
        file = None if out is None else out / f"{name}.png"
        if file is not None:
            images.write_png(file, sheet([look.pictures]), sheet=True)
        pictures += [look.pictures] if len(pictures) < MOST_ROWS else []
        came = None if look.label is None else "predicted" if label is None else "given"
        looked.append({"photo": path, **_data(look, came), "file": file})
        if not as_json:
            show(_line(path, look, came))
    if out is not None and pictures:
        images.write_png(out / SHEET, sheet(pictures), sheet=True)
        if not as_json:
            show(f"Pictures: {out / SHEET}")
    if as_json:
        emit({"attention": attention, "photos": looked, "failures": failures})
    if failures:
        lost = ", ".join(str(one["photo"]) for one in failures)
        complain(f"{len(failures)} of {len(found)} photos failed: {lost}.")
        raise typer.Exit(FAILED)


def _data(look: PhotoLook, came: str | None) -> dict[str, Any]:
    return {
        "size": list(look.size),
        "label": look.label,
        "label_from": came,
        "box": None if look.box is None else dict(zip(("top", "left", "height", "width"), look.box, strict=True)),
        "share_of_map_in_box": look.share,
        "pictures": list(look.pictures),
    }


def _line(photo: Path, look: PhotoLook, came: str | None) -> str:
    told = [] if look.label is None else [f"class {look.label} ({came})"]
    if look.box is None:
        told.append("the whole photo alike")
    else:
        top, left, height, width = look.box
        told.append(f"box {width}x{height} at ({left}, {top}) of {look.size[1]}x{look.size[0]}")
    if look.share is not None:
        told.append(f"{look.share:.0%} of the map's mass in it")
    return f"{photo.name}: {', '.join(told)}"
