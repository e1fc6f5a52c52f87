"""Fixtures for the tests of adapters."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package", autouse=True)
def wrapped() -> Iterator[Any]:
    """The adapters, registered while these tests last; their mean latents are those of fewer draws."""
    from ganenc.generators import generator
    from ganenc_registry import registry

    known, draws = registry(), generator.CENTER_DRAWS
    before = dict(known._entries)
    generator.CENTER_DRAWS = 1000
    try:
        yield importlib.import_module("adapters.wrapped")
    finally:
        generator.CENTER_DRAWS = draws
        known._entries = before
