"""Encoders of other methods, read from files as their programs save them: against a plain reference, and the published
networks' own outputs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ganenc
import numpy as np
import pytest
import torch
from foreign import Size, rosinality
from ganenc.encoders import Encoder
from ganenc_plugin_methods.passes import Restyle
from ganenc_registry.errors import CheckpointError, GanencError, SpecError
from torch import Tensor
from torch.nn import functional as F
from toys import ToyGenerator, toy_spec

HERE = Path(__file__).parent


def _module(name: str, path: Path) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


reference = _module("encoders_reference", HERE / "encoders_reference.py")
DECODER = Size(widths=(4, 3, 3, 3))
"""A generator of 32x32, whose styles are as long as the encoders'."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def save(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def decoder(folder: Path) -> dict[str, Tensor]:
    """rosinality's generator, as it lies in such files."""
    (folder / "decoder").mkdir()
    tensors: dict[str, Tensor] = torch.load(rosinality(folder / "decoder", DECODER), weights_only=True)["g_ema"]
    return tensors


def images(encoder: Encoder, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, encoder.spec.channels, *encoder.spec.size, generator=generator) * 2 - 1


def expect_close(found: Tensor, wanted: Tensor) -> None:
    """Equal up to a rounding that some tens of layers of single precision amount to."""
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.std())


@pytest.mark.parametrize(
    ("kind", "name", "offsets"), [("GradualStyleEncoder", "psp", False), ("Encoder4Editing", "e4e", True)]
)
def test_psp_and_e4e(tmp_path: Path, kind: str, name: str, offsets: bool) -> None:
    tensors = reference.pyramid()
    content = reference.published(tensors, kind, stylegan_size=32, device="cuda:0")
    encoder = ganenc.load_encoder(save(tmp_path / "encoder.pt", content))
    assert encoder.spec.network is not None
    assert (encoder.spec.network.name, encoder.spec.size) == (name, (32, 32))
    assert not encoder.training
    x = images(encoder)
    with torch.no_grad():
        expect_close(encoder(x)["w"], reference.styles(tensors, x, offsets=offsets) + content["latent_avg"])


@pytest.mark.parametrize("pooled", [False, True], ids=["w", "w+"])
def test_what_psp_is_compared_with(tmp_path: Path, pooled: bool) -> None:
    tensors = reference.last_layer(pooled=pooled)
    content = reference.published(tensors, "BackboneEncoderUsingLastLayerIntoW", output_size=32, learn_in_w=not pooled)
    content["latent_avg"] = torch.randn(8 if pooled else 1, 64)
    encoder = ganenc.load_encoder(save(tmp_path / "w.pt", content))
    assert (encoder.spec.size, encoder.spec.parts[0].shape) == ((32, 32), (8, 64))
    x = images(encoder)
    with torch.no_grad():
        seen = F.interpolate(x, (256, 256), mode="bilinear", antialias=True)
        expect_close(encoder(x)["w"], (reference.last_codes(tensors, seen) + content["latent_avg"]).expand(2, 8, -1))
    if not pooled:
        del content["opts"]["output_size"]
        with pytest.raises(CheckpointError, match=r"how many layers .* is not told; write .*stylegan_size: 1024"):
            ganenc.load_encoder(save(tmp_path / "w.pt", content))


@pytest.mark.parametrize("resnet", [False, True], ids=["irse50", "resnet34"])
@pytest.mark.parametrize("offsets", [False, True], ids=["psp", "e4e"])
def test_restyle_in_three_passes(tmp_path: Path, resnet: bool, offsets: bool) -> None:
    """The first from the image of the mean, which the generator in the file gives, the others from the last image."""
    tensors = reference.backbone(resnet=resnet)
    kind = f"{'ResNet' if resnet else ''}{'Progressive' if offsets else ''}BackboneEncoder"
    content = reference.published(tensors, kind, decoder=decoder(tmp_path), n_iters_per_batch=5)
    model = ganenc.load(save(tmp_path / "restyle.pt", content))
    assert model.encoder is not None
    x = images(model.encoder)

    def synthesize(w: Tensor) -> Tensor:
        return model.generator.synthesize(model.encoder.start.replace(w=w))

    with torch.no_grad():
        w = content["latent_avg"].expand(2, -1, -1)
        for step in range(3):
            w = w + reference.styles(tensors, torch.cat([x, synthesize(w)], 1), offsets=offsets)
            if step == 0:
                expect_close(model.encoder(x)["w"], w)
        done = Restyle.of(passes=3).invert(x, model.generator, model.encoder)
        expect_close(done.latents["w"], w)
        expect_close(done.reconstructions, synthesize(w))
    assert Restyle().settled(model.generator, model.encoder).options.passes == 5


def test_restyle_without_a_generator_waits_for_one(tmp_path: Path) -> None:
    tensors = reference.backbone()
    encoder = ganenc.load_encoder(save(tmp_path / "restyle.pt", reference.published(tensors, "BackboneEncoder")))
    x = images(encoder)
    with pytest.raises(SpecError, match="take the method 'restyle'"):
        encoder(x)
    generator = ganenc.load_generator(rosinality(tmp_path, DECODER))
    one = Restyle.of(passes=1).invert(x, generator, encoder).latents["w"]
    assert encoder.network is not None
    encoder.network.meet(generator, encoder)
    with torch.no_grad():
        assert torch.equal(encoder(x)["w"], one)


def test_e2style_in_stages(tmp_path: Path) -> None:
    tensors = reference.staged()
    content = reference.published(tensors, None, decoder=decoder(tmp_path))
    encoder = ganenc.load_encoder(save(tmp_path / "e2style.pt", content))
    generator = ganenc.load_generator(tmp_path / "e2style.pt")
    x = images(encoder)
    stages = [
        {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}
        for prefix in ("encoder_firststage.", "encoder_refinestage_list.0.")
    ]

    def seen(x: Tensor) -> Tensor:
        return F.interpolate(x, (256, 256), mode="bilinear", antialias=True)

    with torch.no_grad():
        first = reference.heads(stages[0], seen(x)) + content["latent_avg"]
        expect_close(encoder(x)["w"], first)
        made = generator.synthesize(encoder.start.replace(w=first))
        second = first + reference.heads(stages[1], torch.cat([seen(x), seen(made)], 1))
    expect_close(Restyle().invert(x, generator, encoder).latents["w"], second)
    with pytest.raises(SpecError, match="has 2 stages, and 3"):
        Restyle.of(passes=3).invert(x, generator, encoder)


@pytest.mark.parametrize(
    ("write", "codes", "name"),
    [
        (reference.indomain, reference.indomain_codes, "w"),
        (reference.alae, lambda names, x: reference.alae_codes(names, x)[:, None].expand(-1, 6, -1), "w"),
        (reference.d2e, reference.d2e_codes, "z"),
    ],
    ids=["in-domain", "alae", "d2e"],
)
def test_the_others(tmp_path: Path, write: Callable[[], dict[str, Tensor]], codes: Any, name: str) -> None:
    tensors = write()
    content: Any = tensors
    if write is reference.alae:
        other = {key: torch.randn(one.shape) for key, one in tensors.items()}
        content = {"models": {"discriminator": other, "discriminator_s": tensors}, "auxiliary": {}}
    encoder = ganenc.load_encoder(save(tmp_path / "encoder.pth", content))
    assert encoder.spec.size == (16, 16)
    x = images(encoder)
    with torch.no_grad():
        expect_close(encoder(x)[name], codes(tensors, x))


def test_a_folder_of_ours_and_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is read is saved as any encoder, and used beside a generator of the right layout."""
    path = save(tmp_path / "psp.pt", reference.published(reference.pyramid(), "GradualStyleEncoder"))
    encoder = ganenc.load_encoder(path)
    ganenc.save_pretrained(encoder, tmp_path / "ours")
    again, x = ganenc.load_encoder(tmp_path / "ours"), images(encoder)
    assert again.spec == encoder.spec
    with torch.no_grad():
        assert torch.equal(again(x)["w"], encoder(x)["w"])
    source = rosinality(tmp_path, DECODER)
    model = ganenc.load(source, encoder=path)
    latents, made = model.generate(1)
    assert model.encode(made).layout == latents.layout
    small = ganenc.load_generator(rosinality(tmp_path, Size(widths=(4, 3, 3))))
    with pytest.raises(SpecError, match="size"):
        ganenc.Model(small, encoder)


def test_images_of_another_size_than_it_sees(tmp_path: Path) -> None:
    """By the generator in the file: of 64x64, averaged; and of 8x8, enlarged. Styles that are too many are left out."""
    deep = (1, 1, 1, 2, 2, 2, 2, 3, 3, 3)
    for widths, depths, size, rows in (((4, 3, 3, 3, 3), deep, (32, 32), 10), ((4, 3), deep[:8], (8, 8), 4)):
        (tmp_path / str(rows)).mkdir()
        made = torch.load(rosinality(tmp_path / str(rows), Size(widths=widths)), weights_only=True)["g_ema"]
        content = reference.published(reference.pyramid(depths), "GradualStyleEncoder", decoder=made)
        model = ganenc.load(save(tmp_path / f"{rows}.pt", content))
        assert model.encoder is not None
        assert (model.encoder.spec.size, model.encoder.spec.parts[0].shape) == (size, (rows, 4))
        assert len(model.encode(model.generate(1).images)) == 1


def test_cars_are_seen_in_their_middle(tmp_path: Path) -> None:
    tensors = reference.pyramid()
    content = reference.published(tensors, "Encoder4Editing", dataset_type="cars_encode")
    encoder = ganenc.load_encoder(save(tmp_path / "cars.pt", content))
    x = images(encoder)
    with torch.no_grad():
        wanted = reference.styles(tensors, x[:, :, 4:28], offsets=True) + content["latent_avg"]
        expect_close(encoder(x)["w"], wanted)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"state_dict": {"hypernet.a.weight": torch.ones(2, 2)}}, "HyperStyle"),
        (reference.published(reference.pyramid(channels=1), "GradualStyleEncoder", label_nc=1), "sketches"),
        ({"mapper_state_dict": {"layers.0.multihead_attn.in_proj_weight": torch.ones(2, 2)}}, "encrypts latents"),
        ({"w": torch.ones(3, 3)}, "no encoder that is known"),
    ],
    ids=["hyperstyle", "sketches", "riddle", "anything"],
)
def test_what_is_no_encoder_of_these(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=sentence):
        ganenc.load_encoder(save(tmp_path / "other.pt", content))


def test_what_a_file_does_not_tell_is_asked_for(tmp_path: Path) -> None:
    tensors = reference.pyramid()
    path = save(tmp_path / "encoder.pt", tensors)
    with pytest.raises(CheckpointError, match=r"no opts.encoder_type; write .*\.yaml beside it"):
        ganenc.load_encoder(path)
    for name, offsets in (("psp", False), ("e4e", True)):
        path.with_suffix(".yaml").write_text(f"family: {name}\n")
        encoder = ganenc.load_encoder(path)
        x = images(encoder)
        with torch.no_grad():
            expect_close(encoder(x)["w"], reference.styles(tensors, x, offsets=offsets))
    path.with_suffix(".yaml").write_text("family: d2e\n")
    with pytest.raises(GanencError):
        ganenc.load_encoder(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"encoder.latlayer2.weight": None}, "'state_dict.encoder.latlayer2.weight' is missing"),
        ({"encoder.body.3.res_layer.3.weight": torch.ones(2, 2)}, "has shape"),
        ({"encoder.styles.2.linear.bias": torch.full((4,), torch.nan)}, "NaN"),
        ({"encoder.extra.weight": torch.ones(2, 2)}, "left over"),
    ],
)
def test_damaged_files(tmp_path: Path, changes: dict[str, Tensor | None], sentence: str) -> None:
    content = reference.published(reference.pyramid(), "GradualStyleEncoder")
    state = {**content["state_dict"], **changes}
    content["state_dict"] = {name: tensor for name, tensor in state.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=sentence):
        ganenc.load_encoder(save(tmp_path / "encoder.pt", content))


def test_passes_of_an_encoder_that_sees_photos_alone() -> None:
    """The second adds half of what the encoder says of the photo beyond what it says of the reconstruction."""
    generator = ToyGenerator(toy_spec()).freeze()
    encoder = ganenc.build_encoder(generator).eval()
    x = generator.synthesize(generator.sample(2, seed=4))
    with torch.no_grad():
        alone = encoder(x)
        again = encoder(generator.synthesize(generator.complete(alone)))
    found = Restyle.of(passes=2).invert(x, generator, encoder).latents
    for name in alone.tensors:
        torch.testing.assert_close(found[name], alone[name] + (alone[name] - again[name]) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "psp-256",
        "e4e-256",
        "restyle-psp-irse50-256",
        "restyle-psp-resnet34-256",
        "restyle-e4e-irse50-256",
        "restyle-e4e-resnet34-256",
        "e2style-2stage",
        "indomain-256",
        "alae-celeba-hq256",
        "d2e-128",
    ],
)
def test_what_the_published_networks_give(shared: Path, tmp_path: Path, case: str) -> None:
    folder = shared / "encoders" / case
    if not folder.is_dir():
        pytest.skip(f"needs {folder.name} in the folder of encoders")
    check = _module("encoders_check", shared / "encoders" / "check.py")
    layout = check.load(folder)
    path = tmp_path / "encoder.pt"
    check.rebuild(layout, path)
    inputs = {name: torch.from_numpy(one) for name, one in check.inputs(layout).items() if one.dtype == np.float32}
    with torch.no_grad():
        found = _outputs(path, inputs)
    errors = check.compare(folder, {name: one.numpy() for name, one in found.items()}, verbose=False)
    assert errors
    assert max(errors.values()) < 1e-4


def _outputs(path: Path, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What can be compared of a file's encoder, by the names of the expected outputs."""
    encoder, x = ganenc.load_encoder(path), inputs["image"]
    (part,) = encoder.spec.parts
    network: Any = encoder.network
    start = encoder.start[part.name]
    name = network.published if hasattr(network, "published") else encoder.spec.network.name
    if name == "restyle":
        beside = network.again(x, inputs["second_image"], 1)[part.name]
        done = Restyle.of(passes=2).invert(x, ganenc.load_generator(path), encoder)
        return {
            "codes_of_image_and_second_image": beside,
            "latents_step1_with_second_image": beside + start,
            "average_image_pool64": F.adaptive_avg_pool2d(network.start, 64),
            "latents_step1": encoder(x)[part.name],
            "latents_step2": done.latents[part.name],
            "output_step2_pool64": F.adaptive_avg_pool2d(done.reconstructions, 64),
        }
    latents = encoder(x)
    codes = latents[part.name] - start
    if name == "e2style":
        refined = network.again(x, inputs["second_image"], 1)[part.name]
        return {"codes_stage1": codes, "latents_stage1": codes + start, "refine0_of_image_and_second_image": refined}
    out = {"codes": codes[:, :1] if name == "alae" else codes, "latents": latents[part.name]}
    if name in ("psp", "e4e"):
        generator = ganenc.load_generator(path)
        out["output_pool64"] = F.adaptive_avg_pool2d(generator.synthesize(generator.complete(latents)), 64)
    return out
