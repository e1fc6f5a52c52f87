"""Checks by one call: ``check_generator(MyGan)`` and its like for every kind. Imports torch with the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ganenc_registry import Kind
from ganenc_registry.specs import GeneratorSpec, Release

from ganenc.testing.checks import Outcome
from ganenc.testing.runner import require_passed, run_checks
from ganenc.testing.subjects import subjects_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganenc.editing import Finder
    from ganenc.encoders import EncoderBlock
    from ganenc.generators import Generator
    from ganenc.inversion import Aligner, Inverter, Operator
    from ganenc.measures import Metric
    from ganenc.objectives import Attention, Backbone, Loss
    from ganenc.training import Recipe

__all__ = [
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
]

OnFail = Literal["raise", "return"]


def check(
    subject: Any,
    *,
    kind: Kind | None = None,
    spec: GeneratorSpec | None = None,
    only: Sequence[str] = (),
    on_fail: OnFail = "raise",
) -> list[Outcome]:
    """Run every check that applies to a subject.

    Args:
        subject: a name as ``ganenc check`` takes it: ``loss:my-loss``, ``my-loss``, ``my_gan.py``,
            ``ganenc-plugin-mine``; or a `Subject`, a class, an object or a function.
        kind: what an object or function is, where its class does not tell.
        spec: what a family of generators is built from; by default its ``__init__`` needs none, or the spec of its
            smallest installed model is taken.
        only: the names of the checks that are wanted.
        on_fail: whether failures raise, or are told by the outcomes alone.

    Returns:
        how each check went, in order.

    Raises:
        CheckFailed: with a sentence for each check that failed, unless ``on_fail`` is ``return``.
        UnknownNameError: if nothing is called so, or there is no such check.
    """
    outcomes = list(run_checks(subjects_of(subject, kind, spec=spec), only=only))
    return require_passed(outcomes) if on_fail == "raise" else outcomes


def check_generator(
    generator: type[Generator] | Generator | Callable[[GeneratorSpec], Generator],
    *,
    spec: GeneratorSpec | None = None,
    only: Sequence[str] = (),
    on_fail: OnFail = "raise",
) -> list[Outcome]:
    """Check a family of generators, or one generator: see :func:`check`.

    Args:
        generator: a class, a function from a spec to a generator, or a generator.
        spec: what to build it from, where it is no generator yet and does not build without; small ones take seconds.
        only: the names of the checks that are wanted.
        on_fail: whether failures raise.
    """
    return check(generator, kind="generator", spec=spec, only=only, on_fail=on_fail)


def check_block(block: type[EncoderBlock], *, only: Sequence[str] = (), on_fail: OnFail = "raise") -> list[Outcome]:
    """Check an encoder's block: see :func:`check`."""
    return check(block, kind="block", only=only, on_fail=on_fail)


def check_attention(
    attention: type[Attention] | Attention | Callable[..., Attention],
    *,
    only: Sequence[str] = (),
    on_fail: OnFail = "raise",
) -> list[Outcome]:
    """Check an attention: see :func:`check`."""
    return check(attention, kind="attention", only=only, on_fail=on_fail)


def check_loss(
    loss: type[Loss] | Loss | Callable[..., Loss], *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check a loss: see :func:`check`."""
    return check(loss, kind="loss", only=only, on_fail=on_fail)


def check_backbone(
    backbone: type[Backbone] | Backbone | Callable[[], Backbone],
    *,
    only: Sequence[str] = (),
    on_fail: OnFail = "raise",
) -> list[Outcome]:
    """Check a backbone: see :func:`check`."""
    return check(backbone, kind="backbone", only=only, on_fail=on_fail)


def check_aligner(
    aligner: type[Aligner] | Aligner, *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check an aligner: see :func:`check`."""
    return check(aligner, kind="aligner", only=only, on_fail=on_fail)


def check_inverter(
    inverter: type[Inverter] | Inverter, *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check an inverter: see :func:`check`."""
    return check(inverter, kind="inverter", only=only, on_fail=on_fail)


def check_operator(
    operator: type[Operator] | Operator, *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check an operator: see :func:`check`."""
    return check(operator, kind="operator", only=only, on_fail=on_fail)


def check_recipe(recipe: type[Recipe], *, only: Sequence[str] = (), on_fail: OnFail = "raise") -> list[Outcome]:
    """Check a recipe: see :func:`check`."""
    return check(recipe, kind="recipe", only=only, on_fail=on_fail)


def check_finder(
    finder: type[Finder] | Finder, *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check a finder: see :func:`check`."""
    return check(finder, kind="finder", only=only, on_fail=on_fail)


def check_metric(
    metric: type[Metric] | Metric, *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check a metric: see :func:`check`."""
    return check(metric, kind="metric", only=only, on_fail=on_fail)


def check_model(
    model: Path | Release | Callable[[], Generator], *, only: Sequence[str] = (), on_fail: OnFail = "raise"
) -> list[Outcome]:
    """Check a model, the folder of a shipped one, a release, or a function that makes one: see :func:`check`."""
    return check(model, kind="model", only=only, on_fail=on_fail)
