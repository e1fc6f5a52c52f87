"""Models on the Hugging Face Hub, by their id. Imports no torch; not in paper.

Only the configs and safetensors of a model folder are fetched, or one file of others' and the settings beside it, which
are read as data: nothing that comes can run code.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path, PurePosixPath
from typing import Any

from ganenc_registry.errors import WeightsMissingError

_ID = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[^:\0\\]+))?"
)
_FILES = re.compile(r"\.(pkl|pth?|bin|ckpt|safetensors|json|ya?ml|zip|onnx|npz|h5|keras)$", re.IGNORECASE)
_UNREACHED = re.compile(r"Connect|Timeout|Network|Offline|LocalEntry")
"""In the names of errors, which differ between the releases of the Hub's client."""
HUB_FILES = (
    "config.json",
    "model.safetensors",
    "encoder*/config.json",
    "encoder*/model.safetensors",
    "directions/*.safetensors",
)
"""What is fetched: a generator or an encoder, and the encoders and directions inside a generator's folder."""


def is_hub_id(text: str) -> bool:
    """Whether ``text`` reads ``user/name`` or ``user/name@revision``, maybe with ``:file`` for a file in it, and not
    like the path of a file."""
    found = _ID.fullmatch(text)
    if found is None or _FILES.search(found["repository"]):
        return False
    return found["file"] is None or all(part not in ("", ".", "..") for part in found["file"].split("/"))


def repository_of(text: str) -> str:
    """The ``user/name`` of an id; empty if it is none."""
    found = _ID.fullmatch(text) if is_hub_id(text) else None
    return found["repository"] if found else ""


def fetch_model(model_id: str) -> Path:
    """What an id stands for, fetched to the Hub's own cache (``HF_HOME``) unless it is there: the folder of a
    repository, ``user/name`` or ``user/name@revision`` for a branch, a tag or a commit, or with ``:file`` that file of
    it, its settings beside it; `WeightsMissingError` if it cannot be had."""
    found = _ID.fullmatch(model_id)
    assert found, "is_hub_id said so"
    from huggingface_hub import snapshot_download

    repository, revision, file = found.group("repository", "revision", "file")
    patterns: dict[str, Any] = {"allow_patterns": list(HUB_FILES)} if file is None else _patterns(PurePosixPath(file))
    try:
        folder = Path(snapshot_download(repository, revision=revision, **patterns))
        if file is None or (folder / file).is_file():
            return folder / (file or "")
        reason = f"the repository has no file {file!r}; look it up on its page there"
    except Exception as error:  # Of many kinds, those of the network among them.
        reason = hub_fault(error, revision=revision)
    raise WeightsMissingError(
        f"{model_id} is neither a file or folder here nor could it be fetched from the Hugging Face Hub: {reason}."
    )


def _patterns(file: PurePosixPath) -> dict[str, list[str]]:
    """What is fetched of a file: it, and of its folder what may say how it is to be read."""
    folder, stem = ("" if str(one) == "." else glob.escape(str(one)) for one in (file.parent, file.with_suffix("")))
    inside = f"{folder}/" if folder else ""
    beside = [f"{stem}.{ending}" for ending in ("yaml", "yml", *(["bin"] if file.suffix.lower() == ".xml" else []))]
    return {
        "allow_patterns": [glob.escape(str(file)), *beside, f"{inside}*.json"],
        "ignore_patterns": [f"{inside}*/*"],
    }


def hub_fault(error: Exception, *, revision: str | None = None) -> str:
    """Why the Hub did not do what it was asked to, as a clause that says what to do."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "GatedRepoError" in kinds:
        return "its owner has to grant access to it: ask on its page there, then log in with `hf auth login`"
    if "RevisionNotFoundError" in kinds:
        return f"the model has no revision {revision!r} there; check its branches and tags"
    if "RepositoryNotFoundError" in kinds:
        return "the Hub has no such model; check the name, or log in with `hf auth login` if it is private"
    if status == 401:
        return "the Hub does not know your token; log in with `hf auth login`"
    if status == 403:
        return "your token has no right to it; take a name of your own, or a token that may write there"
    if _UNREACHED.search(type(error).__name__):
        return "the Hub cannot be reached; try again with a network"
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
