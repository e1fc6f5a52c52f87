"""The public releases of PGGAN. Listing them imports neither torch nor the specs.

Files, places and licence are those that NVIDIA's repository names; it publishes neither sizes nor checksums.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import Release

__all__ = ["LSUN", "RELEASES"]

LICENCE = "CC BY-NC 4.0"
FOLDER = "https://drive.google.com/open?id=15hvzxt_XxuokSmj0uO4xxMTMWVc0cIMU"
"""``networks/tensorflow-version`` on Google Drive (README of tkarras/progressive_growing_of_gans)."""

# What the files of LSUN's thirty categories are called there.
LSUN = (
    *("airplane", "bedroom", "bicycle", "bird", "boat", "bottle", "bridge", "bus", "car", "cat"),
    *("chair", "churchoutdoor", "classroom", "conferenceroom", "cow", "dining_room", "diningtable", "dog", "horse"),
    *("kitchen", "livingroom", "motorbike", "person", "pottedplant", "restaurant", "sheep", "sofa", "tower", "train"),
    "tvmonitor",
)


def _release(side: int, file: str, url: str) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_pggan.specs import pggan_spec

    # min(16384 / resolution, 512), as fmap_base = 8192 gives it in the published code.
    channels = {4 << level: min(16384 // (4 << level), 512) for level in range((side // 4).bit_length())}
    return Release(
        generator=pggan_spec((side, side), channels, licence=LICENCE),
        files=(ReleaseFile(name=file, url=url, by_hand=True),),
        page="https://github.com/tkarras/progressive_growing_of_gans",
    )


def _lsun(category: str) -> Release:
    return _release(256, f"karras2018iclr-lsun-{category}-256x256.pkl", FOLDER)


def _celebahq() -> Release:
    url = "https://drive.google.com/open?id=188K19ucknC6wg1R6jbuPEhTq9zoufOx4"
    return _release(1024, "karras2018iclr-celebahq-1024x1024.pkl", url)


RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {
        "pggan-celebahq-1024": (f"CelebA-HQ, 1024x1024; {LICENCE}; to fetch by hand", _celebahq),
        **{
            f"pggan-{category.replace('_', '')}-256": (
                f"LSUN {category.replace('_', ' ')}, 256x256; {LICENCE}; to fetch by hand",
                partial(_lsun, category),
            )
            for category in LSUN
        },
    },
)
