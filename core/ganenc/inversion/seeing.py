"""Photos of which something else was seen, and an objective that compares in what was seen. Not in paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ganenc.inversion.degrading import fill
from ganenc.inversion.operators import Operator
from ganenc.inversion.photo import Photo
from ganenc.objectives import Loss, Objective, ObjectiveResult, Reference


@dataclass(frozen=True)
class Seen:
    """What was seen of photos, each through an operator of its own where that depends on the photo."""

    seen: Tensor
    """(N, C, H', W'), with what is unknown filled from around."""
    guesses: Tensor
    """(N, C, H, W), what the photos may have been."""
    operators: list[Operator]
    """For each, what it went through, with what is unknown about that."""
    known: Tensor
    """(N, 1, H', W'), where anything is known of what was seen."""

    @classmethod
    def of(
        cls, seen: Tensor, operator: Operator, size: tuple[int, int], photos: Sequence[Photo | None] | None = None
    ) -> Seen:
        """Look at what was seen, (N, C, H', W'), of images of a size; an ImageError if a mask is not to be had."""
        operators, known, guesses, filled = [], [], [], []
        for one, photo in zip(seen.split(1), photos or [None] * len(seen), strict=True):
            own = operator.looked_up(one, photo).for_one().to(seen.device)
            where = own.known(torch.ones(1, 1, *size, dtype=torch.bool, device=seen.device))
            operators.append(own)
            known.append(where)
            filled.append(fill(one, where))
            with torch.no_grad():
                guesses.append(own.guess(filled[-1], size))
        return cls(torch.cat(filled), torch.cat(guesses), operators, torch.cat(known))

    def __getitem__(self, place: int) -> Seen:
        some = slice(place, place + 1)
        return Seen(self.seen[some], self.guesses[some], self.operators[some], self.known[some])

    def through(self, images: Tensor, places: Sequence[int] | None = None) -> Tensor:
        """Images (M, C, H, W) of the photos, or those at some places, as they would have been seen."""
        at = [*range(len(images))] if places is None else [*places]
        apart = [(self.operators[place], one) for place, one in zip(at, images.split(1), strict=True)]
        alike = all(operator is apart[0][0] for operator, _ in apart)
        made = apart[0][0](images) if alike else torch.cat([operator(one) for operator, one in apart])
        known, seen = (torch.cat([one[place : place + 1] for place in at]) for one in (self.known, self.seen))
        return torch.where(known, made, seen.to(made))

    @torch.no_grad()
    def pasted(self, images: Tensor) -> Tensor | None:
        """Images (N, C, H, W) with what they lack of what was seen given back: known pixels are those of the photos,
        and the rest goes over into them without a seam. None where that would give back what noise or JPEG did.

        x + g(y) - g(A(x)), g being the guess: for fewer pixels one step of back-projection (Irani and Peleg, 1991).
        """
        if not all(operator.gives_back for operator in self.operators):
            return None
        both = zip(self.operators, self.seen.to(images).split(1), self.through(images).split(1), strict=True)
        size = (images.shape[2], images.shape[3])
        return images + torch.cat([one.guess(wanted, size) - one.guess(made, size) for one, wanted, made in both])

    def places(self, images: Tensor) -> list[list[int]]:
        """For each of images (M, C, H, W) the places of the photos whose guess it is: none, one, or of equal photos
        several."""
        if images.shape[1:] != self.guesses.shape[1:]:
            return [[] for _ in images]
        if images.device.type == "cpu":  # Where a look costs nothing, and ends at the first difference.
            alike = [[torch.equal(one, guess) for guess in self.guesses] for one in images]
        else:
            alike = torch.stack([(self.guesses == one).flatten(1).all(1) for one in images]).tolist()
        return [[at for at, same in enumerate(row) if same] for row in alike]


@dataclass(frozen=True)
class SeenReference(Reference):
    """Of targets of which something else was seen."""

    places: tuple[int, ...] = ()
    """Of the targets among the photos."""

    def select(self, indices: Sequence[int] | Tensor) -> SeenReference:
        kept = torch.as_tensor(indices).tolist()
        return SeenReference(**vars(super().select(indices)), places=tuple(self.places[at] for at in kept))

    def to(self, device: str | torch.device) -> SeenReference:
        return SeenReference(**vars(super().to(device)), places=self.places)


class SeenObjective(Objective):
    """An objective of photos of which something else was seen: where a target is the guess of one, it compares what
    was seen of it with what would be seen of a reconstruction; any other target as a whole."""

    def __init__(self, whole: Objective, seen: Seen) -> None:
        losses = {name: (whole.weights[name], cast(Loss, loss)) for name, loss in whole.losses.items()}
        super().__init__(whole.attention, losses, whole.latent, size=whole.size)
        self.spec = whole.spec
        self._whole, self._seen = (whole,), seen  # No module of this one: nobody is to freeze what is unknown.

    def likewise(self, other: Objective) -> Objective:
        """See `Objective.likewise`: what was seen of the same photos."""
        return SeenObjective(other, self._seen)

    def seen_of(self, guesses: Tensor) -> Tensor:
        """What was seen of photos, by the guesses of them (N, C, H, W)."""
        return self._seen.seen[self._places(guesses)]

    def through(self, images: Tensor, guesses: Tensor) -> Tensor:
        """Images (N, C, H, W) as they would have been seen, had they been the photos of these guesses."""
        return self._seen.through(images, self._places(guesses))

    def operators_of(self, guesses: Tensor) -> list[Operator]:
        """What photos went through, by the guesses of them (M, C, H, W)."""
        return [self._seen.operators[place] for place in self._places(guesses)]

    def logs_of(self, guesses: Tensor) -> Tensor:
        """(M, P), the logarithms of what is unknown of how photos of guesses (M, C, H, W) were seen, as it is now."""
        return torch.stack([one.logs for one in self.operators_of(guesses)])

    def at(self, guesses: Tensor, logs: Tensor) -> SeenObjective:
        """The same where photos were seen with such logarithms (M, P), which gradients reach."""
        if not logs.shape[1]:
            return self
        operators = [*self._seen.operators]
        for place, row in zip(self._places(guesses), logs, strict=True):
            operators[place] = cast(Operator, partial(self._seen.operators[place].at, row))
        return SeenObjective(self._whole[0], replace(self._seen, operators=operators))

    def settle(self, guesses: Tensor, logs: Tensor) -> None:
        """Take logarithms (M, P) for what is found, of all photos that are equal."""
        for places, row in zip(self._seen.places(guesses), logs, strict=True):
            for place in places:
                self._seen.operators[place].logs = row

    def _places(self, guesses: Tensor) -> list[int]:
        """A place for each guess, another for each of equal ones; for what is none there is none."""
        taken: list[int] = []
        for places in self._seen.places(guesses):
            taken += [place for place in places if place not in taken][:1] or places[:1]
        return taken

    @torch.no_grad()
    def prepare(self, target: Tensor, **context: Any) -> Reference:
        found = self._places(target)
        if len(found) < len(target):
            return self._whole[0].prepare(target, **context)
        reference = self._whole[0].prepare(self._seen.seen[found], **context)
        return SeenReference(**vars(reference), places=tuple(found))

    def forward(self, reconstruction: Tensor, reference: Reference, **latents: Any) -> ObjectiveResult:
        if isinstance(reference, SeenReference):
            reconstruction = self._seen.through(reconstruction, reference.places)
        found: ObjectiveResult = self._whole[0](reconstruction, reference, **latents)
        return found
