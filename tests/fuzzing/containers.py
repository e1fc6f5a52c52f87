"""Damage inside archives, JSON and safetensors, and the choice of what to do to a file."""

from __future__ import annotations

import io
import json
import random
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

from fuzzing.pickles import inner, poison, reshuffle, words
from fuzzing.raw import NUMBERS, WORDS, Context, Mutation, Payloads, flip, hostile, rearrange, splice, truncate

__all__ = ["changed", "mutate"]


def members(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Change a member of an archive and write the archive anew, sound as such."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            content = [[entry.filename, archive.read(entry)] for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, NotImplementedError, EOFError, RuntimeError):
        return flip(rng, data, context)
    place = rng.randrange(len(content)) if rng.random() < 0.3 else 0
    name, body = content[place]
    kind = rng.randrange(8)
    if kind < 5 and body:
        pickled = name.endswith(".pkl")
        change = rng.choice((words, words, reshuffle, hostile) if pickled else (flip, truncate, poison))
        content[place][1] = change(rng, body, context)
    elif kind == 5:
        content[place][0] = rng.choice(("../../evil", "/evil", "x/constants.pkl", name.upper(), "data.pkl", "x/é"))
    elif kind == 6:
        del content[place]
    else:
        content.insert(rng.randrange(len(content) + 1), [name, context.payloads.one(rng)])
    out = io.BytesIO()
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, body in content:
            archive.writestr(zipfile.ZipInfo(name), body)
    return out.getvalue()


def fields(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Change values, names and kinds in JSON."""
    try:
        tree = json.loads(data)
    except ValueError:
        return flip(rng, data, context)
    for _i in range(rng.choice((1, 1, 2, 4))):
        tree = changed(rng, tree)
    return json.dumps(tree).encode()


def changed(rng: random.Random, node: Any) -> Any:
    """The tree with one value in it changed; the deeper one goes on, the less often."""
    if isinstance(node, dict) and node and rng.random() < 0.9:
        key = rng.choices(list(node), [1 + 2 * isinstance(value, (dict, list)) for value in node.values()])[0]
        if rng.random() < 0.1:
            return {name if name != key else rng.choice(WORDS): value for name, value in node.items()}
        if rng.random() < 0.1:
            return {name: value for name, value in node.items() if name != key}
        return {**node, key: changed(rng, node[key])}
    if isinstance(node, list) and node and rng.random() < 0.9:
        place = rng.randrange(len(node))
        return rng.choice(
            ([*node[:place], changed(rng, node[place]), *node[place + 1 :]], node[:place], [*node, node[place]])
        )
    nothing: list[Any] = [None, True, 0.5, float("nan"), float("inf"), [], {}, [node], {"x": node}, "x" * 1000]
    return rng.choice((*NUMBERS, *WORDS, *nothing))


def header(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Change the head of a safetensors file: shapes, places, dtypes, and its length."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data):
        return flip(rng, data, context)
    head = fields(rng, data[8 : 8 + length], context)
    told = len(head) if rng.random() < 0.9 else rng.choice((0, 1, 1 << 40, len(head) * 2))
    return told.to_bytes(8, "little") + head + data[8 + length :]


ANY: tuple[Mutation, ...] = (flip, truncate, rearrange, splice, hostile)


def mutations(data: bytes) -> tuple[Mutation, ...]:
    """What may be done to a file, by what it is; what keeps it sound in part goes deeper, and is done more often."""
    if data[:4] == b"PK\x03\x04":
        return (*ANY, *[members] * 15)
    if data[8:9] == b"{":
        return (*ANY, *[header] * 6, *[poison] * 4)
    if data[:1] in (b"{", b"["):
        return (flip, truncate, *[fields] * 10)
    if data[:1] == b"\x80":
        return (*ANY, *[reshuffle] * 5, *[inner] * 4, *[words] * 8, *[poison] * 3)
    return ANY


def mutate(rng: random.Random, sources: dict[str, Path], folder: Path, payloads: Payloads) -> tuple[str, Path]:
    """Copy one of the sources into a folder and damage it.

    Returns:
        its format and what was done, in words, and the path that a user would name.
    """
    name = rng.choice(sorted(sources))
    source = sources[name]
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file()) if source.is_dir() else [target]
    done = []
    for _i in range(rng.choice((1, 1, 1, 2))):
        path = rng.choice(files)
        if len(files) > 1 and rng.random() < 0.05:
            path.unlink()
            return f"{name}: without {path.name}", target
        other = sources[rng.choice(sorted(sources))]
        others = sorted(p for p in other.rglob("*") if p.is_file()) if other.is_dir() else [other]
        data = path.read_bytes()
        change = rng.choice(mutations(data)) if data else hostile
        path.write_bytes(change(rng, data, Context(rng.choice(others).read_bytes(), payloads)))
        done.append(f"{change.__name__} {path.name}")
    return f"{name}: {', '.join(done)}", target
