"""Trains the zoo again: ``python -m ganenc_plugin_hands.train --help``. Each command resumes where it was stopped."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ganenc import images
from ganenc.files import check_device, load_state, save_state, write_json
from ganenc.generators import Generator, build_generator
from ganenc.measures import build_metrics, score
from ganenc.models import load_generator, model_hash, save_pretrained, save_weights
from ganenc.objectives import context_for
from ganenc.training import finetune as finetune_encoder
from ganenc.training import pretrain as pretrain_encoder
from ganenc_registry.specs import GeneratorSpec, preset

from ganenc_plugin_hands.figures import kept_out
from ganenc_plugin_hands.models import HANDS_CLASSIFIER, PHOTOS, ZOO
from ganenc_plugin_hands.photos import read_photos, split_kept_out
from ganenc_plugin_hands.train_classifier import check, split_test, train_classifier
from ganenc_plugin_hands.train_gan import STATE, GanTrainer, slim_state
from ganenc_plugin_hands.zoo_specs import zoo_spec, zoo_training

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Train the models of the hands zoo again.")

PhotosOption = Annotated[Path, typer.Option("--photos", help="folder with the photos in `0` to `9`")]
WorkOption = Annotated[Path, typer.Option("--work", help="folder for checkpoints, metrics and sample grids")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:N or mps")]
ModelOption = Annotated[str, typer.Option("--model", help="a model of the zoo")]


@app.command()
def photos(photos: PhotosOption) -> None:
    """Copy the twelve photos kept out of all training into the zoo."""
    _, kept = split_kept_out(photos)
    PHOTOS.mkdir(parents=True, exist_ok=True)
    for path in kept:
        (PHOTOS / f"{path.parent.name}-{path.stem}.jpg").write_bytes(path.read_bytes())
    typer.echo(f"{len(kept)} photos in {PHOTOS}")


@app.command()
def classifier(photos: PhotosOption, epochs: int = 60) -> None:
    """Train the classifier of the ten digits; every tenth photo of a class, and those kept out, test it."""
    training, kept = split_kept_out(photos)
    training, test = split_test(training)
    backbone = train_classifier(*read_photos(training), epochs=epochs)
    share, error = check(backbone, *read_photos(test + kept))
    HANDS_CLASSIFIER.mkdir(parents=True, exist_ok=True)
    save_weights(backbone, HANDS_CLASSIFIER, replace=True)
    figures = {"trained_on": len(training), "tested_on": len(test) + len(kept), "accuracy": round(share, 4)}
    write_json(HANDS_CLASSIFIER / "figures.json", figures | {"standard_error": round(error, 4)}, replace=True)
    typer.echo(json.dumps(figures))


@app.command()
def gan(
    photos: PhotosOption,
    work: WorkOption,
    model: ModelOption = "stylegan2-hands64",
    count: Annotated[int, typer.Option("--images", help="photos seen in all")] = 300_000,
    start: Annotated[Path | None, typer.Option("--start", help="a state that `release --keep` left")] = None,
    learn_from: Annotated[
        Path | None, typer.Option("--learn-from", help="another GAN's state, whose discriminator to start with")
    ] = None,
    near: Annotated[float, typer.Option("--near", help="stop at this Frechet distance from the photos")] = 0.0,
    seconds: Annotated[float, typer.Option("--seconds", help="stop after so long; another call goes on")] = math.inf,
    device: DeviceOption = "cpu",
) -> None:
    """Train a GAN on the photos."""
    training, _ = split_kept_out(photos)
    if start and not (work / model / STATE).exists():
        save_state(work / model / STATE, load_state(start))
    torch.manual_seed(0)
    generator = build_generator(zoo_spec(model)).to(check_device(device))
    pictures, digits = read_photos(training)
    trainer = GanTrainer(
        generator, pictures, digits, work / model, zoo_training(model), photo_distance(pictures, device)
    )
    if learn_from:
        trainer.learn_from(load_state(learn_from))
    trainer.train(count, seconds=seconds, near=near)


def photo_distance(pictures: torch.Tensor, device: str = "cpu") -> Callable[[Generator], float]:
    """How far a generator's images, as many as there are photos, uint8 (N, C, H, W), are from these: the Frechet
    distance on the backbone `hands`."""
    (metric,) = build_metrics(("frechet",), context_for("hands", device=device)).values()
    photos = pictures.float() / 127.5 - 1

    @torch.inference_mode()
    def distance(generator: Generator) -> float:
        labels = generator.draw_labels(len(photos), seed=1)
        latents = generator.sample(len(photos), seed=1, labels=labels)
        parts = [latents[first : first + 64] for first in range(0, len(photos), 64)]
        made = torch.cat([generator.synthesize(part).clamp(-1, 1).cpu() for part in parts])
        found = metric(photos, made)
        assert isinstance(found, float)
        return found

    return distance


@app.command()
def release(
    work: WorkOption,
    model: ModelOption = "stylegan2-hands64",
    keep: Annotated[Path | None, typer.Option("--keep", help="where to keep a small state to train on from")] = None,
) -> None:
    """Put a trained generator (the averaged copy) into the zoo, with its mean latents and samples."""
    state = load_state(work / model / STATE)
    if keep:
        save_state(keep, slim_state(state))
    generator = build_generator(GeneratorSpec.from_json(state["spec"]))
    best = state.get("best") or state
    generator.load_state_dict(best["average"])
    generator.freeze()
    generator.gather_statistics()
    if hasattr(generator, "w_avg"):
        generator.w_avg.copy_(Generator.center(generator)["w"][0, 0])
    folder = ZOO / model
    info = {
        "trained_on": "the photos of hands (Mavi, 2020), twelve kept out",
        "images_seen": best["seen"],
        "backbone": "hands",
        "photos": "../photos",
        "demo": model == "stylegan2-hands64",
    }
    save_pretrained(generator, folder, info=info)
    images.write_png(folder / "samples.png", _samples(generator), replace=True)
    typer.echo(f"{folder}: {best['seen']} images seen, hash {model_hash(generator)[:12]}")


@app.command()
def encoders(
    photos: PhotosOption,
    work: WorkOption,
    model: ModelOption = "stylegan2-hands64",
    steps: int = 2000,
    photo_steps: int = 800,
    batch: int = 16,
    device: DeviceOption = "cpu",
) -> None:
    """Train an encoder on images that the generator makes, then fine-tune it on the training photos."""
    folder = ZOO / model
    generator = load_generator(folder, device=device)
    training, _ = split_kept_out(photos)
    fields: dict[str, Any] = {
        "model": model,
        "device": device,
        "objective": {"backbone": "hands", "attention": {"name": "none"}},  # Two views more take twice the time.
        "saving": {"grid": 12, "checkpoint_every": 250},
    }
    wide = {"overrides": {"map_gain": 0.1}}
    first = preset("pretrain", **fields, encoder=wide, optimiser={"rate": 0.01}, steps=steps, data={"batch": batch})
    encoder = pretrain_encoder(generator, first, work / model / "encoder-pretrained", on_step=_say)
    _release_encoder(encoder, generator, folder / "encoder-pretrained")
    pictures, digits = read_photos(training)
    mixed = {"batch": batch, "photo_share": 0.75}
    second = preset("finetune", **fields, optimiser={"rate": 0.004}, steps=photo_steps, data=mixed)
    encoder = finetune_encoder(
        generator,
        pictures.float() / 127.5 - 1,
        second,
        work / model / "encoder",
        encoder=copy.deepcopy(encoder),
        labels=digits if generator.spec.classes else None,
        on_step=_say,
    )
    _release_encoder(encoder, generator, folder / "encoder")


def _release_encoder(encoder: Any, generator: Generator, folder: Path) -> None:
    encoder.half().float()  # As they will be stored.
    generator, encoder = copy.deepcopy(generator).cpu(), copy.deepcopy(encoder).cpu()
    figures = encoder_figures(generator, encoder)
    save_pretrained(encoder, folder, info={"generator": model_hash(generator), **figures}, half=True)
    typer.echo(f"{folder.name}: {json.dumps(figures)}")


@torch.inference_mode()
def encoder_figures(generator: Generator, encoder: Any, n: int = 200, seed: int = 1_000_003) -> dict[str, Any]:
    """Mean PSNR and SSIM of one pass: on n generated images of seeds not trained on, and on the photos kept out."""
    drawn = generator.draw_labels(n, seed=seed)
    made = generator.synthesize(generator.sample(n, seed=seed, labels=drawn)).clamp(-1, 1)
    kept, digits = kept_out()
    known = digits.new_zeros(n) if drawn is None else drawn
    figures: dict[str, Any] = {}
    for name, pictures, labels in (("generated", made, known), ("photos", kept, digits)):
        again = []
        for some, of in zip(pictures.split(20), labels.split(20)):
            given = of if generator.spec.classes else None
            again.append(generator.synthesize(generator.complete(encoder(some, labels=given), labels=given)))
        means = score(pictures, torch.cat(again), build_metrics(("psnr", "ssim"))).folds[0]
        figures[name] = {"images": len(pictures), "psnr": round(means["psnr"], 2), "ssim": round(means["ssim"], 4)}
    return figures


def _samples(generator: Generator, n: int = 64, columns: int = 16) -> torch.Tensor:
    """The first n samples of seed 0 at truncation 1, not chosen by hand, as one image."""
    with torch.inference_mode():
        made = generator.synthesize(generator.sample(n, seed=0))
    return images.grid(made.clamp(-1, 1), columns)


def _say(step: int, steps: int, terms: Any) -> None:
    if step % 100 == 0 or step == steps:
        typer.echo(f"{step}/{steps} " + " ".join(f"{name} {value:.4f}" for name, value in terms.items()))


if __name__ == "__main__":
    app()
