"""NumPy's files, read as data. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ganenc_registry.opening import fixed_path


def load_arrays(path: str | Path) -> Any:
    """What a file of NumPy's holds, mapped where it can be: an array, or an archive of arrays, to be closed. `OSError`
    if it cannot be read, `ValueError`, a clause, if it holds something else."""
    with fixed_path(path) as fixed, np.errstate(over="ignore"):
        try:
            return np.load(fixed, mmap_mode="r", allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # A header is parsed as Python, and fails in many ways.
            raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
