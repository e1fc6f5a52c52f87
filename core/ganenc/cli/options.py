"""What commands share: arguments and options, the same word for the same thing everywhere, and the reading of values.

A command reads ``ganenc VERB [PHOTOS or LATENTS ...] --model M --out DIR``. What may be of several kinds and is only
looked at is an argument (``list KIND``, ``spec NAME``, ``check NAME``); a model to work with is always ``--model``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from ganenc_registry.components import written_choices
from ganenc_registry.errors import SpecError
from ganenc_registry.plain_data import MOST, parse_yaml, to_integers

T = TypeVar("T")
"""What an option gives: ``Model[str]`` where it has to be given, ``Model[str | None]`` where it need not be."""

PHOTOS_HELP = "Files, folders, patterns, or lists of them: .txt files with one on each line."
Photos: TypeAlias = Annotated[T, typer.Argument(metavar="PHOTOS...", help=PHOTOS_HELP)]
MODEL_HELP = "An installed model, a model folder, a checkpoint of any known GAN, or user/name[:file] on the Hub."
Model: TypeAlias = Annotated[T, typer.Option("--model", "-m", help=MODEL_HELP)]
ENCODER_HELP = "The folder of an encoder or of a run, or a file of one; by default the model's own."
Encoder: TypeAlias = Annotated[str | None, typer.Option("--encoder", "-e", help=ENCODER_HELP)]
Out: TypeAlias = Annotated[T, typer.Option("--out", "-o", file_okay=False, help="The folder to write to.")]
Device: TypeAlias = Annotated[T, typer.Option("--device", "-d", help="cpu, cuda, cuda:N or mps.")]
METHOD_HELP = (
    "encode, newton, finetune, finetune+refine, optimize (default without encoder), tune (default), or a plugin's."
)
Method: TypeAlias = Annotated[str | None, typer.Option("--method", help=METHOD_HELP)]
ALIGN_HELP = (
    "Cut out the part of the photo to invert, and put the result back: none (by --fit alone), center, attention"
    " (around what the objective's attention looks at), box (--set align.options.box=[TOP,LEFT,HEIGHT,WIDTH]), or a"
    " plugin's."
)
Align: TypeAlias = Annotated[str | None, typer.Option("--align", help=ALIGN_HELP)]
OPERATOR = typer.Option(
    "--operator",
    metavar="NAME[:VALUE|:OPTION=VALUE,...]",
    help="What happened to the photos before they were seen, as in downscale:4, mask:hole.png, blur:sigma=?; again for"
    " what happened next.",
)
Operator: TypeAlias = Annotated[T, OPERATOR]
Steps: TypeAlias = Annotated[int | None, typer.Option("--steps", min=1, help="Steps of the method, if it has some.")]
Space: TypeAlias = Annotated[str | None, typer.Option("--space", help="z, w or w+, for what has to be told in which.")]
LAYERS = typer.Option("--layers", metavar="N[-N][,...]", help="Layers of styles, as in 0-3,7.")
Layers: TypeAlias = Annotated[str | None, LAYERS]
Seed: TypeAlias = Annotated[T, typer.Option("--seed", min=0, max=2**63 - 1, help="Of all that is drawn.")]
CONFIG = typer.Option("--config", "-c", dir_okay=False, help="A YAML or JSON file that says all of this.")
Config: TypeAlias = Annotated[Path | None, CONFIG]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
LABELS = typer.Option("--labels", metavar="N[,N...]", help="Classes, where the model has some: one each or one.")
Labels: TypeAlias = Annotated[str | None, LABELS]
WRITTEN = "N[,N...]|WORD|FILE"
CLASSES = (
    "The photos' classes, where the model has some: numbers, one each or one; folders (data/3/x.jpg) or names"
    " (3-x.jpg); a file with lines photo,class, or JSON"
)
WAYS = "; predicted, by the backbone; searched, by one pass for each class. By default predicted or searched"
PhotoLabels: TypeAlias = Annotated[str | None, typer.Option("--labels", metavar=WRITTEN, help=f"{CLASSES}{WAYS}.")]
TrainingLabels: TypeAlias = Annotated[str | None, typer.Option("--labels", metavar=WRITTEN, help=f"{CLASSES}.")]
AMONG = "The classes among which to search; by default all of a few."
Candidates: TypeAlias = Annotated[str | None, typer.Option("--candidates", metavar="N[,N...]", help=AMONG)]
BACKBONE_HELP = "The network behind LPIPS; by default the model's own, otherwise vgg16; or none."
Backbone: TypeAlias = Annotated[str | None, typer.Option("--backbone", help=BACKBONE_HELP)]
ON = typer.Option(
    "--on",
    metavar="NAME[:OPTION=VALUE,...]",
    help="Have an engine do it, of `ganenc list runner`, as in ray:concurrency=4.",
)
On: TypeAlias = Annotated[str | None, ON]
SET = typer.Option("--set", metavar="KEY=VALUE", help="Any other setting; may be given again.")
Set: TypeAlias = Annotated[list[str] | None, SET]


def integers(text: str | None, *, option: str = "--labels") -> list[int] | None:
    """Numbers with commas between => the numbers; `SpecError` if one is no whole number of 0 or more."""
    try:
        return None if text is None else to_integers(text)
    except ValueError as error:
        raise SpecError(f"{option} takes {error}.") from None


def operators(words: list[str] | None) -> list[dict[str, Any]] | None:
    """Operators as they are written, as data; `GanencError` if one cannot be read."""
    return None if words is None else [one.to_mapping() for word in words for one in written_choices("operator", word)]


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
