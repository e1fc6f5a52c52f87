"""The Frechet distance between two sets of images: FID, or the same on the features of another backbone.

Heusel et al., 2017; the paper reports it in Tables 2 to 5. It compares sets, not pairs: one number for all images.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from ganenc_registry.errors import CheckpointError, ImageError, WeightsMissingError
from torch import Tensor, nn

from ganenc.foreign import read_checkpoint
from ganenc.images import Range, convert_range, to_uint8
from ganenc.objectives import LARGEST, Backbone, checkpoint_path, pool

__all__ = ["fid", "frechet", "frechet_distance", "frechet_words", "gaussian_distance", "has_inception"]

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""Where the weights of the FID's network are published; it is read from torch's cache and never fetched."""
INCEPTION_FEATURES = 2048
_CHUNK = 16


def frechet_distance(
    a: Tensor,
    b: Tensor,
    *,
    backbone: Backbone | None = None,
    value_range: Range = (-1.0, 1.0),
    device: str | torch.device | None = None,
) -> tuple[float, str]:
    """The Frechet distance between two sets of images, by the best network at hand, with the name to report it under.

    Args:
        a: images (N, C, H, W), C 1 or 3.
        b: images (M, C, H, W); M may differ from N.
        backbone: what to take where the weights of Inception are not on disk.
        value_range: the values of black and white.
        device: where Inception runs; by default where the images are.

    Returns:
        the number and its name: ``fid`` on Inception, where its weights are on disk (nothing is fetched), otherwise
        ``frechet-`` and the name of the backbone. Numbers of different names do not compare.

    Raises:
        ImageError: if there are fewer than 2 images on a side, or they are no batches of images.
        WeightsMissingError: if Inception's weights are not on disk, and there is no backbone either.
    """
    if backbone is None or has_inception():
        return fid(a, b, value_range=value_range, device=device), "fid"
    return frechet(a, b, backbone=backbone, value_range=value_range), f"frechet-{backbone.name}"


def fid(a: Tensor, b: Tensor, *, value_range: Range = (-1.0, 1.0), device: str | torch.device | None = None) -> float:
    """The Frechet Inception distance (Heusel et al., 2017), on the 2,048 pooled features that torchmetrics takes.

    Args:
        a: images (N, C, H, W), C 1 or 3.
        b: images (M, C, H, W); M may differ from N.
        value_range: the values of black and white.
        device: where the network runs; by default where the images are.

    Returns:
        the distance, 0 or more; too large where images are few, as `frechet_words` says.

    Raises:
        ImageError: if there are fewer than 2 images on a side, or they are no batches of images.
        WeightsMissingError: if the weights, which are not fetched, or the extra ``fid`` are not there.
        CheckpointError: if the file with the weights is broken.
    """
    _check(a, b)
    place = torch.device(a.device if device is None else device)
    network = _inception(checkpoint_path(INCEPTION_URL), place)
    return gaussian_distance(*(_features(each, value_range, place, network) for each in (a, b)))


def frechet(a: Tensor, b: Tensor, *, backbone: Backbone, value_range: Range = (-1.0, 1.0)) -> float:
    """The Frechet distance on the deepest features of a backbone, averaged over positions (not in paper).

    Args:
        a: images (N, C, H, W), C 1 or 3.
        b: images (M, C, H, W); M may differ from N.
        backbone: the frozen network; report the number under ``frechet-`` and its name, as it is no FID.
        value_range: the values of black and white.

    Returns:
        the distance, 0 or more; too large where images are few, as `frechet_words` says.

    Raises:
        ImageError: if there are fewer than 2 images on a side, or they are no batches of images.
    """
    _check(a, b)
    place = next((tensor.device for tensor in [*backbone.parameters(), *backbone.buffers()]), a.device)
    deepest = functools.partial(_deepest, backbone)
    return gaussian_distance(*(_features(each, value_range, place, deepest) for each in (a, b)))


def gaussian_distance(x: Tensor, y: Tensor) -> float:
    """The Frechet distance between the Gaussians that have the means and covariances of two sets of vectors.

    |m - n|^2 + tr(S) + tr(T) - 2 tr((S T)^(1/2)) (Dowson and Landau, 1982), in float64. With S = X^T X for the centred
    vectors X over the root of N - 1, the roots of the eigenvalues of S T are the singular values of X Y^T: no root of a
    matrix is taken, and none of a negative number, however few the vectors are.

    Args:
        x: vectors (N, D), N at least 2.
        y: vectors (M, D), M at least 2.

    Returns:
        the distance, 0 or more.
    """
    x, y = x.double(), y.double()
    between = (x.mean(0) - y.mean(0)).square().sum()
    factors = [(each - each.mean(0)) / (len(each) - 1) ** 0.5 for each in (x, y)]
    within = sum(factor.square().sum() for factor in factors)
    # Q of X = Q R leaves the singular values as they are, and R has D rows at most.
    one, other = (torch.linalg.qr(each, mode="r").R if len(each) > each.shape[1] else each for each in factors)
    shared = torch.linalg.svdvals(one @ other.T).sum()
    return max(float(between + within - 2.0 * shared), 0.0)


def has_inception() -> bool:
    """Whether an FID can be had: Inception's weights are in torch's cache (``TORCH_HOME``), the extra is installed."""
    return checkpoint_path(INCEPTION_URL).is_file() and not _missing_packages()


def frechet_words(images: Tensor, backbone: Backbone | None = None) -> str:
    """How the distance is taken between such images and as many others, in words.

    Args:
        images: one of the two sets (N, C, H, W).
        backbone: the network; Inception if there is none.
    """
    if backbone is None:
        size, network = INCEPTION_FEATURES, "pooled features of Inception at 299x299 (torchmetrics)"
    else:
        device = next((tensor.device for tensor in [*backbone.parameters(), *backbone.buffers()]), images.device)
        with torch.no_grad():
            size = _deepest(backbone, to_uint8(images[:1]).to(device)).shape[1]
        network = (
            f"deepest features of {backbone.name}, averaged over positions, of images pooled to at most {LARGEST} "
            f"pixels and enlarged to at least {backbone.smallest}"
        )
    few = ", which are fewer than the features, so that it is too large" if len(images) < size else ""
    return f"one number for {len(images)} images a side{few}; the {size} {network}"


@functools.lru_cache(maxsize=1)
def _inception(path: Path, device: torch.device) -> nn.Module:
    """The network uint8 (N, 3, H, W) => (N, 2048), its weights read as data."""
    if not path.is_file():
        raise WeightsMissingError(
            f"The weights of Inception, for the FID, are not on disk. Put {path.name} (from {INCEPTION_URL}) into "
            f"{path.parent}, or take the Frechet distance on a backbone."
        )
    if _missing_packages():
        raise WeightsMissingError(
            f'The FID takes {" and ".join(_missing_packages())}: run `pip install "ganenc[fid]"`, or take the Frechet '
            "distance on a backbone."
        )
    from torchmetrics.image.fid import FrechetInceptionDistance

    # The library would unpickle the file freely: it gets a copy that holds nothing but the tensors.
    copy = io.BytesIO()
    torch.save(dict(read_checkpoint(path).tensors), copy)
    copy.seek(0)
    source: Any = copy
    try:
        network: nn.Module = FrechetInceptionDistance(
            feature=INCEPTION_FEATURES, feature_extractor_weights_path=source
        ).inception
    except (RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"{path} does not fit Inception: {reason}; delete it and fetch it again.") from None
    return network.requires_grad_(False).eval().to(device)


def _missing_packages() -> list[str]:
    return [name for name in ("torchmetrics", "torch_fidelity") if importlib.util.find_spec(name) is None]


def _deepest(backbone: Backbone, images: Tensor) -> Tensor:
    """uint8 (N, 3, H, W) => the deepest features, averaged over positions (N, D)."""
    views = pool(convert_range(images.float(), (0.0, 255.0), (-1.0, 1.0)))
    found: list[Tensor] = backbone(backbone.fit(views)).features
    return found[-1].float().mean((2, 3))


@torch.no_grad()
def _features(images: Tensor, value_range: Range, device: torch.device, network: Callable[[Tensor], Tensor]) -> Tensor:
    """Images (N, C, H, W) => features float64 (N, D) on the CPU, of the images on 8 bits."""
    parts = to_uint8(images, value_range).split(_CHUNK)
    return torch.cat([network(part.expand(-1, 3, -1, -1).to(device)).double().cpu() for part in parts])


def _check(a: Tensor, b: Tensor) -> None:
    shapes = f"these are {tuple(a.shape)} and {tuple(b.shape)}"
    if a.ndim != 4 or a.shape[1:] != b.shape[1:] or a.shape[1] not in (1, 3):
        raise ImageError(f"A Frechet distance compares two batches (N, 1 or 3, H, W) of images of one size; {shapes}.")
    if min(len(a), len(b)) < 2:
        raise ImageError(f"A Frechet distance needs 2 images or more on either side; {shapes}.")
