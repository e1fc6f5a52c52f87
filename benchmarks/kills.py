"""A training that is killed at random moments and started again each time ends as if nothing had happened.

One run is done undisturbed. The same run is then killed (SIGKILL) again and again, at moments that are drawn at random:
while it starts, in its first step, in any step, while a checkpoint, the best encoder, a grid, the encoder or the report
is written. The same command takes it up. In the end every file of the two folders is compared, byte by byte. Most
attempts are forked off a process that has imported everything, one in ten is a Python of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _common import parser, publish, table
from _killing import Watch, call, command, content, rest, scalars, start, torn
from _together import killed_together
from ganenc_registry.specs import RunSpec, merge


@dataclass(frozen=True)
class Moment:
    """When a run is killed: once something is seen of it, and a random time more."""

    share: float
    """Of all kills."""
    seen: Callable[[Watch, int], bool]
    """Given what is watched and the step that is aimed at."""
    delay: Callable[[Paces], float]
    """The most seconds more."""
    last: bool = False
    """Whether it comes after the last step."""


@dataclass(frozen=True)
class Paces:
    """How long an undisturbed run takes to start, in seconds, and for a step."""

    start: float
    step: float


@dataclass(frozen=True)
class Kill:
    """What was found after one."""

    aim: str
    how: str
    phase: str
    step: int
    resumes: int
    torn: tuple[str, ...]


def _writing(part: str) -> Callable[[Watch, int], bool]:
    return lambda watch, goal: any(name.startswith(part) for name in torn(watch.folder))


MOMENTS = {
    "any step": Moment(0.42, lambda watch, goal: watch.begun() and watch.rows() >= goal, lambda paces: paces.step),
    "start": Moment(0.1, lambda watch, goal: True, lambda paces: paces.start),
    "first step": Moment(0.1, lambda watch, goal: watch.begun(), lambda paces: paces.step),
    "checkpoint": Moment(0.12, _writing("checkpoints/"), lambda paces: 0.03),
    "best encoder": Moment(0.08, _writing("best/"), lambda paces: 0.01),
    "grid": Moment(0.06, _writing("grids/"), lambda paces: 0.003),
    "encoder": Moment(0.04, _writing("encoder/"), lambda paces: 0.01, last=True),
    "report": Moment(0.04, _writing(".ganenc-report"), lambda paces: 0.001, last=True),
    "end": Moment(0.04, lambda watch, goal: watch.checkpoint() >= goal, lambda paces: paces.start, last=True),
}
WRITING = {
    "checkpoints/": "a checkpoint is written",
    "best/": "the best encoder is written",
    "grids/": "a grid is written",
    ".ganenc-attention": "where the attention looks is written",
    "encoder/": "the encoder is written",
    ".ganenc-report": "the report is written",
}
"""What a temporary file tells of the moment."""


def aims(count: int, rng: random.Random) -> list[str]:
    """What each kill aims at: shares of all, in a random order, those after the last step at the end."""
    drawn: list[str] = []
    owed = 0.0
    for name, moment in MOMENTS.items():
        owed += moment.share * count
        drawn += [name] * round(owed - len(drawn))
    rng.shuffle(drawn)
    return sorted(drawn, key=lambda name: MOMENTS[name].last)


def phase(watch: Watch, new: set[str], before: int, steps: int) -> str:
    """What a run was at when it was killed, from what it left."""
    for part, what in WRITING.items():
        if any(name.startswith(part) for name in new):
            return what
    if watch.checkpoint() == steps:
        return "it ends, after its last step"
    if not watch.begun():
        return "it starts"
    return "the first step after a start" if watch.rows() == before else "a later step, or between two"


class Killing:
    """A run that is killed and taken up again.

    Args:
        task: ``pretrain`` or ``finetune``.
        spec: the run's file.
        steps: that it has.
        folder: where it goes.
        paces: of an undisturbed run.
        rng: draws the moments.
    """

    def __init__(self, task: str, spec: Path, steps: int, folder: Path, paces: Paces, rng: random.Random) -> None:
        self.arguments = [task, "-r", str(spec), "--out", str(folder)]
        self.steps, self.paces, self.rng = steps, paces, rng
        self.watch = Watch(folder, folder.with_name("log"))

    def kills(self, count: int) -> Iterator[Kill]:
        """Start it and kill it, so many times; then let it end."""
        names = aims(count, self.rng)
        for index, name in enumerate(names):
            yield self._kill(name, "fresh" if index % 10 == 9 else "forked", self._goal(names[index:]))
        command(self.arguments, self.watch.log, "fresh" if count >= 10 else "forked")

    def _goal(self, left: list[str]) -> int:
        """A step to kill it at, so that the steps that are left do for the kills that are."""
        if MOMENTS[left[0]].last:
            return self.steps
        done, many = self.watch.checkpoint(), sum(not MOMENTS[name].last for name in left)
        room = self.steps - 2 - done
        return done + min(room, self.rng.randint(0, max(1, round(3 * room / many))))

    def _kill(self, name: str, how: str, goal: int) -> Kill:
        moment, watch = MOMENTS[name], self.watch
        for _ in range(20):
            before, standing = watch.checkpoint(), torn(watch.folder)
            child = start(self.arguments, watch.log, how)
            watch.again()
            while child.exitcode is None and not moment.seen(watch, goal) and not self._late(moment, goal):
                time.sleep(0.0003)
            rest(child, self.rng.uniform(0, moment.delay(self.paces)))
            child.kill()
            child.join()
            if child.exitcode == -signal.SIGKILL:
                new = torn(watch.folder) - standing
                at = phase(watch, new, before, self.steps)
                return Kill(name, how, at, watch.rows(), watch.checkpoint(), tuple(sorted(new)))
            if child.exitcode:
                raise RuntimeError(f"the run failed:\n{watch.log.read_text(encoding='utf-8')}")
            if not moment.last:  # It was over before it was killed; the same command once more only writes its end.
                name, moment, goal = "end", MOMENTS["end"], self.steps
        raise RuntimeError(f"the run could not be killed at its {name} in 20 attempts")

    def _late(self, moment: Moment, goal: int) -> bool:
        """Whether what is waited for may never come: then it is killed as it is, before its last step."""
        watch = self.watch
        return not moment.last and watch.begun() and watch.rows() >= min(goal + 6, self.steps - 2)


def make_spec(task: str, steps: int, quick: bool, folder: Path, place: str = "") -> Path:
    """The run: the shipped generator of hands, with all that a run keeps; a small one for a quick look."""
    fields: dict[str, Any] = {
        "task": task,
        "model": "stylegan2-hands64",
        "objective": {"backbone": "hands"},
        "optimiser": {"average": 0.99, "schedule": "cosine", "warmup": 3, "clip": 1.0},
        "data": {"batch": 2, "photos": [str(folder / "photos")] if task == "finetune" else []},
        "steps": steps,
        "saving": {"checkpoint_every": 2, "log_every": 1, "grid_every": 3, "grid": 2},
    }
    if quick:
        small = {"model": str(folder / "small"), "objective": {"losses": {"mse": 5.0, "cos": 3.0}}}
        fields = merge(fields, small)
    if task == "finetune":
        start_from = folder / "pretrain" / "undisturbed" / "encoder"
        fields = merge(fields, {"encoder": {"weights": str(start_from)}, "data": {"photo_share": 0.6}})
    path = folder / (place or task) / "run.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(RunSpec.from_mapping(fields).to_yaml(), encoding="utf-8")
    return path


def make_small(folder: Path) -> None:
    """Save a small generator with random weights."""
    from _networks import NETWORKS, networks
    from ganenc.models import save_pretrained

    save_pretrained(networks(NETWORKS["tiny32"]())[0], folder)


def undisturbed(task: str, spec: Path, steps: int, folder: Path) -> Paces:
    """Do the run whole, and tell how fast it went."""
    watch = Watch(folder, folder.with_name("log"))
    began = time.monotonic()
    child = start([task, "-r", str(spec), "--out", str(folder)], watch.log)
    while child.exitcode is None and not watch.begun():
        time.sleep(0.001)
    first = time.monotonic()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the undisturbed run failed:\n{watch.log.read_text(encoding='utf-8')}")
    return Paces(first - began, (time.monotonic() - first) / steps)


def compared(whole: Path, killed: Path) -> dict[str, str]:
    """What two folders have in common, in words; "no" for what they do not."""
    one, other = content(whole), content(killed)
    differing = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    return {
        "final encoder, SHA-256, undisturbed": one["encoder/model.safetensors"],
        "final encoder, SHA-256, killed": other["encoder/model.safetensors"],
        "metrics.jsonl the same, byte by byte": _yes(one["metrics.jsonl"] == other["metrics.jsonl"]),
        "files that are compared": str(len(one)),
        "files that differ or are missing": ", ".join(sorted(differing)) or "none",
        "curve in TensorBoard the same": _yes(scalars(whole) == scalars(killed)),
        "temporary files left at the end": str(len(torn(killed))),
        "report there": _yes((killed / "report.html").is_file()),
    }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def survived(found: Mapping[str, str]) -> bool:
    """Whether two folders have everything in common."""
    return (
        "no" not in found.values()
        and found["files that differ or are missing"] == "none"
        and (found["temporary files left at the end"] == "0")
    )


def study(task: str, count: int, chosen: argparse.Namespace, folder: Path) -> tuple[list[Kill], dict[str, str]]:
    """Do a run undisturbed and killed; every kill, and what the two have in common."""
    rng, steps = random.Random(chosen.seed), max(10, round(1.2 * count))
    spec, began = make_spec(task, steps, chosen.quick, folder), time.monotonic()
    paces = undisturbed(task, spec, steps, folder / task / "undisturbed")
    whole = time.monotonic() - began
    kills = []
    for kill in Killing(task, spec, steps, folder / task / "killed", paces, rng).kills(count):
        kills.append(kill)
        print(f"{task}, kill {len(kills)} of {count}: {kill.phase}, step {kill.step}", file=sys.stderr)
    found = {
        "kills": str(len(kills)),
        "steps": str(steps),
        "steps done again": str(sum(kill.step - kill.resumes for kill in kills)),
        "temporary files that kills left": str(sum(len(kill.torn) for kill in kills)),
        "seconds, undisturbed": f"{whole:.1f}",
        "seconds, killed": f"{time.monotonic() - began - whole:.1f}",
    }
    return kills, found | compared(folder / task / "undisturbed", folder / task / "killed")


def phases(kills: list[Kill]) -> str:
    """How many kills fell where."""
    count = Counter(kill.phase for kill in kills)
    rows = []
    for name, many in count.most_common():
        here = [kill for kill in kills if kill.phase == name]
        fresh, files = sum(kill.how == "fresh" for kill in here), sum(len(kill.torn) for kill in here)
        middle = f"{statistics.median(kill.step for kill in here):.1f}"
        rows.append((f"while {name}", many, "#" * many, fresh, files, middle))
    header = ["killed", "kills", "", "in a Python of its own", "temporary files left", "median step"]
    return table(header, rows)


def report(found: Mapping[str, tuple[list[Kill], dict[str, str]]], together: Mapping[str, str]) -> str:
    """The tables."""
    parts = [
        "Each run is done once undisturbed, and once killed (SIGKILL) at random moments and taken up by the same"
        " command each time; then all files of the two folders are compared. Adam, averaged weights, cosine rate; a"
        " checkpoint every 2 steps, a grid every 3. One thread a process; seconds are the wall's."
    ]
    for task, (kills, figures) in found.items():
        parts += [f"## {task}", table(["figure", ""], list(figures.items())), phases(kills)]
    if together:
        parts += ["## pretrain, two processes", table(["figure", ""], list(together.items()))]
    parts.append("## Every kill")
    rows = [
        (task, number, kill.aim, kill.how, f"while {kill.phase}", kill.step, kill.resumes, len(kill.torn))
        for task, (kills, _) in found.items()
        for number, kill in enumerate(kills, 1)
    ]
    header = ["run", "kill", "aimed at", "process", "fell", "steps done", "goes on from", "temporary files left"]
    return "\n\n".join([*parts, table(header, rows)])


def main() -> None:
    """Kill the runs, compare them, and write down what was found."""
    options = parser("kills", __doc__.splitlines()[0])
    options.set_defaults(threads=1)
    options.add_argument("--kills", type=int, help="of a pre-training (100)")
    options.add_argument("--finetuned", type=int, help="kills of a fine-tuning (10)")
    options.add_argument("--together", type=int, help="kills of a pre-training by two processes (4)")
    options.add_argument("--seed", type=int, default=0, help="of the moments")
    chosen = options.parse_args()
    many = [
        given if given is not None else default
        for given, default in zip(
            (chosen.kills, chosen.finetuned, chosen.together), (6, 2, 1) if chosen.quick else (100, 10, 4)
        )
    ]
    os.environ["OMP_NUM_THREADS"] = "1"
    found: dict[str, tuple[list[Kill], dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if chosen.quick:
            call(partial(make_small, folder / "small"))
        for task, count in zip(("pretrain", "finetune"), many):
            if count and task == "finetune":
                model = str(folder / "small") if chosen.quick else "stylegan2-hands64"
                command(["generate", "-m", model, "-n", "6", "--out", str(folder / "photos")], folder / "log")
            if count:
                found[task] = study(task, count, chosen, folder)
        together: dict[str, str] = {}
        if many[2]:
            steps, rng = 20 + 5 * many[2], random.Random(chosen.seed)
            spec = make_spec("pretrain", steps, chosen.quick, folder, "together")
            together = killed_together(many[2], "pretrain", spec, steps, folder / "together", rng)
    title = "Killed and taken up again"
    publish("kills", title, report(found, together), out=chosen.out, quick=chosen.quick)
    broken = [task for task, (_, figures) in found.items() if not survived(figures)]
    if broken or together.get("survived") == "no":
        raise SystemExit(f"not the same after the kills: {', '.join(broken) or 'two processes'}")


if __name__ == "__main__":
    main()
