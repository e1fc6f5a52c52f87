"""What the running statistics of batch norms tell of a row of layers: with the right prior, activations and epsilons
they are those of what it computes. Not in paper."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from ganenc.generators import Generator, draw_normal
from torch import Tensor, nn
from torch.nn import functional as F

from ganenc_plugin_dcgan.guessing import Guessed
from ganenc_plugin_dcgan.layers import join, module_of
from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Linear, Norm

__all__ = ["weigh"]

MOST_SAMPLES, FEWEST_SAMPLES, OPERATIONS = 1024, 48, 1 << 30
"""How many are computed: as many as take so many multiplications."""
MOST_PIXELS = 16 * 16
"""Maps beyond these are not looked at: what holds before holds there, too."""
CLOSE = 0.1
"""Where statistics are so near, nothing else is tried."""
FITS = 0.3
"""In deviations, and logarithms of variances: what is further off is of other weights, such as averaged ones, and tells
nothing."""
_ACTIVATIONS = (
    Activation(name="relu"), Activation(name="leaky_relu"), Activation(name="leaky_relu", slope=0.01),
    Activation(name="elu"), Activation(name="silu"), Activation(name="tanh"), None,
)  # fmt: skip


@dataclass(frozen=True)
class _Way:
    """One way to read a stretch of layers, up to a norm."""

    prior: str
    labels: Labels | None
    eps: float | None
    """Of the norm that it begins with."""
    active: Activation | None
    late: bool = False
    """Whether the activation comes behind the last kernel, and not before it."""


@dataclass
class _Placed:
    layer: Any
    module: nn.Module | None
    guess: str


@torch.no_grad()
def weigh(guessed: Guessed, generator: Generator) -> Guessed:
    """The same file, read as the statistics of its norms tell; ``generator`` is what it was taken to be.

    Each stretch up to a norm is computed in the way that is guessed, on a batch, normalised by itself as in training.
    If mean and variance are not those that the norm has seen, other ways are tried, and one that fits far better holds.
    """
    return _Replay(guessed, generator).read()


class _Replay:
    def __init__(self, guessed: Guessed, generator: Generator) -> None:
        self._file, self._guesses, self._generator = guessed.file, dict(guessed.guesses), generator
        modules: Any = generator.layers
        self._rows = [
            _Placed(layer, module, self._guesses.pop(str(place), ""))
            for place, (layer, module) in enumerate(zip(guessed.file.layers, modules, strict=True))
        ]

    def read(self) -> Guessed:
        done: list[_Placed] = []
        rest, x = self._rows, None
        told: _Way | None = None
        while (norm := _next_norm(rest)) is not None and (x is None or x.shape[2:].numel() <= MOST_PIXELS):
            x = None if x is None else x[: _samples(rest[:norm], x.shape[2:].numel())]
            usual = self._usual(rest[:norm])
            best, score, made = self._best(usual, x, rest, norm)
            if score > FITS:
                break
            if x is None:
                self._take(best)
            else:
                told = best
            done += _applied(best, rest[:norm])
            x, rest = made, rest[norm:]
        while told is not None and (norm := _next_norm(rest)) is not None:
            done, rest = [*done, *_applied(told, rest[:norm], "as before")], rest[norm:]
        if told is not None:
            last = replace(told, active=None if told.late else told.active, late=False)
            rest = [*_applied(last, rest[:-1], "as before"), rest[-1]]
        done += rest
        guesses = {**self._guesses, **{str(place): row.guess for place, row in enumerate(done) if row.guess}}
        return Guessed(self._file.model_copy(update={"layers": tuple(row.layer for row in done)}), guesses)

    def _usual(self, stretch: list[_Placed]) -> _Way:
        """The way that is guessed."""
        kernel = max(i for i, row in enumerate(stretch) if isinstance(row.layer, Linear | Convolution))
        active = next((i for i, row in enumerate(stretch) if isinstance(row.layer, Activation)), None)
        eps = stretch[0].layer.eps if isinstance(stretch[0].layer, Norm) else None
        late = active is not None and active > kernel
        return _Way(self._file.prior, self._file.labels, eps, None if active is None else stretch[active].layer, late)

    def _best(self, usual: _Way, x: Tensor | None, rest: list[_Placed], norm: int) -> tuple[_Way, float, Tensor]:
        """The way that fits best, how well, and the values: one respect after another, each as usual unless another
        fits far better."""
        score, made = first = self._score(usual, x, rest, norm)
        best = usual
        for respect in self._respects(usual):
            if score <= CLOSE:
                break
            ways = [replace(best, **changes) for changes in respect]
            scores = [self._score(way, x, rest, norm) for way in ways]
            near = 1.25 * min(score for score, _ in scores) + 0.02
            place = next(i for i, (found, _) in enumerate(scores) if found <= near)
            if scores[place][0] < 0.7 * score:
                best, (score, made) = ways[place], scores[place]
        return (best, score, made) if score < first[0] / 2 else (usual, *first)

    def _respects(self, usual: _Way) -> list[list[dict[str, Any]]]:
        """What may be otherwise: what goes in, of the first stretch; which activation is where, and the epsilon of the
        norm that another stretch begins with."""
        epsilons = (None,) if usual.eps is None else (1e-5, 0.8) if usual.eps < 0.1 else (0.8, 1e-5)
        active = [
            {"eps": eps, "active": one, "late": late}
            for eps in epsilons for one in _ACTIVATIONS for late in (False, True)[: 1 + bool(one)]
        ]  # fmt: skip
        if usual.eps is not None:
            return [active]
        labels = [usual.labels]
        if usual.labels and usual.labels.joined != "times":
            other: Any = "before" if usual.labels.joined == "after" else "after"
            labels += [usual.labels.model_copy(update={"joined": other})]
            labels += [None] if usual.labels.kind == "one_hot" else []
        return [[{"prior": prior, "labels": one} for prior in ("normal", "uniform") for one in labels], active]

    def _score(self, way: _Way, x: Tensor | None, rest: list[_Placed], norm: int) -> tuple[float, Tensor]:
        """How far the values before a norm, computed in some way, are from those that it has seen; and the values."""
        x = self._inputs(way)[: _samples(rest[:norm])] if x is None else x
        for row in _applied(way, rest[:norm]):
            if isinstance(row.layer, Norm):
                assert row.module is not None
                x = F.batch_norm(x, None, None, row.module.weight, row.module.bias, training=True, eps=row.layer.eps)
            else:
                x = (row.module or module_of(row.layer, ()))(x)
        seen: Any = rest[norm].module
        axes = [0, *range(2, x.ndim)]
        mean, var, floor = x.mean(axes), x.var(axes), 1e-3 * seen.running_var.mean() + 1e-12
        apart = ((mean - seen.running_mean) / (seen.running_var + floor).sqrt()).abs().median()
        wide = ((var + floor) / (seen.running_var + floor)).log().abs().median()
        score = float(apart + wide)
        return (score if math.isfinite(score) else math.inf), x

    def _inputs(self, way: _Way) -> Tensor:
        """What goes into the first layer: z, and labels in their way."""
        changed = self._changed(way)
        z = draw_normal(MOST_SAMPLES, changed["z"], seed=0)
        z = torch.erf(z / math.sqrt(2)) if way.prior == "uniform" else z
        if way.labels is None:
            return z
        drawn = F.one_hot(torch.arange(MOST_SAMPLES) % self._file.classes, self._file.classes).float()
        return join(z, self._generator.embed(drawn), way.labels)

    def _changed(self, way: _Way) -> dict[str, Any]:
        beside = self._file.labels.dim if self._file.labels and not way.labels else 0
        classes = self._file.classes if way.labels else 0
        return {"prior": way.prior, "labels": way.labels, "z": self._file.z + beside, "classes": classes}

    def _take(self, way: _Way) -> None:
        """Let what goes in be as the way has it."""
        self._file = self._file.model_copy(update=self._changed(way))
        for told in ("prior", "z", "labels"):
            self._guesses.pop(told, None)


def _samples(stretch: list[_Placed], pixels: int = 1) -> int:
    """How many are computed of a stretch."""
    weights = sum(one.numel() for row in stretch if row.module is not None for one in row.module.parameters())
    return min(MOST_SAMPLES, max(FEWEST_SAMPLES, OPERATIONS // max(1, weights * pixels)))


def _next_norm(rows: list[_Placed]) -> int | None:
    """The place of the norm that a stretch ends before, where it has kept statistics."""
    place = next((i for i, row in enumerate(rows) if i and isinstance(row.layer, Norm)), None)
    return None if place is None or getattr(rows[place].module, "running_mean", None) is None else place


def _applied(way: _Way, stretch: list[_Placed], guess: str = "") -> list[_Placed]:
    """A stretch with its activations and epsilon as the way has them."""
    found: list[_Placed] = []
    kernels = sum(isinstance(row.layer, Linear | Convolution) for row in stretch)
    for row in stretch:
        if isinstance(row.layer, Activation):
            continue
        if isinstance(row.layer, Norm) and way.eps is not None:
            row = replace(row, layer=row.layer.model_copy(update={"eps": way.eps}), guess=guess and row.guess)
        found.append(row)
        kernel = isinstance(row.layer, Linear | Convolution)
        kernels -= kernel
        if way.active and ((kernel and (kernels or way.late)) or (isinstance(row.layer, Norm) and not way.late)):
            found.append(_Placed(way.active, None, guess))
    return found
