"""Makes the studio's pictures by a browser: ``python docs/studio.py`` writes docs/studio.png and the animations of the
how-to page. It takes chromium and `ganenc-plugin-studio[test]`."""

from __future__ import annotations

import io
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from ganenc.files import write_bytes
from ganenc_plugin_hands.models import PHOTOS
from ganenc_plugin_studio.server import build_app
from PIL import Image

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from plugins.studio.browsing import browser_at, drop, slide_to  # noqa: E402

POINTING, OPEN = PHOTOS / "1-IMG_1119.jpg", PHOTOS / "5-IMG_1123.jpg"
"""A finger to be dragged, and an open hand to be closed."""
SLIDER = 2
"""Of the direction to the digit of that number."""
WIDE = 480
"""Pixels of an animation."""


@contextmanager
def served() -> Iterator[tuple[str, Any]]:
    """The address of a page, and its sessions."""
    app = build_app()
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True).start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/", app.state.sessions
        server.should_exit = True


def opened(page: Any, photo: Path) -> None:
    """Open a photo, and wait for its verdict."""
    drop(page, "#photo button", photo)
    page.wait_for_selector("#told .verdict")
    page.wait_for_timeout(2500)


class Film:
    """Pictures of a part of the page, one after the other."""

    def __init__(self, page: Any, clip: dict[str, float]) -> None:
        self.page, self.clip, self.frames = page, clip, list[Image.Image]()

    def shoot(self) -> None:
        """Take one."""
        shot = Image.open(io.BytesIO(self.page.screenshot(clip=self.clip))).convert("RGB")
        shot.thumbnail((WIDE, WIDE))
        self.frames.append(shot)

    def shoot_while(self, goes_on: Callable[[], bool], most: int = 40) -> None:
        """Take some, as long as something goes on."""
        while goes_on() and len(self.frames) < most:
            self.shoot()
            self.page.wait_for_timeout(250)

    def save(self, name: str, each: int = 250) -> None:
        """Write them as an animation."""
        buffer, times = io.BytesIO(), [each] * (len(self.frames) - 1) + [1500]
        self.frames[0].save(
            buffer, "WEBP", save_all=True, append_images=self.frames[1:], duration=times, loop=0, quality=60, method=4
        )
        write_bytes(DOCS / "studio" / name, buffer.getvalue(), replace=True)


def clip_of(page: Any, *parts: str) -> dict[str, float]:
    """The least part of the page that holds some."""
    boxes = [page.locator(part).first.bounding_box() for part in parts]
    left, top = (min(box[side] for box in boxes) - 6 for side in ("x", "y"))
    right, bottom = (max(box[at] + box[far] for box in boxes) + 6 for at, far in (("x", "width"), ("y", "height")))
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def refining(page: Any) -> None:
    """A refinement, live, and the wipe."""
    page.fill("#steps input", "100")
    film = Film(page, clip_of(page, "#wipe", "#refine", "#stop"))
    film.shoot()
    page.click("#refine")
    page.wait_for_selector("#progress .bar")
    film.shoot_while(lambda: page.query_selector("#progress .bar") is not None, 25)
    page.wait_for_function("!document.querySelector('#progress .bar')")
    page.wait_for_timeout(1500)
    box = page.locator("#wipe").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for share in (0.65, 0.8, 0.65, 0.5, 0.35, 0.2):
        page.mouse.move(box["x"] + box["width"] * share, y, steps=2)
        film.shoot()
    page.mouse.up()
    film.save("refine.webp")


def sliding(page: Any) -> None:
    """A slider, pulled to and fro."""
    box = page.locator(f"#slider-{SLIDER} input[type=range]").bounding_box()
    film = Film(page, clip_of(page, "#wipe", f"#slider-{SLIDER}"))
    y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
    page.mouse.move(middle, y)
    page.mouse.down()
    for share in [*range(10), *range(8, -9, -2), *range(-6, 1, 2)]:
        page.mouse.move(middle + share / 20 * box["width"], y)
        page.wait_for_timeout(700)
        film.shoot()
    page.mouse.up()
    film.save("slide.webp")
    page.wait_for_timeout(1500)


def dragging(page: Any) -> None:
    """A fingertip, pulled down, the rest held."""
    page.click("role=tab[name='Drag']")
    page.wait_for_function("!document.querySelector('#stage .stage').classList.contains('empty')")
    page.wait_for_timeout(1000)
    film = Film(page, clip_of(page, "#wipe", "#stage", "#drag", "#stop-drag"))
    box = page.locator("#stage canvas").bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + (x + 0.5) / 64 * box["width"], box["y"] + (y + 0.5) / 64 * box["height"]

    def stroke(places: list[tuple[float, float]]) -> None:
        page.mouse.move(*at(*places[0]))
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*at(*place), steps=8)
            film.shoot()
        page.mouse.up()

    film.shoot()
    stroke([(33, 12), (33, 16), (33, 20)])
    page.click("#stage [data-tool=paint]")
    stroke([(22, 6), (44, 6), (44, 12), (22, 12), (22, 18), (44, 18), (44, 24), (22, 24), (22, 30), (44, 30)])
    page.click("#drag")
    page.wait_for_selector("#drag-progress .bar")
    film.shoot_while(lambda: page.query_selector("#drag-progress .bar") is not None, 40)
    page.wait_for_function("!document.querySelector('#drag-progress .bar')")
    page.wait_for_timeout(2000)
    film.shoot()
    film.save("drag.webp")


def main() -> None:
    """Make all of them."""
    shown = "JSON.stringify([...document.querySelectorAll('#wipe img')].map((one) => one.src))"
    with served() as (url, _):
        with browser_at(url) as (page, _):
            opened(page, POINTING)
            dragging(page)
        with browser_at(url) as (page, _):
            opened(page, OPEN)
            sliding(page)
            slide_to(page, SLIDER, 0)
            refining(page)
            before = page.evaluate(shown)
            slide_to(page, SLIDER, 3.5)
            page.wait_for_function(f"(old) => {shown} !== old && !{shown}.includes('blob:')", arg=before)
            page.wait_for_timeout(1500)
            write_bytes(DOCS / "studio.png", page.screenshot(), replace=True)


if __name__ == "__main__":
    main()
