"""What the checks of several kinds share: what a call may not change, what a batch may not mix, where gradients go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ganenc.latents import Latents
from ganenc.testing.checks import expect, fail, skip

__all__ = [
    "draw",
    "expect_batch_is_apart",
    "expect_close",
    "expect_gradient",
    "expect_runs_elsewhere",
    "expect_unchanged",
    "perturbed",
    "seeded",
    "shape_text",
    "state_of",
    "tensors_in",
    "told",
]

M = TypeVar("M", bound=nn.Module)
_APART = ("is not on the expected device", "same device", "found at least two devices", "Expected all tensors")


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people read it: ``(2, 3, 16, 16)``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Torch's own randomness from that seed while it lasts, and as it was afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def draw(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> Tensor:
    """Values from ``low`` to ``high``, the same for the same seed: float32, smooth enough to look like an image.

    Images (N, C, H, W) get a wave of their own under the noise, so that each sample has a structure.
    """
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    if len(shape) == 4:
        rows = torch.linspace(0, 6, shape[2])[:, None] + torch.linspace(0, 4, shape[3])
        phase = torch.arange(shape[0] * shape[1]).reshape(*shape[:2], 1, 1) + seed
        values = 0.25 * values + 0.75 * (0.5 + 0.5 * torch.sin(rows + phase))
    return low + (high - low) * values


def tensors_in(data: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists, dictionaries and latents."""
    for leaf in tree_leaves(data):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Latents):
            yield from leaf.tensors.values()


def expect_close(found: Tensor, wanted: Tensor, sentence: str, *, tolerance: float = 1e-3) -> None:
    """The two are equal to ``tolerance`` of the larger one's size, NaN nowhere; else fail with sentence and distance.

    Args:
        found: what came out.
        wanted: what should have, of the same shape.
        sentence: what is wrong otherwise, without a full stop; ``{by}`` becomes the largest difference.
        tolerance: relative to the largest absolute value of ``wanted``, but at least to 1e-3.
    """
    if found.shape != wanted.shape:
        fail(f"{sentence.format(by='their shapes')} ({shape_text(found.shape)} against {shape_text(wanted.shape)}).")
    a, b = found.detach().double().cpu(), wanted.detach().double().cpu()
    by = float(torch.where(a == b, 0.0, (a - b).abs()).max()) if a.numel() else 0.0  # Infinities may be equal.
    size = max(float(b[b.isfinite()].abs().max()) if b.isfinite().any() else 0.0, 1e-3)
    expect(by <= tolerance * size, f"{sentence.format(by=f'{by:.3g}')}.")


def expect_gradient(gradient: Tensor | None, what: str, mend: str) -> None:
    """There is a gradient, finite, and not all zero."""
    none = gradient is None or not bool(gradient.any())
    expect(not none, f"No gradient reaches {what}, where every step of training or inversion needs one; {mend}.")
    assert gradient is not None
    expect(gradient.isfinite().all(), f"The gradient of {what} holds NaN or infinity; {mend}.")


def state_of(module: nn.Module) -> dict[str, Any]:
    """All that a call may not change: tensors, modes, and what takes a gradient."""
    return {
        "tensors": {name: tensor.detach().clone() for name, tensor in _all_tensors(module)},
        "training": {name: one.training for name, one in module.named_modules()},
        "gradient": {name: tensor.requires_grad for name, tensor in module.named_parameters()},
    }


def expect_unchanged(module: nn.Module, before: Mapping[str, Any], what: str) -> None:
    """The module is as it was when :func:`state_of` looked."""
    after = state_of(module)
    for name, tensor in before["tensors"].items():
        now = after["tensors"].get(name)
        same = now is not None and now.shape == tensor.shape and torch.equal(now.nan_to_num(), tensor.nan_to_num())
        expect(same, f"{what} changed its tensor {name!r}, where a frozen network stays as it is; keep no statistics.")
    for name, mode in before["training"].items():
        there = after["training"].get(name) == mode
        expect(there, f"{what} switched {name or 'itself'!r} between train and eval mode; leave modes to the caller.")
    for name, wants in before["gradient"].items():
        there = after["gradient"].get(name) == wants
        expect(there, f"{what} switched the gradient of {name!r}; leave requires_grad to the caller.")


def expect_batch_is_apart(run: Callable[[Tensor], Tensor], batch: Tensor, what: str) -> None:
    """Each sample of a batch comes out as it does alone, and a batch of one has its first dimension."""
    whole, alone = run(batch), run(batch[1:2])
    expect(
        len(whole) == len(batch) and len(alone) == 1,
        f"{what} gives {shape_text(whole.shape)} for a batch of {len(batch)} and {shape_text(alone.shape)} for one, but"
        " the first dimension is the sample; squeeze nothing.",
    )
    mend = "normalise over no batch, and average over no samples"
    expect_close(alone[0], whole[1], f"{what} differs by {{by}} for a sample alone and the same in a batch; {mend}")


def expect_runs_elsewhere(module: nn.Module, run: Callable[[nn.Module, torch.device], Any], what: str) -> None:
    """A module that was moved gives its results there: on a GPU, or without one on torch's device without values.

    Args:
        module: moved here, so a copy of its own.
        run: runs it on the device given.
        what: the subject of the sentence.
    """
    place = next((name for name, has in _accelerators() if has), "meta")
    device = torch.device(place)
    try:
        with torch.no_grad():
            found = list(tensors_in(run(module.to(device), device)))
    except Exception as error:
        text = " ".join(str(error).split())
        if place != "meta" or any(part in text for part in _APART):
            fail(
                f"{what} fails once it is moved to another device ({text[:200]}); register its tensors as buffers, and"
                " make new ones on the device of its input."
            )
        skip(f"it looks at values while it runs, so its devices can only be told with a GPU ({text[:80]})")
    left = {str(tensor.device) for tensor in found if tensor.device.type != device.type}
    expect(
        not left, f"{what} was moved to {place} but its result is on {', '.join(sorted(left))}; keep it where it is."
    )


def told(error: Exception) -> str:
    """An error of another's code as part of a sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def perturbed(module: M, *, size: float = 0.1) -> M:
    """The module, with a little noise on every weight, so that none is at a zero where it has no effect."""
    with seeded(), torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=size)
    return module


def _all_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _accelerators() -> Iterator[tuple[str, bool]]:
    yield "cuda", torch.cuda.is_available()
    yield "mps", torch.backends.mps.is_available()
