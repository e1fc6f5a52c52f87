"""Errors go from one process to another."""

from __future__ import annotations

import pickle

from ganenc_registry.errors import WriteError


def test_an_error_of_writing_is_pickled() -> None:
    error = WriteError("out/0.parquet", "No space left")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == (str(error), "No space left")
