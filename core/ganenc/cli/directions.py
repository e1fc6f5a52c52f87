"""``ganenc directions``: ways to edit what a model makes, found and listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry.errors import SpecError

from ganenc.cli.console import Bar, emit, say, show, show_table
from ganenc.cli.options import Backbone, Device, Encoder, Json, Labels, Model, Seed, integers
from ganenc.cli.sources import layer_numbers

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session
    from ganenc.editing import Direction
    from ganenc.latents import Latents

__all__ = ["directions"]

SHOWN = 4
"""Samples in the picture of a direction."""
STRENGTHS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


def directions(
    *,
    model: Model,
    out: Annotated[Path | None, typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")] = None,
    classes: Annotated[
        str | None,
        typer.Option("--class", metavar="N[,N...]", help="Towards what the backbone takes for these of its classes."),
    ] = None,
    pca: Annotated[int | None, typer.Option("--pca", min=1, help="So many principal components.")] = None,
    between: Annotated[
        str | None, typer.Option("--between", metavar="N,N", help="From one class of the model's to another.")
    ] = None,
    boundary: Annotated[Path | None, typer.Option("--boundary", help="From InterFaceGAN's file (.npy).")] = None,
    space: Annotated[str | None, typer.Option("--space", help="Of a boundary that does not say: z or w.")] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="A direction, by file or name, whose trait is to stay; may be given again."),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers", metavar="N[-N][,...]", help="The layers of styles to move, as in 0-5; by default all."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=100, help="How many draws to learn from.")] = 2000,
    encoded: Annotated[
        bool | None,
        typer.Option(
            "--encoded/--drawn",
            help="Learn from the latents that the encoder finds for the draws' images, where inverted photos lie"
            " (default where there is an encoder), or from those drawn, in w or z.",
        ),
    ] = None,
    labels: Labels = None,
    encoder: Encoder = None,
    backbone: Backbone = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Find directions to edit along, each a file and a picture in OUT; without a way to find them, list the model's.

    Ways: --class by what a backbone sees in draws (a linear SVM, as InterFaceGAN), --pca by principal components (as
    GANSpace), --between the classes of a conditional model, --boundary from InterFaceGAN's file.
    """
    ways = [way is not None for way in (classes, pca, between, boundary)]
    if not any(ways):
        _list(model, as_json)
        return
    if sum(ways) > 1 or out is None:
        raise SpecError("Give one of --class, --pca, --between and --boundary, and --out for the folder to write to.")
    from ganenc.cli.edit import find_direction
    from ganenc.cli.session import open_session
    from ganenc.editing import between_classes, find_by_pca, read_boundary

    session = open_session(
        model,
        encoder=encoder,
        device=device,
        backbone=backbone,
        seek_encoder=classes is not None and encoded is not False,
    )
    kept = [find_direction(word, session, None) for word in beside or []]
    given = None if labels is None else session.labels(integers(labels), n)
    if classes is not None:
        samples, found = _by_classes(session, integers(classes, option="--class") or [], n, given, seed, encoded)
    elif pca is not None:
        found = find_by_pca(session.generator, pca, n=n, labels=given, seed=seed)
        samples = _samples(session, seed, given)
    elif between is not None:
        ends = integers(between, option="--between") or []
        if len(ends) != 2:
            raise SpecError(f"--between takes two classes, such as 3,5; got {between!r}.")
        found = [between_classes(session.generator, *ends)]
        samples = _samples(session, seed, session.labels(ends[:1], SHOWN))
    else:
        found = [read_boundary(Path(str(boundary)), session.generator, space=space)]
        samples = _samples(session, seed, given)
    _finish(session, found, samples, kept, layer_numbers(layers), out, as_json)


def _list(model: str, as_json: bool) -> None:
    """What lies with the model."""
    from ganenc.editing import Direction, of_model

    found = {name: Direction.load(path) for name, path in of_model(model).items()}
    if as_json:
        emit([_facts(direction) for direction in found.values()])
    elif found:
        _table(list(found.values()))
    else:
        say(f"No directions lie with {model}; find some with --class, --pca, --between or --boundary.")


def _by_classes(
    session: Session, classes: list[int], n: int, labels: Tensor | None, seed: int, encoded: bool | None
) -> tuple[Latents, list[Direction]]:
    """Directions towards classes of the backbone's, and the latents that they were found among."""
    from ganenc.editing import find_by_labels, label_draws, margin

    backbone = session.metric_backbone()
    if backbone is None:
        raise SpecError("Directions by class need a backbone that knows classes; name one with --backbone.")
    if encoded and session.encoder is None:
        raise SpecError(f"{session.source} has no encoder for --encoded; train one with `ganenc pretrain`.")
    with Bar("labelling draws", n) as bar:
        latents, logits = label_draws(
            session.generator, backbone, n, encoder=session.encoder, labels=labels, seed=seed, on_step=bar.update
        )
    found = [
        find_by_labels(session.generator, latents, margin(logits, one), name=f"class-{one}", seed=seed)
        for one in classes
    ]
    return latents[:SHOWN], found


def _samples(session: Session, seed: int, labels: Tensor | None) -> Latents:
    generator = session.generator
    drawn = generator.sample(SHOWN, seed=seed, labels=None if labels is None else labels[:SHOWN])
    return generator.complete(drawn).to("cpu")


def _finish(
    session: Session,
    found: list[Direction],
    samples: Latents,
    kept: list[Direction],
    layers: list[int] | None,
    out: Path,
    as_json: bool,
) -> None:
    """Write each direction and a picture of what it does to some samples."""
    import torch

    from ganenc import editing, images

    written = []
    values = session.generator.spec.value_range
    for one in found:
        direction = one.orthogonal_to(*kept) if kept else one
        direction = direction if layers is None else direction.on_layers(layers)
        path = out / f"{direction.name}.safetensors"
        direction.save(path)
        if direction.space == samples.space or "z" not in (direction.space, samples.space):
            rows = [direction.apply(sample.expand(len(STRENGTHS)), STRENGTHS) for sample in samples]
            made = torch.cat([editing.render(session.generator, row) for row in rows])
            images.write_png(path.with_suffix(".png"), images.grid(made, len(STRENGTHS), values))
        written.append(direction)
    if as_json:
        emit([{**_facts(one), "file": out / f"{one.name}.safetensors"} for one in written])
        return
    _table(written)
    show(f"Directions: {out}; the pictures go from {STRENGTHS[0]:g} to {STRENGTHS[-1]:g} deviations.")


def _facts(direction: Direction) -> dict[str, Any]:
    layers = None if direction.layers is None else list(direction.layers)
    known = {"name": direction.name, "space": direction.space, "scale": direction.scale, "layers": layers}
    return {**known, "model_hash": direction.model, **direction.info}


def _table(found: list[Direction]) -> None:
    rows = []
    for one in found:
        accuracy, variance = one.info.get("accuracy"), one.info.get("variance")
        said = f"{accuracy:.1%} of held-out draws" if isinstance(accuracy, float) else ""
        said = f"{variance:.1%} of the variance" if isinstance(variance, float) else said
        layers = "" if one.layers is None else ",".join(map(str, one.layers))
        rows.append([one.name, one.space, f"{one.scale:.3g}", layers, str(one.info.get("found", "")), said])
    show_table(["direction", "space", "deviation", "layers", "found", "explains"], rows, numeric=[2])
