"""What one inverted photo leaves on disk, and how that is read again."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganenc_registry.errors import CheckpointError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc.files import drop_leftovers, is_ours, read_json, write_json, write_text
from ganenc.foreign import FILES
from ganenc.generators import Tuning, load_tuning, save_tuning
from ganenc.images import Range, read, write_image, write_png
from ganenc.inversion.photo import Photo
from ganenc.latents import Latents
from ganenc.objectives import Look, looks_sheet


@dataclass(frozen=True)
class PhotoFolder:
    """The folder of one inversion: the only place that writes and reads its files."""

    path: Path

    LATENTS = "latents.safetensors"
    TUNING = "tuning.safetensors"
    """What `Generator.tuned` takes for the latents, where their weights were tuned."""
    FACTS = "inversion.json"
    TARGET, RECONSTRUCTION = "target.png", "reconstruction.png"
    VALUES = ("target.npy", "reconstruction.npy")
    """Both as they are, where they are no pictures."""
    PHOTO = "photo.png"
    """The whole photo with the reconstruction in its place, where the photo was aligned."""
    PASTED = "pasted.png"
    """The reconstruction with what it lacks of what was seen, where that was not the whole photo."""
    ATTENTION = "attention.png"
    """Where the attention looked."""
    PAGE = "report.html"

    @classmethod
    def latents_file(cls, path: str | Path) -> Path | None:
        """The file of latents that a path names, or that lies in the folder that it names; None for anything else."""
        path = Path(path)
        if os.path.isfile(path / cls.LATENTS):  # Unlike the path's own method, it takes a name that no system allows.
            return path / cls.LATENTS
        return path if path.suffix.lower() in (".safetensors", *FILES) else None

    def write(
        self,
        photo: Photo,
        reconstruction: Tensor,
        latents: Latents,
        facts: Mapping[str, Any],
        *,
        model: str,
        spec: GeneratorSpec,
        tuning: Tuning | None = None,
        looks: Sequence[Look] = (),
        page: str = "",
        pasted: Tensor | None = None,
    ) -> None:
        """Write the files, each atomically, and the latents last: once they are there, all is; what an inversion before
        left and this one does not is removed. ``reconstruction`` is (C, H, W), ``latents`` one sample, ``facts`` plain
        data, ``model`` the hash of the generator's weights, ``tuning`` that of the latents, ``looks`` where the
        attention looked, ``page`` the report, if any, ``pasted`` (C, H, W) see `PASTED`."""
        drop_leftovers(self.path)
        if photo.transform is not None:
            latents.info["transform"] = photo.transform.to_mapping()
        seen = looks_sheet(looks, spec) if len(looks) > 1 else None
        back = photo.put_back(reconstruction if pasted is None else pasted)
        pictures = {self.ATTENTION: seen, self.PHOTO: back, self.PASTED: pasted}
        written: dict[str, Any] = {**pictures, self.PAGE: page or None, self.TUNING: tuning or None}
        written |= dict.fromkeys(self.VALUES)
        for name in (name for name, data in written.items() if data is None):
            if is_ours(self.path / name):
                (self.path / name).unlink(missing_ok=True)
        for name, image in ((self.RECONSTRUCTION, reconstruction), (self.TARGET, photo.target)):
            write_image(self.path / name, image, spec)
        for name, picture in pictures.items():
            if picture is not None:
                sheet = name == self.ATTENTION
                write_png(self.path / name, picture, value_range=spec.value_range, sheet=sheet)
        if page:
            write_text(self.path / self.PAGE, page)
        write_json(self.path / self.FACTS, facts)
        if tuning:
            save_tuning(self.path / self.TUNING, tuning, model=model)
        latents.save(self.path / self.LATENTS, model=model)

    @property
    def is_done(self) -> bool:
        """Whether an inversion lies there, whole."""
        return (self.path / self.LATENTS).is_file()

    @property
    def is_free(self) -> bool:
        """Whether an inversion can be written there, so that nothing of others is lost."""
        pictures = (self.TARGET, self.RECONSTRUCTION, *self.VALUES, self.PHOTO, self.PASTED, self.ATTENTION)
        names = (self.LATENTS, self.TUNING, self.FACTS, self.PAGE, *pictures)
        return not self.path.is_symlink() and all(is_ours(self.path / name) for name in names)

    @property
    def has_page(self) -> bool:
        """Whether it has a report."""
        return (self.path / self.PAGE).is_file()

    def facts(self) -> dict[str, Any]:
        """What is said of the inversion; an OSError if nothing is, a CheckpointError if it cannot be understood."""
        facts = read_json(self.path / self.FACTS, "invert the photo anew")
        if not isinstance(facts, dict):
            raise CheckpointError(f"{self.path / self.FACTS} is damaged; invert the photo anew.")
        return facts

    def latents(self, *, model: str = "") -> Latents:
        """The latents, complete; a LatentsError if there are none, or are not of the hash ``model``, if given."""
        return Latents.load(self.path / self.LATENTS, model=model)

    def tuning(self, latents: Latents, *, model: str) -> Tuning:
        """What `Generator.tuned` takes for latents that lie there; empty where no weights were tuned. A CheckpointError
        if it is missing, another's than theirs, or not of the hash ``model``."""
        known = latents.info.get("tuning")
        return load_tuning(self.path / self.TUNING, model=model, known=known) if known else {}

    def picture(self, name: str, *, value_range: Range = (-1.0, 1.0)) -> Tensor:
        """One of the pictures in colours, (3, H, W); an ImageError if it is not there."""
        return read(self.path / name, value_range=value_range)
