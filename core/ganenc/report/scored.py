"""How odd photos are, and where: numbers, maps over the photos, a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.specs import GeneratorSpec
from torch import Tensor

from ganenc import measures
from ganenc.images import heat_over, write_png
from ganenc.inversion import Photo
from ganenc.measures import FALSE_ALARMS, Calibration, Oddity
from ganenc.report.pages import render

MEASURES = {
    "image_AUROC": "AUROC", "image_F1Score": "F1", "false_alarms": "false alarms", "found": "odd ones found",
    "pixel_AUROC": "AUROC of pixels", "pixel_F1Score": "F1 of pixels", "pixel_AUPRO": "AUPRO",
}  # fmt: skip
"""What is measured, in words."""


@dataclass(frozen=True, kw_only=True)
class Scored(Oddity):
    """Photos that a model scored; ``scored[i]`` is one of them."""

    photos: tuple[Photo, ...]
    reconstructions: Tensor = field(repr=False)
    """(N, C, H, W), on the CPU."""
    spec: GeneratorSpec = field(repr=False)
    calibration: Calibration = field(repr=False)
    false_alarms: float = FALSE_ALARMS

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Scored]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Scored:
        place = range(len(self))[place]
        some = slice(place, place + 1)
        rows: dict[str, Any] = {name: value[some] for name, value in vars(self).items() if isinstance(value, Tensor)}
        scores = {name: row[some] for name, row in self.scores.items()}
        return replace(self, **rows, scores=scores, photos=self.photos[some])

    @property
    def threshold(self) -> float:
        """Above which a photo is called odd."""
        return self.calibration.threshold(self.false_alarms)

    @property
    def heat(self) -> Tensor:
        """The maps in colours over the photos' greys, (N, 3, H, W) in the generator's range: from the mean of normal
        pixels on; the threshold of maps is half-way."""
        level = max(self.calibration.threshold(self.false_alarms, maps=True), 1e-6)
        heat = (self.anomaly_map / (2 * level)).clamp(0, 1)
        return heat_over(torch.stack([one.target for one in self.photos]), heat, self.spec.value_range)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What is to be said of each photo, as plain data."""
        return [
            {
                "photo": str(photo.source) if isinstance(photo.source, str | Path) else photo.name,
                "pred_score": float(self.pred_score[place]),
                "pred_label": bool(self.pred_label[place]),
                "p_value": float(self.p_value[place]),
                "pixels": int(self.pred_mask[place].sum()),
                "scores": {name: float(row[place]) for name, row in self.scores.items()},
            }
            for place, photo in enumerate(self.photos)
        ]

    def measure(self, truth: Sequence[int] | Tensor | None = None, masks: Tensor | None = None) -> dict[str, float]:
        """How well what is odd was found: see `ganenc.measures.detection`."""
        return measures.detection(self, truth, masks)

    def pictures(self, place: int) -> dict[str, Tensor]:
        """A photo, what was made of it, and the map over it, by name; signals and tiles have no map to look at."""
        found = {"photo": self.photos[place].target, "reconstruction": self.reconstructions[place]}
        return found | ({"map": self[place].heat[0]} if self.spec.shows == "pictures" else {})

    def save(self, folder: str | Path, names: Sequence[str] | None = None) -> list[Path]:
        """Write the maps over the photos, a PNG file each, by names or the photos' own."""
        names = names or [f"{place:04d}-{Path(photo.name).stem}" for place, photo in enumerate(self.photos)]
        files = [Path(folder) / f"{name}.png" for name in names] if self.spec.shows == "pictures" else []
        for file, heat in zip(files, self.heat if files else ()):
            write_png(file, heat, value_range=self.spec.value_range, sheet=True)
        return files


def scored_page(
    rows: Sequence[Mapping[str, Any]],
    pictures: Mapping[int, Mapping[str, Tensor]],
    calibration: Calibration,
    *,
    spec: GeneratorSpec,
    false_alarms: float,
    measured: Mapping[str, float],
    failures: Sequence[Mapping[str, str]] = (),
) -> str:
    """The page of photos, the oddest first: the ``rows`` of `Scored` that have ``pictures``, by their places."""
    odd = sum(row["pred_label"] for row in rows)
    return render(
        "scored.html",
        spec=spec,
        title=f"{odd} of {len(rows)} photos are odd",
        numbers={MEASURES[name]: f"{value:.3f}" for name, value in measured.items()},
        rows=sorted(((rows[at], shown) for at, shown in pictures.items()), key=lambda one: -one[0]["pred_score"]),
        total=len(rows),
        failures=failures,
        names=[*calibration.scores],
        threshold=calibration.threshold(false_alarms),
        false_alarms=false_alarms,
        facts_shown={
            "model": calibration.model,
            "hash of its weights": calibration.model_hash,
            "method": calibration.method.name,
            **calibration.method.options,
            "normal photos": len(calibration.normal),
            "rate of false alarms": false_alarms,
            "threshold of photos": calibration.threshold(false_alarms),
            "threshold of pixels": calibration.threshold(false_alarms, maps=True),
            "backbone": calibration.backbone,
            "features": calibration.features or calibration.backbone,
        },
    )
