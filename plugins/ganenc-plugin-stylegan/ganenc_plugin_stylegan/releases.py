"""The public releases of StyleGAN1 and StyleGAN2. Listing them imports neither torch nor the specs.

Files, places and licences are those that NVIDIA's repositories name. NVIDIA publishes neither sizes nor checksums.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]

CC_BY_NC, NVIDIA_NC, NVIDIA = "CC BY-NC 4.0", "Nvidia Source Code License-NC", "Nvidia Source Code License"

# Data, resolution, file, and the file's id on Google Drive (README of NVlabs/stylegan).
STYLEGAN1 = {
    "bedroom": ("LSUN bedrooms", 256, "karras2019stylegan-bedrooms-256x256.pkl", "1MOSKeGF0FJcivpBI7s63V9YHloUTORiF"),
    "car": ("LSUN cars", 512, "karras2019stylegan-cars-512x384.pkl", "1MJ6iCfNtMIRicihwRorsM3b7mmtmK9c3"),
    "cat": ("LSUN cats", 256, "karras2019stylegan-cats-256x256.pkl", "1MQywl0FNt6lHu8E_EUqnRbviagS7fbiJ"),
    "celebahq": ("CelebA-HQ", 1024, "karras2019stylegan-celebahq-1024x1024.pkl", "1MGqJl28pN4t7SAtSrPdSRJSQJqahkzUf"),
    "ffhq": ("FFHQ faces", 1024, "karras2019stylegan-ffhq-1024x1024.pkl", "1MEGjdvVpUsu1jB4zrXZN7Y4kBBOzizDQ"),
}

# Data and resolution (README of NVlabs/stylegan2).
STYLEGAN2 = {
    "car": ("LSUN cars", 512),
    "cat": ("LSUN cats", 256),
    "church": ("LSUN churches", 256),
    "ffhq": ("FFHQ faces", 1024),
    "horse": ("LSUN horses", 256),
}

# Data, resolution, file and classes (README of NVlabs/stylegan2-ada-pytorch).
STYLEGAN2_ADA = {
    "afhqcat": ("AFHQ cats", 512, "afhqcat.pkl", 0),
    "afhqdog": ("AFHQ dogs", 512, "afhqdog.pkl", 0),
    "afhqwild": ("AFHQ wild animals", 512, "afhqwild.pkl", 0),
    "brecahad": ("BreCaHAD histology", 512, "brecahad.pkl", 0),
    "cifar10": ("CIFAR-10 by class", 32, "cifar10.pkl", 10),
    "cifar10-unconditional": ("CIFAR-10", 32, "paper-fig11b-cifar10/cifar10u-cifar-ada-best-fid.pkl", 0),
    "ffhq": ("FFHQ faces", 1024, "ffhq.pkl", 0),
    "metfaces": ("MetFaces paintings", 1024, "metfaces.pkl", 0),
}


def _release(build: str, licence: str, key: str, row: tuple[Any, ...]) -> Release:
    from ganenc_plugin_stylegan import published

    made: Release = getattr(published, build)(licence, key, *row)
    return made


def _rows() -> dict[str, tuple[str, Callable[[], Release]]]:
    rows: dict[str, tuple[str, Callable[[], Release]]] = {}
    for key, row in STYLEGAN1.items():
        summary = f"{row[0]}, {row[1]}x{row[1]}; {CC_BY_NC}; to fetch by hand"
        rows[f"stylegan1-{key}-{row[1]}"] = (summary, partial(_release, "stylegan1", CC_BY_NC, key, row))
    for key, (what, side) in STYLEGAN2.items():
        summary = f"{what}, {side}x{side}, configuration F; {NVIDIA_NC}"
        rows[f"stylegan2-{key}-{side}"] = (summary, partial(_release, "stylegan2", NVIDIA_NC, key, (what, side)))
    for key, ada in STYLEGAN2_ADA.items():
        summary = f"{ada[0]}, {ada[1]}x{ada[1]}; {NVIDIA}"
        rows[f"stylegan2-ada-{key}-{ada[1]}"] = (summary, partial(_release, "stylegan2_ada", NVIDIA, key, ada))
    return rows


RELEASES = ReleaseTable(f"{__name__}:RELEASES", _rows())
