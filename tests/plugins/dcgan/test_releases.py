"""The DCGANs that lie in wheels."""

from __future__ import annotations

import pytest
from ganenc_plugin_dcgan.releases import RELEASES
from release_checks import check_release, parameters

NUMBERS = {
    "dcgan-faces-64": 3_576_704,
    "dcgan-celebs-64": 3_576_704,
    "linear-cats-64": 4_881_152,
    "dcgan-eyes-128": 12_917_632,
}
"""How many the published files hold, counted by their shapes (statistics left out)."""


@pytest.mark.parametrize("name", RELEASES.names())
def test_every_release_is_sound(name: str) -> None:
    release = check_release(RELEASES, name, mirrored=False)
    (file,) = release.files
    assert file.url.startswith("pypi:")
    assert file.checksum
    assert file.size
    assert parameters(release) == NUMBERS[name]
    assert release.generator.classes == (8 if name == "dcgan-eyes-128" else 0)
