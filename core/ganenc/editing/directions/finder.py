"""The contract of a finder: a way of finding directions in a generator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from ganenc_registry.components import Component
from torch import Tensor

from ganenc.editing.directions.direction import Direction
from ganenc.encoders import Encoder
from ganenc.generators import Generator


@dataclass(frozen=True)
class Search:
    """A generator to find directions in, and all that there is to do it by."""

    generator: Generator = field(repr=False)
    """Frozen."""
    encoder: Encoder | None = field(default=None, repr=False)
    """In eval mode, where there is one."""
    n: int = 2000
    """How many draws to learn from, by finders that draw."""
    labels: Tensor | None = None
    """Of the draws, int64 (n,) or rows (n, classes); drawn if left out, where they matter."""
    seed: int = 0
    """Of whatever is drawn."""
    on_step: Callable[[int, int], None] | None = None
    """Is called now and then with the steps done, and all."""

    def tell(self, step: int, steps: int) -> None:
        """Say how far it is."""
        if self.on_step is not None:
            self.on_step(step, steps)


class Finder(Component, ABC):
    """A way of finding directions. What looks at images takes the backbone of ``self.context``."""

    @abstractmethod
    def find(self, search: Search) -> list[Direction]:
        """Directions in the generator's latents, of its hash, each by a name of its own and at its own scale (see
        `Direction.measured`), the most telling first. `LatentsError` if the generator has none of this kind,
        `SpecError` if an option does not fit it."""
