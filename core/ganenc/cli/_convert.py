"""``ganenc convert``: a foreign checkpoint => a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ganenc_registry.errors import CheckpointError

from ganenc.cli._console import emit, show
from ganenc.cli._options import Json

if TYPE_CHECKING:
    from ganenc.generator import Generator

__all__ = ["convert"]

SAMPLES = 2


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of any known GAN; it is read as data.")],
    folder: Annotated[Path, typer.Argument(file_okay=False, help="The model folder to write.")],
    as_json: Json = False,
) -> None:
    """Convert a checkpoint to a model folder (config.json, model.safetensors) and check its pixels."""
    from ganenc.models import load_generator, model_hash, save_pretrained

    generator = load_generator(checkpoint)
    save_pretrained(generator, folder, info={"source": checkpoint.name})
    again = load_generator(folder)
    _same_pixels(generator, again, checkpoint, folder)
    facts: dict[str, Any] = {
        "source": checkpoint,
        "folder": folder,
        "family": generator.spec.family,
        "size": generator.spec.size,
        "classes": generator.spec.classes,
        "hash": model_hash(again),
        "same_pixels": True,
    }
    if as_json:
        emit(facts)
        return
    height, width = generator.spec.size
    what = f"{generator.spec.family}, {height}x{width}"
    show(f"{folder}: {what}, the same pixels as {checkpoint}; hash {facts['hash'][:12]}")


def _same_pixels(one: Generator, other: Generator, checkpoint: Path, folder: Path) -> None:
    import torch

    with torch.no_grad():
        made = [generator.synthesize(generator.sample(SAMPLES, seed=0)) for generator in (one, other)]
    if not torch.equal(*made):
        raise CheckpointError(
            f"{folder} does not give the same pixels as {checkpoint}: its family keeps something outside the"
            " weights and the spec; the folder is not to be used."
        )
