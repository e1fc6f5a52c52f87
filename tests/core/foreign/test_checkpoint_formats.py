"""Every format that is read, once whole and once damaged in each way: by `ganenc convert`, and by error messages.

The files are those of the folder ``shared``, with what the published code gives for them, and small ones written here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import foreign
import numpy as np
import pytest
import torch
from foreign import published as known
from ganenc.cli import main
from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.models import load_generator, load_model, model_hash
from ganenc_registry.errors import CheckpointError, GanencError
from safetensors.torch import save_file
from torch import Tensor

CHECKPOINTS = Path(__file__).resolve().parents[4] / "shared" / "checkpoints"
PUBLISHED = [folder.name for folder in known.folders(CHECKPOINTS) if folder.name in known.ALIKE]
OURS = ("model-folder", "encoder-folder")
ROWS = ("dcgan", "dcgan-normalised", "linear-gan")  # Without a bias, or a norm, they are other rows of layers.
KERAS = ("keras", "keras-h5")  # Their tensors mean nothing outside of their own files.
WRITTEN = [name for name in foreign.FORMATS if name not in (*OURS, *ROWS, *KERAS)]
NOT_WEIGHTS = ("expected.npz", "about.json")
NEEDLESS = re.compile(
    r"filter|kernel|blur|avg(?!G)|lod$|noise(?!2)|mean_w|center|buffer|_[uv]$|sv0$|embed|label|bias_2|^(D|G|generator)\."
    r"|^GAN\.G\.|num_batches|to_128|_256\.|\.from_rgb\.[1-9]|stage\w*\.(0\.)?body\.5"
)
IMAGES = re.compile(r"output\d|to_?rgb|ToRGB|toRGB")
LAST_IMAGE_ALONE = ("pggan", "stylegan1")


def published(folder: Path) -> Path:
    """What a user would name: the one file, or the folder of several."""
    files = [path for path in folder.iterdir() if path.name not in NOT_WEIGHTS]
    return files[0] if len(files) == 1 else folder


@pytest.fixture(params=PUBLISHED or ["none"])
def folder(request: pytest.FixtureRequest, shared: Path) -> Path:
    """A folder of a published checkpoint."""
    return shared / "checkpoints" / str(request.param)


@pytest.fixture(params=[*PUBLISHED, *WRITTEN])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a checkpoint of some format, to be damaged."""
    name = str(request.param)
    target = tmp_path / "sound"
    target.mkdir()
    if name in PUBLISHED:
        for path in (CHECKPOINTS / name).iterdir():
            if path.name not in NOT_WEIGHTS:
                shutil.copy(path, target)
        return published(target)
    with torch.random.fork_rng():
        return foreign.FORMATS[name](target)


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Run a command of ours: its exit code and what it printed."""
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        code = int(ended.code or 0)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


# Whole files


def test_what_is_converted_gives_what_was_published(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "convert", "--model", published(folder), "--out", tmp_path / "model", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["largest_difference"] == 0
    assert told["loads_times_as_fast"] > 0
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    model = load_model(tmp_path / "model")
    assert told["hash"] == model_hash(model)
    model = model.double()  # What is left is the rounding of the published outputs, on any machine.
    with np.load(folder / "expected.npz") as recorded:
        expected = {name: torch.from_numpy(recorded[name]) for name in recorded.files}
    expected = {name: one.double() if one.is_floating_point() else one for name, one in expected.items()}
    about = json.loads((folder / "about.json").read_text())["outputs"]
    with torch.no_grad():
        found = encoded(model, expected) if isinstance(model, Encoder) else generated(model, expected, about)
    assert set(found) == set(expected) - {"z", "c", "y", "x", "wplus"}
    for name, tensor in found.items():
        assert tensor.shape == expected[name].shape
        assert float((tensor - expected[name]).abs().max()) <= 1e-4 * float(expected[name].std()), name


def encoded(encoder: Encoder, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What an encoder makes of the recorded images."""
    return dict(encoder(expected["x"]).tensors)


def generated(generator: Generator, expected: Mapping[str, Tensor], about: Mapping[str, str]) -> dict[str, Tensor]:
    """What a generator makes of the recorded draws, by the names that the records have."""
    classes = generator.spec.classes
    labels = expected.get("y", expected.get("c")) if classes else None
    whole = generator.map(expected["z"], labels=labels)

    def truncated(name: str) -> Latents:
        """Pulled to 0.7 on the layers that the record's description names."""
        first = re.search(r"first (\d+|half)", about.get(name, "") + about.get(f"wp{name[3:]}", ""))
        layers = whole["w"].shape[1]
        count = layers if first is None else layers // 2 if first[1] == "half" else int(first[1])
        return generator.map(expected["z"], labels=labels, truncation=0.7, truncation_layers=count)

    found: dict[str, Tensor] = {}
    for name in expected:
        base = truncated(name) if "psi07" in name else truncated("w") if "truncated" in about.get("w", "") else whole
        if name in ("w", "ws", "wp", "ws_psi07", "wp_psi07"):
            found[name] = base["w"] if expected[name].ndim == 3 else base["w"][:, 0]
        elif name in ("img", "img_psi07"):
            found[name] = generator.synthesize(base)
        elif name == "img_nonoise":
            found[name] = generator.synthesize(base, noise="none")
        elif name == "img_wplus":
            found[name] = generator.synthesize(Latents(generator.spec.layout, {"w": expected["wplus"]}))
        elif name == "embed":
            assert labels is not None
            found[name] = generator.embed(labels)
        elif name.startswith("img_t"):
            share = float(f"0.{name[6:]}")
            found[name] = generator.synthesize(whole.replace(truncation=torch.full((len(expected["z"]),), share)))
    return found


def test_half_precision_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = foreign.rosinality(tmp_path)
    code, out, err = run(capsys, "convert", "--model", file, "--out", tmp_path / "half", "--half")
    assert code == 0, err
    assert re.search(r"half: stylegan2, 8x8, pixels of .*checkpoint\.pt up to \d.*; loads \d+\.\dx as fast; hash", out)
    code, out, err = run(capsys, "convert", "--model", file, "--out", tmp_path / "full")
    assert "full: stylegan2, 8x8, the same pixels as" in out
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.8 * sizes[1]


def test_encoders_are_converted_as_encoders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = foreign.encoder_of_the_authors(tmp_path)
    code, out, err = run(capsys, "convert", "--model", file, "--out", tmp_path / "model")
    assert code == 0, err
    assert "model: encoder, 8x8, the same latents as" in out
    with pytest.raises(CheckpointError, match=r"encoder\.pth holds an encoder, where a gen"):
        load_generator(file)


# Damaged files


def refused(path: Path, *words: str) -> str:
    """The message that loading gives: one sentence that names the file and has these words."""
    with pytest.raises(GanencError) as caught:
        load_model(path)
    message = str(caught.value)
    assert str(path) in message, message
    assert message.endswith("."), message
    assert "\n" not in message, message
    assert re.search(r"[;:] ?\w+", message.removeprefix(str(path))), f"{message!r} names no remedy"
    assert not re.search(r"(Value|Key|Type|Index|Attribute|Runtime|Assertion)Error|failed with", message), message
    for word in words:
        assert word in message, message
    return message


def weight_files(source: Path) -> list[Path]:
    """The files that hold tensors."""
    return [source] if source.is_file() else sorted(path for path in source.iterdir() if path.suffix != ".json")


def test_files_that_are_cut_short(source: Path) -> None:
    for path in weight_files(source):
        data = path.read_bytes()
        for length in (1, 2, 7, 64, len(data) // 3, len(data) * 9 // 10, len(data) - 1):
            path.write_bytes(data[:length])
            refused(source)
        path.write_bytes(b"")
        refused(source, "is empty")
        path.write_bytes(data)
    load_model(source)


def test_folders_without_one_of_their_files(source: Path) -> None:
    if source.is_file():
        pytest.skip("is no folder")
    for path in sorted(source.iterdir()):
        if "center" in path.name:
            continue  # what it holds is computed where there is none
        data = path.read_bytes()
        path.unlink()
        message = refused(source)
        assert path.name in message or "holds no weights" in message, message
        path.write_bytes(data)


def test_foreign_names(source: Path, tmp_path: Path) -> None:
    """A payload in a sound file of the format: refused, named, and not executed."""
    payload = foreign.Calls(os.system, f"touch {tmp_path / 'executed'}")
    checkpoint = read_checkpoint(source)
    if checkpoint.container == "safetensors":
        pytest.skip("holds no pickle")
    rewrite(checkpoint, source, dict(checkpoint.tensors), payload)
    assert "system" in refused(source, "which no file")
    assert not (tmp_path / "executed").exists()


def rewrite(checkpoint: Checkpoint, source: Path, tensors: Mapping[str, Tensor], payload: Any = None) -> None:
    """Write a file of the same container anew, with other tensors in it, and a payload."""
    extra = {} if payload is None else {"extra": payload}
    if checkpoint.container == "safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, source)
    elif checkpoint.container == "torch":
        torch.save({**tensors, **extra}, source)
    elif checkpoint.container == "folder":
        for path in weight_files(source):
            own = {name[len(path.stem) + 1 :]: t for name, t in tensors.items() if name.split(".")[0] == path.stem}
            torch.save({**own, **extra} if list(own) != [""] else payload or own[""], path)
    else:
        networks: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            networks.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = tensor
        tree: dict[str, Any] = {}
        for key, own in networks.items():
            declared = checkpoint.metadata.get(key, {})
            tensorflow = "build_func_name" in declared
            write = foreign.tensorflow_network if tensorflow else lambda _, *rest: foreign.torch_network(*rest)
            tree[key] = write(key, own, declared)
        source.write_bytes(foreign.dumps({**tree, **extra}))


def needed(source: Path) -> list[str]:
    """Tensors that reading cannot do without; those of lower resolutions' images are left over from growing."""
    spec = load_model(source).spec
    spare = IMAGES if getattr(spec, "family", "") in LAST_IMAGE_ALONE else re.compile("$^")
    return [name for name in read_checkpoint(source).tensors if not NEEDLESS.search(name) and not spare.search(name)]


def test_rewriting_changes_nothing(source: Path) -> None:
    """What the next tests change is all that they change."""
    checkpoint, before = read_checkpoint(source), model_hash(load_model(source))
    rewrite(checkpoint, source, dict(checkpoint.tensors))
    assert model_hash(load_model(source)) == before


def damage(source: Path, change: Callable[[Tensor], Tensor | None], *, count: int) -> Iterator[tuple[str, str]]:
    """Change some tensors, one at a time, and give the name of each and the message that comes of it."""
    checkpoint = read_checkpoint(source)
    names = needed(source)
    assert len(names) >= 8
    for name in names[:: -(-len(names) // count)]:
        tensors = dict(checkpoint.tensors)
        changed = change(tensors[name])
        if changed is None:
            del tensors[name]
        else:
            tensors[name] = changed
        rewrite(checkpoint, source, tensors)
        yield name, refused(source)


def test_tensors_that_are_missing(source: Path) -> None:
    messages = dict(damage(source, lambda tensor: None, count=12))
    named = [name for name, message in messages.items() if name in message]
    assert len(named) >= 0.8 * len(messages), messages


def test_tensors_of_another_shape(source: Path) -> None:
    messages = dict(damage(source, lambda tensor: tensor[None, None, None], count=8))
    assert all(name in message for name, message in messages.items()), messages


def test_tensors_with_nan(source: Path) -> None:
    def poison(tensor: Tensor) -> Tensor:
        out = tensor.float().contiguous().clone()
        out.view(-1)[-1] = torch.nan
        return out

    messages = dict(damage(source, poison, count=8))
    assert all(name in message and "NaN" in message for name, message in messages.items()), messages
