"""Finding faces and their landmarks, by libraries that are installed besides."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from ganenc.images import shrink
from ganenc_registry.errors import DownloadError, PluginError, WeightsMissingError
from torch import Tensor

from ganenc_plugin_faces.crop import Points
from ganenc_plugin_faces.mtcnn import FILES, detect, load_networks, weights_folder

__all__ = ["DETECTORS", "MTCNN", "Detector", "Dlib", "Face", "YuNet", "build_detector"]

LOOK = 1024
"""The longest side, in pixels, of the photo in which faces are looked for."""
MODEL = Path("models", "shape_predictor_68_face_landmarks.dat")
BY_HAND = "or give the landmarks in a file, `align.options.landmarks=FILE`"


class Face(NamedTuple):
    """A face in a photo: the area of its box, and its landmarks (P, 2)."""

    area: float
    points: Points


class Detector(Protocol):
    """A way to find faces."""

    def __call__(self, photo: Tensor) -> list[Face]:
        """A photo (3, H, W), uint8 => its faces, in any order."""


class Dlib:
    """dlib's frontal faces and 68 landmarks, as FFHQ was made; no network is needed.

    The landmarks' weights are those of the distribution face-recognition-models, or a file from dlib.net. They were
    trained on iBUG 300-W, whose licence allows no commercial use.

    Args:
        model: the file with the weights; by default the installed one.

    Raises:
        PluginError: if dlib is not installed.
        WeightsMissingError: if there are no weights.
    """

    def __init__(self, model: str | Path | None = None) -> None:
        dlib = _library("dlib", extra="dlib")
        path = Path(model) if model is not None else _shipped()
        if not path.is_file():
            raise WeightsMissingError(f"There is no file {path} with the landmarks' weights for dlib; check its name.")
        self._find = dlib.get_frontal_face_detector()
        try:
            self._mark = dlib.shape_predictor(str(path))
        except RuntimeError as error:
            raise WeightsMissingError(f"{path} holds no landmarks for dlib: {str(error).strip()}.") from None
        self._rectangle = dlib.rectangle

    def __call__(self, photo: Tensor) -> list[Face]:
        """See `Detector`. Faces are looked for at most at `LOOK` pixels, and marked in the full photo."""
        small, scale = _looked_at(photo)
        pixels = _array(photo)
        faces = []
        for box in self._find(_array(small), 1):
            edges = (box.left() * scale, box.top() * scale, box.right() * scale, box.bottom() * scale)
            marked = self._mark(pixels, self._rectangle(*(round(edge) for edge in edges)))
            points = np.array([(point.x, point.y) for point in marked.parts()], dtype=np.float64) + 0.5
            faces.append(Face(float(box.area()) * scale**2, points))
        return faces


class MTCNN:
    """Faces and five landmarks by three small networks (see `ganenc_plugin_faces.mtcnn`); their weights, 2 MB, come out
    of a wheel on first use. A WeightsMissingError if they cannot be fetched."""

    def __init__(self) -> None:
        try:
            self._networks = load_networks()
        except DownloadError as error:
            raise WeightsMissingError(
                f"The weights of MTCNN are not here and cannot be fetched ({error}): try again later, or put"
                f" {', '.join(FILES)} out of facenet-pytorch's wheel into {weights_folder()}, {BY_HAND}."
            ) from None

    def __call__(self, photo: Tensor) -> list[Face]:
        """See `Detector`."""
        small, scale = _looked_at(photo)
        boxes, points = (found.double().cpu().numpy() * scale for found in detect(small, self._networks))
        return [Face(float(np.prod(box[2:] - box[:2])), marks) for box, marks in zip(boxes, points, strict=True)]


class YuNet:
    """YuNet by kornia (Wu et al., 2023): faces and five landmarks; its weights, under 1 MB, are fetched once.

    Args:
        confidence: from 0 to 1, below which nothing counts as a face.

    Raises:
        PluginError: if kornia is not installed.
        WeightsMissingError: if the weights are not here and cannot be fetched.
    """

    def __init__(self, confidence: float = 0.6) -> None:
        faces = _library("kornia.contrib", extra="yunet")
        try:
            self._find = faces.FaceDetector(confidence_threshold=confidence).eval()
        except Exception as error:  # Whatever the network and the disk can do; kornia passes it on as it is.
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise WeightsMissingError(
                f"The weights of YuNet are not here and cannot be fetched ({reason}); connect once, {BY_HAND}."
            ) from None

    @torch.no_grad()
    def __call__(self, photo: Tensor) -> list[Face]:
        """See `Detector`."""
        small, scale = _looked_at(photo)
        (rows,) = self._find(small[None].float())
        faces = []
        for row in np.asarray(rows, dtype=np.float64) * scale:
            left, top, right, bottom = row[:4]
            faces.append(Face((right - left) * (bottom - top), row[4:14].reshape(5, 2)))
        return faces


DETECTORS: Mapping[str, Callable[..., Detector]] = MappingProxyType({"dlib": Dlib, "mtcnn": MTCNN, "yunet": YuNet})
"""Every detector, by name."""


def build_detector(name: str = "auto", *, model: str | Path | None = None) -> Detector:
    """The detector of that name; where it is ``auto``, dlib if that is installed, otherwise MTCNN.

    Args:
        name: ``dlib``, ``mtcnn``, ``yunet`` or ``auto``.
        model: the file with dlib's landmarks.

    Raises:
        PluginError: if its library is not installed.
        WeightsMissingError: if its weights are not here.
    """
    if name == "auto":
        name = "dlib" if model is not None or importlib.util.find_spec("dlib") is not None else "mtcnn"
    return Dlib(model) if name == "dlib" else DETECTORS[name]()


def _library(name: str, *, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise PluginError(
            f"The detector {extra} wants {name.partition('.')[0]} ({error}): run"
            f' `pip install "ganenc-plugin-faces[{extra}]"`, {BY_HAND}.'
        ) from None


def _shipped() -> Path:
    """The landmarks' weights of the distribution that carries them; its code is not run."""
    found = importlib.util.find_spec("face_recognition_models")
    if found is None or found.origin is None:
        raise WeightsMissingError(
            "dlib's landmarks want weights: `pip install face-recognition-models`, or name a file"
            f" {MODEL.name} with `align.options.model=FILE`, {BY_HAND}."
        )
    return Path(found.origin).parent / MODEL


def _looked_at(photo: Tensor) -> tuple[Tensor, float]:
    """A photo, uint8, made smaller where it is large, and how much larger the photo is."""
    if max(photo.shape[-2:]) <= LOOK:
        return photo, 1.0
    return shrink(photo.float(), LOOK).round().to(torch.uint8), max(photo.shape[-2:]) / LOOK


def _array(photo: Tensor) -> Any:
    return np.ascontiguousarray(photo.permute(1, 2, 0).cpu().numpy())
