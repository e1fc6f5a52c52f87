"""The registry: every contribution by kind and name, found through entry points or registered in a script."""

from __future__ import annotations

import builtins
import functools
import importlib.metadata
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ganenc_registry import hookspecs
from ganenc_registry.containing import contained, reason
from ganenc_registry.contributions import KINDS, Contribution, Kind
from ganenc_registry.errors import NameTakenError, UnknownNameError, nearest
from ganenc_registry.loading import Version, load

__all__ = ["PluginStatus", "Registry", "register", "registry"]

T = TypeVar("T")


@dataclass(frozen=True)
class PluginStatus:
    """How loading one plugin went."""

    name: str
    """The entry point's name."""
    distribution: str
    """The distribution and version that declares it, such as ``ganenc 0.1.0``."""
    error: str = ""
    """Why it could not be loaded; empty where it was."""
    contributions: tuple[Contribution, ...] = ()
    contract: Version | None = None
    """The version of the plugin contract that it was made for; None where it could not be loaded."""
    printed: str = ""
    """What it printed while it was loaded, on one line; results alone belong on stdout."""


@dataclass
class _Entry:
    contribution: Contribution
    owner: str
    value: Any = None
    resolved: bool = field(default=False)


class Registry:
    """Contributions by kind and name. Plugins load one by one: one that fails is kept with its reason in
    :attr:`plugins` and harms no other."""

    def __init__(self) -> None:
        self.plugins: builtins.list[PluginStatus] = []
        self.discovered = False
        self._entries: dict[tuple[str, str], _Entry] = {}

    def discover(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        """Load the plugins of the entry-point group ``ganenc`` (or those given), each on its own."""
        self.discovered = True
        found = importlib.metadata.entry_points(group=hookspecs.PROJECT) if entry_points is None else entry_points
        for point in sorted(found, key=lambda point: (not _is_core(point), point.name)):
            dist = point.dist
            owner = f"{dist.name} {dist.version}" if dist else point.value
            try:
                with contained() as told:
                    contract, contributions = load(point)
                self.add_all(contributions, owner=owner)
            except Exception as error:
                self.plugins.append(PluginStatus(point.name, owner, error=reason(error)))
            else:
                printed = " ".join(told.text.split())
                self.plugins.append(PluginStatus(point.name, owner, "", tuple(contributions), contract, printed))

    def add_all(self, contributions: Iterable[Contribution], *, owner: str) -> None:
        """Add contributions of one owner, all or none; `NameTakenError` if a name is taken, naming both owners."""
        new: dict[tuple[str, str], _Entry] = {}
        for item in contributions:
            key = (item.kind, item.name)
            taken = self._entries.get(key) or new.get(key)
            if taken:
                first = f"{taken.owner} ({taken.contribution.target})"
                raise NameTakenError(
                    f"The {item.kind} {item.name!r} is contributed twice: by {first}"
                    f" and by {owner} ({item.target}); rename one or uninstall its plugin."
                )
            new[key] = _Entry(item, owner)
        self._entries.update(new)

    def add_value(self, kind: Kind, name: str, value: Any, *, summary: str = "") -> None:
        """Add something at hand, such as a class in a script; the summary is by default the first line of its
        docstring. The same place may add it again, as a notebook's cell does that is run twice; what it adds last
        counts. `NameTakenError` if another place has taken the name, `PluginError` if the kind or the name is wrong."""
        module = getattr(value, "__module__", None) or "__main__"
        steps = getattr(value, "__qualname__", type(value).__qualname__).split(".")
        target = f"{module}:{'.'.join(step for step in steps if step.isidentifier()) or 'value'}"
        lines = (summary or getattr(value, "__doc__", None) or "").strip().splitlines()
        contribution = Contribution(kind=kind, name=name, summary=lines[0] if lines else name, target=target)
        owner = _file_of(module)
        old = self._entries.get((kind, name))
        if old and (old.owner, old.contribution.target) == (owner, target):
            del self._entries[(kind, name)]
        self.add_all([contribution], owner=owner)
        entry = self._entries[(kind, name)]
        entry.value, entry.resolved = value, True

    def list(self, kind: Kind | None = None) -> builtins.list[Contribution]:
        """The contributions of one kind, or of all, by kind and name; imports none of them."""
        entries = [entry.contribution for entry in self._entries.values() if kind in (None, entry.contribution.kind)]
        return sorted(entries, key=lambda item: (KINDS.index(item.kind), item.name))

    def names(self, kind: Kind) -> builtins.list[str]:
        """The names of one kind, sorted."""
        return [item.name for item in self.list(kind)]

    def owner(self, kind: Kind, name: str) -> str:
        """Who contributes it: a distribution with its version, or a script."""
        return self._entry(kind, name).owner

    def get(self, kind: Kind, name: str) -> Contribution:
        """What is contributed under that name; `UnknownNameError`, with the nearest and the known ones, if nothing."""
        return self._entry(kind, name).contribution

    def resolve(self, kind: Kind, name: str) -> Any:
        """Import, once, what has that name; `UnknownNameError` if nothing has, `PluginError` if that fails."""
        entry = self._entry(kind, name)
        if not entry.resolved:
            entry.value, entry.resolved = entry.contribution.resolve(), True
        return entry.value

    def _entry(self, kind: Kind, name: str) -> _Entry:
        if kind not in KINDS:
            raise UnknownNameError(f"There is no kind {kind!r}{nearest(kind, KINDS)}; kinds are {', '.join(KINDS)}.")
        entry = self._entries.get((kind, name))
        if entry is None:
            known = self.names(kind)
            failed = [status for status in self.plugins if status.error]
            hint = f" {len(failed)} plugin(s) failed to load; see `ganenc plugins`." if failed else ""
            raise UnknownNameError(
                f"There is no {kind} {name!r}{nearest(name, known)}; known are {', '.join(known) or 'none'}.{hint}"
            )
        return entry


def _is_core(point: importlib.metadata.EntryPoint) -> bool:
    """Whether an entry point is the core's own, whose names come before those of plugins."""
    return point.dist is not None and point.dist.name == hookspecs.PROJECT


def _file_of(module: str) -> str:
    return getattr(sys.modules.get(module), "__file__", None) or module


_LOCK = threading.RLock()


@functools.cache
def _of_process() -> Registry:
    return Registry()


def registry() -> Registry:
    """The registry of this process, with the installed plugins discovered on first use. A plugin may ask for it, or
    register something, while it is itself being discovered."""
    with _LOCK:
        made = _of_process()
        if not made.discovered:
            made.discover()
        return made


def register(kind: Kind, name: str, *, summary: str = "") -> Callable[[T], T]:
    """Register a class or function of this process: ``@ganenc.register("generator", "my-gan")``."""

    def decorate(value: T) -> T:
        registry().add_value(kind, name, value, summary=summary)
        return value

    return decorate
