"""What one visitor has open: a photo, its latents, what was done to them, and the way back."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from ganenc import Direction, Latents, Model
from ganenc.editing import of_model
from ganenc.generators import Preview, Tuning
from ganenc.images import depict, to_image
from ganenc.inversion import Photo
from ganenc.report import Inverted
from ganenc_registry.errors import ImageError, LatentsError, SpecError
from ganenc_registry.specs import Styles
from PIL import Image
from torch import Tensor

from ganenc_plugin_studio import equal
from ganenc_plugin_studio.jobs import Job
from ganenc_plugin_studio.models import Models
from ganenc_plugin_studio.turns import Turns

__all__ = ["Moment", "Session", "Sessions", "check_pixels"]

PIXELS = 50_000_000
"""The largest photo that is opened."""
KEPT = 30
"""Moments to which there is a way back."""
LARGE, SLOW, SIDE = 256, 0.1, 128
"""Images that have more pixels a side, and take more seconds, are previewed while they are moved: in so many pixels."""
FAR = 100.0
"""How far a direction is gone along at most, either way."""
VISITORS, IDLE = 64, 3600.0
"""Sessions that are kept, and for how many seconds nobody has to touch one for it to go."""


@dataclass(frozen=True)
class Moment:
    """What is shown, and all that it takes to go back to it."""

    latents: Latents
    """Complete, one sample, before it is moved."""
    tuning: Tuning = field(default_factory=dict, repr=False)
    photo: Photo | None = None
    inverted: Inverted | None = None
    """The inversion that the latents are of, until they are mixed or dragged."""
    moves: Mapping[str, float] = field(default_factory=dict)
    """How far along which directions, by name."""
    acts: tuple[equal.Act, ...] = ()
    """What was done to come to the latents."""


class Session:
    """One visitor's. The work on the model is done by who has the turn."""

    def __init__(self, models: Models, turns: Turns, folder: Path, first: str) -> None:
        self.models, self.turns, self.folder, self.first = models, turns, folder, first
        self.model: Model | None = None
        self.directions: dict[str, Direction] = {}
        self.files: dict[str, str] = {}
        """Where directions lie that are not the model's own, as a command line has them."""
        self.now: Moment | None = None
        self.past: list[Moment] = []
        self.future: list[Moment] = []
        self.slid: list[str] = []
        """The directions that have sliders."""
        self.queue: list[Moment] = []
        """Of several photos, those that are done."""
        self.failed: list[str] = []
        """And why the others are not."""
        self.before: tuple[Moment, str] | None = None
        """The file of what the picture that is shown is compared with."""
        self.whole: tuple[Path, Image.Image] | None = None
        """The photo that is cropped, and its picture."""
        self.key = secrets.token_urlsafe()
        """What its pictures of moves under way are asked for by."""
        self.peeking = threading.Lock()
        """Held while one is made."""
        self.preview: Preview | None = None
        """Near what is shown, where that is slow."""
        self._shown: tuple[Moment, Tensor] | None = None
        self.job: Job[Any] | None = None
        self.touched = time.monotonic()

    # The model and the photo.

    def choose(self, source: str) -> Model:
        """Take another model, and let go of the photo."""
        self.drop_job()
        model = self.models.get(source)
        with self.turns:
            found = {name: model.direction(path) for name, path in of_model(model.source).items()}
        self.model, self.directions, self.files = model, found, {}
        self._forget()
        return model

    def need_model(self) -> Model:
        """The model; `GanencError` if none was chosen."""
        if self.model is None:
            raise LatentsError("No model is chosen; choose one first.")
        return self.model

    def need(self) -> Moment:
        """What is shown; `GanencError` if nothing is."""
        if self.now is None:
            raise LatentsError("There is nothing to work on yet; open a photo, or draw an image.")
        return self.now

    def owns(self, path: str | Path) -> bool:
        """Whether a file lies in the session's own folder."""
        return self.folder.resolve() in Path(path).resolve().parents

    def keep(self, *paths: str | Path) -> list[Path]:
        """Files of the visitor's, side by side in the session's own folder, none of them in the place of another."""
        if all(map(self.owns, paths)):
            return [*map(Path, paths)]
        place = Path(tempfile.mkdtemp(prefix="given-", dir=self.folder))
        return [Path(shutil.copyfile(path, place / Path(path).name)) for path in paths]

    def read(
        self, path: str | Path, align: Mapping[str, Any] | None, operator: Mapping[str, Any] | None = None
    ) -> Photo:
        """A photo as the model takes it, or what was seen of it through an operator; `ImageError` if it cannot be read,
        or is too large."""
        check_pixels(path)
        photo = self.need_model().read(*self.keep(path), align=align, operator=operator)
        return replace(photo, picture=None)  # It is read again where it is wanted.

    # What is shown.

    @property
    def layers(self) -> int:
        """Of styles, how many there are to mix; 0 where there are none."""
        layout = self.need_model().generator.spec.layout
        return min((part.layers for part in layout if isinstance(part, Styles)), default=0)

    def show(self, moment: Moment) -> None:
        """Show something new, from which there is a way back."""
        if self.now is not None:
            self.past = [*self.past, self.now][-KEPT:]
        self.now, self.future = moment, []

    def undo(self) -> None:
        """Go back by one."""
        if self.past and self.now is not None:
            self.future.append(self.now)
            self.now = self.past.pop()

    def redo(self) -> None:
        """Go forth again."""
        if self.future and self.now is not None:
            self.past.append(self.now)
            self.now = self.future.pop()

    def move(self, name: str, strength: float) -> None:
        """Move along a direction, so far."""
        self.show(self._moved(name, strength))

    @torch.no_grad()
    def peek(self, name: str, strength: float) -> Image.Image:
        """The picture of such a move; where whole images are slow, a preview of it."""
        moment, generator = self._moved(name, strength), self.need_model().generator
        with self.turns, generator.tuned(moment.tuning):
            if self.preview is not None:
                return self.picture(self.preview(self.latents(moment)))
            return self.picture(generator.synthesize(self.latents(moment)))

    def _moved(self, name: str, strength: float) -> Moment:
        moment = self.need()
        if name not in self.directions:
            raise LatentsError(f"There is no direction {name!r} here; find it first.")
        if not isinstance(strength, int | float) or not abs(strength) <= FAR:  # NaN among them.
            raise LatentsError(f"A direction is gone along by {-FAR:g} to {FAR:g}, not by {strength!r:.20}.")
        return replace(moment, moves={**moment.moves, name: float(strength)})

    def latents(self, moment: Moment | None = None) -> Latents:
        """The latents of what is shown, moved."""
        moment = moment or self.need()
        latents = moment.latents
        for name, strength in moment.moves.items():
            if strength and name in self.directions:
                latents = self.directions[name].apply(latents, strength)
        return latents

    @torch.no_grad()
    def made(self, latents: Latents, tuning: Tuning) -> Tensor:
        """Images (1, C, H, W) of latents, in the generator's range, on the CPU."""
        generator = self.need_model().generator
        with generator.tuned(tuning):
            return generator.synthesize(latents).cpu()

    def images(self) -> Tensor:
        """The image (1, C, H, W) of what is shown, as above."""
        moment = self.need()
        if self._shown is None or self._shown[0] is not moment:
            self._shown = moment, self._make(moment)
        return self._shown[1]

    def _make(self, moment: Moment) -> Tensor:
        generator, latents, self.preview = self.need_model().generator, self.latents(moment), None
        if max(generator.spec.size) > LARGE and generator.spec.shows == "pictures":
            began = time.monotonic()
            with suppress(SpecError), generator.tuned(moment.tuning):  # Without so small a stage there is none.
                found = Preview(generator, latents, SIDE)
                self.preview = found if time.monotonic() - began > SLOW else None
                return found.images.cpu()
        return self.made(latents, moment.tuning)

    def picture(self, images: Tensor) -> Image.Image:
        """One image (1, C, H, W), or (C, H, W), for a person."""
        spec = self.need_model().generator.spec
        return to_image(depict(images.cpu().reshape(images.shape[-3:]), spec)).convert("RGB")

    def acts(self) -> list[equal.Act]:
        """All that was done, moves among it."""
        moment = self.need()
        found = list(moment.acts)
        for name, strength in moment.moves.items():
            if strength and found:
                word = self.files.get(name, name)
                words = ["--direction", word, "--strength", f"{strength:g}", "--steps", 1]
                found.append(
                    equal.edited(found[-1], self.need_model().source, "edit", words, [word, [strength]], len(found))
                )
        return found

    # Long work.

    def begin(self) -> Job[Any]:
        """Begin long work; what went on before is dropped."""
        self.drop_job()
        self.job = Job(self.turns)
        return self.job

    @property
    def works(self) -> bool:
        """Whether long work goes on."""
        return self.job is not None and not self.job.done

    def drop_job(self) -> None:
        """Nobody wants what goes on any more."""
        if self.job is not None:
            self.job.drop()

    def close(self) -> None:
        """The visitor is gone: end what goes on, and remove the files."""
        self.drop_job()
        self._forget()
        self.model, self.directions = None, {}
        shutil.rmtree(self.folder, ignore_errors=True)

    def _forget(self) -> None:
        self.now, self.past, self.future, self.queue = None, [], [], []
        self.before = self.whole = self.preview = self._shown = None


class Sessions:
    """All visitors', by what tells them apart. Those that nobody touches go, and the oldest where there are many."""

    def __init__(self, models: Models, first: str, *, visitors: int = VISITORS, idle: float = IDLE) -> None:
        self.first = first
        """The model that is open first."""
        self.models, self.turns, self.visitors, self.idle = models, Turns(), visitors, idle
        self.root = Path(tempfile.mkdtemp(prefix="ganenc-studio-"))
        self._open: dict[str, Session] = {}
        self._guard = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def of(self, visitor: str) -> Session:
        """A visitor's session, opened at the first visit."""
        with self._guard:
            found = self._open.pop(visitor, None) or Session(
                self.models, self.turns, Path(tempfile.mkdtemp(dir=self.root)), self.first
            )
            self._open[visitor] = found  # The last in order is the last that was touched.
            found.touched = now = time.monotonic()
            gone = [key for key, one in self._open.items() if now - one.touched > self.idle and not one.works]
            gone += [key for key in self._open if key not in gone][
                : max(0, len(self._open) - len(gone) - self.visitors)
            ]
            closed = [self._open.pop(key) for key in gone]
        for one in closed:
            one.close()
        return found

    def with_key(self, key: str) -> Session | None:
        """The session of a key; None if there is none."""
        given = key.encode()
        return next((one for one in [*self._open.values()] if secrets.compare_digest(one.key.encode(), given)), None)

    def drop(self, visitor: str) -> None:
        """A visitor is gone."""
        with self._guard:
            found = self._open.pop(visitor, None)
        if found is not None:
            found.close()

    def close(self) -> None:
        """All are gone."""
        for visitor in list(self._open):
            self.drop(visitor)
        shutil.rmtree(self.root, ignore_errors=True)


def check_pixels(path: str | Path) -> None:
    """`ImageError` if a photo has too many pixels; what is no photo is left to who reads it."""
    try:
        with Image.open(path) as opened:
            width, height = opened.size
    except Image.DecompressionBombError:
        width, height = PIXELS, PIXELS
    except Exception:  # Decoders raise many kinds on broken files.
        return
    if width * height > PIXELS:
        raise ImageError(
            f"{Path(path).name} has more than {PIXELS // 1_000_000} million pixels; make it smaller first."
        )


def layer_text(layers: Sequence[int]) -> str:
    """Layers as the command line has them."""
    return ",".join(map(str, layers))
