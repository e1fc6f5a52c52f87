"""Parquet files, by pyarrow, which is optional."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from ganenc_registry.errors import GanencError
from ganenc_registry.opening import open_file


def load_parquet() -> tuple[Any, Any]:
    """``pyarrow`` and its module ``parquet``; a GanencError if it is not installed."""
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise GanencError('Parquet files take pyarrow; run `pip install "ganenc[shards]"`.') from None


@contextmanager
def open_parquet(path: str | Path, error: type[GanencError]) -> Iterator[Any]:
    """A parquet file while it is read, a ``pyarrow.parquet.ParquetFile``. What goes wrong with it is an error of the
    given kind, in one sentence."""
    arrow, parquet = load_parquet()
    try:
        with open_file(path) as file, parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16) as opened:
            yield opened
    except GanencError:
        raise
    except FileNotFoundError:
        raise error(f"{path}: there is no such file; check the name.") from None
    except (OSError, arrow.ArrowException, UnicodeDecodeError, OverflowError, MemoryError) as fault:
        reason = " ".join(str(fault).split())[:200].rstrip(".") or type(fault).__name__
        raise error(f"{path} is no parquet file, or broken ({reason}); get it anew.") from None
