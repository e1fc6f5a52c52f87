"""``ganenc export``: a generator and its encoder => files for programs without ganenc."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from ganenc_registry.errors import SpecError

from ganenc.cli.console import emit, show
from ganenc.cli.options import Encoder, Json, Model, Out
from ganenc.export import check_export, graphs_of
from ganenc.export import export as write

ANY = "dynamic"


def export(
    *,
    model: Model[str],
    out: Out[Path],
    format: Annotated[str, typer.Option("--format", "-f", help="onnx, or torch for a file of torch.export.")] = "onnx",
    what: Annotated[
        str | None,
        typer.Option(
            "--what",
            help="generator, encoder, mapping (draws of the prior => the generator's inputs), both (generator and"
            " encoder) or all; by default the generator and, where there is one, the encoder.",
        ),
    ] = None,
    encoder: Encoder = None,
    batch: Annotated[
        str, typer.Option("--batch", metavar="dynamic|N", help="How many samples the files take at a time.")
    ] = ANY,
    noise: Annotated[
        str, typer.Option("--noise", help="const: the generator's own noise, fixed in the file; none: without.")
    ] = "const",
    opset: Annotated[
        int | None, typer.Option("--opset", min=1, help="The version of ONNX's operators; the exporter's by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Export a generator and its encoder to ONNX or torch.export, each checked against torch and described in JSON."""
    samples = _batch(batch)
    check_export(format, samples, opset)
    written = []
    for graph in graphs_of(model, what, encoder=encoder, noise=noise):
        facts = write(graph, out, format=format, batch=samples, opset=opset)
        written.append(facts)
        if not as_json:
            show(_line(facts, out / facts["file"]))
    if as_json:
        emit({"model": model, "folder": out, "files": written})


def _batch(text: str) -> int | None:
    if text == ANY:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise SpecError(f"--batch takes {ANY} or a number of 1 or more; got {text!r}.")
    return int(text)


def _line(facts: dict[str, Any], path: object) -> str:
    """What was written, for a person."""

    def told(ports: list[dict[str, Any]]) -> str:
        return ", ".join(f"{port['name']} ({', '.join(map(str, port['shape']))})" for port in ports)

    apart = facts["parity"]["outputs"].values()
    largest = max(one["difference"] for one in apart)
    share = max(one["of_range"] for one in apart)
    opset = f", opset {facts['opset']}" if "opset" in facts else ""
    noise = f", noise {facts['noise']['choice']}" if "noise" in facts else ""
    return (
        f"{path}: {told(facts['inputs'])} => {told(facts['outputs'])}{opset}{noise}; within {largest:.2g} of torch,"
        f" {share:.1g} of the range"
    )
