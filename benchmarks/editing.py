"""Whether directions move photos that no training has seen as they say: the digit goes up, the background stays.

Ten directions, one towards each digit, are found as ``ganenc directions`` finds them: a linear SVM between the draws
that the classifier is most and least for, on the latents that the encoder finds for their images, or (as InterFaceGAN)
on the w that was drawn. Each moves the photos kept out, inverted in several ways. Measured are the classifier's logit
of the digit over the strength, and how far the edited image is from the unedited one within the hand's region (where
the hand is before or after) and outside it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ganenc
import torch
from _common import RESULTS, parser, publish, set_threads, table
from _misaligned import MODEL, hand_region
from _svg import curves
from ganenc import images
from ganenc.editing import Direction, find_by_labels, find_by_pca, label_draws, margin
from ganenc.generators import Generator
from ganenc.measures import Edits, Samples, build_metrics, measure_edits, score
from ganenc.objectives import Backbone, context_for
from ganenc_plugin_hands.figures import kept_out
from torch import Tensor
from torch.nn import functional as F

DRAWS, STRENGTHS = 3000, (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
REST = STRENGTHS.index(0.0)
LPIPS = "lpips-hands"
METHODS: dict[str, dict[str, Any]] = {
    "encode": {"name": "encode"},
    "newton, 5 steps": {"name": "newton", "options": {"steps": 5}},
    "newton, 8 steps": {"name": "newton", "options": {"steps": 8}},
    "the same, held near": {"name": "newton", "options": {"steps": 8, "near": 3}},
    "optimize, 30 steps": {"name": "optimize", "options": {"steps": 30, "rate": 0.05}},
    "optimize, 100 steps": {"name": "optimize", "options": {"steps": 100, "rate": 0.05}},
    "finetune+refine, 100 steps": {"name": "finetune+refine", "options": {"steps": 100}},
    "tune, edits not held": {"name": "tune", "options": {"edits": 0}},
    "tune": {"name": "tune"},
}
ENCODED, DRAWN = "encoded draws, in w+", "draws, in w"
PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "edit.png"
PICTURED, SHOWN = "tune", (5, 1, 0)
"""The method of the picture of strips, and its digits."""
COMPARED = ("encode", PICTURED)
"""The methods that directions in w are measured with too."""


@dataclass
class Edit:
    """What moving all photos along one direction does."""

    edits: Edits
    digit: int

    @property
    def curve(self) -> list[float]:
        """The mean logit of the digit at each strength."""
        return self.edits.curve(self.digit)

    @property
    def inside(self) -> float:
        """LPIPS between the edited and the unedited image within the hand's region, over photos and strengths."""
        return _mean(self.edits.changes[LPIPS])

    @property
    def outside(self) -> float:
        """The same outside it."""
        return _mean(self.edits.outside[LPIPS])

    @property
    def logits(self) -> Tensor:
        """Of the digit, (strengths, photos)."""
        assert self.edits.logits is not None
        return self.edits.logits[..., self.digit]

    @property
    def monotone(self) -> bool:
        """Whether the mean logit rises at every step."""
        return all(a < b for a, b in itertools.pairwise(self.curve))

    def row(self) -> list[object]:
        """The cells of a table."""
        rising = int((self.logits[-1] > self.logits[0]).sum())
        low, rest, high = (self.curve[at] for at in (0, REST, -1))
        steps = f"{low:.2f}, {rest:.2f}, {high:.2f}"
        count = f"{rising} of {self.logits.shape[1]}"
        return [steps, "yes" if self.monotone else "no", count, f"{self.inside:.3f}", f"{self.outside:.3f}"]


CELLS = ("mean logit at -3, 0, 3", "rises at every step", "photos risen", "lpips-hands in the hand", "outside")


def measure(generator: Generator, backbone: Backbone, inverted: Samples, way: Direction, digit: int) -> Edit:
    """Move all photos, latents and the tuning of weights that they go with, along a direction by every strength."""
    metrics = build_metrics(["lpips"], context_for(backbone, generator.spec))
    found = measure_edits(
        generator, inverted, way.apply, STRENGTHS, backbone=backbone, metrics=metrics, region=around_hand
    )
    return Edit(found, digit)


def around_hand(images: Tensor) -> Tensor:
    """The hand's region and the pixels beside it."""
    return F.max_pool2d(hand_region(images).float(), 3, 1, 1) > 0


def find(generator: Generator, backbone: Backbone, draws: int, digits: Sequence[int], encoder: Any) -> list[Direction]:
    """A direction towards each digit."""
    latents, logits = label_draws(generator, backbone, draws, encoder=encoder)
    scores = [margin(logits, digit) for digit in digits]
    return [find_by_labels(generator, latents, score, name=f"class-{d}") for d, score in zip(digits, scores)]


def samples(inversion: Any) -> Samples:
    """The photos of an inversion for `measure`: all at once where weights are the generator's own."""
    if not any(inversion.tuning):
        return [(inversion.latents.detach(), {})]
    return [inversion.sample(place) for place in range(len(inversion))]


def invert_all(
    generator: Generator, photos: Tensor, ways: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], dict[str, float]]:
    """The photos, inverted in every way, and the processor's seconds of one of them, alone."""
    model = ganenc.Model(generator, ganenc.load_encoder(MODEL), backbone="hands")
    made, seconds = {}, {}
    for name, how in ways.items():
        made[name] = model.invert(photos, how)  # What is loaded, or learnt of the generator, is so then.
        started = time.process_time()
        model.invert(photos[:1], how)
        seconds[name] = time.process_time() - started
    return made, seconds


def draw_curves(path: Path, series: Mapping[str, Sequence[float]]) -> None:
    """Write logits over the strength as an SVG file."""
    lines = {name: list(zip(STRENGTHS, values)) for name, values in series.items()}
    text = curves(lines, across="strength, in deviations", up="logit of the digit")
    path.write_text(text, encoding="utf-8")
    print(f"written to {path}")


def draw_strips(path: Path, photos: Tensor, edits: Sequence[Edit]) -> None:
    """Write the photos and what edits make of them, one edit below the other."""
    rows = [torch.cat([photos[None], edit.edits.images]).transpose(0, 1).flatten(0, 1) for edit in edits]
    images.write_png(path, images.grid(torch.cat(rows), len(STRENGTHS) + 1), replace=True)
    print(f"written to {path}")


def by_digit(edits: Mapping[int, Edit], ways: Sequence[Direction]) -> str:
    """A row for each digit."""
    rows = [[digit, f"{way.info['accuracy']:.1%}", *edit.row()] for (digit, edit), way in zip(edits.items(), ways)]
    return table(["digit", "SVM on held-out draws", *CELLS], rows)


def by_method(
    measured: Mapping[tuple[str, str], Mapping[int, Edit]],
    inversions: Mapping[str, Any],
    seconds: Mapping[str, float],
    photos: Tensor,
) -> str:
    """A row for each way to invert and to find, over all digits."""
    rows, means = [], build_metrics(("psnr", "ssim"))
    for (method, found), edits in measured.items():
        rebuilt = score(photos, inversions[method].reconstructions.detach(), means).folds[0]
        gain = _mean([edit.curve[-1] - edit.curve[0] for edit in edits.values()])
        inside, outside = (_mean([getattr(edit, side) for edit in edits.values()]) for side in ("inside", "outside"))
        rising = f"{sum(edit.monotone for edit in edits.values())} of {len(edits)}"
        of = [f"{seconds[method]:.2f}", f"{rebuilt['psnr']:.2f} dB", f"{rebuilt['ssim']:.3f}"]
        numbers = [*of, f"{gain:+.2f}", rising, f"{inside:.3f}", f"{outside:.3f}"]
        rows.append([method, found, *numbers])
    head = [
        "inverted by",
        "direction found on",
        "seconds a photo",
        "PSNR unedited",
        "SSIM",
        "logit from -3 to 3",
        "digits that rise at every step",
    ]
    return table([*head, "lpips-hands in the hand", "outside"], rows)


def components(generator: Generator, backbone: Backbone, inversion: Any, draws: int) -> str:
    """What the first principal components do to the photos: how far they move, and which digit gains most."""
    rows = []
    for way in find_by_pca(generator, 4, n=draws):
        edit = measure(generator, backbone, samples(inversion), way, 0)
        logits = edit.edits.logits
        assert logits is not None
        gains = (logits[-1] - logits[0]).mean(0)
        most, least = int(gains.argmax()), int(gains.argmin())
        moved = [f"{most} ({gains[most]:+.2f})", f"{least} ({gains[least]:+.2f})"]
        rows.append([way.name, f"{way.info['variance']:.1%}", *moved, f"{edit.inside:.3f}", f"{edit.outside:.3f}"])
    head = ["component", "of the variance of w", "digit that gains most", "that loses most"]
    return table([*head, "lpips-hands in the hand", "outside"], rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    """Find, invert, measure, publish."""
    options = parser("editing", __doc__ or "")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    quick = chosen.quick
    draws, digits = (120, [1, 5]) if quick else (DRAWS, list(range(10)))
    ways = (
        {"encode": METHODS["encode"], "tune, 3 steps": {"name": "tune", "options": {"steps": 3}}} if quick else METHODS
    )
    generator, backbone = ganenc.load_generator(MODEL), ganenc.load_backbone("hands")
    photos = kept_out()[0][:3] if quick else kept_out()[0]
    encoded = find(generator, backbone, draws, digits, ganenc.load_encoder(MODEL))
    drawn = find(generator, backbone, draws, digits, None)
    inversions, seconds = invert_all(generator, photos, ways)
    measured = {}
    for method, inversion in inversions.items():
        for found, these in ((ENCODED, encoded), (DRAWN, drawn)):
            if found == DRAWN and method not in COMPARED:
                continue
            pairs = zip(digits, these)
            edits = {d: measure(generator, backbone, samples(inversion), way, d) for d, way in pairs}
            measured[method, found] = edits
    body = report(measured, inversions, seconds, photos, encoded, draws, quick)
    body += "\n\n" + components(generator, backbone, inversions["encode"], draws)
    publish("editing", "Edits of photos", body, out=chosen.out, quick=quick, threads=chosen.threads)


def report(
    measured: Mapping[tuple[str, str], Mapping[int, Edit]],
    inversions: Mapping[str, Any],
    seconds: Mapping[str, float],
    photos: Tensor,
    ways: Sequence[Direction],
    draws: int,
    quick: bool,
) -> str:
    """The tables, and the pictures beside them unless the run is a quick one."""
    best = measured["encode", ENCODED]
    parts = [
        f"{MODEL}, {len(photos)} photos kept out of all training, directions from {draws} draws; strengths from -3 to 3"
        " in steps of 1, in deviations. LPIPS compares the edited with the unedited reconstruction, a mean over photos"
        " and strengths but 0; the hand's region is where the hand is before or after the edit.",
        by_method(measured, inversions, seconds, photos),
        "One pass of the encoder, directions of encoded draws:",
        by_digit(best, ways),
    ]
    if quick:
        return "\n\n".join(parts)
    draw_curves(RESULTS / "editing.svg", {f"towards {digit}": edit.curve for digit, edit in best.items()})
    each = {f"photo {index}": line.tolist() for index, line in enumerate(best[SHOWN[1]].logits.T)}
    draw_curves(RESULTS / "editing-photos.svg", {"mean": best[SHOWN[1]].curve, **each})
    fine = measured[PICTURED, ENCODED]
    draw_strips(PICTURE, photos[[2, 4, 6, 7]], [_some(fine[digit], [2, 4, 6, 7]) for digit in SHOWN])
    parts += [
        "![The mean logit over the strength, towards each digit](editing.svg)",
        f"The same towards {SHOWN[1]}, photo by photo:",
        "![The logit of each photo over the strength](editing-photos.svg)",
        f"Inverted by {PICTURED}, directions of encoded draws:",
        by_digit(fine, ways),
        "Four of the photos, and below each other what the directions towards"
        f" {', '.join(map(str, SHOWN))} make of them, from -3 to 3:",
        "![Strips of edited photos](../../docs/how-to/edit.png)",
        "Principal components of w, on photos encoded in one pass:",
    ]
    return "\n\n".join(parts)


def _some(edit: Edit, which: Sequence[int]) -> Edit:
    """Some of the photos alone, to show."""
    return replace(edit, edits=replace(edit.edits, images=edit.edits.images[:, list(which)]))


if __name__ == "__main__":
    main()
