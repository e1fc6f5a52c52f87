"""The actions of the page: what comes in from the browser or a client, what the session makes of it, what goes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from ganenc import Model
from ganenc.images import to_image
from ganenc_plugin_hands.models import MODELS, PHOTOS
from ganenc_registry.errors import LatentsError, SpecError, UnknownNameError

from ganenc_plugin_studio import ends, work
from ganenc_plugin_studio.models import choices
from ganenc_plugin_studio.sentences import sentenced, without_folders
from ganenc_plugin_studio.session import Session, Sessions
from ganenc_plugin_studio.shown import Shown
from ganenc_plugin_studio.stage import box_of, marks_of, move_of, slid
from ganenc_plugin_studio.words import (
    attribution_text,
    explanation_text,
    model_text,
    oddity_text,
    progress_bar,
    progress_end,
    verdict_text,
)

__all__ = ["FOUND", "SLIDERS", "Actions", "class_choices"]

SLIDERS = 12
SHOWN_FIRST = 8
"""Sliders that are there without being asked for."""
MOST = 100
"""Photos of a queue."""
FOUND = "found"
"""In place of a class: it is found."""


class Actions(Shown):
    """The actions of the page with these parts, for all sessions."""

    def __init__(self, sessions: Sessions, parts: dict[str, Any]) -> None:
        self.sessions, self.parts = sessions, parts

    # Which parts of the page an action changes.

    def told(self) -> list[Any]:
        """What is said of what is shown."""
        return [self.parts[name] for name in ("told", "undo", "redo", "command", "python")]

    def opened(self) -> list[Any]:
        """Where another model was opened."""
        return [self.parts[name] for name in ("model_told", "method", "label", "layers", "names", "examples", "wipe")]

    # The model and the photo.

    @sentenced
    def choose_model(self, model: str, request: gr.Request) -> list[Any]:
        """Take another model, by its name among those offered, and let go of the photo."""
        session = self._session(request)
        session.choose(_offered(model, session))
        return self._opened(session)

    @sentenced
    def open_checkpoint(self, files: list[str], request: gr.Request) -> list[Any]:
        """Open a checkpoint of any known GAN: its file, or its files."""
        session = self._session(request)
        if not files:
            raise SpecError("No file was given; give the file of a checkpoint.")
        kept = session.keep(*files)
        with_words = [one for one in kept if one.suffix in (".xml", ".json")]
        source = str(kept[0] if len(kept) == 1 else (with_words or [kept[0].parent])[0])
        session.choose(source)
        return [gr.Dropdown(choices=[*choices(), (Path(source).name, source)], value=source), *self._opened(session)]

    @sentenced
    def open_photo(self, photo: str | None, align: str, label: str, request: gr.Request) -> Any:
        """Open a photo, in one pass of the encoder. ``align`` is an aligner, ``label`` a class or "found"."""
        session = self._session(request)
        if photo is None:
            return gr.skip()
        work.invert_first(session, photo, None if align in (None, "", "none") else {"name": align}, _class(label))
        return self._wipe(session)

    def choose_example(self, event: gr.SelectData) -> str:
        """One of the photos that come with the page."""
        return str(sorted(PHOTOS.glob("*.jpg"))[int(event.index)])

    @sentenced
    def move_crop(self, crop: str, label: str, request: gr.Request) -> Any:
        """Cut the photo out elsewhere: ``crop`` is JSON, {"box": [top, left, height, width]} in pixels of the photo."""
        session = self._session(request)
        photo = session.need().photo
        if photo is None or not isinstance(photo.source, Path):
            raise LatentsError("What is shown is no photo; open one to crop it.")
        box = {"name": "box", "options": {"box": box_of(crop)}}
        work.invert_first(session, photo.source, box, _class(label))
        return self._wipe(session)

    @sentenced
    def draw(self, seed: float, request: gr.Request) -> Any:
        """Draw an image from the generator."""
        session = self._session(request)
        work.draw(session, int(seed or 0))
        return self._wipe(session)

    @sentenced
    def show(self, request: gr.Request) -> list[Any]:
        """What is said of what is shown: the verdict and the metrics, the command line and the Python that do the
        same."""
        session = self._session(request)
        said = verdict_text(work.judged(session), session.need_model()) if session.now else ""
        return [said, *self._told(session)]

    @sentenced
    def refine(self, method: str, steps: float | None, label: str, request: gr.Request) -> Iterator[list[Any]]:
        """Invert the photo by a method, in so many steps (by default as many as it usually takes), with a picture every
        few of them; once stopped, the best so far stays."""
        session = self._session(request)
        yield from self._going(session, work.refine(session, method, int(steps) if steps else None, _class(label)))

    @sentenced
    def stop(self, request: gr.Request) -> None:
        """End what goes on after this step, and keep the best so far."""
        job = self._session(request).job
        if job is not None:
            job.stop()

    # What is done to the latents.

    @sentenced
    def slide(self, direction: str, strength: float, request: gr.Request) -> Any:
        """Move along a direction, so many deviations of the model's own latents."""
        session = self._session(request)
        session.move(direction, strength)
        return self._wipe(session)

    def let_go(self, moved: str, request: gr.Request) -> Any:
        """A slider was let go."""
        return self.slide(*move_of(moved), request)

    @sentenced
    def choose_sliders(self, names: list[str], request: gr.Request) -> Any:
        """Choose the directions that have sliders."""
        session = self._session(request)
        session.slid = [name for name in names or [] if name in session.directions][:SLIDERS]
        return gr.Dropdown(value=session.slid)

    @sentenced
    def place(self, request: gr.Request) -> list[Any]:
        """The pictures to mark, and the sliders where they stand."""
        session = self._session(request)
        moves = {} if session.now is None else session.now.moves
        sliders = slid({name: moves.get(name, 0.0) for name in session.slid}, session.key)
        return [self._stage(session), self._crop(session), sliders]

    @sentenced
    def find_components(self, count: float, request: gr.Request) -> Any:
        """Find principal components (GANSpace), and give them sliders after those that are there."""
        session = self._session(request)
        return self._found(session, work.directions_pca(session, int(count or 1)))

    @sentenced
    def find_between(self, first: list[str], second: list[str], name: str, request: gr.Request) -> Any:
        """Find the direction from some photos to others, and give it a slider."""
        session = self._session(request)
        return self._found(session, work.directions_between(session, first or [], second or [], name))

    @sentenced
    def open_directions(self, files: list[str], request: gr.Request) -> Any:
        """Open files of directions, ours or another tool's, and give them sliders."""
        session = self._session(request)
        return self._found(session, [name for file in files or [] for name in work.directions_of_file(session, file)])

    @sentenced
    def mix(self, photo: str | None, layers: list[int], request: gr.Request) -> Any:
        """Give what is shown the styles of a second photo on some layers."""
        session = self._session(request)
        work.mix(session, _needed(photo), layers or [])
        return self._wipe(session)

    @sentenced
    def interpolate(self, photo: str | None, steps: float, kind: str, request: gr.Request) -> str:
        """The way from what is shown to a second photo, as an animation, "gif" or "webp"."""
        if kind not in ("gif", "webp"):
            raise SpecError("An animation is a gif or a webp; choose one.")
        return str(work.interpolate(self._session(request), _needed(photo), int(steps), kind)[0])

    @sentenced
    def drag(self, marks: str, request: gr.Request) -> Iterator[list[Any]]:
        """Drag points to targets: ``marks`` is JSON, {"points": [[x, y], ...], "targets": [[x, y], ...]} in pixels of
        the generator's image, and what may move as "strokes": [[x, y, radius], ...], by default all."""
        session = self._session(request)
        points, targets, mask = marks_of(marks, session.need_model().generator.spec.size)
        yield from self._going(session, work.drag(session, points, targets, mask))

    @sentenced
    def undo(self, request: gr.Request) -> Any:
        """Go back by one, whatever was done."""
        session = self._session(request)
        session.undo()
        return self._wipe(session)

    @sentenced
    def redo(self, request: gr.Request) -> Any:
        """Go forth again."""
        session = self._session(request)
        session.redo()
        return self._wipe(session)

    # What else inverting is for.

    @sentenced
    def restore(
        self,
        photo: str | None,
        happened: str,
        amount: float | None,
        hidden: str | None,
        steps: float | None,
        request: gr.Request,
    ) -> Iterator[list[Any]]:
        """Restore a photo to which something happened: "downscale", "grey", "blur", "noise" or "jpeg", so much of it (0
        for what is usual, or found along), or "mask", with a picture that is white where the photo is hidden."""
        session = self._session(request)
        going = ends.restore(session, _needed(photo), happened, amount or None, hidden, int(steps or 0))
        shown: list[Any] = []
        for shown in self._going(session, going):
            yield [*shown, gr.skip()]
        yield [*shown, _path(ends.pasted(session))]

    @sentenced
    def explain(self, classifier: str, target: float, steps: float | None, request: gr.Request) -> Iterator[list[Any]]:
        """Find the smallest change of what is shown with which a classifier says a class: what it goes by."""
        session = self._session(request)
        for now in self._told_of(session, ends.explain(session, classifier, int(target or 0), int(steps or 0))):
            if isinstance(now, str):
                yield [now, gr.skip()]
                continue
            files = ends.explained_files(session, now)
            shown = [(str(files[name]), told) for name, told in (("strip", "on the way there"), ("map", "what changed"))
                     if name in files]  # fmt: skip
            yield [explanation_text(now, int(target or 0)), shown]

    @sentenced
    def score(
        self, photos: list[str], normal: list[str], false_alarms: float, request: gr.Request
    ) -> Iterator[list[Any]]:
        """Say how odd photos are beside normal ones, and where; of normal photos at most the share ``false_alarms`` is
        called odd."""
        session = self._session(request)
        _queued([*(photos or []), *(normal or [])])
        for now in self._told_of(session, ends.scored(session, photos, normal, false_alarms or 0)):
            if isinstance(now, str):
                yield [now, gr.skip()]
                continue
            maps = [(session.picture(now.pictures(place).get("map", photo.target)), photo.name)
                    for place, photo in enumerate(now.photos)]  # fmt: skip
            yield [oddity_text(now), maps]

    @sentenced
    def attribute(
        self, photos: list[str], models: list[str], steps: float | None, request: gr.Request
    ) -> Iterator[list[Any]]:
        """Say which of some models made photos, or none, by inverting them under each in so many steps; what a model
        reaches on its own images is measured at the first time, which takes minutes."""
        session = self._session(request)
        _queued(photos)
        names = [_offered(name, session) for name in models or []]
        for now in self._told_of(session, ends.attributed(session, photos, names, int(steps or 0))):
            if isinstance(now, str):
                yield [now, gr.skip()]
                continue
            shown = [(to_image(again), f"{Path(one.photo).name} by {Path(name).name}")
                     for one in now for name, (_, again) in one.pictures.items()]  # fmt: skip
            yield [attribution_text(now), shown]

    # What is taken along, and several photos.

    @sentenced
    def export(self, animation: str, request: gr.Request) -> list[str]:
        """Make files of what is shown: the picture, it in its photo, latents, directions, the report, and an animation
        ("gif", "webp") where one is asked for."""
        if animation not in ("", "gif", "webp"):
            raise SpecError("An animation is a gif or a webp; choose one, or none.")
        return [str(path) for path in work.export(self._session(request), animation)]

    @sentenced
    def invert_all(
        self, photos: list[str], method: str, steps: float | None, align: str, request: gr.Request
    ) -> Iterator[list[Any]]:
        """Invert several photos, one after the other."""
        session = self._session(request)
        _queued(photos)
        done = None
        chosen = None if align in (None, "", "none") else {"name": align}
        for done in work.invert_all(session, photos, method, int(steps) if steps else None, chosen):
            yield [progress_bar(done.step, done.steps, done.left), self._gallery(session)]
        yield [progress_end(without_folders(work.queue_text(session))), self._gallery(session)]

    @sentenced
    def choose_photo(self, event: gr.SelectData, request: gr.Request) -> Any:
        """Go on with one of several photos."""
        session = self._session(request)
        if 0 <= int(event.index) < len(session.queue):
            session.show(session.queue[int(event.index)])
        return self._wipe(session)

    def leave(self, request: gr.Request) -> None:
        """The visitor is gone."""
        self.sessions.drop(str(request.session_hash))

    # What goes out.

    def _session(self, request: gr.Request) -> Session:
        if not request.session_hash:
            raise SpecError("A call belongs to a session; give a session_hash, as gradio_client does.")
        session = self.sessions.of(str(request.session_hash))
        if session.model is None:
            session.choose(session.first)
        return session

    def _opened(self, session: Session) -> Any:
        model = session.need_model()
        methods, classes, names = work.methods(model), model.generator.spec.classes, list(session.directions)
        session.slid = names[:SHOWN_FIRST]
        return [
            model_text(model),
            gr.Dropdown(choices=methods, value=methods[0]),
            gr.Dropdown(choices=class_choices(model), value=FOUND, visible=bool(classes)),
            gr.CheckboxGroup(choices=[(str(one), one) for one in range(session.layers)], value=[]),
            gr.Dropdown(choices=names, value=session.slid),
            gr.Gallery(visible=model.source in MODELS),
            None,
        ]

    def _found(self, session: Session, names: Sequence[str]) -> Any:
        session.slid = [*(name for name in session.slid if name not in names), *names][-SLIDERS:]
        return gr.Dropdown(choices=list(session.directions), value=session.slid)


def class_choices(model: Model) -> list[str]:
    """The classes that a photo may be said to have."""
    return [FOUND, *map(str, range(model.generator.spec.classes))]


def _class(label: str | None) -> int | None:
    """A class as the page has it; None where it is to be found."""
    if label in (None, "", FOUND):
        return None
    if not str(label).isdecimal():
        raise SpecError(f"A class is a number, or {FOUND}; not {label!r}.")
    return int(str(label))


def _needed(photo: str | None) -> str:
    if photo is None:
        raise SpecError("There is no photo here yet; drop one first.")
    return photo


def _queued(photos: list[str] | None) -> None:
    if not 0 < len(photos or []) <= MOST:
        raise SpecError(f"It takes 1 to {MOST} photos at a time; for more, use the command line.")


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _offered(model: str, session: Session) -> str:
    """A model that may be opened: one of those that are offered, or what the session brought; no path of the machine's
    that a visitor names."""
    if model in (session.first, *(name for _, name in choices())) or session.owns(model):
        return model
    raise UnknownNameError(f"There is no model {model!r} on the page; choose one of those that are offered.")
