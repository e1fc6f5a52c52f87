"""``ganenc directions``: ways to edit what a model makes, found and listed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import Choice

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, emit, say, show, show_table
from ganenc.cli.edit import How, starts
from ganenc.editing import STRENGTHS, Direction, between_classes, between_sets, direction_sheet, of_model
from ganenc.latents import Latents
from ganenc.model import Model as Loaded
from ganenc.model import load

SHOWN = 4
"""Samples in the picture of a direction."""


def directions(
    *,
    model: options.Model[str],
    out: options.Out[Path | None] = None,
    classes: Annotated[
        str | None,
        typer.Option("--class", metavar="N[,N...]", help="Towards what the backbone takes for these of its classes."),
    ] = None,
    pca: Annotated[int | None, typer.Option("--pca", min=1, help="So many principal components.")] = None,
    between: Annotated[
        str | None, typer.Option("--between", metavar="N,N", help="From one class of the model's to another.")
    ] = None,
    photos: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--photos", metavar="FROM TO", help="From photos (or latents) to others: two folders or patterns."
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="A way of `ganenc list finder`; with --photos, how they are inverted."),
    ] = None,
    align: options.Align = None,
    settings: options.Set = None,
    boundary: Annotated[
        str | None,
        typer.Option("--boundary", help="From InterFaceGAN's file or GANSpace's (.npz; FILE:3 for one), or in W+."),
    ] = None,
    space: options.Space = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="A direction, by file or name, whose trait is to stay; may be given again."),
    ] = None,
    layers: options.Layers = None,
    n: Annotated[int, typer.Option("--n", "-n", min=100, help="How many draws to learn from.")] = 2000,
    encoded: Annotated[
        bool | None,
        typer.Option(
            "--encoded/--drawn",
            help="Learn from the latents that the encoder finds for the draws' images, where inverted photos lie"
            " (default where there is an encoder), or from those drawn, in w or z.",
        ),
    ] = None,
    labels: options.Labels = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Find directions to edit along, each a file and a picture in OUT; without a way to find them, list the model's.

    Ways: --class by what a backbone sees in draws (a linear SVM, as InterFaceGAN), --pca by principal components (as
    GANSpace), --method by any of `ganenc list finder`, with --set method.options..., --between the classes of a
    conditional model, --photos from those of a folder to those of another (--method says how they are inverted),
    --boundary from files of other tools.
    """
    finders: list[dict[str, Any]] = []
    if classes is not None:
        chosen = {"classes": options.integers(classes, option="--class"), "encoded": encoded}
        finders.append({"name": "classes", "options": chosen})
    if pca is not None:
        finders.append({"name": "pca", "options": {"components": pca}})
    if method is not None and photos is None:
        finders.append({"name": method})
    finder = finders[0] if finders else None
    ways = len(finders) + sum(way is not None for way in (between, photos, boundary))
    if not ways:
        _list(model, as_json)
        return
    if ways > 1 or out is None:
        raise SpecError(
            "Give one of --class, --pca, --method, --between, --photos and --boundary, and --out for the folder to"
            " write to."
        )
    how = How(method, settings, align=align, seed=seed)
    if photos is None and align is not None:
        raise SpecError("--align is for --photos, and there are none; leave it out.")
    over = options.read_settings(settings)
    if photos is None and over.keys() - {"method"}:
        raise SpecError(f"--set {min(over.keys() - {'method'})} has no effect here; it reaches method.")
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    kept = [loaded.direction(word) for word in beside or []]
    given = loaded.labels(options.integers(labels), n)
    shown = None if given is None else given[:SHOWN]
    samples: Latents | None = None
    if finder is not None:
        choice = changed(Choice.of(finder), over.get("method", {}), where="--set method:")
        with Bar("finding", 100) as bar:
            found = loaded.find_directions(
                choice, n, labels=given, seed=seed, on_step=lambda done, total: bar.update(100 * done // total)
            )
    elif between is not None:
        ends = options.integers(between, option="--between") or []
        if len(ends) != 2:
            raise SpecError(f"--between takes two classes, such as 3,5; got {between!r}.")
        found, shown = [between_classes(loaded.generator, *ends)], loaded.labels(ends[:1], SHOWN)
    elif photos is not None:
        sets = [_stacked([one.latents for one in starts([word], loaded, how, mixed=True)]) for word in photos]
        found, samples = [between_sets(loaded.generator, *sets, name="photos")], sets[0]
    else:
        found = loaded.directions(boundary or "", space=space)
    drawn = loaded.generate(SHOWN, seed=seed, labels=shown).latents if samples is None else samples[:SHOWN]
    found = [one.orthogonal_to(*kept) if kept else one for one in found]
    found = found if layers is None else [one.on_layers(options.layer_numbers(layers)) for one in found]
    strengths = STRENGTHS if between is None and photos is None else [step / 6 for step in range(7)]
    _write(loaded, found, drawn.to("cpu"), strengths, out, as_json)
    how.end()


def _list(model: str, as_json: bool) -> None:
    """What lies with the model."""
    found = [Direction.load(path) for path in of_model(model).values()]
    if as_json:
        emit([_facts(direction) for direction in found])
    elif found:
        _table(found)
    else:
        say(
            f"No directions lie with {model}; find some with --class, --pca, --method, --between, --photos or"
            " --boundary."
        )


def _stacked(found: list[Latents]) -> Latents:
    """Latents in one, whatever tuned weights each goes with: a way lies in the latents alone."""
    for one in found:
        one.info.pop("tuning", None)
    return Latents.cat(found)


def _write(
    model: Loaded, found: Sequence[Direction], samples: Latents, strengths: Sequence[float], out: Path, as_json: bool
) -> None:
    """Write each direction, and a picture of what it does to some samples where it lies in their space."""
    for one in found:
        path = out / f"{one.name}.safetensors"
        one.save(path)
        if one.space == samples.space or "z" not in (one.space, samples.space):
            sheet = direction_sheet(model.generator, one, samples, strengths)
            images.write_png(path.with_suffix(".png"), sheet, sheet=True)
    if as_json:
        emit([{**_facts(one), "file": out / f"{one.name}.safetensors"} for one in found])
        return
    _table(found)
    show(f"Directions: {out}; the pictures go from strength {strengths[0]:g} to {strengths[-1]:g}.")


def _facts(direction: Direction) -> dict[str, Any]:
    layers = None if direction.layers is None else list(direction.layers)
    known = {"name": direction.name, "space": direction.space, "scale": direction.scale, "layers": layers}
    return {**known, "model_hash": direction.model, **direction.info}


def _table(found: Sequence[Direction]) -> None:
    rows = []
    for one in found:
        accuracy, variance = one.info.get("accuracy"), one.info.get("variance")
        said = f"{accuracy:.1%} of held-out draws" if isinstance(accuracy, float) else ""
        said = f"{variance:.1%} of the variance" if isinstance(variance, float) else said
        layers = "" if one.layers is None else ",".join(map(str, one.layers))
        rows.append([one.name, one.space, f"{one.scale:.3g}", layers, str(one.info.get("found", "")), said])
    show_table(["direction", "space", "deviation", "layers", "found", "explains"], rows, numeric=[2])
