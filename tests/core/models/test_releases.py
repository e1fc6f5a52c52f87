"""Releases by name: fetched from a site on this machine, kept, checked, shown; and one sentence for what goes wrong."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ganenc.cli import main
from ganenc.foreign import Checkpoint
from ganenc.models import (
    load_encoder,
    load_generator,
    model_hash,
    registered,
    release_folder,
    resolve,
    save_pretrained,
)
from ganenc_registry.errors import CheckpointError, PluginError, UnknownNameError, WeightsMissingError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Release, ReleaseFile
from safetensors.torch import save
from servers import Site, serving
from toys import ToyGenerator, toy_spec

SPEC = toy_spec((8, 8), dim=4).model_copy(update={"licence": "CC0-1.0"})


class Claiming(ToyGenerator):
    """Takes every file that holds a constant."""

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        return any(name.endswith("const") for name in checkpoint.tensors)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> ToyGenerator:
        made = ToyGenerator(toy_spec((8, 8), dim=4))
        made.load_state_dict({name.removeprefix("weights."): t for name, t in checkpoint.tensors.items()})
        return made


@pytest.fixture(autouse=True)
def home(known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, with a family that reads toys."""
    known.add_value("generator", "toy", Claiming)
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def weights(toy: ToyGenerator) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in toy.state_dict().items()})


@pytest.fixture
def site(weights: bytes) -> Iterator[Site]:
    with serving() as site:
        site.files["/pub/weights.safetensors"] = weights
        yield site


@pytest.fixture
def publish(known: Any, site: Site) -> Callable[..., Release]:
    """Register a release of one file on the site as ``toy-8``, some fields of the file or the spec given anew."""

    def register(
        *, spec: GeneratorSpec = SPEC, files: tuple[ReleaseFile, ...] = (), more: Any = None, **fields: Any
    ) -> Release:
        file = ReleaseFile(
            **{"name": "weights.safetensors", "url": f"{site.url}/pub/weights.safetensors", **fields}  # type: ignore[arg-type]
        )
        release = Release(
            generator=spec, files=files or (file,), page="https://example.org/toy", notes="A toy.", **more or {}
        )
        known.add_value("model", "toy-8", release, summary="A toy, 8x8")
        return release

    return register


def test_the_first_use_fetches_and_later_ones_ask_nothing(
    publish: Callable[..., Release], site: Site, home: Path, toy: Any, weights: bytes
) -> None:
    publish(size=len(weights), checksum=f"sha256:{hashlib.sha256(weights).hexdigest()}")
    assert resolve("toy-8").folder is None
    assert site.asked == []
    for _ in range(2):
        found = load_generator("toy-8")
        assert model_hash(found) == model_hash(toy)
        assert found.spec.licence == "CC0-1.0"
    assert len(site.asked) == 1
    assert (home / "models" / "toy-8" / "weights.safetensors").read_bytes() == weights


def test_it_is_told_what_is_fetched_to_where(
    publish: Callable[..., Release], site: Site, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    publish()
    load_generator("toy-8")
    place = home / "models" / "toy-8" / "weights.safetensors"
    licence = "toy-8 is published under CC0-1.0; see https://example.org/toy. A toy."
    assert capfd.readouterr() == ("", f"{licence}\nFetching {site.url}/pub/weights.safetensors to {place}\n")
    load_generator("toy-8")
    assert capfd.readouterr() == ("", "")


def test_a_release_that_converts_becomes_a_model_folder_in_place_of_its_files(
    publish: Callable[..., Release], site: Site, home: Path, toy: Any
) -> None:
    publish(more={"convert": True, "info": {"suits": "toys"}})
    for _ in range(2):
        assert model_hash(load_generator("toy-8")) == model_hash(toy)
        assert resolve("toy-8").info["suits"] == "toys"
    assert len(site.asked) == 1
    kept = {path.name for path in (home / "models" / "toy-8").iterdir() if not path.name.startswith(".")}
    assert kept == {"config.json", "model.safetensors"}


def test_a_release_of_several_files_is_read_as_a_folder(
    publish: Callable[..., Release], site: Site, home: Path, toy: Any
) -> None:
    site.files["/config"] = b'{"architecture": "foreign"}'
    files = (
        ReleaseFile(name="config.json", url=f"{site.url}/config"),
        ReleaseFile(name="weights.safetensors", url=f"{site.url}/pub/weights.safetensors"),
    )
    publish(files=files)
    site.cuts = [None, 500, 0]
    with pytest.raises(WeightsMissingError, match=r"cut off after 500") as caught:
        load_generator("toy-8")
    assert "config" not in str(caught.value).partition("try again")[2], "what is here need not be got"
    site.asked.clear()
    assert model_hash(load_generator("toy-8")) == model_hash(toy)
    assert site.asked == [("/pub/weights.safetensors", "bytes=500-")]


def test_a_release_may_be_a_model_folder_with_its_encoder(
    publish: Callable[..., Release], site: Site, tmp_path: Path, toy: Any, toy_encoder: Any
) -> None:
    save_pretrained(toy, tmp_path / "toy")
    save_pretrained(toy_encoder, tmp_path / "toy" / "encoder")
    names = ["config.json", "model.safetensors", "encoder/config.json", "encoder/model.safetensors"]
    for name in names:
        site.files[f"/{name}"] = (tmp_path / "toy" / name).read_bytes()
    publish(files=tuple(ReleaseFile(name=name, url=f"{site.url}/{name}") for name in names))
    assert model_hash(load_generator("toy-8")) == model_hash(toy)
    assert resolve("toy-8").folder == release_folder("toy-8") == resolve("toy-8").path
    assert model_hash(load_encoder("toy-8")) == model_hash(toy_encoder)


def test_a_release_without_an_encoder_says_how_to_get_one(publish: Callable[..., Release], site: Site) -> None:
    publish()
    with pytest.raises(CheckpointError, match="toy-8 has no encoder yet; train one with `ganenc pretrain`"):
        load_encoder("toy-8")
    assert site.asked == []


def test_without_a_network_it_is_told_what_to_get_and_where_to_put_it(
    publish: Callable[..., Release], home: Path, weights: bytes, toy: Any
) -> None:
    with serving() as gone:
        url = f"{gone.url}/weights.safetensors"
    publish(url=url)
    place = home / "models" / "toy-8" / "weights.safetensors"
    with pytest.raises(WeightsMissingError, match="is not on this machine and could not be fetched") as caught:
        load_generator("toy-8")
    told = str(caught.value)
    assert f"put weights.safetensors (from {url}) into {place.parent}." in told
    assert "fetched (Connection refused): try" in told
    assert "\n" not in told
    place.write_bytes(weights)
    assert model_hash(load_generator("toy-8")) == model_hash(toy)


def test_what_no_program_can_fetch_is_not_tried(
    publish: Callable[..., Release], site: Site, home: Path, weights: bytes
) -> None:
    publish(by_hand=True)
    place = home / "models" / "toy-8" / "weights.safetensors"
    with pytest.raises(WeightsMissingError, match="toy-8 is published where no program can fetch it") as caught:
        load_generator("toy-8")
    source = f"{site.url}/pub/weights.safetensors"
    assert f"fetch it: put weights.safetensors (from {source}) into {place.parent}." in str(caught.value)
    place.parent.mkdir(parents=True)
    place.write_bytes(weights)
    load_generator("toy-8")
    assert site.asked == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"size": 12},
            r"could not be fetched \(what came is not the file that was published: it has more than 12 bytes",
        ),
        ({"checksum": f"sha256:{'0' * 64}"}, r"its sha256 is [0-9a-f]{64}, not 0{64}\)"),
    ],
    ids=["size", "checksum"],
)
def test_a_file_that_is_another_is_not_kept(
    publish: Callable[..., Release], home: Path, fields: dict[str, Any], message: str
) -> None:
    publish(**fields)
    with pytest.raises(WeightsMissingError, match=message):
        load_generator("toy-8")
    assert [path.suffix for path in (home / "models" / "toy-8").iterdir()] == [".lock"]


def test_a_file_put_there_is_known_by_its_size(publish: Callable[..., Release], home: Path) -> None:
    publish(size=12)
    (home / "models" / "toy-8").mkdir(parents=True)
    (home / "models" / "toy-8" / "weights.safetensors").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"weights\.safetensors has 4 bytes, but 12 were published; remove it"):
        load_generator("toy-8")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (toy_spec((16, 16), dim=4), "it has size 8x8, not 16x16"),
        (toy_spec((8, 8), dim=8), "it has layout w 4x4, const 4x4x4, not w 4x8, const 8x4x4"),
        (SPEC.model_copy(update={"classes": 3}), "it has number of classes 0, not 3"),
        (
            SPEC.model_copy(update={"resolution_channels": {4: 9, 8: 9}}),
            r"it has channels at each resolution \{4: 4, 8: 4\}, not \{4: 9, 8: 9\}",
        ),
        (SPEC.model_copy(update={"family": "toys"}), "it has family toy, not toys"),
    ],
    ids=["size", "dim", "classes", "channels", "family"],
)
def test_a_file_with_another_generator_is_refused(
    publish: Callable[..., Release], spec: GeneratorSpec, message: str
) -> None:
    publish(spec=spec)
    with pytest.raises(CheckpointError, match=f"holds another generator than toy-8: {message}; put the published"):
        load_generator("toy-8")
    load_generator(release_folder("toy-8") / "weights.safetensors")


def test_what_a_spec_does_not_say_is_not_checked(publish: Callable[..., Release], toy: Any) -> None:
    publish(spec=SPEC.model_copy(update={"resolution_channels": None, "options": {"slope": 3}}))
    assert model_hash(load_generator("toy-8")) == model_hash(toy)


def test_a_folder_here_comes_before_a_release(
    publish: Callable[..., Release], site: Site, tmp_path: Path, toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(spec=toy_spec((16, 16), dim=4))
    save_pretrained(toy, tmp_path / "here" / "toy-8")
    monkeypatch.chdir(tmp_path / "here")
    assert model_hash(load_generator("toy-8")) == model_hash(toy)
    assert site.asked == []


def test_a_foreign_file_called_like_a_release_is_named_by_its_path(
    publish: Callable[..., Release], site: Site, weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    (tmp_path / "toy-8").write_bytes(weights)
    monkeypatch.chdir(tmp_path)
    load_generator("./toy-8")
    assert site.asked == []
    load_generator("toy-8")
    assert len(site.asked) == 1


def test_a_model_is_a_folder_or_a_release(known: Any) -> None:
    known.add_value("model", "wrong", 3, summary="Registered amiss")
    with pytest.raises(PluginError, match="has to be the Path of a folder, or a Release"):
        registered("wrong")
    with pytest.raises(UnknownNameError, match="no model 'no-such-model'"):
        registered("no-such-model")


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert not ended.value.code
    return capsys.readouterr().out


def test_spec_shows_the_encoder_and_what_is_known_of_the_files(
    publish: Callable[..., Release], site: Site, home: Path, capsys: pytest.CaptureFixture[str], weights: bytes
) -> None:
    publish(size=len(weights))
    place = home / "models" / "toy-8" / "weights.safetensors"
    told = show(capsys, "spec", "toy-8")
    for part in (
        "Release toy-8, mirrored",
        "released at https://example.org/toy",
        "A toy.",
        "licence CC0-1.0",
        f"file weights.safetensors, {len(weights):,} bytes, checksum unknown",
        f"from {site.url}/pub/weights.safetensors",
        f"at {place} (fetched on first use)",
        "block 1",
    ):
        assert part in told
    data = json.loads(show(capsys, "spec", "toy-8", "--set", "blur=true", "--json"))
    assert EncoderSpec.from_mapping(data["encoder"]) == EncoderSpec.mirror(SPEC, blur=True)
    assert data["release"]["files"][0]["checksum"] is None
    assert (data["release"]["folder"], data["release"]["here"]) == (str(place.parent), False)
    assert site.asked == []
    load_generator("toy-8")
    assert f"at {place} (here)" in show(capsys, "spec", "toy-8")
    assert json.loads(show(capsys, "spec", "toy-8", "--json"))["release"]["here"] is True


def test_spec_says_what_is_not_known_and_what_is_to_be_done_by_hand(
    publish: Callable[..., Release], capsys: pytest.CaptureFixture[str]
) -> None:
    publish(by_hand=True)
    told = show(capsys, "spec", "toy-8")
    assert "weights.safetensors, of unknown size, checksum unknown" in told
    assert "(to be fetched by hand)" in told


def test_spec_of_a_release_is_not_that_of_any_folder_of_its_name(
    publish: Callable[..., Release],
    site: Site,
    tmp_path: Path,
    toy: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish()
    (tmp_path / "here" / "toy-8").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert "Release toy-8, mirrored" in show(capsys, "spec", "toy-8")
    assert site.asked == []
    save_pretrained(toy, "toy-8")
    assert "Model folder toy-8, mirrored" in show(capsys, "spec", "toy-8")


def test_spec_of_a_family_takes_its_first_release(
    publish: Callable[..., Release], known: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    known.add_value("model", "a-broken-one", "no release", summary="Registered amiss")
    with pytest.raises(SystemExit):
        main(["spec", "toy"])
    assert "the generator 'toy' has no size of its own and no installed release" in capsys.readouterr().err.lower()
    publish()
    assert "Generator toy, as it was released as toy-8, mirrored" in show(capsys, "spec", "toy")


def test_asking_about_a_release_imports_no_torch() -> None:
    code = (
        "import sys; from ganenc.models import release_folder, resolve\n"
        "assert resolve('stylegan2-ffhq-1024').release and release_folder('stylegan2-ffhq-1024')\n"
        "assert not {'torch', 'huggingface_hub', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
