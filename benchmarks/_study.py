"""The settings of the inversion study, how long a step of each takes, and the file that keeps what was measured."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import interleaved
from ganenc.encoders import Encoder
from ganenc.files import write_bytes
from ganenc.generators import Generator
from ganenc.inversion import Encode, Finetune, Inverter, Optimize
from ganenc.objectives import Objective
from torch import Tensor

__all__ = ["Costs", "Records", "Setting", "measure_costs", "settings"]

ENCODERS = {"pretrained": "encoder-pretrained", "photos": "encoder"}
"""The two encoders of a shipped model by what they were trained on last, and the folders they lie in."""
LATENT_RATES = (0.05, 0.1, 0.2)
ENCODER_RATES = (0.0015, 0.004, 0.01, 0.02)
REFINED_SHARES = (0.25, 0.5, 0.75)
REFINE_RATES = (0.03, 0.1, 0.2)


@dataclass(frozen=True)
class Costs:
    """What a method costs: seconds of each kind of step, and seconds around them."""

    steps: Mapping[str, float]
    around: Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """One way of inverting.

    Attributes:
        method: which of the compared methods it belongs to.
        details: what tells it from others of that method.
        encoder: which of `ENCODERS` it starts from; empty where it needs none.
        kind: of its steps: ``none``, ``latents``, ``encoder`` or ``encoder-latent`` (with the second pass).
        build: the inverter for so many steps, and so many more of refinement.
        refined: share of all steps that refine the latents in the end.
    """

    method: str
    details: str
    encoder: str
    kind: str
    build: Callable[[int, int], Inverter]
    refined: float = 0.0

    @property
    def name(self) -> str:
        """Method and details."""
        return f"{self.method}/{self.details}" if self.details else self.method

    def plan(self, seconds: float, costs: Costs) -> tuple[int, int]:
        """The steps, and the steps of refinement, that fill so many seconds."""
        if self.kind == "none":
            return 0, 0
        left = seconds - costs.around[self.kind] - (costs.around["latents"] if self.refined else 0.0)
        mean = (1 - self.refined) * costs.steps[self.kind] + self.refined * costs.steps["latents"]
        steps = max(2, int(left / mean))
        refine = round(self.refined * steps)
        return max(1, steps - refine), refine

    def times(self, steps: int, refine: int, costs: Costs) -> list[float]:
        """When each step is done, in seconds from the start, as `Costs` have it."""
        own = [costs.steps[self.kind] * (step + 1) for step in range(steps)]
        return own + [own[-1] + costs.steps["latents"] * (step + 1) for step in range(refine)]


def settings() -> list[Setting]:
    """All that are compared."""
    found = [Setting(f"encode-{name}", "", name, "none", lambda *_: Encode()) for name in ENCODERS]
    for method, encoder, start in (("optimize", "", "center"), ("optimize-encoded", "photos", "encoder")):
        found += [Setting(method, f"rate={rate}", encoder, "latents", _optimize(rate, start)) for rate in LATENT_RATES]
    for rate in ENCODER_RATES:
        found.append(_tuned("pretrained", rate))
        found += [_tuned("photos", rate), _tuned("photos", rate, schedule="constant")]
    for rate in (0.004, 0.01):
        found += [_tuned("photos", rate, latent_loss=True), _tuned("photos", rate, layers="heads")]
    for share in REFINED_SHARES:
        for refine_rate in REFINE_RATES:
            details = f"rate=0.01/refine={share}/refine_rate={refine_rate}"
            build = _finetune(0.01, refine_rate=refine_rate)
            found.append(Setting("finetune+refine-photos", details, "photos", "encoder", build, share))
    return found


def _optimize(rate: float, start: Any) -> Callable[[int, int], Inverter]:
    return lambda steps, _: Optimize.of(steps=steps, rate=rate, space="w+", free=("const",), start=start, batch=1)


def _tuned(encoder: str, rate: float, **options: Any) -> Setting:
    """Fine-tuning alone, from one of the encoders; what is not as usual goes into its name."""
    details = "".join(f"/{name}={value}" for name, value in options.items())
    kind = "encoder-latent" if options.get("latent_loss") else "encoder"
    return Setting(f"finetune-{encoder}", f"rate={rate}{details}", encoder, kind, _finetune(rate, **options))


def _finetune(rate: float, **options: Any) -> Callable[[int, int], Inverter]:
    return lambda steps, refine: Finetune.of(steps=steps, rate=rate, refine=refine, **{"latent_loss": False, **options})


def measure_costs(
    photo: Tensor,
    generator: Generator,
    encoder: Encoder,
    objective: Objective,
    *,
    clock: Callable[[], float],
    rounds: int = 3,
) -> Costs:
    """What the steps cost on this machine: short and longer inversions in turn, medians of their differences."""
    short, long = 3, 13
    kinds = {
        "latents": _optimize(0.05, "encoder"),
        "encoder": _finetune(0.0015),
        "encoder-latent": _finetune(0.0015, latent_loss=True),
    }
    work = {
        (kind, steps): _timed(build(steps, 0), photo, generator, encoder, objective)
        for kind, build in kinds.items()
        for steps in (short, long)
    }
    named = {f"{kind} {steps}": piece for (kind, steps), piece in work.items()}
    times = interleaved(named, rounds=rounds, clock=clock)
    steps, around = {}, {}
    for kind in kinds:
        few, many = (statistics.median(times[f"{kind} {count}"]) for count in (short, long))
        steps[kind] = max(many - few, 1e-6) / (long - short)
        around[kind] = max(0.0, few - short * steps[kind])
    return Costs(steps, around)


def _timed(
    inverter: Inverter, photo: Tensor, generator: Generator, encoder: Encoder, objective: Objective
) -> Callable[[], object]:
    return lambda: inverter.invert(photo, generator, encoder, objective=objective)


class Records:
    """A file of JSON lines: what the steps cost, and every inversion that is done.

    Args:
        path: the file; made when the first record is added.
        study: what all records must have been measured with, such as the hashes of the models.
    """

    def __init__(self, path: Path, study: Mapping[str, Any]) -> None:
        self.path, self.study = path, dict(study)
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        self._torn = bool(lines) and not lines[-1].endswith("\n")  # The study was killed while it wrote.
        self._rows = [json.loads(line) for line in lines[: -1 if self._torn else None]]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The records of a kind that belong to this study."""
        return [row for row in self._rows if row["study"] == self.study and row["kind"] == kind]

    def add(self, kind: str, row: Mapping[str, Any]) -> None:
        """Append a record."""
        full = {"kind": kind, "study": self.study, **row}
        if self._torn:
            write_bytes(self.path, "".join(json.dumps(row) + "\n" for row in self._rows).encode(), replace=True)
            self._torn = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(full) + "\n")
        self._rows.append(full)

    def costs(self, measure: Callable[[], Costs]) -> Costs:
        """What the steps cost, as first measured in this study, so that a run that goes on takes as many steps."""
        if not self.all("costs"):
            costs = measure()
            self.add("costs", {"steps": costs.steps, "around": costs.around})
        known = self.all("costs")[0]
        return Costs(known["steps"], known["around"])
