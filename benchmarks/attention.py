"""What attention costs: a step with views over the same step without, and strategy 1 over strategy 2.

Attention adds views of the images; the encoder and the generator run as often as without. Measured are

- fine-tuning on a photo: what it calls for (views, features, map) is computed once a photo, not once a step;
- pre-training: each step has a new target, so the backbone goes over its views as well. For Grad-CAM with the map
  computed anew, as where no image comes twice, and with a map that is known by now, as from the second epoch on;
- the paper's two strategies of pre-training, from their presets: strategy 1 learns from latents alone and neither
  rebuilds the image nor looks at it.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial

from _common import clock, describe, interleaved, parser, publish, ratios, set_threads, table
from _networks import BACKBONES, NETWORKS, backbone
from ganenc.objectives import Batch, EncoderStep, Objective, Reference, build_objective
from ganenc_registry.specs import GeneratorSpec, ObjectiveSpec, preset
from steps import Bench, build

Work = dict[str, Callable[[], object]]
"""Steps by name; the first is the one that the others are measured by."""

WANTED = {"center": 1.5, "gradcam": 1.6, "gradcam, map known": 1.6, "strategy 1": 0.7}
"""The ratios that are wanted, at the most."""
ATTENTIONS = ("none", "center", "gradcam", "gradcam-crop")


def finetuning(bench: Bench) -> Work:
    """A step on one photo with each attention; without a latent loss, next to which views would weigh less.

    Then what the objective takes alone, which other programs blur less than they do the small difference of two steps.
    """
    work: Work = {}
    alone: Work = {}
    for name in ATTENTIONS:
        options = {"cache": 0.0} if name.startswith("gradcam") else {}
        choice = ObjectiveSpec(attention={"name": name, "options": options})
        objective = build_objective(choice, bench.generator, own_backbone=bench.backbone)
        reference = objective.prepare(bench.images)
        step = EncoderStep(bench.generator, bench.encoder, objective, latent_on_photos=False)
        work[name] = bench.step(step, lambda: Batch(bench.images), reference)
        alone[f"{name}: objective alone"] = partial(compare, bench, objective, reference)
        alone[f"{name}: once a photo"] = partial(objective.prepare, bench.images)
    return work | alone


def compare(bench: Bench, objective: Objective, reference: Reference) -> None:
    """The objective forward and backward, to the reconstruction."""
    made = bench.made.detach().requires_grad_()
    objective(made, reference).total.backward()


def pretraining(bench: Bench) -> Work:
    """A step on a synthesized image with each attention. The image is the same each time, so a cache knows its map."""
    work: Work = {}
    for name in ATTENTIONS:
        mapped = name.startswith("gradcam")
        for ending, options in ((", map known", {}), (", map anew", {"cache": 0.0})) if mapped else (("", {}),):
            choice = ObjectiveSpec(attention={"name": name, "options": options})
            step = EncoderStep(
                bench.generator, bench.encoder, build_objective(choice, bench.generator, own_backbone=bench.backbone)
            )
            work[f"{name}{ending}"] = bench.step(step, bench.synthesized, None)
    return work


def strategies(spec: GeneratorSpec, look: str) -> Work:
    """A step of pre-training by each strategy of section 4.3, encoders and objectives as in the presets."""
    work: Work = {}
    for name, run in (("strategy 2", preset("paper-pretrain-s2")), ("strategy 1", preset("paper-pretrain-s1"))):
        bench = build(spec, 1, choice=run.objective, look=look, **run.encoder.overrides)
        choice = run.objective
        step = EncoderStep(
            bench.generator,
            bench.encoder,
            bench.objective,
            image_gradient=choice.image_gradient,
            log_images=choice.log_images,
        )
        work[name] = bench.step(step, bench.synthesized, None)
    return work


def rows(kind: str, work: Work, rounds: int, threads: int) -> list[Sequence[str]]:
    """Time the steps in turn; a row for each, with its ratio to the first."""
    times = interleaved(work, rounds=rounds, clock=clock(threads))
    base = next(iter(times.values()))
    found: list[Sequence[str]] = []
    for name, values in times.items():
        ratio = "1" if values is base else describe(ratios(values, base))
        wanted = f"at most {WANTED[name]}" if name in WANTED else ""
        found.append((kind, name, f"{statistics.median(values):.3f}", ratio, wanted))
    return found


def main() -> None:
    """Time the steps and print the ratios."""
    options = parser("attention", __doc__.splitlines()[0])
    options.add_argument("--network", choices=NETWORKS, default="f256", help="StyleGAN2")
    options.add_argument("--backbone", choices=BACKBONES, default="squeeze", help="of LPIPS and Grad-CAM")
    options.add_argument("--rounds", type=int, default=5, help="rounds that count")
    chosen = options.parse_args()
    set_threads(chosen.threads)
    if chosen.quick:
        chosen.network, chosen.rounds = "tiny32", 3
    spec = NETWORKS[chosen.network]()
    bench = build(spec, 1, look=chosen.backbone)
    measured = []
    for kind, work in (("fine-tuning", finetuning(bench)), ("pre-training", pretraining(bench))):
        measured += rows(kind, work, chosen.rounds, chosen.threads)
    del bench, work
    measured += rows("pre-training, presets", strategies(spec, chosen.backbone), chosen.rounds, chosen.threads)
    body = "\n\n".join(
        [
            f"StyleGAN2 {chosen.network} with random weights, its mirrored encoder, one image a step; losses mse, cos,"
            f" lpips and ssim on one view (none) or three; backbone {chosen.backbone}, {backbone(chosen.backbone)[1]}."
            f" Medians of {chosen.rounds} rounds, smallest and largest in brackets.",
            table(["step", "attention or strategy", "seconds", "over the first of its kind", "wanted"], measured),
        ]
    )
    publish("attention", "What attention costs", body, out=chosen.out, quick=chosen.quick, threads=chosen.threads)


if __name__ == "__main__":
    main()
