"""Curves drawn as an SVG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["curves"]

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, BOTTOM = 52, 440, 34, 44
COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a", "#bf3989", "#0a7ea4")


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, across: str, up: str, zero: bool = False) -> str:
    """Curves in one panel, with axes and a legend, as the text of an SVG file.

    Args:
        series: points by the name of the curve; the legend keeps their order.
        across: what the horizontal axis shows.
        up: what the vertical axis shows.
        zero: whether it begins at 0.
    """
    points = [point for line in series.values() for point in line]
    xs, ys = _ticks([x for x, _ in points]), _ticks([y for _, y in points] + [0.0] * zero)

    def place(x: float, y: float) -> tuple[float, float]:
        wide = (x - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - LEFT - RIGHT)
        high = (y - ys[0]) / (ys[-1] - ys[0]) * (HEIGHT - TOP - BOTTOM)
        return LEFT + wide, HEIGHT - BOTTOM - high

    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for y in ys:
        _, at = place(xs[0], y)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#d0d7de"/>')
        parts.append(_text(LEFT - 6, at + 4, f"{y:g}", "end"))
    parts += [_text(place(x, ys[0])[0], HEIGHT - BOTTOM + 18, f"{x:g}", "middle") for x in xs]
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across, "middle"))
    parts.append(_text(LEFT - 40, TOP - 16, up, "start"))
    for index, (name, line) in enumerate(series.items()):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        at = TOP + 14 + 18 * index
        parts.append(f'<rect x="{WIDTH - RIGHT + 12}" y="{at - 8}" width="14" height="4" fill="{colour}"/>')
        parts.append(_text(WIDTH - RIGHT + 32, at, name, "start"))
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>{"".join(parts)}</svg>\n'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(values: Sequence[float], count: int = 6) -> list[float]:
    """About ``count`` round numbers that enclose all values."""
    low, high = min(values), max(values)
    rough = max(high - low, 1e-9) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.floor(low / step), max(math.ceil(high / step), math.floor(low / step) + 1)
    return [round(index * step, 10) for index in range(first, last + 1)]
