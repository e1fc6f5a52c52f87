"""How well what is odd was found, in photos and in pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ganenc_registry.errors import SpecError
from skimage import measure
from sklearn.metrics import f1_score, roc_auc_score, roc_curve
from torch import Tensor

from ganenc.files import as_tensor
from ganenc.measures.oddity import Oddity

WITHIN = 0.3
"""The rate of false alarms to which AUPRO is integrated (Bergmann et al., 2021)."""


def detection(
    found: Oddity, truth: Sequence[int] | Tensor | None = None, masks: Tensor | None = None
) -> dict[str, float]:
    """How well what is odd was found: AUROC and F1 of photos and, where there are ``masks`` (bool (N, 1, H, W), where
    they are odd), of pixels, and AUPRO; the rates of normal photos called odd, and of odd ones found. ``truth`` is
    which photos are odd, by default those with a mask. nan where there are none of a kind."""
    if truth is None and masks is None:
        raise SpecError("To measure what was found takes what is odd: give the truth, or masks.")
    given = masks.flatten(1).any(1) if truth is None and masks is not None else truth
    odd = as_tensor(given, "the truth", SpecError).bool().numpy()
    if len(odd) != len(found.pred_score):
        raise SpecError(f"The truth is told of {len(odd)} photos, and {len(found.pred_score)} are scored.")
    called = found.pred_label.numpy()
    kinds = len({*odd.tolist()}) > 1
    numbers = {
        "image_AUROC": float(roc_auc_score(odd, found.pred_score.numpy())) if kinds else math.nan,
        "image_F1Score": float(f1_score(odd, called, zero_division=0.0)),
        "false_alarms": float(called[~odd].mean()) if (~odd).any() else math.nan,
        "found": float(called[odd].mean()) if odd.any() else math.nan,
    }
    if masks is not None:
        pixels, values = masks.numpy().ravel(), found.anomaly_map.numpy().ravel()
        both = 0 < pixels.sum() < len(pixels)
        numbers["pixel_AUROC"] = float(roc_auc_score(pixels, values)) if both else math.nan
        numbers["pixel_F1Score"] = float(f1_score(pixels, found.pred_mask.numpy().ravel(), zero_division=0.0))
        numbers["pixel_AUPRO"] = aupro(found.anomaly_map, masks) if both else math.nan
    return numbers


def aupro(maps: Tensor, masks: Tensor, within: float = WITHIN) -> float:
    """The area under the mean share of each region that is found, over the rate of false alarms from 0 to ``within``,
    in parts of it (Bergmann et al., 2021); regions of bool masks (N, 1, H, W) are connected by sides and corners."""
    label: Any = measure.label
    weights = np.ones(masks.shape)
    for weight, mask in zip(weights[:, 0], masks[:, 0].numpy(), strict=True):
        regions = np.asarray(label(mask, connectivity=2))
        weight[mask] = (1 / np.bincount(regions.ravel()))[regions[mask]]
    # The share of a region that is found is a rate of hits whose pixels weigh 1 / area.
    wrong, hits, _ = roc_curve(masks.numpy().ravel(), maps.numpy().ravel(), sample_weight=weights.ravel())
    last = int(np.searchsorted(wrong, within, side="right"))
    x, y = np.append(wrong[:last], within), np.append(hits[:last], np.interp(within, wrong, hits))
    return float(((x[1:] - x[:-1]) * (y[1:] + y[:-1])).sum() / 2 / within)
