"""The page in a real browser, with the network cut: everything that people come for, once through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio", reason="needs gradio, which ganenc-plugin-studio brings")
pytest.importorskip("playwright", reason="needs playwright: pip install 'ganenc-plugin-studio[test]'")

import numpy as np
from ganenc.cli import main
from PIL import Image
from plugins.studio.browsing import CHROMIUM, browser_at, drop, slide_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs a chromium (Debian's package of that name)"),
]

HALF, REACH = 4, 9
"""Pixels: half the side of a patch, and how far it is looked for."""


def grey(images: Any, session: Any) -> Any:
    return np.asarray(session.picture(images).convert("L"), float)


def patch(image: Any, x: int, y: int) -> Any:
    cut = image[y - HALF : y + HALF + 1, x - HALF : x + HALF + 1]
    return cut - cut.mean()


def gone(before: Any, after: Any, point: tuple[int, int]) -> tuple[int, int]:
    """Where the patch around a point went: to what is most correlated with it."""
    known, found = patch(before, *point), {}
    for x in range(max(HALF, point[0] - REACH), min(63 - HALF, point[0] + REACH) + 1):
        for y in range(max(HALF, point[1] - REACH), min(63 - HALF, point[1] + REACH) + 1):
            seen = patch(after, x, y)
            found[x - point[0], y - point[1]] = float((known * seen).sum() / np.linalg.norm(seen).clip(1e-9))
    return max(found, key=lambda place: found[place])


def test_a_photo_comes_back_is_moved_and_taken_along(
    served: Any, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., None]
) -> None:
    monkeypatch.chdir(tmp_path)
    one = photo.parent / "1-IMG_1119.jpg"
    with browser_at(served.url) as (page, others):

        def shown() -> list[str]:
            return [image.get_attribute("src") for image in page.query_selector_all("#wipe img")]

        def changed(before: list[str]) -> None:
            wait(lambda: len(shown()) == 2 and shown() != before, 240)
            page.wait_for_function(
                "[...document.querySelectorAll('#wipe img')].every((one) => one.naturalWidth === 64)"
            )

        drop(page, "#photo button", one)
        changed([])
        assert shown()[0] != shown()[1], "the wipe has the photo and what came back"
        page.wait_for_selector("#told .verdict")
        assert "PSNR" in page.inner_text("#told")
        (session,) = (held for held in served.sessions._open.values() if held.now is not None)

        before = shown()
        slide_to(page, 5, 2.0)
        changed(before)
        assert shown()[0] == before[0], "the photo stays"
        wait(lambda: session.need().moves.get("class-5", 0) > 1.5, 60)
        page.wait_for_selector("#undo:not([disabled])")
        page.wait_for_timeout(1500)
        page.click("#undo")
        wait(lambda: shown() == before, 60)

        page.click("#method input")
        page.click("li[aria-label=optimize]")
        page.fill("#steps input", "100000")
        page.click("#refine")
        page.wait_for_selector("#progress .bar")
        wait(lambda: session.job.taken >= 40, 240)
        assert "left" in page.inner_text("#progress")
        page.click("#stop")
        page.wait_for_function("document.querySelector('#progress').innerText.includes('Stopped')")
        assert session.job.taken < 100_000
        assert session.need().inverted.method == "optimize"
        wait(lambda: "optimize" in page.inner_text("#told"), 60)

        image = grey(session.images(), session)
        dark = image < image[:6].mean() - 35
        y = int(np.argmax(dark.any(1)))
        point = (int(dark[y].nonzero()[0].mean()), y + 2)
        page.click("role=tab[name='Drag']")
        page.wait_for_function("!document.querySelector('#stage .stage').classList.contains('empty')")
        page.wait_for_timeout(1000)
        box = page.locator("#stage canvas").bounding_box()

        def at(x: float, y: float) -> tuple[float, float]:
            return box["x"] + (x + 0.5) / 64 * box["width"], box["y"] + (y + 0.5) / 64 * box["height"]

        page.mouse.move(*at(*point))
        page.mouse.down()
        page.mouse.move(*at(point[0], point[1] + 8), steps=5)
        page.mouse.up()
        page.click("#stage [data-tool=paint]")
        page.mouse.move(*at(point[0] - 11, point[1] - 6))
        page.mouse.down()
        for across, down in ((11, -6), (11, 0), (-11, 0), (-11, 6), (11, 6), (11, 12), (-11, 12), (-11, 18), (11, 18)):
            page.mouse.move(*at(point[0] + across, point[1] + down), steps=8)
        page.mouse.up()
        page.click("#drag")
        page.wait_for_function("document.querySelector('#drag-progress').innerText.includes('Done')")
        assert "ganenc drag" in session.acts()[-1].command
        across, down = gone(image, grey(session.images(), session), point)
        assert down >= 3, (across, down)
        assert abs(across) <= 3

        page.click("#out >> text=Take it along")
        page.click("#export")
        names = page.locator("#files .file-preview td.filename, #files [aria-label='File'] a, #files a[download]")
        wait(lambda: names.count() >= 3, 240)
        saved: dict[str, Path] = {}
        for link in page.query_selector_all("#files a[download]"):
            with page.expect_download() as got:
                link.click()
            saved[got.value.suggested_filename] = tmp_path / got.value.suggested_filename
            got.value.save_as(saved[got.value.suggested_filename])
        with pytest.raises(SystemExit) as ended:
            main(["invert", str(saved["latents.safetensors"]), "--model", "stylegan2-hands64", "--out", "back"])
        assert ended.value.code == 0
        made = np.asarray(Image.open(next(Path("back").glob("*.png"))), int)
        assert np.abs(made - np.asarray(Image.open(saved["picture.png"]), int)).max() <= 1
        assert others == []


def test_what_goes_wrong_is_a_sentence_and_tabs_do_not_meet(
    served: Any, photo: Path, tmp_path: Path, wait: Callable[..., None]
) -> None:
    text = tmp_path / "<img src=x onerror=alert(1)>.jpg"
    text.write_text("no photo")
    with browser_at(served.url) as (page, others):
        drop(page, "#photo button", photo)
        page.wait_for_selector("#told .verdict")
        (session,) = (held for held in served.sessions._open.values() if held.now is not None)
        page.click("#photo [aria-label=Clear], #photo [aria-label='Remove Image']")
        page.wait_for_selector("#photo input[type=file]", state="attached")
        page.set_input_files("#photo input[type=file]", str(text))
        page.wait_for_selector(".toast-body")
        assert "is not a photo" in page.inner_text(".toast-body")
        assert page.query_selector(".toast-body img[src=x]") is None
        assert session.need().photo is not None, "what was there is still there"
        second = page.context.new_page()
        second.goto(served.url)
        second.wait_for_selector("#slider-0 input[type=range]")
        assert second.query_selector("#told .verdict") is None
        second.close()
        page.fill("#steps input", "100000")
        page.click("#refine")
        wait(lambda: session.job is not None and session.job.taken > 0, 240)
        assert others == []
    wait(lambda: session.job.dropped, 60)
    wait(lambda: not session.folder.exists(), 60)
