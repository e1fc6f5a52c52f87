"""A plugin's table of releases: contributed by name and summary, built when one is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ganenc_registry.contributions import Contribution

if TYPE_CHECKING:
    from ganenc_registry.specs.release import Release

__all__ = ["ReleaseTable"]


class ReleaseTable:
    """Releases by name. A plugin with many keeps them in one module constant and contributes them all::

        RELEASES = ReleaseTable(f"{__name__}:RELEASES", {"my-gan-faces": ("Faces, 256x256; CC BY 4.0", _faces)})

    ``target`` is where the table itself is imported from; ``rows`` hold a one-line summary and a function that builds
    the release, by the model's name in lower-case letters, digits and dashes.
    """

    def __init__(self, target: str, rows: Mapping[str, tuple[str, Callable[[], Release]]]) -> None:
        self._target = target
        self._rows = dict(rows)
        self._names = {_attribute(name): name for name in rows}

    def contributions(self) -> list[Contribution]:
        """One contribution of kind ``model`` for each release; builds none of them."""
        return [
            Contribution(kind="model", name=name, summary=summary, target=f"{self._target}.{_attribute(name)}")
            for name, (summary, _) in self._rows.items()
        ]

    def names(self) -> list[str]:
        """The releases' names, in their order."""
        return list(self._rows)

    def __getattr__(self, attribute: str) -> Release:
        """Build a release: ``release_my_gan_faces`` is that of ``my-gan-faces``. Contributions point here."""
        name = self.__dict__.get("_names", {}).get(attribute)
        if name is None:
            raise AttributeError(f"there is no release {attribute!r}")
        return self._rows[name][1]()


def _attribute(name: str) -> str:
    return f"release_{name.replace('-', '_')}"
