"""Makes a model folder of any model, and holds what is read from it against the source. Not in paper."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import CheckpointError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.files import load_tensors, marked_archive, save_tensors, write_bytes
from ganenc.generators import Generator, draw_normal
from ganenc.models.hub import repository_of
from ganenc.models.loading import holds_encoder, load_encoder, load_model
from ganenc.models.resolving import DIRECTIONS, ENCODER, resolve
from ganenc.models.weights import model_hash, save_pretrained

Network: TypeAlias = Generator | Encoder

SAMPLES = 2
ROUNDS = 2
"""How often source and folder are loaded; the faster time of each counts."""


def convert(source: str | Path, folder: str | Path, *, half: bool = False, to: str | None = None) -> dict[str, Any]:
    """Write a model folder of whatever `load_model` takes, and check that it gives the same images, or latents, as its
    source (else a `CheckpointError`); with ``half`` weights are stored in half precision, and the same rounding is
    allowed for. An encoder in the same file and directions that lie with the source go along. ``to`` names a format of
    other programs, in which the family writes a torch file in place of the folder.

    Returned are the facts: kind, family, size, classes, hash, largest difference, how many times as fast it loads.
    """
    network = load_model(source)
    hashed = model_hash(network)
    origin = {"source": str(source) if repository_of(str(source)) and not os.path.exists(source) else Path(source).name}
    if to is None:
        save_pretrained(network, folder, info=origin, half=half)
    elif half or not isinstance(network, Generator):
        raise CheckpointError(f"{source} cannot be written as {to}: only generators can, in full precision.")
    else:
        torch.save(network.to_format(to), content := io.BytesIO())
        write_bytes(folder, marked_archive(content))
    again = load_model(folder)
    before, after = _outputs(network), _outputs(again)
    apart = max(float((a - b).abs().max()) for a, b in zip(before, after, strict=True))
    if half:
        rounded = {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in network.state_dict().items()}
        network.load_state_dict(rounded)
        before = _outputs(network)
    if not all(torch.equal(a, b) for a, b in zip(before, after, strict=True)):
        raise CheckpointError(
            f"{folder} does not give the same pixels as {source}: its family keeps something outside the"
            " weights and the spec; the folder is not to be used."
        )
    if to is None:
        if isinstance(network, Generator) and holds_encoder(source):
            save_pretrained(load_encoder(source), Path(folder) / ENCODER, info=origin, half=half)
        _carry_directions(source, Path(folder), {hashed: model_hash(again)})
    return {
        "source": str(source),
        "folder": str(folder),
        "kind": "encoder" if isinstance(network, Encoder) else "generator",
        "family": None if isinstance(network, Encoder) else network.spec.family,
        "size": network.spec.size,
        "classes": network.spec.classes,
        "hash": model_hash(again),
        "half": half,
        "largest_difference": apart,
        "loads_times_as_fast": _seconds(source) / _seconds(folder),
    }


def _carry_directions(source: str | Path, folder: Path, hashes: Mapping[str, str]) -> None:
    """Write the directions of a source into a model folder; those of its weights are then of the weights there."""
    place = resolve(source).folder
    for path in [] if place is None else sorted((place / DIRECTIONS).glob("*.safetensors")):
        metadata, tensors = load_tensors(path, "direction", form="ganenc-direction")
        model = metadata.get("model", "")
        save_tensors(folder / DIRECTIONS / path.name, tensors, {**metadata, "model": hashes.get(model, model)})


@torch.no_grad()
def _outputs(network: Network) -> list[Tensor]:
    """Images of a few samples, or the latents that an encoder finds in a few images."""
    if isinstance(network, Generator):
        return [network.synthesize(network.sample(SAMPLES, seed=0))]
    spec = network.spec
    low, high = spec.value_range
    noise = draw_normal(SAMPLES, spec.channels * spec.size[0] * spec.size[1], seed=0)
    images = (noise.sigmoid() * (high - low) + low).reshape(SAMPLES, spec.channels, *spec.size)
    labels = torch.arange(SAMPLES) % spec.classes if spec.classes else None
    return list(network(images, labels=labels).tensors.values())


def _seconds(source: str | Path) -> float:
    """The time that a model takes to load, at best."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        load_model(source)
        times.append(time.perf_counter() - began)
    return min(times)
