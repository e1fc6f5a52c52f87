"""The faster memory format, and the faster way of a generator, is measured once, kept, and told; what says otherwise
is heeded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from ganenc.cli import findings
from ganenc.encoders import Encoder, build_encoder, encoder_format, formats, generator_format, generator_ways
from ganenc.files import measuring
from ganenc.generators import Generator
from ganenc.inversion import invert
from ganenc.training import RunFolder, pretrain
from ganenc_registry.errors import SpecError
from runs import run_spec
from toys import ToyGenerator, toy_spec


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, in which small networks are measured, too."""
    monkeypatch.setenv("GANENC_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GANENC_MEMORY_FORMAT")
    monkeypatch.setattr(formats, "SMALLEST", 0)
    monkeypatch.setattr(measuring, "MEASURED", {})
    return tmp_path / "home" / measuring.FILE


def slowed(monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module, is_slow: Callable[[], bool]) -> list[None]:
    """Make a network slow now and then, by a clock that stands still otherwise; what is returned grows with a pass."""
    passes: list[None] = []
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def wait(*_: Any) -> None:
        passes.append(None)
        clock.now += 0.2 if is_slow() else 0.1

    name = "synthesize" if hasattr(network, "synthesize") else "forward"
    own = getattr(network, name)
    monkeypatch.setattr(network, name, lambda *given, **named: (wait(), own(*given, **named))[1])
    return passes


@pytest.mark.parametrize("slow", formats.FORMATS)
def test_the_faster_format_is_taken_and_kept(
    slow: str, home: Path, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_encoder.train()
    before = torch.get_rng_state()
    other = next(name for name in formats.FORMATS if name != slow)
    wide = next(one for one in toy_encoder.parameters() if one.ndim == 4 and min(one.shape) > 1)
    passes = slowed(monkeypatch, toy_encoder, lambda: wide.is_contiguous(memory_format=formats.FORMATS[slow]))
    assert encoder_format(toy_encoder, 2) == other
    count = len(passes)
    assert count >= 4
    assert encoder_format(toy_encoder, 2) == other
    assert len(passes) == count, "it is known by now"
    assert toy_encoder.training
    assert all(weight.grad is None for weight in toy_encoder.parameters())
    assert torch.equal(torch.get_rng_state(), before)
    (row,) = [row for row in json.loads(home.read_text()).values() if isinstance(row, dict)]
    assert row["seconds"][slow] > row["seconds"][other]
    (told,) = findings()["measured"]
    assert told.startswith("memory_format of encoder of 2x3x8x8, ")
    assert f": {other} (" in told
    assert encoder_format(toy_encoder, 1)
    assert len(passes) > count, "another batch is another matter"
    count = len(passes)
    assert encoder_format(toy_encoder, 1, precision="bf16")
    assert len(passes) > count, "and so is another precision"


class TwoWays(ToyGenerator):
    """Adds in one order or in another."""

    alternatives: ClassVar = {"order": ("upwards", "downwards")}
    order = "as it comes"


@pytest.mark.parametrize("slow", TwoWays.alternatives["order"])
def test_the_faster_way_of_a_generator_is_taken_and_kept(
    slow: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = TwoWays(toy_spec((8, 8))).freeze()
    passes = slowed(monkeypatch, generator, lambda: generator.order == slow)
    (other,) = {*TwoWays.alternatives["order"]} - {slow}
    for _ in range(2):
        assert generator_ways(generator, 2, "channels_last") == {"order": other}
        assert generator.order == other
        assert len(passes) == 10
    (told,) = findings()["measured"]
    assert told.startswith("order of generator, channels_last of 2x3x8x8, ")


def test_ways_that_there_are_not_are_told(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="toy computes nothing as order: upwards; it takes no such"):
        toy.choose(order="upwards")
    generator: Generator = TwoWays(toy_spec((8, 8)))
    assert generator_ways(generator, 1, "channels_last") == {}, "small images are not measured"
    with pytest.raises(SpecError, match="order: sideways; it takes order: upwards or downwards"):
        generator.choose(order="sideways")
    monkeypatch.setenv("GANENC_ORDER", "sideways")
    with pytest.raises(SpecError, match="GANENC_ORDER is 'sideways'; it takes upwards or downwards"):
        generator_ways(generator, 1, "channels_last")


@pytest.mark.parametrize(
    "declared",
    [("order",), {"order": ()}, {"order": "ab"}, {"order": (1, 2)}, {"synthesize": ("a",)}, {"home": ("a",)}],
)
def test_alternatives_that_are_none_are_told(declared: Any) -> None:
    wrong = type("Wrong", (ToyGenerator,), {"alternatives": declared})
    with pytest.raises(SpecError, match="alternatives") as told:
        wrong(toy_spec((8, 8)))
    assert "\n" not in str(told.value)


def test_rows_that_nobody_wrote_are_passed_over(home: Path) -> None:
    home.parent.mkdir()
    rows: list[Any] = [1, {"way": "a"}, {"what": "x", "way": ["a"], "seconds": {}}]
    rows += [{"what": "x", "way": "a", "seconds": seconds} for seconds in ([], {"a": None})]
    ways = {"a": lambda: None, "b": lambda: None}
    key = f"{measuring._machine()}; cpu, order of x"
    for row in rows:
        measuring.MEASURED.clear()
        home.write_text(json.dumps({key: row}))
        assert measuring.measured() == []
        assert measuring.fastest("order", "x", ways, torch.device("cpu")) in ways
        assert len(measuring.measured()) == 1


def test_a_file_that_is_broken_is_written_anew(home: Path, toy_encoder: Encoder) -> None:
    home.parent.mkdir()
    for text in ("{", "[]", '{"a": 1}'):
        measuring.MEASURED.clear()
        home.write_text(text)
        assert encoder_format(toy_encoder, 1) in formats.FORMATS
        assert measuring.measured()


def test_a_word_decides_and_small_images_are_not_measured(
    toy: Any, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GANENC_HOME", str(tmp_path))
    for word in formats.FORMATS:
        monkeypatch.setenv("GANENC_MEMORY_FORMAT", word)
        assert encoder_format(toy_encoder, 1) == generator_format(toy, 1) == word
    monkeypatch.setenv("GANENC_MEMORY_FORMAT", "fast")
    with pytest.raises(SpecError, match="it takes channels_last or contiguous"):
        encoder_format(toy_encoder, 1)
    monkeypatch.delenv("GANENC_MEMORY_FORMAT")
    assert encoder_format(toy_encoder, 1) == "channels_last"
    assert not [*tmp_path.iterdir()]


def test_a_network_that_works_in_one_format_is_left_in_it(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = toy.synthesize
    wide = next(one for one in toy.parameters() if one.ndim == 4 and min(one.shape) > 1)

    def synthesize(*given: Any, **named: Any) -> Any:
        if not wide.is_contiguous():
            raise RuntimeError("view size is not compatible")
        return own(*given, **named)

    monkeypatch.setattr(toy, "synthesize", synthesize)
    assert generator_format(toy, 1) == "contiguous"
    assert wide.is_contiguous()


def test_a_run_goes_on_as_it_was_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = TwoWays(toy_spec((8, 8)))
    monkeypatch.setenv("GANENC_MEMORY_FORMAT", "contiguous")
    monkeypatch.setenv("GANENC_ORDER", "downwards")
    pretrain(generator, run_spec(steps=2), tmp_path, encoder=build_encoder(generator))
    held = RunFolder(tmp_path).begun
    assert held is not None
    assert (held.speed.encoder_format, held.speed.generator_format) == ("contiguous", "contiguous")
    assert held.speed.generator_ways == {"order": generator.order} == {"order": "downwards"}
    monkeypatch.setenv("GANENC_MEMORY_FORMAT", "channels_last")
    monkeypatch.setenv("GANENC_ORDER", "upwards")
    pretrain(generator.choose(order="upwards"), run_spec(steps=2), tmp_path, encoder=build_encoder(generator))
    assert RunFolder(tmp_path).begun == held
    assert generator.order == "downwards"
    plain = ToyGenerator(toy_spec((8, 8)))
    assert not plain.alternatives
    pretrain(plain, run_spec(steps=2), tmp_path, encoder=build_encoder(plain))


def test_formats_change_inversions_by_rounding_alone(
    toy: Any, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = toy.double().synthesize(toy.sample(1, seed=3)).detach()
    method = {"name": "finetune", "options": {"steps": 2, "latent_loss": True}}
    found = []
    for word in formats.FORMATS:
        monkeypatch.setenv("GANENC_MEMORY_FORMAT", word)
        objective = {"losses": {"mse": 1.0}}
        done = invert(images, toy, toy_encoder.double(), method, objective=objective)
        found.append(done.latents["w"])
        assert done.settings["method"]["options"]["encoder_format"] == word
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)
