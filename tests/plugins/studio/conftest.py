"""The page of the studio, served to the tests."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WHY = "needs gradio, which ganenc-plugin-studio brings"
MODEL = "stylegan2-hands64"


@dataclass(frozen=True)
class Served:
    """A page that is served."""

    url: str
    sessions: Any


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The page, open with the shipped hands."""
    pytest.importorskip("gradio", reason=WHY)
    import uvicorn
    from ganenc_plugin_studio.server import build_app

    app = build_app(MODEL)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.02)
        yield Served(f"http://127.0.0.1:{bound.getsockname()[1]}/", app.state.sessions)
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def client(served: Served) -> Any:
    """A client of the page, with a session of its own."""
    from gradio_client import Client

    return Client(served.url, verbose=False)


@pytest.fixture(scope="module")
def visitor(served: Served, photo: Path) -> Any:
    """A client of the page that has opened a photo, for tests that change nothing."""
    from gradio_client import Client, handle_file

    found = Client(served.url, verbose=False)
    found.predict(handle_file(str(photo)), "none", "found", api_name="/open_photo")
    return found


@pytest.fixture(scope="session")
def photo() -> Path:
    """A photo that no training has seen."""
    from ganenc_plugin_hands.models import PHOTOS

    return PHOTOS / "3-IMG_1121.jpg"


@pytest.fixture(scope="session")
def wait() -> Callable[..., None]:
    """Waits until something holds, for some time."""

    def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it never came about"
            time.sleep(0.01)

    return until
