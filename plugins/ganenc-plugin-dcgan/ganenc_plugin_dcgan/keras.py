"""Keras's generators as rows of layers: its JSON says layers, strides and activations, its HDF5 holds the weights.

Keras keeps channels last, Keras 2 names arrays by layers and roles, Keras 3 numbers them. What is convention here is
the prior alone, and the range of values behind no tanh or sigmoid. Not in paper.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from ganenc.foreign import Checkpoint
from ganenc_registry.errors import SpecError
from torch import Tensor

from ganenc_plugin_dcgan.specs import Activation, Convolution, Linear, Norm, Pad, Reshape, Shape, Upsample

__all__ = ["KerasRow", "holds_layers", "read_keras"]

_IDLE = {
    "InputLayer", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout",
    "AlphaDropout", "ActivityRegularization",
}  # fmt: skip
"""What does nothing to an image that is made."""
_KNOWN = {
    "Dense", "Reshape", "Flatten", "BatchNormalization", "Conv1D", "Conv2D", "Convolution2D", "Conv1DTranspose",
    "Conv2DTranspose", "Convolution2DTranspose", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D",
    "Cropping1D", "Cropping2D", "Activation", "LeakyReLU", "ReLU", "ELU", "Softmax",
}  # fmt: skip
_MODELS = {"Sequential", "Functional", "Model"}
_FUNCTIONS = {
    "relu": "relu", "elu": "elu", "selu": "selu", "gelu": "gelu", "silu": "silu", "swish": "silu", "tanh": "tanh",
    "softplus": "softplus", "sigmoid": "sigmoid", "softmax": "softmax",
}  # fmt: skip
MOST_ARRAYS = 4000
_OPTIMIZER = r"(?:optimizer|optimizer_weights|_optimizer)/.*"
_REMEDY = "write an adapter for it (see the how-to on a GAN of your own)"


class KerasRow:
    """What a file of Keras's holds: ``layers`` from ``z`` to an image, and ``tensors``, as torch has them, by the
    places that the layers name; ``value_range`` is None where the last layer does not tell it."""

    def __init__(self) -> None:
        self.layers: list[Any] = []
        self.tensors: dict[str, Tensor] = {}
        self.value_range: tuple[float, float] | None = None
        self.z = 0


def holds_layers(checkpoint: Checkpoint) -> bool:
    """Whether a file of Keras's holds a model, or weights as it names them."""
    names = (re.search(r"(?:^|/)(?:vars/\d+|kernel(?::0)?)$", name) for name in checkpoint.tensors)
    return "model_config" in checkpoint.metadata or any(names)


def read_keras(checkpoint: Checkpoint) -> KerasRow:
    """The row of layers in a file of Keras's; `CheckpointError` names the layer that is none of a row."""
    if len(checkpoint.tensors) > MOST_ARRAYS:
        checkpoint.fail("it has more arrays than any row of layers", "save its generator alone")
    config = checkpoint.metadata.get("model_config")
    if config is None:
        _, config = checkpoint.beside(f"{checkpoint.path.stem}.json")
    try:
        return _Reader(checkpoint, config).row
    except (SpecError, KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        told = f"{type(error).__name__}: {error}" if not isinstance(error, SpecError) else str(error).rstrip(".")
        checkpoint.fail(f"its layers cannot be read ({told[:200]})")


class _Reader:
    def __init__(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        self.row, self.file = KerasRow(), checkpoint
        self.shape: Shape = ()
        self.flat = False
        self.numbered = any(re.search(r"(?:^|/)vars/\d+$", name) for name in checkpoint.tensors)
        found = list(self._chain(config, "", 0))
        self.line = any(str(layer["class_name"]).endswith(("1D", "1DTranspose")) for layer, _ in found)
        for place, (layer, where) in enumerate(found):
            self._read(layer, where, last=not any(one["class_name"] not in _IDLE for one, _ in found[place + 1 :]))
        checkpoint.spare(_OPTIMIZER)
        if len(self.shape) != 3 or self.flat:
            checkpoint.fail("its last layer gives no image", _REMEDY)

    def _chain(self, model: Mapping[str, Any], above: str, depth: int) -> Iterator[tuple[Mapping[str, Any], str]]:
        """The layers of a model one after another, each with where its numbered arrays lie."""
        kind, config = str(model["class_name"]), model["config"]
        if kind not in _MODELS or depth > 8:
            self.file.fail(f"its model is of class {kind!r}, whose layers no file tells", _REMEDY)
        layers = config["layers"] if isinstance(config, Mapping) else config
        if not isinstance(layers, list) or len(layers) > 500:
            self.file.fail("its layers are no list of a bounded length")
        counts: dict[str, int] = {}
        places = []
        for layer in layers:
            name = _snake(str(layer["class_name"]))
            counts[name] = counts.get(name, -1) + 1
            places.append(f"{above}{name}_{counts[name]}" if counts[name] else f"{above}{name}")
        pairs = list(zip(layers, places, strict=True))
        for layer, place in pairs if kind == "Sequential" else self._ordered(pairs):
            if layer["class_name"] in _MODELS:
                yield from self._chain(layer, f"{place}/layers/", depth + 1)
            else:
                yield layer, place

    def _ordered(self, pairs: list[tuple[Mapping[str, Any], str]]) -> list[tuple[Mapping[str, Any], str]]:
        """Layers as they are given to one another."""
        named = {_name(layer): (layer, place) for layer, place in pairs}
        sources = {name: _sources(layer.get("inbound_nodes"), named) for name, (layer, _) in named.items()}
        taken = [source for several in sources.values() for source in several]
        ends = [name for name in named if name not in taken]
        for name, several in sources.items():
            if len(several) > 1 or taken.count(name) > 1:
                self.file.fail(f"its layer {name!r} is no link of a chain: several maps meet or part there", _REMEDY)
        if len(ends) != 1:
            self.file.fail(f"its layers end in {len(ends)} places where a row has one end", _REMEDY)
        row = [ends[0]]
        while sources[row[-1]]:
            row.append(sources[row[-1]][0])
        return [named[name] for name in reversed(row)]

    def _read(self, layer: Mapping[str, Any], where: str, *, last: bool) -> None:
        kind, config = str(layer["class_name"]), layer["config"]
        self.name, self.where, self.last = _name(layer), where, last
        if not self.shape:
            self._begin(kind, config)
        if kind in _IDLE:
            return
        if kind not in _KNOWN:
            self._refuse(f"is of class {kind[:60]!r}, which is none of a row of layers")
        reader: Callable[[str, Any], None] = getattr(self, f"_{_snake(kind)}")
        reader(kind, config)
        self._activate(config.get("activation"))

    def _begin(self, kind: str, config: Mapping[str, Any]) -> None:
        """The length of z: as the first layer says, or by its weights."""
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if not shape and kind == "Dense":
            shape = [None, *self._array("kernel").shape[:1]]
        if not shape:
            if kind in _IDLE:
                return
            self._refuse("does not say the shape of what goes in")
        sides = [int(side) for side in shape[1:]]
        if not sides or math.prod(sides) != max(sides) or min(sides) < 1:
            self._refuse(f"takes a map of {sides} where a row begins with a vector")
        self.row.z, self.shape = max(sides), (max(sides),)

    def _dense(self, kind: str, config: Any) -> None:
        units, bias = int(config["units"]), bool(config.get("use_bias", True))
        kernel = self._array("kernel")
        if kernel.ndim != 2 or kernel.shape[1] != units:
            self._refuse(f"has a kernel of {tuple(kernel.shape)} where it makes {units}")
        if len(self.shape) == 3 and not self.flat:  # On the channels of each pixel.
            self._keep("weight", kernel.T[:, :, None, None])
            self._add(Convolution(outputs=units, kernel=(1, 1), bias=bias, weights=self.name))
        else:
            if self.flat:
                channels, height, width = self.shape
                kernel = kernel.reshape(height, width, channels, units).permute(2, 0, 1, 3).reshape(-1, units)
            self._keep("weight", kernel.T)
            self._add(Linear(outputs=units, bias=bias, weights=self.name))
            self.flat = False
        if bias:
            self._keep("bias", self._array("bias", 1))

    def _reshape(self, kind: str, config: Any) -> None:
        target, count = [int(side) for side in config["target_shape"]], math.prod(self.shape)
        if -1 in target:
            known = math.prod(side for side in target if side != -1)
            target[target.index(-1)] = count // max(1, known)
        if len(target) == 2 and self.line:
            shape: Shape = (target[1], 1, target[0])
        elif len(target) == 2 and self.last:
            shape = (1, *target)
        elif len(target) == 3:
            shape = (target[2], target[0], target[1])
        elif len(target) == 1 and target[0] == count:
            self.flat = len(self.shape) == 3
            return
        else:
            self._refuse(f"makes a map of {target}, which is none of pixels")
        if len(self.shape) == 3:
            if shape != self.shape:
                self._refuse(f"makes a map of {target} of another map")
            self.flat = False
            return
        self._add(Reshape(shape=shape, channels_last=True))  # type: ignore[arg-type]

    def _flatten(self, kind: str, config: Any) -> None:
        self.flat = len(self.shape) == 3

    def _batch_normalization(self, kind: str, config: Any) -> None:
        axis = config.get("axis", -1)
        axis = axis[0] if isinstance(axis, list) else axis
        sides = 1 if len(self.shape) == 1 else 2 if self.line else 3
        if int(axis) not in (-1, sides) or self.flat:
            self._refuse(f"normalises along the axis {axis}, not the channels")
        roles = ["gamma"] * bool(config.get("scale", True)) + ["beta"] * bool(config.get("center", True))
        roles += ["moving_mean", "moving_variance"]
        found = {role: self._array(role, place) for place, role in enumerate(roles)}
        wide = self.shape[0]
        if any(tuple(one.shape) != (wide,) for one in found.values()):
            self._refuse(f"does not normalise the {wide} channels that it is given")
        self._keep("weight", found.get("gamma", torch.ones(wide)))
        self._keep("bias", found.get("beta", torch.zeros(wide)))
        self._keep("running_mean", found["moving_mean"])
        self._keep("running_var", found["moving_variance"])
        self._add(Norm(eps=float(config.get("epsilon", 1e-3)), weights=self.name))

    def _conv2d_transpose(self, kind: str, config: Any) -> None:
        self._convolve(config, turned="Transpose" in kind, line="1D" in kind)

    _conv2d = _conv1d = _conv1d_transpose = _convolution2d = _convolution2d_transpose = _conv2d_transpose

    def _convolve(self, config: Any, *, turned: bool, line: bool) -> None:
        if config.get("data_format", "channels_last") != "channels_last" or int(config.get("groups", 1)) != 1:
            self._refuse("keeps channels first, or in groups")
        shape = self.shape if len(self.shape) == 3 else (*self.shape, 1, 1)
        kernel, stride, dilation = (
            _pair(config.get(name, 1), line) for name in ("kernel_size", "strides", "dilation_rate")
        )
        padding, extra = config.get("padding", "valid"), config.get("output_padding")
        if padding not in ("same", "valid") or min(*kernel, *stride, *dilation) < 1 or self.flat:
            self._refuse(f"is padded by {padding!r}")
        edges: list[int] = []
        for axis, side in enumerate(shape[1:]):
            reach, step = dilation[axis] * (kernel[axis] - 1) + 1, stride[axis]
            if turned:
                wanted = side * step if padding == "same" else (side - 1) * step + max(reach, step)
                if extra is not None:
                    cut = 2 * (reach // 2) if padding == "same" else 0
                    wanted = (side - 1) * step + reach - cut + _pair(extra, line)[axis]
                beyond = (side - 1) * step + reach - wanted
            else:
                beyond = max(0, (-(-side // step) - 1) * step + reach - side) if padding == "same" else 0
            edges += [max(0, beyond) // 2, beyond - max(0, beyond) // 2]
        filters, bias = int(config["filters"]), bool(config.get("use_bias", True))
        weight = self._array("kernel")
        weight = weight[None] if line else weight
        ends = (filters, shape[0]) if turned else (shape[0], filters)
        if tuple(weight.shape) != (*kernel, *ends):
            self._refuse(f"has a kernel of {tuple(weight.shape)} where {(*kernel, *ends)} is needed")
        self._keep("weight", weight.permute(3, 2, 0, 1))
        if bias:
            self._keep("bias", self._array("bias", 1))
        self._add(
            Convolution(
                outputs=filters, kernel=kernel, stride=stride, padding=tuple(edges), dilation=dilation,  # type: ignore[arg-type]
                transposed=turned, bias=bias, weights=self.name,
            )
        )  # fmt: skip

    def _up_sampling2d(self, kind: str, config: Any) -> None:
        mode = config.get("interpolation", "nearest")
        if mode not in ("nearest", "bilinear"):
            self._refuse(f"enlarges by {mode!r}")
        self._add(Upsample(factor=_pair(config.get("size", 2), "1D" in kind), mode=mode))

    _up_sampling1d = _up_sampling2d

    def _zero_padding2d(self, kind: str, config: Any) -> None:
        given, sign = config.get("padding", config.get("cropping", 1)), 1 if "Padding" in kind else -1
        if "1D" in kind:
            edges = (0, 0, *((given, given) if isinstance(given, int) else given))
        else:
            sides = (given, given) if isinstance(given, int) else given
            edges = tuple(edge for side in sides for edge in ((side, side) if isinstance(side, int) else side))
        self._add(Pad(edges=tuple(sign * int(edge) for edge in edges)))  # type: ignore[arg-type]

    _zero_padding1d = _cropping1d = _cropping2d = _zero_padding2d

    def _activation(self, kind: str, config: Any) -> None:
        """Its function is named as that of any other layer."""

    def _leaky_re_lu(self, kind: str, config: Any) -> None:
        slope = config.get("negative_slope", config.get("alpha", 0.3))
        slope = slope["config"]["value"] if isinstance(slope, Mapping) else slope
        self._add(Activation(name="leaky_relu", slope=float(slope)))

    def _re_lu(self, kind: str, config: Any) -> None:
        if config.get("max_value") is not None or config.get("threshold", 0):
            self._refuse("is cut off at a value")
        slope = float(config.get("negative_slope", 0) or 0)
        self._add(Activation(name="leaky_relu", slope=slope) if slope else Activation(name="relu"))

    def _elu(self, kind: str, config: Any) -> None:
        if float(config.get("alpha", 1)) != 1:
            self._refuse("has an alpha other than 1")
        self._add(Activation(name="elu"))

    def _softmax(self, kind: str, config: Any) -> None:
        if config.get("axis", -1) != -1:
            self._refuse("is not over the channels")
        self._add(Activation(name="softmax"))

    def _activate(self, given: Any) -> None:
        """The function that a layer ends with."""
        if isinstance(given, Mapping):
            kind, config = str(given["class_name"]), given["config"]
            if kind in ("LeakyReLU", "ReLU", "ELU", "Softmax"):
                getattr(self, f"_{_snake(kind)}")(kind, config)
                return
            given = config if isinstance(config, str) else kind
        if given in (None, "linear"):
            return
        if given == "leaky_relu":
            self._add(Activation(name="leaky_relu", slope=0.2))
        elif given in _FUNCTIONS:
            self._add(Activation(name=_FUNCTIONS[given]))  # type: ignore[arg-type]
        else:
            self._refuse(f"ends with the function {str(given)[:60]!r}, which is none of a row of layers")

    def _add(self, layer: Any) -> None:
        if isinstance(layer, Activation):
            ranges = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "softmax": (0.0, 1.0)}
            self.row.value_range = ranges.get(layer.name)
        elif not isinstance(layer, Reshape | Upsample | Pad):
            self.row.value_range = None
        self.row.layers.append(layer)
        self.shape = layer.after(self.shape)

    def _keep(self, role: str, tensor: Tensor) -> None:
        self.row.tensors[f"{self.name}.{role}"] = tensor.contiguous()

    def _array(self, role: str, place: int = 0) -> Tensor:
        """One array of the layer, by its role or by its number."""
        if self.numbered:
            pattern = rf"(?:[^/]+/)?{re.escape(self.where)}/vars/{place}"
        else:
            pattern = rf"(?:.*/)?{re.escape(self.name)}/(?:.*/)?{role}(?::0)?"
        found = [name for name in self.file.tensors if re.fullmatch(pattern, name) and not re.match(_OPTIMIZER, name)]
        if len(found) != 1:
            self._refuse(f"has {len(found) or 'no'} arrays for its {role}")
        return self.file.tensor(found[0])

    def _refuse(self, why: str) -> Any:
        self.file.fail(f"its layer {self.name!r} {why}", _REMEDY)


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer["config"]["name"] if "name" in layer["config"] else layer["name"])


def _snake(name: str) -> str:
    """A class's name as Keras writes it in files: ``Conv2DTranspose`` as ``conv2d_transpose``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _sources(nodes: Any, names: Mapping[str, Any]) -> list[str]:
    """The layers that a layer is given, of Keras 2 (``[name, node, tensor, ...]``) and 3 (``keras_history``)."""
    if isinstance(nodes, Mapping):
        history = nodes.get("keras_history")
        return [str(history[0])] if history else [one for part in nodes.values() for one in _sources(part, names)]
    if not isinstance(nodes, list):
        return []
    if len(nodes) > 2 and isinstance(nodes[0], str) and nodes[0] in names and isinstance(nodes[1], int):
        return [nodes[0]]
    return [one for part in nodes for one in _sources(part, names)]


def _pair(value: Any, line: bool) -> tuple[int, int]:
    """Height and width of what Keras gives by one number, or by one for each side."""
    sides = [int(side) for side in value] if isinstance(value, list | tuple) else [int(value)] * (1 if line else 2)
    return (1, sides[0]) if line else (sides[0], sides[1])
