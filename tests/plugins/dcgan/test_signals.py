"""Rows of layers of one dimension in torch's files, settled by a YAML beside them."""

from __future__ import annotations

from pathlib import Path

import ganenc
import torch
from torch import nn

SETTINGS = """
family: dcgan
z: 10
layers:
- {kind: reshape, shape: [1, 1, 10]}
- {kind: upsample, size: [1, 14]}
- {kind: convolution, weights: conv1.1, outputs: 6, kernel: [1, 5], dilation: [1, 2], bias: false}
- {kind: norm, weights: conv1.2}
- {kind: activation, name: leaky_relu}
- {kind: upsample, size: [1, 23]}
- {kind: convolution, weights: conv2.1, outputs: 2, kernel: [1, 5]}
- {kind: activation, name: tanh}
"""


def test_a_signal_is_that_of_torch(tmp_path: Path) -> None:
    """In gengli's layout: enlarged to odd sizes, dilated, never padded."""
    torch.manual_seed(0)
    network = nn.ModuleDict({
        "conv1": nn.Sequential(nn.Upsample(14), nn.Conv1d(1, 6, 5, dilation=2, bias=False), nn.BatchNorm1d(6)),
        "conv2": nn.Sequential(nn.Upsample(23), nn.Conv1d(6, 2, 5)),
    })  # fmt: skip
    network["conv1"][2].running_mean.normal_()
    network.eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    (tmp_path / "a.yaml").write_text(SETTINGS)
    generator = ganenc.load_generator(tmp_path / "a.pth")
    assert (generator.spec.channels, generator.spec.size, generator.spec.shows) == (2, (1, 19), "signals")
    latents = generator.sample(3, seed=0)
    hidden = nn.functional.leaky_relu(network["conv1"](latents["z"][:, None]), 0.2)
    torch.testing.assert_close(generator.synthesize(latents)[:, :, 0], network["conv2"](hidden).tanh())
