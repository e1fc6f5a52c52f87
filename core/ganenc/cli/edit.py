"""``ganenc edit``, ``drag``, ``explain``, ``mix`` and ``interpolate``: inverted photos along a direction or by their
points, to what a classifier takes for another class, in one another, and between."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer
from ganenc_registry.errors import ImageError, SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import InvertSpec

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import Bar, complain, emit, say, show
from ganenc.cli.exits import FAILED
from ganenc.cli.invert import read_samples
from ganenc.editing import EFFORT, HOLD, PROBABILITY, RATE, STEPS, Edited, Explained, as_classifier, drag_points
from ganenc.inversion import MIXABLE, default_method, read_labels
from ganenc.jobs import unique_names
from ganenc.latents import Latents
from ganenc.model import Model as Loaded
from ganenc.model import load
from ganenc.report import Inverted

Inputs = Annotated[
    list[str], typer.Argument(help="Latents files, folders that `ganenc invert` left, or photos to invert first.")
]
One = Annotated[str, typer.Argument(help="Latents, a folder that `ganenc invert` left, or a photo to invert first.")]
METHOD = typer.Option(
    "--method",
    help="How photos are inverted: tune from the encoder's latents (default, optimize for photos that are mixed or"
    " interpolated), encode, finetune, finetune+refine, optimize, or a plugin's.",
)
Method: TypeAlias = Annotated[str | None, METHOD]
DIRECTION = typer.Option(
    "--direction",
    help="A file that `ganenc directions` wrote, the name of one that lies with the model, or a file of"
    " InterFaceGAN, GANSpace or another tool (.npy, .npz, .pt; FILE:3 for one of several).",
)
STRENGTH = typer.Option("--strength", metavar="LOW..HIGH", help="How far, in deviations of the model's own latents.")
FROM = (
    "A point, in pixels of the generator's images (such as target.png) from the left and the top; may be given again."
)
Gif = Annotated[bool, typer.Option("--gif", help="Also an animated GIF.")]
Webp = Annotated[bool, typer.Option("--webp", help="Also an animated WebP.")]


def edit(
    inputs: Inputs,
    *,
    model: options.Model[str],
    direction: Annotated[str, DIRECTION],
    out: options.Out[Path],
    strength: Annotated[str, STRENGTH] = "-3..3",
    steps: Annotated[int, typer.Option("--steps", min=1, max=1000, help="Images in the strip.")] = 7,
    layers: options.Layers = None,
    space: options.Space = None,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: options.Set = None,
    labels: options.PhotoLabels = None,
    align: options.Align = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Move photos along a direction. Each leaves a folder in OUT with a strip, the edited latents and what was done.

    --set reaches what photos are inverted by, as in --set method.options.steps=200 or --set align.options.face=2.
    """
    low, high = ends_of(strength)
    chosen = options.layer_numbers(layers)
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    way = loaded.direction(direction, space=space)
    strengths = torch.linspace(low, high, steps).tolist() if steps > 1 else [high]
    how = How(method, settings, labels, align, seed)
    found = starts(inputs, loaded, how)
    made = ((start, loaded.edit(start.what, way, strengths, layers=chosen)) for start in found)
    _leave(made, out, gif=gif, webp=webp, as_json=as_json)
    how.end()


def drag(
    inputs: Inputs,
    *,
    model: options.Model[str],
    points: Annotated[list[str], typer.Option("--from", metavar="X,Y", help=FROM)],
    targets: Annotated[list[str], typer.Option("--to", metavar="X,Y", help="Where it goes, one for each --from.")],
    out: options.Out[Path],
    mask: Annotated[
        Path | None, typer.Option("--mask", help="A picture of that size: what is white may move, what is black stays.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=0, help="At most.")] = STEPS,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Of Adam, in deviations of what the generator draws.")
    ] = RATE,
    hold: Annotated[
        float, typer.Option("--hold", min=0, help="What a change of the black weighs beside motion.")
    ] = HOLD,
    layers: options.Layers = None,
    stage: Annotated[str | None, typer.Option("--stage", help="The map inside the generator to look at.")] = None,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: options.Set = None,
    labels: options.PhotoLabels = None,
    align: options.Align = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Move points of photos to where they are wanted. Each leaves a folder in OUT with before and after, the latents
    and what was done.
    """
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    places, goals = ([_point(word) for word in words] for words in (points, targets))
    wanted = drag_points(places, goals, mask, loaded.generator.spec.size)
    chosen = options.layer_numbers(layers)
    how = How(method, settings, labels, align, seed)
    found = starts(inputs, loaded, how)
    with Bar("dragging", steps * len(found)) as bar:

        def dragged(before: int, start: Start) -> Edited:
            return loaded.drag(
                start.what, *wanted, steps=steps, rate=rate, hold=hold, layers=chosen, stage=stage,
                on_step=lambda now: bar.update(before + now.step, f"{float(now.distances.max()):.1f} pixels to go"),
            )  # fmt: skip

        made = [(start, dragged(steps * place, start)) for place, start in enumerate(found)]
    _leave(made, out, gif=gif, webp=webp, as_json=as_json)
    how.end()


def explain(
    inputs: Inputs,
    *,
    model: options.Model[str],
    classifier: Annotated[
        str, typer.Option("--classifier", help="A backbone with classes, or SCRIPT.py:FUNCTION of images to logits.")
    ],
    target: Annotated[int, typer.Option("--target", min=0, help="The class that it is to say.")],
    out: options.Out[Path],
    probability: Annotated[float, typer.Option("--probability", help="With which it says so.")] = PROBABILITY,
    direction: Annotated[
        list[str] | None, typer.Option("--direction", help="Known directions that it may take, too, as of edit.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option("--layers", metavar="N[-N][,...]", help="Layers that may change alone, or none.")
    ] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Passes with a gradient at most.")] = EFFORT,
    random: Annotated[int, typer.Option("--random", min=0, help="Random changes of the same length to try.")] = 20,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: options.Set = None,
    labels: options.PhotoLabels = None,
    align: options.Align = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Find the smallest change of photos with which a classifier says a class: what it goes by. Each leaves a folder in
    OUT with a strip of the way there, the latents, a map of what changed, and what was done.
    """
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    as_classifier(classifier, loaded.generator)
    ways = [loaded.direction(word) for word in direction or ()]
    chosen = [] if layers == "none" else options.layer_numbers(layers)
    how = How(method, settings, labels, align, seed)
    found = starts(inputs, loaded, how)
    with Bar("explaining", steps * len(found)) as bar:

        def explained(before: int, start: Start) -> Explained:
            return loaded.explain(
                start.what, classifier, target, probability=probability, directions=ways, layers=chosen, steps=steps,
                random=random, seed=seed, on_step=lambda now, _: bar.update(before + now),
            )  # fmt: skip

        made = [(start, explained(steps * place, start)) for place, start in enumerate(found)]
    _leave(made, out, gif=gif, webp=webp, as_json=as_json)
    for start, one in made:
        facts, chance = one.facts, one.facts["random_flipped"]
        by = ", ".join(f"{name} by {far:.2f}" for name, far in one.changes.items()) or "nothing"
        alike = "" if chance is None else f"; {chance:.0%} of random changes as long do so, too"
        said = f"p of {target} from {facts['from']:.2f} to {facts['to']:.2f}"
        say(f"{start.name}: {said}; what changed, in deviations: {by}{alike}.")
    how.end()
    if never := [str(start.source) for start, one in made if not one.flipped]:
        complain(
            f"Nothing was found that makes it say {target} with {probability:g} of {', '.join(never)}; allow more"
            " --steps, or a lower --probability."
        )
        raise typer.Exit(FAILED)


def mix(
    first: One,
    second: One,
    *,
    model: options.Model[str],
    out: options.Out[Path],
    layers: Annotated[
        str, typer.Option("--layers", metavar="N[-N][,...]", help="The layers that come from the second, as in 4-9.")
    ],
    method: Method = None,
    settings: options.Set = None,
    labels: options.PhotoLabels = None,
    align: options.Align = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Give one photo the styles of another on some layers: low ones hold shape and pose, high ones colour."""
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    a, b = _pair(first, second, loaded, How(method, settings, labels, align, seed))
    mixed = loaded.mix(a.what, b.what, options.layer_numbers(layers) or [])
    _leave([_of_both(a, b, mixed)], out, as_json=as_json)


def interpolate(
    first: One,
    second: One,
    *,
    model: options.Model[str],
    out: options.Out[Path],
    steps: Annotated[int, typer.Option("--steps", min=2, help="Images in the strip, both ends among them.")] = 9,
    gif: Gif = False,
    webp: Webp = False,
    method: Method = None,
    settings: options.Set = None,
    labels: options.PhotoLabels = None,
    align: options.Align = None,
    encoder: options.Encoder = None,
    backbone: options.Backbone = None,
    seed: options.Seed[int] = 0,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Go from one photo to another through their latents."""
    loaded = load(model, encoder=encoder, device=device, backbone=backbone)
    a, b = _pair(first, second, loaded, How(method, settings, labels, align, seed))
    between = _of_both(a, b, loaded.interpolate(a.what, b.what, steps))
    _leave([between], out, gif=gif, webp=webp, as_json=as_json)


def _point(word: str) -> list[float]:
    """``12,30.5`` => 12 and 30.5."""
    with suppress(ValueError):
        x, y = map(float, word.split(","))
        return [x, y]
    raise SpecError(f"A point is X,Y in pixels of the generator's images, such as 12,30; got {word!r}.")


@dataclass(frozen=True)
class Start:
    """A sample to edit, the name of the folder that it leaves, and where it comes from."""

    what: Latents | Inverted
    name: str
    source: Path

    @property
    def latents(self) -> Latents:
        """The sample itself."""
        return self.what.latents if isinstance(self.what, Inverted) else self.what

    @property
    def method(self) -> str | None:
        """How the photo was inverted; None for latents that were there."""
        return self.what.method if isinstance(self.what, Inverted) else None


@dataclass(frozen=True)
class How:
    """How photos are inverted that are given in place of latents; what is None was not said."""

    method: str | None = None
    settings: list[str] | None = None
    labels: str | None = None
    align: str | None = None
    seed: int = 0
    skipped: list[Path] = field(default_factory=list, compare=False)
    """Photos that could not be inverted, as none was found in them, or they are broken."""

    def end(self) -> None:
        """Fail, if photos were skipped."""
        if self.skipped:
            complain(f"{len(self.skipped)} photos were skipped: {', '.join(map(str, self.skipped))}.")
            raise typer.Exit(FAILED)

    def spec(self, model: Loaded, usual: Mapping[str, Any]) -> InvertSpec:
        """The same as a spec, by the ``usual`` method if none was said; `SpecError` if a field is wrong, or not of how
        a photo is inverted."""
        method, align = ({"name": name} if name else None for name in (self.method, self.align))
        over = options.read_settings(self.settings)
        if unknown := sorted({*over} - {"method", "objective", "align", "fit"}):
            raise SpecError(f"--set {unknown[0]} has no effect here; it reaches method, objective, align and fit.")
        return changed(InvertSpec.from_mapping({"method": method or usual, "align": align}), over)


def starts(words: Sequence[str], model: Loaded, how: How, *, mixed: bool = False) -> list[Start]:
    """The samples that words stand for: those of latents files, and photos (also folders and patterns of them), which
    are inverted, by one generator's weights if they are to be ``mixed``; a SpecError if there are none to invert as
    told."""
    files = {word: model.latents_file(word) for word in words}
    found = [Start(one, name, file) for file, _, one, name in read_samples(filter(None, files.values()), model)]
    photos = [word for word, file in files.items() if file is None]
    if not photos and replace(how, seed=0) != How():
        raise SpecError("--method, --set, --labels and --align are for photos, and these are latents; leave them out.")
    found += _inverted(images.find(photos), model, how, mixed=mixed) if photos else []
    names = unique_names([Path(f"{one.name}.png") for one in found])
    return [replace(one, name=name) for one, name in zip(found, names, strict=True)]


def _inverted(photos: Sequence[Path], model: Loaded, how: How, *, mixed: bool) -> list[Start]:
    has_encoder = model.encoder is not None
    spec = how.spec(model, MIXABLE if mixed and has_encoder else default_method(has_encoder))
    given = None if how.labels is None else read_labels(how.labels, photos, classes=model.generator.spec.classes)
    objective = model.objective(spec.objective) if model.needs_objective(spec.method, given) else None
    found = []
    with Bar("inverting", 100 * len(photos)) as bar:
        for index, path in enumerate(photos):

            def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float], before: int = index) -> None:
                bar.update(100 * before + 100 * step // max(steps, 1))

            label = given if given is None or isinstance(given, str) else given[index]
            try:
                done = model.invert(
                    path, spec.method, labels=label, objective=objective, align=spec.align, fit=spec.fit, seed=how.seed,
                    on_step=on_step,
                )  # fmt: skip
                found.append(Start(done, path.stem, path))
            except ImageError as error:
                if len(photos) == 1:
                    raise
                bar.note(f"Skipped: {error}")
                how.skipped.append(path)
            bar.update(100 * (index + 1))
    return found


def _pair(first: str, second: str, model: Loaded, how: How) -> tuple[Start, Start]:
    found = starts([first, second], model, how, mixed=True)
    if len(found) != 2:
        raise SpecError(f"{first} and {second} hold {len(found)} samples; name two that hold one each.")
    if model.latents_file(second) and not model.latents_file(first):
        found.reverse()  # As latents come first.
    return found[0], found[1]


def _of_both(a: Start, b: Start, edited: Edited) -> tuple[Start, Edited]:
    facts = {**edited.facts, "first": str(a.source), "second": str(b.source)}
    return replace(a if a.method else b, name=f"{a.name}-{b.name}", source=a.source), replace(edited, facts=facts)


def ends_of(text: str) -> tuple[float, float]:
    """``-3..3`` => -3 and 3; one number stands for the way from 0 to it."""
    low, dots, high = text.partition("..")
    with suppress(ValueError):
        ends = (float(low), float(high)) if dots else (0.0, float(low))
        if all(map(math.isfinite, ends)):
            return ends
    raise SpecError(f"--strength takes two finite numbers, such as -3..3, or one; got {text!r}.")


def _leave(
    made: Iterable[tuple[Start, Edited]], out: Path, *, gif: bool = False, webp: bool = False, as_json: bool
) -> None:
    """Write edits, each into a folder of its own, and tell what they leave."""
    animations = [kind for kind, asked in (("gif", gif), ("webp", webp)) if asked]
    told = []
    for start, edited in made:
        facts = {**edited.facts, "source": str(start.source), "method": start.method}
        written = replace(edited, facts=facts).save(out / start.name, animations=animations)
        told.append({**facts, **written})
        if not as_json:
            show("\n".join(str(path) for path in written.values()))
    if as_json:
        emit(told)
