"""From the tensors of a network, by shapes and order, to a row of layers; conventions for what they do not tell."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from ganenc_registry.errors import SpecError
from ganenc_registry.plain_data import yaml_line
from ganenc_registry.specs import GeneratorSpec, NonNegativeInt, Spec
from ganenc_registry.specs.sizes import MOST, Width
from pydantic import Field

from ganenc_plugin_dcgan.geometry import COMMON, geometry
from ganenc_plugin_dcgan.specs import (
    Activation,
    Convolution,
    Labels,
    Layer,
    Linear,
    Norm,
    Reshape,
    Shuffle,
    Upsample,
    row_spec,
)  # fmt: skip

__all__ = ["Guessed", "Module", "NotARow", "RowFile", "guess"]

TENSORS = {"weight", "bias", "running_mean", "running_var"}
_TABLE = re.compile(r"(?i)emb|label|class|cls|cond")
USUAL_Z = (512, 256, 128, 100, 64, 62)
_FEW_CLASSES = (*range(2, 13), 26)
_MOST_GROUPS = 4
MOST_FACTOR = 4
"""By which a shuffle enlarges."""
SIGNAL = "a signal, or an image that is not square"
INSTANCE = "instance, as it keeps no statistics; or group, with its groups"
OTHER = ", or another activation"
DROPPED = " before a dropout"
ANYWHERE = ", here or elsewhere"
_PYTORCH_GAN = re.compile(r"(?:^|\.)(?:model|conv_blocks)\.\d+$")
"""Whose batch norms have an eps of 0.8."""


class NotARow(Exception):
    """The modules do not follow one another from a vector to an image."""


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
class Guessed:
    """A file as it is taken to be, and which fields of it are conventions."""

    file: RowFile
    guesses: dict[str, str] = field(default_factory=dict)
    """By field, such as `prior`, or by the layer's place: what is guessed."""
    doubtful: bool = False
    """Whether the statistics of its norms are those of something else."""

    def text(self, name: str) -> str:
        """As YAML, a layer a line, each guess marked."""
        lines = [f"# What {name} is taken to be. Lines with `guess` are conventions: correct those that are wrong."]
        for key, value in self.file.to_mapping().items():
            if key != "layers":
                lines.append(f"{key}: {yaml_line(value)}{self._mark(key)}")
        lines.append("layers:")
        for place, layer in enumerate(self.file.layers):
            shown = {"kind": layer.kind, **layer.model_dump(mode="json", exclude_defaults=True)}
            lines.append(f"- {yaml_line(shown)}{self._mark(str(place))}")
        return "\n".join(lines) + "\n"

    @property
    def doubts(self) -> list[str]:
        """What nothing in the file tells, where it may well be otherwise."""
        if self.doubtful:
            return ["all of it, as the statistics of its norms are of something else"]
        marks = self.guesses.values()
        names = sorted({mark.split()[0].rstrip(",") for mark in marks if mark.endswith(OTHER)})
        return [
            *([f"its activations ({', '.join(names)})"] if names else ()),
            *(["its norms (instance)"] if INSTANCE in marks else ()),
            *(["where it is enlarged"] if any(mark.endswith(ANYWHERE) for mark in marks) else ()),
            *([f"its size ({self.guesses['size']})"] if "size" in self.guesses else ()),
            *(["its shape (a signal)"] if SIGNAL in marks else ()),
            *(
                ["how its labels go in"]
                if "labels" in self.guesses or ("z" in self.guesses and self.file.labels)
                else ()
            ),
        ]

    def _mark(self, key: str) -> str:
        return f"  # guess: {self.guesses[key]}" if key in self.guesses else ""


@dataclass
class Module:
    """What lies under one name of a file, by shapes."""

    name: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    turned: bool | None = False
    """Whether it is a transposed convolution; None while either fits."""

    @property
    def weight(self) -> tuple[int, ...]:
        return self.shapes.get("weight", ())

    @property
    def is_norm(self) -> bool:
        return "running_mean" in self.shapes or (len(self.weight) == 1 and "bias" in self.shapes)

    @property
    def is_slopes(self) -> bool:
        """Whether it is a PReLU."""
        return self.shapes.keys() == {"weight"} and len(self.weight) == 1

    @property
    def features(self) -> tuple[int, ...]:
        """Of a norm."""
        return self.shapes.get("running_mean", self.weight)

    @property
    def is_table(self) -> bool:
        """Whether it can be a table of classes, as it has no bias."""
        return self.shapes.keys() == {"weight"} and len(self.weight) == 2

    @property
    def place(self) -> tuple[str, int | None]:
        """The container, and the number in it."""
        above, _, last = self.name.rpartition(".")
        return (above, int(last)) if last.isdigit() and len(last) < 10 else (self.name, None)

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in re.findall(r"\d{1,9}", self.name)]


def guess(modules: Sequence[Module], *, ordered: bool) -> Guessed:
    """The row of layers that modules are, where they are ``ordered`` as they were defined, else by name.

    Raises:
        NotARow: they do not follow one another from a vector to an image.
    """
    for table in _tables(modules):
        for order in _orders([one for one in modules if one is not table], ordered):
            with suppress(NotARow, SpecError):
                return _Row(order).guessed(table, before=table is modules[0])
    raise NotARow


def _tables(modules: Sequence[Module]) -> list[Module | None]:
    """What may be a table of classes: those that are named so, or none."""
    return [*(one for one in modules if one.is_table and _TABLE.search(one.name)), None]


def _orders(modules: list[Module], ordered: bool) -> Iterator[list[Module]]:
    """In which orders they may follow one another: as they come; norms that come apart, after their layers; where names
    alone order them, by the numbers in these, and one group of names after another."""
    if ordered:
        yield modules
        yield from _paired(modules)
        return
    for none in (0, 1):  # Names without a number begin the row, or end it.
        modules = sorted(modules, key=lambda one: (one.numbers or [none << 31], one.is_norm))
        yield modules
        yield from _paired(modules)
    parts = zip(*(one.name.split(".") for one in modules))
    shared = len([*itertools.takewhile(lambda names: len({*names}) == 1, parts)])
    groups: dict[str, list[Module]] = {}
    for one in modules:
        groups.setdefault(one.name.split(".")[shared], []).append(one)
    if 1 < len(groups) <= _MOST_GROUPS:
        for order in itertools.permutations(groups.values()):
            yield [one for group in order for one in group]


def _paired(modules: list[Module]) -> Iterator[list[Module]]:
    """Each norm after the layer of its number, or the next of its width; none if some has no such layer."""
    found = [[one] for one in modules if not one.is_norm]
    norms = [one for one in modules if one.is_norm]

    def fits(norm: Module, place: int) -> bool:
        return len(found[place]) == 1 and {*norm.features[:1]} <= {*found[place][0].weight[:2]}

    places: list[int] = []
    for norm in norms:
        same = [i for i, group in enumerate(found) if group[0].numbers == norm.numbers and fits(norm, i)]
        later = [i for i in range(places[-1] + 1 if places else 0, len(found)) if fits(norm, i)]
        if not (same or later):
            return
        places.append((same or later)[0])
        found[places[-1]].append(norm)
    yield [one for group in found for one in group]


class _Row:
    """One pass over the modules of a network, in order."""

    def __init__(self, modules: list[Module]) -> None:
        self._modules = modules
        self._kernels = [one for one in modules if not (one.is_norm or one.is_slopes)]
        if any(len(one.weight) < 2 for one in self._kernels) or modules[0] not in self._kernels:
            raise NotARow
        if len(self._kernels) < 2 or any(one.shapes.keys() - TENSORS or len(one.weight) > 4 for one in modules):
            raise NotARow
        self._maps: dict[str, int] = {}
        self._shuffles: dict[str, int] = {}
        self._line = False
        self._follow()
        known = {one.weight[-1] for one in self._kernels if one.turned}
        for one in self._kernels:
            if one.turned is None:
                one.turned = one.weight[-1] % 2 == 0 or one.weight[-1] in known
        self._turns = any(one.turned for one in self._kernels)
        doubles = bool(self._shuffles) or any(one.turned for one in self._kernels[1:])
        self._grows = not doubles and any(len(one.weight) > 2 for one in self._kernels[1:])
        self._layers: list[Any] = []
        self._guesses: dict[str, str] = {}

    def _follow(self) -> None:
        """Let each module take what the one before gives, and find where a vector becomes a map, by module: its
        channels, and where channels become pixels."""
        self.inputs = self._kernels[0].weight[1 if len(self._kernels[0].weight) == 2 else 0]
        width, mapped = self.inputs, False
        for one in self._modules:
            if one.is_norm:
                if one.features != (width,):
                    mapped, width = self._map(one, width, mapped, *one.features)
            elif one.is_slopes:
                if one.weight not in ((1,), (width,)):
                    mapped, width = self._map(one, width, mapped, *one.weight)
            elif len(one.weight) == 2:
                if mapped or one.weight[1] != width or one.shapes.get("bias", one.weight[:1]) != one.weight[:1]:
                    raise NotARow
                width = one.weight[0]
            elif len(one.weight) > 2:
                if width not in one.weight[:2]:
                    mapped, width = self._map(one, width, mapped, *one.weight[:2], line=len(one.weight) == 3)
                ways = [turned for turned in (True, False) if width == one.weight[not turned]
                        and one.shapes.get("bias", (one.weight[turned],)) == (one.weight[turned],)]  # fmt: skip
                if not ways or (one is self._kernels[0] and not ways[0]):
                    raise NotARow
                one.turned = ways[0] if len(ways) == 1 or one is self._kernels[0] else None
                width, mapped = one.weight[ways[0]], True
            else:
                raise NotARow

    def _map(self, one: Module, width: int, mapped: bool, *channels: int, line: bool = False) -> tuple[bool, int]:
        """Before a module, a vector becomes a square map of so many channels, or a line; a map's channels become
        pixels."""
        self._line |= line
        for count in channels[::-1] if mapped else channels:
            factor = math.isqrt(width // count) if count else 0
            if mapped and not line and 2 <= factor <= MOST_FACTOR and width == count * factor**2:
                self._shuffles[one.name] = factor
                return True, count
            square = count and (line or math.isqrt(width // count) ** 2 == width // count)
            if not mapped and square and width % count == 0:
                self._maps[one.name] = count
                return True, count
        raise NotARow

    def guessed(self, table: Module | None, *, before: bool) -> Guessed:
        """The row, with what lies between its modules, and what is guessed of it."""
        z, labels, classes = self._conditions(table, before)
        last: Module | None = None
        for one in self._modules:
            factor = self._shuffles.get(one.name)
            self._between(last, one, bool(factor))
            if factor:
                self._add(Shuffle(factor=factor))
            self._reshape(one)
            bias = "bias" in one.shapes
            if one.is_norm:
                fresh = isinstance(self._layers[-1], Reshape)
                eps = 0.8 if not self._turns and not fresh and _PYTORCH_GAN.search(one.name) else 1e-5
                kept, mapped = (
                    "running_mean" in one.shapes,
                    any(isinstance(i, Convolution | Reshape) for i in self._layers),
                )
                name: Any = "batch" if kept else "instance" if mapped else "group"
                norm = Norm(name=name, eps=eps, affine="weight" in one.shapes, weights=one.name)
                self._add(norm, "eps" if eps > 0.1 else INSTANCE if name == "instance" else "")
            elif one.is_slopes:
                self._add(Activation(name="prelu", weights=one.name))
            elif len(one.weight) == 2:
                self._add(Linear(outputs=one.weight[0], bias=bias, weights=one.name))
            else:
                kernel = (1, one.weight[2]) if len(one.weight) == 3 else (one.weight[2], one.weight[3])
                outputs, turned = one.weight[bool(one.turned)], bool(one.turned)
                self._add(Convolution(outputs=outputs, kernel=kernel, transposed=turned, bias=bias, weights=one.name))
            last = one
        self._finish()
        outputs, factor = (
            self._kernels[-1].weight[bool(self._kernels[-1].turned)],
            max(self._shuffles.values(), default=1),
        )
        if outputs not in (1, 3, 4) and outputs in (factor**2, 3 * factor**2):
            self._add(Shuffle(factor=factor), "as before")
        self._shape()
        self._add(Activation(name="tanh"), "the last activation, and with it value_range; for a sigmoid 0, 1")
        self._guesses["prior"] = "normal, or uniform from -1 to 1"
        file = RowFile(z=z, labels=labels, classes=classes, layers=tuple(self._layers))
        spec = file.spec()
        if spec.channels > 64 or spec.size[0] * spec.size[1] < 64:
            raise NotARow
        if spec.size[0] == spec.size[1] not in COMMON and SIGNAL not in self._guesses.values():
            self._guesses["size"] = f"{spec.size[0]}x{spec.size[1]}"
        return Guessed(file, self._guesses)

    def _conditions(self, table: Module | None, before: bool) -> tuple[int, Labels | None, int]:
        """Of what goes in: the length of z, how labels go in, and how many classes there are."""
        if table is None:
            self._guesses["z"] = (
                "or z and a one-hot label: `classes: 10` and `labels: {dim: 10}`, with `codes: 2` for an InfoGAN's"
            )
            usual = next((z for few in ((10,), _FEW_CLASSES) for z in USUAL_Z if self.inputs - z in few), None)
            if self.inputs in USUAL_Z or usual is None:
                return self.inputs, None, 0
            return usual, Labels(dim=self.inputs - usual), self.inputs - usual
        classes, dim = table.weight
        if dim > self.inputs:
            raise NotARow
        self._guesses["labels"] = "joined is after z, before it, or times it"
        joined: Any = "times" if dim == self.inputs else "before" if before else "after"
        z = dim if joined == "times" else self.inputs - dim
        return z, Labels(kind="table", dim=dim, joined=joined, weights=table.name), classes

    def _add(self, layer: Any, guess: str = "") -> None:
        if guess:
            self._guesses[str(len(self._layers))] = guess
        self._layers.append(layer)

    def _reshape(self, one: Module) -> None:
        if one.name in self._maps:
            channels = self._maps.pop(one.name)
            width = next(layer.outputs for layer in reversed(self._layers) if isinstance(layer, Linear))
            side = 1 if self._line else math.isqrt(width // channels)
            self._add(Reshape(shape=(channels, side, width // channels // side)), "a square map, channel by channel")

    def _between(self, last: Module | None, one: Module, shuffled: bool) -> None:
        """What has no weights and lies between two modules, besides a shuffle: told by the numbers in a common
        container, or usual. A number left over is a dropout's."""
        if last is None:
            return
        (container, number), (same, before) = one.place, last.place
        gap = (
            number - before - 1 - shuffled if same == container and number is not None and before is not None else None
        )
        kernel = max(i for i, layer in enumerate(self._layers) if isinstance(layer, Linear | Convolution))
        active = any(isinstance(layer, Activation) for layer in self._layers[kernel:])
        if gap == 0 or one.is_slopes or (gap is None and (one.is_norm or (active and not self._grows))):
            return
        fresh = last.is_norm and isinstance(self._layers[-2], Reshape)  # of a map that no convolution has made
        enlarged = self._grows and not one.is_norm and one.weight[-1] > 1
        enlarged &= one is not self._kernels[-1] if gap is None else gap > 1 or fresh or active
        if not active and not (enlarged and gap == 1):
            name: Any = "relu" if self._turns else "leaky_relu"
            dropped = not enlarged and not one.is_norm and gap is not None and gap > 1
            self._add(Activation(name=name), f"{name}{DROPPED if dropped else ''}{OTHER}")
        if enlarged:
            self._reshape(one)
            self._add(Upsample(), f"enlarged twice{ANYWHERE if number is None else ''}")

    def _finish(self) -> None:
        """A row that ends in a vector becomes an image."""
        if len(self._kernels[-1].weight) > 2:
            return
        width = self._kernels[-1].weight[0]
        for channels in (1, 3, 4):
            side = math.isqrt(width // channels)
            if side >= 8 and side * side * channels == width:
                self._add(Reshape(shape=(channels, side, side)), "a square image, channel by channel")
                return
        if width < 4 * self.inputs:
            raise NotARow
        self._add(Reshape(shape=(1, 1, width)), SIGNAL)

    def _shape(self) -> None:
        """Strides and padding by the conventions of the field."""
        places = [i for i, one in enumerate(self._layers) if isinstance(one, Convolution)]
        if not places:
            return
        reshape = next((one for one in self._layers if isinstance(one, Reshape)), None)
        start = reshape.shape[2] if reshape else 1
        convs = [self._layers[i] for i in places]
        flat = all(one.kernel[0] == 1 for one in convs) and any(one.kernel[1] > 1 for one in convs)
        chosen = geometry([(one.kernel[1], one.transposed) for one in convs], start, convs[-1].outputs)
        for i, (stride, padding, extra) in zip(places, chosen, strict=True):
            edges = (padding, padding - extra) if self._layers[i].transposed else (padding, padding)
            fields = {"stride": (1 if flat else stride, stride), "padding": ((0, 0) if flat else edges) + edges}
            self._layers[i] = self._layers[i].model_copy(update=fields)
            if i != places[0] or start > 1:
                self._guesses[str(i)] = "stride and padding"
