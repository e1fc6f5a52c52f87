"""The public releases of BigGAN-deep. Listing them imports neither torch nor the specs.

Files and places are those of pytorch-pretrained-BigGAN, which converted DeepMind's. It publishes neither exact sizes
nor checksums; those given here are what users of the files have measured.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ganenc_registry.releases import ReleaseTable

if TYPE_CHECKING:
    from ganenc_registry.specs import Release

__all__ = ["RELEASES"]

SITE = "https://s3.amazonaws.com/models.huggingface.co/biggan"
MEGABYTES = {128: 201, 256: 224, 512: 225}
MEASURED = {
    "biggan-deep-256-config.json": (715, "edd106f65ff28ee1638491a978cfa6bc50dfa0344aab70749a7b8eb08bbec677"),
    "biggan-deep-256-pytorch_model.bin": (
        234_411_737,
        "5900ef4065047e3aa0d1b66197b7f2664dceb59b27080e414ad57e203c485bc5",
    ),
}


def _release(side: int) -> Release:
    from ganenc_registry.specs import Release, ReleaseFile

    from ganenc_plugin_biggan.specs import biggan_spec

    files = []
    for name in ("config.json", "pytorch_model.bin"):
        published = f"biggan-deep-{side}-{name}"
        size, digest = MEASURED.get(published, (None, None))
        checksum = f"sha256:{digest}" if digest else None
        files.append(ReleaseFile(name=name, url=f"{SITE}/{published}", size=size, checksum=checksum))
    return Release(
        generator=biggan_spec(side),
        files=tuple(files),
        page="https://github.com/huggingface/pytorch-pretrained-BigGAN",
        notes=f"About {MEGABYTES[side]} MB. The converting code is under MIT; of the weights' licence its page says"
        " nothing.",
    )


RELEASES = ReleaseTable(
    f"{__name__}:RELEASES",
    {
        f"biggan-deep-{side}": (
            f"ImageNet by class, {side}x{side}; licence of the weights unknown",
            partial(_release, side),
        )
        for side in MEGABYTES
    },
)
