"""The classes of photos as people write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ganenc.inversion import folder_labels, read_labels, written_labels
from ganenc_registry.errors import SpecError

PHOTOS = [Path("data/3/x.jpg"), Path("data/0/y.jpg")]


@pytest.mark.parametrize(
    ("labels", "found"),
    [("3,0", [3, 0]), (" 4 ", [4, 4]), ([1], [1, 1]), ((2, 5), [2, 5]), ("folders", [3, 0])],
)
def test_numbers_and_folders_give_each_photo_its_class(labels: str | list[int], found: list[int]) -> None:
    assert written_labels(labels, PHOTOS) == read_labels(labels, PHOTOS, classes=6) == found


def test_names_begin_with_the_class() -> None:
    assert written_labels("names", [Path("7-a.png"), Path("x/10.png"), Path("2 b.png")]) == [7, 10, 2]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'photo,class\n"0/y.jpg",1\nx.jpg,2\ny.jpg,9\n'),
        ("b.json", json.dumps({"labels": {"x.jpg": 2, "data/0/y.jpg": 1}})),
        ("c.json", json.dumps({"x.jpg": 2, "y.jpg": 1})),
        ("d.json", json.dumps({"labels": [["3/x.jpg", 2], ["0/y.jpg", 1]]})),
        ("e.txt", "".join(f"{photo.absolute()} {label}\n\n" for photo, label in zip(PHOTOS, (2, 1), strict=True))),
    ],
)
def test_a_file_names_photos_by_their_file_or_a_longer_path(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert written_labels(str(tmp_path / name), PHOTOS) == [2, 1]


@pytest.mark.parametrize("way", ["predicted", "searched"])
def test_a_way_to_find_them_comes_back_where_it_may(way: str) -> None:
    assert read_labels(way, PHOTOS, classes=4) == way
    with pytest.raises(SpecError, match="here the classes have to be given"):
        written_labels(way, PHOTOS)


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        ("1,2,3", 4, "3 are given for 2 photos"),
        ("1,4", 4, "4 is no class of the model; they run from 0 to 3"),
        ("1,-2", 4, "whole numbers of 0 or more"),
        ("predictd", 4, "did you mean 'predicted'"),
        ("names", 4, "begins with no number"),
        ("predicted", 0, "has no classes"),
        ("1", 0, "has no classes"),
    ],
)
def test_what_cannot_be_is_one_sentence(labels: str, classes: int, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        read_labels(labels, PHOTOS, classes=classes)


def test_folders_name_classes_only_if_all_do() -> None:
    assert folder_labels([Path("3/a.png"), Path("x/07/b.png")], 10) == [3, 7]
    assert folder_labels([Path("3/a.png"), Path("x/b.png")], 10) is None
    assert folder_labels([Path("3/a.png")], 3) is None


def test_classes_of_hundreds_of_photos_can_be_written_out() -> None:
    numbers = list(range(10)) * 40
    assert written_labels(",".join(map(str, numbers)), [Path(f"{place}.png") for place in range(400)]) == numbers
