"""``ganenc demo``: real photos, inverted with what is shipped, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import GanencError, PluginError

from ganenc.cli.app import FAILED
from ganenc.cli.console import emit, say
from ganenc.cli.options import Device, Json, Method, Set, read_settings
from ganenc.inversion import default_method
from ganenc.models import check_model, registered

__all__ = ["demo"]

BUDGET = 210.0
"""Seconds after which the demo begins no further batch of photos."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")] = Path("demo"),
    photos: Annotated[int, typer.Option("--photos", min=1, help="How many of the shipped photos.")] = 6,
    method: Method = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the method, where it has some.")] = None,
    settings: Set = None,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Invert real photos with a small shipped model: no download, a few minutes on two cores."""
    name, folder, info = _model()
    from ganenc import images
    from ganenc.cli.inverting import invert_photos
    from ganenc.cli.outcome import Job, show_outcome
    from ganenc.cli.session import open_session

    place = (folder / str(info.get("photos", "photos"))).resolve()
    found = images.find(place)[:photos]
    chosen = {**read_settings(settings), **({} if steps is None else {"steps": steps})}
    session = open_session(name, device=device)
    method = method or default_method(session.encoder is not None)
    say(f"{name}: {len(found)} photos that no training has seen, method {method}.")
    job = Job(session, out, method, chosen, budget=BUDGET, overwrite=True)
    outcome = invert_photos(found, job)
    if outcome is None:
        return
    if as_json:
        emit(outcome.as_json(job))
    show_outcome(outcome, job, table=not as_json)
    if outcome.failed:
        raise typer.Exit(FAILED)


def _model() -> tuple[str, Path, dict[str, Any]]:
    """The first installed model that is whole and whose config says that it is for the demo.

    Raises:
        PluginError: if there is none.
    """
    for name in registry().names("model"):
        try:
            found = registered(name)
            if found.folder is not None and found.info.get("demo"):
                check_model(name)
                return name, found.folder, dict(found.info)
        except GanencError as error:
            say(f"Passed over: {error}")
    raise PluginError(
        "No installed plugin brings a model for the demo; install one that does, such as ganenc-plugin-hands, and see"
        " `ganenc plugins`."
    )
