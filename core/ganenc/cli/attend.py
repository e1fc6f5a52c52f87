"""``ganenc attend``: photos => pictures of where an attention looks in them. It needs no generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import ImageError

from ganenc.cli.app import FAILED
from ganenc.cli.console import complain, emit, say, show
from ganenc.cli.options import Backbone, Device, Json, Set, read_settings

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.objectives import Attention

__all__ = ["attend"]

LONGEST = 256
"""The longest side, in pixels, at which a photo is looked at unless a size is given."""
SHEET = "attention.png"
MOST_ROWS = 16
"""So many photos, the first, go into the sheet of all."""


@dataclass(frozen=True)
class _Looked:
    """Where an attention looks in one photo."""

    photo: Path
    size: tuple[int, int]
    label: int | None
    given: bool
    box: list[int] | None
    share: float | None
    pictures: dict[str, Tensor]
    file: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """The same as data."""
        keys = ("top", "left", "height", "width")
        return {
            "photo": self.photo,
            "size": list(self.size),
            "label": self.label,
            "label_from": None if self.label is None else "given" if self.given else "predicted",
            "box": None if self.box is None else dict(zip(keys, self.box)),
            "share_of_map_in_box": self.share,
            "pictures": list(self.pictures),
            "file": self.file,
        }

    def as_text(self) -> str:
        """The same as one line."""
        told = [] if self.label is None else [f"class {self.label} ({'given' if self.given else 'predicted'})"]
        if self.box is None:
            told.append("the whole photo alike")
        else:
            top, left, height, width = self.box
            told.append(f"box {width}x{height} at ({left}, {top}) of {self.size[1]}x{self.size[0]}")
        if self.share is not None:
            told.append(f"{self.share:.0%} of the map's mass in it")
        return f"{self.photo.name}: {', '.join(told)}"


def attend(
    photos: Annotated[list[str], typer.Argument(help="Files, folders or patterns with photos.")],
    *,
    attention: Annotated[str, typer.Option("--attention", "-a", help="A registered attention.")] = "gradcam",
    backbone: Backbone = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="N[,N...]|WORD|FILE",
            help="The backbone's classes to look for: numbers, one each or one; folders (data/3/x.jpg) or names"
            " (3-x.jpg); a file with lines photo,class, or JSON. By default the likeliest.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", file_okay=False, help="The folder for PNG files; by default none.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=16, help="The longer side, in pixels, to look at; by default up to 256.")
    ] = None,
    settings: Set = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Show where an attention looks in photos: the heat map, its boxes or mask, and the views that losses see.

    --set takes options of the attention, as in --set of=energy. It prints one line a photo; with --out it leaves a PNG
    file of each photo, and one of them all. A broken photo is named and skipped, and the exit code is then 1.
    """
    from ganenc import images
    from ganenc.cli.record import unique_names
    from ganenc.images import sheet
    from ganenc.inversion import written_labels

    registry().get("attention", attention)
    found = images.find(photos)
    classes = None if labels is None else written_labels(labels, found)
    looks = _build(attention, backbone, read_settings(settings), device)
    looked: list[_Looked] = []
    failures: list[tuple[Path, str]] = []
    for index, (path, name) in enumerate(zip(found, unique_names(found, taken=[SHEET]), strict=True)):
        label = None if classes is None else classes[index]
        try:
            one = _look(looks, path, size or LONGEST, label, device)
        except ImageError as error:
            failures.append((path, str(error)))
            say(f"Skipped: {error}")
            continue
        if out is not None:
            images.write_png(out / f"{name}.png", sheet([one.pictures]))
            one = replace(one, file=out / f"{name}.png")
        looked.append(one)
        if not as_json:
            show(one.as_text())
    _finish(looked, failures, out, attention, as_json)


def _build(name: str, backbone: str | None, chosen: dict[str, Any], device: str) -> Attention:
    """The attention by itself."""
    from ganenc_registry.specs import Choice

    from ganenc.files import check_device
    from ganenc.objectives import build_attention, context_for

    return build_attention(Choice(name=name, options=chosen), context_for(backbone, device=check_device(device)))


def _look(attention: Attention, path: Path, longest: int, label: int | None, device: str) -> _Looked:
    """Look at one photo, made smaller where it is larger."""
    import torch

    from ganenc import images

    photo = images.shrink(images.read(path), longest)[None].to(device)
    classes = None if label is None else torch.tensor([label], device=photo.device)
    with torch.no_grad():
        focus = attention.prepare(photo, **({} if classes is None else {"classes": classes}))
        heat, region, found = (get(photo, focus) for get in (attention.heat, attention.region, attention.classes))
        pictures = attention.pictures(photo, focus)
    return _Looked(
        path,
        (photo.shape[-2], photo.shape[-1]),
        None if found is None else int(found[0]),
        label is not None,
        None if region is None else [round(side) for side in region[0].tolist()],
        None if heat is None or region is None else _share(heat[0, 0], region[0].tolist()),
        {"photo" if name == "image" else name: picture[0].cpu() for name, picture in pictures.items()},
    )


def _share(heat: Tensor, box: list[float]) -> float:
    """The part of a map's mass (H, W) that lies in a box."""
    top, left, height, width = (round(side) for side in box)
    return float(heat[top : top + height, left : left + width].sum() / heat.sum().clamp_min(1e-12))


def _finish(
    looked: list[_Looked], failures: list[tuple[Path, str]], out: Path | None, attention: str, as_json: bool
) -> None:
    """Write the sheet of all, and say how it went."""
    from ganenc import images
    from ganenc.images import sheet

    if out is not None and looked:
        whole = out / SHEET
        images.write_png(whole, sheet([one.pictures for one in looked[:MOST_ROWS]]))
        if not as_json:
            show(f"Pictures: {whole}")
    if as_json:
        lost = [{"photo": path, "error": reason} for path, reason in failures]
        emit({"attention": attention, "photos": [one.as_json() for one in looked], "failures": lost})
    if failures:
        total = len(failures) + len(looked)
        complain(f"{len(failures)} of {total} photos failed: {', '.join(str(path) for path, _ in failures)}.")
        raise typer.Exit(FAILED)
