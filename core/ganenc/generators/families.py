"""Generators from what is registered: families that take a spec, and functions that make one. Not in paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ganenc_registry import registry
from ganenc_registry.errors import PluginError, SpecError
from ganenc_registry.specs import GeneratorSpec

from ganenc.generators.contract import as_declared
from ganenc.generators.generator import Generator


def build_generator(spec: GeneratorSpec) -> Generator:
    """Build a generator with random weights from its spec alone: `build_from` of its family, or of the function that is
    registered as a model of that name, whose weights are then its own; `UnknownNameError` if no such family is
    registered; `PluginError` if it builds something else; `SpecError` if what it builds has another spec."""
    listed = spec.family in registry().names("generator") or not is_family(spec.family)
    return build_from(registry().resolve("generator" if listed else "model", spec.family), spec)


def build_from(family: Callable[..., Any], spec: GeneratorSpec) -> Generator:
    """``family(spec=spec)``, or ``family()`` where it takes no spec and has this one; errors as `build_generator`."""
    what = f"generator {spec.family!r}"
    told = f"The {what} is built from its spec alone, and does not take it ({{error}}); write"
    try:
        with as_declared(family, f"{told} `def __init__(self, spec=None)`."):
            made = family(spec=spec)
    except PluginError as refused:
        try:
            with as_declared(family, ""):
                made = family()
        except PluginError:
            raise refused from None
    generator = made_by(lambda: made, what)
    if generator.spec != spec:
        mine, wanted = generator.spec.to_mapping(), spec.to_mapping()
        differing = ", ".join(name for name in wanted if mine[name] != wanted[name])
        raise SpecError(
            f"The {what} is built with a spec of its own, which differs from this in {differing}; let its __init__ take"
            " a `spec`, and hand it to super().__init__."
        )
    return generator


def is_family(name: str) -> bool:
    """Whether generators of that name are built from a spec: it is registered, as a family or a function of a model."""
    known = registry()
    return name in known.names("generator") or (name in known.names("model") and callable(known.resolve("model", name)))


def made_by(make: Callable[[], Any], what: str) -> Generator:
    """What a function makes; `PluginError` if that is no generator."""
    generator = make()
    if not isinstance(generator, Generator):
        raise PluginError(f"The {what} builds a {type(generator).__name__}, which is no Generator.")
    return generator
