"""Weights that a generator keeps where torch does not look: hashed, saved, loaded and moved, or refused."""

from __future__ import annotations

import copy
import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import pytest
import torch
from ganenc.generators import Generator
from ganenc.models import build_with_weights, model_hash, save_pretrained
from ganenc_registry.errors import CheckpointError, SpecError
from ganenc_registry.specs import GeneratorSpec, Prior, Vector
from torch import Tensor, nn

SPEC = GeneratorSpec(family="kept", size=4, prior=Prior(dim=3), layout=(Vector(dim=3),))
WEIGHT = torch.randn(48, 3, generator=torch.Generator().manual_seed(0))


class Kept(Generator):
    """Images that are linear in z, by a weight that a subclass keeps as it likes."""

    spec = SPEC

    def __init__(self, spec: GeneratorSpec | None = None, seed: int | None = None) -> None:
        super().__init__(spec)
        rng = torch.Generator().manual_seed(seed or 0)
        self.keep(torch.randn(48, 3, generator=rng))

    def keep(self, weight: Tensor) -> None:
        raise NotImplementedError

    def weight(self) -> Tensor:
        raise NotImplementedError

    def synthesize(self, latents: Any) -> Tensor:
        return (latents["z"] @ self.weight().T).reshape(-1, 3, 4, 4)


class Slotted:
    __slots__ = ("weight",)


def linear(weight: Tensor) -> nn.Linear:
    made = nn.Linear(3, 48, bias=False)
    made.weight = nn.Parameter(weight)
    return made


def in_slot(self: Any, weight: Tensor) -> None:
    self.slotted = [Slotted()]
    self.slotted[0].weight = weight


def bound(self: Any, weight: Tensor) -> None:
    self.run = linear(weight).forward


KEPT: dict[str, tuple[Callable[[Any, Tensor], None], Callable[[Any], Tensor]]] = {
    "an attribute": (lambda self, w: setattr(self, "w", w), lambda self: self.w),
    "a dict": (lambda self, w: setattr(self, "w", {"first.weight": w}), lambda self: self.w["first.weight"]),
    "nested": (lambda self, w: setattr(self, "w", [{"a": ({1: w}, 2)}]), lambda self: self.w[0]["a"][0][1]),
    "a tuple": (lambda self, w: setattr(self, "w", (1, (w,))), lambda self: self.w[1][0]),
    "an object": (lambda self, w: setattr(self, "w", types.SimpleNamespace(of=w)), lambda self: self.w.of),
    "slots": (in_slot, lambda self: self.slotted[0].weight),
    "NumPy": (lambda self, w: setattr(self, "w", {"a": w.numpy()}), lambda self: torch.from_numpy(self.w["a"])),
    "a module in a list": (lambda self, w: setattr(self, "w", [linear(w)]), lambda self: self.w[0].weight),
    "a bound method": (bound, lambda self: self.run.__self__.weight),
    "with a gradient": (lambda self, w: setattr(self, "w", [w.requires_grad_()]), lambda self: self.w[0]),
}


def kept_as(name: str) -> type[Kept]:
    keep, weight = KEPT[name]
    return type("KeptSo", (Kept,), {"keep": keep, "weight": lambda self: weight(self).to(self.dtype)})


@pytest.mark.parametrize("name", KEPT)
def test_weights_are_found_wherever_they_are_kept(name: str, tmp_path: Path) -> None:
    family = kept_as(name)
    generator, other = family(seed=1).freeze(), family(seed=2).freeze()
    assert model_hash(generator) != model_hash(other)
    latents = generator.sample(2)
    images = generator.synthesize(latents)
    assert not images.requires_grad
    save_pretrained(generator, tmp_path / "mine")
    loaded = build_with_weights(lambda: family(seed=3), tmp_path / "mine").freeze()
    assert model_hash(loaded) == model_hash(generator)
    assert torch.equal(loaded.synthesize(latents), images)
    wide = copy.deepcopy(generator).double()
    assert wide.weight().dtype == wide.dtype == torch.float64
    torch.testing.assert_close(wide.synthesize(latents).float(), images)
    assert torch.equal(generator.synthesize(latents), images)
    if name != "NumPy":
        assert copy.deepcopy(generator).to("meta").synthesize(latents).is_meta


def test_weights_that_are_set_later_are_found_and_what_is_kept_after_use_is_not() -> None:
    family = kept_as("a dict")
    generator = family(seed=1)
    generator.w["more"] = torch.ones(2)
    generator.freeze()
    assert "w/more" in generator.state_dict()
    digest = model_hash(generator)
    generator.synthesize(generator.sample(1))
    generator.cache = {"grid": torch.zeros(3)}
    assert model_hash(generator) == digest


def test_what_a_function_or_the_class_reaches_is_refused() -> None:
    def closure(self: Any, weight: Tensor) -> None:
        self.run = lambda: weight

    def partial(self: Any, weight: Tensor) -> None:
        self.run = functools.partial(torch.clone, weight)

    def nothing(self: Any, weight: Tensor) -> None:
        pass

    run, world = {"weight": lambda self: self.run()}, {"weight": lambda self: WEIGHT}
    ways = [
        ({"keep": closure, **run}, "weight"),
        ({"keep": partial, **run}, "run"),
        ({"keep": nothing, **world}, "WEIGHT"),
    ]
    ways.append(({"keep": nothing, "table": {"a": WEIGHT}, "weight": lambda self: self.table["a"]}, "table"))
    for fields, named in ways:
        with pytest.raises(SpecError, match=f"Reaches computes with '{named}', which .* keep it as an attribute"):
            type("Reaches", (Kept,), fields)()
    same = type("Same", (Kept,), {"keep": lambda self, w: setattr(self, "w", WEIGHT), "weight": lambda self: WEIGHT})
    same()  # It is known by another name.


def outside() -> Tensor:
    return WEIGHT


def test_what_cannot_be_found_is_told_apart_by_its_images(tmp_path: Path) -> None:
    class Hidden(Kept):
        def keep(self, weight: Tensor) -> None:
            self.factor = 1.0

        def weight(self) -> Tensor:
            return outside() * self.factor

    generator, other = Hidden(), Hidden()
    assert model_hash(generator) == model_hash(other)
    other.factor = 1.1
    assert model_hash(generator) != model_hash(other)
    with pytest.raises(CheckpointError, match=r"Hidden keeps no weights that can be found, so .* would hold none"):
        save_pretrained(generator, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


class Normed(Generator):
    """Its batch norms keep no running statistics, or are switched to those of the batch."""

    spec = SPEC

    def __init__(self, spec: GeneratorSpec | None = None, *, tracks: bool = False) -> None:
        super().__init__(spec)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            norms = [nn.BatchNorm1d(48, track_running_stats=tracks), nn.BatchNorm2d(3, affine=False)]
            norms[1] = nn.BatchNorm2d(3, affine=False, track_running_stats=tracks)
            self.net = nn.Sequential(nn.Linear(3, 48), norms[0], nn.Unflatten(1, (3, 4, 4)), norms[1], nn.Tanh())

    def synthesize(self, latents: Any) -> Tensor:
        return self.net(latents["z"])


@pytest.mark.parametrize("tracks", [False, True])
def test_statistics_are_gathered_and_kept(tracks: bool, tmp_path: Path) -> None:
    generator = Normed(tracks=tracks)
    if not tracks:
        with pytest.raises(
            SpecError, match=r"kept depend on the batch .* keep no running statistics: call its gather_st"
        ):
            generator.freeze()
    assert generator.gather_statistics(samples=512).freeze() is generator
    latents = generator.sample(1024, seed=3)
    images = generator.synthesize(latents)
    torch.testing.assert_close(generator.synthesize(latents[5]), images[5:6])
    batch = Normed(tracks=tracks).train().synthesize(latents)
    assert (batch - images).abs().mean() < 0.06  # Statistics of 512 and 1,024 draws are that far from one another.
    save_pretrained(generator, tmp_path)
    again = build_with_weights(Normed, tmp_path).freeze()
    assert torch.equal(again.synthesize(latents), images)
    assert model_hash(again) == model_hash(generator)


@pytest.mark.parametrize("way", ["norm", "train", "mean"])
def test_samples_that_depend_on_their_batch_are_refused(way: str) -> None:
    class Mixing(Normed):
        def synthesize(self, latents: Any) -> Tensor:
            images = super().synthesize(latents)
            if way == "norm":
                return torch.nn.functional.batch_norm(images, None, None, training=True)
            self.net.train(way == "train")
            return images - images.mean(0) if way == "mean" else self.net(latents["z"].repeat(2, 1))[: len(images)]

    generator = Mixing(tracks=True).freeze()
    with pytest.raises(
        SpecError, match=r"kept depend on the batch that they are made in \((by \d+% of the r|Expected m)"
    ):
        generator.synthesize(generator.sample(3))


def test_a_batch_is_compared_once() -> None:
    generator, calls = Normed(tracks=True).freeze(), []
    generator.net.register_forward_hook(lambda module, taken, made: calls.append(len(made)))
    for count in (1, 3, 3):
        generator.synthesize(generator.sample(count))
    assert calls == [1, 3, 1, 3]
    assert ganenc.model_hash(generator) == model_hash(Normed(tracks=True))
