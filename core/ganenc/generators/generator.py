"""The contract of a generator."""

from __future__ import annotations

import itertools
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import torch
from ganenc_registry.errors import CheckpointError, LatentsError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Map, Setting, Styles, Vector
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import Self

from ganenc.files import as_count
from ganenc.generators.adopting import adopt, exchange
from ganenc.generators.contract import check_norms, evaluating, hold, track_statistics
from ganenc.generators.labels import LabelsGiven, check_labels, need_classes
from ganenc.generators.prior import draw_class, draw_prior
from ganenc.generators.reading import Reading, find_readings
from ganenc.generators.tuning import Tuning, check_tuning, tuning_hash
from ganenc.generators.undrawn import fill, undrawn
from ganenc.generators.watching import hooked, stage_modules, trace
from ganenc.latents import Latents

if TYPE_CHECKING:
    from ganenc.foreign import Checkpoint

NoiseChoice: TypeAlias = str | int | Sequence[Tensor]
"""What ``synthesize`` takes as noise: ``const``, ``random``, ``none``, a seed, or one map (N, \\*shape) a layer."""

CENTER_DRAWS = 10_000
CENTER_SEED = 0x6D65616E


class _Adopting(ABCMeta):
    """Looks at a generator once its class has built it."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        made = super().__call__(*arguments, **options)
        made._adopt()
        return made


TAKEN = ("cuda_graphs", "home", "memory_format", "password", "spec")
"""Names that no alternative may have, as `Generator` or a variable of the environment has them."""


class Generator(nn.Module, metaclass=_Adopting):
    """A pre-trained GAN's generator.

    A family subclasses this, takes its :class:`~ganenc_registry.specs.GeneratorSpec` in ``__init__`` (or has it as the
    class attribute ``spec``; with neither, a `SpecError`) and implements :meth:`synthesize`; with a mapping network
    also :meth:`map`; with labels that are embedded also :meth:`embed`.

    Images are NCHW in ``spec.value_range``, never clamped, in the dtype of the weights. The generator lives on the
    device of its weights; labels are expected there. Where dtypes meet, every network (generator, encoder, backbone)
    takes what it is given in its own; what is compared or trained is so in float32 at least.

    What a subclass writes is held to the contract, so that it can be short. Its methods are given what its spec
    declares and no more: ``map`` labels where there are classes and truncation where that is of styles, ``synthesize``
    the choice of noise where the layout has some. ``map`` may return tensors by the name of the part, or one tensor
    where there is one part to draw; noise that a network draws for itself is seeded; and images that are not as the
    spec declares them are a `SpecError` that says what was declared and what came.

    Tensors and modules in dictionaries, lists and objects that it keeps are part of its state, until it is first used;
    what it reaches outside itself is a `SpecError`.
    """

    NO_WEIGHTS: ClassVar = ("spec", "_draws", "_centers", "_settings", "_stages", "_held", "untuned")

    alternatives: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What it can compute in several ways that are the same to rounding: of each attribute that says which, the values
    it takes. Runs set those that are faster on the machine at hand (see `choose`)."""
    spec: GeneratorSpec
    taken_as: str = ""
    """Of one read from a foreign file that does not tell all: what it was taken to be, as the YAML that settles it
    where it lies beside the file; lines with a guess end in a comment."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        hold(cls)

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__()
        spec = spec or getattr(type(self), "spec", None)
        if not isinstance(spec, GeneratorSpec):
            name = type(self).__name__
            raise SpecError(f"{name} has no spec: hand a GeneratorSpec to super().__init__, or set it on the class.")
        self.spec = spec
        _check_alternatives(type(self).alternatives)
        self._draws: dict[tuple[str, bool], bool] = {}
        self._centers: dict[str, Latents] = {}
        self._settings: dict[str, float] = {}
        self._stages: dict[str, tuple[int, int, int]] = {}
        self._tuning = ""
        self.untuned: dict[str, Tensor] = {}
        """While it is tuned, the weights that are tuned, as they were, by name."""
        self._apart = False
        self._held: list[tuple[nn.Module, str]] = []

    def _adopt(self) -> None:
        if not self._draws:  # What is kept later may be a cache.
            self._held += adopt(self, Generator)

    def _apply(self, change: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """See `torch.nn.Module`: it moves, and changes the dtype."""
        self._adopt()
        old = [(owner, name, owner.get_buffer(name)) for owner, name in self._held]
        super()._apply(change, recurse)  # type: ignore[no-untyped-call]
        new = {id(tensor): owner.get_buffer(name) for owner, name, tensor in old}
        if new:
            exchange(self, lambda tensor: new.get(id(tensor), tensor))
        return self

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        """See `torch.nn.Module`."""
        self._adopt()
        return super().state_dict(*arguments, **options)

    def choose(self, **ways: str) -> Self:
        """Compute in these ways from now on, by the names of `alternatives`; a SpecError if there are none such."""
        for name, way in ways.items():
            if way not in self.alternatives.get(name, ()):
                known = "; ".join(f"{one}: {' or '.join(offered)}" for one, offered in self.alternatives.items())
                raise SpecError(f"{self.spec.family} computes nothing as {name}: {way}; it takes {known or 'no such'}.")
            setattr(self, name, way)
        return self

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights, in which images come out."""
        held = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.dtype for tensor in held if tensor.is_floating_point()), torch.float32)

    @abstractmethod
    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        """Latents, or tensors by the name of the part, => images (N, C, H, W) in ``spec.value_range``.

        The same latents give the same pixels twice, unless ``noise`` is ``random``: to the bit for the same call on the
        same machine, to rounding in another batch, from expanded tensors, or on other threads and processors.
        """

    def map(
        self, z: Tensor, *, labels: Tensor | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Latents:
        """z (N, prior.dim), or one draw (prior.dim,), an array or a list, never scaled here, => latents: by default z
        in stretches as the layout's vectors, and labels as its condition.

        ``labels`` are classes (N,) or rows (N, classes), where they matter, or one for all. ``truncation`` is how far
        styles stay from their mean, 1 leaves them and 0 gives the mean, on so many of the first layers
        (``truncation_layers``), all by default. `LatentsError` if z has another shape; if labels are missing where they
        matter, or given where there are no classes; if styles would not be truncated; if there are styles, or the
        vectors do not take all of z.
        """
        spec = self.spec
        for part in spec.layout:
            if isinstance(part, Styles):
                raise LatentsError(f"{spec.family} has styles {part.name!r} but no mapping network to draw them.")
        lengths = {part.name: part.dim for part in spec.layout if isinstance(part, Vector)}
        if sum(lengths.values()) != spec.prior.dim:
            raise LatentsError(
                f"z of {spec.family} has {spec.prior.dim} values, its vectors take {lengths or 'none'}: give it a `map`"
                " that makes them of z, or another prior.dim."
            )
        return Latents(spec.layout, dict(zip(lengths, z.split(list(lengths.values()), dim=1))))

    def embed(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => the condition (N, dim). By default the labels as rows, where the
        condition is as long; others implement it. `LatentsError` if there is no condition, or labels do not fit."""
        spec = self.spec
        if not any(isinstance(part, Condition) and part.dim == spec.classes for part in spec.layout):
            raise LatentsError(f"{spec.family} has no condition to embed labels in, or no `embed` for it.")
        return self.label_rows(labels)

    def need_classes(self) -> int:
        """The number of classes; `LatentsError` if there are none, so that labels are of no use."""
        need_classes(self.spec.classes, self.spec.family)
        return self.spec.classes

    def as_labels(self, given: LabelsGiven, count: int | None = None) -> Tensor:
        """Labels, one for each sample or one for all, as int64 (count,) or rows (count, classes), on its device.
        `LatentsError` if they do not fit, see `ganenc.generators.check_labels`."""
        return check_labels(given, self.spec.classes, count, of=self.spec.family).to(self.device)

    def label_rows(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => rows in the dtype of the weights; `LatentsError` for others."""
        found = check_labels(labels, self.spec.classes, of=self.spec.family)
        return (F.one_hot(found, self.spec.classes) if found.ndim == 1 else found).to(self.dtype)

    def label_numbers(self, labels: Tensor) -> Tensor:
        """Labels, int64 (N,) or rows (N, classes) => int64 (N,), for networks that look labels up in a table;
        `LatentsError` for others, or if a row has not a single 1."""
        rows = self.label_rows(labels)
        numbers = rows.argmax(1)
        if not torch.equal(F.one_hot(numbers, self.spec.classes).to(rows), rows):
            raise LatentsError(f"{self.spec.family} takes one class a sample; a row has a single 1 and otherwise 0.")
        return numbers

    def default(self, name: str) -> Tensor | None:
        """The generator's own value of a part that latents may leave out, or of one map of its noise (``noise.0``),
        shape (1, ...); None where it has none, or tells none."""
        part = next((part for part in self.spec.layout if part.name == name), None)
        if isinstance(part, Setting):
            value = self._settings.get(name, part.default)
            return torch.full((1,), value, device=self.device, dtype=self.dtype)
        return None

    @contextmanager
    def using(self, **settings: float) -> Iterator[Self]:
        """While it lasts, settings that latents leave out take these values, by name, in place of their defaults: for
        images made under others, which no encoder predicts; `GanencError` if the layout has none of that name."""
        wrong = [name for name in settings if not isinstance(self.spec.part(name), Setting)]
        if wrong:
            raise LatentsError(f"{wrong[0]!r} of {self.spec.family} is no setting, so it cannot be set for a while.")
        if not all(map(math.isfinite, settings.values())):
            raise LatentsError(f"Settings are finite numbers; not {settings}.")
        before, self._settings = self._settings, {**self._settings, **settings}
        try:
            yield self
        finally:
            self._settings = before

    @contextmanager
    def tuned(self, tuning: Tuning) -> Iterator[Self]:
        """While it lasts, differences, by names of parameters, are added to its weights, which are then as before, to
        the bit. `CheckpointError` if they are not of its weights or not finite, or it is tuned already."""
        weights = dict(self.named_parameters())
        check_tuning(tuning, weights, self.spec.family)
        if tuning and self._tuning:
            raise CheckpointError(f"This {self.spec.family} is tuned already; leave one tuning before the next.")
        if not tuning:
            yield self
            return
        before = self._tuning, self.untuned, self._centers
        kept = {name: weights[name].data for name in tuning}
        try:
            for name, old in kept.items():
                weights[name].data = (old + tuning[name].detach().to(old.device)).to(old.dtype)
            self._tuning, self.untuned, self._centers = tuning_hash(tuning), kept, {}
            yield self
        finally:
            for name, old in kept.items():
                weights[name].data = old
            self._tuning, self.untuned, self._centers = before

    def complete(self, latents: Latents, *, labels: Tensor | None = None) -> Latents:
        """The same latents of N samples, in the generator's layout, with its own maps and settings in place of those
        left out. The embedding of ``labels``, int64 (N,) or rows (N, classes), takes the place of a
        condition that was predicted."""
        own = {}
        for part in self.spec.layout:
            if isinstance(part, Map | Setting) and part.name not in latents:
                value = self.default(part.name)
                if value is not None:
                    own[part.name] = value.expand(len(latents), *value.shape[1:])
            elif isinstance(part, Condition) and labels is not None:
                own[part.name] = self.embed(labels)
        found = {**latents.tensors, **own}
        return Latents(self.spec.layout, found, space=latents.space, model=latents.model, info=latents.info)

    def draw(self, n: int, *, seed: int = 0, first: int = 0) -> Tensor:
        """Draw z (n, prior.dim) from the prior. Sample ``first + i`` of a seed is the same in any batch."""
        z = draw_prior(self.spec.prior, n, seed=seed, first=first)
        return z.to(device=self.device, dtype=self.dtype)

    def draw_labels(self, n: int, *, seed: int = 0, first: int = 0) -> Tensor | None:
        """Draw labels int64 (n,), each class as likely; None where labels do not matter."""
        if not self.spec.classes:
            return None
        drawn = [draw_class(self.spec.classes, seed=seed, place=first + i) for i in range(n)]
        return torch.tensor(drawn, dtype=torch.int64, device=self.device)

    def sample(
        self, n: int, *, seed: int = 0, labels: LabelsGiven | None = None, truncation: float = 1.0, first: int = 0
    ) -> Latents:
        """Draw latents of n samples, from the place ``first`` in the stream ``seed``. ``labels`` are one each or one
        for all, drawn where they matter and are not given (`LatentsError` if wrong); a ``truncation`` below 1, of what
        ``spec.truncation`` names, is for samples nearer to the mean (`SpecError` if there is none, or not finite)."""
        if truncation != 1.0 and self.spec.truncation == "none":
            raise SpecError(f"{self.spec.family} has no truncation; leave it out.")
        if not math.isfinite(truncation):
            raise SpecError(f"The truncation of samples is a finite number; not {truncation}.")
        n = as_count(n, "The number of samples")
        labels = self.draw_labels(n, seed=seed, first=first) if labels is None else self.as_labels(labels, n)
        z = self.draw(n, seed=seed, first=first)
        of_prior, of_styles = (truncation if self.spec.truncation == what else 1.0 for what in ("prior", "styles"))
        latents = self.map(z * of_prior, labels=labels, truncation=of_styles)
        return latents.replace(**{name: torch.full_like(z[:, 0], truncation) for name in self.spec.truncation_settings})

    @torch.inference_mode(False)  # What is kept may take part in gradients later.
    @torch.no_grad()
    def center(self, *, labels: Tensor | None = None) -> Latents:
        """The mean latents, one sample: of 10,000 draws of the prior, with the generator's own maps and settings. With
        ``labels``, int64 (N,) or rows (N, classes), N samples, each the mean of its class alone.

        They are computed once and kept, so ask for them after the weights are in place. As many are kept as there are
        classes, besides those of no label; the oldest go first.
        """
        if labels is not None and len(labels) > 1:
            return Latents.cat(self.center(labels=label) for label in labels.split(1))
        key = "" if labels is None else str(labels.flatten().tolist())
        if key not in self._centers:
            if len(self._centers) > self.spec.classes:
                del self._centers[next(iter(self._centers))]
            with evaluating(self):
                self._centers[key] = self._mean_of_draws(labels)
        return self.complete(self._centers[key].to(self.device, self.dtype))

    def _mean_of_draws(self, labels: Tensor | None) -> Latents:
        sums: dict[str, Tensor] = {}
        for first in range(0, CENTER_DRAWS, 1000):
            given = None if labels is None else labels.expand(1000, *labels.shape[1:])
            latents = self.sample(1000, seed=CENTER_SEED, first=first, labels=given)
            for name, tensor in latents.tensors.items():
                sums[name] = sums.get(name, torch.zeros(())) + tensor.cpu().double().sum(0, keepdim=True)
        settings = {part.name for part in self.spec.layout if isinstance(part, Setting)}
        means = {name: total / CENTER_DRAWS for name, total in sums.items() if name not in settings}
        return Latents(self.spec.layout, means, space=latents.space)

    def stages(self) -> dict[str, tuple[int, int, int]]:
        """The maps inside, coarse to fine, one for each size: the name of the module that gives it => channels, height
        and width of what it gives. By default those that come last in a traced pass, of modules that run once in it;
        images, and parts of them, are not among them."""
        self._stages = self._stages or trace(self)
        return dict(self._stages)

    def readings(self) -> list[Reading]:
        """The affine layers that read styles or vectors first, with their matrices. By default modules that one tensor
        goes into, found in a traced pass; a family that reads latents in another way says so itself."""
        return find_readings(self)

    @contextmanager
    def watch(self, stages: Iterable[str]) -> Iterator[dict[str, Tensor]]:
        """While it lasts, the maps (N, C, H, W) of these stages by name, each time images are made; their gradient is
        kept where they have one. Of a network that draws noise for itself they are those of the last sample.
        `LatentsError` if there is no such module, or it was not come by."""
        modules = stage_modules(self, stages)
        found: dict[str, Tensor] = {}

        def take(name: str, made: Tensor) -> None:
            if made.requires_grad:
                made.retain_grad()
            found[name] = made

        compared, self._apart = self._apart, True  # What is made to be compared is not watched.
        try:
            with hooked(modules, take):
                yield found
            for name in [name for name in modules if name not in found][:1]:
                raise LatentsError(f"{self.spec.family} makes no maps at its stage {name!r}; take another.")
        finally:
            self._apart = compared

    def freeze(self) -> Self:
        """Frozen means frozen: eval mode, and no weight takes a gradient. `SpecError` if its batch norms would go by
        the statistics of each batch even so, see `gather_statistics`."""
        self._adopt()
        check_norms(self)
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def gather_statistics(self, *, samples: int = 2048, batch: int = 64, seed: int = 0) -> Self:
        """Measure the running statistics of its batch norms anew, the mean of those of some batches, and keep them,
        also where they kept none. With them a sample alone is what it is among others."""
        norms = [module for module in self.modules() if isinstance(module, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        with evaluating(self):
            for norm in norms:
                track_statistics(norm)
                norm.momentum, norm.training = None, True
            for first in range(0, samples if norms else 0, batch):
                self.synthesize(self.sample(batch, seed=seed, first=first))
            for norm, momentum in zip(norms, momenta):
                norm.momentum, norm.training = momentum, False
        self._apart = False
        self._centers.clear()
        return self

    @classmethod
    def from_tensors(cls, spec: GeneratorSpec, tensors: Mapping[str, Tensor]) -> Self:
        """Build the generator of a spec with its whole state dictionary, which it keeps; no random weights are drawn.
        `SpecError` if the spec does not fit together, or is of a network far larger than the weights."""
        generator = undrawn(lambda: cls(spec), tensors)
        fill(generator, tensors)
        return generator

    def to_format(self, name: str) -> dict[str, Any]:
        """What a torch file in another program's format holds, dictionaries of tensors; for families to implement."""
        raise CheckpointError(f"A {self.spec.family} cannot be written as {name}; take another format.")

    @classmethod
    def recognises(cls, checkpoint: Checkpoint) -> bool:
        """Whether a foreign checkpoint is one of this family's. Families that read foreign files implement it."""
        return False

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """Build the generator that a foreign checkpoint holds; its architecture comes from the shapes found."""
        raise CheckpointError(f"{cls.__name__} reads no foreign files, so it cannot read {checkpoint.path}.")


hold(Generator)


def _check_alternatives(declared: object) -> None:
    """A SpecError if they are no mapping of names of a generator's own to the ways that each may take."""
    if not isinstance(declared, Mapping):
        raise SpecError(f"alternatives is a mapping of names to tuples of ways, not {type(declared).__name__}.")
    for name, ways in declared.items():
        if not isinstance(ways, tuple) or not ways or not all(isinstance(way, str) for way in ways):
            raise SpecError(f"alternatives: {name} takes a tuple of one or more words, not {ways!r}.")
        if not isinstance(name, str) or not name.isidentifier() or hasattr(Generator, name) or name in TAKEN:
            raise SpecError(f"alternatives: {name!r} is no name for what is computed in several ways; take another.")
