"""What else inverting is for: a photo restored, a classifier explained, what is odd found, who made a photo told.
Nothing here knows the page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ganenc
from ganenc.editing import EFFORT, Explained
from ganenc.images import write_image
from ganenc.inversion import purpose_of
from ganenc.jobs import STEPS, Attributed, attribute
from ganenc.report import Scored
from ganenc_registry import registry
from ganenc_registry.errors import SpecError, UnknownNameError
from PIL import Image

from ganenc_plugin_studio import work
from ganenc_plugin_studio.jobs import Told
from ganenc_plugin_studio.session import Session, check_pixels

__all__ = ["HAPPENED", "attributed", "classifiers", "explain", "explained_files", "pasted", "restore", "scored"]

HAPPENED: dict[str, str | None] = {
    "downscale": "factor", "mask": "file", "grey": None, "blur": "sigma", "noise": "level", "jpeg": "quality",
}  # fmt: skip
"""What may have happened to a photo, as operators are called, and their option that says how much."""
FOUND = ("blur", "jpeg")
"""Of these it can be found along."""
SUSPECTS = 8
"""Models that photos are attributed under at once."""


def restore(
    session: Session, path: str | Path, happened: str, amount: float | None, hidden: str | None, steps: int | None
) -> Iterator[Told[Image.Image]]:
    """Restore a photo to which something happened, so much of it (or as much as is found), or of which what is white in
    a picture is ``hidden``; and tell how far it is."""
    model = session.need_model()
    operator = _operator(session, happened, amount, hidden)
    photo = session.read(path, None, operator=operator)
    method = model.default_method(purpose_of([operator]))
    if steps:
        method = {**method, "options": {**method["options"], "steps": int(steps)}}
    yield from work.inverting(session, photo, method, None, [operator])


def pasted(session: Session) -> Path | None:
    """A file of what is shown with what it lacks of what was seen of its photo; None where there is none."""
    inverted = session.need().inverted
    if inverted is None or inverted.pasted is None:
        return None
    with session.turns:
        return write_image(session.folder / "pasted.png", inverted.pasted[0].cpu(), inverted.model.generator.spec)


def classifiers() -> list[str]:
    """The backbones that may be classifiers; which is not says so."""
    return registry().names("backbone")


def explain(session: Session, classifier: str, target: int, steps: int | None) -> Iterator[Told[Any]]:
    """Find the smallest change of what is shown with which a classifier says a class, and tell how far it is; the last
    that is told is the `Explained`, unless it was ended."""
    if classifier not in classifiers():  # Not a script, as elsewhere: it would be run.
        raise UnknownNameError(f"There is no classifier {classifier!r}; choose one of {', '.join(classifiers())}.")
    moment, latents, job = session.need(), session.latents(), session.begin()
    generator = work.own_generator(session.need_model(), moment)
    found: list[Explained] = []

    def working() -> None:
        with generator.tuned(moment.tuning):
            one = ganenc.editing.explain(
                generator, latents, classifier, target, steps=steps or EFFORT, on_step=job.go_on
            )
            found.append(one)
            assert len(one.images)  # They are made while it has the turn.

    yield from job.run(working)
    yield from (Told(job.taken, job.taken, 0.0, one) for one in found)


def explained_files(session: Session, explained: Explained) -> dict[str, Path]:
    """Files of an explanation: the strip on the way there, and the map of what changed, where there is one."""
    folder = session.folder / "explained"
    shutil.rmtree(folder, ignore_errors=True)
    with session.turns:
        return explained.save(folder)


def scored(session: Session, photos: Sequence[str], normal: Sequence[str], false_alarms: float) -> Iterator[Told[Any]]:
    """Say how odd photos are beside normal ones, and where, and tell how far it is; the last that is told has it,
    unless it was ended."""
    model = session.need_model()
    if not photos or not normal:
        raise SpecError("Photos are odd beside normal ones; give some of both.")
    many, usual = ([session.read(path, None) for path in some] for some in (photos, normal))
    job, found, all_of = session.begin(), list[Scored](), len(usual) + len(many)

    def working() -> None:
        calibration = model.calibrate(usual, on_step=lambda done, _: job.go_on(done, all_of))
        one = model.score(
            many,
            calibration,
            false_alarms=false_alarms,
            on_step=lambda done, _: job.go_on(len(usual) + done, all_of),
        )
        found.append(one)

    yield from job.run(working)
    yield from (Told(all_of, all_of, 0.0, one) for one in found)


def attributed(session: Session, photos: Sequence[str], names: Sequence[str], steps: int | None) -> Iterator[Told[Any]]:
    """Say which of some models made photos, or none, and tell how far it is; the last that is told has it, unless it
    was ended."""
    if not photos or not names:
        raise SpecError("Give photos, and choose the models that may have made them.")
    if len(names) > SUSPECTS:
        raise SpecError(f"Choose at most {SUSPECTS} models, as all of them are in memory at once.")
    many = [session.keep(path)[0] for path in photos]
    for path in many:
        session.read(path, None)  # What cannot be read is told before anything is measured.
    models = [session.models.passing(name) for name in names]
    job, found = session.begin(), list[Attributed]()

    def working() -> None:
        found.append(attribute(many, models, steps=steps or STEPS, on_step=job.go_on))

    yield from job.run(working)
    yield from (Told(1, 1, 0.0, one) for one in found)


def _operator(session: Session, happened: str, amount: float | None, hidden: str | None) -> Mapping[str, Any]:
    """An operator as it is chosen on the page, which names no file of the machine's."""
    if happened not in HAPPENED:
        raise UnknownNameError(f"Nothing that happens to photos is called {happened!r}; it is {', '.join(HAPPENED)}.")
    option, options = HAPPENED[happened], dict[str, Any]()
    if happened == "mask":
        if hidden is None:
            raise SpecError("Give a picture as large as the photo, white where nothing is known of it.")
        check_pixels(hidden)
        options = {"file": str(session.keep(hidden)[0])}
    elif option is not None and (amount or happened in FOUND):
        options = {option: amount or "?"}
    return {"name": happened, "options": options}
