"""Reads a file or folder of weights once, as data, and never executes what it holds.

DESIGN.md, "Foreign checkpoints"; not in paper. Formats are told apart by their content, not by their names:

* safetensors files;
* torch files, zip or older, and NVIDIA network pickles, PyTorch or TensorFlow, through a reader of pickles that knows
  the handful of names those files use, and builds nothing but arrays, plain data and inert records;
* OpenVINO's graphs, ``.xml``, with their constants, ``.bin``;
* Keras's files, ``.h5`` and ``.keras``, where h5py is installed;
* folders of such files and JSON.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

import torch
from ganenc_registry.errors import CheckpointError, nearest
from ganenc_registry.opening import open_file
from ganenc_registry.specs import read_mapping

from ganenc.files import load_tensors, read_json
from ganenc.foreign.flattening import Tensors, flatten
from ganenc.foreign.inert_pickle import PickleDamaged, PickleRefused
from ganenc.foreign.keras import is_archive, read_keras
from ganenc.foreign.openvino import read_openvino
from ganenc.foreign.torch_files import LEGACY_MAGIC, read_network_pickle, read_tensor_file

Container = Literal["safetensors", "torch", "pickle", "openvino", "keras", "folder"]

_WEIGHTS = (".pth", ".pt", ".bin", ".safetensors", ".xml")
_BESIDE = re.compile(
    r"(?i)(?:d|e|net_?d|disc?|critic|ema|lpips)(?:_?(?:ema|smooth|avg|s|\d+|state_dict))?"
    r"|(?:discriminator|encoder|aug|vgg|fixed|img)\w*|\w*(?:optim|sched|loss)\w*|\w*latent_avg|w_avg"
)
"""What lies beside a generator and has no part in its images."""
_AVERAGED = re.compile(
    r"(?:^|[._])(?:ema|smooth|Gs|averaged|avg_?g|(?:generator|discriminator)_s|GE)(?=$|[._])", re.IGNORECASE
)
_JSON_REMEDY = "correct it or remove it from the folder"
_SAVED_ELSEWHERE = {
    b"version https://git-lfs": "is the pointer that Git LFS leaves in place of a file",
    b"<!doctype html": "is a web page",
    b"<html": "is a web page",
    b"\x1f\x8b": "is a gzip archive; unpack it first",
}


@dataclass(frozen=True)
class Checkpoint:
    """What one file or folder of weights holds.

    Attributes:
        path: where it was read from.
        container: "safetensors", "torch", "pickle" (an NVIDIA network pickle), "openvino", "keras" or "folder".
        tensors: tensors on the CPU, in their stored dtype, by flat dotted name. A folder puts the file's stem first;
            the variables of a TensorFlow network keep their slashes, as in ``Gs.synthesis/4x4/Const/const``, and so do
            Keras's.
        metadata: everything else, as nested dictionaries, lists, numbers, texts and None, keyed as the tensors are.
    """

    path: Path
    container: Container
    tensors: Mapping[str, torch.Tensor] = field(repr=False)
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)
    _copies: list[str] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", Tensors(self.tensors))

    @property
    def _read(self) -> set[str]:
        assert isinstance(self.tensors, Tensors)
        return self.tensors.read

    def meta(self, name: str, default: Any = None) -> Any:
        """The metadata at a dotted name such as ``G_ema.init_kwargs.z_dim``, or ``default``."""
        node: Any = self.metadata
        for key in name.split("."):
            if not isinstance(node, dict) or key not in node:
                return default
            node = node[key]
        return node

    def tensor(self, name: str, shape: Sequence[int | None] | None = None) -> torch.Tensor:
        """The tensor of that full name in float32, of the shape asked for (None leaves an axis, or all, free);
        `CheckpointError` if it is missing, empty, of another shape, not numbers, or holds NaN or infinity."""
        found = self.tensors.get(name)
        if found is None:
            self.fail(f"the tensor {name!r} is missing{nearest(name, self.tensors)}")
        if shape is not None:
            fits = len(shape) == found.ndim and all(want in (None, have) for want, have in zip(shape, found.shape))
            if not fits:
                wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
                self.fail(f"the tensor {name!r} has shape {tuple(found.shape)} where {wanted} is needed")
        if not found.numel():
            self.fail(f"the tensor {name!r} is empty: its shape is {tuple(found.shape)}")
        if found.is_complex():
            self.fail(f"the tensor {name!r} holds complex numbers")
        number = found.to(torch.float32)
        if not bool(torch.isfinite(number).all()):
            self.fail(f"the tensor {name!r} holds NaN or infinite values", "use a copy saved before training diverged")
        return number

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the tensor of that full name, which is not read."""
        assert isinstance(self.tensors, Tensors)
        return self.tensors.shape(name)

    @cached_property
    def settings(self) -> tuple[Path | None, dict[str, Any]]:
        """What a YAML file beside the weights says of them, ``netG.yaml`` for ``netG.pth``: its path, and its fields,
        of which ``family`` is the one that reads them; none if there is no such file, or it names no family."""
        suffixes = () if self.container == "folder" else (".yaml", ".yml")
        for path in map(self.path.with_suffix, suffixes):
            if path != self.path and path.is_file():
                fields = read_mapping(path)
                return (path, fields) if isinstance(fields.get("family"), str) else (None, {})
        return None, {}

    def averaged(self, prefixes: Sequence[str]) -> str:
        """Of the prefixes of several copies of one network, that of the averaged copy, as the names say;
        `CheckpointError` if there are several, and none or more than one of them is averaged."""
        chosen = [prefix for prefix in prefixes if _AVERAGED.search(prefix)] or list(prefixes)
        if len(chosen) != 1:
            names = ", ".join(repr(prefix) for prefix in chosen)
            self.fail(f"it holds several networks ({names})", "save the averaged one to a file of its own")
        self._copies[:] = [*chosen, *(prefix for prefix in prefixes if prefix != chosen[0])]
        return chosen[0]

    def spare(self, pattern: str) -> None:
        """Say that the tensors whose whole names match the regular expression are of no use to who reads the file."""
        self._read.update(name for name in self.tensors if re.fullmatch(pattern, name))

    def check_all_read(self) -> None:
        """Make sure that what was read was the whole of a network; called once it has been built.

        Below the prefix that :meth:`averaged` chose, every tensor with a fraction is read or :meth:`spare`. Beside it
        may lie the other copies, what is known to have no part in an image (discriminators, optimizers, encoders), and
        what is no weight: tensors of one axis. `CheckpointError` if there are others.
        """
        left = [name for name in self.tensors if name not in self._read and self._has_part(name)]
        if left:
            others = f" and {len(left) - 1} more tensors" if len(left) > 1 else ""
            self.fail(
                f"{left[0]!r}{others} are left over when its network is read, so it would make other images",
                "if they have no part in them, save it without these; if they have, it needs a plugin of its own",
            )

    def is_all(self, prefixes: Sequence[str]) -> bool:
        """Whether networks of these prefixes are all of the file that may have a part in images; no tensor is read."""
        others = (name for name in self.tensors if not name.startswith(tuple(prefixes)))
        return all(len(self.shape(name)) < 2 or _is_beside(prefixes[0], name) for name in others)

    def _has_part(self, name: str) -> bool:
        """Whether a tensor that nobody read may have a part in the images of the network that was chosen."""
        own, *copies = self._copies or [""]
        inside = name.startswith(own)
        if not inside and name.startswith(tuple(copies)):
            return False
        if (not inside or not own) and _is_beside(own, name):
            return False
        tensor = self.tensors[name]
        return tensor.is_floating_point() and (inside or tensor.ndim > 1)

    def beside(self, *names: str) -> tuple[Path, Any]:
        """The first JSON file of these names in the folder that was read, or next to the file, and what it holds;
        `CheckpointError` if there is none, or it is not JSON."""
        folder = self.path if self.container == "folder" else self.path.parent
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            wanted = " or ".join(names)
            where = "in it" if self.container == "folder" else "beside it"
            self.fail(f"there is no {wanted} {where}", f"put the {wanted} that came with the weights into {folder}")
        try:
            return found, read_json(found, _JSON_REMEDY)
        except OSError as error:
            raise CheckpointError(f"{found}: it cannot be read ({error.strerror}); check its permissions.") from error

    def fail(self, problem: str, remedy: str = "") -> NoReturn:
        """Raise a `CheckpointError` of one sentence: this file, the problem, the remedy, by default to get it anew, or
        to correct the settings by which it was read."""
        path, _ = self.settings
        remedy = remedy or (
            f"correct {path}, by which it was read" if path else "download or export the file again, complete"
        )
        raise CheckpointError(f"{self.path}: {problem}; {remedy}.")


def _is_beside(own: str, name: str) -> bool:
    """Whether, where a name parts from a network's prefix, it is known to go to something without a part in images."""
    shared = next((i for i, (a, b) in enumerate(zip(name, own)) if a != b), 0)
    start = max(name.rfind(mark, 0, shared) for mark in "./") + 1
    return _BESIDE.fullmatch(re.split(r"[./]", name[start:])[0]) is not None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a safetensors file, a torch file, an NVIDIA network pickle, or a folder of weights and JSON files, as data;
    `CheckpointError` if it is missing, empty, damaged, of an unknown format, or holds anything but data."""
    path = Path(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if not path.is_file():
            raise CheckpointError(f"{path}: there is no such file or folder; check the path.")
        container, tensors, metadata = _read_file(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(f"{path}: it cannot be read ({reason}); check the path and its permissions.") from error
    except PickleRefused as error:
        raise CheckpointError(_refusal(path, error)) from error
    if not tensors:
        raise CheckpointError(f"{path}: it holds no tensors; give a file of network weights.")
    return Checkpoint(path, container, tensors, metadata)


def _refusal(path: Path, error: PickleRefused) -> str:
    if isinstance(error, PickleDamaged):
        return f"{path}: {error}; download or export it again, complete."
    return (
        f"{path}: {error}; nothing in it was executed; if you trust its source, load it with the program"
        " that wrote it and save the state dictionary of its generator alone."
    )


def _read_file(path: Path, name: str = "") -> tuple[Container, Mapping[str, Any], dict[str, Any]]:
    """Tell the format by the first bytes and read it."""
    with open_file(path) as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(64)
        file.seek(0)
        if start[:4] == b"\x89HDF" or (start[:4] == b"PK\x03\x04" and is_archive(file)):
            return "keras", *read_keras(path, file, name)
        if start[:4] == b"PK\x03\x04" or start.startswith(LEGACY_MAGIC):
            return "torch", *flatten(read_tensor_file(file, _mapped(file)), limit=size, name=name)
        if len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size:
            return "safetensors", *_read_safetensors(path, name)
        if start.lstrip(b"\xef\xbb\xbf").startswith(b"<?xml"):
            constants, operations = read_openvino(path)
            return "openvino", {f"{name}.{key}".lstrip("."): one for key, one in constants.items()}, operations
        _not_elsewhere(path, start)
        if start[:1] in (b"\x80", b"(", b"c", b"}", b"]"):
            return "pickle", *flatten(read_network_pickle(_mapped(file)), limit=size, name=name)
    raise CheckpointError(
        f"{path}: it is neither a safetensors file, nor a torch file, nor an NVIDIA network pickle, nor OpenVINO's"
        " .xml, nor Keras's .h5 or .keras; give a file of network weights."
    )


def _mapped(file: BinaryIO) -> bytes | mmap.mmap:
    """The content of a file, of which only what is used is read."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # some file systems cannot
        file.seek(0)
        return file.read()


def _not_elsewhere(path: Path, start: bytes) -> None:
    """Name what is often saved in place of weights."""
    if not start:
        raise CheckpointError(f"{path}: it is empty; download or export it again.")
    for magic, what in _SAVED_ELSEWHERE.items():
        if start.lower().startswith(magic.lower()):
            raise CheckpointError(f"{path}: it {what}; download the weights themselves.")


def _read_safetensors(path: Path, name: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    metadata, tensors = load_tensors(path, "weights", remedy="download or export the file again")
    tensors = {f"{name}.{key}": tensor for key, tensor in tensors.items()} if name else tensors
    return tensors, {name: metadata} if name and metadata else metadata


def _read_folder(folder: Path) -> Checkpoint:
    """Read every weights file of a folder, each under its stem, and every JSON file into the metadata."""
    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, Any] = {}
    files = sorted(path for path in folder.iterdir() if path.is_file())
    graphs = {path.stem for path in files if path.suffix.lower() == ".xml"}
    for path in files:
        if path.suffix.lower() == ".json":
            metadata[path.stem] = read_json(path, _JSON_REMEDY)
        elif path.suffix.lower() in _WEIGHTS and not (path.suffix.lower() == ".bin" and path.stem in graphs):
            try:
                _, found, rest = _read_file(path, path.stem)
            except PickleRefused as error:
                raise CheckpointError(_refusal(path, error)) from error
            twice = next((name for name in found if name in tensors), None)
            if twice is not None:
                raise CheckpointError(f"{folder}: two files hold the tensor {twice!r}; leave one of them.")
            tensors.update(found)
            if rest:
                metadata.setdefault(path.stem, rest)
    if not tensors:
        raise CheckpointError(
            f"{folder}: this folder holds no weights ({', '.join(_WEIGHTS)}); "
            "give the folder that does, or the file itself."
        )
    return Checkpoint(folder, "folder", tensors, metadata)
