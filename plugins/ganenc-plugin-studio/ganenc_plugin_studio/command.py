"""``ganenc studio``: the page, until it is stopped."""

from __future__ import annotations

import socket
from typing import Annotated

import typer
import uvicorn
from ganenc.files import check_device
from ganenc_registry.errors import SpecError

from ganenc_plugin_studio.guard import HERE
from ganenc_plugin_studio.server import build_app

__all__ = ["studio"]


def studio(
    model: Annotated[
        str | None, typer.Argument(help="The model that is open first: an installed one, a folder or a checkpoint.")
    ] = None,
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for one that is free.")] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="127.0.0.1 for this machine alone; 0.0.0.0 for all that can reach it.")
    ] = "127.0.0.1",
    auth: Annotated[
        str | None, typer.Option("--auth", metavar="NAME:PASSWORD", help="What whoever comes has to give.")
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="cpu, cuda, cuda:N or mps.")] = "cpu",
) -> None:
    """Open the page: drop a photo in, see it come back, move it with the mouse. It is for this machine alone, and takes
    nothing from the network; --host opens it to others, who then need --auth."""
    name, colon, password = (auth or "").partition(":")
    if auth is not None and not (name and colon and password):
        raise SpecError("--auth takes a name and a password, as in --auth me:secret.")
    if host not in HERE:
        typer.echo(
            f"Warning: at {host} the page is open to every machine that reaches this one, and what it sends is not"
            " encrypted.", err=True,
        )  # fmt: skip
        if auth is None:
            raise SpecError(
                f"--host {host} opens the page to other machines; say who may come by --auth NAME:PASSWORD."
            )

    check_device(device)
    app = build_app(model, device=device, auth=(name, password) if auth else None, local=host in HERE)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise SpecError(
                f"The page cannot be opened at {host}:{port}: {error.strerror}; take another --port."
            ) from None
        typer.echo(f"The studio is open at http://{host}:{bound.getsockname()[1]}; Ctrl+C closes it.", err=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run(sockets=[bound])
