"""``ganenc check``: whether what is contributed keeps to the contract of its kind."""

from __future__ import annotations

from typing import Annotated

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import GeneratorSpec

from ganenc.cli.console import Bar, emit, show, show_table
from ganenc.cli.exits import FAILED
from ganenc.cli.options import Json
from ganenc.models import describe
from ganenc.testing import Examination, Outcome, find_subjects, known_checks, run_checks


def check(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE|PACKAGE",
            help="A contribution (loss:mse, or mse where that is clear), a Python file that registers some, a file or"
            " folder of weights, or a plugin's distribution or package, for all that it contributes.",
        ),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            "--spec",
            metavar="FILE|MODEL",
            help="What a family is built from: a file with its GeneratorSpec, or a model whose spec is taken. By"
            " default it is built without, or from the spec of its smallest model.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="CHECK", help="A check by its name; may be given again.")
    ] = None,
    list_them: Annotated[bool, typer.Option("--list", help="List every check, with what it holds.")] = False,
    as_json: Json = False,
) -> None:
    """Check what is contributed: static, then import, then behaviour. Exits with 1 if a check fails."""
    if list_them:
        _list(as_json)
        return
    if name is None:
        raise SpecError("Name what to check: a contribution, a Python file or a plugin; --list lists the checks.")
    wanted = list(only or [])
    subjects = find_subjects(name, spec=_spec(spec))
    total = sum(not wanted or one.name in wanted for subject in subjects for one in Examination(subject).checks)
    outcomes: list[Outcome] = []
    with Bar("Checking", total) as bar:
        for outcome in run_checks(subjects, only=wanted):
            outcomes.append(outcome)
            bar.update(len(outcomes), what=f"Checking {outcome.subject}")
    if not outcomes:
        raise SpecError(f"--only {', '.join(wanted)}: there is no such check for {name}; see `ganenc check --list`.")
    _report(outcomes, as_json)
    if any(outcome.failed for outcome in outcomes):
        raise typer.Exit(FAILED)


def _spec(source: str | None) -> GeneratorSpec | None:
    if source is None:
        return None
    found = describe(source).generator
    if found is None:
        raise SpecError(f"--spec takes the spec of a generator, and {source} has none.")
    return found


def _list(as_json: bool) -> None:
    checks = known_checks()
    if as_json:
        emit([{"name": one.name, "kind": one.kind, "stage": one.stage, "why": one.why} for one in checks])
    else:
        show_table(["kind", "check", "stage", "holds"], [[one.kind, one.name, one.stage, one.why] for one in checks])


def _report(outcomes: list[Outcome], as_json: bool) -> None:
    if as_json:
        emit([
            {"subject": one.subject, "check": one.check.name, "stage": one.check.stage, "result": one.result,
             "sentence": one.sentence, "seconds": round(one.seconds, 3)}
            for one in outcomes
        ])  # fmt: skip
        return
    subjects = list(dict.fromkeys(one.subject for one in outcomes))
    if len(subjects) == 1:
        rows = [[one.check.name, one.check.stage, one.result, one.sentence or one.check.why] for one in outcomes]
        show_table(["check", "stage", "result", "sentence"], rows)
    else:
        rows = [row for subject in subjects for row in _brief([one for one in outcomes if one.subject == subject])]
        show_table(["subject", "check", "stage", "result", "sentence"], rows)
    counts = {result: sum(one.result == result for one in outcomes) for result in ("passed", "failed", "skipped")}
    show(f"\n{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


def _brief(outcomes: list[Outcome]) -> list[list[str]]:
    """One of several subjects: each check that failed, or all that went well in one row."""
    failed = [one for one in outcomes if one.failed]
    if failed:
        return [[one.subject, one.check.name, one.check.stage, one.result, one.sentence] for one in failed]
    skipped = [one.sentence for one in outcomes if one.result == "skipped"]
    reasons = "; ".join(dict.fromkeys(skipped))
    told = f"{len(skipped)} skipped: {reasons}" if skipped else ""
    passed = sum(one.passed for one in outcomes)
    return [[outcomes[0].subject, f"{passed} checks", "", "passed" if passed else "skipped", told]]
