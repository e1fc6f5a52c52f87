"""A hundred million photos: what each takes and leaves, and how much work is wasted where machines are lost.

A shard is inverted by one pass of the shipped StyleGAN2 of hands, timed by its stages, and what it leaves is weighed;
for larger layouts that is done on paper. Then workers are simulated: shards of several lengths, machines that are lost
at several rates, stragglers and slow reads. Where there is no more than a rate, the closed form stands beside it.
"""

from __future__ import annotations

import argparse
import io
import math
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import pyarrow.parquet as pq
import torch
from _common import RESULTS, interleaved, parser, publish, set_threads, table
from _fleet import Fleet, Outcome, longest, simulate, wasted
from _networks import NETWORKS
from _svg import curves
from ganenc.images import to_image
from ganenc.jobs import index_shards, invert_shard
from ganenc.model import load
from ganenc_plugin_biggan.specs import biggan_spec
from ganenc_registry.specs import GeneratorSpec, InvertSpec, Noise
from PIL import Image

MODEL, BATCH, ROUNDS = "stylegan2-hands64", 64, 2
PHOTOS = 100_000_000
LARGE = 1024
"""Pixels of photos that are decoded beside those of the generator's own size."""
KEPT = {
    "float32": {},
    "float16": {"numbers": "float16"},
    "float16, JPEG": {"numbers": "float16", "reconstructions": "jpeg"},
    "float32, PNG": {"reconstructions": "png"},
}
LAYOUTS: dict[str, Callable[[], GeneratorSpec]] = {
    "StyleGAN2, 64 pixels (shipped)": NETWORKS["hands64"],
    "StyleGAN2, 256": NETWORKS["f256"],
    "StyleGAN2, 1024": NETWORKS["f1024"],
    "StyleGAN3-T, 256": NETWORKS["t256"],
    "BigGAN-deep, 256": partial(biggan_spec, 256),
}
HOUR = 3600.0
LIVES = {"1 h": HOUR, "10 h": 10 * HOUR, "24 h": 24 * HOUR, "264 d": 54 * 24 * HOUR * 16_384 / 419 / 8}
"""Mean times between losses of a machine. The last is that of eight GPUs: of 16,384, 419 stopped unexpectedly in the 54
days of a training that was published (Llama 3, arXiv 2407.21783)."""
LENGTHS = {"1 min": 60.0, "5 min": 300.0, "20 min": 1200.0, "1 h": HOUR, "4 h": 4 * HOUR}
"""Of a shard."""
CHOSEN = 300.0
"""The length that is recommended."""
START = 60.0
"""Seconds that a worker takes to begin; a new machine, on a slow network, takes longer than is measured here."""
FLEET = Fleet(workers=256, together=8, between=LIVES["10 h"], away=600.0, start=START)
WORK = 10_000 * CHOSEN
"""Seconds that all shards together take to compute."""
LIMIT = 0.02
"""Of what is wasted."""


# --- what a photo takes and leaves ---


def packed(path: Path, photos: list[bytes]) -> Path:
    """A tar of photos."""
    with tarfile.open(path, "w") as tar:
        for place, data in enumerate(photos):
            info = tarfile.TarInfo(f"{place:06d}.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def jpeg(picture: Image.Image, size: int) -> bytes:
    """A photo of so many pixels, with grain where it is enlarged, as a file."""
    large = picture.resize((size, size), Image.Resampling.BICUBIC)
    if size > picture.width:
        large = Image.blend(large, Image.effect_noise(large.size, 48).convert("RGB"), 0.08)
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def children() -> float:
    """Seconds of the processor that processes which ended have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def stages(work: Path, count: int) -> Iterator[tuple[str, float, str]]:
    """What is done, its seconds (of the processor), and for what."""
    model = load(MODEL)
    pictures = [to_image(one) for one in model.generate(count, seed=0).images]
    small, large = ([jpeg(one, size) for one in some] for size, some in ((64, pictures), (LARGE, pictures[:8])))
    shard, broken = packed(work / "shard.tar", small), packed(work / "broken.tar", [b""])
    targets = torch.stack([model.read(one).target for one in small])
    assert model.encoder is not None
    encoder = model.encoder

    @torch.no_grad()
    def networks() -> None:
        for some in targets.contiguous(memory_format=torch.channels_last).split(BATCH):
            model.generator.synthesize(model.generator.complete(encoder(some)))

    def inverted(shard: Path, **settings: object) -> Path:
        spec = InvertSpec(method={"name": "encode", "options": {"batch": BATCH}}, shards=settings)
        return invert_shard(model, shard, spec, work / "out", overwrite=True).path

    rows = pq.read_table(inverted(shard))
    done = InvertSpec(method={"name": "encode", "options": {"batch": BATCH}}, shards={"metrics": ["psnr"]})
    invert_shard(model, broken, done, work / "done")
    parts: dict[str, Callable[[], object]] = {
        "reading and decoding, 64 pixels": lambda: [model.read(one) for one in small],
        f"reading and decoding, {LARGE} pixels": lambda: [model.read(one) for one in large],
        "encoder and generator": networks,
        "writing parquet (zstd)": lambda: pq.write_table(rows, work / "rows.parquet", compression="zstd"),
        "all of it, PSNR": lambda: inverted(shard, metrics=["psnr"]),
        "all of it, PSNR, SSIM and LPIPS": lambda: inverted(shard),
        "`ganenc index`": lambda: index_shards(work / "out"),
        "a shard, whatever is in it": lambda: inverted(broken, metrics=["psnr"]),
        "a shard that is done": lambda: invert_shard(model, broken, done, work / "done"),
    }
    times = interleaved(parts, rounds=ROUNDS, clock=time.process_time)
    for name, some in times.items():
        each = "a shard" if name.startswith("a shard") else "a photo"
        yield name, min(some) / (1 if each == "a shard" else len(large) if str(LARGE) in name else count), each
    began = children()
    subprocess.run([sys.executable, "-c", f"import ganenc; ganenc.load({MODEL!r}).encoder"], check=True)
    yield "Python, ganenc and the networks loaded", children() - began, "a process"
    for name, settings in KEPT.items():
        yield name, inverted(shard, **settings).stat().st_size / count, "bytes"
    yield "photos of 64 pixels", shard.stat().st_size / count, "bytes"


def numbers(spec: GeneratorSpec) -> int:
    """How many numbers the latents of a photo are."""
    return sum(math.prod(part.shape) for part in spec.layout if not isinstance(part, Noise))


def terabytes(each: float) -> str:
    return f"{each * PHOTOS / 1e12:.2f}"


def measured(work: Path, count: int) -> Iterator[str]:
    """The tables of stages and bytes."""
    found = [*stages(work, count)]
    yield f"One pass of {MODEL} on {count} of its own images, {BATCH} at once; the least of {ROUNDS} rounds:"
    taken = [one for one in found if one[2] != "bytes"]
    rows = [(name, f"{seconds * 1e3:.3g}", each, f"{seconds * PHOTOS / HOUR:.0f}" if each == "a photo" else "")
            for name, seconds, each in taken]  # fmt: skip
    yield table(["stage", "ms of the processor", "for", f"hours of a processor, {PHOTOS:,} photos"], rows)
    sizes = {name: size for name, size, each in found if each == "bytes"}
    own = numbers(LAYOUTS["StyleGAN2, 64 pixels (shipped)"]())
    share = {name: sizes[name] / (own * width) for name, width in (("float32", 4), ("float16", 2))}
    yield (
        f"What it leaves, keys and metrics included; zstd leaves {share['float32']:.2f} of float32 and"
        f" {share['float16']:.2f} of float16:"
    )
    yield table(
        ["", "bytes a photo", f"TB, {PHOTOS:,} photos"],
        [(f"rows, {name}" if name in KEPT else name, f"{size:,.0f}", terabytes(size)) for name, size in sizes.items()],
    )
    yield "Latents of other generators on paper, by those shares:"
    yield table(
        ["layout", "numbers a photo", "TB, float32", "TB, float16"],
        [
            (name, f"{held:,}", terabytes(held * 4 * share["float32"]), terabytes(held * 2 * share["float16"]))
            for name, held in ((name, numbers(make())) for name, make in LAYOUTS.items())
        ],
    )


# --- what is wasted ---


@dataclass(frozen=True)
class Simulations:
    """The same work by the same fleet, with several seeds."""

    fleet: Fleet
    length: float
    """Of a shard."""
    reading: float
    """Over computing."""
    seeds: int

    @cached_property
    def found(self) -> list[Outcome]:
        shards, length = round(WORK / self.length), self.length
        return [simulate(self.fleet, shards, length, self.reading * length, seed) for seed in range(self.seeds)]

    def mean(self, of: Callable[[Outcome], float]) -> float:
        return statistics.fmean(map(of, self.found))

    @property
    def wasted(self) -> float:
        """The mean share."""
        return self.mean(lambda one: one.wasted)

    def __str__(self) -> str:
        """The mean share in percent, with its standard error."""
        spread = statistics.stdev(one.wasted for one in self.found) / math.sqrt(self.seeds)
        return f"{100 * self.wasted:.2f} ± {100 * spread:.2f}"


def by_length(seeds: int) -> Iterator[str]:
    """The table of what is wasted, by a shard's length and a machine's life."""
    first = FLEET.workers * START / WORK
    yield (
        f"Shards of {WORK / HOUR:,.0f} hours in all, as {PHOTOS:,} photos are of which a worker does"
        f" {PHOTOS / WORK:.0f} a second, by {FLEET.workers} workers, {FLEET.together} on a machine, which are lost"
        f" together and back after {FLEET.away / 60:.0f} minutes, and take {START:.0f} seconds to begin. Percent"
        f" wasted, which is lost or spent on beginning again, mean and standard error of {seeds} simulations, and the"
        f" closed form; the first beginning of all is another {100 * first:.1f}:"
    )

    def cell(length: float, life: float) -> str:
        known = f"({100 * wasted(length, life, START):.2f})"
        return f"{Simulations(replace(FLEET, between=life), length, 0.0, seeds)} {known}" if length < life else known

    rows = [(name, *(cell(length, life) for life in LIVES.values())) for name, length in LENGTHS.items()]
    yield table(["a shard takes", *(f"machines last {life}" for life in LIVES)], rows)
    longs = (f"{longest(LIMIT, life, START) / 60:,.1f} minutes at {name}" for name, life in LIVES.items())
    yield f"So that {100 * LIMIT:.0f}% are wasted a shard takes, by what machines last: {', '.join(longs)}."


def by_case(seeds: int) -> Iterator[str]:
    """The table of what happens besides; SystemExit if too much is wasted."""
    slow = {"stragglers": 0.05, "slower": 2.0}
    cases = {
        "nothing": (replace(FLEET, between=math.inf), 0.0),
        "machines last 10 h": (FLEET, 0.0),
        "and 5% of workers are half as fast": (replace(FLEET, **slow), 0.0),
        "and 5% of shards are read half as fast": (replace(FLEET, **slow, slow_reads=0.05), 0.8),
    }
    rows, even = [], WORK / FLEET.workers
    for name, (fleet, reading) in cases.items():
        for length in (CHOSEN, HOUR):
            for ways, shared in (("whoever is free", True), ("each N-th worker", False)):
                found = Simulations(replace(fleet, shared=shared), length, reading, seeds)
                waited, ended = (
                    found.mean(lambda one: one.waited / one.useful),
                    found.mean(lambda one: one.ended / even),
                )
                rows.append((name, f"{length / 60:.0f} min", ways, found, f"{100 * waited:.2f}", f"{ended:.2f}"))
                if length == CHOSEN and found.wasted > LIMIT:
                    raise SystemExit(f"{name}: {found.wasted:.1%} are wasted.")
    yield "The same with what else goes wrong; reading a shard takes 0.8 of computing it, where reading is told of:"
    yield table(
        ["what happens", "a shard takes", "and goes to", "% wasted", "% waiting for photos", "end, over an even share"],
        rows,
    )


def plot(seeds: int) -> str:
    """Percent wasted over the minutes of a shard."""
    lines = {}
    minutes = [5, 10, 15, 20, 30, 40, 50, 60]
    for name, life in list(LIVES.items())[1:]:
        fleet = replace(FLEET, between=life)
        lines[f"machines last {name}: simulated"] = [
            (minute, 100 * Simulations(fleet, 60.0 * minute, 0.0, seeds).wasted) for minute in minutes
        ]
        lines[f"machines last {name}: closed form"] = [
            (minute, 100 * wasted(60.0 * minute, life, START)) for minute in range(1, 61)
        ]
    lines["wanted at most"] = [(1, 100 * LIMIT), (60, 100 * LIMIT)]
    return curves(lines, across="minutes that a shard takes", up="% wasted", zero=True)


def main() -> None:
    """Measure, simulate, print."""
    options = parser("scale", __doc__.splitlines()[0])
    options.add_argument("--photos", type=int, default=128, help="of the shard that is measured")
    chosen: argparse.Namespace = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.photos = 16
    with tempfile.TemporaryDirectory() as place:
        parts = [*measured(Path(place), chosen.photos)]
    seeds = 2 if chosen.quick else 10
    parts += [*by_length(seeds), *by_case(seeds)]
    if not chosen.quick:
        (RESULTS / "scale.svg").write_text(plot(seeds), encoding="utf-8")
        parts.append("![Percent wasted over the minutes of a shard](scale.svg)")
    publish("scale", "A hundred million photos", "\n\n".join(parts), out=chosen.out, quick=chosen.quick,
            threads=chosen.threads)  # fmt: skip


if __name__ == "__main__":
    main()
