"""The optimiser: its fused form against torch's plain one, and that it goes on from a state read from disk."""

from __future__ import annotations

import pytest
import torch
from ganenc.files import load_state, save_state
from ganenc.objectives import make_adam, restore_adam

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
