"""The runs of the ablation: which there are, and how one is done and measured."""

from __future__ import annotations

import contextlib
import functools
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ganenc
import torch
from _misaligned import MODEL, hand_region, misaligned, place, train_generator
from ganenc import images
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion import Finetune
from ganenc.measures import Metric, build_metrics, score
from ganenc.models import save_pretrained
from ganenc.objectives import build_objective, context_for
from ganenc.training import finetune, pretrain
from ganenc_plugin_hands.figures import kept_out
from ganenc_plugin_hands.models import ZOO
from ganenc_plugin_hands.photos import read_photos, split_kept_out
from ganenc_registry.errors import WeightsMissingError
from ganenc_registry.specs import RunSpec, preset
from torch import Tensor

__all__ = ["ARMS", "SETS", "Arm", "Job", "Sizes", "World", "jobs"]

SETS = ("aligned", "misaligned")
STAGES = ("strategy-1", "strategy-2", "fine-tuning")
HELD_OUT = 1 << 40
"""Where the synthesized images begin that no training draws."""


@dataclass(frozen=True)
class Arm:
    """One kind of objective."""

    attention: str
    views: tuple[float, float] = (1.0, 1.0)
    """Which of AT1 and AT2 count: factors of mu1 and mu2."""
    ssim: bool = True
    longer: bool = False
    """Whether it takes as long as `center` does, and not as many steps."""


ARMS: Mapping[str, Arm] = {
    "none": Arm("none"),
    "none, as long": Arm("none", longer=True),
    "AT1": Arm("center", (1.0, 0.0)),
    "AT1 and AT2": Arm("center"),
    "Grad-CAM": Arm("gradcam"),
    "Grad-CAM, crops": Arm("gradcam-crop"),
    "AT1 and AT2, no SSIM": Arm("center", ssim=False),
}


PAPER = ("none", "AT1", "AT1 and AT2", "Grad-CAM", "AT1 and AT2, no SSIM")
"""What the paper compares, in Tables 6 and 7 and Figure 11."""


@dataclass(frozen=True)
class Sizes:
    """How long everything takes."""

    gan: int = 40_000
    start: int = 600
    pretrain: int = 300
    finetune: int = 150
    invert: int = 50
    synthesized: int = 96
    photos: int = 12
    places: int = 4
    longer: float = 1.35
    """What a step with two more views costs, in batches (results/attention.md has it for larger networks)."""
    longer_alone: float = 1.11
    """The same on one photo, prepared once."""


@dataclass(frozen=True)
class Job:
    """One training."""

    stage: str
    images: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        """A name that a file can have."""
        words = f"{self.stage} {self.images} {self.arm} {self.seed}"
        return "-".join(words.replace(",", "").lower().split())


def jobs(seeds: int) -> list[Job]:
    """All trainings: what the paper compares first, seed by seed, so that a study stopped early has most of that."""
    found = []
    for arms in (PAPER, [arm for arm in ARMS if arm not in PAPER]):
        for seed in range(seeds):
            for stage in STAGES:
                here = arms if stage != "strategy-1" else ["none"] if "none" in arms else []
                found += [Job(stage, of, arm, seed) for arm in here for of in SETS]
    return found


class World:
    """Models and photos; does one job at a time.

    Args:
        photos: the folder of photos, in ``0`` to ``9``.
        work: where the generator of misaligned hands is kept, and the encoder to start from.
        sizes: how long everything takes.
    """

    def __init__(self, photos: Path, work: Path, sizes: Sizes) -> None:
        self.photos, self.work, self.sizes = photos, work, sizes
        self.backbone = ganenc.load_backbone("hands")

    @functools.cached_property
    def training(self) -> Tensor:
        """The photos to train on (M, 3, 64, 64), as they are."""
        pictures, _ = read_photos(split_kept_out(self.photos)[0])
        return pictures.float() / 127.5 - 1

    @functools.cached_property
    def judges(self) -> list[dict[str, Metric]]:
        """Metrics on the network that trains, and on one that takes no part, if its weights are at hand."""
        backbones = [self.backbone]
        with contextlib.suppress(WeightsMissingError):
            backbones.append(ganenc.load_backbone("squeeze"))
        return [build_metrics(context=context_for(one)) for one in backbones]

    def prepare(self) -> None:
        """Make what all jobs on misaligned images begin with. Goes on where it was stopped."""
        folder = self.work / "generator"
        if not (folder / "config.json").exists():
            start = Path(__file__).parents[1] / f"plugins/ganenc-plugin-hands/training/{MODEL}.safetensors"
            generator = train_generator(self.training, self.work / "gan", start, self.sizes.gan)
            save_pretrained(generator.freeze(), folder)
        generator = ganenc.load_generator(folder)
        images.write_png(self.work / "samples.png", images.grid(self.synthesized(generator, 64).clamp(-1, 1), 16))
        if not (self.work / "start/encoder/config.json").exists():
            fields = self._fields(Arm("none"), (0.0, 0.0), self.sizes.start, 0)
            run = preset("pretrain", **fields, data={"batch": 16}, optimiser={"rate": 0.01})
            encoder = ganenc.load_encoder(ZOO / MODEL / "encoder-pretrained")
            pretrain(generator, run, self.work / "start", encoder=encoder)

    def generator(self, of: str) -> Generator:
        """The generator of such images."""
        return ganenc.load_generator(MODEL if of == "aligned" else self.work / "generator")

    def start(self, of: str) -> Encoder:
        """The encoder that fine-tuning starts from: trained on synthesized images alone."""
        if of == "aligned":
            return ganenc.load_encoder(ZOO / MODEL / "encoder-pretrained")
        return ganenc.load_encoder(self.work / "start/encoder")

    def run(self, job: Job) -> list[dict[str, Any]]:
        """Train, then measure: rows of metrics by what they were taken on."""
        generator, arm = self.generator(job.images), ARMS[job.arm]
        folder = self.work / "training" / job.name
        started = time.process_time()
        if job.stage == "fine-tuning":
            run = self._finetuning(arm, job.seed)
            pictures = self.training if job.images == "aligned" else misaligned(self.training, 1 + job.seed)[0]
            encoder = finetune(generator, pictures, run, folder, encoder=self.start(job.images))
        else:
            run = self._pretraining(job.stage, arm, job.seed)
            encoder = pretrain(generator, run, folder)
        spent = time.process_time() - started
        shutil.rmtree(folder)
        about = {**vars(job), "seconds": round(spent, 1)}
        rows = [about | row for row in self._one_pass(job, generator, encoder)]
        if job.stage == "fine-tuning":
            rows.append(about | self._inverted(job, generator, encoder, run))
        return rows

    def _pretraining(self, stage: str, arm: Arm, seed: int) -> RunSpec:
        """Strategy 1 or 2 of section 4.3, started at the mean image, with the rate of our own pre-training."""
        fields = self._fields(arm, (5.0, 9.0), self.sizes.pretrain, seed)
        encoder: dict[str, Any] = {"map_gain": 0.1}
        if stage == "strategy-1":
            fields["objective"]["image_gradient"] = False
        else:
            encoder["blur"] = True
        more = {"encoder": {"overrides": encoder}, "optimiser": {"rate": 0.01, "warmup": 20}, "data": {"batch": 8}}
        return preset("pretrain", **fields, **more)

    def _finetuning(self, arm: Arm, seed: int) -> RunSpec:
        fields = self._fields(arm, (0.375, 0.625), self.sizes.finetune, seed)
        return preset("finetune", **fields, optimiser={"rate": 0.004, "warmup": 20}, data={"batch": 8})

    def _fields(self, arm: Arm, weights: tuple[float, float], steps: int, seed: int) -> dict[str, Any]:
        mu = [weight * factor for weight, factor in zip(weights, arm.views)]
        options = {} if arm.attention == "none" else {"weights": mu}
        losses = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0 if arm.ssim else 0.0}
        objective = {"backbone": "hands", "losses": losses, "attention": {"name": arm.attention, "options": options}}
        steps = round(steps * self.sizes.longer) if arm.longer else steps
        rare = {"checkpoint_every": 10**6, "grid_every": 10**6, "log_every": 50}
        return {"objective": objective, "steps": steps, "seed": seed, "saving": rare}

    def _one_pass(self, job: Job, generator: Generator, encoder: Encoder) -> list[dict[str, Any]]:
        made = self.synthesized(generator, self.sizes.synthesized)
        photos, regions = self.kept_out(job)
        rows = []
        for name, targets, region in (("synthesized", made, hand_region(made)), ("photos", photos, regions)):
            with torch.inference_mode():
                again = torch.cat([generator.synthesize(encoder(some)) for some in targets.split(16)])
            rows.append({"on": name, **self.measure(targets, again, region)})
            self._keep(job, name, targets, again)
        return rows

    def _inverted(self, job: Job, generator: Generator, encoder: Encoder, run: RunSpec) -> dict[str, Any]:
        """Each photo kept out, by the paper's fine-tuning, from the encoder that the job has trained."""
        photos, regions = self.kept_out(job, places=1)
        objective = build_objective(run.objective, generator)
        steps = round(self.sizes.invert * (self.sizes.longer_alone if ARMS[job.arm].longer else 1))
        started = time.process_time()
        done = Finetune.of(steps=steps).invert(photos, generator, encoder, objective=objective)
        spent = time.process_time() - started
        self._keep(job, "inverted", photos, done.reconstructions)
        return {"on": "inverted", "seconds": round(spent, 1), **self.measure(photos, done.reconstructions, regions)}

    def kept_out(self, job: Job, places: int | None = None) -> tuple[Tensor, Tensor]:
        """The photos kept out of all training, and where the hand is in them."""
        photos = kept_out()[0][: self.sizes.photos]
        regions = hand_region(photos)
        if job.images == "aligned":
            return photos, regions
        moved, where = misaligned(photos, 1000 + job.seed, places or self.sizes.places)
        moved_regions = place(regions.repeat(len(moved) // len(photos), 1, 1, 1).float(), where, "zeros")
        return moved, moved_regions > 0.5

    def synthesized(self, generator: Generator, n: int) -> Tensor:
        """Images that no training draws, in 8 bits' range."""
        with torch.inference_mode():
            return generator.synthesize(generator.sample(n, seed=0, first=HELD_OUT)).clamp(-1, 1)

    def measure(self, targets: Tensor, again: Tensor, regions: Tensor) -> dict[str, float]:
        """Means of the metrics, on whole images and, by names that end in ``hand``, inside the hand's region."""
        found = {}
        full = regions.flatten(1).any(1)
        for metrics in self.judges:
            for ending, which in (("", slice(None)), (" hand", full)):
                region = regions[which] if ending else None
                rows = score(targets[which], again[which].detach(), metrics, region=region).rows
                found |= {f"{name}{ending}": sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return {name: round(value, 5) for name, value in found.items()}

    def _keep(self, job: Job, name: str, targets: Tensor, again: Tensor, n: int = 12) -> None:
        """The first images and what came back, to look at."""
        picture = images.grid(torch.cat([targets[:n], again[:n].detach().clamp(-1, 1)]), n)
        images.write_png(self.work / "pictures" / f"{job.name}-{name}.png", picture)
