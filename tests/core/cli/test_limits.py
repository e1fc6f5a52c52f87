"""Words and files that are too long, too deep or too many: one sentence, and the exit code of wrong usage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from toys import toy_spec

DEEP, LONG = "[" * 3000, "9" * 5000
VALUES = ["2024-13-45", "!!int foo", "!!bool foo", LONG, DEEP, "&a [*a]"]


@pytest.fixture
def generator(tmp_path: Path) -> Path:
    (tmp_path / "generator.json").write_text(toy_spec().to_json())
    return tmp_path / "generator.json"


def told(ran: tuple[int, str, str]) -> str:
    """What a command was refused with."""
    code, _, err = ran
    assert code == 2
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert len(err) < 1000
    return err


@pytest.mark.parametrize("value", VALUES, ids=lambda text: text[:10])
def test_a_setting_is_told_in_one_sentence(run: Any, generator: Path, value: str) -> None:
    assert "hidden" in told(run("spec", generator, "--set", f"hidden={value}"))


@pytest.mark.parametrize("times", [101, 900, 3000])
def test_a_path_that_no_field_has_is_told_in_one_sentence(run: Any, generator: Path, times: int) -> None:
    told(run("spec", generator, "--set", f"{'a.' * times}b=1"))


@pytest.mark.parametrize("value", VALUES, ids=lambda text: text[:10])
def test_a_value_in_a_file_is_told_in_one_sentence(run: Any, tmp_path: Path, value: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"task: pretrain\nsteps: {value}\n")
    assert str(path) in told(run("pretrain", "--run", path, "--out", tmp_path / "out"))
    assert str(path) in told(run("invert", "--config", path, "--out", tmp_path / "out"))


def test_a_spec_of_far_too_much_is_told_at_once(run: Any, generator: Path) -> None:
    spec = json.loads(generator.read_text())
    spec["layout"] = [{"kind": "vector", "name": f"z{i}", "dim": 1} for i in range(100_000)]
    generator.write_text(json.dumps(spec))
    assert "layout" in told(run("spec", generator))


@pytest.mark.parametrize(
    "words", [("list", LONG), ("list", "x y" * 2000), ("spec", LONG), (LONG,), ("list", f"--{LONG}"), (f"--{LONG}",)]
)
def test_a_very_long_word_is_not_told_whole(run: Any, words: tuple[str, ...]) -> None:
    code, _, err = run(*words)
    assert code in (1, 2)
    assert len(err) < 2500


@pytest.mark.parametrize("layers", ["0-99999999999", "5000", LONG, f"0-{LONG}", "3-2"])
def test_layers_that_no_network_has_are_not_counted_out(run: Any, tmp_path: Path, layers: str) -> None:
    words = ("edit", "a.png", "--model", "none", "--direction", "none", "--out", tmp_path / "out")
    assert "--layers" in told(run(*words, "--layers", layers))
