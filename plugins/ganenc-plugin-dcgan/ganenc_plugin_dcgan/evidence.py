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

from ganenc_plugin_dcgan.guessing import DROPPED, USUAL_Z, Guessed
from ganenc_plugin_dcgan.layers import join, module_of
from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Linear, Norm, Upsample, inputs_of

__all__ = ["weigh"]

MOST_SAMPLES, FEWEST_SAMPLES, OPERATIONS = 512, 16, 1 << 28
"""How many are computed: as many as take so many multiplications."""
MOST_PIXELS, MOST_OPERATIONS = 32 * 32, 1 << 35
"""Maps beyond these are not looked at, and no more is computed: what holds before holds there, too."""
CLOSE = 0.12
"""Where statistics are so near, what is told already holds."""
FITS = 0.35
"""In deviations, and logarithms of variances: what is further off is of other weights, such as averaged ones, and tells
nothing."""
TELLS = 0.15
"""Where another way than the one guessed has to come."""
LIKELIER, MOST_FEATURES, APART = 8.0, 512, 0.14
"""Another way holds where it is so much likelier, as a logarithm, and the statistics so much nearer, as one; so many
features count as independent at most."""
_ACTIVATIONS = (
    *(Activation(name=name) for name in ("relu", "elu", "selu", "gelu", "silu", "mish", "tanh", "sigmoid")),
    *(Activation(name="leaky_relu", slope=slope) for slope in (0.2, 0.1, 0.3)), None,
)  # fmt: skip
_EPSILONS = (1e-5, 1e-3, 0.8)
_FEW_CLASSES = (*range(2, 13), 26, 100)
_CODES = (1, 2, 3, 4)
"""Of an InfoGAN, uniform from -1 to 1 (Chen et al., 2016)."""


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
    mode: str | None = None
    """How it is enlarged, if it is."""


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
        self._inputs, self._sure, self._spent = inputs_of(guessed.file.z, guessed.file.labels), True, 0
        z = draw_normal(_samples(self._rows[: _next_norm(self._rows)]), self._inputs, seed=0)
        # Moments as if there were endlessly many.
        self._z = torch.linalg.qr(z - z.mean(0)).Q * math.sqrt(len(z)) if len(z) > 2 * self._inputs else z

    def read(self) -> Guessed:
        done: list[_Placed] = []
        rest, x = self._rows, None
        told: _Way | None = None
        misfits = 0  # A strange prior is one.
        while misfits < 2 and (norm := _next_norm(rest)) is not None and self._affordable(rest[:norm], x):
            x = None if x is None else x[: _samples(rest[:norm], x.shape[2:].numel())]
            usual = self._usual(rest[:norm])
            if any(DROPPED in row.guess for row in rest[:norm]):  # In training, what was dropped changed them.
                x = self._score(usual, x, rest, norm)[1]
                done, rest = done + rest[:norm], rest[norm:]
                continue
            best, score, x = self._best(usual, told, x, rest, norm)
            if score > FITS:
                misfits += 1
                done += rest[:norm]
            else:
                if not done:
                    self._take(best)
                told = best if best.active else told
                done += _applied(best, rest[:norm])
            rest = rest[norm:]
        while told is not None and (norm := _next_norm(rest)) is not None:
            done, rest = [*done, *_applied(told, rest[:norm], "as before")], rest[norm:]
        if told is not None:
            last = replace(told, active=None if told.late else told.active, late=False)
            rest = [*_applied(last, rest[:-1], "as before"), rest[-1]]
        done += rest
        guesses = {**self._guesses, **{str(place): row.guess for place, row in enumerate(done) if row.guess}}
        file = self._file.model_copy(update={"layers": tuple(row.layer for row in done)})
        return Guessed(file, guesses, doubtful=misfits > 0)

    def _affordable(self, stretch: list[_Placed], x: Tensor | None) -> bool:
        pixels = 1 if x is None else x.shape[2:].numel()
        return pixels <= MOST_PIXELS and self._spent + 8 * FEWEST_SAMPLES * _weights(stretch) * pixels < MOST_OPERATIONS

    def _usual(self, stretch: list[_Placed]) -> _Way:
        """The way that is guessed."""
        kernel = max(i for i, row in enumerate(stretch) if isinstance(row.layer, Linear | Convolution))
        active = next((i for i, row in enumerate(stretch) if isinstance(row.layer, Activation)), None)
        eps = stretch[0].layer.eps if isinstance(stretch[0].layer, Norm) else None
        late = active is not None and active > kernel
        mode = next((row.layer.mode for row in stretch if isinstance(row.layer, Upsample)), None)
        layer = None if active is None else stretch[active].layer
        return _Way(self._file.prior, self._file.labels, eps, layer, late, mode)

    def _best(
        self, usual: _Way, told: _Way | None, x: Tensor | None, rest: list[_Placed], norm: int
    ) -> tuple[_Way, float, Tensor]:
        """The way that fits best, how well, and the values: as guessed, or as the stretch before was told to be, where
        that is near; else one respect after another, each as it is unless another is far likelier."""
        features = min(MOST_FEATURES, rest[norm].module.running_mean.numel())  # type: ignore[union-attr]
        scores: dict[_Way, float] = {}

        def score(way: _Way) -> float:
            if way not in scores:
                scores[way] = self._score(way, x, rest, norm)[0]
            return scores[way]

        def likelier(one: _Way, other: _Way) -> bool:
            apart = math.log((score(other) + 1e-9) / (score(one) + 1e-9))
            return apart > APART and features * apart > LIKELIER

        first = usual
        if told is not None:
            same = replace(usual, active=told.active, late=told.late, mode=usual.mode and (told.mode or usual.mode))
            first = same if score(same) <= max(score(usual), CLOSE) else usual
        best = first
        for respect in self._respects(usual, rest[:norm]) if told is None or score(first) > CLOSE else ():
            if "eps" in respect[0] and score(best) <= CLOSE:
                continue
            ways = [replace(best, **changes) for changes in respect]
            top = min(ways, key=score)
            way = next(way for way in ways if not likelier(top, way))
            others = [other for other in ways if other.labels != way.labels]
            if likelier(way, best):
                clear = all(likelier(way, other) for other in others)
                self._sure = clear and (way.labels is None or self._changed(way)["z"] in USUAL_Z)
                best = way if clear or (way.labels and way.labels.codes) else best
            elif others and best.labels:
                near = [other for other in others if other.labels is None or other.labels.codes]
                self._sure = all(likelier(best, other) for other in near)
        best = best if score(best) <= TELLS else first
        if not self._sure:
            self._guesses["labels"] = "or none, or others beside z"
        return best, *self._score(best, x, rest, norm)

    def _respects(self, usual: _Way, stretch: list[_Placed]) -> list[list[dict[str, Any]]]:
        """What may be otherwise: what goes in, of the first stretch, or the epsilon of the norm that another begins
        with; and which activation is where."""
        within = usual.eps is not None or sum(isinstance(row.layer, Linear | Convolution) for row in stretch) > 1
        modes = ("nearest", "bilinear") if usual.mode else (None,)
        active = [
            {"active": one, "late": late, "mode": mode}
            for one in _ACTIVATIONS for late in (False, True) for mode in modes
            if (within or late or one is None) and (one or not late)
        ]  # fmt: skip
        if usual.eps is not None:
            return [active, [{"eps": eps, **one} for eps in _EPSILONS for one in active]]
        labels = [usual.labels]
        if usual.labels is None or usual.labels.kind == "one_hot":
            splits = [k for k in _FEW_CLASSES if k + 8 <= self._inputs]
            labels += [Labels(dim=10, codes=codes) for codes in _CODES if self._inputs - 10 - codes in USUAL_Z]
            labels += [Labels(dim=k, joined=side) for k in splits for side in ("after", "before")]
            labels += [None]
        elif usual.labels.joined != "times":
            other: Any = "before" if usual.labels.joined == "after" else "after"
            labels += [usual.labels.model_copy(update={"joined": other})]
        priors = [{"prior": prior, **one} for prior in ("normal", "uniform") for one in active]
        return [priors, [{"labels": one} for one in dict.fromkeys(labels)], priors]

    def _score(self, way: _Way, x: Tensor | None, rest: list[_Placed], norm: int) -> tuple[float, Tensor]:
        """How far the values before a norm, computed in some way, are from those that it has seen; and the values."""
        x = self._given(way) if x is None else x
        self._spent += _weights(rest[:norm]) * x.shape[2:].numel() * len(x)
        for row in _applied(way, rest[:norm]):
            if isinstance(row.layer, Norm) and row.layer.name == "batch":
                assert row.module is not None
                x = F.batch_norm(x, None, None, row.module.weight, row.module.bias, training=True, eps=row.layer.eps)
            else:
                x = (row.module or module_of(row.layer, ()))(x)
        seen: Any = rest[norm].module
        axes = [0, *range(2, x.ndim)]
        mean, floor = x.mean(axes), 1e-3 * seen.running_var.mean() + 1e-12
        var = (x.square().mean(axes) - mean.square()).clamp(min=0)
        apart = (mean - seen.running_mean).square() / (seen.running_var + floor)
        wide = ((var + floor) / (seen.running_var + floor)).log().square() / 2
        score = float((apart.clamp(max=1).mean() + wide.clamp(max=1).mean()).sqrt())
        return (score if math.isfinite(score) else math.inf), x

    def _given(self, way: _Way) -> Tensor:
        """What goes into the first layer: z, and labels in their way."""
        changed = self._changed(way)
        z = self._z[:, : changed["z"]]
        z = torch.erf(z / math.sqrt(2)) if way.prior == "uniform" else z
        if way.labels is None:
            return z
        if codes := way.labels.codes:
            z = torch.cat([z[:, :-codes], torch.erf(self._z[:, : z.shape[1]][:, -codes:] / math.sqrt(2))], 1)
        drawn = F.one_hot(torch.arange(len(z)) % changed["classes"], changed["classes"]).float()
        return join(z, self._generator.embed(drawn) if way.labels.kind == "table" else drawn, way.labels)

    def _changed(self, way: _Way) -> dict[str, Any]:
        labels = way.labels
        beside = labels.dim if labels and labels.joined != "times" else 0
        classes = (self._file.classes if labels.kind == "table" else labels.dim) if labels else 0
        return {"prior": way.prior, "labels": labels, "z": self._inputs - beside, "classes": classes}

    def _take(self, way: _Way) -> None:
        """Let what goes in be as the way has it."""
        self._file = self._file.model_copy(update=self._changed(way))
        times = way.labels is not None and way.labels.joined == "times"  # It may be there for something else.
        for told in ("prior", *(("z", "labels") if self._sure and not times else ())):
            self._guesses.pop(told, None)


def _samples(stretch: list[_Placed], pixels: int = 1) -> int:
    """How many are computed of a stretch."""
    least = max(FEWEST_SAMPLES, OPERATIONS // max(1, _weights(stretch) * pixels))
    return min(MOST_SAMPLES // math.isqrt(pixels), least)


def _weights(stretch: list[_Placed]) -> int:
    return sum(one.numel() for row in stretch if row.module is not None for one in row.module.parameters())


def _next_norm(rows: list[_Placed]) -> int | None:
    """The place of the norm that a stretch ends before, where it has kept statistics."""
    place = next((i for i, row in enumerate(rows) if i and isinstance(row.layer, Norm)), None)
    return None if place is None or getattr(rows[place].module, "running_mean", None) is None else place


def _applied(way: _Way, stretch: list[_Placed], guess: str = "") -> list[_Placed]:
    """A stretch with its activations and epsilon as the way has them."""
    if any(isinstance(row.layer, Activation) and row.layer.weights for row in stretch):
        return stretch
    found: list[_Placed] = []
    kernels = sum(isinstance(row.layer, Linear | Convolution) for row in stretch)
    for row in stretch:
        if isinstance(row.layer, Activation):
            continue
        if isinstance(row.layer, Norm) and way.eps is not None:
            row = replace(row, layer=row.layer.model_copy(update={"eps": way.eps}), guess=guess and row.guess)
        if isinstance(row.layer, Upsample) and way.mode:
            row = replace(row, layer=row.layer.model_copy(update={"mode": way.mode}), module=None)
        found.append(row)
        kernel = isinstance(row.layer, Linear | Convolution)
        kernels -= kernel
        if way.active and ((kernel and (kernels or way.late)) or (isinstance(row.layer, Norm) and not way.late)):
            found.append(_Placed(way.active, None, guess))
    return found
