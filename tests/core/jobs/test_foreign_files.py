"""Result folders that others had their hands in: nothing is written elsewhere, lost, waited for, or taken on trust."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ganenc.inversion import PhotoFolder
from ganenc.jobs import JobResult, Record, ResultFolder, invert_folder
from ganenc.model import Model
from ganenc_registry.errors import CheckpointError, GanencError, ImageError, SpecError
from ganenc_registry.specs import InvertSpec
from painting import Paints, calls, faults, grey_photos, rows, seen


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return grey_photos(tmp_path / "photos", 3)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def invert(toy: Any, known: Any, photos: list[Path], out: Path) -> Callable[..., JobResult]:
    known.add_value("inverter", "paints", Paints)
    calls.clear()
    faults.clear()
    model, spec = Model(toy, source="toy", backbone="none"), InvertSpec(method="paints")

    def run(**switches: Any) -> JobResult:
        calls.clear()
        return invert_folder(model, photos, out, spec, pages=False, **switches)

    return run


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def edit_rows(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every row of an index in its place."""
    found = list(rows(out).values())
    for row in found:
        change(row)
    (out / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))


@pytest.mark.parametrize(
    "place", ["../victim", "{victim}", "..", ".", "", "a/../../victim", "a\0b", "x" * 300, 7, None]
)
def test_a_folder_named_in_an_index_lies_in_that_of_the_job(
    place: Any, invert: Callable[..., JobResult], photos: list[Path], out: Path
) -> None:
    invert()
    victim = out.parent / "victim"
    PhotoFolder(out / "0").path.rename(victim)
    (victim / "report.html").write_text("mine")
    (victim / f".notes-{'0' * 32}.txt").write_text("mine")
    before = listing(victim)
    place = place.format(victim=victim) if isinstance(place, str) else place
    edit_rows(out, lambda row: row.update(folder=place) if row["folder"] == "0" else None)
    with pytest.warns(UserWarning, match=r"1 rows of .*index\.jsonl are damaged"):
        assert invert().done == 3
    assert seen() == [0]
    assert listing(victim) == before
    assert {path.name for path in out.parent.iterdir()} == {"photos", "out", "victim"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [row["folder"] for row in ResultFolder(out).rows()] == ["0", "1", "2"]


def test_a_link_in_place_of_a_folder_and_a_folder_of_two_photos_are_not_written_to(
    invert: Callable[..., JobResult], out: Path
) -> None:
    invert()
    victim = (out / "0").rename(out.parent / "victim")
    (out / "0").symlink_to(victim)
    edit_rows(out, lambda row: row.update(folder="1", bytes=0) if row["folder"] == "2" else None)
    before = listing(victim)
    with pytest.warns(UserWarning, match="2 rows"):
        invert()
    assert seen() == [0, 20]
    assert listing(victim) == before
    assert [row["folder"] for row in rows(out).values()] == ["0-2", "1", "2"]


def test_what_lies_in_the_folder_already_stays(invert: Callable[..., JobResult], out: Path) -> None:
    (out / "0").mkdir(parents=True)
    (out / "1").mkdir()
    (out / "0" / "target.png").write_text("mine")
    (out / "1" / "notes.txt").write_text("mine")
    (out / "index-old.jsonl").write_text('{"photo": "x"}\n')
    before = listing(out)
    invert()
    assert [row["folder"] for row in rows(out).values()] == ["0-2", "1", "2"], "another name, where something were lost"
    after = listing(out)
    assert {name: after[name] for name in before} == before
    assert invert().skipped == 3
    invert(overwrite=True)
    assert seen() == [0, 10, 20]
    assert [row["folder"] for row in rows(out).values()] == ["0-2", "1", "2"]


@pytest.mark.parametrize("name", ["index.html", "settings.json", "index.jsonl", "index-3.jsonl"])
def test_files_of_others_by_the_names_of_ours_are_refused(
    name: str, invert: Callable[..., JobResult], out: Path
) -> None:
    out.mkdir()
    (out / name).write_text('{"file": "a.png", "caption": "mine"}\n{"file": "b.png"}')
    before = listing(out)
    with pytest.raises(GanencError, match=name.replace(".", r"\.")):
        invert()
    after = listing(out)
    assert {one: after[one] for one in before} == before
    assert calls == []
    if name == "index.html":
        assert invert(report=False).done == 3


def test_lines_that_are_no_rows_stay_in_the_index(invert: Callable[..., JobResult], out: Path) -> None:
    invert()
    others = [b'{"caption": "mine"}\n', b"garbage\n", b"[" * 5000 + b"\n"]
    with (out / "index.jsonl").open("ab") as file:
        file.writelines(others)
        file.write(b'{"photo": "/cut o')
    assert invert().skipped == 3
    lines = (out / "index.jsonl").read_bytes().splitlines(keepends=True)
    assert [line for line in lines if line in others] == others
    assert len(lines) == 6


NUMBERS = ("seconds", "bytes", "modified")


@pytest.mark.parametrize(
    "change",
    [
        *({name: "text"} for name in ("status", "metrics", "metrics_of_the_mean_image", *NUMBERS, "given_label")),
        *({name: None} for name in ("status", "metrics", "metrics_of_the_mean_image", "seconds", "settings")),
        *({name: ...} for name in ("status", "metrics", "metrics_of_the_mean_image", "seconds", "settings")),
        {"metrics": {"psnr": "text"}}, {"metrics": {"ssim": 1.0}}, {"metrics": {"psnr": True}}, {"metrics": []},
        {"seconds": [1]}, {"given_label": "7", "status": "failed"}, {"warning": 5}, {"labels_from": [1]},
    ],
)  # fmt: skip
def test_a_damaged_row_is_as_if_it_were_not_there(
    change: dict[str, Any], invert: Callable[..., JobResult], out: Path
) -> None:
    invert()

    def damage(row: dict[str, Any]) -> None:
        if row["folder"] == "1":
            row.update(change)
            for name in [name for name, value in row.items() if value is ...]:
                del row[name]

    edit_rows(out, damage)
    with pytest.warns(UserWarning, match="1 rows"):
        assert [row["folder"] for row in ResultFolder(out).rows()] == ["0", "2"]
    with pytest.warns(UserWarning, match="1 rows"):
        outcome = invert()
    assert (seen(), outcome.done) == ([10], 3)
    assert [row["folder"] for row in ResultFolder(out).rows()] == ["0", "1", "2"]


@pytest.mark.parametrize("content", ["[]", "[" * 5000, "7", '{"x": 3}', "\xff", ""])
def test_damaged_settings_are_as_if_they_were_not_there(
    content: str, invert: Callable[..., JobResult], out: Path
) -> None:
    invert()
    (out / "settings.json").write_text(content, encoding="latin-1")
    assert ResultFolder(out).settings() == {}
    (out / "1" / "latents.safetensors").unlink()
    invert()
    assert seen() == [10]
    (out / "settings.json").write_text(content, encoding="latin-1")
    edit_rows(out, lambda row: row.update(settings="other"))
    with pytest.raises(SpecError, match="other settings"):
        invert()
    (out / "0" / "inversion.json").write_text(content, encoding="latin-1")
    with (
        pytest.raises(CheckpointError, match=r"inversion\.json") if content != '{"x": 3}' else warnings.catch_warnings()
    ):
        ResultFolder(out).photo(out.parent / "photos" / "0.png").facts()


def test_pipes_in_a_result_folder_are_not_waited_for(
    invert: Callable[..., JobResult], out: Path, make_pipe: Callable[[Path], None]
) -> None:
    invert()
    for name in ("0/latents.safetensors", "0/target.png", "1/inversion.json", "settings.json"):
        (out / name).unlink()
        make_pipe(out / name)
    assert ResultFolder(out).settings() == {}
    with pytest.raises(OSError, match="no regular file"):
        ResultFolder(out).photo("1").facts()
    with pytest.raises(ImageError, match="no regular file"):
        ResultFolder(out).photo("0").picture("target.png")
    with pytest.raises(GanencError, match="is there already"):
        invert()
    (out / "index.jsonl").unlink()
    make_pipe(out / "index.jsonl")
    assert list(ResultFolder(out).rows()) == []
    with pytest.raises(GanencError):
        invert()


@pytest.mark.skipif(os.name != "posix", reason="needs a system whose file names have the encoding of the locale")
def test_a_photo_is_known_by_the_same_words_in_every_locale(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", ResultFolder(tmp_path / "out")
    photos.mkdir()
    one, two = "\u00e9.png", "e\u0301.png"  # Composed and not; both are names of their own.
    for name in (one, two, "9.png"):
        (photos / name).touch()
    (tmp_path / "list.txt").write_text(f"photos/{one}\nphotos/{two}\nphotos/9.png\n", encoding="utf-8")
    (tmp_path / "labels.csv").write_text(f"{one},1\nphotos/{two},2\n9.png,3\n", encoding="utf-8")
    numbers = {"metrics": {"psnr": 1.0}, "metrics_of_the_mean_image": {"psnr": 1.0}, "seconds": 1.0}
    with Record(out, out.find([tmp_path / "list.txt"]), {}) as record:
        assert len(record.todo) == 3
        for todo in record.todo[:2]:
            record.add(todo.as_it_is(), "done", numbers)
            (out.path / todo.name).mkdir()
            (out.path / todo.name / "latents.safetensors").touch()
    code = (
        "import sys; from ganenc.inversion import read_labels; from ganenc.jobs import Record, ResultFolder;"
        "folder = ResultFolder('out'); photos = folder.find(['list.txt']); record = Record(folder, photos, {});"
        "record.__enter__(); print(sys.getfilesystemencoding(), read_labels('labels.csv', photos),"
        " [one.photo.name for one in record.todo], [folder.photo(one).is_done for one in photos[:2]])"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.stdout.strip() == "ascii [1, 2, 3] ['9.png'] [True, True]", told.stderr
