"""The checks as cases of pytest, in a plugin's own tests. Imports pytest only when it is asked for cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganenc_registry import Kind
from ganenc_registry.specs import GeneratorSpec

from ganenc.testing.checks import Check, CheckFailed
from ganenc.testing.runner import Examination, require_known
from ganenc.testing.subjects import subjects_of

if TYPE_CHECKING:
    import pytest

__all__ = ["BoundCheck", "parametrize_with_checks"]


@dataclass(frozen=True)
class BoundCheck:
    """One check of one subject: call it.

    Attributes:
        examination: the checks of the subject.
        check: this one.
    """

    examination: Examination
    check: Check

    def __call__(self) -> None:
        """Run the check.

        Raises:
            CheckFailed: if it fails.
            pytest.skip.Exception: if it does not apply.
        """
        import pytest

        outcome = self.examination.run(self.check)
        if outcome.failed:
            raise CheckFailed(outcome.sentence)
        if outcome.result == "skipped":
            pytest.skip(outcome.sentence)

    def __repr__(self) -> str:
        return f"{self.examination.subject.name}: {self.check.name}"


def parametrize_with_checks(
    subjects: Iterable[Any],
    *,
    kind: Kind | None = None,
    spec: GeneratorSpec | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """A test for each check of each subject::

        @parametrize_with_checks([MyGan, "loss:my-loss"])
        def test_conforms(check):
            check()

    Args:
        subjects: names, subjects, classes, objects or functions, as :func:`ganenc.testing.check` takes them.
        kind: what objects and functions are, where their classes do not tell.
        spec: what families of generators among them are built from.
        expected_failures: a reason for each check, by name, that is known to fail. Such a test is an expected failure,
            and strict: once the check passes, the test fails until the entry is taken out. It holds for all subjects
            that the check applies to; give subjects that differ a test each.

    Returns:
        the decorator, whose parameter is called ``check``.

    Raises:
        UnknownNameError: if there is no such subject or check.
    """
    import pytest

    reasons = dict(expected_failures or {})
    require_known(reasons)
    cases = []
    for given in subjects:
        for examination in map(Examination, subjects_of(given, kind, spec=spec)):
            for check in examination.checks:
                marks = []
                if check.name in reasons:
                    marks = [pytest.mark.xfail(reason=reasons[check.name], raises=CheckFailed, strict=True)]
                identity = f"{examination.subject.name}-{check.name}"
                cases.append(pytest.param(BoundCheck(examination, check), marks=marks, id=identity))
    return pytest.mark.parametrize("check", cases)
