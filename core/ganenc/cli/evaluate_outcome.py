"""What an evaluation found, as data and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganenc.cli.console import show, show_table

if TYPE_CHECKING:
    from ganenc.measures import Metric, Scores

__all__ = ["Evaluated", "Measured"]


@dataclass(frozen=True)
class Measured:
    """How well it was rebuilt, with labels that came one way."""

    scores: Scores
    """The metrics."""
    seconds: float
    """The time of one image."""
    labels: list[Any] | None
    """The classes that the images were taken to be of."""


@dataclass(frozen=True)
class Evaluated:
    """All that was measured."""

    ways: Mapping[str, Measured]
    """By how the labels came; where there are none, the one name is empty."""
    base: Scores
    """The metrics of the generator's mean image against every image."""
    settings: Mapping[str, str]
    """How each metric was taken."""
    taken: Mapping[str, Metric]
    """The metrics by name."""

    def as_json(self) -> dict[str, Any]:
        """The metrics as data: those of the first way at the top, and where there are labels all of them by way."""
        first = self._numbers(next(iter(self.ways.values())).scores)
        if "" in self.ways:
            return first
        apart = {
            way: {**self._numbers(one.scores), "labels": one.labels, "seconds_each": one.seconds}
            for way, one in self.ways.items()
        }
        agreement = self._agreement()
        share = {} if agreement is None else {"agreement": agreement[1] / len(self.ways["given"].scores.rows)}
        return {**first, "by_labels": apart, **share}

    def show(self) -> None:
        """Print the metrics: each in its row, or where there are labels one row for each way that they came."""
        if "" in self.ways:
            self._show_metrics(self.ways[""].scores)
        else:
            self._show_ways()

    def _numbers(self, scores: Scores) -> dict[str, Any]:
        base, apart = self.base.table(), len(scores.folds) > 1
        metrics = {
            name: {
                "mean": mean,
                "std": std,
                "mean_image": base[name][0],
                **({"folds": [fold[name] for fold in scores.folds]} if apart else {}),
            }
            for name, (mean, std) in scores.table().items()
        }
        return {"metrics": metrics, "per_image": scores.rows}

    def _show_metrics(self, scores: Scores) -> None:
        base = self.base.table()
        rows = [
            [
                name,
                self._text(name, mean),
                self._spread(name, std),
                self._text(name, base[name][0]),
                self.settings[name],
            ]
            for name, (mean, std) in scores.table().items()
        ]
        spread = "± over folds" if len(scores.folds) > 1 else "± std"
        show_table(["metric", "mean", spread, "mean image", "taken with"], rows, numeric=[1, 2, 3])

    def _show_ways(self) -> None:
        def cell(name: str, mean: float, std: float | None) -> str:
            return self._text(name, mean) + ("" if std is None else f" ± {self._spread(name, std)}")

        base = self.base.table()
        rows = [
            [way, *(cell(name, *numbers) for name, numbers in one.scores.table().items())]
            for way, one in self.ways.items()
        ]
        rows.append(["(mean image)", *(self._text(name, mean) for name, (mean, _) in base.items())])
        show_table(["labels", *base], rows, numeric=range(1, len(base) + 1))
        for name, words in self.settings.items():
            show(f"{name}: {words}")
        agreement, total = self._agreement(), len(self.base.rows)
        if agreement is not None:
            show(f"The {agreement[0]} class is the given one for {agreement[1]} of {total} images.")

    def _agreement(self) -> tuple[str, int] | None:
        """The way by which labels were found, and for how many images they are the given ones."""
        given = self.ways.get("given")
        for way, found in self.ways.items():
            if given is not None and way != "given":
                return way, sum(a == b for a, b in zip(given.labels or (), found.labels or (), strict=True))
        return None

    def _text(self, name: str, value: float) -> str:
        from ganenc.report import metric_text

        return metric_text(value, self.taken[name])

    def _spread(self, name: str, value: float | None) -> str:
        """A deviation as text; empty where there is none."""
        return "" if value is None else f"{value:.{self.taken[name].digits}f}"
