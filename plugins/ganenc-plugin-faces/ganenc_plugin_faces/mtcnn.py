"""MTCNN (Zhang et al., 2016, "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks").

Three small networks in plain torch, each of which looks more closely at what the one before it found.

The weights are facenet-pytorch's (MIT), taken out of its wheel; its package is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from ganenc.files import cache_folder, download
from ganenc.foreign import read_checkpoint
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_area, nms

__all__ = ["FILES", "detect", "load_networks", "weights_folder"]

WHEEL = "pypi:facenet-pytorch==2.6.0#facenet_pytorch/data/"
FILES = {
    "pnet.pt": (28_570, "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
    "rnet.pt": (403_147, "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
    "onet.pt": (1_559_269, "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
}
"""Bytes and SHA-256 of each."""
SMALLEST = 20
"""Side, in pixels, of the smallest face that is looked for."""
FACTOR = 0.709
"""From one size at which the photo is looked at to the next."""
SURE = (0.6, 0.7, 0.7)
"""How likely a face has to be, network by network."""
WINDOW, STRIDE = 12, 2
"""Of the first network: the side of what it sees, and the steps between."""

Weights = Mapping[str, Tensor]


def weights_folder() -> Path:
    """Where the weights lie on this machine, whether they are there or not."""
    return cache_folder() / "faces" / "mtcnn"


def load_networks() -> list[Weights]:
    """The weights of the three networks, fetched on first use; a DownloadError if they cannot be."""
    folder = weights_folder()
    for name, (size, digest) in FILES.items():
        download(WHEEL + name, folder / name, size=size, checksum=f"sha256:{digest}")
    return [read_checkpoint(folder / name).tensors for name in FILES]


@torch.no_grad()
def detect(photo: Tensor, networks: Sequence[Weights]) -> tuple[Tensor, Tensor]:
    """A photo (3, H, W), uint8 => the boxes of its faces (N, 4), left, top, right and bottom, and their eyes, noses and
    corners of the mouth (N, 5, 2), x and y, the likeliest first; the middle of the first pixel is at (0.5, 0.5)."""
    propose, refine, mark = networks
    x = (photo.float()[None] - 127.5) / 128
    boxes = _proposed(x, propose)
    faces, moved, _ = _looked_at(x, boxes, 24, refine, pools=(3, 3, 0), first=4)
    boxes = _square(_kept(boxes, faces, moved, SURE[1]))
    faces, moved, points = _looked_at(x, boxes, 48, mark, pools=(3, 3, 2, 0), first=5)
    sure = (faces > SURE[2]).nonzero().flatten()
    sure = sure[faces[sure].argsort(descending=True)]
    sides = boxes[sure, 2:] - boxes[sure, :2]
    marks = boxes[sure, None, :2] + points[sure].view(-1, 2, 5).transpose(1, 2) * sides[:, None]
    found = _moved(boxes[sure], moved[sure])
    alone = _apart(found)
    return found[alone], marks[alone]


def _trunk(x: Tensor, weights: Weights, pools: Sequence[int]) -> Tensor:
    """The convolutions of a network, each with a PReLU and, where ``pools`` says its side, a pooling."""
    for i, side in enumerate(pools, 1):
        x = F.conv2d(x, weights[f"conv{i}.weight"], weights[f"conv{i}.bias"])
        x = F.prelu(x, weights[f"prelu{i}.weight"])
        if side:
            x = F.max_pool2d(x, side, 2, ceil_mode=True)
    return x


def _proposed(x: Tensor, weights: Weights) -> Tensor:
    """The first network, at every size of the photo (1, 3, H, W) => squares (N, 4)."""
    height, width = x.shape[-2:]
    found = []
    scale = WINDOW / SMALLEST
    while min(height, width) * scale >= WINDOW:
        size = (math.ceil(height * scale), math.ceil(width * scale))
        features = _trunk(F.interpolate(x, size, mode="area"), weights, (2, 0, 0))
        faces = F.conv2d(features, weights["conv4_1.weight"], weights["conv4_1.bias"]).softmax(1)[0, 1]
        moved = F.conv2d(features, weights["conv4_2.weight"], weights["conv4_2.bias"])[0].permute(1, 2, 0)
        rows, columns = (faces > SURE[0]).nonzero(as_tuple=True)
        corner = torch.stack([columns, rows], 1) * float(STRIDE)
        boxes = torch.cat([corner, corner + WINDOW], 1) * torch.tensor([width / size[1], height / size[0]]).repeat(2)
        near = nms(boxes, faces[rows, columns], 0.5)
        found.append((boxes[near], faces[rows, columns][near], moved[rows, columns][near]))
        scale *= FACTOR
    if not found:
        return x.new_zeros(0, 4)
    return _square(_kept(*(torch.cat(each) for each in zip(*found)), SURE[0]))


def _looked_at(
    x: Tensor, boxes: Tensor, side: int, weights: Weights, *, pools: Sequence[int], first: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Another network, at squares of the photo => how likely each is a face (N,), how its box moves (N, 4), and, of the
    last network, its points (N, 10), parts of the box. ``first`` is the number of its first dense layer."""
    height, width = x.shape[-2:]
    cut = []
    for left, top, right, bottom in boxes.round().int().tolist():
        inside = x[:, :, max(top, 0) : max(min(bottom, height), 1), max(left, 0) : max(min(right, width), 1)]
        cut.append(F.interpolate(inside, (side, side), mode="area"))
    features = _trunk(torch.cat(cut) if cut else x.new_zeros(0, 3, side, side), weights, pools)
    flat = features.permute(0, 3, 2, 1).flatten(1)  # The weights count columns, then rows, then channels.
    hidden = F.linear(flat, weights[f"dense{first}.weight"], weights[f"dense{first}.bias"])
    hidden = F.prelu(hidden, weights[f"prelu{first}.weight"])
    heads = [
        F.linear(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"])
        for name in (f"dense{first + 1}_{i}" for i in (1, 2, 3))
        if f"{name}.weight" in weights
    ]
    return heads[0].softmax(1)[:, 1], heads[1], heads[-1]


def _kept(boxes: Tensor, faces: Tensor, moved: Tensor, sure: float) -> Tensor:
    """The boxes that are likely faces, each once, moved to where they belong."""
    likely = (faces > sure).nonzero().flatten()
    once = likely[nms(boxes[likely], faces[likely], 0.7)]
    return _moved(boxes[once], moved[once])


def _moved(boxes: Tensor, moved: Tensor) -> Tensor:
    return boxes + moved * (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)


def _square(boxes: Tensor) -> Tensor:
    """Squares around the same middle, as large as the longer side."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], 1)


def _apart(boxes: Tensor) -> list[int]:
    """Which of the boxes, the likeliest first, are no part of one before them: of the smaller, 0.7 lies inside."""
    areas, kept = box_area(boxes), list[int]()
    for i in range(len(boxes)):
        sides = torch.minimum(boxes[kept, 2:], boxes[i, 2:]) - torch.maximum(boxes[kept, :2], boxes[i, :2])
        if not (sides.clamp(min=0).prod(1) > 0.7 * torch.minimum(areas[kept], areas[i])).any():
            kept.append(i)
    return kept
