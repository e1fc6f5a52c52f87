"""The public releases of StyleGAN1 and StyleGAN2. Listing them imports neither torch nor the specs.

Files, places and licences are those that NVIDIA's repositories name. NVIDIA publishes neither sizes nor checksums; the
one given here is what users of the file have measured.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]

CC_BY_NC, NVIDIA_NC, NVIDIA = "CC BY-NC 4.0", "Nvidia Source Code License-NC", "Nvidia Source Code License"
SITE = "https://nvlabs-fi-cdn.nvidia.com"
WIDE = "The photos are 512x384: the network draws them in the middle of a black square."

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
MEASURED = {
    "ffhq.pkl": (381_624_121, "sha256:a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c"),
}


def _stylegan1(key: str) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_stylegan.specs import published_channels, stylegan1_spec

    _, side, file, drive = STYLEGAN1[key]
    return Release(
        generator=stylegan1_spec((side, side), published_channels(side), licence=CC_BY_NC),
        files=(ReleaseFile(name=file, url=f"https://drive.google.com/uc?id={drive}", by_hand=True),),
        page="https://github.com/NVlabs/stylegan",
        notes=WIDE if key == "car" else "",
    )


def _stylegan2(key: str) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_stylegan.specs import published_channels, stylegan2_spec

    _, side = STYLEGAN2[key]
    file = f"stylegan2-{key}-config-f.pkl"
    return Release(
        generator=stylegan2_spec((side, side), published_channels(side, fmap_base=16384), licence=NVIDIA_NC),
        files=(ReleaseFile(name=file, url=f"{SITE}/stylegan2/networks/{file}"),),
        page="https://github.com/NVlabs/stylegan2",
        notes=WIDE if key == "car" else "",
    )


def _stylegan2_ada(key: str) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_stylegan.specs import StyleGAN2Options, published_channels, stylegan2_spec

    _, side, file, classes = STYLEGAN2_ADA[key]
    options = StyleGAN2Options(mapping_layers=2 if key.startswith("cifar10") else 8)
    size, checksum = MEASURED.get(file, (None, None))
    return Release(
        generator=stylegan2_spec(
            (side, side),
            published_channels(side, fmap_base=16384),
            classes=classes,
            options=options,
            licence=NVIDIA,
        ),
        files=(
            ReleaseFile(
                name=file.rpartition("/")[2],
                url=f"{SITE}/stylegan2-ada-pytorch/pretrained/{file}",
                size=size,
                checksum=checksum,
            ),
        ),
        page="https://github.com/NVlabs/stylegan2-ada-pytorch",
    )


def _rows() -> dict[str, tuple[str, Callable[[], Release]]]:
    rows: dict[str, tuple[str, Callable[[], Release]]] = {}
    for key, (what, side, *_) in STYLEGAN1.items():
        summary = f"{what}, {side}x{side}; {CC_BY_NC}; to fetch by hand"
        rows[f"stylegan1-{key}-{side}"] = (summary, partial(_stylegan1, key))
    for key, (what, side) in STYLEGAN2.items():
        summary = f"{what}, {side}x{side}, configuration F; {NVIDIA_NC}"
        rows[f"stylegan2-{key}-{side}"] = (summary, partial(_stylegan2, key))
    for key, (what, side, *_) in STYLEGAN2_ADA.items():
        summary = f"{what}, {side}x{side}; {NVIDIA}"
        rows[f"stylegan2-ada-{key}-{side}"] = (summary, partial(_stylegan2_ada, key))
    return rows


RELEASES = ReleaseTable(f"{__name__}:RELEASES", _rows())
