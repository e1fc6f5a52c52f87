"""How RiDDLE (Li et al., 2023) learns to encrypt: right passwords recover, wrong ones lead to others, on a frozen
generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from ganenc.encoders import averaged
from ganenc.latents import Latents, main_part
from ganenc.objectives import Batch, make_adam
from ganenc.training import Recipe, Update
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Spec
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ganenc_plugin_methods.riddle import KIND, Encryptor, EncryptorNetwork, EncryptorSpec, LockOptions, row_of

__all__ = ["Riddle"]

SAMPLES, CHUNK = 64, 4
"""Images that the deviations of latents and the distance of random images are measured on, and so many at a time."""
RIGHT, WRONG = 0, 1


@dataclass(frozen=True)
class Locked(Batch):
    """Images with the latents that are encrypted, and the right and a wrong password (N, 2, D)."""

    passwords: Tensor = field(kw_only=True)

    def __getitem__(self, samples: slice) -> Locked:
        part = super().__getitem__(samples)
        return Locked(part.images, part.labels, part.latents, part.of, passwords=self.passwords[samples])


class Riddle(Recipe):
    """Trains an encryptor of the latents that the run's encoder, left as it is, finds for its images.

    What the right password decrypts is compared with the image before by the run's objective. What is encrypted, and
    what a wrong password decrypts, is driven as far from it as two random images are from one another, by every term of
    the objective, or those of ``away``, and in the latents, which stay as long as the generator's.
    """

    averaged: ClassVar[tuple[str, ...]] = (KIND,)

    class Options(LockOptions):
        """The network, what it encrypts, and the weights of what it learns."""

        latents: Literal["encoder", "own"] = Field(
            "encoder", description="encrypt what the encoder finds for images, or the styles and vectors that the"
            " generator draws",
        )  # fmt: skip
        recover: float = Field(1.0, ge=0, description="weight of the objective for what the right password decrypts")
        far: float = Field(1.0, ge=0, description="weight of the distance of what is encrypted, or wrongly decrypted")
        away: tuple[str, ...] | None = Field(
            None,
            description="losses of the objective by which that is driven away; by default all. RiDDLE has identity",
        )
        alike: float = Field(0.0, ge=0, description="weight of the other losses for the same; RiDDLE has 1, for LPIPS")
        latent: float = Field(1.0, ge=0, description="weight of the same in latents, in their deviations")
        margin: float = Field(0.2, ge=0, description="how much farther than random images, as a share")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        network, objective, chosen = self.context.network, self.context.objective, self.options
        self.encoder.eval().requires_grad_(False)
        unknown = sorted({*(chosen.away or ())} - {*objective.losses})
        if unknown:
            raise SpecError(
                f"recipe.options.away: the objective has no loss {unknown[0]!r}; it has {[*objective.losses]}."
            )
        seed = self.context.run.seed
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            latents, self.apart = self._samples(seed)
            rows = row_of(network.sample(SAMPLES, seed=seed + 1))
            parts = [part for part in latents.layout if part.name in latents]
            fields = {name: getattr(chosen, name) for name in LockOptions.model_fields}
            spec = EncryptorSpec(layout=tuple(parts), password=rows.shape[1], **fields)
            self.encryptor = EncryptorNetwork(spec).to(network.device, network.dtype)
            self.encryptor.measure(latents, rows)
        run = self.context.run.optimiser
        self.own(KIND, self.encryptor, make_adam(self.encryptor.parameters(), run.rate, run.betas))
        self.steps = 0

    def _samples(self, seed: int) -> tuple[Latents, dict[str, Tensor]]:
        """Samples of the latents to encrypt, and each term of the objective between an image and the next."""
        network, objective = self.context.network, self.context.objective
        found, terms = [], []
        for first in range(0, SAMPLES, CHUNK):
            drawn = network.sample(CHUNK, seed=seed, first=first)
            images = network.synthesize(drawn)
            found.append(self._encrypted(Batch(images, network.draw_labels(CHUNK, seed=seed, first=first), drawn)))
            terms.append(objective(images.roll(1, 0), objective.prepare(images)).terms)
        apart = {name: torch.cat([one[name] for one in terms]).mean() for name in terms[0] if name != "total"}
        return Latents.cat(found), apart

    def _encrypted(self, batch: Batch) -> Latents:
        """The latents of a batch that are to be encrypted."""
        if self.options.latents == "own" and batch.latents is not None:
            part = main_part(batch.latents.layout)
            return batch.latents.only(part.name)
        made: Latents = self.encoder(batch.images, labels=batch.labels)
        return made.only(*(part.name for part in self.encoder.spec.parts))

    def step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """The passwords are draws of the generator's, others at every step."""
        whole, run = batch.of or len(batch), self.context.run
        drawn = row_of(self.context.network.sample(2 * whole, seed=run.seed + 2, first=2 * whole * self.steps))
        with torch.no_grad():
            _, own = self.context.processes.gathered(drawn.new_zeros(len(batch)))
            passwords = drawn.unflatten(0, (whole, 2))[own]
            locked = Locked(batch.images, batch.labels, self._encrypted(batch), batch.of, passwords=passwords)
        terms = update(KIND, self.losses, locked)
        self.steps += 1
        return terms

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Every term (N,), and their weighed sum."""
        assert isinstance(batch, Locked)
        assert batch.latents is not None
        objective, chosen = self.context.objective, self.options
        x = self.encryptor.deviations(batch.latents)
        right, wrong = batch.passwords.unbind(1)
        hidden = self.encryptor(x, right)
        found = {name: self.encryptor(hidden, one) for name, one in (("right", right), ("wrong", wrong))}
        with torch.no_grad():
            reference = objective.prepare(self._images(batch, x), labels=batch.labels)
        recovered = objective(self._images(batch, found["right"]), reference)
        error = _mean({name: (found["right"][name] - one).square() for name, one in x.items()})
        terms = {**recovered.terms, "latent": error}
        total = chosen.recover * recovered.image + chosen.latent * error
        for name, other in (("hidden", hidden), ("wrong", found["wrong"])):
            compared = objective(self._images(batch, other), reference).terms
            far, alike = self._judged(compared)
            terms |= {f"{name}/far": far, f"{name}/latent": self._apart(other, x)}
            total = total + chosen.far * far + chosen.alike * alike + chosen.latent * terms[f"{name}/latent"]
        return {**terms, "total": total}

    def _judged(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """By how much terms are less than between random images, at the mean, and the weighed sum of the others."""
        objective, away = self.context.objective, self.options.away
        far, alike = [], [next(iter(terms.values())) * 0]
        for name, apart in self.apart.items():
            loss = name.rpartition("/")[2]
            if away is None or loss in away:
                far.append(F.relu(1 + self.options.margin - terms[name] / apart.clamp_min(1e-12)))
            else:
                alike.append(objective.weights[loss] * terms[name])
        return torch.stack(far or alike[:1]).mean(0), torch.stack(alike).sum(0)

    def _apart(self, other: Mapping[str, Tensor], x: Mapping[str, Tensor]) -> Tensor:
        """By how much latents are nearer than those of random images, point the same way, or are longer."""
        parts = []
        for name, one in other.items():
            own, found = x[name].flatten(1), one.flatten(1)
            size, length = own.square().mean(1).clamp_min(1.0), found.square().mean(1)
            near = F.relu(1 + self.options.margin - (found - own).square().mean(1) / (2 * size))
            parts.append(near + F.relu(torch.cosine_similarity(found, own)) + F.relu(length / size - 1))
        return torch.stack(parts).mean(0)

    def _images(self, batch: Batch, deviations: Mapping[str, Tensor]) -> Tensor:
        network = self.context.network
        assert batch.latents is not None
        latents = network.complete(batch.latents.replace(**self.encryptor.values(deviations)), labels=batch.labels)
        return averaged(network.synthesize(latents), batch.images.shape[2:])

    def rebuild(self, batch: Batch) -> Tensor:
        """What the right password decrypts."""
        network = self.encryptor
        latents = self._encrypted(batch)
        rows = row_of(self.context.network.sample(len(batch), seed=self.context.run.seed + 2))
        x = network(network(network.deviations(latents), rows), rows)
        return self._images(Batch(batch.images, batch.labels, latents), x)

    def state(self) -> dict[str, Any]:
        return {"steps": self.steps, "apart": self.apart}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.steps = int(state["steps"])
        self.apart = {name: one.to(self.context.network.device) for name, one in state["apart"].items()}

    def leave(self, folder: Path) -> None:
        """The encryptor, as `Encryptor.load` takes it."""
        Encryptor(self.encryptor, self.context.network).save(folder / KIND)


def _mean(parts: Mapping[str, Tensor]) -> Tensor:
    """The mean of all numbers of each sample, (N,), each part alike."""
    return torch.stack([one.flatten(1).mean(1) for one in parts.values()]).mean(0)
