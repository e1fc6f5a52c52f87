"""Latents encrypted by a password: the published network's outputs, what a short training reaches, files, commands."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import random
from pathlib import Path
from typing import Any

import fuzzing
import ganenc
import pytest
import torch
from foreign import Size, rosinality
from ganenc.cli import main
from ganenc.encoders import build_encoder
from ganenc.latents import Latents
from ganenc.training import pretrain
from ganenc_plugin_methods.riddle import Encryptor, EncryptorNetwork, EncryptorSpec, row_of, seed_of
from ganenc_registry.errors import CheckpointError, GanencError, LatentsError, SpecError
from runs import run_spec
from torch import Tensor
from torch.nn import functional as F
from toys import ToyConditional, ToyGenerator, toy_conditional_spec, toy_spec

WORD = "correct horse"


@pytest.fixture
def toy() -> ToyGenerator:
    return ToyGenerator(toy_spec((8, 8), dim=4)).freeze()


def encryptor_of(generator: Any, **options: Any) -> Encryptor:
    """With random weights, for all but the noise."""
    torch.manual_seed(1)
    drawn = generator.complete(generator.sample(3))
    layout = tuple(part for part in drawn.layout if part.name in drawn and part.kind != "setting")
    spec = EncryptorSpec(layout=layout, password=row_of(drawn).shape[1], **options)
    return Encryptor(EncryptorNetwork(spec), generator)


def published(rows: int = 7, dim: int = 8, shares: tuple[int, ...] = (2, 2, 3)) -> dict[str, Any]:
    """A file as RiDDLE's program saves it."""
    torch.manual_seed(2)
    layer = torch.nn.TransformerDecoderLayer(dim, 4, 2 * dim, 0.0)
    state = {"pos_embedding": torch.randn(rows, 1, dim)}
    for name in ("linear_ori", "linear_pwd"):
        state |= {f"{name}.weight": torch.randn(dim, dim), f"{name}.bias": torch.randn(dim)}
    for index in range(len(shares)):
        named = layer.state_dict().items()
        state |= {f"layers.{index}.{name}": torch.randn(one.shape) * 0.3 + ("norm" in name) for name, one in named}
    return {"mapper_state_dict": state, "opts": {"transformer_split_list": [*shares]}}


def by_hand(state: dict[str, Tensor], w: Tensor, password: Tensor, shares: tuple[int, ...]) -> Tensor:
    """The published network, written out: as all rows of a password are one, what is seen of it is one value."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = linear("linear_ori", w) + state["pos_embedding"][:, 0]
    seen = linear("linear_pwd", password)[:, None]
    out, dim = [], w.shape[2]
    for index, rows in enumerate(x.split(shares, 1)):
        own = f"layers.{index}."
        q, k, v = F.linear(rows, state[f"{own}self_attn.in_proj_weight"], state[f"{own}self_attn.in_proj_bias"]).chunk(
            3, 2
        )
        heads = [one.unflatten(2, (4, dim // 4)).transpose(1, 2) for one in (q, k, v)]
        weights = (heads[0] @ heads[1].transpose(2, 3) / math.sqrt(dim // 4)).softmax(3)
        mixed = (weights @ heads[2]).transpose(1, 2).flatten(2)
        h = F.layer_norm(
            rows + linear(f"{own}self_attn.out_proj", mixed),
            (dim,),
            state[f"{own}norm1.weight"],
            state[f"{own}norm1.bias"],
        )
        value = F.linear(
            seen,
            state[f"{own}multihead_attn.in_proj_weight"][2 * dim :],
            state[f"{own}multihead_attn.in_proj_bias"][2 * dim :],
        )
        h = F.layer_norm(
            h + linear(f"{own}multihead_attn.out_proj", value),
            (dim,),
            state[f"{own}norm2.weight"],
            state[f"{own}norm2.bias"],
        )
        fed = linear(f"{own}linear2", linear(f"{own}linear1", h).relu())
        out.append(F.layer_norm(h + fed, (dim,), state[f"{own}norm3.weight"], state[f"{own}norm3.bias"]))
    return torch.cat(out, 1)


def styled(rows: int, dim: int) -> ToyGenerator:
    """A generator of so many layers of styles."""
    assert rows % 2 == 0
    return ToyGenerator(toy_spec((4 << (rows // 2 - 1), 4 << (rows // 2 - 1)), dim=dim)).freeze()


@torch.no_grad()
def test_a_published_file_is_what_it_says(tmp_path: Path) -> None:
    shares = (1, 2, 3)
    content = published(6, 8, shares)
    torch.save(content, tmp_path / "riddle.pt")
    encryptor = Encryptor.load(tmp_path / "riddle.pt", styled(6, 8))
    w, password = torch.randn(2, 6, 8), torch.randn(2, 8)
    found = encryptor.network(
        encryptor.network.deviations(Latents(encryptor.generator.spec.layout, {"w": w})), password
    )
    torch.testing.assert_close(found["w"], by_hand(content["mapper_state_dict"], w, password, shares))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content["opts"].update(transformer_split_list=[6]), "do not fit its opts"),
        (lambda content: content["opts"].update(transformer_split_list=[1, 2, -3]), "do not fit together"),
        (lambda content: content["mapper_state_dict"].pop("layers.1.norm3.weight"), "'.*norm3.weight' is missing"),
        (lambda content: content["mapper_state_dict"].update({"layers.1.a": torch.ones(2, 2)}), "left over"),
        (lambda content: content["mapper_state_dict"].update(pos_embedding=torch.ones(5, 1, 8)), "has shape"),
        (lambda content: content.update(mapper_state_dict={"a": torch.ones(2, 2)}), "no encryptor that is known"),
    ],
)
def test_damaged_files(tmp_path: Path, change: Any, sentence: str) -> None:
    content = published(6, 8, (1, 2, 3))
    change(content)
    torch.save(content, tmp_path / "riddle.pt")
    with pytest.raises(CheckpointError, match=sentence):
        Encryptor.load(tmp_path / "riddle.pt", styled(6, 8))


def test_files_that_are_damaged_at_random(tmp_path: Path) -> None:
    """An encryptor or one of our errors, and nothing is executed."""
    torch.save(published(6, 8, (1, 2, 3)), tmp_path / "riddle.pt")
    generator, came = styled(6, 8), set()
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        payloads = fuzzing.Payloads(folder / "executed")
        done, path = fuzzing.mutate(random.Random(number), {"riddle": tmp_path / "riddle.pt"}, folder, payloads)
        try:
            Encryptor.load(path, generator)
            said = "read"
        except GanencError as error:
            said = str(error)
        came.add(said == "read")
        assert "\n" not in said, done
        assert not payloads.sentinel.exists(), done
    assert came == {True, False}


def test_what_the_published_network_gives(shared: Path, tmp_path: Path) -> None:
    folder = shared / "encoders" / "riddle-14"
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in the folder of encoders")
    spec = importlib.util.spec_from_file_location("encoders_check", shared / "encoders" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    layout = check.load(folder)
    check.rebuild(layout, tmp_path / "riddle.pt")
    given = {name: torch.from_numpy(one) for name, one in check.inputs(layout).items()}
    generator = styled(14, 512)
    encryptor = Encryptor.load(tmp_path / "riddle.pt", generator)
    network, password = encryptor.network, given["password"][:, 0]
    with torch.no_grad():
        hidden = network(network.deviations(Latents(generator.spec.layout, {"w": given["w"]})), password)
        again = network(hidden, password)
    found = {"encrypted": hidden["w"].numpy(), "decrypted": again["w"].numpy()}
    errors = check.compare(folder, found, verbose=False)
    assert len(errors) == 2
    assert max(errors.values()) < 1e-4


def test_training_lets_the_right_password_find_what_a_wrong_one_does_not(tmp_path: Path) -> None:
    toy = ToyGenerator(toy_spec((8, 8), dim=16)).freeze()
    encoder = build_encoder(toy, head_gain=1.0)
    run = run_spec(
        recipe="riddle", steps=60, data={"batch": 16}, optimiser={"rate": 0.003, "betas": [0.9, 0.99]},
        objective={"attention": "none"}, saving={"checkpoint_every": 60, "grid_every": 60, "trackers": []},
    )  # fmt: skip
    pretrain(toy, run, tmp_path / "run", encoder=encoder)
    encryptor = Encryptor.load(tmp_path / "run", toy)
    with torch.no_grad():
        latents = encoder(toy.synthesize(toy.sample(32, seed=9)))
        other = encoder(toy.synthesize(toy.sample(32, seed=10)))
    hidden = encryptor.encrypt(latents, WORD)

    def distance(found: Latents) -> float:
        """In deviations, squared; of other images it is 2."""
        a, b = (encryptor.network.deviations(one) for one in (found, latents))
        return float(torch.stack([(a[name] - b[name]).square().mean() for name in a]).mean())

    far = distance(other)
    right, wrong = (distance(encryptor.decrypt(hidden, word)) for word in (WORD, "wrong"))
    assert right < 0.35 * far
    assert wrong > 1.5 * right
    assert distance(hidden) > 0.6 * far


def test_what_is_encrypted_and_what_is_left_out(toy: ToyGenerator) -> None:
    encryptor = encryptor_of(toy)
    sample = toy.complete(toy.sample(2))
    noise = {f"noise.{i}": torch.randn(2, *shape) for i, shape in enumerate(toy.spec.layout[2].shapes)}
    hidden = encryptor.encrypt(sample.replace(**noise), WORD)
    assert set(hidden.tensors) == {"w", "const"}
    assert torch.equal(encryptor.encrypt(sample, WORD)["w"], hidden["w"])
    assert not torch.equal(encryptor.encrypt(sample, WORD + ".")["w"], hidden["w"])
    conditional = ToyConditional(toy_conditional_spec()).freeze()
    drawn = conditional.sample(2, truncation=0.5)
    kept = encryptor_of(conditional).encrypt(drawn, WORD)
    assert torch.equal(kept["truncation"], drawn["truncation"])
    assert not torch.equal(kept["z"], drawn["z"])
    with pytest.raises(LatentsError, match="empty"):
        encryptor.encrypt(sample, "")
    sample.info["tuning"] = "abc"
    with pytest.raises(LatentsError, match="tuned weights"):
        encryptor.encrypt(sample, WORD)


def test_a_password_is_a_seed() -> None:
    """The first 63 bits of the text's SHA-256; an environment's bytes that are no UTF-8 are a text, too."""
    assert seed_of("a") == 0xCA978112CA1BBDCA >> 1
    assert seed_of("\udcff") == int(hashlib.sha256(b"\xff").hexdigest()[:16], 16) >> 1


def test_a_folder_keeps_it(toy: ToyGenerator, tmp_path: Path) -> None:
    encryptor, sample = encryptor_of(toy, shares=(1, 3)), toy.complete(toy.sample(2))
    for _ in range(2):
        encryptor.save(tmp_path / "lock")
    again = Encryptor.load(tmp_path / "lock", toy)
    assert again.network.spec == encryptor.network.spec
    assert torch.equal(again.encrypt(sample, WORD)["const"], encryptor.encrypt(sample, WORD)["const"])
    with pytest.raises(CheckpointError, match="another generator"):
        Encryptor.load(tmp_path / "lock", ToyGenerator(toy_spec((8, 8), dim=4), seed=5).freeze())
    with pytest.raises(SpecError, match="does not fit"):
        Encryptor(encryptor.network, ToyGenerator(toy_spec((8, 8), dim=8)).freeze())
    ganenc.save_pretrained(build_encoder(toy), tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="would be lost"):
        encryptor.save(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="holds no encryptor"):
        Encryptor.load(tmp_path / "encoder", toy)
    config = json.loads((tmp_path / "lock" / "config.json").read_text())
    for change in ({"hidden": 10**6}, {"shares": []}, {"layout": 3}, {"password": 5}):
        (tmp_path / "lock" / "config.json").write_text(json.dumps({**config, "spec": {**config["spec"], **change}}))
        with pytest.raises(GanencError):
            Encryptor.load(tmp_path / "lock", toy)


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(rosinality(tmp_path, Size(widths=(4, 3))))
    model = ganenc.load(source)
    latents, _ = model.generate(2)
    latents.save(tmp_path / "two.safetensors")
    encryptor = encryptor_of(model.generator)
    encryptor.save(tmp_path / "lock")
    hidden = encryptor.encrypt(latents, WORD)

    def words(verb: str, what: Path, out: str, *more: str) -> tuple[int, str]:
        capsys.readouterr()
        given = [
            verb,
            str(what),
            "--model",
            source,
            "--encryptor",
            str(tmp_path / "lock"),
            "--out",
            str(tmp_path / out),
        ]
        with pytest.raises(SystemExit) as ended:
            main([*given, *more])
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    code, said = words("encrypt", tmp_path / "two.safetensors", "hidden")
    assert (code, "GANENC_PASSWORD" in said) == (2, True)
    assert words("encrypt", tmp_path / "two.safetensors", "hidden", "--password", WORD)[0] == 0
    found = model.latents(tmp_path / "hidden" / "two.safetensors")
    assert all(torch.equal(found[name], hidden[name]) for name in hidden.tensors)
    assert (tmp_path / "hidden" / "two.png").is_file()
    monkeypatch.setenv("GANENC_PASSWORD", WORD)
    assert words("decrypt", tmp_path / "hidden" / "two.safetensors", "found")[0] == 0
    again = model.latents(tmp_path / "found" / "two.safetensors")
    assert torch.equal(again["w"], encryptor.decrypt(hidden, WORD)["w"])
    assert words("decrypt", tmp_path / "hidden" / "two.png", "found")[0] == 2
