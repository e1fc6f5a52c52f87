"""Noise that is optimised: the regularisation by hand, and that it rebuilds more and stays noise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ganenc.inversion import invert, noise_correlation, standardise_noise_
from ganenc.latents import Latents
from ganenc_registry.errors import SpecError
from toys import ToyGenerator, make_objective

OBJECTIVE = make_objective({"mse": 1.0})


def test_the_correlation_by_hand() -> None:
    """Stripes of 1 and -1 over 8 columns: next to one another -1, above one another 1; squared and summed, 2."""
    stripes = torch.tensor([1.0, -1.0]).repeat(8, 4)[None, None]
    assert noise_correlation([stripes]).tolist() == [2.0]
    assert noise_correlation([stripes, stripes.mT]).tolist() == [4.0]


def test_the_correlation_looks_at_every_size() -> None:
    """Blocks of two by two pixels, of white noise w: halved, they are w times 2; and of 16 pixels in the first map each
    product of neighbours is w squared for one half, and of two independent values for the other."""
    w = torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blocks = w.repeat_interleave(2, 2).repeat_interleave(2, 3)
    wanted = torch.zeros(1, dtype=torch.float64)
    for axis in (2, 3):
        next_to = (w * w.roll(1, axis)).mean()
        wanted += ((w.square().mean() + next_to) / 2).square() + (4 * next_to).square()
    torch.testing.assert_close(noise_correlation([blocks]), wanted, rtol=1e-12, atol=0)


def test_white_noise_has_little_and_its_gradient_whitens() -> None:
    rng = torch.Generator().manual_seed(0)
    white = torch.randn(2, 1, 64, 64, generator=rng)
    # Each mean of n products has a variance of 1 / n, over two axes, n from 4,096 down to 64: 0.04 is expected.
    assert noise_correlation([white]).max() < 10 * sum(2 / n for n in (4096, 1024, 256, 64))
    smooth = torch.nn.functional.avg_pool2d(white, 5, stride=1, padding=2).requires_grad_()
    before = noise_correlation([smooth])
    before.sum().backward()
    assert smooth.grad is not None
    assert bool((noise_correlation([smooth - 0.1 * smooth.grad / smooth.grad.norm() * smooth.norm()]) < before).all())


def test_standardised_maps_have_no_mean_and_a_deviation_of_one() -> None:
    maps = [torch.randn(2, 1, 4, 6) * 3 + 2, torch.randn(2, 3, 8, 8)]
    standardise_noise_(maps)
    for one in maps:
        assert one.mean((2, 3)).abs().max() < 1e-6
        torch.testing.assert_close(one.square().mean((2, 3)), torch.ones(one.shape[:2]), rtol=1e-5, atol=0)


def test_freed_noise_rebuilds_more_stays_noise_and_is_saved(tmp_path: Path) -> None:
    generator = ToyGenerator()
    with torch.no_grad():
        target = generator.synthesize(generator.sample(1, seed=3), noise=7)
    errors = {}
    for free in ((), ("noise",)):
        held = {"noise_weight": 1e-3} if free else {}
        method = {"name": "optimize", "options": {"steps": 60, "free": free, **held}}
        found = invert(target, generator, method=method, objective=OBJECTIVE)
        errors[free] = float((found.reconstructions - target).square().mean())
        assert (found.latents.noise() is not None) == bool(free)
    maps = found.latents.noise()
    assert maps is not None
    assert errors[("noise",)] < 0.5 * errors[()]
    assert noise_correlation(maps).max() < 1e-2
    for one in maps:
        assert one.mean((2, 3)).abs().max() < 1e-5
        torch.testing.assert_close(one.square().mean((2, 3)), torch.ones(one.shape[:2]), rtol=1e-4, atol=0)
    found.latents.save(tmp_path / "latents.safetensors")
    again = generator.synthesize(Latents.load(tmp_path / "latents.safetensors"))
    assert torch.equal(again, generator.synthesize(found.latents))


def test_a_weight_without_freed_noise_is_refused() -> None:
    generator = ToyGenerator()
    method = {"name": "optimize", "options": {"steps": 1, "noise_weight": 3.0}}
    with pytest.raises(SpecError, match="noise_weight is for freed noise"):
        invert(torch.zeros(1, 3, 16, 16), generator, method=method, objective=OBJECTIVE)
