"""The public releases of PGGAN, against the numbers that were published with them."""

from __future__ import annotations

import pytest
from ganenc_plugin_pggan.releases import LSUN, RELEASES
from ganenc_registry.specs import EncoderSpec, Vector
from release_checks import check_release, parameters

WIDTHS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}


@pytest.mark.parametrize("name", RELEASES.names())
def test_every_release_is_sound(name: str) -> None:
    release = check_release(RELEASES, name)
    spec = release.generator
    assert spec.layout == (Vector(dim=512),)
    assert spec.resolution_channels == {side: width for side, width in WIDTHS.items() if side <= spec.resolution}
    assert spec.resolution == (1024 if name == "pggan-celebahq-1024" else 256)
    (file,) = release.files
    assert file.by_hand
    assert file.name == f"karras2018iclr-{'lsun-' * (spec.resolution == 256)}{file.name.split('-')[-2]}-" + (
        f"{spec.resolution}x{spec.resolution}.pkl"
    )
    assert file.name.replace("_", "").split("-")[-2] == name.split("-")[1]


def test_there_is_one_for_each_of_the_thirty_categories_of_lsun() -> None:
    assert len(LSUN) == len(set(LSUN)) == 30
    assert len(RELEASES.names()) == 31


def test_it_has_as_many_weights_as_the_paper_says() -> None:
    """23.1 million (Karras et al., 2018, Table 2), the image layers of the smaller sizes included."""
    smaller = sum(3 * width + 3 for side, width in WIDTHS.items() if side < 1024)
    count = parameters(check_release(RELEASES, "pggan-celebahq-1024")) + smaller
    assert round(count / 1e6, 1) == 23.1


def test_the_encoder_ends_in_z_as_in_the_papers_table() -> None:
    """FC(512*4*4, 512) (Table 9)."""
    last = EncoderSpec.mirror(check_release(RELEASES, "pggan-celebahq-1024").generator).rows()[-1]
    assert (last.name, last.heads) == ("z", ((512 * 4 * 4, 512),))
