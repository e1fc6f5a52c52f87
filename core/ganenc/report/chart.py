"""Curves as panels of one term each, on a logarithmic scale and a linear one: what goes where, for a template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

Curve: TypeAlias = Sequence[tuple[float, float]]
"""Points (step, value)."""

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22
MOST_POINTS = 240
COLOURS = 6
SMALLEST = 1e-6
"""Values under this share of the highest are rounding, and have no place on a logarithmic scale."""


Mark: TypeAlias = tuple[float, str]
"""A number beside an axis: so many pixels from the top or from the left, and its text."""


class Line(NamedTuple):
    """A curve: its colour by number, the path that draws it, and both its ends in words."""

    colour: int
    path: str
    hint: str


class Drawing(NamedTuple):
    """The curves on one scale."""

    kind: str
    """``log paired`` and ``linear``, of which one is shown, or ``only``."""
    label: str
    rules: list[Mark]
    steps: list[Mark]
    lines: list[Line]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT


class Panel(NamedTuple):
    """The curves of one term, with their colours and names."""

    title: str
    drawings: list[Drawing]
    legend: list[tuple[int, str]]


class Spot(NamedTuple):
    """A point with a name."""

    colour: int
    x: float
    y: float
    text: str
    hint: str


class Plane(NamedTuple):
    """Named points between two axes, those of one series joined."""

    label: str
    across: str
    up: str
    rules: list[Mark]
    steps: list[Mark]
    lines: list[Line]
    spots: list[Spot]
    width: int = 2 * WIDTH
    height: int = 2 * HEIGHT
    left: int = LEFT
    right: int = 2 * WIDTH - RIGHT


def curves_of(history: Sequence[Mapping[str, float]], *, ignore: Sequence[str] = ("step",)) -> dict[str, Curve]:
    """Rows of named numbers => one curve a name. The step is ``step``, or the row's place where there is none."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(history):
        step = float(row.get("step", place))
        for name, value in row.items():
            number = name not in ignore and isinstance(value, int | float) and not isinstance(value, bool)
            if number and math.isfinite(value):
                curves.setdefault(name, []).append((step, float(value)))
    return {name: points for name, points in curves.items() if len(points) > 1}


def panels(curves: Mapping[str, Curve]) -> list[Panel]:
    """One panel for each loss, the total first, the latent loss last, with a curve for each view: ``image/mse`` and
    ``at1/mse`` share the panel ``mse``."""
    groups: dict[str, dict[str, Curve]] = {}
    for name, curve in curves.items():
        before, _, last = name.rpartition("/")
        latent = before.startswith("latent")
        label = name.partition("/")[2].replace("/", " ") if latent else before or last
        groups.setdefault("latent" if latent else last, {})[label] = curve
    order = sorted(groups, key=lambda title: (title != "total", title == "latent"))
    return [chart(title, groups[title]) for title in order]


def chart(title: str, series: Mapping[str, Curve]) -> Panel:
    """One panel: linear, and logarithmic (less values next to 0) where none is below 0 but by rounding."""
    thin = {name: _thin(curve) for name, curve in series.items()}
    values = [value for curve in thin.values() for _, value in curve]
    floor = max(values) * SMALLEST
    fit = {name: [point for point in curve if point[1] > floor] for name, curve in thin.items()}
    enough = max(values) > 0 and min(values) >= -floor and any(len(curve) > 1 for curve in fit.values())
    drawings = (
        [_draw(title, fit, "log paired"), _draw(title, thin, "linear")] if enough else [_draw(title, thin, "only")]
    )
    return Panel(title, drawings, [(i % COLOURS, name) for i, name in enumerate(thin) if name != title])


def plane(series: Mapping[str, Sequence[tuple[float, float, str]]], across: str, up: str) -> Plane:
    """Points (x, y, text) of each series, and what goes across and up."""
    points = [point for row in series.values() for point in row]
    wide, high = _linear_axis([a for a, _, _ in points]), _linear_axis([b for _, b, _ in points])

    def at(value: float, axis: tuple[float, float, list[float]], start: float, end: float) -> float:
        low, top, _ = axis
        return round(start + (0.04 + 0.92 * (value - low) / (top - low)) * (end - start), 1)

    def x(value: float) -> float:
        return at(value, wide, LEFT, 2 * WIDTH - RIGHT)

    def y(value: float) -> float:
        return at(value, high, 2 * (HEIGHT - BOTTOM), 3 * TOP)

    lines, spots = [], []
    for index, (name, row) in enumerate(series.items()):
        colour = index % COLOURS
        lines.append(Line(colour, "M" + "L".join(f"{x(a)} {y(b)}" for a, b, _ in row), name))
        for place, (a, b, text) in enumerate(row):
            told = text if place else f"{name} {text}".rstrip()
            spots.append(Spot(colour, x(a), y(b), told, f"{name} {text}: {a:.4g}, {b:.4g}"))
    rules, steps = [(y(mark), f"{mark:g}") for mark in high[2]], [(x(mark), f"{mark:g}") for mark in wide[2]]
    return Plane(f"{up} over {across}", across, up, rules, steps, lines, spots)


def _draw(title: str, series: Mapping[str, Curve], kind: str) -> Drawing:
    log = kind.startswith("log")
    steps = [step for curve in series.values() for step, _ in curve]
    values = [value for curve in series.values() for _, value in curve]
    left, right = min(steps), max(steps)
    low, high, marks = _log_axis(values) if log else _linear_axis(values)

    def x(step: float) -> float:
        return round(LEFT + (step - left) / max(right - left, 1e-12) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    return Drawing(
        kind,
        f"{title} by step, {'logarithmic' if log else 'linear'} scale",
        [(y(mark), f"{mark:g}") for mark in marks],
        [(x(mark), f"{mark:g}") for mark in _ticks(left, right, 4)],
        [
            Line(
                index % COLOURS,
                "M" + "L".join(f"{x(step)} {y(value)}" for step, value in curve),
                f"{name}: {curve[0][1]:.4g} at step {curve[0][0]:g}, {curve[-1][1]:.4g} at step {curve[-1][0]:g}",
            )
            for index, (name, curve) in enumerate(series.items())
            if curve
        ],
    )


def _linear_axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    low, high = min(values), max(values)
    low = 0.0 if low >= 0 and low < 0.5 * high else low
    if high - low < 1e-9 * max(abs(high), 1e-9):
        low, high = low - 0.5 * max(abs(low), 1e-6), high + 0.5 * max(abs(high), 1e-6)
    return low, high, _ticks(low, high, 4)


def _log_axis(values: Sequence[float]) -> tuple[float, float, list[float]]:
    low, high = min(values), max(values)
    if high / low < 1.2:
        low, high = low / 1.1, high * 1.1
    powers = [10.0**power for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        marks = [step * power for power in powers for step in steps if low <= step * power <= high]
        if len(marks) >= 3:
            break
    else:
        marks = _ticks(low, high, 3)
    return low, high, marks[:: -(-len(marks) // 6)]


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers between two others."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.99)
    first = math.ceil(low / step - 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _thin(curve: Curve) -> Curve:
    """At most `MOST_POINTS` points: the first, the last, and the means of neighbours between them."""
    if len(curve) <= MOST_POINTS:
        return curve
    size = len(curve) / (MOST_POINTS - 2)
    middle = []
    for index in range(MOST_POINTS - 2):
        bucket = curve[int(index * size) : max(int((index + 1) * size), int(index * size) + 1)]
        middle.append((bucket[len(bucket) // 2][0], sum(value for _, value in bucket) / len(bucket)))
    return [curve[0], *middle, curve[-1]]
