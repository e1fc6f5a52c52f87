"""The loop that every training goes through."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import torch
from ganenc_registry.errors import TrainingError
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.files import Interrupts, Processes
from ganenc.latents import Latents
from ganenc.objectives import Batch, EncoderStep, looks, make_adam, restore_adam
from ganenc.training.data import Ahead, Source
from ganenc.training.expectation import expect
from ganenc.training.folder import RunFolder
from ganenc.training.progress import Progress, Window, copied, rate_at

__all__ = ["OnRow", "OnStart", "Trainer"]

OnRow: TypeAlias = Callable[[int, int, Mapping[str, float]], None]
"""Called with step, steps and terms at every row of metrics."""
OnStart: TypeAlias = Callable[[list[str]], None]
"""Called with sentences on what a run will take."""


LOOKS = 4
"""So many targets, the first of the sample grids, are shown as the attention sees them."""


class Trainer:
    """Trains an encoder; one optimiser step per iteration. Resumes from the newest checkpoint of its folder.

    Args:
        run: the run's spec.
        folder: where it writes.
        step: computes the loss of a batch.
        source: gives the batch of a step.
        norm_in_training: whether batch norm takes the statistics of the batch (pre-training) or its running ones.
        processes: those that train together; by default what this process was started as.
    """

    def __init__(
        self,
        run: RunSpec,
        folder: RunFolder,
        step: EncoderStep,
        source: Source,
        *,
        norm_in_training: bool,
        processes: Processes | None = None,
    ) -> None:
        self.run, self.folder, self.step_of, self.source = run, folder, step, source
        self.processes = processes or Processes(run.device)
        self.norm_in_training = norm_in_training
        self.encoder: Encoder = step.encoder
        choice = run.optimiser
        self.adam = make_adam(self.encoder.parameters(), choice.rate, choice.betas)
        self.progress = Progress()
        self.average: dict[str, Tensor] = {}
        if choice.average:
            self.average = {name: p.detach().clone() for name, p in self.encoder.named_parameters()}
        self._good: dict[str, Any] = {}
        self._window = Window()
        device = step.generator.device
        self._finite = torch.ones((), dtype=torch.bool, device=device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=run.speed.autocast == "fp16")
        self._fixed: Batch | None = None

    def train(self, on_step: OnRow | None = None, on_start: OnStart | None = None) -> Encoder:
        """Go through all steps that are left, and return the encoder (its averaged copy where one is kept).

        SIGINT and SIGTERM end it after the step that runs, once that is saved.

        Args:
            on_step: called with the step, all steps and the mean terms, whenever a row of metrics is written.
            on_start: called with sentences on what the run will take, before its first step.

        Raises:
            TrainingError: if losses that are not finite come back after every retry, the folder's checkpoint is of
                another encoder, or another process trains there.
            KeyboardInterrupt: if it was asked to stop; the same run goes on from there.
        """
        source = self.source
        self.folder.claim()
        try:
            state, complaints = self.folder.newest(self.processes)
            for complaint in complaints:
                instead = "The run starts anew" if state is None else f"The run goes on from step {state['step']}"
                warnings.warn(f"{complaint} {instead}.", stacklevel=2)
            if state is not None:
                self._restore(state)
            self._good = self._state()
            if self.progress.step < self.run.steps and not self.progress.stopped:
                self._plan(on_start)
            if self._ahead:
                self.source = Ahead(source, self._finite.device)
            with Interrupts() as interrupts:
                self._loop(interrupts, on_step if self.processes.first else None)
        finally:
            if isinstance(self.source, Ahead):
                self.source.close()
            self.source = source
            self.folder.close()
        return self._finished()

    @property
    def _ahead(self) -> bool:
        choice = self.run.speed.prefetch
        return choice == "on" or (choice == "auto" and self._finite.device.type == "cuda")

    def _plan(self, on_start: OnStart | None) -> None:
        """Settle how many images go at a time, and say what the run will take."""
        wanted = self.run.speed.micro_batch
        if on_start is None and wanted != "auto":
            self.progress.micro_batch = wanted or 0
            return
        batch = self._batch(self.progress.step)
        with self._computing():
            expected = expect(self.step_of, batch, averages=3 if self.run.optimiser.average else 2)
        if not self.progress.micro_batch:
            micro = expected.fitting(len(batch)) if wanted == "auto" else wanted or 0
            self.progress.micro_batch = min(self.processes.told(micro), len(batch))
        if on_start is not None and self.processes.first:
            micro = self.progress.micro_batch or len(batch)
            on_start(expected.sentences(self.run.steps - self.progress.step, len(batch), micro))

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
        return bool(self.processes.sum(torch.tensor(float(interrupts.asked), device=self._finite.device)))

    def _batch(self, step: int) -> Batch:
        """This process's part of a step's batch."""
        batch = self.source.batch(step) if self.processes.count == 1 else self.source.batch(step, self.processes.part)
        if self.run.speed.channels_last:
            images = batch.images.contiguous(memory_format=torch.channels_last)
            batch = replace(batch, images=images)
        return batch

    def _computing(self) -> torch.autocast:
        """The precision of the forward passes."""
        choice = self.run.speed.autocast
        kind = torch.float16 if choice == "fp16" else torch.bfloat16
        return torch.autocast(self._finite.device.type, kind, enabled=choice != "none")

    def _one(self) -> None:
        choice, progress = self.run.optimiser, self.progress
        for group in self.adam.param_groups:
            group["lr"] = choice.rate * progress.rate_factor * rate_at(self.run, progress.step)
        self.encoder.train(self.norm_in_training)
        self.adam.zero_grad(set_to_none=True)
        self._gradients(self._batch(progress.step))
        self.processes.sum_gradients(self.encoder.parameters())
        if choice.clip:
            self._scaler.unscale_(self.adam)
            torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), choice.clip)
        self._scaler.step(self.adam)
        self._scaler.update()
        progress.step += 1
        if choice.average:
            self._follow(min(choice.average, (1 + progress.step) / (10 + progress.step)))

    def _gradients(self, batch: Batch) -> None:
        """Sum up the gradient of a batch, so many images at a time: that of the mean over the whole step."""
        size, whole = self.progress.micro_batch or len(batch), batch.of or len(batch)
        terms: dict[str, Tensor] = {}
        for first in range(0, len(batch), size):
            with self._computing():
                result = self.step_of(batch if size >= len(batch) else batch[first : first + size]).result
            self._scaler.scale(result.per_sample.sum() / whole).backward()
            for name, term in result.terms.items():
                value = term.detach().sum() / whole
                terms[name] = terms[name] + value if name in terms else value
        self._finite &= terms["total"].isfinite()
        self._window.add(terms)

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        values = [p.detach() for p in self.encoder.parameters()]
        torch._foreach_lerp_(list(self.average.values()), values, 1 - decay)

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
            self.folder.log(progress.step, {**terms, "rate": self.adam.param_groups[0]["lr"]})
            if on_step:
                on_step(progress.step, self.run.steps, terms)
            self._watch(terms["total"])

    def _is_finite(self) -> bool:
        """Whether every loss since the last look and every weight is finite (a gradient alone may break weights)."""
        norms = torch.stack(torch._foreach_norm(list(self.encoder.parameters())))
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
        self._window = Window()
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

    def _checkpoint(self) -> None:
        progress = self.progress
        if self.run.saving.best and progress.smooth_loss < progress.best_kept:
            progress.best_kept = progress.smooth_loss
            with self._averaged():
                self.folder.keep_best(progress.step, progress.smooth_loss, self.encoder)
        self._good = self._state()
        self.folder.save(progress.step, self._good)

    @torch.no_grad()
    def _grid(self) -> None:
        if not self.processes.first:
            return
        if self._fixed is None:
            self._fixed = _first(self.source, self.run.saving.grid)
        batch = self._fixed
        encoder, generator = self.encoder.eval(), self.step_of.generator
        latents = encoder(batch.images, labels=batch.labels)
        made = generator.synthesize(self.step_of.completed(latents, batch))
        value_range = generator.spec.value_range
        self.folder.grid(self.progress.step, batch.images, made, value_range)
        if self.step_of.image_gradient or self.step_of.log_images:
            few, attention = batch[:LOOKS], self.step_of.objective.attention
            found = looks(attention, few.images, made[:LOOKS], labels=few.labels)
            self.folder.attention(self.progress.step, found, value_range)

    def _state(self) -> dict[str, Any]:
        """Everything that a resumed run needs, as a copy."""

        window = {"names": self._window.names, "total": self._window.total, "count": self._window.count}
        state = {
            "encoder": dict(self.encoder.state_dict()),
            "optimiser": self.adam.state_dict(),
            "average": self.average,
            "progress": vars(self.progress),
            "window": window,
            "scaler": self._scaler.state_dict(),
            "random": torch.get_rng_state(),
        }
        copy: dict[str, Any] = copied(state)
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
        restore_adam(self.adam, copied(state["optimiser"]))
        weights = dict(self.encoder.named_parameters())
        self.average = {name: torch.empty_like(weights[name]).copy_(value) for name, value in state["average"].items()}
        self.progress = Progress(**state["progress"])
        window, total = state["window"], state["window"]["total"]
        total = None if total is None else total.to(self._finite.device)
        self._window = Window(window["names"], total, window["count"])
        self._scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["random"])

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """The averaged weights in the encoder, where they are kept; then its own again."""
        if not self.average:
            yield
            return
        with torch.no_grad():
            own = {name: p.detach().clone() for name, p in self.encoder.named_parameters()}
            self._take(self.average)
            yield
            self._take(own)

    def _take(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.encoder.named_parameters():
            parameter.copy_(weights[name])

    def _finished(self) -> Encoder:
        if self.run.optimiser.average:
            with torch.no_grad():
                self._take(self.average)
        return self.encoder.eval()


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
