"""Inverting photos one by one, and what each leaves on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import ImageError

from ganenc.cli._console import Bar
from ganenc.cli._judging import Judge
from ganenc.cli._labels import class_text
from ganenc.cli._outcome import Job, Outcome, Result, show_outcome, unique_names, warn_of_domain, write_summary
from ganenc.cli._placing import NO_ALIGNMENT, Placed, Placer

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.attention import Attention, Look
    from ganenc.inverters import Inversion
    from ganenc.report import DomainCheck

__all__ = ["Job", "Outcome", "Result", "invert_photos", "show_outcome", "warn_of_domain"]


class _Worker:
    """Inverts one photo after another; what does not depend on the photo is made once."""

    def __init__(self, job: Job) -> None:
        import torch

        from ganenc.inverters.entry import build_inverter

        session = job.session
        self.job, self.spec = job, session.generator.spec
        build_inverter(job.method, **job.options)  # A wrong option is told before any work is done.
        self.objective = session.objective_for(job.method, job.labels, job.candidates)
        self.backbone = session.metric_backbone()
        self.placer = Placer(self.spec, fit=job.fit, attention=self._attention())
        if job.align != NO_ALIGNMENT:
            self.placer.aligner(job.align, job.align_options)
        with torch.no_grad():
            self.mean_image = session.generator.synthesize(session.generator.center())
        self.judge: Judge | None = None
        if session.encoder is not None:
            self.judge = Judge(session, self.placer, self.mean_image, job.seed)

    def _attention(self) -> Attention | None:
        """The attention of the objective, also where photos are aligned by it alone."""
        if self.objective is not None:
            return self.objective.attention
        return None if self.job.align == NO_ALIGNMENT else self.job.session.attention()

    def settings_of_metrics(self) -> dict[str, str]:
        """How the metrics are taken, in words."""
        from ganenc.metrics import metric_settings

        return metric_settings(self.mean_image, self.backbone)

    def invert(self, path: Path, name: str, index: int, bar: Bar, done: int, each: int) -> Result:
        """Invert one photo and write what it leaves."""
        from ganenc.inverters import invert
        from ganenc.metrics import evaluate_pairs

        job, spec, generator = self.job, self.spec, self.job.session.generator
        labels = job.labels if job.labels is None or isinstance(job.labels, str) else job.labels[index : index + 1]
        placed = self.placer.read(path, job.align, None if isinstance(labels, str) else labels)
        target = placed.target[None].to(device=generator.device, dtype=generator.dtype)

        def on_step(photo: int, step: int, steps: int, terms: Mapping[str, float]) -> None:
            bar.update(done + step * each // max(steps, 1), f"loss {terms['total']:.4g}" if "total" in terms else "")

        inversion = invert(
            target, generator, job.session.encoder, method=job.method, labels=labels, candidates=job.candidates,
            objective=self.objective, seed=job.seed, on_step=on_step, **job.options,
        )  # fmt: skip
        values = spec.value_range
        made = inversion.reconstructions.detach()
        mean = self.mean_image.expand_as(target)
        result = Result(
            path,
            name,
            evaluate_pairs(target, made, value_range=values, backbone=self.backbone)[0],
            evaluate_pairs(target, mean, value_range=values, backbone=self.backbone)[0],
            inversion.seconds[0],
            {name: value for name, value in inversion.settings.items() if name not in ("labels", "labels_from")},
            None if inversion.labels is None else inversion.labels.tolist()[0],
            inversion.settings.get("labels_from"),
            target[0].cpu(),
            made[0].cpu(),
            self._check(path, target, inversion),
            placed.transform,
        )
        self._write(result, inversion, target, placed)
        return result

    def _check(self, path: Path, target: Tensor, inversion: Inversion) -> DomainCheck | None:
        """One pass on the photo, which is the inversion itself where the method is that pass."""
        if self.judge is None:
            return None
        once = inversion.reconstructions.detach() if self.job.method == "encode" else None
        return self.judge.check(path, target, inversion.labels, self.job.align, once)

    def _write(self, result: Result, inversion: Inversion, target: Tensor, placed: Placed) -> None:
        from ganenc import images
        from ganenc.atomic import write_json, write_text
        from ganenc.attention import looks_sheet

        folder, values = self.job.out / result.name, self.spec.value_range
        if result.transform is not None:
            inversion.latents.info["transform"] = result.transform.to_mapping()
        inversion.latents.save(folder / "latents.safetensors", model=self.job.session.hash)
        images.write_png(folder / "reconstruction.png", result.reconstruction, value_range=values)
        images.write_png(folder / "target.png", result.target, value_range=values)
        whole = placed.put_back(result.reconstruction)
        if whole is not None:
            images.write_png(folder / "photo.png", whole, value_range=values)
        looks = self._looks(target, result.reconstruction, inversion.labels)
        if len(looks) > 1:
            images.write_png(folder / "attention.png", looks_sheet(looks, values))
        if self.job.report:
            write_text(folder / "report.html", self._report(result, inversion, looks, placed, whole))
        write_json(folder / "inversion.json", self._facts(result, inversion))

    def _report(
        self,
        result: Result,
        inversion: Inversion,
        looks: Sequence[Look],
        placed: Placed,
        whole: Tensor | None,
    ) -> str:
        from ganenc.report import ReportedPlace, ReportedView, inversion_report

        place = None
        if placed.transform is not None and placed.photo is not None and whole is not None:
            place = ReportedPlace(self.job.align, placed.photo, whole, placed.transform.corners())
        history = inversion.history[0] if inversion.history else []
        return inversion_report(
            title=result.photo.name,
            target=result.target,
            reconstruction=result.reconstruction,
            metrics=result.metrics,
            value_range=self.spec.value_range,
            metric_settings=self.settings_of_metrics(),
            views=[ReportedView(x.name, x.weight, x.target[0].cpu(), x.reconstruction[0].cpu()) for x in looks],
            place=place,
            history=history,
            check=result.check,
            settings={
                **result.settings,
                **({} if result.labels_from is None else {"class": class_text(result.label, result.labels_from)}),
                "seed": self.job.seed,
                "space of the latents": inversion.latents.space,
            },
            seconds=result.seconds,
            model=self.job.session.source,
            model_hash=self.job.session.hash,
        )

    def _looks(self, target: Tensor, made: Tensor, labels: Tensor | None) -> list[Look]:
        """Where the attention looked, and what the losses saw, in the photo (1, C, H, W) and its reconstruction."""
        from ganenc.attention import looks

        if self.objective is None or self.job.method == "encode":
            return []
        attention, values = self.objective.attention, self.spec.value_range
        return looks(attention, target, made[None].to(target), labels=labels, value_range=values)

    def _facts(self, result: Result, inversion: Inversion) -> dict[str, Any]:
        session = self.job.session
        history = inversion.history[0] if inversion.history else []
        return {
            "photo": str(result.photo),
            "model": session.source,
            "model_hash": session.hash,
            "method": self.job.method,
            "steps": len(history),
            "seconds": result.seconds,
            "metrics": result.metrics,
            "metrics_of_the_mean_image": result.mean_image,
            "metric_settings": self.settings_of_metrics(),
            "settings": result.settings,
            "objective": session.towards,
            "space": inversion.latents.space,
            "seed": self.job.seed,
            "fit": self.job.fit,
            "align": self.job.align,
            "transform": None if result.transform is None else result.transform.to_mapping(),
            "labels": None if inversion.labels is None else inversion.labels.tolist(),
            "labels_from": result.labels_from,
            "backbone": self.backbone.name if self.backbone else None,
            "loss": history[-1] if history else None,
            **result.judged(),
        }


def invert_photos(photos: Sequence[Path], job: Job) -> Outcome:
    """Invert photos one by one and write what each leaves; one that fails is named, and the rest go on.

    Raises:
        GanencError: if the method or the model cannot do it at all.
    """
    worker = _Worker(job)
    each = 100
    results: list[Result] = []
    failures: list[tuple[Path, str]] = []
    began = time.monotonic()
    with Bar("inverting", each * len(photos)) as bar:
        for index, (path, name) in enumerate(zip(photos, unique_names(photos), strict=True)):
            spent = time.monotonic() - began
            if index and spent + spent / index > job.budget:
                break
            bar.update(index * each, what=f"{path.name} ({index + 1} of {len(photos)})")
            try:
                results.append(worker.invert(path, name, index, bar, index * each, each))
            except ImageError as error:
                failures.append((path, str(error)))
                bar.note(f"Skipped: {error}")
    left = len(photos) - len(results) - len(failures)
    outcome = Outcome(results, failures, worker.settings_of_metrics(), left)
    if job.report and results:
        write_summary(outcome, job)
    return outcome
