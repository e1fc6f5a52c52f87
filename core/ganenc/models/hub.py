"""Models on the Hugging Face Hub, by their id. Imports no torch; not in paper.

Only the configs and safetensors of a model folder are ever fetched, so nothing that comes can run code.
"""

from __future__ import annotations

import re
from pathlib import Path

from ganenc_registry.errors import WeightsMissingError

_ID = re.compile(r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?")
_FILES = re.compile(r"\.(pkl|pth?|bin|ckpt|safetensors|json|ya?ml|zip|onnx|npz|h5|keras)$", re.IGNORECASE)
WANTED = ("config.json", "model.safetensors", "encoder*/config.json", "encoder*/model.safetensors")
"""What is fetched: a generator or an encoder, and the encoders inside a generator's folder."""


def is_hub_id(text: str) -> bool:
    """Whether ``text`` reads ``user/name`` or ``user/name@revision``, and not like the path of a file."""
    found = _ID.fullmatch(text)
    return found is not None and not _FILES.search(found["repository"])


def fetch_model(model_id: str) -> Path:
    """The folder of a repository on the Hub, ``user/name`` or ``user/name@revision`` for a branch, a tag or a commit,
    fetched to the Hub's own cache (``HF_HOME``) unless it is there; `WeightsMissingError` if it cannot be had."""
    found = _ID.fullmatch(model_id)
    assert found, "is_hub_id said so"
    from huggingface_hub import errors, snapshot_download

    repository, revision = found["repository"], found["revision"]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(WANTED)))
    except errors.GatedRepoError:
        reason = "its owner has to grant access to it: ask on its page there, then log in with `hf auth login`"
    except errors.RepositoryNotFoundError:
        reason = "the Hub has no such model; check the name, or log in with `hf auth login` if it is private"
    except errors.RevisionNotFoundError:
        reason = f"the model has no revision {revision!r} there; check its branches and tags"
    except errors.LocalEntryNotFoundError:
        reason = "the Hub cannot be reached and its cache does not hold the model; try again with a network"
    except Exception as error:  # Of many kinds, those of the network among them.
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    raise WeightsMissingError(
        f"{model_id} is neither a file or folder here nor could it be fetched from the Hugging Face Hub: {reason}."
    )
