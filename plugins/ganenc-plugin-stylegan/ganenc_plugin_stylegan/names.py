"""How a published format names and stores tensors: what the formats of both StyleGANs share.

The targets are the names of our networks, their synthesis networks seen as layers: ``convs.3.affine.weight`` is the
affine map of layer 3, ``to_rgb.2.bias`` the bias of the layer that makes an image at level 2. Not in paper.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ganenc.foreign import CONV_TF, DENSE_TF, PLAIN, Checkpoint, Form

__all__ = ["FIRST", "LABELS", "MAP", "ROOT2", "SCALAR", "Format", "Source", "mapping_layer"]

SCALAR = Form(lambda shape: shape, lambda x: x.reshape(()))  # stored as () or (1,)
FIRST = Form(lambda shape: (1, *shape), lambda x: x[0])
ROOT2 = Form(PLAIN.stored, lambda x: x * math.sqrt(2))  # used with this gain, where ours has none
MAP = Form(lambda shape: (1, 1, *shape), lambda x: x[0, 0])
LABELS = Form(DENSE_TF.stored, lambda x: x.t() * math.sqrt(x.shape[0]))  # a plain product, where ours divides

FLIPPED: dict[Form, Form] = {
    PLAIN: Form(PLAIN.stored, lambda x: x.flip(2, 3)),
    CONV_TF: Form(CONV_TF.stored, lambda x: x.flip(0, 1).permute(3, 2, 0, 1)),
}


@dataclass(frozen=True)
class Source:
    """Where one of our tensors lies in the file, and in which form."""

    name: str
    form: Form = PLAIN


class Format(ABC):
    """A published format: its names below one prefix of a checkpoint.

    Attributes:
        pattern: what marks the format; its group is the prefix that all names of one network share.
        filters: what marks the low-pass filters that it stores.
        filter_sum: what a filter sums to there, where layers have their own.
        lod: the variable that says by how many levels the network has yet to grow.
        idle: what it stores and a network that has grown to full size does not use.
        lacking: what it has not and ours has: it is zero.
        conv_leaves: the leaves of a layer, each with its suffix and form; ``kernel`` is among them where layers that
            enlarge may have low-pass filters of their own.
        image_leaves: those of a layer that makes an image.
        flipped: for the forms of weights, those of weights that lie in the file rotated by 180 degrees.
    """

    pattern: ClassVar[re.Pattern[str]]
    filters: ClassVar[re.Pattern[str]] = re.compile(r"$^")
    filter_sum: ClassVar[float] = 1.0
    lod: ClassVar[str] = "lod"
    idle: ClassVar[str] = r"(?:synthesis/)?(?:lod|ToRGB_lod[1-9]\d*/(?:weight|bias))"
    lacking: ClassVar[tuple[str, ...]] = ()
    conv_leaves: ClassVar[dict[str, tuple[str, Form]]]
    image_leaves: ClassVar[dict[str, tuple[str, Form]]]
    flipped: ClassVar[dict[Form, Form]] = FLIPPED

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        checkpoint.spare(f"{re.escape(prefix)}(?:{self.idle})")

    @classmethod
    def prefixes(cls, checkpoint: Checkpoint) -> list[str]:
        """The prefixes of all networks of this format in a checkpoint."""
        matches = [cls.pattern.fullmatch(name) for name in checkpoint.tensors]
        return sorted({match.group(1) for match in matches if match})

    def source(self, target: str) -> Source:
        """Return where a tensor of ours lies, by its name in our networks."""
        head, _, rest = target.partition(".")
        if head == "convs":
            index, _, leaf = rest.partition(".")
            return self._named(self.layer(int(index), leaf))
        if head == "to_rgb":
            level, _, leaf = rest.partition(".")
            suffix, form = self.image_leaves[leaf]
            return self._named(Source(self.image(int(level)) + suffix, form))
        return self._named(self.special(target))

    @property
    def joint_labels(self) -> bool:
        """Whether the embedded label is normalised together with z, as in the first releases of the network."""
        return False

    def z_dim(self, w_dim: int, label_dim: int) -> int | None:
        """The length of z, where the layout fixes it: that of an embedded label which is normalised together with z."""
        return label_dim if label_dim and self.joint_labels else None

    @property
    def mean_style(self) -> tuple[str, ...]:
        """The names that the mean style may have."""
        return (self.source("w_avg").name,)

    def has(self, base: str) -> bool:
        """Whether any tensor of the file lies below ``base``, a layer's name without the prefix."""
        return any(name.startswith(self.prefix + base) for name in self.checkpoint.tensors)

    def holds(self, target: str) -> bool:
        """Whether the file holds a tensor of ours, by its name in our networks."""
        return self.source(target).name in self.checkpoint.tensors

    def layer(self, index: int, leaf: str) -> Source:
        """Return one leaf of a layer."""
        if leaf == "noise_const":
            return self.noise(index)
        suffix, form = self.conv_leaves[leaf]
        flips = leaf == "weight" and self.flips(index)
        return Source(self.conv(index) + suffix, self.flipped[form] if flips else form)

    def flips(self, index: int) -> bool:
        """Whether the format stores the weight of a layer rotated by 180 degrees, as seen from ours."""
        return False

    @abstractmethod
    def conv(self, index: int) -> str:
        """Return the base name of a layer."""

    @abstractmethod
    def image(self, level: int) -> str:
        """Return the base name of the layer that makes an image at a level."""

    @abstractmethod
    def noise(self, index: int) -> Source:
        """Return the noise map of a layer."""

    @abstractmethod
    def special(self, target: str) -> Source:
        """Return the constant, the mean style, and what belongs to the mapping network."""

    def _named(self, source: Source) -> Source:
        return Source(self.prefix + source.name, source.form)


def mapping_layer(target: str) -> tuple[int, str]:
    """``mapping.layers.3.weight`` => 3, ``weight``."""
    _, _, index, leaf = target.split(".")
    return int(index), leaf
