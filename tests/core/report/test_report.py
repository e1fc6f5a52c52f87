"""Reports: what is in the pages, and that they need nothing but themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ganenc import images
from ganenc.encoders import build_encoder
from ganenc.generators import Generator
from ganenc.inversion import Parts, Photo, Transform
from ganenc.latents import Latents
from ganenc.measures import PSNR, SSIM, Baseline, DomainCheck, domain_warning, judge, mean_std, measure_baseline, psnr
from ganenc.objectives import Look
from ganenc.report import (
    MOST_POINTS,
    Inverted,
    amplification,
    chart,
    curves_of,
    difference,
    metric_text,
    panels,
    run_report,
)
from ganenc.training import Memory
from ganenc_registry.specs import GeneratorSpec, Prior, RunSpec, Vector, preset
from pages import Page
from torch import Tensor


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, 20, 24, generator=generator) * 2 - 1
    return target, (target + 0.1 * torch.randn(3, 20, 24, generator=generator)).clamp(-1, 1)


def check_of(generated: float, photo: float, mean: float = 12.0) -> DomainCheck:
    picture = torch.zeros(3, 8, 8)
    return DomainCheck(Baseline(generated, mean, 8, picture, picture, picture), photo, 11.0)


def look_of(name: str, weight: float | None, target: Tensor, made: Tensor) -> Look:
    return Look(name, weight, target[None], made[None])


TAKEN = {"psnr": PSNR(), "ssim": SSIM()}
HISTORY = [
    {"step": float(step), "image/mse": 1 / step, "at1/mse": 2 / step, "latent/w/mse": 0.1, "total": 3.1 / step}
    for step in range(1, 30)
]


class Plain(Generator):
    """Images that are the latents themselves: the mean of z is grey."""

    def __init__(self, **fields: Any) -> None:
        spec = GeneratorSpec(family="plain", size=(8, 8), prior=Prior(dim=192), layout=(Vector(dim=192),), **fields)
        super().__init__(spec)
        self.scale = torch.nn.Parameter(torch.tensor(0.3))

    def synthesize(self, latents: Latents, *, noise: Any = "const") -> Tensor:
        return (latents["z"] * self.scale).reshape(-1, 3, 8, 8)


def inverted_of(
    photo: Photo,
    made: Tensor,
    metrics: dict[str, float],
    *,
    method: str = "finetune",
    model: str = "a-model",
    model_hash: str = "ab" * 32,
    options: dict[str, Any] | None = None,
    history: Sequence[Any] = (),
    check: DomainCheck | None = None,
    looks: Sequence[Look] = (),
) -> Inverted:
    """An inversion with these pictures and numbers, whatever made them."""
    parts = Parts(Plain(value_range=photo.value_range), source=model, backbone="none")
    vars(parts)["hash"] = model_hash
    one = Inverted(
        latents=Latents(parts.generator.spec.layout, {"z": torch.zeros(1, 192)}), reconstructions=made[None],
        history=[list(history)], settings={"method": {"name": method, "options": options or {}}, "seed": 0},
        seconds=[10.0], photos=(photo,), model=parts,
    )  # fmt: skip
    vars(one).update(check=check, looks=list(looks), scores=[metrics])
    return one


def sink_of(run: RunSpec, rows: Sequence[dict[str, float]], **info: str) -> Memory:
    """A run that left these rows of metrics."""
    sink = Memory()
    sink.begin(run)
    for place, row in enumerate(rows):
        sink.log(int(row.get("step", place)), row)
    sink.info = info
    return sink


class TestInversionReport:
    def page(self, pair: tuple[Tensor, Tensor], *, photo: Photo | None = None, **more: Any) -> Page:
        target, made = pair
        fields: dict[str, Any] = {
            "metrics": {"psnr": 25.123, "ssim": 0.5, "lpips-hands": 0.25},
            "looks": [look_of("image", 1.0, target, made), look_of("at1", 0.375, target, made)],
            "history": HISTORY,
            "check": check_of(28.0, 17.6),
            "options": {"rate": 0.0015, "flag": True, "nothing": None, "betas": (0.0, 0.99)},
        }
        shown = photo or Photo(target, "a <b> & 'c'.png")
        page = Page(inverted_of(shown, made, **{**fields, **more}).page())
        page.assert_alone()
        return page

    def test_it_shows_the_exact_pixels(self, pair: tuple[Tensor, Tensor]) -> None:
        shown = self.page(pair).images()
        for name, picture in zip(("Photo", "Reconstruction"), pair, strict=True):
            assert np.array_equal(shown[name], images.to_uint8(picture).permute(1, 2, 0).numpy())

    def test_the_difference_is_amplified_by_the_factor_that_is_told(self, pair: tuple[Tensor, Tensor]) -> None:
        page = self.page(pair)
        (factor,) = re.findall(r"amplified (\d+) times", page.text)
        target, made = pair
        wanted = ((target - made).abs() / 2 * int(factor)).clamp(0, 1).mul(255).round()
        found = torch.from_numpy(page.images()["Difference"].copy()).permute(2, 0, 1)
        assert (found - wanted).abs().max() <= 1

    def test_it_names_metrics_settings_model_and_hash(self, pair: tuple[Tensor, Tensor]) -> None:
        text = self.page(pair).text
        for word in ("25.12 dB", "0.500", "LPIPS (hands)", "0.250", "peak 255", "data range 255", "a-model",
                     "ab" * 32, "finetune", "0.0015",
                     "2.9 steps a second", "a <b> & 'c'.png", "AT1, photo", "weight 0.375", "yes", "none"):  # fmt: skip
            assert word in text, word

    def test_it_leaves_out_what_it_is_not_given(self, pair: tuple[Tensor, Tensor]) -> None:
        page = self.page(pair, looks=(), history=(), check=None)
        assert set(page.images()) == {"Photo", "Reconstruction", "Difference"}
        assert "Loss" not in page.text
        assert "Photo or encoder?" not in page.text

    def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_shrunk(self) -> None:
        small, large = torch.zeros(3, 32, 32), torch.zeros(3, 1200, 600)
        for picture, few, size in ((small, True, (32, 32)), (large, False, (1024, 512))):
            page = Page(inverted_of(Photo(picture), picture, {"psnr": 20.0}).page())
            assert [a.get("class") == "few" for tag, a in page.tags if tag == "img"] == [few] * 3
            assert page.images()["Photo"].shape[:2] == size

    def test_grey_images_of_another_range_are_shown(self) -> None:
        picture = torch.linspace(0, 1, 64).reshape(1, 8, 8)
        page = Page(inverted_of(Photo(picture, value_range=(0.0, 1.0)), picture, {"psnr": math.inf}).page())
        assert page.images()["Photo"].max() == 255
        assert "identical" in page.text
        assert "as it is" not in page.text.split("Difference")[0]

    def test_it_shows_where_the_attention_looks_and_the_photo_with_the_result_in_its_place(
        self, pair: tuple[Tensor, Tensor]
    ) -> None:
        target, made = pair
        pixels = torch.rand(3, 300, 280) * 2 - 1
        transform = Transform.of_box((20.0, 10.0, 190.0, 190.0), (20, 24), (300, 280))
        read_with = {"fit": "cover", "align": {"name": "center"}}
        photo = Photo(target, transform=transform, picture=images.to_image(pixels), read_with=read_with)
        looked = [look_of("image", 1.0, target, made), look_of("heat", None, made, target)]
        page = self.page(pair, looks=looked, photo=photo)
        shown = page.images()
        assert np.array_equal(shown["Heat map, photo"], images.to_uint8(made).permute(1, 2, 0).numpy())
        result = photo.put_back(made)
        assert result is not None
        assert np.array_equal(shown["Put back"], images.to_uint8(result).permute(1, 2, 0).numpy())
        framed, whole = shown["Whole photo"], images.to_uint8(pixels).permute(1, 2, 0).numpy()
        changed = (framed != whole).any(-1)
        assert changed[12:30, 50:150].any(1).sum() >= 3, "the frame's upper side"
        assert not changed[60:180, 60:180].any()
        assert not changed[230:].any()
        assert "300x280, aligned by center" in page.text
        assert "weight None" not in page.text


def test_everything_on_a_page_is_escaped(pair: tuple[Tensor, Tensor]) -> None:
    bad = "<script>alert('x')</script>"
    target, made = pair
    transform = Transform.of_box((0.0, 0.0, 9.0, 9.0), (20, 24), (20, 24))
    picture = images.to_image(target)
    photo = Photo(target, bad, transform=transform, picture=picture, read_with={"align": {"name": bad}})
    rows = [{"step": step, f"{bad}/{bad}": 1.0 + step, "total": 1.0} for step in range(3)]
    run = preset("pretrain", model=bad, steps=4)
    pages = [
        inverted_of(
            photo, made, {bad: 1.0, "psnr": 1.0}, looks=[look_of(bad, None, target, made)], history=rows, method=bad,
            options={bad: bad}, model=bad, model_hash=bad,
        ).page(),
        run_report(sink_of(run, rows, stopped=bad, generator=bad), title=bad),
    ]  # fmt: skip
    for html in pages:
        page = Page(html)
        page.assert_alone()
        assert page.text.count(bad) >= 4


class TestVerdict:
    @pytest.mark.parametrize(
        ("generated", "photo", "mark"),
        [(13.0, 12.5, "bad"), (28.0, 17.6, "warn"), (14.5, 11.9, "warn"), (13.5, 12.4, "bad"), (28.0, 27.0, "good")],
    )
    def test_it_says_who_is_at_fault(self, generated: float, photo: float, mark: str) -> None:
        verdict = judge(check_of(generated, photo), photo + 4)
        assert verdict.mark == mark
        assert f"{photo:.1f} to {photo + 4:.1f} dB" in verdict.text

    def test_a_gap_within_the_spread_of_generated_images_is_no_fault(self) -> None:
        picture = torch.zeros(3, 8, 8)
        for values, far in (((28.0, 22.0, 25.0, 25.0), False), ((25.5, 24.5, 25.0, 25.0), True)):
            check = DomainCheck(Baseline(25.0, 12.0, 4, picture, picture, picture, values), 21.0, 11.0)
            deviation = np.std(values, ddof=1)
            assert check.deviations == pytest.approx(4.0 / deviation)
            assert check.far == far == bool(domain_warning(check, "a.png"))
            assert f"25.0 ± {deviation:.1f} dB ({min(values):.1f} to {max(values):.1f})" in judge(check, 22.0).text
        near = DomainCheck(Baseline(25.0, 12.0, 4, picture, picture, picture, (30.0, 20.0)), 18.0, 17.9)
        assert not near.far, "an image near the mean image, as a generator makes some"
        assert math.isnan(check_of(28.0, 17.0).deviations)
        assert not check_of(13.0, 12.5).far, "of a weak encoder nothing can be said"

    def test_another_alignment_is_hinted_at_where_it_helps_clearly(self) -> None:
        picture = torch.zeros(3, 8, 8)
        values = (25.5, 24.5, 25.0, 25.0)
        baseline = Baseline(25.0, 12.0, 4, picture, picture, picture, values)
        better = DomainCheck(baseline, 18.0, 11.0, {"center": 19.5, "attention": 22.0})
        assert better.hint == "attention"
        warning = domain_warning(better, "a.png")
        assert warning == (
            "a.png is unlike what the generator makes: one pass rebuilds it at 18.0 dB, 17.1 deviations lower than"
            " 4 generated images at 25.0 ± 0.4 dB (24.5 to 25.5); --align attention would raise it to 22.0 dB."
        )
        assert "try --align attention" in judge(better, 18.0).text
        alike = DomainCheck(baseline, 18.0, 11.0, {"center": 18.9})
        assert alike.hint is None
        assert "--align" not in domain_warning(alike, "a.png")
        assert "center (18.9 dB), do not help clearly" in judge(alike, 18.0).text
        assert "check how it is cropped" in domain_warning(DomainCheck(baseline, 18.0, 11.0), "a.png")

    def test_it_says_when_the_method_did_harm_or_nothing(self) -> None:
        assert "lowered" in judge(check_of(28.0, 27.0), 20.0).text
        assert "added nothing" in judge(check_of(28.0, 27.0), 27.0).text


def test_the_baseline_is_the_encoder_on_generated_images() -> None:
    torch.manual_seed(0)
    generator = Plain().freeze()
    encoder = build_encoder(generator).train()
    found = measure_baseline(generator, encoder, count=4, seed=3)
    assert encoder.training
    assert found.image.shape == found.reconstruction.shape == found.mean_image.shape == (3, 8, 8)
    with torch.no_grad():
        again = generator.synthesize(encoder.eval()(found.image[None]))
    assert torch.allclose(again[0], found.reconstruction, atol=1e-5)
    assert found.mean_image.abs().max() < 0.02
    one = measure_baseline(generator, encoder, count=1, seed=3)
    assert torch.equal(one.image, found.image)
    assert one.values == found.values[:1] == (one.psnr,)
    assert one.deviation == 0
    more = measure_baseline(generator, encoder, count=11, seed=3)
    assert more.values[:4] == pytest.approx(found.values, abs=1e-3)
    assert len(set(more.values)) == 11, "drawn from different places"
    assert one.psnr == pytest.approx(psnr(one.image[None], one.reconstruction[None])[0])
    assert found.mean_psnr == pytest.approx(20 * math.log10(2 / 0.3), abs=0.8)


class TestCharts:
    def test_curves_leave_out_what_is_no_number(self) -> None:
        rows = [{"step": 1, "a": 1.0, "b": math.nan, "d": "x"}, {"step": 5, "a": 2.0, "b": 1.0, "c": 1.0}]
        assert curves_of(rows) == {"a": [(1.0, 1.0), (5.0, 2.0)]}

    def test_each_loss_has_its_panel_with_the_total_first(self) -> None:
        found = panels(curves_of(HISTORY))
        assert [panel.title for panel in found] == ["total", "mse", "latent"]
        assert [[name for _, name in panel.legend] for panel in found] == [[], ["image", "at1"], ["w mse"]]
        assert [[drawing.kind for drawing in panel.drawings] for panel in found] == [["log paired", "linear"]] * 3

    def test_points_lie_where_the_scale_puts_them(self) -> None:
        drawings = chart("x", {"x": [(0.0, 1.0), (5.0, 10.0), (10.0, 100.0)]}).drawings
        log, linear = (points_of(drawing.lines[0].path) for drawing in drawings)
        steps = [x for x, _ in log]
        assert steps[1] - steps[0] == pytest.approx(steps[2] - steps[1], abs=0.2)
        assert log[0][1] - log[1][1] == pytest.approx(log[1][1] - log[2][1], abs=0.2)
        assert (linear[0][1] - linear[1][1]) / (linear[0][1] - linear[2][1]) == pytest.approx(10 / 100, abs=0.02)
        marks = {text: at for at, text in drawings[0].rules}
        assert [marks["1"], marks["10"], marks["100"]] == pytest.approx([y for _, y in log], abs=0.1)

    @pytest.mark.parametrize(
        "values",
        [(0.0, 1.0), (-1.0, 1.0), (-1e-9, 1.0), (2.0, 2.0), (0.0, 0.0), (1e-12, 1e-12), (1.0, 1.01), (4e-16, 7e-16)],
    )
    def test_any_values_can_be_drawn(self, values: tuple[float, float]) -> None:
        rows = [{"step": step, "<x>": value} for step, value in enumerate(values)]
        html = run_report(sink_of(preset("pretrain", model="a-model", steps=40), rows), title="x")
        page = Page(html)
        assert html.count("<svg") == (2 if min(values) > 0 else 1)
        assert "<x>" in page.text
        paths = [attributes["d"] for tag, attributes in page.tags if tag == "path"]
        assert paths
        for path in paths:
            assert all(0 <= x <= 340 and 0 <= y <= 200 for x, y in points_of(path))

    def test_rounding_below_zero_does_not_take_the_logarithmic_scale_away(self) -> None:
        curve = [(0.0, 1.0), (1.0, 0.1), (2.0, -1e-9)]
        drawings = chart("x", {"x": curve, "zero": [(0.0, 0.0), (2.0, 0.0)]}).drawings
        assert [drawing.kind for drawing in drawings] == ["log paired", "linear"]
        assert [len(drawing.lines) for drawing in drawings] == [1, 2]

    def test_long_curves_are_thinned_and_keep_both_ends(self) -> None:
        for drawing in chart("x", {"x": [(float(i), 1.0 + i) for i in range(5000)]}).drawings:
            assert len(points_of(drawing.lines[0].path)) == MOST_POINTS
            assert "5000 at step 4999" in drawing.lines[0].hint


def points_of(path: str) -> list[tuple[float, float]]:
    """The places (x, y) that a path leads through."""
    return [(float(x), float(y)) for x, y in (point.split() for point in path.removeprefix("M").split("L"))]


def test_amplification_fills_the_range_without_clipping() -> None:
    grey = torch.zeros(3, 10, 10)
    for error, wanted in ((0.05, 16), (0.2, 8), (0.9, 2), (2.0, 1)):
        assert amplification(grey - 1, grey - 1 + error, value_range=(-1.0, 1.0)) == wanted
    shown = difference(grey - 1, grey - 0.5, factor=4, value_range=(-1.0, 1.0))
    assert torch.allclose(shown, torch.ones(()))


class TestRunReport:
    def test_it_shows_curves_grids_and_the_spec(self, pair: tuple[Tensor, Tensor]) -> None:
        grid = images.to_uint8(pair[0])
        run = preset("pretrain", model="a-model", steps=40)
        sink = sink_of(run, HISTORY)
        sink.grids |= {9: grid, 29: grid, 1: grid}
        page = Page(run_report(sink, title="t"))
        page.assert_alone()
        assert "29 of 40" in page.text
        assert run.to_yaml() in page.text
        assert list(page.images()) == ["Step 1", "Step 29"]
        assert np.array_equal(page.images()["Step 1"], grid.permute(1, 2, 0))

    def test_it_shows_where_the_attention_looks_if_that_is_known(self, pair: tuple[Tensor, Tensor]) -> None:
        run, seen = preset("finetune", model="a-model"), images.to_uint8(pair[1])
        sink = sink_of(run, [])
        assert "Where the attention looks" not in Page(run_report(sink, title="t")).text
        sink.picture("attention", 1, seen)
        page = Page(run_report(sink, title="t"))
        assert "Where the attention looks" in page.text
        assert np.array_equal(page.images()["The first targets"], seen.permute(1, 2, 0))


def test_means_and_texts() -> None:
    assert mean_std([1.0, 3.0, math.inf]) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_std([5.0]) == (5.0, 0.0)
    assert mean_std([math.inf])[0] == math.inf
    assert metric_text(20.123, PSNR) == "20.12 dB"
    assert metric_text(math.inf, PSNR) == "identical"
    assert metric_text(math.nan, SSIM) == metric_text(math.inf) == "not a number"
    assert metric_text(0.5) == "0.500"
