"""Fixtures for the tests of the command line."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run one command in this process: its exit code and what it printed."""

    from ganenc.cli import main

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return (ended.value.code or 0), out, err  # type: ignore[return-value]

    return command
