"""The benchmarks run, and count and keep what they say they do."""

from __future__ import annotations

import importlib
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ganenc.models import release_folder
from ganenc_plugin_dcgan.reading import RowFile

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("[!_]*.py"))


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of the folder by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_quick_run_writes_a_table_where_it_is_told_to(
    script: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if script == "faces.py" and not (release_folder("mobilestylegan-ffhq-1024") / "config.json").is_file():
        pytest.skip("needs the faces' generator in the cache; `ganenc generate -m mobilestylegan-ffhq-1024` fetches it")
    if script == "processes.py" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    checkout, out = tmp_path / "checkout", tmp_path / "result.md"
    checkout.mkdir()
    if script in ("ablation.py", "faces.py", "others.py"):
        (tmp_path / "shared").symlink_to(request.getfixturevalue("shared"))
    command = [sys.executable, str(BENCHMARKS / script), "--quick", "--threads", "1", "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = out.read_text(encoding="utf-8")
    assert f"    python benchmarks/{script} --quick --threads 1\n" in text
    assert re.search(r"\d{4}-\d{2}-\d{2}\.$", text, re.MULTILINE), "the date is there"
    assert "/" not in text.replace(f"benchmarks/{script}", "").split("|")[0], "no path is written down"
    assert re.search(r"^\|.*\| +\d[\d.]*", text, re.MULTILINE), "a table holds numbers"


def test_things_are_timed_in_turn_and_warming_up_does_not_count(load: Any) -> None:
    order: list[str] = []
    ticks = iter(range(100))
    work = {name: (lambda name=name: order.append(name)) for name in "ab"}
    times = load("_common").interleaved(work, rounds=3, warmup=2, clock=lambda: float(next(ticks)))
    assert order == ["a", "b"] * 5
    assert times == {"a": [1.0] * 3, "b": [1.0] * 3}


def test_a_ratio_is_taken_round_by_round(load: Any) -> None:
    assert load("_common").ratios([3.0, 8.0], [1.0, 1.0], [0.5, 3.0]) == [2.0, 2.0]


def test_the_convolutions_of_a_synthesis_are_recorded(load: Any) -> None:
    """Four levels: 7 convolutions of features; 3 filters of features and 3 of images when sizes double.

    The images themselves are sums over channels, which no convolution makes.
    """
    synthesis, made = load("synthesis"), load("_networks")
    generator, _ = made.networks(made.NETWORKS["tiny32"]())
    with synthesis.Recorder() as recorder:
        generator.synthesize(generator.sample(1))
    assert [call.is_filter for call in recorder.calls].count(True) == 6
    sizes = sorted(tuple(call.x.shape[-2:]) for call in recorder.calls if not call.is_filter)
    assert sizes == sorted([(4, 4), (8, 8), (16, 16)] * 2 + [(32, 32)])


def test_signals_come_out_as_long_as_they_are(load: Any) -> None:
    rows = RowFile.from_mapping(yaml.safe_load(load("others").settings()), where="here")
    assert (rows.spec().size, rows.spec().channels) == ((1, 938), 1)


def test_the_plain_loop_computes_what_the_step_does(load: Any) -> None:
    """Loss and gradient, with noise, biases and encoder moved from where they start; a broken term would be seen."""
    loops = load("paper_loop")
    place = load("_device").Place()
    ours, plain = loops.ours_of("small64", place, published=True), loops.plain_of("small64", place)
    for one in (ours, plain):
        torch.manual_seed(3)
        with torch.no_grad():
            vectors = [parameter for parameter in one.generator.parameters() if parameter.ndim < 2]
            for parameter in [*vectors, *one.encoder.parameters()]:
                parameter.add_(torch.randn(parameter.shape) * 0.2)
    assert loops.disagreement(ours, plain) < 1e-3
    for one in (ours, plain):
        one.encoder.zero_grad()
    load("_plain").EPSILON = 0.02
    assert loops.disagreement(ours, plain) > 1e-2


def test_a_step_keeps_less_than_the_plain_loop(load: Any) -> None:
    """For a network as small as this, much of it is the backbone's, in either loop."""
    loops, place = load("paper_loop"), load("_device").Place()
    same = loops.ours_of("small64", place, published=True)
    found = loops.keeps(loops.ours_of("small64", place), same, loops.plain_of("small64", place))
    assert max(found["ours"], found["ours, published encoder"]) < found["plain"]


def test_what_is_kept_counts_once_and_until_it_goes(load: Any) -> None:
    """Four squares of 1000 numbers keep their input; a weight, and what was freed, do not count."""
    kept, weight = load("_memory").Kept, torch.nn.Linear(1000, 1000)
    x = torch.randn(1, 1000, requires_grad=True)
    with kept(weight) as count:
        for _ in range(2):
            y = weight(x) * 1.0
            (y.square().sum() + y.square().sum()).backward()
    assert count.most == 2 * 4000
    assert count.now == 0


def test_the_plain_loop_trains_and_leaves_gradients_on_the_generator(load: Any) -> None:
    loops, place = load("paper_loop"), load("_device").Place()
    plain, photo = loops.plain_of("small64", place), loops.photo_of("small64", place)
    before = [parameter.clone() for parameter in plain.encoder.parameters()]
    plain.step(photo)
    assert any(not torch.equal(a, b) for a, b in zip(before, plain.encoder.parameters(), strict=True))
    assert all(parameter.grad is not None for parameter in plain.generator.convs.parameters())


def test_memory_is_what_a_process_of_its_own_takes(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = load("_memory")
    monkeypatch.setattr(memory, "__file__", str(tmp_path / "_memory.py"))
    lines = f"import sys\nsys.path.insert(0, {str(BENCHMARKS)!r})\nfrom _memory import Peak\npeak = Peak()\n"
    lines += "held = b'x' * (int(sys.argv[1]) << 20)\ndel held\npeak.report(more=2.5)\n"
    (tmp_path / "one.py").write_text(lines, encoding="utf-8")
    found = memory.in_fresh_process("one.py", "50")
    assert 45 <= found["megabytes"] < 60
    assert found["more"] == 2.5
    with pytest.raises(RuntimeError, match="failed"):
        memory.in_fresh_process("one.py", "fifty")


def test_a_result_says_where_it_was_computed_and_is_no_other_places(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's name, a precision and compiled code show in the line of the machine, and in the file's name."""
    common, device = load("_common"), load("_device")
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["one.py", "--threads", "1"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA Model 7 80GB")
    places = {
        "one.md": (device.Place(), "1 thread, processor time"),
        "one-bf16-compiled.md": (device.Place(autocast="bf16", compiles=True), "autocast to bf16, compiled, "),
        "device/one-nvidia-model-7-80gb.md": (device.Place("cuda"), "NVIDIA Model 7 80GB, "),
    }
    for place, _ in places.values():
        common.publish("one", "One", "1.0", out=None, quick=False, threads=1, place=place)
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.md")}
    assert found == set(places)
    for name, (place, words) in places.items():
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert words in text
        assert ("1 thread, wall time" in text) == place.is_gpu
    other = device.Place("cuda:1", "bf16", True, 2)
    parser = common.parser("one", "One.")
    device.place_options(parser)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.Place.chosen(parser.parse_args(other.arguments)) == other


def test_without_a_gpu_a_benchmark_for_one_says_so(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    common, device = load("_common"), load("_device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    parser = common.parser("one", "One.")
    device.place_options(parser)
    with pytest.raises(SystemExit, match="no GPU"):
        device.Place.chosen(parser.parse_args(["--device", "cuda"]))


def test_the_precision_that_is_chosen_is_computed_in(load: Any) -> None:
    """A step in half precision: its convolutions are, and both loops come near what they give in single precision.

    The latents differ by less than half precision tells apart, so the image losses are looked at.
    """
    loops, place = load("paper_loop"), load("_device").Place(autocast="bf16")
    ours, plain = loops.ours_of("small64", place, published=True), loops.plain_of("small64", place)
    seen: set[torch.dtype] = set()
    convolutions = [block.conv_1 for block in ours.encoder.blocks]
    hooks = [one.register_forward_hook(lambda *given: seen.add(given[2].dtype)) for one in convolutions]
    image, _ = ours.losses()
    for hook in hooks:
        hook.remove()
    assert seen == {torch.bfloat16}
    ours.place = plain.place = load("_device").Place()
    wanted, _ = ours.losses()
    assert image != wanted
    assert image == pytest.approx(wanted, rel=0.05)
    plain.place = place
    assert plain.losses(ours.photo.contiguous())[0] == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize("up", [1, 2])
def test_filters_in_groups_are_those_of_one_channel(load: Any, up: int) -> None:
    plain, x = load("_plain"), torch.randn(2, 3, 4, 5)
    kernel = torch.randn(4, 4)
    one, grouped = (plain.upfirdn(x, kernel, up=up, pad=(2, 1), grouped=grouped) for grouped in (False, True))
    assert one.shape == (2, 3, 4 * up, 5 * up)
    torch.testing.assert_close(one, grouped)


def test_each_size_is_set_against_the_one_before(load: Any) -> None:
    found = [("f64", 1, 1.0, 100.0, 90.0), ("f128", 1, 3.0, 150.0, 160.0)]
    assert load("scaling").rows(found) == [
        ("f64", "1", "1.00", "", "100", "", "90"),
        ("f128", "1", "3.00", "3.00", "150", "1.50", "160"),
    ]
    assert "gigabytes, resolution grows" in load("scaling").plot({"resolution grows": found})


def test_attention_adds_views_and_no_passes_of_encoder_or_generator(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many images each network takes in each of the steps that are timed, once a cache of maps is filled."""
    attention, steps, made = load("attention"), load("steps"), load("_networks")
    spec = made.NETWORKS["tiny32"]()
    taken: list[tuple[str, int]] = []

    def count(kind: type, method: str, name: str) -> None:
        original = getattr(kind, method)

        def counted(self: Any, given: Any, **rest: Any) -> Any:
            taken.append((name, len(given)))
            return original(self, given, **rest)

        monkeypatch.setattr(kind, method, counted)

    bench = steps.build(spec, 1)
    count(type(bench.generator), "synthesize", "G")
    count(type(bench.encoder), "forward", "E")
    count(type(bench.backbone), "forward", "B")
    photo = {"none": "E1 G1 B1", **dict.fromkeys(("center", "gradcam", "gradcam-crop"), "E1 G1 B3")}
    once = {"none": "B1", "center": "B3", **dict.fromkeys(("gradcam", "gradcam-crop"), "B1 B3")}
    expected = {
        attention.finetuning: {
            **photo,
            **{f"{name}: objective alone": passes.split()[-1] for name, passes in photo.items()},
            **{f"{name}: once a photo": passes for name, passes in once.items()},
        },
        attention.pretraining: {
            "none": "G1 E1 B1 G1 B1",
            "center": "G1 E1 B3 G1 B3",
            **{f"{name}, map known": "G1 E1 B3 G1 B3" for name in ("gradcam", "gradcam-crop")},
            **{f"{name}, map anew": "G1 E1 B1 B3 G1 B3" for name in ("gradcam", "gradcam-crop")},
        },
        attention.strategies: {"strategy 2": "G1 E1 B3 G1 B3", "strategy 1": "G1 E1"},
    }
    for make, passes in expected.items():
        work = make(spec, "squeeze") if make is attention.strategies else make(bench)
        found = {}
        for name, step in work.items():
            step()
            taken.clear()
            step()
            found[name] = " ".join(f"{network}{images}" for network, images in taken)
        assert found == passes


@pytest.mark.parametrize("share", [0.05, 1.0, 1.5])
def test_shards_that_begin_anew_take_as_long_as_the_closed_form_says(load: Any, share: float) -> None:
    """At losses every 1000 seconds, within four standard errors, and whatever else waits meanwhile."""
    fleet, between, start, shards = load("_fleet"), 1000.0, 30.0, 10_000
    one = fleet.Fleet(workers=10, together=2, between=between, away=200.0, start=start)
    found = [fleet.simulate(one, shards // 5, share * between, seed=seed) for seed in range(5)]
    assert sum(run.done for run in found) == shards
    assert sum(run.useful for run in found) == pytest.approx(shards * share * between)
    spent = sum(run.useful + run.lost + run.starting for run in found)
    losses = math.expm1(
        share
    )  # Of a shard, geometric, each of no more than its length and a beginning; two come at once.
    error = (share * between + start) * math.sqrt(2 * 1.25 * losses * (1 + losses) / shards)
    assert spent / shards == pytest.approx(losses * (between + start), abs=4 * error)
    assert fleet.expected(share * between, between) == pytest.approx(between * losses)
    assert spent / shards != pytest.approx(share * between, abs=4 * error), "it could be told from no loss"


def test_without_losses_shards_are_dealt_as_they_are_said_to_be(load: Any) -> None:
    """Seven of ten seconds to three workers, all slow or none; reading longer than computing is waited for."""
    fleet = load("_fleet")
    ends = {"shared": {}, "dealt": {"shared": False}, "slow": {"stragglers": 1.0, "slower": 2.0}}
    found = {name: fleet.simulate(fleet.Fleet(workers=3, start=5.0, **more), 7, 10.0) for name, more in ends.items()}
    assert {name: run.ended for name, run in found.items()} == {"shared": 35.0, "dealt": 35.0, "slow": 65.0}
    read = fleet.simulate(fleet.Fleet(slow_reads=1.0, slower=2.0), 7, 10.0, 8.0)
    assert (read.ended, read.waited, read.wasted) == (7 * 16.0, 7 * 6.0, 0.0)


@pytest.mark.parametrize("between", [3600.0, 36_000.0])
def test_the_longest_shard_wastes_as_much_as_it_may(load: Any, between: float) -> None:
    fleet = load("_fleet")
    length = fleet.longest(0.02, between, 20.0)
    assert fleet.wasted(length, between, 20.0) == pytest.approx(0.02, rel=1e-3)
    assert length == pytest.approx(0.04 * between - 40.0, rel=0.05), "half of a shard and a beginning at every loss"
    assert fleet.longest(0.02, between, between) == pytest.approx(0.0, abs=0.01 * between)
