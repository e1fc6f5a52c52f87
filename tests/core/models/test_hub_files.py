"""Files of others in repositories of the Hub, which is on this machine: what is fetched, and what it is read as."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc.cli import main
from ganenc.foreign import Checkpoint
from ganenc.models import convert, is_hub_id, load_encoder, model_hash, read_config, repository_of, resolve
from ganenc_registry.errors import CheckpointError, WeightsMissingError
from hubs import Hub, Repository, hub_at
from toys import ToyGenerator, toy_spec


class Foreign(ToyGenerator):
    """A family that reads what its networks keep, and which file said that they are its own."""

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        return "mapping.weight" in checkpoint.tensors

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Foreign:
        made = cls(toy_spec((8, 8), dim=4))
        made.load_state_dict({name: checkpoint.tensor(name) for name in made.state_dict()})
        made.taken_as = str(checkpoint.settings[1].get("family", ""))
        return made


@pytest.fixture(autouse=True)
def family(known: Any) -> None:
    known.add_value("generator", "toy", Foreign)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, toy: Any) -> Iterator[Hub]:
    torch.save(toy.state_dict(), content := io.BytesIO())
    weights = content.getvalue()
    files = {
        "nets/g [1].pt": weights, "nets/g [1].yaml": b"family: toy\n", "nets/other.pt": b"not asked for",
        "nets/args.json": b"{}", "nets/deep/args.json": b"{}", "a.pkl": weights, "config.json": b"{}",
    }  # fmt: skip
    with hub_at(monkeypatch, tmp_path / "hf") as found:
        found.repositories["model", "some.one/toys"] = Repository(files=files)
        yield found


@pytest.mark.parametrize("name", ["user/name:net.pt", "user/name@v1.0:nets/a b.pkl", "a/b:c..d", "a/b:..c"])
def test_ids_with_a_file_are_known(name: str) -> None:
    assert is_hub_id(name)
    assert repository_of(name) == name.partition(":")[0].partition("@")[0]


@pytest.mark.parametrize(
    "name", ["a/b:", "a/b:/etc/x", "a/b:../x", "a/b:x/../../y", "a/b:x//y", "a/b:.", "a/b:c\\d", "a/b:c:d", "C:/b:c"]
)
def test_what_leads_out_of_a_repository_is_no_id(name: str) -> None:
    assert not is_hub_id(name)
    assert repository_of(name) == ""


def test_a_file_of_others_is_read_with_the_settings_beside_it_and_nothing_else_is_fetched(
    hub: Hub, toy: Any, tmp_path: Path
) -> None:
    model = ganenc.load("some.one/toys:nets/g [1].pt")
    assert model.hash == model_hash(toy)
    assert model.generator.taken_as == "toy"
    fetched = {path.name for path in (tmp_path / "hf").rglob("snapshots/*/**/*.*")}
    assert fetched == {"g [1].pt", "g [1].yaml", "args.json"}
    assert not any("deep" in path or "other" in path for method, path in hub.asked if method in ("GET", "HEAD"))


def test_every_revision_and_command_takes_it(hub: Hub, toy: Any, tmp_path: Path, capsys: Any) -> None:
    repository = hub.repositories["model", "some.one/toys"]
    sha = repository.sha()
    repository.commits.append({"a.pkl": b"something else"})
    assert model_hash(ganenc.load_generator(f"some.one/toys@{sha}:a.pkl")) == model_hash(toy)
    facts = convert(f"some.one/toys@{sha}:a.pkl", tmp_path / "model")
    assert facts["hash"] == model_hash(toy)
    assert read_config(tmp_path / "model")["info"] == {"source": f"some.one/toys@{sha}:a.pkl"}
    with pytest.raises(SystemExit) as ended:
        main(["spec", f"some.one/toys@{sha}:a.pkl"])
    assert not ended.value.code
    assert "Checkpoint some.one/toys" in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="holds no encoder that is known"):
        load_encoder(f"some.one/toys@{sha}:a.pkl")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("some.one/toys:b.pkl", r"the repository has no file 'b.pkl'; look it up on its page there\.$"),
        ("some.one/toys:nets", r"has no file 'nets'"),
        ("some.one/toys@v9:a.pkl", r"the model has no revision 'v9' there"),
        ("some.one/absent:a.pkl", r"the Hub has no such model"),
    ],
)
def test_what_is_not_there_is_told_in_one_sentence(hub: Hub, name: str, told: str) -> None:
    with pytest.raises(WeightsMissingError, match=told) as caught:
        resolve(name)
    assert "\n" not in str(caught.value)


def test_a_repository_of_others_says_how_its_files_are_named(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match=r"is no model of ganenc; .* goes by some.one/toys:FILE\.$"):
        resolve("some.one/toys")


def test_a_wrong_token_and_no_network_are_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(WeightsMissingError, match="the Hub does not know your token; log in with") as caught:
        resolve("some.one/toys:a.pkl")
    assert "hf_wrong" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsMissingError, match="the Hub cannot be reached"):
        resolve("some.one/toys:a.pkl")
