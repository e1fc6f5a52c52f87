"""Holds what a family writes to the contract of a generator, however freely it is written. Not in paper.

A family is given what its spec declares and no more, and only where it differs from the default; it may return plain
tensors where latents are meant; noise that a network draws for itself is seeded; and what does not fit the spec is told
in one sentence, at the first call.
"""

from __future__ import annotations

import functools
import inspect
import math
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import TYPE_CHECKING, Any

import torch
from ganenc_registry.errors import LatentsError, PluginError, SpecError
from ganenc_registry.specs import Condition, GeneratorSpec, Map, Noise, Styles, Vector
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganenc.files import as_tensor
from ganenc.latents import Latents

if TYPE_CHECKING:
    from ganenc.generators.generator import Generator, NoiseChoice

MAP_TAKES = "z, *, labels=None, truncation=1.0, truncation_layers=None"
SYNTHESIZE_TAKES = 'latents, *, noise="const"'
_HELD = "_held_to_contract"
APART = 0.05
"""How far a sample alone may be from the same in a batch, as a share of the range of values: half precision rounds."""
_DEPENDENT = "The images of {} depend on the batch that they are made in"
_ALONE = "no sample could be inverted; let it normalise over no batch, and average over no samples"
_SEED = 0
_LOCK = threading.RLock()


def hold(family: type[Generator]) -> None:
    """Wrap the ``map`` and ``synthesize`` that a class defines itself, so that they take and give what core expects."""
    for name, wrap in (("map", _mapping), ("synthesize", _synthesis)):
        own = vars(family).get(name)
        if isinstance(own, FunctionType) and not hasattr(own, _HELD) and not hasattr(own, "__isabstractmethod__"):
            held = wrap(own)
            setattr(held, _HELD, True)
            setattr(family, name, held)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """While it lasts, every part of a module is in eval mode, so that no batch norm learns from what is drawn."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def as_declared(own: Any, told: str) -> Iterator[None]:
    """Tell by a PluginError of a call whose arguments a family's own function or class does not take; what its code
    raises, once reached, is its own affair. In ``told``, ``{error}`` stands for what Python says."""
    try:
        yield
    except TypeError as error:
        code = getattr(inspect.unwrap(own.__init__ if isinstance(own, type) else own), "__code__", None)  # type: ignore[misc]
        if any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        raise PluginError(told.format(error=error)) from error


def check_truncation(spec: GeneratorSpec, truncation: float, truncation_layers: int | None) -> None:
    """Raise `LatentsError` if a map is to truncate, and its spec declares that it does not."""
    if spec.truncation != "styles" and (truncation != 1.0 or truncation_layers is not None):
        raise LatentsError(
            f"The map of {spec.family} truncates no styles, as its spec declares truncation={spec.truncation!r}; leave"
            " truncation and truncation_layers out."
        )
    layers = max((part.layers for part in spec.layout if isinstance(part, Styles)), default=0)
    if not math.isfinite(truncation) or truncation_layers not in (None, *range(layers + 1)):
        asked = f"truncation={truncation} and truncation_layers={truncation_layers}"
        raise LatentsError(f"{spec.family} takes a finite truncation, of 0 to {layers} layers; not {asked}.")


def _mapping(own: Callable[..., Any]) -> Callable[..., Latents]:
    @functools.wraps(own)
    def map(
        self: Generator,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        options: dict[str, Any] = {} if truncation == 1.0 else {"truncation": truncation}
        if truncation_layers is not None:
            options["truncation_layers"] = truncation_layers
        if type(self).map is not map:  # A subclass asks what it comes from, which need not give what its spec says.
            inner: Latents = own(self, z, **options, **({} if labels is None else {"labels": labels}))
            return inner
        check_truncation(self.spec, truncation, truncation_layers)
        if not torch.compiler.is_compiling():
            z = _prior_rows(self.spec, z)
            labels = None if labels is None else self.as_labels(labels, len(z))
        if labels is not None:
            options["labels"] = labels
        if torch.compiler.is_compiling():  # Nothing but the family's own code is to be seen.
            return _conditioned(self, _as_latents(self.spec, own(self, z, **options)), labels)
        z = z.to(self.device, self.dtype)
        with as_declared(own, _told(self.spec, "map", MAP_TAKES, options)):
            made, _ = _repeatable(self, "map", lambda: own(self, z, **options), _SEED)
        return _conditioned(self, _as_latents(self.spec, made), labels)

    return map


def _prior_rows(spec: GeneratorSpec, given: Any) -> Tensor:
    """Draws of the prior as (N, dim), from one of them, a list or an array, too; `LatentsError` for anything else."""
    z = as_tensor(given, f"z of {spec.family}", LatentsError)
    z = z[None] if z.ndim == 1 else z
    if z.ndim != 2 or z.shape[1] != spec.prior.dim or z.is_complex():
        raise LatentsError(f"z of {spec.family} is (N, {spec.prior.dim}); this is {_described(z)}.")
    return z


def _synthesis(own: Callable[..., Any]) -> Callable[..., Tensor]:
    @functools.wraps(own)
    def synthesize(self: Generator, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        plain = isinstance(noise, str | int)
        if type(self).synthesize is not synthesize:  # As above.
            inner: Tensor = own(self, latents, **({} if plain and noise == "const" else {"noise": noise}))
            return inner
        declared = next((part for part in self.spec.layout if isinstance(part, Noise)), None)
        if noise not in ("const", "random", "none") if isinstance(noise, str) else not isinstance(noise, int):
            noise = _noise_maps(self, declared, noise)
        options = {"noise": noise} if declared and not (plain and noise == "const") else {}
        if not isinstance(latents, Latents):
            latents = _as_latents(self.spec, latents, "synthesize of {} is given {}; give it Latents, or")
        elif latents.info.get("tuning", self._tuning) != self._tuning:
            raise LatentsError(
                f"These latents go with tuned weights, and those of this {self.spec.family} are not tuned so: take the"
                " inversion or its folder instead, or apply its tuning by `generator.tuned`."
            )
        if latents.layout != self.spec.layout:  # A sentence, where shapes differ.
            latents = Latents(self.spec.layout, latents.tensors, space=latents.space)
        if torch.compiler.is_compiling():
            images: Tensor = own(self, latents, **options)
            return images
        compares = noise == "const" and not self._apart and not any(part.training for part in self.modules())
        device, dtype = self.device, self.dtype
        if any(part.dtype != dtype or part.device != device for part in latents.tensors.values()):
            latents = latents.to(device, dtype)
        with as_declared(own, _told(self.spec, "synthesize", SYNTHESIZE_TAKES, options)):
            if plain and noise == "random":
                made = own(self, latents, **options)
            else:
                seed = noise if isinstance(noise, int) else _SEED
                made = _images(self, lambda some: own(self, some, **options), latents, seed)
        images = _checked(self, made, latents)
        if compares and not images.is_meta and not self._draws["synthesize", False]:
            _check_apart(self, lambda some: own(self, some, **options), latents, images)
        return images

    return synthesize


def _told(spec: GeneratorSpec, method: str, takes: str, options: Mapping[str, Any]) -> str:
    """What is said where a method does not take what it is given."""
    given = ", ".join([takes.partition(",")[0], *options])
    return (
        f"The {method} of {spec.family} is given ({given}), as its spec declares, and does not take that ({{error}});"
        f" write `def {method}(self, {takes})`, or `**_` for what it has no use for."
    )


def _noise_maps(generator: Generator, part: Noise | None, given: Any) -> list[Tensor]:
    """Noise maps on the generator's device; `LatentsError` if they are not what its layout declares."""
    if part is None or isinstance(given, str) or not isinstance(given, Sequence):
        kinds = "'const', 'random', 'none', a seed" + (" or maps" if part else "; it has no maps")
        raise LatentsError(f"The noise of {generator.spec.family} is {kinds}; not {given!r:.60}.")
    maps = [as_tensor(one, "a noise map", LatentsError).to(generator.device, generator.dtype) for one in given]
    if [one.shape[1:] for one in maps] != [torch.Size(shape) for shape in part.shapes]:
        found = ", ".join(str(tuple(one.shape)) for one in maps)
        raise LatentsError(f"The noise maps of {generator.spec.family} are (N, *shape) of {part.shapes}; not {found}.")
    return maps


def _as_latents(spec: GeneratorSpec, made: Any, told: str = "The map of {} gave {}; return") -> Latents:
    """What a mapping gave, as latents: latents, tensors by the name of the part, or the only part there is to draw."""
    if isinstance(made, Latents):
        return made
    if isinstance(made, Tensor):
        drawn = [part.name for part in spec.layout if isinstance(part, Styles | Vector)]
        drawn = drawn or [part.name for part in spec.layout if isinstance(part, Map)]
        if len(drawn) == 1:
            made = {drawn[0]: made}
    if not isinstance(made, Mapping):
        names = [part.name for part in spec.layout]
        raise SpecError(f"{told.format(spec.family, _described(made))} a dict of tensors by part: {names}.")
    tensors = {name: as_tensor(one, f"the part {name!r}", LatentsError) for name, one in made.items()}
    for part in spec.layout:
        style = tensors.get(part.name)
        if isinstance(part, Styles) and style is not None and style.ndim == 2:  # One for all layers.
            tensors[part.name] = style[:, None].expand(-1, part.layers, -1)
    return Latents(spec.layout, tensors)


def _conditioned(generator: Generator, latents: Latents, labels: Tensor | None) -> Latents:
    """The latents with the embedded labels in a condition that the mapping left out."""
    spec = generator.spec
    missing = [part.name for part in spec.layout if isinstance(part, Condition) and part.name not in latents]
    if missing and labels is None:
        raise LatentsError(f"{spec.family} needs labels: integers (N,) or rows (N, {spec.classes}).")
    return latents.replace(**{name: generator.embed(labels) for name in missing if labels is not None})


def _images(generator: Generator, call: Callable[[Latents], Any], latents: Latents, seed: int) -> Any:
    """Synthesize so that the same latents give the same pixels: where a network, in eval mode, draws noise for a whole
    batch, by the place in it, the samples go through one by one, each with the noise that it has alone."""
    made, draws = _repeatable(generator, "synthesize", lambda: call(latents), seed)
    if not draws or generator.training or len(latents) < 2:
        return made
    parts = [_repeatable(generator, "synthesize", functools.partial(call, one), seed)[0] for one in latents]
    return torch.cat([_checked(generator, part, one) for part, one in zip(parts, latents)])


@torch.no_grad()
def _check_apart(generator: Generator, call: Callable[[Latents], Any], latents: Latents, images: Tensor) -> None:
    """Compare, once, a sample's image in a batch with the one that it has alone; `SpecError` if they differ."""
    if len(latents) < 2 or not images.isfinite().all():
        return
    low, high = generator.spec.value_range
    try:
        alone = _checked(generator, call(latents[:1]), latents[:1])
        apart = float((alone - images[:1]).abs().max()) / (high - low)
        by = f"by {apart:.0%} of the range" if apart > APART else ""
    except ValueError as error:  # Of a batch norm that sees one value.
        by = str(error)
    if by:
        raise SpecError(f"{_DEPENDENT.format(generator.spec.family)} ({by}): {_ALONE}.")
    generator._apart = True


def check_norms(generator: Generator) -> None:
    """Raise `SpecError` if a generator has batch norms that, in eval mode, use the statistics of the batch."""
    if any(isinstance(module, _BatchNorm) and module.running_mean is None for module in generator.modules()):
        raise SpecError(
            f"{_DEPENDENT.format(generator.spec.family)}, as its batch norms keep no running statistics: call"
            " its gather_statistics() once, such as where it is made, and they are measured and kept."
        )


def track_statistics(norm: _BatchNorm) -> None:
    """Let a batch norm keep running statistics, from the start."""
    like = torch.zeros(norm.num_features) if norm.weight is None else norm.weight.detach()
    norm.track_running_stats = True
    norm.running_mean, norm.running_var = torch.zeros_like(like), torch.ones_like(like)
    norm.num_batches_tracked = torch.zeros((), dtype=torch.int64, device=like.device)


def _repeatable(generator: Generator, method: str, call: Callable[[], Any], seed: int) -> tuple[Any, bool]:
    """What a call gives, torch's own random numbers coming from a seed, and whether it draws any: the first call tells,
    and a network that draws nothing then is left to itself."""
    place = (method, generator.training)
    if generator._draws.get(place) is False:
        return call(), False
    with _seeded(seed, generator.device) as moved:
        made = call()
        generator._draws[place] = generator._draws.get(place, False) or moved()
    return made, generator._draws[place]


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[Callable[[], bool]]:
    """While it lasts, torch draws from a seed, on the CPU and on a device; afterwards it goes on where it was. The
    streams belong to the process, so one thread at a time seeds them. Yields what tells whether any was drawn since."""
    streams = [torch.default_generator]
    if device.type == "cuda":
        streams.append(torch.cuda.default_generators[device.index or 0])
    elif device.type == "mps":
        streams.append(torch.mps._get_default_mps_generator())
    with _LOCK:
        before = [stream.get_state() for stream in streams]
        start = [stream.manual_seed(seed % 2**63).get_state() for stream in streams]
        try:
            yield lambda: not all(torch.equal(stream.get_state(), state) for stream, state in zip(streams, start))
        finally:
            for stream, state in zip(streams, before):
                stream.set_state(state)


def _checked(generator: Generator, made: Any, latents: Latents) -> Tensor:
    """Images as the spec declares them, on the generator's device and in the dtype of its weights; else a SpecError."""
    spec = generator.spec
    wanted = (spec.channels, *spec.size)
    shape = tuple(made.shape) if isinstance(made, Tensor) else ()
    count = len(latents) or (shape[0] if shape else 0)  # Latents may hold nothing, where all parts are left out.
    if shape != (count, *wanted) or not made.is_floating_point():
        raise SpecError(
            f"{spec.family} declares images (N, {', '.join(map(str, wanted))}) of floats, and its synthesize gave"
            f" {_described(made)} for {count} samples; {_remedy(spec, made, count)}."
        )
    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in latents.tensors.values())
    if learns and not made.requires_grad:
        raise SpecError(
            f"The synthesize of {spec.family} lets no gradient through to its latents, so no encoder could learn from"
            " it; look for no_grad, inference_mode, detach, .data or NumPy in it."
        )
    images: Tensor = made.to(generator.device, generator.dtype)
    return images


def _remedy(spec: GeneratorSpec, made: Any, count: int) -> str:
    """What to do about images of another shape."""
    if isinstance(made, tuple | list | Mapping):
        return "return the images alone, such as the first of these"
    if not isinstance(made, Tensor):
        return "return a tensor"
    shape, (height, width) = tuple(made.shape), spec.size
    if shape == (count, height, width, spec.channels):
        return "the channels come first: `.permute(0, 3, 1, 2)`"
    if made.ndim == 4 and shape[0] == count and shape[1:] != (spec.channels, height, width):
        return f"declare size={shape[2:]} and channels={shape[1]} in its GeneratorSpec"
    if made.numel() == count * spec.channels * height * width and made.ndim != 4:
        return f"bring them to that shape: `.reshape(-1, {spec.channels}, {height}, {width})`"
    if not made.is_floating_point():
        return f"scale them to floats from {spec.value_range[0]:g} to {spec.value_range[1]:g}"
    return "one image of that shape is wanted for each sample"


def _described(made: Any) -> str:
    """What something is, shapes of tensors included."""
    if isinstance(made, Tensor):
        return f"{tuple(made.shape)} of {str(made.dtype).removeprefix('torch.')}"
    if isinstance(made, tuple | list):
        return f"a {type(made).__name__} of {len(made)}: {'; '.join(map(_described, made[:4]))}"
    if isinstance(made, Mapping):
        return f"a mapping of {', '.join(map(str, made))}"
    return f"a {type(made).__name__}"
