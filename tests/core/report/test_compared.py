"""The page of methods that were compared: its tables, what is marked as best, and the plane."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from ganenc.measures import PSNR, SSIM, Editability, Edits, Evaluation, Measured, Scores
from ganenc.report import Compared, benchmark_page, plane
from ganenc_registry.specs import BenchmarkSpec
from pages import Page

METRICS = {"psnr": PSNR(), "ssim": SSIM()}


def edited(effect: float, label: int | None) -> Editability:
    strengths = torch.tensor([-1.0, 0.0, 1.0])
    logits = (effect * strengths)[:, None, None].expand(3, 2, 4)
    return Editability(Edits((-1.0, 0.0, 1.0), torch.zeros(3, 2, 3, 4, 4), logits), label, [1.0, 3.0], {}, {})


def row(method: str, budget: float | None, psnr: float, **given: Any) -> Compared:
    """What a method gave on two photos, where the effect is given edited."""
    one = [{"psnr": psnr - 1, "ssim": 0.5}, {"psnr": psnr + 1, "ssim": 0.5}]
    scores, base = Scores(one, [{"psnr": psnr, "ssim": 0.5}]), Scores(one, [{"psnr": 10.0, "ssim": 0.1}])
    editing = edited(given["effect"], given.get("label", 2)) if "effect" in given else None
    found = Evaluation(METRICS, {"": Measured(scores, given.get("seconds", 1.0), None)}, base, {"psnr": "how"}, editing)
    return Compared(method, budget, given.get("steps"), given.get("megabytes"), {"photos": found})


def page(rows: list[Compared]) -> Page:
    run = BenchmarkSpec.from_mapping({"model": "<a & b>", "methods": ["encode"]})
    made = Page(benchmark_page(rows, title="T & <t>", run=run, facts={"device": "cpu", "none": None}, strips=[]))
    made.assert_alone()
    return made


def test_one_pass_stands_beside_what_takes_longer() -> None:
    rows = [
        row("pass", None, 20.0, seconds=0.5),
        row("slow", None, 30.0, steps=1000, seconds=90.0),
        row("slow", 0.25, 21.0, steps=2),
        row("slow", 5.0, 25.0, steps=50, seconds=4.9, megabytes=1234.4),
    ]
    text = benchmark_page(rows, title="t", run=BenchmarkSpec(), facts={}, strips=[])
    words = " ".join(re.sub("<[^>]*>", " ", text).split())
    own, short, long = re.split("On its own schedule|At 0.25 seconds a photo|At 5 seconds a photo", words)[1:]
    assert "pass 0.500 20.00 dB ± 1.41" in own
    assert "slow 1,000 90.0 30.00 dB" in own
    assert "pass" not in short
    assert "pass 0.500 20.00 dB" in long
    assert "slow 50 4.9 1,234 25.00 dB" in long
    assert own.count("mean image") == short.count("mean image") == long.count("mean image") == 1
    assert "<b>30.00 dB ± 1.41</b>" in text
    assert "<b>25.00 dB ± 1.41</b>" in text
    assert "<b>21.00 dB" not in text  # The only one there.
    assert "Rebuilding against editing" not in text
    assert "Editing" not in text


@pytest.mark.parametrize(("label", "axis"), [(2, "effect on the logit"), (None, "consistency, lower is better")])
def test_the_plane_has_a_point_for_each(label: int | None, axis: str) -> None:
    rows = [
        row("a<b", None, 20.0, effect=0.5, label=label, seconds=0.1),
        row("c", 5.0, 25.0, effect=0.25, label=label, steps=3),
        row("c", 20.0, 30.0, effect=0.125, label=label, steps=9),
        row("d", 5.0, math.inf, effect=0.1, label=label, steps=3),
    ]
    found = page(rows)
    assert axis in found.text
    circles = [attributes for tag, attributes in found.tags if tag == "circle"]
    assert len(circles) == 3  # What is identical has no place.
    xs, ys = ([float(one[name]) for one in circles] for name in ("cx", "cy"))
    assert xs == sorted(xs)
    assert (ys == sorted(ys)) or label is None  # Less is lower down.
    assert "a<b" in found.text
    assert "T & <t>" in found.text


def test_places_are_linear() -> None:
    drawn = plane({"one": [(0.0, 1.0, "x"), (10.0, 3.0, "y")], "two": [(5.0, 2.0, "")]}, "across", "up")
    (first, last, middle) = drawn.spots
    assert middle.x == pytest.approx((first.x + last.x) / 2, abs=0.1)
    assert middle.y == pytest.approx((first.y + last.y) / 2, abs=0.1)
    assert drawn.left < first.x < last.x < drawn.right
    assert 0 < last.y < first.y < drawn.height
    assert (first.text, last.text, middle.text) == ("one x", "y", "two")
    assert plane({"one": [(1.0, 1.0, "")]}, "across", "up").spots  # A single point has its place, too.
