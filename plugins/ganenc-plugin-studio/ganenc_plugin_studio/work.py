"""What the buttons do: a session and what was asked => what it comes to. Nothing here knows the page."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ganenc
import torch
from ganenc import Direction, Latents, Model
from ganenc.editing import Edited, between_sets
from ganenc.generators import Generator
from ganenc.images import write_image, write_png
from ganenc.inversion import MIXABLE, Inverter, Photo, default_method
from ganenc.measures import judge
from ganenc.report import Inverted
from ganenc_registry import registry
from ganenc_registry.errors import ImageError, LatentsError, SpecError
from PIL import Image
from torch import Tensor

from ganenc_plugin_studio import equal
from ganenc_plugin_studio.jobs import Told
from ganenc_plugin_studio.session import Moment, Session, layer_text

__all__ = [
    "directions_between", "directions_of_file", "directions_pca", "drag", "draw", "export", "interpolate", "invert_all",
    "invert_first", "inverting", "judged", "methods", "mix", "own_generator", "queue_text", "refine",
]  # fmt: skip

DRAWS = 2000
"""From which principal components are found."""
FRAMES = 24
"""Of an animation, one way."""
LATER = ("encode",)
"""Methods that are no refinement."""


def methods(model: Model) -> list[str]:
    """The methods that a photo can be inverted by, the default first."""
    usual = default_method(model.encoder is not None)["name"]
    found = []
    for name in registry().names("inverter"):
        target: type[Inverter] = registry().resolve("inverter", name)
        if model.encoder is not None or not target.needs_encoder:
            found.append(name)
    return sorted(found, key=lambda name: (name != usual, name in LATER, name))


def invert_first(session: Session, path: str | Path, align: Mapping[str, Any] | None, label: int | None) -> None:
    """Open a photo: one pass of the encoder, or without one the mean image, is what is shown."""
    model = session.need_model()
    session.drop_job()
    photo = session.read(path, align)
    told: dict[str, Any] = {} if align is None else {"align": dict(align)}
    if label is not None:
        told["labels"] = [label]
    with session.turns:
        if model.encoder is None:
            labels = model.labels([label], 1) if label is not None else None
            latents = model.generator.complete(model.generator.center(labels=labels))
            session.show(Moment(_owned(latents, model), photo=photo))
        else:
            inverted = model.invert(photo, "encode", labels=told.get("labels"))
            _show_inverted(session, inverted, {**told, "method": {"name": "encode", "options": {}}})


def draw(session: Session, seed: int) -> None:
    """Show an image that the generator draws."""
    model = session.need_model()
    session.drop_job()
    with session.turns:
        latents = model.generate(seed=seed).latents
    session.show(Moment(_owned(latents, model), acts=(equal.drawn(model.source, seed),)))


def refine(session: Session, method: str, steps: int | None, label: int | None) -> Iterator[Told[Image.Image]]:
    """Invert the photo by a method, and tell how far it is; stopped, the best so far is shown."""
    moment = session.need()
    if moment.photo is None:
        raise LatentsError("What is shown is no photo; open one to refine it.")
    options = {"steps": int(steps)} if steps and "steps" in _options(method) else {}
    operators = None if moment.inverted is None else moment.inverted.settings.get("operator")
    yield from inverting(session, moment.photo, {"name": method, "options": options}, label, operators)


def inverting(
    session: Session,
    photo: Photo,
    method: Mapping[str, Any],
    label: int | None,
    operators: Sequence[Mapping[str, Any]] | None,
) -> Iterator[Told[Image.Image]]:
    """Invert a photo, or, through ``operators``, what was seen of it, and tell how far it is; then it is shown."""
    model, job = session.need_model(), session.begin()

    def on_step(_: int, step: int, of: int, terms: Any) -> bool:
        made = getattr(terms, "images", None)
        return job.step(step, of, lambda: session.picture(photo.target if made is None else made))

    def work() -> None:
        given = None if label is None else [label]
        inverted = model.invert(photo, method, labels=given, operator=operators, on_step=on_step)
        if job.dropped:
            return
        told: dict[str, Any] = {"method": method}
        if operators:
            told["operator"] = "|".join(map(written, operators))
        if photo.read_with["align"] is not None:
            told["align"] = photo.read_with["align"]
        if label is not None:
            told["labels"] = [label]
        early = f"It was stopped after {job.taken} steps." if job.stopped else ""
        _show_inverted(session, inverted, told, note=early)

    yield from job.run(work)


def judged(session: Session) -> dict[str, Any]:
    """The verdict on the photo that is shown, its metrics and how it came; empty where there is no photo, and without
    metrics where it was not inverted yet."""
    moment = session.need()
    inverted = moment.inverted
    if moment.photo is None:
        return {}
    if inverted is None:
        return {"verdict": None, "metrics": {}, "facts": {}}
    with session.turns:
        metrics, check = inverted.metrics, inverted.check
    verdict = None if check is None else judge(check, metrics["psnr"])
    history = inverted.history[0] if inverted.history else []
    facts = {"method": inverted.method, "steps": len(history) or None, "seconds": inverted.seconds[0]}
    if inverted.labels is not None:
        facts["class"] = f"{_label(inverted.labels)} ({inverted.labels_from})"
    return {"verdict": verdict, "metrics": metrics, "facts": {k: v for k, v in facts.items() if v is not None}}


def directions_pca(session: Session, count: int) -> list[str]:
    """Find principal components, as directions of the session."""
    model = session.need_model()
    with session.turns:
        found = model.find_directions({"name": "pca", "options": {"components": int(count)}}, DRAWS)
    return _keep_directions(session, found)


def directions_between(session: Session, first: Sequence[str], second: Sequence[str], name: str) -> list[str]:
    """Find the direction from some photos to others."""
    model = session.need_model()
    if not first or not second:
        raise SpecError("A direction between two sets of photos takes photos of both; drop some on either side.")
    with session.turns:
        sets = []
        for some in (first, second):
            photos = [session.read(path, None) for path in some]
            method = "encode" if model.encoder is not None else MIXABLE
            sets.append(Latents.cat([model.invert(photo, method).latents for photo in photos]))
            session.turns.pass_on()
        found = between_sets(model.generator, *sets, name=name or "between")
    return _keep_directions(session, [found])


def directions_of_file(session: Session, path: str) -> list[str]:
    """Read the directions in a file, ours or another tool's."""
    model = session.need_model()
    (place,) = session.keep(path)
    with session.turns:
        found = model.directions(place)
    names = _keep_directions(session, found)
    session.files |= {name: f"{place.name}:{at}" if names[1:] else place.name for at, name in enumerate(names)}
    return names


def mix(session: Session, path: str, layers: Sequence[int]) -> None:
    """Give what is shown the styles of a second photo on some layers."""
    model, moment = session.need_model(), session.need()
    if not session.layers:
        raise LatentsError("This model has no styles to mix; interpolate instead.")
    if not layers:
        raise SpecError("No layers are chosen; tick those that come from the second photo.")
    second = session.read(path, _align_of(moment))
    session.drop_job()
    with session.turns:
        first = _mixable(session)
        edited = model.mix(first, second, [int(one) for one in layers])
    name = Path(path).name
    act = equal.edited(
        _acts(session)[-1], model.source, "mix", [name, "--layers", layer_text(layers)], [name, [*layers]],
        len(session.acts()),
    )  # fmt: skip
    session.show(Moment(_owned(edited.latents, model), photo=moment.photo, acts=(*_acts(session), act)))


def interpolate(session: Session, path: str, steps: int, kind: str) -> tuple[Path, equal.Act]:
    """The way from what is shown to a second photo, as an animation."""
    model, moment = session.need_model(), session.need()
    second = session.read(path, _align_of(moment))
    with session.turns:
        edited = model.interpolate(_mixable(session), second, int(steps))
        place = session.folder / f"between.{kind}"
        edited.animate(place)
    name = Path(path).name
    act = equal.edited(
        _acts(session)[-1], model.source, "interpolate", [name, "--steps", int(steps), f"--{kind}"], [name, int(steps)],
        len(session.acts()),
    )  # fmt: skip
    return place, act


def drag(session: Session, points: Any, targets: Any, mask: Any) -> Iterator[Told[Image.Image]]:
    """Drag points of what is shown to their targets, and tell how far it is."""
    model, moment = session.need_model(), session.need()
    job, latents, acts = session.begin(), session.latents(), _acts(session)
    generator = own_generator(model, moment)

    def on_step(told: Any) -> bool:
        return job.step(told.step, told.steps, lambda: session.picture(told.image))

    def work() -> None:
        with generator.tuned(moment.tuning):
            dragged = ganenc.editing.drag(generator, latents, points, targets, mask, on_step=on_step)
        if job.dropped:
            return
        words, named, files = [*_pairs("--from", points), *_pairs("--to", targets)], dict[str, Any](), list[str]()
        if job.stopped:
            named["steps"] = dragged.settings["steps"]
            words += ["--steps", named["steps"]]
        if mask is not None:
            named["mask"] = f"mask-{len([*session.folder.glob('mask-*.png')]) + 1}.png"
            words += ["--mask", named["mask"]]
            files.append(named["mask"])
            painted = torch.from_numpy(mask)[None].float()
            write_png(session.folder / named["mask"], painted, value_range=(0.0, 1.0))
        act = [equal.edited(acts[-1], model.source, "drag", words, [points, targets], len(acts), files=files, **named)]
        session.show(Moment(_owned(dragged.latents, model), moment.tuning, moment.photo, acts=(*acts, *act)))

    yield from job.run(work)


def invert_all(
    session: Session, paths: Sequence[str], method: str, steps: int | None, align: Mapping[str, Any] | None
) -> Iterator[Told[Any]]:
    """Invert several photos, one after the other; those that are done are the session's queue."""
    model, job = session.need_model(), session.begin()
    session.queue, session.failed = [], []
    options = {"steps": int(steps)} if steps and "steps" in _options(method) else {}
    chosen = {"name": method, "options": options}

    def work() -> None:
        for place, path in enumerate(paths):

            def on_step(_: int, step: int, of: int, terms: Any, done: int = place) -> bool:
                return job.step(100 * done + 100 * step // of, 100 * len(paths), lambda: None)

            try:
                photo = session.read(path, align)
                inverted = model.invert(photo, chosen, on_step=on_step)
            except ImageError as error:
                session.failed.append(str(error))
                continue
            if job.dropped:
                return
            told = {"method": chosen, **({} if align is None else {"align": dict(align)})}
            session.queue.append(_moment(session, inverted, told))
            if job.step(100 * (place + 1), 100 * len(paths), lambda: None):
                return

    yield from job.run(work)


def queue_text(session: Session) -> str:
    """What became of several photos."""
    failed = f" Skipped: {' '.join(session.failed)}" if session.failed else ""
    return f"{len(session.queue)} photos are done.{failed}"


def export(session: Session, animation: str) -> list[Path]:
    """Write what is shown: the picture, it in its photo, latents, directions, an animation, the report."""
    model, moment, folder = session.need_model(), session.need(), session.folder / "out"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    spec, latents = model.generator.spec, session.latents()
    if moment.photo is not None and moment.photo.transform is not None:
        latents.info = {**latents.info, "transform": moment.photo.transform.to_mapping()}
    with session.turns:
        made = session.images()[0]
        written = [write_image(folder / "picture.png", made, spec)]
        whole = None if moment.photo is None else replace(moment.photo).put_back(made)  # A copy: the photo is let go.
        if whole is not None:
            written.append(folder / "in-photo.png")
            write_png(written[-1], whole, value_range=spec.value_range)
        edited = Edited(model.generator, latents, tuning=moment.tuning, frames=_frames(session))
        files = edited.save(folder / "edit", animations=[animation] if animation else [])
        written += [path for name, path in files.items() if name != "strip"]
        if moment.inverted is not None:
            written.append(folder / "report.html")
            moment.inverted.report(written[-1])
    for name, strength in moment.moves.items():
        if strength and name in session.directions:
            written.append(folder / f"{name}.safetensors")
            session.directions[name].save(written[-1])
    return written + [session.folder / name for act in moment.acts for name in act.files]


def own_generator(model: Model, moment: Moment) -> Generator:
    """The generator that long work tunes as a moment has it: not the one that all share, whose turn others have
    meanwhile."""
    return copy.deepcopy(model.generator) if moment.tuning else model.generator


def written(operator: Mapping[str, Any]) -> str:
    """An operator as the command line has it, of files their names."""
    told = [f"{name}={Path(value).name if name == 'file' else value}" for name, value in operator["options"].items()]
    return ":".join([operator["name"], *([",".join(told)] if told else [])])


def _frames(session: Session) -> Latents:
    """The way from what the latents are to where they were moved, or, unmoved, from the mean."""
    moment = session.need()
    shares = torch.linspace(0, 1, FRAMES).tolist()
    if any(moment.moves.values()):
        ways = [{name: far * share for name, far in moment.moves.items()} for share in shares]
        return Latents.cat([session.latents(replace(moment, moves=way)) for way in ways])
    return Latents.cat([moment.latents] * 2)


def _owned(latents: Latents, model: Model) -> Latents:
    """Latents that know their model."""
    return Latents(latents.layout, latents.tensors, space=latents.space, model=model.hash, info=latents.info).detach()


def _show_inverted(session: Session, inverted: Inverted, told: Mapping[str, Any], *, note: str = "") -> None:
    """Show an inversion, moved as what was shown of the same photo."""
    before, moment = session.now, _moment(session, inverted, told, note=note)
    same = before is not None and before.photo is moment.photo
    session.show(replace(moment, moves=before.moves) if before is not None and same else moment)


def _moment(session: Session, inverted: Inverted, told: Mapping[str, Any], *, note: str = "") -> Moment:
    photo, model = inverted.photos[0], session.need_model()
    latents, tuning = inverted.sample(0)
    act = equal.inverted(photo.name, model.source, told, note=note)
    return Moment(_owned(latents, model), tuning, photo, inverted, acts=(act,))


def _keep_directions(session: Session, found: Sequence[Direction]) -> list[str]:
    session.directions |= {one.name: one for one in found}
    session.files |= {one.name: f"{one.name}.safetensors" for one in found}
    return [one.name for one in found]


def _mixable(session: Session) -> Latents:
    """What is shown by the generator's own weights: a photo that they were tuned for is inverted anew."""
    moment, model = session.need(), session.need_model()
    if not moment.tuning:
        return session.latents()
    if moment.inverted is None:
        raise LatentsError("What is shown goes with tuned weights, and cannot be combined with another photo.")
    happened = moment.inverted.settings.get("operator")
    latents = model.invert(moment.inverted.photos[0], MIXABLE, operator=happened).latents
    return session.latents(replace(moment, latents=_owned(latents, model)))


def _acts(session: Session) -> list[equal.Act]:
    """All that was done; what was begun with, where that is nothing that can be said."""
    return session.acts() or [equal.Act("", "", "center")]


def _align_of(moment: Moment) -> Any:
    """How the photo that is shown was aligned; a crop that was given is of that photo alone."""
    align = None if moment.photo is None else moment.photo.read_with["align"]
    return None if align is None or align["name"] == "box" else align


def _options(method: str) -> Mapping[str, Any]:
    return registry().resolve("inverter", method).Options.model_fields  # type: ignore[no-any-return]


def _label(labels: Tensor) -> int:
    row = labels[0]
    return int(row if row.ndim == 0 else row.argmax())


def _pairs(option: str, places: Any) -> list[str]:
    return [word for x, y in places for word in (option, f"{x:g},{y:g}")]
