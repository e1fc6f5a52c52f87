"""The encoder's spec: the mirror rule against the paper's tables, and the table of its rows."""

from __future__ import annotations

import pytest
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import (
    BlockShape,
    Condition,
    EncoderSpec,
    GeneratorSpec,
    Map,
    Noise,
    Prior,
    Setting,
    Styles,
    Vector,
)

# Tables 9 and 10 of the paper, typed by hand: the (in, out) channels of the convolutions, block by block.
TABLE_9 = {
    256: [
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
    512: [
        [(32, 32), (32, 64)],
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
    1024: [
        [(16, 16), (16, 32)],
        [(32, 32), (32, 64)],
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
}
TABLE_10 = {
    128: [
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
    256: [
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
    512: [
        [(32, 32), (32, 64)],
        [(64, 64), (64, 128)],
        [(128, 128), (128, 256)],
        [(256, 256), (256, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512), (512, 512)],
        [(512, 512)],
    ],
}
# The paper's generators: channels at each resolution, from their own publications.
STYLE_CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}
CLASS_CHANNELS = {
    128: {4: 2048, 8: 1024, 16: 1024, 32: 512, 64: 256, 128: 128},
    256: {4: 2048, 8: 2048, 16: 1024, 32: 1024, 64: 512, 128: 256, 256: 128},
    512: {4: 2048, 8: 2048, 16: 1024, 32: 1024, 64: 512, 128: 256, 256: 128, 512: 128},
}


def styled(resolution: int, **fields: object) -> GeneratorSpec:
    """A generator driven by styles and a constant, of the paper's channels."""
    layers = 2 * resolution.bit_length() - 4
    return GeneratorSpec(
        family="styled",
        size=(resolution, resolution),
        prior=Prior(dim=512),
        layout=(Styles(layers=layers, dim=512), Map(channels=512, height=4, width=4), Noise(shapes=((1, 4, 4),))),
        resolution_channels={side: count for side, count in STYLE_CHANNELS.items() if side <= resolution},
        **fields,
    )


def classed(resolution: int) -> GeneratorSpec:
    """A class-conditional generator of the paper's channels."""
    return GeneratorSpec(
        family="classed",
        size=(resolution, resolution),
        prior=Prior(kind="truncated-normal", dim=128),
        layout=(Vector(dim=128), Condition(dim=128), Setting(name="truncation", default=0.4, holds="truncation")),
        classes=1000,
        resolution_channels=CLASS_CHANNELS[resolution],
    )


def toy(size: tuple[int, int], *layout: object, **fields: object) -> GeneratorSpec:
    return GeneratorSpec(family="toy", size=size, prior=Prior(dim=8), layout=layout, **fields)


@pytest.mark.parametrize("resolution", [256, 512, 1024])
def test_mirror_is_table_9(resolution: int) -> None:
    spec = EncoderSpec.mirror(styled(resolution))
    image, *blocks = spec.rows()
    assert image.convolutions == ((3, TABLE_9[resolution][0][0][0], (1, 1)),)
    assert len(blocks) == len(TABLE_9[resolution])
    for index, (row, table) in enumerate(zip(blocks, TABLE_9[resolution], strict=True)):
        assert row.size == (resolution >> index, resolution >> index)
        assert row.convolutions == tuple((a, b, (3, 3)) for a, b in table)
        middle = table[0][1]
        assert row.heads == ((2 * table[0][0], 512), (2 * middle, 512))
        assert row.downscale == ("none" if row is blocks[-1] else "average")
    assert blocks[-1].size == (4, 4)
    assert blocks[-1].heads[-1] == (1024, 512)
    assert (spec.norm, spec.noise, spec.slope) == ("instance", "fixed", 0.2)


@pytest.mark.parametrize("resolution", [128, 256, 512])
def test_mirror_is_table_10(resolution: int) -> None:
    spec = EncoderSpec.mirror(classed(resolution))
    _, *rows = spec.rows()
    blocks, tail = rows[:-3], rows[-3:]
    assert [row.convolutions for row in blocks] == [
        tuple((a, b, (3, 3)) for a, b in table) for table in TABLE_10[resolution]
    ]
    assert all(row.heads == () for row in blocks)
    assert [(row.name, row.heads) for row in tail] == [
        ("hidden", ((512 * 4 * 4, 256),)),
        ("z", ((256, 128),)),
        ("c", ((256, 128),)),
    ]
    assert (spec.norm, spec.noise, spec.classes, spec.embedding) == ("conditional-batch", "none", 1000, 128)


def test_a_lone_vector_follows_the_note_under_table_9() -> None:
    generator = toy((1024, 1024), Vector(dim=512), resolution_channels={4: 512, 1024: 16})
    *blocks, last = EncoderSpec.mirror(generator).rows()[1:]
    assert [row.convolutions for row in blocks] == [tuple((a, b, (3, 3)) for a, b in table) for table in TABLE_9[1024]]
    assert all(row.heads == () for row in blocks)
    assert last.heads == ((512 * 4 * 4, 512),)


def test_channels_start_at_the_least_of_the_three() -> None:
    assert EncoderSpec.mirror(toy((64, 64), Vector(dim=8))).blocks[0].in_channels == 256
    known = {4: 48, 64: 12}
    spec = EncoderSpec.mirror(toy((64, 64), Vector(dim=8), resolution_channels=known))
    assert [block.in_channels for block in spec.blocks] == [12, 24, 48, 48, 48]
    assert spec.blocks[-1].out_channels == 48
    wide = toy((256, 256), Vector(dim=8), resolution_channels={4: 2048, 256: 1024})
    assert [block.out_channels for block in EncoderSpec.mirror(wide).blocks] == [128, 256, 512, 512, 512, 512, 512]
    no_full = toy((64, 64), Vector(dim=8), resolution_channels={4: 32})
    assert EncoderSpec.mirror(no_full).blocks[0].in_channels == 32
    assert EncoderSpec.mirror(toy((8, 8), Vector(dim=8))).blocks[0].in_channels == 512


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((28, 28), [(28, 28), (14, 14), (7, 7)]),
        ((96, 96), [(96, 96), (48, 48), (24, 24), (12, 12), (6, 6)]),
        ((64, 128), [(64, 128), (32, 64), (16, 32), (8, 16), (4, 8)]),
        ((30, 45), [(30, 45), (15, 22), (7, 11)]),
        ((8, 8), [(8, 8), (4, 4)]),
        ((4, 4), [(4, 4)]),
        ((3, 5), [(3, 5)]),
        ((1, 50), [(1, 50), (1, 25), (1, 12), (1, 6)]),
        ((50, 1), [(50, 1), (25, 1), (12, 1), (6, 1)]),
        ((2, 20), [(2, 20), (1, 10), (1, 5)]),
    ],
)
def test_any_size_gets_blocks(size: tuple[int, int], sizes: list[tuple[int, int]]) -> None:
    spec = EncoderSpec.mirror(toy(size, Vector(dim=8)))
    assert [block.size for block in spec.blocks] == sizes
    assert [block.convolutions for block in spec.blocks] == [2] * (len(sizes) - 1) + [1]


def test_heads_serve_layers_deepest_first_at_the_nearest_depth() -> None:
    ten = EncoderSpec.mirror(toy((64, 64), Styles(layers=10, dim=4)))
    assert ten.heads_of(ten.parts[0]) == (9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    four = EncoderSpec.mirror(toy((64, 64), Styles(layers=4, dim=4)))
    assert four.heads_of(four.parts[0]) == (9, 6, 3, 0)
    assert [four.style_widths(index) for index in range(5)] == [(4, 0), (0, 4), (0, 0), (4, 0), (0, 4)]
    one = EncoderSpec.mirror(toy((64, 64), Styles(layers=1, dim=4)))
    assert one.heads_of(one.parts[0]) == (9,)
    many = EncoderSpec.mirror(toy((8, 8), Styles(layers=7, dim=4)))
    assert many.heads_of(many.parts[0]) == (3, 2, 2, 1, 1, 0, 0)


def test_two_styles_share_a_head_side_by_side() -> None:
    spec = EncoderSpec.mirror(toy((8, 8), Styles(name="a", layers=4, dim=3), Styles(name="b", layers=1, dim=5)))
    assert [spec.style_widths(index) for index in range(2)] == [(3, 3), (3, 8)]


SPECS = {
    "styled": EncoderSpec.mirror(styled(256)),
    "classed": EncoderSpec.mirror(classed(128)),
    "declared": EncoderSpec(
        size=(20, 12),
        channels=1,
        value_range=(0, 1),
        layout=(Vector(dim=3), Map(channels=2, height=3, width=5)),
        blocks=(
            BlockShape(size=(20, 12), in_channels=4, out_channels=6, downscale="stride"),
            BlockShape(size=(10, 6), in_channels=6, out_channels=6, convolutions=1, downscale="none"),
        ),
        residual="sum",
        blur=True,
        start="zero",
        hidden=7,
    ),
}


@pytest.mark.parametrize("name", SPECS)
def test_the_same_spec_comes_back(name: str) -> None:
    spec = SPECS[name]
    assert EncoderSpec.from_json(spec.to_json()) == spec
    assert EncoderSpec.from_yaml(spec.to_yaml()) == spec
    assert EncoderSpec.from_mapping(spec.to_mapping()) == spec


def test_every_field_is_described() -> None:
    for model in (EncoderSpec, BlockShape):
        assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_overrides_replace_the_mirror() -> None:
    generator = styled(256)
    spec = EncoderSpec.mirror(generator, residual="sum", norm="instance", noise="none", start="zero", head_gain=1)
    assert (spec.residual, spec.noise, spec.start, spec.head_gain) == ("sum", "none", "zero", 1.0)
    blocks = [{"size": [256, 256], "in_channels": 8, "out_channels": 8, "convolutions": 1, "downscale": "none"}]
    assert EncoderSpec.mirror(generator, blocks=blocks).blocks[0].out_channels == 8
    labelled = EncoderSpec.mirror(styled(256, classes=10), norm="conditional-batch")
    assert (labelled.classes, labelled.embedding) == (10, 10)
    assert EncoderSpec.mirror(styled(256, classes=10)).norm == "instance"
    assert EncoderSpec.mirror(classed(128), norm="instance").embedding == 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"nrom": "instance"}, ["nrom", "did you mean 'norm'"]),
        ({"norm": "instanc"}, ["norm", "did you mean 'instance'", "conditional-batch"]),
        ({"residual": 1.5}, ["residual", "'sum'", "at most 1"]),
        ({"residual": "plus"}, ["residual", "'sum'"]),
        ({"residual": True}, ["residual"]),
        ({"start": "centre"}, ["start", "did you mean 'center'"]),
        ({"blocks": []}, ["no blocks"]),
        (
            {"blocks": [{"size": [8, 8], "in_channels": 4, "out_channel": 4}]},
            ["blocks.0.out_channel", "'out_channels'"],
        ),
        ({"blocks": [{"size": [9, 8], "in_channels": 4, "out_channels": 4}]}, ["blocks.0.size", "(8, 8) comes in"]),
        (
            {
                "blocks": [
                    {"size": [8, 8], "in_channels": 4, "out_channels": 4},
                    {"size": [4, 4], "in_channels": 5, "out_channels": 4},
                ]
            },
            ["blocks.1.in_channels", "4 come in"],
        ),
        ({"norm": "conditional-batch"}, ["conditional-batch", "classes"]),
        ({"value_range": [1, 0]}, ["value_range", "black"]),
        ({"size": [0, 8]}, ["size"]),
        ({"layout": [{"kind": "noise", "shapes": []}]}, ["nothing to encode"]),
    ],
)
def test_wrong_fields_are_named(overrides: dict[str, object], words: list[str]) -> None:
    with pytest.raises(SpecError) as error:
        EncoderSpec.mirror(toy((8, 8), Vector(dim=4)), **overrides)
    for word in words:
        assert word in str(error.value)


def test_a_block_cannot_halve_to_nothing() -> None:
    blocks = [{"size": [1, 1], "in_channels": 4, "out_channels": 4}]
    with pytest.raises(SpecError, match="halves"):
        EncoderSpec.mirror(toy((1, 1), Vector(dim=4)), blocks=blocks)
