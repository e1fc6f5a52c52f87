"""Specs: JSON and YAML both ways, errors that name the wrong field, presets with the paper's numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import (
    PRESETS,
    BlockShape,
    Choice,
    Condition,
    EncoderSpec,
    GeneratorSpec,
    Map,
    Noise,
    ObjectiveSpec,
    Prior,
    RunSpec,
    Setting,
    Spec,
    Styles,
    Vector,
    encoded,
    merge,
    preset,
    preset_text,
    read_mapping,
)

LAYOUT = (
    Styles(layers=10, dim=32),
    Vector(name="z", dim=16),
    Map(channels=8, height=4, width=6),
    Condition(dim=12),
    Setting(name="truncation", default=0.4, holds="truncation"),
    Noise(shapes=((1, 4, 6), (1, 8, 12))),
)
GENERATOR = GeneratorSpec(
    family="my-gan",
    size=(64, 96),
    channels=1,
    value_range=(0.0, 255.0),
    prior=Prior(kind="truncated-normal", dim=16),
    layout=LAYOUT,
    classes=10,
    truncation="prior",
    resolution_channels={4: 32, 8: 16, 64: 8},
    options={"depth": 3, "names": ["a", "b"], "deep": {"x": None, "y": 1.5}},
    licence="Apache-2.0",
)
RUN = RunSpec.from_mapping(
    {
        "task": "finetune",
        "model": "models/my gan",
        "encoder": {"weights": "runs/a/encoder", "overrides": {"blur": True, "residual": "sum"}},
        "objective": {
            "losses": {"mse": 1.0, "lpips": {"weight": 0.5, "options": {"side": 3}}, "other": {"name": "mse"}},
            "attention": {"name": "none", "options": {"of": "given", "sizes": [1, 2.5]}},
            "latent": {"weight": 0.1, "parts": {"w": 2.0}, "on_photos": False},
            "backbone": "hands",
        },
        "optimiser": {"rate": 1e-4, "betas": [0.9, 0.999], "schedule": "cosine", "warmup": 5, "average": 0.99},
        "data": {"photos": ["fotos/ä*.jpg", "b"], "photo_share": 0.5, "batch": 3, "labels": [1, 2], "fit": "contain"},
        "steps": 10,
        "seed": 2**40,
        "device": "cuda:1",
        "guards": {"plateau": 100},
        "saving": {"keep": 1},
        "speed": {"autocast": "bf16", "compile": True},
    }
)
SPECS: list[Spec] = [
    *LAYOUT,
    GENERATOR,
    GENERATOR.prior,
    BlockShape(size=(8, 8), in_channels=3, out_channels=4),
    EncoderSpec.mirror(GENERATOR),
    EncoderSpec.mirror(GENERATOR, residual="sum", norm="instance", noise_seed=7),
    RUN,
    *(preset(name) for name in PRESETS),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: type(spec).__name__)
def test_the_same_spec_comes_back(spec: Spec, tmp_path: Path) -> None:
    kind = type(spec)
    assert kind.from_json(spec.to_json()) == spec
    assert kind.from_yaml(spec.to_yaml()) == spec
    assert kind.from_yaml(spec.to_json()) == spec
    assert kind.from_mapping(spec.to_mapping()) == spec
    for name, text in {"a.json": spec.to_json(), "a.yaml": spec.to_yaml(), "a.yml": spec.to_yaml()}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert kind.from_file(tmp_path / name) == spec
    assert json.loads(spec.to_json()) == json.loads(json.dumps(yaml.safe_load(spec.to_yaml())))


def test_a_run_is_written_whole() -> None:
    written = yaml.safe_load(RUN.to_yaml())
    assert written["optimiser"]["clip"] == 0
    assert written["data"]["photos"] == ["fotos/ä*.jpg", "b"]
    assert "fotos/ä*.jpg" in RUN.to_yaml()
    assert list(written)[:3] == ["task", "model", "encoder"]


def generator(**fields: Any) -> dict[str, Any]:
    layout = [{"kind": "styles", "layers": 3, "dim": 8}]
    return {"family": "f", "size": [64, 64], "prior": {"dim": 8}, "layout": layout, **fields}


def run(**fields: Any) -> dict[str, Any]:
    return {"task": "pretrain", "steps": 3, **fields}


def encoder(**fields: Any) -> dict[str, Any]:
    block = {"size": [4, 4], "in_channels": 1, "out_channels": 2, "downscale": "none"}
    return {"size": [4, 4], "layout": [{"kind": "vector", "dim": 8}], "blocks": [block], **fields}


WRONG: list[tuple[type[Spec], dict[str, Any], list[str]]] = [
    (GeneratorSpec, generator(famly="x"), ["famly: there is no such field (did you mean 'family'?)", "value_range"]),
    (GeneratorSpec, generator(prior={"dim": 8, "kinds": "normal"}), ["prior.kinds: ", "'kind'", "are dim, kind"]),
    (
        GeneratorSpec,
        generator(prior={"dim": 8, "kind": "norml"}),
        ["prior.kind: 'norml' is not allowed (did you mean 'normal'?); it takes 'normal', 'truncated-normal'"],
    ),
    (GeneratorSpec, generator(prior={}), ["prior.dim: this field is required"]),
    (GeneratorSpec, generator(prior=None), ["prior: it takes a mapping of fields (got None)"]),
    (GeneratorSpec, generator(size=[64]), ["size.1: this field is required"]),
    (GeneratorSpec, generator(size=[64, 0]), ["size.1: ", "greater than 0", "got 0"]),
    (GeneratorSpec, generator(value_range=[1, -1]), ["value_range: the value of black must be below", "[1, -1]"]),
    (GeneratorSpec, generator(value_range=[0, float("inf")]), ["value_range.1: ", "finite"]),
    (GeneratorSpec, generator(contract=2), ["speaks contract 2 and this ganenc knows 1; upgrade ganenc"]),
    (GeneratorSpec, generator(layout=[]), ["nothing to encode"]),
    (GeneratorSpec, generator(layout=[{"kind": "setting", "name": "a", "default": 1}]), ["nothing to encode"]),
    (GeneratorSpec, generator(layout=2 * [{"kind": "vector", "dim": 2}]), ["share the name 'z'"]),
    (
        GeneratorSpec,
        generator(layout=[{"kind": "vector", "dim": 2}, {"kind": "styles", "layers": 3, "dimm": 8}]),
        [
            "layout.1.dimm: there is no such field (did you mean 'dim'?); the fields here are dim, idle, kind, layers,"
            " name"
        ],
    ),
    (GeneratorSpec, generator(layout=[{"kind": "map", "heigth": 3}]), ["layout.0.heigth: ", "'height'", "width"]),
    (
        GeneratorSpec,
        generator(layout=[{"kind": "stiles", "layers": 3, "dim": 8}]),
        ["layout.0: 'stiles' is not allowed (did you mean 'styles'?); it takes 'styles', 'vector', 'map'"],
    ),
    (GeneratorSpec, generator(layout=[{"dim": 3}]), ["layout.0.kind: this field is required; it takes 'styles', "]),
    (GeneratorSpec, generator(layout=[{"kind": "vector", "dim": "x"}]), ["layout.0.dim: ", "integer", "(got 'x')"]),
    (GeneratorSpec, generator(layout=[{"kind": "vector", "dim": 2.5}]), ["layout.0.dim: "]),
    (RunSpec, run(task="pretain"), ["task: 'pretain' is not allowed (did you mean 'pretrain'?)", "'finetune'"]),
    (RunSpec, {"steps": 3}, ["task: this field is required"]),
    (
        RunSpec,
        run(objective={"attention": {"wieghts": [1, 2]}}),
        ["objective.attention.wieghts: there is no such field; the fields here are name, options"],
    ),
    (
        RunSpec,
        run(objective={"latent": {"wieght": 1}}, optimiser={"shedule": "cosine"}),
        ["objective.latent.wieght: ", "'weight'", "optimiser.shedule: ", "'schedule'"],
    ),
    (RunSpec, run(objective={"losses": {"mse": -1}}), ["objective.losses.mse.weight: ", "greater than or equal to 0"]),
    (RunSpec, run(objective={"losses": {"mse": {"wieght": 1}}}), ["objective.losses.mse.wieght: ", "'weight'"]),
    (RunSpec, run(objective={"losses": {"mse": [1]}}), ["objective.losses.mse: it takes a mapping"]),
    (RunSpec, run(objective={"latent": {"mse": 0, "cos": 0}}), ["objective.latent: it compares nothing"]),
    (RunSpec, run(optimiser={"betas": [0.9, 1]}), ["optimiser.betas.1: ", "less than 1"]),
    (RunSpec, run(optimiser={"rate": float("nan")}), ["optimiser.rate: ", "finite"]),
    (RunSpec, run(speed={"autocast": "bf32"}), ["speed.autocast: 'bf32' is not allowed (did you mean 'bf16'?)"]),
    (
        RunSpec,
        run(encoder={"overrides": {"sise": 3}}),
        ["encoder.overrides: an encoder's spec has no field 'sise' (did you mean 'size'?); it has size, channels"],
    ),
    (RunSpec, run(objective={"image_gradient": False, "latent": {"weight": 0}}), ["nothing would reach the encoder"]),
    (RunSpec, run(data={"photos": ["a.jpg"]}), ["data.photos are for the task 'finetune'"]),
    (EncoderSpec, encoder(blocks=[]), ["there are no blocks"]),
    (
        EncoderSpec,
        encoder(blocks=[{"size": [4, 4], "in_channels": 1, "out_channels": 2, "convolution": 1}]),
        ["blocks.0.convolution: there is no such field (did you mean 'convolutions'?)", "downscale"],
    ),
    (
        EncoderSpec,
        encoder(blocks=[{"size": [4, 4], "in_channels": 1, "out_channels": 2, "downscale": "avrage"}]),
        ["blocks.0.downscale: 'avrage' is not allowed (did you mean 'average'?); it takes 'average', 'stride'"],
    ),
    (EncoderSpec, encoder(residual="sums"), ["residual: it takes 'sum', or the share"]),
]


@pytest.mark.parametrize(("kind", "data", "parts"), WRONG, ids=lambda value: "")
def test_a_wrong_field_is_named(kind: type[Spec], data: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        kind.from_mapping(data, where="my.yaml")
    message = str(caught.value)
    assert message.startswith("In my.yaml: ")
    for part in parts:
        assert part in message
    assert "\n" not in message


def test_the_mappings_that_wrong_ones_are_made_of_are_right() -> None:
    assert GeneratorSpec.from_mapping(generator()).resolution == 64
    assert RunSpec.from_mapping(run()).steps == 3
    assert EncoderSpec.from_mapping(encoder()).features == (2, 4, 4)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", r"a\.json: this is not JSON"),
        ("a.yaml", "a: [", r"a\.yaml: this is not YAML"),
        ("a.yaml", "- 1", r"a spec is a mapping of fields; this holds list"),
        ("a.json", "3", r"this holds int"),
        ("a.yaml", "", r"this holds NoneType"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", r"this is not YAML"),
        ("a.yaml", "task: pretrain\nsteps: none", r"a\.yaml: steps: "),
    ],
)
def test_a_file_that_holds_no_spec_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(SpecError, match=message):
        RunSpec.from_file(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        read_mapping(tmp_path / "missing.yaml")
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="not text"):
        read_mapping(tmp_path / "a.yaml")
    for text in ("{", "3"):
        with pytest.raises(SpecError):
            RunSpec.from_json(text)
        with pytest.raises(SpecError):
            RunSpec.from_yaml(text)


def test_specs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RUN.steps = 4  # type: ignore[misc]


def test_parts_have_shapes_and_are_found_by_name() -> None:
    shapes = [part.shape for part in LAYOUT if not isinstance(part, Noise)]
    assert shapes == [(10, 32), (16,), (8, 4, 6), (12,), ()]
    assert [part.name for part in encoded(LAYOUT)] == ["w", "z", "const", "c"]
    assert GENERATOR.part("const") is GENERATOR.layout[2]
    with pytest.raises(SpecError, match=r"no part 'konst' \(did you mean 'const'\?\)"):
        GENERATOR.part("konst")


# The paper: section 3.2 (Equations 2 and 3), section 3.3 (Equations 4 to 6), section 4.1 and 4.3 (the strategies).
PAPER = {
    "paper-pretrain-s1": {"task": "pretrain", "mu": (1, 1), "epochs": 7, "steps": 0, "image_gradient": False},
    "paper-pretrain-s2": {"task": "pretrain", "mu": (5, 9), "epochs": 7, "steps": 0, "image_gradient": True},
    "paper-finetune": {"task": "finetune", "mu": (0.375, 0.625), "epochs": 0, "steps": 3500, "image_gradient": True},
}


@pytest.mark.parametrize("name", PAPER)
def test_presets_carry_the_papers_numbers(name: str) -> None:
    spec, paper = preset(name), PAPER[name]
    assert spec.task == paper["task"]
    assert (spec.steps, spec.epochs) == (paper["steps"], paper["epochs"])
    assert spec.objective.attention.name == "center"
    mu = tuple(spec.objective.attention.options.get("weights", (0.375, 0.625)))
    assert mu == paper["mu"]
    assert spec.objective.image_gradient == paper["image_gradient"]
    weights = {choice.name: choice.weight for choice in spec.objective.losses.values()}
    assert weights == {"mse": 5, "cos": 3, "lpips": 2, "ssim": 1}
    assert spec.objective.backbone is None
    latent = spec.objective.latent
    assert (latent.weight, latent.mse, latent.cos, latent.parts) == (0.01, 5, 3, None)
    assert (spec.optimiser.rate, spec.optimiser.betas, spec.optimiser.schedule) == (0.0015, (0, 0.99), "constant")
    assert (spec.optimiser.warmup, spec.optimiser.clip, spec.optimiser.average) == (0, 0, 0)
    if spec.task == "pretrain":
        assert spec.data.samples == 30_000
        assert [spec.batch_at(size) for size in (64, 256, 512, 1024)] == [8, 8, 4, 2]
        encoder = EncoderSpec.mirror(GENERATOR, **spec.encoder.overrides)
        assert (encoder.start, encoder.head_gain, encoder.map_gain, encoder.residual) == ("zero", 1, 1, 0.111)
        assert encoder.blur == (name == "paper-pretrain-s2")
    else:
        assert spec.batch_at(1024) == 1


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_file_that_says_what_it_is(name: str) -> None:
    text = preset_text(name)
    assert RunSpec.from_yaml(text) == preset(name)
    assert text.startswith("# ")
    with pytest.raises(SpecError, match="no preset"):
        preset_text("../base")


@pytest.mark.parametrize(("size", "batch", "steps"), [(256, 8, 26_250), (512, 4, 52_500), (1024, 2, 105_000)])
def test_seven_epochs_of_the_papers_samples_in_steps(size: int, batch: int, steps: int) -> None:
    run = preset("paper-pretrain-s1").resolved(size)
    assert (run.data.batch, run.steps, run.epochs) == (batch, steps, 0)
    assert preset("paper-pretrain-s1", steps=5).resolved(size).steps == 5
    assert preset("finetune", steps=0, epochs=3, data={"batch": 4}).resolved(size, photos=10).steps == 7


def test_a_name_stands_for_an_attention_and_a_number_for_the_weight_of_a_loss() -> None:
    text = RunSpec.from_yaml("task: pretrain\nsteps: 1\nobjective: {attention: none}").objective.attention
    assert text == Choice(name="none")
    with pytest.raises(SpecError, match=r"objective\.attention: it takes a mapping"):
        RunSpec.from_mapping({"task": "pretrain", "steps": 1, "objective": {"attention": 3}})
    losses = {"mse": 2, "lpips": {"options": {"side": 1}}, "again": {"name": "mse", "weight": 0.5}}
    found = ObjectiveSpec(losses=losses, attention={"options": {"weights": [1, 2]}})
    assert [(key, one.name, one.weight) for key, one in found.losses.items()] == [
        ("mse", "mse", 2.0),
        ("lpips", "lpips", 1.0),
        ("again", "mse", 0.5),
    ]
    assert found.losses["lpips"].options == {"side": 1}
    assert found.attention == Choice(name="center", options={"weights": [1, 2]})
    assert ObjectiveSpec.from_yaml(found.to_yaml()) == found


def test_a_run_without_a_length_is_refused() -> None:
    with pytest.raises(SpecError, match="steps, or epochs, above 0"):
        RunSpec.from_mapping({"task": "pretrain"})
    with pytest.raises(SpecError, match=r"passes over data\.samples, which is 0"):
        RunSpec.from_mapping({"task": "pretrain", "epochs": 2})


def test_presets_take_fields_anew_and_keep_the_others() -> None:
    spec = preset("paper-pretrain-s2", steps=9, objective={"attention": {"name": "none"}, "latent": {"weight": 0.5}})
    assert spec.steps == 9
    assert spec.objective.attention.name == "none"
    assert spec.objective.attention.options == {}, "options go with their name"
    assert spec.objective.latent.weight == 0.5
    assert spec.encoder.overrides["blur"] is True
    assert preset("paper-pretrain-s2").steps == 0, "the preset itself stays as it was"
    short = preset("paper-pretrain-s2", steps=9, objective={"attention": "none"}).objective.attention
    assert short == spec.objective.attention
    with pytest.raises(SpecError, match=r"no preset 'paper-fintune' \(did you mean 'paper-finetune'\?\)"):
        preset("paper-fintune")
    with pytest.raises(SpecError, match="In the preset finetune: stepz: there is no such field"):
        preset("finetune", stepz=1)


def test_the_batch_can_be_declared() -> None:
    assert preset("pretrain", data={"batch": 5}).batch_at(1024) == 5
    assert not preset("finetune").mixes_photos
    assert preset("finetune", data={"photo_share": 0.5}).mixes_photos
    of_photos = [("pretrain", {"photo_share": 0.5}), ("pretrain", {"fit": "stretch"}), ("pretrain", {"labels": [1]})]
    for name, data in (*of_photos, ("finetune", {"truncation": 0.7}), ("finetune", {"samples": 9})):
        with pytest.raises(SpecError, match=rf"data\.{next(iter(data))} is for (photos|synthesized images), and this"):
            preset(name, data=data)


def test_merge_knows_what_stands_for_a_component() -> None:
    choice = {"name": "center", "options": {"weights": [1, 1]}}
    assert merge({"a": choice}, {"a": "center"}) == {"a": choice}
    assert merge({"a": choice}, {"a": "none"}) == {"a": {"name": "none"}}
    assert merge({"a": choice}, {"a": {"options": {"x": 1}}})["a"]["options"] == {"weights": [1, 1], "x": 1}
    assert merge({"a": "detail"}, {"a": {"options": {"x": 1}}}) == {"a": {"name": "detail", "options": {"x": 1}}}
    assert merge({"a": 5.0}, {"a": {"options": {"x": 1}}}) == {"a": {"weight": 5.0, "options": {"x": 1}}}
    assert merge({"a": {"weight": 5.0, "options": {"x": 1}}}, {"a": 2}) == {"a": {"weight": 2, "options": {"x": 1}}}
    assert merge({"a": choice}, {"a": None}) == {"a": None}


def test_merge_goes_field_by_field_and_leaves_what_it_is_given() -> None:
    base = {"a": {"b": {"c": 1, "d": 2}}, "e": [1, 2], "f": {"g": 1}}
    over = {"a": {"b": {"c": 3}, "h": 4}, "e": [5], "f": None}
    assert merge(base, over) == {"a": {"b": {"c": 3, "d": 2}, "h": 4}, "e": [5], "f": None}
    assert base == {"a": {"b": {"c": 1, "d": 2}}, "e": [1, 2], "f": {"g": 1}}
    assert over == {"a": {"b": {"c": 3}, "h": 4}, "e": [5], "f": None}


def test_merge_keeps_the_options_of_a_component_unless_another_is_named() -> None:
    base = {"block": {"name": "wide", "options": {"k": 5}, "weight": 2}}
    assert merge(base, {"block": {"options": {"j": 1}}})["block"]["options"] == {"k": 5, "j": 1}
    assert merge(base, {"block": "wide"}) == base
    for other in ("thin", {"name": "thin"}):
        assert merge(base, {"block": other}) == {"block": {"name": "thin", "weight": 2}}
    assert merge(base, {"block": {"name": "thin", "options": {"j": 1}}})["block"]["options"] == {"j": 1}


@pytest.mark.parametrize("idle", [[3], [-1], [0, 7]])
def test_layers_that_are_idle_are_of_those_there_are(idle: list[int]) -> None:
    with pytest.raises(SpecError, match="idle layers are of 0 to 2"):
        Styles(layers=3, dim=4, idle=idle)
    assert Styles(layers=3, dim=4, idle=[0, 2]).idle == (0, 2)
