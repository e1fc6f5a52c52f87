"""Going down an objective by gradient: the steps, and the best that was found on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Literal

import torch
from ganenc_registry.errors import ImageError
from torch import Tensor

from ganenc.inversion.graphs import Stepper, Taken, card_for
from ganenc.inversion.inverter import StepTerms, Task
from ganenc.inversion.seeing import SeenObjective
from ganenc.latents import Latents
from ganenc.objectives import ObjectiveResult, make_adam, make_schedule

WARMUP = 0.05
"""The part of all steps over which the rate rises, where it falls afterwards."""
Schedule = Literal["cosine", "constant"]


class Best:
    """The latents of the lowest loss so far, sample by sample, with what is unknown of the operator that their photos
    went through; kept without a transfer to the host."""

    def __init__(self, task: Task) -> None:
        self.latents: Latents | None = None
        self.loss: Tensor | None = None
        self.logs: Tensor | None = None
        through = task.objective if isinstance(task.objective, SeenObjective) else None
        operators = [] if through is None else through.operators_of(task.images)
        self._operators = [one for one in operators if one.logs.numel()]

    def now(self) -> Tensor | None:
        """What is unknown, as it is now: logarithms (N, P); None where nothing is."""
        return torch.stack([one.logs for one in self._operators]) if self._operators else None

    @torch.no_grad()
    def offer(self, latents: Latents, loss: Tensor, logs: Tensor | None = None) -> None:
        """Keep the samples whose loss (N,) is lower than before, with the logarithms that were its (see `now`). A loss
        that is not finite is never lower."""
        loss = torch.where(loss.isfinite(), loss.detach(), torch.inf)
        if self.latents is None or self.loss is None:
            self.latents, self.loss, self.logs = latents.detach().clone(), loss, logs
            return
        better = loss < self.loss
        kept = {
            name: torch.where(better.reshape(-1, *[1] * (old.ndim - 1)), latents[name].detach(), old)
            for name, old in self.latents.tensors.items()
        }
        self.latents, self.loss = self.latents.replace(**kept), torch.where(better, loss, self.loss)
        if logs is not None and self.logs is not None:
            self.logs = torch.where(better.to(logs.device)[:, None], logs, self.logs)

    def take(self) -> Latents:
        """The best latents; what is unknown is as it was with them from here on. An ImageError if not one loss was
        finite."""
        if self.latents is None or self.loss is None or not bool(self.loss.isfinite().all()):
            raise ImageError("The inversion never had a finite loss; lower its rate, or check the photo's values.")
        if self.logs is not None:
            for operator, row in zip(self._operators, self.logs, strict=True):
                operator.logs = row
        return self.latents


class History:
    """The terms of every step, kept on the device until all are done."""

    def __init__(self) -> None:
        self.rows: list[tuple[list[str], Tensor]] = []

    def add(self, result: ObjectiveResult) -> StepTerms:
        """Keep the terms (N,) of a step."""
        self.rows.append((list(result.terms), torch.stack([term.detach() for term in result.terms.values()])))
        return StepTerms(*self.rows[-1], result.images)

    def per_sample(self) -> list[list[dict[str, float]]]:
        """For each sample, for each step: ``step`` (from 1) and the terms."""
        numbers = iter(torch.cat([values for _, values in self.rows]).tolist())  # In one transfer.
        steps = [
            [{"step": float(step), **dict(zip(names, terms))} for terms in zip(*islice(numbers, len(names)))]
            for step, (names, _) in enumerate(self.rows, 1)
        ]
        return [list(rows) for rows in zip(*steps, strict=True)]


def descend(
    task: Task,
    parameters: Iterable[Tensor],
    take: Callable[..., Taken],
    *,
    steps: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.99),
    schedule: Schedule = "cosine",
    before: int = 0,
    after: int = 0,
    settle: Callable[[], None] = lambda: None,
    until: Callable[[ObjectiveResult], bool] = lambda _: False,
    draw: Callable[[], tuple[Any, ...]] = tuple,
    fixed: bool = False,
) -> tuple[Best, History]:
    """Adam on ``parameters`` => the latents whose own image loss was lowest, and the history.

    ``take`` makes a step's latents, their result, and the number whose gradient is followed. ``rate`` is the learning
    rate at its height, see `make_schedule`. ``before`` steps went before and ``after`` follow, for the task, which is
    told of each step, and may end them. ``settle`` brings parameters back to where they may be, after each step;
    ``until`` says of a step's result that it is enough, and no further step is taken. ``draw`` makes what ``take`` is
    given in each step. ``fixed`` says that ``take`` computes the same of that and of the parameters in every step, so
    that a GPU may replay it (see `Stepper`).
    """
    given = list(parameters)
    same = fixed and not isinstance(task.objective, SeenObjective)  # Of which what is unknown may move in a step.
    stepper = Stepper(take, given, card_for(given, steps) if same else None)
    adam = make_adam(given, rate, betas)
    falls = schedule == "cosine"
    rates = make_schedule(adam, steps, warmup=max(1.0, WARMUP * steps) if falls else 0.0, falls=falls)
    best, history = Best(task), History()
    try:
        for step in range(1, steps + 1):
            logs = best.now()  # The step moves it.
            latents, result = stepper(*draw())
            best.offer(latents, result.image, logs)
            terms = history.add(result)
            if until(result):
                break
            adam.step()
            settle()
            rates.step()
            if task.tell(before + step, before + steps + after, terms):
                break
    finally:
        stepper.close()
    return best, history
