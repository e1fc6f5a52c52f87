"""Ways from photos to latents at equal time: latents by gradient, the encoder fine-tuned, and both in turn.

On photos that were kept out of all training, with a shipped model. Every setting gets the same seconds a photo: what
its steps cost is measured once, in turn with the others, and gives the number of steps that fill the time. So the study
can be stopped and run on, also while the machine does other things: every inversion that is done stays in a file of
JSON lines, and is not done again.

A coarse study of all settings first, then a full one of the best of each method:

    python benchmarks/inversion.py --photos 4 --seconds 6 --out benchmarks/results/inversion-coarse.md
    python benchmarks/inversion.py --best 2
"""

from __future__ import annotations

import argparse
import fnmatch
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _common import RESULTS, clock, parser, publish, set_threads
from _study import ENCODERS, Costs, Records, Setting, measure_costs, settings
from _study_report import CURVE_POINTS, first_of_each, report
from ganenc import images
from ganenc.measures import build_metrics, score
from ganenc.models import load_encoder, load_generator, model_hash, resolve
from ganenc.objectives import build_objective, context_for
from ganenc_plugin_hands.models import PHOTOS
from ganenc_registry.specs import ObjectiveSpec
from torch import Tensor


class Study:
    """Models, photos and objective; does one setting on one photo at a time."""

    def __init__(self, options: argparse.Namespace, records: Path) -> None:
        folder = resolve(options.model).folder
        assert folder is not None, f"{options.model} is no model folder"
        self.generator = load_generator(folder)
        self.encoders = {name: load_encoder(folder / place) for name, place in ENCODERS.items()}
        self.objective = build_objective(ObjectiveSpec(backbone=options.backbone), self.generator)
        self.backbone: str = options.backbone
        self.metrics = build_metrics(("psnr", "ssim"), context_for(generator=self.generator.spec))
        self.seconds: float = options.seconds
        self.photos = self._read(options.folder, options.photos)
        hashes = [model_hash(module)[:12] for module in (self.generator, *self.encoders.values(), self.objective)]
        self.records = Records(records, {"models": hashes, "backbone": self.backbone, "threads": options.threads})
        photo = next(iter(self.photos.values()))
        self.costs: Costs = self.records.costs(
            lambda: measure_costs(
                photo, self.generator, self.encoders["photos"], self.objective, clock=clock(options.threads)
            )
        )

    def _read(self, folder: Path, count: int) -> dict[str, Tensor]:
        """``count`` photos by name, spread over the folder: (1, C, H, W) each."""
        spec, paths = self.generator.spec, images.find(folder)
        count = min(count, len(paths))
        chosen = [paths[i * len(paths) // count] for i in range(count)]
        options: dict[str, Any] = {"size": spec.size, "channels": spec.channels, "value_range": spec.value_range}
        return {path.stem: images.read(path, **options)[None] for path in chosen}

    def done(self, setting: Setting) -> dict[str, dict[str, Any]]:
        """The records of a setting by photo. One pass of an encoder counts for any time."""
        return {
            row["photo"]: row
            for row in self.records.all("inversion")
            if row["setting"] == setting.name and (setting.kind == "none" or row["seconds"] == self.seconds)
        }

    def run(self, setting: Setting, photo: str) -> dict[str, Any]:
        """Invert a photo, and keep and return what came out."""
        target = self.photos[photo]
        steps, refine = setting.plan(self.seconds, self.costs)
        encoder = self.encoders.get(setting.encoder)
        found = setting.build(steps, refine).invert(target, self.generator, encoder, objective=self.objective)
        ((psnr, ssim),) = (row.values() for row in score(target, found.reconstructions.detach(), self.metrics).rows)
        history = found.history[0]
        curve = self._curve(setting.times(steps, refine, self.costs), history) if history else [psnr] * CURVE_POINTS
        row = {
            "setting": setting.name,
            "photo": photo,
            "seconds": self.seconds,
            "spent": round(found.seconds[0], 3),
            "steps": [steps, refine],
            "psnr": round(psnr, 4),
            "ssim": round(ssim, 5),
            "curve": [*curve[: CURVE_POINTS - 1], round(psnr, 3)],
        }
        self.records.add("inversion", row)
        return row

    def _curve(self, times: Sequence[float], history: Sequence[Mapping[str, float]]) -> list[float | None]:
        """PSNR of the best latents so far, at equal steps of time but the last; None before there are any.

        It is that of the images as the objective's MSE, on the scale from -1 to 1, has it, without rounding.
        """
        views = {name.partition("/")[0] for row in history[:1] for name in row if name.endswith("/mse")} - {"latent"}
        weights = {"image": 1.0, **dict(zip(("at1", "at2"), getattr(self.objective.attention, "weights", ())))}
        best, points, done = (math.inf, 0.0), [], 0
        for point in range(1, CURVE_POINTS):
            while done < len(times) and times[done] <= times[-1] * point / CURVE_POINTS:
                row = history[done]
                loss = sum(
                    weights[view] * weight * row[f"{view}/{name}"]
                    for view in views
                    for name, weight in self.objective.weights.items()
                )
                best = min(best, (loss, row["image/mse"]))
                done += 1
            points.append(round(10 * math.log10(4 / best[1]), 3) if done else None)
        return points


def choose(study: Study, patterns: Sequence[str], best: int) -> list[Setting]:
    """The settings that begin like one of the patterns; with ``best``, of each method those that did best so far.

    What did best is taken from the inversions of the shortest time, those of the coarse study.
    """
    found = [one for one in settings() if any(fnmatch.fnmatch(one.name, f"{pattern}*") for pattern in patterns)]
    rows = study.records.all("inversion")
    if not best or not rows:
        return found
    shortest = min(row["seconds"] for row in rows)
    psnr: dict[str, list[float]] = {}
    for row in rows:
        if row["seconds"] == shortest:
            psnr.setdefault(row["setting"], []).append(row["psnr"])
    known = [one for one in found if one.name in psnr]
    ranked = sorted(known, key=lambda one: -sum(psnr[one.name]) / len(psnr[one.name]))
    kept = {one.name for one in first_of_each(ranked, best)}
    return [one for one in found if one.name in kept]


def main() -> None:
    """Do what is not done yet, and write the tables."""
    options = parser("inversion", __doc__.splitlines()[0])
    options.add_argument("--model", default="stylegan2-hands64", help="a shipped model, or the folder of one like it")
    options.add_argument("--backbone", default="hands", help="of the objective")
    options.add_argument("--folder", type=Path, default=PHOTOS, help="where the photos are")
    options.add_argument("--photos", type=int, default=12, help="how many of them")
    options.add_argument("--seconds", type=float, default=20.0, help="for each photo")
    options.add_argument("--methods", nargs="+", default=[""], help="settings by how their names begin; * matches all")
    options.add_argument("--best", type=int, default=0, help="only so many settings of each method, the best so far")
    options.add_argument("--records", type=Path, default=RESULTS / "inversion.jsonl", help="file of what is done")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    with tempfile.TemporaryDirectory() as scratch:
        if chosen.quick:
            chosen.photos, chosen.seconds, chosen.records = 1, 0.5, Path(scratch) / "inversion.jsonl"
        study = Study(chosen, chosen.records)
        picked = choose(study, chosen.methods, chosen.best)
        todo = [(photo, one) for photo in study.photos for one in picked if photo not in study.done(one)]
        for count, (photo, one) in enumerate(todo, 1):
            row = study.run(one, photo)
            print(f"{count}/{len(todo)} {photo} {one.name}: {row['psnr']:.2f} dB in {row['spent']:.1f} s", flush=True)
        out = chosen.out or (None if chosen.quick else RESULTS / "inversion.md")
        done = {one: study.done(one) for one in picked}
        costs = ", ".join(f"{kind} {1000 * seconds:.0f} ms" for kind, seconds in study.costs.steps.items())
        note = f"Backbone of the objective: {study.backbone}. A step costs: {costs}."
        body = report(done, list(study.photos), study.seconds, note, None if out is None else out.with_suffix(".svg"))
    target = next(iter(study.photos.values()))
    body += "\n\n" + " ".join(f"{name.upper()}: {metric.words(target)}." for name, metric in study.metrics.items())
    publish("inversion", "Ways to invert", body, out=out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
