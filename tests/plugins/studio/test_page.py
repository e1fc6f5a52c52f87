"""The page as it is served: its endpoints, what they refuse, and that nothing comes from elsewhere."""

# ruff: noqa: E402
from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

gradio = pytest.importorskip("gradio", reason="needs gradio, which ganenc-plugin-studio brings")

import httpx
import numpy as np
import torch
from ganenc.cli import main
from ganenc.inversion import MIXABLE
from ganenc.jobs import Attributed, Attribution
from ganenc_plugin_studio import command
from ganenc_plugin_studio.words import attribution_text
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

README = Path(__file__).resolve().parents[3] / "plugins/ganenc-plugin-studio/README.md"


def pixels(path: str) -> Any:
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def opened(client: Any, photo: Path) -> Any:
    return client.predict(handle_file(str(photo)), "none", "found", api_name="/open_photo")


def test_nothing_on_the_page_names_another_host(served: Any) -> None:
    page = httpx.get(served.url)
    assert "default-src 'self'" in page.headers["content-security-policy"]
    styles = [httpx.get(served.url + name) for name in re.findall(r'href="\.?/?([^"]+\.css)"', page.text)]
    assert len(styles) > 0
    own = {served.url.removesuffix("/"), "http://www.w3.org"}  # The latter names what SVG is.
    for text in (page.text, httpx.get(served.url + "theme.css").text, *(one.text for one in styles)):
        hosts = set(re.findall(r"https?://[\w.:-]+", text))
        assert hosts <= own, hosts - own


def test_every_action_is_an_endpoint_that_the_readme_tells(visitor: Any) -> None:
    found = visitor.view_api(return_format="dict", print_info=False)["named_endpoints"]
    table = README.read_text("utf-8").partition("## Endpoints")[2]
    told = re.findall(r"`(/\w+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `")))
    assert sorted(found) == sorted(told)
    for name, one in found.items():
        for part in one["parameters"]:
            assert part["python_type"]["type"] not in ("", "Any"), (name, part)


def test_a_photo_is_opened_refined_moved_and_taken_along(client: Any, photo: Path, tmp_path: Path) -> None:
    before, after = opened(client, photo)
    assert pixels(before).shape == pixels(after).shape == (64, 64, 3)
    said, lines, _ = client.predict(api_name="/show")
    assert "PSNR" in said
    assert lines.startswith("ganenc invert 3-IMG_1121.jpg --model stylegan2-hands64")
    job = client.submit("optimize", 3, "found", api_name="/refine")
    progress, (_, refined) = job.result(60)
    assert "Done" in progress
    _, moved = client.predict("class-5", 2.0, api_name="/slide")
    assert np.abs(pixels(moved) - pixels(refined)).max() > 20
    files = {Path(path).name: Path(path) for path in client.predict("gif", api_name="/export")}
    assert {*files} == {"picture.png", "latents.safetensors", "edit.gif", "report.html", "class-5.safetensors"}
    assert np.array_equal(pixels(str(files["picture.png"])), pixels(moved))
    words = ["invert", str(files["latents.safetensors"]), "--model", "stylegan2-hands64", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert np.abs(pixels(str(next(tmp_path.glob("*.png")))) - pixels(moved)).max() <= 1
    assert np.array_equal(pixels(client.predict(api_name="/undo")[1]), pixels(refined))
    assert np.array_equal(pixels(client.predict(api_name="/redo")[1]), pixels(moved))


def test_a_move_under_way_is_seen_by_whom_it_belongs_to(served: Any, client: Any, photo: Path) -> None:
    _, before = opened(client, photo)
    session = served.sessions.of(client.session_hash)

    def live(strength: object, key: str | bytes = session.key, direction: str = "class-5") -> httpx.Response:
        asked = {"direction": direction, "strength": str(strength)}
        return httpx.get(f"{served.url}live", params=asked, headers={"x-session": key})

    seen = live(2.0)
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")
    assert session.need().moves == {}
    _, moved = client.predict("class-5", 2.0, api_name="/slide")
    with Image.open(io.BytesIO(seen.content)) as image:
        assert np.array_equal(np.asarray(image), pixels(moved))
    assert not np.array_equal(pixels(moved), pixels(before))
    for key in ("", client.session_hash, session.key[:-1], "é"):
        assert live(2.0, key.encode()).status_code == 403
    wrong = [live("nan"), live("1e999"), live("x"), live(""), live(1.0, direction="<b>")]
    for one in wrong:
        assert one.status_code == 400
        assert one.headers["content-type"].startswith("text/plain")
        assert one.text.count("\n") == 0
    with session.peeking:
        assert live(1.0).status_code == 429


def test_a_second_photo_is_mixed_in(client: Any, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MIXABLE["options"], "steps", 3)
    _, before = opened(client, photo)
    other = handle_file(str(photo.parent / "1-IMG_1119.jpg"))
    _, mixed = client.predict(other, [0, 1, 2], api_name="/mix")
    assert not np.array_equal(pixels(before), pixels(mixed))
    animation = client.predict(other, 3, "gif", api_name="/interpolate")
    with Image.open(animation) as opened_:
        assert opened_.n_frames > 2


def test_a_crop_is_moved_and_put_back(client: Any, photo: Path) -> None:
    _, whole = client.predict(handle_file(str(photo)), "center", "found", api_name="/open_photo")
    height, width = pixels(str(photo)).shape[:2]
    _, part = client.predict(json.dumps({"box": [0, 0, height / 2, width / 2]}), "found", api_name="/move_crop")
    assert not np.array_equal(pixels(whole), pixels(part))
    files = {Path(path).name: path for path in client.predict("", api_name="/export")}
    back, own = pixels(files["in-photo.png"]), pixels(str(photo))
    assert np.array_equal(back[height // 2 + 1 :], own[height // 2 + 1 :])
    assert not np.array_equal(back[: height // 2], own[: height // 2])


def test_a_refinement_that_is_stopped_keeps_the_best(client: Any, photo: Path, wait: Callable[..., None]) -> None:
    opened(client, photo)
    job = client.submit("optimize", 10**6, "found", api_name="/refine")
    wait(lambda: any("Step" in str(one) for one in job.outputs()))
    client.predict(api_name="/stop")
    progress, _ = job.result(60)
    assert "Stopped" in progress
    said, lines, _ = client.predict(api_name="/show")
    assert "optimize" in said
    assert "It was stopped after" in lines


def test_others_have_their_turn_within_a_step(
    visitor: Any, client: Any, photo: Path, wait: Callable[..., None]
) -> None:
    opened(client, photo)
    job = client.submit("optimize", 10**6, "found", api_name="/refine")
    wait(lambda: any("Step" in str(one) for one in job.outputs()))
    for strength in (1.0, 0.0):
        visitor.predict("class-5", strength, api_name="/slide")
    assert not job.done()
    client.predict(api_name="/stop")
    job.result(60)


def test_whoever_leaves_leaves_nothing_behind(served: Any, client: Any, photo: Path, wait: Callable[..., None]) -> None:
    opened(client, photo)
    session = served.sessions.of(client.session_hash)
    client.submit("optimize", 10**6, "found", api_name="/refine")
    wait(lambda: session.job is not None and session.job.taken > 0)
    served.sessions.drop(client.session_hash)  # As the page's unloading does.
    assert session.job.stopped
    wait(lambda: not served.sessions.turns._asked)
    assert not session.folder.exists()


def test_a_queue_goes_on_after_what_is_broken(client: Any, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_text("no photo")
    given = [handle_file(str(one)) for one in (tmp_path / "no.jpg", photo)]
    told, gallery = client.predict(given, "encode", 0, "none", api_name="/invert_all")
    assert "1 photos are done. Skipped: no.jpg is not a photo" in told
    assert [one["caption"] for one in gallery] == [photo.name]


def test_a_photo_is_restored(client: Any, photo: Path, tmp_path: Path) -> None:
    with Image.open(photo) as whole:
        whole.convert("RGB").resize((16, 16)).save(tmp_path / "small.png")
    small = handle_file(str(tmp_path / "small.png"))
    progress, (seen, made), back = client.predict(small, "downscale", 4, None, 2, api_name="/restore")
    assert "Done" in progress
    assert [pixels(one).shape[0] for one in (seen, made, back)] == [16, 64, 64]
    assert "--operator downscale:factor=4" in client.predict(api_name="/show")[1]
    client.predict("optimize", 1, "found", api_name="/refine")
    assert "--operator downscale:factor=4" in client.predict(api_name="/show")[1], "it is refined in what was seen"
    hidden = np.zeros((40, 40), np.uint8)
    hidden[10:30] = 255
    Image.fromarray(hidden).save(tmp_path / "hidden.png")
    with Image.open(photo) as whole:
        whole.convert("RGB").resize((40, 40)).save(tmp_path / "seen.png")
    given = [handle_file(str(tmp_path / name)) for name in ("seen.png", "hidden.png")]
    _, (seen, _), back = client.predict(given[0], "mask", 0, given[1], 1, api_name="/restore")
    known = np.s_[[*range(12), *range(52, 64)]]
    assert np.abs(pixels(back)[known] - pixels(seen)[known]).max() <= 1


def test_a_classifier_is_explained(client: Any, photo: Path) -> None:
    _, before = opened(client, photo)
    told, shown = client.predict("hands", 5, 2, api_name="/explain")
    assert re.search(r"say 5: its probability goes from \d\.\d\d to \d\.\d\d", told)
    assert [one["caption"] for one in shown] == ["on the way there", "what changed"]
    assert np.array_equal(pixels(client.predict("class-5", 0.0, api_name="/slide")[1]), pixels(before))


def test_what_is_odd_is_found(client: Any, photo: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(odd)
    normal = [handle_file(str(one)) for one in sorted(photo.parent.glob("*.jpg"))[:4]]
    told, maps = client.predict([handle_file(str(odd)), normal[0]], normal, 0.2, api_name="/score")
    assert "1 of 2 photos are odd" in told
    assert len(maps) == 2


def test_names_are_no_part_of_the_page() -> None:
    told = attribution_text(
        Attributed([Attribution("<i>.png", {"<b>": 2.0}, {"<b>": 0.0}, {"<b>": 1.0}, "<b>", {})], {})
    )
    assert "&lt;i&gt;.png" in told
    assert "made by &lt;b&gt;: &lt;b&gt; 2.0 dB" in told


def test_who_made_a_photo_is_told(client: Any, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def carried_out(photos: Any, models: Any, *, steps: int, on_step: Callable[[int, int], object]) -> Attributed:
        on_step(1, 2)
        asked.append(steps)
        pictures = {models[0].source: (torch.zeros(3, 8, 8, dtype=torch.uint8),) * 2}
        numbers = [{models[0].source: value} for value in (20.0, 0.5, 0.25)]
        return Attributed([Attribution(str(photos[0]), *numbers, "none", pictures)], {})

    asked: list[int] = []
    monkeypatch.setattr("ganenc_plugin_studio.ends.attribute", carried_out)
    photos = [handle_file(str(photo))]
    told, shown = client.predict(photos, ["stylegan2-hands64"], 3, api_name="/attribute")
    assert "made by none of these: stylegan2-hands64 20.0 dB, p 0.250" in told
    assert [one["caption"] for one in shown] == [f"{photo.name} by stylegan2-hands64"]
    assert asked == [3]


def test_work_that_comes_to_nothing_when_it_is_stopped_says_so(
    client: Any, photo: Path, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    def endless(*_: Any, on_step: Callable[[int, int], object], **__: Any) -> None:
        while True:
            on_step(1, 2)

    monkeypatch.setattr("ganenc_plugin_studio.ends.attribute", endless)
    job = client.submit([handle_file(str(photo))], ["stylegan2-hands64"], 1, api_name="/attribute")
    wait(lambda: any("Step" in str(one) for one in job.outputs()))
    client.predict(api_name="/stop")
    assert "Stopped, before" in job.result(60)[0]


def test_no_operator_classifier_or_model_is_taken_from_the_machine(visitor: Any, photo: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("raise SystemExit")
    given = handle_file(str(photo))
    for asked, told in (
        (("/restore", given, "mask:/etc/passwd", 0, None, 1), "not in the list of choices"),
        (("/restore", given, "mask", 0, None, 1), "Give a picture"),
        (("/explain", f"{script}:logits", 1, 1), "not in the list of choices"),
        (("/attribute", [given], [str(tmp_path)], 1), "no model"),
        (("/attribute", [given], ["stylegan2-hands64"] * 9, 1), "at most 8 models"),
    ):
        with pytest.raises(AppError, match=told) as refused:
            visitor.predict(*asked[1:], api_name=asked[0])
        assert str(refused.value).count("\n") == 0


@pytest.mark.parametrize(
    "name", ["broken.png", "text.jpg", "large.png", "checkpoint.pth", "nothing.safetensors", "direction.npy"]
)
def test_what_is_broken_is_told_in_a_sentence(visitor: Any, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"<b>{name}"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100) if name == "broken.png" else b"this is no such file")
    if name == "large.png":
        Image.new("1", (10_000, 10_000)).save(path)
    given = handle_file(str(path))
    ways: dict[str, Callable[[], Any]] = {
        ".png": lambda: visitor.predict(given, "none", "found", api_name="/open_photo"),
        ".jpg": lambda: visitor.predict(given, "none", "found", api_name="/open_photo"),
        ".pth": lambda: visitor.predict([given], api_name="/open_checkpoint"),
        ".safetensors": lambda: visitor.predict([given], api_name="/open_checkpoint"),
        ".npy": lambda: visitor.predict([given], api_name="/open_directions"),
    }
    with pytest.raises(AppError) as told:
        ways[path.suffix]()
    assert str(told.value).count("\n") == 0
    assert "<b>" not in str(told.value)
    assert "/tmp" not in str(told.value)
    said, *_ = visitor.predict(api_name="/show")
    assert "PSNR" in said, "what was there is still there"


PLACES = ["/etc/passwd", "/proc/self/environ", str(README), "/", "..", "../../../../etc/passwd"]


@pytest.mark.parametrize("place", PLACES)
def test_no_file_of_the_machine_can_be_fetched(served: Any, place: str) -> None:
    for path in (place, place.replace("/", "%2F")):
        for route in ("gradio_api/file=", "file=", "gradio_api/file/"):
            assert httpx.get(f"{served.url}{route}{path}").status_code in (403, 404)


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/x.png", "https://example.com/x.png", "ftp://example.com/x"])
def test_nothing_is_fetched_from_elsewhere(served: Any, place: str) -> None:
    for route in ("gradio_api/file=", "gradio_api/proxy=", "proxy=", "file="):
        assert httpx.get(f"{served.url}{route}{place}").status_code in (403, 404)


FILES = {
    "/open_photo": lambda one: [one, "none", "found"],
    "/open_checkpoint": lambda one: [[one]],
    "/open_directions": lambda one: [[one]],
    "/find_between": lambda one: [[one], [one], "x"],
    "/mix": lambda one: [one, [1]],
    "/interpolate": lambda one: [one, 3, "gif"],
    "/invert_all": lambda one: [[one], "encode", 0, "none"],
    "/restore": lambda one: [one, "mask", 0, one, 1],
    "/score": lambda one: [[one], [one], 0.5],
    "/attribute": lambda one: [[one], ["stylegan2-hands64"], 1],
}


@pytest.mark.parametrize("endpoint", FILES)
@pytest.mark.parametrize("place", ["/etc/passwd", str(README), "https://example.com/x.png", "others"])
def test_no_endpoint_takes_a_file_that_was_not_given_to_it(
    served: Any, visitor: Any, photo: Path, endpoint: str, place: str
) -> None:
    if place == "others":
        place = str(served.sessions.of("another").folder / "secret.png")
        Path(place).write_bytes(photo.read_bytes())
    given = {"path": place, "meta": {"_type": "gradio.FileData"}}
    url = f"{served.url}gradio_api/call{endpoint}"
    began = httpx.post(url, json={"data": FILES[endpoint](given), "session_hash": visitor.session_hash})
    if began.status_code == 200:
        ended = httpx.get(f"{url}/{began.json()['event_id']}", timeout=60).text
        assert "event: error" in ended, ended
        assert "event: complete" not in ended


def test_every_endpoint_that_takes_a_file_is_tried(visitor: Any) -> None:
    found = visitor.view_api(return_format="dict", print_info=False)["named_endpoints"]
    taking = {
        name
        for name, one in found.items()
        if any("filepath" in part["python_type"]["type"] for part in one["parameters"])
    }
    assert taking == {*FILES}


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("", {"host": "rebound.example"}, 403), ("", {"host": "127.0.0.1.example"}, 403), ("", {"host": "[::1"}, 400),
        ("", {"host": "localhost:80"}, 200), ("", {"host": "[::1]:80"}, 200),
        ("config", {"origin": "http://another.example"}, 403), ("config", {"origin": "null"}, 403),
        ("config", {"origin": "http://127.0.0.1:1"}, 403),
        *((f"gradio_api/{one}", {}, 404) for one in ("deep_link", "vibe-code", "component_server", "proxy=x", "../x")),
        ("monitoring", {}, 404), ("docs", {}, 404),
    ],
)  # fmt: skip
def test_no_stranger_is_answered(served: Any, path: str, headers: dict[str, str], status: int) -> None:
    answered = httpx.get(served.url + path, headers=headers)
    assert answered.status_code == status
    assert status == 200 or answered.text.count("\n") == 0


def test_no_other_page_asks_in_a_visitors_name(served: Any) -> None:
    def asked(origin: str, **headers: str) -> int:
        return httpx.post(f"{served.url}gradio_api/cancel", json={}, headers={"origin": origin, **headers}).status_code

    own = served.url.removesuffix("/")
    assert asked("http://another.example") == 403
    assert asked(own) == asked("https://in.front", **{"x-forwarded-host": "in.front"}) == 422  # It lacks all it takes.


def test_no_model_of_the_machine_can_be_named(visitor: Any) -> None:
    with pytest.raises(AppError):
        visitor.predict("/etc", api_name="/choose_model")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"host": "0.0.0.0"}, "say who may come by --auth"),
        ({"auth": "me"}, "as in --auth me:secret"),
        ({"auth": ":x"}, "as in --auth me:secret"),
        ({"model": "no-such-model"}, "no model 'no-such-model'"),
    ],
)
def test_the_command_refuses_what_is_unsafe_or_unknown(
    options: dict[str, Any], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {"model": None, "port": 0, "host": "127.0.0.1", "auth": None, "device": "cpu"}
    with pytest.raises(Exception, match=told):
        command.studio(**{**given, **options})
    warned = capsys.readouterr().err
    assert ("open to every machine" in warned) == ("host" in options)
