"""StyleGAN3 for ganenc. Importing this imports no torch: what it contributes is named here and loaded on first use."""

from ganenc_registry import Contribution, hookimpl

from ganenc_plugin_stylegan3.releases import RELEASES

__all__ = ["GANENC_CONTRACT", "ganenc_contributions"]

GANENC_CONTRACT = (1, 0)
"""The version of ganenc's plugin contract that this is made for."""


@hookimpl
def ganenc_contributions() -> list[Contribution]:
    """What this plugin contributes."""
    return [
        Contribution(
            kind="generator",
            name="stylegan3",
            summary="StyleGAN3 (Karras et al., 2021) and StyleGAN-XL (Sauer et al., 2022), read from their pickles",
            target="ganenc_plugin_stylegan3.stylegan3:StyleGAN3",
        ),
        *RELEASES.contributions(),
    ]
