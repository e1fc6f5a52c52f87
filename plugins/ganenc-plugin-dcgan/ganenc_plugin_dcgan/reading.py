"""Reads a row of layers out of a foreign file: kinds and widths by shapes, the order by that of the keys.

What shapes cannot tell (activations, strides, padding, the prior, how classes go in) is taken by convention, and
settled by a YAML file beside the weights, `netG.yaml` for `netG.pth`; see `ganenc spec FILE --write`. Not in paper.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.errors import SpecError
from ganenc_registry.plain_data import yaml_line
from ganenc_registry.specs import GeneratorSpec, Spec
from ganenc_registry.specs.sizes import MOST, NonNegativeInt, Width
from pydantic import Field
from torch import Tensor

from ganenc_plugin_dcgan.geometry import geometry
from ganenc_plugin_dcgan.keras import holds_layers, read_keras
from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Layer, Linear, Norm, Reshape, Upsample, row_spec

__all__ = ["RowFile", "check_samples", "convert", "recognises"]

_MOST_MODULES = 200
_TABLE = re.compile(r"(?i)emb|label|class")
_OTHER = re.compile(r"(?:net_?D|D|[Dd]isc|[Cc]ritic|[Ee]ncoder|[Oo]ptim)(?![a-z])\w*|[Dd]iscriminator\w*|d(?:_\w*)?")
"""A network that is no generator, by what its names begin with."""
_USUAL_Z = (512, 256, 128, 100, 64)
_FEW_CLASSES = (*range(2, 13), 26)
_QUIRK = re.compile(r"(?:^|\.)(?:l1\.0|conv_blocks\.\d+|model\.\d+)$")
"""Of PyTorch-GAN's generators, whose batch norms have an eps of 0.8."""


class RowFile(Spec):
    """What a file with a row of layers is taken to be."""

    family: Literal["dcgan"] = "dcgan"
    z: Width = Field(description="length of z")
    prior: Literal["normal", "uniform"] = "normal"
    classes: NonNegativeInt = 0
    labels: Labels | None = None
    value_range: tuple[float, float] = (-1.0, 1.0)
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=MOST)

    def spec(self) -> GeneratorSpec:
        """The generator's."""
        return row_spec(
            self.layers, z_dim=self.z, prior=self.prior, labels=self.labels, classes=self.classes,
            value_range=self.value_range,
        )  # fmt: skip


@dataclass
class _Guessed:
    """A file as it is taken to be, and which fields of it are conventions."""

    file: RowFile
    guesses: dict[str, str] = field(default_factory=dict)
    """By `prior`, or by the layer's place: what is guessed."""

    def text(self, name: str) -> str:
        """As YAML, a layer a line, each guess marked."""
        lines = [f"# What {name} is taken to be. Lines with a guess are conventions: correct what is wrong."]
        for key, value in self.file.to_mapping().items():
            if key != "layers":
                lines.append(f"{key}: {yaml_line(value)}{self._mark(key)}")
        lines.append("layers:")
        for place, layer in enumerate(self.file.layers):
            shown = {"kind": layer.kind, **layer.model_dump(mode="json", exclude_defaults=True)}
            lines.append(f"- {yaml_line(shown)}{self._mark(str(place))}")
        return "\n".join(lines) + "\n"

    def _mark(self, key: str) -> str:
        return f"  # guess: {self.guesses[key]}" if key in self.guesses else ""


@dataclass
class _Module:
    """What lies under one name of a file."""

    name: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def weight(self) -> tuple[int, ...]:
        return self.shapes.get("weight", ())

    @property
    def is_norm(self) -> bool:
        return "running_mean" in self.shapes or (len(self.weight) == 1 and "bias" in self.shapes)

    @property
    def place(self) -> tuple[str, int | None]:
        """The container, and the number in it."""
        above, _, last = self.name.rpartition(".")
        return (above, int(last)) if last.isdigit() else (self.name, None)


class _NotARow(Exception):
    """The modules do not follow one another from a vector to an image."""


def recognises(checkpoint: Checkpoint) -> bool:
    """Whether the file holds a plain row of layers, from a vector to an image."""
    if checkpoint.container == "keras":
        return holds_layers(checkpoint)
    return checkpoint.container in ("torch", "safetensors", "pickle") and bool(_prefixes(checkpoint))


def convert(checkpoint: Checkpoint) -> tuple[GeneratorSpec, dict[str, Tensor], str]:
    """The spec, the weights by our names, and the settings as YAML, of the averaged copy where there are several.

    Raises:
        CheckpointError: it is no row of layers, the settings beside it do not fit it, or a tensor is damaged.
    """
    path, given = checkpoint.settings
    row = None
    if checkpoint.container == "keras":
        row = read_keras(checkpoint)
        checkpoint = replace(checkpoint, tensors=row.tensors)
    try:
        if given:
            guessed = _Guessed(RowFile.from_mapping(given, where=str(path)))
        elif row is not None:
            marks = {"prior": "normal"} | ({} if row.value_range else {"value_range": "by convention"})
            values = {"value_range": row.value_range} if row.value_range else {}
            guessed = _Guessed(RowFile(z=row.z, layers=tuple(row.layers), **values), marks)
        else:
            found = _prefixes(checkpoint)
            if not found:
                checkpoint.fail("it holds no plain row of layers", "settle what it is by a YAML file beside it")
            guessed = found[checkpoint.averaged(list(found))]
        spec = guessed.file.spec()
    except SpecError as error:
        why = str(error).rstrip(".")
        checkpoint.fail(f"as {path or 'the convention'} has it, it cannot be built ({why})", "correct it")
    tensors: dict[str, Tensor] = {}
    for place, layer in enumerate(guessed.file.layers):
        tensors |= _fetch(checkpoint, layer, f"layers.{place}")
    checkpoint.spare(r".*num_batches_tracked")
    labels = guessed.file.labels
    if labels and labels.kind == "table":
        tensors["table.weight"] = checkpoint.tensor(f"{labels.weights}.weight", (guessed.file.classes, labels.dim))
    return spec, tensors, guessed.text(checkpoint.path.name)


@torch.no_grad()
def check_samples(checkpoint: Checkpoint, generator: Generator) -> None:
    """Say by a warning if samples show that a convention does not hold; `CheckpointError` if they are not finite."""
    images = generator.synthesize(generator.sample(8, seed=0))
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


def _fetch(checkpoint: Checkpoint, layer: Any, name: str) -> dict[str, Tensor]:
    """The tensors of one layer by our names."""
    source, found = layer.weights, {}
    if isinstance(layer, Linear):
        found[f"{name}.1.weight"] = checkpoint.tensor(f"{source}.weight", (layer.outputs, None))
        if layer.bias:
            found[f"{name}.1.bias"] = checkpoint.tensor(f"{source}.bias", (layer.outputs,))
    elif isinstance(layer, Convolution):
        weight = checkpoint.tensor(f"{source}.weight")
        flat = weight.ndim == 3
        weight = weight[:, :, None] if flat else weight
        fits = weight.ndim == 4 and tuple(weight.shape[2:]) == layer.kernel
        if not fits or weight.shape[layer.transposed] != layer.outputs:
            checkpoint.fail(f"the tensor '{source}.weight' of {tuple(weight.shape)} is no kernel of {layer.kernel}")
        found[f"{name}.inner.weight"] = weight
        if layer.bias:
            found[f"{name}.inner.bias"] = checkpoint.tensor(f"{source}.bias", (layer.outputs,))
    elif isinstance(layer, Norm):
        names = (["running_mean", "running_var"] if layer.name == "batch" else []) + ["weight", "bias"] * layer.affine
        found |= {f"{name}.{one}": checkpoint.tensor(f"{source}.{one}", (None,)) for one in names}
        if layer.name == "batch":
            found[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    return found


def _prefixes(checkpoint: Checkpoint) -> dict[str, _Guessed]:
    """The networks of a file that are plain rows of layers, by what their names begin with."""
    found: dict[str, _Guessed] = {}
    names = [name for name in checkpoint.tensors if not name.endswith("num_batches_tracked")]
    if len(names) > 20 * _MOST_MODULES:
        return {}
    prefixes = dict.fromkeys([""])
    for name in names:
        parts = name.split(".")
        prefixes |= dict.fromkeys(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), 5)))
    for prefix in sorted(prefixes, key=lambda one: one.count(".")):
        if any(prefix.startswith(known) for known in found):
            continue
        try:
            found[prefix] = _Reader(checkpoint, prefix, _modules(checkpoint, names, prefix)).read()
        except (_NotARow, SpecError):
            continue
    return found


def _modules(checkpoint: Checkpoint, names: Sequence[str], prefix: str) -> list[_Module]:
    modules: dict[str, _Module] = {}
    for name in names:
        if name.startswith(prefix):
            owner, _, tensor = name.rpartition(".")
            modules.setdefault(owner, _Module(owner)).shapes[tensor] = checkpoint.shape(name)
    if any(_OTHER.fullmatch(owner[len(prefix) :].partition(".")[0]) for owner in modules):
        raise _NotARow
    found = list(modules.values())
    if not 2 <= len(found) <= _MOST_MODULES or any(one.shapes.keys() - _KNOWN for one in found):
        raise _NotARow
    if checkpoint.container == "safetensors":  # Names lie there in the order of the alphabet.
        found.sort(key=lambda one: ([int(number) for number in re.findall(r"\d+", one.name)], one.is_norm))
    return found


_KNOWN = {"weight", "bias", "running_mean", "running_var"}


class _Reader:
    """One pass over the modules of a network."""

    def __init__(self, checkpoint: Checkpoint, prefix: str, modules: list[_Module]) -> None:
        self._name, self._modules = checkpoint.path.name, modules
        self._table = None
        for place, module in enumerate(modules):
            if module.shapes.keys() == {"weight"} and len(module.weight) == 2 and _TABLE.search(module.name):
                self._table = self._modules.pop(place)
                break
        self._kernels = [one for one in self._modules if len(one.weight) > 2]
        self._turned = self._orient()
        self._turns = any(self._turned)
        self._linear = not self._kernels
        self.layers: list[Any] = []
        self.guesses: dict[str, str] = {}

    def read(self) -> _Guessed:
        """The layers with what lies between them; _NotARow if they are none."""
        inputs = self._inputs()
        before: _Module | None = None
        for place, module in enumerate(self._modules):
            self._between(before, module)
            if module.is_norm:
                self._norm(module, place)
            elif len(module.weight) == 2:
                self._add(Linear(outputs=module.weight[0], bias="bias" in module.shapes, weights=module.name))
            else:
                self._convolution(module, place)
            before = module
        self._finish()
        self._shape()
        self._add(Activation(name="tanh"), "a tanh at the end")
        z, labels, classes = self._conditions(inputs)
        self.guesses["prior"] = "normal, or uniform from -1 to 1"
        file = RowFile(z=z, labels=labels, classes=classes, layers=tuple(self.layers))
        channels = file.spec().channels
        if channels > 64 or min(file.spec().size) * max(file.spec().size) < 64:
            raise _NotARow
        return _Guessed(file, self.guesses)

    def _orient(self) -> list[bool]:
        """Which kernels are of transposed convolutions: those whose inputs, and not outputs, are what went before.
        Where these are as many, even kernels are, and odd ones in a network without plain convolutions otherwise."""
        found: dict[int, list[bool]] = {}
        wide: int | None = None
        for place, module in enumerate(self._modules):
            weight = module.weight
            if module.is_norm or len(weight) == 2:
                wide = wide if module.is_norm else None
                continue
            if len(weight) not in (3, 4):
                raise _NotARow
            follows = self._next_width(place)
            fits = [wide in (None, weight[way]) and follows in (None, weight[1 - way]) for way in (0, 1)]
            if not any(fits):
                raise _NotARow
            found[place] = fits
            wide = weight[1] if fits[0] else weight[0]
        alone = [fits for fits in found.values() if not all(fits)]
        odd = bool(alone) and all(turned for turned, _ in alone)
        return [
            place in found and found[place][0] and (not found[place][1] or module.weight[-1] % 2 == 0 or odd)
            for place, module in enumerate(self._modules)
        ]

    def _next_width(self, place: int) -> int | None:
        following = self._modules[place + 1] if place + 1 < len(self._modules) else None
        return following.weight[0] if following and following.is_norm and following.weight else None

    def _inputs(self) -> int:
        """How many numbers go in; a row begins with a linear layer, or a transposed convolution of one pixel."""
        first = self._modules[0]
        if len(first.weight) == 2:
            return first.weight[1]
        if len(first.weight) in (3, 4) and self._turned[0]:
            return first.weight[0]
        raise _NotARow

    def _add(self, layer: Any, guess: str = "") -> None:
        if guess:
            self.guesses[str(len(self.layers))] = guess
        self.layers.append(layer)

    def _width(self) -> int | None:
        """What the last layer with weights gives out."""
        wide = [one.shape[0] if isinstance(one, Reshape) else getattr(one, "outputs", None) for one in self.layers]
        return next((width for width in reversed(wide) if width), None)

    def _norm(self, module: _Module, place: int) -> None:
        batch = "running_mean" in module.shapes
        (features,) = module.shapes["running_mean" if batch else "weight"]
        if features != self._width():
            self._reshape(features)
        follows = self._linear or (not self._turns and isinstance(self.layers[-1], Convolution))
        eps = 0.8 if place and follows and _QUIRK.search(module.name) else 1e-5
        self._add(
            Norm(name="batch" if batch else "instance", eps=eps, affine="weight" in module.shapes, weights=module.name),
            "instance, as it keeps no statistics" if not batch else "eps 0.8, as PyTorch-GAN has it" * (eps == 0.8),
        )

    def _reshape(self, channels: int) -> None:
        """A vector as a square map of so many channels."""
        width = self._width()
        if width is None or any(isinstance(one, Reshape | Convolution) for one in self.layers) or width % channels:
            raise _NotARow
        side = math.isqrt(width // channels)
        if side * side * channels != width:
            raise _NotARow
        self._add(Reshape(shape=(channels, side, side)), "a square map, channel by channel")

    def _convolution(self, module: _Module, place: int) -> None:
        turned, weight = self._turned[place], module.weight
        inputs, outputs = (weight[0], weight[1]) if turned else (weight[1], weight[0])
        mapped = any(isinstance(one, Reshape | Convolution) for one in self.layers)
        if self.layers and not mapped:
            self._reshape(inputs)
            # An activation of the vector belongs before the map; a norm of it has gone before.
        elif self.layers and inputs != self._width():
            raise _NotARow
        kernel = (1, weight[2]) if len(weight) == 3 else (weight[2], weight[3])
        self._add(
            Convolution(
                outputs=outputs, kernel=kernel, transposed=turned, bias="bias" in module.shapes, weights=module.name
            )
        )

    def _between(self, before: _Module | None, after: _Module) -> None:
        """What has no weights and lies between two modules: told by the numbers in a common container, or usual."""
        container, number = after.place
        if before is None:
            return
        known = before.place[0] == container and number is not None and before.place[1] is not None
        missing = number - before.place[1] - 1 if known and number is not None and before.place[1] is not None else None
        usual = not after.is_norm
        if missing == 0 or (missing is None and not usual):
            return
        grows = not self._turns and not self._linear and len(after.weight) > 2
        fresh = grows and before.is_norm and not any(isinstance(one, Convolution) for one in self.layers)
        if not (fresh and missing == 1):
            name: Any = "relu" if self._turns else "leaky_relu"
            self._add(Activation(name=name), f"{name}, or another activation")
        more = missing is None or missing > 1 or fresh
        if grows and more and after is not self._kernels[-1]:
            if not any(isinstance(one, Reshape | Convolution) for one in self.layers):
                self._reshape(after.weight[1])
            self._add(Upsample(), "enlarged twice")

    def _finish(self) -> None:
        """A row that ends in a vector becomes an image."""
        if any(isinstance(one, Convolution) for one in self.layers):
            return
        width = self._width() or 0
        for channels in (1, 3, 4, 2):
            side = math.isqrt(width // channels)
            if side >= 8 and side * side * channels == width:
                self._add(Reshape(shape=(channels, side, side)), "a square image, channel by channel")
                return
        raise _NotARow

    def _shape(self) -> None:
        """Strides and padding by the conventions of the field."""
        places = [i for i, one in enumerate(self.layers) if isinstance(one, Convolution)]
        if not places:
            return
        reshape = next((one for one in self.layers if isinstance(one, Reshape)), None)
        start = reshape.shape[1] if reshape else 1
        convs = [self.layers[i] for i in places]
        flat = all(one.kernel[0] == 1 for one in convs) and any(one.kernel[1] > 1 for one in convs)
        chosen = geometry([(one.kernel[1], one.transposed) for one in convs], start, convs[-1].outputs)
        for i, (stride, padding, extra) in zip(places, chosen, strict=True):
            edges = (padding, padding - extra) if self.layers[i].transposed else (padding, padding)
            fields = {"stride": (1 if flat else stride, stride), "padding": ((0, 0) if flat else edges) + edges}
            self.layers[i] = self.layers[i].model_copy(update=fields)
            if i != places[0] or start > 1:
                self.guesses[str(i)] = "stride and padding"

    def _conditions(self, inputs: int) -> tuple[int, Labels | None, int]:
        """Of what goes in: the length of z, how labels go in, and how many classes there are."""
        if self._table is not None:
            classes, dim = self._table.weight
            self.guesses["labels"] = "after z, before it, or times it"
            if dim == inputs:
                return inputs, Labels(kind="table", dim=dim, joined="times", weights=self._table.name), classes
            if dim < inputs:
                label = Labels(kind="table", dim=dim, joined="before", weights=self._table.name)
                return inputs - dim, label, classes
            raise _NotARow
        self.guesses["classes"] = "by the length of z"
        usual = next((z for z in _USUAL_Z if inputs - z in _FEW_CLASSES), None)
        if inputs in _USUAL_Z or usual is None:
            return inputs, None, 0
        return usual, Labels(dim=inputs - usual), inputs - usual
