"""Shards: every record a row, whatever it is, and the same rows whatever happens on the way."""

from __future__ import annotations

import gzip
import io
import json
import multiprocessing
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.cli import main
from ganenc.inversion import Photo
from ganenc.jobs import (
    Fields,
    Reading,
    ShardResult,
    expand_braces,
    failed_photos,
    find_shards,
    index_shards,
    invert_shard,
    invert_shards,
    open_shard,
    part_of,
    read_part,
    read_shards,
    shard_names,
    shard_rows,
    shards,
)
from ganenc.latents import Latents
from ganenc.model import Model
from ganenc_registry.errors import GanencError, ImageError, LatentsError, SpecError
from ganenc_registry.specs import Choice, InvertSpec
from PIL import Image
from tars import photos_tar, plain, png, write_tar
from toys import ToyGenerator, small_encoder, toy_spec

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

SPEC = InvertSpec(objective={"losses": {"mse": 1.0}}, shards={"metrics": ["psnr"]})


@pytest.fixture(scope="module")
def model(centered_toy: Any, built_encoder: Any) -> Model:
    return Model(centered_toy, built_encoder, source="toy", backbone="none")


@pytest.fixture(scope="module")
def conditional() -> Model:
    generator = ToyGenerator(toy_spec((8, 8), dim=4, classes=3)).freeze()
    return Model(generator, small_encoder(generator), source="toy", backbone="none")


def with_shards(**settings: Any) -> InvertSpec:
    return SPEC.model_copy(update={"shards": SPEC.shards.model_copy(update=settings)})


def table(path: Path) -> Any:
    return pq.read_table(path)


def test_every_record_is_a_row_that_holds_what_one_pass_gives(model: Model, tmp_path: Path) -> None:
    shard = photos_tar(tmp_path / "a.tar")
    result = invert_shard(model, shard, SPEC, tmp_path / "out")
    assert (result.photos, result.failed, result.done_before) == (40, 5, False)
    assert 0 <= result.waited <= result.seconds
    rows = table(result.path).to_pylist()
    assert [row["key"] for row in rows] == [f"{place:04d}" for place in range(40)]
    lost = {row["key"]: row["error"] for row in rows if row["error"] is not None}
    assert list(lost) == ["0003", "0007", "0013", "0023", "0033"]
    assert lost["0003"].startswith("0003 is not a photo")
    assert lost["0007"] == "0007 holds no image, but txt."
    assert all(row["latents"] is row["metrics"] is row["seconds"] is None for row in rows if row["error"])
    kept = [place for place in range(40) if f"{place:04d}" not in lost]
    alone = model.invert([png(place) for place in kept], "encode")
    found = Latents.from_parquet(result.path, model=model.hash)
    assert found.layout == model.generator.spec.layout
    for name, values in alone.latents.tensors.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5)
    scores = [row["metrics"]["psnr"] for row in rows if row["error"] is None]
    assert scores == pytest.approx([row["psnr"] for row in alone.scores], abs=1e-3)
    verdicts = [one.facts()["verdict"] for one in alone]
    assert [row["verdict"] for row in rows if row["error"] is None] == verdicts
    images = model.generator.synthesize(Latents.from_parquet(result.path, keys=["0002", "0001"]))
    torch.testing.assert_close(images, alone.reconstructions[[2, 1]], rtol=1e-4, atol=1e-4)


def test_what_is_done_stays_and_what_was_stopped_comes_out_the_same(model: Model, tmp_path: Path) -> None:
    words = [str(photos_tar(tmp_path / "in" / f"{place}.tar", 40, 40 * place)) for place in range(3)]
    whole = invert_shards(model, words, tmp_path / "whole", SPEC)
    assert [one.failed for one in whole.done] == [5, 5, 5]

    def stop(shard: Path, photos: int, result: ShardResult | None) -> None:
        if shard.stem == "1" and photos >= 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        invert_shards(model, words, tmp_path / "out", SPEC, on_shard=stop)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["0.parquet"]
    left = tmp_path / "out" / f".ganenc-1-{'0' * 32}.parquet"
    left.write_bytes(b"half")
    again = invert_shards(model, words, tmp_path / "out", SPEC)
    assert [one.done_before for one in again.done] == [True, False, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0.parquet", "1.parquet", "2.parquet"]
    for place in range(3):
        assert plain(tmp_path / "out" / f"{place}.parquet") == plain(tmp_path / "whole" / f"{place}.parquet")
    parts = [invert_shards(model, words, tmp_path / "parts", SPEC, part=(place, 2)) for place in (1, 0)]
    assert [[one.shard.stem for one in some.done] for some in parts] == [["1"], ["0", "2"]]
    assert [some.others for some in parts] == [2, 1]


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
FATAL = """
import os, signal
from PIL import Image

def fatal(*_):
    os.kill(os.getpid(), signal.SIGKILL)

Image.register_open("FATAL", fatal, lambda prefix: prefix.startswith(b"fatal"))
"""


def decoders() -> list[int]:
    """The processes that decode for this one."""
    listed = " ".join(path.read_text(encoding="utf-8") for path in Path("/proc/self/task").glob("*/children"))
    return [one for one in map(int, listed.split()) if b"decode_shards" in Path(f"/proc/{one}/cmdline").read_bytes()]


def wait_until_gone(process: int) -> None:
    until, status = time.monotonic() + 60, Path(f"/proc/{process}/status")
    while status.exists() and "\nState:\tZ" not in status.read_text(encoding="utf-8"):
        assert time.monotonic() < until
        time.sleep(0.02)


def end_decoders() -> None:
    for idle in decoders():
        os.kill(idle, signal.SIGKILL)
        wait_until_gone(idle)


@linux
def test_a_photo_that_kills_the_decoder_breaks_its_shard_alone(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FATAL, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    good = [photos_tar(tmp_path / f"{place}.tar", 40, 40 * place) for place in range(2)]
    fine = [(f"{place:03d}.png", png(place)) for place in range(50)]
    bad = write_tar(tmp_path / "bad.tar", [*fine, ("fatal.png", b"fatal photo")])
    end_decoders()
    with ThreadPoolExecutor(1) as pool:  # Where signals never come.
        given = (model, [good[0], bad, good[1]], tmp_path / "out", SPEC)
        result = pool.submit(invert_shards, *given, on_shard=lambda *_: time.sleep(0.01)).result(timeout=120)
    assert len(decoders()) == 1
    assert [one.shard for one in result.done] == good
    ((shard, error),) = result.broken
    assert shard == bad
    assert "bad.tar: the process that read it ended (Killed)" in error
    alone = [plain(invert_shard(model, one, SPEC, tmp_path / "alone").path) for one in good]
    assert [plain(one.path) for one in result.done] == alone


@linux
def test_the_process_that_reads_ends_where_its_parent_is_killed(tmp_path: Path) -> None:
    def parent(sender: Any) -> None:
        for found in read_shards(Reading(Fields(), (256, 256), together=4, shards=(shard,)), read_photo):
            next(found), next(found)
            sender.send(decoders())
            time.sleep(600)

    shard, fork = photos_tar(tmp_path / "a.tar"), multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=parent, args=(sender,))
    process.start()
    (reading,) = receiver.recv()
    process.kill()
    process.join()
    wait_until_gone(reading)


def read_photo(*_: Any) -> Photo:
    raise AssertionError("It is read apart.")


def test_what_decodes_apart_needs_no_tensors() -> None:
    words = "import sys, ganenc.jobs.shard_decoding; assert not {'torch', 'ganenc.model'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", words], check=True)


@pytest.mark.parametrize("kind", ["RGB", "L", "RGBA", "I;16", "P", "CMYK"])
def test_photos_read_apart_are_those_read_here(model: Model, tmp_path: Path, monkeypatch: Any, kind: str) -> None:
    members = [(f"{place}.png", png(place, 8 + place)) for place in range(3)]
    values = np.random.default_rng(0).integers(0, 255, (9, 11, 3), dtype=np.uint8)
    picture = Image.fromarray(values[..., 0].astype(np.uint16) * 200) if kind == "I;16" else Image.fromarray(values)
    buffer = io.BytesIO()
    (picture if kind == "I;16" else picture.convert(kind)).save(buffer, "TIFF" if kind == "CMYK" else "PNG")
    shard = write_tar(
        tmp_path / "a.tar", [*members, (f"other.{'tif' if kind == 'CMYK' else 'png'}", buffer.getvalue())]
    )
    found = [plain(invert_shard(model, shard, SPEC, tmp_path / "apart").path)]
    assert sys.platform != "linux" or len(decoders()) == 1
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "OWN": (lambda *_: None, None)})
    found.append(plain(invert_shard(model, shard, SPEC, tmp_path / "here").path))
    assert found[0] == found[1]


def test_formats_that_pillow_was_taught_are_read(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opens(file: Any, name: Any) -> Image.Image:
        return Image.new("RGB", (8, 8), "red")

    monkeypatch.setattr(Image, "ID", [*Image.ID, "OWN"])
    monkeypatch.setitem(Image.OPEN, "OWN", (opens, lambda prefix: prefix.startswith(b"own")))
    shard = write_tar(tmp_path / "a.tar", [("a.png", b"own photo")])
    assert invert_shard(model, shard, SPEC, tmp_path / "out").failed == 0


@linux
@pytest.mark.parametrize(("executable", "frozen"), [("", False), ("/bin/false", False), ("/none", False), (None, True)])
def test_where_no_process_can_be_begun_photos_are_read_here(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None, frozen: bool
) -> None:
    shard = photos_tar(tmp_path / "a.tar")
    whole = plain(invert_shard(model, shard, SPEC, tmp_path / "whole").path)
    end_decoders()
    monkeypatch.setattr(sys, "executable", sys.executable if executable is None else executable)
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    assert plain(invert_shard(model, shard, SPEC, tmp_path / "out").path) == whole
    assert not decoders()


def test_names_are_of_the_folder_that_one_is_in(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        photos_tar((tmp_path / name).mkdir() or tmp_path / name / f"{name}.tar", 2)  # type: ignore[func-returns-value]
        monkeypatch.chdir(tmp_path / name)
        assert invert_shard(model, f"{name}.tar", SPEC, "out").photos == 2


def test_what_is_wrong_with_the_settings_is_told_as_it_is(model: Model, tmp_path: Path, monkeypatch: Any) -> None:
    def wrong(*_: Any, **__: Any) -> None:
        raise SpecError("fit: nothing fits.")

    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, "OWN": (wrong, None)})
    monkeypatch.setattr(Model, "read", wrong)
    with pytest.raises(SpecError, match=r"^fit: nothing fits\.$"):
        invert_shard(model, photos_tar(tmp_path / "a.tar"), SPEC, tmp_path / "out")


def test_a_shard_that_is_replaced_while_it_is_read_is_the_one_that_was_opened(tmp_path: Path) -> None:
    shard, other = photos_tar(tmp_path / "a.tar", 16), photos_tar(tmp_path / "other.tar", 40, 500)
    size = shard.stat().st_size
    (found,) = map(list, one_after_another(shard, other))
    assert found[0] == size
    assert [photo.key for batch in found[1:] for photo, _ in batch] == [f"{place:04d}" for place in range(16)]


def one_after_another(shard: Path, other: Path) -> Iterator[Any]:
    for found in read_shards(Reading(Fields(), (8, 8), together=4, shards=(shard,)), read_photo):
        first = [next(found), next(found)]
        os.replace(other, shard)
        yield chain(first, found)


def test_refining_is_told_where_other_photos_came_in_the_place(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard, other = photos_tar(tmp_path / "a.tar", 16), photos_tar(tmp_path / "other.tar", 40, 500)
    monkeypatch.setattr(shards, "open_shard", lambda _, fields: open_shard(other, fields))
    spec = with_shards(refine_below=99.0).model_copy(update={"method": Choice(name="optimize", options={"steps": 1})})
    with pytest.raises(ImageError, match=r"a\.tar was changed while it was read"):
        invert_shard(model, shard, spec, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_another_that_was_faster_is_left_its_file(model: Model, tmp_path: Path) -> None:
    shard = photos_tar(tmp_path / "a.tar")
    out = tmp_path / "out"

    def other(_: Path, photos: int, result: ShardResult | None) -> None:
        if photos == 16 and result is None:
            invert_shards(model, shard, out, SPEC)

    assert invert_shard(model, shard, SPEC, out, on_shard=other).photos == 40
    assert [path.name for path in out.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("change", ["settings", "shard"])
def test_what_was_made_otherwise_is_not_taken_for_done(model: Model, tmp_path: Path, change: str) -> None:
    shard = photos_tar(tmp_path / "a.tar")
    invert_shard(model, shard, SPEC, tmp_path / "out")
    spec = SPEC.model_copy(update={"seed": 3}) if change == "settings" else SPEC
    if change == "shard":
        photos_tar(shard, 20)
    with pytest.raises(SpecError, match=f"is of another {change}.*--overwrite"):
        invert_shard(model, shard, spec, tmp_path / "out")
    assert invert_shard(model, shard, spec, tmp_path / "out", overwrite=True).photos in (20, 40)


def test_rows_are_written_by_groups_that_are_bounded(model: Model, tmp_path: Path, monkeypatch: Any) -> None:
    shard = photos_tar(tmp_path / "a.tar")
    whole = invert_shard(model, shard, SPEC, tmp_path / "whole").path
    monkeypatch.setattr(shards, "GROUP", 10)
    found = invert_shard(model, shard, SPEC, tmp_path / "out").path
    assert [pq.ParquetFile(path).metadata.num_row_groups for path in (whole, found)] == [1, 3]
    assert plain(whole) == plain(found)
    monkeypatch.setattr(shards, "HELD", 1)
    monkeypatch.setattr(shards, "GROUP", shard_rows.GROUP)
    assert pq.ParquetFile(invert_shard(model, shard, SPEC, tmp_path / "b").path).metadata.num_row_groups == 3


def test_photos_below_a_psnr_are_refined_and_never_for_the_worse(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = shards._ShardWorker.each
    monkeypatch.setattr(shards._ShardWorker, "each", lambda *given: [replace(row, seconds=1.0) for row in each(*given)])
    shard, limit = photos_tar(tmp_path / "a.tar"), 8.5
    once = table(invert_shard(model, shard, SPEC, tmp_path / "once").path).to_pylist()
    options = {"steps": 1, "start": "draws", "draws": 1, "starts": 1}  # Which helps some.
    method = Choice(name="optimize", options=options)
    spec = with_shards(refine_below=limit).model_copy(update={"method": method})
    result = invert_shard(model, shard, spec, tmp_path / "out")
    rows = table(result.path).to_pylist()
    below = [row["key"] for row in once if row["metrics"] and row["metrics"]["psnr"] < limit]
    assert result.refined == len(below) > 0
    assert {row["key"] for row in rows if row["seconds"] == 2} == {*below}, "of both, whatever came of it"
    assert set() < {row["key"] for row in rows if row["method"] == "optimize"} < {*below}
    for before, after in zip(once, rows, strict=True):
        assert (before["key"], before["error"]) == (after["key"], after["error"])
        if after["metrics"]:
            assert after["metrics"]["psnr"] >= before["metrics"]["psnr"]
            assert after["latents"] == before["latents"] or after["method"] == "optimize"


def test_reconstructions_are_pictures_as_datasets_have_them(model: Model, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    shard = photos_tar(tmp_path / "a.tar")
    spec = with_shards(reconstructions="png", numbers="float16")
    path = invert_shard(model, shard, spec, tmp_path / "out").path
    found = datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    found = found.cast_column("reconstruction", datasets.Image())
    latents = Latents.from_parquet(path)
    assert latents["w"].dtype == torch.float16
    made = model.generator.synthesize(latents.to(torch.float32)[0])
    seen = torch.from_numpy(np.array(found[0]["reconstruction"])).permute(2, 0, 1) / 127.5 - 1
    assert float((seen - made[0].clamp(-1, 1)).abs().max()) < 0.02  # A level of 8 bits, and half precision.
    assert found[0]["latents"]["w"] == latents["w"][0].flatten().tolist()
    assert found[3]["latents"] is None
    assert found[3]["reconstruction"] is None


def test_what_the_page_on_shards_shows_runs(model: Model, tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    invert_shards(model, photos_tar(tmp_path / "0000.tar"), tmp_path / "latents", with_shards(reconstructions="jpeg"))
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "shards.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    found: dict[str, Any] = {}
    for block in blocks[:2]:
        exec(block, found)
    assert (len(found["latents"]), len(found["some"])) == (35, 2)
    pictures = found["found"].cast_column("reconstruction", datasets.Image())
    assert pictures[0]["reconstruction"].size == (8, 8)
    assert capsys.readouterr().out.startswith("40 photos, ")


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def said(name: str, **headers: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    return info


HOSTILE: dict[str, tuple[list[tuple[Any, bytes]], dict[str, str | None]]] = {
    "a link": ([(link("a.png"), b""), ("b.png", png(1))], {"a": "is no file, but a link", "b": None}),
    "absolute names": ([("/etc/a.png", png(1)), ("../../b.png", png(2))], {"/etc/a": None, "../../b": None}),
    "a sparse file": (
        [(said("a.png", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), png(1)), ("b.png", png(2))],
        {"a": "is a sparse file", "b": None},
    ),
    "a header without end": (
        [(said("a.png", comment="x" * (1 << 17)), png(1)), ("b.png", png(2))],
        {"a": "has a header of", "b": None},
    ),
    "keys twice": ([("a.png", png(1)), ("b.png", png(2)), ("a.png", png(3))], {"a": None, "b": None, "a-2": None}),
    "a key that a number makes": (
        [("a.png", png(1)), ("a-2.png", png(2)), ("b.png", png(2)), ("a.png", png(3))],
        {"a": None, "a-2": None, "b": None, "a-3": None},
    ),
    "two images": ([("a.png", png(1)), ("a.jpg", png(1))], {"a": "holds several images \\(png, jpg\\)"}),
    "an image and a mask": ([("a.jpg", png(1)), ("a.mask.png", png(1))], {"a": None}),
    "no ending": ([("README", b"words"), ("a.png", png(1))], {"README": "holds no image", "a": None}),
    "hidden files": ([("._a.png", b"junk"), ("a.png", png(1)), ("__meta__.json", b"{}")], {"a": None}),
    "a name of other bytes": ([("\udcff.png", png(1))], {"\\xff": None}),
    "folders": ([("a.b/0.png", png(1)), ("c/0.png", png(2))], {"a.b/0": None, "c/0": None}),
    "nothing": ([], {}),
    "long names": ([(f"{'n' * 300}/{'x' * 300}.png", png(1))], {("n" * 300 + "/" + "x" * 300)[:500]: None}),
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("case", HOSTILE)
def test_what_a_tar_says_is_not_believed(model: Model, tmp_path: Path, case: str, form: int) -> None:
    members, wanted = HOSTILE[case]
    if form == tarfile.GNU_FORMAT and any(getattr(name, "pax_headers", None) for name, _ in members):
        pytest.skip("has no such headers")
    path = invert_shard(model, write_tar(tmp_path / "a.tar", members, form), SPEC, tmp_path / "out").path
    rows = {row["key"]: row["error"] for row in table(path).to_pylist()}
    assert list(rows) == list(wanted)
    for key, why in wanted.items():
        assert rows[key] is None if why is None else re.search(why, rows[key])


def sparse_of_gnu(data: bytes) -> bytes:
    """A tar with the first member made an old sparse file of GNU's, whose map goes on in one more block."""
    header = bytearray(data[:512])
    header[156:157], header[482:483] = b"S", b"\x01"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(512) + data[512:]


def test_a_sparse_file_of_gnu_does_not_hide_what_follows(model: Model, tmp_path: Path) -> None:
    shard = write_tar(tmp_path / "a.tar", [("a.png", png(1)), ("b.png", png(2))], tarfile.GNU_FORMAT)
    shard.write_bytes(sparse_of_gnu(shard.read_bytes()))
    rows = table(invert_shard(model, shard, SPEC, tmp_path / "out").path).to_pylist()
    assert [(row["key"], row["error"]) for row in rows] == [("a", "a is a sparse file."), ("b", None)]


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def far(data: bytes) -> bytes:
    """The first member is said to have eight gigabytes."""
    header = bytearray(data[:512])
    header[124:136] = b"\x80" + struct.pack(">Q", 1 << 33).rjust(11, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data[512:]


BROKEN: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "cut off": ("a.tar", lambda data: data[:700], "is cut off"),
    "no tar": ("a.tar", lambda data: b"x" * 2000, "is no tar"),
    "compressed": ("a.tar", lambda data: gzip.compress(data), "unpack it first"),
    "a size beyond the end": ("a.tar", far, "is cut off"),
    "no parquet": ("a.parquet", cut, "is no parquet file, or broken"),
    "another kind": ("a.zip", bytes, "is no shard"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_shard_that_is_broken_as_a_whole_is_told_and_the_others_go_on(
    model: Model, tmp_path: Path, case: str
) -> None:
    name, damage, why = BROKEN[case]
    good, bad = photos_tar(tmp_path / "good.tar"), tmp_path / name
    bad.write_bytes(damage(good.read_bytes()))
    result = invert_shards(model, [bad, good], tmp_path / "out", SPEC)
    assert [one.shard for one in result.done] == [good]
    ((shard, error),) = result.broken
    assert shard == bad
    assert re.search(why, error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.parquet"]


def as_parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def images(*values: Any) -> Any:
    return pa.array([{"bytes": one, "path": path} for one, path in values], IMAGE)


@pytest.mark.parametrize(
    ("columns", "settings", "wanted"),
    [
        ({"image": images((png(1), "a.png"), (png(2), "b.png"))}, {}, {"a.png": "", "b.png": ""}),
        ({"image": images((png(1), None), (None, "/etc/passwd"))}, {}, {"000000": "", "/etc/passwd": "but a path"}),
        (
            {"jpg": [png(1), None, b"no photo"], "n": [1, 2, 3]},
            {},
            {"000000": "", "000001": "no image", "000002": "no"},
        ),
        ({"__key__": ["x", "x"], "a": [png(1), png(2)]}, {}, {"x": "", "x-2": ""}),
        ({"a": [png(1)], "b": [b"mask"]}, {"image": "a"}, {"000000": ""}),
        ({"image": pa.array([png(1)], pa.large_binary())}, {}, {"000000": ""}),
    ],
)
def test_parquet_files_of_images_are_shards(
    model: Model, tmp_path: Path, columns: Any, settings: Any, wanted: Any
) -> None:
    shard = as_parquet(tmp_path / "a.parquet", **columns)
    spec = with_shards(**settings)
    rows = {
        row["key"]: row["error"] for row in table(invert_shard(model, shard, spec, tmp_path / "o").path).to_pylist()
    }
    assert list(rows) == list(wanted)
    for key, why in wanted.items():
        assert why in rows[key] if why else rows[key] is None


@pytest.mark.parametrize(
    ("columns", "settings", "why"),
    [
        ({"n": [1], "s": ["words"]}, {}, "no column of images"),
        ({"a": [b"1"], "b": [b"2"]}, {}, "several columns of images.*shards.image=COLUMN"),
        ({"image": [["list"]]}, {}, "no column of images"),
        ({"image": [b"1"]}, {"image": "photo"}, "no column of images"),
        ({"image": [b"1"]}, {"label": "y"}, "no column 'y' of whole numbers"),
    ],
)
def test_a_parquet_file_of_other_types_is_told(
    conditional: Model, tmp_path: Path, columns: Any, settings: Any, why: str
) -> None:
    shard = as_parquet(tmp_path / "a.parquet", **columns)
    spec = with_shards(**settings)
    with pytest.raises(ImageError, match=why):
        invert_shard(conditional, shard, spec, tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_classes_come_from_the_shard(conditional: Model, tmp_path: Path, kind: str) -> None:
    classes = [2, 0, 7, None]
    if kind == "tar":
        members = [(f"{place}.png", png(place)) for place in range(4)]
        members += [(f"{place}.cls", str(one).encode()) for place, one in enumerate(classes) if one is not None]
        shard = write_tar(tmp_path / "a.tar", sorted(members))
    else:
        shard = as_parquet(tmp_path / "a.parquet", image=[png(place) for place in range(4)], cls=pa.array(classes))
    spec = with_shards(label="cls")
    rows = table(invert_shard(conditional, shard, spec, tmp_path / "out").path).to_pylist()
    assert [row["label"] for row in rows] == [2, 0, None, None]
    assert "has the class 7" in rows[2]["error"]
    assert "has no class" in rows[3]["error"]
    with pytest.raises(SpecError, match=r"shards.label=COLUMN"):
        invert_shard(conditional, shard, SPEC.model_copy(update={"labels": "folders"}), tmp_path / "b")


def test_arrays_are_photos_of_what_makes_no_pictures(tmp_path: Path) -> None:
    generator = ToyGenerator(toy_spec((8, 8), channels=5, dim=4)).freeze()
    model = Model(generator, small_encoder(generator), source="toy", backbone="none")
    values = np.random.default_rng(0).uniform(-1, 1, (8, 8, 5)).astype(np.float32)
    buffer = io.BytesIO()
    np.save(buffer, values)
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    members = [("a.npy", buffer.getvalue()), ("b.npy", objects.getvalue()), ("c.npy", buffer.getvalue()[:300])]
    rows = table(invert_shard(model, write_tar(tmp_path / "a.tar", members), SPEC, tmp_path / "out").path).to_pylist()
    assert rows[0]["error"] is None
    assert rows[0]["metrics"]["psnr"] == pytest.approx(model.invert(values, "encode").scores[0]["psnr"], abs=1e-3)
    assert all("is no array" in row["error"] for row in rows[1:])


def damage(rng: random.Random, data: bytes) -> bytes:
    """Bytes changed, cut off or put in."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(len(found)) if rng.random() < 0.5 else max(0, len(found) - 1 - rng.randrange(5000))
        kind = rng.randrange(6)
        if kind == 0 and place:
            del found[place:]
        elif kind == 1:
            found[place:place] = rng.randbytes(rng.randrange(600))
        else:
            found[place] = rng.randrange(256)
    return bytes(found)


@pytest.mark.parametrize("kind", ["tar", "parquet", "latents"])
def test_damage_is_told_and_never_more(model: Model, tmp_path: Path, kind: str) -> None:
    shard, rng = photos_tar(tmp_path / "a.tar"), random.Random(7)
    if kind == "parquet":
        shard = as_parquet(tmp_path / "a.parquet", image=images(*[(png(place), None) for place in range(20)]))
    elif kind == "latents":
        shard = invert_shard(model, shard, SPEC, tmp_path / "out").path
    whole, told = shard.read_bytes(), list[str]()
    for _ in range(150):
        shard.write_bytes(damage(rng, whole))
        try:
            if kind == "latents":
                Latents.from_parquet(shard)
                continue
            with open_shard(shard, Fields()) as photos:
                for photo in photos:
                    if photo.load is not None:
                        photo.load()
        except (ImageError, LatentsError) as error:
            told.append(str(error))
    assert len(told) > 30
    assert all(str(tmp_path) in one for one in told)


def test_a_list_of_files_is_a_shard(model: Model, tmp_path: Path) -> None:
    for place in range(2):
        (tmp_path / f"{place}.png").write_bytes(png(place))
    (tmp_path / "all.txt").write_text("1.png\n0.png\ngone.png\n")
    rows = table(invert_shard(model, tmp_path / "all.txt", SPEC, tmp_path / "out").path).to_pylist()
    assert [Path(row["key"]).name for row in rows] == ["1.png", "0.png", "gone.png"]
    assert [row["error"] is None for row in rows] == [True, True, False]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"method": {"name": "tune", "options": {"steps": 1}}}, "tunes|noise or weights"),
        ({"seconds": 1.0, "method": {"name": "optimize"}}, "does not depend on the machine"),
        ({"labels": [0]}, "has no classes"),
    ],
)
def test_what_shards_do_not_hold_is_refused(model: Model, tmp_path: Path, changes: Any, why: str) -> None:
    spec = InvertSpec.from_mapping({**SPEC.to_mapping(), **changes})
    with pytest.raises(SpecError, match=why):
        invert_shard(model, photos_tar(tmp_path / "a.tar", 4), spec, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_numbers_that_half_precision_lacks_are_an_error(toy: Any, toy_encoder: Any, tmp_path: Path) -> None:
    model = Model(toy, toy_encoder, source="toy", backbone="none")
    assert model.judge() is not None
    with torch.no_grad():
        for weights in toy_encoder.parameters():
            weights.mul_(1e4)
    spec = with_shards(numbers="float16")
    rows = table(invert_shard(model, photos_tar(tmp_path / "a.tar", 1), spec, tmp_path / "out").path).to_pylist()
    assert [row["error"] for row in rows] == ["The latents found are beyond what float16 holds."]


def test_without_pyarrow_it_is_told_what_to_install(model: Model, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for call in (
        lambda: invert_shard(model, tmp_path / "a.tar", SPEC, tmp_path),
        lambda: Latents.from_parquet(tmp_path / "a.parquet"),
        lambda: index_shards(tmp_path),
    ):
        with pytest.raises(GanencError, match=r"pip install \"ganenc\[shards\]\""):
            call()


def damaged(path: Path, change: Callable[[Any], Any]) -> Path:
    pq.write_table(change(table(path)), path)
    return path


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda found: found.drop_columns("latents"), "no column of latents"),
        (lambda found: found.replace_schema_metadata({}), "layout .* cannot be read"),
        (lambda found: found.set_column(1, "latents", pa.array([{"w": [1.0]}] * len(found))), "no column of latents"),
        (lambda found: found.filter(pa.compute.is_valid(found["error"])), "every photo of it failed"),
        (lambda found: found.replace_schema_metadata({**found.schema.metadata, b"layout": b"[]"}), "is not what"),
        (lambda found: found.replace_schema_metadata({**found.schema.metadata, b"model": b"other"}), "belong to the"),
        (
            lambda found: found.replace_schema_metadata({**found.schema.metadata, b"format": b"x"}),
            "holds no latents of",
        ),
    ],
)
def test_rows_that_are_damaged_are_no_latents(model: Model, tmp_path: Path, change: Any, why: str) -> None:
    path = invert_shard(model, photos_tar(tmp_path / "a.tar"), SPEC, tmp_path / "out").path
    with pytest.raises(LatentsError, match=why):
        Latents.from_parquet(damaged(path, change), model=model.hash)


def test_the_index_counts_and_names_what_failed_and_what_is_worst(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [photos_tar(tmp_path / f"{place}.tar", 40, 40 * place) for place in range(2)]
    out = tmp_path / "out"
    invert_shards(model, words, out, SPEC)
    (out / "junk.parquet").write_bytes(b"junk")
    found = index_shards(out)
    assert (found.shards, found.photos, found.failed, len(found.broken)) == (2, 80, 10, 1)
    rows = [{**row, "shard": path.stem} for path in sorted(out.glob("[01].parquet")) for row in table(path).to_pylist()]
    done = sorted((row for row in rows if not row["error"]), key=lambda row: row["metrics"]["psnr"])
    assert [key for _, _, key in found.worst] == [row["key"] for row in done[:20]]
    scores = [row["metrics"]["psnr"] for row in done]
    assert found.percentiles["psnr"][0] == pytest.approx(scores[0])
    assert found.percentiles["psnr"][100] == pytest.approx(scores[-1])
    assert found.percentiles["psnr"][50] == pytest.approx(np.median(scores), abs=0.1)
    assert [key for _, key, _ in failed_photos(out)] == [row["key"] for row in rows if row["error"]]
    (out / "junk.parquet").unlink()
    with pytest.raises(SystemExit):
        main(["index", str(out), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (told["photos"], len(told["failures"]), len(told["worst"])) == (80, 10, 20)
    with pytest.raises(SystemExit):
        main(["index", str(out), "--failed"])
    assert len(capsys.readouterr().out.splitlines()) == 10
    with pytest.raises(SystemExit):
        main(["index", str(out)])
    assert "2 shards, 80 photos, 10 failed" in capsys.readouterr().out


def test_the_command_inverts_shards(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], known: Any
) -> None:
    known.add_value("generator", "toy", ToyGenerator)
    model.save(tmp_path / "model")
    for place in range(3):
        photos_tar(tmp_path / f"{place}.tar", 4, 4 * place)
    words = ["invert", str(tmp_path / "{0..2}.tar"), "--model", str(tmp_path / "model"), "--backbone", "none"]
    words += ["--out", str(tmp_path / "out"), "--set", "shards.metrics=[psnr]"]
    for more, done in ((["--part", "1/2"], ["1"]), ([], ["0", "1", "2"])):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more, "--json"])
        assert not ended.value.code
        told = json.loads(capsys.readouterr().out)
        assert [Path(one["shard"]).stem for one in told["shards"]] == done
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["0", "1", "2"]
    for wrong in (["--part", "2/2"], [str(tmp_path / "a.png")]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *wrong])
        assert ended.value.code == 2


def test_the_words_for_shards(tmp_path: Path, monkeypatch: Any) -> None:
    assert expand_braces("s/{0008..0011}.tar") == [f"s/{place:04d}.tar" for place in range(8, 12)]
    assert expand_braces("{train,val}-{2..1}.tar") == ["train-2.tar", "train-1.tar", "val-2.tar", "val-1.tar"]
    assert expand_braces("plain{x}.tar") == ["plain{x}.tar"]
    monkeypatch.setattr(shard_names, "MOST", 100)
    with pytest.raises(SpecError, match="more than"):
        expand_braces("{0..99999999999999999999}")
    for name in ("b", "a", "10"):
        (tmp_path / f"{name}.tar").touch()
    assert [one.stem for one in find_shards(tmp_path / "*.tar")] == ["10", "a", "b"]
    with pytest.raises(ImageError, match="no shard"):
        find_shards(tmp_path / "*.parquet")
    with pytest.raises(SpecError, match="would leave one file"):
        find_shards([tmp_path / "a.tar", tmp_path / "a.parquet"])


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, (0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "4"}, (3, 4)),
        ({"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "5"}, (2, 5)),
        (
            {"SLURM_ARRAY_TASK_ID": "14", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "3",
             "SLURM_ARRAY_TASK_STEP": "2", "RANK": "1", "WORLD_SIZE": "2"},
            (5, 6),
        ),
        ({"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_COUNT": "2"}, None),
    ],
)  # fmt: skip
def test_the_part_of_a_process(environment: dict[str, str], part: tuple[int, int] | None) -> None:
    if part is None:
        with pytest.raises(SpecError, match="--part"):
            part_of(environment)
    else:
        assert part_of(environment) == part


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "0/0", "a/b"])
def test_a_part_that_is_none(text: str) -> None:
    with pytest.raises(SpecError, match="I/N"):
        read_part(text)
