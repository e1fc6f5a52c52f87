"""What holds for every release of every plugin. Tests import it as ``release_checks``."""

from __future__ import annotations

import math

from ganenc_registry import registry
from ganenc_registry.releases import ReleaseTable
from ganenc_registry.specs import EncoderSpec, Release, Styles

__all__ = ["check_release", "parameters"]


def check_release(table: ReleaseTable, name: str, *, mirrored: bool = True) -> Release:
    """Check one release of a plugin's table: found by name, told in its summary, mirrored by an encoder of the paper's
    tables where it is one of the paper's generators."""
    assert table.names().count(name) == 1
    contribution = registry().get("model", name)
    release = registry().resolve("model", name)
    assert isinstance(release, Release)
    spec = release.generator
    assert spec.family in registry().names("generator")
    assert name.endswith(f"-{spec.resolution}")
    assert f"{spec.size[1]}x{spec.size[0]}" in contribution.summary
    assert spec.licence in contribution.summary
    assert ("by hand" in contribution.summary) == any(file.by_hand for file in release.files)
    assert all(file.url.startswith(("https://", "pypi:")) for file in release.files)
    if mirrored:
        _check_mirror(EncoderSpec.mirror(spec), release)
    assert Release.from_json(release.to_json()) == release
    return release


def _check_mirror(encoder: EncoderSpec, release: Release) -> None:
    """The blocks halve from the images to 4x4, and their widths are the generator's, up to 512."""
    spec = release.generator
    rows = [row for row in encoder.rows() if row.name.startswith("block")]
    count = int(math.log2(spec.resolution)) - 1
    assert [row.size[0] for row in rows] == [spec.resolution >> index for index in range(count)]
    assert rows[-1].convolutions[-1][1] == 512
    assert spec.resolution_channels is not None
    assert set(spec.resolution_channels) == {4 << level for level in range(count)}
    for part in spec.layout:
        if isinstance(part, Styles):
            assert part.layers == 2 * count == sum(len(row.heads) for row in rows)
            assert all(outputs == part.dim for row in rows for _, outputs in row.heads)


def parameters(release: Release) -> int:
    """How many numbers the released generator has learned, counted on a network without any."""
    import torch

    family = registry().resolve("generator", release.generator.family)
    with torch.device("meta"):
        generator = family(release.generator)
    return sum(weight.numel() for weight in generator.parameters())
