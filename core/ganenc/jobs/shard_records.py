"""The photos in a shard: a tar as WebDataset has it, a parquet file with a column of images, or a list of files.

Nothing that a shard says of itself is believed: a member of a tar is read where it lies and not unpacked, so that what
it is called is a key and never a path, and what it is said to measure has to lie in the file.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import numpy as np
from ganenc_registry.errors import ImageError, told
from ganenc_registry.opening import open_file
from ganenc_registry.plain_data import to_integer
from PIL import Image

from ganenc.files import load_parquet, open_parquet
from ganenc.images import find

LISTS = (".txt", ".lst")
TAR, PARQUET = ".tar", ".parquet"
ARRAY = ".npy"
LARGEST = 1 << 28
"""The most bytes of a photo in a shard."""
MOST = 1 << 20
"""The most photos of a shard, whose keys are remembered."""
_BLOCK = 512
_HEADER = 1 << 16
"""The most bytes of what a tar says besides of a member."""
_KEY = 500
"""The most characters of a key."""
_AT_ONCE = 16
"""So many rows of a parquet file are read at a time, and so many members of a tar make up a sample at the most."""
_IMAGES = ("image", "img", "jpg", "png", "webp")
"""What the column of several is called that is taken for the photos."""
_KEYS = ("__key__", "key")
_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]*)", re.DOTALL)
"""A key, and the ending from the first point of the last part on."""

Load = Callable[[], "bytes | Path | np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Fields:
    """The columns of a parquet file, in a tar the endings, that hold the photo, by default the only one that can, and
    the class."""

    image: str | None = None
    label: str | None = None


@dataclass(frozen=True)
class ShardPhoto:
    """A photo of a shard."""

    key: str
    """Of no other photo in the shard."""
    load: Load | None
    """Gives its file, the bytes of one or an array, else an ImageError; None where there is none."""
    fault: str = ""
    """Why there is none."""
    label: int | None = None
    """The class that it is said to have."""


@contextmanager
def open_shard(shard: Path, fields: Fields) -> Iterator[Iterator[ShardPhoto]]:
    """The photos of a shard, in its order, with what is no photo among them, to be loaded while it is open. There, or
    as they are asked for, an ImageError if it is no shard, or broken as a whole."""
    kind, keys = shard.suffix.lower(), _Keys(shard)
    with ExitStack() as stack:
        if kind == TAR:
            with told(ImageError):
                source = _Source(stack.enter_context(open_file(shard)))
            found = _of_tar(shard, source, fields)
        elif kind == PARQUET:
            found = _of_parquet(shard, fields)
        elif kind in LISTS:
            found = (ShardPhoto(str(path), partial(Path, path)) for path in find(shard))
        else:
            raise ImageError(f"{shard} is no shard: a shard is a .tar, a .parquet, or a list of files (.txt).")
        yield (replace(photo, key=keys.unique(photo.key)) for photo in found)


class _Keys:
    """Keys as text, with a number where one was there before."""

    def __init__(self, shard: Path) -> None:
        self.shard = shard
        self.seen: dict[bytes, int] = {}

    def unique(self, key: str) -> str:
        key = key.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:_KEY]
        name, first = key, hashlib.blake2b(key.encode(), digest_size=16).digest()
        digest = first
        while digest in self.seen:
            self.seen[first] += 1
            name = f"{key}-{self.seen[first]}"
            digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        self.seen[digest] = 1
        if len(self.seen) > MOST:
            raise ImageError(f"{self.shard} holds more than {MOST:,} records; split it.")
        return name


# --- tar ---


@dataclass
class _Member:
    """A file in a tar."""

    name: str
    start: int
    size: int
    fault: str = ""


def _of_tar(shard: Path, source: _Source, fields: Fields) -> Iterator[ShardPhoto]:
    """Members that follow one another and have one key are one sample."""
    with told(ImageError):
        key, sample = "", dict[str, _Member]()
        for member in _members(shard, source):
            found = _NAME.fullmatch(member.name)
            base, ending = found.groups() if found else (member.name, "")
            if base.rpartition("/")[2].startswith((".", "__")):  # Hidden, or what WebDataset says of the whole.
                continue
            if sample and (base != key or ending.lower() in sample or len(sample) == _AT_ONCE):
                yield _sample(key, sample, source, fields)
                sample = {}
            key = base
            sample[ending.lower()] = member
        if sample:
            yield _sample(key, sample, source, fields)


class _Source:
    """A file that threads read from at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.turn = file, Lock()
        self.length = os.fstat(file.fileno()).st_size

    def read(self, start: int, size: int) -> bytes:
        """So many bytes, or what is there of them."""
        if hasattr(os, "pread"):
            return os.pread(self.file.fileno(), size, start)
        with self.turn:
            self.file.seek(start)
            return self.file.read(size)

    def photo(self, member: _Member, ending: str) -> bytes | np.ndarray[Any, Any]:
        """A member's bytes, or the array that they are."""
        found = self.whole(member)
        if f".{ending.rpartition('.')[2]}" != ARRAY:
            return found
        try:
            return np.asarray(np.load(io.BytesIO(found), allow_pickle=False))
        except Exception as error:  # A header is parsed as Python, and fails in many ways.
            raise ImageError(f"{member.name} is no array ({' '.join(str(error).split())[:200]}).") from None

    def whole(self, member: _Member) -> bytes:
        """A member's bytes; an ImageError if they are not there any more."""
        with told(ImageError):
            found = self.read(member.start, member.size)
        if len(found) < member.size:
            raise ImageError(f"{member.name} is cut off.")
        return found


def _sample(key: str, sample: Mapping[str, _Member], source: _Source, fields: Fields) -> ShardPhoto:
    """What a sample of a tar holds, by the endings of its members."""
    known, wanted = Image.registered_extensions(), fields.image and fields.image.lower().lstrip(".")
    last = {one: f".{one.rpartition('.')[2]}" for one in sample}
    fit = [one for one in sample if (one == wanted if wanted else last[one] in known)]
    fit = fit or [one for one in sample if not wanted and last[one] == ARRAY]
    plain = [one for one in fit if "." not in one]
    found = fit if len(fit) == 1 else plain
    if len(found) != 1:
        held = ", ".join(one or member.name for one, member in sample.items())
        several = f"holds several images ({held}); name the ending of one by --set shards.image=ENDING."
        return ShardPhoto(key, None, several if found else f"holds no image, but {held}.")
    member = sample[found[0]]
    fault = member.fault or (f"has {member.size:,} bytes, which is too large." if member.size > LARGEST else "")
    load = partial(source.photo, member, found[0])
    label = sample.get(fields.label.lower().lstrip(".")) if fields.label else None
    if fields.label and not fault:
        try:
            if label is None or label.fault or label.size > _BLOCK:
                raise ValueError
            return ShardPhoto(key, load, label=_class(source.whole(label).decode().strip()))
        except (ValueError, ImageError):
            fault = f"has no class in .{fields.label}: a whole number of 0 or more."
    return ShardPhoto(key, None if fault else load, fault)


def _members(shard: Path, source: _Source) -> Iterator[_Member]:
    """The members of a tar but its folders; an ImageError if it is none, or cut off, or broken from some place on."""
    at, name, size, fault = 0, "", -1, ""
    while block := source.read(at, _BLOCK):
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            return
        except (tarfile.HeaderError, ValueError):
            packed = "; it is compressed, so unpack it first" if block[:2] == b"\x1f\x8b" and not at else ""
            raise ImageError(f"{shard} is no tar, or broken from byte {at:,} on{packed or '; get it anew'}.") from None
        start = at + _BLOCK
        while info.type == tarfile.GNUTYPE_SPARSE and block[482 if start == at + _BLOCK else 504 :][:1] == b"\x01":
            block, start = source.read(start, _BLOCK), start + _BLOCK
        about = info.type in (
            tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
        )  # fmt: skip
        held = info.size if about or size < 0 else size
        if not (info.isreg() or about or info.type not in tarfile.SUPPORTED_TYPES):
            held = 0
        if held < 0 or start + held > source.length:
            raise ImageError(f"{shard} is cut off, or broken, from byte {at:,} on; get it anew.")
        at = start + -(-held // _BLOCK) * _BLOCK
        if about:
            if held > _HEADER:
                fault = f"has a header of {held:,} bytes, which is too large."
            elif info.type == tarfile.GNUTYPE_LONGNAME:
                name = source.read(start, held).rstrip(b"\0").decode("utf-8", "surrogateescape")
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                try:
                    said = _pax(source.read(start, held))
                    name, size = said.get("path", name), to_integer(said["size"]) if "size" in said else size
                    fault = "is a sparse file." if any(one.startswith("GNU.sparse") for one in said) else fault
                except ValueError:
                    fault = "has a broken header."
            continue
        if not fault and not info.isreg() and not info.isdir():
            fault = "is no file, but a link or a device."
        if info.type == tarfile.GNUTYPE_SPARSE:
            fault = "is a sparse file."
        if not info.isdir():
            yield _Member(name or info.name, start, held, fault)
        name, size, fault = "", -1, ""
    raise ImageError(f"{shard} is cut off: it has no end; get it anew.")


def _pax(data: bytes) -> dict[str, str]:
    """What an extended header says; ValueError if it is broken."""
    found = {}
    while data:
        digits = data[:8].partition(b" ")[0]
        length = int(digits)
        if not len(digits) < length <= len(data):
            raise ValueError
        name, _, value = data[len(digits) + 1 : length - 1].partition(b"=")
        found[name.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return found


def _class(value: Any) -> int:
    """A class, or a ValueError."""
    label = to_integer(value) if isinstance(value, str) else value
    if not isinstance(label, int) or isinstance(label, bool) or label < 0:
        raise ValueError
    return label


# --- parquet ---


def _of_parquet(shard: Path, fields: Fields) -> Iterator[ShardPhoto]:
    with open_parquet(shard, ImageError) as opened:
        schema = opened.schema_arrow
        columns = _Columns.of(shard, schema, fields)
        if opened.metadata.num_rows > MOST:
            raise ImageError(f"{shard} says that it holds {opened.metadata.num_rows:,} records; split it.")
        place = 0
        for batch in opened.iter_batches(_AT_ONCE, columns=columns.read, use_threads=False):
            for row in batch.to_pylist():
                yield columns.photo(place, row, fields)
                place += 1


@dataclass(frozen=True)
class _Columns:
    """Which columns of a parquet file say what."""

    image: str
    nested: bool
    key: str | None
    read: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, shard: Path, schema: Any, fields: Fields) -> _Columns:
        types = load_parquet()[0].types

        def binary(kind: Any) -> bool:
            return bool(types.is_binary(kind) or types.is_large_binary(kind))

        able: dict[str, bool] = {}
        for one in schema:
            inner = {child.name: child.type for child in one.type} if types.is_struct(one.type) else {}
            if binary(one.type) or ("bytes" in inner and binary(inner["bytes"])):
                able[one.name] = bool(inner)
        named = [fields.image] if fields.image else [one for one in _IMAGES if one in able][:1]
        chosen = named or list(able)
        names = schema.names
        if len(chosen) != 1 or chosen[0] not in able or len(set(names)) < len(names):
            held = ", ".join(f"{one.name} ({one.type})"[:60] for one in list(schema)[:20])
            what = "several columns" if len(chosen) > 1 else "no column"
            raise ImageError(
                f"{shard} has {what} of images: bytes, or a structure with bytes; name one by --set"
                f" shards.image=COLUMN. It has {held}."
            )
        if fields.label and not (fields.label in names and types.is_integer(schema.field(fields.label).type)):
            raise ImageError(f"{shard} has no column {fields.label!r} of whole numbers; name another for the class.")
        key = next((one for one in _KEYS if one in names and types.is_string(schema.field(one).type)), None)
        nested = able[chosen[0]]
        paths = nested and any(one.name == "path" and types.is_string(one.type) for one in schema.field(chosen[0]).type)
        read = [f"{chosen[0]}.bytes", *([f"{chosen[0]}.path"] if paths else [])] if nested else [chosen[0]]
        return cls(chosen[0], nested, key, [*read, *filter(None, (key, fields.label))])

    def photo(self, place: int, row: Mapping[str, Any], fields: Fields) -> ShardPhoto:
        """What a row holds."""
        held = row[self.image]
        path = held.get("path") if self.nested and held else None
        data = held.get("bytes") if self.nested and held else held
        key = (row[self.key] if self.key else path) or f"{place:06d}"
        if not data:
            return ShardPhoto(key, None, f"holds no image{', but a path' if path else ''}.")
        if len(data) > LARGEST:
            return ShardPhoto(key, None, f"has {len(data):,} bytes, which is too large.")
        try:
            label = _class(row[fields.label]) if fields.label else None
            return ShardPhoto(key, lambda: data, label=label)
        except ValueError:
            return ShardPhoto(key, None, f"has no class in {fields.label}: a whole number of 0 or more.")
