"""Losses against formulas in float64 and the published packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.images import read
from ganenc.objectives import COS, LPIPS, MSE, SSIM, Backbone, BackboneOutput, Loss, Squeeze, context_for, pool
from ganenc_registry.components import Context
from torch import Tensor, nn


def pair(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A batch of smooth images from -1 to 1, and the same with noise."""
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(*shape[:2], 5, 5, generator=generator) * 2 - 1
    target = nn.functional.interpolate(small, size=shape[2:], mode="bicubic", align_corners=True).clamp(-1, 1)
    noise = torch.randn(target.shape, generator=generator) * 0.2
    return target, (target + noise).clamp(-1, 1)


def value(loss: Loss, target: Tensor, view: Tensor) -> Tensor:
    return loss(view, loss.prepare(target))


def skimage_ssim(a: Tensor, b: Tensor) -> float:
    """SSIM with the settings of Wang et al. (2004), on the scale from 0 to 1."""
    from skimage.metrics import structural_similarity

    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    one, other = ((x.double().numpy() + 1) / 2 for x in (a, b))
    return float(structural_similarity(one, other, data_range=1.0, channel_axis=0, **window))


def test_mse_is_the_mean_square_of_each_sample() -> None:
    target, view = pair(3, 3, 12, 17)
    wanted = ((view.double().numpy() - target.double().numpy()) ** 2).reshape(3, -1).mean(1)
    assert np.allclose(value(MSE(), target, view).numpy(), wanted, rtol=1e-6)


def test_cos_is_one_minus_the_cosine_of_each_sample() -> None:
    target, view = pair(3, 3, 12, 17)
    a, b = (x.double().numpy().reshape(3, -1) for x in (view, target))
    wanted = 1 - (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert np.allclose(value(COS(), target, view).numpy(), wanted, rtol=1e-5, atol=1e-6)
    assert value(COS(), target, -target).numpy() == pytest.approx([2, 2, 2], abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 1, 33, 48)])
def test_ssim_is_that_of_scikit_image(shape: tuple[int, ...]) -> None:
    target, view = pair(*shape)
    wanted = [1 - skimage_ssim(a, b) for a, b in zip(view, target, strict=True)]
    assert min(wanted) > 0.1
    assert value(SSIM(), target, view).numpy() == pytest.approx(wanted, abs=2e-6)


def test_ssim_is_that_of_kornia() -> None:
    from kornia.metrics import ssim

    target, view = pair(2, 3, 40, 40)
    wanted = 1 - ssim((view + 1) / 2, (target + 1) / 2, window_size=11, max_val=1.0, padding="valid").mean((1, 2, 3))
    assert torch.allclose(value(SSIM(), target, view), wanted, atol=1e-5)  # 4e-7 was measured.


def test_ssim_of_images_smaller_than_the_window() -> None:
    target, view = pair(1, 3, 8, 20)
    taps = np.exp(-(np.arange(-3, 4) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2
    x, y = ((image[0].double().numpy() + 1) / 2 for image in (view, target))
    found = []
    for channel, top, left in np.ndindex(3, 2, 14):
        a, b = (image[channel, top : top + 7, left : left + 7] for image in (x, y))
        mean_a, mean_b = (window * a).sum(), (window * b).sum()
        variance_a, variance_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
        covariance = (window * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        found.append(luminance * (2 * covariance + 9e-4) / (variance_a + variance_b + 9e-4))
    assert value(SSIM(), target, view).item() == pytest.approx(1 - np.mean(found), abs=2e-6)


def test_large_images_are_pooled_to_256_pixels() -> None:
    image = torch.rand(1, 3, 1024, 512)
    means = image.reshape(1, 3, 256, 4, 128, 4).mean((3, 5))
    assert torch.allclose(pool(image), means, atol=1e-6)
    assert pool(torch.rand(1, 3, 300, 200)).shape == (1, 3, 256, 171)
    assert pool(torch.rand(1, 3, 256, 256)).shape == (1, 3, 256, 256)
    target, view = pair(1, 3, 512, 512)
    wanted = value(SSIM(), *(x.reshape(1, 3, 256, 2, 256, 2).mean((3, 5)) for x in (target, view)))
    assert torch.allclose(value(SSIM(), target, view), wanted, atol=1e-6)


@pytest.mark.parametrize("loss", [MSE, COS, SSIM])
def test_the_value_range_changes_nothing(loss: type[Loss]) -> None:
    target, view = pair(2, 3, 32, 32)
    wanted = value(loss(), target, view)
    for low, high in ((0.0, 1.0), (0.0, 255.0)):
        moved = [(x + 1) / 2 * (high - low) + low for x in (target, view)]
        assert torch.allclose(value(loss(context=Context(value_range=(low, high))), *moved), wanted, atol=1e-5)


@pytest.mark.parametrize("loss", [MSE(), COS(), SSIM()])
def test_derivatives_in_float64(loss: Loss) -> None:
    target, view = (x.double() for x in pair(2, 1, 12, 13))
    reference = loss.prepare(target)
    assert torch.autograd.gradcheck(lambda x: loss(x, reference), view.requires_grad_())


@pytest.mark.parametrize("loss", [MSE(), COS(), SSIM()])
def test_equal_images_are_at_distance_zero(loss: Loss) -> None:
    target, _ = pair(2, 3, 32, 32)
    assert value(loss, target, target).abs().max() < 1e-5


def test_losses_stay_exact_under_autocast() -> None:
    target, view = pair(2, 3, 32, 32)
    for loss in (MSE(), COS(), SSIM()):
        wanted = value(loss, target, view)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = value(loss, target, view)
        assert found.dtype == torch.float32
        assert torch.allclose(found, wanted, atol=1e-6)


class TestLpipsOfTheLibrary:
    """With SqueezeNet's published weights, on photos."""

    @pytest.fixture
    def photos(self, shared: Path, torch_home: Path) -> tuple[Tensor, Tensor]:
        batch = torch.stack([read(path) for path in sorted((shared / "data" / "photos").glob("*.jpg"))[:3]])
        return batch, (batch.roll(3, -1) + 0.1 * torch.randn(batch.shape, generator=torch.Generator().manual_seed(1)))

    @pytest.fixture
    def published(self, torch_home: Path) -> Any:
        import lpips

        return lpips.LPIPS(net="squeeze", verbose=False)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize("size", [64, 97, 256])
    def test_values_and_gradients(self, photos: tuple[Tensor, Tensor], published: Any, size: int) -> None:
        # In float64: a rounding that turns a maximum or a ReLU over moves a gradient by more than rounding.
        target, view = (x[: 1 if size == 256 else 3, :, :size, :size].double() for x in photos)
        loss, published = LPIPS.of(context_for(Squeeze())).double(), published.double()
        one, other = view.clone().requires_grad_(), view.clone().requires_grad_()
        wanted = published(one, target).flatten()
        found = value(loss, target, other)
        assert wanted.min() > 0.05
        assert torch.allclose(found, wanted, atol=1e-7)
        wanted.sum().backward()
        found.sum().backward()
        assert torch.allclose(other.grad, one.grad, atol=1e-6 * one.grad.abs().max().item())

    @pytest.mark.filterwarnings("ignore")
    def test_small_images_are_enlarged_and_large_ones_pooled(
        self, photos: tuple[Tensor, Tensor], published: Any
    ) -> None:
        loss = LPIPS.of(context_for(Squeeze()))
        small = [x[:1, :, :32, :40] for x in photos]
        enlarged = [nn.functional.interpolate(x, size=(64, 80), mode="bilinear") for x in small]
        assert torch.allclose(value(loss, *small), published(*enlarged).flatten(), atol=1e-5)
        large = [x[:1].repeat_interleave(2, -1).repeat_interleave(2, -2) for x in photos]
        assert torch.allclose(value(loss, *large), published(*(x[:1] for x in photos)).flatten(), atol=1e-5)

    @pytest.mark.filterwarnings("ignore")
    def test_grey_images_and_other_ranges(self, photos: tuple[Tensor, Tensor], published: Any) -> None:
        grey = [x[:2, :1, :64, :64] for x in photos]
        wanted = published(*(x.expand(-1, 3, -1, -1) for x in grey)).flatten()
        assert torch.allclose(value(LPIPS.of(context_for(Squeeze())), *grey), wanted, atol=1e-5)
        moved = [x * 0.5 + 0.5 for x in grey]
        assert torch.allclose(
            value(LPIPS.of(Context(value_range=(0, 1), load_backbone=Squeeze)), *moved), wanted, atol=1e-5
        )


def test_lpips_without_linear_weights_is_the_mean_over_layers(tiny_backbone: Any) -> None:
    target, view = pair(2, 3, 16, 16)
    layers = []
    for a, b in zip(tiny_backbone(view).features, tiny_backbone(target).features, strict=True):
        raw = [x.detach().double().numpy() for x in (a, b)]
        u, v = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-10) for x in raw)
        layers.append(((u - v) ** 2).sum(1).mean((1, 2)))
    loss = LPIPS.of(context_for(tiny_backbone))
    assert value(loss, target, view).detach().numpy() == pytest.approx(np.mean(layers, 0), abs=1e-6)


def test_lpips_derivative_in_float64(tiny_backbone: Any) -> None:
    tiny_backbone.double()
    target, view = (x.double() for x in pair(2, 1, 8, 8))
    loss = LPIPS.of(context_for(tiny_backbone))
    loss.double()
    reference = loss.prepare(target)
    assert torch.autograd.gradcheck(lambda x: loss(x, reference), view.requires_grad_(), atol=1e-6)


def test_lpips_gradient_is_finite_where_features_are_zero() -> None:
    class Through(Backbone):
        name = "through"
        smallest = 1

        def forward(self, images: Tensor) -> BackboneOutput:
            return BackboneOutput([images])

    view = torch.zeros(1, 3, 4, 4, requires_grad=True)
    value(LPIPS.of(context_for(Through())), torch.rand(1, 3, 4, 4), view).sum().backward()
    assert view.grad is not None
    assert torch.isfinite(view.grad).all()


def test_the_backbone_stays_frozen_and_in_eval_mode(tiny_backbone: Any) -> None:
    target, view = pair(1, 3, 16, 16)
    loss = LPIPS.of(context_for(tiny_backbone))
    loss.train()
    assert not any(module.training for module in tiny_backbone.modules())
    value(loss, target, view.requires_grad_()).sum().backward()
    assert view.grad is not None
    assert view.grad.abs().max() > 0
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny_backbone.parameters())


def test_references_hold_no_graph(tiny_backbone: Any) -> None:
    target, _ = pair(1, 3, 16, 16)
    target.requires_grad_()
    for loss in (MSE(), COS(), SSIM(), LPIPS.of(context_for(tiny_backbone))):
        reference = loss.prepare(target)
        tensors = [reference] if isinstance(reference, Tensor) else list(reference)
        assert not any(tensor.requires_grad for tensor in tensors)
