"""The command line: a thin layer over the library. Commands that need no tensor import no torch."""

from ganenc.cli._app import app, main
from ganenc.cli._attend import attend
from ganenc.cli._catalogue import list_, plugins
from ganenc.cli._check import check
from ganenc.cli._convert import convert
from ganenc.cli._demo import demo
from ganenc.cli._directions import directions
from ganenc.cli._edit import edit, interpolate, mix
from ganenc.cli._evaluate import evaluate
from ganenc.cli._export import export
from ganenc.cli._generate import generate
from ganenc.cli._invert import invert
from ganenc.cli._new_plugin import new_plugin
from ganenc.cli._spec import spec
from ganenc.cli._train import finetune, pretrain

__all__ = ["app", "main"]

app.command()(demo)
app.command("list")(list_)
app.command()(plugins)
app.command("new-plugin")(new_plugin)
app.command()(spec)
app.command()(generate)
app.command()(pretrain)
app.command()(finetune)
app.command()(invert)
app.command()(directions)
app.command()(edit)
app.command()(mix)
app.command()(interpolate)
app.command()(attend)
app.command()(evaluate)
app.command()(convert)
app.command()(check)
app.command()(export)
