"""From a run's spec to a trained encoder, with all that a run leaves in its folder."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from ganenc_registry.errors import SpecError, TrainingError
from ganenc_registry.specs import EncoderSpec, ObjectiveSpec, RunSpec
from torch import Tensor

from ganenc import images
from ganenc.encoders import Encoder, build_encoder, check_fits
from ganenc.files import Processes, check_device
from ganenc.generators import Generator, examine
from ganenc.models import load_encoder, load_generator, model_hash, save_pretrained
from ganenc.objectives import EncoderStep, Objective, build_objective
from ganenc.report import write_run_report
from ganenc.training.data import Mixture, Photos, Source, Synthesized, check_labels
from ganenc.training.folder import RunFolder
from ganenc.training.trainer import OnRow, OnStart, Trainer

__all__ = ["execute", "finetune", "pretrain"]


def execute(
    run: RunSpec,
    folder: str | Path,
    *,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
    on_error: Callable[[Path, Exception], None] | None = None,
) -> Encoder:
    """Carry out a run whole: load what its spec names, train, and leave everything in the folder.

    Called again with the same spec and folder it resumes where it was interrupted, and gives the same numbers (on a
    CPU) as an uninterrupted run. Started by ``accelerate launch``, its processes train together.

    Args:
        run: the spec, whole.
        folder: where everything goes.
        on_step: called with step, steps and terms at every row of metrics.
        on_start: called with sentences on the parameters, memory and time that the run will take, before it starts.
        on_error: called with each photo that cannot be read, which is left out; by default that is a warning.

    Raises:
        GanencError: if something that the spec names is not there, or does not fit.
    """
    if not run.generator:
        raise SpecError("generator: this run names none; give a shipped model, a model folder or a checkpoint.")
    generator = load_generator(run.generator, device=check_device(Processes(run.device).device))
    if run.task == "pretrain":
        return pretrain(generator, run, folder, on_step=on_step, on_start=on_start)
    if not run.data.photos:
        raise SpecError("data.photos: a 'finetune' run needs photos; name folders, files or patterns.")
    spec = generator.spec
    paths = images.find(run.data.photos)
    found = images.read_many(
        paths,
        size=spec.size,
        channels=spec.channels,
        value_range=spec.value_range,
        fit=run.data.fit,
        on_error=on_error or _warn,
    )
    if not len(found.batch):
        raise TrainingError(f"None of the photos in {', '.join(run.data.photos)} could be read.")
    labels = None if run.data.labels is None else torch.tensor(run.data.labels)
    if labels is not None and len(labels) != 1:
        check_labels(len(paths), labels)
        read = set(found.paths)
        labels = labels[torch.tensor([path in read for path in paths])]
    return finetune(generator, found.batch, run, folder, labels=labels, on_step=on_step, on_start=on_start)


def pretrain(
    generator: Generator,
    run: RunSpec,
    folder: str | Path,
    *,
    encoder: Encoder | None = None,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
) -> Encoder:
    """Train an encoder on images that the generator makes (section 3.2). Resumes a run that the folder holds.

    Args:
        generator: frozen here.
        run: the spec; ``ganenc_registry.specs.preset`` gives the paper's.
        folder: where checkpoints, metrics, grids and the encoder go.
        encoder: what to start from, trained in place; by default what the spec says.
        on_step: called with step, steps and terms at every row of metrics.
        on_start: called with sentences on the parameters, memory and time that the run will take, before it starts.

    Returns:
        the trained encoder, also written to ``folder/encoder``.
    """
    run = run.resolved(generator.spec.resolution)
    encoder = encoder or _encoder(run, generator)
    source = _synthesized(run, generator)
    return _train(run, folder, generator, encoder, source, norm_in_training=True, on_step=on_step, on_start=on_start)


def finetune(
    generator: Generator,
    photos: Tensor,
    run: RunSpec,
    folder: str | Path,
    *,
    encoder: Encoder | None = None,
    labels: Tensor | None = None,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
) -> Encoder:
    """Fine-tune an encoder on a set of photos (section 3.3). Resumes a run that the folder holds.

    Args:
        generator: frozen here.
        photos: (M, C, H, W) in the generator's value range.
        run: the spec; with ``data.photo_share`` below 1 the other steps are on synthesized images.
        folder: where checkpoints, metrics, grids and the encoder go.
        encoder: what to start from, trained in place; by default what the spec says.
        labels: int64 (M,) or rows (M, classes), where they matter.
        on_step: called with step, steps and terms at every row of metrics.
        on_start: called with sentences on the parameters, memory and time that the run will take, before it starts.

    Returns:
        the fine-tuned encoder, also written to ``folder/encoder``.
    """
    run = run.resolved(generator.spec.resolution, len(photos))
    encoder = encoder or _encoder(run, generator)
    batch = run.batch_at(generator.spec.resolution)
    own = Photos(photos, batch, labels=labels, seed=run.seed, device=generator.device)
    source: Source = own
    if run.mixes_photos:
        source = Mixture(own, _synthesized(run, generator), run.data.photo_share)
    return _train(run, folder, generator, encoder, source, norm_in_training=False, on_step=on_step, on_start=on_start)


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(f"{error} It is left out.", stacklevel=3)


def _encoder(run: RunSpec, generator: Generator) -> Encoder:
    """The encoder that the run starts from."""
    torch.manual_seed(run.seed)
    if run.encoder.weights:
        encoder = load_encoder(run.encoder.weights, device=str(generator.device))
        wanted = EncoderSpec.from_mapping({**encoder.spec.to_mapping(), **run.encoder.overrides})
        wrong = [name for name in run.encoder.overrides if getattr(wanted, name) != getattr(encoder.spec, name)]
        if wrong:
            raise SpecError(f"encoder.overrides.{wrong[0]}: the weights {run.encoder.weights} have another; drop one.")
        return encoder
    spec = EncoderSpec.mirror(generator.spec, **run.encoder.overrides)
    return build_encoder(generator, spec)


def _objective(run: RunSpec, generator: Generator) -> Objective:
    choice = run.objective
    if not (choice.image_gradient or choice.log_images):  # Images are never compared, so no backbone is loaded.
        choice = ObjectiveSpec(losses={"mse": 1.0}, attention="none", latent=choice.latent)
    return build_objective(choice, generator)


def _synthesized(run: RunSpec, generator: Generator) -> Synthesized:
    batch = run.batch_at(generator.spec.resolution)
    data = run.data
    return Synthesized(generator, batch, seed=run.seed, samples=data.samples, truncation=data.truncation)


def _train(
    run: RunSpec,
    folder: str | Path,
    generator: Generator,
    encoder: Encoder,
    source: Source,
    *,
    norm_in_training: bool,
    on_step: OnRow | None,
    on_start: OnStart | None,
) -> Encoder:
    choice = run.objective
    check_fits(encoder.spec, generator.spec)
    encoder.to(generator.device)
    if run.speed.channels_last:
        encoder.to(memory_format=torch.channels_last)
    examine(generator.freeze(), channels_last=run.speed.channels_last)
    step = EncoderStep(
        generator,
        encoder.requires_grad_(True),
        _objective(run, generator),
        image_gradient=choice.image_gradient,
        log_images=choice.log_images,
        latent_on_photos=choice.latent.on_photos,
        checkpointing=run.speed.checkpointing,
    )
    if run.speed.compile:
        generator.synthesize = torch.compile(generator.synthesize)  # type: ignore[method-assign]
    started = time.monotonic()
    processes = Processes(run.device)
    place = RunFolder(folder, run, writes=processes.first)
    resumed = bool(place.checkpoints())
    trainer = Trainer(run, place, step, source, norm_in_training=norm_in_training, processes=processes)
    try:
        trained = trainer.train(on_step, on_start)
    finally:
        if run.speed.compile:
            del generator.synthesize  # The class's own method again.
    if processes.first:
        info = {"generator": model_hash(generator), "steps": trainer.progress.step, "stopped": trainer.progress.stopped}
        try:
            save_pretrained(trained, place.path / "encoder", info=info)
            write_run_report(place.path, seconds=None if resumed else time.monotonic() - started)
        except OSError as error:
            raise TrainingError(
                f"The run is done, but {place.path} cannot be written: {error.strerror or error}. Make room and give"
                " the same command again; it only writes what is missing."
            ) from None
    processes.wait()
    return trained
