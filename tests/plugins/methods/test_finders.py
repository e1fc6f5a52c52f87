"""Ways of finding directions, against their formulas, on generators whose best directions are known."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.editing import Search, find_by_labels
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_plugin_methods.latentclr import LatentCLR, contrast
from ganenc_plugin_methods.regression import Regression
from ganenc_plugin_methods.sefa import SeFa
from ganenc_plugin_methods.styleclip import Mapper, StyleCLIP, towards_text, train_mapper
from ganenc_plugin_methods.text_image import OpenCLIP, TextImage
from ganenc_registry.components import Context
from ganenc_registry.errors import CheckpointError, LatentsError, SpecError, WeightsMissingError
from ganenc_registry.specs import GeneratorSpec, Prior, Styles, Vector
from torch import Tensor, nn
from toys import ToyColours, ToyGenerator, toy_spec

SIZE, DIM = 8, 6
TEXTS = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0), "a photo": (1.0, 1.0, 1.0)}


class Paint(Generator):
    """The first three numbers of the style of layer 0 are the colour, through an affine layer; the others a pattern."""

    spec = GeneratorSpec(
        family="paint", size=(SIZE, SIZE), prior=Prior(dim=DIM), layout=(Styles(layers=2, dim=DIM),), truncation="none"
    )

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.colour, self.pattern, self.mix = nn.Linear(DIM, 3), nn.Linear(DIM, 3), nn.Conv2d(4, 3, 1, bias=False)
        self.colour.weight.data = torch.eye(3, DIM)
        self.colour.bias.data.zero_()
        self.mix.weight.data = torch.cat([torch.eye(3), torch.full((3, 1), 0.05)], 1)[:, :, None, None]

    def map(self, z: Tensor) -> Tensor:
        return 0.3 * z

    def synthesize(self, latents: Latents) -> Tensor:
        w = latents["w"]
        flat = self.colour(w[:, 0])[:, :, None, None].expand(-1, -1, SIZE, SIZE)
        wave = torch.linspace(0, 3, SIZE).sin() * self.pattern(w[:, 1]).sum(1)[:, None, None, None]
        return self.mix(torch.cat([flat, wave.expand(-1, 1, SIZE, SIZE)], 1))


class Colours(TextImage):
    """Embeds an image as its mean colour, from 0 to 1, and knows three texts."""

    name, smallest = "words", SIZE

    def embed_images(self, images: Tensor) -> Tensor:
        return (images.mean((2, 3)) + 1) / 2

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([TEXTS[one] for one in texts])


class Redness(Backbone):
    """Its first logit grows with red, its second is 0."""

    name, classes, smallest, last_convolution = "redness", 2, SIZE, None

    def forward(self, images: Tensor) -> BackboneOutput:
        red = 4 * images[:, 0].mean((1, 2))
        return BackboneOutput([images], torch.stack([red, 0 * red], 1))


@pytest.fixture
def paint() -> Paint:
    return Paint().freeze()


def context(backbone: Backbone) -> Context:
    return Context(load_backbone=backbone.freeze)


class TestSeFa:
    @pytest.mark.parametrize(("layers", "normalise"), [(None, False), ([1, 2], False), (None, True)])
    def test_directions_are_numpys_eigenvectors(self, layers: Any, normalise: bool) -> None:
        generator = ToyGenerator(toy_spec((8, 8), dim=5)).freeze()
        found = SeFa.of(components=3, layers=layers, normalise=normalise).find(Search(generator, n=200))
        taken = [affine.weight.double().numpy() for affine in generator.affines]
        rows = np.concatenate(taken if layers is None else [taken[at] for at in layers])
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalise else rows
        values, vectors = np.linalg.eigh(rows.T @ rows)
        for place, one in enumerate(found):
            assert one.name == f"sefa-{place}"
            assert (one.space, one.layers) == ("w", None if layers is None else tuple(layers))
            assert abs(one.tensors["w"][0].numpy() @ vectors[:, -1 - place]) == pytest.approx(1, abs=1e-5)
            assert one.info["variance"] == pytest.approx(values[-1 - place] / values.sum(), abs=1e-4)
            along = generator.sample(200)["w"][:, 0] @ one.tensors["w"][0]
            assert one.scale == pytest.approx(float(along.std()), rel=1e-4)

    def test_a_vector_goes_by_what_reads_it_first(self) -> None:
        generator = ToyColours().freeze()
        (one,) = SeFa.of(components=1).find(Search(generator, n=50))
        _, _, axes = np.linalg.svd(generator.pattern.weight.numpy())
        assert one.space == "z"
        assert abs(one.tensors["z"].numpy() @ axes[0]) == pytest.approx(1, abs=1e-5)
        with pytest.raises(LatentsError, match="has no layers to choose"):
            SeFa.of(layers=[0]).find(Search(generator))

    def test_what_cannot_be_is_told(self, paint: Paint) -> None:
        with pytest.raises(LatentsError, match="There are 6 directions in 'w', not 7"):
            SeFa.of(components=7).find(Search(paint))
        with pytest.raises(LatentsError, match=r"known to read 'w' on the layers \[5\]"):
            SeFa.of(layers=[5]).find(Search(paint))


class TestRegression:
    @pytest.mark.parametrize("way", ["linear", "logistic"])
    def test_it_finds_what_the_score_is_linear_in(self, paint: Paint, way: str) -> None:
        (one,) = Regression.of(context(Redness()), way=way, penalty=0.01, layers=[0]).find(Search(paint, n=400))
        assert one.name == "regression-0"
        assert one.layers == (0,)
        assert float(one.tensors["w"][0, 0]) > (0.99 if way == "linear" else 0.95)
        assert one.info.get("fit", one.info.get("accuracy")) > 0.95

    def test_a_penalty_that_leaves_nothing_is_told(self, paint: Paint) -> None:
        finder = Regression.of(context(Redness()), way="logistic", penalty=1000)
        with pytest.raises(LatentsError, match="regression-0: nothing is left"):
            finder.find(Search(paint, n=400))

    def test_it_is_the_regression_of_least_squares(self, paint: Paint) -> None:
        from sklearn.linear_model import LinearRegression

        latents, scores = paint.sample(100), torch.randn(100, generator=torch.Generator().manual_seed(1))
        one = find_by_labels(paint, latents, scores, name="any", machine=LinearRegression(), split=0.9)
        learnt = np.split(np.random.default_rng(0).permutation(100), [90])[0]
        rows = latents["w"][:, 0].double().numpy()[learnt]
        ones = np.column_stack([rows, np.ones(90)])
        wanted = np.linalg.lstsq(ones, scores.double().numpy()[learnt], rcond=None)[0][:-1]
        torch.testing.assert_close(
            one.tensors["w"][0].double(), torch.from_numpy(wanted / np.linalg.norm(wanted)), atol=1e-5, rtol=0
        )
        assert one.info["labelled"] == 100


class TestLatentCLR:
    def test_the_contrast_is_its_formula(self) -> None:
        changes = nn.functional.normalize(torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)), dim=2)
        total = 0.0
        for k in range(3):
            for i in range(4):
                near = [np.exp(float(changes[k, i] @ changes[k, j]) / 0.5) for j in range(4) if j != i]
                far = [
                    np.exp(float(changes[k, i] @ changes[other, j]) / 0.5)
                    for other in range(3) if other != k
                    for j in range(4)
                ]  # fmt: skip
                total -= np.log(sum(near) / sum(far))
        assert float(contrast(changes, 0.5)) == pytest.approx(total / 12, rel=1e-5)

    @pytest.mark.parametrize("way", ["fixed", "linear", "mlp"])
    def test_directions_change_different_things(self, way: str) -> None:
        generator = ToyGenerator(toy_spec((8, 8), dim=4)).freeze()
        finder = LatentCLR.of(count=3, steps=30, batch=3, way=way, rate=0.03)
        told: list[tuple[int, int]] = []
        found = finder.find(Search(generator, n=32, on_step=lambda *step: told.append(step)))
        assert [one.name for one in found] == [f"latentclr-{place}" for place in range(3)]
        assert told[-1] == (30, 30)
        likeness = [one.info["likeness"] for one in found]
        assert likeness == sorted(likeness, reverse=True)
        if way == "fixed":
            before = LatentCLR.of(count=3, steps=1, batch=3, rate=1e-9).find(Search(generator, n=32))
            assert apart(found) > apart(before)
        with pytest.raises(LatentsError, match="has no stage 'nowhere'"):
            LatentCLR.of(stage="nowhere").find(Search(generator, n=8))


def apart(found: Sequence[ganenc.Direction]) -> float:
    """How far from each other ways are: 1 - the greatest cosine of two."""
    rows = torch.cat([one.tensors["w"] for one in found])
    near = (rows @ rows.T).fill_diagonal_(-1)
    return 1 - float(near.max())


class TestStyleCLIP:
    @pytest.mark.parametrize("way", ["optimiser", "mapper", "global"])
    def test_images_become_the_text(self, paint: Paint, way: str) -> None:
        options = {"text": "red", "way": way, "steps": 40, "rate": None if way == "global" else 0.02, "latent": 0.001}
        (one,) = StyleCLIP.of(context(Colours()), **options).find(Search(paint, n=64))
        assert one.name == "red"
        assert one.info["text"] == "red"
        drawn = paint.sample(20, seed=4)
        fits = []
        for strength in (-1.0, 0.0, 1.0):
            colour = paint.synthesize(one.apply(drawn, strength)).mean((2, 3))
            fits.append(float((colour[:, 0] - colour[:, 1:].mean(1)).mean()))
        assert fits[0] < fits[1] < fits[2]

    def test_channels_of_the_style_space_are_carried_to_w_plus(self, paint: Paint) -> None:
        """Red is one channel, that layer 0 gives of its first number; the pattern makes no colour."""
        options = {"text": "red", "way": "global", "threshold": 0.9}
        (one,) = StyleCLIP.of(context(Colours()), **options).find(Search(paint, n=64))
        assert one.space == "w+"
        wanted = torch.zeros(2, DIM)
        wanted[0, 0] = 1.0
        torch.testing.assert_close(one.tensors["w"], wanted, atol=1e-4, rtol=0)
        options["threshold"] = 0.0
        (all_of_them,) = StyleCLIP.of(context(Colours()), **options).find(Search(paint, n=64))
        assert all_of_them.tensors["w"][0, :3].sign().tolist() == [1, -1, -1]

    def test_photos_and_mappers_are_at_hand(self, paint: Paint) -> None:
        drawn = paint.sample(3)
        moved = towards_text(paint, drawn, Colours().freeze(), "blue", steps=30, rate=0.05, latent=0.0)
        blue, before = (paint.synthesize(one).mean((2, 3))[:, 2] for one in (moved, drawn))
        assert bool((blue > before + 0.3).all())
        alone = towards_text(paint, drawn[1], Colours().freeze(), "blue", steps=30, rate=0.05, latent=0.0)
        torch.testing.assert_close(alone["w"], moved["w"][1:2], atol=1e-4, rtol=1e-4)
        near = towards_text(paint, drawn, Colours().freeze(), "blue", steps=30, rate=0.05, latent=100.0)
        assert float((near["w"] - drawn["w"]).abs().max()) < 0.1
        held = {"identity": 1000.0, "other": Redness().freeze()}
        same = towards_text(paint, drawn, Colours().freeze(), "blue", steps=30, rate=0.05, latent=0.0, **held)
        assert float((paint.synthesize(same).mean((2, 3))[:, 2] - before).mean()) < float((blue - before).mean())
        mapper = train_mapper(Search(paint), Colours().freeze(), "blue", steps=3)
        assert torch.equal(mapper.move(drawn, 0.0)["w"], drawn["w"])

    @pytest.mark.parametrize(("layers", "groups"), [(1, 1), (5, 2), (18, 3)])
    def test_a_mapper_has_a_network_for_each_group_of_layers(self, layers: int, groups: int) -> None:
        mapper = Mapper(layers, 4)
        assert len(mapper.groups) == groups
        assert mapper(torch.randn(2, layers, 4)).shape == (2, layers, 4)
        assert sum(isinstance(one, nn.Linear) for one in mapper.modules()) == 4 * groups

    def test_a_vector_is_moved_too(self) -> None:
        (one,) = StyleCLIP.of(context(Colours()), text="red", steps=5, way="mapper").find(Search(ToyColours().freeze()))
        assert one.parts == (Vector(dim=4),)
        with pytest.raises(LatentsError, match="no style space"):
            StyleCLIP.of(context(Colours()), text="red", way="global").find(Search(ToyColours().freeze()))

    def test_what_it_lacks_is_told(self, paint: Paint) -> None:
        with pytest.raises(SpecError, match=r"Say what images are to become, by method\.options\.text"):
            StyleCLIP.of(context(Colours())).find(Search(paint))
        with pytest.raises(SpecError, match="'redness' does not"):
            StyleCLIP.of(context(Redness()), text="red").find(Search(paint))


class Embedder(nn.Module):
    """What open_clip makes: the mean colour and a corner of what it sees, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Identity()
        self.visual.image_size = (4, 4)
        self.visual.image_mean, self.visual.image_std = (0.5, 0.5, 0.5), (0.5, 0.25, 0.5)
        self.weight = nn.Parameter(torch.zeros(1))

    def encode_image(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == (3, 4, 4)
        return self.weight * torch.cat([images.mean((2, 3)), images[:, :, 0, 0]], 1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.weight * tokens.float()


class TestOpenCLIP:
    @pytest.fixture
    def package(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        """A package of that name, and an empty cache of torch's."""
        package = ModuleType("open_clip")
        package.__spec__ = ModuleSpec("open_clip", None)
        package.list_models = lambda: ["ViT-B-32", "small"]
        package.create_model = lambda name, pretrained: Embedder()
        package.get_tokenizer = lambda name: lambda texts: torch.tensor([[len(one)] * 6 for one in texts])
        monkeypatch.setitem(sys.modules, "open_clip", package)
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def test_its_weights_are_read_from_torchs_cache(self, package: None, tmp_path: Any) -> None:
        assert not OpenCLIP.available()
        with pytest.raises(WeightsMissingError, match="not on disk"):
            OpenCLIP()
        place = tmp_path / "hub" / "checkpoints"
        place.mkdir(parents=True)
        torch.save({"weight": torch.tensor([2.0])}, place / "ViT-B-32.pt")
        assert OpenCLIP.available()
        backbone = OpenCLIP().freeze()
        wide = nn.functional.pad(torch.ones(1, 3, 8, 20), (2, 2), value=-1.0)
        found = backbone.embed_images(backbone.fit(wide))
        torch.testing.assert_close(found, 2 * torch.tensor([[1.0, 2.0, 1.0] * 2]), msg="(x - mean) / deviation, inside")
        assert torch.equal(backbone(wide).features[0][:, :, 0, 0], found)
        assert backbone.embed_texts(["four"]).tolist() == [[8.0] * 6]

    def test_other_weights_and_models_are_told(self, package: None, tmp_path: Any) -> None:
        torch.save({"other": torch.zeros(3)}, tmp_path / "weights.pt")
        for options, error, said in (
            ({"weights": str(tmp_path / "weights.pt")}, CheckpointError, "does not fit open_clip's ViT-B-32"),
            ({"weights": str(tmp_path / "weights.pt"), "model": "large"}, SpecError, "has no model 'large'"),
            ({"weights": str(tmp_path / "none.pt")}, WeightsMissingError, "none.pt"),
        ):
            with pytest.raises(error, match=said):
                OpenCLIP.of(**options)

    def test_the_package_has_to_be_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "open_clip", None)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        with pytest.raises(WeightsMissingError, match="takes the package open_clip_torch"):
            OpenCLIP()
