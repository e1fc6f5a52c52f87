"""The views, their gradients in an encoder, one network for the losses and the maps, and how users name them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from ganenc.encoders import build_encoder
from ganenc.images import draw_boxes, heat_over
from ganenc.objectives import (
    COS,
    LPIPS,
    MSE,
    SSIM,
    Batch,
    EncoderStep,
    NoAttention,
    Objective,
    build_attention,
    build_objective,
    context_for,
    pictures,
)
from ganenc_plugin_gradcam.attention import (
    REGION,
    ClassActivation,
    GradCam,
    GradCamCrop,
    GradCamPlusPlus,
    GuidedGradCam,
)
from ganenc_plugin_gradcam.boxes import crop, find_regions
from ganenc_plugin_gradcam.classifier import Classifier
from ganenc_registry import registry
from ganenc_registry.components import Context
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import Choice, ObjectiveSpec
from torch import Tensor, nn
from toys import ToyGenerator, make_objective, toy_spec

ATTENTIONS = {
    "gradcam": GradCam,
    "gradcam-crop": GradCamCrop,
    "cam": ClassActivation,
    "gradcam++": GradCamPlusPlus,
    "guided": GuidedGradCam,
}
LOSSES = ("mse", "cos", "lpips", "ssim")


def all_losses(backbone: Any) -> dict[str, Any]:
    return {
        "mse": (5.0, MSE()),
        "cos": (3.0, COS()),
        "lpips": (2.0, LPIPS.of(context_for(backbone))),
        "ssim": (1.0, SSIM()),
    }


def test_views_are_weighted_and_masked_by_the_map(two_colours: Any, paint: Any) -> None:
    target = paint((0, 2, 3), (0, 6, 1))
    target[0, 0, 6, 1] = 0.5
    target[0, 0, 0, 0] = 0.25
    attention = GradCam.of(context_for(two_colours), weights=(5, 9))
    focus = attention.prepare(target)
    image = torch.rand(1, 3, 8, 8) * 2 - 1
    whole, at1, at2 = attention.views(image, focus)
    assert whole.image is image
    assert [(view.name, view.weight) for view in (whole, at1, at2)] == [("image", 1.0), ("at1", 5.0), ("at2", 9.0)]
    heat = torch.zeros(8, 8)
    heat[2, 3], heat[6, 1], heat[0, 0] = 1.0, 0.5, 0.25
    assert torch.allclose(at1.image, image * heat, atol=1e-6)
    above = torch.zeros(8, 8)
    above[2, 3] = 1.0
    assert torch.allclose(at2.image, image * above, atol=1e-6)
    _, _, lower = GradCam.of(context_for(two_colours), threshold=0.4).views(image, focus)
    above[6, 1] = 1.0
    assert torch.allclose(lower.image, image * above, atol=1e-6)


def test_the_value_range_changes_no_view(two_colours: Any, paint: Any) -> None:
    target = paint((0, 2, 3), (1, 6, 1))
    for kind in ATTENTIONS.values():
        as_bytes = Context(value_range=(0, 255), load_backbone=lambda: two_colours)
        one, other = kind.of(context_for(two_colours)), kind.of(as_bytes)
        shifted = (target + 1) * 127.5
        views = zip(one.views(target, one.prepare(target)), other.views(shifted, other.prepare(shifted)), strict=True)
        for a, b in views:
            assert torch.allclose((a.image + 1) * 127.5, b.image, atol=1e-3)


def test_crops_are_those_of_the_boxes_and_a_view_of_weight_0_is_left_out(two_colours: Any, paint: Any) -> None:
    target = paint((0, 6, 6))
    attention = GradCamCrop.of(context_for(two_colours), weights=(0, 1))
    focus = attention.prepare(target)
    views = attention.views(target, focus)
    assert [view.name for view in views] == ["image", "at2"]
    assert torch.equal(views[1].image, crop(target, focus["at2"]))
    top, left, height, width = focus["at2"][0].tolist()
    assert top + height == left + width == 8
    assert (focus["at1"][0, 2:] >= focus["at2"][0, 2:]).all()


@pytest.mark.parametrize("name", ATTENTIONS)
def test_it_shows_its_map_its_region_and_its_views(two_colours: Any, paint: Any, name: str) -> None:
    target = paint((0, 2, 3), (0, 2, 2), (1, 6, 1))
    attention = ATTENTIONS[name].of(context_for(two_colours))
    focus = attention.prepare(target)
    assert torch.equal(attention.heat(target, focus), focus["map"])
    assert attention.classes(target, focus).tolist() == [two_colours(target).logits.argmax()]
    region = attention.region(target, focus)
    assert torch.equal(region, find_regions(focus["map"], REGION))
    shown = pictures(attention, target, focus)
    assert list(shown) == ["image", "heat", "boxes", "at1", "at2"]
    assert torch.equal(shown["heat"], heat_over(target, focus["map"]))
    for view in attention.views(target, focus):
        assert torch.equal(shown[view.name], view.image)
    if name == "gradcam-crop":
        assert torch.equal(shown["boxes"], draw_boxes(target, [focus["at1"], focus["at2"]]))
    else:
        assert torch.equal(shown["boxes"], draw_boxes(target, [region]))


def test_what_is_asked_for_is_looked_for_whatever_else_would_be(two_colours: Any, paint: Any) -> None:
    target, asked = torch.cat([paint((0, 2, 3), (1, 6, 1))] * 2), torch.tensor([0, 1])
    for of in ("predicted", "given", "energy"):
        attention = GradCam.of(context_for(two_colours), of=of)
        focus = attention.prepare(target, labels=torch.tensor([1, 1]), classes=asked)
        assert focus["map"].flatten(1).argmax(1).tolist() == [2 * 8 + 3, 6 * 8 + 1]
        assert attention.classes(target, focus).tolist() == [0, 1]
    energy = GradCam.of(context_for(two_colours), of="energy")
    assert energy.classes(target, energy.prepare(target)) is None
    given = GradCam.of(context_for(two_colours), of="given")
    assert given.classes(target, given.prepare(target, labels=torch.eye(3)[[1, 0]])).tolist() == [1, 0]


@pytest.fixture(scope="module")
def toys() -> Any:
    """A generator of 16x16 images, and its encoder with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        generator = ToyGenerator(toy_spec((16, 16), dim=4)).freeze()
        return generator, build_encoder(generator, head_gain=1.0)


def gradient(encoder: nn.Module, value: Tensor) -> Tensor:
    found = torch.autograd.grad(value, list(encoder.parameters()), retain_graph=True, allow_unused=True)
    return torch.cat([part.flatten() for part in found if part is not None])


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_loss_of_every_view_gives_the_encoder_a_gradient_of_its_own(
    toys: Any, tiny_backbone: Any, name: str
) -> None:
    generator, encoder = toys
    images = generator.synthesize(generator.sample(2, seed=1)).detach()

    def terms(attention: Any) -> Any:
        objective = Objective(attention, all_losses(tiny_backbone))
        return EncoderStep(generator, encoder, objective)(Batch(images)).result

    result, plain = terms(ATTENTIONS[name].of(context_for(tiny_backbone))), terms(NoAttention())
    for loss in LOSSES:
        without = gradient(encoder, plain.terms[f"image/{loss}"].mean())
        whole = gradient(encoder, result.terms[f"image/{loss}"].mean())
        assert torch.allclose(whole, without, rtol=1e-3, atol=1e-5 * float(without.norm()))
        for view in ("at1", "at2"):
            found = gradient(encoder, result.terms[f"{view}/{loss}"].mean())
            assert found.isfinite().all()
            assert found.norm() > 1e-6, (view, loss)
            along = nn.functional.cosine_similarity(found, without, dim=0)
            assert along < 0.9999, (view, loss, "points where the gradient without attention does")
    assert nn.functional.cosine_similarity(gradient(encoder, result.total), gradient(encoder, plain.total), dim=0) < 1


@pytest.mark.parametrize("name", ATTENTIONS)
def test_one_network_and_one_pass_a_step(tiny_backbone: Any, name: str) -> None:
    target, made = (torch.rand(3, 3, 16, 16) * 2 - 1 for _ in range(2))
    attention = ATTENTIONS[name].of(context_for(tiny_backbone))
    objective = Objective(attention, all_losses(tiny_backbone))
    own = {"guided": 2, "cam": 2}.get(name, 1)
    reference = objective.prepare(target)
    assert tiny_backbone.passes == own + 1
    for step in range(3):
        objective(made, reference)
        assert tiny_backbone.passes == own + 1 + step + 1
    objective.prepare(target)
    assert tiny_backbone.passes == own + 1 + 3 + 1, "the map is known by now"


@pytest.mark.parametrize("name", ATTENTIONS)
def test_part_of_a_reference_is_that_of_its_targets(tiny_backbone: Any, name: str) -> None:
    torch.manual_seed(2)
    target, made = (torch.rand(3, 3, 16, 20) * 2 - 1 for _ in range(2))
    objective = Objective(ATTENTIONS[name].of(context_for(tiny_backbone)), all_losses(tiny_backbone))
    chosen = objective.prepare(target).select([2, 0])
    alone = objective.prepare(target[[2, 0]])
    assert torch.allclose(objective(made[[2, 0]], chosen).per_sample, objective(made[[2, 0]], alone).per_sample)
    assert objective.prepare(target).to("meta").focus[next(iter(chosen.focus))].device.type == "meta"


def test_the_objective_knows_the_backbone_of_its_attention(tiny_backbone: Any) -> None:
    objective = make_objective({"mse": 1.0}, "gradcam", backbone=tiny_backbone)
    assert [module for module in objective.modules() if module is tiny_backbone] == [tiny_backbone]
    copied = copy.deepcopy(make_objective({"lpips": 1.0}, "gradcam", backbone=tiny_backbone))
    assert copied.losses["lpips"].backbone is copied.attention.maps.scores.backbone
    target = torch.rand(1, 3, 16, 16)
    assert copied(target, copied.prepare(target)).total < 1e-9


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_run_names_them_with_options(name: str) -> None:
    generator = ToyGenerator(toy_spec((16, 16), dim=4, classes=10)).freeze()
    fields = {"losses": {"mse": 1, "lpips": 1}, "backbone": "hands", "attention": {"name": name}}
    fields["attention"]["options"] = {"of": "given", "cache": 1, "weights": [1, 2]}
    spec = ObjectiveSpec.from_mapping(fields)
    assert ObjectiveSpec.from_yaml(spec.to_yaml()) == spec
    objective = build_objective(spec, generator)
    assert type(objective.attention) is ATTENTIONS[name] is registry().resolve("attention", name)
    assert objective.attention.options.weights == (1, 2)
    assert objective.attention.maps.scores.of == "given"
    assert objective.attention.maps.scores.backbone is objective.losses["lpips"].backbone
    target = torch.rand(2, 3, 16, 16) * 2 - 1
    reference = objective.prepare(target, labels=torch.tensor([3, 7]))
    assert objective(-target, reference).total > 0


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("gradcam", {"thresold": 0.5}, r"attention\.options\.thresold: .*did you mean 'threshold'"),
        ("gradcam", {"threshold": 1.5}, r"attention\.options\.threshold: .*less than 1"),
        ("gradcam", {"cache": "much"}, r"attention\.options\.cache: .*number"),
        ("gradcam", {"of": "predict"}, r"attention\.options\.of: .*did you mean 'predicted'"),
        ("gradcam", {"weights": [1, 2, 3]}, r"attention\.options\.weights: .*at most 2"),
        ("gradcam-crop", {"thresholds": [0.5]}, r"attention\.options\.thresholds\.1: "),
        ("gradcam-crop", {"method": "gradcam+"}, r"attention\.options\.method: .*did you mean 'gradcam"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=told):
        build_attention(Choice(name=name, options=options), context_for("vgg16"))


class TestClassifier:
    """A network of one's own."""

    @pytest.fixture
    def network(self) -> nn.Sequential:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            convolutions = [
                nn.Conv2d(3, 8, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Conv2d(8, 6, 3),
                nn.ReLU(inplace=True),
            ]
            return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))

    def test_it_is_a_backbone(self, network: nn.Sequential) -> None:
        backbone = Classifier(network, 4, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.6, 0.7))
        images = torch.rand(2, 3, 64, 64) * 2 - 1
        found = backbone(images)
        seen = ((images + 1) / 2 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[
            :, None, None
        ]
        assert found.logits is not None
        assert torch.allclose(found.logits, network(seen), atol=1e-5)
        assert torch.allclose(found.features[0], network[:3](seen), atol=1e-5)
        assert backbone.last_convolution is network[2]
        assert not any(weight.requires_grad for weight in network.parameters())
        assert not network[2]._forward_hooks
        assert [name for name in backbone.state_dict() if "last" in name] == []

    @pytest.mark.parametrize("name", ATTENTIONS)
    def test_attentions_take_it(self, network: nn.Sequential, name: str) -> None:
        objective = make_objective({"lpips": 1.0}, name, backbone=Classifier(network, 4, layer="0"))
        target, made = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64, requires_grad=True)
        objective(made, objective.prepare(target)).total.backward()
        assert made.grad is not None
        assert made.grad.abs().max() > 0

    def test_a_layer_that_is_not_there_is_an_error(self, network: nn.Sequential) -> None:
        for layer in ("9", nn.Conv2d(1, 1, 1)):
            with pytest.raises(SpecError, match="no such layer"):
                Classifier(network, 4, layer=layer)
        with pytest.raises(SpecError, match="no convolution"):
            Classifier(nn.Linear(1, 1), 1)
