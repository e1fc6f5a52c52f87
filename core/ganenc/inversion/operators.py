"""What happened to a photo before we got it: masked, made small, made grey. Not in paper."""

from __future__ import annotations

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from ganenc_registry.components import Component, Context, build, component_class, written_choices
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Choice
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from typing_extensions import Self

from ganenc.inversion.defaults import Purpose
from ganenc.inversion.photo import Photo

Operators: TypeAlias = "Operator | str | Mapping[str, Any] | Choice | Sequence[Mapping[str, Any] | Choice | str]"
"""One operator or several, the first of which comes first: as they are written (``mask:hole.png|downscale:4``), choices
with their options, or one at hand."""
RATE = 0.1
"""Of Adam on the logarithms of what is unknown; it falls with the root of the steps."""


LEAST = 1 / 64
"""Of the range, by which a pixel is still known that is made of others, too, which are not."""


class Operator(Component, nn.Module, ABC):
    """Applied to a reconstruction before it meets what was seen of the photo: differentiable, and each sample alone.
    ``self.context.value_range`` has the values of black and white.

    Pictures that are seen have the channels of the images. What draws does so when it is built; an option that is ``?``
    is a parameter, see `unknown`.
    """

    hides: bool = False
    """Whether there are parts of a photo of which nothing is known."""
    gives_back: bool = True
    """Whether what was seen beyond that of a reconstruction is the photo's, so that it may be given back to this."""
    bounds: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """Of what is unknown, by name."""

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) => what is seen of them, (N, C, H', W'), in their dtype and range."""

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The height and width of what is seen of images of a height and width."""
        return size

    def known(self, known: Tensor) -> Tensor:
        """Where anything is known of what is seen, (1, 1, H', W') of bools, by where it is of the images (1, 1, H, W):
        by default where it hardly matters what the rest of them is."""
        size = (known.shape[2], known.shape[3])
        if bool(known.all()):
            return known.new_ones(1, 1, *self.seen_size(size))
        low, high = self.context.value_range
        channels = 3 if self.context.generator is None else self.context.generator.channels
        with torch.no_grad():
            ends = [torch.where(known, (low + high) / 2, end).expand(-1, channels, -1, -1) for end in (low, high)]
            apart: Tensor = (self(ends[1]) - self(ends[0])).abs().amax(1, keepdim=True)
        return apart < LEAST * (high - low)

    def guess(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        """What the images (N, C, *size) may be of which this is seen: a start for what comes after. By default the
        same, enlarged or made small."""
        same = (seen.shape[2], seen.shape[3]) == tuple(size)
        return seen if same else F.interpolate(seen, size, mode="bicubic", antialias=True, align_corners=False)

    def looked_up(self, seen: Tensor, photo: Photo | None) -> Self:
        """The same for one photo, seen as (1, C, H', W'), where it takes something from there; an ImageError if that
        is not to be found."""
        return self

    def unknown(self, name: str, start: float, low: float, high: float) -> None:
        """Keep the logarithm of an option as a parameter, from a start, to be found along with the latents; what it
        stands for, `value`, stays within bounds."""
        setattr(self, f"log_{name}", nn.Parameter(torch.tensor(math.log(start))))
        self.bounds = {**self.bounds, name: (low, high)}

    def value(self, name: str) -> Tensor:
        """What is unknown, as it is now, which gradients pass."""
        low, high = self.bounds[name]
        inside: Tensor = getattr(self, f"log_{name}").clamp(math.log(low), math.log(high))
        return inside.exp().clamp(low, high)  # Which may round to beyond.

    def found(self) -> dict[str, float]:
        """What was unknown, by name, as it is now."""
        parts = (part for part in self.modules() if isinstance(part, Operator))
        return {name: float(part.value(name).detach()) for part in parts for name in part.bounds}

    @property
    def logs(self) -> Tensor:
        """(P,), the logarithms of what is unknown, as they are now; to be set, too."""
        return torch.stack([*self._unknown().values()]).detach() if self._unknown() else torch.zeros(0)

    @logs.setter
    def logs(self, values: Tensor) -> None:
        for one, value in zip(self._unknown().values(), values.detach(), strict=True):
            one.data.copy_(value)

    def at(self, logs: Tensor, images: Tensor) -> Tensor:
        """What is seen of images where what is unknown has some logarithms (P,), which gradients reach."""
        seen: Tensor = functional_call(self, dict(zip(self._unknown(), logs, strict=True)), images)
        return seen

    def _unknown(self) -> dict[str, nn.Parameter]:
        return {name: one for name, one in self.named_parameters() if one.requires_grad}

    def for_one(self) -> Self:
        """The same with parameters of its own, where it has some: each takes a step whenever a gradient reaches it."""
        if not self._unknown():
            return self
        one = copy.deepcopy(self)
        for parameter in one.parameters():
            _step_along(parameter)
        return one


class Chain(Operator):
    """Several operators, one after another."""

    def __init__(self, parts: Sequence[Operator], context: Context | None = None) -> None:
        super().__init__(None, context)
        self.parts = nn.ModuleList(parts)
        self.hides = any(part.hides for part in parts)
        self.gives_back = all(part.gives_back for part in parts)

    def forward(self, images: Tensor) -> Tensor:
        for part in self.parts:
            images = part(images)
        return images

    def seen_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return self._sizes(size)[-1]

    def known(self, known: Tensor) -> Tensor:
        for part in self.parts:
            known = part.known(known)  # type: ignore[operator]
        return known

    def guess(self, seen: Tensor, size: tuple[int, int]) -> Tensor:
        for part, before in reversed([*zip(self.parts, self._sizes(size), strict=False)]):
            seen = part.guess(seen, before)  # type: ignore[operator]
        return seen

    def looked_up(self, seen: Tensor, photo: Photo | None) -> Self:
        parts = [part.looked_up(seen, photo) for part in self.parts]  # type: ignore[operator]
        same = all(one is other for one, other in zip(parts, self.parts, strict=True))
        return self if same else type(self)(parts, self.context)

    def _sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        sizes = [size]
        for part in self.parts:
            sizes.append(part.seen_size(sizes[-1]))  # type: ignore[operator]
        return sizes


def operator_choices(operator: Operators) -> list[Choice]:
    """Operators as choices, in their order; a SpecError or UnknownNameError for what cannot be understood."""
    assert not isinstance(operator, Operator)
    several = [operator] if isinstance(operator, str | Mapping | Choice) else operator
    found = [
        choice
        for one in several
        for choice in (written_choices("operator", one) if isinstance(one, str) else [Choice.of(one, at="operator")])
    ]
    if not found:
        raise SpecError("No operator is named; leave it out, or name one, such as downscale:4.")
    return found


def purpose_of(operator: Operators | None) -> Purpose:
    """What photos are inverted for through operators by default: to ``fill`` what one hides, to ``restore`` where none
    does, for ``both`` where there is none. An UnknownNameError if there is none of a name."""
    if operator is None:
        return "both"
    if isinstance(operator, Operator):
        return "fill" if operator.hides else "restore"
    found = [component_class("operator", one.name, Operator) for one in operator_choices(operator)]
    return "fill" if any(one.hides for one in found) else "restore"


def build_operator(operator: Operators, context: Context) -> Operator:
    """One operator of all that are named, with its options, for a generator; an UnknownNameError if there is none of a
    name, a SpecError naming a wrong option and the nearest right one."""
    if isinstance(operator, Operator):
        return operator
    parts = [build("operator", one, Operator, context, at="operator") for one in operator_choices(operator)]
    return parts[0] if len(parts) == 1 else Chain(parts, context)


def _step_along(parameter: nn.Parameter) -> None:
    adam, steps = torch.optim.Adam([parameter], RATE, betas=(0.9, 0.99)), itertools.count(1)

    def step(reached: Tensor) -> None:
        if reached.grad is not None:
            reached.grad.nan_to_num_(0.0, 0.0, 0.0)  # Of an image that went astray.
        adam.param_groups[0]["lr"] = RATE / math.sqrt(next(steps))
        adam.step()
        adam.zero_grad()

    parameter.register_post_accumulate_grad_hook(step)
