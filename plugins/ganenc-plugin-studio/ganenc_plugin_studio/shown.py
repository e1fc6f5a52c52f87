"""What goes out to the page: pictures of a session, and how far its work is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
from ganenc.files import write_bytes
from ganenc.images import shrink, to_image
from PIL import Image

from ganenc_plugin_studio import equal
from ganenc_plugin_studio.jobs import Told
from ganenc_plugin_studio.session import Session
from ganenc_plugin_studio.stage import encoded, staged
from ganenc_plugin_studio.words import progress_bar, progress_end

__all__ = ["Shown"]

LARGEST = 640
"""Pixels of the longer side of a picture that is shown on the way."""


class Shown:
    """What is shown of a session."""

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

    def _told_of(self, session: Session, work_of: Iterator[Told[Any]]) -> Iterator[Any]:
        """How far long work is, as HTML, and then what it comes to; where it was stopped before, that."""
        now = None
        for now in work_of:
            yield progress_bar(now.step, now.steps, now.left) if now.shown is None else now.shown
        if now is None or now.shown is None:
            yield progress_end("Stopped, before there was anything to show.")

    def _gallery(self, session: Session) -> Any:
        return [(session.picture(one.inverted.reconstructions), one.photo.name) for one in session.queue]


def _file(session: Session, name: str, picture: Image.Image) -> str:
    """A file of a picture, made smaller where that is quicker sent."""
    if max(picture.size) > LARGEST:
        picture = picture.copy()
        picture.thumbnail((LARGEST, LARGEST))
    data, kind = encoded(picture)
    path = session.folder / f"{name}.{kind.rpartition('/')[2]}"
    write_bytes(path, data, replace=True)
    return str(path)
