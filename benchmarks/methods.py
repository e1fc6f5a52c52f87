"""Every method in one table: rebuilt, and edited then, on hands and on a GAN of faces that others trained.

`ganenc.jobs.benchmark` does the work, and goes on where it was stopped: encoders that are missing are trained for the
same time each, iterative methods take as many steps as fill 5, 20 and 60 seconds a photo. Hands are edited towards the
digit five, as the classifier sees it; faces along the first principal component, as nothing classifies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ganenc
from _common import parser, publish, set_threads, table
from _real import KINDS
from ganenc.images import find
from ganenc.jobs import benchmark
from ganenc.models import save_pretrained
from ganenc.report import Compared
from ganenc.training import solve_start
from ganenc_plugin_hands.figures import PHOTOS
from ganenc_registry.specs import BenchmarkSpec

HANDS, FACES = "stylegan2-hands64", "dcgan-faces-64"
BACKBONES = {HANDS: "hands", FACES: "squeeze"}
ENCODERS: dict[str, Sequence[str]] = {
    HANDS: ("encoder", "psp", "e4e", "e2style", "restyle", "in-domain", "alae", "bigbigan"),
    FACES: ("encoder", "d2e", "psp", "in-domain", "bigbigan"),
}
"""Recipes that an encoder is trained by, those that a GAN's latents allow; ours is ``encoder``."""
ITERATIVE = ("finetune", "finetune+refine", "newton", "rfm", "tune")
FREE = ("optimize", "image2stylegan")
"""What takes no encoder."""
QUICK = ("encoder encoder", "optimize", "tune")
NUMBERS = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
EDITED = {"effect": "effect", "consistency": "consistency", "nscd": "NSCD", "mahalanobis": "Mahalanobis"}


def study(model: str, photos: Sequence[Path], seconds: Sequence[float], train: float, start: Path) -> BenchmarkSpec:
    """The benchmark of one GAN: one pass of each encoder, and each iterative method."""
    named: dict[str, Any] = {f"{one} encoder": {"name": "encode", "encoder": one} for one in ENCODERS[model]}
    named |= {one: {"name": one} for one in FREE}
    named |= {one: {"name": one} if model == HANDS else {"name": one, "encoder": "encoder"} for one in ITERATIVE}
    named["in-domain"] = {"name": "in-domain", "encoder": "in-domain"}
    named["tune, closed form"] = {"name": "tune", "encoder": str(start)}
    named["newton, objective"] = {**named["newton"], "options": {"objective": True}}
    named["pti"] = {"name": "pti"}
    if model == HANDS:
        named["encode, the zoo's"] = {"name": "encode"}
        named["restyle encoder"] = {"name": "restyle", "encoder": "restyle"}
    given = {"model": model, "photos": [str(one) for one in photos], "methods": named, "own": False, "threads": 1}
    given |= {"metrics": {one: one for one in NUMBERS}, "backbone": BACKBONES[model], "train": train}
    return BenchmarkSpec.from_mapping({**given, "seconds": seconds, "towards": 5 if model == HANDS else None})


def line(row: Compared) -> list[str]:
    """A row of the table."""
    found = row.sets["photos"]
    numbers = {name.partition("-")[0]: mean for name, (mean, _) in found.table().items()}
    edits = {} if found.editing is None else {name: mean for name, (mean, _) in found.editing.table().items()}
    return [
        row.method, "one pass" if row.steps is None else row.schedule, str(row.steps or ""), f"{row.seconds:.2f}",
        *(f"{numbers[one]:.{2 if one == 'psnr' else 3}f}" if one in numbers else "" for one in NUMBERS),
        *(f"{edits[one]:.3f}" if one in edits else "" for one in EDITED),
    ]  # fmt: skip


def faces(folder: Path) -> list[Path]:
    """Real faces, cut as the GAN frames its own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, image in KINDS["faces"](folder):
        files.append(folder / f"{name}.png")
        image.save(files[-1])
    return files


def closed_form(model: str, folder: Path) -> Path:
    """The folder of an encoder that `solve_start` finds."""
    if not folder.is_dir():
        generator = ganenc.load_generator(model)
        save_pretrained(solve_start(generator, backbone=BACKBONES[model]).encoder, folder)
    return folder


def main() -> None:
    """Compare, or go on; publish."""
    options = parser("methods", __doc__ or "")
    options.add_argument("--photos", type=int, default=2, help="of each kind")
    options.add_argument("--seconds", type=float, nargs="+", default=[5, 20, 60], help="a photo")
    options.add_argument("--train", type=float, default=120, help="seconds for which each encoder is trained")
    options.add_argument("--models", nargs="+", choices=[*ENCODERS], default=[*ENCODERS], help="these alone")
    options.add_argument("--work", type=Path, default=Path("runs/methods"), help="where results are kept as they come")
    chosen = options.parse_args()
    count, seconds, train = (1, [1.0], 1.0) if chosen.quick else (chosen.photos, chosen.seconds, chosen.train)
    set_threads(1)
    body = []
    for model in [HANDS] if chosen.quick else chosen.models:
        work = chosen.work / model
        hands = find(PHOTOS)
        photos = hands[:: max(1, len(hands) // count)] if model == HANDS else faces(chosen.work / "faces")
        spec = study(model, photos[:count], seconds, train, closed_form(model, chosen.work / f"{model}-start"))
        if chosen.quick:
            spec = spec.model_copy(update={"methods": {name: spec.methods[name] for name in QUICK}})
        found = benchmark(spec, work, on_note=lambda note: print(note, flush=True))
        header = ["method", "schedule", "steps", "seconds", *NUMBERS.values(), *EDITED.values()]
        body.append(f"## {model}\n\n{table(header, [line(one) for one in found.rows])}")
    publish(
        "methods", "Every method, rebuilding and editing", "\n\n".join(body), out=chosen.out, quick=chosen.quick,
        threads=1,
    )  # fmt: skip


if __name__ == "__main__":
    main()
