"""Editability against closed forms: a generator and an encoder that are linear, and numpy in float64."""

from __future__ import annotations

import math
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from ganenc.editing import Direction
from ganenc.encoders import Encoder
from ganenc.generators import Generator
from ganenc.latents import Latents
from ganenc.measures import (
    OwnLatents,
    Samples,
    build_metrics,
    classify,
    consistency,
    gaussian_distance,
    measure_edits,
    trimmed_mean,
)
from ganenc.models import model_hash
from ganenc.objectives import Backbone, BackboneOutput
from ganenc_registry.components import Context
from ganenc_registry.errors import LatentsError, SpecError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, Prior, Styles
from torch import Tensor, nn
from toys import MeanError, Offset, ToyConditional

LAYERS, DIM = 3, 4
SPEC = GeneratorSpec(
    family="sheet", size=(8, 12), channels=1, prior=Prior(dim=DIM), layout=(Styles(layers=LAYERS, dim=DIM),)
)
WAY = torch.tensor([[0.0, 0.0, 0.0, 1.0]])


class Sheet(Generator):
    """Each number of w is a block of pixels, so that latents can be read off the image to the bit."""

    spec = SPEC

    def __init__(self, spec: GeneratorSpec | None = None) -> None:
        super().__init__(spec)
        self.mapping, self.affines = nn.Linear(DIM, DIM), nn.ModuleList(nn.Linear(DIM, 6) for _ in range(LAYERS))
        for weight in self.parameters():
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))

    def map(self, z: Tensor) -> Tensor:
        return self.mapping(z)

    def synthesize(self, latents: Latents) -> Tensor:
        for affine, w in zip(self.affines, latents["w"].unbind(1)):
            affine(w)
        rows = latents["w"].reshape(-1, 1, 4, 3)
        return rows.repeat_interleave(2, 2).repeat_interleave(4, 3) / 8


class Reader(Encoder):
    """The inverse of `Sheet`, its numbers ``shrunk``."""

    def __init__(self, shrunk: float = 1.0) -> None:
        super().__init__(EncoderSpec.mirror(SPEC))
        self.shrunk = shrunk

    def forward(self, images: Tensor, *, labels: Tensor | None = None) -> Latents:
        w = images[:, :, ::2, ::4].reshape(-1, LAYERS, DIM) * 8
        return Latents(SPEC.layout, {"w": w * self.shrunk})


class Brightness(Backbone):
    """Its logits are the sum of the picture, once and twice; its feature is its colour."""

    name, classes, smallest, last_convolution = "brightness", 2, 8, None

    def forward(self, images: Tensor) -> BackboneOutput:
        total = images[:, :1].flatten(1).sum(1, keepdim=True)
        return BackboneOutput([images], torch.cat([total, 2 * total], 1))


@pytest.fixture
def sheet() -> Sheet:
    return Sheet().freeze()


@pytest.fixture
def samples(sheet: Sheet) -> Samples:
    """Two photos in one, and one alone with tuned weights, which do not show."""
    w = torch.randint(-8, 8, (3, LAYERS, DIM), generator=torch.Generator().manual_seed(0)).float() / 16
    latents = Latents(SPEC.layout, {"w": w})
    return [(latents[:2], {}), (latents[2], {"affines.0.bias": torch.ones(6)})]


def along(way: Tensor = WAY, **more: Any) -> Direction:
    return Direction("up", SPEC.layout, {"w": way}, space="w", **more)


@pytest.mark.parametrize("shrunk", [1.0, 0.5])
def test_consistency_is_0_of_an_encoder_that_inverts_and_else_how_far_it_is_off(
    sheet: Sheet, samples: Samples, shrunk: float
) -> None:
    encoder = Reader(shrunk)
    move = along(scale=0.5).apply
    edited = measure_edits(sheet, samples, move, [3.0]).images[-1]
    again = consistency(sheet, samples, edited, move, 3.0, lambda images: [(encoder(images), {})])
    start = torch.cat([latents["w"] for latents, _ in samples]).double().numpy()
    step = 1.5 * WAY.double().numpy()
    wanted = np.linalg.norm(((start + step) * shrunk - step - start).reshape(3, -1), axis=1)
    assert again == pytest.approx(wanted.tolist(), rel=1e-12, abs=0)
    assert shrunk < 1 or again == [0, 0, 0]


def test_the_trimmed_mean_is_numpys() -> None:
    values = np.random.default_rng(0).exponential(size=250)
    low, high = np.percentile(values, [1, 99])
    kept = values[(values >= low) & (values <= high)]
    assert len(kept) < 250
    assert trimmed_mean(values.tolist()) == pytest.approx(kept.mean(), rel=1e-12)
    assert trimmed_mean([4.0]) == 4.0
    assert trimmed_mean([4.0, 6.0]) == 5.0


def moved_blocks(images: Tensor) -> Tensor:
    """Where every fourth number of w shows."""
    area = torch.zeros(len(images), 1, 4, 3, dtype=torch.bool)
    area[:, :, [1, 2, 3], [0, 1, 2]] = True
    return area.repeat_interleave(2, 2).repeat_interleave(4, 3)


def test_effects_are_slopes_and_changes_are_told_by_region(sheet: Sheet, samples: Samples) -> None:
    """A deviation moves a number of each layer by 1/2: 24 pixels by 1/16."""
    metrics = {"mae": MeanError(), "sets": Offset()}
    edits = measure_edits(
        sheet, samples, along(scale=0.5).apply, [2, -2, 1], backbone=Brightness().freeze(), metrics=metrics
    )
    assert edits.strengths == (-2, 0, 1, 2)
    assert edits.images.shape == (4, 3, 1, 8, 12)
    assert edits.effect(0) == pytest.approx([1.5] * 3, rel=1e-5)
    assert edits.effect(1) == pytest.approx([3.0] * 3, rel=1e-5)
    rest = edits.curve(0)[1]
    assert edits.curve(0) == pytest.approx([rest - 3, rest, rest + 1.5, rest + 3], rel=1e-5)
    assert edits.changes == {"mae": pytest.approx([24 / 96 / 16 / 2 * 5 / 3] * 3, rel=1e-5)}
    assert edits.outside == {}
    within = measure_edits(
        sheet, samples, along(scale=0.5).apply, [1], metrics=build_metrics(["psnr"]), region=moved_blocks
    )
    assert within.changes == {"psnr": pytest.approx([20 * math.log10(255 / 7.5)] * 3, abs=0.6)}
    assert within.outside == {"psnr": [math.inf] * 3}
    with pytest.raises(SpecError, match="there is no classifier"):
        within.effect(0)
    with pytest.raises(SpecError, match="it has 2 classes"):
        edits.effect(2)
    with pytest.raises(SpecError, match="other than 0"):
        measure_edits(sheet, samples, along().apply, [0])


def normalised(sheet: Sheet, own: OwnLatents) -> list[np.ndarray]:
    """The matrices of the affine layers over the deviations of what draws give, in numpy."""
    drawn = sheet.sample(4096)["w"][:, 0].double().numpy()
    rows = []
    for affine in sheet.affines:
        matrix = affine.weight.double().numpy()
        rows.append(matrix / (drawn @ matrix.T).std(0, ddof=1)[:, None])
    return rows


def test_own_latents_are_about_1_deviation_off_and_lie_in_the_style_space(sheet: Sheet) -> None:
    own, drawn = OwnLatents(sheet), sheet.sample(500, seed=7)
    assert np.sqrt(np.mean(np.square(own.mahalanobis(drawn)))) == pytest.approx(1, rel=0.1)
    assert own.style_distance(drawn) == pytest.approx([0.0] * 500, abs=1e-9)
    weight, mean = sheet.mapping.weight.double().numpy(), sheet.mapping.bias.double().numpy()
    far = np.array([2.0, -1, 0.5, 3])
    apart = np.stack([weight @ far, np.zeros(4), weight @ -far])
    latents = Latents(SPEC.layout, {"w": torch.from_numpy(mean + apart)[None].float()})
    # w = W z + b: the precision of w is (W W^T)^-1, so these lie 1, 0 and 1 times |far| off.
    assert own.mahalanobis(latents) == pytest.approx([np.sqrt(2 / 3 * far @ far / DIM)], rel=0.05)
    matrices = normalised(sheet, own)
    code = np.concatenate([matrix @ w for matrix, w in zip(matrices, latents["w"][0].double().numpy() - own_mean(own))])
    nearest = np.linalg.lstsq(np.concatenate(matrices), code, rcond=None)[0]
    near = np.concatenate(matrices) @ nearest
    cosine = near @ code / np.linalg.norm(near) / np.linalg.norm(code)
    assert own.style_distance(latents) == pytest.approx([1 - cosine], rel=1e-6)
    assert cosine < 0.9


def own_mean(own: OwnLatents) -> np.ndarray:
    return own.mean[0].numpy()


def test_a_vector_is_measured_by_its_deviations_alone(sheet: Sheet) -> None:
    generator = ToyConditional().freeze()
    own = OwnLatents(generator)
    z = torch.full((1, 5), 2.0)
    deviation = generator.sample(4000, seed=3)["z"].std()
    latents = generator.sample(1).replace(z=z)
    assert own.mahalanobis(latents) == pytest.approx([2 / float(deviation)], rel=0.05)
    assert own.style_distance(latents) is None
    with pytest.raises(LatentsError, match="2 draws or more, not 1"):
        OwnLatents(generator, n=1)


def test_mappings_may_give_each_layer_another_style() -> None:
    class Apart(Sheet):
        def map(self, z: Tensor) -> Tensor:
            return torch.stack([z, 2 * z, 5 + z], 1)

    generator = Apart().freeze()
    own = OwnLatents(generator)
    assert own.mean.tolist() == [pytest.approx([one] * 4, abs=0.1) for one in (0, 0, 5)]
    latents = Latents(SPEC.layout, {"w": torch.tensor([[[1.0] * 4, [2.0] * 4, [6.0] * 4]])})
    assert own.mahalanobis(latents) == pytest.approx([1], rel=0.05)


def test_identity_is_the_cosine_of_the_deepest_features(tiny_backbone: Any) -> None:
    a, b = (torch.rand(3, 3, 16, 16) * 2 - 1 for _ in range(2))
    (metric,) = build_metrics(["identity"], Context(load_backbone=lambda: tiny_backbone)).values()
    features = [
        tiny_backbone(tiny_backbone.fit(((one + 1) * 127.5).round() / 127.5 - 1)).features[-1].mean((2, 3)).detach()
        for one in (a, b)
    ]
    x, y = (one.double().numpy() for one in features)
    wanted = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert metric(a, b) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert metric(a, a) == pytest.approx([1, 1, 1], abs=1e-6)
    assert "tiny" in metric.words(a)


class TestModel:
    @pytest.fixture
    def model(self, known: Any, sheet: Sheet) -> ganenc.Model:
        known.add_value("backbone", "brightness", Brightness)
        return ganenc.Model(sheet, Reader(), backbone="brightness")

    def test_all_is_measured_of_photos(self, model: ganenc.Model) -> None:
        """Class 1 wins where a picture is bright, so the dark ones are moved to it."""
        photos = (torch.randint(-4, 4, (6, 1, 4, 3)) / 16).repeat_interleave(2, 2).repeat_interleave(4, 3)
        found = model.editability(photos, along(scale=0.5), [-1, 1], label=1)
        assert found.consistency == [0] * 6
        assert found.edits.effect(1) == pytest.approx([3.0] * 6, rel=1e-4)
        bright = classify(model.generator, Brightness(), photos).argmax(1) == 1
        assert 1 < int(bright.sum()) < 5
        edited = found.edits.images[-1][~bright]
        grey = [
            ((one + 1) * 127.5).round().mean((1, 2, 3))[:, None].expand(-1, 3) / 127.5
            for one in (photos[bright], edited)
        ]
        assert found.sets == {"frechet-brightness": pytest.approx(gaussian_distance(*grey), rel=1e-3)}
        table = found.table()
        assert list(table) == [
            "effect", "change-lpips-brightness", "change-identity-brightness", "consistency", "mahalanobis", "nscd",
            "edited-frechet-brightness",
        ]  # fmt: skip
        assert found.to_mapping()["curve"] == found.edits.curve(1)
        with pytest.raises(SpecError, match="knows no class 2"):
            model.editability(photos, along(), label=2)

    @pytest.mark.parametrize(("strengths", "farthest"), [([-1], -1), ([-3, -2], -3), ([-3, 1], 1)])
    def test_photos_count_as_moved_the_farthest(self, sheet: Sheet, strengths: list[float], farthest: float) -> None:
        """An encoder that halves latents is off by the more, the farther photos were moved."""
        model = ganenc.Model(sheet, Reader(0.5))
        photos = (torch.randint(-4, 4, (2, 1, 4, 3)) / 16).repeat_interleave(2, 2).repeat_interleave(4, 3)
        found, alone = (model.editability(photos, along(), some, metrics=()) for some in (strengths, [farthest]))
        assert found.edits.strengths[found.edits.farthest] == farthest
        assert found.consistency == alone.consistency
        assert min(found.consistency) > 0.1

    def test_it_goes_along_with_an_evaluation(self, model: ganenc.Model) -> None:
        found = model.evaluate(samples=4, metrics=["psnr"], direction=along(model=model_hash(model.generator)))
        assert found.editing is not None
        assert list(found.editing.table()) == ["change-psnr", "consistency", "mahalanobis", "nscd"]
        assert found.to_mapping()["editing"]["strengths"] == [-3, -2, -1, 0, 1, 2, 3]
        assert model.evaluate(samples=4, metrics=["psnr"]).editing is None
        with pytest.raises(SpecError, match="without a direction"):
            model.evaluate(samples=4, towards=1)
