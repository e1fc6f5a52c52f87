"""What edits of a photo are to give while weights are tuned: against the formula, and that tuned weights keep to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ganenc.inversion import Moves, Task, carried
from rounding import tolerance
from scipy.ndimage import uniform_filter
from toys import make_objective, small_encoder

MSE = make_objective({"mse": 1.0})


def test_what_is_carried_is_what_the_formula_says() -> None:
    """Against SciPy's mean filter, which has the same borders, in float64."""
    photo, before, after = torch.rand(3, 1, 2, 128, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    after = before + 0.3 * (after - before)
    found = carried(photo, before, after, width=2.0)
    change = uniform_filter((after - before).abs().mean(1)[0].numpy(), (5, 3), mode="nearest")
    wanted = after.numpy() + (photo - before).numpy() * np.exp(-((change / 0.1) ** 2))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-10)


def test_a_photo_stays_where_nothing_moves_and_goes_where_all_does() -> None:
    photo, before = torch.full((1, 3, 8, 8), 0.9), torch.zeros(1, 3, 8, 8)
    assert torch.equal(carried(photo, before, before, width=2.0), photo)
    assert torch.equal(carried(photo, before, before - 1, width=2.0), before - 1)


@pytest.mark.parametrize("encoded", [False, True])
def test_moves_are_as_two_draws_differ(toy: Any, encoded: bool) -> None:
    """Half of the difference at most, of draws that follow one another, or of what an encoder sees of them."""
    encoder = small_encoder(toy) if encoded else None
    pivots = toy.complete(toy.sample(2, seed=5))
    moves = Moves(Task(toy.synthesize(pivots).detach(), toy, encoder, objective=MSE, seed=3), pivots)
    drawn = toy.complete(toy.sample(7, seed=3))
    if encoder is not None:
        drawn = toy.complete(encoder(toy.synthesize(drawn)).detach())
    name = "const" if encoded else "w"
    shares = []
    for step in range(6):
        way = drawn[name][step + 1] - drawn[name][step]
        gone = (moves(step)[0][name] - pivots[step % 2][name])[0]
        shares.append(float((way * gone).sum() / way.square().sum()))
        assert (gone - shares[-1] * way).abs().max() < tolerance(way.dtype) * pivots[name].abs().max()
    assert max(map(abs, shares)) < 0.51
    assert len({round(one, 3) for one in shares}) == 6
    assert moves(64)[0] is moves(0)[0]
