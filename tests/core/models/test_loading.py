"""Models on disk: round trips, names, foreign files, and one clear sentence for everything that can be wrong."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.editing import Direction, load_direction
from ganenc.encoders import Encoder
from ganenc.foreign import Checkpoint
from ganenc.generators import build_generator
from ganenc.models import (
    convert,
    load_encoder,
    load_generator,
    load_model,
    model_hash,
    read_config,
    resolve,
    save_pretrained,
)
from ganenc_registry import Contribution
from ganenc_registry.errors import (
    CheckpointError,
    DeviceError,
    GanencError,
    LatentsError,
    PluginError,
    SpecError,
    UnknownNameError,
    WriteError,
)
from safetensors.torch import load_file, save_file
from torch import nn
from toys import ToyGenerator, toy_spec


@pytest.fixture(autouse=True)
def family(known: Any) -> Any:
    known.add_value("generator", "toy", ToyGenerator)
    return known


@pytest.fixture
def folder(tmp_path: Path, toy: Any, toy_encoder: Encoder) -> Path:
    """A generator's folder with its encoder inside."""
    save_pretrained(toy, tmp_path / "toy", info={"from": "a test"})
    save_pretrained(toy_encoder, tmp_path / "toy" / "encoder")
    return tmp_path / "toy"


NO_PLACE = {"behind_a_file": "{file}/x", "too_long": "{folder}/" + "a" * 300, "of_the_system": "/proc/x/c"}


@pytest.mark.parametrize("place", NO_PLACE)
def test_a_place_that_cannot_be_written_or_read_is_told(folder: Path, toy: Any, tmp_path: Path, place: str) -> None:
    if place == "of_the_system" and not os.path.isdir("/proc/self"):
        pytest.skip("the system has no /proc")
    path = Path(NO_PLACE[place].format(file=folder / "config.json", folder=tmp_path))
    with pytest.raises(
        (WriteError, CheckpointError), match=r"cannot be (read or )?written: .*(Not a|No such|too long)"
    ):
        convert(folder, path)
    with pytest.raises(CheckpointError, match=r"There is no model|File name too long"):
        resolve(path)


def test_an_installed_model_is_found_from_a_working_folder_that_cannot_be_looked_into(
    folder: Path, family: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    family.add_value("model", "installed", folder)
    real = os.stat

    def stat(path: Any, *given: Any, **options: Any) -> os.stat_result:
        if not os.path.isabs(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *given, **options)

    monkeypatch.setattr(os, "stat", stat)
    assert resolve("installed").path == folder
    with pytest.raises(CheckpointError, match="other cannot be read or written: Permission denied; check the name"):
        resolve("other")


@pytest.mark.parametrize("half", [False, True])
def test_directions_go_along_as_those_of_what_was_written(folder: Path, toy: Any, tmp_path: Path, half: bool) -> None:
    given = {"own": model_hash(toy), "of_another": "0" * 64}
    for name, model in given.items():
        part = toy.spec.layout[0]
        one = Direction(name, [part], {part.name: torch.ones(1, part.dim)}, space="w", scale=2.0, model=model)
        one.save(folder / "directions" / f"{name}.safetensors")
    facts = convert(folder, tmp_path / "new", half=half)
    assert sorted(path.name for path in (tmp_path / "new" / "directions").iterdir()) == [
        "of_another.safetensors", "own.safetensors"
    ]  # fmt: skip
    carried = load_direction("own", tmp_path / "new", model=facts["hash"])
    assert (carried.scale, carried.model) == (2.0, model_hash(load_generator(tmp_path / "new")))
    assert (carried.model == given["own"]) is not half
    with pytest.raises(LatentsError):
        load_direction("of_another", tmp_path / "new", model=facts["hash"])


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def change_weights(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_generator_comes_back_with_the_same_pixels(folder: Path, toy: Any) -> None:
    back = load_generator(folder)
    assert back is not toy
    assert back.spec == toy.spec
    latents = toy.sample(3, seed=1)
    assert torch.equal(back.synthesize(latents), toy.synthesize(latents))
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())
    assert read_config(folder)["info"] == {"from": "a test"}


def test_an_encoder_comes_back_with_the_same_latents(folder: Path, toy: Any, toy_encoder: Encoder) -> None:
    images = toy.synthesize(toy.sample(2))
    expected = toy_encoder.eval()(images)
    for source in (folder, folder / "encoder", str(folder)):
        back = load_encoder(source)
        assert back.spec == toy_encoder.spec
        assert not back.training
        found = back(images)
        assert all(torch.equal(found[name], expected[name]) for name in ("w", "const"))


def test_memory_formats_and_shared_memory_do_no_harm(tmp_path: Path, toy: Any) -> None:
    before = model_hash(toy)
    toy.to(memory_format=torch.channels_last)
    toy.affines[1].weight = toy.affines[0].weight
    toy.affines[1].weight.data = toy.affines[0].weight.data
    save_pretrained(toy, tmp_path)
    back = load_generator(tmp_path)
    assert torch.equal(back.affines[1].weight, toy.affines[0].weight)
    assert model_hash(back) == model_hash(toy) != before


def test_half_precision_files_fill_single_precision_modules(folder: Path, toy: Any) -> None:
    change_weights(folder, lambda tensors: tensors.update({name: t.half() for name, t in tensors.items()}))
    back = load_generator(folder)
    assert back.dtype == torch.float32
    assert torch.equal(back.const, toy.const.half().float())


def test_the_hash_is_that_of_the_weights(folder: Path, toy: Any) -> None:
    first = model_hash(toy)
    assert model_hash(load_generator(folder)) == first
    assert model_hash(toy.to(memory_format=torch.channels_last)) == first
    with torch.no_grad():
        toy.affines[2].bias[1].add_(1e-6)
    assert model_hash(toy) != first
    assert model_hash(nn.Linear(2, 2)) != model_hash(nn.Linear(2, 2).half())


def test_the_hash_takes_every_kind_of_tensor() -> None:
    module = nn.Module()
    for name, tensor in {
        "a": torch.tensor(True),
        "b": torch.empty(0),
        "c": torch.ones(2, dtype=torch.bfloat16),
    }.items():
        module.register_buffer(name, tensor)
    first = model_hash(module)
    module.c[0] = 2
    assert first != model_hash(module)


def test_shipped_models_go_by_name(folder: Path, toy: Any, family: Any) -> None:
    family.add_value("model", "shipped", folder, summary="A toy")
    assert resolve("shipped").folder == folder
    assert model_hash(load_generator("shipped")) == model_hash(toy)
    assert load_encoder("shipped").spec.size == (8, 8)
    family.add_value("model", "wrong", "not a path", summary="Registered amiss")
    with pytest.raises(PluginError, match="it has to be the Path of a folder"):
        load_generator("wrong")
    with pytest.raises(CheckpointError, match=r"no model 'shippd' \(did you mean 'shipped'\?\).*installed models"):
        load_generator("shippd")


def test_the_folder_of_a_run_stands_for_its_encoder(tmp_path: Path, folder: Path, toy_encoder: Encoder) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.yaml").write_text("task: pretrain")
    assert (resolve(run).kind, resolve(run).encoder, resolve(run).spec) == ("run", None, None)
    with pytest.raises(CheckpointError, match="run has no encoder yet; train one with `ganenc pretrain`"):
        load_encoder(run)
    (folder / "encoder").rename(run / "encoder")
    assert (resolve(run).encoder, resolve(run).spec) == (run / "encoder", toy_encoder.spec)
    assert model_hash(load_encoder(run)) == model_hash(load_model(run)) == model_hash(toy_encoder)
    with pytest.raises(CheckpointError, match="is the folder of a run, which holds an encoder; name a generator"):
        load_generator(run)


def test_what_a_name_stands_for_is_told_without_loading_it(folder: Path, family: Any, toy: Any) -> None:
    family.add_value("model", "shipped", folder, summary="A toy")
    family.add_value("model", "made", lambda: toy, summary="A toy that a function makes")
    kinds = {str(source): resolve(source).kind for source in (folder, "shipped", "made", folder / "model.safetensors")}
    assert list(kinds.values()) == ["folder", "shipped", "function", "file"]
    found = resolve("shipped")
    assert (found.folder, found.encoder, found.info) == (folder, folder / "encoder", {"from": "a test"})
    assert (found.spec, resolve(folder / "encoder").encoder) == (toy.spec, folder / "encoder")
    assert (resolve("made").folder, resolve("made").spec, resolve("made").info) == (None, None, {})


def test_a_generator_is_not_lost_for_an_encoder(folder: Path, toy_encoder: Any) -> None:
    with pytest.raises(CheckpointError, match=r"holds a model of kind 'generator', which would be lost"):
        save_pretrained(toy_encoder, folder)


def test_a_folder_here_comes_before_a_name(folder: Path, family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    family.add_value("model", "toy", folder / "elsewhere", summary="Another one")
    monkeypatch.chdir(folder.parent)
    with pytest.warns(UserWarning, match=r"not the installed model; the name \./toy says so"):
        assert resolve("toy").folder == Path("toy")
    assert resolve("./toy").folder == Path("toy")  # In silence.


def test_no_config_and_foreign_ones_are_left_to_the_families(folder: Path) -> None:
    assert resolve(folder / "model.safetensors").folder is None
    (folder / "config.json").write_text('{"architecture": "foreign"}')
    assert resolve(folder).folder is None
    with pytest.raises(CheckpointError, match="is no config of ganenc"):
        read_config(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no model folder: config\.json cannot be read"):
        read_config(folder)
    with pytest.raises(CheckpointError, match=r"No installed family recognises .*installed are .*stylegan2.*toy"):
        load_generator(folder)


@pytest.mark.parametrize(
    "content", ["{", "", "\x00", b"\xff\xfe", "[" * 100_000], ids=["half", "empty", "zero", "no text", "deep"]
)
@pytest.mark.parametrize("load", [load_generator, load_encoder])
def test_a_damaged_config_is_named(folder: Path, content: str | bytes, load: Callable[..., Any]) -> None:
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        CheckpointError, match=r"config\.json: it is not valid JSON \(.*\); the model folder is damaged"
    ):
        load(folder)


def test_a_config_of_endless_length_is_not_read(folder: Path) -> None:
    with (folder / "config.json").open("r+b") as file:
        file.truncate(1 << 25)
    with pytest.raises(CheckpointError, match=r"config\.json.* far too large.*; the model folder is damaged"):
        load_generator(folder)


def test_another_projects_config_is_never_overwritten(folder: Path, toy: Any) -> None:
    foreign = '{"architecture": "foreign"}'
    (folder / "config.json").write_text(foreign)
    weights = (folder / "model.safetensors").read_bytes()
    with torch.no_grad():
        toy.const.add_(1)
    with pytest.raises(CheckpointError, match=r"holds another project's config\.json, which would be lost; name anoth"):
        save_pretrained(toy, folder)
    assert (folder / "config.json").read_text() == foreign
    assert (folder / "model.safetensors").read_bytes() == weights


def test_configs_that_hold_something_else_are_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a model of kind 'encoder'; a generator is wanted"):
        load_generator(folder / "encoder")
    change_config(folder, spec="text")
    with pytest.raises(SpecError, match=r"config\.json has no spec"):
        load_generator(folder)
    change_config(folder, spec={"family": "toy", "sizes": [8, 8]})
    with pytest.raises(SpecError, match=r"config\.json.*sizes: there is no such field .*'size'"):
        load_generator(folder)
    for kind, told in (("painting", "kind 'painting'"), (["generator"], r"kind \['generator'\]")):
        change_config(folder, kind=kind)
        with pytest.raises(CheckpointError, match=told):
            load_generator(folder)


def test_a_generator_without_an_encoder_says_how_to_get_one(folder: Path) -> None:
    (folder / "encoder" / "config.json").unlink()
    with pytest.raises(CheckpointError, match="has no encoder yet; train one with `ganenc pretrain`"):
        load_encoder(folder)


def test_families_that_are_not_there_or_build_no_generator_are_named(folder: Path, family: Any) -> None:
    spec = read_config(folder)["spec"]
    change_config(folder, spec={**spec, "family": "toi"})
    with pytest.raises(UnknownNameError, match=r"no generator 'toi' \(did you mean 'toy'\?\)"):
        load_generator(folder)
    family.add_value("generator", "module", lambda spec: nn.Identity(), summary="No generator")
    change_config(folder, spec={**spec, "family": "module"})
    with pytest.raises(PluginError, match="builds a Identity, which is no Generator"):
        load_generator(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("const"), "lack the tensor const"),
        (lambda t: t.update(extra=torch.ones(1)), "hold a tensor extra that the model of their config has not"),
        (lambda t: t.update(const=torch.ones(1, 4, 4, 5)), r"const is \(1, 4, 4, 5\), not \(1, 4, 4, 4\)"),
    ],
    ids=["missing", "superfluous", "misshapen"],
)
def test_weights_that_do_not_fit_are_named(folder: Path, change: Callable[..., Any], message: str) -> None:
    change_weights(folder, change)
    with pytest.raises(CheckpointError, match=message):
        load_generator(folder)


def test_weights_that_are_missing_or_damaged_are_named(folder: Path) -> None:
    path = folder / "encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read.*fetch or save the model again"):
        load_encoder(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
        load_encoder(folder)


def test_devices_that_are_not_there_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for load in (load_generator, load_encoder):
        with pytest.raises(DeviceError, match="'cuda' is not here"):
            load(folder, device="cuda")


class Claiming(ToyGenerator):
    """Takes every file that holds a constant."""

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        return "const" in checkpoint.tensors

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> ToyGenerator:
        made = ToyGenerator(toy_spec((8, 8), dim=4))
        made.load_state_dict(checkpoint.tensors)
        return made


def test_a_foreign_file_goes_to_the_family_that_claims_it(folder: Path, toy: Any, family: Any) -> None:
    family.add_value("generator", "claiming", Claiming)
    family.add_value("generator", "function", lambda spec: None, summary="A factory that cannot be asked")
    back = load_generator(folder / "model.safetensors")
    assert model_hash(back) == model_hash(toy)
    assert not back.training
    assert not any(p.requires_grad for p in back.parameters())


def test_two_claims_are_an_error_that_names_both(folder: Path, family: Any) -> None:
    family.add_value("generator", "claiming", Claiming)
    family.add_value("generator", "also-claiming", type("Other", (Claiming,), {}))
    with pytest.raises(GanencError, match=r"is claimed by also-claiming \(.*\) and claiming \(.*\); uninstall one"):
        load_generator(folder / "model.safetensors")


def test_a_family_that_fails_when_asked_harms_no_other(tmp_path: Path, family: Any, monkeypatch: Any) -> None:
    class Failing(ToyGenerator):
        @classmethod
        def recognises(cls, checkpoint: Any) -> bool:
            raise KeyError("conv1")

    family.add_value("generator", "failing", Failing, summary="Fails")
    save_file({"x": torch.ones(1)}, tmp_path / "unknown.safetensors")
    with pytest.raises(CheckpointError, match=r"failing failed with KeyError: 'conv1'"):
        load_generator(tmp_path / "unknown.safetensors")


def test_nobody_claims_a_file(tmp_path: Path, family: Any) -> None:
    family.add_all([Contribution("generator", "broken", "Cannot be imported", "no_such_module:X")], owner="a test")
    save_file({"x": torch.ones(1)}, tmp_path / "unknown.safetensors")
    with pytest.raises(
        CheckpointError, match=r"recognises .*unknown\.safetensors; installed are .*broken,.* toy"
    ) as caught:
        load_generator(tmp_path / "unknown.safetensors")
    assert "(broken could not be imported)" in str(caught.value)


def test_a_generator_is_built_from_its_spec_alone(toy: Any) -> None:
    assert isinstance(build_generator(toy.spec), ToyGenerator)


def test_looking_into_a_folder_imports_no_torch(folder: Path) -> None:
    code = (
        "import sys; from ganenc.models import resolve\n"
        f"assert resolve({str(folder)!r}).config['kind'] == 'generator'\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
