"""How much faster a model folder loads than the foreign file it was converted from, in every format that is read.

The files are written here, in the published layouts and of a real size: networks of 256x256 with some 25 million
weights, in NVIDIA's pickles three of them, as in the official files. All are in the memory of the system by then, so
that the disk does not count. Loading ends when every weight has been read once: what is only mapped is not loaded.
"""

from __future__ import annotations

import gc
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from _common import clock, describe, interleaved, parser, publish, ratios, set_threads, table
from ganenc.models import load_model, save_pretrained

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))  # where the files are written

import foreign

LEFT_OUT = ("model-folder", "encoder-folder", "keras", "keras-h5")
"""Our own formats, and those whose files are recorded at one small size."""


def loading(source: Path) -> Callable[[], None]:
    """Load a model and read all of its weights."""

    def load() -> None:
        for tensor in load_model(source).state_dict().values():
            tensor.sum()

    return load


def megabytes(path: Path) -> str:
    """The size of a file, or of the files of a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_size for file in files) / 1e6:.0f}"


def compared(name: str, folder: Path, size: foreign.Size, rounds: int, clock: Callable[[], float]) -> tuple[str, ...]:
    """One row of the table: a format, how large its file and its folder are, and how long they take to load."""
    folder.mkdir()
    file = foreign.FORMATS[name](folder, size)
    converted = folder / "converted"
    save_pretrained(load_model(file), converted)
    gc.collect()
    times = interleaved({"file": loading(file), "folder": loading(converted)}, rounds=rounds, clock=clock)
    seconds = (f"{statistics.median(times[key]):.3f}" for key in ("file", "folder"))
    sizes = (megabytes(path) for path in (file, converted))
    return (name, *sizes, *seconds, describe(ratios(times["file"], times["folder"])))


def main() -> None:
    """Time the formats and print the ratios."""
    options = parser("loading", __doc__.splitlines()[0])
    names = [name for name in foreign.FORMATS if name not in LEFT_OUT]
    options.add_argument("--formats", nargs="+", choices=names, default=names, help="formats to measure")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    torch.manual_seed(0)
    size, rounds = (foreign.SMALL, 2) if chosen.quick else (foreign.REAL, chosen.rounds)
    rows = []
    for name in chosen.formats:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(compared(name, Path(folder) / "model", size, rounds, clock(chosen.threads)))
        print(*rows[-1], flush=True)
    header = ["format", "file, MB", "folder, MB", "file, seconds", "folder, seconds", "times as fast"]
    body = f"Medians, smallest and largest ratio in brackets; float32 weights.\n\n{table(header, rows)}"
    publish("loading", "Loading", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
