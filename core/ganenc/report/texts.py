"""Values as short texts."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ganenc.measures import Metric


def metric_name(name: str) -> str:
    """``lpips-vgg16`` => ``LPIPS (vgg16)``."""
    first, _, rest = name.partition("-")
    return first.upper() + (f" ({rest})" if rest else "")


def metric_text(value: float, metric: Metric | type[Metric] | None = None) -> str:
    """What a metric gives, with its digits and its unit."""
    if not math.isfinite(value):
        return "identical" if metric is not None and metric.higher_is_better and value > 0 else "not a number"
    digits, unit = (3, "") if metric is None else (metric.digits, metric.unit)
    return f"{value:.{digits}f} {unit}".rstrip()


def seconds_text(seconds: float) -> str:
    """Seconds, to a tenth, or below one to a thousandth."""
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.3f}"


def duration(seconds: float) -> str:
    """Seconds as a short text, such as ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: object) -> str:
    """A setting, nested or not."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)
