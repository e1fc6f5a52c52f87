"""The loop that every training goes through."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import TrainingError
from ganenc_registry.specs import RunSpec
from torch import Tensor
from torch.utils._pytree import tree_map_only

from ganenc import images
from ganenc.encoders import FORMATS, Encoder, in_precision
from ganenc.files import Interrupts, Processes
from ganenc.latents import Latents
from ganenc.objectives import Batch, looks_sheet, make_schedule, restore_adam
from ganenc.training.data import Ahead, Source
from ganenc.training.expectation import expect
from ganenc.training.recipe import Losses, Recipe
from ganenc.training.sinks import Sink

OnRow: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
"""Called with step, steps and terms at every row of metrics."""
OnStart: TypeAlias = Callable[[list[str]], None]
"""Called with sentences on what a run will take."""


@dataclass
class Progress:
    """Where a run stands; all of it is in its checkpoints."""

    step: int = 0
    """Steps done."""
    rate_factor: float = 1.0
    """By what the learning rate was lowered after losses that were not finite."""
    retries: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    smooth_loss: float = math.nan
    best_kept: float = math.inf
    """The smoothed loss of the encoder that is kept as the best one."""
    micro_batch: int = 0
    """Images at a time, once that is settled."""
    stopped: str = ""
    """Why the run ended early, if it did."""


@dataclass
class Window:
    """Sums of the terms since the last row of metrics, kept on the device."""

    names: list[str] = field(default_factory=list)
    total: Tensor | None = None
    count: int = 0

    def add(self, terms: Mapping[str, Tensor]) -> None:
        """Add this process's part of a step's terms."""
        values = torch.stack(list(terms.values()))
        if self.total is None or self.names != list(terms):
            self.names, self.total, self.count = list(terms), values, 1
        else:
            self.total, self.count = self.total + values, self.count + 1

    def means(self, processes: Processes) -> dict[str, float]:
        """The mean of each term, brought to the host; the window starts anew."""
        if self.total is None:
            return {}
        values = (processes.sum(self.total.clone()) / self.count).tolist()
        self.total = None
        return dict(zip(self.names, values))


class Trainer:
    """Goes through the steps of a recipe on the batches of a source, from the newest state of its sink on, together
    with the processes that this one was started with, by default."""

    def __init__(
        self, run: RunSpec, sink: Sink, recipe: Recipe, source: Source, *, processes: Processes | None = None
    ) -> None:
        self.run, self.sink, self.recipe, self.source = run, sink, recipe, source
        self.processes = processes or Processes(run.device)
        self.progress = Progress()
        averaged = recipe.averaged if run.optimiser.average else ()
        self.averages = {name: _copied(dict(recipe.modules[name].named_parameters())) for name in averaged}
        self._good: dict[str, Any] = {}
        self._window = Window()
        self.device = recipe.context.network.device
        self._finite = torch.ones((), dtype=torch.bool, device=self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=run.speed.autocast == "fp16")
        self._fixed: Batch | None = None

    def train(self, on_step: OnRow | None = None, on_start: OnStart | None = None) -> Encoder:
        """Go through all steps that are left, and return the encoder (its averaged copy where one is kept).

        SIGINT and SIGTERM end it after the step that runs, once that is saved, by a KeyboardInterrupt; the same run
        goes on from there. A TrainingError if losses that are not finite come back after every retry, the state that is
        there is of another recipe or encoder, or another process trains there.
        """
        source = self.source
        self.sink.begin(self.run, writes=self.processes.first)
        try:
            state, complaints = self.sink.newest(self.processes)
            for complaint in complaints:
                instead = "The run starts anew" if state is None else f"The run goes on from step {state['step']}"
                warnings.warn(f"{complaint} {instead}.", stacklevel=2)
            if state is not None:
                self._restore(state)
            self._schedule()
            self._good = self._state()
            if self.progress.step < self.run.steps and not self.progress.stopped:
                self._plan(on_start)
            if self._ahead:
                self.source = Ahead(source, self.device)
            with Interrupts() as interrupts:
                self._loop(interrupts, on_step if self.processes.first else None)
        finally:
            if isinstance(self.source, Ahead):
                self.source.close()
            self.source = source
            self.sink.close()
        self._take(self.averages)
        return self.recipe.encoder.eval()

    @property
    def _ahead(self) -> bool:
        choice = self.run.speed.prefetch
        return choice == "on" or (choice == "auto" and self.device.type == "cuda")

    def _plan(self, on_start: OnStart | None) -> None:
        """Settle how many images go at a time, and say what the run will take."""
        wanted = self.run.speed.micro_batch
        if on_start is None and wanted != "auto":
            self.progress.micro_batch = wanted or 0
            return
        batch = self._batch(self.progress.step)
        with self._computing():
            expected = expect(self.recipe, batch, averages=3 if self.averages else 2)
        if not self.progress.micro_batch:
            micro = expected.fitting(len(batch)) if wanted == "auto" else wanted or 0
            self.progress.micro_batch = min(self.processes.told(micro), len(batch))
        if on_start is not None and self.processes.first:
            micro = self.progress.micro_batch or len(batch)
            on_start(expected.sentences(self.run.steps - self.progress.step, len(batch), micro))

    def _schedule(self) -> None:
        """The rate of every optimiser, from this step on."""
        choice, progress = self.run.optimiser, self.progress
        falls, factor, done = choice.schedule == "cosine", progress.rate_factor, progress.step
        self.schedules = [
            make_schedule(one, self.run.steps, warmup=choice.warmup, falls=falls, factor=factor, done=done)
            for one in self.recipe.optimisers.values()
        ]

    def _loop(self, interrupts: Interrupts, on_step: OnRow | None) -> None:
        saving, guards = self.run.saving, self.run.guards
        while self.progress.step < self.run.steps and not self.progress.stopped:
            self._one()
            step, last = self.progress.step, self.progress.step == self.run.steps
            if step % saving.log_every == 0 or last:
                self._check(on_step)
                if step - self._good["progress"]["step"] >= guards.good_every:
                    self._good = self._state()
            asked = self._asked(interrupts, step)
            saves = step % saving.checkpoint_every == 0 or last or asked or bool(self.progress.stopped)
            if saves and not self._is_finite():
                self._check(on_step)
            if step % saving.grid_every == 0 or last or step == 1 or self.progress.stopped:
                self._grid()
            if saves:  # After all else of the step, as a resumed run does nothing of it again.
                self._checkpoint()
            if asked and not last:
                raise KeyboardInterrupt

    def _asked(self, interrupts: Interrupts, step: int) -> bool:
        """Whether to stop; several processes agree on it at the rows of metrics."""
        if self.processes.count == 1:
            return interrupts.asked
        if step % self.run.saving.log_every:
            return False
        return bool(self.processes.sum(torch.tensor(float(interrupts.asked), device=self.device)))

    def _batch(self, step: int) -> Batch:
        """This process's part of a step's batch."""
        batch = self.source.batch(step) if self.processes.count == 1 else self.source.batch(step, self.processes.part)
        told = self.run.speed.encoder_format
        if told == "auto":  # A trainer that no run made, which would have chosen: images stay as they come.
            return batch
        return replace(batch, images=batch.images.contiguous(memory_format=FORMATS[told]))

    def _computing(self) -> torch.autocast:
        """The precision of the forward passes."""
        return in_precision(self.device, self.run.speed.autocast)

    def _one(self) -> None:
        choice, progress = self.run.optimiser, self.progress
        with warnings.catch_warnings():  # In half precision, the scaler may have left out the optimiser's first step.
            warnings.simplefilter("ignore", UserWarning)
            for one in self.schedules:
                if one.last_epoch < progress.step:
                    one.step()
        self._window.add(self.recipe.step(self._batch(progress.step), self._update))
        self._scaler.update()
        progress.step += 1
        decay = min(choice.average, (1 + progress.step) / (10 + progress.step))
        for name, average in self.averages.items():
            values = [p.detach() for p in self.recipe.modules[name].parameters()]
            torch._foreach_lerp_(list(average.values()), values, 1 - decay)

    def _update(self, name: str, losses: Losses, batch: Batch) -> dict[str, Tensor]:
        """See `Update`: the gradient is that of the mean over the whole step, of all processes."""
        optimiser = self.recipe.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        size, whole = self.progress.micro_batch or len(batch), batch.of or len(batch)
        terms: dict[str, Tensor] = {}
        for first in range(0, len(batch), size):
            with self._computing():
                found = losses(batch if size >= len(batch) else batch[first : first + size])
            self._scaler.scale(found["total"].sum() / whole).backward()
            for term, values in found.items():
                value = values.detach().sum() / whole
                terms[term] = terms[term] + value if term in terms else value
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        self.processes.sum_gradients(weights)
        if self.run.optimiser.clip:
            self._scaler.unscale_(optimiser)
            torch.nn.utils.clip_grad_norm_(weights, self.run.optimiser.clip)
        self._scaler.step(optimiser)
        self._finite &= terms["total"].isfinite()
        return terms

    def _check(self, on_step: OnRow | None) -> None:
        """Write a row of metrics; go back to the last good state if a loss was not finite; see whether to stop."""
        progress, guards = self.progress, self.run.guards
        terms = self._window.means(self.processes)
        finite = self._is_finite()
        self._finite.fill_(True)
        if not finite and guards.nan:
            self._go_back()
            return
        if terms:
            self.sink.log(progress.step, {**terms, "rate": float(self.schedules[0].get_last_lr()[0])})
            if on_step:
                on_step(progress.step, self.run.steps, terms)
            self._watch(terms["total"])

    def _is_finite(self) -> bool:
        """Whether every loss since the last look and every weight is finite (a gradient alone may break weights)."""
        weights: list[Tensor] = [weight for module in self.recipe.modules.values() for weight in module.parameters()]
        norms = torch.stack(torch._foreach_norm(weights))
        broken = 1.0 - (self._finite & norms.isfinite().all()).float()
        return not bool(self.processes.sum(broken))

    def _go_back(self) -> None:
        progress, guards = self.progress, self.run.guards
        if progress.retries >= guards.nan_retries:
            raise TrainingError(
                f"The loss was not finite at step {progress.step}, after {progress.retries} returns to the last good"
                " state at half the rate; lower optimiser.rate, or switch autocast off."
            )
        step, retries, factor = progress.step, progress.retries + 1, progress.rate_factor / 2
        self._restore(self._good)
        self.progress.step, self.progress.retries, self.progress.rate_factor = step, retries, factor
        self._schedule()
        self._window = Window()
        self.sink.log(step, {"returned_to_good_state": 1.0, "rate_factor": factor})

    def _watch(self, loss: float) -> None:
        """Stop on a plateau of the smoothed loss."""
        progress, guards = self.progress, self.run.guards
        smooth = loss if math.isnan(progress.smooth_loss) else 0.9 * progress.smooth_loss + 0.1 * loss
        progress.smooth_loss = smooth
        if smooth < progress.best_loss * (1 - guards.plateau_share):
            progress.best_loss, progress.best_step = smooth, progress.step
        elif guards.plateau and progress.step - progress.best_step >= guards.plateau:
            progress.stopped = f"the loss had not fallen by {guards.plateau_share:.2%} for {guards.plateau} steps"

    def _checkpoint(self) -> None:
        progress = self.progress
        if self.run.saving.best and progress.smooth_loss < progress.best_kept:
            progress.best_kept = progress.smooth_loss
            with self._averaged():
                self.sink.keep_best(self.recipe.encoder, {"step": progress.step, "loss": progress.smooth_loss})
        self._good = self._state()
        self.sink.save(progress.step, self._good)

    @torch.no_grad()
    def _grid(self) -> None:
        if not self.processes.first:
            return
        if self._fixed is None:
            self._fixed = _first(self.source, self.run.saving.grid)
        batch, step, spec = self._fixed, self.progress.step, self.recipe.context.network.spec
        made = self.recipe.rebuild(batch)
        self.sink.picture("grid", step, images.grid(images.depict(torch.cat([batch.images, made]), spec), len(made)))
        found = self.recipe.looks(batch, made)
        if len(found) > 1:
            self.sink.picture("attention", step, looks_sheet(found, spec))

    def _state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as a copy."""
        recipe = self.recipe
        state = {
            "modules": {name: dict(module.state_dict()) for name, module in recipe.modules.items()},
            "optimisers": {name: one.state_dict() for name, one in recipe.optimisers.items()},
            "recipe": recipe.state(),
            "averages": self.averages,
            "progress": dict(vars(self.progress)),
            "window": dict(vars(self._window)),
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
        }
        return _copied(state)

    @torch.no_grad()
    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; it shares no memory with what goes on from it."""
        try:
            self._fill(state)
        except (RuntimeError, LookupError, TypeError, ValueError, AttributeError):
            raise TrainingError(
                f"The checkpoint of step {state.get('step')} in {self.sink} is damaged, or of another encoder or recipe"
                "; name another folder."
            ) from None

    def _fill(self, state: Mapping[str, Any]) -> None:
        for name, module in self.recipe.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, optimiser in self.recipe.optimisers.items():
            restore_adam(optimiser, _copied(state["optimisers"][name]))
        for name, average in self.averages.items():
            for weight, value in state["averages"][name].items():
                average[weight].copy_(value)
        self.recipe.restore(_copied(state["recipe"]))
        self.progress = Progress(**state["progress"])
        self._window = Window(**state["window"])
        if self._window.total is not None:
            self._window.total = self._window.total.to(self.device)
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the modules, where they are kept; then their own again."""
        own = _copied({name: dict(self.recipe.modules[name].named_parameters()) for name in self.averages})
        self._take(self.averages)
        yield
        self._take(own)

    @torch.no_grad()
    def _take(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, values in weights.items():
            for weight, parameter in self.recipe.modules[name].named_parameters():
                parameter.copy_(values[weight])


def _copied(state: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts and lists with every tensor copied."""
    copy: dict[str, Any] = tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), state)
    return copy


def _first(source: Source, count: int) -> Batch:
    """The first ``count`` images of a source."""
    batches: list[Batch] = []
    while sum(map(len, batches)) < count:
        batches.append(source.batch(len(batches)))
    labels, latents = ([getattr(batch, name) for batch in batches] for name in ("labels", "latents"))
    return Batch(
        torch.cat([batch.images for batch in batches])[:count],
        None if any(one is None for one in labels) else torch.cat(labels)[:count],
        None if any(one is None for one in latents) else Latents.cat(latents)[:count],
    )
