"""Everything that the core and the plugins contribute keeps to its contract; generators at small sizes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ganenc.testing import Subject, find_subjects, parametrize_with_checks, run_checks
from ganenc.testing.examples import ExampleBackbone, ExampleGenerator, conditional_spec, styled_spec, vector_spec
from ganenc.testing.runner import require_passed
from ganenc_plugin_biggan.specs import biggan_spec
from ganenc_plugin_dcgan.specs import Activation, Convolution, Labels, Norm, row_spec
from ganenc_plugin_fastgan.specs import LightweightGANOptions, fastgan_spec, lightweight_gan_spec
from ganenc_plugin_mobilestylegan.specs import mobilestylegan_spec
from ganenc_plugin_pggan.specs import pggan_spec
from ganenc_plugin_stylegan.specs import (
    LucidrainsOptions,
    MappingOptions,
    StyleGAN1Options,
    StyleGAN2Options,
    lucidrains_spec,
    stylegan1_spec,
    stylegan2_spec,
)
from ganenc_plugin_stylegan3.specs import stylegan3_spec
from ganenc_registry import KINDS, Contribution, registry
from ganenc_registry.specs import Condition, GeneratorSpec, Map, Noise, Prior, Release, Setting, Styles, Vector

SLOW_CHECK = "importing-changes-nothing"
SHORT = 2
CHANNELS = {4: 16, 8: 16, 16: 8}
ALL_PARTS = GeneratorSpec(
    family="example",
    size=(9, 14),
    channels=4,
    value_range=(0.0, 255.0),
    prior=Prior(dim=5),
    layout=(
        Vector(name="z", dim=5),
        Vector(name="pose", dim=3),
        Styles(name="w", layers=3, dim=4),
        Styles(name="colour", layers=1, dim=2),
        Map(channels=2, height=3, width=5),
        Condition(dim=4),
        Setting(name="age", default=0.5),
        Noise(shapes=((1, 3, 3), (2, 5, 4))),
    ),
    classes=3,
    resolution_channels={4: 8, 8: 8},
)
FAMILIES = {
    "stylegan1": stylegan1_spec(
        (16, 16), CHANNELS, z_dim=8, w_dim=8, classes=3, options=StyleGAN1Options(mapping_layers=SHORT)
    ),
    "stylegan2": stylegan2_spec(
        (16, 16), CHANNELS, z_dim=8, w_dim=8, options=StyleGAN2Options(mapping_layers=SHORT, architecture="resnet")
    ),
    "stylegan2-lucidrains": lucidrains_spec(
        (16, 16), CHANNELS, z_dim=8, w_dim=8, options=LucidrainsOptions(mapping_layers=SHORT)
    ),
    "mobilestylegan": mobilestylegan_spec(
        (16, 16), {4: 16, 8: 16}, z_dim=8, w_dim=8, options=MappingOptions(mapping_layers=SHORT)
    ),
    "stylegan3": stylegan3_spec(
        8, channel_base=32, channel_max=4, layers=3, critical=1, margin=1, filter_size=4, z_dim=8, w_dim=8, classes=3
    ),
    "dcgan": row_spec(
        [
            Convolution(outputs=8, kernel=4, transposed=True),
            Norm(),
            Activation(name="relu"),
            Convolution(outputs=1, kernel=4, stride=2, padding=1, transposed=True),
            Activation(name="tanh"),
        ],
        z_dim=8,
        classes=3,
        labels=Labels(dim=3),
    ),
    "pggan": pggan_spec((16, 32), CHANNELS, z_dim=8, image_channels=1, classes=3),
    "biggan": biggan_spec(16, channel_width=4, z_dim=8, c_dim=6, classes=4, n_stats=3, reduction=2, attention=()),
    "fastgan": fastgan_spec(64, dict.fromkeys((4, 8, 16, 32, 64), 8), z_dim=8, classes=3),
    "lightweight-gan": lightweight_gan_spec(
        16, CHANNELS, z_dim=8, options=LightweightGANOptions(attention=(8,), heads=2, attention_width=8)
    ),
}


def family(name: str) -> Subject:
    """A family with a small spec."""
    (subject,) = find_subjects(f"generator:{name}", spec=FAMILIES[name])
    return subject


def contributed(*kinds: str) -> list[Subject]:
    """What the installed plugins contribute of some kinds; none of what other tests register."""
    owned = [item for status in registry().plugins for item in status.contributions if item.kind in kinds]
    return [one for item in owned for one in find_subjects(f"{item.kind}:{item.name}")]


def is_release(item: Contribution) -> bool:
    return isinstance(registry().resolve("model", item.name), Release)


PARTS = contributed(
    "block", "encoder", "attention", "loss", "backbone", "aligner", "inverter", "recipe", "finder", "metric", "operator"
)
MODELS = contributed("model")
SHIPPED = [one for one in MODELS if one.contribution and not is_release(one.contribution)]
RELEASES = [one for one in MODELS if one not in SHIPPED]
PLUGINS = sorted({status.distribution.split()[0] for status in registry().plugins})


@parametrize_with_checks([family(name) for name in FAMILIES])
def test_families(check: Callable[[], None]) -> None:
    check()


def test_every_family_has_a_small_spec() -> None:
    assert {one.name.partition(":")[2] for one in contributed("generator")} == set(FAMILIES)


@parametrize_with_checks(PARTS)
def test_parts(check: Callable[[], None]) -> None:
    check()


@parametrize_with_checks(SHIPPED)
def test_shipped_models(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("plugin", PLUGINS)
def test_releases(plugin: str) -> None:
    mine = [one for one in RELEASES if one.plugin and one.plugin.distribution.split()[0] == plugin]
    require_passed(run_checks(mine))


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins(plugin: str) -> None:
    (whole,) = [one for one in find_subjects(plugin) if one.kind == "plugin"]
    names = ["plugin-loads", "plugin-brings-something", "plugin-declares-its-contract", "distribution-requires-ganenc"]
    require_passed(run_checks([whole], only=[*names, "importing-it-leaves-torch-alone"]))


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS)
def test_importing_a_plugins_targets_changes_nothing(plugin: str) -> None:
    (whole,) = [one for one in find_subjects(plugin) if one.kind == "plugin"]
    require_passed(run_checks([whole], only=[SLOW_CHECK]))


@parametrize_with_checks(
    [
        ExampleGenerator,
        *(ExampleGenerator(spec) for spec in (vector_spec((21, 13)), styled_spec(), conditional_spec(), ALL_PARTS)),
        ExampleBackbone,
    ]
)
def test_the_examples_that_parts_are_checked_with(check: Callable[[], None]) -> None:
    check()


def test_every_kind_is_checked() -> None:
    from ganenc.testing import checks_of

    assert all(checks_of(kind) for kind in KINDS)
