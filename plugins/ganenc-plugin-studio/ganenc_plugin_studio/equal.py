"""What was done on the page, as the command line and the Python that do the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

__all__ = ["Act", "drawn", "edited", "inverted", "written"]


@dataclass(frozen=True)
class Act:
    """One thing that was done."""

    command: str
    python: str
    left: str
    """The folder that it leaves, which the next begins with."""
    files: tuple[str, ...] = ()
    """The files that it takes, beside."""


def inverted(photo: str, model: str, told: Mapping[str, Any], *, note: str = "") -> Act:
    """A photo inverted: ``told`` are those arguments of `ganenc.Model.invert` that it would not choose itself; ``note``
    is what neither line can say."""
    words = ["ganenc", "invert", photo, "--model", model]
    for name, value in told.items():
        if name in ("labels", "operator"):
            words += [f"--{name}", value if isinstance(value, str) else ",".join(map(str, value))]
            continue
        words += [f"--{name}", value["name"]]
        for option, chosen in value.get("options", {}).items():
            words += ["--set", f"{name}.options.{option}={json.dumps(chosen)}"]
    given = "".join(f", {name}={value!r}" for name, value in told.items())
    left, note = f"inverted/{PurePath(photo).stem}", note and f"  # {note}"
    call = f"model.invert({photo!r}{given}).save({left!r}){note}"
    return Act(f"{shlex.join([*words, '--out', 'inverted'])}{note}", f"{_begun(model)}\n{call}", left)


def drawn(model: str, seed: int) -> Act:
    """An image that a generator drew."""
    command = shlex.join(["ganenc", "generate", "--model", model, "--n", "1", "--seed", str(seed), "--out", "drawn"])
    call = f"model.generate(seed={seed}).latents.save('drawn/latents.safetensors', model=model.hash)"
    return Act(command, f"{_begun(model)}\n{call}", "drawn")


def edited(
    before: Act,
    model: str,
    verb: str,
    words: Sequence[object],
    arguments: Sequence[object],
    place: int,
    *,
    files: Sequence[str] = (),
    **named: object,
) -> Act:
    """Another edit of what an act left: ``verb`` is the name of the command and of the method, ``words`` are those of
    the command line, ``arguments`` and ``named`` those of the method, ``files`` what both take beside, and ``place``
    numbers what it leaves."""
    left = f"{verb}-{place}/{PurePath(before.left).name}"
    command = ["ganenc", verb, before.left, *map(str, words), "--model", model, "--out", f"{verb}-{place}"]
    told = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
    return Act(
        shlex.join(command), f"model.{verb}({before.left!r}, {', '.join(told)}).save({left!r})", left, tuple(files)
    )


def written(acts: Sequence[Act]) -> tuple[str, str]:
    """The command line and the Python of several acts."""
    return "\n".join(act.command for act in acts), "\n".join(act.python for act in acts)


def _begun(model: str) -> str:
    return f"import ganenc\n\nmodel = ganenc.load({model!r})"
