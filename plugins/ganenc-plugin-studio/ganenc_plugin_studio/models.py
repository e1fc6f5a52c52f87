"""The models of all sessions: each is loaded once, and let go when no session holds it."""

from __future__ import annotations

import gc
import threading
from weakref import WeakValueDictionary

from ganenc import Model, load
from ganenc.models import resolve
from ganenc_registry import registry
from ganenc_registry.errors import GanencError, SpecError

__all__ = ["Models", "choices"]

MOST = 3
"""Models that are held at once."""


class Models:
    """Models by name or path, on one device, the same one for all who ask."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._held: WeakValueDictionary[str, Model] = WeakValueDictionary()
        self._guard = threading.Lock()
        self._last: Model | None = None

    def get(self, source: str) -> Model:
        """The model of that name; `GanencError` if there is none, it cannot be read, or too many others are open."""
        with self._guard:
            found = self._held.get(source)
            if found is None:
                self._last = None
                if len(self._held) >= MOST:
                    gc.collect()
                if len(self._held) >= MOST:
                    held = ", ".join(sorted(self._held))
                    raise SpecError(f"So many models are open that there is room for no other: take one of {held}.")
                found = self._held[source] = load(source, device=self.device)
            self._last = found
            return found

    def passing(self, source: str) -> Model:
        """The model of that name for a while: one that is held, or one that takes no other's room; errors as of `get`,
        but for room."""
        return self._held.get(source) or load(source, device=self.device)


def choices() -> list[tuple[str, str]]:
    """The models that are installed or released, each with its licence, as they are told and called; first those that
    lie here."""
    here, elsewhere = [], []
    for item in registry().list("model"):
        try:
            found = resolve(item.name)
            spec = found.spec
        except GanencError:
            continue
        licence = getattr(spec, "licence", "") or "licence unknown"
        (elsewhere if found.release is not None else here).append((f"{item.name} ({licence})", item.name))
    return here + elsewhere
