"""The aligner ``face``: landmarks from files, from detectors, and what is said where there are none."""

from __future__ import annotations

import importlib
import importlib.util
import json
import types
from pathlib import Path
from typing import Any

import ganenc_plugin_faces.detectors as detectors
import numpy as np
import pytest
import torch
from ganenc import images
from ganenc.cli import main
from ganenc.inversion import Transform
from ganenc_plugin_faces.aligner import FaceAligner
from ganenc_plugin_faces.crop import face_transform
from ganenc_plugin_faces.detectors import Dlib, Face, YuNet, build_detector
from ganenc_plugin_faces.landmarks import read_landmarks
from ganenc_plugin_faces.mtcnn import FILES, weights_folder
from ganenc_registry.errors import GanencError, ImageError, PluginError, SpecError, WeightsMissingError
from torch import Tensor

FOUR = [[39.5, 49.5], [59.5, 49.5], [41.5, 79.5], [57.5, 79.5]]
LINE = ",".join(str(value) for point in FOUR for value in point)
CORNERS = [(-4, -1), (104, -1), (104, 107), (-4, 107)]
"""Where the crop of such a face lies: see the test of the crop by hand; files count from the first pixel's middle."""


def photo(height: int = 100, width: int = 100, channels: int = 3) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("a.json", json.dumps({"other.jpg": [[1, 2]] * 4, "me.jpg": FOUR})),
            ("b.json", json.dumps(FOUR)),
            ("c.json", json.dumps({"me.jpg": [value for point in FOUR for value in point]})),
            ("d.csv", f"photo,{LINE.replace('.5', 'x')}\nme.jpg,{LINE}\n\n"),
            ("e.csv", f"\ufeffme.jpg,{LINE}\r\nother.jpg,{LINE}\r\n"),
        ],
    )
    def test_they_say_where_the_face_lies(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8")
        aligner = FaceAligner.of(landmarks=tmp_path / name)
        found = aligner.transform(photo(), (64, 64), name="photos/me.jpg", labels=torch.zeros(1))
        assert np.allclose(found.corners(), CORNERS)

    def test_the_way_back_leaves_the_face_where_it_was(self, tmp_path: Path) -> None:
        (tmp_path / "points.json").write_text(json.dumps((np.array(FOUR) / 2 + 40).tolist()))
        whole = photo(120, 140)
        found = FaceAligner.of(landmarks=str(tmp_path / "points.json")).transform(whole, (54, 54))
        again = found.undo(found.apply(whole) * 0 + 1, whole)
        changed = (again != whole).any(0).nonzero()
        (left, top), (right, bottom) = found.corners()[0], found.corners()[2]
        assert changed.min(0).values.tolist() == [pytest.approx(top, abs=1), pytest.approx(left, abs=1)]
        assert changed.max(0).values.tolist() == [pytest.approx(bottom, abs=1.01), pytest.approx(right, abs=1.01)]

    def test_a_photo_without_landmarks_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "points.csv").write_text(f"photo1.jpg,{LINE}\n")
        aligner = FaceAligner.of(landmarks=tmp_path / "points.csv")
        with pytest.raises(ImageError, match=r"no landmarks of photo2\.jpg \(did you mean 'photo1\.jpg'\?\)"):
            aligner.transform(photo(), (64, 64), name="photo2.jpg")
        with pytest.raises(ImageError, match="name is not known"):
            aligner.transform(photo(), (64, 64))

    @pytest.mark.parametrize(
        ("name", "text", "what"),
        [
            ("x.json", "{", "are not JSON"),
            ("x.json", '{"a.jpg": [[1, 2], [3, 4]]}', r"of a\.jpg in .* are 2 points; 4, 5, 68"),
            ("x.json", '{"a.jpg": [[1, "two"], [3, 4]]}', "are not pairs of numbers"),
            ("x.json", "{}", "of no photo"),
            ("x.json", "3", "are not pairs of numbers"),
            ("x.csv", "a.jpg,1,2,3,4,5,6,7\n", "are not pairs of numbers"),
            ("x.csv", "a.jpg,1,2,3,4,5,6,7,nan\n", "finite"),
            ("x.csv", f"a.jpg,{LINE}\na.jpg,{LINE}\n", r"a\.jpg twice"),
            ("x.csv", "", "of no photo"),
        ],
    )
    def test_wrong_files_are_told(self, tmp_path: Path, name: str, text: str, what: str) -> None:
        (tmp_path / name).write_text(text)
        with pytest.raises(SpecError, match=what) as found:
            read_landmarks(tmp_path / name)
        assert str(tmp_path / name) in str(found.value)

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"none\.json cannot be read: No such file"):
            FaceAligner.of(landmarks=tmp_path / "none.json")


class TestDetected:
    @pytest.fixture
    def aligner(self) -> FaceAligner:
        return FaceAligner()

    def test_the_largest_face_is_taken_and_said(self, aligner: FaceAligner) -> None:
        points = np.array(FOUR)
        seen = []

        def detect(pixels: Tensor) -> list[Face]:
            seen.append(pixels)
            return [Face(9.0, points + 1), Face(10.0, points + 2), Face(1.0, points)]

        aligner.__dict__["detector"] = detect
        grey = photo(channels=1)
        with pytest.warns(UserWarning, match="3 faces are found in the photo, and the largest is taken"):
            found = aligner.transform(grey, (64, 64))
        assert found == face_transform(points + 2, (64, 64), (100, 100))
        assert seen[0].dtype == torch.uint8
        assert seen[0].shape == (3, 100, 100)
        assert torch.equal(seen[0][2], ((grey[0] + 1) * 127.5).round().byte())

    def test_a_photo_without_a_face_is_told(self, aligner: FaceAligner) -> None:
        aligner.__dict__["detector"] = lambda pixels: []
        with pytest.raises(ImageError, match=r"No face is found in the photo.*align.options.landmarks=FILE"):
            aligner.transform(photo(), (64, 64))

    def test_wrong_detectors_are_told_at_once(self) -> None:
        with pytest.raises(SpecError, match=r"detector: 'dlip' is not allowed \(did you mean 'dlib'\?\)"):
            FaceAligner.of(detector="dlip")
        with pytest.raises(SpecError, match="'yunet' takes none"):
            FaceAligner.of(detector="yunet", model="x.dat")

    @pytest.mark.filterwarnings("ignore:2 faces")
    def test_another_face_is_taken_by_its_number(self) -> None:
        points = np.array(FOUR)
        for number, moved in ((1, 2), (2, 1)):
            aligner = FaceAligner.of(face=number)
            aligner.__dict__["detector"] = lambda pixels: [Face(9.0, points + 1), Face(10.0, points + 2)]
            assert aligner.transform(photo(), (64, 64)) == face_transform(points + moved, (64, 64), (100, 100))
        third = FaceAligner.of(face=3)
        third.__dict__["detector"] = aligner.detector
        with pytest.raises(ImageError, match="Face 3 is asked for, and the photo shows no more than 2"):
            third.transform(photo(), (64, 64))

    def test_without_dlib_and_an_index_the_ways_out_are_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        with pytest.raises(
            WeightsMissingError, match=r"MTCNN.*pip cannot fetch.*pnet\.pt.*align.options.landmarks=FILE"
        ):
            build_detector()


class Rectangle:
    """A box as dlib has it."""

    def __init__(self, left: int, top: int, right: int, bottom: int) -> None:
        self.sides = (left, top, right, bottom)

    left, top, right, bottom = (lambda self, i=i: self.sides[i] for i in range(4))

    def area(self) -> int:
        return (self.sides[2] - self.sides[0] + 1) * (self.sides[3] - self.sides[1] + 1)


def test_dlib_looks_at_a_small_photo_and_marks_the_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.dat").touch()
    calls: list[Any] = []

    def find(pixels: np.ndarray, enlarged: int) -> list[Rectangle]:
        calls.append(pixels.shape)
        return [Rectangle(10, 20, 29, 39)]

    def mark(pixels: np.ndarray, box: Rectangle) -> Any:
        calls.append((pixels.shape, box.sides))
        return types.SimpleNamespace(parts=lambda: [types.SimpleNamespace(x=i, y=2 * i) for i in range(68)])

    library = types.SimpleNamespace(
        get_frontal_face_detector=lambda: find, shape_predictor=lambda path: mark, rectangle=Rectangle
    )
    monkeypatch.setattr(detectors, "_library", lambda name, extra: library)
    (face,) = Dlib(tmp_path / "x.dat")(torch.zeros(3, 1024, 2048, dtype=torch.uint8))
    assert calls == [(512, 1024, 3), ((1024, 2048, 3), (20, 40, 58, 78))]
    assert face.area == 400 * 4
    assert face.points[3].tolist() == [3.5, 6.5]
    with pytest.raises(WeightsMissingError, match="There is no file"):
        Dlib(tmp_path / "y.dat")


class TestYuNet:
    def test_boxes_and_points_are_those_of_the_photo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        contrib = pytest.importorskip("kornia.contrib")
        row = torch.tensor([[10.0, 20, 40, 80, *range(10), 0.9]])

        class Fake(torch.nn.Module):
            def __init__(self, confidence_threshold: float) -> None:
                super().__init__()

            def forward(self, images: Tensor) -> list[Tensor]:
                assert images.shape == (1, 3, 512, 1024)
                assert images.dtype == torch.float32
                assert images.max() == 255
                return [row]

        monkeypatch.setattr(contrib, "FaceDetector", Fake)
        (face,) = YuNet()(torch.full((3, 1024, 2048), 255, dtype=torch.uint8))
        assert face.area == 30 * 60 * 4
        assert face.points.tolist() == [[0, 2], [4, 6], [8, 10], [12, 14], [16, 18]]

    def test_weights_that_cannot_be_had_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        contrib = pytest.importorskip("kornia.contrib")

        def fail(**_: Any) -> None:
            raise OSError("no way\nout")

        monkeypatch.setattr(contrib, "FaceDetector", fail)
        with pytest.raises(WeightsMissingError, match=r"cannot be fetched \(no way out\); connect once, or give"):
            YuNet()

    def test_a_library_that_is_missing_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(name: str) -> None:
            raise ImportError(f"No module named {name!r}")

        monkeypatch.setattr(importlib, "import_module", fail)
        with pytest.raises(PluginError, match=r'wants kornia .*pip install "ganenc-plugin-faces\[yunet\]"'):
            YuNet()


def test_the_command_aligns_by_a_file_and_names_the_photo_that_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ganenc_plugin_hands")
    for name in ("me.png", "you.png"):
        images.write_png(tmp_path / name, photo())
    (tmp_path / "points.csv").write_text(f"me.png,{LINE}\n")
    words = ["invert", tmp_path / "me.png", tmp_path / "you.png", "--model", "pggan-hands64", "--method", "encode"]
    words += ["--backbone", "none", "--no-report", "--out", tmp_path / "out", "--align", "face"]
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--set", f"align.options.landmarks={tmp_path / 'points.csv'}"])
    assert ended.value.code == 1
    assert "points.csv has no landmarks of you.png (did you mean 'me.png'?)" in capsys.readouterr().err
    told = json.loads((tmp_path / "out" / "me" / "inversion.json").read_text())
    assert np.allclose(Transform.from_mapping(told["transform"]).corners(), CORNERS)
    assert images.read(tmp_path / "out" / "me" / "photo.png").shape == (3, 100, 100)


@pytest.mark.parametrize("name", ["dlib", "mtcnn", "yunet"])
@pytest.mark.filterwarnings("ignore:2 faces")
def test_a_real_face_is_found(name: str) -> None:
    """The public-domain portrait that comes with scikit-image, its eyes and mouth as one sees them."""
    data = pytest.importorskip("skimage.data")
    if name == "yunet" and not Path(torch.hub.get_dir(), "checkpoints", "yunet_final.pth").is_file():
        pytest.skip("needs the weights of YuNet in torch's cache, as kornia fetches them")
    if name == "mtcnn" and not all((weights_folder() / file).is_file() for file in FILES):
        pytest.skip("needs the weights of MTCNN in the cache; `ganenc invert --align face` fetches them")
    try:
        detector = build_detector(name)
    except GanencError as error:
        pytest.skip(f"needs a detector of faces and its weights: {error}")
    pixels = torch.from_numpy(data.astronaut()).permute(2, 0, 1)
    aligner = FaceAligner()
    aligner.__dict__["detector"] = detector
    found = aligner.transform(pixels / 127.5 - 1, (256, 256))
    seen = np.array([(203.3, 101.4), (246.9, 103.3), (202.9, 139.8), (244.5, 140.9)])
    wanted = face_transform(seen, (256, 256), (512, 512))
    off = np.abs(np.array(found.corners()) - wanted.corners())
    assert off.max() < 12
    if name == "mtcnn":
        middles = [np.mean(one.corners(), axis=0) for one in (found, wanted)]
        assert np.hypot(*(middles[0] - middles[1])) < 0.02 * np.hypot(*(seen[1] - seen[0]))
