"""The Frechet distance between two sets of images, one number for all: FID, or on the features of another backbone.
Heusel et al., 2017; paper, Tables 2 to 5."""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from ganenc_registry.errors import CheckpointError, WeightsMissingError
from torch import Tensor, nn

from ganenc.foreign import read_checkpoint
from ganenc.images import to_rgb
from ganenc.measures.metric import CHUNK, Metric
from ganenc.measures.pairs import embedded, embedding
from ganenc.objectives import checkpoint_path

INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""Where the weights of the FID's network are published; it is read from torch's cache and never fetched."""
INCEPTION_FEATURES = 2048


class FID(Metric):
    """Frechet Inception distance (Heusel et al., 2017), on the 2,048 pooled features that torchmetrics takes.

    Its weights are not fetched; without them, or the extra ``fid``, it raises ``WeightsMissingError``.
    """

    higher_is_better: ClassVar[bool] = False
    compares_sets, least, pictures_only = True, 2, True

    def measure(self, a: Tensor, b: Tensor, region: Tensor | None) -> float:
        """0 or more; too large where images are few."""
        network = self.network()
        return gaussian_distance(*(self._features(images, network) for images in (a, b)))

    def network(self) -> Callable[[Tensor], Tensor]:
        """What gives features: uint8 (N, 3, H, W) => (N, D)."""
        return _inception(checkpoint_path(INCEPTION_URL), torch.device(self.context.device))

    def how(self, images: Tensor) -> str:
        """In words; features are counted, as fewer images than these give too large a number."""
        size, network = self.described(images)
        few = ", which are fewer than the features, so that it is too large" if len(images) < size else ""
        return f"one number for {len(images)} images a side{few}; the {size} {network}, clamped and rounded to 8 bits"

    def described(self, images: Tensor) -> tuple[int, str]:
        """The number of features, and what they are."""
        return INCEPTION_FEATURES, "pooled features of Inception at 299x299 (torchmetrics), of images"

    @torch.no_grad()
    def _features(self, images: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        """Images (N, C, H, W) => features float64 (N, D) on the CPU."""
        parts = to_rgb(self.eight_bits(images)).split(CHUNK)
        return torch.cat([network(part.to(self.context.device)).double().cpu() for part in parts])


class Frechet(FID):
    """Frechet distance on the deepest features of a backbone, averaged over positions (not in paper); no FID."""

    needs_backbone = True

    def network(self) -> Callable[[Tensor], Tensor]:
        return functools.partial(embedding, self.context.backbone)

    def described(self, images: Tensor) -> tuple[int, str]:
        backbone = self.context.backbone
        return self._features(images[:1], self.network()).shape[1], embedded(backbone)


def gaussian_distance(x: Tensor, y: Tensor) -> float:
    """The Frechet distance, 0 or more, between the Gaussians that have the means and covariances of vectors (N, D) and
    (M, D), at least 2 each: |m - n|^2 + tr(S) + tr(T) - 2 tr((S T)^(1/2)) (Dowson and Landau, 1982), in float64.

    With S = X^T X for the centred vectors X over the root of N - 1, the roots of the eigenvalues of S T are the
    singular values of X Y^T: no root of a matrix is taken, and none of a negative number, however few the vectors are.
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
