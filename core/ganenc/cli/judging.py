"""Whether photos are like what a generator makes: one pass on each, beside one on generated images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ganenc_registry.errors import GanencError

from ganenc.cli.placing import Placer

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.cli.session import Session
    from ganenc.measures import DomainCheck

__all__ = ["Judge"]

TRIED = ("center", "attention")
"""The alignments that are tried on photos that come back badly."""
ALIKE = 0.005
"""Two crops that differ by less than this part of the range, on average, are one."""


class Judge:
    """Judges photos by one pass of the encoder; what does not depend on the photo is measured once.

    Args:
        session: with an encoder.
        placer: reads photos again, aligned otherwise.
        mean_image: of the generator, (1, C, H, W).
        seed: of the generated images.
    """

    def __init__(self, session: Session, placer: Placer, mean_image: Tensor, seed: int) -> None:
        from ganenc.measures import measure_baseline

        assert session.encoder is not None
        self.generator, self.encoder = session.generator, session.encoder
        self.placer, self.mean_image = placer, mean_image
        self.baseline = measure_baseline(self.generator, self.encoder, seed=seed)

    def check(
        self,
        path: Path,
        target: Tensor,
        labels: Tensor | None,
        align: str,
        once: Tensor | None = None,
        *,
        try_others: bool = True,
    ) -> DomainCheck:
        """Judge one photo, and where it is far try it aligned otherwise.

        Args:
            path: its file.
            target: (1, C, H, W), as it was read.
            labels: its class (1,) or (1, classes), where there are classes.
            align: the alignment that it was read with.
            once: what one pass makes of it, where that is known.
            try_others: whether to try other alignments.
        """
        from ganenc.measures import DomainCheck, psnr

        value_range = self.generator.spec.value_range
        reached = self._reached(target, labels, once)
        mean = psnr(target, self.mean_image, value_range=value_range)[0]
        check = DomainCheck(self.baseline, reached, mean)
        if not (check.far and try_others):
            return check
        tried: dict[str, float] = {}
        seen = [target]
        for name in TRIED:
            other = None if name == align else self._other(path, name, labels)
            if other is not None and not any(self._alike(other, one) for one in seen):
                seen.append(other)
                tried[name] = self._reached(other, labels)
        return replace(check, aligned=tried)

    def _alike(self, one: Tensor, other: Tensor) -> bool:
        low, high = self.generator.spec.value_range
        return float((one - other).abs().mean()) < ALIKE * (high - low)

    def _reached(self, target: Tensor, labels: Tensor | None, once: Tensor | None = None) -> float:
        """PSNR of an image and what one pass makes of it."""
        from ganenc.measures import one_pass, psnr

        made = one_pass(target, self.generator, self.encoder, labels=labels) if once is None else once
        return psnr(target, made, value_range=self.generator.spec.value_range)[0]

    def _other(self, path: Path, align: str, labels: Tensor | None) -> Tensor | None:
        """The photo under another alignment, or None where that cannot be had."""
        try:
            target = self.placer.read(path, align, labels=labels).target
        except GanencError:
            return None
        return target[None].to(device=self.generator.device, dtype=self.generator.dtype)
