"""The machine at hand, as people compare machines. Imports no torch."""

from __future__ import annotations

import platform
from pathlib import Path

FLAGS = ("avx", "fma", "amx", "asimd", "sve")
"""How the flags begin that decide how fast a processor multiplies."""


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, and those of its flags that decide how fast it multiplies."""
    if not info.is_file():
        return platform.processor() or platform.machine()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    facts = {key.strip(): " ".join(value.split()) for key, _, value in (line.partition(":") for line in lines)}
    words = (facts.get("flags") or facts.get("Features") or "").split()
    flags = [flag for flag in words if flag.startswith(FLAGS)]
    return f"{facts.get('model name') or platform.machine()} ({' '.join(flags) or 'no vector flags'})"
