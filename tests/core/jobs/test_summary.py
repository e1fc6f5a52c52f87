"""The page of many photos."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from ganenc.jobs import summary_page
from ganenc.measures import PSNR, SSIM
from pages import Page
from torch import Tensor


def row(photo: str, psnr: float, seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    metrics = {"psnr": psnr, "ssim": psnr / 40}
    return {"photo": f"/photos/{photo}", "folder": Path(photo).stem, "metrics": metrics, "seconds": seconds, **more}


def page(
    folder: Path, rows: list[dict[str, Any]], pictures: dict[str, tuple[Tensor, Tensor]] | None = None, **more: Any
) -> Page:
    """The page of a job that gave these rows."""
    spec = SimpleNamespace(value_range=(-1.0, 1.0), shows="pictures")
    words = {name: more.pop(name, "x") for name in ("source", "hash", "method")}
    model = SimpleNamespace(generator=SimpleNamespace(spec=spec), source=words["source"], hash=words["hash"])
    method = SimpleNamespace(name=words["method"], options={words["method"]: words["method"]})
    worker: Any = SimpleNamespace(model=model, method=method, spec=SimpleNamespace(seed=0))
    fields = {
        "rows": rows, "done": len(rows), "failed": 0, "failures": [], "metrics": {"psnr": 25.0, "ssim": 0.6},
        "metrics_of_the_mean_image": {"psnr": 17.0, "ssim": 0.4}, "seconds": 4.0, "facts": {"metric_settings": {}},
        "taken": {"psnr": PSNR(), "ssim": SSIM()}, "folder": SimpleNamespace(path=folder),
    }  # fmt: skip
    result: Any = SimpleNamespace(**{**fields, **more})
    made = Page(summary_page(result, worker, SimpleNamespace(pair=(pictures or {}).get)))  # type: ignore[arg-type]
    made.assert_alone()
    return made


def test_it_shows_every_photo_the_means_and_the_failures(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "report.html").touch()
    picture = torch.rand(3, 20, 24) * 2 - 1
    rows = [row("a b.png", 20.0, 3.0), row("<c>.png", 30.0, label=7, labels_from="given")]
    shown = page(tmp_path, rows, {"a b": (picture, picture)}, failed=1, failures=[("bad.jpg", "it is <broken>")])
    words = ("20.00 dB", "30.00 dB", "25.00 dB", "0.600", "17.00 dB", "4.0", "<c>.png", "7 (given)", "bad.jpg")
    for word in (*words, "it is <broken>"):
        assert word in shown.text, word
    assert [a["href"] for tag, a in shown.tags if tag == "a"] == ["a%20b/report.html"]
    assert set(shown.images()) == {"photo", "reconstruction"}


def test_it_says_when_it_shows_some_of_many(tmp_path: Path) -> None:
    some = [row(f"{place}.png", 20.0 + place) for place in range(3)]
    shown = page(tmp_path, some, done=12345, failed=7, failures=[("bad.jpg", "broken")], metrics={"lpips": 22.5})
    for words in ("12,345 inverted, 7 failed", "The 3 of lowest PSNR", "The first 1.", "22.500"):
        assert words in shown.text


def test_everything_on_it_is_escaped(tmp_path: Path) -> None:
    bad = "<script>alert('x')<\\script>"
    shown = page(
        tmp_path, [row(bad, 20.0, label=bad, labels_from=bad)], failed=1, failures=[(bad, bad)], source=bad, hash=bad,
        method=bad, facts={"metric_settings": {bad: bad}}, taken={},
    )  # fmt: skip
    assert shown.text.count(bad) >= 8
