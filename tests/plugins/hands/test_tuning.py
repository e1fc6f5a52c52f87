"""Pivotal tuning of the shipped generators: nearer than its pivot, and the same pixels again."""

from __future__ import annotations

import ganenc
import pytest
import torch
from ganenc.measures import psnr
from ganenc.models import model_hash
from ganenc_plugin_hands.figures import kept_out
from ganenc_plugin_hands.models import MODELS

MSE = {"losses": {"mse": 1.0}, "attention": "none"}


@pytest.mark.parametrize("name", MODELS)
def test_few_steps_beat_the_pivot_in_every_family(name):
    generator, encoder = ganenc.load_generator(name), ganenc.load_encoder(name)
    photos, labels = kept_out()
    photos, labels = photos[:1], labels[:1] if generator.spec.classes else None
    known = model_hash(generator)
    pivot, done = (
        ganenc.invert(photos, generator, encoder, method, labels=labels, objective=MSE)
        for method in ("encode", {"name": "tune", "options": {"steps": 5, "half": name == MODELS[0]}})
    )
    assert model_hash(generator) == known
    (before,), (after,) = (psnr(photos, one.reconstructions) for one in (pivot, done))
    assert after > before + 0.3
    with torch.no_grad(), generator.tuned(done.tuning[0]):
        assert torch.equal(generator.synthesize(done.latents), done.reconstructions)
