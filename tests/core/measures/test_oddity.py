"""Odd photos: thresholds by the ranks of normal ones, scores by their formulas, measures by brute force."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.measures import Calibration, Comparer, Differences, Oddity, OwnLatents, aupro, build_metrics, detection
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from scipy import ndimage
from torch import Tensor

HOW: dict[str, Any] = {"model_hash": "0" * 64, "method": "encode"}


def drawn(count: int, seed: int = 0, side: int = 8) -> Differences:
    """Two scores of which the second is 100 times the first and noise, and a map."""
    generator = torch.Generator().manual_seed(seed)
    one, two = torch.randn(2, count, generator=generator, dtype=torch.float64)
    return Differences(
        {"pixels": one, "latents": 100 * (one + two)}, {"pixels": torch.rand(count, 1, side, side, generator=generator)}
    )


def oddity(scores: list[float], maps: Tensor, threshold: float = 0.5) -> Oddity:
    total = torch.tensor(scores)
    return Oddity(total, maps, total > threshold, maps > threshold, torch.ones(len(scores)), {})


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
def test_at_most_the_stated_share_of_normal_photos_is_called_odd(rate: float) -> None:
    labels, masks = [], []
    for seed in range(200):
        calibration = Calibration.of(drawn(19, seed), ("pixels", "latents", "peak"), **HOW)
        found = calibration.judge(drawn(20, 1000 + seed), (8, 8), rate)
        labels.append(found["pred_label"].float().mean())
        masks.append(found["pred_mask"].flatten(1).any(1).float().mean())
    for called in (torch.stack(labels), torch.stack(masks)):
        expected = math.floor(20 * rate + 1e-9) / 20  # Of ranks among 20.
        assert float(called.mean()) == pytest.approx(expected, abs=4 * float(called.std()) / math.sqrt(200) + 0.01)


def test_a_score_is_the_mean_of_deviations_whatever_the_scales() -> None:
    found = drawn(50)
    calibration = Calibration.of(found, ("pixels", "latents"), **HOW)
    other = drawn(5, 7)
    judged = calibration.judge(other, (8, 8), 0.1)
    expected = [(other.scores[name] - row.mean()) / row.std() for name, row in found.scores.items()]
    torch.testing.assert_close(judged["pred_score"], torch.stack(expected).mean(0))
    beside = []
    for place in range(50):
        kept = [at for at in range(50) if at != place]
        beside.append(
            torch.stack([(row[place] - row[kept].mean()) / row[kept].std() for row in found.scores.values()]).mean()
        )
    torch.testing.assert_close(torch.tensor(calibration.normal, dtype=torch.float64), torch.stack(beside).sort()[0])
    ranks = [(1 + sum(one >= score for one in calibration.normal)) / 51 for score in judged["pred_score"].tolist()]
    assert judged["p_value"].tolist() == pytest.approx(ranks)
    assert torch.equal(judged["p_value"] <= 0.1, judged["pred_label"])


def test_normal_photos_that_say_nothing_are_refused() -> None:
    few, alike = drawn(2), Differences({"pixels": torch.ones(5)}, {"pixels": torch.ones(5, 1, 4, 4)})
    with pytest.raises(SpecError, match="3 normal photos or more; these are 2"):
        Calibration.of(few, ("pixels",), **HOW)
    with pytest.raises(SpecError, match="all scored alike"):
        Calibration.of(alike, ("pixels", "peak"), **HOW)
    calibration = Calibration.of(drawn(10), ("pixels",), **HOW)
    with pytest.raises(SpecError, match=r"5.00% of false alarms take 19 normal photos or more; these were 10"):
        calibration.threshold(0.05)
    with pytest.raises(SpecError, match="between 0 and 1"):
        calibration.threshold(0.0)
    with pytest.raises(SpecError, match="goes by pixels"):
        calibration.judge(Differences({"latents": torch.ones(1)}, {"lpips": torch.ones(1, 1, 4, 4)}), (8, 8))
    with pytest.raises(SpecError, match="maps"):
        Calibration.from_mapping({**calibration.to_mapping(), "maps": {}})


def test_scores_are_their_formulas(toy: Any, tiny_backbone: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 3, 3, 64, 64, generator=generator) * 2 - 1
    own = OwnLatents(toy, n=64)
    latents = toy.sample(3, seed=1)

    def means(images: Tensor) -> list[Tensor]:
        return [images.mean((2, 3)), images[..., ::2, ::2]]

    names = ["pixels", "lpips", "features", "f-anogan", "latents"]
    given: dict[str, Any] = {"names": names, "backbone": tiny_backbone, "features": means, "kappa": 3.0}
    found = Comparer(Context(), lambda: own, **given)(x, y, latents)
    apart = [one - other for one, other in zip(means(x), means(y), strict=True)]
    torch.testing.assert_close(found.scores["pixels"], (x - y).abs().double().mean((1, 2, 3)) / 2)
    mean = sum(one.abs().double().flatten(1).mean(1) for one in apart) / 2
    torch.testing.assert_close(found.scores["features"], mean)
    squares = sum(one.square().double().flatten(1).mean(1) for one in apart) / 2
    torch.testing.assert_close(found.scores["f-anogan"], (x - y).square().double().mean((1, 2, 3)) + 3 * squares)
    assert found.scores["latents"].tolist() == own.mahalanobis(latents)
    (lpips,) = build_metrics(["lpips"], Context(load_backbone=lambda: tiny_backbone)).values()
    assert found.scores["lpips"].tolist() == pytest.approx(lpips(x, y), rel=0.02)  # Which rounds to 8 bits.
    assert {name: tuple(one.shape) for name, one in found.maps.items()} == dict.fromkeys(
        ("pixels", "lpips", "features"), (3, 1, 64, 64)
    )


def test_maps_are_high_where_images_differ_and_scores_that_cannot_be_had_are_refused(toy: Any) -> None:
    x = torch.zeros(1, 3, 64, 64)
    y = x.clone()
    y[..., 40:50, 8:20] = 1
    made = Comparer(Context(), lambda: OwnLatents(toy, n=64))
    assert made.names == ("pixels", "latents", "peak")
    places = made(x, y, toy.sample(1)).maps["pixels"][0, 0]
    row, column = divmod(int(places.argmax()), 64)
    assert 40 <= row < 50
    assert 8 <= column < 20
    assert float(places.mean()) == pytest.approx(float((x - y).abs().mean()) / 2, rel=1e-3)
    for name, told in (("lpips", "taken on a backbone"), ("pixls", "did you mean 'pixels'")):
        with pytest.raises(SpecError, match=told):
            Comparer(Context(), lambda: OwnLatents(toy, n=64), names=[name])
    with pytest.raises(SpecError, match=r"gave \[\(2, 3\)\] for 1 images"):
        Comparer(Context(), lambda: OwnLatents(toy, n=64), names=["features"], features=lambda _: torch.ones(2, 3))(
            x, y, toy.sample(1)
        )


def test_aupro_is_the_area_under_the_mean_share_of_each_region() -> None:
    generator = torch.Generator().manual_seed(3)
    masks = torch.zeros(3, 1, 12, 12, dtype=torch.bool)
    masks[0, 0, 1:3, 1:3] = masks[0, 0, 3, 3] = masks[0, 0, 7:11, 5:12] = masks[1, 0, 5, 5] = True  # Corners connect.
    maps = torch.rand(masks.shape, generator=generator) + 0.5 * masks
    regions, points = [], [(0.0, 0.0)]
    for place, mask in enumerate(masks[:, 0].numpy()):
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(place, labels == one) for one in range(1, count + 1)]
    assert [int(region.sum()) for _, region in regions] == [5, 28, 1]
    for level in sorted(set(maps.flatten().tolist()), reverse=True):
        over = maps[:, 0].numpy() >= np.float32(level)
        shares = [over[place][region].mean() for place, region in regions]
        points.append((float((over & ~masks[:, 0].numpy()).sum() / (~masks).sum()), float(np.mean(shares))))
    x, y = np.array(points).T
    grid = np.linspace(0, 0.3, 300001)
    area = np.interp(grid, x, y).mean() / 1.0
    assert aupro(maps, masks) == pytest.approx(area, abs=1e-3)
    assert aupro(masks.float(), masks) == pytest.approx(1.0)
    assert aupro(-maps, masks) < aupro(maps, masks)


def test_detection_tells_photos_and_pixels() -> None:
    masks = torch.zeros(4, 1, 2, 2, dtype=torch.bool)
    masks[2, 0, 0, 0] = masks[3, 0, 1, 1] = True
    maps = masks.float() * 0.9
    maps[0, 0, 0, 0] = 0.6
    found = detection(oddity([0.1, 0.6, 0.7, 0.2], maps), masks=masks)
    assert found == {
        "image_AUROC": 0.75, "image_F1Score": 0.5, "false_alarms": 0.5, "found": 0.5,
        "pixel_AUROC": 1.0, "pixel_F1Score": pytest.approx(0.8), "pixel_AUPRO": pytest.approx(1.0),
    }  # fmt: skip
    alike = detection(oddity([0.1, 0.6], maps[:2]), [0, 0], masks[:2])
    assert [name for name, value in alike.items() if math.isnan(value)] == [
        "image_AUROC", "found", "pixel_AUROC", "pixel_AUPRO",
    ]  # fmt: skip
    with pytest.raises(SpecError, match="told of 3 photos, and 2 are scored"):
        detection(oddity([0.1, 0.6], maps[:2]), [0, 0, 1])
    with pytest.raises(SpecError, match="takes what is odd"):
        detection(oddity([0.1, 0.6], maps[:2]))
