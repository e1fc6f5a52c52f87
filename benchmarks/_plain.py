"""The paper's published loop, plainly: public operators, contiguous tensors, nothing kept and nothing left out.

Three separate image losses, each of which looks at target and reconstruction anew, by a pass of LPIPS of its own; the
generator's weights left trainable; a backward pass for the images and a step of Adam, then the reconstruction encoded
again, a second backward pass for the latents and a second step. The encoder is the published one of training strategy
2, whose blocks blur, halve by strided convolutions, and add noise. StyleGAN2 modulates its weights and convolves in
groups, one for each sample; its filters go through a zero-stuffed image, one channel at a time as an image of its own,
as the published code's generator has it. Processors take long over that; ``grouped`` convolves all channels at once,
which is as plain.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lpips
import torch
from _device import Place
from ganenc.encoders import Encoder
from ganenc.objectives import ImageNetBackbone
from ganenc_plugin_stylegan.stylegan2 import StyleGAN2
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["PlainLoop", "encode", "synthesize"]

WEIGHTS = {"mse": 5.0, "cos": 3.0, "lpips": 2.0, "ssim": 1.0}
"""Of Equation 3."""
VIEWS = ((1.0, 0.0, 0.0), (0.375, 0.0, 0.125), (0.625, 0.15625, 0.15625))
"""Each view's weight, and what it cuts off above and below, left and right (Figure 5)."""
EPSILON = 0.01
"""Of Equation 6."""


def linear(layer: nn.Module, x: Tensor, gain: float) -> Tensor:
    """A fully connected layer of equalised rate."""
    return F.linear(x, layer.weight * gain, layer.bias)


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """A convolution of equalised rate; with a stride, its kernel is averaged over four places."""
    weight = layer.weight * layer.scale
    if not layer.stride:
        return F.conv2d(x, weight, layer.bias, padding=layer.weight.shape[-1] // 2)
    weight = F.pad(weight, (1, 1, 1, 1))
    weight = weight[:, :, 1:, 1:] + weight[:, :, :-1, 1:] + weight[:, :, 1:, :-1] + weight[:, :, :-1, :-1]
    return F.conv2d(x, weight * 0.25, layer.bias, stride=2, padding=1)


def blur(x: Tensor) -> Tensor:
    """[1, 2, 1] / 4 along both axes."""
    row = torch.tensor([0.25, 0.5, 0.25], device=x.device)
    return F.conv2d(x, torch.outer(row, row).repeat(x.shape[1], 1, 1, 1), padding=1, groups=x.shape[1])


def statistics(x: Tensor) -> Tensor:
    """Mean and deviation of each channel, side by side: (N, C, H, W) -> (N, 2C)."""
    mean = torch.mean(x, dim=[2, 3], keepdim=True)
    std = torch.sqrt(torch.mean((x - mean) ** 2, dim=[2, 3], keepdim=True) + 1e-8)
    return torch.cat((mean, std), dim=1).flatten(1)


def encode_block(block: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The adaptive block (Figure 4), in the manner of the published code."""
    residual = x if block.spec.downscale == "none" else F.avg_pool2d(x, 2, 2)
    styles = [linear(block.head_1, statistics(x), block.head_1.scale)]
    x = F.instance_norm(x, eps=1e-8)
    x = convolve(block.conv_1, x)
    x = F.leaky_relu(x + block.noise_1.strength * block.noise_1.noise, 0.2)
    if block.spec.convolutions == 2:
        styles.append(linear(block.head_2, statistics(x), block.head_2.scale))
        x = F.instance_norm(x, eps=1e-8)
        x = convolve(block.conv_2, blur(x))
        x = F.leaky_relu(x + block.noise_2.strength * block.noise_2.noise, 0.2)
    if block.spec.downscale == "average":
        x = F.avg_pool2d(x, 2, 2)
    if block.spec.convolutions == 1:
        styles.append(linear(block.head_2, statistics(x), block.head_2.scale))
        x = F.instance_norm(x, eps=1e-8)
    if block.spec.in_channels != block.spec.out_channels:
        residual = convolve(block.bypass, residual)
    share = block.spec.residual
    return share * x + (1 - share) * residual, styles


def encode(encoder: Encoder, images: Tensor) -> dict[str, Tensor]:
    """The latents of images, by the weights of ``encoder``."""
    x = F.leaky_relu(convolve(encoder.from_image, images), 0.2)
    styles: list[Tensor] = []
    for block in encoder.blocks:
        x, more = encode_block(block, x)
        styles += more
    return {part.name: head(x, x.flatten(1), styles) for part, head in zip(encoder.spec.parts, encoder.heads)}


def upfirdn(x: Tensor, kernel: Tensor, *, up: int, pad: tuple[int, int], grouped: bool = False) -> Tensor:
    """Zeros in between, padding, a filter: the reference implementation of StyleGAN2's resampling."""
    n, channels, height, width = x.shape
    groups = channels if grouped else 1
    x = x.reshape(-1, height, 1, width, 1)
    x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1])
    x = F.pad(x.reshape(-1, groups, height * up, width * up), [*pad, *pad])
    x = F.conv2d(x, torch.flip(kernel, [0, 1]).repeat(groups, 1, 1, 1), groups=groups)
    return x.view(n, channels, *x.shape[2:])


def modulate(layer: nn.Module, w: Tensor, *, demodulate: bool) -> Tensor:
    """Each sample's own weight: (N, out, in, k, k)."""
    style = linear(layer.affine, w, layer.affine.weight_gain)[:, None, :, None, None]
    weight = layer.gain * layer.weight[None] * style
    if demodulate:
        weight = weight * torch.rsqrt(weight.pow(2).sum([2, 3, 4], keepdim=True) + 1e-8)
    return weight


def convolve_samples(x: Tensor, weight: Tensor, *, up: bool = False) -> Tensor:
    """A convolution in groups, one for each sample with its own weight."""
    n, outputs, inputs, size, _ = weight.shape
    x = x.reshape(1, n * inputs, *x.shape[2:])
    if up:
        x = F.conv_transpose2d(x, weight.transpose(1, 2).reshape(n * inputs, outputs, size, size), stride=2, groups=n)
    else:
        x = F.conv2d(x, weight.reshape(n * outputs, inputs, size, size), padding=size // 2, groups=n)
    return x.view(n, outputs, *x.shape[2:])


def synthesize(generator: StyleGAN2, latents: dict[str, Tensor], *, grouped: bool = False) -> Tensor:
    """The images of latents ``w`` and ``const``, by the weights of ``generator``; filters as :func:`upfirdn` says."""
    kernel, w = generator.fir * 4, latents["w"]

    def styled(index: int, x: Tensor) -> Tensor:
        layer = generator.convs[index]
        x = convolve_samples(x, modulate(layer, w[:, index], demodulate=True), up=layer.up)
        if layer.up:
            x = upfirdn(x, kernel, up=1, pad=(1, 1), grouped=grouped)
        x = x + layer.noise_strength * layer.noise_const
        return F.leaky_relu(x + layer.bias.view(1, -1, 1, 1), 0.2) * math.sqrt(2)

    def to_rgb(level: int, x: Tensor) -> Tensor:
        layer = generator.to_rgb[level]
        return convolve_samples(x, modulate(layer, w[:, 2 * level + 1], demodulate=False)) + layer.bias.view(
            1, -1, 1, 1
        )

    x = styled(0, latents["const"])
    image = to_rgb(0, x)
    for level in range(1, len(generator.to_rgb)):
        x = styled(2 * level, styled(2 * level - 1, x))
        image = upfirdn(image, kernel, up=2, pad=(2, 1), grouped=grouped) + to_rgb(level, x)
    return image


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM of images from 0 to 1 by a window of 11x11 pixels (Wang et al., 2004)."""
    row = torch.exp(-((torch.arange(11, dtype=torch.float32, device=a.device) - 5) ** 2) / (2 * 1.5**2))
    row = row / row.sum()
    window = torch.outer(row, row).expand(a.shape[1], 1, 11, 11).contiguous()

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=x.shape[1])

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a.pow(2), blur(b * b) - mean_b.pow(2)
    covariance = blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a.pow(2) + mean_b.pow(2) + 0.01**2)
    return (luminance * (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)).mean()


def pixels(a: Tensor, b: Tensor) -> Tensor:
    """5 MSE + 3 (1 - cosine) of one image or latent."""
    cosine = F.cosine_similarity(a.flatten(), b.flatten(), dim=0)
    return WEIGHTS["mse"] * F.mse_loss(a, b) + WEIGHTS["cos"] * (1 - cosine)


def crop(images: Tensor, vertical: float, horizontal: float) -> Tensor:
    """A view (Figure 5), resized to the full size."""
    height, width = images.shape[2:]
    top, left = round(height * vertical), round(width * horizontal)
    if not top and not left:
        return images
    part = images[:, :, top : height - top, left : width - left]
    return F.interpolate(part, size=(height, width), mode="bilinear", align_corners=False)


class PlainLoop:
    """Fine-tuning on one photo, one step at a call.

    Args:
        generator: its weights stay trainable, as the published code leaves them.
        encoder: what is trained, with the published block.
        backbone: whose weights the lpips package's own network takes.
        place: where they all are.
    """

    def __init__(
        self, generator: StyleGAN2, encoder: Encoder, backbone: ImageNetBackbone, place: Place | None = None
    ) -> None:
        self.place = place or Place()
        self.generator, self.encoder = generator.requires_grad_(True), encoder
        self.lpips = lpips.LPIPS(net=backbone.name, pnet_rand=True, verbose=False).requires_grad_(False)
        state = backbone.features.state_dict()
        named = {name: state[name.partition(".")[2]] for name in self.lpips.net.state_dict()}
        self.lpips.net.load_state_dict(named)
        self.lpips.to(self.place.device)
        self.adam = torch.optim.Adam(encoder.parameters(), lr=1e-6, betas=(0.9, 0.99))

    def image_loss(self, made: Tensor, target: Tensor) -> Tensor:
        """Equation 3 on one view; what looks at details sees at most 256 pixels."""
        factor = max(1, made.shape[-1] // 256)
        small, wanted = F.avg_pool2d(made, factor), F.avg_pool2d(target, factor)
        look = WEIGHTS["lpips"] * self.lpips(small, wanted).mean()
        return pixels(made, target) + look + WEIGHTS["ssim"] * (1 - ssim(small / 2 + 0.5, wanted / 2 + 0.5))

    def losses(self, photo: Tensor, *, latent: bool = True, grouped: bool = False) -> tuple[float, float]:
        """Both losses, with their gradients added to the encoder's."""
        return self._iterate(photo, latent, grouped, lambda: None)

    def step(self, photo: Tensor, *, latent: bool = True, grouped: bool = False) -> None:
        """One iteration of fine-tuning: a step on the images, then one on the latents."""

        def update() -> None:
            # The second gradient's graph is of the weights before the first step; torch let that pass once.
            with torch.autograd._unsafe_preserve_version_counter(tuple(self.encoder.parameters())):
                self.adam.step()
            self.adam.zero_grad()

        self.adam.zero_grad()
        self._iterate(photo, latent, grouped, update)

    def _iterate(self, photo: Tensor, latent: bool, grouped: bool, update: Callable[[], None]) -> tuple[float, float]:
        with self.place.computing():
            latents = encode(self.encoder, photo)
            made = synthesize(self.generator, latents, grouped=grouped)
            terms = [weight * self.image_loss(crop(made, *cut), crop(photo, *cut)) for weight, *cut in VIEWS]
            image: Any = sum(terms)
            again = encode(self.encoder, made) if latent else {}
            regular: Any = EPSILON * sum(pixels(latents[name], again[name]) for name in again)
        image.backward(retain_graph=latent)
        update()
        if not latent:
            return float(image.detach()), 0.0
        regular.backward()
        update()
        return float(image.detach()), float(regular.detach())
