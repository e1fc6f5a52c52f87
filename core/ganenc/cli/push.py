"""``ganenc push``: a folder of ours => a repository on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganenc import jobs
from ganenc.cli.console import emit, say, show
from ganenc.cli.options import Json


def push(
    folder: Annotated[Path, typer.Argument(help="Of a model, an encoder, a job or shards of latents.")],
    repository: Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository, made if it is not there.")],
    *,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="The generator that an encoder or latents belong to.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", help="What `ganenc evaluate` left; by default what it left in the folder."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="For its owner's eyes alone.")] = False,
    as_json: Json = False,
) -> None:
    """Put a folder on the Hugging Face Hub, with a card of what is known of it; `hf auth login` comes first.

    A model goes there with its encoders and directions, latents as a dataset, without the photos. Nothing else that
    lies in the folder goes along.
    """
    done = jobs.push(folder, repository, model=model, measured=measured, private=private)
    if done.card_kept:
        say("The card there is not ganenc's, and was left as it is.")
    if as_json:
        emit(vars(done))
    else:
        show(f"{len(done.files)} files at {done.url}")
