"""Models and latents put on the Hugging Face Hub. What goes there are files of ours alone, each looked for by its name;
the token is that of the Hub's own client. Not in paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ganenc_registry.errors import GanencError, SpecError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from ganenc.files import MARK
from ganenc.jobs.contents import CONFIG, PICTURE, ROWS, Content, content_of
from ganenc.jobs.shard_records import PARQUET
from ganenc.models import HUB_FILES, has_config, hub_fault, read_config, repository_of

README = "README.md"
BATCH = 500
"""Files of one commit, as the Hub advises; all of a model are one."""


@dataclass(frozen=True)
class Pushed:
    """What was put on the Hub."""

    url: str
    files: list[str]
    """All that belong to it, those that were there before, unchanged, too."""
    card_kept: bool
    """Whether someone's own card is there, which was left as it is."""


def push(
    folder: str | Path,
    repository: str,
    *,
    model: str | Path | None = None,
    measured: str | Path | None = None,
    private: bool = False,
) -> Pushed:
    """Put a folder on the Hugging Face Hub as ``user/name``: that of a generator, with the encoders and directions in
    it, or of an encoder, as a model; that of a job, or of shards of latents, as a dataset. Photos do not go along.

    ``model``, as `ganenc.load` takes it, is the generator that an encoder or latents belong to, for the card and its
    picture; ``measured`` what `ganenc evaluate` left, by default what lies in the folder. A ``private`` repository is
    its owner's. A GanencError if the folder is none of these, or broken, what is there would be lost, or the Hub does
    not take it.
    """
    folder = Path(folder)
    if not repository or repository_of(repository) != repository:
        raise SpecError(f"{repository!r} is no name of a repository on the Hub; it reads user/name.")
    content = content_of(folder, repository, model, measured)
    kind, api = content.kind, HfApi(library_name="ganenc")
    files = {**content.files, README: content.card(repository).encode("utf-8", "backslashreplace")}
    if content.pictures:
        files[PICTURE] = content.picture()
    try:
        url = str(api.create_repo(repository, repo_type=kind, private=private or None, exist_ok=True))
        info: Any = api.repo_info(repository, repo_type=kind)
        held = {one.rfilename for one in info.siblings or ()}

        def fetch(name: str) -> Path:
            return Path(api.hf_hub_download(repository, name, repo_type=kind, revision=info.sha))

        if private and not info.private:
            raise SpecError(f"{repository} is there, for all to see; make it private on its page ({url}), then push.")
        _check(content, repository, held, fetch)
        kept = README in held and MARK.encode() not in fetch(README).read_bytes()
        if kept:
            del files[README]
        gone = [
            name
            for name in sorted(held - files.keys())
            if kind == "model" and any(_fits(name, one) for one in HUB_FILES)
        ]
        names = sorted(files, key=lambda name: (name in (README, PICTURE, ROWS), name))
        steps: list[Any] = [CommitOperationDelete(name) for name in gone]
        steps += [CommitOperationAdd(name, files[name]) for name in names]
        for start in range(0, len(steps), BATCH):
            api.create_commit(
                repository,
                steps[start : start + BATCH],
                repo_type=kind,
                commit_message=f"Push {content.what} of ganenc",
            )
    except GanencError:
        raise
    except Exception as error:  # Of many kinds, those of the network among them.
        raise GanencError(f"{folder} could not be pushed to {repository}: {hub_fault(error)}.") from None
    return Pushed(url, names, kept)


def _check(content: Content, repository: str, held: set[str], fetch: Callable[[str], Path]) -> None:
    """A SpecError if something of another kind is there."""
    there = ""
    if content.kind == "dataset":
        there = "a job" if ROWS in held else "shards" if any(name.endswith(PARQUET) for name in held) else ""
    elif CONFIG in held:
        place = fetch(CONFIG).parent
        kind = read_config(place).get("kind") if has_config(place) else None
        there = {"generator": "a generator", "encoder": "an encoder"}.get(str(kind), f"another project's {CONFIG}")
    if there not in ("", content.what):
        raise SpecError(f"{repository} holds {there}, and is no place for {content.what}; take another name.")


def _fits(name: str, pattern: str) -> bool:
    return name.count("/") == pattern.count("/") and PurePosixPath(name).match(pattern)
