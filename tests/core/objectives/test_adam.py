"""The optimiser: its fused form against torch's plain one, and that it goes on from a state read from disk."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from ganenc.files import load_state, save_state
from ganenc.objectives import make_adam, make_schedule, restore_adam

BETAS = (0.5, 0.9)


def layer(memory_format):
    torch.manual_seed(0)
    return torch.nn.Conv2d(4, 6, 3, bias=False).to(memory_format=memory_format)


def step(module, adam, i):
    gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(i))
    module.weight.grad = torch.empty_like(module.weight).copy_(gradient)
    adam.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_restored_optimiser_steps_like_torchs_plain_adam(tmp_path, memory_format):
    plain = layer(torch.contiguous_format)
    reference = torch.optim.Adam(plain.parameters(), lr=0.1, betas=BETAS)
    module = layer(memory_format)
    adam = make_adam(module.parameters(), 0.1, BETAS)
    for i in range(2):
        step(plain, reference, i)
        step(module, adam, i)
    save_state(tmp_path / "state.safetensors", adam.state_dict())
    again = make_adam(module.parameters(), 0.1, BETAS)
    restore_adam(again, load_state(tmp_path / "state.safetensors"))
    for i in range(2, 4):
        step(plain, reference, i)
        step(module, again, i)
    torch.testing.assert_close(module.weight, plain.weight, rtol=1e-5, atol=1e-6)


def rates(steps: int, **how: Any) -> list[float]:
    """The rate of every step, of a full rate of 1."""
    adam = make_adam([torch.zeros(1, requires_grad=True)], 1.0, BETAS)
    schedule, found = make_schedule(adam, steps, **how), []
    for _ in range(how.get("done", 0), steps):
        found.append(adam.param_groups[0]["lr"])
        adam.step()
        schedule.step()
    return found


def test_the_rate_rises_and_falls_along_a_cosine() -> None:
    found = rates(200, warmup=10)
    assert found[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert found[10] == 1.0
    assert found[105] == pytest.approx(0.5)
    assert found[199] == pytest.approx(math.sin(math.pi / 2 / 190) ** 2)
    assert rates(1, warmup=1.0) == [0.5]


def test_the_rate_stays_where_it_does_not_fall_and_is_a_share() -> None:
    assert rates(6, warmup=2, falls=False, factor=0.5) == pytest.approx([1 / 6, 1 / 3, 0.5, 0.5, 0.5, 0.5])


def test_the_rate_goes_on_where_a_state_was_restored() -> None:
    whole, weight = rates(9, warmup=3), torch.zeros(1, requires_grad=True)
    adam = make_adam([weight], 1.0, BETAS)
    make_schedule(adam, 9, warmup=3)
    other = make_adam([weight], 1.0, BETAS)
    restore_adam(other, adam.state_dict())
    make_schedule(other, 9, warmup=3, done=5)
    assert other.param_groups[0]["lr"] == whole[5]
