"""A step on a device that holds no numbers: whatever is made elsewhere, or looked at on the way, cannot go on there."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ganenc.encoders import Encoder
from ganenc.objectives import Batch, EncoderStep, build_objective
from ganenc.training import Synthesized
from ganenc_registry.specs import ObjectiveSpec
from torch import Tensor

META = torch.device("meta")
LOSSES = {"mse": 1.0, "cos": 1.0, "ssim": 1.0}


@pytest.mark.parametrize("attention", ["none", "center"])
@pytest.mark.parametrize("synthesized", [False, True])
def test_a_step_stays_on_its_device(
    synthesized: bool, attention: str, toy: Any, toy_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # Which this device has not got.
    generator, encoder = toy.to(META), toy_encoder.to(META)
    objective = build_objective(ObjectiveSpec(losses=LOSSES, attention=attention), generator).to(META)
    batch = Batch(torch.empty(2, 3, 8, 8, device=META))
    if synthesized:
        batch = Synthesized(generator, 2).batch(0)
    assert batch.images.device == META
    encoder.train()
    result = EncoderStep(generator, encoder, objective)(batch).result
    result.total.backward()
    assert {term.device for term in result.terms.values()} == {META}
    assert {weight.grad.device for weight in encoder.parameters() if weight.grad is not None} == {META}


def test_such_a_device_finds_what_is_made_elsewhere_or_looked_at() -> None:
    here, there = torch.ones(3), torch.ones(3, device=META)
    with pytest.raises(RuntimeError):
        here * there
    for look in (Tensor.item, Tensor.cpu, Tensor.tolist, bool):
        with pytest.raises((RuntimeError, NotImplementedError)):
            look(there[:1])
