"""The maps inside a generator: which there are, and what is in them while images are made. Not in paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ganenc.generators.contract import evaluating


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
    """While it lasts, ``take`` is given the maps (N, C, H, W) that modules give, by name; of several, the first."""

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, taken: Any, made: Any) -> None:
            several = made if isinstance(made, tuple | list) else [made]
            found = next((one for one in several if isinstance(one, Tensor) and one.ndim == 4), None)
            if found is not None:
                take(name, found)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(hook_of(name)).remove)
        yield
