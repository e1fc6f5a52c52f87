"""Reads the encoders in files of pSp, e4e, ReStyle and E2Style: ``state_dict``, ``opts``, ``latent_avg``.

Names and shapes tell the trunk, its widths and units, the heads, and the size that they see; the number of styles, or
the generator beside it, tells the size of the images. ``opts`` tell what shapes do not: pSp from e4e.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any

import torch
from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint
from ganenc.generators import Generator
from ganenc.models import from_checkpoint
from ganenc_registry.errors import GanencError
from ganenc_registry.specs import Styles
from torch import Tensor

from ganenc_plugin_methods.reading import Rule, build, count, prefixes, renamed, shape_of

__all__ = ["kind_of", "read"]

_STACKS, _STAGED = r"styles\.0\.convs\.0\.weight", r"encoder_firststage\.output_layer_3\.3\.weight"
_TYPES = {
    "GradualStyleEncoder": ("psp", False),
    "Encoder4Editing": ("e4e", True),
    "BackboneEncoder": ("restyle", False),
    "ResNetBackboneEncoder": ("restyle", False),
    "ProgressiveBackboneEncoder": ("restyle", True),
    "ResNetProgressiveBackboneEncoder": ("restyle", True),
}
"""By ``opts.encoder_type``: the network, and whether its styles are offsets from the first."""
_OTHERS = {
    r"hypernet\..*": "HyperStyle's network, which predicts changes of a generator's weights and is not supported; give"
    " the encoder that it starts from, the file that its opts name as w_encoder_checkpoint_path",
    r"(?:mapper_state_dict\.)?layers\.0\.multihead_attn\.in_proj_weight": "RiDDLE's network, which encrypts latents and"
    " encodes no photos; give it as --encryptor, and as encoder the e4e file that its opts name as psp_weight_path",
}
"""What is known, and no encoder of these: the tensors that tell it, and what to say."""
_UNITS = {24: (3, 4, 14, 3), 49: (3, 13, 30, 3), 50: (3, 8, 36, 3), 16: (3, 4, 6, 3)}
"""Units in each group, where widths do not tell."""
_UNKNOWN = torch.full((), math.nan)
MOST_DEPTH, MOST_SIDE, MOST_ROWS = 6, 4096, 64
"""Of what is believed: convolutions of a stack, pixels, and styles."""
SEEN = 256
"""The side of what E2Style sees, by its published transforms."""


def kind_of(checkpoint: Checkpoint) -> str | None:
    """Which network a file is of, by its names and ``opts``; None if of none. What shapes alone leave open is pSp."""
    if prefixes(checkpoint, _STAGED):
        return "e2style"
    found = prefixes(checkpoint, _STACKS)
    if not found:
        return "last-layer" if _last_layers(checkpoint) else "psp" if _other(checkpoint) else None
    if f"{found[0]}latlayer1.weight" not in checkpoint.tensors:
        return "restyle"
    return "e4e" if _options(checkpoint, found[0]).get("encoder_type") == "Encoder4Editing" else "psp"


def read(checkpoint: Checkpoint, name: str) -> Encoder:
    """The encoder of the network of that name; `CheckpointError` if the file holds none, or what it holds is damaged,
    unknown, or not told."""
    if name == "e2style":
        return _read_stages(checkpoint)
    if name == "last-layer":
        return _read_last_layer(checkpoint)
    found = prefixes(checkpoint, _STACKS)
    if not found:
        checkpoint.fail(f"it holds {_other(checkpoint) or 'no encoder of pSp, e4e or ReStyle'}")
    prefix = checkpoint.averaged(found)
    checkpoint.spare(rf"(?!{re.escape(prefix)}).*")
    options = _options(checkpoint, prefix)
    chosen = _trunk(checkpoint, prefix)
    rows = count(checkpoint, f"{prefix}styles.")
    dim = shape_of(checkpoint, f"{prefix}styles.0.linear.weight", 2)[0]
    layers, side = _generator(checkpoint, prefix, options, rows)
    depths = [count(checkpoint, f"{prefix}styles.{row}.convs.", step=2) for row in range(layers)]
    levels = [depth - depths[0] for depth in depths]
    if levels != sorted(levels) or levels[-1] > 2 or not 1 <= depths[0] <= MOST_DEPTH:
        checkpoint.fail(f"its styles have {depths} convolutions, where those from a finer map have one more")
    checkpoint.spare(rf"{re.escape(prefix)}styles\.({'|'.join(map(str, range(layers, rows)))})\..*")
    unused = [f"latlayer{level}" for level in range(levels[-1] + 1, 3)]
    checkpoint.spare(rf"{re.escape(prefix)}(?:{'|'.join(unused)})\..*")
    shares = _shares(checkpoint, options, name)
    chosen |= {"offsets": shares} if name == "restyle" else {"coarse": levels.count(0), "middle": levels.count(1)}
    first, rules = _rules(chosen["trunk"])
    channels, odd = divmod(shape_of(checkpoint, prefix + first, 4)[1], 1 + (name == "restyle"))
    if options.get("label_nc"):
        checkpoint.fail("it encodes sketches or maps of labels, as its opts.label_nc says, and no photos")
    if odd:
        checkpoint.fail("it sees an odd number of channels, where a photo lies beside its reconstruction")
    fields = _fields(name, chosen, (layers, dim), channels, side, _view(options, 16 << depths[0]))
    offset = _offset(checkpoint, prefix, options, (layers, dim))

    def theirs(ours: str) -> str | Tensor:
        return _UNKNOWN if ours == "start" else prefix + renamed(ours, rules)

    encoder = build(checkpoint, fields, theirs, offset=offset)
    if name == "restyle" and encoder.network and (generator := _decoder(checkpoint, prefix)):
        encoder.network.meet(generator, encoder)
    return encoder


def _read_stages(checkpoint: Checkpoint) -> Encoder:
    """E2Style: stages that are alike, each a trunk and three heads."""
    found = prefixes(checkpoint, _STAGED)
    if not found:
        checkpoint.fail("it holds no encoder of E2Style")
    root = checkpoint.averaged(found)
    prefix = f"{root}encoder_firststage."
    refined = f"{root}encoder_refinestage_list."
    stages = [prefix, *(f"{refined}{index}." for index in range(count(checkpoint, refined)))]
    own = "|".join(map(re.escape, stages))
    checkpoint.spare(rf"(?!{own}).*")
    chosen = _trunk(checkpoint, prefix)
    used = sum(chosen["units"][:3])
    options = _options(checkpoint, root)
    outputs = [shape_of(checkpoint, f"{prefix}output_layer_{head}.3.weight", 2)[0] for head in (3, 4, 5)]
    known = _mean_name(checkpoint, root)
    dim = checkpoint.shape(known)[-1] if known and checkpoint.shape(known) else max(1, math.gcd(*outputs))
    layers, odd = divmod(sum(outputs), max(1, dim))
    if odd or not layers or any(output % dim for output in outputs):
        checkpoint.fail(f"its heads give {outputs} values, which are no styles of {dim}")
    _, side = _generator(checkpoint, root, options, layers)
    chosen |= {"stages": len(stages), "rows": [output // dim for output in outputs]}
    first, rules = _rules(chosen["trunk"])
    channels = shape_of(checkpoint, prefix + first, 4)[1]
    fields = _fields("e2style", chosen, (layers, dim), channels, side, _view(options, SEEN))
    checkpoint.spare(rf"(?:{own})body\.(?:{'|'.join(map(str, range(used, sum(chosen['units']))))})\..*")

    def theirs(ours: str) -> str:
        _, place, inner = ours.split(".", 2)
        head = re.sub(r"^heads\.(\d+)", lambda found: f"output_layer_{3 + int(found[1])}", inner)
        return stages[int(place)] + renamed(head, rules)

    return build(checkpoint, fields, theirs, offset=_offset(checkpoint, root, options, (layers, dim)))


def _last_layers(checkpoint: Checkpoint) -> list[str]:
    """The prefixes of encoders that have a trunk, and one linear layer after it."""
    marks = ("body.0.res_layer.1.weight", "body.0.conv1.weight")
    found = prefixes(checkpoint, r"linear\.weight")
    return [prefix for prefix in found if any(f"{prefix}{mark}" in checkpoint.tensors for mark in marks)]


def _read_last_layer(checkpoint: Checkpoint) -> Encoder:
    """One linear layer after the mean of a trunk's last features, or after its pooled ones."""
    found = _last_layers(checkpoint)
    if not found:
        checkpoint.fail("it holds no trunk with one linear layer after it")
    prefix = checkpoint.averaged(found)
    checkpoint.spare(rf"(?!{re.escape(prefix)}).*")
    options = _options(checkpoint, prefix)
    chosen = _trunk(checkpoint, prefix)
    tied = f"{prefix}output_layer_2.3.weight" not in checkpoint.tensors
    outputs, dim = shape_of(checkpoint, f"{prefix}linear.weight", 2)
    known = _mean_name(checkpoint, prefix)
    rows = checkpoint.shape(known)[0] if known and len(checkpoint.shape(known)) == 2 else 0
    declared = next((options[key] for key in ("output_size", "stylegan_size") if key in options), None)
    if isinstance(declared, int) and 4 <= declared <= MOST_SIDE:
        rows = 2 * declared.bit_length() - 4
    if tied and not prefixes(checkpoint, r"decoder\.convs\.0\.conv\.weight") and rows < 2:
        checkpoint.fail(
            "it gives one w, and how many layers the generator has is not told",
            "write a file of its name and the suffix .yaml beside it, with family: last-layer and stylegan_size: 1024",
        )
    rows, odd = (rows, outputs != dim) if tied else divmod(outputs, dim)
    if odd:
        checkpoint.fail(f"its last layer gives {outputs} values, which are no styles of {dim}")
    layers, side = _generator(checkpoint, prefix, options, rows if rows > 1 else MOST_ROWS)
    first, rules = _rules(chosen["trunk"])
    channels = shape_of(checkpoint, prefix + first, 4)[1]
    view = _view(options, SEEN)
    fields = _fields("last-layer", {**chosen, "tied": tied}, (layers, dim), channels, side, view)
    offset = _offset(checkpoint, prefix, options, (layers, dim))
    pools = [*rules, (r"pool\.", "output_layer_2.")]
    return build(checkpoint, fields, lambda ours: prefix + renamed(ours, pools), offset=offset)


def _other(checkpoint: Checkpoint) -> str:
    """What it is, if it is known and no encoder of these."""
    return next((text for name, text in _OTHERS.items() if prefixes(checkpoint, name)), "")


def _root(prefix: str) -> str:
    """What stands before the names of all that lies in the file."""
    return re.sub(r"(?:state_dict\.)?(?:\w*encoder\w*\.)?$", "", prefix)


def _options(checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    """The program's options, and over them those of the settings beside the file."""
    known = checkpoint.meta(f"{_root(prefix)}opts") or checkpoint.meta("opts")
    return {**(known if isinstance(known, dict) else {}), **checkpoint.settings[1]}


def _shares(checkpoint: Checkpoint, options: dict[str, Any], name: str) -> bool:
    """Whether styles are offsets from the first."""
    kind = options.get("encoder_type")
    if options.get("family") == name and (name != "restyle" or isinstance(options.get("offsets"), bool)):
        return name == "e4e" or options.get("offsets") is True
    if not isinstance(kind, str) or kind not in _TYPES or _TYPES[kind][0] != name:
        ask = "family: psp or family: e4e" if name != "restyle" else "family: restyle and offsets: true or false"
        told = "are not told: it has no opts.encoder_type" if kind is None else f"are unknown: its type is {kind!r:.60}"
        checkpoint.fail(
            f"whether its styles are offsets from the first, and what it is, {told}",
            f"write a file of its name and the suffix .yaml beside it, with {ask}",
        )
    return _TYPES[kind][1]


def _trunk(checkpoint: Checkpoint, prefix: str) -> dict[str, Any]:
    """Options of a network: which trunk it is, how wide, and how many units are in each group."""
    total = count(checkpoint, f"{prefix}body.")
    resnet = f"{prefix}body.0.bn1.weight" in checkpoint.tensors
    branch = "conv1" if resnet else "res_layer.1"
    shapes = [shape_of(checkpoint, f"{prefix}body.{unit}.{branch}.weight", 4) for unit in range(max(1, total))]
    widths = [shape[0] for shape in shapes]
    starts = [unit for unit, shape in enumerate(shapes) if unit and shape[0] != shape[1]]
    units = tuple(b - a for a, b in itertools.pairwise([0, *starts, total]))
    if len(units) != 4:
        units = _UNITS.get(total, ())
        starts = [*itertools.accumulate(units)][:-1]
    if len(units) != 4:
        checkpoint.fail(f"its {total} units fall into no four groups, each of half the resolution")
    chosen = [widths[start] for start in (0, *starts)]
    if widths != [width for width, number in zip(chosen, units) for _ in range(number)]:
        checkpoint.fail(f"its units have {widths} channels, which do not change where the resolution does")
    return {"trunk": "resnet34" if resnet else "irse50", "widths": chosen, "units": [*units]}


def _rules(trunk: str) -> tuple[str, list[Rule]]:
    """The name of the first convolution, and how our names become those of the file."""
    shared: list[Rule] = [
        (r"stacks\.", "styles."),
        (r"laterals\.0", "latlayer1"),
        (r"laterals\.1", "latlayer2"),
        (r"trunk\.units\.", "body."),
    ]
    if trunk == "resnet34":
        inner = {"branch.0": "conv1", "branch.1": "bn1", "branch.3": "conv2", "branch.4": "bn2", "bypass": "downsample"}
        first = [("trunk.first.0", "conv1"), ("trunk.first.1", "bn1"), ("trunk.first.2", "relu")]
    else:
        inner = {"branch.5.down": "res_layer.5.fc1", "branch.5.up": "res_layer.5.fc2"}
        inner |= {"branch": "res_layer", "bypass": "shortcut_layer"}
        first = [("trunk.first", "input_layer")]
    units = [(rf"(body\.\d+\.){ours}", rf"\1{theirs}") for ours, theirs in inner.items()]
    return f"{first[0][1]}{'' if trunk == 'resnet34' else '.0'}.weight", [*first, *shared, *units]


def _generator(checkpoint: Checkpoint, prefix: str, options: dict[str, Any], rows: int) -> tuple[int, int]:
    """How many styles the generator takes, and the side of its images: of the generator in the file, else as there are
    styles, of which those for cars leave out the last two of 18."""
    decoders = prefixes(checkpoint, r"decoder\.convs\.0\.conv\.weight")
    if decoders:
        found = count(checkpoint, f"{decoders[0]}decoder.convs.")
        return min(rows, found + 2), 4 << min(found // 2, 10)
    layers = 16 if rows == 18 and _cars(options) else rows
    declared = next((options[key] for key in ("output_size", "stylegan_size") if key in options), None)
    if isinstance(declared, int) and 4 <= declared <= MOST_SIDE and layers == rows:
        return layers, declared
    return layers, 4 << min(max(layers // 2 - 1, 0), 10)


def _cars(options: dict[str, Any]) -> bool:
    of = options.get("dataset_type")
    return isinstance(of, str) and "cars" in of


def _view(options: dict[str, Any], side: int) -> tuple[int, int]:
    """Height and width of what it sees; of cars the middle three quarters."""
    return (side * 3 // 4, side) if _cars(options) else (side, side)


def _fields(
    name: str, chosen: dict[str, Any], styles: tuple[int, int], channels: int, side: int, view: tuple[int, int]
) -> dict[str, Any]:
    """The fields of an encoder's spec."""
    seen = view[1] if side % view[1] == 0 else side
    options = {**chosen, **({} if view == (seen, seen) else {"view": [*view]})}
    return {
        "size": (seen, seen),
        "channels": channels,
        "layout": (Styles(name="w", layers=styles[0], dim=styles[1]),),
        "network": {"name": name, "options": options},
    }


def _mean_name(checkpoint: Checkpoint, prefix: str) -> str:
    names = (f"{_root(prefix)}latent_avg", "latent_avg")
    return next((name for name in names if name in checkpoint.tensors), "")


def _offset(checkpoint: Checkpoint, prefix: str, options: dict[str, Any], styles: tuple[int, int]) -> Tensor | None:
    """The mean latent, if codes are added to it."""
    if options.get("start_from_latent_avg") is False:
        return None
    name = _mean_name(checkpoint, prefix)
    if not name:
        if options.get("start_from_latent_avg"):
            checkpoint.fail("its latents start from a mean, latent_avg, which is missing")
        return None
    mean = checkpoint.tensor(name)
    mean = mean.reshape(-1, mean.shape[-1] if mean.ndim else 1)
    if mean.shape[1] != styles[1] or (len(mean) != 1 and len(mean) < styles[0]):
        checkpoint.fail(f"its latent_avg is {tuple(mean.shape)}, where {styles} is needed")
    return mean[: styles[0]]


def _decoder(checkpoint: Checkpoint, prefix: str) -> Generator | None:
    """The generator that lies beside the encoder, if there is one that is known."""
    names = [name for name in checkpoint.tensors if name.startswith(f"{prefix.removesuffix('encoder.')}decoder.")]
    if not names:
        return None
    try:
        found = from_checkpoint(
            Checkpoint(checkpoint.path, checkpoint.container, {name: checkpoint.tensors[name] for name in names})
        )
    except GanencError:
        return None
    return found if isinstance(found, Generator) else None
