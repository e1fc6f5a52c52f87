"""Registered metrics on sets of images, and folds."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.measures import Metric, Scores, evaluation, metrics, score, split_folds
from ganenc_registry.errors import ImageError, PluginError, SpecError, UnknownNameError
from torch import Tensor


def mean_error(a: Tensor, b: Tensor, *, value_range: tuple[float, float]) -> list[float]:
    """The mean absolute error, as a share of the range."""
    return ((a - b).abs().flatten(1).mean(1) / (value_range[1] - value_range[0])).tolist()


def brightness(a: Tensor, b: Tensor, *, value_range: tuple[float, float]) -> float:
    """By how much the mean over a whole set is off."""
    return float((a.mean() - b.mean()).abs())


def on_network(a: Tensor, b: Tensor, *, backbone: Any, device: torch.device, **_: Any) -> list[float]:
    """A distance of features."""
    return [float(backbone.passes), *[float(device.type == "cpu")] * (len(a) - 1)]


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.rand(7, 3, 8, 8, generator=made) * 2 - 1, torch.rand(7, 3, 8, 8, generator=made) * 2 - 1


@pytest.fixture
def strangers(known: Any) -> None:
    for name, function in (("mae", mean_error), ("brightness", brightness), ("on-network", on_network)):
        known.add_value("metric", name, function)


class TestFolds:
    @pytest.mark.parametrize(("count", "folds"), [(10, 2), (11, 3), (7, 7), (13, 5)])
    def test_every_image_is_in_one_fold_and_folds_are_even(self, count: int, folds: int) -> None:
        parts = split_folds(count, folds, seed=1)
        assert sorted(place for part in parts for place in part) == list(range(count))
        assert len(parts) == folds
        assert max(map(len, parts)) - min(map(len, parts)) <= 1

    def test_the_seed_decides(self) -> None:
        assert split_folds(20, 4, seed=1) == split_folds(20, 4, seed=1)
        assert split_folds(20, 4, seed=1) != split_folds(20, 4, seed=2)
        assert split_folds(20, 4) != [list(range(first, 20, 4)) for first in range(4)]

    def test_there_are_images_for_every_fold(self) -> None:
        with pytest.raises(SpecError, match="3 images do not go into 4 folds"):
            split_folds(3, 4)
        with pytest.raises(SpecError, match="2 folds or more"):
            split_folds(3, 1)


class TestScore:
    def test_a_strangers_metrics_are_taken(self, strangers: None, pairs: tuple[Tensor, Tensor]) -> None:
        a, b = pairs
        found = score(a, b, [Metric.named(name) for name in ("mae", "brightness", "psnr")], value_range=(-1, 1))
        errors = np.abs(a.numpy() - b.numpy()).mean((1, 2, 3)) / 2
        assert [row["mae"] for row in found.rows] == pytest.approx(errors.tolist(), rel=1e-5)
        assert [row["psnr"] for row in found.rows] == metrics.psnr(a, b)
        assert all(set(row) == {"mae", "psnr"} for row in found.rows)
        table = found.table()
        assert table["mae"] == pytest.approx((errors.mean(), errors.std(ddof=1)), rel=1e-5)
        assert table["brightness"] == (pytest.approx(abs(a.numpy().mean() - b.numpy().mean()), rel=1e-4), None)
        assert list(table) == ["mae", "brightness", "psnr"]

    def test_folds_give_their_mean_and_deviation(self, strangers: None, pairs: tuple[Tensor, Tensor]) -> None:
        a, b = pairs
        folds = [[0, 5], [1, 2, 6], [3, 4]]
        found = score(a, b, [Metric.named("mae"), Metric.named("brightness")], folds=folds)
        x, y = a.numpy(), b.numpy()
        means = [np.abs(x[part] - y[part]).mean() / 2 for part in folds]
        off = [abs(x[part].mean() - y[part].mean()) for part in folds]
        assert [fold["mae"] for fold in found.folds] == pytest.approx(means, rel=1e-5)
        table = found.table()
        assert table["mae"] == pytest.approx((np.mean(means), np.std(means, ddof=1)), rel=1e-4)
        assert table["brightness"] == pytest.approx((np.mean(off), np.std(off, ddof=1)), rel=1e-3)
        assert [row["mae"] for row in found.rows] == pytest.approx(mean_error(a, b, value_range=(-1, 1)))

    def test_what_a_metric_names_it_gets(
        self, strangers: None, pairs: tuple[Tensor, Tensor], tiny_backbone: Any
    ) -> None:
        metric = Metric.named("on-network")
        tiny_backbone.passes = 40
        (first, *others) = score(*pairs, [metric], backbone=tiny_backbone).rows
        assert (first, others) == ({"on-network-tiny": 40.0}, [{"on-network-tiny": 1.0}] * 6)
        assert metric.label(None) is None
        assert score(*pairs, [metric, Metric.named("mae")]).table().keys() == {"mae"}

    def test_the_settings_say_what_its_registration_says(self, strangers: None, tiny_backbone: Any) -> None:
        images = torch.zeros(2, 3, 8, 9)
        words = metrics.metric_settings(images, tiny_backbone, metrics=["mae", "psnr", "on-network"])
        assert list(words) == ["mae", "psnr", "on-network-tiny"]
        assert words["mae"] == "The mean absolute error, as a share of the range; 8x9 pixels"
        assert "on-network-tiny" not in metrics.metric_settings(images, metrics=["on-network"])

    def test_images_have_to_match(self, pairs: tuple[Tensor, Tensor]) -> None:
        for a, b in ((pairs[0], pairs[1][:3]), (pairs[0][:0], pairs[1][:0])):
            with pytest.raises(ImageError, match="of one shape, N at least 1"):
                score(a, b, [Metric.named("psnr")])

    def test_scores_of_equal_images_are_infinite(self) -> None:
        table = Scores([{"psnr": float("inf")}], [{"psnr": float("inf")}]).table()
        assert table == {"psnr": (float("inf"), 0.0)}


class TestContract:
    def test_an_unknown_name_is_told(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'psnr'"):
            Metric.named("psnrr")

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (lambda a, b, *, value_range, window: [], "needs 'window', which nobody gives it"),
            (lambda a: [], "is no function of two batches"),
            (lambda *, a, b: [], "is no function of two batches"),
            (3, "is no function of two batches"),
        ],
    )
    def test_a_function_that_cannot_be_called_is_told(self, known: Any, given: Any, said: str) -> None:
        known.add_value("metric", "odd", given, summary="Odd")
        with pytest.raises(PluginError, match=f"The metric 'odd' .*{re.escape(said)}"):
            Metric.named("odd")

    @pytest.mark.parametrize(
        ("given", "said"), [([1.0], "gave 1 numbers for 7 images"), (None, "gave a NoneType"), (["a"], "gave a list")]
    )
    def test_what_it_gives_is_checked(self, known: Any, pairs: tuple[Tensor, Tensor], given: Any, said: str) -> None:
        known.add_value("metric", "odd", lambda a, b, *, value_range: given, summary="Odd")
        with pytest.raises(PluginError, match=said):
            Metric.named("odd")(*pairs)

    def test_the_default_is_that_of_the_papers_tables(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        assert evaluation.default_metrics() == ["psnr", "ssim", "lpips", "frechet"]
        file = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
        file.parent.mkdir(parents=True)
        file.touch()
        assert evaluation.default_metrics() == ["psnr", "ssim", "lpips", "fid"]
        assert Metric.named("fid").takes == {"value_range", "device"}
        assert Metric.named("frechet").needs_backbone
