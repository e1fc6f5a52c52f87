"""Models on the Hugging Face Hub, with the Hub played by this machine: what is asked of it, and what it may answer."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from ganenc.cli import main
from ganenc.encoders import Encoder
from ganenc.models import (
    is_hub_id,
    load_encoder,
    load_generator,
    model_hash,
    resolve,
    save_pretrained,
)
from ganenc_registry.errors import CheckpointError, WeightsMissingError
from huggingface_hub import errors
from toys import ToyGenerator


@pytest.fixture(autouse=True)
def family(known: Any) -> None:
    known.add_value("generator", "toy", ToyGenerator)


@pytest.fixture
def repository(tmp_path: Path, toy: Any, toy_encoder: Encoder) -> Path:
    """What lies on the Hub: a generator with its encoders, a card, and files that can run code."""
    folder = tmp_path / "repository"
    save_pretrained(toy, folder)
    save_pretrained(toy_encoder, folder / "encoder")
    save_pretrained(toy_encoder, folder / "encoder-pretrained")
    for name in ("README.md", "pytorch_model.bin", "network.pkl", "optimizer.pt", "run.py", "other.safetensors"):
        (folder / name).write_bytes(b"\x80\x04never opened.")
    return folder


@pytest.fixture
def asked(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """What was asked of the Hub, which gives the files that the patterns allow."""
    found: list[tuple[str, str | None]] = []

    def snapshot_download(repo_id: str, *, revision: str | None = None, allow_patterns: list[str]) -> str:
        found.append((repo_id, revision))
        folder = tmp_path / "snapshot"
        for path in repository.rglob("*.*"):
            name = path.relative_to(repository)
            if any(fnmatch.fnmatch(str(name), pattern) for pattern in allow_patterns):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(path.read_bytes())
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return found


@pytest.mark.parametrize(
    "text", ["user/name", "user/name@v1.0", "user/name@refs/pr/3", "Org-1/my.gan_2", "a/b@0123abc"]
)
def test_ids_are_known(text: str) -> None:
    assert is_hub_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "/user/name",
        "./user/name",
        "../name",
        "a/b/c",
        "runs/final.pt",
        "zoo/net.pkl",
        "a/x.safetensors",
        "a/",
        "~/a",
    ],
)
def test_paths_are_no_ids(text: str) -> None:
    assert not is_hub_id(text)


def test_a_generator_and_its_encoder_come_from_the_hub(asked: list[Any], toy: Any, toy_encoder: Any) -> None:
    assert model_hash(load_generator("user/toy")) == model_hash(toy)
    assert model_hash(load_encoder("user/toy@v2")) == model_hash(toy_encoder)
    assert asked == [("user/toy", None), ("user/toy", "v2")]


def test_nothing_but_configs_and_safetensors_is_fetched(asked: list[Any]) -> None:
    folder = resolve("user/toy").folder
    assert folder is not None
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.*")} == {
        f"{place}{name}"
        for place in ("", "encoder/", "encoder-pretrained/")
        for name in ("config.json", "model.safetensors")
    }


def test_a_folder_here_comes_before_the_hub(
    asked: list[Any], repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "user").mkdir()
    repository.rename(tmp_path / "user" / "toy")
    monkeypatch.chdir(tmp_path)
    assert resolve("user/toy").folder == Path("user/toy")
    load_generator("user/toy")
    assert asked == []


def test_the_command_line_shows_a_model_of_the_hub(asked: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["spec", "user/toy"])
    assert not ended.value.code
    assert "Model user/toy of the Hugging Face Hub, with its trained encoder" in capsys.readouterr().out


def _http(kind: type[Exception]) -> Exception:
    """An error of the Hub's, made without the answer that it would carry."""
    error = kind.__new__(kind)
    error.args = ("401 Client Error.",)
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (_http(errors.RepositoryNotFoundError), r"the Hub has no such model; .*`hf auth login` if it is private\.$"),
        (_http(errors.GatedRepoError), r"its owner has to grant access to it"),
        (_http(errors.RevisionNotFoundError), r"the model has no revision 'v9' there"),
        (errors.LocalEntryNotFoundError("no"), r"the Hub cannot be reached; try again"),
        (errors.HFValidationError("Repo id must\n be short."), r": Repo id must be short\.$"),
        (RuntimeError(""), r": RuntimeError\.$"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_hub_refuses_is_told_in_one_sentence(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(WeightsMissingError, match=message) as caught:
        load_generator("user/toy@v9")
    assert str(caught.value).startswith("user/toy@v9 is neither a file or folder here nor could it be fetched from")
    assert "\n" not in str(caught.value)


def test_what_is_no_model_of_ours_is_refused(asked: list[Any], repository: Path) -> None:
    (repository / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="user/toy on the Hugging Face Hub is no model of ganenc"):
        load_generator("user/toy")


def test_a_repository_without_a_config_is_refused(asked: list[Any], repository: Path) -> None:
    (repository / "config.json").unlink()
    with pytest.raises(CheckpointError, match="user/toy on the Hugging Face Hub is no model of ganenc"):
        load_encoder("user/toy")


OFFLINE = """
from ganenc.models import resolve
for model_id in ("user/toy", "user/toy@main", "user/toy@0123456789abcdef0123456789abcdef01234567"):
    print(resolve(model_id).folder)
try:
    resolve("user/absent")
except Exception as error:
    print(error)
"""


def test_without_a_network_what_was_fetched_is_found_in_the_hubs_own_cache(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "hf" / "hub" / "models--user--toy"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    folder = repository.rename(cached / "snapshots" / commit)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    *found, told = done.stdout.splitlines()
    assert found == [str(folder)] * 3
    assert told.startswith("user/absent is neither a file or folder here nor could it be fetched")


def test_the_hub_is_imported_only_when_it_is_asked() -> None:
    code = "import sys\nfrom ganenc.models import resolve\nassert not {'torch', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
