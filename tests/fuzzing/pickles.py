"""Damage to pickles, opcode by opcode, so that they can still be taken apart."""

from __future__ import annotations

import contextlib
import pickletools
import random
import struct
import warnings

from fuzzing.raw import FLOATS, NUMBERS, WORDS, Context, flip, hostile, splice, truncate

__all__ = ["inner", "poison", "reshuffle", "words"]

FOREIGN = [
    ("os", "system"),
    ("posix", "system"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "bytearray"),
    ("subprocess", "Popen"),
    ("torch", "load"),
    ("torch", "Tensor"),
    ("torch.storage", "_load_from_bytes"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_sparse_tensor"),
    ("torch.jit", "load"),
    ("collections", "OrderedDict"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("copyreg", "_reconstructor"),
]


def opcodes(data: bytes) -> list[bytes]:
    """The opcodes of a pickle, each with its argument; what follows its end is one more."""
    places: list[int] = []
    end = len(data)
    with contextlib.suppress(ValueError, IndexError, UnicodeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Python's own decoder
        for opcode, _, place in pickletools.genops(data):
            places.append(place or 0)
            end = (place or 0) + 1 if opcode.name == "STOP" else end
    pieces = [data[a:b] for a, b in zip(places, [*places[1:], end])]
    return [*pieces, data[end:]] if end < len(data) else pieces


def reshuffle(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Change the opcodes of a pickle, and keep it one that can be taken apart."""
    pieces = opcodes(data)
    if len(pieces) < 3:
        return flip(rng, data, context)
    for _i in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(1, len(pieces))
        kind = rng.randrange(5)
        if kind == 0:
            del pieces[place]
        elif kind == 1:
            pieces.insert(place, rng.choice(pieces))
        elif kind == 2:
            other = rng.randrange(1, len(pieces))
            pieces[place], pieces[other] = pieces[other], pieces[place]
        else:
            pieces[place] = _opcode(rng, context) if kind == 3 else _argument(rng, pieces[place], context)
        if len(pieces) < 3:
            break
    return b"".join(pieces)


def _opcode(rng: random.Random, context: Context) -> bytes:
    """One opcode, or a few that belong together."""
    name = rng.choice(FOREIGN)
    choices = [
        rng.choice([bytes([ord(op.code)]) for op in pickletools.opcodes if op.arg is None]),
        f"c{name[0]}\n{name[1]}\n".encode() + rng.choice((b"", b"(tR", b"}b", b"0")),
        f"i{name[0]}\n{name[1]}\n".encode(),
        _text(name[0]) + _text(name[1]) + b"\x93" + rng.choice((b"", b")R", b")\x81")),
        _text(rng.choice(WORDS)),
        _number(rng.choice(NUMBERS)),
        context.payloads.one(rng)[:-1],
        b"]" * rng.choice((3, 300)) + b"a" * rng.choice((2, 299)),
        b")" + b"\x85" * rng.choice((3, 3000)),
        b"r" + struct.pack("<I", rng.choice((0, 5, 0xFFFFFFFF))),
        rng.choice((b"h", b"q")) + bytes([rng.randrange(256)]),
    ]
    return rng.choice(choices)


def _argument(rng: random.Random, piece: bytes, context: Context) -> bytes:
    """The same opcode with another argument: a number, a text, a length, bytes."""
    code = piece[:1]
    if code in b"KMJ\x8a" and rng.random() < 0.8:
        return _number(rng.choice(NUMBERS))
    if code in b"X\x8c" and rng.random() < 0.8:
        return _text(rng.choice(WORDS))
    if code in b"BTX" and len(piece) > 5:
        length = rng.choice((0, 1, len(piece), 0x7FFFFFFF, 0xFFFFFFFF))
        body = piece[5:]
        if rng.random() < 0.3:
            return code + struct.pack("<I", length) + body
        body = rng.choice((context.payloads.one(rng), flip(rng, body, context), body[: rng.randrange(len(body))]))
        return code + struct.pack("<I", len(body)) + body
    return code + flip(rng, piece[1:], context) if len(piece) > 1 else piece


def _text(text: str) -> bytes:
    raw = text.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def words(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Change names and numbers in a pickle to others of it, nearly alike: tensors go missing, move and change shape."""
    pieces = opcodes(data)
    texts = [i for i, piece in enumerate(pieces) if piece[:1] in (b"X", b"\x8c")]
    numbers = [i for i, piece in enumerate(pieces) if piece[:1] in (b"K", b"M", b"J")]
    for _i in range(rng.choice((1, 1, 2, 6))):
        places = rng.choice((texts, numbers)) or texts or numbers
        if not places:
            return flip(rng, data, context)
        place = rng.choice(places)
        if place in numbers:
            near = _read_number(pieces[place]) + rng.choice((-1, 1, 2))
            pieces[place] = rng.choice(
                (pieces[rng.choice(numbers)], _number(max(near, 0)), _number(rng.choice(NUMBERS)))
            )
        else:
            text = pieces[place][2 if pieces[place][:1] == b"\x8c" else 5 :].decode(errors="replace")
            near_text = rng.choice((f"{text}x", text[:-1], text.replace("0", "1"), text.replace("1", "9"), text * 2))
            pieces[place] = rng.choice((pieces[rng.choice(texts)], _text(near_text), _text(near_text)))
    return b"".join(pieces)


def _read_number(piece: bytes) -> int:
    return int.from_bytes(piece[1:], "little", signed=piece[:1] == b"J")


def poison(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Put special numbers among those that make up the larger part of a file, or of a pickle's longest bytes."""
    pieces = opcodes(data) if data[:1] == b"\x80" else [data]
    place = rng.choice(sorted(range(len(pieces)), key=lambda i: -len(pieces[i]))[:30])
    out = bytearray(pieces[place])
    for _i in range(rng.choice((1, 3))):
        at = rng.randrange(max(len(out) - 4, 1))
        out[at : at + 4] = struct.pack(rng.choice("<>") + "f", rng.choice(FLOATS))
    pieces[place] = bytes(out[: len(pieces[place])])
    return b"".join(pieces)


def inner(rng: random.Random, data: bytes, context: Context) -> bytes:
    """Damage a file that is nested in a pickle as the bytes of a tensor, or put a payload in its place."""
    pieces = opcodes(data)
    places = [i for i, piece in enumerate(pieces) if piece[:1] == b"B" and len(piece) > 100]
    if not places:
        return reshuffle(rng, data, context)
    place = rng.choice(places)
    change = rng.choice((flip, truncate, splice, hostile, reshuffle))
    body = change(rng, pieces[place][5:], context)
    pieces[place] = b"B" + struct.pack("<I", len(body)) + body
    return b"".join(pieces)
