"""Which generator made an image: shipped ones, trained on the same photos of hands, and others' of faces; real photos.

Images are drawn apart from those that a model goes by, with noise anew, and rounded to 8 bits. Real photos are hands
kept out of all training and, where folders are given, hands that the models learned from, and faces.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _common import RESULTS, parser, publish, set_threads, table
from ganenc import Model, images, load
from ganenc.files import write_json
from ganenc.jobs import OWN, RATE, STEPS, Attribution, attribute
from ganenc_plugin_hands.models import PHOTOS
from PIL import Image
from torch import Tensor

PICTURE = RESULTS.parents[1] / "docs" / "how-to" / "attribute.png"
HANDS = ["stylegan2-hands64", "stylegan1-hands64", "pggan-hands64", "biggan-hands64"]
PART = 25
"""Images that are done, and kept, at once."""
TRAINED = "hands of the training"
SEED = 2
"""Of the images; models go by those of seed 0, and on those of seed 1 the rule was settled."""
SEEN = 25
"""Faces, on which it was settled, too."""


@torch.no_grad()
def drawn(model: Model, first: int, n: int) -> list[Image.Image]:
    """Images of 8 bits."""
    made, generator = [], model.generator
    for place in range(first, first + n):
        labels = generator.draw_labels(1, seed=SEED, first=place)
        one = generator.complete(generator.sample(1, seed=SEED, first=place, labels=labels), labels=labels)
        made.append(images.to_image(images.depict(generator.synthesize(one, noise=place)[0], generator.spec)))
    return made


def shown(one: Attribution) -> dict[str, Tensor]:
    """An image, and what each model makes of it, with the deviations."""
    (image, _), *_ = one.pictures.values()
    made = {f"{name.removesuffix('-hands64')}, {one.apart[name]:+.1f}": two for name, (_, two) in one.pictures.items()}
    return {"image": image, **made}


def main() -> None:
    """Attribute images of every model, and real photos, and print who is taken for whom."""
    options = parser("attributing", __doc__)
    options.add_argument("--models", nargs="*", default=[*HANDS, "dcgan-faces-64", "dcgan-celebs-64"])
    options.add_argument("--images", type=int, default=50, help="of each model")
    options.add_argument("--faces", type=Path, help="a folder of real faces")
    options.add_argument("--hands", type=Path, help="a folder of hands that were trained on, in `0` to `9`")
    options.add_argument("--photos", type=int, nargs=2, default=[50, 38], help="of these, at most")
    options.add_argument("--steps", type=int, default=STEPS)
    options.add_argument("--work", type=Path, help="a folder that keeps what is done, so that it is not done again")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    own, rate = OWN, RATE
    if chosen.quick:
        chosen.models, chosen.images, chosen.steps, own, rate = HANDS[2:], 2, 2, 4, 0.2
    models = [load(name, backbone="hands" if name in HANDS else "none") for name in chosen.models]
    real = {"real hands": sorted(Path(PHOTOS).glob("*.jpg"))[: 2 if chosen.quick else None]}
    if chosen.faces:
        real["real faces"] = sorted(chosen.faces.glob("*.jpg"))[SEEN : SEEN + chosen.photos[0]]
    if chosen.hands:  # Some of each digit, but those that are kept out.
        every = [file for digit in range(10) for file in sorted((chosen.hands / str(digit)).glob("*.JPG"))[2::48]]
        real[TRAINED] = every[: chosen.photos[1]]
    sets: dict[str, tuple[int, Callable[[int, int], list[Any]]]] = {
        model.source: (chosen.images, partial(drawn, model)) for model in models
    }
    sets |= {name: (len(files), lambda first, n, files=files: files[first : first + n]) for name, files in real.items()}
    found: dict[str, dict[str, Any]] = {name: {"photos": [], "seconds": 0.0} for name in sets}
    strips: dict[str, dict[str, Tensor]] = {}
    places = [(first, name) for name, (count, _) in sets.items() for first in range(0, count, PART)]
    for first, name in sorted(places, key=lambda one: one[0]):
        count, get = sets[name]
        some = min(PART, count - first)
        kept = None if chosen.work is None else chosen.work / f"{name}-{first}-{some}.json"
        if kept is None or not kept.is_file():
            started, photos = time.process_time(), get(first, some)
            done = attribute(photos, models, rate=rate, own=own, steps=chosen.steps, kept=chosen.work)
            facts = {**done.to_mapping(), "seconds": time.process_time() - started}
            print(name, first, Counter(one.verdict for one in done), f"{facts['seconds']:.0f} s", flush=True)
            strip = shown(done[0])
            if kept is not None:
                write_json(kept, facts)
                torch.save(strip, kept.with_suffix(".pt"))
        else:
            facts, strip = json.loads(kept.read_text()), torch.load(kept.with_suffix(".pt"), weights_only=True)
        found[name]["photos"] += facts["photos"]
        found[name]["seconds"] += facts["seconds"]
        found[name]["models"] = facts["models"]
        strips.setdefault(name, strip)
    columns = [*(model.source for model in models), "none"]
    rows, right, alone = [], {}, {}
    for name, one in found.items():
        said = Counter(row["verdict"] for row in one["photos"])
        nearest = Counter(max(row["models"], key=lambda key, row=row: row["models"][key]["psnr"])
                          for row in one["photos"])  # fmt: skip
        count, true = len(one["photos"]), "none" if name in real else name
        right[name], alone[name] = said[true] / count, nearest[name] / count
        rows.append([name, *(said[column] or "" for column in columns), f"{100 * right[name]:.0f} %"])
    facts = next(iter(found.values()))["models"]
    errors = [
        [name, *(f"{sum(values) / len(values):.1f} ({min(values):.1f} to {max(values):.1f})" for column in facts
                 if (values := [row["models"][column]["psnr"] for row in one["photos"]]))]
        for name, one in found.items()
    ]  # fmt: skip
    spent, many = sum(one["seconds"] for one in found.values()), sum(len(one["photos"]) for one in found.values())
    of_models = [name for name in found if name not in real]
    body = [
        f"By {chosen.steps} steps of `newton` from the best of some draws, three times, under the two models that come"
        f" nearest after a quarter of them once, as `ganenc attribute` has it; beside {own} own images of"
        f" each, at a rate of {rate:g}."
        f" {spent / 60:.1f} minutes of the processor in all, {many} images under {len(models)} models and own images"
        " once.",
        "## Who is taken for whom",
        table(["made by", *columns, "right"], rows),
        f"Right: {100 * sum(right[name] for name in of_models) / len(of_models):.1f} % of images. By the PSNR alone,"
        f" without own images and `none`: {100 * sum(alone[name] for name in of_models) / len(of_models):.1f} %. Real"
        f" photos called none: {', '.join(f'{name} {100 * right[name]:.0f} %' for name in real)}.",
        "## PSNR of the inversions, dB, mean and range",
        table(["made by", *facts], errors),
        "Own images, mean and deviation in dB: "
        + "; ".join(f"{name} {one['psnr']:.1f} ± {one['deviation']:.1f}" for name, one in facts.items())
        + ".",
    ]
    if not chosen.quick:  # Faces are of people, so not for the repository.
        rows_shown = [strip for name, strip in strips.items() if name != "real faces"]
        images.write_png(PICTURE, images.sheet(rows_shown), replace=True, sheet=True)
    publish("attributing", "Which generator made an image", "\n\n".join(body), out=chosen.out, quick=chosen.quick,
            threads=chosen.threads)  # fmt: skip


if __name__ == "__main__":
    main()
