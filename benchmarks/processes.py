"""Pre-training by two processes on two cores over one process on one, and how far their losses are apart.

Both do the same run, the same whole batch a step, each process pinned to a core of its own with one thread. Runs take
turns, and the first steps of each do not count. Other programs disturb the wall's time more than the processor's, which
is told too: seconds that a process computes for a step, of two processes the one that computes longer. What the wall's
ratio lacks of that one is waiting for each other, or for other programs. With ``--device cuda`` losses alone are
compared: of two processes on one GPU, say, which gain no time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from _common import parser, publish, table

TARGET = 1.7
"""The ratio that is wanted."""
WARMUP = 2
"""Steps of each run that do not count."""
RUNS = {"hands64": (32, 10, 3), "f64": (8, 2, 2)}
"""Images a step, steps that count, and rounds, by network."""
COMPARED = (8, 10)
"""Images a step, and steps, of the runs whose losses are compared."""
RATES = (0.0015, 0.00001)
"""Learning rates of those: that of a run, and one that hardly moves the weights."""


@dataclass(frozen=True)
class Run:
    """What one run took."""

    steps: tuple[float, ...]
    """Seconds of each step that counts."""
    computed: float
    """Seconds that a process computed for a step, of several the one that computed longest."""
    rows: tuple[dict[str, float], ...]
    """The losses, step by step."""


def train_here(spec: Path, folder: Path) -> None:
    """Train in this process, pinned to a core, and write down when each step ended."""
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})  # Before torch starts a thread.
    import torch
    from ganenc.jobs import execute
    from ganenc_registry.specs import RunSpec
    from torch.optim.optimizer import register_optimizer_step_post_hook

    torch.set_num_threads(1)
    ends: list[tuple[float, float]] = []
    register_optimizer_step_post_hook(lambda *_: ends.append((time.perf_counter(), time.process_time())))
    execute(RunSpec.from_file(spec), folder)
    (folder / f"ends-{rank}.json").write_text(json.dumps(ends), encoding="utf-8")


def train(spec: Path, folder: Path, processes: int) -> Run:
    """Do a run by one process or two, and read what it took."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, "-W", "ignore", *(launcher if processes > 1 else []), str(Path(__file__).resolve())]
    done = subprocess.run(
        [*command, "--here", str(spec), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    ends = [json.loads((folder / f"ends-{rank}.json").read_text())[WARMUP - 1 :] for rank in range(processes)]
    walls = [wall for wall, _ in ends[0]]
    computed = max((end[-1][1] - end[0][1]) / (len(end) - 1) for end in ends)
    rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return Run(tuple(b - a for a, b in pairwise(walls)), computed, tuple(map(json.loads, rows)))


def make_run(network: str, batch: int, steps: int, folder: Path, **others: Any) -> Path:
    """The run's file: the shipped generator of hands, or one with random weights that is saved first."""
    from _networks import NETWORKS, networks
    from ganenc.models import save_pretrained
    from ganenc_registry.specs import RunSpec, merge

    spec, model = NETWORKS[network](), "stylegan2-hands64"
    if network != "hands64":
        model = str(folder / network)
        save_pretrained(networks(spec)[0], model)
    small = {"losses": {"mse": 5.0, "cos": 3.0, "ssim": 1.0}}
    fields: dict[str, Any] = {
        "task": "pretrain",
        "model": model,
        "objective": {"backbone": "hands"} if spec.resolution == 64 else small,
        "data": {"batch": batch},
        "steps": steps,
        "saving": {"best": False, "grid": 2},
    }
    path = folder / "run.yaml"
    path.write_text(RunSpec.from_mapping(merge(fields, others)).to_yaml(), encoding="utf-8")
    return path


def apart(one: Sequence[dict[str, float]], other: Sequence[dict[str, float]]) -> tuple[float, float]:
    """The greatest relative difference at any step, of the total loss and of any of its terms."""
    differences: dict[str, float] = {}
    for a, b in zip(one, other, strict=True):
        for name in a.keys() - {"step", "rate"}:
            difference = abs(a[name] - b[name]) / abs(a[name])
            differences[name] = max(difference, differences.get(name, 0.0))
    return differences["total"], max(differences.values())


def timed(network: str, batch: int, steps: int, rounds: int, folder: Path) -> list[str]:
    """The row of a network: images a second, and seconds computed, of one process and of two."""
    spec = make_run(network, batch, WARMUP + steps, folder)
    found: dict[int, list[Run]] = {1: [], 2: []}
    for index in range(rounds):
        for count, runs in found.items():
            runs.append(train(spec, folder / f"{network}-{count}-{index}", count))
            print(f"{network}, {count} processes: {statistics.median(runs[-1].steps):.3f} s a step", file=sys.stderr)
    step = {count: statistics.median([s for run in runs for s in run.steps]) for count, runs in found.items()}
    cost = {count: statistics.median(run.computed for run in runs) for count, runs in found.items()}
    each = [statistics.median(a.steps) / statistics.median(b.steps) for a, b in zip(found[1], found[2], strict=True)]
    ratio = f"{step[1] / step[2]:.2f} ({min(each):.2f} to {max(each):.2f})"
    speed = [f"{batch / step[count]:.2f}" for count in (1, 2)]
    computed = [f"{cost[count]:.3f}" for count in (1, 2)]
    return [network, str(batch), *speed, ratio, *computed, f"{cost[1] / cost[2]:.2f}"]


def losses(network: str, rate: float, folder: Path, device: str) -> list[str]:
    """The row of a rate: how far the losses of two processes are from those of one, and those of one in two halves."""
    batch, steps = COMPARED
    log: dict[str, Any] = {"saving": {"log_every": 1, "trackers": []}, "optimiser": {"rate": rate}, "device": device}
    found = []
    for name, count, size in (("whole", 1, batch), ("halves", 1, batch // 2), ("two", 2, batch // 2)):
        spec = make_run(network, batch, steps, folder, speed={"micro_batch": size}, **log)
        found.append(train(spec, folder / f"{name}-{rate}", count).rows)
    whole, halves, two = found
    figures = [*apart(whole[:1], two[:1]), *apart(whole, two), *apart(whole, halves)]
    return [network, f"{rate:g}", *(f"{figure:.1e}" for figure in figures)]


def main() -> None:
    """Time the runs and print the ratios."""
    options = parser("processes", __doc__.splitlines()[0])
    options.add_argument("--networks", nargs="+", choices=RUNS, default=[*RUNS], help="StyleGAN2s")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where losses are compared")
    options.add_argument("--here", nargs=2, type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.here:
        train_here(*chosen.here)
        return
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("processes.py needs two cores")
    sizes = {"tiny32": (4, 3, 1)} if chosen.quick else {name: RUNS[name] for name in chosen.networks}
    with tempfile.TemporaryDirectory() as name:
        timing = sizes if chosen.device == "cpu" else {}
        ratios = [timed(network, *size, Path(name)) for network, size in timing.items()]
        rates = RATES if timing else RATES[1:]
        differences = [losses(next(iter(sizes)), rate, Path(name), chosen.device) for rate in rates]
    speed = ["network", "images a step", "images a second, 1 process", "2 processes"]
    seconds = ["seconds computed a step, 1 process", "each of 2", "ratio"]
    far = ["step 1, total loss", "any term", "all steps, total loss", "any term", "in halves, total loss", "any term"]
    body = "\n\n".join(
        [
            "`pretrain` of the mirrored encoder: losses mse, cos, lpips and ssim on three views, and the latent loss;"
            " one thread a process, each pinned to a core. Medians over rounds, those of each round in brackets.",
            *([table([*speed, f"ratio (target: at least {TARGET})", *seconds], ratios)] if ratios else []),
            f"The greatest relative difference between the losses of one process and of two, over {COMPARED[1]} steps"
            f" of {COMPARED[0]} images, and next to it that between one process and one that takes each batch in two"
            " halves. Adam's first steps have one size wherever the gradient is not zero, so at the usual rate rounding"
            " grows from step to step, in either; at a small one it stays rounding.",
            table(["network", "rate", *far], differences),
        ]
    )
    place = None
    if chosen.device == "cuda":
        from _device import Place

        place = Place(chosen.device)
    publish("processes", "Two processes", body, out=chosen.out, quick=chosen.quick, threads=None, place=place)


if __name__ == "__main__":
    main()
