"""The aligner ``face``: photos as generators of aligned faces know them."""

from __future__ import annotations

import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

from ganenc.images import to_uint8
from ganenc.inversion import Aligner, Transform
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc_plugin_faces.crop import Points, face_transform
from ganenc_plugin_faces.detectors import BY_HAND, Detector, build_detector, check_detector
from ganenc_plugin_faces.landmarks import read_landmarks

__all__ = ["FaceAligner"]


class FaceAligner(Aligner):
    """The largest face of a photo, turned upright and cropped as in FFHQ and CelebA-HQ (see `face_transform`).

    What lies outside the photo is mirrored from inside, as by every `Transform`; FFHQ's own photos are besides blurred
    and faded there.

    Args:
        landmarks: a file with the landmarks of the photos (see `read_landmarks`); nothing is detected then.
        detector: ``dlib``, ``yunet``, or ``auto`` for whichever is installed.
        model: the file with dlib's landmarks, where it is not the installed one.

    Raises:
        SpecError: if there is no such detector, or the file is wrong.
    """

    def __init__(
        self, landmarks: str | Path | None = None, detector: str = "auto", model: str | Path | None = None
    ) -> None:
        check_detector(detector, model)
        self.landmarks = None if landmarks is None else read_landmarks(landmarks)
        self.choice, self.model = detector, model

    @cached_property
    def detector(self) -> Detector:
        """What finds the faces, made when the first one is looked for."""
        return build_detector(self.choice, model=self.model)

    def transform(self, photo: Tensor, size: tuple[int, int], **context: Any) -> Transform:
        """Where the face lies.

        Args:
            photo: (C, H, W) from -1 to 1 with 1 or 3 channels, upright.
            size: height and width of the generator's image.
            context: ``name``, the photo's file, where the landmarks are in a file.

        Raises:
            ImageError: if there is no face, or the file has no landmarks of the photo.
        """
        points = self._detected(photo) if self.landmarks is None else self.landmarks.of(context.get("name"))
        return face_transform(points, size, (photo.shape[-2], photo.shape[-1]))

    def _detected(self, photo: Tensor) -> Points:
        """The landmarks of the largest face."""
        pixels = to_uint8(photo.expand(3, -1, -1), (-1.0, 1.0))
        faces = sorted(self.detector(pixels), key=lambda face: face.area)
        if not faces:
            raise ImageError(f"No face is found in the photo, so it cannot be aligned; leave it out, {BY_HAND}.")
        if len(faces) > 1:
            warnings.warn(f"{len(faces)} faces are found in the photo, and the largest is taken.", stacklevel=2)
        return faces[-1].points
