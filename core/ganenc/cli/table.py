"""The commands that ganenc brings: what each is for, and where it lies. No module of a command is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    target: str
    """Its function: ``package.module:function``. Imported when the command is called, not before."""
    summary: str
    purpose: str
    """What people come for: the panel of ``ganenc --help`` in which it stands."""
    example: str


def _for(purpose: str, *rows: tuple[str, str, str, str]) -> list[Command]:
    return [
        Command(name, f"ganenc.cli.{place}", told, purpose, f"ganenc {name} {words}".rstrip())
        for name, place, told, words in rows
    ]


COMMANDS = (
    *_for(
        "Begin",
        ("demo", "demo:demo", "Invert real photos with a small shipped model: no download", "--out demo"),
        ("list", "catalogue:list_", "List what is installed, of every kind or of one", "loss --options"),
        ("spec", "spec:spec", "Show the encoder that a model gets, a preset or a run", "paper-pretrain-s2"),
        ("generate", "generate:generate", "Draw images from a generator", "--model M --n 16 --out drawn"),
        ("convert", "convert:convert", "Make a model folder of a checkpoint", "--model network.pkl --out model"),
    ),
    *_for(
        "Invert",
        ("invert", "invert:invert", "Find the latents that rebuild photos", "photos/ --model M --out inverted"),
        ("index", "shards:index", "Look through inverted shards: counts, failures, the worst", "latents/"),
        ("restore", "restore:restore", "Restore damaged photos", "small.png --model M --operator downscale:4 --out o"),
        ("score", "score:score", "Find odd photos, and where they are", "new/ --model M --normal good/ --out scored"),
        ("attribute", "attribute:attribute", "Say which generator made photos", "photos/ -m A -m B --out attributed"),
        ("attend", "attend:attend", "Show where an attention looks in photos", "photos/ --backbone vgg16 --out seen"),
    ),
    *_for(
        "Edit",
        ("edit", "edit:edit", "Move photos along a direction", "photo.jpg --model M --direction smile --out edited"),
        ("drag", "edit:drag", "Move points of photos", "photo.jpg --model M --from 30,20 --to 30,28 --out dragged"),
        ("explain", "edit:explain", "Show what a classifier goes by", "a.jpg -m M --classifier X --target 3 --out o"),
        ("mix", "edit:mix", "Give a photo the styles of another", "a.jpg b.jpg --model M --layers 4-9 --out mixed"),
        ("interpolate", "edit:interpolate", "Go from one photo to another", "a.jpg b.jpg --model M --out between"),
        ("directions", "directions:directions", "Find directions, or list a model's", "--model M --pca 4 --out found"),
    ),
    *_for(
        "Train",
        ("start", "start:start", "Build an encoder without training, in closed form", "--model M --out encoder"),
        ("pretrain", "train:pretrain", "Train an encoder on images that the generator makes", "--model M --out run"),
        ("finetune", "train:finetune", "Fine-tune an encoder on photos", "photos/ --model M --out run"),
    ),
    *_for(
        "Measure",
        ("evaluate", "evaluate:evaluate", "Measure how well images are rebuilt", "photos/ --model M --out measured"),
        ("benchmark", "benchmark:benchmark", "Compare methods", "photos/ --model M --method encode --out compared"),
    ),
    *_for(
        "Extend",
        ("doctor", "doctor:doctor", "Say what this machine has, and what is missing", ""),
        ("plugins", "catalogue:plugins", "List the plugins, and what is wrong with them", "--check"),
        ("new-plugin", "new_plugin:new_plugin", "Write a package for a plugin to begin with", "ganenc-plugin-my-gan"),
        ("check", "check:check", "Check whether what is contributed keeps to its contract", "my_loss.py"),
        ("push", "push:push", "Put a model or latents on the Hugging Face Hub", "model/ user/name --private"),
        ("export", "export:export", "Write files for programs without ganenc", "--model M --out exported"),
    ),
)  # fmt: skip
