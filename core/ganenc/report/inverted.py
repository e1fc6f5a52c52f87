"""What comes of inverting photos with a model: pictures, numbers, a page, a folder."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import torch
from ganenc_registry.errors import ImageError
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ganenc.files import write_text
from ganenc.images import depict, draw_frame, to_image
from ganenc.inversion import Inversion, Parts, Photo, PhotoFolder
from ganenc.measures import PSNR, DomainCheck, domain_warning, judge, score
from ganenc.objectives import Look, Objective, looks
from ganenc.report.chart import curves_of, panels
from ganenc.report.pages import render
from ganenc.report.pictures import FEW_PIXELS, compared
from ganenc.report.texts import metric_name, metric_text, seconds_text

FEWEST = 3
"""Pixels a side that SSIM takes."""
SHOWN = 8
"""Of several photos, so many are shown in a notebook."""


@dataclass(frozen=True, repr=False, kw_only=True)
class Inverted(Inversion):
    """Photos that a model inverted: one, or several; ``inverted[i]`` is one of them."""

    photos: tuple[Photo, ...]
    model: Parts
    objective: Objective | None = None
    """What the photos were compared by; None where the method compares none."""
    one_pass: bool = False
    """Whether the method is one pass of the encoder."""
    others: bool = True
    """Whether a photo that comes back badly is tried aligned otherwise."""

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Inverted]:
        return (self[place] for place in range(len(self)))

    def __getitem__(self, place: int) -> Inverted:
        place = range(len(self))[place]
        some, settings = slice(place, place + 1), self.settings
        latents, tuning = self.sample(place)
        if "labels" in settings:
            settings = {**settings, "labels": settings["labels"][some]}
        one = replace(
            self, latents=latents, tuning=[tuning], reconstructions=self.reconstructions[some],
            history=self.history[some], seconds=self.seconds[some],
            labels=None if self.labels is None else self.labels[some], photos=self.photos[some], settings=settings,
            seen=None if self.seen is None else self.seen[place],
        )  # fmt: skip
        for name in ("scores", "mean_scores"):  # What was computed for all at once stands for each.
            if name in self.__dict__:
                one.__dict__[name] = self.__dict__[name][some]
        return one

    def __repr__(self) -> str:
        names = ", ".join(photo.name for photo in self.photos[:3]) + (", ..." if len(self) > 3 else "")
        return f"Inverted({names} by {self.method} with {self.model.source or self.model})"

    @property
    def method(self) -> str:
        """The name of the method."""
        return str(self.settings["method"]["name"])

    @property
    def targets(self) -> Tensor:
        """What was to be rebuilt, (N, C, H, W), beside the reconstructions; through an operator, what was seen."""
        seen = None if self.seen is None else self.seen.seen
        return (torch.stack([photo.target for photo in self.photos]) if seen is None else seen).to(self.reconstructions)

    @property
    def pasted(self) -> Tensor | None:
        """The reconstructions with what they lack of what was seen, see `Seen.pasted`; None where there is none."""
        return None if self.seen is None else self.seen.pasted(self.reconstructions.detach())

    @property
    def image(self) -> Image.Image:
        """The reconstruction of the one photo; an ImageError if there are several."""
        return to_image(depict(self._only().reconstructions[0], self.model.generator.spec))

    @cached_property
    def scores(self) -> list[dict[str, float]]:
        """The metrics of every photo."""
        return self._compared(self.reconstructions)

    @cached_property
    def mean_scores(self) -> list[dict[str, float]]:
        """The metrics of the generator's mean image against every photo."""
        return self._compared(self.model.mean_image.expand_as(self.reconstructions))

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics, averaged over the photos."""
        return {name: sum(row[name] for row in self.scores) / len(self) for name in self.scores[0]}

    @cached_property
    def looks(self) -> list[Look]:
        """Where the attention looked, and what the losses saw, in the one photo and its reconstruction; else empty."""
        if self.objective is None:
            return []
        one = self._only()
        made = self._seen_of(one.reconstructions.detach())
        return looks(self.objective.attention, one.targets, made, labels=self.labels)

    @cached_property
    def check(self) -> DomainCheck | None:
        """Whether the one photo is like what the generator makes; None where there is no encoder to tell, or something
        else was seen of it."""
        one, judge = self._only(), None if self.seen is not None else self.model.judge(self.settings["seed"])
        if judge is None:
            return None
        once = one.reconstructions if self.one_pass else None
        spec = None if self.objective is None else self.objective.spec
        others = self.model.other_aligners(None if spec is None else spec.attention) if self.others else {}
        return judge.check(one.photos[0], self.labels, once=once, others=others)

    def verdicts(self, scores: Sequence[Mapping[str, float]]) -> list[str | None]:
        """Of every photo whether it is like what the generator makes, in words; None where `check` is. ``scores`` are
        their metrics, PSNR among them."""
        judging = None if self.seen is not None else self.model.judge(self.settings["seed"])
        if judging is None:
            return [None] * len(self)
        once = [row["psnr"] for row in scores] if self.one_pass else None
        return [
            judge(check, check.photo_psnr).headline for check in judging.checks(self.targets, self.labels, values=once)
        ]

    def score(self, choices: Iterable[str]) -> list[dict[str, float]]:
        """Metrics of every photo, chosen by their names."""
        return self._compared(self.reconstructions, choices)

    def facts(self) -> dict[str, Any]:
        """What is to be said of the one photo, as plain data."""
        one, model = self._only(), self.model
        photo, history = one.photos[0], one.history[0] if one.history else []
        backbone = model.metric_backbone()
        return {
            "photo": str(photo.source) if isinstance(photo.source, str | Path) else photo.name,
            "model": model.source,
            "model_hash": model.hash,
            "method": self.method,
            "seed": self.settings["seed"],
            **photo.read_with,
            "steps": len(history),
            "metric_settings": {
                name: metric.words(_enlarged(self.targets)) for name, metric in model.metrics().items()
            },
            "settings": self.settings,
            "space": self.latents.space,
            "transform": None if photo.transform is None else photo.transform.to_mapping(),
            "tuning": self._tuned(),
            "found": None if self.seen is None else self.seen.operators[0].found(),
            "labels": None if self.labels is None else self.labels.tolist(),
            "labels_from": self.labels_from,
            "backbone": None if backbone is None else backbone.name,
            "loss": history[-1] if history else None,
            "metrics": one.scores[0],
            "metrics_of_the_mean_image": one.mean_scores[0],
            "seconds": self.seconds[0],
            **self._judged(),
        }

    def page(self) -> str:
        """The page of the one photo, as HTML that needs no other file."""
        one, model, check = self._only(), self.model, self.check
        photo, made, metrics = one.photos[0], one.reconstructions[0].detach().cpu(), one.scores[0]
        history, seconds = one.history[0] if one.history else [], one.seconds[0]
        taken, spec = model.metrics(), model.generator.spec
        numbers = {metric_name(name): metric_text(value, taken.get(name)) for name, value in metrics.items()}
        speed = f", {len(history) / seconds:.1f} steps a second" if history and seconds else ""
        return render(
            "inversion.html",
            title=photo.name,
            model=PurePath(model.source).name,
            method=self.method,
            numbers={**numbers, "seconds": seconds_text(seconds)},
            spec=spec,
            few=max(photo.target.shape[-2:]) < FEW_PIXELS,
            **self._pictures(photo, made),
            pasted=None if one.pasted is None else one.pasted[0],
            shown=None if self.seen is None else self._seen_of(made[None])[0].cpu(),
            place=self._place(photo, made),
            check=check,
            verdict=None if check is None else judge(check, metrics["psnr"]),
            bars=[] if check is None else _bars(check, metrics["psnr"]),
            looks=[look for look in self.looks if look.name != "image"],
            panels=panels(curves_of(history)),
            metrics=metrics,
            taken=taken,
            targets=_enlarged(self.targets),
            facts_shown={
                **({"model": model.source} if model.source else {}),
                "hash of its weights": model.hash,
                "time": f"{seconds:.1f} s{speed}",
                **(
                    {}
                    if self.seen is None
                    else {"operator": self.settings.get("operator"), **self.seen.operators[0].found()}
                ),
                "method": self.method,
                **self.settings["method"]["options"],
                **({} if self.labels is None else {"class": f"{self.labels.tolist()[0]} ({self.labels_from})"}),
                "seed": self.settings["seed"],
                "space of the latents": self.latents.space,
                **({} if (tuned := self._tuned()) is None else {"weights that were tuned": _tuned_text(tuned)}),
            },
        )

    def report(self, path: str | Path) -> None:
        """Write the page of the one photo."""
        write_text(path, self.page())

    def save(self, folder: str | Path, *, pages: bool = True) -> None:
        """Write what the photo leaves, see `PhotoFolder`; of several, each into a folder of its own by its number.
        ``pages``: whether to write a report and a picture of what the attention saw."""
        if len(self) > 1:
            for place, one in enumerate(self):
                one.save(Path(folder) / f"{place:04d}-{Path(one.photos[0].name).stem}", pages=pages)
            return
        PhotoFolder(Path(folder)).write(
            self.photos[0],
            self.reconstructions[0].detach().cpu(),
            self.latents,
            self.facts(),
            model=self.model.hash,
            spec=self.model.generator.spec,
            tuning=self.sample(0)[1],
            looks=self.looks if pages else (),
            page=self.page() if pages else "",
            pasted=None if self.pasted is None else self.pasted[0].cpu(),
        )

    def show(self) -> None:
        """Show target, reconstruction and difference: in a notebook there, otherwise in the system's viewer."""
        notebook = sys.modules.get("IPython")  # Loaded already wherever there is one.
        if notebook is not None and notebook.get_ipython() is not None:
            notebook.display.display(self)
        else:
            self.image.show()

    def _repr_html_(self) -> str:
        taken, spec, rows = self.model.metrics(), self.model.generator.spec, []
        for place in range(min(SHOWN, len(self))):
            one, metrics = self[place], self.scores[place]
            numbers = [f"{metric_name(name)} {metric_text(value, taken.get(name))}" for name, value in metrics.items()]
            shown = one._pictures(one.photos[0], one.reconstructions[0].detach().cpu())
            rows.append({"name": one.photos[0].name, "numbers": ", ".join(numbers), **shown})
        return render("notebook.html", rows=rows, spec=spec)

    def _tuned(self) -> dict[str, Any] | None:
        """How far the weights of the one photo were tuned; None where they were not."""
        _, tuning = self._only().sample(0)
        if not tuning:
            return None
        weights = dict(self.model.generator.named_parameters())
        far, long = (
            math.sqrt(sum(float(one.double().square().sum()) for one in some))
            for some in (tuning.values(), (weights[name] for name in tuning))
        )
        return {"tensors": len(tuning), "values": sum(one.numel() for one in tuning.values()), "change": far / long}

    def _judged(self) -> dict[str, Any]:
        """What one pass of the encoder says of the photo; empty where there is no encoder."""
        check = self.check
        if check is None:
            return {}
        return {
            "one_pass": {
                "photo_psnr": check.photo_psnr,
                "generated_psnr": check.baseline.psnr,
                "generated_deviation": check.baseline.deviation,
                "generated_count": check.baseline.count,
                "deviations_below": check.deviations,
                "mean_image_psnr": check.photo_mean_psnr,
                "aligned_psnr": dict(check.aligned),
            },
            "far": check.far,
            "hint": check.hint,
            "warning": domain_warning(check, self.photos[0].name) or None,
            "verdict": judge(check, self.scores[0]["psnr"]).headline,
        }

    def _place(self, photo: Photo, made: Tensor) -> dict[str, Any] | None:
        """The whole photo, with a frame around the target and with the reconstruction there; None where not aligned."""
        whole = photo.put_back(made)
        if photo.transform is None or photo.whole is None or whole is None:
            return None
        align = photo.read_with["align"] or {"name": "a transform"}
        framed = draw_frame(photo.whole, photo.transform.corners(), self.model.generator.spec.value_range)
        return {"align": align["name"], "photo": photo.whole, "framed": framed, "result": whole}

    def _only(self) -> Inverted:
        if len(self) != 1:
            raise ImageError(f"These are {len(self)} photos; pick one by its number, such as inverted[0].")
        return self

    def _seen_of(self, made: Tensor) -> Tensor:
        """What would have been seen of reconstructions (N, C, H, W)."""
        with torch.no_grad():
            return made if self.seen is None else self.seen.through(made)

    def _pictures(self, photo: Photo, made: Tensor) -> dict[str, Any]:
        """The one photo, its reconstruction (C, H, W), and the difference between what was and would be seen."""
        found = compared(self.targets[0], self._seen_of(made[None])[0], self.model.generator.spec)
        return {**found, "target": photo.target, "reconstruction": made}

    def _compared(self, made: Tensor, choices: Iterable[str] | None = None) -> list[dict[str, float]]:
        taken = self.model.metrics() if choices is None else self.model.metrics(choices)
        return score(_enlarged(self.targets), _enlarged(self._seen_of(made.detach())), taken).rows


def _enlarged(images: Tensor) -> Tensor:
    """Images (N, C, H, W), enlarged pixel by pixel where SSIM would have too few of them."""
    side = min(images.shape[2:])
    return images if side >= FEWEST else F.interpolate(images, scale_factor=math.ceil(FEWEST / side), mode="nearest")


def _tuned_text(tuned: dict[str, Any]) -> str:
    return f"{tuned['values']:,} in {tuned['tensors']} tensors, by {tuned['change']:.2%} of their length"


def _bars(check: DomainCheck, final: float) -> list[tuple[str, str, str, float]]:
    """Bars by name: a PSNR, its kind, and the bar's length in percent."""
    rows = [
        (f"{check.baseline.count} generated images, one pass", check.baseline.psnr, "generated"),
        ("This photo, one pass", check.photo_psnr, "photo"),
        ("This photo, as reported", final, "final"),
        ("This photo and the mean image", check.photo_mean_psnr, "mean"),
    ]
    top = max((value for _, value, _ in rows if math.isfinite(value)), default=1.0)
    return [(name, metric_text(value, PSNR), kind, _share(value, top)) for name, value, kind in rows]


def _share(value: float, top: float) -> float:
    """The length of a bar, in percent, with room left for its number."""
    return round(80.0 * max(0.0, min(value, top)) / top, 1) if top > 0 and value == value else 0.0
