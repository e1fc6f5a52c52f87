"""``ganenc demo``: real photos, inverted with what is shipped, without a network; or yours, with another model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ganenc_registry import registry
from ganenc_registry.errors import GanencError, PluginError, SpecError
from ganenc_registry.specs import merge

from ganenc import images
from ganenc.cli import options
from ganenc.cli.console import say
from ganenc.cli.invert import read_spec
from ganenc.cli.outcome import carry_out, show_result
from ganenc.models import Resolved, check_whole, registered, resolve

BUDGET = 210.0
"""Seconds after which the demo begins no further batch of photos."""


def demo(
    photos: options.Photos[list[str] | None] = None,
    *,
    model: options.Model[str | None] = None,
    out: options.Out[Path] = Path("demo"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="So many photos at most.")] = 6,
    method: options.Method = None,
    steps: options.Steps = None,
    settings: options.Set = None,
    device: options.Device[str] = "cpu",
    as_json: options.Json = False,
) -> None:
    """Invert real photos with a small shipped model: no download, a few minutes on two cores. PHOTOS and --model take
    others, aligned as that model knows photos."""
    chosen = _shipped() if model is None else resolve(model)
    name, info = chosen.name, chosen.info
    shipped = None if chosen.folder is None else (chosen.folder / str(info.get("photos", "photos"))).resolve()
    if not photos and (shipped is None or not shipped.is_dir()):
        raise SpecError(f"{name} brings no photos; name one, as in: ganenc demo PHOTO --model {name}")
    found = images.find(photos or [str(shipped)])[:n]
    given = {"model": name, "device": device, "method": {"name": method, "options": {"steps": steps}}}
    spec = read_spec(None, merge(info.get("demo_with", {}), options.given_fields(given)), settings, quiet=True)
    told = "" if photos else " that no training has seen"
    say(f"{name}: {len(found)} photo{'s' * (len(found) > 1)}{told}, method {spec.method and spec.method.name}.")
    result = carry_out(name, found, out, spec, budget=BUDGET, overwrite=True)
    show_result(result, as_json=as_json)


def _shipped() -> Resolved:
    """The first installed model that is whole and whose config says that it is for the demo; else `PluginError`."""
    for name in registry().names("model"):
        try:
            found = registered(name)
            if found.folder is not None and found.info.get("demo"):
                check_whole(name)
                return found
        except GanencError as error:
            say(f"Passed over: {error}")
    raise PluginError(
        "No installed plugin brings a model for the demo; install one that does, such as ganenc-plugin-hands, and see"
        " `ganenc plugins`."
    )
