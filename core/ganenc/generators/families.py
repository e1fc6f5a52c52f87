"""Generators from what is registered: families that take a spec, and functions that make one. Not in paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError
from ganenc_registry.specs import GeneratorSpec

from ganenc.generators.contract import as_declared
from ganenc.generators.generator import Generator

__all__ = ["build_generator", "made_by"]


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build a generator with random weights from its spec alone: ``family(spec)``.

    Raises:
        UnknownNameError: if no such family is registered.
        PluginError: if it builds something else, or takes no spec.
        SpecError: if what it builds has another spec.
    """
    family = registry().resolve("generator", spec.family)
    told = f"The generator {spec.family!r} is built from its spec alone, and does not take it ({{error}}); write"
    with as_declared(family, f"{told} `def __init__(self, spec=None)`."):
        generator = made_by(lambda: family(spec), f"generator {spec.family!r}")
    if generator.spec != spec:
        mine, wanted = generator.spec.to_mapping(), spec.to_mapping()
        differing = ", ".join(name for name in wanted if mine[name] != wanted[name])
        raise SpecError(
            f"The generator {spec.family!r} is built with a spec of its own, which differs from this in {differing};"
            " let it hand the spec that it is given to super().__init__."
        )
    return generator


def made_by(make: Callable[[], Any], what: str) -> Generator:
    """What a function makes; `PluginError` if that is no generator."""
    generator = make()
    if not isinstance(generator, Generator):
        raise PluginError(f"The {what} builds a {type(generator).__name__}, which is no Generator.")
    return generator
