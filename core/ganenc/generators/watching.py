"""The maps inside a generator: which there are, and what is in them while images are made. Not in paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from ganenc_registry.errors import LatentsError, nearest
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ganenc.generators.contract import evaluating
from ganenc.latents import Latents


@torch.no_grad()
def trace(generator: Any) -> dict[str, tuple[int, int, int]]:
    """See `Generator.stages`."""
    made: list[tuple[str, tuple[int, ...]]] = []
    modules = {name: module for name, module in generator.named_modules() if name}
    with evaluating(generator), hooked(modules, lambda name, found: made.append((name, tuple(found.shape[1:])))):
        generator.synthesize(generator.sample(1))
    times, (height, width) = Counter(name for name, _ in made), generator.spec.size
    last: dict[tuple[int, int], tuple[str, tuple[int, int, int]]] = {}
    for name, (channels, high, wide) in made:
        inside = high <= height and wide <= width and channels > generator.spec.channels
        if inside and times[name] == 1:
            last[high, wide] = (name, (channels, high, wide))
    return dict(found for _, found in sorted(last.items()))


@contextmanager
def hooked(modules: Mapping[str, nn.Module], take: Callable[[str, Tensor], Any]) -> Iterator[None]:
    """While it lasts, ``take`` is given the maps (N, C, H, W) that modules give, by name; of several, the first. The
    network goes on with a copy, which it may change in place."""

    def hook_of(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, taken: Any, made: Any) -> Any:
            several = made if isinstance(made, tuple | list) else [made]
            found = next((one for one in several if isinstance(one, Tensor) and one.ndim == 4), None)
            if found is None:
                return None
            take(name, found)
            return tree_map_only(Tensor, lambda one: one.clone() if id(one) == id(found) else one, made)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(hook_of(name)).remove)
        yield


def stage_modules(generator: Any, stages: Iterable[str]) -> dict[str, nn.Module]:
    """The modules of stages, by name; a LatentsError if there is no such module."""
    modules = dict(generator.named_modules())
    for name in (stages := [*stages]):
        if name not in modules:
            raise LatentsError(f"{generator.spec.family} has no stage {name!r}{nearest(name, [*generator.stages()])}.")
    return {name: modules[name] for name in stages}


class _Reached(Exception):
    """A stage was reached."""


def reach(generator: Any, stage: str, latents: Latents) -> Tensor:
    """The map (N, C, H, W) that a generator has at a stage for latents, with its gradient. The network is left there,
    so what follows costs nothing. `LatentsError` if there is no such module, or it is not come by."""

    def leave(*_: Any) -> None:
        raise _Reached

    with suppress(_Reached), generator.watch([stage]) as maps, hooked(stage_modules(generator, [stage]), leave):
        generator.synthesize(latents)
    found: Tensor = maps[stage]
    return found
