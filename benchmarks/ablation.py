"""What each part of the objective is worth: attention (the paper's Table 6 and Figure 11) and SSIM (Table 7).

On hands as they are, and shrunk and shifted at random. Strategy 2 and fine-tuning with every objective, strategy 1 once
beside them, with three seeds. All of it takes hours on two cores: every training that is done is kept in ``--work``, so
that the same command goes on where it was stopped.

    python benchmarks/ablation.py --photos ../shared/data/hands
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from _ablation import ARMS, SETS, Job, Sizes, World, jobs
from _ablation_report import report
from _common import RESULTS, parser, publish, set_threads
from ganenc import images
from ganenc.files import write_json
from torch import Tensor

PHOTOS = Path("../shared/data/hands")
QUICK = Sizes(gan=64, start=2, pretrain=2, finetune=2, invert=2, synthesized=4, photos=2, places=1)

CAPTION = (
    "*Photos kept out of all training; below them what came back with "
    + "; ".join(ARMS)
    + ". The same again for misaligned ones.*"
)

_world: World | None = None


def main() -> None:
    """Do what is not done yet, then write the result."""
    options = _options()
    sizes = QUICK if options.quick else Sizes()
    set_threads(options.threads)
    if options.report:
        _publish(options)
        return
    world = World(options.photos, options.work, sizes)
    world.prepare()
    todo = [job for job in jobs(options.seeds) if not _place(options.work, job).exists()]
    context = multiprocessing.get_context("spawn")
    arguments = (options.photos, options.work, sizes)
    with ProcessPoolExecutor(options.threads, context, initializer=_begin, initargs=arguments) as pool:
        for future in as_completed([pool.submit(_do, job) for job in todo]):
            print(future.result(), flush=True)
    _publish(options)


def _publish(options: argparse.Namespace) -> None:
    """Write the tables, and a picture of photos that came back."""
    places = [_place(options.work, job) for job in jobs(options.seeds)]
    done = [path for path in places if path.exists()]
    rows = [row for path in done for row in json.loads(path.read_text())]
    body = report(rows)
    if len(done) < len(places):
        body = f"Stopped early: {len(done)} of {len(places)} trainings are done.\n\n{body}"
    if not options.quick:
        images.write_png(RESULTS / "ablation.png", _picture(options.work / "pictures"), replace=True)
        body = f"![Photos and what came back](ablation.png)\n\n{CAPTION}\n\n{body}"
    publish("ablation", "What attention and SSIM are worth", body, out=options.out, quick=options.quick, threads=1)


def _picture(folder: Path) -> Tensor:
    """Photos, as they are and misaligned; under them what each objective makes of them. uint8 (3, H, W)."""
    rows: list[Tensor] = []
    for of in SETS:
        for position, arm in enumerate(ARMS):
            path = folder / f"{Job('fine-tuning', of, arm, 0).name}-inverted.png"
            targets, again = images.to_uint8(images.read(path), (-1.0, 1.0)).chunk(2, 1)
            rows += [again] if position else [targets, again]
    return torch.cat(rows, 1)


def _options() -> argparse.Namespace:
    found = parser("ablation", "what attention and SSIM are worth; each thread is a training of its own")
    found.add_argument("--photos", type=Path, default=PHOTOS, help="the folder of photos, in `0` to `9`")
    found.add_argument("--work", type=Path, default=Path("runs/ablation"), help="where all that is done is kept")
    found.add_argument("--seeds", type=int, default=3)
    found.add_argument("--report", action="store_true", help="train nothing more, report what is done")
    options = found.parse_args()
    if not options.photos.is_dir():
        found.error(f"{options.photos} is no folder; give --photos")
    return options


def _begin(photos: Path, work: Path, sizes: Sizes) -> None:
    global _world
    torch.set_num_threads(1)
    _world = World(photos, work, sizes)


def _place(work: Path, job: Job) -> Path:
    return work / "results" / f"{job.name}.json"


def _do(job: Job) -> str:
    assert _world is not None
    rows: list[dict[str, Any]] = _world.run(job)
    write_json(_place(_world.work, job), rows, replace=True)
    return "\n".join(json.dumps(row) for row in rows)


if __name__ == "__main__":
    main()
