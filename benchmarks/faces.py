"""The paper's thirty faces, rebuilt: what each freedom gives, beside the reconstructions that were published.

The photos and the published reconstructions lie beside the checkout, as grids of six rows and five columns. Everything
is measured by the same code: 8 bits, peak 255, scikit-image's SSIM (7x7), LPIPS on SqueezeNet at 256 pixels, and photos
brought to 256 by Lanczos. Each of our results is kept in a folder as it is done, so that a run that was stopped goes
on.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import torch
from _common import RESULTS, parser, publish, set_threads, table
from _device import Place, place_options
from ganenc import images
from ganenc.measures import LPIPS
from ganenc.objectives import context_for
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F

MODEL = "mobilestylegan-ffhq-1024"
FACES = RESULTS.parents[2] / "shared" / "data" / "faces" / "paper30"
PUBLISHED = {
    "the paper's": ("paper.jpg", 1024),
    "In-domain, optimised": ("in-domain.jpg", 256),
    "pSp": ("psp.jpg", 256),
    "In-domain, encoder alone": ("in-domain-encoder.jpg", 256),
    "ALAE": ("alae.jpg", 1024),
}
ROWS, COLUMNS, GAP = 6, 5, 2
FEW = ((0, 0), (1, 2), (2, 1), (3, 2), (4, 4), (5, 3))
"""The photos of a run on a processor: row and column, counted from 0; always the same."""
FREEDOMS: dict[str, tuple[str, dict[str, Any]]] = {
    "encode": ("encode", {}),
    "default": ("tune", {"pivot": "encode"}),
    "w": ("optimize", {"space": "w", "free": ()}),
    "w+": ("optimize", {"free": ()}),
    "w+, constant": ("optimize", {"free": ("const",)}),
    "w+, noise": ("optimize", {"free": ("noise",)}),
    "w+, constant, noise": ("optimize", {"free": ("const", "noise")}),
    "w+, constant, noise not held": ("optimize", {"free": ("const", "noise"), "noise_weight": 0}),
    "weights tuned": ("tune", {"edits": 0, "locality": 0.1, "rate": 3e-4}),
}
"""What is sought, by a method and its options."""
ENCODED = ("encode", "default")
"""Those that want an encoder."""
DIRECTIONS = RESULTS.parents[2] / "shared" / "gans" / "directions"
MOVED = {"age": "age.pt", "smile": "smile.pt", "pose": "pose.pt"}
STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)
MEASURED = {
    "PSNR at 256": 2, "SSIM at 256": 3, "lpips-squeeze at 256": 3, "PSNR at 1024": 2, "SSIM at 1024": 3,
    "seconds": 0, "megabytes": 0, **dict.fromkeys(MOVED, 2),
}  # fmt: skip
"""What is measured, with its decimals."""


def cell(grid: Image.Image, side: int, place: tuple[int, int]) -> Image.Image:
    """One picture of a grid."""
    top, left = (GAP + at * (side + GAP) for at in place)
    return grid.crop((left, top, left + side, top + side))


class Measures:
    """The numbers of one picture against its photo."""

    def __init__(self) -> None:
        self._lpips = LPIPS(context=context_for("squeeze"))

    def __call__(self, made: Image.Image, photo: Image.Image) -> dict[str, float]:
        """PSNR, SSIM and LPIPS at 256 pixels, and PSNR and SSIM at 1024 where the picture has as many."""
        small = [
            np.asarray(one if one.width == 256 else one.resize((256, 256), Image.LANCZOS)) for one in (made, photo)
        ]
        found = {f"{name} at 256": value for name, value in _pixels(*small).items()}
        tensors = [torch.from_numpy(one.copy()).permute(2, 0, 1)[None] / 127.5 - 1 for one in small]
        (found["lpips-squeeze at 256"],) = self._lpips(*tensors)
        if made.width == photo.width:
            found |= {f"{name} at 1024": value for name, value in _pixels(*map(np.asarray, (made, photo))).items()}
        return found


def _pixels(made: np.ndarray, photo: np.ndarray) -> dict[str, float]:
    return {
        "PSNR": float(peak_signal_noise_ratio(photo, made, data_range=255)),
        "SSIM": float(structural_similarity(photo, made, data_range=255, channel_axis=2)),
    }


def rebuild(model: Any, photo: Image.Image, method: Any, folder: Path, read: Callable[[], float]) -> Image.Image:
    """Our reconstruction by a method; kept in ``folder`` with what it took, and had from there."""
    facts = folder / "facts.json"
    if not facts.is_file():
        started = read()
        inversion = model.invert(photo, method)
        seconds = read() - started
        inversion.save(folder / "inverted")
        images.write_png(folder / "made.png", images.to_uint8(inversion.reconstructions[0], (-1.0, 1.0)))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        facts.write_text(json.dumps({"seconds": seconds, "megabytes": most}), encoding="utf-8")
    return Image.open(folder / "made.png").convert("RGB")


class Moves:
    """Published directions, and how far a face follows them: what an encoder reads of it at the strongest strengths,
    over what it reads of the generator's own faces, moved as far."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ways = {name: model.direction(DIRECTIONS / file) for name, file in MOVED.items()}
        self._own: dict[str, float] = {}
        if model.encoder is not None:
            drawn = [model.generate(1, seed=7, first=place).latents for place in range(4)]
            self._own = {name: float(np.mean([self._read(name, one) for one in drawn])) for name in self._ways}

    def _read(self, name: str, start: Any) -> float:
        way, ends = self._ways[name], (STRENGTHS[0], STRENGTHS[-1])
        low, high = (self._model.encode(self._model.edit(start, way, [end]).images) for end in ends)
        return float(way.position(high) - way.position(low))

    def __call__(self, folder: Path) -> dict[str, float]:
        """How far the face in a folder follows each direction, if there is an encoder; its strips are drawn there."""
        facts, strip, start = folder / "moves.json", folder / "moves.png", folder / "inverted"
        if not strip.is_file():
            rows = []
            for way in self._ways.values():
                made = self._model.edit(start, way, STRENGTHS).images
                small = F.interpolate(made, size=(256, 256), mode="area")
                rows.append(torch.cat([images.to_uint8(one, (-1.0, 1.0)) for one in small], 2))
            images.write_png(strip, torch.cat(rows, 1))
        if self._own and not facts.is_file():
            found = {name: self._read(name, start) / own for name, own in self._own.items()}
            facts.write_text(json.dumps(found), encoding="utf-8")
        return dict(json.loads(facts.read_text(encoding="utf-8"))) if facts.is_file() else {}


def method_of(freedom: str, steps: int) -> dict[str, Any]:
    """A freedom as a method with its options; tuning spends half of the steps on its pivot's styles."""
    name, options = FREEDOMS[freedom]
    if name == "tune" and "pivot" not in options:
        steps //= 2
        options = options | {"pivot": {"name": "optimize", "options": {"steps": max(1, steps), "free": ()}}}
    return {"name": name, "options": options if name == "encode" else {"steps": max(1, steps), **options}}


def mean_row(name: str, results: Sequence[Mapping[str, float]]) -> list[object]:
    """A method's line in the table: means over the photos, of what there is."""
    cells: list[object] = [name]
    for column, decimals in MEASURED.items():
        values = [one[column] for one in results if column in one]
        cells.append(f"{np.mean(values):.{decimals}f}" if values else "")
    return cells


def main() -> None:
    """Measure what was published, rebuild the photos, move them, and write all down."""
    options = parser("faces", __doc__.splitlines()[0])
    options.add_argument("--steps", type=int, default=150, help="steps a photo")
    options.add_argument("--all", action="store_true", help="all thirty photos, instead of six")
    options.add_argument("--photos", nargs="+", help="these alone, as ROW-COLUMN")
    options.add_argument("--freedoms", nargs="+", choices=FREEDOMS, help="what is optimised; by default all")
    options.add_argument("--encoder", help="of the model, for what needs one")
    options.add_argument("--work", type=Path, default=Path("runs/faces"), help="where results are kept as they come")
    options.add_argument("--report", action="store_true", help="only of what is done")
    place_options(options)
    chosen = options.parse_args()
    if not FACES.is_dir():
        options.exit(message=f"The paper's photos are not beside the checkout ({FACES}); nothing is measured.\n")
    set_threads(chosen.threads)
    place = Place.chosen(chosen)
    places = [(i, j) for i in range(ROWS) for j in range(COLUMNS)] if chosen.all else [*FEW]
    freedoms = chosen.freedoms or [one for one in FREEDOMS if chosen.encoder or one not in ENCODED]
    steps, freedoms = (2, ["w+"]) if chosen.quick else (chosen.steps, freedoms)
    wanted = chosen.photos or [f"{i}-{j}" for i, j in places]
    places = places[:1] if chosen.quick else [(i, j) for i, j in places if f"{i}-{j}" in wanted]
    real = Image.open(FACES / "real.jpg").convert("RGB")
    photos = {one: cell(real, 1024, one) for one in places}
    measures = Measures()
    pictures: dict[str, dict[tuple[int, int], Image.Image]] = {"photo": photos}
    results: dict[str, dict[tuple[int, int], dict[str, float]]] = {}
    for name, (file, side) in PUBLISHED.items():
        grid = Image.open(FACES / file).convert("RGB")
        pictures[name] = {one: cell(grid, side, one) for one in places}
        results[name] = {one: measures(pictures[name][one], photos[one]) for one in places}
    model = ganenc.load(MODEL, backbone="squeeze", device=chosen.device, encoder=chosen.encoder)
    moves = Moves(model) if DIRECTIONS.is_dir() else None
    for freedom in freedoms:
        name, method = f"ours: {freedom}", method_of(freedom, steps)
        pictures[name], results[name] = {}, {}
        for one in places:
            folder = chosen.work / f"{freedom}-{steps}" / f"{one[0]}-{one[1]}"
            if chosen.report and not (folder / "facts.json").is_file():
                continue
            made = pictures[name][one] = rebuild(model, photos[one], method, folder, place.clock())
            facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
            results[name][one] = measures(made, photos[one]) | facts | (moves(folder) if moves else {})
    results = {name: found for name, found in results.items() if found}
    whole = [name for name, found in results.items() if len(found) == len(places)]
    common = [one for one in places if all(one in found for found in results.values())]
    body = f"Ours: {MODEL}, {steps} steps from the mean style. Photos are named by row and column.\n"
    for names, where in ((whole, places), *([([*results], common)] if len(whole) < len(results) and common else [])):
        lines = [mean_row(name, [results[name][one] for one in where]) for name in names]
        named = ", ".join(f"{i}-{j}" for i, j in where)
        body += f"\n\nPhotos {named}:\n\n{table(['method', *MEASURED], lines)}"
    publish("faces", "The paper's faces", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads, place=place)
    columns = {name: made for name, made in pictures.items() if name in whole or name == "photo"}
    shown = [[one.resize((256, 256), Image.LANCZOS) for one in column.values()] for column in columns.values()]
    strip = np.concatenate([np.concatenate([*map(np.asarray, column)], 0) for column in shown], 1)
    Image.fromarray(strip).save(chosen.work / "side-by-side.png")
    print(f"{', '.join(columns)}: {chosen.work / 'side-by-side.png'}")


if __name__ == "__main__":
    main()
