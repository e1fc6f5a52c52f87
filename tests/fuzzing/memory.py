"""How much memory a process has taken at most. Imports nothing of ours, so that a fresh process can use it, too."""

from __future__ import annotations

import sys

__all__ = ["peak_megabytes"]


def peak_megabytes() -> float:
    """The most memory that this process has held at once; systems count it in different units."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
