"""Cross-validation of fine-tuning (paper, section 4.1): every photo is rebuilt by an encoder that never saw it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from ganenc_registry.components import Context
from ganenc_registry.specs import RunSpec
from torch import Tensor

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import invert
from ganenc.measures import Metric, Scores, build_metrics, score, split_folds
from ganenc.training.data import check_labels
from ganenc.training.entry import finetune

__all__ = ["crossval"]

_CHUNK = 16


def crossval(
    generator: Generator,
    photos: Tensor,
    run: RunSpec,
    folder: str | Path,
    *,
    folds: int = 10,
    encoder: Encoder | None = None,
    labels: Tensor | None = None,
    metrics: Mapping[str, Metric] | None = None,
) -> Scores:
    """Split photos at random into folds; for each, fine-tune on the others and rebuild it in one pass (section 4.1).

    Called again with the same photos, spec and folder it resumes where it was interrupted.

    Args:
        generator: frozen here.
        photos: (M, C, H, W) in the generator's value range.
        run: the spec of each fine-tuning; its seed draws the folds, too.
        folder: where a run's folder goes for every fold, ``fold-00`` and on.
        folds: how many folds; the paper has 10.
        encoder: what every fold starts from, left as it is; by default what the spec says.
        labels: one each or one for all, where they matter.
        metrics: as `ganenc.measures.build_metrics` gives them; by default PSNR and SSIM.

    Raises:
        SpecError: if there are too few photos for the folds.
        TrainingError: if there are neither one label for each photo nor one for all.
    """
    if metrics is None:
        context = Context(value_range=generator.spec.value_range, device=str(generator.device))
        metrics = build_metrics(("psnr", "ssim"), context)
    least = max(metric.least for metric in metrics.values())
    parts = split_folds(len(photos), folds, seed=run.seed, least=least)
    if labels is not None:
        check_labels(len(photos), labels)
        labels = labels.expand(len(photos), *labels.shape[1:])
    made = torch.empty_like(photos)
    for index, held in enumerate(parts):
        others = sorted(set(range(len(photos))) - set(held))
        trained = finetune(
            generator, photos[others], run, Path(folder) / f"fold-{index:02d}",
            encoder=copy.deepcopy(encoder), labels=None if labels is None else labels[others],
        )  # fmt: skip
        for places in torch.tensor(held).split(_CHUNK):
            known = None if labels is None else labels[places]
            done = invert(photos[places], generator, trained, "encode", labels=known, objective=run.objective)
            made[places] = done.reconstructions.detach().to(made)
    return score(photos, made, metrics, folds=parts)
