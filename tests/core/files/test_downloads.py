"""Downloads, against a site on this machine that breaks off, changes, refuses and lies."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from ganenc.files import cache_folder, download
from ganenc.files import downloads as module
from ganenc_registry.errors import DownloadError
from servers import Site, need_loopback, serving

DATA = bytes(range(256)) * 5000
SHA256 = f"sha256:{hashlib.sha256(DATA).hexdigest()}"


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as site:
        site.files["/net.pkl"] = DATA
        yield site


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "net.pkl"


def names(path: Path) -> list[str]:
    """What lies in the file's folder, its lock left out."""
    return sorted(file.name for file in path.parent.iterdir() if file.suffix != ".lock")


def cut_off(site: Site, path: Path, at: int = 100_000) -> None:
    """Leave a part of the file: the transfer breaks off, and all that are begun anew bring nothing."""
    site.cuts = [at, 0]
    with pytest.raises(DownloadError, match=f"the connection was cut off after [0-9,]+ of {len(DATA):,} bytes"):
        download(f"{site.url}/net.pkl", path)
    site.cuts.clear()
    site.asked.clear()


def test_a_file_comes_whole_and_is_asked_for_once(site: Site, path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    for _ in range(2):
        download(
            f"{site.url}/net.pkl",
            path,
            size=len(DATA),
            checksum=SHA256,
            on_progress=lambda done, total: told.append((done, total)),
        )
    assert path.read_bytes() == DATA
    assert names(path) == ["net.pkl"]
    assert site.asked == [("/net.pkl", None)]
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


@pytest.mark.parametrize("tag", ["ETag", "Last-Modified"])
def test_a_later_call_goes_on_where_the_last_was_cut_off(site: Site, path: Path, tag: str) -> None:
    site.tag = tag
    cut_off(site, path)
    assert names(path) == ["net.pkl.part", "net.pkl.part.tag"]
    told: list[int] = []
    download(f"{site.url}/net.pkl", path, checksum=SHA256, on_progress=lambda done, _: told.append(done))
    assert site.asked == [("/net.pkl", "bytes=100000-")]
    assert path.read_bytes() == DATA
    assert told[0] > 100_000
    assert names(path) == ["net.pkl"]


def test_one_call_goes_on_while_each_attempt_brings_something(site: Site, path: Path) -> None:
    site.cuts = [300_000, 200_000]
    download(f"{site.url}/net.pkl", path)
    assert [asked for _, asked in site.asked] == [None, "bytes=300000-", "bytes=500000-"]
    assert path.read_bytes() == DATA


def test_a_call_gives_up_in_the_end_and_keeps_what_came(site: Site, path: Path) -> None:
    site.cuts = [1000] * 100
    with pytest.raises(DownloadError, match="cut off after 4,000 of 1,280,000"):
        download(f"{site.url}/net.pkl", path)
    assert len(site.asked) == module.ATTEMPTS
    assert path.with_name("net.pkl.part").read_bytes() == DATA[:4000]


def test_a_site_without_ranges_sends_the_file_anew(site: Site, path: Path) -> None:
    cut_off(site, path)
    site.ranges = False
    download(f"{site.url}/net.pkl", path, checksum=SHA256)
    assert site.asked == [("/net.pkl", "bytes=100000-")]
    assert path.read_bytes() == DATA


def test_without_a_tag_nothing_is_trusted_to_be_of_the_same_file(site: Site, path: Path) -> None:
    site.tag = ""
    site.cuts = [100_000]
    download(f"{site.url}/net.pkl", path)
    assert site.asked == [("/net.pkl", None)] * 2
    assert path.read_bytes() == DATA


def test_a_file_that_has_changed_since_is_fetched_anew(site: Site, path: Path) -> None:
    cut_off(site, path)
    site.files["/net.pkl"] = DATA[::-1]
    download(f"{site.url}/net.pkl", path)
    assert path.read_bytes() == DATA[::-1]


@pytest.mark.parametrize("extra", [b"", b"more than there is"], ids=["whole", "too long"])
def test_a_part_with_nothing_left_to_fetch_is_not_fetched_again_if_it_is_whole(
    site: Site, path: Path, extra: bytes
) -> None:
    cut_off(site, path)
    path.with_name("net.pkl.part").write_bytes(DATA + extra)
    download(f"{site.url}/net.pkl", path)
    assert path.read_bytes() == DATA
    assert len(site.asked) == (2 if extra else 1)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"size": 1_280_001}, "it has 1,280,000 bytes, not 1,280,001"),
        ({"size": 7}, "it has more than 7 bytes"),
        ({"checksum": f"sha256:{'0' * 64}"}, f"its sha256 is {SHA256[7:]}, not 0000"),
        ({"checksum": f"md5:{'1' * 32}"}, f"its md5 is {hashlib.md5(DATA).hexdigest()}, not 1111"),
    ],
    ids=["short", "long", "sha256", "md5"],
)
def test_another_file_than_was_published_is_thrown_away(
    site: Site, path: Path, known: dict[str, object], told: str
) -> None:
    with pytest.raises(DownloadError, match=f"what came is not the file that was published: {told}"):
        download(f"{site.url}/net.pkl", path, **known)  # type: ignore[arg-type]
    assert names(path) == []
    download(f"{site.url}/net.pkl", path, checksum=SHA256[:15])
    assert path.read_bytes() == DATA


def test_no_more_is_taken_than_was_published(site: Site, path: Path) -> None:
    taken: list[int] = []
    site.files["/net.pkl"] = DATA * 40
    with pytest.raises(DownloadError, match="more than 1,000 bytes"):
        download(f"{site.url}/net.pkl", path, size=1000, on_progress=lambda done, total: taken.append(done))
    assert taken[-1] < len(DATA) * 20


def test_what_the_site_refuses_is_told_at_once(site: Site, path: Path) -> None:
    with pytest.raises(DownloadError, match="the site answers 404 Not Found"):
        download(f"{site.url}/absent.pkl", path)
    assert len(site.asked) == 1
    assert names(path) == []


def test_a_site_that_is_not_there_is_given_up_with_what_the_system_says(path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match=r"Errno [0-9]+") as said:
            socket.create_connection(deaf.getsockname())
        assert said.value.strerror
        with pytest.raises(DownloadError, match=re.escape(said.value.strerror)):
            download(f"http://127.0.0.1:{deaf.getsockname()[1]}/net.pkl", path)
    assert names(path) == []


def test_a_site_that_says_nothing_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        need_loopback(deaf.getsockname()[1])
        with pytest.raises(DownloadError, match=r"timed out|no answer within 0\.1 seconds"):
            download(f"http://127.0.0.1:{deaf.getsockname()[1]}/net.pkl", path)
    assert names(path) == []


def test_a_place_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"net\.pkl cannot be written"):
        download(f"{site.url}/net.pkl", tmp_path / "file" / "net.pkl")
    assert site.asked == []


def test_two_processes_take_turns(site: Site, path: Path, tmp_path: Path) -> None:
    site.gate.clear()
    code = (
        "import sys, pathlib, ganenc.files.downloads as d; url, path, waits, checksum = sys.argv[1:];"
        "d.download(url, pathlib.Path(path), checksum=checksum, on_wait=pathlib.Path(waits).touch)"
    )
    waits = tmp_path / "waits"
    words = [sys.executable, "-c", code, f"{site.url}/net.pkl", str(path), str(waits), SHA256]
    processes = [subprocess.Popen(words) for _ in range(2)]
    while not waits.exists():
        assert [process.poll() for process in processes] == [None, None]
        threading.Event().wait(0.01)
    site.gate.set()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert site.asked == [("/net.pkl", None)]
    assert path.read_bytes() == DATA
    assert names(path) == ["net.pkl"]


def test_a_process_that_dies_leaves_its_part_and_no_lock(site: Site, path: Path) -> None:
    cut_off(site, path)
    site.gate.clear()
    code = "import sys, pathlib, ganenc.files.downloads as d; d.download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    process = subprocess.Popen([sys.executable, "-c", code, f"{site.url}/net.pkl", str(path)])
    while not site.asked:
        assert process.poll() is None
        threading.Event().wait(0.01)
    process.kill()
    process.wait()
    site.gate.set()
    site.asked.clear()
    download(f"{site.url}/net.pkl", path, checksum=SHA256)
    assert site.asked == [("/net.pkl", "bytes=100000-")]
    assert path.read_bytes() == DATA


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home"
    monkeypatch.setenv("GANENC_HOME", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("GANENC_HOME")
    assert cache_folder().name == "ganenc"
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert cache_folder() == tmp_path / "xdg" / "ganenc"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == tmp_path / ".cache" / "ganenc"
