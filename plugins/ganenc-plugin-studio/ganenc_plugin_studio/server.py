"""The page served: to this machine alone unless it is told otherwise."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from ganenc_registry.errors import SpecError
from gradio import processing_utils

from ganenc_plugin_studio.guard import Guard
from ganenc_plugin_studio.models import Models
from ganenc_plugin_studio.page import LOOK, build_page
from ganenc_plugin_studio.sentences import sentence_of
from ganenc_plugin_studio.session import Sessions
from ganenc_plugin_studio.stage import encoded

__all__ = ["build_app"]

FIRST = "stylegan2-hands64"
LARGEST = "4gb"
"""A file that is uploaded: checkpoints are large."""


def build_app(
    model: str | None = None, *, device: str = "cpu", auth: tuple[str, str] | None = None, local: bool = True
) -> FastAPI:
    """The page as an application: ``model`` is open first, by default a small one that lies here; ``auth`` is a name
    and a password that whoever comes has to give; ``local`` if it answers to the names of this machine alone.
    `GanencError` if the model cannot be loaded."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = files = tempfile.mkdtemp(prefix="ganenc-studio-files-")

    processing_utils.async_ssrf_protected_download = processing_utils.async_ssrf_protected_get = _refuse
    sessions = Sessions(Models(device), model or FIRST)
    sessions.models.get(sessions.first)
    page = build_page(sessions)

    @asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        yield
        sessions.close()
        shutil.rmtree(files, ignore_errors=True)

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=living)
    app.add_middleware(Guard, local=local)

    @app.get("/live")
    def live(request: Request) -> Response:
        """The picture of a move under way, of the session whose key is given; where there is none, a sentence."""
        session = sessions.with_key(request.headers.get("x-session", ""))
        if session is None:
            return PlainTextResponse("There is no such session; open the page anew.", 403)
        if not session.peeking.acquire(blocking=False):
            return PlainTextResponse("One picture is made at a time; ask when it is there.", 429)
        try:
            strength = float(request.query_params.get("strength", "nan"))
            data, kind = encoded(session.peek(request.query_params.get("direction", ""), strength))
        except Exception as error:
            said = sentence_of(error) or ("A strength is a number." if isinstance(error, ValueError) else None)
            if said is None:
                raise
            return PlainTextResponse(said, 400)
        finally:
            session.peeking.release()
        return Response(data, media_type=kind, headers={"cache-control": "no-store"})

    gr.mount_gradio_app(
        app, page, "/", auth=auth, show_error=True, footer_links=["api"], run_history=False, max_file_size=LARGEST,
        ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, **LOOK,
    )  # fmt: skip
    page.has_launched = page.is_running = True  # Else files are taken from anywhere.
    app.state.sessions = sessions
    return app


async def _refuse(*_: Any, **__: Any) -> Any:
    raise SpecError("Nothing is fetched from the network for the page; give the file itself.")
