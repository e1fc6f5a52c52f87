"""A generator to check: built from a spec, and copied afresh for each check."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from ganenc_registry import registry
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc.generators import Generator, as_declared, build_from, made_by
from ganenc.latents import Latents
from ganenc.models import registered
from ganenc.testing.comparing import seeded
from ganenc.testing.subjects import Subject

__all__ = ["EXACT", "GeneratorCase"]

EXACT = 1e-5
"""How far numbers that should be the same may differ, relatively: threads add up in another order."""


class GeneratorCase:
    """A generator to check.

    Args:
        subject: a family, which is built from ``subject.spec``, the spec of its smallest installed model, or without
            arguments; or a generator.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject

    @cached_property
    def built(self) -> Generator:
        """The generator as it is built."""
        value = self.subject.resolve()
        if isinstance(value, Generator):
            return value
        spec = self.subject.spec or _known_spec(self.subject)
        mend = "give one by --spec or spec=, or a default in its __init__"
        with seeded():
            if spec is not None:
                return build_from(value, spec)
            with as_declared(value, f"{self.name} is built from a spec and none is known ({{error}}); {mend}."):
                return made_by(value, self.subject.name)

    @property
    def spec(self) -> GeneratorSpec:
        """The generator's spec."""
        return self.built.spec

    @cached_property
    def name(self) -> str:
        """What sentences call it."""
        return f"The generator {self.subject.name.partition(':')[2]}"

    def rebuilt(self) -> Generator:
        """Another one of the same spec, with other random weights."""
        return build_from(self.family, self.spec)

    @property
    def family(self) -> Callable[..., Any]:
        """What builds it: the class or function that was given, or the class of the generator that was."""
        value = self.subject.resolve()
        return type(value) if isinstance(value, Generator) else value

    def fresh(self) -> Generator:
        """A frozen copy, which a check may change; the thing itself where it cannot be copied."""
        try:
            return copy.deepcopy(self.built).freeze()
        except Exception:  # Some networks hold tensors that torch does not copy.
            return self.built.freeze()

    def labels(self, n: int, generator: Generator) -> Tensor | None:
        """Labels int64 (n,), one class after another; None where they do not matter."""
        return torch.arange(n, device=generator.device) % self.spec.classes if self.spec.classes else None

    def latents(self, generator: Generator, n: int = 3) -> Latents:
        """Latents of n samples, complete."""
        with torch.no_grad():
            return generator.complete(generator.sample(n, seed=1, labels=self.labels(n, generator)))


def _known_spec(subject: Subject) -> GeneratorSpec | None:
    """The spec of the smallest model of a family that is shipped, or else released; None if there is none."""
    family = subject.contribution.name if subject.contribution else ""
    found: list[tuple[bool, int, GeneratorSpec]] = []
    for name in registry().names("model") if family else []:
        try:
            model = registered(name)
            spec = model.spec
        except GanencError:  # The check of that model tells.
            continue
        if isinstance(spec, GeneratorSpec) and spec.family == family:
            found.append((model.kind == "release", math.prod(spec.size), spec))
    return min(found, key=lambda one: one[:2])[2] if found else None
