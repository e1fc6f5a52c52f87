"""The shipped models: that they load, are small, and reach the figures that their README states."""

from __future__ import annotations

import ganenc
import pytest
import torch
from ganenc import images, metrics
from ganenc.models import model_folder, read_config
from ganenc_plugin_hands.classifier import accuracy
from ganenc_plugin_hands.models import HANDS_CLASSIFIER, PHOTOS, STYLEGAN2_HANDS64, ZOO
from ganenc_plugin_hands.photos import read_photos, split_kept_out
from ganenc_plugin_hands.train_classifier import split_test

MODEL = "stylegan2-hands64"
LARGEST = 12 * 2**20


@pytest.fixture(scope="module")
def generator():
    return ganenc.load_generator(MODEL)


@pytest.fixture(scope="module")
def kept():
    return torch.stack([images.read(path, size=(64, 64)) for path in images.find(PHOTOS)])


def mean(values):
    return sum(values) / len(values)


def test_every_model_is_at_most_12_megabytes():
    files = list(ZOO.glob("**/*.safetensors"))
    assert len(files) == 4
    assert [path for path in files if path.stat().st_size > LARGEST] == []


def test_the_registry_knows_the_model_and_its_folder():
    assert model_folder(MODEL) == STYLEGAN2_HANDS64
    config = read_config(STYLEGAN2_HANDS64)
    assert config["spec"]["size"] == [64, 64]
    assert config["info"]["backbone"] == "hands"
    assert (STYLEGAN2_HANDS64 / config["info"]["photos"]).resolve() == PHOTOS


def test_the_shipped_photos_are_those_kept_out_of_training(shared):
    training, kept_out = split_kept_out(shared / "data" / "hands")
    shipped = {path.read_bytes() for path in images.find(PHOTOS)}
    assert len(shipped) == 12
    assert shipped == {path.read_bytes() for path in kept_out}
    assert not shipped & {path.read_bytes() for path in training}


def test_samples_are_hands_and_differ(generator):
    with torch.no_grad():
        made = generator.synthesize(generator.sample(40, seed=3)).clamp(-1, 1)
    assert made.flatten(1).std(0).mean() > 0.1
    logits = ganenc.load_backbone("hands")(made).logits
    sure = logits.softmax(1).max(1).values
    assert sure.mean() > 0.6
    assert len(logits.argmax(1).unique()) >= 4


def test_the_mean_style_is_that_of_many_draws(generator):
    stored = generator.w_avg
    drawn = generator.map(generator.draw(4000, seed=99))["w"][:, 0]
    error = drawn.std(0) / 4000**0.5
    assert ((drawn.mean(0) - stored).abs() < 5 * error).all()


def test_one_pass_rebuilds_generated_images(generator):
    encoder = ganenc.load_encoder(STYLEGAN2_HANDS64 / "encoder-pretrained")
    with torch.no_grad():
        made = generator.synthesize(generator.sample(200, seed=2_000_003)).clamp(-1, 1)
        again = torch.cat([generator.synthesize(encoder(some)) for some in made.split(20)])
    assert mean(metrics.psnr(made, again)) >= 26
    assert mean(metrics.ssim(made, again)) >= 0.80


def test_one_pass_on_photos_beats_the_mean_image(generator, kept):
    encoder = ganenc.load_encoder(MODEL)
    with torch.no_grad():
        average = generator.synthesize(generator.center()).expand_as(kept)
    found = ganenc.invert(kept, generator, encoder, method="encode")
    assert mean(metrics.psnr(kept, found.reconstructions)) >= mean(metrics.psnr(kept, average)) + 4


@pytest.mark.slow
def test_the_default_method_rebuilds_every_photo_kept_out(generator, kept):
    found = ganenc.invert(kept, generator, ganenc.load_encoder(MODEL), backbone="hands")
    assert mean(metrics.psnr(kept, found.reconstructions)) >= 28
    assert mean(metrics.ssim(kept, found.reconstructions)) >= 0.85


@pytest.mark.slow
def test_fine_tuning_alone_gets_there_in_500_steps(generator, kept):
    encoder = ganenc.load_encoder(MODEL)
    found = ganenc.invert(kept, generator, encoder, method="finetune", steps=500, refine=0, backbone="hands")
    assert mean(metrics.psnr(kept, found.reconstructions)) >= 28
    assert mean(metrics.ssim(kept, found.reconstructions)) >= 0.85


def test_the_classifier_knows_photos_it_was_not_trained_on(shared):
    training, kept_out = split_kept_out(shared / "data" / "hands")
    test = split_test(training)[1] + kept_out
    assert len(test) >= 180
    assert accuracy(ganenc.load_backbone("hands"), *read_photos(test)) >= 0.93
    assert (HANDS_CLASSIFIER / "figures.json").is_file()
