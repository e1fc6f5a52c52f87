"""The layers of BigGAN-deep against formulas in double precision and torch's own operators."""

from __future__ import annotations

import pytest
import torch
from ganenc_plugin_biggan.layers import BatchNorm, GenBlock, SelfAttention, rows_at
from ganenc_plugin_biggan.specs import BigGANOptions
from torch.nn import functional as F


def at(truncation: float, n_stats: int, n: int = 1):  # type: ignore[no-untyped-def]
    return rows_at(torch.full((n,), truncation), n_stats)


def norm(condition: int = 4, n_stats: int = 11, eps: float = 1e-4) -> BatchNorm:
    torch.manual_seed(0)
    layer = BatchNorm(3, condition, n_stats=n_stats, eps=eps)
    layer.running_means.normal_()
    layer.running_vars.uniform_(0.5, 2.0)
    return layer


@pytest.mark.parametrize(
    ("truncation", "low", "share"),
    [
        (0.0, 0, 1.0),
        (0.4, 4, 1.0),
        (0.53, 5, 0.3),
        (0.58, 5, 0.8),
        (1.0, 10, 1.0),
        (1.5, 10, 1.0),
        (0.3, 2, 1.0),  # 0.3 / 0.1 is just below 3 in double precision, so all of row 2, as in the published code
    ],
)
def test_the_lower_row_weighs_what_lies_above_it(truncation: float, low: int, share: float) -> None:
    rows = at(truncation, 11)
    assert rows.low.tolist() == [low]
    assert rows.high.tolist() == [min(low + 1, 10)]
    assert rows.share.item() == pytest.approx(share, abs=1e-6)


def test_one_row_serves_any_truncation() -> None:
    statistics = torch.randn(1, 3)
    assert torch.equal(at(0.4, 1, 2).pick(statistics), statistics.expand(2, -1))


def test_conditional_norm_is_the_formula() -> None:
    layer = norm().eval()
    x, condition = torch.randn(2, 3, 4, 5), torch.randn(2, 4)
    found = layer(x, condition, rows_at(torch.tensor([0.4, 0.53]), 11))
    means, variances = layer.running_means.double(), layer.running_vars.double()
    mean = torch.stack([means[4], 0.3 * means[5] + 0.7 * means[6]])
    var = torch.stack([variances[4], 0.3 * variances[5] + 0.7 * variances[6]])
    gain = 1 + condition.double() @ layer.gain.weight.double().t()
    shift = condition.double() @ layer.shift.weight.double().t()

    def wide(vector: torch.Tensor) -> torch.Tensor:
        return vector[:, :, None, None]

    expected = (x.double() - wide(mean)) / (wide(var) + 1e-4).sqrt() * wide(gain) + wide(shift)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)


def test_plain_norm_is_torchs() -> None:
    layer = norm(condition=0, eps=0.01).eval()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 4)
    found = layer(x, torch.empty(2, 0), at(0.7, 11, 2))
    row = 6  # Where 0.7 falls in double precision.
    expected = F.batch_norm(x, layer.running_means[row], layer.running_vars[row], layer.weight, layer.bias, eps=0.01)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_training_normalises_by_the_batch_and_gathers_into_every_row() -> None:
    layer = norm(condition=0).train()
    torchs = torch.nn.BatchNorm2d(3, eps=1e-4)
    start_means, start_vars = layer.running_means.clone(), layer.running_vars.clone()
    x = torch.randn(4, 3, 5, 5) * 2 + 1
    torch.testing.assert_close(layer(x, torch.empty(4, 0), None), torchs(x))
    variance, mean = torch.var_mean(x, (0, 2, 3))
    torch.testing.assert_close(layer.running_means, 0.9 * start_means + 0.1 * mean)
    torch.testing.assert_close(layer.running_vars, 0.9 * start_vars + 0.1 * variance)


def test_attention_is_torchs_with_a_scale_of_1() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(16)
    layer.gamma.data.fill_(0.8)
    x = torch.randn(2, 16, 6, 4)
    query, key, value = (
        tensor.flatten(2).transpose(1, 2)
        for tensor in (layer.query(x), F.max_pool2d(layer.key(x), 2), F.max_pool2d(layer.value(x), 2))
    )
    found = F.scaled_dot_product_attention(query, key, value, scale=1.0).transpose(1, 2).reshape(2, 8, 6, 4)
    torch.testing.assert_close(layer(x), x + 0.8 * layer.out(found))


def test_attention_starts_as_nothing() -> None:
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(SelfAttention(8)(x), x)


def test_the_bypass_drops_channels_and_repeats_pixels() -> None:
    options = BigGANOptions(channel_width=4, blocks=((True, 2, 1),), n_stats=1)
    block = GenBlock(options, 0, 3).eval()
    torch.nn.init.zeros_(block.convs[3].weight)
    torch.nn.init.zeros_(block.convs[3].bias)
    x = torch.randn(2, 8, 3, 3)
    found = block(x, torch.randn(2, 3), at(1.0, 1, 2))
    assert torch.equal(found, x[:, :4].repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("row", [1, 13, 20, 35, 50])
def test_a_truncation_on_a_row_takes_that_row_in_any_precision(row, dtype):
    rows = rows_at(torch.tensor([row / 50], dtype=dtype), 51)
    published = (row / 50) / (1 / 50)  # In double precision this may fall just beside the whole number.
    low = min(int(published), 50)
    assert rows.low.tolist() == [low]
    assert rows.share.item() == pytest.approx(published - low or 1.0)
