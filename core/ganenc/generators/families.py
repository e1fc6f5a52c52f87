"""Generators from what is registered: families that take a spec, and functions that make one. Not in paper."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError
from ganenc_registry.specs import GeneratorSpec

if TYPE_CHECKING:
    from ganenc.generators.generator import Generator

__all__ = ["build_generator", "made_by"]


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build a generator with random weights from its spec alone.

    A family is called with the spec, or with nothing where all its arguments have defaults and none is the spec.

    Raises:
        UnknownNameError: if no such family is registered.
        PluginError: if it builds something else, or cannot be built from a spec.
        SpecError: if what it builds has another spec.
    """
    family = registry().resolve("generator", spec.family)
    generator = made_by(family if _needs_nothing(family) else partial(family, spec), f"generator {spec.family!r}")
    if generator.spec != spec:
        mine, wanted = generator.spec.to_mapping(), spec.to_mapping()
        differing = ", ".join(name for name in wanted if mine[name] != wanted[name])
        raise SpecError(
            f"The generator {spec.family!r} is built with a spec of its own, which differs from this in {differing};"
            " let it take the spec as its first argument."
        )
    return generator


def _needs_nothing(family: Callable[..., Any]) -> bool:
    """Whether a family can be built without arguments, and none of them is its spec."""
    parameters = inspect.signature(family).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return all(p.name != "spec" and p.default is not p.empty for p in parameters if p.kind not in variable)


def made_by(make: Callable[[], Any], what: str) -> Generator:
    """What a function makes.

    Raises:
        PluginError: if that is no generator.
    """
    from ganenc.generators.generator import Generator

    generator = make()
    if not isinstance(generator, Generator):
        raise PluginError(f"The {what} builds a {type(generator).__name__}, which is no Generator.")
    return generator
