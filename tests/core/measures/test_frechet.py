"""The Frechet distance against scipy's root of a matrix, a closed formula, and torchmetrics."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ganenc.measures import FID, Frechet, gaussian_distance, has_inception
from ganenc.measures.frechet import INCEPTION_URL, _inception
from ganenc_registry.components import Context
from ganenc_registry.errors import CheckpointError, ImageError, WeightsMissingError
from torch import Tensor


def vectors(n: int, dim: int, seed: int) -> Tensor:
    """Vectors whose dimensions are correlated."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64) @ mixing + seed


def pictures(n: int, seed: int, size: int = 20) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * (1 + seed) - 1


def frechet(backbone: Any, value_range: tuple[float, float] = (-1.0, 1.0)) -> Any:
    return Frechet(context=Context(value_range=value_range, load_backbone=lambda: backbone))


def by_sqrtm(x: np.ndarray, y: np.ndarray) -> float:
    """The textbook's form of the distance."""
    from scipy.linalg import sqrtm

    one, other = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(one @ other)
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.trace(one + other - 2 * np.real(root)))


class TestGaussians:
    def test_it_is_that_of_the_root_of_the_product(self) -> None:
        x, y = vectors(60, 7, 1), vectors(45, 7, 2)
        assert gaussian_distance(x, y) == pytest.approx(by_sqrtm(x.numpy(), y.numpy()), rel=1e-9)

    def test_it_is_the_closed_form_where_covariances_are_diagonal(self) -> None:
        """Signs that are orthogonal to one another and to 1 have the covariance 8 / 7 times 1."""
        signs = torch.tensor([[(-1) ** bin(row & column).count("1") for column in (1, 2, 4)] for row in range(8)])
        x = signs * torch.tensor([1.0, 2.0, 0.0]) + torch.tensor([0.0, 5.0, 1.0])
        y = signs * torch.tensor([3.0, 0.5, 4.0]) + torch.tensor([2.0, 5.0, 0.0])
        wanted = 2**2 + 1**2 + 8 / 7 * ((1 - 3) ** 2 + (2 - 0.5) ** 2 + 4**2)
        assert gaussian_distance(x, y) == pytest.approx(wanted, rel=1e-12)

    def test_fewer_vectors_than_dimensions_do_no_harm(self) -> None:
        """Where the covariances are singular, the small Gram matrix has the same eigenvalues."""
        x, y = vectors(5, 40, 1), vectors(6, 40, 2)
        one, other = ((each - each.mean(0)).numpy() / np.sqrt(len(each) - 1) for each in (x, y))
        roots = np.sqrt(np.clip(np.linalg.eigvalsh(one @ other.T @ other @ one.T), 0, None)).sum()
        wanted = np.square((x.mean(0) - y.mean(0)).numpy()).sum() + np.square(one).sum() + np.square(other).sum()
        assert gaussian_distance(x, y) == pytest.approx(wanted - 2 * roots, rel=1e-6)

    def test_equal_sets_are_at_0_and_so_are_sets_that_do_not_vary(self) -> None:
        x = vectors(9, 30, 1)
        assert gaussian_distance(x, x) == pytest.approx(0, abs=1e-9)
        assert gaussian_distance(x, x.flip(0)) >= 0
        assert gaussian_distance(torch.ones(3, 4), torch.ones(2, 4) * 3) == pytest.approx(16)


def pooled(backbone: Any, images: Tensor) -> np.ndarray:
    eight = images.clamp(-1, 1).add(1).mul(127.5).round()
    return backbone(eight / 127.5 - 1).features[-1].mean((2, 3)).detach().double().numpy()


class TestBackbone:
    @pytest.mark.filterwarnings("ignore:Matrix is singular")
    def test_it_is_taken_on_the_deepest_features(self, tiny_backbone: Any) -> None:
        a, b = pictures(35, 0), pictures(33, 1)
        value = frechet(tiny_backbone)(a, b)
        assert value == pytest.approx(by_sqrtm(pooled(tiny_backbone, a), pooled(tiny_backbone, b)), rel=1e-5)
        assert value > 0.01
        assert frechet(tiny_backbone, (0, 1))(a / 2 + 0.5, b / 2 + 0.5) == pytest.approx(value, rel=1e-2)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_grey_images_count_as_colour_and_alpha_does_not(self, tiny_backbone: Any, channels: int) -> None:
        a, b = (pictures(4, seed).repeat(1, 2, 1, 1)[:, :channels] for seed in (0, 1))
        wanted = frechet(tiny_backbone)(*(each.repeat(1, 3, 1, 1)[:, :3] for each in (a, b)))
        assert frechet(tiny_backbone)(a, b) == pytest.approx(wanted)

    def test_sets_that_cannot_be_compared_are_refused(self, tiny_backbone: Any) -> None:
        a = pictures(3, 0)
        with pytest.raises(ImageError, match="2 images or more"):
            frechet(tiny_backbone)(a, a[:1])
        with pytest.raises(ImageError, match="of one shape"):
            frechet(tiny_backbone)(a, a[..., :10])

    def test_the_settings_say_how_many_images_there_are_and_that_few_bias(self, tiny_backbone: Any) -> None:
        few = frechet(tiny_backbone).words(pictures(8, 0))
        assert "8 images a side" in few
        assert "too large" in few
        many = frechet(tiny_backbone).words(pictures(9, 0))
        assert "9 images a side" in many
        assert "too large" not in many
        assert "2048 pooled features" in FID().words(pictures(9, 0))


@pytest.fixture(scope="module")
def weights_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Torch's cache with random weights in the place of Inception's."""
    from torch_fidelity import feature_extractor_inceptionv3 as library

    assert library.URL_INCEPTION_V3 == INCEPTION_URL
    home = tmp_path_factory.mktemp("torch-home")
    file = home / "hub" / "checkpoints" / INCEPTION_URL.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
        torch.manual_seed(0)
        made = library.FeatureExtractorInceptionV3("random", ["2048"])
    torch.save(made.state_dict(), file)
    yield home
    _inception.cache_clear()


class TestInception:
    def test_it_is_taken_on_the_features_of_torchmetrics(
        self, weights_home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from torchmetrics.image.fid import FrechetInceptionDistance

        monkeypatch.setenv("TORCH_HOME", str(weights_home))
        a, b = pictures(3, 0), pictures(2, 1)
        value = FID()(a, b)
        assert isinstance(value, float)
        (file,) = weights_home.rglob("*.pth")
        network = FrechetInceptionDistance(feature=2048, feature_extractor_weights_path=str(file)).inception
        eight = (each.clamp(-1, 1).add(1).mul(127.5).round().byte() for each in (a, b))
        one, other = (network(each).double() for each in eight)
        assert one.shape == (3, 2048)
        gram = [(each - each.mean(0)) / (len(each) - 1) ** 0.5 for each in (one, other)]
        roots = torch.linalg.eigvalsh(gram[0] @ gram[1].T @ gram[1] @ gram[0].T).clamp_min(0).sqrt().sum()
        wanted = (one.mean(0) - other.mean(0)).square().sum() + sum(each.square().sum() for each in gram) - 2 * roots
        assert value == pytest.approx(wanted.item(), rel=1e-4)
        assert value > 0

    def test_nothing_is_fetched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        assert not has_inception()
        with pytest.raises(WeightsMissingError, match=r"weights-inception-2015-12-05-6726825d\.pth"):
            FID()(pictures(2, 0), pictures(2, 1))

    def test_without_the_extra_there_is_no_fid(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        file = tmp_path / "hub" / "checkpoints" / INCEPTION_URL.rpartition("/")[2]
        file.parent.mkdir(parents=True)
        file.touch()
        assert has_inception()
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "fidelity" in name else find_spec(name))
        assert not has_inception()
        with pytest.raises(WeightsMissingError, match=r"ganenc\[fid\]"):
            FID()(pictures(2, 0), pictures(2, 1))

    def test_a_file_that_is_no_inception_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        file = tmp_path / "hub" / "checkpoints" / INCEPTION_URL.rpartition("/")[2]
        file.parent.mkdir(parents=True)
        torch.save({"fc.weight": torch.zeros(3)}, file)
        with pytest.raises(CheckpointError, match="does not fit Inception"):
            FID()(pictures(2, 0), pictures(2, 1))

    def test_torchmetrics_agrees_on_the_distance(self, tiny_backbone: Any) -> None:
        """With a network of its own choice, on images that are 8 bits already."""
        from torchmetrics.image.fid import FrechetInceptionDistance

        class Deepest(torch.nn.Module):
            num_features = 9

            def forward(self, images: Tensor) -> Tensor:
                return tiny_backbone(images.float() / 127.5 - 1).features[-1].mean((2, 3))

        made = torch.Generator().manual_seed(0)
        a, b = (torch.randint(low, 256, (30, 3, 16, 16), dtype=torch.uint8, generator=made) for low in (0, 120))
        library = FrechetInceptionDistance(feature=Deepest())
        library.update(a, real=True)
        library.update(b, real=False)
        assert frechet(tiny_backbone)(a, b) == pytest.approx(library.compute().item(), rel=1e-4)
