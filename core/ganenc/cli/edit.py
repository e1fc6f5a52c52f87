"""``ganenc edit``, ``mix`` and ``interpolate``: inverted photos along a direction, in one another, and between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry.errors import SpecError

from ganenc.cli.console import emit, show
from ganenc.cli.options import Backbone, Device, Encoder, Json, Model, Out, PhotoLabels, Seed, Set, read_settings
from ganenc.cli.sources import Source, layer_numbers, load_sources
from ganenc.inversion import PhotoFolder

if TYPE_CHECKING:
    from ganenc.cli.session import Session
    from ganenc.editing import Direction
    from ganenc.latents import Latents

__all__ = ["edit", "interpolate", "mix"]

FRAMES = 24
"""Frames of an animation on its way to the end; it goes back by them too."""

Inputs = Annotated[
    list[str], typer.Argument(help="Latents files, folders that `ganenc invert` left, or photos to invert first.")
]
One = Annotated[str, typer.Argument(help="Latents, a folder that `ganenc invert` left, or a photo to invert first.")]
Layers = Annotated[str | None, typer.Option("--layers", metavar="N[-N][,...]", help="Layers of styles, as in 0-3,7.")]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        help="How photos are inverted: optimize from the encoder (default, 100 steps), encode, finetune,"
        " finetune+refine, or a plugin's. The closer, the less an edit takes.",
    ),
]
Gif = Annotated[bool, typer.Option("--gif", help="Also an animated GIF.")]
Webp = Annotated[bool, typer.Option("--webp", help="Also an animated WebP.")]


def edit(
    inputs: Inputs,
    *,
    model: Model,
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            help="A file that `ganenc directions` wrote, the name of one that lies with the model, or a boundary of"
            " InterFaceGAN (.npy).",
        ),
    ],
    out: Out,
    strength: Annotated[
        str,
        typer.Option("--strength", metavar="LOW..HIGH", help="How far, in deviations of the model's own latents."),
    ] = "-3..3",
    steps: Annotated[int, typer.Option("--steps", min=1, help="Images in the strip.")] = 7,
    layers: Layers = None,
    space: Annotated[str | None, typer.Option("--space", help="Of a boundary that does not say: z or w.")] = None,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: Set = None,
    labels: PhotoLabels = None,
    encoder: Encoder = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Move photos along a direction. Each leaves a folder in OUT with a strip, the edited latents and what was done.

    --set takes options of the method by which photos are inverted.
    """
    import torch

    low, high = _ends(strength)
    chosen = layer_numbers(layers)
    session = _open(model, encoder, device, backbone)
    way = find_direction(direction, session, space)
    strengths = torch.linspace(low, high, steps) if steps > 1 else torch.tensor([high])
    fine = torch.linspace(low, high, FRAMES)
    written = []
    for source in load_sources(
        inputs, session, method=method, options=read_settings(settings), labels=labels, seed=seed
    ):
        start = float(way.position(source.latents))
        facts = {
            "direction": way.name,
            "space": way.space,
            "strengths": [round(one, 4) for one in strengths.tolist()],
            "layers": chosen or (list(way.layers) if way.layers else None),
            "position": start,
        }
        edited, frames = (way.apply(source.latents.expand(len(s)), s, layers=chosen) for s in (strengths, fine))
        written.append(_write(source, edited, frames, session, out, gif, webp, facts))
    _tell(written, as_json)


def mix(
    first: One,
    second: One,
    *,
    model: Model,
    out: Out,
    layers: Annotated[
        str, typer.Option("--layers", metavar="N[-N][,...]", help="The layers that come from the second, as in 4-9.")
    ],
    method: Method = None,
    settings: Set = None,
    labels: PhotoLabels = None,
    encoder: Encoder = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Give one photo the styles of another on some layers: low ones hold shape and pose, high ones colour."""
    from ganenc import editing
    from ganenc.latents import Latents

    chosen = layer_numbers(layers) or []
    session = _open(model, encoder, device, backbone)
    a, b = _pair(first, second, session, method=method, options=read_settings(settings), labels=labels, seed=seed)
    mixed = editing.mix(a.latents, b.latents, chosen)
    shown = Latents.cat([a.latents, b.latents, mixed])
    facts = {"first": str(a.origin), "second": str(b.origin), "layers": chosen}
    _tell([_write(_both(a, b), mixed, None, session, out, False, False, facts, strip=shown)], as_json)


def interpolate(
    first: One,
    second: One,
    *,
    model: Model,
    out: Out,
    steps: Annotated[int, typer.Option("--steps", min=2, help="Images in the strip, both ends among them.")] = 9,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: Set = None,
    labels: PhotoLabels = None,
    encoder: Encoder = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Go from one photo to another through their latents."""
    from ganenc import editing

    session = _open(model, encoder, device, backbone)
    a, b = _pair(first, second, session, method=method, options=read_settings(settings), labels=labels, seed=seed)
    way, frames = (editing.interpolate(a.latents, b.latents, count) for count in (steps, max(steps, FRAMES)))
    facts = {"first": str(a.origin), "second": str(b.origin)}
    _tell([_write(_both(a, b), way, frames, session, out, gif, webp, facts)], as_json)


def find_direction(word: str, session: Session, space: str | None) -> Direction:
    """The direction that a word on the command line stands for.

    Raises:
        GanencError: if there is none, or it is another model's.
    """
    from ganenc.editing import load_direction, read_boundary

    if Path(word).suffix == ".npy":
        return read_boundary(word, session.generator, space=space)
    if space is not None:
        raise SpecError(f"--space is for boundaries (.npy); {word} knows its own space, so leave it out.")
    return load_direction(word, session.source, model=session.hash)


def _open(model: str, encoder: str | None, device: str, backbone: str | None) -> Session:
    from ganenc.cli.session import open_session

    return open_session(model, encoder=encoder, device=device, backbone=backbone)


def _pair(first: str, second: str, session: Session, **how: Any) -> tuple[Source, Source]:
    found = load_sources([first], session, **how) + load_sources([second], session, **how)
    if len(found) != 2:
        raise SpecError(f"{first} and {second} hold {len(found)} samples; name two that hold one each.")
    return found[0], found[1]


def _both(a: Source, b: Source) -> Source:
    return Source(f"{a.name}-{b.name}", a.latents, a.origin, a.method or b.method)


def _ends(text: str) -> tuple[float, float]:
    """``-3..3`` => -3 and 3; one number stands for the way from 0 to it."""
    low, dots, high = text.partition("..")
    try:
        return (float(low), float(high)) if dots else (0.0, float(low))
    except ValueError:
        raise SpecError(f"--strength takes two numbers, such as -3..3, or one; got {text!r}.") from None


def _write(
    source: Source,
    latents: Latents,
    frames: Latents | None,
    session: Session,
    out: Path,
    gif: bool,
    webp: bool,
    facts: dict[str, Any],
    *,
    strip: Latents | None = None,
) -> dict[str, Any]:
    """Write what one edit leaves, and say what that is."""
    import torch

    from ganenc import editing, images
    from ganenc.files import write_json

    folder, values = out / source.name, session.generator.spec.value_range
    made = editing.render(session.generator, strip or latents)
    row = made if source.target is None else torch.cat([source.target.to(made), made])
    images.write_png(folder / "strip.png", images.grid(row, len(row), values))
    latents.save(folder / PhotoFolder.LATENTS, model=session.hash)
    written: dict[str, Any] = {"strip": folder / "strip.png", "latents": folder / PhotoFolder.LATENTS}
    wanted = [suffix for suffix, asked in (("gif", gif), ("webp", webp)) if asked]
    if wanted and frames is not None:
        moving = editing.there_and_back(editing.render(session.generator, frames))
        for suffix in wanted:
            written[suffix] = folder / f"edit.{suffix}"
            editing.write_animation(written[suffix], moving, value_range=values)
    whence = {"source": str(source.origin), "method": source.method}
    model = {"model": session.source, "model_hash": session.hash}
    write_json(folder / "edit.json", {**facts, **whence, **model})
    return {**facts, **whence, **written}


def _tell(written: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit(written)
        return
    for one in written:
        for kind in ("strip", "gif", "webp", "latents"):
            if kind in one:
                show(f"{one[kind]}")
