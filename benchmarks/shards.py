"""Two hundred thousand photos in shards through ``ganenc invert``: its speed, its memory, and what kills leave of it.

Small photos are drawn, and some records are broken. One pass of an encoder on photos in memory is timed against the
same photos in a shard. All shards are inverted undisturbed, each process's memory being read over and over, and again
with the command killed (SIGKILL) at random moments; both have to leave the same but for seconds, every key once, and
the broken records as rows with an error. At the end some of the photos go through as a folder of folders. With
``--work`` and ``--minutes`` a call goes on where the one before stopped.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from _common import parser, publish, resident, set_threads, table
from ganenc.encoders import build_encoder
from ganenc.generators import build_generator
from ganenc.jobs import failed_photos, invert_shards
from ganenc.model import Model, load
from ganenc_plugin_stylegan.specs import stylegan2_spec
from ganenc_registry.specs import InvertSpec
from PIL import Image

SIZE, BATCH = 32, 64
CHANNELS = {4: 64, 8: 64, 16: 32, 32: 16}
SHIPPED = "stylegan2-hands64"
SPEC = InvertSpec(method={"name": "encode", "options": {"batch": BATCH}}, shards={"metrics": ["psnr"]})
EVERY = 0.5
"""Seconds between two readings of the memory."""
PIECES = 4
"""Processes that the undisturbed run is done by, one after another."""
ROUNDS = 5
IN_TURN = 5
"""Shards of which each round's time is taken."""


class Later(Exception):
    """The time of this call is over."""


@dataclass
class Study:
    """What is to be done, where, and what is known so far."""

    chosen: argparse.Namespace
    work: Path
    until: float
    state: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, work: Callable[[], Any]) -> Any:
        """What a piece of work gave, in this call or one before."""
        path = self.work / "state.json"
        if path.is_file():
            self.state = json.loads(path.read_text(encoding="utf-8"))
        if name not in self.state:
            if time.monotonic() > self.until:
                raise Later
            self.state[name] = work()
            path.write_text(json.dumps(self.state), encoding="utf-8")
        return self.state[name]

    @property
    def names(self) -> list[str]:
        return [f"{place:04d}" for place in range(self.chosen.shards)]

    @property
    def each(self) -> int:
        """Photos of a shard."""
        return self.chosen.photos // self.chosen.shards

    def broken(self) -> set[int]:
        """Which photos are broken."""
        return set(random.Random(0).sample(range(self.each * self.chosen.shards), self.chosen.broken))


def record(place: int, *, broken: bool) -> tuple[str, bytes]:
    """The ending and the bytes of a photo: soft blots of colour; of a broken one what is none."""
    rng = np.random.default_rng(place)
    buffer = io.BytesIO()
    blots = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
    blots.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    whole = buffer.getvalue()
    ways = [("jpg", b""), ("jpg", whole[: len(whole) // 3]), ("jpg", b"no photo\n"), ("txt", b"no image\n")]
    return ways[place % len(ways)] if broken else ("jpg", whole)


def make(study: Study) -> None:
    """The model and the shards."""
    torch.manual_seed(0)
    generator = build_generator(stylegan2_spec((SIZE, SIZE), CHANNELS, z_dim=64, w_dim=64)).freeze()
    Model(generator, build_encoder(generator), backbone="none").save(study.work / "model")
    broken, shards = study.broken(), study.work / "shards"
    shards.mkdir(exist_ok=True)
    for number, name in enumerate(study.names):
        with tarfile.open(shards / f"{name}.tar", "w") as tar:
            for place in range(number * study.each, (number + 1) * study.each):
                ending, data = record(place, broken=place in broken)
                info = tarfile.TarInfo(f"{place:07d}.{ending}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def speed(study: Study, source: str | Path) -> dict[str, dict[str, list[float]]]:
    """Seconds of the processor, and on the wall, for the photos of a shard: networks, rows, and all of it, of some that
    follow one another."""
    model = load(source, backbone="none")
    model.judge()
    photos = [model.read(record(place, broken=False)[1]) for place in range(study.each)]
    targets = torch.stack([photo.target for photo in photos])
    shards, out = [study.work / f"whole-{place}.tar" for place in range(IN_TURN)], study.work / "speed"
    with tarfile.open(shards[0], "w") as tar:
        for place in range(study.each):
            _, data = record(place, broken=False)
            info = tarfile.TarInfo(f"{place:07d}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    for one in shards[1:]:
        shutil.copyfile(shards[0], one)
    waited: list[float] = []

    @torch.no_grad()
    def networks() -> None:
        for some in targets.split(BATCH):
            latents = model.encoder(some.contiguous(memory_format=torch.channels_last))  # type: ignore[misc]
            model.generator.synthesize(model.generator.complete(latents))

    def encoding() -> None:
        for first in range(0, len(photos), BATCH):
            model.invert(photos[first : first + BATCH], SPEC.method).score(["psnr"])

    def whole() -> None:
        shutil.rmtree(out, ignore_errors=True)
        found = invert_shards(model, shards, out, SPEC, part=(0, 1)).done
        waited.append(sum(one.waited for one in found) / sum(one.seconds for one in found))

    both = {"processor": lambda: sum(os.times()[:4]), "wall": time.perf_counter}
    found: dict[str, dict[str, list[float]]] = {clock: {} for clock in both}
    work = {"networks": networks, "encoding": encoding, "shard": whole}
    for turn in range(
        ROUNDS + 1
    ):  # In turn, so that what else the machine does falls on all alike; the first warms up.
        for name, piece in work.items():
            began = {clock: read() for clock, read in both.items()}
            piece()
            for clock, read in both.items() if turn else ():
                found[clock].setdefault(name, []).append((read() - began[clock]) / (IN_TURN if name == "shard" else 1))
    return {**found, "waited": {"shard": waited}}


@dataclass
class Run:
    """A process of the command: from its start to its end or its kill."""

    seconds: float = 0.0
    code: int = 0
    memory: list[tuple[int, float]] = field(default_factory=list)
    """Shards done, and megabytes resident."""


def run(words: list[str], out: Path, threads: int, *, stop: Callable[[int], bool] = lambda done: False) -> Run:
    """Start the command, read its memory, and kill it once that is said to be due, given the shards that are done."""
    command = [sys.executable, "-m", "ganenc", "invert", *words, "--backbone", "none", "--quiet", "--out", str(out)]
    environment, found, began = {**os.environ, "OMP_NUM_THREADS": str(threads)}, Run(), time.monotonic()
    process = subprocess.Popen(command, env=environment)
    while True:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
        if pid:
            break
        done = len([*out.glob("[!.]*.parquet")])
        found.memory.append((done, resident(process.pid)))
        if stop(done):
            os.kill(process.pid, signal.SIGKILL)
            _, status = os.waitpid(process.pid, 0)
            break
        time.sleep(EVERY)
    process.returncode = found.code = os.waitstatus_to_exitcode(status)
    found.seconds = time.monotonic() - began
    if found.code not in (0, -signal.SIGKILL):
        raise SystemExit(f"{' '.join(command)} ended with {found.code}.")
    return found


def words(study: Study, shards: str) -> list[str]:
    """Of a call on some shards."""
    chosen = [f"--set=method.options.batch={BATCH}", "--set=shards.metrics=[psnr]"]
    return [str(study.work / "shards" / shards), "--model", str(study.work / "model"), "--method", "encode", *chosen]


def undisturbed(study: Study, piece: int) -> dict[str, Any]:
    """A process on some of the shards."""
    names = study.names[piece * study.chosen.shards // PIECES : (piece + 1) * study.chosen.shards // PIECES]
    out = study.work / "undisturbed" / str(piece)
    shutil.rmtree(out, ignore_errors=True)
    found = run(words(study, f"{{{names[0]}..{names[-1]}}}.tar"), out, study.chosen.threads)
    held = [megabytes for done, megabytes in found.memory if done and megabytes]
    third = max(1, len(held) // 3)
    return {
        "shards": len(names),
        "seconds": found.seconds,
        "first": max(held[:third], default=0.0),
        "last": max(held[-third:], default=0.0),
    }


def killed(study: Study, turn: int) -> dict[str, Any]:
    """A process on all shards, that is killed at a random moment, the last one not."""
    chance, span = random.Random(turn), study.chosen.shards / (study.chosen.kills + 1)
    goal, out, reached = int(span * (turn + chance.uniform(0.5, 1.0))), study.work / "killed", [0.0]
    delay = chance.uniform(0.0, 5.0)

    def stop(done: int) -> bool:
        if turn == study.chosen.kills or done < goal:
            return False
        reached[0] = reached[0] or time.monotonic()
        return time.monotonic() >= reached[0] + delay

    found = run(words(study, f"{{{study.names[0]}..{study.names[-1]}}}.tar"), out, study.chosen.threads, stop=stop)
    files = [path.name for path in out.iterdir()]
    left = sum(name.startswith(".") for name in files)
    return {"killed": found.code < 0, "seconds": found.seconds, "done": len(files) - left, "half": left}


def rows(path: Path) -> Any:
    """What a shard's file says but the seconds."""
    return pq.read_table(path).drop_columns("seconds").combine_chunks()


def compare(study: Study) -> dict[str, Any]:
    """Hold what both runs left against each other and against what went in; SystemExit if anything is missing, there
    twice, or another."""
    places = {path.name: path for path in (study.work / "undisturbed").glob("*/*.parquet")}
    keys: Counter[str] = Counter()
    differ, half = 0, [path.name for path in (study.work / "killed").iterdir() if path.name.startswith(".")]
    for name in study.names:
        one, other = (rows(place) for place in (places[f"{name}.parquet"], study.work / "killed" / f"{name}.parquet"))
        differ += not (one.equals(other, check_metadata=True) and one.to_pylist() == other.to_pylist())
        keys.update(other["key"].to_pylist())
    failed = {int(key) for _, key, _ in failed_photos(study.work / "killed")}
    wanted = {f"{place:07d}" for place in range(study.each * study.chosen.shards)}
    if differ or half or set(keys) != wanted or set(keys.values()) != {1} or failed != study.broken():
        raise SystemExit(f"{differ} shards differ, {len(half)} are half, or not every key is there once.")
    return {"shards": len(study.names), "keys": len(keys), "failed": len(failed), "differ": differ}


def folders(study: Study) -> dict[str, Any]:
    """The first photos as a folder of folders, and as shards, with the same metrics."""
    count = min(study.chosen.folders, study.each * study.chosen.shards)
    place, each = study.work / "photos", max(1, count // study.each)
    shutil.rmtree(place, ignore_errors=True)
    for number in range(count):
        folder = place / f"{number // study.each:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:07d}.jpg").write_bytes(record(number, broken=False)[1])
    with_model = ["--model", str(study.work / "model"), "--method", "encode", f"--set=method.options.batch={BATCH}"]
    shards = study.work / "few"
    shards.mkdir(exist_ok=True)
    for number in range(each):
        with tarfile.open(shards / f"{number:04d}.tar", "w") as tar:
            for path in sorted((place / f"{number:04d}").iterdir()):
                tar.add(path, path.name)
    found = {}
    for name, given in (("folder", [str(place)]), ("shards", [str(shards / "*.tar")])):
        out = study.work / f"of-{name}"
        shutil.rmtree(out, ignore_errors=True)
        seconds = run([*given, *with_model], out, study.chosen.threads).seconds
        files = [path for path in out.rglob("*") if path.is_file()]
        taken = sum(path.stat().st_blocks * 512 for path in files)
        found[name] = [count, len(files), sum(path.stat().st_size for path in files), taken, seconds]
        shutil.rmtree(out)
    shutil.rmtree(place)
    return found


def share(some: list[float], others: list[float]) -> str:
    """How many times as long, round by round: the middle, the least and the most."""
    found = sorted(one / other for one, other in zip(some, others, strict=True))
    return f"{found[len(found) // 2]:.3f} ({found[0]:.3f} to {found[-1]:.3f})"


def report(study: Study) -> Iterator[str]:
    """The tables."""
    chosen, each = study.chosen, study.each
    study.once("make", lambda: make(study))
    times = {
        name: study.once(f"speed {name}", lambda source=source: speed(study, source))
        for name, source in (("small", study.work / "model"), (SHIPPED, SHIPPED))
    }
    pieces = [
        study.once(f"undisturbed {piece}", lambda piece=piece: undisturbed(study, piece)) for piece in range(PIECES)
    ]
    turns = [study.once(f"killed {turn}", lambda turn=turn: killed(study, turn)) for turn in range(chosen.kills + 1)]
    found = study.once("compare", lambda: compare(study))
    apart = study.once("folders", lambda: folders(study))
    yield (
        f"{each * chosen.shards:,} photos of {SIZE}x{SIZE} in {chosen.shards} tars, {chosen.broken} records broken,"
        f" through `ganenc invert '{{{study.names[0]}..{study.names[-1]}}}.tar' --method encode`, {BATCH} at once;"
        f" a small StyleGAN2 of {SIZE} pixels with random weights and its encoder. Threads of torch: {chosen.threads}."
        " Seconds are those on the wall where nothing else is said."
    )
    for name, told in (("small", "The small network"), (SHIPPED, f"The shipped {SHIPPED}")):
        parts, wall = times[name]["processor"], times[name]["wall"]
        pace = {one: f"{min(some) / each * 1e3:.2f}" for one, some in parts.items()}
        yield f"{told}, {IN_TURN} shards of {each:,} photos:"
        yield table(
            [
                "", "ms a photo, least of the rounds", "times the networks", "on the wall", "times `Model.invert`",
                "on the wall",
            ],
            [
                ("encoder and generator on batches in memory", pace["networks"], "", "", "", ""),
                ("`Model.invert` and PSNR of photos in memory", pace["encoding"],
                 *(share(clock["encoding"], clock["networks"]) for clock in (parts, wall)), "", ""),
                ("`invert_shards`: reading, decoding, rows and verdicts, too", pace["shard"],
                 *(share(clock["shard"], clock[of]) for of in ("networks", "encoding") for clock in (parts, wall))),
            ],
        )  # fmt: skip
        waited = sorted(times[name]["waited"]["shard"])
        yield f"Of their time the networks waited for photos {waited[len(waited) // 2]:.1%}."
    yield table(
        ["undisturbed process", "shards", "photos a second", "MB held, first third", "last third"],
        [
            (place, piece["shards"], f"{piece['shards'] * each / piece['seconds']:.0f}", f"{piece['first']:.0f}",
             f"{piece['last']:.0f}")
            for place, piece in enumerate(pieces, 1)
        ],
    )  # fmt: skip
    before = [0, *(turn["done"] for turn in turns)]
    yield table(
        ["process", "ran", "shards done", "half-written files it left", "photos a second, starting included"],
        [
            (place, "killed" if turn["killed"] else "to its end", turn["done"] - before[place - 1], turn["half"],
             f"{(turn['done'] - before[place - 1]) * each / turn['seconds']:.0f}")
            for place, turn in enumerate(turns, 1)
        ],
    )  # fmt: skip
    yield table(
        ["at the end", ""],
        [
            ("keys, each once", f"{found['keys']:,}"),
            ("rows with an error, exactly the broken records", f"{found['failed']:,}"),
            ("shards that differ in a bit from the undisturbed ones, seconds aside", found["differ"]),
            ("half-written files left", 0),
        ],
    )
    yield table(
        ["the same photos, PSNR and SSIM", "photos", "files left", "MB in them", "MB on the disk", "seconds"],
        [
            (f"as a {name} of folders" if name == "folder" else "as shards", f"{row[0]:,}", f"{row[1]:,}",
             f"{row[2] / 1e6:.1f}", f"{row[3] / 1e6:.1f}", f"{row[4]:.1f}")
            for name, row in apart.items()
        ],
    )  # fmt: skip


def main() -> None:
    """Do what there is time for; at the end, print."""
    options = parser("shards", __doc__.splitlines()[0])
    options.add_argument("--photos", type=int, default=200_000, help="how many, the broken ones among them")
    options.add_argument("--shards", type=int, default=200, help="in how many shards")
    options.add_argument("--broken", type=int, default=500, help="how many records are broken")
    options.add_argument("--kills", type=int, default=10, help="how often the command is killed")
    options.add_argument("--folders", type=int, default=10_000, help="how many photos go as a folder of folders, too")
    options.add_argument("--work", type=Path, help="a folder to work in, and to go on in")
    options.add_argument("--minutes", type=float, default=1e6, help="after so many nothing more is begun")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.photos, chosen.shards, chosen.broken, chosen.kills, chosen.folders = 320, 8, 8, 2, 80
    with tempfile.TemporaryDirectory() as place:
        work = chosen.work or Path(place)
        work.mkdir(parents=True, exist_ok=True)
        study = Study(chosen, work, time.monotonic() + 60 * chosen.minutes)
        try:
            body = "\n\n".join(report(study))
        except Later:
            print("The time is over; the same call goes on.", file=sys.stderr)
            return
    publish("shards", "Photos in shards", body, out=chosen.out, quick=chosen.quick)


if __name__ == "__main__":
    main()
