"""``ganenc convert``: a foreign checkpoint => a model folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, Union

import typer
from ganenc_registry.errors import CheckpointError
from ganenc_registry.specs import EncoderSpec

from ganenc.cli._console import emit, show
from ganenc.cli._options import Json

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.encoders import Encoder
    from ganenc.generators import Generator

__all__ = ["convert"]

Model: TypeAlias = Union["Generator", "Encoder"]

SAMPLES = 2
ROUNDS = 2
"""How often source and folder are loaded in turn; the faster time of each counts."""


def convert(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint of any known GAN, or an encoder of the paper's authors; read as data.")
    ],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="The model folder to write.")],
    half: Annotated[
        bool, typer.Option("--half", help="Store weights in half precision: half the size, and rounded.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Convert a checkpoint to a model folder (config.json, model.safetensors); check and time what was written."""
    from ganenc.models import load_model, model_hash, save_pretrained

    model = load_model(checkpoint)
    save_pretrained(model, folder, info={"source": checkpoint.name}, half=half)
    again = load_model(folder)
    difference = _difference(model, again, half, checkpoint, folder)
    faster = _seconds(checkpoint, folder)
    encodes = isinstance(model.spec, EncoderSpec)
    facts: dict[str, Any] = {
        "source": checkpoint,
        "folder": folder,
        "kind": "encoder" if encodes else "generator",
        "family": None if isinstance(model.spec, EncoderSpec) else model.spec.family,
        "size": model.spec.size,
        "classes": model.spec.classes,
        "hash": model_hash(again),
        "half": half,
        "largest_difference": difference,
        "loads_times_as_fast": faster,
    }
    if as_json:
        emit(facts)
        return
    height, width = model.spec.size
    gives = "latents" if encodes else "pixels"
    same = f"{gives} of {checkpoint} up to {difference:.2g}" if half else f"the same {gives} as {checkpoint}"
    what = f"{facts['family'] or 'encoder'}, {height}x{width}"
    show(f"{folder}: {what}, {same}; loads {faster:.1f}x as fast; hash {facts['hash'][:12]}")


def _difference(one: Model, other: Model, half: bool, checkpoint: Path, folder: Path) -> float:
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
    import torch

    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        raise CheckpointError(
            f"{folder} does not give the same pixels as {checkpoint}: its family keeps something outside the"
            " weights and the spec; the folder is not to be used."
        )
    return apart


def _outputs(model: Model) -> list[Tensor]:
    """Images of a few samples, or the latents that an encoder finds in a few images."""
    import torch

    from ganenc.encoders import Encoder
    from ganenc.generators import draw_normal

    with torch.no_grad():
        if not isinstance(model, Encoder):
            return [model.synthesize(model.sample(SAMPLES, seed=0))]
        spec = model.spec
        low, high = spec.value_range
        noise = draw_normal(SAMPLES, spec.channels * spec.size[0] * spec.size[1], seed=0)
        images = (noise.sigmoid() * (high - low) + low).reshape(SAMPLES, spec.channels, *spec.size)
        labels = torch.arange(SAMPLES) % spec.classes if spec.classes else None
        return list(model(images, labels=labels).tensors.values())


def _seconds(checkpoint: Path, folder: Path) -> float:
    """The time that the source takes to load, over that of the folder."""
    from ganenc.models import load_model

    times: dict[Path, list[float]] = {checkpoint: [], folder: []}
    for _ in range(ROUNDS):
        for source, found in times.items():
            began = time.perf_counter()
            load_model(source)
            found.append(time.perf_counter() - began)
    return min(times[checkpoint]) / min(times[folder])
