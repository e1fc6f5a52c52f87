"""Inverting photos one by one, and what each leaves on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganenc_registry.errors import ImageError

from ganenc.cli._console import Bar
from ganenc.cli._labels import class_text
from ganenc.cli._outcome import Job, Outcome, Result, show_outcome, unique_names, write_summary

if TYPE_CHECKING:
    from torch import Tensor

    from ganenc.inverters import Inversion
    from ganenc.report import Baseline, DomainCheck

__all__ = ["Job", "Outcome", "Result", "invert_photos", "show_outcome"]


class _Worker:
    """Inverts one photo after another; what does not depend on the photo is made once."""

    def __init__(self, job: Job) -> None:
        import torch

        from ganenc.inverters.entry import build_inverter
        from ganenc.report import measure_baseline

        session = job.session
        self.job, self.spec = job, session.generator.spec
        build_inverter(job.method, **job.options)  # A wrong option is told before any work is done.
        self.objective = session.objective_for(job.method, job.labels, job.candidates)
        self.backbone = session.metric_backbone()
        self.baseline: Baseline | None = None
        if session.encoder is not None and job.report:
            self.baseline = measure_baseline(session.generator, session.encoder, seed=job.seed)
        with torch.no_grad():
            self.mean_image = session.generator.synthesize(session.generator.center())

    def settings_of_metrics(self) -> dict[str, str]:
        """How the metrics are taken, in words."""
        from ganenc.metrics import metric_settings

        return metric_settings(self.mean_image, self.backbone)

    def invert(self, path: Path, name: str, index: int, bar: Bar, done: int, each: int) -> Result:
        """Invert one photo and write what it leaves."""
        from ganenc import images
        from ganenc.inverters import invert
        from ganenc.metrics import evaluate_pairs

        job, spec, generator = self.job, self.spec, self.job.session.generator
        fit: Any = job.fit
        target = images.read(path, size=spec.size, channels=spec.channels, value_range=spec.value_range, fit=fit)
        target = target[None].to(device=generator.device, dtype=generator.dtype)
        labels = job.labels if job.labels is None or isinstance(job.labels, str) else job.labels[index : index + 1]

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
            self._check(target, inversion.labels) if job.report else None,
        )
        self._write(result, inversion, target)
        return result

    def _check(self, target: Tensor, labels: Tensor | None) -> DomainCheck | None:
        import torch

        from ganenc.metrics import psnr
        from ganenc.report import DomainCheck

        encoder, generator = self.job.session.encoder, self.job.session.generator
        if encoder is None or self.baseline is None:
            return None
        values = self.spec.value_range
        with torch.no_grad():
            once = generator.synthesize(generator.complete(encoder.eval()(target, labels=labels), labels=labels))
        photo = psnr(target, once, value_range=values)[0]
        return DomainCheck(self.baseline, photo, psnr(target, self.mean_image, value_range=values)[0])

    def _write(self, result: Result, inversion: Inversion, target: Tensor) -> None:
        from ganenc import images
        from ganenc.atomic import write_json, write_text

        folder, values = self.job.out / result.name, self.spec.value_range
        inversion.latents.save(folder / "latents.safetensors", model=self.job.session.hash)
        images.write_png(folder / "reconstruction.png", result.reconstruction, value_range=values)
        images.write_png(folder / "target.png", result.target, value_range=values)
        if self.job.report:
            write_text(folder / "report.html", self._report(result, inversion, target))
        write_json(folder / "inversion.json", self._facts(result, inversion))

    def _report(self, result: Result, inversion: Inversion, target: Tensor) -> str:
        from ganenc.report import inversion_report

        history = inversion.history[0] if inversion.history else []
        return inversion_report(
            title=result.photo.name,
            target=result.target,
            reconstruction=result.reconstruction,
            metrics=result.metrics,
            value_range=self.spec.value_range,
            metric_settings=self.settings_of_metrics(),
            views=self._views(target, result.reconstruction, inversion.labels),
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

    def _views(self, target: Tensor, made: Tensor, labels: Tensor | None) -> list[Any]:
        from ganenc.report import ReportedView

        if self.objective is None or self.job.method == "encode":
            return []
        attention = self.objective.attention
        context = {} if labels is None else {"labels": labels}
        focus = attention.prepare(target, **context)
        pairs = zip(attention.views(target, focus), attention.views(made[None].to(target), focus))
        return [ReportedView(a.name, a.weight, a.image[0].cpu(), b.image[0].cpu()) for a, b in pairs]

    def _facts(self, result: Result, inversion: Inversion) -> dict[str, Any]:
        from ganenc.report import judge

        session, check = self.job.session, result.check
        history = inversion.history[0] if inversion.history else []
        facts: dict[str, Any] = {
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
            "labels": None if inversion.labels is None else inversion.labels.tolist(),
            "labels_from": result.labels_from,
            "backbone": self.backbone.name if self.backbone else None,
            "loss": history[-1] if history else None,
        }
        if check is not None:
            facts["one_pass"] = {"photo_psnr": check.photo_psnr, "generated_psnr": check.baseline.psnr}
            facts["verdict"] = judge(check, result.metrics["psnr"]).headline
        return facts


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
