"""The page of methods that were compared on one model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from ganenc_registry.specs import BenchmarkSpec
from torch import Tensor

from ganenc.measures import Evaluation
from ganenc.report.chart import plane
from ganenc.report.pages import render
from ganenc.report.texts import metric_name, metric_text, seconds_text


@dataclass(frozen=True, eq=False)
class Compared:
    """What one method gave on one schedule."""

    method: str
    budget: float | None
    """The seconds a photo that its steps were to fill; None for its own schedule."""
    steps: int | None
    """None where it has none, as one pass."""
    megabytes: float | None
    """The peak of memory, if known."""
    sets: Mapping[str, Evaluation]
    """By ``photos`` and ``samples``."""

    @property
    def schedule(self) -> str:
        """In words."""
        return "own schedule" if self.budget is None else f"{self.budget:g} s"

    @property
    def seconds(self) -> float:
        """What a photo took."""
        return next(iter(next(iter(self.sets.values())).ways.values())).seconds

    def to_mapping(self) -> dict[str, Any]:
        """The numbers as plain data."""
        facts = {"method": self.method, "budget": self.budget, "steps": self.steps, "megabytes": self.megabytes}
        return {**facts, **{name: one.to_mapping() for name, one in self.sets.items()}}

    def place(self) -> tuple[float, float] | None:
        """Where it stands between rebuilding, by the first metric, and editing (see `axes`); None where it has none."""
        found = next(iter(self.sets.values()))
        numbers = {} if found.editing is None else found.editing.table()
        up, _ = numbers.get("effect") or numbers.get("consistency") or (math.nan, None)
        across, _ = next(iter(found.table().values()))
        return (across, up) if math.isfinite(across) and math.isfinite(up) else None


Numbers: TypeAlias = Mapping[str, tuple[float, float | None]]
"""Means and deviations by name."""
BETTER = {"effect": True, "consistency": False, "nscd": False}
"""Of numbers of editing that are better high or low, whether high."""


class Table(NamedTuple):
    """What goes into one table: a heading, the names of the columns, and texts, of which some are the best."""

    heading: str
    header: list[str]
    rows: list[list[tuple[str, bool]]]


def rebuilding(rows: Sequence[Compared], name: str) -> list[Table]:
    """How near each method came on a set, a table for each schedule; the mean image last."""
    base = rows[0].sets[name]
    higher = {metric_name(metric): one.higher_is_better for metric, one in base.metrics.items()}

    def texts(table: Numbers) -> dict[str, tuple[float, str]]:
        taken = base.metrics
        return {
            metric_name(one): (mean, _spread(metric_text(mean, taken[one]), std, taken[one].digits))
            for one, (mean, std) in table.items()
        }

    found = []
    for heading, some in _by_schedule(rows):
        lead = [[one.method, "" if one.steps is None else f"{one.steps:,}", seconds_text(one.seconds),
                 "" if one.megabytes is None else f"{one.megabytes:,.0f}"] for one in some]  # fmt: skip
        table = _table(
            heading, ["steps", "seconds", "MB"], lead, [texts(one.sets[name].table()) for one in some], higher
        )
        last = ["mean image", "", "", "", *(text for _, text in texts(base.mean_image.table()).values())]
        found.append(table._replace(rows=[*table.rows, [(text, False) for text in last]]))
    return found


def editing(rows: Sequence[Compared], name: str) -> list[Table]:
    """How well each method's results were edited, a table for each schedule; none where nothing was edited."""
    edited = {one: it.table() for one in rows if (it := one.sets[name].editing) is not None}
    found = []
    for heading, some in _by_schedule([*edited]):
        texts = [
            {what: (mean, _spread(f"{mean:.3f}", std, 3)) for what, (mean, std) in edited[one].items()} for one in some
        ]
        found.append(
            _table(heading, ["seconds"], [[one.method, seconds_text(one.seconds)] for one in some], texts, BETTER)
        )
    return found


def _spread(text: str, std: float | None, digits: int) -> str:
    return text if std is None else f"{text} ± {std:.{digits}f}"


def _by_schedule(rows: Sequence[Compared]) -> Iterator[tuple[str, list[Compared]]]:
    """The rows of each schedule; what has no steps stands beside all that take as long or longer."""
    for budget in dict.fromkeys(one.budget for one in rows):
        passes = [one for one in rows if one.steps is None and budget is not None and one.seconds <= budget]
        heading = "On its own schedule" if budget is None else f"At {budget:g} seconds a photo"
        yield heading, [*passes, *(one for one in rows if one.budget == budget)]


def _table(
    heading: str,
    columns: Sequence[str],
    lead: Sequence[Sequence[str]],
    texts: Sequence[Mapping[str, tuple[float, str]]],
    higher: Mapping[str, bool],
) -> Table:
    """Rows that begin with ``lead`` and go on with numbers by name, of which the best of several is marked."""
    names = list(dict.fromkeys(name for row in texts for name in row))
    best = {name: (max if higher[name] else min)(row[name][0] for row in texts if name in row)
            for name in names if name in higher and len(texts) > 1}  # fmt: skip
    cells = [
        [*((text, False) for text in first),
         *((row[name][1], row[name][0] == best.get(name)) if name in row else ("", False) for name in names)]
        for first, row in zip(lead, texts, strict=True)
    ]  # fmt: skip
    return Table(heading, ["method", *columns, *names], cells)


def axes(rows: Sequence[Compared]) -> tuple[str, str]:
    """What the places of `Compared.place` are, across and up."""
    found = next(iter(next(iter(rows)).sets.values()))
    name = next(iter(found.metrics))
    labelled = found.editing is not None and found.editing.label is not None
    up = "effect on the logit, a deviation" if labelled else "consistency, lower is better"
    return f"{metric_name(name)} {found.metrics[name].unit}".rstrip(), up


def benchmark_page(
    rows: Sequence[Compared],
    *,
    title: str,
    run: BenchmarkSpec,
    facts: Mapping[str, Any],
    strips: Sequence[Tensor],
) -> str:
    """The page of methods that were compared, as HTML that needs no other file: ``strips``
    are a sheet for each of the first photos, ``facts`` what is to be said besides."""
    places: dict[str, list[tuple[float, float, str]]] = {}
    for one in rows:
        if (place := one.place()) is not None:
            places.setdefault(one.method, []).append((*place, "" if one.steps is None else one.schedule))
    sets = rows[0].sets
    return render(
        "benchmark.html",
        title=title,
        numbers={
            "methods": len({one.method for one in rows}),
            **{name: len(one.mean_image.rows) for name, one in sets.items()},
        },
        plane=plane(places, *axes(rows)) if places else None,
        sets={name: (rebuilding(rows, name), editing(rows, name)) for name in sets},
        metric_settings={metric_name(name): how for one in sets.values() for name, how in one.settings.items()},
        strips=strips,
        facts_shown={name: value for name, value in facts.items() if value is not None},
        run=run,
    )
