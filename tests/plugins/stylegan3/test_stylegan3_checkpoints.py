"""StyleGAN3 and StyleGAN-XL out of their pickles: the published outputs, other architectures, and wrong files."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign.containers import dumps, torch_network
from ganenc.foreign import Checkpoint, read_checkpoint
from ganenc.models import from_checkpoint
from ganenc_plugin_stylegan3.stylegan3 import StyleGAN3
from ganenc_registry.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("stylegan3_reference", Path(__file__).parent / "stylegan3_reference.py")
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = reference
_spec.loader.exec_module(reference)
Net = reference.Net

FILES = ("stylegan3_t_uncond", "stylegan3_r_cond", "stylegan_xl")


def assert_matches(found: torch.Tensor, expected: Any) -> None:
    """Within 1e-4 of the standard deviation."""
    expected = torch.as_tensor(expected)
    assert found.shape == expected.shape
    assert float((found.detach() - expected).abs().max()) <= 1e-4 * float(expected.std())


@pytest.mark.parametrize("name", FILES)
def test_published_outputs(shared: Path, name: str) -> None:
    folder = shared / "checkpoints" / name
    generator = from_checkpoint(read_checkpoint(folder / "network.pkl")).freeze()
    expected, about = np.load(folder / "expected.npz"), json.loads((folder / "about.json").read_text())
    assert isinstance(generator, StyleGAN3)
    assert (generator.spec.resolution, generator.spec.prior.dim) == (about["resolution"], about["z_dim"])
    assert (generator.spec.classes, generator.spec.layout[0].layers) == (about["c_dim"], about["num_ws"])
    labels = torch.from_numpy(expected["c"]) if generator.spec.classes else None
    z, cut = torch.from_numpy(expected["z"]), about["truncation_cutoff"]
    for suffix, options in {
        "": {},
        "_psi07": {"truncation": 0.7},
        "_psi07_cut": {"truncation": 0.7, "truncation_layers": cut},
    }.items():
        latents = generator.map(z, labels=labels, **options)
        assert_matches(latents["w"], expected[f"ws{suffix}"])
        if f"img{suffix}" in expected:
            assert_matches(generator.synthesize(latents), expected[f"img{suffix}"])


# Architectures besides those of the sample files, against an independent network in float64

VARIANTS = {
    "t": Net(),
    "r": Net(config="r"),
    "larger": Net(size=64, layers=5, channel_base=128, channel_max=3),
    "one_critical": Net(critical=1, layers=3),
    "none_critical": Net(critical=0, layers=3),
    "labels": Net(classes=4, label_dim=9),
    "xl": Net(config="r", classes=4, label_dim=7, embedding=6),
    "xl_stages": Net(config="r", classes=4, label_dim=7, embedding=6, skips=2),
    "clamped": Net(clamp=0.8),
    "unclamped": Net(clamp=None),
    "deep_mapping": Net(mapping=5, lr=0.1, hidden=11),
    "shallow_mapping": Net(mapping=1),
    "grey": Net(channels=1, scale=1.0),
    "margins": Net(margin=4),
    "filters": Net(filter_size=4),
    "high_input": Net(first_cutoff=3.0),
}


def checkpoint_of(net: Any, folder: Path, prefix: str = "G_ema.", *, bare: bool = False) -> Checkpoint:
    """Write a network as its programs do, or (bare) its state dictionary, and read the file."""
    tensors = reference.weights(net)
    if bare:
        torch.save({prefix + name: tensor for name, tensor in tensors.items()}, folder / "network.pt")
        return read_checkpoint(folder / "network.pt")
    sizes = {f"synthesis.{row['name']}.out_size": np.array([row["size"]] * 2) for row in net.rows[1:]}
    network = torch_network(
        {**tensors, **{name: torch.from_numpy(size) for name, size in sizes.items()}}, reference.metadata(net)
    )
    (folder / "network.pkl").write_bytes(dumps({"G_ema": network, "D": torch_network({"b4.fc.weight": torch.ones(3)})}))
    return read_checkpoint(folder / "network.pkl")


def check_outputs(net: Any, checkpoint: Checkpoint) -> StyleGAN3:
    """Hold styles, truncation, images and turned images against the reference."""
    tensors, generator = reference.weights(net), from_checkpoint(checkpoint).freeze()
    z = torch.randn(2, net.z_dim, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(net.classes)[[2, 0]] if net.classes else None
    w = reference.mapping(net, tensors, z, labels)
    mean = tensors["mapping.w_avg"].double()
    mean = mean[[2, 0]] if mean.ndim == 2 else mean
    assert_matches(generator.map(z, labels=labels)["w"][:, 1], w)
    found = generator.map(z, labels=labels, truncation=0.6, truncation_layers=2)["w"]
    assert_matches(found[:, :2], (mean + 0.6 * (w - mean))[:, None].expand(-1, 2, -1))
    assert_matches(found[:, 2:], w[:, None].expand(-1, found.shape[1] - 2, -1))
    ws = torch.randn(2, len(net.rows), net.w_dim, generator=torch.Generator().manual_seed(2))
    assert_matches(generator.synthesize({"w": ws}), reference.synthesis(net, tensors, ws))
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turn = torch.tensor([[cos, sin, 0.1], [-sin, cos, -0.2], [0, 0, 1]])
    with generator.using(rotation=30, shift_x=0.1, shift_y=-0.2):
        assert_matches(generator.synthesize({"w": ws}), reference.synthesis(net, tensors, ws, turn))
    return generator


@pytest.mark.parametrize("name", VARIANTS)
def test_other_architectures(tmp_path: Path, name: str) -> None:
    check_outputs(VARIANTS[name], checkpoint_of(VARIANTS[name], tmp_path))


@pytest.mark.parametrize("name", ["t", "r", "larger", "xl_stages", "deep_mapping"])
def test_state_dictionaries_as_long_as_they_are_as_published(tmp_path: Path, name: str) -> None:
    """Rates, factors and margins follow from names and filters; the learning rate of the mapping is the published."""
    net = VARIANTS[name]
    if name == "deep_mapping":
        net = Net(mapping=5, hidden=11)
    check_outputs(net, checkpoint_of(net, tmp_path, "", bare=True))


@pytest.mark.parametrize("name", ["margins", "filters", "high_input"])
def test_state_dictionaries_that_do_not_tell_how_they_sample_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="save the network whole"):
        from_checkpoint(checkpoint_of(VARIANTS[name], tmp_path, bare=True))


def edited(change: Callable[[dict[str, Any], dict[str, Any]], object], folder: Path, net: Any) -> Checkpoint:
    checkpoint = checkpoint_of(net, folder)
    tensors, metadata = dict(checkpoint.tensors), checkpoint.metadata
    change(tensors, metadata["G_ema"])
    return Checkpoint(checkpoint.path, checkpoint.container, tensors, metadata)


LAYER = "G_ema.synthesis.L1_52_6"
WRONG: dict[str, tuple[Callable[[dict[str, Any], dict[str, Any]], object], str]] = {
    "without a layer": (
        lambda t, m: [t.pop(name) for name in [*t] if name.startswith(LAYER)],
        "layers of its StyleGAN3 are not L0, L1 and so on",
    ),
    "without a filter": (lambda t, m: t.pop(f"{LAYER}.up_filter"), "L1_52_6"),
    "without a weight": (lambda t, m: t.pop(f"{LAYER}.weight"), "'G_ema.synthesis.L1_52_6.weight' is missing"),
    "another padding": (
        lambda t, m: m["synthesis"]["L1_52_6"].update(padding=[1, 2, 3, 4]),
        "declares another padding than follows",
    ),
    "another rate": (
        lambda t, m: m["synthesis"]["L1_52_6"].update(out_sampling_rate=64),
        "sizes and filters of its layer 'L1_52_6' do not fit",
    ),
    "another factor": (lambda t, m: m["synthesis"]["L1_52_6"].update(up_factor=1e9), "L1_52_6|layers"),
    "text for a number": (lambda t, m: m["synthesis"]["input"].update(bandwidth="2"), "is no number"),
    "several bounds": (
        lambda t, m: m["synthesis"]["L1_52_6"].update(conv_clamp=3),
        "bound on the features differs",
    ),
    "an activation": (lambda t, m: m["mapping"]["fc0"].update(activation="swish"), "has the activation 'swish'"),
    "a z that is too long": (lambda t, m: m.update(z_dim=70), "leaves no z of the length"),
    "something more": (
        lambda t, m: t.update({"G_ema.synthesis.attention.weight": torch.ones(3)}),
        "left over when its network is read",
    ),
    "sizes beyond bounds": (
        lambda t, m: t.update({f"{LAYER}.out_size": torch.tensor([1 << 19, 1 << 19])}),
        "declares another padding",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_files_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    change, words = WRONG[name]
    with pytest.raises(CheckpointError, match=words) as caught:
        from_checkpoint(edited(change, tmp_path, Net(size=32)))
    assert str(tmp_path) in str(caught.value)


def test_vectors_of_classes_that_an_unconditional_xl_keeps_are_passed_over(tmp_path: Path) -> None:
    net = Net()
    check_outputs(net, edited(lambda t, m: t.update({"G_ema.mapping.embed.weight": torch.ones(20, 4)}), tmp_path, net))


def test_a_class_with_a_mean_of_its_own_is_pulled_towards_it(tmp_path: Path) -> None:
    net = VARIANTS["xl"]
    generator, means = from_checkpoint(checkpoint_of(net, tmp_path)), reference.weights(net)["mapping.w_avg"]
    labels = torch.tensor([3, 1])
    assert_matches(generator.center(labels=labels)["w"][:, 4], means[labels])
    assert_matches(generator.center()["w"][0, :1], means.mean(0, keepdim=True))
    assert_matches(generator.sample(2, labels=labels, truncation=0.0)["w"][:, 0], means[labels])
