"""Whether a photo is like what a generator makes: one pass on it, beside one on generated images. Not in paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ganenc_registry.errors import GanencError
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.alignment import Aligner
from ganenc.inversion.photo import Photo, read_photo
from ganenc.measures import SPREAD, DomainCheck, measure_baseline, one_pass, psnr

ALIKE = 0.005
"""Two crops that differ by less than this part of the range, on average, are one."""


class Judge:
    """Judges photos by one pass of a generator's encoder, as it is before any photo; what does not depend on the photo
    (of the mean image (1, C, H, W), and of images generated from ``seed``) is measured once."""

    def __init__(self, generator: Generator, encoder: Encoder, mean_image: Tensor, *, seed: int = 0) -> None:
        self.generator, self.encoder, self.mean_image = generator, encoder, mean_image
        self.baseline = measure_baseline(generator, encoder, seed=seed)

    def check(
        self,
        photo: Photo,
        labels: Tensor | None = None,
        *,
        once: Tensor | None = None,
        others: Mapping[str, Aligner] | None = None,
    ) -> DomainCheck:
        """Judge one photo with its class (1,) or (1, classes), if any, and where it is far try it aligned by
        ``others``, by name. ``once`` is what one pass makes of it (1, C, H, W), where that is known."""
        target = self._placed(photo)
        mean = psnr(target, self.mean_image, value_range=self.generator.spec.value_range)[0]
        check = DomainCheck(self.baseline, self._reached(target, labels, once), mean)
        if not check.far or photo.source is None:
            return check
        tried: dict[str, float] = {}
        seen = [target]
        for name, aligner in (others or {}).items():
            try:
                other = self._placed(read_photo(photo.source, self.generator.spec, aligner=aligner, labels=labels))
            except GanencError:
                continue
            if not any(self._alike(other, one) for one in seen):
                seen.append(other)
                tried[name] = self._reached(other, labels)
        return replace(check, aligned=tried)

    def checks(
        self, targets: Tensor, labels: Tensor | None = None, *, values: Sequence[float] | None = None
    ) -> list[DomainCheck]:
        """Judge targets (N, C, H, W) with their ``labels`` as they are; ``values`` are their PSNR after one pass, where
        it is known. That of the mean image is taken where it can decide, and nan elsewhere."""
        value_range = self.generator.spec.value_range
        if values is None:
            values = psnr(
                targets, one_pass(targets, self.generator, self.encoder, labels=labels), value_range=value_range
            )
        found = [DomainCheck(self.baseline, value, math.nan) for value in values]
        near = [place for place, check in enumerate(found) if not check.weak and check.deviations >= SPREAD]
        if near:
            means = psnr(targets[near], self.mean_image.expand_as(targets[near]), value_range=value_range)
            for place, mean in zip(near, means, strict=True):
                found[place] = replace(found[place], photo_mean_psnr=mean)
        return found

    def _placed(self, photo: Photo) -> Tensor:
        return photo.target[None].to(device=self.generator.device, dtype=self.generator.dtype)

    def _alike(self, one: Tensor, other: Tensor) -> bool:
        low, high = self.generator.spec.value_range
        return float((one - other).abs().mean()) < ALIKE * (high - low)

    def _reached(self, target: Tensor, labels: Tensor | None, once: Tensor | None = None) -> float:
        """PSNR of an image and what one pass makes of it."""
        made = one_pass(target, self.generator, self.encoder, labels=labels) if once is None else once
        return psnr(target, made, value_range=self.generator.spec.value_range)[0]
