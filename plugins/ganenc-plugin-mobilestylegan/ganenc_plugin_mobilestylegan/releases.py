"""The public release of MobileStyleGAN. Listing it imports neither torch nor the specs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]

LICENCE = "Apache-2.0, distilled from weights of non-commercial licence"
FILES = {
    "MappingNetwork.bin": (8_405_040, "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305"),
    "MappingNetwork.xml": (59_865, "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b"),
    "SynthesisNetwork.bin": (32_025_440, "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645"),
    "SynthesisNetwork.xml": (425_183, "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd"),
}
"""Bytes and SHA-256 of each."""


def _ffhq() -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_mobilestylegan.specs import PUBLISHED_CHANNELS, mobilestylegan_spec

    return Release(
        generator=mobilestylegan_spec((1024, 1024), PUBLISHED_CHANNELS, licence=LICENCE),
        files=tuple(
            ReleaseFile(
                name=name,
                url=f"pypi:random-face==2021.7.21.1#random_face/data/{name}",
                size=size,
                checksum=f"sha256:{digest}",
            )
            for name, (size, digest) in FILES.items()
        ),
        page="https://github.com/bes-dev/random_face",
        convert=True,
        info={"demo_with": {"align": "face", "method": {"options": {"steps": 80}}}},
        notes="FFHQ's photos, from which it learned, have licences of their own.",
    )


RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {"mobilestylegan-ffhq-1024": (f"FFHQ faces, 1024x1024; {LICENCE}; a wheel of 36 MB", _ffhq)},
)
