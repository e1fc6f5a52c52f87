"""What commands share: arguments and options, the same word for the same thing everywhere, and the reading of values.

A command reads ``ganenc VERB [PHOTOS or LATENTS ...] --model M --out DIR``. What may be of several kinds and is only
looked at is an argument (``list KIND``, ``spec NAME``, ``check NAME``); a model to work with is always ``--model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer
from ganenc_registry.errors import SpecError
from ganenc_registry.plain_data import MOST, parse_yaml, to_integers

PHOTOS = typer.Argument(
    metavar="PHOTOS...", help="Files, folders, patterns, or lists of them: .txt files with one on each line."
)
Photos: TypeAlias = Annotated[list[str], PHOTOS]
MaybePhotos: TypeAlias = Annotated[list[str] | None, PHOTOS]
"""For commands that can do without photos; its default is None."""
MODEL = typer.Option(
    "--model", "-m", help="An installed model, a model folder, a checkpoint of any known GAN, or user/name on the Hub."
)
Model: TypeAlias = Annotated[str, MODEL]
MaybeModel: TypeAlias = Annotated[str | None, MODEL]
"""For commands whose spec may name it."""
ENCODER = typer.Option("--encoder", "-e", help="The folder of an encoder, or of a run's; by default the model's own.")
Encoder: TypeAlias = Annotated[str | None, ENCODER]
OUT = typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")
Out: TypeAlias = Annotated[Path, OUT]
MaybeOut: TypeAlias = Annotated[Path | None, OUT]
"""For commands that print their result, and write it where they are told to; its default is None."""
DEVICE = typer.Option("--device", "-d", help="cpu, cuda, cuda:N or mps.")
Device: TypeAlias = Annotated[str, DEVICE]
MaybeDevice: TypeAlias = Annotated[str | None, DEVICE]
METHOD = typer.Option(
    "--method",
    help="encode, finetune, finetune+refine (default), optimize (default without encoder), tune, or a plugin's.",
)
Method: TypeAlias = Annotated[str | None, METHOD]
Steps: TypeAlias = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the method, if it has some.")]
Space: TypeAlias = Annotated[str | None, typer.Option("--space", help="z, w or w+, for what has to be told in which.")]
LAYERS = typer.Option("--layers", metavar="N[-N][,...]", help="Layers of styles, as in 0-3,7.")
Layers: TypeAlias = Annotated[str | None, LAYERS]
SEED = typer.Option("--seed", min=0, max=2**63 - 1, help="Of all that is drawn.")
Seed: TypeAlias = Annotated[int, SEED]
MaybeSeed: TypeAlias = Annotated[int | None, SEED]
CONFIG = typer.Option("--config", "-c", dir_okay=False, help="A YAML or JSON file that says all of this.")
Config: TypeAlias = Annotated[Path | None, CONFIG]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
LABELS = typer.Option("--labels", metavar="N[,N...]", help="Classes, where the model has some: one each or one.")
Labels: TypeAlias = Annotated[str | None, LABELS]
CLASSES = (
    "The photos' classes, where the model has some: numbers, one each or one; folders (data/3/x.jpg) or names"
    " (3-x.jpg); a file with lines photo,class, or JSON"
)
WAYS = "; predicted, by the backbone; searched, by one pass for each class. By default predicted or searched"
WRITTEN = "N[,N...]|WORD|FILE"
PhotoLabels: TypeAlias = Annotated[str | None, typer.Option("--labels", metavar=WRITTEN, help=f"{CLASSES}{WAYS}.")]
TrainingLabels: TypeAlias = Annotated[str | None, typer.Option("--labels", metavar=WRITTEN, help=f"{CLASSES}.")]
CANDIDATES = typer.Option(
    "--candidates", metavar="N[,N...]", help="The classes among which to search; by default all of a few."
)
Candidates: TypeAlias = Annotated[str | None, CANDIDATES]
BACKBONE = typer.Option(
    "--backbone", help="The network behind LPIPS; by default the model's own, otherwise vgg16; or none."
)
Backbone: TypeAlias = Annotated[str | None, BACKBONE]
SET = typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be given again.")
Set: TypeAlias = Annotated[list[str] | None, SET]


def integers(text: str | None, *, option: str = "--labels") -> list[int] | None:
    """Numbers with commas between => the numbers; `SpecError` if one is no whole number of 0 or more."""
    try:
        return None if text is None else to_integers(text)
    except ValueError as error:
        raise SpecError(f"{option} takes {error}.") from None


def layer_numbers(text: str | None) -> list[int] | None:
    """Layers as they are written, such as ``0-3,7``, as numbers; `SpecError` if they cannot be read."""
    numbers: list[int] = []
    for word in [] if text is None else text.split(","):
        low, dash, high = word.strip().partition("-")
        ends = integers(f"{low},{high}" if dash else low, option="--layers") or []
        if ends[-1] < ends[0]:
            raise SpecError(f"--layers: {word} runs backwards; write {ends[-1]}-{ends[0]}.")
        if ends[-1] >= MOST:
            raise SpecError(f"--layers: {word} names layers that no network has; there are {MOST} at most.")
        numbers += range(ends[0], ends[-1] + 1)
    return None if text is None else numbers


def given_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are not None, nested ones too."""
    kept = {name: given_fields(value) if isinstance(value, Mapping) else value for name, value in fields.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def read_settings(words: list[str] | None) -> dict[str, Any]:
    """``key.path=value`` words => nested mappings; values are YAML: 3 is a number, [1, 2] a list, null nothing. It is a
    `SpecError` if a word has no ``=``, its value cannot be read, or one key is both a value and a mapping."""
    tree: dict[str, Any] = {}
    for word in words or []:
        path, sign, text = (part.strip() for part in word.partition("="))
        if not sign or not path or path.count(".") > 100:
            raise SpecError(f"--set takes KEY=VALUE, such as rate=0.001; got {word!r}.")
        *above, last = path.split(".")
        node = tree
        for step in above:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise SpecError(f"--set {path}: {step!r} was given a value already, so it has no fields.")
        try:
            node[last] = parse_yaml(text)
        except ValueError as error:
            raise SpecError(f"--set {path}: the value {text!r} cannot be read: {error}.") from None
    return tree
