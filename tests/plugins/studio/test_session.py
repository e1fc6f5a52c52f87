"""What a visitor has open: the way back and forth, bounds, and the lines that do the same."""

from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="needs gradio, which ganenc-plugin-studio brings")

import ganenc
import numpy as np
import torch
from ganenc.cli import main
from ganenc.latents import Latents
from ganenc_plugin_studio import work
from ganenc_plugin_studio.models import Models
from ganenc_plugin_studio.session import KEPT, PIXELS, Moment, Session, Sessions
from ganenc_plugin_studio.stage import box_of, marks_of
from ganenc_plugin_studio.words import verdict_text
from ganenc_registry.errors import GanencError, ImageError, LatentsError, SpecError
from PIL import Image

MODEL = "stylegan2-hands64"


@pytest.fixture(scope="module")
def models() -> Models:
    return Models()


@pytest.fixture
def sessions(models: Models) -> Iterator[Sessions]:
    found = Sessions(models, MODEL, visitors=3)
    yield found
    found.close()


@pytest.fixture
def session(sessions: Sessions) -> Session:
    found = sessions.of("someone")
    found.choose(MODEL)
    return found


def opened(session: Session, photo: Path) -> Session:
    work.invert_first(session, photo, None, None)
    return session


def test_there_is_a_way_back_and_forth_over_everything(session: Session, photo: Path) -> None:
    opened(session, photo)
    seen = [session.images()]
    session.move("class-5", 2.1)
    seen.append(session.images())
    session.move("class-5", 2.5)
    seen.append(session.images())
    work.draw(session, 3)
    seen.append(session.images())
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(seen))
    for image in reversed(seen[:-1]):
        session.undo()
        assert torch.equal(session.images(), image)
    session.undo()
    assert torch.equal(session.images(), seen[0]), "there is nothing before"
    for image in seen[1:]:
        session.redo()
        assert torch.equal(session.images(), image)
    session.undo()
    session.move("class-1", 1.0)
    session.redo()
    assert not session.future, "what was new has no way forth"
    assert session.need().moves == {"class-5": 2.5, "class-1": 1.0}


def test_the_way_back_is_bounded(session: Session) -> None:
    work.draw(session, 0)
    for strength in range(3 * KEPT):
        session.move("class-0", strength / 100)
    assert len(session.past) == KEPT


def test_a_second_inversion_of_a_photo_keeps_its_moves(session: Session, photo: Path) -> None:
    opened(session, photo).move("class-5", 1.5)
    list(work.refine(session, "optimize", 2, None))
    assert session.need().moves == {"class-5": 1.5}
    assert session.need().inverted.method == "optimize"  # type: ignore[union-attr]
    opened(session, photo)
    assert session.need().moves == {}


def test_a_dropped_refinement_changes_nothing(session: Session, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc_plugin_studio.jobs.EVERY", 0.0)
    going = work.refine(opened(session, photo), "optimize", 10**6, None)
    next(going)
    before, thread = session.now, session.job
    work.draw(session, 1)
    list(going)
    assert thread is not None
    assert thread.dropped
    assert session.past[-1] is before
    assert session.need().photo is None


def test_sessions_go_where_nobody_touches_them_and_where_there_are_many(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, now = Sessions(models, MODEL, visitors=3, idle=100.0), [0.0]
    monkeypatch.setattr("ganenc_plugin_studio.session.time.monotonic", lambda: now[0])
    folders = {name: found.of(name).folder for name in "abc"}
    found.of("a")
    found.of("d")
    assert len(found) == 3
    assert [folder.is_dir() for folder in folders.values()] == [True, False, True], "b was touched longest ago"
    now[0] = 101.0
    working = found._open["a"]
    job = working.begin()
    found.of("e")
    assert [*found._open] == ["a", "e"], "a works"
    job.done = True
    found.of("e")
    assert len(found) == 1
    found.drop("e")
    found.drop("nobody")
    assert len(found) == 0
    assert [*found.root.iterdir()] == []
    found.close()


def test_all_share_a_model_and_few_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loaded:
        def __init__(self, source: str, device: str) -> None:
            self.source = source

    monkeypatch.setattr("ganenc_plugin_studio.models.load", Loaded)
    models = Models()
    held = [models.get(name) for name in "abc"]
    assert [models.get(name) for name in "abc"] == held
    with pytest.raises(SpecError, match="room for no other: take one of a, b, c"):
        models.get("d")
    assert models.passing("a") is held[0]
    assert models.passing("d").source == "d", "for a while there is room"
    held.clear()
    assert models.get("d").source == "d"


@pytest.mark.parametrize("name", ["text.jpg", "cut.png", "large.png", "none.jpg"])
def test_what_is_no_photo_is_told_in_a_sentence(session: Session, tmp_path: Path, photo: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text.jpg":
        path.write_text("no photo at all")
    elif name == "cut.png":
        Image.open(photo).save(path)
        path.write_bytes(path.read_bytes()[:500])
    elif name == "large.png":
        Image.new("1", (10_000, PIXELS // 10_000 + 1)).save(path)
    with pytest.raises((ImageError, OSError), match=name):
        opened(session, path)
    assert session.now is None


def test_a_model_without_encoder_says_that_its_mean_is_shown(
    session: Session, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.need_model(), "encoder", None)
    said = verdict_text(work.judged(opened(session, photo)), session.need_model())
    assert "no encoder" in said
    torch.testing.assert_close(session.latents()["w"], session.need_model().generator.center()["w"])
    work.draw(session, 1)
    assert verdict_text(work.judged(session), session.need_model()) == ""


def test_names_on_the_page_are_escaped() -> None:
    class Named:
        def metrics(self) -> dict[str, Any]:
            return {}

    told = {"verdict": None, "metrics": {"<script>x</script>": 1.0}, "facts": {"<b>": "<img src=x onerror=y>"}}
    said = verdict_text(told, Named())  # type: ignore[arg-type]
    assert "<script" not in said.lower()
    assert "<img" not in said
    assert "&lt;img" in said
    assert "LPIPS</td><td>left out" in said


@pytest.mark.parametrize(
    "marks",
    ["", "[", "[1]", '{"points": 3}', '{"points": [[1, 2]], "targets": [[1]]}',
     '{"points": [[1, 1e999]], "targets": [[1, 2]]}',
     '{"points": [[1, 2]], "targets": [[1, 2]], "strokes": [["a", 1, 2]]}',
     json.dumps({"points": [[1, 2]] * 1000, "targets": [[1, 2]] * 1000}), '{"points": []}', '{"points": [[NaN, 1]]}',
     "[" * 10**6],
)  # fmt: skip
def test_marks_that_make_no_sense_are_told(marks: str) -> None:
    with pytest.raises(SpecError):
        marks_of(marks, (8, 8))
    with pytest.raises(SpecError):
        box_of(marks)


def test_strokes_are_what_may_move() -> None:
    marks = '{"points": [[2, 3]], "targets": [[4, 3]], "strokes": [[2, 3, 1]]}'
    points, targets, moves = marks_of(marks, (6, 8))
    assert (points, targets) == ([[2, 3]], [[4, 3]])
    assert moves.shape == (6, 8)
    assert moves.sum() == 5
    assert moves[3, 1:4].all()
    assert box_of('{"box": [1, 2, 3.5, 4]}') == [1.0, 2.0, 3.5, 4.0]


def test_the_lines_do_the_same(session: Session, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session.read(photo, None)
    work.invert_first(session, photo, {"name": "box", "options": {"box": [1.0, 2.0, 60.0, 60.0]}}, None)
    session.move("class-5", 1.25)
    session.move("class-1", -0.5)
    for _ in work.drag(session, [[30.0, 20.0]], [[40.0, 20.0]], np.arange(64) > np.arange(20, 84)[:, None] - 40):
        session.job.stop()  # type: ignore[union-attr]
    (tmp_path / photo.name).write_bytes(photo.read_bytes())
    (mask,) = [path for path in work.export(session, "") if path.name.startswith("mask")]
    (tmp_path / mask.name).write_bytes(mask.read_bytes())
    monkeypatch.chdir(tmp_path)
    acts = session.acts()
    assert len(acts) == 4
    for act in acts:
        with pytest.raises(SystemExit) as ended:
            main(shlex.split(act.command)[1:])
        assert ended.value.code == 0
    found = Latents.load(tmp_path / acts[-1].left / "latents.safetensors")
    assert torch.allclose(found["w"], session.latents()["w"], atol=1e-4)
    for folder in ("inverted", "edit-1", "edit-2", "drag-3"):
        (tmp_path / folder).rename(tmp_path / f"by-command-{folder}")
    exec("\n".join(act.python for act in acts), {})
    assert torch.equal(Latents.load(tmp_path / acts[-1].left / "latents.safetensors")["w"], found["w"])


def test_a_drag_goes_on_with_the_photo_and_its_tuned_weights(session: Session, photo: Path) -> None:
    opened(session, photo)
    list(work.refine(session, "tune", 2, None))
    tuned = session.need().tuning
    weights = ganenc.model_hash(session.need_model().generator)
    for _ in work.drag(session, [[30.0, 20.0]], [[34.0, 20.0]], None):
        session.job.stop()  # type: ignore[union-attr]
    moment: Moment = session.need()
    assert moment.tuning is tuned
    assert moment.photo is not None
    assert ganenc.model_hash(session.need_model().generator) == weights


def test_a_later_drag_leaves_the_mask_of_an_earlier_one(session: Session) -> None:
    masks = []
    for place in (20, 40):
        work.draw(session, 0)
        mask = np.arange(64)[:, None] + np.zeros(64) > place - 10
        for _ in work.drag(session, [[30.0, float(place)]], [[34.0, float(place)]], mask):
            session.job.stop()  # type: ignore[union-attr]
        masks.append(mask)
    for mask in reversed(masks):
        (file,) = [path for path in work.export(session, "") if path.name.startswith("mask")]
        assert np.array_equal(np.asarray(Image.open(file)) > 127, mask)
        session.undo()
        session.undo()


@pytest.mark.parametrize("strength", [float("nan"), float("inf"), -1e30, "x", None])
def test_nothing_is_moved_out_of_this_world(session: Session, strength: Any) -> None:
    work.draw(session, 0)
    before = session.now
    for way in (session.move, session.peek):
        with pytest.raises(LatentsError, match="by -100 to 100"):
            way("class-0", strength)
    assert session.now is before


def test_large_images_that_are_slow_are_previewed_while_they_are_moved(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    work.draw(session, 0)
    assert session.peek("class-0", 1.0).size == (64, 64)
    assert session.preview is None
    monkeypatch.setattr("ganenc_plugin_studio.session.LARGE", 32)
    monkeypatch.setattr("ganenc_plugin_studio.session.SLOW", 0.0)
    monkeypatch.setattr("ganenc_plugin_studio.session.SIDE", 32)
    work.draw(session, 1)
    whole = session.images()
    assert session.peek("class-0", 1.0).size == (32, 32)
    session.move("class-0", 1.0)
    assert session.images().shape == whole.shape
    assert not torch.equal(session.images(), whole)
    assert session.peek("class-0", 0.0).size == (32, 32)


def test_directions_are_found_here_and_between_photos(session: Session, photo: Path) -> None:
    others = sorted(photo.parent.glob("*.jpg"))
    assert work.directions_between(session, [str(others[0])], [str(others[5])], "thumb") == ["thumb"]
    opened(session, photo)
    before = session.images()
    session.move("thumb", 1.0)
    assert not torch.equal(before, session.images())
    with pytest.raises(GanencError, match="no direction 'nothing'"):
        session.move("nothing", 1.0)
    with pytest.raises(SpecError, match="both"):
        work.directions_between(session, [], [str(others[0])], "x")


def test_a_second_photo_is_mixed_in_and_led_to(session: Session, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(work.MIXABLE, "options", {"steps": 2})
    opened(session, photo)
    other = str(sorted(photo.parent.glob("*.jpg"))[0])
    before = session.latents()["w"]
    work.mix(session, other, [0, 1])
    after = session.latents()["w"]
    assert torch.equal(after[:, 2:], before[:, 2:])
    assert not torch.equal(after[:, :2], before[:, :2])
    place, act = work.interpolate(session, other, 3, "webp")
    with Image.open(place) as animation:
        assert animation.n_frames > 2
    assert "ganenc interpolate mix-1/" in act.command
    with pytest.raises(SpecError, match="layers"):
        work.mix(session, other, [])


def test_no_file_takes_the_place_of_another(session: Session, photo: Path, tmp_path: Path) -> None:
    others = sorted(photo.parent.glob("*.jpg"))[:2]
    kept = []
    for place, other in enumerate(others):
        path = tmp_path / str(place) / "after.png"
        path.parent.mkdir()
        path.write_bytes(other.read_bytes())
        opened(session, path)
        kept.append(session.need().photo.source)  # type: ignore[union-attr]
    assert [one.read_bytes() for one in kept] == [one.read_bytes() for one in others]
    assert [one.name for one in kept] == ["after.png"] * 2
    assert session.keep(kept[0]) == kept[:1]
    assert not session.owns(session.folder / ".." / "x.png")
