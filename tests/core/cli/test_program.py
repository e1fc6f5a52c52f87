"""The program around the commands: what stops it, and channels that take nothing, end in a line and an exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-m", "ganenc"]
HIT = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"


def carried_out(
    *words: object, place: Path | None = None, shell: str = "", **given: Any
) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own, with what a shell is told after it; what lies in ``place`` is imported before
    all else of that name."""
    path = os.pathsep.join(filter(None, [str(place or ""), *sys.path]))
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}
    command = [*PROGRAM, *map(str, words)]
    if shell:
        command = ["bash", "-c", f'set -o pipefail; "$@" {shell}', "-", *command]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, text=True, check=False, timeout=60, **given)


@pytest.mark.parametrize("slow", ["typer", "ganenc_registry", "numpy"])
def test_an_interrupt_while_the_program_is_imported_ends_it_without_a_word(slow: str, tmp_path: Path) -> None:
    (tmp_path / f"{slow}.py").write_text(HIT)
    done = carried_out("generate", "--model", "m", "--out", "o", place=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_of_a_command_ends_it_with_the_same_code(run: Any, known: Any) -> None:
    def stop() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    known.add_value("command", "stop", stop)
    assert run("stop") == (130, "", "")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_script_that_interrupts_or_prints_is_told_and_breaks_no_result(run: Any, tmp_path: Path) -> None:
    (tmp_path / "loud_script.py").write_text("print('hello')")
    code, out, err = run("--import", tmp_path / "loud_script.py", "list", "recipe", "--json")
    assert (code, out[0], err) == (0, "[", "hello\n")
    (tmp_path / "odd_script.py").write_text("\nraise KeyboardInterrupt")
    code, out, err = run("--import", tmp_path / "odd_script.py", "list")
    assert (code, out) == (1, "")
    assert "odd_script.py cannot be imported: KeyboardInterrupt (" in err
    assert err.endswith("/odd_script.py, line 2).\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no device that is always full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    with open("/dev/full", "w") as full:
        done = carried_out("list", "--json", stdout=full)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("Error: The output cannot be written: No space left on device;")
        assert carried_out("list", "recipe", stderr=full).returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="closing a channel is written otherwise there")
@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), ("2>&-", 0), ("| :", 1)])
def test_channels_that_are_closed_harm_nothing(closed: str, code: int) -> None:
    done = carried_out("list", "recipe", "--json", shell=closed)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_path_that_a_command_cannot_use_is_told(run: Any, known: Any) -> None:
    def look() -> None:
        raise PermissionError(13, "Permission denied", "some/where")

    known.add_value("command", "look", look)
    code, out, err = run("look")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("Error: some/where cannot be read or written: Permission denied; check the name, ")
