"""Thousands of damaged files: reading them gives a model or one of our errors, in bounded time and memory.

Nothing in them is ever executed, which is watched in two ways: by a file that every payload would make, and by what
Python reports of itself (audit events). An example that fails names its number; `example` does it again.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import foreign
import fuzzing
import pytest
from fuzzing import networks
from fuzzing.memory import peak_megabytes
from ganenc.foreign import read_checkpoint
from ganenc.models import from_checkpoint, load_model
from ganenc_registry.errors import GanencError

SECONDS = 10.0
"""How long the processor may work on one example; nearly all take some milliseconds."""

MEGABYTES = 400
"""How far the memory of the process may grow beyond what reading sound files takes."""

REPORTED = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "socket.connect")
UNPICKLED = "pickle.find_class"
_seen: list[str] = []
_watching = False


class Hanging(BaseException):
    """An example took too long; no handler of errors catches it."""


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if event in REPORTED or event == UNPICKLED or event.startswith(("shutil.", "ctypes.dlopen")) or writes:
        _seen.append(f"{event}{arguments!r}"[:200])


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Give what Python reports meanwhile: processes, network, pickled names looked up, files opened for writing."""
    global _watching
    if _audit not in _installed:
        sys.addaudithook(_audit)  # there is no way to take it away again
        _installed.append(_audit)
    _seen.clear()
    _watching = True
    try:
        yield _seen
    finally:
        _watching = False


_installed: list[Any] = []


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Hanging` once the processor has worked so long."""

    def stop(*_: Any) -> None:
        raise Hanging

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def example(number: int, sources: dict[str, Path], folder: Path) -> tuple[str, str]:
    """Damage a file, read it, and return what was done and what came of it; any surprise is an `AssertionError`."""
    rng = random.Random(number)
    payloads = fuzzing.Payloads(folder / "executed")
    done, path = fuzzing.mutate(rng, sources, folder, payloads)
    where = f"example {number} ({done})"
    outcome = outcome_of(lambda: load_model(path), where, str(folder))
    assert not payloads.sentinel.exists(), f"{where} was executed"
    return done, outcome


def outcome_of(read: Callable[[], object], where: str, named: str) -> str:
    """Read something under watch, and say what came of it; any surprise is an `AssertionError`."""
    with warnings.catch_warnings(record=True) as told, watched() as seen:
        warnings.simplefilter("always")
        try:
            with limited(SECONDS):
                read()
            outcome = "read"
        except GanencError as error:
            outcome = f"refused: {type(error).__name__}"
            message = str(error)
            assert "\n" not in message, f"{where}: {message!r}"
            assert message.endswith("."), f"{where}: {message!r}"
            assert named in message, f"{where}: {message!r} does not say where"
            assert "failed with" not in message, f"{where}: {message!r}"
            assert len(message) < 1500, f"{where}: {message[:3000]!r}"
        except Hanging:
            raise AssertionError(f"{where} hangs") from None
        except Exception as error:
            raise AssertionError(f"{where} gives {type(error).__name__}: {error}") from error
    assert not seen, f"{where}: {seen}"
    others = [one.message for one in told if named not in str(one.message)]
    assert not others, f"{where}: {others[0]}"
    return outcome


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small file of every format, all of which can be read."""
    found = foreign.sources(tmp_path_factory.mktemp("sound"))
    for path in found.values():
        load_model(path)
    return found


def test_the_watch_sees_what_runs(tmp_path: Path) -> None:
    """Each payload is live: the standard unpickler executes it, and both watches see that."""
    import pickle

    for number in range(60):
        payloads = fuzzing.Payloads(tmp_path / f"executed-{number}")
        with watched() as seen:
            made = pickle.loads(payloads.one(random.Random(number)))
            if hasattr(made, "wait"):
                made.wait()
        assert payloads.sentinel.exists()
        assert seen


def endless() -> None:
    while True:  # A signal is heard between two steps of Python, so not inside a call like `sum`.
        pass


def test_the_watch_ends_what_hangs() -> None:
    with pytest.raises(Hanging), limited(0.01):
        endless()


def fuzz(first: int, count: int, sources: dict[str, Path], folder: Path, capfd: Any) -> collections.Counter[str]:
    """Run so many examples, and return how many ended in which way."""
    outcomes: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    before = peak_megabytes()
    for number in range(first, first + count):
        place = folder / f"{number}"
        place.mkdir()
        done, outcome = example(number, sources, place)
        shutil.rmtree(place)
        outcomes[outcome] += 1
        kinds[done.partition(":")[0]] += 1
        grown = peak_megabytes() - before
        assert grown < MEGABYTES, f"after example {number} ({done}) the process has grown by {grown:.0f} MB"
    assert set(kinds) == set(sources)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    return outcomes


def test_damaged_files(sources: dict[str, Path], tmp_path: Path, capfd: Any) -> None:
    outcomes = fuzz(0, 400, sources, tmp_path, capfd)
    assert outcomes["refused: CheckpointError"] > 200
    assert outcomes["read"] > 20


def damage_networks(first: int, count: int, sources: dict[str, Path]) -> collections.Counter[str]:
    """Change what sound files hold, have it read by whoever claims it, and return how many ended in which way."""
    sound = {name: read_checkpoint(path) for name, path in sources.items() if not (path / "model.safetensors").exists()}
    outcomes: collections.Counter[str] = collections.Counter()
    for number in range(first, first + count):
        rng = random.Random(number)
        name = rng.choice(sorted(sound))
        done, checkpoint = networks.damaged(rng, sound[name])
        where = f"network {number} ({name}: {done})"
        outcomes[outcome_of(functools.partial(from_checkpoint, checkpoint), where, str(checkpoint.path))] += 1
    return outcomes


def test_damaged_networks(sources: dict[str, Path]) -> None:
    outcomes = damage_networks(0, 300, sources)
    assert outcomes["refused: CheckpointError"] > 150


@pytest.mark.slow
def test_three_thousand_damaged_networks(sources: dict[str, Path]) -> None:
    assert sum(damage_networks(1000, 3000, sources).values()) == 3000


@pytest.mark.slow
def test_ten_thousand_damaged_files(sources: dict[str, Path], tmp_path: Path, capfd: Any) -> None:
    outcomes = fuzz(1000, 10_000, sources, tmp_path, capfd)
    assert sum(outcomes.values()) == 10_000
    assert outcomes["refused: CheckpointError"] > 5000
    assert outcomes["read"] > 500
    with capfd.disabled():
        print(f" {dict(outcomes)} ", end="")
