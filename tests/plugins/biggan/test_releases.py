"""The public releases of BigGAN-deep, against the numbers that were published with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ganenc.models import load_generator, model_hash
from ganenc_plugin_biggan.releases import RELEASES
from ganenc_registry import registry
from ganenc_registry.specs import Condition, EncoderSpec, Release, ReleaseFile, Setting, Vector
from release_checks import check_release, parameters
from servers import serving

# README of pytorch-pretrained-BigGAN, which counts the vectors of its spectral normalisation, too.
MILLIONS = {128: 50.4, 256: 55.9, 512: 56.2}
WIDTHS = {
    128: {4: 16, 8: 16, 16: 8, 32: 4, 64: 2, 128: 1},
    256: {4: 16, 8: 16, 16: 8, 32: 8, 64: 4, 128: 2, 256: 1},
    512: {4: 16, 8: 16, 16: 8, 32: 8, 64: 4, 128: 2, 256: 1, 512: 1},
}


@pytest.mark.parametrize("side", MILLIONS)
def test_every_release_is_sound(side: int) -> None:
    release = check_release(RELEASES, f"biggan-deep-{side}")
    spec = release.generator
    assert spec.layout == (
        Vector(dim=128),
        Condition(dim=128),
        Setting(name="truncation", default=1.0, holds="truncation"),
    )
    assert (spec.classes, spec.prior.kind, spec.truncation) == (1000, "truncated-normal", "prior")
    assert spec.resolution_channels == {size: 128 * width for size, width in WIDTHS[side].items()}
    assert spec.options["n_stats"] == 51
    assert parameters(release) / 1e6 == pytest.approx(MILLIONS[side], abs=0.25)
    assert [(file.name, file.url.rpartition("/")[2]) for file in release.files] == [
        ("config.json", f"biggan-deep-{side}-config.json"),
        ("pytorch_model.bin", f"biggan-deep-{side}-pytorch_model.bin"),
    ]


def test_the_releases_are_those_that_were_published() -> None:
    assert RELEASES.names() == [f"biggan-deep-{side}" for side in MILLIONS]


def test_the_encoder_ends_as_in_the_papers_table() -> None:
    """FC(512*4*4, 256), then FC(256, 128) for z and for c (Table 10)."""
    rows = EncoderSpec.mirror(check_release(RELEASES, "biggan-deep-256").generator).rows()
    assert [(row.name, row.heads) for row in rows[-3:]] == [
        ("hidden", ((512 * 4 * 4, 256),)),
        ("z", ((256, 128),)),
        ("c", ((256, 128),)),
    ]


def test_a_release_of_two_files_is_fetched_and_read(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared / "checkpoints" / "biggan_deep_hf"
    expected = load_generator(folder)
    monkeypatch.setenv("GANENC_HOME", str(tmp_path))
    monkeypatch.setattr(registry(), "_entries", dict(registry()._entries))
    with serving() as site:
        files = []
        for name in ("config.json", "pytorch_model.bin"):
            site.files[f"/small-{name}"] = (folder / name).read_bytes()
            size = (folder / name).stat().st_size
            files.append(ReleaseFile(name=name, url=f"{site.url}/small-{name}", size=size))
        release = Release(generator=expected.spec, files=tuple(files), page="https://example.org")
        registry().add_value("model", "biggan-deep-small", release, summary="A small one")
        for _ in range(2):
            assert model_hash(load_generator("biggan-deep-small")) == model_hash(expected)
        assert len(site.asked) == 2
