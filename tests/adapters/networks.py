"""Small generators with the interfaces that public ones have, odd as they are. None knows of ganenc."""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def seeded(network: type[nn.Module], *arguments: Any) -> nn.Module:
    """A network with random weights, always the same, whose features keep their size from layer to layer."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = network(*arguments)
        for weight in made.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=1.6 / math.sqrt(weight[0].numel()))
    return made


def up(inputs: int, outputs: int) -> nn.Module:
    """Twice the size: nearest pixels, then a convolution."""
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1))


class DCGAN(nn.Module):
    """forward(input): noise is (N, nz, 1, 1). As after training: its batch norms are in train mode."""

    def __init__(self, nz: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ConvTranspose2d(nz, 16, 4, bias=False), nn.BatchNorm2d(16), nn.ReLU(True)]
        layers += [nn.ConvTranspose2d(16, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(True)]
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(8, 3, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, input: Tensor) -> Tensor:
        return self.main(input)


class CategoricalNorm(nn.Module):
    """A batch norm whose gain and shift are looked up by the label."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.table = nn.Embedding(classes, 2 * channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        gain, shift = self.table(y)[:, :, None, None].chunk(2, 1)
        return (1 + gain) * self.norm(x) + shift


class SNGAN(nn.Module):
    """forward(x, y=None): labels are int64 (N,); without them it draws some."""

    def __init__(self, nz: int = 9, num_classes: int = 4) -> None:
        super().__init__()
        self.nz, self.num_classes = nz, num_classes
        self.l1 = nn.Linear(nz, 16 * 16)
        self.norms = nn.ModuleList(CategoricalNorm(width, num_classes) for width in (16, 8))
        self.ups = nn.ModuleList([up(16, 8), up(8, 3)])

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        if y is None:
            y = torch.randint(0, self.num_classes, (x.shape[0],))
        h = self.l1(x).view(x.shape[0], 16, 4, 4)
        for norm, grow in zip(self.norms, self.ups):
            h = grow(F.relu(norm(h, y)))
        return torch.tanh(h)


class AliasFreeMapping(nn.Module):
    """forward(z, c, truncation_psi, truncation_cutoff): c are rows, or None where c_dim is 0."""

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.num_ws = z_dim, c_dim, num_ws
        self.embed = nn.Linear(c_dim, w_dim) if c_dim else None
        self.fc = nn.Linear(z_dim + (w_dim if c_dim else 0), w_dim)
        self.register_buffer("w_avg", torch.full((w_dim,), 0.25))

    def forward(
        self, z: Tensor, c: Tensor | None, truncation_psi: float = 1, truncation_cutoff: int | None = None
    ) -> Tensor:
        x = F.normalize(z) * math.sqrt(self.z_dim)
        if self.embed is not None:
            assert c is not None
            assert c.shape[1] == self.c_dim
            x = torch.cat([x, F.normalize(self.embed(c))], 1)
        x = self.fc(x)[:, None].repeat(1, self.num_ws, 1)
        x[:, :truncation_cutoff] = torch.lerp(self.w_avg, x[:, :truncation_cutoff], truncation_psi)
        return x


class AliasFreeSynthesis(nn.Module):
    """forward(ws, **kwargs): no constant but Fourier features, odd widths, and a margin that is cut off."""

    def __init__(self, w_dim: int, num_ws: int, size: int, margin: int = 5) -> None:
        super().__init__()
        widths = [17, 13, 9, 3]
        self.w_dim, self.num_ws, self.margin, self.size = w_dim, num_ws, margin, size
        self.register_buffer("freqs", torch.randn(widths[0], 2))
        self.register_buffer("phases", torch.rand(widths[0]))
        self.affine = nn.Linear(w_dim, 2)
        self.styles = nn.ModuleList(nn.Linear(w_dim, width) for width in widths[:-1])
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3) for a, b in itertools.pairwise(widths))

    def forward(self, ws: Tensor, noise_mode: str = "const", **kwargs: Any) -> Tensor:
        w = ws.unbind(1)
        side = self.size + 2 * self.margin
        grid = F.affine_grid(torch.eye(2, 3, device=ws.device)[None], [1, 1, side, side], align_corners=False)
        places = grid[0].flatten(0, 1) + self.affine(w[0])[:, None]
        x = torch.sin(2 * math.pi * (places @ self.freqs.T + self.phases))
        x = x.transpose(1, 2).unflatten(2, (side, side))
        for one, style, conv in zip(w[1:], self.styles, self.convs):
            x = F.leaky_relu(conv(x * (1 + style(one))[:, :, None, None]), 0.2)
        rest = self.margin - len(self.convs)
        return torch.tanh(0.3 * x[:, :, rest:-rest, rest:-rest])


class AliasFree(nn.Module):
    """A mapping and a synthesis network, with the attributes by which scripts know their sizes."""

    def __init__(self, z_dim: int = 11, c_dim: int = 3, w_dim: int = 14, img_resolution: int = 20) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = z_dim, c_dim, w_dim, 4
        self.img_resolution, self.img_channels = img_resolution, 3
        self.mapping = AliasFreeMapping(z_dim, c_dim, w_dim, self.num_ws)
        self.synthesis = AliasFreeSynthesis(w_dim, self.num_ws, img_resolution)


class Chunked(nn.Module):
    """forward(z): z goes in in pieces, the first below, the others into batch norms; values from 0 to 1."""

    def __init__(self, dim_z: int = 15) -> None:
        super().__init__()
        self.dim_z, self.piece = dim_z, dim_z // 3
        self.linear = nn.Linear(self.piece, 12 * 16)
        self.gains = nn.ModuleList(nn.Linear(self.piece, width) for width in (12, 8))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in (12, 8))
        self.ups = nn.ModuleList([up(12, 8), up(8, 3)])

    def forward(self, z: Tensor) -> Tensor:
        first, *rest = z.float().split(self.piece, 1)
        x = self.linear(first).view(-1, 12, 4, 4)
        for piece, gain, norm, grow in zip(rest, self.gains, self.norms, self.ups):
            x = grow(F.relu(norm(x) * (1 + gain(piece))[:, :, None, None]))
        return torch.sigmoid(x)


class OneHot(nn.Module):
    """forward(noise, labels): labels are rows, perhaps smoothed; one channel, not square."""

    def __init__(self, latent_dim: int = 7, n_classes: int = 5, img_shape: tuple[int, int] = (12, 20)) -> None:
        super().__init__()
        self.img_shape = img_shape
        self.model = nn.Sequential(
            nn.Linear(latent_dim + n_classes, 24), nn.ReLU(), nn.Linear(24, math.prod(img_shape)), nn.Tanh()
        )

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.model(torch.cat((labels, noise), -1)).view(-1, 1, *self.img_shape)


class InfoGAN(nn.Module):
    """forward(noise, labels, code): normal noise, a category as a row, codes that are uniform from -1 to 1."""

    def __init__(self, latent_dim: int = 6, n_classes: int = 3, code_dim: int = 2) -> None:
        super().__init__()
        self.l1 = nn.Linear(latent_dim + n_classes + code_dim, 16 * 16)
        self.conv_blocks = nn.Sequential(nn.BatchNorm2d(16), up(16, 8), nn.LeakyReLU(0.2), up(8, 1), nn.Tanh())

    def forward(self, noise: Tensor, labels: Tensor, code: Tensor) -> Tensor:
        assert float(code.detach().abs().max()) <= 1.5, "codes are small"
        return self.conv_blocks(self.l1(torch.cat((noise, labels, code), -1)).view(-1, 16, 4, 4))


class Digits(nn.Module):
    """forward(input): rows (N, 784) of values from 0 to 1, as they are often drawn on digits."""

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.preprocess = nn.Linear(dim, 8 * 49)
        self.block = nn.Sequential(up(8, 6), nn.ReLU(), up(6, 1), nn.Sigmoid())

    def forward(self, input: Tensor) -> Tensor:
        return self.block(F.relu(self.preprocess(input)).view(-1, 8, 7, 7)).view(-1, 784)


class Modulated(nn.Module):
    """forward(styles, ...) => (image, latents): lists of styles, weights of each sample in one grouped convolution."""

    def __init__(self, size: int = 16, style_dim: int = 12) -> None:
        super().__init__()
        self.n_latent, self.style_dim = 3, style_dim
        self.style = nn.Sequential(nn.Linear(style_dim, style_dim), nn.LeakyReLU(0.2))
        self.input = nn.Parameter(torch.randn(1, 10, 4, 4))
        self.modulation = nn.ModuleList(nn.Linear(style_dim, width) for width in (10, 9, 8))
        shapes = ((9, 10), (8, 9), (3, 8))
        self.weights = nn.ParameterList(torch.randn(*shape, 3, 3) for shape in shapes)
        self.noises = nn.ParameterList(torch.randn(1, 1, side, side) for side in (4, size // 2, size))

    def forward(
        self, styles: list[Tensor], input_is_latent: bool = False, randomize_noise: bool = True
    ) -> tuple[Tensor, Tensor | None]:
        if not input_is_latent:
            styles = [self.style(one)[:, None].repeat(1, self.n_latent, 1) for one in styles]
        (latent,) = styles
        x = self.input.repeat(len(latent), 1, 1, 1)
        for index, (modulation, weight, noise) in enumerate(zip(self.modulation, self.weights, self.noises)):
            if index:
                x = F.interpolate(x, scale_factor=2)
            n, channels, height, width = x.shape
            kernel = weight * (1 + modulation(latent[:, index])).view(n, 1, channels, 1, 1)
            x = F.conv2d(x.view(1, n * channels, height, width), kernel.flatten(0, 1), padding=1, groups=n)
            x = x.view(n, -1, height, width)
            x = x + 0.2 * (torch.randn_like(x[:, :1]) if randomize_noise else noise)
            x = F.leaky_relu(x, 0.2) if index < 2 else torch.tanh(x)
        return x, None


class NoiseInside(nn.Module):
    """forward(z): noise is drawn within, anew at each call."""

    def __init__(self, dim: int = 6) -> None:
        super().__init__()
        self.start = nn.Linear(dim, 8 * 16)
        self.ups = nn.ModuleList([up(8, 8), up(8, 3)])
        self.strength = nn.Parameter(torch.full((1, 8, 1, 1), 0.3))

    def forward(self, z: Tensor) -> Tensor:
        x = self.start(z).view(-1, 8, 4, 4)
        for grow in self.ups:
            x = grow(x + self.strength * torch.randn(x.size(0), 1, x.size(2), x.size(3), device=x.device))
        return torch.tanh(x)


class Progressive(nn.Module):
    """forward(z, alpha, steps) => a mapping: z is normalised within; 24 x 40 pixels."""

    def __init__(self, z_dim: int = 13) -> None:
        super().__init__()
        self.first = nn.Linear(z_dim, 12 * 15)
        self.ups = nn.ModuleList([up(12, 10), up(10, 8), up(8, 6)])
        self.to_rgb = nn.Conv2d(6, 3, 1)

    def forward(self, z: Tensor, alpha: float, steps: int) -> dict[str, Tensor]:
        x = self.first(z / z.norm(dim=1, keepdim=True)).view(-1, 12, 3, 5)
        for grow in self.ups[:steps]:
            x = F.leaky_relu(grow(x), 0.2)
        return {"image": alpha * torch.tanh(self.to_rgb(x)), "features": x}


class Spatial(nn.Module):
    """forward(z): noise is a map (N, 4, 3, 3); 18 x 18 pixels, no power of two."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 12, 3, padding=1), nn.ReLU(), up(12, 8), nn.ReLU())
        self.grow = nn.Sequential(nn.Upsample(scale_factor=3), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.grow(self.body(z))


class Voxels(nn.Module):
    """forward(z, pose): features in space, turned by a pose, then projected; weights of five dimensions."""

    def __init__(self, z_dim: int = 6) -> None:
        super().__init__()
        self.space = nn.Parameter(torch.randn(1, 4, 4, 4, 4))
        self.style = nn.Linear(z_dim, 4)
        self.deconv = nn.ConvTranspose3d(4, 4, 4, 2, 1)
        self.project = nn.Conv2d(32, 8, 1)
        self.grow = up(8, 3)

    def forward(self, z: Tensor, pose: Tensor) -> Tensor:
        x = self.space * (1 + self.style(z))[:, :, None, None, None]
        cos, sin, zero = pose[:, 0].cos(), pose[:, 0].sin(), torch.zeros_like(pose[:, 0])
        rows = [cos, zero, sin, zero, zero, 1 + zero, zero, zero, -sin, zero, cos, zero]
        grid = F.affine_grid(torch.stack(rows, 1).view(-1, 3, 4), list(x.shape), align_corners=False)
        x = F.leaky_relu(self.deconv(F.grid_sample(x, grid, align_corners=False)), 0.2)
        return torch.tanh(self.grow(F.leaky_relu(self.project(x.flatten(1, 2)), 0.2)))
