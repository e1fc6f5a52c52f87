"""Generators as others write them are read from their files without a word, to the pixel."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc import load_generator
from ganenc.foreign import read_checkpoint
from ganenc_plugin_dcgan.dcgan import DCGAN
from ganenc_registry.errors import CheckpointError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

STRANGERS: dict[str, Callable[[], Stranger]] = {}


def stranger(build: Callable[[], Stranger]) -> Callable[[], Stranger]:
    STRANGERS[build.__name__] = build
    return build


class Stranger:
    """A network, and the function of z (N, z), or of z and labels, that makes its images."""

    def __init__(self, net: nn.Module, make: Callable[..., Tensor], z: int, classes: int = 0, prior: str = "normal"):
        self.net, self.make, self.z, self.classes, self.prior = net, make, z, classes, prior
        torch.manual_seed(1)
        for module in net.modules():
            _draw(module)
        net.train()
        with torch.no_grad():
            self._made(1024)  # Statistics as training leaves them.
            net.eval()
            self.spread = float(self._made(64).std())

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        z = torch.randn(n, self.z) if self.prior == "normal" else torch.rand(n, self.z) * 2 - 1
        return z, torch.arange(n) % max(self.classes, 1)

    def images(self, z: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            return self.make(z, labels) if self.classes else self.make(z)

    def _made(self, n: int) -> Tensor:
        return self.images(*self.draw(n))


def _draw(module: nn.Module) -> None:
    """Weights that leave values near 1, and norms that keep the mean of the statistics that they see."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        inputs = module.weight.shape[0] * 4 if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
        nn.init.normal_(module.weight, std=1.2 * inputs**-0.5)
        if module.bias is not None:
            nn.init.normal_(module.bias, std=0.2)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        module.momentum = None
        module.reset_running_stats()
        if module.affine:
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, std=0.2)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight)


def pixel(z: Tensor) -> Tensor:
    return z[:, :, None, None]


def dcgan(z: int = 20, channels: int = 3, levels: int = 5, width: int = 4, **options: Any) -> nn.Sequential:
    """PyTorch's example, whatever its size; without its last tanh."""
    bias = options.get("bias", False)
    widths = [width << i for i in reversed(range(levels - 1))]
    layers: list[nn.Module] = [nn.ConvTranspose2d(z, widths[0], options.get("first", 4), 1, 0, bias=bias)]
    for one, two in zip(widths, [*widths[1:], channels]):
        layers += [nn.BatchNorm2d(one), nn.ReLU(), nn.ConvTranspose2d(one, two, 4, 2, 1, bias=bias)]
    return nn.Sequential(*layers)


class Main(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.main = nn.Sequential(*dcgan(**options), nn.Tanh())


def _example(**options: Any) -> Stranger:
    net = Main(**options)
    return Stranger(net, lambda z: net.main(pixel(z)), options.get("z", 20))


@stranger
def pytorch_example() -> Stranger:
    return _example(z=100)


@stranger
def pytorch_example_grey() -> Stranger:
    return _example(channels=1)


@stranger
def pytorch_example_32_with_bias() -> Stranger:
    return _example(levels=4, bias=True)


@stranger
def pytorch_example_128() -> Stranger:
    return _example(levels=6, width=2)


@stranger
def pytorch_example_28_from_a_kernel_of_7() -> Stranger:
    return _example(levels=3, first=7, channels=1)


@stranger
def pytorch_example_rgba() -> Stranger:
    return _example(channels=4, levels=4)


@stranger
def mnist_28_with_an_odd_kernel() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(100, 32, 4, 1, 0, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.ConvTranspose2d(32, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 100)


@stranger
def wgan_gp_28_without_padding() -> Stranger:
    def block(a: int, b: int, k: int, s: int) -> nn.Module:
        one = nn.Module()
        one.block = nn.Sequential(nn.ConvTranspose2d(a, b, k, s), nn.BatchNorm2d(b), nn.ReLU())
        one.forward = one.block.forward
        return one

    net = nn.Module()
    net.model = nn.Sequential(
        block(64, 32, 3, 2), block(32, 16, 4, 1), block(16, 8, 3, 2), nn.ConvTranspose2d(8, 1, 4, 2), nn.Tanh()
    )
    return Stranger(net, lambda z: net.model(pixel(z)), 64)


def coursera(inputs: int) -> nn.Module:
    def block(a: int, b: int, k: int = 3, s: int = 2) -> nn.Module:
        return nn.Sequential(nn.ConvTranspose2d(a, b, k, s), nn.BatchNorm2d(b), nn.ReLU())

    net = nn.Module()
    net.gen = nn.Sequential(
        block(inputs, 32), block(32, 16, 4, 1), block(16, 8), nn.Sequential(nn.ConvTranspose2d(8, 1, 4, 2), nn.Tanh())
    )
    return net


@stranger
def coursera_28() -> Stranger:
    net = coursera(64)
    return Stranger(net, lambda z: net.gen(pixel(z)), 64)


@stranger
def coursera_28_one_hot() -> Stranger:
    net = coursera(74)
    return Stranger(net, lambda z, y: net.gen(pixel(torch.cat([z, F.one_hot(y, 10)], 1))), 64, 10)


class Numbered(nn.Module):
    """Layers as attributes, used by a forward: convolutions and norms in turn, or all convolutions first."""

    def __init__(self, widths: list[int], turns: bool, conv: str, norm: str, bias: bool, start: int = 1) -> None:
        super().__init__()
        self.names = [(conv.format(i), norm.format(i)) for i in range(start, start + len(widths) - 1)]
        makers = []
        for place, (a, b) in enumerate(pairwise(widths)):
            stride, padding = (2, 1) if place else (1, 0)
            makers.append((self.names[place][0], nn.ConvTranspose2d(a, b, 4, stride, padding, bias=bias)))
        norms = [(name[1], nn.BatchNorm2d(b)) for name, b in zip(self.names[:-1], widths[1:])]
        if turns:
            makers = [one for pair in zip(makers, [*norms, None]) for one in pair if one]
        else:
            makers += norms
        for name, module in makers:
            setattr(self, name, module)

    def forward(self, z: Tensor) -> Tensor:
        x = pixel(z)
        for conv, norm in self.names[:-1]:
            x = F.relu(getattr(self, norm)(getattr(self, conv)(x)))
        return torch.tanh(getattr(self, self.names[-1][0])(x))


def _numbered(*options: Any, **more: Any) -> Stranger:
    net = Numbered([30, 32, 16, 8, 4, 3], *options, **more)
    return Stranger(net, net, 30)


@stranger
def numbered_in_turn() -> Stranger:
    return _numbered(True, "convTr{}", "batchNorm{}", False)


@stranger
def numbered_deconv_bn() -> Stranger:
    return _numbered(True, "deconv{}", "deconv{}_bn", True)


@stranger
def numbered_convolutions_first() -> Stranger:
    return _numbered(False, "tconv{}", "bn{}", False, start=0)


@stranger
def norms_of_one_width_all_after_the_convolutions() -> Stranger:
    net = Numbered([30, 8, 8, 8, 3], False, "conv{}", "norm{}", False)
    return Stranger(net, net, 30)


@stranger
def infogan_28() -> Stranger:
    net = nn.Module()
    net.tconv1, net.bn1 = nn.ConvTranspose2d(62, 32, 1, 1, bias=False), nn.BatchNorm2d(32)
    net.tconv2, net.bn2 = nn.ConvTranspose2d(32, 16, 7, 1, bias=False), nn.BatchNorm2d(16)
    net.tconv3, net.bn3 = nn.ConvTranspose2d(16, 8, 4, 2, padding=1, bias=False), nn.BatchNorm2d(8)
    net.tconv4 = nn.ConvTranspose2d(8, 1, 4, 2, padding=1, bias=False)

    def make(z: Tensor) -> Tensor:
        x = F.relu(net.bn1(net.tconv1(pixel(z))))
        x = F.relu(net.bn2(net.tconv2(x)))
        return torch.tanh(net.tconv4(F.relu(net.bn3(net.tconv3(x)))))

    return Stranger(net, make, 62)


def _shuffles(rows: list[nn.Module], *, projected: bool) -> Stranger:
    """Channels become pixels between convolutions of 3x3, behind a linear layer or a transposed convolution."""
    net = nn.Module()
    net.first = nn.Linear(24, 32 * 16) if projected else nn.ConvTranspose2d(24, 32, 4)
    net.main = nn.Sequential(*rows, nn.Tanh())
    return Stranger(net, lambda z: net.main(net.first(z if projected else pixel(z)).view(-1, 32, 4, 4)), 24)


def _plain(inputs: int, outputs: int, *between: nn.Module) -> list[nn.Module]:
    return [*between, nn.Conv2d(inputs, outputs, 3, 1, 1)]


@stranger
def shuffled_before_norms_and_at_the_end() -> Stranger:
    two, norms = nn.PixelShuffle(2), [nn.BatchNorm2d(width) for width in (16, 8)]
    rows = [*_plain(32, 64), two, norms[0], nn.ReLU(), *_plain(16, 32), two, norms[1], nn.ReLU(), *_plain(8, 12), two]
    return _shuffles(rows, projected=True)


@stranger
def shuffled_behind_norms_by_two_and_three() -> Stranger:
    rows = [
        *_plain(32, 64), nn.BatchNorm2d(64), nn.PixelShuffle(2), nn.ReLU(),
        *_plain(16, 72), nn.BatchNorm2d(72), nn.PixelShuffle(3), nn.ReLU(), *_plain(8, 3),
    ]  # fmt: skip
    return _shuffles(rows, projected=False)


@stranger
def shuffled_before_slopes_of_each_channel() -> Stranger:
    rows = [nn.ReLU(), *_plain(32, 64), nn.PixelShuffle(2), nn.PReLU(16), *_plain(16, 3)]
    return _shuffles(rows, projected=False)


@stranger
def enlarged_behind_a_transposed_convolution() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(24, 32, 4), nn.BatchNorm2d(32), nn.ReLU(),
        *_plain(32, 16, nn.Upsample(scale_factor=2)), nn.BatchNorm2d(16), nn.ReLU(),
        *_plain(16, 8, nn.Upsample(scale_factor=2)), nn.BatchNorm2d(8), nn.ReLU(), *_plain(8, 3), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 24)


class InfoGAN(nn.Module):
    """z, labels and codes, which are uniform in training; ``z`` has the codes at its end."""

    def __init__(self, dim: int, codes: int, labels: int) -> None:
        super().__init__()
        self.dim = dim
        self.main = nn.Sequential(
            nn.ConvTranspose2d(dim + labels + codes, 64, 7, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
            nn.ConvTranspose2d(64, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: Tensor, rows: Tensor) -> Tensor:
        codes = z[:, self.dim :]
        codes = torch.erf(codes / 2**0.5) if self.training else codes
        made: Tensor = self.main(pixel(torch.cat([z[:, : self.dim], rows, codes], 1)))
        return made


@stranger
def infogan_with_codes() -> Stranger:
    net = InfoGAN(62, 2, 10)
    return Stranger(net, lambda z, y: net(z, F.one_hot(y, 10)), 64, 10)


@stranger
def activation_before_norm() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(24, 32, 4, 1, 0), nn.ReLU(), nn.BatchNorm2d(32),
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(16),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 24)


@stranger
def projected_and_reshaped() -> Stranger:
    """A linear layer, a map of 4x4, kernels of 4."""
    net = nn.Module()
    net.project = nn.Sequential(nn.Linear(50, 32 * 16), nn.ReLU())
    net.image = nn.Sequential(
        nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(16),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.BatchNorm2d(8),
        nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.image(net.project(z).view(-1, 32, 4, 4)), 50)


@stranger
def projected_with_kernels_of_5() -> Stranger:
    """The paper's own: stride 2 with 5x5, which is an output_padding of 1 in PyTorch."""
    net = nn.Module()
    net.fc, net.bn0 = nn.Linear(100, 32 * 16, bias=False), nn.BatchNorm1d(32 * 16)
    net.layers = nn.Sequential(
        nn.ConvTranspose2d(32, 16, 5, 2, 2, output_padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 5, 2, 2, output_padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 4, 5, 2, 2, output_padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.ConvTranspose2d(4, 3, 5, 2, 2, output_padding=1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.layers(F.relu(net.bn0(net.fc(z))).view(-1, 32, 4, 4)), 100)


@stranger
def projected_to_7() -> Stranger:
    net = nn.Module()
    net.fc = nn.Sequential(nn.Linear(62, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16 * 49),
                           nn.BatchNorm1d(16 * 49), nn.ReLU())  # fmt: skip
    net.deconv = nn.Sequential(nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                               nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh())  # fmt: skip
    return Stranger(net, lambda z: net.deconv(net.fc(z).view(-1, 16, 7, 7)), 62)


@stranger
def kernels_of_2_to_32() -> Stranger:
    """WGAN-GP of CIFAR-10."""
    net = nn.Module()
    net.preprocess = nn.Sequential(nn.Linear(128, 256), nn.BatchNorm1d(256), nn.ReLU())
    net.block1 = nn.Sequential(nn.ConvTranspose2d(16, 8, 2, stride=2), nn.BatchNorm2d(8), nn.ReLU())
    net.block2 = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    net.deconv_out = nn.ConvTranspose2d(4, 3, 2, stride=2)

    def make(z: Tensor) -> Tensor:
        x = net.block2(net.block1(net.preprocess(z).view(-1, 16, 4, 4)))
        return torch.tanh(net.deconv_out(x))

    return Stranger(net, make, 128)


def pytorch_gan_dcgan(z: int, side: int, wide: int, thin: int, colours: int) -> Stranger:
    """Enlarging and convolving, from maps of a side."""
    net = nn.Module()
    net.l1 = nn.Sequential(nn.Linear(z, wide * side * side))
    net.conv_blocks = nn.Sequential(
        nn.BatchNorm2d(wide), nn.Upsample(scale_factor=2), nn.Conv2d(wide, wide, 3, 1, 1), nn.BatchNorm2d(wide, 0.8),
        nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2), nn.Conv2d(wide, thin, 3, 1, 1), nn.BatchNorm2d(thin, 0.8),
        nn.LeakyReLU(0.2), nn.Conv2d(thin, colours, 3, 1, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda drawn: net.conv_blocks(net.l1(drawn).view(-1, wide, side, side)), z)


@stranger
def pytorch_gan_dcgan_32() -> Stranger:
    return pytorch_gan_dcgan(100, 8, 16, 8, 1)


@stranger
def pytorch_gan_acgan() -> Stranger:
    """A table of classes, multiplied with z."""
    net = nn.Module()
    net.label_emb = nn.Embedding(10, 100)
    other = pytorch_gan_dcgan_32().net
    net.l1, net.conv_blocks = other.l1, other.conv_blocks
    return Stranger(net, lambda z, y: net.conv_blocks(net.l1(z * net.label_emb(y)).view(-1, 16, 8, 8)), 100, 10)


def fully_connected(
    inputs: int, outputs: int, widths: tuple[int, ...] = (16, 32, 64), eps: float = 0.8
) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(inputs, widths[0]), nn.LeakyReLU(0.2)]
    for one, two in pairwise(widths):
        layers += [nn.Linear(one, two), nn.BatchNorm1d(two, eps), nn.LeakyReLU(0.2)]
    return [*layers, nn.Linear(widths[-1], outputs), nn.Tanh()]


@stranger
def pytorch_gan_gan_28() -> Stranger:
    net = nn.Module()
    net.model = nn.Sequential(*fully_connected(100, 784))
    return Stranger(net, lambda z: net.model(z).view(-1, 1, 28, 28), 100)


@stranger
def pytorch_gan_cgan_28() -> Stranger:
    net = nn.Module()
    net.label_emb = nn.Embedding(10, 10)
    net.model = nn.Sequential(*fully_connected(110, 784))
    return Stranger(net, lambda z, y: net.model(torch.cat([net.label_emb(y), z], 1)).view(-1, 1, 28, 28), 100, 10)


@stranger
def fully_connected_by_name() -> Stranger:
    net = nn.Module()
    sizes = [100, 16, 32, 64, 4096]
    for place, (a, b) in enumerate(pairwise(sizes), 1):
        setattr(net, f"fc{place}", nn.Linear(a, b))

    def make(z: Tensor) -> Tensor:
        for place in (1, 2, 3):
            z = F.leaky_relu(getattr(net, f"fc{place}")(z), 0.2)
        return torch.tanh(net.fc4(z)).view(-1, 1, 64, 64)

    return Stranger(net, make, 100)


@stranger
def fully_connected_in_colour() -> Stranger:
    net = nn.Sequential(*fully_connected(64, 3 * 32 * 32, (16, 32), 1e-5))
    return Stranger(net, lambda z: net(z).view(-1, 3, 32, 32), 64)


@stranger
def one_hot_with_dropout() -> Stranger:
    """Dropout has a number of its own in the row."""
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(108, 16, 4, 1, 0, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(0.2),
        nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z, y: net.main(pixel(torch.cat([z, F.one_hot(y, 8)], 1))), 100, 8)


@stranger
def table_beside_z_named_after_the_network() -> Stranger:
    def block(a: int, b: int, s: int, p: int) -> nn.Module:
        return nn.Sequential(nn.ConvTranspose2d(a, b, 4, s, p, bias=False), nn.BatchNorm2d(b), nn.ReLU())

    net = nn.Module()
    net.net = nn.Sequential(
        block(120, 16, 1, 0), block(16, 8, 2, 1), block(8, 4, 2, 1), nn.ConvTranspose2d(4, 1, 4, 2, 1), nn.Tanh()
    )
    net.embed = nn.Embedding(10, 20)
    return Stranger(net, lambda z, y: net.net(torch.cat([pixel(z), pixel(net.embed(y))], 1)), 100, 10)


@stranger
def table_multiplied_with_z_of_a_deconvolution() -> Stranger:
    net = nn.Module()
    net.label_embedding = nn.Embedding(7, 48)
    net.main = nn.Sequential(*dcgan(z=48, levels=4), nn.Tanh())
    return Stranger(net, lambda z, y: net.main(pixel(z * net.label_embedding(y))), 48, 7)


@stranger
def names_of_an_ordered_dict() -> Stranger:
    net = nn.Module()
    named = OrderedDict()
    for place, layer in enumerate([*dcgan(levels=4), nn.Tanh()]):
        named[f"{type(layer).__name__.lower()}_{place}"] = layer
    net.layers = nn.Sequential(named)
    return Stranger(net, lambda z: net.layers(pixel(z)), 20)


@stranger
def norms_without_weights() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(24, 16, 4, 1, 0), nn.BatchNorm2d(16, affine=False), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8, affine=False), nn.ReLU(),
        nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 24)


@stranger
def no_norms_at_all() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(24, 16, 4, 1, 0), nn.ReLU(), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 24)


@stranger
def ends_in_a_convolution() -> Stranger:
    """Doubled by transposed convolutions, drawn by a plain one of 3x3."""
    net = nn.Module()
    net.main = nn.Sequential(
        nn.ConvTranspose2d(24, 16, 4, 1, 0), nn.BatchNorm2d(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 3, 3, 1, 1), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.main(pixel(z)), 24)


@stranger
def uniform_and_leaky_with_a_norm_that_nothing_follows() -> Stranger:
    """As a file of faces has it: only the statistics of the norms tell."""

    def block(*layers: nn.Module) -> nn.Module:
        return nn.Sequential(*layers)

    net = nn.Module()
    net.generator = nn.Sequential(
        block(nn.ConvTranspose2d(40, 32, 4, 1, 0, bias=False), nn.BatchNorm2d(32)),
        block(nn.Conv2d(32, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)),
        block(nn.ConvTranspose2d(16, 16, 4, 2, 1, bias=False), nn.BatchNorm2d(16), nn.LeakyReLU(0.2)),
        block(nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh()),
    )  # fmt: skip
    return Stranger(net, lambda z: net.generator(pixel(z)), 40, prior="uniform")


@stranger
def activation_before_norm_where_no_number_tells() -> Stranger:
    net = nn.Module()
    for place, (a, b) in enumerate(pairwise((32, 32, 16, 16))):
        setattr(net, f"up{place}", nn.ConvTranspose2d(a, b, 4, 1 if not place else 2, 0 if not place else 1))
        setattr(net, f"bn{place}", nn.BatchNorm2d(b))
    net.draw = nn.ConvTranspose2d(16, 3, 4, 2, 1)

    def make(z: Tensor) -> Tensor:
        x = pixel(z)
        for place in range(3):
            x = getattr(net, f"bn{place}")(F.elu(getattr(net, f"up{place}")(x)))
        return torch.tanh(net.draw(x))

    return Stranger(net, make, 32)


@stranger
def silu_in_a_linear_one() -> Stranger:
    net = nn.Module()
    net.layers = nn.Sequential(
        nn.Linear(32, 64), nn.BatchNorm1d(64), nn.SiLU(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.SiLU(),
        nn.Linear(64, 3 * 16 * 16), nn.Tanh(),
    )  # fmt: skip
    return Stranger(net, lambda z: net.layers(z).view(-1, 3, 16, 16), 32)


@stranger
def table_after_z_though_defined_before() -> Stranger:
    net = nn.Module()
    net.label_emb = nn.Embedding(10, 50)
    net.main = nn.Sequential(*dcgan(z=82, levels=4), nn.Tanh())
    return Stranger(net, lambda z, y: net.main(pixel(torch.cat([z, net.label_emb(y) * 1.0], 1))), 32, 10)


@stranger
def pytorch_gan_dcgan_64() -> Stranger:
    """Its maps are large from the first."""
    return pytorch_gan_dcgan(20, 16, 8, 4, 3)


@stranger
def uniform_into_a_linear_layer_that_nothing_follows() -> Stranger:
    net = nn.Module()
    net.fc = nn.Linear(40, 64 * 4)
    net.t_conv1 = nn.Sequential(nn.ConvTranspose2d(64, 64, 4, 2, 1, bias=False), nn.BatchNorm2d(64))
    net.t_conv2 = nn.Sequential(nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False), nn.BatchNorm2d(32))
    net.t_conv3 = nn.Sequential(nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=False))

    def make(z: Tensor) -> Tensor:
        x = F.relu(net.t_conv1(net.fc(z).view(-1, 64, 2, 2)))
        return torch.tanh(net.t_conv3(F.relu(net.t_conv2(x))))

    return Stranger(net, make, 40, prior="uniform")


def _with(active: Callable[[], nn.Module], wrap: Callable[..., nn.Module] = lambda layer: layer) -> Stranger:
    """The example, with another activation, or its convolutions normalised."""
    layers = [active() if isinstance(one, nn.ReLU) else wrap(one) if isinstance(one, nn.ConvTranspose2d) else one
              for one in dcgan(z=48, levels=4, width=16, bias=True)]  # fmt: skip
    net = nn.Module()
    net.main = nn.Sequential(*layers, nn.Tanh())
    return Stranger(net, lambda z: net.main(pixel(z)), 48)


for _name, _active in {
    "gelu": nn.GELU, "selu": nn.SELU, "prelu": nn.PReLU, "leaky_01": lambda: nn.LeakyReLU(0.1),
}.items():  # fmt: skip
    STRANGERS[_name] = partial(_with, _active)
for _name, _wrap in {
    "spectral_hooks": nn.utils.spectral_norm,
    "spectral_parametrized": nn.utils.parametrizations.spectral_norm,
    "weight_parametrized": nn.utils.parametrizations.weight_norm,
}.items():
    STRANGERS[_name] = partial(_with, nn.ReLU, _wrap)


@stranger
def kernel_of_5_triples_to_96() -> Stranger:
    net = nn.Module()
    net.main = nn.Sequential(*dcgan(levels=4)[:-1], nn.ConvTranspose2d(4, 3, 5, 3, 1, bias=False), nn.Tanh())
    return Stranger(net, lambda z: net.main(pixel(z)), 20)


@stranger
def wavegan() -> Stranger:
    net = nn.Module()
    net.fc1 = nn.Linear(30, 16 * 16)
    net.tconv1 = nn.ConvTranspose1d(16, 8, 25, 4, 11, output_padding=1)
    net.tconv2 = nn.ConvTranspose1d(8, 1, 25, 4, 11, output_padding=1)

    def make(z: Tensor) -> Tensor:
        return torch.tanh(net.tconv2(F.relu(net.tconv1(F.relu(net.fc1(z).view(-1, 16, 16))))))[:, :, None]

    return Stranger(net, make, 30)


def check_same(path: Path, stranger: Stranger) -> None:
    generator = load_generator(path)
    spec = generator.spec
    assert (spec.prior.kind, spec.prior.dim, spec.classes) == (stranger.prior, stranger.z, stranger.classes)
    z, labels = stranger.draw(3)
    expected = stranger.images(z, labels)
    assert (spec.channels, *spec.size) == expected.shape[1:]
    with torch.no_grad():
        found = generator.synthesize(generator.map(z, **({"labels": labels} if stranger.classes else {})))
    assert float((found - expected).abs().max()) <= 1e-4 * stranger.spread


@pytest.mark.parametrize("name", STRANGERS)
def test_a_strangers_generator_is_read_from_shapes_and_order(name: str, tmp_path: Path) -> None:
    stranger = STRANGERS[name]()
    torch.save(stranger.net.state_dict(), tmp_path / "netG.pth")
    check_same(tmp_path / "netG.pth", stranger)


@pytest.mark.parametrize(
    "name", ["numbered_in_turn", "projected_to_7", "pytorch_gan_acgan", "activation_before_norm_where_no_number_tells"]
)
def test_names_in_the_order_of_the_alphabet_are_ordered_by_what_fits(name: str, tmp_path: Path) -> None:
    stranger = STRANGERS[name]()
    save_file(stranger.net.state_dict(), tmp_path / "netG.safetensors")
    check_same(tmp_path / "netG.safetensors", stranger)


def test_what_statistics_tell_is_no_guess(tmp_path: Path) -> None:
    stranger = uniform_and_leaky_with_a_norm_that_nothing_follows()
    torch.save(stranger.net.state_dict(), tmp_path / "netG.pth")
    lines = load_generator(tmp_path / "netG.pth").taken_as.splitlines()
    assert "prior: uniform" in lines
    assert [line.partition("  # guess")[0] for line in lines if "activation" in line] == [
        "- {kind: activation, name: leaky_relu}", "- {kind: activation, name: leaky_relu}",
        "- {kind: activation, name: tanh}",
    ]  # fmt: skip
    assert "guess" not in next(line for line in lines if "leaky" in line)
    state = stranger.net.state_dict()
    for key in state:  # As of averaged weights: statistics of others.
        if key.endswith("running_var"):
            state[key] = state[key] * 9
    torch.save(state, tmp_path / "averaged.pth")
    assert "relu}  # guess: relu" in load_generator(tmp_path / "averaged.pth").taken_as


def _doubtful(norm: Callable[[int], nn.Module]) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(24, 16, 4, 1, 0), norm(16), nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 4, 2, 1), norm(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def _unlike(width: int) -> nn.Module:
    norm = nn.BatchNorm2d(width)
    nn.init.constant_(norm.running_var, 9.0)  # type: ignore[arg-type]
    return norm


DOUBTS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no norms": (lambda: no_norms_at_all().net, r"tells: its activations \(relu\); if"),
    "groups": (lambda: _doubtful(lambda width: nn.GroupNorm(4, width)), r"\(relu\), its norms \(instance\); if"),
    "other statistics": (lambda: _doubtful(_unlike), r"all of it, as the statistics"),
    "a table": (lambda: pytorch_gan_acgan().net, r"tells: how its labels go in; if"),
    "a signal": (
        lambda: nn.Sequential(nn.Linear(20, 32), nn.LeakyReLU(0.2), nn.Linear(32, 187)), r"its shape \(a signal\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DOUBTS)
def test_what_nothing_tells_is_asked_for_in_a_sentence(kind: str, tmp_path: Path) -> None:
    build, words = DOUBTS[kind]
    torch.save(build().state_dict(), tmp_path / "netG.pth")
    with pytest.warns(UserWarning, match=words) as told:
        generator = load_generator(tmp_path / "netG.pth")
    assert "settle what it is: `ganenc spec netG.pth --write netG.yaml`." in str(told[0].message)
    (tmp_path / "netG.yaml").write_text(generator.taken_as)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_generator(tmp_path / "netG.pth")


def test_groups_of_channels_and_a_table_of_no_use_are_settled(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = _doubtful(lambda width: nn.GroupNorm(4, width))
    torch.save({"label_emb.weight": torch.ones(10, 24), **net.state_dict()}, tmp_path / "netG.pth")
    with pytest.warns(UserWarning, match="how its labels go in"):
        text = load_generator(tmp_path / "netG.pth").taken_as
    kept = [line for line in text.splitlines() if not line.startswith(("labels:", "classes:"))]
    (tmp_path / "netG.yaml").write_text("\n".join(kept).replace("name: instance", "name: group, groups: 4"))
    generator, z = load_generator(tmp_path / "netG.pth"), torch.randn(2, 24)
    with torch.no_grad():
        assert torch.equal(generator.synthesize(generator.map(z)), net(pixel(z)))


def test_how_codes_go_in_is_asked_for_and_settled(tmp_path: Path) -> None:
    stranger = infogan_with_codes()
    torch.save(stranger.net.state_dict(), tmp_path / "netG.pth")
    with pytest.warns(UserWarning, match="how its labels go in"):
        text = load_generator(tmp_path / "netG.pth").taken_as
    assert "codes: 2" in text
    (tmp_path / "netG.yaml").write_text(text.replace("z: 64", "z: 66").replace("10", "8").replace("s: 2", "s: 4"))
    generator, z, y = load_generator(tmp_path / "netG.pth"), torch.randn(2, 66), torch.tensor([3, 7])
    with torch.no_grad():
        expected = stranger.net(torch.cat([z[:, :62], z[:, 64:]], 1), torch.cat([F.one_hot(y, 8), z[:, 62:64]], 1))
        assert torch.allclose(generator.synthesize(generator.map(z, labels=y)), expected, atol=1e-5)
    (tmp_path / "netG.yaml").write_text(text.replace("joined: after", "joined: before"))
    with pytest.raises(CheckpointError, match="codes go behind a row that is joined after z"):
        load_generator(tmp_path / "netG.pth")


def _other(prefix: str = "") -> dict[str, Any]:
    """A discriminator's tensors."""
    layers = [torch.nn.Conv2d(3, 4, 4, 2, 1), torch.nn.LeakyReLU(), torch.nn.Conv2d(4, 8, 4, 2, 1),
              torch.nn.BatchNorm2d(8), torch.nn.LeakyReLU(), torch.nn.Conv2d(8, 1, 4)]  # fmt: skip
    return {f"{prefix}main.{key}": value for key, value in torch.nn.Sequential(*layers).state_dict().items()}


WRAPPED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "module": lambda state: {f"module.{key}": value for key, value in state.items()},
    "netG_state_dict": lambda state: {"epoch": 7, "netG_state_dict": state, "netD_state_dict": _other()},
    "generator": lambda state: {"generator": state, "discriminator": _other(), "losses": [0.5]},
    "lightning": lambda state: {
        "state_dict": {**{f"generator.{key}": value for key, value in state.items()}, **_other("discriminator.")}
    },
    "model": lambda state: {"model": state},
    "G and D": lambda state: {"G": state, "D": _other(), "optim_G": {"state": {}, "param_groups": []}},
    "optimizers": lambda state: {
        "G_state": state,
        "optimizerG": {"state": {0: {"exp_avg": torch.zeros(9, 3, 4, 4), "step": 3}}, "param_groups": [{"lr": 0.1}]},
    },
    "fixed_noise": lambda state: {
        "netG": state,
        "fixed_noise": torch.zeros(4, 100, 1, 1),
        "img_list": [torch.ones(3, 8)],
    },
    "averaged": lambda state: {"G": {key: value * 2 for key, value in state.items()}, "G_ema": state, "D": _other()},
}


@pytest.mark.parametrize("wrap", WRAPPED)
def test_what_a_state_dict_lies_in_does_not_matter(wrap: str, tmp_path: Path) -> None:
    stranger = pytorch_example()
    torch.save(WRAPPED[wrap](stranger.net.state_dict()), tmp_path / "checkpoint.tar")
    check_same(tmp_path / "checkpoint.tar", stranger)


def test_a_row_that_is_part_of_a_network_is_not_claimed(tmp_path: Path) -> None:
    state = pytorch_example().net.state_dict()
    torch.save({**state, "to_rgb.0.weight": torch.ones(5, 7, 1, 1)}, tmp_path / "a.pth")
    torch.save({"G": {**state, "mapping.weight": torch.ones(8, 8)}}, tmp_path / "b.pth")
    for file in ("a.pth", "b.pth"):
        assert not DCGAN.recognises(read_checkpoint(tmp_path / file))
