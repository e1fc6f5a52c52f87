"""``ganenc demo``: real photos, inverted with what is shipped, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry import registry
from ganenc_registry.errors import GanencError, PluginError

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import say
from ganenc.cli.invert import read_spec
from ganenc.cli.outcome import carry_out, show_result
from ganenc.models import check_whole, registered

BUDGET = 210.0
"""Seconds after which the demo begins no further batch of photos."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")] = Path("demo"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many of the shipped photos.")] = 6,
    method: options.Method = None,
    steps: options.Steps = None,
    settings: options.Set = None,
    device: options.Device = "cpu",
    as_json: options.Json = False,
) -> None:
    """Invert real photos with a small shipped model: no download, a few minutes on two cores."""
    name, folder, info = _model()
    found = images.find((folder / str(info.get("photos", "photos"))).resolve())[:n]
    given = {"model": name, "device": device, "method": {"name": method, "options": {"steps": steps}}}
    spec = read_spec(None, given, settings)
    say(f"{name}: {len(found)} photos that no training has seen, method {spec.method and spec.method.name}.")
    result = carry_out(name, found, out, spec, budget=BUDGET, overwrite=True)
    show_result(result, as_json=as_json)


def _model() -> tuple[str, Path, dict[str, Any]]:
    """The first installed model that is whole and whose config says that it is for the demo; else `PluginError`."""
    for name in registry().names("model"):
        try:
            found = registered(name)
            if found.folder is not None and found.info.get("demo"):
                check_whole(name)
                return name, found.folder, dict(found.info)
        except GanencError as error:
            say(f"Passed over: {error}")
    raise PluginError(
        "No installed plugin brings a model for the demo; install one that does, such as ganenc-plugin-hands, and see"
        " `ganenc plugins`."
    )
