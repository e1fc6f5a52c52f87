"""Sizes that no network has are refused by the spec, before anything of them is made; those of real ones are not."""

from __future__ import annotations

from typing import Any

import pytest
from ganenc_registry.errors import SpecError
from ganenc_registry.specs import EncoderSpec, GeneratorSpec, InvertSpec, RunSpec, Spec

STYLES = {"kind": "styles", "layers": 18, "dim": 512}
GENERATOR = {"family": "any", "size": [1024, 1024], "prior": {"dim": 512}, "layout": [STYLES]}
ENCODER = {"size": [64, 64], "layout": [STYLES], "blocks": [{"size": [64, 64], "in_channels": 1, "out_channels": 1}]}
RUN = {"task": "pretrain", "steps": 1}
FLAT = {"size": [8192, 8192], "in_channels": 1, "out_channels": 1, "downscale": "none"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (GeneratorSpec, {"layout": [{"kind": "vector", "name": f"z{i}", "dim": 1} for i in range(100_000)]}),
        (GeneratorSpec, {"layout": [{**STYLES, "layers": 10**9}]}),
        (GeneratorSpec, {"layout": [{**STYLES, "name": name, "layers": 600} for name in "ab"]}),
        (GeneratorSpec, {"layout": [STYLES, {"kind": "map", "channels": 9, "height": 10**7, "width": 1}]}),
        (GeneratorSpec, {"layout": [STYLES, {"kind": "noise", "shapes": [[1, 65536, 65536]]}]}),
        (GeneratorSpec, {"layout": [STYLES, {"kind": "noise", "shapes": [[1, 1, 1]] * 100_000}]}),
        (GeneratorSpec, {"layout": [STYLES, {"kind": "noise", "shapes": [[1] * 100_000]}]}),
        (GeneratorSpec, {"size": [65536, 65536]}),
        (GeneratorSpec, {"size": 10**90}),
        (GeneratorSpec, {"prior": {"dim": 10**12}}),
        (GeneratorSpec, {"classes": 10**12}),
        (GeneratorSpec, {"resolution_channels": dict.fromkeys(range(1, 10000), 1)}),
        (GeneratorSpec, {f"field{i}": 1 for i in range(10_000)}),
        (EncoderSpec, {"layout": [{"kind": "map", "channels": 1, "height": 10**7, "width": 100}]}),
        (EncoderSpec, {"size": [65536, 65536], "blocks": [{**FLAT, "size": [65536, 65536]}]}),
        (EncoderSpec, {"size": [8192, 8192], "channels": 1, "blocks": [FLAT] * 100}),
        (EncoderSpec, {"hidden": 10**12}),
        (RunSpec, {"seed": 10**30}),
        (RunSpec, {"data": {"batch": 10**12}}),
        (InvertSpec, {"labels": [10**30]}),
    ],
)
def test_a_size_that_no_network_has_is_one_sentence(kind: type[Spec], fields: dict[str, Any]) -> None:
    base = {GeneratorSpec: GENERATOR, EncoderSpec: ENCODER, RunSpec: RUN}.get(kind, {})
    assert kind.from_mapping(base)
    with pytest.raises(SpecError) as told:
        kind.from_mapping({**base, **fields}, where="config.json")
    assert len(str(told.value)) < 4000
    assert "\n" not in str(told.value)


def test_the_sizes_of_large_networks_fit() -> None:
    noise = [[1, 4 << level, 4 << level] for level in range(11) for _ in range(2)]
    layout = [{**STYLES, "layers": 22}, {"kind": "noise", "shapes": noise}]
    generator = GeneratorSpec.from_mapping({**GENERATOR, "size": 4096, "layout": layout, "classes": 21_843})
    assert len(EncoderSpec.mirror(generator).blocks) == 11
    assert EncoderSpec.mirror(GeneratorSpec.from_mapping({**GENERATOR, "channels": 1, "size": [1, 1 << 18]}))
