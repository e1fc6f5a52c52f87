"""Training a small GAN of any registered family on the photos of hands; stops and resumes at any moment."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ganenc import images
from ganenc.files import load_state, save_state
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import make_adam, restore_adam
from ganenc.training import Photos
from ganenc_registry.specs import GeneratorSpec, Styles
from torch import Tensor
from torch.nn import functional as F

from ganenc_plugin_hands.augment import AdaptiveAugment
from ganenc_plugin_hands.discriminator import Discriminator

__all__ = ["STATE", "GanTrainer", "GanTraining", "photo_codes", "slim_state"]

STATE = "state.safetensors"


@dataclasses.dataclass(frozen=True)
class GanTraining:
    """The numbers of a training. Adam, non-saturating logistic loss, lazy R1 (Karras et al., 2020, section 4.1)."""

    batch: int = 32
    rate: float = 0.002
    generator_rate: float | None = None  # That of the discriminator by default.
    r1: float = 0.5
    r1_every: int = 16
    mixing: float = 0.5
    ema_images: int = 10_000
    width: int = 16
    widest: int = 192
    p: float = 0.3
    seed: int = 0
    decoder_images: int = 0  # Seen while the generator only learns to draw photos from their codes, to begin with.
    recall: float = 0.0  # Weight of the same loss afterwards, beside the discriminator's.
    save_seconds: float = 120.0


class GanTrainer:
    """Trains ``generator``, on its device, against a discriminator on uint8 photos (N, C, H, W), with labels where they
    matter.

    ``folder`` holds ``state.safetensors`` (everything, for resuming), ``metrics.jsonl`` and grids ``samples-*.png``.
    ``distance`` says of the averaged copy how far its images are from the photos; of all copies that were saved, the
    nearest is kept as the state's ``best``.
    """

    def __init__(
        self,
        generator: Generator,
        photos: Tensor,
        labels: Tensor,
        folder: str | Path,
        numbers: GanTraining,
        distance: Callable[[Generator], float] | None = None,
    ) -> None:
        self.numbers, self.folder, self.distance = numbers, Path(folder), distance
        self.device = generator.device
        photos = photos.to(self.device)
        self.labels = labels.to(self.device) if generator.spec.classes else None
        self.photos = Photos(photos, numbers.batch, labels=self.labels, seed=numbers.seed, device=self.device)
        torch.manual_seed(numbers.seed)
        self.generator = generator.train().to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(generator).freeze()
        if numbers.decoder_images or numbers.recall:
            self.codes = photo_codes(photos, generator.spec.prior.dim)
        self.discriminator = Discriminator(generator.spec, width=numbers.width, widest=numbers.widest)
        self.discriminator.to(self.device, memory_format=torch.channels_last)
        self.augment = AdaptiveAugment(numbers.p)
        share = lazy_share(numbers.r1_every)
        rate = numbers.generator_rate or numbers.rate
        self.optimisers = [
            make_adam(self.generator.parameters(), rate, (0.0, 0.99)),
            make_adam(self.discriminator.parameters(), numbers.rate * share, (0.0, 0.99**share)),
        ]
        self.seen = 0
        self.step_count = 0
        self.best: dict[str, Any] = {}

    @property
    def spec(self) -> GeneratorSpec:
        """The spec of the generator in training."""
        return self.generator.spec

    def learn_from(self, state: dict[str, Any]) -> None:
        """Start with the discriminator, and the strength of augmentation, that another GAN's training ended with.

        What that discriminator has learned of the photos serves any generator; only what it knows of labels, if these
        are new, begins at random.
        """
        known = {name: value.float() for name, value in state["discriminator"].items()}
        own = self.discriminator.state_dict()
        self.discriminator.load_state_dict({name: known.get(name, value) for name, value in own.items()})
        self.augment.p = state["p"]

    def train(self, images_to_see: int, *, seconds: float = math.inf, near: float = -math.inf) -> None:
        """Go on until that many photos were seen, counted from the very beginning, or the best copy is as ``near`` to
        the photos as is asked for; or, in this sitting, for so many seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._resume()
        if not self.seen and self.numbers.decoder_images:
            self._start_as_decoder()
        saved = started = time.monotonic()
        first = self.seen
        sums: dict[str, float] = {}
        counted = 0
        while self.seen < images_to_see and time.monotonic() - started < seconds and self.nearest > near:
            for name, value in self._step(*self._batch()).items():
                sums[name] = sums.get(name, 0.0) + value
            counted += 1
            if self.step_count % 100 == 0:
                speed = (self.seen - first) / (time.monotonic() - started)
                self._log({name: value / counted for name, value in sums.items()} | {"images_per_second": speed})
                sums, counted = {}, 0
            if time.monotonic() - saved > self.numbers.save_seconds:
                self.save()
                saved = time.monotonic()
        self.save()

    @property
    def nearest(self) -> float:
        """How near to the photos the best copy is."""
        return float(self.best.get("distance", math.inf))

    def _start_as_decoder(self) -> None:
        """Begin with a generator that only draws each photo from its code.

        What it draws of other z is a blurred mixture, but one that differs from z to z, so that it does not collapse
        when it meets a discriminator that knows the photos already.
        """
        for step in range(self.numbers.decoder_images // self.numbers.batch):
            loss = self._recall(self.numbers.batch)
            loss.backward()
            self.optimisers[0].step()
            self.optimisers[0].zero_grad(set_to_none=True)
            if step % 50 == 0:
                self._log({"decoder_step": step, "decoder_loss": float(loss.detach())})
        self.average.load_state_dict(self.generator.state_dict())
        images.write_png(self.folder / "samples-decoder.png", self.sample_grid())

    def _recall(self, n: int) -> Tensor:
        """How far n photos are from what the generator draws of their codes: the mean absolute difference."""
        photos = self.photos.photos
        rows = torch.randint(len(photos), (n,))
        labels = None if self.labels is None else self.labels[rows]
        made = self.generator.synthesize(self.generator.map(self.codes[rows], labels=labels), noise="random")
        return F.l1_loss(made, photos[rows].float() / 127.5 - 1)

    def _step(self, photos: Tensor, labels: Tensor | None) -> dict[str, float]:
        numbers, (adam_g, adam_d) = self.numbers, self.optimisers
        n = len(photos)
        self.discriminator.requires_grad_(False)
        fakes = self.generator.synthesize(self._latents(n, labels), noise="random")
        loss_g = F.softplus(-self.discriminator(self.augment(fakes), labels)).mean()
        loss_g.backward()
        if numbers.recall:
            (self._recall(n // 2) * numbers.recall).backward()
        adam_g.step()
        adam_g.zero_grad(set_to_none=True)
        self.discriminator.requires_grad_(True)
        seen_fakes, seen_photos = self.augment(torch.cat([fakes.detach(), photos])).chunk(2)
        loss_fake = F.softplus(self.discriminator(seen_fakes, labels)).mean()
        scores = self.discriminator(seen_photos, labels)
        loss_d = loss_fake + F.softplus(-scores).mean()
        loss_d.backward()
        if self.step_count % numbers.r1_every == 0:
            (self._r1(photos, labels) * (numbers.r1 / 2 * numbers.r1_every)).backward()
        adam_d.step()
        adam_d.zero_grad(set_to_none=True)
        self.augment.adapt(scores.detach())
        self._follow(n)
        self.seen += n
        self.step_count += 1
        terms = {"loss_g": loss_g, "loss_d": loss_d, "photo_score": scores.mean()}
        return {name: float(term.detach()) for name, term in terms.items()}

    def _latents(self, n: int, labels: Tensor | None) -> Latents:
        """Draw latents; styles are mixed: past a random layer they come from a second draw."""
        generator = self.generator
        z = [generator.draw(n, seed=self.numbers.seed + turn, first=self.seen) for turn in (0, 1)]
        latents = generator.map(z[0], labels=labels)
        for part in self.spec.layout:
            if isinstance(part, Styles) and torch.rand(()) < self.numbers.mixing:
                other = generator.map(z[1], labels=labels)
                cut = int(torch.randint(1, part.layers, ()))
                mixed = torch.cat([latents[part.name][:, :cut], other[part.name][:, cut:]], dim=1)
                latents = latents.replace(**{part.name: mixed})
        return latents

    def _r1(self, photos: Tensor, labels: Tensor | None) -> Tensor:
        """The squared gradient of the score at photos (Mescheder et al., 2018, Equation 9)."""
        photos = self.augment(photos).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(self.discriminator(photos, labels).sum(), photos, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    @torch.no_grad()
    def _follow(self, n: int) -> None:
        """Move the averaged copy of the weights."""
        half_life = min(self.numbers.ema_images, max(self.seen * 0.05, 1.0))
        weight = 1 - 0.5 ** (n / half_life)
        averages, values = list(self.average.parameters()), list(self.generator.parameters())
        torch._foreach_lerp_(averages, values, weight)
        for average, value in zip(self.average.buffers(), self.generator.buffers()):
            average.copy_(value)

    def _batch(self) -> tuple[Tensor, Tensor | None]:
        """The photos (N, C, H, W) in [-1, 1] and labels of this step: the same whenever it is taken."""
        batch = self.photos.batch(self.step_count)
        photos = batch.images.float() / 127.5 - 1
        return photos.contiguous(memory_format=torch.channels_last), batch.labels

    def save(self) -> None:
        """Write everything that resuming needs, and a grid of samples not chosen by hand (seed 0, truncation 1)."""
        self._compare()
        state = {
            "spec": self.spec.to_json(),
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimisers": [adam.state_dict() for adam in self.optimisers],
            "seen": self.seen,
            "step_count": self.step_count,
            "p": self.augment.p,
            "random": torch.get_rng_state(),
            "best": self.best,
        }
        if self.device.type == "cuda":
            state["random_device"] = torch.cuda.get_rng_state(self.device)
        save_state(self.folder / STATE, state)
        images.write_png(self.folder / f"samples-{self.seen // 1000:05d}k.png", self.sample_grid())

    def _compare(self) -> None:
        """Keep the averaged copy, if it is nearer to the photos than those before."""
        if self.distance is None:
            return
        distance = self.distance(self.average)
        self._log({"distance": distance})
        if distance < self.nearest:
            weights = {name: value.clone() for name, value in self.average.state_dict().items()}
            self.best = {"distance": distance, "seen": self.seen, "average": weights}

    @torch.no_grad()
    def sample_grid(self, n: int = 64, columns: int = 16) -> Tensor:
        """The first n samples of seed 0 from the averaged weights, as one image uint8 (C, H, W)."""
        made = self.average.synthesize(self.average.sample(n, seed=0))
        return images.grid(made.clamp(-1, 1).cpu(), columns, self.spec.value_range)

    def _resume(self) -> None:
        path = self.folder / STATE
        if not path.exists():
            return
        state: dict[str, Any] = load_state(path)
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.discriminator.load_state_dict(state["discriminator"])
        for adam, one in zip(self.optimisers, state.get("optimisers", ())):  # A slim state goes on without them.
            restore_adam(adam, one)
        self.seen, self.step_count, self.augment.p = state["seen"], state["step_count"], state["p"]
        self.best = state.get("best", {})
        torch.set_rng_state(state["random"])
        if self.device.type == "cuda" and "random_device" in state:
            torch.cuda.set_rng_state(state["random_device"], self.device)

    def _log(self, values: dict[str, float]) -> None:
        row = {"seen": self.seen, "p": round(self.augment.p, 4)}
        row |= {name: round(value, 4) for name, value in values.items()}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def photo_codes(photos: Tensor, dim: int) -> Tensor:
    """A z for each photo: its first principal components, whitened.

    Generative latent optimisation may begin there too (Bojanowski et al., 2018, "Optimizing the Latent Space of
    Generative Networks").

    Args:
        photos: uint8 (N, C, H, W).
        dim: length of z.

    Returns:
        (N, dim) of mean 0 and variance 1; components past the number of photos are normal draws.
    """
    pixels = photos.float().flatten(1) / 127.5 - 1
    kept = min(dim, len(photos) - 1)
    left, _, _ = torch.pca_lowrank(pixels, kept)
    return torch.cat([left * math.sqrt(len(photos)), torch.randn(len(photos), dim - kept)], dim=1)


def slim_state(state: dict[str, Any]) -> dict[str, Any]:
    """What a training needs to go on, small enough to keep: half precision, without the optimisers' averages."""
    networks = ("generator", "average", "discriminator")
    kept = {name: value for name, value in state.items() if name not in (*networks, "optimisers", "best")}
    return kept | {name: {key: value.half() for key, value in state[name].items()} for name in networks}


def lazy_share(every: int) -> float:
    """By how much rates shrink when a regulariser runs every ``every`` steps (Karras et al., 2020, appendix B)."""
    return every / (every + 1)
