"""The training of the zoo: the discriminator, the augmentation, and that a GAN's training resumes exactly."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from ganenc.files import load_state, save_state
from ganenc.generators import build_generator
from ganenc_plugin_hands.augment import AdaptiveAugment
from ganenc_plugin_hands.discriminator import Discriminator
from ganenc_plugin_hands.train_classifier import split_test, train_classifier
from ganenc_plugin_hands.train_gan import STATE, GanTrainer, GanTraining, photo_codes, slim_state
from ganenc_plugin_pggan.specs import pggan_spec
from ganenc_plugin_stylegan.specs import stylegan2_spec

TINY = stylegan2_spec((16, 16), {4: 8, 8: 8, 16: 8}, z_dim=8, w_dim=8)
NUMBERS = GanTraining(batch=4, width=8, widest=8, r1_every=2, save_seconds=1e9)


def photos(n=8):
    return torch.randint(0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def train(folder, *targets):
    """Train in as many sittings as there are targets, each in a trainer of its own."""
    for target in targets:
        torch.manual_seed(5)
        trainer = GanTrainer(build_generator(TINY), photos(), torch.zeros(8, dtype=torch.int64), folder, NUMBERS)
        trainer.train(target)
    return load_state(folder / STATE)


@pytest.mark.parametrize("stop", [8, 12])
def test_a_resumed_training_ends_like_one_undisturbed(tmp_path, stop):
    whole, parts = train(tmp_path / "whole", 16), train(tmp_path / "parts", stop, 16)
    assert whole["seen"] == parts["seen"] == 16
    assert whole["step_count"] == parts["step_count"] == 4
    for network in ("generator", "average", "discriminator"):
        for name, tensor in whole[network].items():
            torch.testing.assert_close(parts[network][name], tensor, rtol=0, atol=0, equal_nan=True)
    shorter = train(tmp_path / "shorter", 8)
    assert not torch.equal(shorter["generator"]["const"], whole["generator"]["const"])


def test_a_slim_state_goes_on(tmp_path):
    state = train(tmp_path / "whole", 8)
    save_state(tmp_path / "slim" / STATE, slim_state(state))
    assert (tmp_path / "slim" / STATE).stat().st_size < 0.35 * (tmp_path / "whole" / STATE).stat().st_size
    further = train(tmp_path / "slim", 12)
    assert (further["seen"], further["step_count"]) == (12, 3)
    torch.testing.assert_close(further["generator"]["const"], state["generator"]["const"], atol=0.02, rtol=0)


def test_a_discriminator_is_passed_on_to_a_gan_with_labels(tmp_path):
    state = train(tmp_path, 8)
    spec = stylegan2_spec((16, 16), {4: 8, 8: 8, 16: 8}, z_dim=8, w_dim=8, classes=3)
    trainer = GanTrainer(build_generator(spec), photos(), torch.arange(8) % 3, tmp_path / "labels", NUMBERS)
    before = trainer.discriminator.classes.weight.clone()
    trainer.learn_from(state | {"p": 0.7})
    given = trainer.discriminator.state_dict()
    for name, tensor in state["discriminator"].items():
        torch.testing.assert_close(given[name], tensor, rtol=0, atol=0)
    assert torch.equal(trainer.discriminator.classes.weight, before)
    assert trainer.augment.p == 0.7
    trainer.train(4)
    assert not torch.equal(trainer.discriminator.classes.weight, before)


def test_codes_are_whitened_principal_components():
    torch.manual_seed(0)
    pictures = photos(12)
    codes = photo_codes(pictures, 16).double()
    assert codes.shape == (12, 16)
    found = codes[:, :11]
    torch.testing.assert_close(found.T @ found / 12, torch.eye(11, dtype=torch.float64), atol=1e-4, rtol=0)
    pixels = pictures.double().flatten(1) / 127.5 - 1
    left = torch.linalg.svd(pixels - pixels.mean(0), full_matrices=False).U[:, :11]
    assert (left.T @ found / 12**0.5).abs().diagonal().min() > 0.999  # The same components, up to sign.


def test_the_recall_loss_is_the_mean_difference_from_the_photos(tmp_path):
    spec = pggan_spec((16, 16), {4: 16, 8: 16, 16: 16}, z_dim=8)
    one = photos(1).repeat(8, 1, 1, 1)
    labels = torch.zeros(8, dtype=torch.int64)
    trainer = GanTrainer(build_generator(spec), one, labels, tmp_path, replace(NUMBERS, recall=10.0))
    trainer.codes[:] = trainer.codes[0]
    made = trainer.generator.synthesize(trainer.generator.map(trainer.codes[:1]))
    expected = (made - (one[:1].float() / 127.5 - 1)).abs().mean()
    loss = trainer._recall(4)
    torch.testing.assert_close(loss, expected)
    for _ in range(30):
        trainer._step(*trainer._batch())
    assert trainer._recall(4) < 0.9 * loss


def test_a_decoders_start_draws_every_photo_from_its_components(tmp_path):
    spec = pggan_spec((16, 16), {4: 16, 8: 16, 16: 16}, z_dim=8)
    trainer = GanTrainer(
        build_generator(spec),
        photos(),
        torch.zeros(8, dtype=torch.int64),
        tmp_path,
        replace(NUMBERS, batch=8, decoder_images=800),
    )
    trainer.train(8)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["decoder_loss"] for row in rows if "decoder_loss" in row]
    assert len(losses) == 2
    assert losses[-1] < 0.7 * losses[0]
    trainer.train(16)  # A resumed training does not begin again.
    assert (tmp_path / "metrics.jsonl").read_text().count("decoder_loss") == 2


def test_the_averaged_copy_lags_behind(tmp_path):
    trainer = GanTrainer(build_generator(TINY), photos(), torch.zeros(8, dtype=torch.int64), tmp_path, NUMBERS)
    before = trainer.generator.const.detach().clone()
    trainer.train(40)
    whole = (trainer.generator.const - before).norm()
    part = (trainer.average.const - before).norm()
    assert 0 < part < whole
    assert (tmp_path / "samples-00000k.png").is_file()


def test_every_discriminator_weight_takes_a_gradient():
    discriminator = Discriminator(TINY, width=8, widest=16)
    discriminator(torch.randn(4, 3, 16, 16)).sum().backward()
    silent = [name for name, p in discriminator.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []


def test_the_minibatch_deviation_is_the_groups_own():
    discriminator = Discriminator(TINY, width=8, widest=8, group=2)
    x = torch.randn(4, 8, 4, 4, dtype=torch.float64)
    spread = discriminator._spread(x)
    for i in range(4):
        pair = torch.stack([x[i % 2], x[i % 2 + 2]])
        deviation = (pair.var(0, unbiased=False) + 1e-8).sqrt().mean()
        torch.testing.assert_close(spread[i], deviation.expand(1, 4, 4))


def test_no_augmentation_at_probability_zero():
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(AdaptiveAugment(0.0)(images), images, atol=1e-5, rtol=0)


def test_the_gradient_passes_the_augmentation():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    AdaptiveAugment(0.8)(images).square().sum().backward()
    assert images.grad is not None
    assert (images.grad.flatten(1).abs().sum(1) > 0).all()


@pytest.mark.parametrize("p", [0.3, 0.8])
def test_each_kind_of_augmentation_has_the_probability(p):
    torch.manual_seed(0)
    images = torch.rand(1, 3, 16, 16).expand(2000, -1, -1, -1) * 2 - 1
    made = AdaptiveAugment(p)(images)
    share = (made == images).flatten(1).all(1).double().mean().item()
    wanted = (1 - p) ** 4  # Geometry, brightness, contrast, saturation.
    assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / 2000) ** 0.5)


def test_colours_move_along_their_distance_from_grey_and_geometry_by_a_fraction():
    torch.manual_seed(0)
    colour = torch.tensor([0.5, -0.2, 0.3])
    flat = colour[:, None, None].expand(500, 3, 16, 16)
    made = AdaptiveAugment(0.8)(flat)  # Reflected at its borders, a flat image stays flat.
    torch.testing.assert_close(made, made[:, :, :1, :1].expand_as(made), atol=1e-5, rtol=0)
    apart, own = made[:, :, 0, 0] - made[:, :, 0, 0].mean(1, keepdim=True), colour - colour.mean()
    factor = apart @ own / own.square().sum()
    torch.testing.assert_close(apart, factor[:, None] * own, atol=1e-5, rtol=0)
    assert 0.25 <= factor.min() < 0.6
    assert 2 < factor.max() <= 1.8**2
    ramp = torch.linspace(-1, 1, 33)[None, None, None].expand(500, 3, 33, 33)
    middle = AdaptiveAugment(0.8)._geometry(ramp)[:, 0, 16, 16]
    turned = math.cos(math.pi / 6) + math.sin(math.pi / 6)
    assert 0.25 < middle.abs().max() <= 2 * 0.17 * turned / 0.79, "shifted by 17% of a side, turned by 30 degrees"
    assert 0.1 < middle.std() < 0.3


@pytest.mark.parametrize(("score", "direction"), [(3.0, 1), (-3.0, -1)])
def test_the_probability_follows_the_scores(score, direction):
    augment = AdaptiveAugment(0.3, speed=1000)
    augment.adapt(torch.full((10,), score))
    assert augment.p == pytest.approx(0.3 + direction * 0.01)


def test_every_tenth_photo_tests_the_classifier(tmp_path):
    paths = [tmp_path / str(digit) / f"{i:03}.jpg" for digit in range(2) for i in range(40)]
    training, test = split_test(paths)
    assert len(test) == 8
    assert not set(training) & set(test)
    assert set(training) | set(test) == set(paths)


@pytest.mark.slow
def test_the_classifier_learns_what_can_be_learned():
    rng = torch.Generator().manual_seed(0)
    digits = torch.arange(320) % 10
    base = torch.randint(40, 216, (10, 3, 4, 4), generator=rng)  # Ten patterns of large squares, under noise.
    base = base.repeat_interleave(16, 2).repeat_interleave(16, 3)
    noise = torch.randint(-20, 20, (320, 3, 64, 64), generator=rng)
    pictures = (base[digits] + noise).clamp(0, 255).to(torch.uint8)
    backbone = train_classifier(pictures, digits, epochs=6, batch=32)
    logits = backbone(pictures.float() / 127.5 - 1).logits
    assert (logits.argmax(1) == digits).float().mean() > 0.5


def test_the_copy_nearest_to_the_photos_is_kept_and_ends_the_training(tmp_path):
    distances, seen = iter([3.0, 1.0, 2.0]), []

    def distance(generator):
        seen.append(generator.const.clone())
        return next(distances)

    numbers = replace(NUMBERS, save_seconds=-1.0)  # Saves after every step.
    labels = torch.zeros(8, dtype=torch.int64)
    GanTrainer(build_generator(TINY), photos(), labels, tmp_path, numbers, distance).train(100, near=1.5)
    state = load_state(tmp_path / STATE)
    assert (state["seen"], state["best"]["seen"], state["best"]["distance"]) == (8, 8, 1.0)
    assert torch.equal(state["best"]["average"]["const"], seen[1])


def test_a_sitting_ends_when_its_time_is_up(tmp_path):
    trainer = GanTrainer(build_generator(TINY), photos(), torch.zeros(8, dtype=torch.int64), tmp_path, NUMBERS)
    trainer.train(1 << 40, seconds=0.0)
    assert load_state(tmp_path / STATE)["seen"] <= 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
def test_a_gan_trains_on_its_generators_device(tmp_path):
    generator = build_generator(stylegan2_spec((16, 16), {4: 8, 8: 8, 16: 8}, z_dim=8, w_dim=8, classes=3)).to("cuda")
    trainer = GanTrainer(generator, photos(), torch.arange(8) % 3, tmp_path, NUMBERS)
    trainer.train(8)
    assert trainer.generator.const.device.type == trainer.discriminator.score.weight.device.type == "cuda"
    assert load_state(tmp_path / STATE)["seen"] == 8
