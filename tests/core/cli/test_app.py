"""The group of commands: what is offered, imported only when it is called, and of plugins alike."""

from __future__ import annotations

import functools
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from ganenc.cli import COMMANDS, Command, main
from ganenc_registry import Contribution, Registry, registry
from ganenc_registry.errors import NameTakenError

SCRIPT = '''
from typing import Annotated
import ganenc, typer

@ganenc.register("command", "count-files", summary="Count files")
def count(files: Annotated[list[str], typer.Argument(help="Files to count.")], as_json: bool = False) -> None:
    """Count the files that are named."""
    if "wrong" in files:
        raise ganenc.GanencError("One is wrong.")
    typer.echo(f"{len(files)} files")
'''


def words(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """A command's exit code, and what it printed to stdout and stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_help_shows_every_command_under_its_purpose_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = words(capsys, "--help")
    assert code == 0
    purposes = list(dict.fromkeys(command.purpose for command in COMMANDS))
    assert purposes == ["Begin", "Invert", "Edit", "Train", "Measure", "Extend"]
    places = [out.index(f"─ {purpose} ─") for purpose in purposes]
    assert places == sorted(places)
    for purpose, start, end in zip(purposes, places, [*places[1:], len(out)], strict=True):
        own = [command for command in COMMANDS if command.purpose == purpose]
        assert all(f" {command.name} " in out[start:end] for command in own)
        assert own[0].example in out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_a_command_shows_its_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = words(capsys, command.name, "--help")
    assert code == 0
    assert command.example in " ".join(out.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_an_example_is_what_its_command_takes(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Registry()
    function, called = registry().resolve("command", command.name), []
    found.add_value("command", command.name, functools.wraps(function)(lambda **given: called.append(given)))
    monkeypatch.setattr("ganenc.cli.app.registry", lambda: found)
    code, _, err = words(capsys, *shlex.split(command.example)[1:])
    assert (code, len(called)) == (0, 1), err


def test_no_module_of_a_command_is_imported_for_the_help() -> None:
    code = (
        "import sys; from ganenc.cli import COMMANDS, Command, main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print({one.target.split(':')[0] for one in COMMANDS} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_a_script_brings_a_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = tmp_path / "counting_command.py"
    script.write_text(SCRIPT)
    assert words(capsys, "count-files", "a")[0] == 2
    code, out, _ = words(capsys, "--import", script, "--help")
    assert code == 0
    assert "count-files" in out
    assert "Count files" in out
    assert words(capsys, "--import", script, "count-files", "a", "b")[:2] == (0, "2 files\n")
    assert "Files to count." in words(capsys, "--import", script, "count-files", "--help")[1]
    assert words(capsys, "--import", script, "count-files", "wrong") == (1, "", "Error: One is wrong.\n")
    listed = json.loads(words(capsys, "--import", script, "list", "command", "--json")[1])
    assert {item["name"] for item in listed} >= {"count-files", *(command.name for command in COMMANDS)}


def test_a_command_called_like_a_built_in_one_names_both_owners() -> None:
    found = Registry()
    found.add_all([item for item in registry().list("command") if item.target.startswith("ganenc.")], owner="ganenc 1")
    with pytest.raises(NameTakenError, match=r"(?s)'invert'.*by ganenc 1.*and by other 2"):
        found.add_all([Contribution("command", "invert", "mine", "mine:invert")], owner="other 2")
