"""``ganenc invert`` of many photos: what it goes on with, what it lists, and what processes share."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ganenc.cli import main
from ganenc.jobs import WORST, ResultFolder
from ganenc.models import save_pretrained
from ganenc_registry.specs import InvertSpec
from painting import Paints, calls, faults, grey, grey_photos, rows, seen
from servers import serving
from toys import ToyGenerator


@pytest.fixture(autouse=True)
def fresh(known: Any) -> None:
    known.add_value("inverter", "paints", Paints)
    known.add_value("generator", "toy", ToyGenerator)
    calls.clear()
    faults.clear()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Ten photos, each of one grey value: 0, 10, 20, ..."""
    return grey_photos(tmp_path / "photos", 10)


def kill_all(process: int) -> None:
    """A process and those that it started."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    for one in (process, *map(int, children)):
        os.kill(one, signal.SIGKILL)


REGISTERING = """
import ganenc, toys
ganenc.register("generator", "toy")(toys.ToyGenerator)
"""


@pytest.mark.slow
def test_two_processes_killed_and_started_again_do_each_photo_once(toy: Any, toy_encoder: Any, tmp_path: Path) -> None:
    with serving():  # Skips where a machine cannot reach itself.
        pass
    photos, out = grey_photos(tmp_path / "photos", 80), tmp_path / "out"
    photos[7].write_text("no photo")
    save_pretrained(toy, tmp_path / "model")
    save_pretrained(toy_encoder, tmp_path / "model" / "encoder")
    (tmp_path / "mine.py").write_text(REGISTERING)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "ganenc"]
    words = ["--import", "mine.py", "invert", "photos", "--model", "model", "--out", "out", "--quiet"]
    words += [
        "--method",
        "optimize",
        "--steps",
        "3",
        "--set",
        "method.options.batch=2",
        "--set",
        "objective.losses.mse=1",
    ]
    words += ["--backbone", "none"]
    begun: dict[str, Any] = {"cwd": tmp_path, "env": environment, "text": True, "stderr": subprocess.PIPE}
    with subprocess.Popen([*launch, *words], **begun) as process:
        while process.poll() is None and sum(len(path.read_bytes()) for path in out.glob("index-*.jsonl")) < 2000:
            time.sleep(0.01)
        kill_all(process.pid)
    assert not (out / "index.jsonl").exists(), "it was killed before its end"
    lines = [line for path in out.glob("index-*.jsonl") for line in path.read_text(encoding="utf-8").splitlines(True)]
    before = [json.loads(line) for line in lines if line.endswith("\n")]
    assert 0 < len(before) < 80
    done = subprocess.run([*launch, *words], check=False, timeout=300, **begun)
    assert done.returncode == 1, "one photo failed"
    assert f"1 of 80 photos failed: {Path('photos') / '7.png'}" in done.stderr
    assert [Path(row["photo"]) for row in list(ResultFolder(out).rows())] == photos
    kept = {row["photo"]: row for row in list(ResultFolder(out).rows())}
    assert all(kept[row["photo"]] == row for row in before), "what was done stays, with the time it took"
    assert {row["status"] for row in list(ResultFolder(out).rows()) if row["folder"] != "7"} == {"done"}
    assert all((out / path.stem / "latents.safetensors").is_file() for path in photos if path.stem != "7")
    assert not list(out.glob("index-*.jsonl"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(toy: Any, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``ganenc invert`` in this process: its exit code, and what it printed on both channels."""
    save_pretrained(toy, tmp_path / "toy")
    place = ["--model", str(tmp_path / "toy"), "--backbone", "none", "--out", str(out), "--method", "paints"]

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["invert", *place, *map(str, words)])
        told, err = capsys.readouterr()
        return int(ended.value.code or 0), told, err

    return command


def test_the_command_goes_on_lists_what_failed_and_tries_it_again(run: Any, out: Path, photos: list[Path]) -> None:
    photos[3].write_text("no photo")
    code, told, err = run(photos[0].parent)
    assert code == 1
    assert f"1 of 10 photos failed: {photos[3]}. --retry-failed tries them again." in err
    code, told, err = run(photos[0].parent)
    assert code == 1
    assert "9 of 10 photos were done before" in err
    grey(photos[3], 30)
    calls.clear()
    code, told, err = run("--retry-failed", "--json")
    assert (code, seen()) == (0, [30])
    assert [item["photo"] for item in json.loads(told)["photos"]] == [str(photos[3])]
    code, told, err = run("--retry-failed")
    assert code == 2
    assert "tells of no photo that failed" in err
    assert (out / "0" / "report.html").is_file(), "few photos have pages of their own"


def test_the_command_says_when_it_was_interrupted(run: Any, out: Path, photos: list[Path]) -> None:
    def asked(count: int) -> Exception:
        return KeyboardInterrupt()  # type: ignore[return-value]

    faults[90] = asked
    code, _, err = run(*photos)
    assert code == 130
    assert "Interrupted" in err
    assert len(rows(out)) == 8


def test_a_list_names_photos(run: Any, photos: list[Path], tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"# some\nphotos/7.png\n\n{photos[2]}\nphotos/[01].png\n", encoding="utf-8")
    code, told, err = run(listed, "--quiet")
    assert (code, told, err) == (0, "", "")
    assert seen() == [70, 20, 0, 10]


def test_what_lies_in_the_folder_to_write_to_is_no_photo(run: Any, out: Path, photos: list[Path]) -> None:
    inside = photos[0].parent / "inverted"
    for _ in range(3):
        code, _, err = run(photos[0].parent, "--out", inside, "--quiet")
        assert code == 0, err
    assert len(rows(inside)) == 10
    code, _, err = run(inside, "--out", inside)
    assert code == 1
    assert "all photos there lie in" in err
    assert run(inside / "3" / "reconstruction.png", "--out", inside, "--quiet")[0] == 0, "unless it is named itself"
    assert len(rows(inside)) == 11


def test_names_that_are_not_in_utf_8_and_names_of_dots_do_no_harm(run: Any, out: Path, photos: list[Path]) -> None:
    odd = [os.fsdecode(name) for name in (b"bad\xff.png", b"...png", b"..png", b"[x].png", b"index-0.jsonl.png")]
    for name in odd:
        shutil.copy(photos[5], photos[0].parent / name)
    named = [photos[0].parent / name for name in odd]
    before = set(out.parent.iterdir())
    for turn in range(2):
        code, told, err = run(*named)
        assert code == 0, err
        assert "bad\\udcff.png" in told
        assert ("5 of 5 photos were done before" in err) == bool(turn)
    assert set(out.parent.iterdir()) - before == {out}
    assert {row["photo"] for row in list(ResultFolder(out).rows())} == {str(path) for path in named}
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == {os.fsdecode(b"bad\xff"), "photo", "photo-2", "[x]", "index-0.jsonl-2"}


def test_of_many_photos_the_worst_are_shown(
    run: Any, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = WORST + 1
    for module in ("inverting", "job_result"):
        monkeypatch.setattr(f"ganenc.jobs.{module}.LISTED", few)
    grey_photos(tmp_path / "many", few + 5)
    code, told, err = run(tmp_path / "many")
    assert code == 0, err
    assert f"Of {few + 5} photos, the {WORST} of lowest PSNR" in told
    assert not list(out.glob("*/report.html"))


def test_where_nothing_is_there_it_says_so_at_once(run: Any, out: Path, tmp_path: Path) -> None:
    code, _, err = run(tmp_path / "phtos")
    assert code == 1
    assert "there is no such file or folder" in err
    assert not out.exists()
    long = "x" * 300
    assert "there is no such file or folder" in run(f"{long}.jpg")[2]


def test_photos_that_share_an_encoder_are_refused(run: Any, photos: list[Path]) -> None:
    code, _, err = run(*photos, "--method", "finetune", "--set", "method.options.together=true")
    assert code == 2
    assert "ganenc finetune" in err


def test_a_file_says_all_and_options_and_settings_come_over_it(run: Any, out: Path, photos: list[Path]) -> None:
    config = out.with_name("job.yaml")
    spec = InvertSpec(photos=[str(photos[0]), str(photos[3])], seed=4, method="paints", fit="contain")
    config.write_text(spec.to_yaml())
    code, _, err = run("--config", config, "--seed", 5, "--set", "method.options.batch=1", "--quiet")
    assert code == 0, err
    assert calls == [[0], [30]]
    (settings,) = ResultFolder(out).settings().values()
    assert (settings["seed"], settings["fit"], settings["method"]["name"]) == (5, "contain", "paints")
    config.write_text("phtos: [a.png]")
    code, _, err = run("--config", config)
    assert code == 2
    assert "phtos: there is no such field (did you mean 'photos'?)" in err


def test_a_model_has_to_be_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["invert", "a.png", "--out", str(out)])
    assert ended.value.code == 2
    assert "give --model" in capsys.readouterr().err
