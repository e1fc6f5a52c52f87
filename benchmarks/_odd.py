"""Small GANs of one kind of images alone, their encoders, and plain auto-encoders of the same size, trained as long."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ganenc import Model, images, load
from ganenc.files import load_state, save_state
from ganenc.generators import Generator, build_generator
from ganenc.models import load_generator, save_pretrained
from ganenc.objectives import make_adam
from ganenc.training import finetune, pretrain
from ganenc_plugin_hands.discriminator import Discriminator
from ganenc_plugin_hands.train_gan import STATE, GanTrainer, GanTraining
from ganenc_plugin_stylegan.specs import stylegan2_spec
from ganenc_registry.specs import GeneratorSpec, preset
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

PIECE = 6_400
"""Images after which a training writes its state, so that it goes on from there."""


@dataclass(frozen=True)
class Kind:
    """What is normal, what is odd, and how a GAN of it is trained: images are uint8 (N, C, H, W)."""

    name: str
    training: Tensor = field(repr=False)
    calibration: Tensor = field(repr=False)
    """Normal images that no training sees."""
    normal: Tensor = field(repr=False)
    odd: Tensor = field(repr=False)
    channels: dict[int, int]
    dim: int
    images: int
    """That the GAN sees."""
    steps: tuple[int, int]
    """Of the encoder, on images of the GAN and on those of the training."""
    numbers: dict[str, Any]
    seed: int = 0

    @property
    def spec(self) -> GeneratorSpec:
        """The generator's."""
        _, channels, height, width = self.training.shape
        return stylegan2_spec(
            (height, width),
            self.channels,
            image_channels=channels,
            z_dim=self.dim,
            w_dim=self.dim,
            licence="Apache-2.0",
        )


def hands(folder: Path, size: int = 32) -> Kind:
    """Photos of the digits 0 to 4 are normal, those of 5 to 9 odd. Of each digit a sixth is kept for calibration, and
    a sixth to test, as of odd ones."""
    parts: dict[str, list[Path]] = {"training": [], "calibration": [], "normal": [], "odd": []}
    for digit in range(10):
        for place, file in enumerate(sorted((folder / str(digit)).glob("*.JPG"))):
            if digit >= 5:
                parts["odd"] += [file] if place % 6 == 0 else []
            else:
                parts[{0: "calibration", 1: "normal"}.get(place % 6, "training")].append(file)
    read = {
        name: torch.stack([images.to_uint8(images.read(file, size=(size, size)), (-1.0, 1.0)) for file in files])
        for name, files in parts.items()
    }
    widths = {4: 96, 8: 96, 16: 48, 32: 24}
    numbers = {"decoder_images": 12_800, "recall": 50.0, "width": 24, "widest": 96}
    return Kind("hands", **read, channels=widths, dim=64, images=19_200, steps=(300, 40), numbers=numbers)


def digits(one: int, seed: int) -> Kind:
    """Of scikit-learn's digits, 8x8, one is normal, the others are odd."""
    data = load_digits()
    pixels = torch.from_numpy(data.images).mul(255 / 16).round().to(torch.uint8)[:, None]
    known = torch.from_numpy(data.target)
    own, others = pixels[known == one], pixels[known != one]
    order = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))
    own, fifth = own[order], len(own) // 5
    numbers = {"decoder_images": 3200, "recall": 50.0, "width": 32, "widest": 64, "seed": seed}
    return Kind(
        f"digits-{one}-{seed}", own[2 * fifth :], own[:fifth], own[fifth : 2 * fifth], others[::10],
        channels={4: 64, 8: 32}, dim=32, images=6_400, steps=(300, 200), numbers=numbers, seed=seed,
    )  # fmt: skip


def trained(kind: Kind, work: Path, *, share: float = 1.0) -> tuple[Model, Discriminator, float]:
    """The GAN of a kind with its encoder, its discriminator, and the processor's seconds that all of it took: trained
    into ``work`` if it is not there, from where it stopped."""
    folder = work / kind.name
    clock = _Clock(folder / "seconds.json")
    if not (folder / "model" / "encoder").is_dir():
        torch.manual_seed(kind.seed)
        labels = torch.zeros(len(kind.training), dtype=torch.int64)
        trainer = GanTrainer(
            build_generator(kind.spec), kind.training, labels, folder / "gan", GanTraining(**kind.numbers)
        )
        for seen in range(min(PIECE, wanted := round(kind.images * share)), wanted + 1, PIECE):
            if clock.done("gan") >= seen:
                continue
            with clock("gan", seen):
                trainer.train(seen)
        generator = trainer.average.freeze()
        state = folder / "gan" / STATE
        if state.is_file():
            generator.load_state_dict(load_state(state)["average"])
        generator.w_avg.copy_(Generator.center(generator)["w"][0, 0])
        save_pretrained(generator, folder / "model", info={"backbone": "none"})
        generator = load_generator(folder / "model")
        fields: dict[str, Any] = {
            "objective": {"losses": {"mse": 5.0, "cos": 3.0, "ssim": 1.0}},
            "saving": {"grid": 8, "checkpoint_every": 100},
            "seed": kind.seed,
        }
        made, own = (max(1, round(steps * share)) for steps in kind.steps)
        first = preset("pretrain", **fields, optimiser={"rate": 0.01}, steps=made, data={"batch": 16})
        with clock("pretrain", 1):
            encoder = pretrain(generator, first, folder / "pretrain")
        mixed = {"batch": 16, "photo_share": 0.75}
        second = preset("finetune", **fields, optimiser={"rate": 0.004}, steps=own, data=mixed)
        with clock("finetune", 1):
            encoder = finetune(
                generator, kind.training.float() / 127.5 - 1, second, folder / "finetune", encoder=encoder
            )
        save_pretrained(encoder, folder / "model" / "encoder")
    state = load_state(folder / "gan" / STATE)
    discriminator = Discriminator(kind.spec, width=kind.numbers["width"], widest=kind.numbers["widest"])
    discriminator.load_state_dict(state["discriminator"])
    return load(folder / "model"), discriminator.eval().requires_grad_(False), clock.total


def told_seconds(kind: Kind, work: Path) -> str:
    """How long the GAN with its encoder and the auto-encoder of a kind were trained, in words."""
    gan, plain = (_Clock(work / kind.name / name).total for name in ("seconds.json", "plain.json"))
    return f"GAN and encoder took {gan:.0f} seconds of the processor, the auto-encoder {plain:.0f}."


class AutoEncoder(nn.Module):
    """A plain one: convolutions by stride 2 to a code, and back, with batch norm between."""

    def __init__(self, channels: int, size: int, width: int, code: int) -> None:
        super().__init__()
        levels = int(math.log2(size)) - 2
        widths = [min(width << level, 8 * width) for level in range(levels + 1)]
        down, up = nn.Sequential(), nn.Sequential()
        for before, after in zip([channels, *widths], widths):
            stride = 1 if before == channels else 2
            down.extend([nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)])
        for before, after in zip(widths[::-1], [*widths[-2::-1], channels]):
            if after != channels:
                up.extend([nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)])
            else:
                up.append(nn.Conv2d(before, after, 3, 1, 1))
        flat = widths[-1] * 16
        self.encode = nn.Sequential(down, nn.Flatten(), nn.Linear(flat, code))
        self.decode = nn.Sequential(nn.Linear(code, flat), nn.Unflatten(1, (widths[-1], 4, 4)), up)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) => the same shape."""
        made: Tensor = self.decode(self.encode(x))
        return made


def auto_encoder(kind: Kind, work: Path, weights: int, seconds: float) -> AutoEncoder:
    """One with about as many ``weights``, trained for as many seconds of the processor on the same images."""
    _, channels, size, _ = kind.training.shape
    width = 4
    while sum(one.numel() for one in AutoEncoder(channels, size, width + 1, kind.dim).parameters()) <= weights:
        width += 1
    torch.manual_seed(kind.seed)
    made = AutoEncoder(channels, size, width, kind.dim)
    path = work / kind.name / "plain.safetensors"
    if not path.is_file():
        photos, adam, started = kind.training.float() / 127.5 - 1, make_adam(made.parameters(), 1e-3, (0.9, 0.999)), 0.0
        started = time.process_time()
        while (spent := time.process_time() - started) < seconds:
            for group in adam.param_groups:
                group["lr"] = 1e-3 * (0.5 + 0.5 * math.cos(math.pi * spent / seconds))
            some = photos[torch.randint(len(photos), (32,))]
            adam.zero_grad()
            F.mse_loss(made(some), some).backward()
            adam.step()
        save_state(path, made.state_dict())
        _Clock(work / kind.name / "plain.json").add("plain", time.process_time() - started)
    made.load_state_dict(load_state(path))
    return made.eval().requires_grad_(False)


class _Clock:
    """What each part of a training took of the processor, kept on disk, and how far it came."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, list[float]] = json.loads(path.read_text()) if path.is_file() else {}

    def done(self, part: str) -> float:
        return self.parts.get(part, [0.0, 0.0])[1]

    @property
    def total(self) -> float:
        return sum(seconds for seconds, _ in self.parts.values())

    def __call__(self, part: str, far: float) -> _Clock:
        self.now = (part, far)
        return self

    def __enter__(self) -> None:
        self.started = time.process_time()

    def __exit__(self, kind: object, *_: object) -> None:
        part, far = self.now
        self.add(part, time.process_time() - self.started, self.done(part) if kind else far)

    def add(self, part: str, seconds: float, far: float = 1) -> None:
        self.parts[part] = [self.parts.get(part, [0.0, 0.0])[0] + seconds, far]
        self.path.write_text(json.dumps(self.parts), encoding="utf-8")
