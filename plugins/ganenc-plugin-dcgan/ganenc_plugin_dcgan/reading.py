"""Reads a row of layers out of a foreign file: kinds and widths by shapes, the order by that of the keys.

What shapes cannot tell (activations, strides, padding, the prior, how classes go in) is told by the statistics of norms
(`ganenc_plugin_dcgan.evidence`) or taken by convention (`ganenc_plugin_dcgan.guessing`), and settled by a YAML file
beside the weights, `netG.yaml` for `netG.pth`; see `ganenc spec FILE --write`. Not in paper.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc_plugin_dcgan.guessing import Guessed, Module, NotARow, RowFile, guess
from ganenc_plugin_dcgan.keras import holds_layers, read_keras
from ganenc_plugin_dcgan.specs import Activation, Convolution, Linear, Norm, Shape, inputs_of, shapes_of

__all__ = ["RowFile", "check_samples", "convert", "find", "recognises"]

_MOST_MODULES = 200
MOST_WORK = 1 << 34
"""Multiplications for one image beyond which none is made to look at; a DCGAN of 64 pixels has a fortieth of it."""
_OTHER = re.compile(
    r"(?:net_?D|D|[Dd]isc|[Cc]ritic|[Ee]ncoder|[Oo]ptim)(?![a-z])\w*|[Dd]iscriminator\w*|d(?:_\w*)?"
    r"|(?:\w+_)?sc|skip\w*|\w*shortcut\w*|res(?:idual)?_?(?:block|layer)s?_?\d*"
)
"""A network that is no generator, or branches, by what its names begin with."""
_PARAMETRIZED = "parametrizations.weight."
_NORMALISED = re.compile(r"(.+)\.(?:weight_|parametrizations\.weight\.(?:0\._)?)(orig|u|v|g|original[01]?)")
"""Tensors of a kernel with spectral or weight normalisation."""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the file holds a plain row of layers, from a vector to an image, and no more of a network."""
    if checkpoint.container == "keras":
        return holds_layers(checkpoint)
    found = _prefixes(checkpoint) if checkpoint.container in ("torch", "safetensors", "pickle") else {}
    return bool(found) and checkpoint.is_all(list(found))


def find(checkpoint: Checkpoint) -> tuple[Checkpoint, Guessed, bool]:
    """The file with its tensors as torch has them, what it is taken to be, the averaged copy where there are several,
    and whether it, or a file beside it, tells all layers.

    Raises:
        CheckpointError: it is no row of layers, or the settings beside it are wrong.
    """
    path, given = checkpoint.settings
    row = read_keras(checkpoint) if checkpoint.container == "keras" else None
    read = checkpoint if row is None else replace(checkpoint, tensors=row.tensors)
    if given:
        try:
            return read, Guessed(RowFile.from_mapping(given, where=str(path))), True
        except SpecError as error:
            checkpoint.fail(f"the file beside it is wrong ({str(error).rstrip('.')})", "correct it")
    if row is not None:
        marks = {"prior": "normal"} | ({} if row.value_range else {"value_range": "by convention"})
        values = {"value_range": row.value_range} if row.value_range else {}
        return read, Guessed(RowFile(z=row.z, layers=tuple(row.layers), **values), marks), True
    found = _prefixes(checkpoint)
    if not found:
        checkpoint.fail("it holds no plain row of layers", "settle what it is by a YAML file beside it")
    return read, found[checkpoint.averaged(list(found))], False


def convert(checkpoint: Checkpoint, guessed: Guessed) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec, and the weights by our names; `CheckpointError` if what the file is taken to be cannot be built, or a
    tensor is missing or damaged."""
    try:
        spec = guessed.file.spec()
    except SpecError as error:
        why = str(error).rstrip(".")
        checkpoint.fail(f"its layers cannot be built ({why})")
    tensors: dict[str, Tensor] = {}
    shapes = shapes_of(guessed.file.layers, inputs_of(guessed.file.z, guessed.file.labels))
    for place, (layer, shape) in enumerate(zip(guessed.file.layers, shapes)):
        tensors |= _fetch(checkpoint, layer, shape, f"layers.{place}")
    checkpoint.spare(r".*num_batches_tracked")
    labels = guessed.file.labels
    if not labels:  # What it is read as says that they have no part.
        checkpoint.spare(r".*(?:emb|label|class)[^.]*\.weight")
    if labels and labels.kind == "table":
        tensors["table.weight"] = checkpoint.tensor(f"{labels.weights}.weight", (guessed.file.classes, labels.dim))
    return spec, tensors


@torch.no_grad()
def check_samples(checkpoint: Checkpoint, generator: Generator, guessed: Guessed) -> None:
    """Say by a warning what nothing in the file tells, or if samples show that a convention does not hold;
    `CheckpointError` if they are not finite."""
    shapes = shapes_of(guessed.file.layers, inputs_of(guessed.file.z, guessed.file.labels))
    if _work(guessed.file.layers, shapes) > MOST_WORK:
        return
    widest = max(map(math.prod, shapes))
    images = generator.synthesize(generator.sample(max(2, min(8, (1 << 25) // widest)), seed=0))
    low, high = generator.spec.value_range
    remedy = f"settle what it is: `ganenc spec {checkpoint.path.name} --write {checkpoint.path.stem}.yaml`"
    if not bool(images.isfinite().all()):
        checkpoint.fail("its samples are not finite", remedy)
    wide, apart = float(images.abs().max()), float(images.std(0).mean()) / (high - low)
    edge = float(((images - low).abs().minimum((images - high).abs()) < 0.005 * (high - low)).float().mean())
    problem = (
        "are all alike" if apart < 0.0005
        else f"leave their range, up to {wide:.3g}" if wide > 2 * max(abs(low), abs(high))
        else "lie nearly all at the ends of their range" if edge > 0.97
        else ""
    )  # fmt: skip
    if problem:
        warnings.warn(f"{checkpoint.path}: its samples {problem}; {remedy}.", stacklevel=2)
    elif doubts := guessed.doubts:
        told = f"taken by convention, as nothing in it tells: {', '.join(doubts)}; if its images are others, {remedy}"
        warnings.warn(f"{checkpoint.path}: {told}.", stacklevel=2)


def _work(layers: Sequence[Any], shapes: Sequence[Shape]) -> int:
    """Multiplications of the convolutions, for one image."""
    return sum(
        math.prod(layer.kernel) * layer.outputs * before[0] * math.prod((before if layer.transposed else after)[1:])
        for layer, before, after in zip(layers, shapes, shapes[1:]) if isinstance(layer, Convolution)
    )  # fmt: skip


def _fetch(checkpoint: Checkpoint, layer: Any, shape: Shape, name: str) -> dict[str, Tensor]:
    """The tensors of one layer, which is given this shape, by our names."""
    source, found = layer.weights, {}
    if isinstance(layer, Linear):
        found[f"{name}.1.weight"] = _weight(checkpoint, source, (layer.outputs, math.prod(shape)))
        if layer.bias:
            found[f"{name}.1.bias"] = checkpoint.tensor(f"{source}.bias", (layer.outputs,))
    elif isinstance(layer, Convolution):
        channels = (shape[0], layer.outputs) if layer.transposed else (layer.outputs, shape[0])
        stored = _stored(checkpoint, source)
        flat = stored in checkpoint.tensors and len(checkpoint.shape(stored)) == 3
        weight = _weight(checkpoint, source, (*channels, *layer.kernel[flat:]), axis=int(layer.transposed))
        found[f"{name}.inner.weight"] = weight[:, :, None] if flat else weight
        if layer.bias:
            found[f"{name}.inner.bias"] = checkpoint.tensor(f"{source}.bias", (layer.outputs,))
    elif isinstance(layer, Norm):
        names = (["running_mean", "running_var"] if layer.name == "batch" else []) + ["weight", "bias"] * layer.affine
        found |= {f"{name}.{one}": checkpoint.tensor(f"{source}.{one}", shape[:1]) for one in names}
        if layer.name == "batch":
            found[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    elif isinstance(layer, Activation) and layer.name == "prelu":
        slopes = checkpoint.tensor(f"{source}.weight", (None,))
        found[f"{name}.weight"] = slopes.expand(shape[0]).clone() if len(slopes) == 1 else slopes
    return found


def _stored(checkpoint: Checkpoint, source: str) -> str:
    """Where a kernel lies: plain, or as spectral or weight normalisation keep it, by hooks or parametrised."""
    names = [
        f"{source}.{one}"
        for one in ("weight_orig", "weight_v", f"{_PARAMETRIZED}original", f"{_PARAMETRIZED}original1")
    ]
    return next((name for name in names if name in checkpoint.tensors), f"{source}.weight")


def _weight(checkpoint: Checkpoint, source: str, shape: Shape, axis: int = 0) -> Tensor:
    """A kernel as it is used; ``axis`` counts what goes out."""
    stored = _stored(checkpoint, source)
    found = checkpoint.tensor(stored, shape)
    if stored == f"{source}.weight":
        return found
    checkpoint.spare(re.escape(f"{source}.weight"))  # What was last used in training.
    start = f"{source}.{_PARAMETRIZED}" if _PARAMETRIZED in stored else f"{source}.weight_"
    if stored.endswith(("_v", "original1")):
        gain = checkpoint.tensor(
            f"{start}{'original0' if _PARAMETRIZED in stored else 'g'}", (shape[0],) + (1,) * (len(shape) - 1)
        )
        found = gain * found / found.flatten(1).norm(dim=1).view_as(gain)
    else:
        start += "0._" * (_PARAMETRIZED in stored)
        matrix = found.movedim(axis, 0).flatten(1)
        found = found / (
            checkpoint.tensor(f"{start}u", matrix.shape[:1]) @ matrix @ checkpoint.tensor(f"{start}v", matrix.shape[1:])
        )
    if not bool(found.isfinite().all()):
        checkpoint.fail(f"the tensor {stored!r} cannot be normalised")
    return found


def _prefixes(checkpoint: Checkpoint) -> dict[str, Guessed]:
    """The networks of a file that are plain rows of layers, by what their names begin with."""
    found: dict[str, Guessed] = {}
    names = [name for name in checkpoint.tensors if not name.endswith("num_batches_tracked")]
    if len(names) > 20 * _MOST_MODULES:
        return {}
    prefixes = dict.fromkeys([""])
    for name in names:
        parts = name.split(".")
        prefixes |= dict.fromkeys(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 5)))
    ordered = checkpoint.container != "safetensors"  # Whose names lie in the order of the alphabet.
    for prefix in sorted(prefixes, key=lambda one: one.count(".")):
        if not any(prefix.startswith(known) for known in found):
            with suppress(NotARow):
                found[prefix] = guess(_modules(checkpoint, names, prefix), ordered=ordered)
    return found


def _modules(checkpoint: Checkpoint, names: Sequence[str], prefix: str) -> list[Module]:
    modules: dict[str, Module] = {}
    for name in names:
        if name.startswith(prefix):
            owner, _, tensor = name.rpartition(".")
            if (found := _NORMALISED.fullmatch(name)) is not None:
                kernel = found[2] in ("orig", "original", "original1") or (
                    found[2] == "v" and len(checkpoint.shape(name)) > 1
                )
                owner, tensor = found[1], "weight" if kernel else ""
            if tensor:
                modules.setdefault(owner, Module(owner)).shapes[tensor] = checkpoint.shape(name)
    others = any(_OTHER.fullmatch(part) for owner in modules for part in owner[len(prefix) :].split("."))
    if others or not 2 <= len(modules) <= _MOST_MODULES:
        raise NotARow
    return list(modules.values())
