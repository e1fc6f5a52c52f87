"""Maps against values worked out by hand and against captum, and what is left behind when they fail."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from captum.attr import LayerGradCam
from ganenc_plugin_gradcam.cache import MapCache, content_keys
from ganenc_plugin_gradcam.heatmaps import HeatMaps, enlarged
from ganenc_plugin_gradcam.maps import METHODS, class_activation, grad_cam, grad_cam_plus_plus, guided_grad_cam
from ganenc_plugin_gradcam.scores import Scores
from ganenc_registry.errors import SpecError
from rounding import close
from torch import Tensor, nn

RED, GREEN = (0, 2, 3), (1, 6, 5)
HALF = (0, 6, 1)


def one_hot(label: int) -> Tensor:
    return torch.eye(3)[label : label + 1]


class TestByHand:
    """Each pixel above 0 gives its map a gradient of (weight of the class) / 64; the mean of it is over 64 pixels."""

    def test_grad_cam(self, two_colours: Any, paint: Any) -> None:
        image = paint(RED, GREEN)
        for label, (red, green) in enumerate([(2, -1), (-1, 4), (-1, -1)]):
            found = grad_cam(Scores(two_colours, "given"), two_colours.last_convolution, image, one_hot(label))
            wanted = torch.full((8, 8), float(-red - green))
            wanted[RED[1:]], wanted[GREEN[1:]] = red - green, green - red
            assert torch.allclose(found[0, 0], wanted / 64**2, atol=1e-9)

    def test_cam(self, two_colours: Any, paint: Any) -> None:
        """The class's weights of red and of green, where each shines."""
        image = paint(RED, GREEN)
        for label, (red, green) in enumerate([(2, -1), (-1, 4), (-1, -1)]):
            found = class_activation(Scores(two_colours, "given"), two_colours.last_convolution, image, one_hot(label))
            wanted = torch.zeros(8, 8)
            wanted[RED[1:]], wanted[GREEN[1:]] = red, green
            assert torch.allclose(found[0, 0], wanted, atol=1e-6)

    def test_grad_cam_plus_plus(self, two_colours: Any, paint: Any) -> None:
        image = paint(RED, GREEN)
        image[0, :, HALF[1], HALF[2]] = torch.tensor([0.5, -1, -1])
        found = grad_cam_plus_plus(Scores(two_colours, "given"), two_colours.last_convolution, image, one_hot(0))
        gradient = 2 / 64
        alpha = gradient**2 / (2 * gradient**2 + gradient**3 * 1.5)
        wanted = torch.full((8, 8), -2 * alpha * gradient)
        wanted[RED[1:]], wanted[HALF[1:]] = 2 * alpha * gradient, alpha * gradient
        assert torch.allclose(found[0, 0], wanted, atol=1e-8)

    def test_guided_grad_cam(self, two_colours: Any, paint: Any) -> None:
        scores = Scores(two_colours, "given")
        found = guided_grad_cam(scores, two_colours.last_convolution, paint(RED, GREEN), one_hot(0))
        wanted = torch.zeros(8, 8)
        wanted[RED[1:]] = (3 / 64**2) * (2 / 64)
        assert torch.allclose(found[0, 0], wanted, atol=1e-9)

    def test_the_map_of_the_energy(self, two_colours: Any, paint: Any) -> None:
        image = paint(RED, GREEN)
        found = grad_cam(Scores(two_colours, "energy"), two_colours.last_convolution, image)
        weights = two_colours.weights.detach().double()
        logits = weights.sum(1) / 64
        red, green = (logits.softmax(0)[:, None] * weights).sum(0).tolist()
        wanted = torch.full((8, 8), -red - green)
        wanted[RED[1:]], wanted[GREEN[1:]] = red - green, green - red
        assert torch.allclose(found[0, 0], wanted / 64**2, atol=1e-9)
        value = Scores(two_colours, "energy")(image)
        assert value.item() == pytest.approx(math.log(sum(math.exp(logit) for logit in logits.tolist())), abs=1e-6)

    def test_the_predicted_class_is_the_likeliest_one(self, two_colours: Any, paint: Any) -> None:
        image = paint(RED, GREEN)
        maps = HeatMaps(two_colours)(image)
        assert maps.argmax() == GREEN[1] * 8 + GREEN[2]
        assert torch.equal(maps, HeatMaps(two_colours, of="given")(image, torch.tensor([1])))


def test_a_batch_of_several_classes_is_that_of_its_images_alone(two_colours: Any, paint: Any) -> None:
    images = torch.cat([paint(RED, GREEN), paint(RED, GREEN), paint(RED, GREEN, HALF)])
    labels = torch.tensor([0, 1, 0])
    maps = HeatMaps(two_colours, of="given")(images, labels)
    assert maps.flatten(1).argmax(1).tolist() == [RED[1] * 8 + RED[2], GREEN[1] * 8 + GREEN[2], RED[1] * 8 + RED[2]]
    for index in range(3):
        alone = HeatMaps(two_colours, of="given", cache=0)(images[index : index + 1], labels[index : index + 1])
        assert torch.allclose(maps[index : index + 1], alone, atol=1e-6)
    assert torch.equal(maps, HeatMaps(two_colours, of="given")(images, torch.eye(3)[labels]))


@pytest.mark.parametrize("of", ["predicted", "given", "energy"])
def test_maps_are_captums_on_any_backbone(tiny_backbone: Any, of: Any) -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(5, 3, 20, 28) * 2 - 1, torch.tensor([4, 0, 1, 1, 3])
    maps = HeatMaps(tiny_backbone, of=of)(images, labels)

    def logits(x: Tensor) -> Tensor:
        found = tiny_backbone(x).logits
        return found.logsumexp(1) if of == "energy" else found

    chosen = {"predicted": logits(images), "given": None, "energy": None}[of]
    target = labels if of == "given" else None if chosen is None else chosen.argmax(1)
    raw = LayerGradCam(logits, tiny_backbone.last_convolution).attribute(images, target)
    wanted = nn.functional.interpolate(raw, (20, 28), mode="bilinear").relu()
    assert maps.shape == (5, 1, 20, 28)
    assert torch.allclose(maps, (wanted / wanted.amax((1, 2, 3), keepdim=True)).detach(), atol=1e-5)
    assert (maps.amax((1, 2, 3)) == 1).all()
    assert maps.amin() >= 0


@pytest.mark.parametrize("of", ["predicted", "given", "energy"])
def test_cam_is_found_behind_any_average(tiny_backbone: Any, of: Any) -> None:
    """The features are cut at 0 after the last module, so that they are known by the backbone's own list alone."""
    images, rows = torch.rand(3, 3, 16, 16) * 2 - 1, torch.eye(5)[[4, 0, 1]] if of == "given" else None
    found = class_activation(Scores(tiny_backbone.freeze(), of), tiny_backbone.last_convolution, images, rows)
    output = tiny_backbone(images)
    logits = output.logits
    picked = {"predicted": logits.argmax(1), "given": torch.tensor([4, 0, 1])}.get(of)
    weights = logits.softmax(1) if picked is None else torch.eye(5)[picked]
    wanted = torch.einsum("nk,kc,nchw->nhw", weights, tiny_backbone.head.weight, output.features[-1])[:, None]
    assert torch.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("head", ["two layers", "all places"])
def test_without_an_average_before_one_last_layer_there_is_no_cam(tiny_backbone: Any, head: str) -> None:
    class Other(type(tiny_backbone)):
        def forward(self, images: Tensor) -> Any:
            output = super().forward(images)
            last = output.features[-1]
            logits = output.logits.tanh() if head == "two layers" else last.flatten(1)[:, :5]
            return type(output)(output.features, logits)

    with pytest.raises(SpecError, match="'tiny' does not average its last features before one last linear layer"):
        HeatMaps(Other(), method="cam")(torch.rand(2, 3, 16, 16))


def test_a_peak_that_its_neighbours_outweigh_is_no_empty_map() -> None:
    coarse = torch.full((2, 1, 3, 3), -1.0)
    coarse[:, 0, 1, 1] = 1.0
    coarse[1, 0, 0] = 1.0
    maps = enlarged(coarse, (2, 2))
    assert torch.allclose(maps[0], torch.full((1, 2, 2), 1 / 16)), "cut before, as no pixel would be above 0"
    assert torch.allclose(maps[1], torch.tensor([[[0.625, 0.625], [0.0, 0.0]]])), "cut after"


def test_the_value_range_grey_and_wide_images_come_out_alike(tiny_backbone: Any) -> None:
    torch.manual_seed(0)
    images = torch.rand(2, 1, 16, 16) * 2 - 1
    wanted = HeatMaps(tiny_backbone)(images.expand(-1, 3, -1, -1))
    assert torch.allclose(HeatMaps(tiny_backbone)(images), wanted, atol=1e-6)
    assert torch.allclose(HeatMaps(tiny_backbone, value_range=(0, 255))((images + 1) * 127.5), wanted, atol=1e-4)


def test_an_image_without_a_map_is_looked_at_whole(two_colours: Any, paint: Any) -> None:
    images = torch.cat([paint(RED), paint(), paint(GREEN)])
    maps = HeatMaps(two_colours)
    with pytest.warns(UserWarning, match="gradcam map of 1 of 3 images is zero everywhere"):
        found = maps(images)
    assert torch.equal(found[1], torch.ones(1, 8, 8))
    assert found[0].sum() == found[2].sum() == 1


@pytest.mark.parametrize("method", METHODS)
def test_no_gradient_and_no_hook_stays(tiny_backbone: Any, method: str) -> None:
    images = (torch.rand(2, 3, 16, 16) * 2 - 1).requires_grad_()
    found = HeatMaps(tiny_backbone, method=method)(images)
    assert not found.requires_grad
    assert images.grad is None
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny_backbone.parameters())
    assert hooks(tiny_backbone) == 0
    with torch.inference_mode():
        assert torch.equal(HeatMaps(tiny_backbone, method=method)(images.detach() + 0), found)


def hooks(network: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)


class Broken(torch.autograd.Function):
    """Fails on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise RuntimeError("on the way back")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("when", ["on the way there", "on the way back"])
def test_hooks_go_after_an_error(two_colours: Any, paint: Any, method: str, when: str) -> None:
    def fail(module: nn.Module, inputs: Any, output: Any) -> Any:
        if when == "on the way there":
            raise RuntimeError(when)
        return Broken.apply(output)

    own = two_colours.relu.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match=when):
        HeatMaps(two_colours, method=method)(paint(RED))
    own.remove()
    assert hooks(two_colours) == 0
    assert HeatMaps(two_colours, method=method)(paint(RED)).argmax() == RED[1] * 8 + RED[2]


class TestCache:
    """What was computed once is not computed again."""

    def test_equal_images_are_computed_once(self, two_colours: Any, paint: Any) -> None:
        maps = HeatMaps(two_colours, of="given")
        images, labels = torch.cat([paint(RED, GREEN)] * 3), torch.tensor([0, 0, 1])
        seen: list[int] = []
        two_colours.last_convolution.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
        first = maps(images, labels)
        assert seen == [2]
        assert torch.equal(maps(images.clone(), labels), first)
        assert torch.equal(maps(images[1:2], labels[2:]), first[2:])
        assert seen == [2]
        other = images[:1].clone()
        other[0, 2, 0, 0] = 0.0
        maps(other, labels[:1])
        assert seen == [2, 1]

    def test_it_keeps_no_more_than_its_bound(self) -> None:
        cache = MapCache(3 * 400 / 2**20)
        for index in range(5):
            cache.put(index, torch.full((1, 10, 10), float(index)))
            cache.get(0)
        assert len(cache) == 3
        assert [index for index in range(5) if cache.get(index) is not None] == [0, 3, 4]
        assert cache.get(4)[0, 0, 0] == 4  # type: ignore[index]
        assert cache.size == 1200
        none = MapCache(0)
        none.put(0, torch.zeros(1))
        assert len(none) == 0

    def test_maps_do_not_depend_on_it(self, tiny_backbone: Any) -> None:
        images = torch.rand(20, 3, 16, 16) * 2 - 1
        bounded, none = HeatMaps(tiny_backbone, cache=1e-4), HeatMaps(tiny_backbone, cache=0)
        close(bounded(images), none(images), terms=54, depth=5)
        close(bounded(images.flip(0)), none(images).flip(0), terms=54, depth=5)

    def test_keys_are_of_the_values_shape_and_type(self) -> None:
        image = torch.rand(1, 3, 4, 4)
        (key,) = content_keys(image)
        assert content_keys(image.contiguous(memory_format=torch.channels_last)) == [key]
        others = [image + 1e-6, image.double(), image.reshape(1, 3, 2, 8), image.bfloat16()]
        assert len({key, *(one for other in others for one in content_keys(other))}) == 5
        assert content_keys(image, torch.ones(1, 2)) != content_keys(image, torch.zeros(1, 2))

    def test_it_goes_with_copies_and_pickles(self, two_colours: Any, paint: Any) -> None:
        maps = HeatMaps(two_colours)
        found = maps(paint(RED))
        for other in (copy.deepcopy(maps), pickle.loads(pickle.dumps(maps))):
            assert torch.equal(other(paint(RED)), found)
            assert other.scores.backbone.passes == 1


def test_what_does_not_fit_is_an_error(two_colours: Any, paint: Any) -> None:
    images, given = paint(RED), HeatMaps(two_colours, of="given")
    with pytest.raises(SpecError, match="wants labels"):
        given(images)
    with pytest.raises(SpecError, match="run from 0 to 2"):
        given(images, torch.tensor([3]))
    with pytest.raises(SpecError, match=r"these are \(2,\)"):
        given(images, torch.tensor([0, 1]))
    with pytest.raises(SpecError, match=r"these are \(1,\) of torch.float32"):
        given(images, torch.tensor([0.0]))
    two_colours.last_convolution = None
    with pytest.raises(SpecError, match="no last convolution"):
        HeatMaps(two_colours)(images)
    two_colours.classes = 0
    with pytest.raises(SpecError, match="'two-colours' is no classifier"):
        HeatMaps(two_colours)
