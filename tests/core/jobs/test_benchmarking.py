"""Methods compared on one model: the numbers, equal time, what is kept and gone on with, and the page."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import ganenc
import pytest
import torch
from ganenc import images
from ganenc.cli import main
from ganenc.encoders import Encoder, EncoderNetwork
from ganenc.inversion import Inversion, Inverter, PhotoFolder, Task
from ganenc.jobs import Kept, benchmark
from ganenc.jobs import benchmarking as module
from ganenc.jobs import kept as kept_module
from ganenc.models import load_encoder, model_hash, save_pretrained
from ganenc.training import EncoderRecipe, Synthesized
from ganenc_registry.errors import CheckpointError, GanencError, SpecError
from ganenc_registry.fields import changed
from ganenc_registry.specs import BenchmarkSpec, PositiveInt, Spec
from pages import Page
from pydantic import Field
from toys import ToyConditional, ToyGenerator, small_encoder

MSE = {"losses": {"mse": 1.0}, "attention": "none"}
BRIEF = {"optimize": {"options": {"steps": 3, "rate": 0.05}}, "encode": {}}
AROUND, STEP = 0.5, 0.125
"""Seconds that `Slow` takes by its clock."""


class Slow(Inverter):
    """Takes time by a clock of its own, and gives a mixture of the mean latents and the encoder's."""

    needs_encoder, needs_objective = True, False
    now, around = 0.0, AROUND
    done: ClassVar[list[int]] = []

    class Options(Spec):
        steps: PositiveInt = Field(4, description="steps")

    def work(self, task: Task) -> Inversion:
        Slow.now += self.around + STEP * self.options.steps
        self.done.append(self.options.steps)
        with torch.no_grad():
            center = task.generator.complete(task.generator.center().expand(len(task.images)))
            latents = center.lerp(task.encoded(), 0.5)
            return Inversion(latents, task.generator.synthesize(latents))


@pytest.fixture(autouse=True)
def installed(known: Any, tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy as a family, a small backbone, an inverter whose clock is read, and few draws."""
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 200)
    monkeypatch.setattr(module, "DRAWS", 200)
    monkeypatch.setattr(kept_module, "_now", lambda device: Slow.now)
    monkeypatch.setattr(Slow, "done", [])
    known.add_value("generator", "toy", ToyGenerator)
    known.add_value("backbone", "tiny", type(tiny_backbone), summary="Tiny")
    known.add_value("inverter", "slow", Slow, summary="Slow")
    return known


@pytest.fixture
def model(toy: Any, toy_encoder: Encoder, tmp_path: Path) -> Path:
    """The toy with an encoder, as a folder."""
    save_pretrained(toy, tmp_path / "model", info={"backbone": "tiny"})
    save_pretrained(toy_encoder, tmp_path / "model" / "encoder")
    return tmp_path / "model"


@pytest.fixture
def photos(toy: Any, tmp_path: Path) -> Path:
    """A folder of two photos within the generator's reach."""
    latents, center = toy.complete(toy.sample(2, seed=9)), toy.center().expand(2)
    for place, image in enumerate(toy.synthesize(center.lerp(latents, 2.0))):
        images.write_png(tmp_path / "photos" / f"{place}.png", image)
    return tmp_path / "photos"


def spec_of(model: Path, photos: Path, /, **fields: Any) -> BenchmarkSpec:
    given = {"objective": MSE, "metrics": ["psnr"], "strengths": [-1.0, 1.0], "seconds": [], "methods": BRIEF}
    return BenchmarkSpec.from_mapping({"model": str(model), "photos": [str(photos)], **given, **fields})


def numbers(facts: Any) -> Any:
    """All that does not depend on the machine."""
    if isinstance(facts, dict):
        return {name: numbers(one) for name, one in facts.items() if name not in ("seconds_each", "megabytes")}
    return [numbers(one) for one in facts] if isinstance(facts, list) else facts


def test_rows_are_what_the_model_measures(model: Path, photos: Path, tmp_path: Path) -> None:
    found = benchmark(spec_of(model, photos, samples=3, towards=1), tmp_path / "out")
    assert [(row.method, row.budget, row.steps) for row in found.rows] == [
        ("optimize", None, 3),
        ("encode", None, None),
    ]
    loaded, direction = ganenc.load(model), tmp_path / "out" / "direction.safetensors"
    assert "class-1" in found.facts["direction"]
    given: dict[str, Any] = {"objective": MSE, "metrics": ["psnr"]}
    for row, method in zip(found.rows, ({"name": "optimize", **BRIEF["optimize"]}, "encode")):
        for name, targets in (("photos", images.find([photos])), ("samples", None)):
            edited = {"direction": direction, "towards": 1, "strengths": [-1.0, 1.0]} if targets else {}
            taken = {"samples": 3} if targets is None else {"photos": targets}
            wanted = loaded.evaluate(**taken, method=method, **given, **edited)
            assert row.sets[name].table()["psnr"] == pytest.approx(wanted.table()["psnr"], rel=1e-4)
            assert row.sets[name].mean_image.table()["psnr"] == pytest.approx(wanted.mean_image.table()["psnr"])
            if wanted.editing is not None:
                assert row.sets[name].editing is not None
                ours, theirs = (one.editing.table() for one in (row.sets[name], wanted))  # type: ignore[union-attr]
                assert ours.keys() == theirs.keys()
                for number, (mean, _) in theirs.items():
                    assert ours[number][0] == pytest.approx(mean, rel=1e-2, abs=1e-3), number
            else:
                assert row.sets[name].editing is None
    text = found.page.read_text()
    page = Page(text)
    assert "Rebuilding: photos" in text
    assert "Rebuilding: samples" in text
    assert "Editing: photos" in text
    assert "Editing: samples" not in text
    assert "Rebuilding against editing" in text
    assert text.count("<figure>") == 2
    page.assert_alone()
    assert json.loads((tmp_path / "out" / "benchmark.json").read_text())["rows"] == found.facts["rows"]


def test_steps_fill_the_time(model: Path, photos: Path, tmp_path: Path) -> None:
    spec = spec_of(model, photos, seconds=[1.0, 2.5, 0.1], methods={"slow": {}, "encode": {}})
    told: list[str] = []
    found = benchmark(spec, tmp_path / "out", on_note=told.append)
    taken = {row.budget: (row.steps, row.seconds) for row in found.rows if row.method == "slow"}
    assert taken == {
        None: (4, pytest.approx(AROUND + 4 * STEP, rel=1e-3)),
        1.0: (4, pytest.approx(1.0, rel=1e-3)),
        2.5: (16, pytest.approx(2.5, rel=1e-3)),
        0.1: (2, pytest.approx(AROUND + 2 * STEP, rel=1e-3)),  # There is no less.
    }
    assert "slow: 2.5 s a photo, 16 steps." in told
    assert "add up to 14 s" in told[1] + told[0]  # 3.6 s, for two photos and both again.
    without = benchmark(
        spec_of(model, photos, own=False, methods={"slow": {}, "encode": {}}, seconds=[1.0]), tmp_path / "own"
    )
    assert [(row.method, row.budget) for row in without.rows] == [("encode", None), ("slow", 1.0)]


def test_steps_that_are_hidden_by_what_goes_on_around_them(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "around", 8.0)
    spec = spec_of(model, photos, seconds=[20.0, 5.0], own=False, methods={"slow": {}})
    assert [row.steps for row in benchmark(spec, tmp_path / "out").rows] == [96, 2]


def test_what_a_short_time_hides_is_measured_anew_for_a_longer_one(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slow, "around", 8.0)
    spec = spec_of(model, photos, own=False, methods={"slow": {}})
    ticks = iter([0.0, 0.5, 0.0])
    work = Slow.work

    def uneven(self: Slow, task: Task) -> Inversion:
        Slow.now += next(ticks, 0.0)  # What went on around the fewer steps took as long as the others.
        return work(self, task)

    monkeypatch.setattr(Slow, "work", uneven)
    for seconds, steps in (([1.0], [2]), ([1.0, 20.0], [2, 96])):
        found = benchmark(changed(spec, {"seconds": seconds}), tmp_path / "out")
        assert [row.steps for row in found.rows] == steps


def test_a_folder_in_which_nothing_was_done_is_free(model: Path, photos: Path, tmp_path: Path) -> None:
    methods = {"optimize": {"options": {"steps": 2}}}
    for wrong in ({"model": "none-such"}, {"direction": "none-such"}, {"photos": [str(tmp_path / "none")]}):
        with pytest.raises(GanencError):
            benchmark(spec_of(model, photos, methods=methods, **wrong), tmp_path / "out")
    assert benchmark(spec_of(model, photos, methods=methods), tmp_path / "out").rows


def test_it_goes_on_where_it_was(model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, out = spec_of(model, photos, seconds=[1.0], samples=1, methods={"slow": {}}), tmp_path / "out"
    whole = benchmark(spec, tmp_path / "whole")
    assert len(Slow.done) == 3 + 2 * 5  # What steps cost, then on each schedule both photos, both edited, and a sample.
    work, calls = Slow.work, 0
    for most in (1, 6, 5, 99):
        Slow.done.clear()

        def stopped(self: Slow, task: Task, most: int = most) -> Inversion:
            if len(self.done) == most:
                raise KeyboardInterrupt
            return work(self, task)

        monkeypatch.setattr(Slow, "work", stopped)
        with nullcontext() if most == 99 else pytest.raises(KeyboardInterrupt):
            again = benchmark(spec, out)
        calls += len(Slow.done)
    assert calls == 2 + 3 + 2 * 5  # What steps cost is learnt from the start where that was cut short.
    assert numbers(again.facts) == numbers(whole.facts)
    Slow.done.clear()
    more = benchmark(spec_of(model, photos, seconds=[1.0, 2.0], samples=1, methods={"slow": {}, "encode": {}}), out)
    assert set(Slow.done) == {12}
    assert len(Slow.done) == 5
    assert len(more.rows) == 4


def test_another_benchmarks_folder_is_refused(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    benchmark(spec_of(model, photos, methods={"slow": {}}), out)
    for fields, name in (
        ({"seed": 1}, "seed"),
        ({"methods": {"slow": {"options": {"steps": 5}}}}, r"methods\.slow"),
        ({"metrics": ["psnr", "ssim"]}, "metrics"),
        ({"strengths": [1.0]}, "strengths"),
    ):
        with pytest.raises(SpecError, match=f"holds a benchmark with another {name}; give another folder"):
            benchmark(spec_of(model, photos, **{"methods": {"slow": {}}, **fields}), out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "settings.json").write_text('{"written_by": "ganenc"}')
    for other in ("mine", "job"):
        with pytest.raises(SpecError, match="holds what is no benchmark; give another folder"):
            benchmark(spec_of(model, photos), tmp_path / other)
    (out / "slow" / "cost.json").write_text('{"written_by": "ganenc", "step": "much", "around": 0}')
    with pytest.raises(CheckpointError, match=r"cost\.json is damaged; delete it"):
        benchmark(spec_of(model, photos, methods={"slow": {}}, seconds=[1.0]), out)
    for facts in out.rglob("inversion.json"):
        facts.write_text('{"written_by": "ganenc", "seconds": "much"}')
    with pytest.raises(CheckpointError, match=r"inversion\.json is damaged; delete"):
        benchmark(spec_of(model, photos, methods={"slow": {}}), out)


def test_a_method_that_fails_is_left_out(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Slow, task: Task) -> Inversion:
        raise RuntimeError("the matrix is singular")

    monkeypatch.setattr(Slow, "work", fails)
    both = {"slow": {}, "encode": {}}
    found = benchmark(spec_of(model, photos, methods=both), tmp_path / "both")
    assert [one.method for one in found.rows] == ["encode"]
    assert found.facts["failed"] == {"slow, own": "the matrix is singular"}
    assert "the matrix is singular" in found.page.read_text()
    with pytest.raises(RuntimeError, match="the matrix is singular"):
        benchmark(spec_of(model, photos, methods={"slow": {}, "other": "slow"}), tmp_path / "none")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"methods": {}}, "Name the methods"),
        ({"photos": []}, "Name photos, or samples"),
        ({"own": False, "methods": {"optimize": {}}}, "There is no time to compare"),
        ({"methods": {"a/b": "encode"}}, "no folder can be called so"),
        ({"methods": {"index.html": "encode"}}, "no folder can be called so"),
        ({"methods": {"encode": {"encoder": "e-network"}}}, r"encode: the encoder 'e-network' is to be trained"),
        ({"methods": {"optimize": {"objective": {"losses": {"mse": {"options": {"a": 1}}}}}}},
         r"methods\.optimize\.objective\.losses\.mse"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    model: Path, photos: Path, tmp_path: Path, installed: Any, fields: Any, sentence: str
) -> None:
    installed.add_value("encoder", "e-network", object, summary="A network")
    with pytest.raises(SpecError, match=sentence):
        benchmark(spec_of(model, photos, **fields), tmp_path / "out")
    with pytest.raises(SpecError, match="name those that are compared in methods"):
        BenchmarkSpec.from_mapping({"method": "optimize"})


def test_an_encoder_that_is_missing_is_trained_once(toy: Any, photos: Path, tmp_path: Path) -> None:
    save_pretrained(toy, tmp_path / "bare", info={"backbone": "none"})
    fields: dict[str, Any] = {"methods": {"encode": {}, "slow": {}}}
    with pytest.raises(SpecError, match="The method 'encode' needs an encoder; train one"):
        benchmark(spec_of(tmp_path / "bare", photos, **fields), tmp_path / "none")
    told: list[str] = []
    out = tmp_path / "out"
    found = benchmark(spec_of(tmp_path / "bare", photos, train=0.2, **fields), out, on_note=told.append)
    steps = json.loads((out / "encoders" / "blocks.json").read_text())["steps"]
    assert f"encode: its encoder is trained in {steps:,} steps." in told
    trained = model_hash(load_encoder(out / "encoders" / "blocks"))
    assert found.facts["encoders"] == {"encode": trained, "slow": trained}
    again = benchmark(spec_of(tmp_path / "bare", photos, train=9.0, **fields), out)
    assert numbers(again.facts["rows"]) == numbers(found.facts["rows"])


class Narrow(EncoderRecipe):
    """Trains an encoder of its own kind."""

    encoder_fields: ClassVar[dict[str, Any]] = {"hidden": 5}


def test_a_recipe_trains_the_encoder_that_it_asks_for(
    model: Path, photos: Path, tmp_path: Path, installed: Any
) -> None:
    installed.add_value("recipe", "narrow", Narrow, summary="Narrow")
    methods = {"narrow": {"name": "encode", "encoder": "narrow"}}
    found = benchmark(spec_of(model, photos, train=0.1, methods=methods), tmp_path / "out")
    trained = load_encoder(tmp_path / "out" / "encoders" / "narrow")
    assert trained.spec.hidden == 5
    assert found.facts["encoders"] == {"narrow": model_hash(trained)}


class Normed(EncoderNetwork):
    """A batch norm of the images, and a linear layer for each part."""

    class Options(Spec):
        pass

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.norm = torch.nn.BatchNorm2d(self.spec.channels, momentum=0.0)
        sizes = {part.name: torch.Size(part.shape).numel() for part in self.spec.parts}
        self.heads = torch.nn.ModuleDict({name: torch.nn.LazyLinear(size) for name, size in sizes.items()})
        self(torch.zeros(2, self.spec.channels, *self.spec.size))

    def forward(self, seen: torch.Tensor) -> dict[str, torch.Tensor]:
        flat = self.norm(seen).flatten(1)
        return {part.name: self.heads[part.name](flat).reshape(-1, *part.shape) for part in self.spec.parts}


def test_averages_of_batch_norms_are_taken_anew_after_a_training(
    model: Path, toy: Any, photos: Path, tmp_path: Path, installed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This norm's own averages stay where they began."""
    installed.add_value("encoder", "normed", Normed, summary="Normed")
    loaded: list[Encoder] = []
    monkeypatch.setattr(module, "load_encoder", lambda *of, **to: loaded.append(load_encoder(*of, **to)) or loaded[-1])
    methods = {"normed": {"name": "encode", "encoder": "normed"}}
    benchmark(spec_of(model, photos, train=0.1, methods=methods), tmp_path / "out")
    source = Synthesized(toy, module.SETTLED, seed=1)
    drawn = torch.cat([source.batch(place).images for place in range(module.SETTLING)]).double()
    norm = loaded[0].network.norm
    torch.testing.assert_close(norm.running_mean.double(), drawn.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    assert not loaded[0].training


def test_a_generator_with_classes(photos: Path, tmp_path: Path, installed: Any) -> None:
    """Photos of classes that are given, samples of drawn ones; both also as they are found."""
    installed.add_value("generator", "toy-conditional", ToyConditional)
    toy = ToyConditional().freeze()
    save_pretrained(toy, tmp_path / "classes", info={"backbone": "none"})
    save_pretrained(small_encoder(toy), tmp_path / "classes" / "encoder")
    spec = spec_of(tmp_path / "classes", photos, samples=2, labels=[1, 2], truncation=0.5)
    for row in benchmark(spec, tmp_path / "out").rows:
        assert row.sets["photos"].ways["given"].labels == [1, 2]
        assert set(row.sets["samples"].ways) == {"given", "searched"}


def test_encoders_and_objectives_of_their_own(
    model: Path, toy: Any, photos: Path, tmp_path: Path, toy_encoder: Encoder
) -> None:
    with torch.no_grad():
        for one in toy_encoder.parameters():
            one.add_(0.1 * torch.randn_like(one))
    save_pretrained(toy_encoder, tmp_path / "other")
    methods = {
        "own": "encode",
        "other": {"name": "encode", "encoder": str(tmp_path / "other")},
        "pixels": {"name": "optimize", "options": {"steps": 2}},
        "lpips": {"name": "optimize", "options": {"steps": 2}, "objective": {"losses": {"lpips": 1.0}}},
    }
    spec, out = spec_of(model, photos, methods=methods), tmp_path / "out"
    first, second, third, fourth = (numbers(row.sets["photos"].to_mapping()) for row in benchmark(spec, out).rows)
    assert first != second
    assert third != fourth
    with torch.no_grad():
        for one in toy_encoder.parameters():
            one.zero_()
    save_pretrained(toy_encoder, tmp_path / "other")
    changed = benchmark(spec, out).rows[1]  # What lies in the folder has changed since.
    assert numbers(changed.sets["photos"].to_mapping()) != second


def test_a_tuned_result_is_kept_with_its_weights(model: Path, tmp_path: Path) -> None:
    loaded, method = ganenc.load(model), {"name": "tune", "options": {"steps": 3, "rate": 0.01}}
    targets = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(4)) * 2 - 1
    wanted = loaded.invert(targets, method, objective=MSE)
    for _ in range(2):
        kept = Kept(loaded.inverter(method), tmp_path / "kept", loaded.hash)
        found = loaded.invert(targets, kept, objective=MSE)
        torch.testing.assert_close(found.reconstructions, wanted.reconstructions)
        assert [set(one) for one in found.tuning] == [set(one) for one in wanted.tuning]
        assert all(found.tuning)
        assert len(kept.facts) == 2
    left = sorted((tmp_path / "kept").iterdir())
    assert len(left) == 2
    assert all(PhotoFolder(one).is_done for one in left)
    (left[0] / "tuning.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"tuning\.safetensors"):
        loaded.invert(targets, kept, objective=MSE)


def test_words_of_the_command(model: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: object) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        return ended.value.code or 0, *capsys.readouterr()

    words = ("benchmark", photos, "--model", model, "--metric", "psnr", "--set", "objective.losses={mse: 1}")
    words = (*words, "--set", "strengths=[-1, 1]", "--out", tmp_path / "out")
    methods = ("--method", "slow", "--method", f"encode={model / 'encoder'}")
    code, out, err = run(*words, *methods, "--seconds", "1,2.5")
    assert code == 0, err
    assert "own schedule" in out
    assert "2.5 s" in out
    assert "encode-encoder" in out
    assert "consistency" in out
    assert str(tmp_path / "out" / "index.html") in out
    facts = json.loads(run(*words, *methods, "--seconds", "1,2.5", "--json")[1])
    assert [(row["method"], row["budget"]) for row in facts["rows"]] == [
        ("slow", None), ("encode-encoder", None), ("slow", 1.0), ("slow", 2.5),
    ]  # fmt: skip
    (photos / "broken.png").write_bytes(b"no picture")
    code, _, err = run(*words[:-1], tmp_path / "broken", *methods, "--seconds", "1")
    assert code == 1
    assert "1 photos could not be read" in err
    for wrong, sentence in (
        (("--method", "slow", "--method", "slow"), "named twice"),
        (("--method", "slow", "--seconds", "1,x"), "--seconds takes numbers"),
        (("--method", "sloe"), "did you mean 'slow'"),
        ((), "Name the methods"),
    ):
        code, _, err = run(*words, *wrong)
        assert code == 2
        assert sentence in err
