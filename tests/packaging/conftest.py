"""What the tests of packages share: the distributions here, each built once, when it is first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
from environments import PROJECTS, build


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that wheels are built into."""
    return tmp_path_factory.mktemp("dist")


@pytest.fixture(scope="session")
def built(dist: Path) -> Callable[[str], tuple[Path, Path]]:
    """Builds a distribution by its name, once; gives its wheel and its sdist."""
    return functools.cache(lambda name: build(PROJECTS[name], dist))
