"""Backbones: what they give, how they are found, and what happens without their weights."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import torch
from ganenc.encoders import pooled
from ganenc.files import downloads as download_module
from ganenc.objectives import (
    Alex,
    BackboneOutput,
    ImageNetBackbone,
    Squeeze,
    Vgg16,
    available_backbones,
    backbones,
    load_backbone,
)
from ganenc.testing.examples import ExampleBackbone
from ganenc_registry import Registry, components
from ganenc_registry.errors import CheckpointError, PluginError, SpecError, UnknownNameError, WeightsMissingError
from ganenc_registry.specs import Choice, Spec
from servers import serving
from torch import nn
from torchvision import models


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry with the three ImageNet backbones alone."""
    made = Registry()
    for name, kind in (("vgg16", Vgg16), ("alex", Alex), ("squeeze", Squeeze)):
        made.add_value("backbone", name, kind)
    monkeypatch.setattr(backbones.loading, "registry", lambda: made)
    monkeypatch.setattr(components, "registry", lambda: made)
    monkeypatch.setattr(pooled, "_loaded", {})
    return made


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to reach the network fails at once and is noted."""
    asked: list[str] = []

    def refuse(request: urllib.request.Request, **options: Any) -> Any:
        asked.append(request.full_url)
        raise urllib.error.URLError("the network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


@pytest.mark.parametrize(("kind", "net"), [(Vgg16, "vgg"), (Alex, "alex"), (Squeeze, "squeeze")])
@pytest.mark.filterwarnings("ignore")
def test_features_and_linear_weights_are_those_of_lpips(
    kind: type[ImageNetBackbone], net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lpips

    # Networks of up to 138 million weights: drawing them at random would take most of the time of the test.
    for draw in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_"):
        monkeypatch.setattr(nn.init, draw, lambda tensor, *args, **kwargs: tensor)
    published = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    model = getattr(models, kind.architecture)(weights=None)
    drawn = torch.randn(99_991, generator=torch.Generator().manual_seed(0))
    for weight in model.parameters():
        gain = (2 / max(1, weight[0].numel())) ** 0.5
        weight.data = drawn.repeat(weight.numel() // len(drawn) + 1)[: weight.numel()].view_as(weight) * gain
    state = model.state_dict()
    slices = {key: state[f"features.{key.split('.', 1)[1]}"] for key in published.net.state_dict()}
    published.net.load_state_dict(slices)
    backbone = kind(state=state)
    images = torch.rand(2, 3, 64, 72) * 2 - 1
    output = backbone(images)
    wanted = published.net(published.scaling_layer(images))
    assert len(output.features) == len(wanted)
    for found, feature in zip(output.features, wanted, strict=True):
        assert torch.allclose(found, feature, atol=1e-5 * feature.abs().max().item())
    linear = backbone.linear_weights()
    assert all(torch.equal(w, lin.model[1].weight.flatten()) for w, lin in zip(linear, published.lins, strict=True))

    logits = model.eval()((images - published.scaling_layer.shift) / published.scaling_layer.scale)
    assert output.logits is not None
    assert torch.allclose(output.logits, logits, atol=1e-5 * logits.abs().max().item())
    assert backbone.classes == logits.shape[1]


def test_squeeze_knows_its_photos(shared: Path, torch_home: Path) -> None:
    from ganenc.images import read

    files = sorted((shared / "data" / "photos").glob("*.jpg"))[::3]
    with torch.no_grad():
        logits = Squeeze()(torch.stack([read(path, size=(224, 224)) for path in files])).logits
    assert logits is not None
    right = sum(int(path.name[:3]) in row.topk(5).indices.tolist() for path, row in zip(files, logits, strict=True))
    assert right >= 0.7 * len(files)


def test_one_pass_gives_both_and_the_logits_only_if_read(tiny_backbone: Any) -> None:
    calls: list[int] = []
    output = BackboneOutput([torch.zeros(1)], lambda: calls.append(1) or torch.ones(1, 5))
    assert calls == []
    assert output.logits is output.logits
    assert calls == [1]
    assert BackboneOutput([]).logits is None


def test_fit_repeats_grey_and_enlarges_small_images(tiny_backbone: Any) -> None:
    tiny_backbone.smallest = 64
    fitted = tiny_backbone.fit(torch.rand(2, 1, 32, 48))
    assert fitted.shape == (2, 3, 64, 96)
    assert torch.equal(fitted[:, 0], fitted[:, 2])
    large = torch.rand(2, 3, 64, 65)
    assert torch.equal(tiny_backbone.fit(large), large)


def test_gradcam_can_hook_the_last_convolution(shared: Path, torch_home: Path) -> None:
    backbone = Squeeze()
    kept: list[torch.Tensor] = []
    handle = backbone.last_convolution.register_forward_hook(lambda module, given, output: kept.append(output))
    logits = backbone(torch.rand(1, 3, 64, 64, requires_grad=True)).logits
    handle.remove()
    assert logits is not None
    (gradient,) = torch.autograd.grad(logits[0].max(), kept[0])
    assert gradient.shape == kept[0].shape == (1, 512, 3, 3)
    assert gradient.abs().max() > 0


def test_a_backbone_trains_until_it_is_frozen(tiny_backbone: Any) -> None:
    assert tiny_backbone.eval().train().training
    frozen = tiny_backbone.freeze()
    assert frozen is tiny_backbone
    nn.Sequential(frozen).train()
    assert not any(module.training for module in frozen.modules())
    assert not any(weight.requires_grad for weight in frozen.parameters())


def test_load_gives_the_same_one_twice(known: Registry, torch_home: Path) -> None:
    one = load_backbone("squeeze", device="cpu")
    assert load_backbone("squeeze", device="cpu") is one
    assert isinstance(one, Squeeze)
    assert not any(weight.requires_grad for weight in one.parameters())
    one.train()
    assert not one.training


def test_load_takes_a_backbone_at_hand(tiny_backbone: Any) -> None:
    assert load_backbone(tiny_backbone) is tiny_backbone
    assert not any(weight.requires_grad for weight in tiny_backbone.parameters())


def test_load_under_inference_mode_still_trains_others(known: Registry, tiny_backbone: Any) -> None:
    known.add_value("backbone", "tiny", type(tiny_backbone), summary="a class")
    with torch.inference_mode():
        backbone = load_backbone("tiny")
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    backbone(images).features[1].sum().backward()
    assert images.grad is not None


def test_options_are_of_the_backbone(known: Registry, tiny_backbone: Any) -> None:
    class Options(Spec):
        gain: float = 1.0

    known.add_value("backbone", "tiny", type("Tuned", (type(tiny_backbone),), {"Options": Options}), summary="tuned")
    louder = Choice(name="tiny", options={"gain": 2})
    assert load_backbone(louder) is load_backbone(louder) is not load_backbone("tiny")
    assert (load_backbone(louder).options.gain, load_backbone("tiny").options.gain) == (2.0, 1.0)
    with pytest.raises(SpecError, match=r"backbone\.options\.gian: .*did you mean 'gain'"):
        load_backbone(Choice(name="tiny", options={"gian": 2}))


def test_what_is_no_backbone_is_an_error(known: Registry) -> None:
    known.add_value("backbone", "wrong", nn.Identity, summary="not a backbone")
    with pytest.raises(PluginError, match=r"'wrong'.*Identity"):
        load_backbone("wrong")
    with pytest.raises(UnknownNameError, match="did you mean 'squeeze'"):
        load_backbone("squeze")


def test_missing_weights_name_the_file_the_folder_and_what_works(
    known: Registry, no_network: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    with pytest.raises(WeightsMissingError) as caught:
        load_backbone("vgg16")
    text = str(caught.value)
    assert "vgg16-397923af.pth" in text
    assert str(folder) in text
    assert "unreachable" in text
    assert "No other backbone is on disk" in text
    assert no_network == [Vgg16.url]

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"")  # On disk, as far as a look at the folder tells.
    known.add_value("backbone", "shipped", ExampleBackbone, summary="comes with its plugin")
    with pytest.raises(WeightsMissingError, match="works now: shipped, squeeze"):
        load_backbone("vgg16")
    assert available_backbones() == ["shipped", "squeeze"]


def test_weights_are_fetched_from_where_torchvision_publishes_them() -> None:
    for kind in (Vgg16, Alex, Squeeze):
        assert kind.url == models.get_model_weights(kind.architecture)["IMAGENET1K_V1"].url  # type: ignore[index]


def test_backbones_that_need_no_torchvision_start_without_it() -> None:
    code = "import sys, ganenc.objectives, ganenc.inversion; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_are_fetched_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 20_000
    name = f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with serving() as site:
        site.files[f"/models/{name}"] = data[:-1] + b"?"
        url = f"{site.url}/models/{name}"
        with pytest.raises(WeightsMissingError, match="not the file that was published"):
            backbones.loading.fetch(url, "net")
        folder = tmp_path / "hub" / "checkpoints"
        assert list(folder.glob("net*")) == []
        site.files[f"/models/{name}"] = data
        path = backbones.loading.fetch(url, "net")
        assert path.parent == folder
        assert path.read_bytes() == data
        assert backbones.loading.fetch(url, "net") == path
        assert len(site.asked) == 2


def test_a_silent_network_is_given_up(known: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download_module, "PATIENCE", 0.05)
    monkeypatch.setattr(urllib.request, "urlopen", lambda request, **options: released.wait(30))
    with pytest.raises(WeightsMissingError, match=r"no answer within 0\.05 seconds"):
        load_backbone("alex")
    released.set()


def test_broken_and_foreign_weights_are_named(known: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a file")
    with pytest.raises(CheckpointError, match=r"squeezenet1_1-b8a52dc0\.pth is broken"):
        load_backbone("squeeze")
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="do not fit squeezenet1_1"):
        load_backbone("squeeze")


def test_weights_that_are_not_finite_are_refused(known: Registry, tiny_backbone: Any) -> None:
    class Broken(type(tiny_backbone)):  # type: ignore[misc]
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.head.bias.data[0] = torch.nan

    known.add_value("backbone", "broken", Broken)
    with pytest.raises(CheckpointError, match=r"In the backbone broken the tensor head\.bias holds NaN or infinity"):
        load_backbone("broken")


def test_any_number_of_channels_becomes_three(tiny_backbone: Any) -> None:
    images = torch.rand(2, 10, 8, 8)
    for channels in (3, 4):  # Colours, and alpha.
        assert torch.equal(tiny_backbone.fit(images[:, :channels]), images[:, :3])
    for channels in (1, 2, 10):
        grey = images[:, :channels].mean(1, keepdim=True)
        assert torch.equal(tiny_backbone.fit(images[:, :channels]), grey.expand(-1, 3, -1, -1))
    assert tiny_backbone.fit(images[:, :3].double()).dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "wanted"), [((1, 938), (8, 938)), ((2, 40), (8, 160)), ((2, 100), (8, 256)), ((300, 1), (300, 8))]
)
def test_what_is_of_a_few_rows_is_enlarged_within_bounds(size: Any, wanted: Any, tiny_backbone: Any) -> None:
    assert tiny_backbone.fit(torch.rand(1, 3, *size)).shape[-2:] == wanted
