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
from ganenc.training.data import each_label
from ganenc.training.entry import finetune

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

    ``photos`` are (M, C, H, W) in the generator's value range, ``labels`` one each or one for all (else a
    `TrainingError`); the paper has 10 ``folds``, drawn by the run's seed (`SpecError` if photos are too few for them).
    ``run`` is the spec of each fine-tuning, whose folder is ``fold-00`` and on in ``folder``; each starts from
    ``encoder``, which is left as it is, or as the spec says. ``metrics`` are as `ganenc.measures.build_metrics` gives
    them, by default PSNR and SSIM. The same call again resumes where it was interrupted.
    """
    if metrics is None:
        context = Context(value_range=generator.spec.value_range, device=str(generator.device))
        metrics = build_metrics(("psnr", "ssim"), context)
    least = max(metric.least for metric in metrics.values())
    parts = split_folds(len(photos), folds, seed=run.seed, least=least)
    labels = None if labels is None else each_label(len(photos), labels)
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
