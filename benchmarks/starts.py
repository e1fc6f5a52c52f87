"""Where latents start from, at equal time: the mean latents, the best of 100 draws, and an encoder in closed form.

Each photo goes through `optimize` from each start with the same objective and as many steps as fill the time; what is
done before a photo is known, that is the draws' images and solving for the encoder, is not counted. Every result is
kept in a file of JSON lines in ``--work``, so that a run that was stopped goes on.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import ganenc
import torch
from _common import RESULTS, clock, parser, publish, set_threads, table
from ganenc import images
from ganenc.encoders import Encoder
from ganenc.latents import Latents
from ganenc.measures import HELD_OUT
from ganenc.models import load_encoder, save_pretrained
from ganenc.training import solve_start
from ganenc_plugin_hands.models import PHOTOS
from torch import Tensor

SHARED = RESULTS.parents[2] / "shared"
FACES = SHARED / "data" / "faces" / "aligned"
HANDS = "stylegan2-hands64"
MODELS: dict[str, tuple[str, str, Path | None]] = {
    HANDS: (HANDS, "hands", PHOTOS),
    "pggan-hands64": ("pggan-hands64", "hands", PHOTOS),
    "dcgan-celeba32": (str(SHARED / "gans" / "dcgan-celeba32.pt"), "squeeze", FACES),
    "wgangp-mnist28": (str(SHARED / "gans" / "wgangp-mnist28.pt"), "squeeze", None),
    "mobilestylegan-ffhq-1024": ("mobilestylegan-ffhq-1024", "squeeze", FACES),
}
"""By name: what is loaded, its backbone, and photos; without any, images of its own that are drawn elsewhere."""
STARTS = ("centre", "100 draws", "closed form")
DRAWS = 100


class Fixed(Encoder):
    """Gives the same latents for any photo, so that all starts take the same way."""

    def __init__(self, encoder: Encoder, latents: Latents) -> None:
        super().__init__(encoder.spec)
        self.latents = latents

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Latents:
        return self.latents


class Study:
    """A model, its photos, and the starts of each."""

    def __init__(self, name: str, work: Path, photos: int, samples: int) -> None:
        source, backbone, folder = MODELS[name]
        self.name, self.records = name, work / f"{name}.jsonl"
        self.model = ganenc.load(source, backbone=backbone)
        self.objective = self.model.objective()
        generator = self.model.generator
        place = work / f"{name}-encoder-{samples}"
        if not (place / "config.json").is_file():
            save_pretrained(solve_start(generator, backbone=backbone, images=samples).encoder, place)
        self.encoder = load_encoder(place)
        found = images.find([folder])[:: 2 if folder == FACES else 3] if folder else []
        self.photos = [self.model.read(path).target[None] for path in found[:photos]]
        if not found:
            self.photos = [*self.model.generate(photos, first=HELD_OUT).images.split(1)]
        self.starts = self._starts()

    @torch.no_grad()
    def _starts(self) -> dict[str, list[Latents]]:
        """By name, the latents that each photo starts from."""
        generator = self.model.generator
        best = [(float("inf"), generator.center())] * len(self.photos)
        for place in range(DRAWS):
            latents = generator.complete(generator.sample(1, seed=1, first=place))
            made = generator.synthesize(latents)
            for i, photo in enumerate(self.photos):
                error = float((made - photo).square().mean())
                best[i] = min(best[i], (error, latents), key=lambda pair: pair[0])
        return {
            "centre": [generator.center()] * len(self.photos),
            "100 draws": [latents for _, latents in best],
            "closed form": [self.encoder(photo) for photo in self.photos],
        }

    def invert(self, start: str, photo: int, steps: int) -> dict[str, float]:
        """The objective of what `optimize` ends at, and its PSNR in dB; of the start itself without steps."""
        fixed, target = Fixed(self.encoder, self.starts[start][photo]), self.photos[photo]
        method = {"name": "optimize", "options": {"steps": max(1, steps), "starts": 1}} if steps else "encode"
        done = ganenc.invert(target, self.model.generator, fixed, method, objective=self.objective)
        with torch.no_grad():
            result = self.objective(done.reconstructions, self.objective.prepare(target))
        low, high = self.model.generator.spec.value_range
        error = float((done.reconstructions.clamp(low, high) - target).square().mean()) / (high - low) ** 2
        return {"loss": float(result.image), "psnr": float(-10 * torch.tensor(error).log10())}

    def rows(self, budgets: list[float], threads: int) -> list[dict[str, Any]]:
        """All results, those that are kept and those that are still to be had."""
        rows = [json.loads(line) for line in self.records.read_text().splitlines()] if self.records.is_file() else []
        tick = clock(threads)
        self.invert("centre", 0, 1)
        began = tick()
        self.invert("centre", 0, 3)
        cost = (tick() - began) / 3.7  # Four images are made, the last without its gradient.
        for seconds in budgets:
            for photo in range(len(self.photos)):
                for start in STARTS:
                    key = {"seconds": seconds, "photo": photo, "start": start}
                    if not any(key.items() <= row.items() for row in rows):
                        steps = max(1, int(seconds / cost)) if seconds else 0
                        rows.append({**key, "steps": steps, **self.invert(start, photo, steps)})
                        with self.records.open("a") as file:
                            file.write(json.dumps(rows[-1]) + "\n")
        return [row for row in rows if row["photo"] < len(self.photos) and row["seconds"] in budgets]


def lines(name: str, rows: list[dict[str, Any]]) -> list[list[object]]:
    """A model's lines in the table: means over the photos, and against the better of the other starts."""
    found: list[list[object]] = []
    for seconds in sorted({row["seconds"] for row in rows}):
        here = [row for row in rows if row["seconds"] == seconds]
        means = {
            start: [statistics.mean(row[what] for row in here if row["start"] == start) for what in ("loss", "psnr")]
            for start in STARTS
        }
        ours, others = means["closed form"], [means["centre"], means["100 draws"]]
        found.append([
            name, f"{seconds:g}", round(statistics.mean(row["steps"] for row in here)),
            *(f"{means[start][0]:.3f}, {means[start][1]:.2f} dB" for start in STARTS),
            f"{ours[0] / min(loss for loss, _ in others):.2f}", f"{ours[1] - max(psnr for _, psnr in others):+.2f}",
        ])  # fmt: skip
    return found


def main() -> None:
    """Measure every model, and write it down."""
    options = parser("starts", __doc__.splitlines()[0])
    options.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS], help="the generators")
    options.add_argument("--seconds", nargs="+", type=float, default=[0, 5, 20, 60], help="a photo")
    options.add_argument("--photos", type=int, default=4, help="how many of each")
    options.add_argument("--images", type=int, default=300, help="that the encoder is solved from")
    options.add_argument("--work", type=Path, default=Path("starts"), help="where results are kept as they are done")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.models, chosen.seconds, chosen.photos, chosen.images = [HANDS], [0, 0.5], 1, 40
    chosen.work.mkdir(parents=True, exist_ok=True)
    found = []
    for name in chosen.models:
        study = Study(name, chosen.work, chosen.photos, chosen.images)
        found += lines(name, study.rows(chosen.seconds, chosen.threads))
    header = ["generator", "seconds", "steps", *STARTS, "loss over the better", "dB over the better"]
    body = (
        f"{chosen.photos} photos each (of wgangp-mnist28 images of its own, drawn elsewhere); the encoder solved from"
        f" {chosen.images} images. Objective and PSNR, means; 0 seconds is the start itself.\n\n{table(header, found)}"
    )
    publish("starts", "Where latents start from", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
