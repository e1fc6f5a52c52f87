"""What the published files hold, and where they lie. Imports no torch."""

from __future__ import annotations

from ganenc_registry.specs import Release, ReleaseFile

from ganenc_plugin_stylegan.specs import StyleGAN2Options, published_channels, stylegan1_spec, stylegan2_spec

__all__ = ["stylegan1", "stylegan2", "stylegan2_ada"]

SITE = "https://nvlabs-fi-cdn.nvidia.com"
WIDE = "The photos are 512x384: the network draws them in the middle of a black square."
MEASURED = {
    "ffhq.pkl": (381_624_121, "sha256:a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c"),
}
"""Bytes and checksum, as users of the file have measured them."""


def stylegan1(licence: str, key: str, _: str, side: int, file: str, drive: str) -> Release:
    """Of NVlabs/stylegan."""
    return Release(
        generator=stylegan1_spec((side, side), published_channels(side), licence=licence),
        files=(ReleaseFile(name=file, url=f"https://drive.google.com/uc?id={drive}", by_hand=True),),
        page="https://github.com/NVlabs/stylegan",
        notes=WIDE if key == "car" else "",
    )


def stylegan2(licence: str, key: str, _: str, side: int) -> Release:
    """Of NVlabs/stylegan2, configuration F."""
    file = f"stylegan2-{key}-config-f.pkl"
    return Release(
        generator=stylegan2_spec((side, side), published_channels(side, fmap_base=16384), licence=licence),
        files=(ReleaseFile(name=file, url=f"{SITE}/stylegan2/networks/{file}"),),
        page="https://github.com/NVlabs/stylegan2",
        notes=WIDE if key == "car" else "",
    )


def stylegan2_ada(licence: str, key: str, _: str, side: int, file: str, classes: int) -> Release:
    """Of NVlabs/stylegan2-ada-pytorch."""
    options = StyleGAN2Options(mapping_layers=2 if key.startswith("cifar10") else 8)
    channels, (size, checksum) = published_channels(side, fmap_base=16384), MEASURED.get(file, (None, None))
    name, url = file.rpartition("/")[2], f"{SITE}/stylegan2-ada-pytorch/pretrained/{file}"
    return Release(
        generator=stylegan2_spec((side, side), channels, classes=classes, options=options, licence=licence),
        files=(ReleaseFile(name=name, url=url, size=size, checksum=checksum),),
        page="https://github.com/NVlabs/stylegan2-ada-pytorch",
    )
