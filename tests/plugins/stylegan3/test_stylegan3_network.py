"""StyleGAN3's filters against scipy and plain convolutions; networks from a spec alone: plan, training, inversion."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from ganenc.cli import main
from ganenc.encoders import build_encoder
from ganenc.export import GeneratorGraph, export
from ganenc.images import read
from ganenc.inversion import invert
from ganenc.latents import Latents
from ganenc.models import save_pretrained
from ganenc.objectives import Batch, EncoderStep
from ganenc_plugin_stylegan3 import filters
from ganenc_plugin_stylegan3.filters import Axis, design, filtered_lrelu
from ganenc_plugin_stylegan3.releases import RELEASES
from ganenc_plugin_stylegan3.specs import stylegan3_spec
from ganenc_plugin_stylegan3.stylegan3 import StyleGAN3
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import EncoderSpec, Setting
from release_checks import check_release
from torch import Tensor
from toys import make_objective

SMALL: dict[str, Any] = {"channel_base": 128, "channel_max": 8, "layers": 3, "z_dim": 8, "w_dim": 8}


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganenc.generators.generator.CENTER_DRAWS", 1000)


@pytest.fixture
def generator() -> StyleGAN3:
    torch.manual_seed(1)
    return StyleGAN3(stylegan3_spec(16, **SMALL)).freeze()


@pytest.mark.parametrize(("taps", "cutoff", "half_width", "rate"), [(12, 2, 6, 32), (24, 4, 4, 64), (9, 3, 1, 16)])
def test_filters_are_those_of_scipy(taps: int, cutoff: float, half_width: float, rate: float) -> None:
    signal = pytest.importorskip("scipy.signal")
    special = pytest.importorskip("scipy.special")
    found = design(taps, cutoff=cutoff, half_width=half_width, rate=rate)
    expected = torch.from_numpy(signal.firwin(taps, cutoff, width=2 * half_width, fs=rate)).float()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    if taps % 2 == 0:  # Where the middle of a jinc, 0 / 0, is no sample.
        places = (torch.arange(taps).double() - (taps - 1) / 2) / rate
        radius = torch.hypot(places[:, None], places)
        beta = signal.kaiser_beta(signal.kaiser_atten(taps, 4 * half_width / rate))
        window = torch.from_numpy(signal.windows.kaiser(taps, beta))
        jinc = torch.from_numpy(special.j1((2 * cutoff * torch.pi * radius).numpy())) / radius
        expected = jinc * torch.outer(window, window)
        found = design(taps, cutoff=cutoff, half_width=half_width, rate=rate, radial=True)
        torch.testing.assert_close(found, (expected / expected.sum()).float(), rtol=0, atol=1e-6)


CASES = {
    "same": ((9, 7), (8, 10), 2, 2, 12, 12),
    "up": ((9, 8), (14, 12), 4, 2, 24, 12),
    "cropped": ((30, 26), (16, 11), 2, 2, 12, 12),
    "odd": ((13, 9), (10, 7), 3, 2, 15, 9),
    "down": ((13, 11), (6, 7), 2, 3, 30, 19),
    "plain": ((6, 5), (6, 5), 1, 1, 1, 1),
}


@pytest.mark.parametrize("clamp", [None, 2.0])
@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_matrices_do_what_convolutions_do(
    monkeypatch: pytest.MonkeyPatch, name: str, radial: bool, clamp: float | None
) -> None:
    """In one piece and in tiles, forward and backward, for filters without any symmetry."""
    inputs, outputs, up, down, up_taps, down_taps = CASES[name]
    x = torch.randn(2, 3, *inputs, dtype=torch.float64, requires_grad=True)
    first = torch.randn(up_taps, dtype=torch.float64) if up > 1 else None
    second = torch.randn(*[down_taps] * (1 + radial), dtype=torch.float64) if down > 1 else None
    axes = tuple(Axis(a, b, up, down, up_taps, down_taps) for a, b in zip(inputs, outputs))
    expected = filters._plain(x, first, second, axes, clamp)
    assert expected.shape[2:] == outputs
    given = torch.randn_like(expected)
    (slope,) = torch.autograd.grad(expected, x, given)
    for whole, at_once in ((1000, 1 << 20), (2, 300)):
        monkeypatch.setattr(filters, "WHOLE", whole)
        monkeypatch.setattr(filters, "TILE", 4)
        monkeypatch.setattr(filters, "AT_ONCE", at_once)
        found = filtered_lrelu(x, first, second, axes, clamp=clamp)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(torch.autograd.grad(found, x, given)[0], slope, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(filtered_lrelu(x.detach(), first, second, axes, clamp=clamp), expected.detach())


def test_the_gradient_has_gradients() -> None:
    """Of the pieces between bends, which are linear: the gradient is that of the other gradient's weights."""
    axes = (Axis(5, 4, 2, 2, 4, 4), Axis(5, 4, 2, 2, 4, 4))
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    taps = torch.rand(4, dtype=torch.float64)
    assert torch.autograd.gradgradcheck(lambda x: filtered_lrelu(x, taps, taps, axes), (x,))


# The published plan of layers: names as the networks' files have them (NVlabs/stylegan3).

PLANS = {
    "t": [
        *("L0_36_512", "L1_36_512", "L2_36_512", "L3_52_512", "L4_52_512", "L5_84_512", "L6_84_512", "L7_148_512"),
        *("L8_148_512", "L9_148_362", "L10_276_256", "L11_276_181", "L12_276_128", "L13_256_128", "L14_256_3"),
    ],
    "r": [
        *("L0_36_1024", "L1_36_1024", "L2_52_1024", "L3_52_1024", "L4_84_1024", "L5_148_1024", "L6_148_1024"),
        *("L7_276_645", "L8_276_406", "L9_532_256", "L10_1044_161", "L11_1044_102", "L12_1044_64", "L13_1024_64"),
        "L14_1024_3",
    ],
}


@pytest.mark.parametrize(("config", "size"), [("t", 256), ("r", 1024)])
def test_the_plan_is_the_published_one(config: Any, size: int) -> None:
    layers = stylegan3_spec(size, config=config).options["layers"]
    assert [f"L{i}_{one['size'][0]}_{one['channels']}" for i, one in enumerate(layers)] == PLANS[config]
    assert [one["kernel"] for one in layers] == [1 if config == "r" else 3] * 14 + [1]
    assert [one["radial"] for one in layers] == [config == "r"] * 12 + [False] * 3


@pytest.mark.parametrize("name", RELEASES.names())
def test_every_release_is_sound(name: str) -> None:
    release = check_release(RELEASES, name, mirrored=False)
    assert release.generator.family == "stylegan3"
    assert EncoderSpec.mirror(release.generator).rows()


def test_the_image_is_turned_and_shifted_as_the_settings_say(generator: StyleGAN3) -> None:
    """Two pixels to the right and one up. A whole turn is none."""
    latents = generator.sample(1, seed=3)
    image = generator.synthesize(latents)
    one, none = torch.ones(1), torch.zeros(1)
    moved = generator.synthesize(latents.replace(shift_x=one * 2 / 16, shift_y=-one / 16, rotation=none))
    inside = image[..., 5:13, 4:11]
    error = (moved[..., 4:12, 6:13] - inside).square().mean() / inside.var()
    still = (image[..., 4:12, 6:13] - inside).square().mean() / inside.var()
    assert float(error) < 0.03 < 0.1 < float(still)
    turned = generator.synthesize(latents.replace(rotation=one * 360))
    assert float((turned - image).abs().max()) < 1e-4 * float(image.std())


def test_settings_are_carried_saved_and_left_out(generator: StyleGAN3, tmp_path: Any) -> None:
    assert [part.name for part in generator.spec.layout if isinstance(part, Setting)] == [
        "rotation",
        "shift_x",
        "shift_y",
    ]
    latents = generator.sample(2, seed=3)
    same = generator.complete(latents)
    assert torch.equal(same["rotation"], torch.zeros(2))
    tilted = same.replace(rotation=torch.tensor([0.0, 20.0]))
    tilted.save(tmp_path / "tilted.safetensors")
    images = generator.synthesize(Latents.load(tmp_path / "tilted.safetensors"))
    difference = (images - generator.synthesize(latents)).abs().amax((1, 2, 3))
    assert difference[0] < 1e-5 < 0.01 < difference[1]


@pytest.mark.parametrize("config", ["t", "r"])
def test_it_trains_from_a_spec_alone(config: Any) -> None:
    """Towards given images: the loss falls, and the magnitudes of features are followed."""
    torch.manual_seed(0)
    generator = StyleGAN3(stylegan3_spec(16, config=config, **SMALL)).train()
    z, wanted = torch.randn(2, 8), torch.full((2, 3, 16, 16), 0.5)
    before = {name: buffer.clone() for name, buffer in generator.named_buffers() if name.endswith("magnitude_ema")}
    optimizer, losses = torch.optim.Adam(generator.parameters(), 0.03), []
    for _ in range(12):
        loss = (generator.synthesize(generator.map(z)) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in generator.parameters())
    assert before
    assert all(buffer != before[name] for name, buffer in generator.named_buffers() if name in before)


def test_watched_maps_are_what_lies_inside_the_image(generator: StyleGAN3) -> None:
    stages = generator.stages()
    assert stages == {"layers.2.inside": (8, 16, 16)}
    w = generator.sample(1, seed=3)["w"].requires_grad_()
    plain = generator.synthesize({"w": w})
    with generator.watch(stages) as maps:
        image = generator.synthesize({"w": w})
    image.sum().backward()
    assert torch.equal(image, plain)
    for name, shape in stages.items():
        assert maps[name].shape[1:] == shape
        assert maps[name].grad is not None
        assert float(maps[name].grad.abs().max()) > 0


def test_stages_of_larger_images_leave_margins_out() -> None:
    generator = StyleGAN3(stylegan3_spec(64, **{**SMALL, "layers": 5}))
    assert [size for _, *size in generator.stages().values()] == [[16, 16], [32, 32], [64, 64]]
    with generator.watch(generator.stages()) as maps:
        generator.synthesize(generator.sample(1))
    assert [list(one.shape[2:]) for one in maps.values()] == [[16, 16], [32, 32], [64, 64]]


@pytest.mark.parametrize("classes", [0, 3])
def test_an_encoder_mirrors_it_and_learns(classes: int) -> None:
    torch.manual_seed(0)
    generator = StyleGAN3(stylegan3_spec(16, classes=classes, **SMALL)).freeze()
    encoder = build_encoder(generator)
    objective = make_objective({"mse": 5.0})
    step = EncoderStep(generator, encoder, objective)
    labels = generator.draw_labels(8)
    latents = generator.sample(8, seed=0, labels=labels)
    batch = Batch(generator.synthesize(latents), labels, latents)
    assert encoder(batch.images, labels=labels)["w"].shape == (8, 5, 8)
    optimizer, losses = torch.optim.Adam(encoder.parameters(), 0.01), []
    for _ in range(15):
        total = step(batch).result.total
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("config", ["t", "r"])
def test_it_is_exported_with_its_settings(config: Any, tmp_path: Any) -> None:
    """By convolutions alone, held against the matrices; for any number of samples."""
    generator = StyleGAN3(stylegan3_spec(16, config=config, **SMALL)).freeze()
    facts = export(GeneratorGraph(generator), tmp_path, format="torch")
    assert [port["name"] for port in facts["inputs"]] == ["w", "rotation", "shift_x", "shift_y"]
    assert (facts["batch"], facts["parity"]["batches"]) == ("any", [1, 3])


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(4 / (a - b).square().mean()))


def test_images_of_its_own_are_found_again(generator: StyleGAN3) -> None:
    image = generator.synthesize(generator.sample(1, seed=5))
    start = psnr(generator.synthesize(generator.center()), image)
    method = {"name": "optimize", "options": {"steps": 60}}
    done = invert(image, generator, method=method, objective=make_objective({"mse": 5.0}))
    assert psnr(done.reconstructions, image) > start + 6


def test_a_turned_and_shifted_image_is_found_with_the_transform_set_or_sought(generator: StyleGAN3) -> None:
    """With the transform set, it is found as one that is upright; near it and freed, better than where it is held."""
    turn = {"rotation": 25.0, "shift_x": 0.1, "shift_y": -0.05}
    latents = generator.complete(generator.sample(1, seed=5))
    image = generator.synthesize(latents.replace(**{name: torch.tensor([value]) for name, value in turn.items()}))

    of_pixels = make_objective({"mse": 5.0})

    def found(near: float, *free: str) -> tuple[float, Latents]:
        options = {"steps": 40, "space": "w", "settings": {**turn, "rotation": near}, "free": free}
        done = invert(image, generator, None, {"name": "optimize", "options": options}, objective=of_pixels)
        return psnr(done.reconstructions, image), done.latents

    (set_to, at), (held, _), (sought, freed) = found(25.0), found(10.0), found(10.0, *turn)
    assert at["rotation"].item() == pytest.approx(25)
    assert set_to > held + 3
    assert sought > held + 1
    assert abs(freed["rotation"].item() - 25) < 5
    upright = {name: torch.zeros(1) for name in turn}
    made, own = (generator.synthesize(one.replace(**upright)) for one in (at, latents))
    assert psnr(made, own) > psnr(made, image)


@pytest.mark.parametrize("config", ["t", "r"])
def test_a_tilt_is_found_from_the_image_alone_and_undone(config: Any, tmp_path: Any, capsys: Any) -> None:
    """From 0 and unknown styles, to what moves the image's corners by less than half a pixel; upright by a command."""
    torch.manual_seed(2)
    generator = StyleGAN3(stylegan3_spec(16, config=config, **SMALL)).freeze()
    own = generator.complete(generator.sample(1, seed=5))
    image = generator.synthesize(own.replace(rotation=torch.full((1,), 20.0)))
    options = {"steps": 50, "space": "w", "start": "draws", "free": ["rotation", "shift_x", "shift_y"]}
    method = {"name": "optimize", "options": options}
    done = invert(image, generator, None, method, objective=make_objective({"mse": 5.0}))
    assert abs(done.latents["rotation"].item() - 20) < math.degrees(math.atan(0.5 / math.hypot(8, 8)))

    save_pretrained(generator, tmp_path / "model")
    done.latents.save(tmp_path / "tilted.safetensors")
    words = ["invert", str(tmp_path / "tilted.safetensors"), "--model", str(tmp_path / "model"), "--out"]
    turned = [str(tmp_path / "upright"), *(f"--set=method.options.settings.{name}=0" for name in options["free"])]
    for further in ([str(tmp_path / "same")], turned):
        with pytest.raises(SystemExit) as ended:
            main([*words, *further])
        assert ended.value.code == 0, capsys.readouterr()
    same, upright = (read(tmp_path / name / "tilted.png") for name in ("same", "upright"))
    assert psnr(same, image) > 40
    assert psnr(upright, generator.synthesize(own)) > psnr(same, generator.synthesize(own)) + 6


def test_what_cannot_be_built_is_refused() -> None:
    spec = stylegan3_spec(16, **SMALL)
    for words, change in {
        "Size, channels or layout": {"size": (32, 32)},
        "class vectors has at least one class": {"options": {**spec.options, "embedding": 3}},
        "the last layer makes the image": {"options": {**spec.options, "layers": spec.options["layers"][:-1]}},
        "has a filter where it samples": {
            "options": {**spec.options, "layers": [{**one, "up_taps": 1} for one in spec.options["layers"]]}
        },
    }.items():
        with pytest.raises(SpecError, match=words):
            StyleGAN3(spec.model_copy(update=change))
    for arguments in ({"size": 12}, {"size": 16, "layers": 2}):
        with pytest.raises(SpecError, match="images of 4, 8, 16 pixels"):
            stylegan3_spec(**arguments)
    with pytest.raises(LatentsError, match="give labels"):
        StyleGAN3(stylegan3_spec(16, classes=2, **SMALL)).map(torch.zeros(1, 8))


def test_its_specs_import_no_torch() -> None:
    told = "import sys, ganenc_plugin_stylegan3.specs as s; s.stylegan3_spec(64); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
