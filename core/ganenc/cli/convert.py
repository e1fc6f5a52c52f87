"""``ganenc convert``: any model => a model folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
import typer
from ganenc_registry.errors import CheckpointError
from ganenc_registry.specs import EncoderSpec
from torch import Tensor

from ganenc.cli.console import emit, show
from ganenc.cli.options import Json, Model, Out
from ganenc.encoders import Encoder
from ganenc.generators import Generator, draw_normal
from ganenc.models import load_model, model_hash, save_pretrained

__all__ = ["convert"]

Network: TypeAlias = Generator | Encoder

SAMPLES = 2
ROUNDS = 2
"""How often source and folder are loaded in turn; the faster time of each counts."""


def convert(
    *,
    model: Model,
    out: Out,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in half precision: half the size, and rounded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a model folder (config.json, model.safetensors) of a checkpoint; check and time what was written.

    The checkpoint is read as data. It may be of any known GAN, or hold an encoder of the paper's authors.
    """
    found = load_model(model)
    save_pretrained(found, out, info={"source": Path(model).name}, half=half)
    again = load_model(out)
    difference = _difference(found, again, half, model, out)
    faster = _seconds(model, out)
    encodes = isinstance(found.spec, EncoderSpec)
    facts: dict[str, Any] = {
        "source": model,
        "folder": out,
        "kind": "encoder" if encodes else "generator",
        "family": None if isinstance(found.spec, EncoderSpec) else found.spec.family,
        "size": found.spec.size,
        "classes": found.spec.classes,
        "hash": model_hash(again),
        "half": half,
        "largest_difference": difference,
        "loads_times_as_fast": faster,
    }
    if as_json:
        emit(facts)
        return
    height, width = found.spec.size
    gives = "latents" if encodes else "pixels"
    same = f"{gives} of {model} up to {difference:.2g}" if half else f"the same {gives} as {model}"
    what = f"{facts['family'] or 'encoder'}, {height}x{width}"
    show(f"{out}: {what}, {same}; loads {faster:.1f}x as fast; hash {facts['hash'][:12]}")


def _difference(one: Network, other: Network, half: bool, source: str, out: Path) -> float:
    """How far what two models give lies apart at most: 0, or what rounding the weights makes of it.

    Raises:
        CheckpointError: if they do not give the same, after the same rounding.
    """
    before, after = _outputs(one), _outputs(other)
    apart = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
    if half:
        rounded = {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in one.state_dict().items()}
        one.load_state_dict(rounded)
        before = _outputs(one)
    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        raise CheckpointError(
            f"{out} does not give the same pixels as {source}: its family keeps something outside the"
            " weights and the spec; the folder is not to be used."
        )
    return apart


@torch.no_grad()
def _outputs(model: Network) -> list[Tensor]:
    """Images of a few samples, or the latents that an encoder finds in a few images."""
    if isinstance(model, Generator):
        return [model.synthesize(model.sample(SAMPLES, seed=0))]
    spec = model.spec
    low, high = spec.value_range
    noise = draw_normal(SAMPLES, spec.channels * spec.size[0] * spec.size[1], seed=0)
    images = (noise.sigmoid() * (high - low) + low).reshape(SAMPLES, spec.channels, *spec.size)
    labels = torch.arange(SAMPLES) % spec.classes if spec.classes else None
    return list(model(images, labels=labels).tensors.values())


def _seconds(source: str, out: Path) -> float:
    """The time that the source takes to load, over that of the folder."""
    times: dict[str, list[float]] = {source: [], str(out): []}
    for _ in range(ROUNDS):
        for one, found in times.items():
            began = time.perf_counter()
            load_model(one)
            found.append(time.perf_counter() - began)
    return min(times[source]) / min(times[str(out)])
