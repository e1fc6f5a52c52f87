"""Photos as the generator takes them: read, brought to size or aligned, and put back in their place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry import registry
from ganenc_registry.errors import SpecError, nearest

if TYPE_CHECKING:
    from ganenc_registry.specs import GeneratorSpec
    from torch import Tensor

    from ganenc.inversion import Aligner, Transform
    from ganenc.objectives import Attention

__all__ = ["NO_ALIGNMENT", "Placed", "Placer", "check_alignment"]

NO_ALIGNMENT = "none"
FEATHER = 1 / 32
"""Over this part of the shorter side of what was cut out a reconstruction is blended with its photo."""


def check_alignment(name: str) -> None:
    """See that there is an alignment of that name.

    Raises:
        SpecError: if there is none.
    """
    known = [NO_ALIGNMENT, *registry().names("aligner")]
    if name not in known:
        raise SpecError(f"There is no alignment {name!r}{nearest(name, known)}; it is one of {', '.join(known)}.")


@dataclass(frozen=True)
class Placed:
    """A photo as the generator takes it, and where in the photo that lies.

    Attributes:
        target: (C, H, W) in the generator's range.
        transform: where it lies; None where the photo was brought to size without alignment.
        photo: the whole photo, (C, height, width) in the generator's range, where there is a transform.
    """

    target: Tensor = field(repr=False)
    transform: Transform | None = None
    photo: Tensor | None = field(default=None, repr=False)

    def put_back(self, reconstruction: Tensor) -> Tensor | None:
        """The whole photo with a reconstruction (C, H, W) in its place; None where there was no alignment."""
        if self.transform is None or self.photo is None:
            return None
        first, second, third, _ = self.transform.corners()
        shorter = min(math.dist(first, second), math.dist(second, third))
        clamped = reconstruction.float().cpu().clamp(float(self.photo.min()), float(self.photo.max()))
        return self.transform.undo(clamped, self.photo, feather=round(shorter * FEATHER))


class Placer:
    """Reads photos for one generator.

    Args:
        spec: the generator's.
        fit: how a photo gets to size where it is not aligned.
        attention: for the alignments that look where an attention looks.
    """

    def __init__(self, spec: GeneratorSpec, *, fit: str = "cover", attention: Attention | None = None) -> None:
        self.spec, self.fit, self.attention = spec, fit, attention
        self._built: dict[str, Aligner] = {}

    def aligner(self, name: str, options: Mapping[str, Any] | None = None) -> Aligner:
        """The registered aligner of that name, built once; options count the first time.

        Raises:
            SpecError: if it has no such option, or needs an attention that is not there.
        """
        from ganenc.inversion import build_aligner

        if name not in self._built:
            shared: dict[str, Any] = {"attention": self.attention, "value_range": self.spec.value_range}
            self._built[name] = build_aligner(name, **shared, **(options or {}))
        return self._built[name]

    def read(self, path: Path, align: str = NO_ALIGNMENT, labels: Tensor | None = None) -> Placed:
        """Read one photo.

        Args:
            path: the file.
            align: ``none`` or a registered aligner.
            labels: the photo's class (1,) or (1, classes), where it is given.

        Raises:
            ImageError: if it cannot be read, or has nothing that the aligner looks for.
            SpecError: if the aligner cannot be built.
        """
        from ganenc import images

        spec = self.spec
        if align == NO_ALIGNMENT:
            fit: Any = self.fit
            return Placed(
                images.read(path, size=spec.size, channels=spec.channels, value_range=spec.value_range, fit=fit)
            )
        photo = images.read(path)
        known = {"name": str(path), **({} if labels is None else {"labels": labels})}
        transform = self.aligner(align).transform(photo, spec.size, **known)
        photo = self.whole(path)
        return Placed(transform.apply(photo), transform, photo)

    def whole(self, path: Path) -> Tensor:
        """A whole photo as it is, (channels of the generator, height, width) in the generator's range.

        Raises:
            ImageError: if it cannot be read.
        """
        from ganenc import images

        return images.read(path, channels=self.spec.channels, value_range=self.spec.value_range)
