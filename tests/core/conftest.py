"""Fixtures for the tests of the core."""

from __future__ import annotations

import copy
from typing import Any

import pytest


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The registry of this process; what a test adds to it goes when the test ends."""
    from ganenc_registry import registry

    found = registry()
    monkeypatch.setattr(found, "_entries", dict(found._entries))
    return found


@pytest.fixture(scope="session")
def centered_toy() -> Any:
    """A toy whose mean latents are known, for :func:`toy` to copy."""
    from toys import ToyGenerator, toy_spec

    made = ToyGenerator(toy_spec((8, 8), dim=4)).freeze()
    made.center()
    return made


@pytest.fixture
def toy(centered_toy: Any) -> Any:
    """A generator of 8x8 images with styles, a constant and noise."""
    return copy.deepcopy(centered_toy)


@pytest.fixture(scope="session")
def built_encoder(centered_toy: Any) -> Any:
    """The encoder of the toy, with random weights, for :func:`toy_encoder` to copy."""
    import torch
    from ganenc.encoders import build_encoder

    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build_encoder(centered_toy)


@pytest.fixture
def toy_encoder(built_encoder: Any) -> Any:
    """An encoder of the toy, with random weights."""
    return copy.deepcopy(built_encoder)
