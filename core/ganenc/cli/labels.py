"""The classes of photos, as ``--labels`` gives them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session

__all__ = ["class_text", "photo_labels"]


def photo_labels(text: str | None, photos: Sequence[Path], session: Session) -> Tensor | str | None:
    """What ``--labels`` says about photos: classes int64 (N,), or the way to find them, or None where it says nothing.

    Raises:
        SpecError: as `ganenc.inversion.read_labels`.
    """
    from ganenc.inversion import read_labels

    if text is None:
        return None
    found = read_labels(text, photos, classes=session.generator.spec.classes)
    return found if isinstance(found, str) else session.labels(found, len(photos))


def class_text(label: Any, source: str | None) -> str:
    """A class and how it came, such as ``3 (predicted)``; nothing where there is none."""
    return "" if source is None else f"{label} ({source})"
