"""Points dragged to where they are known to go: along a direction, between two images of one generator.

A pair of images is made of latents before and after a direction. Where a point of the first comes to is found in the
pixels of the images on the way alone, in two ways that know nothing of the generator's features: by dense optical flow
(TV-L1) from one to the next, and by the normalised correlation of a patch. Points are taken where both agree, and the
flow leads back. Then the first image is dragged to there, what is far from the way masked, and where the point came to
is found in the same two ways, on the straight way between the latents before and after.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import RESULTS, parser, publish, set_threads, table
from _real import SHARED
from ganenc import Model, images, load
from ganenc.editing import find_by_pca, interpolate, render
from ganenc.latents import Latents
from ganenc.measures import Metric
from PIL import Image, ImageDraw
from scipy.ndimage import map_coordinates
from skimage.feature import corner_peaks, corner_shi_tomasi, match_template
from skimage.registration import optical_flow_tvl1
from skimage.transform import resize

MODELS = {"stylegan2-hands64": 20, "mobilestylegan-ffhq-1024": 8, "dcgan-celebs-64": 20, "wgangp-mnist28.pt": 50}
"""Models, and how many images of each are dragged; files lie beside the checkout."""
SETTLED: dict[str, tuple[dict[str, Any], int]] = {"wgangp-mnist28.pt": ({"rate": 0.03, "hold": 0.7}, 10)}
"""Options that are not the defaults, and the draws that they were settled on, which are passed over."""
BACKBONES = ("squeeze", "hands")
"""Behind LPIPS: one with the published weights, and one that needs no download."""
SEEN = 128
"""Pixels of the longer side at which motion is measured. All lengths that follow are of this side."""
LEAST, MOST = 0.07, 0.2
"""How far a point has to go, to be dragged."""
AGREE = 0.012
"""How far apart what is found of one point may be, there and back and in the two ways."""
NEAR, STEP = 0.08, 0.05
"""Half of the patch that is correlated, and how far it is sought from one image to the next."""
EDGE, FREE = 0.08, 0.25
"""How near the edge no point is taken, and how far from its way the mask leaves things free to move."""
FRAMES = 9
"""Images on a way, both ends among them."""
PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "drag.png"
SHOWN, TILE = 6, 160
"""Drags in the picture, and pixels of an image there."""
Array = np.ndarray[Any, Any]


NOTES = """\
Means, in pixels of the model's images: how long the way is, and what is left of it where the point came to, by each way
of measuring and as the drag itself tracked it. Both ways of measuring agree within 1.2% of the side on where each point
was to go. The mask leaves free what is within a quarter of the image of the way. Nothing is chosen after a drag: those
are the first images of the stream for which a way was found, and the defaults were settled on others."""


@dataclass(frozen=True)
class Known:
    """A point of one image, and where it goes."""

    latents: Latents
    before: torch.Tensor
    after: torch.Tensor
    point: Array
    """x and y, in pixels of the generator's images."""
    target: Array
    value_range: images.Range

    @property
    def mask(self) -> Array:
        """What may move, bool (H, W): what is near the way."""
        height, width = self.before.shape[-2:]
        rows, columns = np.mgrid[:height, :width]
        spots, way = np.stack([columns, rows], -1) - self.point, self.target - self.point
        share = np.clip(spots @ way / (way @ way), 0, 1)
        return np.asarray(np.hypot(*np.moveaxis(spots - share[..., None] * way, -1, 0)) <= FREE * max(height, width))


@dataclass(frozen=True)
class Moved:
    """How far a point had to go and what is left of it, in pixels of the generator's images."""

    way: float
    flow: float
    patch: float
    """Left, as each way of measuring has it."""
    tracked: float
    """And as the drag itself does."""
    lpips: list[float]
    """Outside the mask, by each backbone."""
    steps: int


def seen(image: torch.Tensor) -> Array:
    """An image (C, H, W) in 8 bits, grey, at the size at which motion is measured."""
    pixels = images.to_rgb(image).float().mean(0).numpy() / 255
    scale = SEEN / max(pixels.shape)
    return np.asarray(resize(pixels, [round(side * scale) for side in pixels.shape], order=3, anti_aliasing=scale < 1))


def frames(model: Model, way: Latents) -> list[Array]:
    """The images of latents, as they are seen."""
    return [seen(one) for one in images.to_uint8(render(model.generator, way), model.generator.spec.value_range)]


def by_flow(way: Sequence[Array]) -> Array:
    """Where every pixel of the first image is in the last, x and y (2, H, W): optical flow from one to the next."""
    rows, columns = np.mgrid[: way[0].shape[0], : way[0].shape[1]].astype(float)
    for one, other in itertools.pairwise(way):
        down, right = optical_flow_tvl1(one, other, attachment=20, num_warp=3)
        ahead = [map_coordinates(part, [rows, columns], order=1, mode="nearest") for part in (down, right)]
        rows, columns = rows + ahead[0], columns + ahead[1]
    return np.stack([columns, rows])


def by_patch(way: Sequence[Array], point: Array) -> Array:
    """Where a point of the first image is in the last, x and y (2,): the patch around it correlated from one to the
    next, and a parabola through the best and its neighbours."""
    half, reach = round(NEAR * SEEN), round(STEP * SEEN)
    for one, other in itertools.pairwise(way):
        column, row = (round(float(value)) for value in point)
        patch = np.pad(one, half, mode="edge")[row : row + 2 * half + 1, column : column + 2 * half + 1]
        side = half + reach + 1
        score = match_template(
            np.pad(other, side, mode="edge")[row : row + 2 * side + 1, column : column + 2 * side + 1], patch
        )
        down, right = np.unravel_index(score[1:-1, 1:-1].argmax(), (2 * reach + 1,) * 2)
        point = point + [
            place - reach + top(line)
            for place, line in ((right, score[down + 1, right : right + 3]), (down, score[down : down + 3, right + 1]))
        ]
        point = point.clip(0, np.array(one.shape[::-1]) - 1)
    return point


def top(line: Array) -> float:
    """Where a parabola through three values, the middle one the highest, has its top: -0.5 to 0.5."""
    bend = 2 * line[1] - line[0] - line[2]
    return float((line[2] - line[0]) / (2 * bend)) if bend > 0 else 0.0


def ways(model: Model, latents: Latents, seed: int, along: Path | None = None) -> Iterator[Latents]:
    """Ways from latents: along the directions of a file, or the four in which the styles vary most, or, without styles,
    towards others that are drawn."""
    styled = latents.space != "z"
    found = (find_by_pca(model.generator, 4) if along is None else model.directions(along)) if styled else []
    for turn in range(8):
        place = (turn + seed) % 8
        if styled:
            yield found[place // 2 % len(found)].apply(
                latents.expand(FRAMES), torch.linspace(0, (-2.0, 2.0)[place % 2], FRAMES)
            )
        else:
            other = model.generate(1, seed=1000 + 8 * seed + turn).latents
            yield interpolate(latents, other, 3 * FRAMES)[:FRAMES]


def known_motion(model: Model, seed: int, along: Path | None = None) -> Known | None:
    """The corner of a drawn image that is followed best along a way, and where it goes; None if none is."""
    latents = model.generate(1, seed=seed).latents
    scale = max(model.generator.spec.size) / SEEN
    for way in ways(model, latents, seed, along):
        made = frames(model, way)
        there, back = by_flow(made), by_flow(made[::-1])
        height, width = made[0].shape
        rows, columns = np.mgrid[:height, :width]
        again = np.stack([map_coordinates(part, there[::-1], order=1, mode="nearest") for part in back])
        far = np.hypot(*(there - [columns, rows]))
        fit = (np.hypot(*(again - [columns, rows])) < AGREE * SEEN) & (far > LEAST * SEEN) & (far < MOST * SEEN)
        edge = round(EDGE * SEEN)
        fit[:edge], fit[-edge:], fit[:, :edge], fit[:, -edge:] = (False,) * 4
        corners = np.where(fit, corner_shi_tomasi(made[0], sigma=SEEN / 64), 0.0)
        for y, x in corner_peaks(corners, min_distance=SEEN // 64, threshold_rel=0.01)[:20].tolist():
            ends = there[:, y, x], by_patch(made, np.array([x, y]))
            if np.hypot(*(ends[0] - ends[1])) < AGREE * SEEN:
                before, after = render(model.generator, way[[0, FRAMES - 1]]).split(1)
                point, target = ((np.array(one) + 0.5) * scale - 0.5 for one in ((x, y), sum(ends) / 2))
                return Known(latents, before, after, point, target, model.generator.spec.value_range)
    return None


def dragged(model: Model, known: Known, lpips: Sequence[Metric], **options: Any) -> tuple[Moved, Array]:
    """Drag a point, and find where it has come to; with pictures of before, with the way and what may move; dragged;
    and what the way was learnt from."""
    done = model.drag(known.latents, known.point, known.target, known.mask, **options)
    assert done.before is not None
    made = frames(model, interpolate(done.before, done.latents, FRAMES))
    scale = max(model.generator.spec.size) / SEEN
    start = (known.point + 0.5) / scale - 0.5
    field = by_flow(made)
    flow = np.array([map_coordinates(one, start[::-1, None], order=1, mode="nearest")[0] for one in field])
    ends = [known.point, *((one + 0.5) * scale - 0.5 for one in (flow, by_patch(made, start)))]
    outside = torch.from_numpy(~known.mask)[None, None]
    apart = [float(one(known.before, done.images, region=outside)[0]) for one in lpips]
    left = [float(np.hypot(*(one - known.target))) for one in ends]
    cells = [tile(known.before, known, mask=True), tile(done.images, known), tile(known.after, known)]
    return Moved(*left, float(done.distances[0]), apart, len(done.history)), np.concatenate(cells, 1)


def picture(rows: Sequence[Array]) -> Image.Image:
    """Pictures of drags, in two columns."""
    half = -(-len(rows) // 2)
    columns = [np.concatenate(some) for some in (rows[:half], rows[half:]) if len(some) == half]
    return Image.fromarray(np.concatenate(columns, 1))


def tile(image: torch.Tensor, known: Known, *, mask: bool = False) -> Array:
    """An image with the point (green, where it began) and the target (red), darker where the mask is black."""
    pixels = images.to_pixels(images.to_rgb(image[0]), known.value_range).astype(float)
    if mask:
        pixels *= np.where(known.mask, 1.0, 0.6)[..., None]
    scale = TILE / max(pixels.shape)
    size = [round(side * scale) for side in pixels.shape[1::-1]]
    shown = Image.fromarray(pixels.round().astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(shown)
    (x, y), (right, down) = ((place + 0.5) * scale for place in (known.point, known.target))
    if mask:
        pen.line([x, y, right, down], fill="white", width=2)
        pen.ellipse([x - 3, y - 3, x + 3, y + 3], fill="lime")
    pen.ellipse([right - 4, down - 4, right + 4, down + 4], outline="red", width=2)
    return np.asarray(shown)


def row(name: str, done: Sequence[Moved]) -> list[str]:
    """What the drags of one model did, as means."""
    way, *left, own = np.mean([[one.way, one.flow, one.patch, one.tracked] for one in done], 0)
    lpips = np.array([one.lpips for one in done])
    return [
        name, str(len(done)), f"{way:.2f}", *(f"{one:.2f} ({one / way - 1:+.0%})" for one in left), f"{own:.2f}",
        *(f"{mean:.3f} ({most:.3f})" for mean, most in zip(lpips.mean(0), lpips.max(0))),
        f"{np.mean([one.steps for one in done]):.0f}",
    ]  # fmt: skip


def measured(
    name: str, count: int, work: Path, backbones: Sequence[str], along: Path | None = None, **options: Any
) -> list[str]:
    """Points of so many images of a model dragged: a row of the table. What each came to is kept, so that it can be
    gone on with."""
    work.mkdir(parents=True, exist_ok=True)
    source = SHARED / "gans" / name if Path(name).suffix else name
    model, lpips = load(source), [load(source, backbone=one).metrics(["lpips"])[f"lpips-{one}"] for one in backbones]
    own, first = SETTLED.get(name, ({}, 0))
    done: list[Moved] = []
    rows: list[Array] = []
    for seed in range(first, first + 10 * count):
        kept = work / f"{name}-{seed}.json"
        if not kept.is_file():
            known = known_motion(model, seed, along)
            moved = None
            if known is not None:
                moved, shown = dragged(model, known, lpips, **own | options)
                Image.fromarray(shown).save(kept.with_suffix(".png"))
            kept.write_text(json.dumps(moved and asdict(moved)), encoding="utf-8")
        if told := json.loads(kept.read_text(encoding="utf-8")):
            done.append(Moved(**told))
            rows.append(np.asarray(Image.open(kept.with_suffix(".png"))))
        if len(done) == count:
            break
    picture(rows[:SHOWN]).save(work / f"{name}.png")
    return row(name, done)


def main() -> None:
    """Drag points of several models, and write down how near they come."""
    options = parser("dragging", (__doc__ or "").splitlines()[0])
    options.add_argument("--models", nargs="+", choices=[*MODELS], default=[*MODELS], help="these alone")
    options.add_argument("--along", help="MODEL=FILE: ways of a model along a file's directions, not those found here")
    options.add_argument("--work", type=Path, default=Path("runs/dragging"), help="where results are kept as they come")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    backbones = BACKBONES[chosen.quick :]
    if chosen.quick:
        rows = [measured("stylegan2-hands64", 1, chosen.work / "quick", backbones, steps=10)]
    else:
        styled, _, file = (chosen.along or "").partition("=")
        along = {styled: Path(file)}
        rows = [measured(name, MODELS[name], chosen.work, backbones, along.get(name)) for name in chosen.models]
    header = [
        "model", "images", "way", "left, by flow", "left, by patch", "left, as tracked",
        *(f"lpips-{one} outside (highest)" for one in backbones), "steps",
    ]  # fmt: skip
    text = f"{table(header, rows)}\n\n{NOTES}"
    publish("dragging", "Dragged points", text, out=chosen.out, quick=chosen.quick, threads=chosen.threads)
    if not chosen.quick and chosen.out is None:
        shutil.copyfile(chosen.work / f"{chosen.models[0]}.png", PICTURE)


if __name__ == "__main__":
    main()
