"""Latents by gradient (Abdal et al., 2019): the inversion without an encoder, also from an encoder's start."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeAlias

import torch
from ganenc_registry.errors import LatentsError, SpecError, nearest
from ganenc_registry.specs import Condition, Map, Noise, PositiveInt, Setting, Spec, Styles, Vector, encoded
from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator
from torch import Tensor
from typing_extensions import Self

from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.inversion.descent import descend
from ganenc.inversion.inverter import Inversion, Inverter, Task, as_names, by_size
from ganenc.inversion.noise import noise_correlation, noise_starts, standardise_noise_
from ganenc.inversion.seeing import SeenObjective
from ganenc.latents import Latents
from ganenc.measures import OwnLatents, deviations
from ganenc.objectives import ObjectiveResult

AT_ONCE = 1 << 18
"""Pixels."""
FEW = 256
"""Values of vectors, of which a search may begin in several places."""
DRAWS = 1024
"""From which it is learnt how latents vary."""
_PRIOR = "z of the prior"
"""Names what a mapping network turns into latents, where it is optimised itself."""
Decay: TypeAlias = Annotated[float, Field(ge=0, lt=1)]

STARTS: Any = Field(
    None,
    description="from how many other starts, the centre and the best draws, a photo that came back poorly is inverted"
    " anew, the best being kept; 1 for none. By default 8 where vectors of at most 256 values are sought",
)
POOR: Any = Field(20.0, description="PSNR in dB, below which a photo came back poorly")


class Optimize(Inverter):
    """Adam on the latents themselves, by default from the encoder's; without one z starts at the best draw and w at the
    centre. The space z of a generator with styles, which no encoder gives, always starts at the best draw."""

    class Options(Spec):
        steps: PositiveInt = Field(500, description="steps in all, for all photos together")
        rate: PositiveFloat = Field(
            0.1, description="learning rate at its height; it rises over the first twentieth, and falls along a cosine"
        )
        space: Literal["z", "w", "w+"] | None = Field(
            None, description="w is one style for all layers; by default w+ where there are styles"
        )
        free: tuple[str, ...] | None = Field(
            None,
            description="maps, such as the constant, conditions, settings and noise that are optimised, too; by default"
            " all maps. A condition that is not freed stays the embedded label, and noise the generator's own",
        )
        settings: dict[str, float] = Field(
            {}, description="settings that the photos were made under, by name; a freed one starts there"
        )
        noise_weight: NonNegativeFloat = Field(
            1e5, description="how strongly freed noise is held to noise (Karras et al., 2020, appendix D)"
        )
        start: Literal["encoder", "center", "draws"] | None = Field(
            None, description="center: the mean latents, of the class where it is given; draws: the best of some"
        )
        batch: PositiveInt | None = Field(
            None,
            description="photos at a time; by default 16 of up to 128x128 pixels, and fewer larger ones",
            json_schema_extra={"speed": True},
        )
        draws: PositiveInt = Field(100, description="how many draws the best is of")
        prior: NonNegativeFloat = Field(
            0.0,
            description="how strongly latents are held to what the generator draws: times the mean square of their"
            " distance from its mean, in its deviations",
        )
        shell: bool = Field(
            False, description="keep z of a normal prior at the length of its draws; of a uniform one, it stays inside"
        )
        whiten: bool = Field(
            False, description="seek along what the draws of the generator vary by, in their deviations"
        )
        betas: tuple[Decay, Decay] = Field((0.9, 0.99), description="of Adam; lower ones forget sooner")
        starts: PositiveInt | None = STARTS
        poor: float = POOR

        _one_name = field_validator("free", mode="before")(as_names)

    def work(self, task: Task) -> Inversion:
        options = self.options
        with task.generator.using(**options.settings):
            done = optimise_latents(
                task, self._variables(task), steps=options.steps, rate=options.rate, shell=options.shell,
                noise_weight=options.noise_weight, prior=options.prior, betas=options.betas,
            )  # fmt: skip
            return begin_anew(task, done, options, rate=options.rate, draws=options.draws, shell=options.shell)

    def at_once(self, generator: Generator, encoder: Encoder | None) -> int:
        return self.options.batch or by_size(generator, AT_ONCE)

    def settled(self, generator: Generator, encoder: Encoder | None) -> Self:
        """See :meth:`Inverter.settled`; a LatentsError if the generator has no such space, map or condition, a
        SpecError if it is to start at an encoder and there is none."""
        spec, options, styled = generator.spec, self.options, _styled(generator)
        if options.space in ("w", "w+") and not styled:
            raise LatentsError(f"{spec.family} has no styles, so there is no space {options.space!r}; use 'z'.")
        space = options.space or ("w+" if styled else "z")
        maps = [part.name for part in spec.layout if isinstance(part, Map)]
        noises = [part.name for part in spec.layout if isinstance(part, Noise)]
        known = [*maps, *noises, *(part.name for part in spec.layout if isinstance(part, Condition | Setting))]
        with generator.using(**options.settings):
            """Which refuses what is no setting."""
        for name in options.free or ():
            if name not in known:
                raise LatentsError(
                    f"There is no map, condition, setting or noise {name!r} to free{nearest(name, known)};"
                    f" there are {known}."
                )
        weight = options.noise_weight
        if weight != type(options).model_fields["noise_weight"].default and not {*noises} & {*(options.free or ())}:
            raise SpecError("optimize: noise_weight is for freed noise, and none is freed; leave it out.")
        if options.start == "encoder" and encoder is None:
            raise SpecError("optimize: start 'encoder' needs an encoder; give one, or start at 'center'.")
        start = options.start or ("encoder" if encoder else "center" if styled else "draws")
        if space == "z" and styled:
            if options.start not in (None, "draws"):
                raise SpecError(
                    f"optimize: z of {spec.family} starts at draws, not at {options.start!r}; leave it out."
                )
            start = "draws"
        free = tuple(maps if options.free is None else options.free)
        starts = starts_of(generator, options.starts)
        if start != "draws" and starts == 1 and options.draws != type(options).model_fields["draws"].default:
            raise SpecError(
                f"optimize: draws are of no use for the start {start!r}; leave them out, or start at 'draws'."
            )
        if options.shell and (spec.prior.kind != "normal" or not ((space == "z" and styled) or of_prior(generator))):
            raise SpecError("optimize: shell is for z of a normal prior, which is not optimised here; leave it out.")
        found = {"space": space, "free": free, "start": start, "starts": starts}
        return type(self)(options.model_copy(update=found), self.context)

    def _variables(self, task: Task) -> Variables:
        generator, space, free = task.generator, self.options.space, self.options.free
        start = self._start(task)
        tensors = {name: start[name] for name in free if name in start}
        for part in generator.spec.layout:
            if isinstance(part, Noise) and part.name in free:
                tensors |= noise_starts(generator, part, len(start), task.seed)
        start = start.replace(**tensors)
        if self.options.start == "draws":
            z = best_draws(task, self.options.draws, self.at_once(generator, None))[:, 0]
            with torch.no_grad():
                drawn = generator.map(z, labels=task.labels)
            if space == "z" and _styled(generator):
                return Variables(generator, start, _tied_space(drawn), {**tensors, _PRIOR: z}, task.labels)
            start = start.replace(**drawn.tensors)
            tensors |= {name: start[name] for name in tensors}
        for part in generator.spec.layout:
            if isinstance(part, Styles):
                tensors[part.name] = start[part.name].mean(1, keepdim=True) if space == "w" else start[part.name]
            elif isinstance(part, Vector):
                tensors[part.name] = start[part.name]
        axes = _axes(generator, [*tensors], task.seed) if self.options.whiten else {}
        return Variables(generator, start, space, tensors, task.labels, axes)

    @torch.no_grad()
    def _start(self, task: Task) -> Latents:
        generator, labels = task.generator, task.labels
        if self.options.start == "encoder":
            start, free = task.encoded(), self.options.free
            fixed = [part.name for part in generator.spec.layout if isinstance(part, Map) and part.name not in free]
            center = generator.center().expand(len(start)) if fixed else start
            return generator.complete(start.replace(**{name: center[name] for name in fixed}), labels=labels)
        if self.options.start == "center" and labels is not None:
            return generator.complete(generator.center(labels=labels), labels=labels)
        return generator.complete(generator.center().expand(len(task.images)), labels=labels)


@dataclass
class Variables:
    """What is optimised, and how it becomes latents."""

    generator: Generator
    start: Latents
    space: str
    """Of the latents; ``w`` for a z that a mapping network turns into one style for all layers."""
    tensors: dict[str, Tensor]
    labels: Tensor | None = None
    axes: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """Of what is sought along the deviations of draws the mean (D,) and these as rows (K, D)."""

    def __post_init__(self) -> None:
        for name, (mean, root) in self.axes.items():
            self.tensors[name] = (self.tensors[name].to(root) - mean) @ torch.linalg.pinv(root)
        parts = (part for part in self.start.layout if part.name in self.tensors)
        self._units = {part.name: part.unit for part in parts if isinstance(part, Setting)}
        self.tensors |= {name: self.tensors[name] / unit for name, unit in self._units.items()}

    def latents(self) -> Latents:
        """The latents that the variables stand for, complete."""
        tensors = self.tensors | {name: self.tensors[name] * unit for name, unit in self._units.items()}
        for name, (mean, root) in self.axes.items():
            tensors[name] = (mean + tensors[name].to(root) @ root).to(self.start[name])
        if _PRIOR in tensors:
            tensors |= self.generator.map(tensors.pop(_PRIOR), labels=self.labels).tensors | tensors
            latents = self.generator.complete(self.start.replace(**tensors))
        else:
            expanded = {name: tensor.expand_as(self.start[name]) for name, tensor in tensors.items()}
            latents = self.start.replace(**expanded)
        return Latents(latents.layout, latents.tensors, space=self.space)


@torch.no_grad()
def of_prior(generator: Generator) -> list[str]:
    """The vectors that hold z itself, stretch by stretch; none where a mapping makes something else of it."""
    vectors = [part.name for part in generator.spec.layout if isinstance(part, Vector)]
    if not vectors:
        return []
    z = generator.draw(1)
    drawn = generator.map(z, labels=generator.draw_labels(1))
    return vectors if torch.equal(torch.cat([drawn[name] for name in vectors], 1), z) else []


@torch.no_grad()
def _axes(generator: Generator, names: Sequence[str], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """What `Variables` takes of latents of these names, all layers together; z itself is white as it is."""
    drawn = generator.sample(DRAWS, seed=seed, labels=generator.draw_labels(DRAWS, seed=seed))
    found = {}
    for part in generator.spec.layout:
        if isinstance(part, Styles | Vector | Condition) and part.name in {*names} - {*of_prior(generator)}:
            rows = drawn[part.name].reshape(-1, part.dim).float()
            found[part.name] = rows.mean(0), deviations(rows).to(rows)
    return found


def optimise_latents(
    task: Task,
    variables: Variables,
    *,
    steps: int,
    rate: float,
    before: int = 0,
    shell: bool = False,
    noise_weight: float = 0.0,
    prior: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.99),
) -> Inversion:
    """Adam on the variables after ``before`` other steps; each sample ends where its own loss was lowest. Samples do
    not touch one another: Adam works element by element, and the loss is their sum.

    After each step z of a uniform prior is brought back inside, that of a normal one, with ``shell``, to the length of
    its draws, and noise to a mean of 0 and a deviation of 1; ``noise_weight`` times its `noise_correlation` is added
    to the loss, and ``prior`` times the square of `OwnLatents`'s distance. Truncated normal draws are cut to be
    sampled; networks know z beyond, which fits photos better.
    """
    generator, objective = task.generator, task.objective
    assert objective is not None
    reference = objective.prepare(task.images, labels=task.labels)
    for name, tensor in variables.tensors.items():  # In half precision, Adam's steps would be lost.
        dtype = torch.promote_types(tensor.dtype, torch.float32)
        variables.tensors[name] = tensor.detach().to(dtype, copy=True).requires_grad_()
    own = OwnLatents(generator, seed=task.seed) if prior else None
    known, drawn = generator.spec.prior, [variables.tensors[_PRIOR]] if _PRIOR in variables.tensors else []
    if not drawn and (shell or known.kind == "uniform"):
        drawn = [variables.tensors[name] for name in of_prior(generator) if name in variables.tensors]

    names = [part.name for part in generator.spec.layout if isinstance(part, Noise)]
    noise = [tensor for name, tensor in variables.tensors.items() if name.rpartition(".")[0] in names]

    @torch.no_grad()
    def bring_back() -> None:
        standardise_noise_(noise)
        length = torch.cat(drawn, 1).norm(dim=1, keepdim=True).clamp(min=1e-12) if shell else None
        for z in drawn:
            if length is not None:
                z.mul_(math.sqrt(known.dim) / length)
            elif known.kind == "uniform":
                z.clamp_(-1, 1)

    bring_back()

    def take() -> tuple[Latents, ObjectiveResult, Tensor]:
        latents = variables.latents()
        result = objective(generator.synthesize(latents), reference)
        if own is not None:
            apart = own.squares(latents).to(result.image)
            held = [one + prior * apart for one in (result.per_sample, result.image)]
            result = replace(result, per_sample=held[0], image=held[1], terms={**result.terms, "prior": apart})
        loss = result.per_sample + noise_weight * noise_correlation(noise) if noise else result.per_sample
        return latents, result, loss.sum()

    best, history = descend(
        task, variables.tensors.values(), take, steps=steps, rate=rate, before=before, settle=bring_back, betas=betas,
        fixed=True,
    )  # fmt: skip
    with torch.no_grad():
        latents, result, _ = take()
        best.offer(latents, result.image, best.now())
        latents = best.take()
        return Inversion(latents, generator.synthesize(latents), history.per_sample())


def begin_anew(
    task: Task, done: Inversion, options: Any, *, rate: float, draws: int = 100, shell: bool = False
) -> Inversion:
    """What was found, or, for photos whose PSNR is below ``options.poor``, the best of it and of other starts: a
    gradient leads a few latents to what is near, such as another digit. The centre and the best draws go down together
    for a quarter of the steps, and what is then the best goes on for half of them."""
    generator, objective, also = task.generator, task.objective, getattr(options, "free", None) or ()
    assert objective is not None
    low, high = generator.spec.value_range
    errors = (done.reconstructions.clamp(low, high) - task.images).square().flatten(1).mean(1) / (high - low) ** 2
    count = min(options.starts, draws + 1)
    latents, made, history = [*done.latents], [*done.reconstructions.split(1)], [*done.history]
    for i in [place for place, error in enumerate(errors.tolist()) if error > 10 ** (-options.poor / 10)]:
        last = len(done.history[i])
        if count < 2 or last < options.steps:  # It was stopped.
            continue
        labels = None if task.labels is None else task.labels[i : i + 1]
        one = replace(task, images=task.images[i : i + 1], labels=labels, first=task.first + i)
        if (told := task.on_step) is not None:  # Of steps that were not foreseen, as the last again.
            one = replace(one, on_step=lambda at, _, __, terms, last=last, told=told: told(at, last, last, terms))
        many = replace(
            one,
            images=one.images.expand(count, -1, -1, -1),
            labels=None if labels is None else labels.expand(count, *labels.shape[1:]),
        )
        with torch.no_grad():
            reference, z = objective.prepare(one.images, labels=labels), best_draws(one, draws, count - 1)[0]
            drawn = generator.map(z, labels=None if many.labels is None else many.labels[1:])
            starts = Latents.cat([generator.center(labels=labels), generator.complete(drawn)])
            through = objective if isinstance(objective, SeenObjective) else None
            kept = None if through is None else through.logs_of(one.images)
            before = float(objective(made[i], reference).image)
        prior = getattr(options, "prior", 0.0)
        tried = optimise_latents(
            many, _vectors(many, starts, also), steps=max(1, options.steps // 4), rate=rate, shell=shell, prior=prior
        )
        with torch.no_grad():
            best = int(
                objective(tried.reconstructions, objective.prepare(many.images, labels=many.labels)).image.argmin()
            )
        rest = _vectors(one, tried.latents[best], also)
        found = optimise_latents(one, rest, steps=max(1, options.steps // 2), rate=rate, shell=shell, prior=prior)
        with torch.no_grad():
            after = float(objective(found.reconstructions, reference).image)
        if through is not None and kept is not None and not after < before:
            through.settle(one.images, kept)
        elif after < before:
            latents[i], made[i] = found.latents, found.reconstructions
            rows = [*tried.history[best], *found.history[0]]
            history[i] = [{**row, "step": float(step)} for step, row in enumerate([*history[i], *rows], 1)]
    return replace(done, latents=Latents.cat(latents), reconstructions=torch.cat(made), history=history)


def starts_of(generator: Generator, starts: int | None) -> int:
    """How many there are, by default as many as pay; a LatentsError if several make no sense."""
    parts = [part for part in encoded(generator.spec.layout) if not isinstance(part, Condition)]
    vectors = all(isinstance(part, Vector) for part in parts)
    if (starts or 1) > 1 and not vectors:
        raise LatentsError(f"{generator.spec.family} has more to find than vectors, so it has one start; use starts=1.")
    few = vectors and sum(math.prod(part.shape) for part in parts) <= FEW
    return starts or (8 if few else 1)


@torch.no_grad()
def best_draws(task: Task, draws: int, count: int, at_once: int = 16) -> Tensor:
    """Of some draws of z, for each image those whose images are nearest to it: (N, count, prior.dim)."""
    generator, images, labels = task.generator, task.images, task.labels
    drawn = generator.draw(draws, seed=task.seed)
    errors = images.new_empty(len(images), len(drawn))
    alike: defaultdict[str, list[int]] = defaultdict(list)  # Photos of one label are compared with the same images.
    for i in range(len(images)):
        alike["" if labels is None else str(labels[i].tolist())].append(i)
    for photos in alike.values():
        made = []
        for some in drawn.split(at_once):
            given = None if labels is None else labels[photos[:1]].expand(len(some), *labels.shape[1:])
            images_of = generator.synthesize(generator.map(some, labels=given))
            made.append(torch.stack([(images_of - images[i]).square().flatten(1).mean(1) for i in photos]))
        errors[photos] = torch.cat(made, 1)
    return drawn[errors.topk(min(count, draws), largest=False).indices]


def _vectors(task: Task, start: Latents, also: Iterable[str]) -> Variables:
    vectors = [part.name for part in start.layout if isinstance(part, Vector)]
    free = {name: start[name] for name in (*vectors, *also) if name in start}
    return Variables(task.generator, start, "z", free, task.labels)


def _styled(generator: Generator) -> bool:
    return any(isinstance(part, Styles) for part in generator.spec.layout)


def _tied_space(drawn: Latents) -> str:
    """The space of latents that a mapping network gives: ``w`` where all layers share one style."""
    styles = [drawn[part.name] for part in drawn.layout if isinstance(part, Styles)]
    return "w" if all(torch.equal(one, one[:, :1].expand_as(one)) for one in styles) else "w+"
