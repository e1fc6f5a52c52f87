"""Networks are built without the random weights that a file will replace, and only where nothing else hangs on them."""

from __future__ import annotations

import copy
import json
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.generators import fill, undrawn
from ganenc.models import load_encoder, load_generator, model_hash, save_pretrained
from ganenc.objectives import load_backbone
from ganenc_registry.errors import CheckpointError, SpecError
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from toys import ToyGenerator, toy_spec


class Plain(nn.Module):
    """Weights that are drawn, numbers that are computed, and a buffer that is not saved."""

    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.style = nn.Parameter(torch.randn(4, generator=torch.Generator().manual_seed(1)) * 2)
        self.register_buffer("noise", torch.rand(4, device="cpu"))
        self.register_buffer("taps", torch.outer(torch.tensor([1.0, 2.0]), torch.ones(2)), persistent=False)
        self.step = torch.zeros(())


class HiddenBuffer(Plain):
    """A random buffer that is not saved: only drawing it gives its values."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.register_buffer("hidden", torch.randn(3, generator=generator), persistent=False)


class Attribute(Plain):
    """A random tensor in a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = [{"first": torch.randn(3, generator=torch.Generator().manual_seed(2))}]


class Tied(Plain):
    """One weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Conv2d(2, 3, 3)
        self.other.weight = self.conv.weight


class Computing(Plain):
    """Looks at what it has drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = 1.0 if float(self.conv.weight.detach().sum()) < 1e9 else -1.0


class Normalised(Plain):
    """A weight that is worked out from others whenever it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.spectral_norm(self.conv)


MODULES = [Plain, HiddenBuffer, Attribute, Tied, Computing, Normalised]


@pytest.mark.parametrize("build", MODULES)
def test_what_is_loaded_is_what_was_saved(build: Callable[[], nn.Module], recwarn: pytest.WarningsRecorder) -> None:
    torch.manual_seed(0)
    one = build()
    torch.manual_seed(1)
    other = undrawn(build, one.state_dict())
    fill(other, one.state_dict())
    assert not any(tensor.is_meta for tensor in [*other.parameters(), *other.buffers()])
    assert model_hash(other) == model_hash(one)
    assert torch.equal(other.taps, one.taps)
    images = torch.ones(1, 2, 5, 5)
    assert torch.equal(one.eval().conv(images), other.eval().conv(images))
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]
    for name in ("hidden", "sign"):
        assert str(getattr(one, name, None)) == str(getattr(other, name, None))
    if isinstance(one, Attribute):
        assert torch.equal(one.maps[0]["first"], other.maps[0]["first"])
    if isinstance(one, Tied):
        assert other.other.weight is other.conv.weight
    assert not recwarn.list


def test_nothing_is_drawn_where_it_need_not_be() -> None:
    before = torch.get_rng_state()
    made = undrawn(Plain, {})
    assert torch.equal(torch.get_rng_state(), before)
    assert {name for name, tensor in made.state_dict().items() if tensor.is_meta} >= {"conv.weight", "style", "noise"}
    assert not made.taps.is_meta


def test_what_fails_when_it_is_built_fails_as_usual() -> None:
    def build() -> nn.Module:
        raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        undrawn(build, {})


def test_weights_that_a_network_copies_into_itself_do_not_warn() -> None:
    class Copying(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.conv.load_state_dict({"weight": torch.ones(3, 2, 3, 3), "bias": torch.ones(3)})

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert undrawn(Copying, {}).conv.weight.is_meta


def test_models_load_without_drawing(toy: Any, toy_encoder: Any, known: Any, tmp_path: Path) -> None:
    known.add_value("generator", "toy", type(toy), summary="A toy")
    save_pretrained(toy, tmp_path)
    save_pretrained(toy_encoder, tmp_path / "encoder")
    before = torch.get_rng_state()
    assert model_hash(load_generator(tmp_path)) == model_hash(toy)
    loaded = load_encoder(tmp_path)
    assert model_hash(loaded) == model_hash(toy_encoder)
    assert all(p.requires_grad for p in loaded.parameters())
    assert torch.equal(torch.get_rng_state(), before)


class Drawing(ToyGenerator):
    """Draws from every global stream as it is built, and keeps some of it, so that it is built as usual."""

    def __init__(self, spec: Any = None) -> None:
        super().__init__(spec or toy_spec((8, 8), dim=4))
        self.kept = [torch.randn(2) * random.random() * np.random.rand()]


@pytest.mark.parametrize("what", ["folder", "encoder", "function", "backbone"])
def test_loading_leaves_the_random_streams_alone_and_gives_what_takes_gradients(
    what: str, toy_encoder: Any, tiny_backbone: Any, known: Any, tmp_path: Path
) -> None:
    class Redrawn(type(tiny_backbone)):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            Drawing()

    known.add_value("generator", "toy", Drawing, summary="A toy")
    known.add_value("model", "drawing", Drawing, summary="A toy that a function makes")
    known.add_value("backbone", "redrawn", Redrawn, summary="A backbone")
    save_pretrained(Drawing(), tmp_path)
    save_pretrained(toy_encoder, tmp_path / "encoder")
    calls = {"folder": lambda: load_generator(tmp_path), "encoder": lambda: load_encoder(tmp_path)}
    calls |= {"function": lambda: load_generator("drawing"), "backbone": lambda: load_backbone("redrawn")}

    def streams() -> list[Any]:
        return [torch.rand(3).tolist(), random.random(), np.random.rand()]

    drawn = []
    for loads in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        with torch.inference_mode():
            loaded = calls[what]() if loads else None
        drawn.append(streams())
    assert drawn[0] == drawn[1]
    assert not any(weight.is_inference() for weight in loaded.parameters())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(value: float, toy: Any, toy_encoder: Any, known: Any, tmp_path: Path):
    known.add_value("generator", "toy", type(toy), summary="A toy")
    toy.noise_0.fill_(math.nan)  # What a family does not know.
    for module, folder in ((toy, tmp_path), (toy_encoder, tmp_path / "encoder")):
        save_pretrained(module, folder)
    assert load_generator(tmp_path).noise_0.isnan().all()
    for module, folder, load in ((toy, tmp_path, load_generator), (toy_encoder, tmp_path / "encoder", load_encoder)):
        next(module.parameters()).data.flatten()[-1] = value
        save_pretrained(module, folder)
        with pytest.raises(CheckpointError, match=rf"In {folder}.* the tensor \S+ holds NaN or infinity"):
            load(folder)


def test_a_model_is_its_own_once_it_is_loaded(toy: Any, known: Any, tmp_path: Path) -> None:
    """A file that is changed under a loaded model changes nothing in it."""
    known.add_value("generator", "toy", type(toy), summary="A toy")
    save_pretrained(toy, tmp_path)
    loaded = load_generator(tmp_path)
    path = tmp_path / "model.safetensors"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 64)
    assert model_hash(loaded) == model_hash(toy)


def test_networks_far_larger_than_their_weights_are_not_built() -> None:
    """Neither one of many layers nor one of a large layer, whether it would be drawn or set to zero."""
    tensors = {"weight": torch.ones(2, 2)}
    layers = iter(range(10**9))
    for build in (
        lambda: nn.ModuleList(nn.Linear(2, 2) for _ in layers),
        lambda: nn.Linear(1 << 20, 1 << 20),
        lambda: nn.Embedding.from_pretrained(torch.zeros(1 << 13, 1 << 13)),
        lambda: torch.full((1 << 20, 1 << 20), math.nan),  # Which no machine has room for: it is not even tried.
        lambda: torch.eye(1 << 62),
        lambda: float(torch.randn(())) + torch.randn(1 << 20, 1 << 20),  # Where it needs what it draws.
    ):
        with pytest.raises(SpecError, match="far larger than its weights"):
            undrawn(build, tensors)
    assert next(layers) < 100_000


def test_a_config_of_a_larger_model_is_named(toy: Any, known: Any, tmp_path: Path) -> None:
    known.add_value("generator", "toy", type(toy), summary="A toy")
    save_pretrained(toy, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for part, number in (("dim", 1 << 20), ("layers", 1 << 40), ("dim", 9)):
        changed = copy.deepcopy(config)
        changed["spec"]["layout"][0][part] = number
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises((SpecError, CheckpointError), match=str(tmp_path)):
            load_generator(tmp_path)


def test_a_family_that_fails_on_a_config_is_reported(toy: Any, known: Any, tmp_path: Path) -> None:
    class Failing(type(toy)):  # type: ignore[misc]
        def __init__(self, spec: Any) -> None:
            raise KeyError(64)

    save_pretrained(toy, tmp_path)
    known.add_value("generator", "toy", Failing, summary="A toy")
    with pytest.raises(SpecError, match=r"config\.json describes a model that cannot be built \(KeyError: 64\); fetch"):
        load_generator(tmp_path)


def test_half_precision_holds_what_it_can(toy: Any, tmp_path: Path) -> None:
    save_pretrained(toy, tmp_path / "fits", half=True)
    with torch.no_grad():
        next(toy.parameters()).fill_(1e6)
    with pytest.raises(CheckpointError, match="too large for half precision"):
        save_pretrained(toy, tmp_path / "too-large", half=True)
