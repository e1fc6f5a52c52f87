"""The directions that lie with a model of the zoo move photos that no training has seen."""

from __future__ import annotations

import ganenc
import pytest
import torch
from ganenc.editing import load_direction, of_model, render
from ganenc.models import model_hash
from ganenc_plugin_hands.figures import kept_out

MODEL = "stylegan2-hands64"


@pytest.fixture(scope="module")
def generator():
    return ganenc.load_generator(MODEL)


@pytest.fixture(scope="module")
def encoded(generator):
    """Photos that show neither 0 nor 1, inverted in one pass."""
    photos, digits = kept_out()
    return ganenc.invert(photos[digits > 1], generator, ganenc.load_encoder(MODEL), method="encode").latents


def test_there_is_one_for_each_digit_and_it_knows_its_model(generator):
    assert list(of_model(MODEL)) == [f"class-{digit}" for digit in range(10)]
    for name in of_model(MODEL):
        direction = load_direction(name, MODEL, model=model_hash(generator))
        assert direction.name == name
        assert direction.space == "w+"
        assert direction.info["accuracy"] > 0.85


@pytest.mark.parametrize("digit", [0, 1])
def test_the_digit_rises_with_the_strength_on_photos(generator, encoded, digit):
    backbone = ganenc.load_backbone("hands")
    direction = load_direction(f"class-{digit}", MODEL)
    logits = []
    for strength in (-2.0, 0.0, 2.0):
        made = render(generator, direction.apply(encoded, strength)).clamp(-1, 1)
        with torch.inference_mode():
            logits.append(backbone(backbone.fit(made)).logits[:, digit])
    low, rest, high = logits
    assert low.mean() < rest.mean() < high.mean() - 0.5
    assert int((high > low).sum()) >= len(low) - 1
