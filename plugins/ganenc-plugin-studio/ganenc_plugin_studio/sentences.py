"""What a visitor is told of an error: one sentence, in which nothing of the machine is named."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, TypeVar

import gradio as gr
from ganenc.files import is_out_of_memory
from ganenc_registry.errors import GanencError, path_fault

__all__ = ["sentence_of", "sentenced", "without_folders"]

F = TypeVar("F", bound=Callable[..., Any])
_FOLDER = re.compile(r"\S*ganenc-studio-[^/\s]+/[^/\s]+/(?:given-[^/\s]+/)?")
"""Where a visitor's files lie, which is nothing to tell."""


def sentence_of(error: Exception) -> str | None:
    """What a visitor is told of an error; None of one that is ours."""
    if isinstance(error, GanencError):
        said = str(error)
    elif isinstance(error, OSError):
        said = path_fault(error)
    elif is_out_of_memory(error):
        said = "The device ran out of memory; take a smaller model, or fewer steps."
    else:
        return None
    return without_folders(said)


def sentenced(action: F) -> F:
    """An action whose errors are one sentence on the page, and leave all else as it is."""

    def sentence(error: Exception) -> Exception:
        said = sentence_of(error)
        told = "That went wrong here, and the server's log says why." if said is None else escape(said)
        return gr.Error(told, title="That did not work", print_exception=said is None, duration=15)

    if inspect.isgeneratorfunction(action):

        @functools.wraps(action)
        def going(*given: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from action(*given, **named)
            except Exception as error:
                raise sentence(error) from error

        return going  # type: ignore[return-value]

    @functools.wraps(action)
    def done(*given: Any, **named: Any) -> Any:
        try:
            return action(*given, **named)
        except Exception as error:
            raise sentence(error) from error

    return done  # type: ignore[return-value]


def without_folders(said: str) -> str:
    """What is said, without the folders that visitors' files lie in."""
    return _FOLDER.sub("", said)
