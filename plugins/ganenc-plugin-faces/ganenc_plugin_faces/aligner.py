"""The aligner ``face``: photos as generators of aligned faces know them."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Literal

from ganenc.images import to_uint8
from ganenc.inversion import Aligner, Transform
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError
from ganenc_registry.specs import Spec
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from typing_extensions import Self

from ganenc_plugin_faces.crop import Points, face_transform
from ganenc_plugin_faces.detectors import BY_HAND, Detector, build_detector
from ganenc_plugin_faces.landmarks import read_landmarks

__all__ = ["FaceAligner"]


class FaceAligner(Aligner):
    """A face of a photo, by default the largest, turned upright and cropped as in FFHQ and CelebA-HQ: see
    `face_transform`.

    What lies outside the photo is mirrored from inside, as by every `Transform`; FFHQ's own photos are besides blurred
    and faded there.

    Raises:
        SpecError: if the file with the landmarks is wrong.
    """

    class Options(Spec):
        landmarks: Path | None = Field(
            None, description="a file with the landmarks of the photos (JSON or CSV); nothing is detected then"
        )
        detector: Literal["auto", "dlib", "mtcnn", "yunet"] = Field(
            "auto", description="auto takes dlib where it is installed, otherwise mtcnn"
        )
        face: PositiveInt = Field(1, description="which face, where there are several: 1 is the largest")
        model: Path | None = Field(None, description="a file with dlib's landmarks, in place of the installed one")

        @model_validator(mode="after")
        def _of_dlib(self) -> Self:
            if self.model is not None and self.detector in ("mtcnn", "yunet"):
                raise ValueError(
                    f"model is a file with dlib's landmarks, and the detector {self.detector!r} takes none"
                )
            return self

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.landmarks = None if self.options.landmarks is None else read_landmarks(self.options.landmarks)

    @cached_property
    def detector(self) -> Detector:
        """What finds the faces, made when the first one is looked for."""
        return build_detector(self.options.detector, model=self.options.model)

    def transform(
        self, photo: Tensor, size: tuple[int, int], *, name: str = "", labels: Tensor | None = None
    ) -> Transform:
        """Where the face lies; see `Aligner.transform`. Landmarks from a file are found by the photo's name.

        Raises:
            ImageError: if there is no face, or the file has no landmarks of the photo.
        """
        points = self._detected(photo) if self.landmarks is None else self.landmarks.of(name)
        return face_transform(points, size, (photo.shape[-2], photo.shape[-1]))

    def _detected(self, photo: Tensor) -> Points:
        """The landmarks of the face that is asked for."""
        pixels = to_uint8(photo.expand(3, -1, -1), (-1.0, 1.0))
        faces = sorted(self.detector(pixels), key=lambda face: -face.area)
        wanted = self.options.face
        if not faces:
            raise ImageError(f"No face is found in the photo, so it cannot be aligned; leave it out, {BY_HAND}.")
        if wanted > len(faces):
            raise ImageError(
                f"Face {wanted} is asked for, and the photo shows no more than {len(faces)}; name a smaller number."
            )
        if len(faces) > 1 and wanted == 1:
            warnings.warn(
                f"{len(faces)} faces are found in the photo, and the largest is taken; face=2 is the next.",
                stacklevel=2,
            )
        return faces[wanted - 1].points
