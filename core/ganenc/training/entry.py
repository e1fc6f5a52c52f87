"""From a run's spec to a trained encoder. What a run leaves goes to a sink: a folder, or memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.components import build
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, ObjectiveSpec, RunSpec
from torch import Tensor

from ganenc.encoders import (
    Encoder,
    build_encoder,
    check_fits,
    encoder_format,
    generator_format,
    generator_ways,
    in_format,
)
from ganenc.files import Processes
from ganenc.generators import Generator, examine
from ganenc.models import load_encoder, model_hash
from ganenc.objectives import build_objective
from ganenc.training.cache import Cached
from ganenc.training.data import Mixture, Photos, Source, Synthesized
from ganenc.training.folder import RunFolder
from ganenc.training.recipe import Recipe, RecipeContext
from ganenc.training.sinks import Memory, Sink
from ganenc.training.trainer import OnRow, OnStart, Trainer


def pretrain(
    generator: Generator,
    run: RunSpec,
    sink: Sink | str | Path | None = None,
    *,
    encoder: Encoder | None = None,
    own_backbone: str | None = None,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
) -> Encoder:
    """Train an encoder on images that the generator, frozen here, makes (section 3.2).

    Checkpoints, metrics, grids and the encoder go to ``sink``, a folder or by default memory, and the run that it holds
    is resumed. ``run`` is the spec (``ganenc.preset`` gives the paper's), ``encoder`` what to start from, trained in
    place (by default what the spec says), ``own_backbone`` as in `ganenc.objectives.build_objective`. ``on_step`` gets
    step, steps and terms at every row of metrics, ``on_start`` sentences on the parameters, memory and time to expect.
    """
    run = run.model_copy(update={"task": "pretrain"}).resolved(generator.spec.resolution)
    return _train(run, sink, generator, encoder, None, own_backbone, on_step, on_start)


def finetune(
    generator: Generator,
    photos: Tensor,
    run: RunSpec,
    sink: Sink | str | Path | None = None,
    *,
    encoder: Encoder | None = None,
    labels: Tensor | None = None,
    own_backbone: str | None = None,
    on_step: OnRow | None = None,
    on_start: OnStart | None = None,
) -> Encoder:
    """Fine-tune an encoder on photos (M, C, H, W), in the generator's value range (section 3.3); else as `pretrain`.

    ``labels`` are int64 (M,) or rows (M, classes), where they matter. With the run's ``data.photo_share`` below 1 the
    other steps are on synthesized images.
    """
    run = run.model_copy(update={"task": "finetune"}).resolved(generator.spec.resolution, len(photos))
    batch = run.batch_at(generator.spec.resolution)
    own = Photos(photos, batch, labels=labels, seed=run.seed, device=generator.device)
    return _train(run, sink, generator, encoder, own, own_backbone, on_step, on_start)


def _encoder(run: RunSpec, generator: Generator) -> Encoder:
    """The encoder that the run starts from."""
    torch.manual_seed(run.seed)
    if not run.encoder.weights:
        return build_encoder(generator, **run.encoder.overrides)
    encoder = load_encoder(run.encoder.weights, device=str(generator.device))
    wanted = EncoderSpec.from_mapping({**encoder.spec.to_mapping(), **run.encoder.overrides})
    wrong = [name for name in run.encoder.overrides if getattr(wanted, name) != getattr(encoder.spec, name)]
    if wrong:
        raise SpecError(f"encoder.overrides.{wrong[0]}: the weights {run.encoder.weights} have another; drop one.")
    return encoder


def _in_formats(
    run: RunSpec, begun: RunSpec | None, generator: Generator, encoder: Encoder, processes: Processes
) -> RunSpec:
    """The run with the memory formats that its networks are brought into, and the ways that the generator computes by:
    as it says, as they were when it was begun, or what is faster here."""
    part = run.speed.micro_batch
    batch = part if isinstance(part, int) else max(1, run.batch_at(generator.spec.resolution) // processes.count)
    chosen: dict[str, Any] = {}
    precision = run.speed.autocast
    for name, network, measure in (
        ("encoder_format", encoder, partial(encoder_format, encoder, batch, precision=precision)),
        ("generator_format", generator, partial(generator_format, generator, batch, precision=precision)),
    ):
        told = getattr(run.speed, name)
        if told == "auto":
            told = getattr(begun.speed, name) if begun is not None else processes.told(measure())
        in_format(network, told)
        chosen[name] = told
    told = run.speed.generator_ways
    if begun is not None:
        ways = begun.speed.generator_ways
    else:
        ways = processes.told(
            generator_ways(generator, batch, chosen["generator_format"], precision=precision, told=tuple(told))
        )
    # What was begun and is no longer offered is passed over: all ways are the same to rounding.
    offered = {name: way for name, way in ways.items() if way in generator.alternatives.get(name, ())}
    generator.choose(**{**offered, **told})
    chosen["generator_ways"] = {**ways, **told}
    return run.model_copy(update={"speed": run.speed.model_copy(update=chosen)})


def _source(
    run: RunSpec, generator: Generator, encoder: Encoder, photos: Photos | None, processes: Processes
) -> Source:
    if photos is not None and not run.mixes_photos:
        return photos
    batch, data = run.batch_at(generator.spec.resolution), run.data
    options: dict[str, Any] = {"seed": run.seed, "samples": data.samples, "truncation": data.truncation}
    made = Synthesized(generator, batch, **options)
    if data.cache:
        made = Cached(generator, encoder.spec.size, data.cache, batch, **options, processes=processes)
    return made if photos is None else Mixture(photos, made, data.photo_share)


def _recipe(
    run: RunSpec, generator: Generator, encoder: Encoder, own_backbone: str | None, processes: Processes
) -> Recipe:
    choice = run.objective
    if not (choice.image_gradient or choice.log_images):  # Images are never compared, so no backbone is loaded.
        choice = ObjectiveSpec(losses={"mse": 1.0}, attention="none", latent=choice.latent)
    context = RecipeContext(
        generator.spec,
        generator.spec.value_range,
        str(generator.device),
        network=generator,
        encoder=encoder,
        objective=build_objective(choice, generator, own_backbone=own_backbone),
        run=run,
        processes=processes,
    )
    return build("recipe", run.recipe, Recipe, context, at="recipe")


@torch.inference_mode(False)
def _train(
    run: RunSpec,
    sink: Sink | str | Path | None,
    generator: Generator,
    encoder: Encoder | None,
    photos: Photos | None,
    own_backbone: str | None,
    on_step: OnRow | None,
    on_start: OnStart | None,
) -> Encoder:
    encoder = encoder or _encoder(run, generator)
    check_fits(encoder.spec, generator.spec)
    encoder.to(generator.device)
    if sink is None or not isinstance(sink, Sink):
        sink = Memory() if sink is None else RunFolder(sink)
    processes = Processes(run.device)
    run = _in_formats(run, sink.begun, generator.freeze(), encoder, processes)
    examine(generator)
    recipe = _recipe(run, generator, encoder, own_backbone, processes)
    if run.speed.compile:
        generator.synthesize = torch.compile(generator.synthesize)  # type: ignore[method-assign]
    if run.data.cache and on_start is not None and processes.first:
        on_start([f"{run.data.samples:,} images are made where {run.data.cache} has not got them."])
    try:
        source = _source(run, generator, encoder, photos, processes)
        trainer = Trainer(run, sink, recipe, source, processes=processes)
        trained = trainer.train(on_step, on_start)
    finally:
        if run.speed.compile:
            del generator.synthesize  # The class's own method again.
    done = trainer.progress
    sink.finish(trained, {"generator": model_hash(generator), "steps": done.step, "stopped": done.stopped})
    if isinstance(sink, RunFolder) and processes.first:
        recipe.leave(sink.path)
    processes.wait()
    return trained
