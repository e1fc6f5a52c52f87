"""A folder of many photos through ``ganenc invert --method encode``: its memory, and what kills leave of it.

Small photos are made by the shipped StyleGAN2 of hands, and broken files are put among them. The command is killed with
SIGKILL at random moments and started again each time, then run once more to its end; meanwhile its resident memory is
read over and over. At the end every photo has to stand in the index once, the broken ones as failed, and the latents of
a sample of photos have to be those that one pass of the encoder gives by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from _common import RESULTS, parser, publish, resident, set_threads, table
from _svg import curves
from ganenc import images, load_generator
from ganenc.files import drop_leftovers
from ganenc.latents import Latents
from ganenc.models import load_encoder
from PIL import Image

MODEL = "stylegan2-hands64"
AT_ONCE = 50
EVERY = 0.25
"""Seconds between two readings of the memory."""
SAMPLED = 50
"""Photos whose latents are held against a pass of their own."""
START = 0.2
"""The share of the photos over which a process may still grow: libraries load, and allocators fill up."""


@dataclass
class Part:
    """One process: from its start to its end or its kill."""

    began_with: int
    points: list[tuple[int, float]] = field(default_factory=list)
    """Photos in the index, and megabytes."""
    killed: bool = False
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.points[-1][0] - self.began_with if self.points else 0


def make_photos(folder: Path, count: int) -> None:
    """Photos that the generator makes, as JPEG files."""
    generator = load_generator(MODEL).freeze()
    folder.mkdir(parents=True)
    for first in range(0, count, AT_ONCE):
        with torch.no_grad():
            made = generator.synthesize(generator.sample(min(AT_ONCE, count - first), seed=1, first=first))
        for place, image in enumerate(images.to_uint8(made)):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{first + place:06d}.jpg", quality=92)


def break_photos(folder: Path, count: int, chance: random.Random) -> set[str]:
    """Spoil some of the photos in several ways, and give their names."""
    spoiled = chance.sample(sorted(folder.iterdir()), count)
    for place, path in enumerate(spoiled):
        whole = path.read_bytes()
        ways = (b"", whole[: len(whole) // 3], b"no photo at all\n", b"\x89PNG\r\n\x1a\n" + whole[8:])
        path.write_bytes(ways[place % len(ways)])
    return {path.name for path in spoiled}


def run_part(photos: Path, out: Path, threads: int, *, kill_at: int | None) -> Part:
    """Start the command and read its memory; kill it once so many photos are in the index."""
    command = [sys.executable, "-m", "ganenc", "invert", str(photos), "--model", MODEL, "--method", "encode", "--out",
               str(out), "--quiet"]  # fmt: skip
    index, started = out / "index.jsonl", time.monotonic()
    part = Part(lines(index))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with tempfile.TemporaryFile("w+") as told, subprocess.Popen(command, stderr=told, env=environment) as process:
        while process.poll() is None:
            part.points.append((lines(index), resident(process.pid)))
            if kill_at is not None and part.points[-1][0] >= kill_at:
                process.send_signal(signal.SIGKILL)
                part.killed = True
                break
            time.sleep(EVERY)
        process.wait()
        told.seek(0)
        if not part.killed and process.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)} failed: {told.read()}")
    part.points = [(count, megabytes) for count, megabytes in part.points if megabytes]
    part.seconds = time.monotonic() - started
    return part


def lines(path: Path) -> int:
    """The lines of a file, 0 if it is not there."""
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def growth(part: Part) -> float:
    """Megabytes for 1,000 photos, by least squares, after the start of a process."""
    settled = [point for point in part.points if point[0] - part.began_with >= START * part.done]
    if len({count for count, _ in settled}) < 2:
        return 0.0
    return statistics.linear_regression(*zip(*settled, strict=True)).slope * 1000


def check(photos: Path, out: Path, broken: set[str], chance: random.Random) -> dict[str, object]:
    """Hold what was left against what should be.

    Raises:
        SystemExit: if a photo is missing, stands there twice, or has other latents.
    """
    rows = [json.loads(line) for line in (out / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    counts = Counter(Path(row["photo"]).name for row in rows)
    wanted = {path.name for path in photos.iterdir()}
    failed = {Path(row["photo"]).name for row in rows if row["status"] == "failed"}
    if set(counts) != wanted or set(counts.values()) != {1} or failed != broken:
        raise SystemExit("The index does not hold every photo once, with the broken ones as failed.")
    generator, encoder = load_generator(MODEL).freeze(), load_encoder(MODEL).eval()
    apart = 0.0
    done = [row for row in rows if row["status"] == "done"]
    for row in chance.sample(done, min(SAMPLED, len(done))):
        photo = images.read(row["photo"], size=generator.spec.size)[None]
        with torch.no_grad():
            alone = generator.complete(encoder(photo))
        found = Latents.load(out / row["folder"] / "latents.safetensors")
        apart = max(apart, *(float((found[name] - alone[name]).abs().max()) for name in alone.tensors))
    if apart > 1e-3:
        raise SystemExit(f"Latents differ from those of a pass of their own by up to {apart:.1e}.")
    left = sum(1 for folder in (out, *filter(Path.is_dir, out.iterdir())) for _ in drop_leftovers(folder))
    return {
        "photos in the index, each once": len(rows),
        "of them failed, exactly the broken ones": len(failed),
        f"latents of {SAMPLED} photos, greatest difference to a pass of their own": f"{apart:.1e}",
        "half-written files left at the end": left,
    }


def plot(parts: Sequence[Part]) -> str:
    """Megabytes over photos, a curve for each process."""
    series = {}
    for number, part in enumerate(parts, 1):
        ending = "killed" if part.killed else "to the end"
        series[f"process {number}, {ending}"] = part.points
    return curves(series, across="photos in the index", up="megabytes resident", zero=True)


def main() -> None:
    """Make the photos, run, kill, go on, check, and print."""
    options = parser("folders", __doc__.splitlines()[0])
    options.add_argument("--photos", type=int, default=10_000, help="how many, the broken ones among them")
    options.add_argument("--broken", type=int, default=50, help="how many of them are broken")
    options.add_argument("--kills", type=int, default=2, help="how often the command is killed")
    options.add_argument("--seed", type=int, default=0, help="of what is broken, and when it is killed")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.photos, chosen.broken = 300, 8
    with tempfile.TemporaryDirectory() as place:
        measure(Path(place), chosen)


def measure(place: Path, chosen: argparse.Namespace) -> None:
    """All of it, in a folder of its own."""
    chance = random.Random(chosen.seed)
    photos, out = place / "photos", place / "out"
    make_photos(photos, chosen.photos)
    broken = break_photos(photos, chosen.broken, chance)
    span = chosen.photos / (chosen.kills + 1)
    moments = [int(span * (turn + chance.uniform(0.6, 1.0))) for turn in range(chosen.kills)]
    parts = [run_part(photos, out, chosen.threads, kill_at=moment) for moment in [*moments, None]]
    found = check(photos, out, broken, chance)
    rows = [
        (number, "killed" if part.killed else "to its end", part.began_with, part.done,
         f"{part.done / part.seconds:.1f}", f"{max(megabytes for _, megabytes in part.points):.0f}",
         f"{growth(part):.2f}")
        for number, part in enumerate(parts, 1)
    ]  # fmt: skip
    head = ["process", "ran", "photos done before", "photos done", "photos a second, starting included",
            "most megabytes resident", "megabytes more for 1,000 photos"]  # fmt: skip
    body = [
        f"{chosen.photos:,} photos of 64x64 made by {MODEL}, {chosen.broken} of them broken, through"
        " `ganenc invert FOLDER --method encode`: metrics and a folder for each, no pages."
        f" Threads of torch: {chosen.threads}; seconds are the wall's.",
        table(head, rows),
        table(["at the end", ""], [*found.items()]),
    ]
    if not chosen.quick:
        (RESULTS / "folders.svg").write_text(plot(parts), encoding="utf-8")
        body.append("![Memory over photos](folders.svg)")
    publish("folders", "A folder of photos", "\n\n".join(body), out=chosen.out, quick=chosen.quick)


if __name__ == "__main__":
    main()
