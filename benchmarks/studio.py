"""What the studio costs: a slider, a photo and a step of a drag; how long visitors wait for each other; and memory.

Processor time is that of the server and, where there is a browser, of all its processes: what an answer takes on one
thread that nothing else uses. A wait for another visitor is counted in steps of the other's refinement.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from _common import describe, parser, publish, set_threads, table
from ganenc.editing import drag
from ganenc_plugin_hands.models import PHOTOS
from ganenc_plugin_studio import work
from gradio_client import Client, handle_file

for place in ("docs", "tests"):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / place))

from plugins.studio.browsing import CHROMIUM, browser_at, drop  # noqa: E402
from studio import served  # noqa: E402

DIRECTION = "class-5"


def milliseconds(seconds: list[float]) -> str:
    """The median, and the least and the most."""
    return describe([1000 * one for one in seconds])


def timed(count: int, piece: Callable[[int], object], clock: Callable[[], float] = time.process_time) -> list[float]:
    """The seconds that each of some runs takes, after one that does not count."""
    found = []
    for at in range(count + 1):
        began = clock()
        piece(at)
        found.append(clock() - began)
    return found[1:]


class Visitor:
    """A client of the page that has opened a photo."""

    def __init__(self, url: str, sessions: Any, photo: Path) -> None:
        self.client = Client(url, verbose=False)
        self.open(photo)
        self.session = sessions.of(self.client.session_hash)
        self._http = httpx.Client(base_url=url, timeout=600, headers={"x-session": self.session.key})

    def open(self, photo: Path) -> None:
        """Open a photo."""
        self.client.predict(handle_file(str(photo)), "none", "found", api_name="/open_photo")

    def slide(self, at: int) -> None:
        """Move a slider, as the page does."""
        asked = {"direction": DIRECTION, "strength": 0.1 * (at % 20)}
        self._http.get("live", params=asked).raise_for_status()


def in_a_browser(url: str, count: int) -> list[float]:
    """The processor time, of the server and the browser, of moves of a slider until the picture has changed."""
    shown = "JSON.stringify([...document.querySelectorAll('#wipe img')].map((one) => one.complete && one.src))"
    with browser_at(url) as (page, _):
        drop(page, "#photo button", PHOTOS / "1-IMG_1119.jpg")
        page.wait_for_selector("#told .verdict")
        page.wait_for_timeout(3000)
        box = page.locator("#slider-5 input[type=range]").bounding_box()
        y, middle = box["y"] + box["height"] / 2, box["x"] + box["width"] / 2
        page.mouse.move(middle, y)
        page.mouse.down()

        def spent() -> float:
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            return sum(sum(one.cpu_times()[:2]) for one in processes)

        def move(at: int) -> None:
            before = page.evaluate(shown)
            page.mouse.move(middle + (at % 12 + 1) / 24 * box["width"] / 2, y)
            page.wait_for_function(f"(old) => {shown} !== old && !{shown}.includes('false')", arg=before, polling=20)

        found = timed(count, move, spent)
        page.mouse.up()
        return found


def steps_waited(one: Visitor, other: Visitor, count: int) -> list[float]:
    """How many steps of another's refinement a slider waits for."""
    going = work.refine(other.session, "optimize", 10**6, None)
    thread = threading.Thread(target=lambda: list(going))
    thread.start()
    while other.session.job is None or other.session.job.taken < 3:
        time.sleep(0.01)

    def taken() -> float:
        return float(other.session.job.taken)

    waits: list[float] = []
    turns = one.session.turns
    for at in range(count):
        began = taken()
        with turns:
            waits.append(taken() - began)
        one.slide(at)
    other.session.job.stop()
    thread.join()
    return waits


def memory(visitor: Visitor, photos: Iterator[Path], marks: tuple[int, ...]) -> list[tuple[str, str]]:
    """The memory of the process after so many photos, each opened, moved and exported."""
    rows = []
    for at in range(1, marks[-1] + 1):
        visitor.open(next(photos))
        visitor.slide(at)
        if at in marks:
            rows.append((f"memory after {at} photos, MB", f"{psutil.Process().memory_info().rss / 1e6:.0f}"))
    return rows


def drag_steps(visitor: Visitor, steps: int) -> tuple[list[float], list[float]]:
    """The processor time of a step of a drag, on the page and by the library alone."""
    model, latents = visitor.session.need_model(), visitor.session.latents()
    points, targets = [[33.0, 12.0]], [[33.0, 60.0]]

    def on_the_page(_: int) -> None:
        for told in work.drag(visitor.session, points, targets, None):
            if told.step >= steps:
                visitor.session.job.stop()
        taken.append(visitor.session.job.taken)
        visitor.session.undo()

    taken: list[int] = []
    page = timed(3, on_the_page)
    own = timed(3, lambda _: drag(model.generator, latents, points, targets, steps=steps))
    return [one / of for one, of in zip(page, taken[1:], strict=True)], [one / steps for one in own]


def main() -> None:
    """Measure all of it."""
    options = parser("studio", __doc__.splitlines()[0])
    chosen = options.parse_args()
    set_threads(chosen.threads)
    count, marks, steps = (5, (2, 4), 3) if chosen.quick else (50, (20, 100, 200), 30)
    photos = itertools.cycle(sorted(PHOTOS.glob("*.jpg")))
    with served() as (url, sessions):
        one, other = (Visitor(url, sessions, next(photos)) for _ in range(2))
        rows = [("slider, server", milliseconds(timed(count, one.slide)))]
        if CHROMIUM:
            rows.append(("slider, server and browser", milliseconds(in_a_browser(url, count))))
        rows.append(
            ("photo opened, one pass, server", milliseconds(timed(count // 2, lambda _: one.open(next(photos)))))
        )
        page, own = drag_steps(one, steps)
        rows.append(("step of a drag, on the page", milliseconds(page)))
        rows.append(("step of a drag, the library alone", milliseconds(own)))
        waits = steps_waited(one, other, count)
        rows.append(
            (
                "steps of another's refinement that a turn waits for",
                f"{statistics.median(waits):.0f} (at most {max(waits):.0f})",
            )
        )
        rows += memory(one, photos, marks)
    body = "stylegan2-hands64; processor time in milliseconds, medians, smallest and largest in brackets.\n\n" + table(
        ["what", "found"], rows
    )
    publish("studio", "The studio", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
