"""What is put on the Hub, which is on this machine: files of ours alone, a card that is true, and back again."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ganenc
import pytest
from ganenc.cli import main
from ganenc.files import write_json
from ganenc.jobs import Pushed, index_shards, invert_folder, invert_shard, push
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc.models import load_encoder, load_generator, model_hash, save_pretrained
from ganenc_registry.errors import GanencError, LatentsError, SpecError
from ganenc_registry.specs import InvertSpec
from hubs import TOKEN, Hub, Repository, hub_at
from huggingface_hub import DatasetCard, ModelCard, snapshot_download
from painting import grey_photos
from PIL import Image
from toys import ToyGenerator

SPEC = InvertSpec(objective={"losses": {"mse": 1.0}}, shards={"metrics": ["psnr"]})
HELD = {"info": {"backbone": "none"}}


@pytest.fixture(autouse=True)
def family(known: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known.add_value("generator", "toy", ToyGenerator)
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with hub_at(monkeypatch, tmp_path / "hf") as found:
        yield found


@pytest.fixture
def model(toy: Any, toy_encoder: Any) -> Model:
    toy.spec = toy.spec.model_copy(update={"licence": "CC BY-NC 4.0"})
    return Model(toy, toy_encoder, source="toy", **HELD)


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    """A model's folder, in which other things lie, too."""
    model.save(tmp_path / "model")
    save_pretrained(model.encoder, tmp_path / "model" / "encoder-pretrained")
    for name in ("secret.txt", ".env", "network.pkl", "encoder-notes/config.json", "directions/theirs.safetensors"):
        (tmp_path / "model" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_text("{}")
    return tmp_path / "model"


@pytest.fixture
def job(model: Model, tmp_path: Path) -> Path:
    photos = [*grey_photos(tmp_path / "private photos", 3), tmp_path / "private photos" / "broken.png"]
    photos[-1].write_text("no photo")
    invert_folder(model, photos, tmp_path / "job", SPEC.model_copy(update={"method": "encode"}), pages=False)
    (tmp_path / "job" / "notes.txt").write_text("mine")
    (tmp_path / "job" / "0" / "notes.txt").write_text("mine")
    return tmp_path / "job"


def snippet(card: str) -> str:
    """The Python of a card."""
    (found,) = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    return str(found)


def run(card: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the Python of a card leaves, in a folder with a photo."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (12, 12), (90, 120, 40)).save(folder / "photo.jpg")
    monkeypatch.chdir(folder)
    left: dict[str, Any] = {}
    exec(snippet(card), left)
    return left


def test_a_model_goes_there_and_comes_back_the_same(
    hub: Hub, model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = push(folder, "someone/toys")
    files = hub.files("someone/toys")
    parts = {f"{place}{name}" for place in ("", "encoder/", "encoder-pretrained/")
             for name in ("config.json", "model.safetensors")}  # fmt: skip
    assert files.keys() == {*parts, "README.md", "samples.png"} == {*done.files}
    assert all(files[name] == (folder / name).read_bytes() for name in parts)
    assert (done.url, done.card_kept) == (f"{hub.url}/someone/toys", False)
    card = ModelCard(files["README.md"].decode())
    data = card.data
    assert (data.library_name, data.license, data.base_model) == ("ganenc", "cc-by-nc-4.0", None)
    assert data.pipeline_tag == "unconditional-image-generation"
    assert "| family | toy |" in card.text
    assert model.hash in card.text
    assert Image.open(io.BytesIO(files["samples.png"])).size == (8 * 10 - 2, 2 * 10 - 2)
    left = run(str(card), tmp_path / "elsewhere", monkeypatch)
    assert left["model"].hash == model.hash
    assert len(left["inverted"].latents) == 1
    assert model_hash(load_encoder("someone/toys")) == model_hash(model.encoder)
    assert any(
        path.endswith("/config.json") and "encoder" not in path for method, path in hub.asked if method == "HEAD"
    )
    commits = len(hub.repositories["model", "someone/toys"].commits)
    assert push(folder, "someone/toys") == done
    assert len(hub.repositories["model", "someone/toys"].commits) == commits, "nothing changed"


def test_what_is_no_longer_there_goes_and_a_card_of_ones_own_stays(hub: Hub, model: Model, folder: Path) -> None:
    push(folder, "someone/toys")
    repository = hub.repositories["model", "someone/toys"]
    repository.commits.append({**repository.files, "README.md": b"# My own card", "notes/config.json": b"mine"})
    for name in ("encoder", "encoder-pretrained"):
        (folder / name / "config.json").unlink()
    assert push(folder, "someone/toys", private=False).card_kept
    assert hub.files("someone/toys").keys() == {
        "config.json", "model.safetensors", "samples.png", "README.md", "notes/config.json",
    }  # fmt: skip
    assert hub.files("someone/toys")["README.md"] == b"# My own card"
    assert ganenc.load("someone/toys").encoder is None


def test_the_card_tells_what_was_measured_of_these_weights_alone(
    hub: Hub, model: Model, folder: Path, tmp_path: Path, toy_encoder: Any
) -> None:
    found = model.evaluate(samples=3, metrics=["psnr"])
    facts = {"spec": {"samples": 3}, "images": 3, **found.to_mapping()}
    write_json(folder / "evaluation.json", facts)
    push(folder, "someone/toys")
    card = ModelCard(hub.files("someone/toys")["README.md"].decode())
    (result,) = card.data.eval_results
    mean, std = found.table()["psnr"]
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("psnr", mean, "3 generated images")
    assert result.metric_args == {"taken with": found.settings["psnr"]}
    assert f"| 3 generated images | PSNR | {mean:.4g} ± {std:.4g} |" in card.text
    assert "evaluation.json" not in hub.files("someone/toys")
    write_json(tmp_path / "other.json", {**facts, "weights": {**facts["weights"], "encoder": "0" * 64}})
    with pytest.raises(SpecError, match=r"other.json is of other weights than .*; evaluate these\.$"):
        push(folder, "someone/toys", measured=tmp_path / "other.json")
    write_json(folder / "evaluation.json", {**facts, "weights": {"generator": "0" * 64}})
    with pytest.warns(UserWarning, match="is of other weights, and left out of the card"):
        push(folder, "someone/toys")
    assert ModelCard(hub.files("someone/toys")["README.md"].decode()).data.eval_results is None
    write_json(folder / "evaluation.json", {"images": "many"})
    with pytest.raises(GanencError, match="is not what `ganenc evaluate --out` leaves"):
        push(folder, "someone/toys")


def test_an_encoder_goes_there_alone_or_with_the_name_of_its_generator(
    hub: Hub, model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"generator": model.hash, "photos": {"images": 12, "psnr": 21.5}}
    save_pretrained(model.encoder, tmp_path / "encoder", info=measured)
    push(tmp_path / "encoder", "someone/alone")
    card = ModelCard(hub.files("someone/alone")["README.md"].decode())
    assert (card.data.pipeline_tag, card.data.license) == ("image-feature-extraction", "unknown")
    assert card.data.eval_results[0].metric_value == 21.5
    assert "samples.png" not in hub.files("someone/alone")
    left = run(str(card), tmp_path / "elsewhere", monkeypatch)
    assert model_hash(left["encoder"]) == model_hash(model.encoder)
    push(folder, "someone/toys")
    push(tmp_path / "encoder", "someone/encoder", model="someone/toys")
    card = ModelCard(hub.files("someone/encoder")["README.md"].decode())
    assert (card.data.base_model, card.data.license) == ("someone/toys", "cc-by-nc-4.0")
    assert 'ganenc.load("someone/toys", encoder="someone/encoder")' in card.text
    assert run(str(card), tmp_path / "elsewhere", monkeypatch)["model"].hash == model.hash
    with pytest.raises(SpecError, match=r"someone/toys holds a generator, and is no place for an encoder"):
        push(tmp_path / "encoder", "someone/toys")
    with pytest.raises(SpecError, match="a generator has none"):
        push(folder, "someone/toys", model="someone/toys")


def test_a_job_goes_there_without_the_photos_and_their_places(
    hub: Hub, model: Model, job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(job, "someone/latents")
    files = hub.files("someone/latents", "dataset")
    kept = {f"{place}/{name}" for place in range(3) for name in ("latents.safetensors", "reconstruction.png")}
    assert files.keys() == {*kept, "metadata.jsonl", "README.md", "samples.png"}
    assert all(files[name] == (job / name).read_bytes() for name in kept)
    assert not any(str(tmp_path).encode() in data or b"private photos" in data for data in files.values())
    rows = [json.loads(line) for line in files["metadata.jsonl"].splitlines()]
    assert [row["photo"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert all(row["psnr"] > 0 and row["latents"] in files and row["file_name"] in files for row in rows)
    card = DatasetCard(files["README.md"].decode())
    assert card.data.size_categories == "n<1K"
    assert card.data.to_dict()["configs"][0]["data_files"] == ["metadata.jsonl", "*/reconstruction.png"]
    assert "| failed | 1 |" in card.text
    left = run(str(card), tmp_path / "elsewhere", monkeypatch)
    assert left["latents"].model == model.hash
    assert left["latents"]["w"].equal(Latents.load(job / "0" / "latents.safetensors")["w"])


def test_shards_go_there_and_come_back_the_same(
    hub: Hub, model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    for place in range(2):
        photos = grey_photos(tmp_path / f"photos{place}", 3 + place)
        (tmp_path / f"{place}.txt").write_text("".join(f"{path}\n" for path in photos))
        invert_shard(model, tmp_path / f"{place}.txt", SPEC, tmp_path / "latents")
    pq.write_table(
        pq.read_table(tmp_path / "latents" / "0.parquet").replace_schema_metadata({}), tmp_path / "x.parquet"
    )
    (tmp_path / "x.parquet").rename(tmp_path / "latents" / "theirs.parquet")
    push(folder, "someone/toys")
    push(tmp_path / "latents", "someone/latents", model="someone/toys", private=True)
    files = hub.files("someone/latents", "dataset")
    assert files.keys() == {"0.parquet", "1.parquet", "README.md", "samples.png"}
    assert hub.repositories["dataset", "someone/latents"].private
    card = DatasetCard(files["README.md"].decode())
    assert card.data.to_dict()["configs"] == [{"config_name": "default", "data_files": ["*.parquet"]}]
    assert "| photos | 7 |" in card.text
    assert "| licence of the generator | CC BY-NC 4.0 |" in card.text
    pulled = Path(snapshot_download("someone/latents", repo_type="dataset"))
    assert index_shards(pulled).percentiles == index_shards(tmp_path / "latents").percentiles
    left = run(str(card), tmp_path / "elsewhere", monkeypatch)
    assert left["images"].shape == (1, 3, 8, 8)
    assert left["latents"]["w"].equal(Latents.from_parquet(tmp_path / "latents" / "0.parquet")["w"])
    other = Model(ToyGenerator(model.generator.spec, seed=9).freeze(), **HELD)
    other.save(tmp_path / "other")
    with pytest.raises(LatentsError, match=r"belong to the model \w+, not to|are latents of"):
        push(tmp_path / "latents", "someone/latents", model=tmp_path / "other")


def test_the_datasets_library_reads_what_was_pushed(hub: Hub, job: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    push(job, "someone/latents")
    pulled = snapshot_download("someone/latents", repo_type="dataset", local_dir=tmp_path / "pulled")
    rows = datasets.load_dataset(pulled, split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["photo"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert rows[0]["image"].size == (8, 8)


@pytest.mark.parametrize(
    ("token", "name", "told"),
    [
        ("hf_wrong", "someone/toys", "the Hub does not know your token; log in with `hf auth login`"),
        (None, "someone/toys", "the Hub does not know your token"),
        (TOKEN, "other/toys", "your token has no right to it"),
        (TOKEN, "someone/theirs", "holds another project's config.json"),
        (TOKEN, "someone/toys.pt", "is no name of a repository on the Hub; it reads user/name"),
        (TOKEN, "toys", "is no name of a repository"),
        (TOKEN, "someone/toys@v1", "is no name of a repository"),
    ],
)
def test_what_the_hub_does_not_take_is_told_in_one_sentence(
    hub: Hub, folder: Path, token: str | None, name: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    hub.repositories["model", "someone/theirs"] = Repository(files={"config.json": b'{"model_type": "bert"}'})
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(SystemExit) as ended:
        main(["push", str(folder), name])
    said = "".join(capsys.readouterr())
    assert ended.value.code in (1, 2)
    assert told in said
    assert len(said.splitlines()) == 1
    assert (token or "hf_") not in said
    assert hub.files("someone/theirs") == {"config.json": b'{"model_type": "bert"}'}


def test_no_network_and_a_public_repository_are_told(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push(folder, "someone/toys")
    with pytest.raises(SpecError, match="someone/toys is there, for all to see; make it private on its page"):
        push(folder, "someone/toys", private=True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(GanencError, match=r"could not be pushed to someone/toys: the Hub cannot be reached; try again"):
        push(folder, "someone/toys")


def test_what_is_neither_a_model_nor_a_job_is_refused_before_anything_is_asked(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("task: pretrain\n")
    (folder / "encoder").rename(tmp_path / "run" / "encoder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "index.jsonl").write_text("")
    cases = {
        "run": "run/encoder", "absent": "neither a model's folder nor a job's", "hf": "neither a model's folder",
        "empty": "holds no photo that was inverted",
    }  # fmt: skip
    for name, told in cases.items():
        with pytest.raises(GanencError, match=told) as caught:
            push(tmp_path / name, "someone/toys")
        assert "\n" not in str(caught.value)
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(GanencError, match=r"model\.safetensors"):
        push(folder, "someone/toys")
    assert hub.asked == []


@pytest.mark.parametrize(
    ("licence", "told"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("unknown", {"license": "unknown"}),
        ("Nvidia Source Code License", {"license": "other", "license_name": "nvidia-source-code-license"}),
        ("x: [y]\n---", {"license": "other", "license_name": "x-y"}),
    ],
)
def test_licences_are_told_as_the_hub_takes_them_and_text_stays_text(
    hub: Hub, model: Model, tmp_path: Path, licence: str, told: dict[str, str]
) -> None:
    model.generator.spec = model.generator.spec.model_copy(update={"licence": licence})
    info = {"source": "else/where@main:net.pkl", "said": "<b>|a|\n# b", "backbone": "none"}
    save_pretrained(model.generator, tmp_path / "model", info=info)
    done: Pushed = push(tmp_path / "model", "someone/toys")
    card = ModelCard(hub.files("someone/toys")["README.md"].decode())
    data = card.data.to_dict()
    assert {name: data[name] for name in data if name.startswith("license")} == told
    assert data["base_model"] == "else/where"
    assert r"| said | \<b\>\|a\| \# b |" in card.text
    assert done.files[-2:] == ["README.md", "samples.png"]
    assert model_hash(load_generator("someone/toys")) == model.hash
