"""The public releases of StyleGAN3. Listing them imports neither torch nor the specs.

Files and places are those that NVIDIA's repository names; it publishes neither sizes nor checksums.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]

LICENCE = "Nvidia Source Code License for StyleGAN3"
SITE = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan3/versions/1/files"
DATA = {
    "afhqv2": ("AFHQ v2 animals", (512,)),
    "ffhq": ("FFHQ faces", (1024,)),
    "ffhqu": ("FFHQ faces, not aligned", (256, 1024)),
    "metfaces": ("MetFaces paintings", (1024,)),
    "metfacesu": ("MetFaces paintings, not aligned", (1024,)),
}
"""Data and resolutions (README of NVlabs/stylegan3)."""


def _release(config: str, key: str, side: int) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_stylegan3.specs import stylegan3_spec

    file = f"stylegan3-{config}-{key}-{side}x{side}.pkl"
    base = (16384 if side == 256 else 32768) * (2 if config == "r" else 1)
    return Release(
        generator=stylegan3_spec(side, config="r" if config == "r" else "t", channel_base=base, licence=LICENCE),
        files=(ReleaseFile(name=file, url=f"{SITE}/{file}"),),
        page="https://github.com/NVlabs/stylegan3",
    )


RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {
        f"stylegan3-{config}-{key}-{side}": (
            f"{what}, {side}x{side}, configuration {config.upper()}; {LICENCE}",
            partial(_release, config, key, side),
        )
        for config in ("t", "r")
        for key, (what, sides) in DATA.items()
        for side in sides
    },
)
