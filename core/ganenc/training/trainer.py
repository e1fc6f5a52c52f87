"""The loop that every training goes through."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from ganenc_registry.errors import TrainingError
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.encoder import Encoder
from ganenc.latents import Latents
from ganenc.objective import ObjectiveResult
from ganenc.optim import make_adam, restore_adam
from ganenc.step import Batch, EncoderStep
from ganenc.training.data import Source
from ganenc.training.folder import RunFolder

__all__ = ["Progress", "Trainer"]


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
    stopped: str = ""
    """Why the run ended early, if it did."""


@dataclass
class _Window:
    """Sums of the terms since the last row of metrics, kept on the device."""

    names: list[str] = field(default_factory=list)
    total: Tensor | None = None
    count: int = 0

    def add(self, result: ObjectiveResult) -> None:
        values = torch.stack([term.detach().mean() for term in result.terms.values()])
        if self.total is None or self.names != list(result.terms):
            self.names, self.total, self.count = list(result.terms), values, 1
        else:
            self.total, self.count = self.total + values, self.count + 1

    def means(self) -> dict[str, float]:
        """The mean of each term, brought to the host; the window starts anew."""
        if self.total is None:
            return {}
        values = (self.total / self.count).tolist()
        self.total = None
        return dict(zip(self.names, values))


class Trainer:
    """Trains an encoder; one optimiser step per iteration. Resumes from the newest checkpoint of its folder.

    Args:
        run: the run's spec.
        folder: where it writes.
        step: computes the loss of a batch.
        source: gives the batch of a step.
        norm_in_training: whether batch norm takes the statistics of the batch (pre-training) or its running ones.
    """

    def __init__(
        self, run: RunSpec, folder: RunFolder, step: EncoderStep, source: Source, *, norm_in_training: bool
    ) -> None:
        self.run, self.folder, self.step_of, self.source = run, folder, step, source
        self.norm_in_training = norm_in_training
        self.encoder: Encoder = step.encoder
        choice = run.optimiser
        self.adam = make_adam(self.encoder.parameters(), choice.rate, choice.betas)
        self.progress = Progress()
        self.average: dict[str, Tensor] = {}
        if choice.average:
            self.average = {name: p.detach().clone() for name, p in self.encoder.named_parameters()}
        self._good: dict[str, Any] = {}
        self._window = _Window()
        self._finite = torch.ones((), dtype=torch.bool, device=step.generator.device)
        self._fixed: Batch | None = None

    def train(self, on_step: Callable[[int, int, Mapping[str, float]], None] | None = None) -> Encoder:
        """Go through all steps that are left, and return the encoder (its averaged copy where one is kept).

        Args:
            on_step: called with the step, all steps and the mean terms, whenever a row of metrics is written.

        Raises:
            TrainingError: if losses that are not finite come back after every retry, or the folder's checkpoint is of
                another encoder.
        """
        state, complaints = self.folder.newest()
        for complaint in complaints:
            instead = "The run starts anew" if state is None else f"The run goes on from step {state['step']}"
            warnings.warn(f"{complaint} {instead}.", stacklevel=2)
        try:
            if state is not None:
                self._restore(state)
            self._good = self._state()
            self._loop(on_step)
        finally:
            self.folder.close()
        return self._finished()

    def _loop(self, on_step: Callable[[int, int, Mapping[str, float]], None] | None) -> None:
        saving, guards = self.run.saving, self.run.guards
        while self.progress.step < self.run.steps and not self.progress.stopped:
            self._one()
            step, last = self.progress.step, self.progress.step == self.run.steps
            if step % saving.log_every == 0 or last:
                self._check(on_step)
                if step - self._good["progress"]["step"] >= guards.good_every:
                    self._good = self._state()
            if step % saving.checkpoint_every == 0 or last or self.progress.stopped:
                self._checkpoint(on_step)
            if step % saving.grid_every == 0 or last or step == 1 or self.progress.stopped:
                self._grid()

    def _one(self) -> None:
        choice, progress = self.run.optimiser, self.progress
        for group in self.adam.param_groups:
            group["lr"] = choice.rate * progress.rate_factor * _rate(self.run, progress.step)
        self.encoder.train(self.norm_in_training)
        batch = self.source.batch(progress.step)
        if self.run.speed.channels_last:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            batch = Batch(images, batch.labels, batch.latents)
        with torch.autocast(self._finite.device.type, torch.bfloat16, enabled=self.run.speed.autocast == "bf16"):
            result = self.step_of(batch).result
        self.adam.zero_grad(set_to_none=True)
        result.total.backward()
        if choice.clip:
            torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), choice.clip)
        self.adam.step()
        self._finite &= result.total.detach().isfinite()
        self._window.add(result)
        progress.step += 1
        if choice.average:
            self._follow(min(choice.average, (1 + progress.step) / (10 + progress.step)))

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        values = [p.detach() for p in self.encoder.parameters()]
        torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)

    def _check(self, on_step: Callable[[int, int, Mapping[str, float]], None] | None) -> None:
        """Write a row of metrics; go back to the last good state if a loss was not finite; see whether to stop."""
        progress, guards = self.progress, self.run.guards
        terms = self._window.means()
        finite = self._is_finite()
        self._finite.fill_(True)
        if not finite and guards.nan:
            self._go_back()
            return
        if terms:
            self.folder.log(progress.step, {**terms, "rate": self.adam.param_groups[0]["lr"]})
            if on_step:
                on_step(progress.step, self.run.steps, terms)
            self._watch(terms["total"])

    def _is_finite(self) -> bool:
        """Whether every loss since the last look and every weight is finite (a gradient alone may break weights)."""
        norms = torch.stack(torch._foreach_norm(list(self.encoder.parameters())))
        return bool(self._finite & norms.isfinite().all())

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
        self._window = _Window()
        self.folder.log(step, {"returned_to_good_state": 1.0, "rate_factor": factor})

    def _watch(self, loss: float) -> None:
        """Stop on a plateau of the smoothed loss."""
        progress, guards = self.progress, self.run.guards
        smooth = loss if math.isnan(progress.smooth_loss) else 0.9 * progress.smooth_loss + 0.1 * loss
        progress.smooth_loss = smooth
        if smooth < progress.best_loss * (1 - guards.plateau_share):
            progress.best_loss, progress.best_step = smooth, progress.step
        elif guards.plateau and progress.step - progress.best_step >= guards.plateau:
            progress.stopped = f"the loss had not fallen by {guards.plateau_share:.2%} for {guards.plateau} steps"

    def _checkpoint(self, on_step: Callable[[int, int, Mapping[str, float]], None] | None) -> None:
        if not self._is_finite():
            self._check(on_step)
        self._good = self._state()
        self.folder.save(self.progress.step, self._good)

    @torch.no_grad()
    def _grid(self) -> None:
        if self._fixed is None:
            self._fixed = _first(self.source, self.run.saving.grid)
        batch = self._fixed
        encoder, generator = self.encoder.eval(), self.step_of.generator
        latents = encoder(batch.images, labels=batch.labels)
        made = generator.synthesize(self.step_of.completed(latents, batch))
        self.folder.grid(self.progress.step, batch.images, made, generator.spec.value_range)

    def _state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as a copy."""

        window = {"names": self._window.names, "total": self._window.total, "count": self._window.count}
        state = {
            "encoder": dict(self.encoder.state_dict()),
            "optimiser": self.adam.state_dict(),
            "average": self.average,
            "progress": vars(self.progress),
            "window": window,
            "random": torch.get_rng_state(),
        }
        copy: dict[str, Any] = _copied(state)
        return copy

    @torch.no_grad()
    def _restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; it shares no memory with what goes on from it."""
        try:
            self.encoder.load_state_dict(state["encoder"])
        except RuntimeError:
            raise TrainingError(
                f"The checkpoint of step {state['progress']['step']} in {self.folder.path} is of another encoder; name"
                " another folder."
            ) from None
        restore_adam(self.adam, _copied(state["optimiser"]))
        weights = dict(self.encoder.named_parameters())
        self.average = {name: torch.empty_like(weights[name]).copy_(value) for name, value in state["average"].items()}
        self.progress = Progress(**state["progress"])
        window, total = state["window"], state["window"]["total"]
        total = None if total is None else total.to(self._finite.device)
        self._window = _Window(window["names"], total, window["count"])
        torch.set_rng_state(state["random"])

    def _finished(self) -> Encoder:
        if self.run.optimiser.average:
            with torch.no_grad():
                for name, parameter in self.encoder.named_parameters():
                    parameter.copy_(self.average[name])
        return self.encoder.eval()


def _copied(value: Any) -> Any:
    """Nested dicts and lists with every tensor copied."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list | tuple) else value


def _first(source: Source, count: int) -> Batch:
    """The first ``count`` images of a source."""
    batches: list[Batch] = []
    while sum(len(batch.images) for batch in batches) < count:
        batches.append(source.batch(len(batches)))
    labels = [batch.labels for batch in batches if batch.labels is not None]
    together = torch.cat(labels)[:count] if len(labels) == len(batches) else None
    latents = [batch.latents for batch in batches if batch.latents is not None]
    true = Latents.cat(latents)[:count] if len(latents) == len(batches) else None
    return Batch(torch.cat([batch.images for batch in batches])[:count], together, true)


def _rate(run: RunSpec, step: int) -> float:
    """The share of the full learning rate at a step."""
    choice = run.optimiser
    if step < choice.warmup:
        return (step + 1) / (choice.warmup + 1)
    if choice.schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - choice.warmup) / max(1, run.steps - choice.warmup)))
