"""What ``--seconds N`` plans, against ``optimize`` in the same time: `Model.plan` on hands and on real faces.

Every plan takes as many steps as `Model.plan` finds to fill the time, one photo after another, on one thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import get_args

import ganenc
from _common import parser, publish, set_threads, table
from ganenc.images import find
from ganenc.inversion import Purpose
from ganenc.model import Model
from ganenc_plugin_hands.figures import PHOTOS
from ganenc_registry.specs import Choice
from methods import BACKBONES, FACES, HANDS, closed_form, faces

DIGITS = {"psnr": 2, "ssim": 3, "lpips": 3}


def line(model: Model, photos: Sequence[Path], choice: Choice) -> list[str]:
    """What a plan is and gives: the means over photos."""
    rows, started = [], time.process_time()
    for photo in photos:
        rows += model.invert(photo, choice).score(tuple(DIGITS))
    spent = (time.process_time() - started) / len(photos)
    numbers = (f"{fmean(list(row.values())[place] for row in rows):.{digits}f}"
               for place, digits in enumerate(DIGITS.values()))  # fmt: skip
    return [choice.name, str(choice.options["steps"]), f"{spent:.1f}", *numbers]


def main() -> None:
    """Plan, invert and publish."""
    options = parser("planned", __doc__ or "")
    options.add_argument("--photos", type=int, default=3, help="of each kind")
    options.add_argument("--seconds", type=float, nargs="+", default=[2, 5, 10, 20, 60], help="a photo")
    options.add_argument("--models", nargs="+", default=[HANDS, FACES], help="these alone")
    options.add_argument("--work", type=Path, default=Path("runs/planned"), help="where faces and encoders are put")
    chosen = options.parse_args()
    count, times = (1, [0.5]) if chosen.quick else (chosen.photos, chosen.seconds)
    set_threads(1)
    body = []
    for name in [HANDS] if chosen.quick else chosen.models:
        every = find(PHOTOS) if name == HANDS else faces(chosen.work / "faces")
        photos = every[:: max(1, len(every) // count)][:count]
        encoder = None if name == HANDS else closed_form(name, chosen.work / f"{name}-start")
        model = ganenc.load(name, encoder=encoder, backbone=BACKBONES[name])
        rows = []
        for seconds in times:
            plans = {f"for {one}": model.plan(one, seconds=seconds) for one in get_args(Purpose) if one != "restore"}
            plans["`optimize`"] = model.plan(seconds=seconds, method="optimize")
            rows += [[f"{seconds:g} s", plan, *line(model, photos, choice)] for plan, choice in plans.items()]
        header = ["time", "plan", "method", "steps", "seconds", "PSNR", "SSIM", "LPIPS"]
        body.append(f"## {name}, {len(photos)} photos\n\n{table(header, rows)}")
    publish("planned", "What is planned for a time", "\n\n".join(body), out=chosen.out, quick=chosen.quick, threads=1)


if __name__ == "__main__":
    main()
