"""Registered metrics on sets of images, and folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ganenc.measures import (
    FID,
    LPIPS,
    PSNR,
    SSIM,
    Frechet,
    Metric,
    Scores,
    build_metrics,
    default_metrics,
    psnr,
    score,
    split_folds,
)
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError, PluginError, SpecError, UnknownNameError
from torch import Tensor
from toys import MeanError, Offset


class OnNetwork(Metric):
    """A distance of features."""

    higher_is_better, needs_backbone = False, True

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> list[float]:
        return [float(self.context.backbone.passes), *[float(self.context.device == "cpu")] * (len(a) - 1)]


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.rand(7, 3, 8, 8, generator=made) * 2 - 1, torch.rand(7, 3, 8, 8, generator=made) * 2 - 1


@pytest.fixture
def strangers(known: Any) -> None:
    for name, kind in (("mae", MeanError), ("brightness", Offset), ("on-network", OnNetwork)):
        known.add_value("metric", name, kind)


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
        found = score(a, b, build_metrics(("mae", "brightness", "psnr")))
        errors = np.abs(a.numpy() - b.numpy()).mean((1, 2, 3)) / 2
        assert [row["mae"] for row in found.rows] == pytest.approx(errors.tolist(), rel=1e-5)
        assert [row["psnr"] for row in found.rows] == psnr(a, b)
        assert all(set(row) == {"mae", "psnr"} for row in found.rows)
        table = found.table()
        assert table["mae"] == pytest.approx((errors.mean(), errors.std(ddof=1)), rel=1e-5)
        assert table["brightness"] == (pytest.approx(abs(a.numpy().mean() - b.numpy().mean()), rel=1e-4), None)
        assert list(table) == ["mae", "brightness", "psnr"]

    def test_folds_give_their_mean_and_deviation(self, strangers: None, pairs: tuple[Tensor, Tensor]) -> None:
        a, b = pairs
        folds = [[0, 5], [1, 2, 6], [3, 4]]
        found = score(a, b, build_metrics(("mae", "brightness")), folds=folds)
        x, y = a.numpy(), b.numpy()
        means = [np.abs(x[part] - y[part]).mean() / 2 for part in folds]
        off = [abs(x[part].mean() - y[part].mean()) for part in folds]
        assert [fold["mae"] for fold in found.folds] == pytest.approx(means, rel=1e-5)
        table = found.table()
        assert table["mae"] == pytest.approx((np.mean(means), np.std(means, ddof=1)), rel=1e-4)
        assert table["brightness"] == pytest.approx((np.mean(off), np.std(off, ddof=1)), rel=1e-3)
        assert [row["mae"] for row in found.rows] == pytest.approx((np.abs(x - y).mean((1, 2, 3)) / 2).tolist())

    def test_one_that_needs_a_backbone_says_which(
        self, strangers: None, pairs: tuple[Tensor, Tensor], tiny_backbone: Any
    ) -> None:
        tiny_backbone.passes = 40
        built = build_metrics(["on-network"], Context(load_backbone=lambda: tiny_backbone))
        (first, *others) = score(*pairs, built).rows
        assert (first, others) == ({"on-network-tiny": 40.0}, [{"on-network-tiny": 1.0}] * 6)
        assert list(build_metrics(["on-network", "mae"])) == ["mae"]

    def test_the_settings_say_what_it_is_and_its_options(self, strangers: None) -> None:
        images = torch.zeros(2, 3, 8, 9)
        (metric,) = build_metrics({"mae": {"options": {"power": 2}}}).values()
        assert metric.words(images) == "The mean absolute error, as a share of the range; power 2.0; 8x9 pixels"

    def test_options_are_used_and_go_by_a_name_of_ones_own(self, strangers: None, pairs: tuple[Tensor, Tensor]) -> None:
        a, b = pairs
        written = {"mae": None, "squares": {"name": "mae", "options": {"power": 2.0}}}
        means = score(a, b, build_metrics(written)).folds[0]
        errors = np.abs(a.numpy() - b.numpy()) / 2
        assert means == pytest.approx({"mae": errors.mean(), "squares": (errors**2).mean()}, rel=1e-5)

    def test_a_wrong_option_is_named_with_its_path(self, strangers: None) -> None:
        with pytest.raises(SpecError, match=r"metrics\.mae\.options\.powr.*did you mean 'power'"):
            build_metrics({"mae": {"options": {"powr": 2}}})

    def test_a_region_goes_to_metrics_that_take_one(self, strangers: None, pairs: tuple[Tensor, Tensor]) -> None:
        region = torch.zeros(7, 1, 8, 8, dtype=torch.bool)
        region[:, :, 2:5] = True
        folds = [[0, 5], [1, 2, 6, 3, 4]]
        found = score(*pairs, build_metrics(["psnr"]), region=region, folds=folds)
        assert [row["psnr"] for row in found.rows] == pytest.approx(PSNR()(*pairs, region=region))
        with pytest.raises(ImageError, match="The metric MeanError takes no region"):
            score(*pairs, build_metrics(["mae"]), region=region)

    def test_images_have_to_match(self, pairs: tuple[Tensor, Tensor]) -> None:
        for a, b in ((pairs[0], pairs[1][:3]), (pairs[0][:0], pairs[1][:0])):
            with pytest.raises(ImageError, match="of one shape, N at least 1"):
                score(a, b, build_metrics(["psnr"]))

    def test_scores_of_equal_images_are_infinite(self) -> None:
        table = Scores([{"psnr": float("inf")}], [{"psnr": float("inf")}]).table()
        assert table == {"psnr": (float("inf"), 0.0)}


class TestContract:
    def test_an_unknown_name_is_told(self) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'psnr'"):
            build_metrics(["psnrr"])

    @pytest.mark.parametrize("given", [lambda a, b: [], 3, dict])
    def test_what_is_no_metric_is_told(self, known: Any, given: Any) -> None:
        known.add_value("metric", "odd", given, summary="Odd")
        with pytest.raises(PluginError, match=r"The metric 'odd' .* has to be a subclass of Metric"):
            build_metrics(["odd"])

    @pytest.mark.parametrize(
        ("given", "said"),
        [([1.0], "gave 1 numbers for 7 images"), (None, "gave a NoneType"), (["a"], "gave 1 numbers")],
    )
    def test_what_it_gives_is_checked(self, pairs: tuple[Tensor, Tensor], given: Any, said: str) -> None:
        class Odd(MeanError):
            def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> Any:
                return given

        with pytest.raises(PluginError, match=said):
            Odd()(*pairs)

    def test_many_pairs_go_in_parts_and_sets_as_wholes(self) -> None:
        sizes: list[int] = []

        class Counts(MeanError):
            def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> Any:
                sizes.append(len(a))
                return 0.0 if self.compares_sets else [0.0] * len(a)

        class OfSets(Counts):
            compares_sets = True

        images = torch.zeros(37, 3, 4, 4)
        assert Counts()(images, images) == [0.0] * 37
        assert OfSets()(images, images[:20]) == 0.0
        assert sizes == [16, 16, 5, 37]

    def test_the_default_is_that_of_the_papers_tables(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        assert default_metrics() == ["psnr", "ssim", "lpips", "frechet"]
        file = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
        file.parent.mkdir(parents=True)
        file.touch()
        assert default_metrics() == ["psnr", "ssim", "lpips", "fid"]
        assert [kind.needs_backbone for kind in (PSNR, SSIM, LPIPS, FID, Frechet)] == [False, False, True, False, True]
