"""DCGANs that others published inside wheels. Listing them imports neither torch nor the specs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]


def _release(name: str) -> Release:
    from ganenc_plugin_dcgan.published import release

    return release(name)


RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {
        name: (summary, partial(_release, name))
        for name, summary in {
            "dcgan-faces-64": "faces, 64x64, of gan-face-generate; MIT; a wheel of 13 MB",
            "dcgan-celebs-64": "faces, 64x64, of generateme; MIT; a wheel of 31 MB",
            "linear-cats-64": "grey cats, 64x64, linear layers, of generateme; MIT; a wheel of 31 MB",
            "dcgan-eyes-128": "painted eyes, 128x128, of omniart-eye-generator; MIT; a wheel of 48 MB",
        }.items()
    },
)
