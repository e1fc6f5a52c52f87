"""BigGAN for ganenc. Importing this imports no torch: what it contributes is named here and loaded on first use."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_biggan.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="biggan",
            summary="BigGAN and BigGAN-deep (Brock et al., 2019), read from Hugging Face's and ajbrock's files",
            target="ganenc_plugin_biggan.biggan:BigGAN",
        ),
        *RELEASES.contributions(),
    ]
