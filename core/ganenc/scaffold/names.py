"""What a plugin's package is called: the distribution, the import, what it contributes, the class."""

from __future__ import annotations

import builtins
import importlib.util
import keyword
import re
import sys
from dataclasses import dataclass

from ganenc_registry import Kind, registry
from ganenc_registry.errors import NameTakenError, SpecError
from typing_extensions import Self

__all__ = ["Names"]

_PEP_508 = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?i)ganenc[-_.]+(plugin[-_.]+)?(?=.)")
_LONGEST = 40
_RESERVED = ("ganenc", "ganenc_registry", "tests", "torch")


@dataclass(frozen=True)
class Names:
    """The names in one package."""

    distribution: str
    """What is installed: ``ganenc-plugin-my-gan``."""
    package: str
    """What is imported: ``ganenc_plugin_my_gan``."""
    called: str
    """What it contributes is called: ``my-gan``."""
    attribute: str
    """The class, ``MyGan``."""

    @classmethod
    def of(cls, distribution: str, kind: Kind) -> Self:
        """Derive all names from that of the distribution.

        Raises:
            SpecError: if it is no name of a distribution, or cannot be imported.
            NameTakenError: if a package or a contribution of that name is installed.
        """
        if not _PEP_508.fullmatch(distribution) or len(distribution) > _LONGEST:
            raise SpecError(
                f"{distribution!r} is no name for a distribution: it is letters, digits, '-', '_' and '.', begins and"
                f" ends with a letter or digit, and has at most {_LONGEST} of them, as in ganenc-plugin-my-gan."
            )
        words = [word for word in re.split(r"[-_.]+", _PREFIX.sub("", distribution)) if word]
        package = re.sub(r"[-_.]+", "_", distribution).lower()
        if (
            not package.isidentifier()
            or keyword.iskeyword(package)
            or package in (*_RESERVED, *sys.stdlib_module_names)
        ):
            raise SpecError(
                f"{distribution!r} would be imported as {package}, which Python does not take or something else is"
                f" called; take another name, such as ganenc-plugin-{'-'.join(words).lower()}."
            )
        called = "-".join(words).lower()
        _check_free(package, called, kind)
        return cls(distribution, package, called, _attribute(words, kind))


def _check_free(package: str, called: str, kind: Kind) -> None:
    found = importlib.util.find_spec(package)
    if found is not None and found.origin is not None:
        raise NameTakenError(f"A package {package} is installed already ({found.origin}); take another name.")
    if called in registry().names(kind):
        raise NameTakenError(
            f"There is a {kind} {called!r} already, from {registry().owner(kind, called)}; take another name."
        )


def _attribute(words: list[str], kind: Kind) -> str:
    """A class that Python takes and that hides nothing of its own."""
    name = "".join(word[0].upper() + word[1:] for word in words)
    if name[0].isdigit():
        name = f"A{name}"
    return f"{name}{kind.capitalize()}" if keyword.iskeyword(name) or hasattr(builtins, name) else name
