"""The conformance kit: does what you bring keep to the contract of its kind?

Whatever is contributed goes through named checks in three stages: ``static`` reads what is declared, ``import`` imports
it, ``behaviour`` builds and runs it. On the command line::

    ganenc check my_gan.py                 # all that a script registers
    ganenc check ganenc-plugin-mine        # a plugin and all that it contributes
    ganenc check loss:my-loss --only equal-images-cost-nothing
    ganenc check --list                    # every check, with what it holds

In a plugin's own tests, one pytest case for each check::

    from ganenc.testing import parametrize_with_checks

    @parametrize_with_checks(["ganenc-plugin-mine"], expected_failures={"device-follows-the-weights": "CPU only"})
    def test_conforms(check):
        check()

Or by one call: ``check_generator(MyGan)`` raises `CheckFailed` with one sentence for each check that fails. Nothing
here needs a network or a GPU, and a small generator takes seconds. Importing this imports no torch.
"""

from ganenc.testing.checks import Check, CheckFailed, Outcome
from ganenc.testing.entry import (
    check,
    check_aligner,
    check_attention,
    check_backbone,
    check_block,
    check_finder,
    check_generator,
    check_inverter,
    check_loss,
    check_metric,
    check_model,
    check_operator,
    check_recipe,
)
from ganenc.testing.pytest_helpers import parametrize_with_checks
from ganenc.testing.runner import Examination, checks_of, known_checks, run_checks
from ganenc.testing.subjects import Subject, find_subjects, subject_of

__all__ = [
    "Check",
    "CheckFailed",
    "Examination",
    "Outcome",
    "Subject",
    "check",
    "check_aligner",
    "check_attention",
    "check_backbone",
    "check_block",
    "check_finder",
    "check_generator",
    "check_inverter",
    "check_loss",
    "check_metric",
    "check_model",
    "check_operator",
    "check_recipe",
    "checks_of",
    "find_subjects",
    "known_checks",
    "parametrize_with_checks",
    "run_checks",
    "subject_of",
]
