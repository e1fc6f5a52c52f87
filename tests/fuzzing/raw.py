"""Damage to bytes of any kind, and what would leave a trace if anything of a file ran."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import foreign

__all__ = [
    "FLOATS",
    "NUMBERS",
    "WORDS",
    "Context",
    "Mutation",
    "Payloads",
    "flip",
    "hostile",
    "rearrange",
    "splice",
    "truncate",
]

NUMBERS = (0, 1, -1, 2, 3, 7, 64, 255, 256, 65535, *(1 << bits for bits in (20, 31, 40, 63, 90)), -(1 << 63))
FLOATS = (float("nan"), float("inf"), -float("inf"), 3e38, -0.0, 1e-45)
WORDS = ["", "G_ema", "Gs", "weight", "state", "storage", "cpu", "cuda:0", "f4", "O8", "latin1", "zlib", "../../x", "é"]


@dataclass(frozen=True)
class Payloads:
    """What would leave a trace if anything of a file ran: all of it makes the file ``sentinel``."""

    sentinel: Path

    def one(self, rng: random.Random) -> bytes:
        """A pickle that does it, by one of several ways and protocols."""
        path = str(self.sentinel)
        calls = [
            foreign.Calls(os.system, f"touch {path}"),
            foreign.Calls(eval, f"open({path!r}, 'w')"),
            foreign.Calls(exec, f"open({path!r}, 'w')"),
            foreign.Calls(open, path, "w"),
            foreign.Calls(subprocess.Popen, ["touch", path]),
        ]
        return pickle.dumps(rng.choice(calls), protocol=rng.randrange(6))


Mutation = Callable[[random.Random, bytes, "Context"], bytes]


@dataclass(frozen=True)
class Context:
    """What a mutation may use besides the file: another file, and payloads."""

    other: bytes
    payloads: Payloads


def flip(rng: random.Random, data: bytes, _: Context) -> bytes:
    """Change a few bytes, more often near the start, where the structure is."""
    out = bytearray(data or b"\0")
    for _i in range(rng.choice((1, 1, 2, 4, 16))):
        place = rng.randrange(len(out)) if rng.random() < 0.5 else int(len(out) * rng.random() ** 4)
        out[place] = rng.choice((rng.randrange(256), 0, 255, out[place] ^ (1 << rng.randrange(8))))
    return bytes(out)


def truncate(rng: random.Random, data: bytes, _: Context) -> bytes:
    """Cut the file short."""
    return data[: rng.randrange(len(data))]


def rearrange(rng: random.Random, data: bytes, _: Context) -> bytes:
    """Leave out, repeat or move a piece."""
    a, b, c = sorted(rng.randrange(len(data) + 1) for _i in range(3))
    return rng.choice((data[:a] + data[b:], data[:b] + data[a:], data[:a] + data[b:c] + data[a:b] + data[c:]))


def splice(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Go on with another file, or put a piece of it in place of one of ours."""
    other = context.other
    a, b = sorted(rng.randrange(len(data) + 1) for _i in range(2))
    c, d = sorted(rng.randrange(len(other) + 1) for _i in range(2))
    return rng.choice((data[:a] + other[c:], data[:a] + other[c:d] + data[b:], other[:c] + data[a:]))


def hostile(rng: random.Random, data: bytes, context: Context) -> bytes:
    """A payload in place of the file, before it or after it."""
    payload = context.payloads.one(rng)
    return rng.choice((payload, payload + data, data + payload, data[:2] + payload[2:]))
