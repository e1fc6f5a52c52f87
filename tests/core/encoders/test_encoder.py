"""Encoders of any layout and size: shapes, starts, gradients, and what they refuse."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from ganenc.encoders import BlockStyles, Encoder, EncoderBlock, build_encoder, mirror
from ganenc.generators import Generator, NoiseChoice
from ganenc.latents import Latents
from ganenc_registry import registry
from ganenc_registry.components import Context
from ganenc_registry.errors import ImageError, LatentsError, PluginError, SpecError, UnknownNameError
from ganenc_registry.specs import (
    Condition,
    EncoderSpec,
    GeneratorSpec,
    Map,
    Noise,
    Prior,
    Setting,
    Spec,
    Styles,
    Vector,
)
from pydantic import Field
from rounding import close
from torch import Tensor, nn

SMALL = {4: 16, 8: 16, 16: 12, 32: 8, 64: 6}


def spec_of(size: tuple[int, int], *layout: object, **fields: object) -> GeneratorSpec:
    fields = {"resolution_channels": {**SMALL, min(size): 6}, **fields}
    return GeneratorSpec(family="toy", size=size, prior=Prior(dim=9), layout=layout, **fields)


STYLED = (Styles(layers=10, dim=12), Map(channels=16, height=4, width=4), Noise(shapes=((1, 4, 4),)))
CLASSED = (Vector(dim=9), Condition(dim=5), Setting(name="truncation", default=0.4, holds="truncation"))
GENERATORS = {
    "styles and a constant": spec_of((64, 64), *STYLED),
    "a vector": spec_of((64, 64), Vector(dim=9)),
    "a vector and a condition": spec_of((32, 32), *CLASSED, classes=3),
    "28x28 grey": spec_of((28, 28), Vector(dim=9), channels=1, value_range=(0, 1)),
    "96x96": spec_of((96, 96), Styles(layers=10, dim=12)),
    "64x128": spec_of((64, 128), Styles(layers=10, dim=12), Map(channels=7, height=4, width=8)),
    "seven styles": spec_of((64, 64), Styles(layers=7, dim=12)),
    "more styles than heads": spec_of((16, 16), Styles(layers=9, dim=12)),
    "a vector beside a map": spec_of((32, 32), Vector(dim=9), Map(channels=5, height=6, width=3)),
    "two styles": spec_of((16, 16), Styles(name="a", layers=6, dim=4), Styles(name="b", layers=2, dim=3)),
    "resolution 8": spec_of((8, 8), Styles(layers=4, dim=12), Map(channels=16, height=4, width=4)),
    "resolution 4": spec_of((4, 4), Styles(layers=2, dim=12), Vector(dim=3)),
    "a row of two channels": spec_of((1, 60), Styles(layers=5, dim=3), Vector(dim=9), channels=2),
    "styles of a conditional generator": spec_of((16, 16), Styles(layers=6, dim=4), classes=4),
}
NAMES = list(GENERATORS)


def images_for(spec: GeneratorSpec | EncoderSpec, n: int = 2, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    low, high = spec.value_range
    return low + (high - low) * torch.rand(n, spec.channels, *spec.size, generator=random)


def encode(encoder: Encoder, images: Tensor) -> Latents:
    labels = torch.arange(len(images)) % max(encoder.spec.classes, 1)
    return encoder(images, labels=labels)


def shake(module: nn.Module) -> None:
    """Move everything that is saved away from where it starts."""
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.add_(0.1 * torch.rand_like(tensor))


class ToyGenerator(Generator):
    """Maps z by a matrix to styles; knows a constant and an embedding of labels."""

    def __init__(self, spec: GeneratorSpec) -> None:
        super().__init__(spec)
        self.bias = nn.Parameter(torch.linspace(-1, 1, 200))
        self.constant = nn.Parameter(torch.linspace(-3, 3, 16 * 4 * 4).reshape(1, 16, 4, 4))
        self.classes = nn.Parameter(torch.linspace(-1, 1, 15).reshape(3, 5))

    def map(
        self,
        z: Tensor,
        *,
        labels: Tensor | None = None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Latents:
        if not isinstance(self.spec.layout[0], Styles):
            return super().map(z, labels=labels)
        part = self.spec.layout[0]
        w = self.bias[: part.layers * part.dim].reshape(part.layers, part.dim) + z[:, :1, None]
        return Latents(self.spec.layout, {"w": w})

    def embed(self, labels: Tensor) -> Tensor:
        return self.classes[labels] if labels.ndim == 1 else labels @ self.classes

    def default(self, name: str) -> Tensor | None:
        return self.constant if name == "const" else super().default(name)

    def synthesize(self, latents: Latents, *, noise: NoiseChoice = "const") -> Tensor:
        return torch.zeros(len(latents), self.spec.channels, *self.spec.size)


@pytest.mark.parametrize("name", NAMES)
def test_any_layout_gets_latents_that_fit(name: str) -> None:
    spec = GENERATORS[name]
    encoder = build_encoder(spec)
    latents = encode(encoder, images_for(spec, 3))
    assert latents.layout == spec.layout
    assert set(latents.tensors) == {part.name for part in encoder.spec.parts}
    for part in encoder.spec.parts:
        assert latents[part.name].shape == (3, *part.shape)
        assert torch.isfinite(latents[part.name]).all()


@pytest.mark.parametrize("name", NAMES)
def test_rows_count_the_parameters(name: str) -> None:
    encoder = build_encoder(GENERATORS[name])
    assert sum(row.parameters for row in encoder.spec.rows()) == sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_every_parameter(name: str, training: bool) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(GENERATORS[name]).train(training)
    shake(encoder)
    latents = encode(encoder, images_for(GENERATORS[name], 4))
    sum((tensor**2).sum() for tensor in latents.tensors.values()).backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", NAMES)
def test_each_part_alone_reaches_the_image_and_the_first_convolution(name: str) -> None:
    torch.manual_seed(0)
    encoder = build_encoder(GENERATORS[name])
    shake(encoder)
    images = images_for(GENERATORS[name], 4).requires_grad_()
    for part in encoder.spec.parts:
        encoder.zero_grad()
        images.grad = None
        (encode(encoder, images)[part.name] ** 2).sum().backward()
        assert images.grad is not None
        assert images.grad.abs().amax((1, 2, 3)).min() > 0
        assert encoder.from_image.weight.grad.abs().sum() > 0
        for other, head in zip(encoder.spec.parts, encoder.heads, strict=True):
            for parameter in head.parameters():
                assert (parameter.grad is not None and bool(parameter.grad.any())) is (other is part)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_image_gives_the_same_latents_twice_whatever_is_beside_it(name: str) -> None:
    encoder = build_encoder(GENERATORS[name]).eval()
    shake(encoder)
    images = images_for(GENERATORS[name], 3)
    first, again = encode(encoder, images), encode(encoder, images)
    alone = encode(encoder, images[:1])
    for part in first.tensors:
        assert torch.equal(first[part], again[part])
        torch.testing.assert_close(alone[part], first[part][:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_from_their_state(name: str) -> None:
    one, other = (build_encoder(GENERATORS[name]).eval() for _ in range(2))
    shake(one)
    other.load_state_dict(one.state_dict())
    images = images_for(GENERATORS[name])
    first, second = encode(one, images), encode(other, images)
    assert all(torch.equal(first[part], second[part]) for part in first.tensors)


def test_images_are_normalised_from_the_generators_range() -> None:
    torch.manual_seed(0)
    plain = build_encoder(spec_of((16, 16), Vector(dim=4)))
    bytes_ = build_encoder(spec_of((16, 16), Vector(dim=4), value_range=(0, 255)))
    bytes_.load_state_dict(plain.state_dict())
    images = images_for(plain.spec)
    torch.testing.assert_close(bytes_((images + 1) * 127.5)["z"], plain(images)["z"], rtol=1e-4, atol=1e-5)


def test_styles_come_deepest_first() -> None:
    encoder = build_encoder(GENERATORS["styles and a constant"], head_gain=0.0)
    with torch.no_grad():
        encoder.blocks[0].head_1.bias.fill_(1.0)
        encoder.blocks[-1].head_2.bias.fill_(2.0)
    w = encoder(images_for(encoder.spec))["w"]
    assert (w[:, 0] == 2).all()
    assert (w[:, -1] == 1).all()
    assert (w[:, 1:-1] == 0).all()


def test_two_styles_keep_their_columns() -> None:
    encoder = build_encoder(GENERATORS["two styles"], head_gain=0.0)
    with torch.no_grad():
        encoder.blocks[-1].head_2.bias.copy_(torch.tensor([1.0] * 4 + [2.0] * 3))
    latents = encoder(images_for(encoder.spec))
    assert (latents["a"][:, 0] == 1).all()
    assert (latents["b"][:, 0] == 2).all()
    assert (latents["a"][:, 1:] == 0).all()
    assert (latents["b"][:, 1] == 0).all()


def test_map_is_the_last_features_where_shapes_agree() -> None:
    encoder = build_encoder(GENERATORS["styles and a constant"], map_gain=0.5)
    head = encoder.heads[1]
    features = torch.randn(2, 16, 4, 4)
    assert not list(head.parameters())
    assert torch.equal(head(features, features.flatten(1), []), 0.5 * features)


def test_centred_encoder_starts_at_the_generators_mean() -> None:
    torch.manual_seed(0)
    generator = ToyGenerator(GENERATORS["styles and a constant"])
    center = generator.center()
    encoder = build_encoder(generator)
    latents = encoder(images_for(generator.spec, 8))
    away = build_encoder(generator.spec)(images_for(generator.spec, 8))
    for name, within in (("w", 0.3), ("const", 0.1)):
        error = (latents[name] - center[name]).pow(2).mean().sqrt()
        assert error < within
        assert (away[name] - center[name]).pow(2).mean().sqrt() > 2 * error
    assert torch.equal(encoder.state_dict()["heads.0.offset"], center["w"][0])
    assert torch.equal(encoder.state_dict()["heads.1.offset"], generator.constant.detach()[0])


def test_vectors_and_conditions_start_near_the_generators_mean() -> None:
    torch.manual_seed(0)
    generator = ToyGenerator(GENERATORS["a vector and a condition"])
    center, images = generator.center(), images_for(generator.spec, 8)
    small, large = (encode(build_encoder(generator, head_gain=gain), images) for gain in (0.1, 1.0))
    for name in ("z", "c"):
        away = (large[name] - center[name]).pow(2).mean().sqrt()
        assert (small[name] - center[name]).pow(2).mean().sqrt() < 0.2 * away


def test_start_at_zero_is_the_papers() -> None:
    generator = ToyGenerator(GENERATORS["styles and a constant"])
    encoder = build_encoder(generator, start="zero", head_gain=1.0, map_gain=1.0)
    assert all(not head.offset.any() for head in encoder.heads)


def test_labels_are_embedded_by_the_generator() -> None:
    torch.manual_seed(0)
    generator = ToyGenerator(GENERATORS["a vector and a condition"])
    encoder = build_encoder(generator).eval()
    torch.testing.assert_close(encoder.state_dict()["embedding"], generator.classes.detach())
    embedding = encoder.embedding.clone()
    shake(encoder)
    encoder.embedding.copy_(embedding)
    images = images_for(generator.spec, 1).expand(3, -1, -1, -1)
    by_number = encoder(images, labels=torch.tensor([0, 1, 2]))
    by_row = encoder(images, labels=torch.eye(3))
    for name in ("z", "c"):
        torch.testing.assert_close(by_number[name], by_row[name])
        assert not torch.allclose(by_number[name][0], by_number[name][1])


def test_labels_without_a_condition_are_one_hot() -> None:
    encoder = build_encoder(GENERATORS["styles of a conditional generator"], norm="conditional-batch")
    assert torch.equal(encoder.embedding, torch.eye(4))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "give labels"),
        (torch.tensor([0, 3]), "from 0 to 2"),
        (torch.tensor([-1, 0]), "from 0 to 2"),
        (torch.tensor([0]), r"1 labels are given for 2 samples; give one for each\."),
        (torch.zeros(2, 4), r"rows \(N, 3\); these are \(2, 4\)"),
        (torch.zeros(2), r"whole numbers \(N,\) .* these are \(2,\) of torch\.float32"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: Tensor | None, words: str) -> None:
    encoder = build_encoder(GENERATORS["a vector and a condition"])
    with pytest.raises(LatentsError, match=words):
        encoder(images_for(encoder.spec), labels=labels)


def test_running_statistics_normalise_in_eval_mode() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(GENERATORS["a vector and a condition"], residual=0.111)
    shake(encoder)
    images = [0.05 * images_for(encoder.spec, 16, seed) + 0.9 for seed in range(40)]
    with torch.no_grad():
        for batch in images:
            encode(encoder, batch)
        trained = encode(encoder, images[0])
        kept = encode(encoder.eval(), images[0])
        for module in encoder.modules():
            if hasattr(module, "running_mean"):
                module.running_mean.zero_()
                module.running_var.fill_(1)
        raw = encode(encoder, images[0])
    error = (kept["z"] - trained["z"]).pow(2).mean().sqrt()
    assert error < 0.5 * (raw["z"] - trained["z"]).pow(2).mean().sqrt()
    assert error < 0.5 * trained["z"].std()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((2, 1, 64, 64), torch.float32), ((2, 3, 64, 32), torch.float32), ((3, 64, 64), torch.float32)],
)
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    encoder = build_encoder(GENERATORS["a vector"])
    with pytest.raises(ImageError, match=r"\(N, 3, 64, 64\)"):
        encoder(torch.zeros(shape, dtype=dtype))


def test_images_of_whole_numbers_are_refused() -> None:
    with pytest.raises(ImageError, match="uint8"):
        build_encoder(GENERATORS["a vector"])(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_encoders_are_built_from_any_of_the_three() -> None:
    generator = ToyGenerator(GENERATORS["a vector"])
    mirror = EncoderSpec.mirror(generator.spec)
    assert build_encoder(generator).spec == mirror
    assert build_encoder(generator.spec).spec == mirror
    assert build_encoder(mirror).spec == mirror
    assert build_encoder(generator.spec, mirror, residual="sum").spec.residual == "sum"
    assert build_encoder(mirror, blur=True).spec.blur is True


def test_a_spec_that_does_not_fit_the_generator_is_refused() -> None:
    generator = GENERATORS["a vector"]
    with pytest.raises(SpecError, match="size"):
        build_encoder(generator, EncoderSpec.mirror(GENERATORS["28x28 grey"]))
    with pytest.raises(SpecError, match="no part 'w'"):
        build_encoder(generator, EncoderSpec.mirror(GENERATORS["seven styles"]))
    with pytest.raises(SpecError, match="'z' is vector"):
        build_encoder(generator, EncoderSpec.mirror(spec_of((64, 64), Vector(dim=5))))
    with pytest.raises(SpecError, match="residul"):
        build_encoder(generator, residul=1)
    with pytest.raises(UnknownNameError, match="adaptive"):
        build_encoder(generator, block="adaptiv")


class PlainBlock(EncoderBlock):
    """A block of another make: pools, widens, and gives its mean as every style."""

    class Options(Spec):
        level: float = Field(1.0, description="factor of the mean")

    def __init__(self, options: Spec | None = None, context: Context | None = None) -> None:
        super().__init__(options, context)
        self.conv = nn.Conv2d(self.spec.in_channels, self.spec.out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, BlockStyles]:
        x = nn.functional.adaptive_avg_pool2d(self.conv(x), self.spec.out_size)
        level = self.options.level * x.mean((1, 2, 3))[:, None]
        first, second = (level.expand(-1, width) if width else None for width in self.spec.style_widths)
        return x, (first, second)


def test_a_registered_block_takes_the_place_of_ours() -> None:
    if "test-plain" not in registry().names("block"):
        registry().add_value("block", "test-plain", PlainBlock)
    encoder = build_encoder(GENERATORS["seven styles"], block="test-plain")
    assert all(isinstance(block, PlainBlock) for block in encoder.blocks)
    images = images_for(encoder.spec)
    w = encoder(images)["w"]
    assert w.shape == (2, 7, 12)
    doubled = build_encoder(GENERATORS["seven styles"], block={"name": "test-plain", "options": {"level": 2.0}})
    assert EncoderSpec.from_yaml(doubled.spec.to_yaml()) == doubled.spec
    doubled.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(doubled(images)["w"], 2 * w)
    with pytest.raises(SpecError, match=r"block\.options\.levle: there is no such field.*'level'"):
        build_encoder(GENERATORS["seven styles"], block={"name": "test-plain", "options": {"levle": 2.0}})


def test_what_is_no_block_is_refused() -> None:
    if "test-no-block" not in registry().names("block"):
        registry().add_value("block", "test-no-block", nn.Identity)
    with pytest.raises(PluginError, match="subclass of EncoderBlock"):
        build_encoder(GENERATORS["a vector"], block="test-no-block")


@pytest.mark.parametrize("name", ["styles and a constant", "a vector and a condition", "a vector beside a map"])
def test_heads_are_the_layers_that_end_in_latents(name: str) -> None:
    encoder = build_encoder(GENERATORS[name])
    found = {id(weight) for weight in encoder.head_parameters()}
    named = {key for key, weight in encoder.named_parameters() if id(weight) in found}
    assert named == {key for key in dict(encoder.named_parameters()) if "head" in key or key.startswith("hidden")}
    assert encoder.gathers is (encoder.spec.norm == "conditional-batch")


def test_channels_last_and_half_precision_give_the_same_latents() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(GENERATORS["styles and a constant"], blur=True, start="zero", head_gain=1.0).eval()
    images = images_for(encoder.spec)
    plain = encoder(images)
    last = encoder.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(images)
    for name in ("w", "const"):
        torch.testing.assert_close(last[name], plain[name], rtol=1e-4, atol=1e-5)
        assert (half[name].float() - plain[name]).pow(2).mean().sqrt() < 0.05 * plain[name].std()


CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_table_9_is_built_row_by_row(resolution: int) -> None:
    layers = 2 * resolution.bit_length() - 4
    spec = GeneratorSpec(
        family="toy",
        size=(resolution, resolution),
        prior=Prior(dim=512),
        layout=(Styles(layers=layers, dim=512), Map(channels=512, height=4, width=4)),
        resolution_channels={side: count for side, count in CHANNELS.items() if side <= resolution},
    )
    with torch.device("meta"):
        encoder = build_encoder(spec)
    _check_rows(encoder)
    assert encoder.blocks[-1].head_2.weight.shape == (512, 1024)
    latents = encoder(torch.empty(1, 3, resolution, resolution, device="meta"))
    assert latents["w"].shape == (1, layers, 512)
    assert latents["const"].shape == (1, 512, 4, 4)


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_table_10_is_built_row_by_row(resolution: int) -> None:
    spec = GeneratorSpec(
        family="toy",
        size=(resolution, resolution),
        prior=Prior(dim=128),
        layout=(Vector(dim=128), Condition(dim=128), Setting(name="truncation", default=0.4, holds="truncation")),
        classes=1000,
        resolution_channels={4: 2048, resolution: 128},
    )
    with torch.device("meta"):
        encoder = build_encoder(spec)
    _check_rows(encoder)
    assert encoder.hidden.weight.shape == (256, 512 * 4 * 4)
    assert [head.linear.weight.shape for head in encoder.heads] == [(128, 256), (128, 256)]
    assert all(block.norm_1.gain.weight.shape[1] == 128 for block in encoder.blocks)


def _check_rows(encoder: Encoder) -> None:
    """What is built agrees with the spec's table, whose rows are held against the paper in the registry's tests."""
    rows = [row for row in encoder.spec.rows() if row.name.startswith("block")]
    for row, block in zip(rows, encoder.blocks, strict=True):
        convs = [block.conv_1] + ([block.conv_2] if len(row.convolutions) == 2 else [])
        found = [(conv.weight.shape[1], conv.weight.shape[0], tuple(conv.weight.shape[2:])) for conv in convs]
        assert tuple(found) == row.convolutions
        heads = [head for head in (block.head_1, block.head_2) if head is not None]
        assert tuple((h.weight.shape[1], h.weight.shape[0]) for h in heads) == row.heads
        assert sum(p.numel() for p in block.parameters()) == row.parameters


class Network(Generator):
    """A network of others, of which a spec tells no widths."""

    def __init__(self, spec: GeneratorSpec, network: nn.Module) -> None:
        super().__init__(spec)
        self.network = network

    def synthesize(self, latents: Latents) -> Tensor:
        return self.network(latents["z"]).reshape(-1, self.spec.channels, *self.spec.size)


def dcgan(widths: Sequence[int]) -> Network:
    layers: list[nn.Module] = [nn.Unflatten(1, (20, 1, 1)), nn.ConvTranspose2d(20, widths[0], 4), nn.ReLU()]
    for inputs, outputs in itertools.pairwise([*widths, 3]):
        layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
    spec = GeneratorSpec(family="own", size=4 << len(widths), prior=Prior(dim=20), layout=(Vector(dim=20),))
    return Network(spec, nn.Sequential(*layers))


def test_widths_that_no_spec_tells_are_measured() -> None:
    generator = dcgan([64, 32, 24])
    wanted = {4: 64, 8: 32, 16: 24, 32: 24}
    told = generator.spec.model_copy(update={"resolution_channels": wanted})
    assert mirror(generator) == build_encoder(generator).spec == EncoderSpec.mirror(told)
    assert [block.in_channels for block in mirror(generator).blocks] == [24, 48, 64, 64]
    assert mirror(generator.spec) == EncoderSpec.mirror(generator.spec)
    assert mirror(Network(told, generator.network)) == EncoderSpec.mirror(told)
    assert mirror(generator, slope=0.1).slope == 0.1


@pytest.mark.parametrize("hidden", [64, 256])
def test_an_encoder_is_no_larger_than_its_generator_allows(hidden: int) -> None:
    spec = GeneratorSpec(family="own", size=28, channels=1, prior=Prior(dim=20), layout=(Vector(dim=20),))
    generator = Network(spec, nn.Sequential(nn.Linear(20, hidden), nn.ReLU(), nn.Linear(hidden, 784)))
    weights = sum(one.numel() for one in generator.parameters())
    learned = sum(one.numel() for one in build_encoder(generator).parameters())
    assert weights / 2 < learned <= 3 * weights


def test_an_encoder_of_a_smaller_size_averages_the_generators_images() -> None:
    torch.manual_seed(0)
    generator = GENERATORS["64x128"]
    encoder = build_encoder(generator, size=(16, 32))
    shake(encoder)
    assert [block.size for block in encoder.spec.blocks] == [(16, 32), (8, 16), (4, 8)]
    images = images_for(encoder.spec).requires_grad_()
    large = images_for(generator)
    averaged = large.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5))
    for name, tensor in encoder(averaged).tensors.items():
        close(encoder(large).tensors[name], tensor, terms=encoder.spec.blocks[-1].out_channels * 9, depth=10)
    encoder(large.requires_grad_())["w"].square().sum().backward()
    assert large.grad is not None
    assert bool(large.grad.any(1).all())
    assert encoder(images)["w"].shape == (2, 10, 12)


@pytest.mark.parametrize("size", [(48, 96), (64, 64), (64, 32), (128, 256), (24, 48)])
def test_a_size_of_which_the_generators_is_no_multiple_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match=r"size: the encoder has .* a whole number of times as large"):
        build_encoder(GENERATORS["64x128"], size=size)
    encoder = build_encoder(GENERATORS["64x128"], size=(32, 64))
    if size != (128, 256):
        with pytest.raises(ImageError, match="or a whole number of times as large"):
            encoder(torch.zeros(1, 3, *size))
