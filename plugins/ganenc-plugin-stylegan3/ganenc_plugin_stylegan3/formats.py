"""Reads StyleGAN3 out of NVIDIA's pickles, StyleGAN-XL out of its own, and the state dictionaries of both.

Networks saved whole declare how each layer samples. Of a state dictionary the same is told by the names, which hold
sizes, and by the lengths of the filters, as long as it was built with the published margins.
"""

from __future__ import annotations

import math
import re
from typing import Any

import torch
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec
from pydantic import ValidationError
from torch import Tensor

from ganenc_plugin_stylegan3.filters import Axis
from ganenc_plugin_stylegan3.specs import PLAIN, StyleGAN3Options, build_spec

__all__ = ["convert", "prefixes"]

INPUT = re.compile(r"(.*?)synthesis\.input\.freqs")
LAYER = re.compile(r"synthesis\.(L(\d+)_(\d+)_\d+)\.(?:weight|bias|affine\.weight|affine\.bias)")
FILTER_SIZE, MARGIN, FIRST_CUTOFF = 6, 10, 2.0
"""As published."""
_WHOLE = "save the network whole, as NVIDIA's programs do"


def prefixes(checkpoint: Checkpoint) -> list[str]:
    """The prefixes of all networks of this format in a checkpoint."""
    found = (INPUT.fullmatch(name) for name in checkpoint.tensors)
    return sorted(match.group(1) for match in found if match)


def convert(checkpoint: Checkpoint, family: type[Generator]) -> tuple[GeneratorSpec, dict[str, Tensor]]:
    """The spec of the StyleGAN3 that a checkpoint holds, and its weights by our names, in float32.

    Among several copies of the network the averaged one is taken.

    Raises:
        CheckpointError: it lacks a tensor, has one of the wrong shape or with NaN in it, or declares something that
            this family does not do.
    """
    reader = _Reader(checkpoint, checkpoint.averaged(prefixes(checkpoint)))
    try:
        spec = reader.spec()
        with torch.device("meta"):
            wanted = family(spec).state_dict()
    except (SpecError, ValidationError) as error:
        checkpoint.fail(f"its StyleGAN3 cannot be built ({' '.join(str(error).split())})")
    return spec, {name: reader.fetch(name, tuple(tensor.shape)) for name, tensor in wanted.items()}


class _Reader:
    """One pass over a checkpoint; names are those below ``prefix``."""

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint, self.prefix = checkpoint, prefix
        matches = (LAYER.fullmatch(name[len(prefix) :]) for name in checkpoint.tensors if name.startswith(prefix))
        found = sorted({(int(match[2]), match[1], int(match[3])) for match in matches if match})
        self.layers, self.sides = [name for _, name, _ in found], [side for _, _, side in found]
        several = self.has("mapping.embed.weight") and not self.has("mapping.embed.bias")  # Stages of a StyleGAN-XL.
        skipped = {place - i for i, (place, _, _) in enumerate(found)}
        if self.declared("synthesis.layer_names") not in (None, self.layers) or not {0} <= skipped <= {0, int(several)}:
            held = ", ".join(self.layers) or "none"
            checkpoint.fail(f"the layers of its StyleGAN3 are not L0, L1 and so on, or as it declares, but {held:.200}")
        self.own_means = self.has("mapping.embed_proj.weight")
        self.labelled = self.own_means or self.has("mapping.embed.bias")
        if not self.labelled:
            checkpoint.spare(f"{re.escape(prefix)}mapping\\.embed\\.weight")
        checkpoint.spare(
            f"{re.escape(prefix)}synthesis\\.(?:.*\\.)?(?:size|in_size|out_size|sampling_rates|(?:up|down)_filter\\d+)"
        )

    def has(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return self.prefix + name in self.checkpoint.tensors

    def tensor(self, name: str, *shape: int | None) -> Tensor:
        """See `Checkpoint.tensor`."""
        return self.checkpoint.tensor(self.prefix + name, shape)

    def declared(self, name: str) -> Any:
        """What the file declares, or None."""
        return self.checkpoint.meta(self.prefix + name)

    def number(self, name: str, default: float) -> float:
        """A number that the file declares, or ``default``."""
        found = self.declared(name)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            self.checkpoint.fail(f"what it declares as {self.prefix + name!r} is no number")
        return found

    def spec(self) -> GeneratorSpec:
        """The spec of the network in the file."""
        w_dim = self.tensor("synthesis.input.affine.weight", 4, None).shape[1]
        classes, label_dim, embedding = self._labels()
        inputs = self.tensor("mapping.fc0.weight", None, None).shape[1]
        mapping = 1
        while self.has(f"mapping.fc{mapping}.weight"):
            mapping += 1
        self._check_mapping(mapping)
        if inputs <= label_dim or self.number("z_dim", inputs - label_dim) != inputs - label_dim:
            found = f"its mapping network takes {inputs} numbers, {label_dim} of them of a label"
            self.checkpoint.fail(f"{found}, which leaves no z of the length that it declares")
        input_size = self._size("synthesis.input.size") or self._size(f"synthesis.{self.layers[0]}.in_size")
        input_size = input_size or (self.sides[0],) * 2
        rate = self.number("synthesis.input.sampling_rate", max(input_size) - 2 * MARGIN)
        bandwidth = self.number("synthesis.input.bandwidth", FIRST_CUTOFF)
        first, freqs = f"synthesis.{self.layers[0]}.", self.tensor("synthesis.input.freqs", None, 2)
        layers = self._layers(input_size, rate, bandwidth)
        known = layers[-1]["rate"] == self.sides[-1] and float(freqs.norm(dim=1).max()) < 1.25 * FIRST_CUTOFF
        if not known and self.declared("synthesis.input") is None:
            self.checkpoint.fail("its margins or frequencies are not those of the published StyleGAN3s", _WHOLE)
        options = StyleGAN3Options(
            mapping_layers=mapping,
            mapping_dim=self.tensor("mapping.fc0.weight", None, inputs).shape[0] if mapping > 1 else None,
            mapping_lr_multiplier=self.number(
                "mapping.fc0.bias_gain", self.number("mapping.init_kwargs.lr_multiplier", 0.01)
            ),
            label_dim=label_dim or None,
            embedding=embedding,
            input_channels=len(freqs),
            input_size=input_size,
            input_rate=rate,
            bandwidth=bandwidth,
            input_half_width=self.number(f"{first}in_half_width", rate / 2 - bandwidth),
            layers=layers,
            clamp=self._clamp(),
            scale=self.number("synthesis.output_scale", 0.25),
        )
        return build_spec(options, z_dim=inputs - label_dim, w_dim=w_dim, classes=classes)

    def fetch(self, target: str, shape: tuple[int, ...]) -> Tensor:
        """One of our tensors from the file."""
        if target == "w_avg" and not self.has("mapping.w_avg"):
            return torch.full(shape, math.nan)
        if target == "mapping.embed.table":
            return self.tensor("mapping.embed.weight", None, shape[1])[: shape[0]].clone()
        return self.tensor(self._name(target), *shape).clone()

    def _name(self, target: str) -> str:
        """The name in the file of one of our tensors."""
        head, _, rest = target.partition(".")
        if head == "layers":
            index, _, leaf = rest.partition(".")
            return f"synthesis.{self.layers[int(index)]}.{leaf}"
        if head == "image":
            return f"synthesis.{self.layers[-1]}.{rest}"
        if head == "input":
            return f"synthesis.{target}"
        if self.own_means:
            target = target.replace("mapping.embed.layer.", "mapping.embed_proj.")
        return "mapping.w_avg" if target == "w_avg" else target.replace("mapping.layers.", "mapping.fc")

    def _labels(self) -> tuple[int, int, int | None]:
        """Classes, length of the embedded label, and that of the classes' vectors; 0 and None where there are none."""
        if not self.labelled:
            return 0, 0, None
        if not self.own_means:
            label_dim, classes = self.tensor("mapping.embed.weight", None, None).shape
            return classes, label_dim, None
        label_dim, embedding = self.tensor("mapping.embed_proj.weight", None, None).shape
        known = self.tensor("mapping.embed.weight", None, embedding).shape[0]
        classes = self.tensor("mapping.w_avg", None, None).shape[0]
        if classes > known:
            self.checkpoint.fail(f"it holds mean styles of {classes} classes and vectors of {known}")
        return classes, label_dim, embedding

    def _check_mapping(self, layers: int) -> None:
        for index in range(layers):
            activation = self.declared(f"mapping.fc{index}.activation")
            if activation not in (None, "lrelu"):
                self.checkpoint.fail(f"its mapping network has the activation {activation!r:.40}, not 'lrelu'")

    def _size(self, name: str) -> tuple[int, int] | None:
        """Height and width, which files hold as width and height; or None."""
        if not self.has(name):
            return None
        width, height = self.tensor(name, 2).tolist()
        return int(height), int(width)

    def _clamp(self) -> float | None:
        """The bound on the features, which all layers share."""
        found = {self._declared_clamp(name) for name in self.layers}
        if len(found) > 1:
            self.checkpoint.fail("the bound on the features differs between the layers of its StyleGAN3", _WHOLE)
        return found.pop()

    def _declared_clamp(self, layer: str) -> float | None:
        declared = self.declared(f"synthesis.{layer}")
        if isinstance(declared, dict) and declared.get("conv_clamp", 0) is None:
            return None
        return float(self.number(f"synthesis.{layer}.conv_clamp", 256.0))

    def _layers(self, size: tuple[int, int], rate: float, cutoff: float) -> list[dict[str, Any]]:
        """The options of each layer, from what comes into the first."""
        made = []
        for index, (name, side) in enumerate(zip(self.layers, self.sides)):
            at, last = f"synthesis.{name}.", index == len(self.layers) - 1
            out = self._size(f"{at}out_size") or (side, side)
            channels, _, kernel, other = self.tensor(f"{at}weight", None, None, None, None).shape
            one: dict[str, Any] = {"channels": channels, "size": out, **dict.fromkeys(PLAIN, 1)}
            if kernel != other or self.declared(f"{at}is_torgb") not in (None, last):
                self.checkpoint.fail(f"the layer {name!r} of its StyleGAN3 is of a kind that is not supported")
            if not last:
                one |= {"kernel": kernel, **self._filters(at)}
                rate = rate * one["up"] / one["down"]
                declared = self.number(f"{at}out_sampling_rate", rate)
                known = out == (side, side) and side in (rate + 2 * MARGIN, self.sides[-1])
                if declared != rate or not (known or self.declared(f"{at}padding")):
                    self.checkpoint.fail(f"the sizes and filters of its layer {name!r} do not fit together", _WHOLE)
                self._check_padding(at, size, out, one)
            cutoff = self.number(f"{at}out_cutoff", min(2 * cutoff, rate / 2) if not last else cutoff)
            one |= {"rate": rate, "cutoff": cutoff, "half_width": self.number(f"{at}out_half_width", rate / 4)}
            made.append(one)
            size = out
        return made

    def _filters(self, at: str) -> dict[str, Any]:
        """How a layer samples: by what its filters are long, unless it is declared."""
        found: dict[str, Any] = {}
        for way in ("up", "down"):
            held = self.has(f"{at}{way}_filter")
            kernel = self.checkpoint.tensor(f"{self.prefix}{at}{way}_filter") if held else torch.ones(1)
            factor = self.number(f"{at}{way}_factor", len(kernel) / FILTER_SIZE if held else 1)
            if kernel.ndim not in (1, 2 if way == "down" else 1) or factor != int(factor):
                self.checkpoint.fail(f"the filter {self.prefix + at + way + '_filter'!r} has the wrong shape", _WHOLE)
            found |= {way: int(factor), f"{way}_taps": len(kernel), "radial": kernel.ndim == 2}
        return found

    def _check_padding(self, at: str, size: tuple[int, int], out: tuple[int, int], one: dict[str, Any]) -> None:
        """Make sure that a layer pads as all published ones do."""
        height, width = (
            Axis(side + one["kernel"] - 1, other, one["up"], one["down"], one["up_taps"], one["down_taps"])
            for side, other in zip(size, out)
        )
        if self.declared(f"{at}padding") not in (None, [width.before, width.after, height.before, height.after]):
            self.checkpoint.fail(f"the layer {self.prefix + at[:-1]!r} declares another padding than follows from it")
