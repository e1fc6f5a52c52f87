"""The actions of the page: what comes in from the browser or a client, what the session makes of it, what goes out."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
from ganenc import Model
from ganenc.files import is_out_of_memory, write_bytes
from ganenc.images import shrink, to_image
from ganenc_plugin_hands.models import MODELS, PHOTOS
from ganenc_registry.errors import GanencError, LatentsError, SpecError, UnknownNameError, path_fault
from PIL import Image

from ganenc_plugin_studio import equal, work
from ganenc_plugin_studio.jobs import Told
from ganenc_plugin_studio.models import choices
from ganenc_plugin_studio.session import Session, Sessions
from ganenc_plugin_studio.stage import box_of, encoded, marks_of, move_of, slid, staged
from ganenc_plugin_studio.words import model_text, progress_bar, progress_end, verdict_text

__all__ = ["FOUND", "SLIDERS", "Actions", "class_choices", "sentence_of"]

F = TypeVar("F", bound=Callable[..., Any])
SLIDERS = 12
SHOWN_FIRST = 8
"""Sliders that are there without being asked for."""
LARGEST = 640
"""Pixels of the longer side of a picture that is shown on the way."""
MOST = 100
"""Photos of a queue."""
FOUND = "found"
"""In place of a class: it is found."""


_FOLDER = re.compile(r"\S*ganenc-studio-[^/\s]+/[^/\s]+/(?:given-[^/\s]+/)?")
"""Where a visitor's files lie, which is nothing to tell."""


def sentence_of(error: Exception) -> str | None:
    """What a visitor is told of an error; None of one that is ours."""
    if isinstance(error, GanencError):
        said = str(error)
    elif isinstance(error, OSError):
        said = path_fault(error)
    elif is_out_of_memory(error):
        said = "The device ran out of memory; take a smaller model, or fewer steps."
    else:
        return None
    return _FOLDER.sub("", said)


def sentenced(action: F) -> F:
    """An action whose errors are one sentence on the page, and leave all else as it is."""

    def sentence(error: Exception) -> Exception:
        said = sentence_of(error)
        told = "That went wrong here, and the server's log says why." if said is None else escape(said)
        return gr.Error(told, title="That did not work", print_exception=said is None, duration=15)

    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def going(*given: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from action(*given, **named)
            except Exception as error:
                raise sentence(error) from error

        return going  # type: ignore[return-value]

    @functools.wraps(action)
    def done(*given: Any, **named: Any) -> Any:
        try:
            return action(*given, **named)
        except Exception as error:
            raise sentence(error) from error

    return done  # type: ignore[return-value]


class Actions:
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
        if not 0 < len(photos or []) <= MOST:
            raise SpecError(f"A queue takes 1 to {MOST} photos; for more, use the command line that is shown.")
        done = None
        chosen = None if align in (None, "", "none") else {"name": align}
        for done in work.invert_all(session, photos, method, int(steps) if steps else None, chosen):
            yield [progress_bar(done.step, done.steps, done.left), self._gallery(session)]
        yield [progress_end(_FOLDER.sub("", work.queue_text(session))), self._gallery(session)]

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

    def _wipe(self, session: Session, after: Image.Image | None = None) -> Any:
        """What was there, and what is shown, or a step on the way, as files."""
        now, before = session.now, session.before
        if now is None:
            return None
        with session.turns:
            if before is None or before[0].latents is not now.latents or before[0].photo is not now.photo:
                target = session.made(now.latents, now.tuning) if now.photo is None else now.photo.target
                before = session.before = now, _file(session, "before", session.picture(target))
            return before[1], _file(session, "after", after or session.picture(session.images()))

    def _told(self, session: Session) -> list[Any]:
        """Whether there is a way back and forth, and the lines that do the same."""
        past, future = (gr.Button(interactive=bool(one)) for one in (session.past, session.future))
        return [past, future, *equal.written(session.acts() if session.now else [])]

    def _stage(self, session: Session) -> Any:
        """The picture to drag, without marks."""
        if session.now is None:
            return staged()
        with session.turns:
            picture = session.picture(session.images())
        marks = {"size": session.need_model().generator.spec.size, "points": [], "targets": [], "strokes": []}
        return staged(marks, picture)

    def _crop(self, session: Session) -> Any:
        """The photo with the crop that it was aligned by; empty where it was not."""
        photo = None if session.now is None else session.now.photo
        if photo is None or photo.transform is None or not isinstance(photo.source, Path):
            return staged()
        if session.whole is None or session.whole[0] != photo.source:
            whole = replace(photo).whole  # Of a copy, so that it is let go.
            assert whole is not None
            picture = to_image(shrink(whole, LARGEST), photo.value_range).convert("RGB")
            session.whole = photo.source, picture
        across, down = zip(*photo.transform.corners(), strict=True)
        box = [min(down), min(across), max(down) - min(down), max(across) - min(across)]
        marks = {"size": photo.transform.photo_size, "box": box}
        return staged(marks, session.whole[1])

    def _going(self, session: Session, work_of: Iterator[Told[Image.Image]]) -> Iterator[list[Any]]:
        """How far long work is, with a picture now and then, and what it comes to."""
        for now in work_of:
            yield [progress_bar(now.step, now.steps, now.left), self._wipe(session, now.shown)]
        job = session.job
        ended = (
            f"Stopped; of what was found in {job.taken} steps the best is shown." if job and job.stopped else "Done."
        )
        yield [progress_end(ended), self._wipe(session)]

    def _gallery(self, session: Session) -> Any:
        return [(session.picture(one.inverted.reconstructions), one.photo.name) for one in session.queue]


def class_choices(model: Model) -> list[str]:
    """The classes that a photo may be said to have."""
    return [FOUND, *map(str, range(model.generator.spec.classes))]


def _file(session: Session, name: str, picture: Image.Image) -> str:
    """A file of a picture, made smaller where that is quicker sent."""
    if max(picture.size) > LARGEST:
        picture = picture.copy()
        picture.thumbnail((LARGEST, LARGEST))
    data, kind = encoded(picture)
    path = session.folder / f"{name}.{kind.rpartition('/')[2]}"
    write_bytes(path, data, replace=True)
    return str(path)


def _class(label: str | None) -> int | None:
    """A class as the page has it; None where it is to be found."""
    if label in (None, "", FOUND):
        return None
    if not str(label).isdecimal():
        raise SpecError(f"A class is a number, or {FOUND}; not {label!r}.")
    return int(str(label))


def _needed(photo: str | None) -> str:
    if photo is None:
        raise SpecError("There is no second photo; drop one first.")
    return photo


def _offered(model: str, session: Session) -> str:
    """A model that may be opened: one of those that are offered, or what the session brought; no path of the machine's
    that a visitor names."""
    if model in (session.first, *(name for _, name in choices())) or session.owns(model):
        return model
    raise UnknownNameError(f"There is no model {model!r} on the page; choose one of those that are offered.")
