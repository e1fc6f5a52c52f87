"""Runs checks: those of a kind, stage after stage, each on its own. Imports torch with the first kind that needs it."""

from __future__ import annotations

import importlib
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ganenc_registry import KINDS
from ganenc_registry.errors import GanencError, UnknownNameError, nearest

from ganenc.testing.checks import Check, CheckFailed, CheckSkipped, Outcome, Scope
from ganenc.testing.subjects import Subject

__all__ = ["Examination", "checks_of", "known_checks", "require_known", "require_passed", "run_checks"]

_CASES: dict[Scope, tuple[str, str]] = {
    "generator": ("generators", "GeneratorCase"),
    "block": ("blocks", "BlockCase"),
    "encoder": ("networks", "NetworkCase"),
    "attention": ("attentions", "AttentionCase"),
    "loss": ("losses", "LossCase"),
    "backbone": ("backbones", "BackboneCase"),
    "aligner": ("aligners", "AlignerCase"),
    "inverter": ("inverters", "InverterCase"),
    "operator": ("operators", "OperatorCase"),
    "recipe": ("recipes", "RecipeCase"),
    "finder": ("finders", "FinderCase"),
    "metric": ("metrics", "MetricCase"),
    "model": ("models", "ModelCase"),
    "runner": ("runners", "RunnerCase"),
    "command": ("commands", "CommandCase"),
}


@dataclass
class Examination:
    """The checks of one subject, each run once at most, and skipped where one that they rest on did not pass."""

    subject: Subject
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """All that apply, in the order in which they run."""
        if self.subject.kind == "plugin":
            return checks_of("plugin")
        own = checks_of(self.subject.kind)
        return (*checks_of("contribution"), *own) if self.subject.contribution else own

    @cached_property
    def case(self) -> Any:
        """What the checks of the subject's kind take."""
        place = _CASES.get(self.subject.kind)
        if place is None:
            return self.subject
        return getattr(importlib.import_module(f"ganenc.testing.{place[0]}"), place[1])(self.subject)

    def run(self, check: Check) -> Outcome:
        """How a check goes, once those have passed that it rests on."""
        if check.name not in self.outcomes:
            above = self.checks[: self.checks.index(check)]
            held = next((one for one in map(self.run, (gate for gate in above if gate.gate)) if not one.passed), None)
            self.outcomes[check.name] = self._run(check) if held is None else self._held(check, held)
        return self.outcomes[check.name]

    def _held(self, check: Check, by: Outcome) -> Outcome:
        reason = by.sentence if by.result == "skipped" else f"not run, as {by.check.name} failed"
        return Outcome(self.subject.name, check, "skipped", reason)

    def _run(self, check: Check) -> Outcome:
        started, result, sentence = time.perf_counter(), "passed", ""
        try:
            with _without_network():
                check.run(self.subject if check.kind in ("contribution", "plugin") else self.case)
        except CheckSkipped as reason:
            result, sentence = "skipped", str(reason)
        except GanencError as error:
            result, sentence = "failed", str(error)
        except Exception as error:
            result, sentence = "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome(self.subject.name, check, result, sentence, time.perf_counter() - started)  # type: ignore[arg-type]


@contextmanager
def _without_network() -> Iterator[None]:
    """While it lasts, no name of a host is found, so that what would be fetched is missing, here as everywhere."""

    def refuse(*_: object, **__: object) -> Any:
        raise socket.gaierror("checks use no network")

    before, socket.getaddrinfo = socket.getaddrinfo, refuse
    try:
        yield
    finally:
        socket.getaddrinfo = before


def checks_of(kind: Scope) -> tuple[Check, ...]:
    """The checks of a kind, of whatever is contributed (``contribution``), or of a plugin (``plugin``)."""
    if kind in ("contribution", "plugin"):
        plugins = importlib.import_module("ganenc.testing.plugins")
        return tuple(check for check in plugins.CHECKS if check.kind == kind)
    if kind not in _CASES:
        return ()
    checks: tuple[Check, ...] = importlib.import_module(f"ganenc.testing.{_CASES[kind][0]}").CHECKS
    return checks


def known_checks() -> list[Check]:
    """Every check there is, by kind, in the order in which they run."""
    scopes: tuple[Scope, ...] = ("plugin", "contribution", *KINDS)
    return [check for scope in scopes for check in checks_of(scope)]


def run_checks(subjects: Iterable[Subject], *, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Run the checks of some subjects, one after another.

    Args:
        subjects: what to check.
        only: the names of the checks wanted; by default all that apply. Those that they rest on run besides.

    Raises:
        UnknownNameError: if there is no check of such a name.
    """
    require_known(only)
    for subject in subjects:
        examination = Examination(subject)
        for check in examination.checks:
            if not only or check.name in only:
                yield examination.run(check)


def require_known(names: Iterable[str]) -> None:
    """Raise ``UnknownNameError`` if there is no check of one of these names."""
    known = [check.name for check in known_checks()]
    for name in names:
        if name not in known:
            raise UnknownNameError(f"There is no check {name!r}{nearest(name, known)}; see `ganenc check --list`.")


def require_passed(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes, if none of them failed.

    Raises:
        CheckFailed: with the sentence of each check that did.
    """
    done = list(outcomes)
    failed = [f"{one.subject} fails {one.check.name}: {one.sentence}" for one in done if one.failed]
    if failed:
        raise CheckFailed("\n".join(failed))
    return done
