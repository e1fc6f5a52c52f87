"""``ganenc encrypt`` and ``ganenc decrypt``: latents, hidden and found again by a password."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import ganenc
import torch
import typer
from ganenc import images
from ganenc.jobs import unique_names
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError

from ganenc_plugin_methods.riddle import Encryptor

__all__ = ["decrypt", "encrypt"]

Inputs = Annotated[
    list[str], typer.Argument(help="Latents files, folders that `ganenc invert` left, or photos to encode first.")
]
Hidden = Annotated[list[str], typer.Argument(help="Latents files, or folders, that `ganenc encrypt` left.")]
Model = Annotated[str, typer.Option("--model", "-m", help="The generator that the latents are of.")]
By = Annotated[
    str, typer.Option("--encryptor", help="The folder of a run of the recipe riddle, or of an encryptor, or a file.")
]
Out = Annotated[Path, typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--password",
        envvar="GANENC_PASSWORD",
        help="A text. Others see what is written here: better in the environment, or typed when it is asked for.",
    ),
]
Encoder = Annotated[
    str | None, typer.Option("--encoder", "-e", help="What encodes photos; by default the model's own.")
]
Device = Annotated[str, typer.Option("--device", "-d", help="cpu, cuda, cuda:N or mps.")]


def encrypt(
    inputs: Inputs,
    *,
    model: Model,
    encryptor: By,
    out: Out,
    password: Password = None,
    encoder: Encoder = None,
    device: Device = "cpu",
) -> None:
    """Hide what latents show: OUT has latents of another image each, which the password turns back, and that image.

    This is no cryptography: it hides from people, not from those who study the encryptor. Latents are left in OUT as
    NAME.safetensors.
    """
    loaded = ganenc.load(model, encoder=encoder, device=device)
    lock = Encryptor.load(encryptor, loaded.generator)
    word = _asked(password, confirmed=True)
    given = {Path(one): loaded.latents(file) for one in inputs if (file := loaded.latents_file(one))}
    photos = [one for one in inputs if Path(one) not in given]
    given |= {one: loaded.encode(one) for one in (images.find(photos) if photos else [])}
    _leave(loaded, {one: lock.encrypt(latents, word) for one, latents in given.items()}, out)


def decrypt(
    inputs: Hidden, *, model: Model, encryptor: By, out: Out, password: Password = None, device: Device = "cpu"
) -> None:
    """Find what `ganenc encrypt` hid: OUT has the latents and their image; with a wrong password, those of another."""
    loaded = ganenc.load(model, device=device)
    lock = Encryptor.load(encryptor, loaded.generator)
    word = _asked(password, confirmed=False)
    made = {}
    for one in inputs:
        if (file := loaded.latents_file(one)) is None:
            raise SpecError(f"{one} holds no latents of {model}; give what `ganenc encrypt` left.")
        made[Path(one)] = lock.decrypt(loaded.latents(file), word)
    _leave(loaded, made, out)


def _asked(password: str | None, *, confirmed: bool) -> str:
    """The password, asked for where there is someone to ask."""
    if password is None and not sys.stdin.isatty():
        raise SpecError("A password is needed: put it into the environment as GANENC_PASSWORD, or give --password.")
    if password is None:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=confirmed)
    return str(password)


@torch.no_grad()
def _leave(model: ganenc.Model, made: dict[Path, Latents], out: Path) -> None:
    """Write latents, and the pictures that they make, by the names that they come from."""
    for name, latents in zip(unique_names([*made]), made.values(), strict=True):
        latents.model = model.hash
        latents.save(out / f"{name}.safetensors")
        pictures = model.generator.synthesize(model.generator.complete(latents))
        shown = images.grid(images.depict(pictures, model.generator.spec))
        images.write_png(out / f"{name}.png", shown, sheet=len(latents) > 1)
        typer.echo(out / f"{name}.safetensors")
